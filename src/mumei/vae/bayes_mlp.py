"""`BayesianMLPClassifier` and `BayesianMLPRegressor`: SGVB on global parameters, without z, as scikit-learn estimators.

Source: Kingma and Welling 2013, appendix F, of which this is the case without latent variables; gradients by the local
reparameterisation of Kingma, Salimans and Welling 2015 (`bayes_linear.py`). What is climbed, and reported, is the bound on the
evidence in nats per row:

    1/N log p(D) >= 1/N sum_n E_q[log p(y_n | x_n, w)] - KL(q(w) || p(w)) / N

Departures: columns are standardised (so is the regressor's target; its densities are in the target's own units); the
regressor integrates the last layer in closed form, in training and in prediction, since a Gaussian likelihood lets it; its
noise is a point estimate unless it is given. Predictions average over draws of q with noise that is the same for all rows, so a
row's answer does not depend on the others. The prior's deviation is 2 by default, where the paper's is 1.

A known limit: a diagonal posterior keeps only what the data pays for, so on a few hundred rows the networks stay simpler than
ones trained without a posterior (two moons, 200 rows: 95 % right, not 100 %), and between two patches of data they are surer
than they should be.
"""

from __future__ import annotations

import copy
import math
from typing import Any, Self, cast

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import column_or_1d
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor, nn

from mumei.core import seeds
from mumei.core.artifact import Saveable, State
from mumei.core.config import TrainConfig, at_least
from mumei.core.errors import DataError, UsageError
from mumei.core.method import At, Loss, Objective
from mumei.core.progress import SILENT
from mumei.core.train import fit as train
from mumei.vae.bayes_linear import BayesNet
from mumei.vae.labels import from_json, read_labels, to_json
from mumei.vae.likelihoods import LOG_2PI

CHUNK = 512  # rows predicted at a time
JUDGED = 32  # draws of the weights in the bound that is reported


class _BayesianMLP(Saveable, BaseEstimator):
    """What both estimators share: standardised columns, training, files."""

    n_features_in_: int
    _learned: tuple[str, ...] = ("n_features_in_", "feature_names_in_", "seed_", "history_", "bound_", "n_iter_")

    def __init__(
        self,
        *,
        hidden: Any = (50,),
        activation: str = "relu",
        prior_std: float = 2.0,
        standardise: bool = True,
        samples: int = 1,
        predict_samples: int = 200,
        epochs: int = 300,
        batch_size: int = 100,
        learning_rate: float = 1e-2,
        warmup_epochs: int = 0,
        random_state: Any = None,
        progress: Any = None,
    ):
        self.hidden = hidden
        self.activation = activation
        self.prior_std = prior_std
        self.standardise = standardise
        self.samples = samples
        self.predict_samples = predict_samples
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.warmup_epochs = warmup_epochs
        self.random_state = random_state
        self.progress = progress

    @classmethod
    def example(cls) -> Self:
        """Return one whose fit is short, for the conformance checks."""
        return cls(hidden=(8,), epochs=60, learning_rate=0.03, predict_samples=20)

    # What the two differ in.

    def _outputs(self) -> int:
        raise NotImplementedError

    def _expected_log_lik(self, x: Tensor, y: Tensor, generator: torch.Generator, samples: int) -> Tensor:
        """Return an estimate of E_q[log p(y|x, w)] per row (n,), in nats of the scaled target."""
        raise NotImplementedError

    # Fitting.

    def _begin(self, X: Any) -> np.ndarray:
        """Check the arguments and rows; return the rows, float64."""
        for name in ("samples", "predict_samples"):
            at_least(name, getattr(self, name), 1, whole=True)
        at_least("warmup_epochs", self.warmup_epochs, 0, whole=True)
        rows = cast("Any", validate_data)(self, X, dtype=np.float64, reset=True)
        self.seed_ = seeds.resolve(self.random_state)
        self.centre_, self.factor_ = _standard(rows) if self.standardise else _plain(rows.shape[1])
        return rows

    def _make_net(self) -> None:
        sizes = (self.n_features_in_, *_widths(self.hidden), self._outputs())
        self.net_ = BayesNet(
            sizes, activation=self.activation, prior_std=self.prior_std, seed=seeds.child(self.seed_, "network")
        )

    def _nets(self) -> dict[str, nn.Module]:
        return {"net": self.net_}

    def _scaled(self, rows: np.ndarray) -> Tensor:
        return torch.from_numpy((rows - self.centre_) * self.factor_)

    def _train(self, rows: np.ndarray, target: Tensor) -> None:
        n, x = len(rows), self._scaled(rows).float()
        warmup = self.warmup_epochs * -(-n // self.batch_size)

        def loss(batch: tuple[Tensor, ...], at: At) -> Loss:
            fit = self._expected_log_lik(batch[0], batch[1], at.rng, self.samples).mean()
            kl = self.net_.kl() / n
            weight = min(1.0, (at.step + 1) / warmup) if warmup else 1.0
            return Loss(weight * kl - fit, {"fit": fit, "kl": kl, "bound": fit - kl})

        config = TrainConfig(
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            schedule="cosine",
            seed=seeds.child(self.seed_, "training"),
        )
        label = type(self).__name__
        history = train(
            Objective(self._nets(), loss), (x, target), config, progress=self.progress or SILENT, label=label
        )
        self.history_ = [dict(sorted(e.items())) for e in history.epochs]
        self.n_iter_ = len(self.history_)
        self.bound_ = self._judge(x, target)

    def _judge(self, x: Tensor, target: Tensor) -> float:
        """Return the bound per row of the training rows, with many draws."""
        rng, total = seeds.torch_generator(self.seed_, "bound"), 0.0
        with torch.no_grad():
            for rows, y in zip(x.split(CHUNK), target.split(CHUNK), strict=True):
                total += float(self._expected_log_lik(rows, y, rng, JUDGED).double().sum())
            return (total - float(self.net_.kl())) / len(x)

    # Predicting.

    def _asked(self, X: Any) -> tuple[BayesNet, Tensor]:
        """Return the network and the scaled rows in float64: no row's answer then depends on how many there are."""
        check_is_fitted(self, "net_")
        rows = cast("Any", validate_data)(self, X, dtype=np.float64, reset=False)
        return copy.deepcopy(self.net_).double(), self._scaled(rows)

    def _draws(self) -> torch.Generator:
        return seeds.torch_generator(self.seed_, "predict")

    # Files.

    def state(self) -> State:
        """Return what the model is made of."""
        check_is_fitted(self, "net_")
        given = self.get_params(deep=False)
        seed = given["random_state"]
        given["random_state"] = (
            None if seed is None else int(seed) if isinstance(seed, int | np.integer) else self.seed_
        )
        given["progress"] = None
        kind = type(given["hidden"]).__name__
        given["hidden"] = given["hidden"] if kind == "int" else [int(h) for h in given["hidden"]]
        learned = {name: getattr(self, name) for name in self._learned if hasattr(self, name)}
        for name in ("feature_names_in_", "classes_"):
            if name in learned:
                learned[name] = to_json(learned[name])
        tensors = {f"net.{k}": v.contiguous() for k, v in self.net_.state_dict().items()}
        tensors |= {"centre": torch.from_numpy(self.centre_), "factor": torch.from_numpy(self.factor_)}
        metrics = {"bound per row": self.bound_}
        return State({"given": given, "hidden": kind, "learned": learned}, tensors, seeds={"random_state": self.seed_},
                     metrics=metrics)  # fmt: skip

    @classmethod
    def from_state(cls, state: State) -> Self:
        """Make the model that `state` describes."""
        given, learned = dict(state.parameters["given"]), dict(state.parameters["learned"])
        if state.parameters["hidden"] == "tuple":
            given["hidden"] = tuple(given["hidden"])
        made = cls(**given)
        for name, value in learned.items():
            setattr(made, name, from_json(value) if name in ("feature_names_in_", "classes_") else value)
        made.centre_, made.factor_ = state.tensors["centre"].numpy(), state.tensors["factor"].numpy()
        made._make_net()
        made.net_.load_state_dict({k.removeprefix("net."): v for k, v in state.tensors.items() if k.startswith("net.")})
        return made


class BayesianMLPClassifier(ClassifierMixin, _BayesianMLP):
    """A classifier that is sure only where the data makes it so.

    Parameters
    ----------
    hidden : sequence of int
        Widths of the hidden layers; () is Bayesian logistic regression.
    activation : str
        See `mumei.nn.mlp.ACTIVATIONS`.
    prior_std : float
        Of the weights; see `mumei.vae.bayes_linear.BayesNet`.
    standardise : bool
        Bring columns to mean 0 and deviation 1 first.
    samples, predict_samples : int
        Draws of the weights in a training step and in a prediction.
    epochs, batch_size, learning_rate
        See `mumei.core.config.TrainConfig`; the learning rate falls along a cosine.
    warmup_epochs : int
        Epochs over which the weight of the KL rises from 0.
    random_state : int, RandomState or None
    progress : mumei.core.progress.Progress, optional

    Attributes
    ----------
    classes_ : ndarray (k,)
    net_ : BayesNet
    bound_ : float
        On the log evidence of the labels, nats per row, the weights' KL / N included.
    history_ : list of dict
        For each epoch the means of "fit", "kl" and "bound", nats per row.

    Examples
    --------
    >>> X = np.array([[0.0], [1.0], [2.0], [3.0]])
    >>> BayesianMLPClassifier(hidden=(), epochs=50, random_state=0).fit(X, ["a", "a", "b", "b"]).predict([[-1.0], [4.0]])
    array(['a', 'b'], dtype='<U1')
    """

    _learned = (*_BayesianMLP._learned, "classes_")

    def fit(self, X: Any, y: Any) -> Self:
        """Find q(w) for rows X (n, n_features) and labels y (n,).

        Raises
        ------
        DataError, UsageError
            Data or arguments that do not fit.
        NonFiniteError
            Training diverged.
        """
        rows = self._begin(X)
        self.classes_, codes = read_labels(y, len(rows))
        self._make_net()
        self._train(rows, torch.from_numpy(codes))
        return self

    def _outputs(self) -> int:
        return len(self.classes_)

    def _expected_log_lik(self, x: Tensor, y: Tensor, generator: torch.Generator, samples: int) -> Tensor:
        logits = self.net_.sample(x, generator, samples).log_softmax(-1)
        return logits.gather(-1, y.expand(samples, -1).unsqueeze(-1)).squeeze(-1).mean(0)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the classes' probabilities (n, k), averaged over draws of the weights."""
        net, x = self._asked(X)
        found = []
        with torch.no_grad():
            for rows in x.split(CHUNK):
                drawn = net.sample(rows, self._draws(), self.predict_samples, common=True)
                found.append(drawn.softmax(-1).mean(0))
        return torch.cat(found).numpy()

    def predict(self, X: Any) -> np.ndarray:
        """Return each row's most probable class (n,)."""
        best = self.predict_proba(X).argmax(1)
        return self.classes_[best]


class BayesianMLPRegressor(RegressorMixin, _BayesianMLP):
    """A regressor whose deviations grow away from the data.

    Parameters
    ----------
    noise : float or "learned"
        The standard deviation of y about the network's output, in y's units; "learned" is a point estimate.
    hidden, activation, prior_std, samples, predict_samples, epochs, batch_size, learning_rate, warmup_epochs, random_state,
    progress
        As in `BayesianMLPClassifier`; hidden=() is Bayesian linear regression.
    standardise : bool
        Bring columns and target to mean 0 and deviation 1 first; the prior is on the weights of these.

    Attributes
    ----------
    net_ : BayesNet
    noise_ : float
        In y's units.
    bound_ : float
        On the log evidence of the targets, nats per row in y's units, the weights' KL / N included.
    history_ : list of dict
        For each epoch the means of "fit", "kl" and "bound", nats per row of the standardised target.

    Examples
    --------
    >>> X = np.linspace(0, 1, 20)[:, None]
    >>> mean, std = BayesianMLPRegressor(hidden=(), random_state=0).fit(X, 3 * X[:, 0]).predict([[0.5]], return_std=True)
    >>> bool(abs(mean[0] - 1.5) < 0.05)
    True
    """

    _learned = (*_BayesianMLP._learned, "y_centre_", "y_factor_", "noise_")

    def __init__(
        self,
        *,
        noise: Any = "learned",
        hidden: Any = (50,),
        activation: str = "relu",
        prior_std: float = 2.0,
        standardise: bool = True,
        samples: int = 1,
        predict_samples: int = 200,
        epochs: int = 300,
        batch_size: int = 100,
        learning_rate: float = 1e-2,
        warmup_epochs: int = 0,
        random_state: Any = None,
        progress: Any = None,
    ):
        super().__init__(
            hidden=hidden,
            activation=activation,
            prior_std=prior_std,
            standardise=standardise,
            samples=samples,
            predict_samples=predict_samples,
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            warmup_epochs=warmup_epochs,
            random_state=random_state,
            progress=progress,
        )
        self.noise = noise

    def fit(self, X: Any, y: Any) -> Self:
        """Find q(w) for rows X (n, n_features) and targets y (n,).

        Raises
        ------
        DataError, UsageError
            Data or arguments that do not fit.
        NonFiniteError
            Training diverged.
        """
        self._check_noise()
        rows = self._begin(X)
        target = _targets(y, len(rows))
        self.y_centre_, self.y_factor_ = 0.0, 1.0
        if self.standardise:
            centre, factor = _standard(target[:, None])
            self.y_centre_, self.y_factor_ = float(centre[0]), float(factor[0])
        self._make_net()
        fixed = self.noise != "learned"
        start = math.log(self.noise * self.y_factor_) if fixed else math.log(0.3)
        self._log_noise = nn.ParameterList([nn.Parameter(torch.tensor(start), requires_grad=not fixed)])
        self._train(rows, torch.from_numpy((target - self.y_centre_) * self.y_factor_).float())
        self.bound_ += math.log(self.y_factor_)
        self.noise_ = float(self.noise) if fixed else math.exp(self._log_noise[0].item()) / self.y_factor_
        del self._log_noise
        return self

    def _check_noise(self) -> None:
        if isinstance(self.noise, str) and self.noise != "learned":
            raise UsageError(f"noise={self.noise!r} is not allowed; give a positive number or 'learned'.")
        if self.noise != "learned":
            at_least("noise", self.noise, 0.0, strictly=True)

    def _nets(self) -> dict[str, nn.Module]:
        return {"net": self.net_, "noise": self._log_noise}

    def _outputs(self) -> int:
        return 1

    def _expected_log_lik(self, x: Tensor, y: Tensor, generator: torch.Generator, samples: int) -> Tensor:
        mean, variance = (m.squeeze(-1) for m in self.net_.moments(x, generator, samples))
        log_variance = 2.0 * self._log_noise[0]
        each = ((y - mean).square() + variance) * torch.exp(-log_variance) + log_variance + LOG_2PI
        return -0.5 * each.mean(0)

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """Return the predictive means (n,), and with `return_std` the deviations (n,) of y, noise included."""
        net, x = self._asked(X)
        means, spreads = [], []
        with torch.no_grad():
            for rows in x.split(CHUNK):
                drawn = net.moments(rows, self._draws(), self.predict_samples, common=True)
                mean, variance = (m.squeeze(-1) for m in drawn)
                means.append(mean.mean(0))
                spreads.append(variance.mean(0) + mean.var(0, correction=0))
        mean = torch.cat(means).numpy() / self.y_factor_ + self.y_centre_
        if not return_std:
            return mean
        return mean, np.sqrt(torch.cat(spreads).numpy() / self.y_factor_**2 + self.noise_**2)


def _widths(hidden: Any) -> tuple[int, ...]:
    return (hidden,) if isinstance(hidden, int) else tuple(hidden)


def _targets(y: Any, n: int) -> np.ndarray:
    if y is None:
        raise DataError("this estimator requires y to be passed, but the target y is None; give one number a row.")
    given = column_or_1d(y, warn=True)
    if given.dtype.kind not in "biuf":
        try:
            given = given.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise DataError(f"targets of {given.dtype} were given; give numbers.") from error
    if len(given) != n:
        raise DataError(f"y has {len(given)} numbers for {n} rows; inconsistent numbers of samples: give one a row.")
    if not np.isfinite(given).all():
        kind = "NaN" if np.isnan(given).any() else f"infinity or a value too large for {given.dtype!r}"
        raise DataError(f"Input y contains {kind}.")
    return given.astype(np.float64)


def _plain(n_features: int) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros(n_features), np.ones(n_features)


def _standard(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the columns' means and 1 / deviations; a column of one value is only centred."""
    mean, deviation = rows.mean(0), rows.std(0)
    still = deviation <= 1e-12 * np.maximum(np.abs(mean), 1e-30)
    return mean, 1.0 / np.where(still, 1.0, deviation)
