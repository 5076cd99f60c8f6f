"""`M2Classifier`: classes learned from few labels and many rows without, by a generative model with the class in it.

Source: Kingma, Mohamed, Rezende and Welling 2014, "Semi-supervised Learning with Deep Generative Models"; the model and its
bounds are in `semi_bound.py`. An unknown label is -1, NaN, None or "" (`labels.py`): so -1 cannot be the name of a class.

Departure: Adam in place of RMSprop with momentum.
"""

from __future__ import annotations

import copy
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from mumei.core import seeds
from mumei.core.artifact import State
from mumei.core.config import TrainConfig, at_least
from mumei.core.inputs import CHUNK, dense
from mumei.core.progress import SILENT
from mumei.core.train import fit as train
from mumei.vae.choose import make_likelihood, propose
from mumei.vae.inputs import Scaling, check_values, choose_scaling, training_rows
from mumei.vae.semi_base import SemiSupervised, under, widths
from mumei.vae.semi_bound import M2Method, M2Net, labelled_bound, unlabelled_bound


class M2Classifier(SemiSupervised):
    """A generative model with the class as one of its causes.

    Parameters
    ----------
    n_latent : int
        Width of z, what is left of a row beside its class.
    hidden, classifier_hidden : sequence of int
        Hidden layers of encoder and (reversed) decoder, and of q(y|x).
    activation : str
        See `mumei.nn.mlp.ACTIVATIONS`.
    likelihood, scale
        As for `VAE`.
    alpha : float
        Weight of the classification term: each labelled row's surprise counts alpha N / N_labelled. The paper has 0.1 with 50,000
        rows; with 1,000 to 10,000, where that is a small number, 1 to 10 went better.
    labelled_batch : int
        Labelled rows in a step, at most.
    warmup_epochs : int
        Epochs at the start in which q(y|x) learns from the labelled rows alone; the paper has none.
    weight_prior : bool
        N(0, I) on the weights of q(z|x, y) and p(x|y, z).
    epochs, batch_size, learning_rate
        See `mumei.core.config.TrainConfig`.
    random_state : int, RandomState or None
    progress : mumei.core.progress.Progress, optional

    Attributes
    ----------
    classes_ : ndarray (k,)
    net_ : M2Net
    history_ : list of dict
        For each epoch the means of "bound", nats per row of the scaled data, and "classification".
    notes_ : list of str
        What was chosen without being asked for.

    Examples
    --------
    >>> X = np.repeat([[0.0, 0.0], [5.0, 5.0]], 20, axis=0) + np.random.default_rng(0).normal(size=(40, 2))
    >>> y = np.array(["near"] + [""] * 19 + ["far"] + [""] * 19)
    >>> model = M2Classifier(n_latent=1, hidden=(8,), classifier_hidden=(8,), epochs=100, random_state=0).fit(X, y)
    >>> model.predict([[0.0, 0.0], [5.0, 5.0]])
    array(['near', 'far'], dtype='<U4')
    """

    _learned = (*SemiSupervised._learned, "likelihood_", "history_")

    def __init__(
        self,
        *,
        n_latent: int = 10,
        hidden: Any = (128,),
        classifier_hidden: Any = (128,),
        activation: str = "softplus",
        likelihood: Any = "auto",
        scale: str = "auto",
        alpha: float = 1.0,
        labelled_batch: int = 100,
        warmup_epochs: int = 30,
        weight_prior: bool = True,
        epochs: int = 80,
        batch_size: int = 100,
        learning_rate: float = 1e-3,
        random_state: Any = None,
        progress: Any = None,
    ):
        self.n_latent = n_latent
        self.hidden = hidden
        self.classifier_hidden = classifier_hidden
        self.activation = activation
        self.likelihood = likelihood
        self.scale = scale
        self.alpha = alpha
        self.labelled_batch = labelled_batch
        self.warmup_epochs = warmup_epochs
        self.weight_prior = weight_prior
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.random_state = random_state
        self.progress = progress

    @classmethod
    def example(cls) -> Self:
        """Return one whose fit is short, for the conformance checks."""
        return cls(
            n_latent=2,
            hidden=(16,),
            classifier_hidden=(16,),
            warmup_epochs=10,
            epochs=40,
            batch_size=32,
            learning_rate=0.01,
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
        return self._fit(rows, codes)

    def fit_latents(self, Z: np.ndarray, codes: np.ndarray, deviations: Tensor | None = None) -> Self:
        """Train on posteriors of latents, means Z and deviations (n, latent), and on classes' numbers (n,), -1 where unknown.

        Each step sees a fresh draw; without deviations, the means.
        """
        rows, codes = self._begin(Z, codes)
        return self._fit(rows, codes, deviations)

    def _fit(self, rows: Any, codes: np.ndarray, deviations: Tensor | None = None) -> Self:
        at_least("n_latent", self.n_latent, 1, whole=True)
        self.notes_: list[str] = []
        config = self.likelihood
        if config == "auto":
            proposal = propose(rows)
            config = proposal.config
            self.notes_.append(proposal.reason)
        likelihood = make_likelihood(config, rows.shape[1])
        self.likelihood_ = dict(sorted(likelihood.config().items()))
        self.scaling_, said = choose_scaling(rows, likelihood, self.scale)
        self.notes_ += [said] if said else []
        self._check(rows, likelihood)
        self._make_net()
        if deviations is not None:
            deviations = deviations * self.scaling_.factor
        x, targets = training_rows(rows, self.scaling_), torch.from_numpy(codes)
        method = M2Method(
            self.net_,
            x,
            targets,
            alpha=self.alpha,
            labelled_batch=self.labelled_batch,
            warmup_steps=self.warmup_epochs * -(-len(codes) // self.batch_size),
            weight_prior=self.weight_prior,
            scaling=self.scaling_,
            deviations=deviations,
        )
        training = TrainConfig(
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            seed=seeds.child(self.seed_, "training"),
        )
        history = train(method, (x, targets), training, progress=self.progress or SILENT, label="M2")
        self.history_ = [dict(sorted(e.items())) for e in history.epochs]
        self.n_iter_ = len(self.history_)
        return self

    def _check(self, rows: Any, likelihood: Any) -> None:
        plain = self.scaling_.factor.numel() == 1 and not bool((self.scaling_.centre != 0).any())
        if plain or likelihood.name != "bernoulli":  # a scaling to 0..1 may be left by rows that training did not see
            check_values(rows, likelihood, float(self.scaling_.factor[0]) if plain else 1.0)

    def _make_net(self) -> None:
        self.net_ = M2Net(
            make_likelihood(self.likelihood_, self.n_features_in_),
            len(self.classes_),
            self.n_latent,
            widths(self.hidden),
            classifier_hidden=widths(self.classifier_hidden),
            activation=self.activation,
            seed=seeds.child(self.seed_, "network"),
        )

    def _parts(self, X: Any) -> list[Tensor]:
        rows = self._read(X)
        self._check(rows, self.net_.vae.likelihood)
        parts = [dense(rows[s : s + CHUNK]).astype(np.float64) for s in range(0, rows.shape[0], CHUNK)]
        centre, factor = self.scaling_.centre.double(), self.scaling_.factor.double()
        return [(torch.from_numpy(p) - centre) * factor for p in parts]

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return q(y|x) (n, k)."""
        parts, net = self._parts(X), copy.deepcopy(self.net_).double()
        with torch.no_grad():
            return torch.cat([net.log_classes(x).exp() for x in parts]).numpy()

    def transform(self, X: Any) -> np.ndarray:
        """Return the posterior means of z, averaged over q(y|x): float32 (n, n_latent)."""
        parts, net = self._parts(X), copy.deepcopy(self.net_).double()
        with torch.no_grad():
            found = [torch.einsum("nk,knj->nj", net.log_classes(x).exp(), net.encode_each(x)[0]) for x in parts]
        return torch.cat(found).float().numpy()

    def score_samples(self, X: Any, y: Any = None) -> np.ndarray:
        """Return the bound on log p(x) of each row, or on log p(x, y), in nats and the data's units, by 16 draws of z: (n,)."""
        parts, net = self._parts(X), copy.deepcopy(self.net_).double()
        volume = self.scaling_.log_volume(self.n_features_in_) if self.likelihood_["name"] == "gaussian" else 0.0
        codes = None if y is None else torch.tensor([self._code(v) for v in np.asarray(y).tolist()])
        found, start = [], 0
        with torch.no_grad():
            for x in parts:
                rng = seeds.torch_generator(self.seed_, "score")
                if codes is None:
                    found.append(unlabelled_bound(net, x, rng, 16, common=True))
                else:
                    found.append(labelled_bound(net, x, codes[start : start + len(x)], rng, 16, common=True))
                start += len(x)
        return torch.cat(found).numpy() + volume

    def sample(self, label: Any, n: int = 1, *, seed: int | None = None, mean: bool = False) -> np.ndarray:
        """Draw rows of a class, float32 (n, n_features), in the data's units.

        Parameters
        ----------
        label : a value of `classes_`
        mean : bool
            Return E[x|y, z] of drawn z in place of drawn x.

        Raises
        ------
        DataError
            No such class.
        """
        code = self._code(label)
        at_least("n", n, 1, whole=True)
        rng = seeds.torch_generator(self.seed_ if seed is None else seed, "sample")
        z = torch.randn(n, self.n_latent, generator=rng)
        with torch.no_grad():
            out = self.net_.vae.decode(z, self.net_.one_hot(torch.full((n,), code)))
            likelihood = self.net_.vae.likelihood
            x = likelihood.mean(out) if mean else likelihood.sample(out, rng)
            return self.scaling_.undo(x).float().numpy()

    def state(self) -> State:
        """Return what the model is made of."""
        tensors = {f"net.{k}": v.contiguous() for k, v in self.net_.state_dict().items()}
        tensors |= {"scaling.centre": self.scaling_.centre, "scaling.factor": self.scaling_.factor}
        notes = "\n".join(f"- {note}" for note in self.notes_)
        return State(self._parameters(), tensors, seeds={"random_state": self.seed_}, notes=notes)

    @classmethod
    def from_state(cls, state: State) -> Self:
        """Make the model that `state` describes."""
        made = cls._remade(state.parameters)
        made.scaling_ = Scaling(state.tensors["scaling.centre"], state.tensors["scaling.factor"])
        made._make_net()
        made.net_.load_state_dict(under("net.", state.tensors))
        return made
