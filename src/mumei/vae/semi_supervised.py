"""`M1Classifier`, `M2Classifier`, `M1M2Classifier`: classes learned from few labels and many rows without.

Source: Kingma, Mohamed, Rezende and Welling 2014, "Semi-supervised Learning with Deep Generative Models". M1 is a VAE of all
rows and a classifier on the posterior means of the labelled ones; M2 has the class in its model (`semi_m2.py`); M1 + M2 is M2 on
the latents of M1. An unknown label is -1, NaN, None or "" (`labels.py`): so -1 cannot be the name of a class.

Departures: Adam in place of RMSprop with momentum; M1's classifier is logistic regression unless another is given (the paper: a
nearest-neighbour rule and a transductive SVM); M1 + M2 sees the standardised means of q(z1|x), or with `draws=True` fresh draws
of it in training, which is nearer to the model and worse where M1 leaves dimensions unused.
"""

from __future__ import annotations

import copy
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from mumei.core import seeds
from mumei.core.artifact import State
from mumei.core.errors import ArtifactError, UsageError
from mumei.core.inputs import CHUNK, dense
from mumei.vae.estimator import VAE
from mumei.vae.semi_base import SemiSupervised, under
from mumei.vae.semi_m2 import M2Classifier

USED = 0.1  # deviation over the rows of a latent's means above which M2 is told it: the first author's program has this rule

__all__ = ["M1Classifier", "M1M2Classifier", "M2Classifier"]


class _OnLatents(SemiSupervised):
    """A classifier on the latents of `vae_`, a VAE of all rows."""

    n_latent: Any
    hidden: Any
    activation: str
    likelihood: Any
    scale: str
    epochs: int
    batch_size: int
    learning_rate: float

    def _fit_vae(self, rows: Any) -> None:
        self.vae_ = VAE(
            n_latent=self.n_latent,
            hidden=self.hidden,
            activation=self.activation,
            likelihood=self.likelihood,
            scale=self.scale,
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            random_state=seeds.seed32(self.seed_, "m1"),
            progress=self.progress,
        ).fit(rows)
        self.notes_ = list(self.vae_.notes_)
        self.n_iter_ = self.vae_.n_iter_

    def _latents(self, X: Any) -> np.ndarray:
        """Return the means of q(z1|x) (n, n_latent), float64."""
        rows = self._read(X)
        self.vae_._check(rows)
        return self._posterior(rows)[0]

    def _posterior(self, rows: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return means and deviations of q(z1|x): two float64 arrays (n, n_latent).

        In float64 no row's class depends on how many rows there are.
        """
        net, scaling = copy.deepcopy(self.vae_.net_).double(), self.vae_.scaling_
        found: list[tuple[Tensor, Tensor]] = []
        with torch.no_grad():
            for start in range(0, rows.shape[0], CHUNK):
                values = torch.from_numpy(dense(rows[start : start + CHUNK]).astype(np.float64))
                found.append(net.encode((values - scaling.centre.double()) * scaling.factor.double()))
        means, log_variances = (torch.cat(parts) for parts in zip(*found, strict=True))
        return means.numpy(), torch.exp(0.5 * log_variances).numpy()

    def _vae_tensors(self) -> tuple[dict[str, Any], dict[str, Any]]:
        state = self.vae_.state()
        return state.parameters, {f"m1.{k}": v for k, v in state.tensors.items()}

    def _take_vae(self, state: State) -> None:
        self.vae_ = VAE.from_state(State(state.parameters["m1"], under("m1.", state.tensors)))


class M1Classifier(_OnLatents):
    """A VAE of all rows, and a classifier on the latents of the labelled ones.

    The model of the rows knows no classes, so it cannot draw rows of one; `vae_.sample` draws rows.

    Parameters
    ----------
    n_latent, hidden, activation, likelihood, scale, epochs, batch_size, learning_rate
        As for `VAE`.
    classifier : scikit-learn classifier, optional
        Logistic regression by default. Another one must give `predict_proba`, and cannot be saved to a file.
    random_state : int, RandomState or None
    progress : mumei.core.progress.Progress, optional

    Attributes
    ----------
    classes_ : ndarray (k,)
    vae_ : VAE
    classifier_ : classifier
        Of the classes' numbers in `classes_`.
    notes_ : list of str
        What was chosen without being asked for.

    Examples
    --------
    >>> X = np.repeat([[0.0, 0.0], [5.0, 5.0]], 20, axis=0) + np.random.default_rng(0).normal(size=(40, 2))
    >>> y = np.array([0] * 2 + [-1] * 18 + [1] * 2 + [-1] * 18)
    >>> M1Classifier(n_latent=1, epochs=50, random_state=0).fit(X, y).predict([[0.0, 0.0], [5.0, 5.0]])
    array([0, 1])
    """

    def __init__(
        self,
        *,
        n_latent: Any = "auto",
        hidden: Any = (128,),
        activation: str = "softplus",
        likelihood: Any = "auto",
        scale: str = "auto",
        epochs: int = 50,
        batch_size: int = 100,
        learning_rate: float = 2e-3,
        classifier: Any = None,
        random_state: Any = None,
        progress: Any = None,
    ):
        self.n_latent = n_latent
        self.hidden = hidden
        self.activation = activation
        self.likelihood = likelihood
        self.scale = scale
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.classifier = classifier
        self.random_state = random_state
        self.progress = progress

    @classmethod
    def example(cls) -> Self:
        """Return one whose fit is short, for the conformance checks."""
        return cls(n_latent="auto", hidden=(8,), epochs=20, batch_size=32, learning_rate=0.01)

    def fit(self, X: Any, y: Any) -> Self:
        """Train on rows X (n, n_features), dense or CSR, and labels y (n,), -1, NaN, None or "" where unknown.

        Raises
        ------
        DataError, UsageError
            Data or arguments that do not fit.
        NonFiniteError
            Training diverged.
        """
        rows, codes = self._begin(X, y)
        classifier: Any = LogisticRegression(max_iter=2000) if self.classifier is None else clone(self.classifier)
        if not hasattr(classifier, "predict_proba"):
            raise UsageError(f"classifier={self.classifier!r} has no predict_proba; give a classifier that has it.")
        self._fit_vae(rows)
        known = np.flatnonzero(codes >= 0)
        self.classifier_ = classifier.fit(self._posterior(rows[known])[0], codes[known])
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the classes' probabilities (n, k)."""
        latents = self._latents(X)
        return self.classifier_.predict_proba(latents)

    def transform(self, X: Any) -> np.ndarray:
        """Return the posterior means of z: float32 (n, n_latent)."""
        return self._latents(X).astype(np.float32)

    def state(self) -> State:
        """Return what the model is made of; a classifier of another kind than the default raises `ArtifactError`."""
        if self.classifier is not None:
            raise ArtifactError(
                f"a model with classifier={self.classifier!r} cannot be saved: only the default, logistic regression, has a "
                "form without pickle. Save vae_ and fit the classifier again."
            )
        parameters = self._parameters()
        parameters["m1"], tensors = self._vae_tensors()
        tensors["coef"] = torch.from_numpy(self.classifier_.coef_.copy())
        tensors["intercept"] = torch.from_numpy(self.classifier_.intercept_.copy())
        return State(parameters, tensors, seeds={"random_state": self.seed_})

    @classmethod
    def from_state(cls, state: State) -> Self:
        """Make the model that `state` describes."""
        made = cls._remade({k: v for k, v in state.parameters.items() if k != "m1"})
        made._take_vae(state)
        classifier: Any = LogisticRegression(max_iter=2000)
        classifier.coef_, classifier.intercept_ = state.tensors["coef"].numpy(), state.tensors["intercept"].numpy()
        classifier.classes_, classifier.n_features_in_ = np.arange(len(made.classes_)), classifier.coef_.shape[1]
        made.classifier_ = classifier
        return made


class M1M2Classifier(_OnLatents):
    """M2 on the latents of M1.

    Parameters
    ----------
    n_latent, hidden, activation, likelihood, scale, epochs, batch_size, learning_rate
        Of M1, as for `VAE`.
    m2_latent : int
        Width of z2, what is left of a row's latents beside its class.
    m2_hidden, classifier_hidden : sequence of int
        Hidden layers of M2, as in `M2Classifier`.
    m2_epochs : int
    m2_learning_rate : float
    draws : bool
        Train M2 on fresh draws of q(z1|x) at each step, in place of its standardised means.
    alpha, labelled_batch, warmup_epochs
        As in `M2Classifier`.
    random_state : int, RandomState or None
    progress : mumei.core.progress.Progress, optional

    Attributes
    ----------
    classes_ : ndarray (k,)
    vae_ : VAE
    used_ : list of int
        The latents that M2 is told: those that differ between rows, or all where none does.
    m2_ : M2Classifier
        Of the classes' numbers in `classes_`.
    notes_ : list of str
        What was chosen without being asked for.

    Examples
    --------
    >>> X = np.repeat([[0.0, 0.0], [5.0, 5.0]], 20, axis=0) + np.random.default_rng(0).normal(size=(40, 2))
    >>> y = np.array([0] * 2 + [-1] * 18 + [1] * 2 + [-1] * 18)
    >>> M1M2Classifier(n_latent=2, m2_latent=1, random_state=0).fit(X, y).predict([[0.0, 0.0], [5.0, 5.0]])
    array([0, 1])
    """

    _learned = (*SemiSupervised._learned, "used_")

    def __init__(
        self,
        *,
        n_latent: Any = "auto",
        hidden: Any = (128,),
        activation: str = "softplus",
        likelihood: Any = "auto",
        scale: str = "auto",
        epochs: int = 50,
        batch_size: int = 100,
        learning_rate: float = 2e-3,
        m2_latent: int = 10,
        m2_hidden: Any = (128,),
        classifier_hidden: Any = (128,),
        m2_epochs: int = 80,
        m2_learning_rate: float = 1e-3,
        draws: bool = False,
        alpha: float = 1.0,
        labelled_batch: int = 100,
        warmup_epochs: int = 30,
        random_state: Any = None,
        progress: Any = None,
    ):
        self.n_latent = n_latent
        self.hidden = hidden
        self.activation = activation
        self.likelihood = likelihood
        self.scale = scale
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.m2_latent = m2_latent
        self.m2_hidden = m2_hidden
        self.classifier_hidden = classifier_hidden
        self.m2_epochs = m2_epochs
        self.m2_learning_rate = m2_learning_rate
        self.draws = draws
        self.alpha = alpha
        self.labelled_batch = labelled_batch
        self.warmup_epochs = warmup_epochs
        self.random_state = random_state
        self.progress = progress

    @classmethod
    def example(cls) -> Self:
        """Return one whose fit is short, for the conformance checks."""
        return cls(
            hidden=(8,),
            epochs=40,
            batch_size=32,
            learning_rate=0.01,
            m2_latent=2,
            m2_hidden=(16,),
            classifier_hidden=(16,),
            m2_epochs=60,
            warmup_epochs=20,
            m2_learning_rate=0.01,
        )

    def fit(self, X: Any, y: Any) -> Self:
        """Train on rows X (n, n_features), dense or CSR, and labels y (n,), -1, NaN, None or "" where unknown.

        Raises
        ------
        DataError, UsageError
            Data or arguments that do not fit.
        NonFiniteError
            Training diverged.
        """
        rows, codes = self._begin(X, y)
        self._fit_vae(rows)
        means, deviations = self._posterior(rows)
        used = means.std(0) > USED
        self.used_ = np.flatnonzero(used if used.any() else ~used).tolist()
        means, deviations = means[:, self.used_], deviations[:, self.used_]
        self.m2_ = self._made_m2()
        self.m2_.fit_latents(means, codes, torch.from_numpy(deviations).float() if self.draws else None)
        return self

    def _made_m2(self) -> M2Classifier:
        return M2Classifier(
            n_latent=self.m2_latent,
            hidden=self.m2_hidden,
            classifier_hidden=self.classifier_hidden,
            activation=self.activation,
            likelihood="gaussian",
            # All rows' draws are near N(0, I) together; the means of a dimension that is hardly used are near 0.
            scale="none" if self.draws else "standard",
            alpha=self.alpha,
            labelled_batch=self.labelled_batch,
            warmup_epochs=self.warmup_epochs,
            epochs=self.m2_epochs,
            batch_size=self.batch_size,
            learning_rate=self.m2_learning_rate,
            random_state=seeds.seed32(self.seed_, "m2"),
            progress=self.progress,
        )

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return q(y|z1) at the posterior means of z1 (n, k)."""
        latents = self._latents(X)
        return self.m2_.predict_proba(latents[:, self.used_])

    def transform(self, X: Any) -> np.ndarray:
        """Return the posterior means of z1, M1's latents: float32 (n, n_latent); M2 is told those in `used_`."""
        return self._latents(X).astype(np.float32)

    def sample(self, label: Any, n: int = 1, *, seed: int | None = None) -> np.ndarray:
        """Draw z1 of a class by M2, and return the rows that M1 expects of them, float32 (n, n_features), in the data's units.

        Raises
        ------
        DataError
            No such class.
        """
        drawn = self.m2_.sample(self._code(label), n, seed=seed)
        latents = np.zeros((n, self.vae_.latent_), dtype=np.float32)
        latents[:, self.used_] = drawn
        return self.vae_.inverse_transform(latents)

    def state(self) -> State:
        """Return what the model is made of."""
        parameters = self._parameters()
        parameters["m1"], tensors = self._vae_tensors()
        second = self.m2_.state()
        parameters["m2"] = second.parameters
        tensors |= {f"m2.{k}": v for k, v in second.tensors.items()}
        return State(parameters, tensors, seeds={"random_state": self.seed_})

    @classmethod
    def from_state(cls, state: State) -> Self:
        """Make the model that `state` describes."""
        made = cls._remade({k: v for k, v in state.parameters.items() if k not in ("m1", "m2")})
        made._take_vae(state)
        made.m2_ = M2Classifier.from_state(State(state.parameters["m2"], under("m2.", state.tensors)))
        return made
