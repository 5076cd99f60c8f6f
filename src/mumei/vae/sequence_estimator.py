"""`SequenceVAE`: the deep Kalman filter as an estimator, for lists of series of unequal length.

Sources and departures: see `sequence.py`. A row is a whole series: bounds and scores are in nats per series, in the units of the
data as given. It has `fit`, `transform`, `score` and `sample` as scikit-learn's estimators do, but its X is a list of arrays, so
it is no estimator of tables.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from mumei.core import seeds
from mumei.core.artifact import Saveable, State
from mumei.core.config import TrainConfig, at_least
from mumei.core.errors import DataError, UsageError
from mumei.core.method import At, Loss, Objective
from mumei.core.progress import SILENT
from mumei.core.train import fit as train
from mumei.vae.choose import make_likelihood, propose
from mumei.vae.estimate import Estimate, finish, log_mean
from mumei.vae.inputs import Scaling, check_values, choose_scaling
from mumei.vae.noise import row_noise
from mumei.vae.objective import BoundConfig
from mumei.vae.outputs import SCORED
from mumei.vae.sequence import SequenceNet, pack
from mumei.vae.tuples import KeepsTuples

CHUNK = 256  # series looked at together
LEARNED = ("n_features_in_", "likelihood_", "seed_", "n_iter_", "history_", "notes_", "kl_per_step_")


class _SequenceVAE(Saveable, BaseEstimator):
    """Arguments, training and files."""

    def __init__(
        self,
        *,
        n_latent: int = 4,
        hidden: int = 64,
        emission: Any = (64,),
        transition: str = "gated",
        direction: str = "backward",
        activation: str = "tanh",
        likelihood: Any = "auto",
        scale: str = "auto",
        estimator: str = "B",
        samples: int = 1,
        beta: float = 1.0,
        free_bits: float = 0.0,
        warmup_epochs: int = 5,
        epochs: int = 50,
        batch_size: int = 50,
        learning_rate: float = 5e-3,
        clip: float | None = 1000.0,
        random_state: Any = None,
        out: Any = None,
        progress: Any = None,
    ):
        self.n_latent = n_latent
        self.hidden = hidden
        self.emission = emission
        self.transition = transition
        self.direction = direction
        self.activation = activation
        self.likelihood = likelihood
        self.scale = scale
        self.estimator = estimator
        self.samples = samples
        self.beta = beta
        self.free_bits = free_bits
        self.warmup_epochs = warmup_epochs
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.clip = clip
        self.random_state = random_state
        self.out = out
        self.progress = progress

    @classmethod
    def example(cls) -> Self:
        """Return one whose fit is short, for the conformance checks."""
        return cls(n_latent=2, hidden=8, emission=(8,), epochs=2)

    # Fitting.

    def fit(self, X: Any, y: Any = None) -> Self:
        """Train on series.

        Parameters
        ----------
        X : sequence of arrays (T_i, d) or (T_i,); or array (n, T, d)
            Two series or more, finite.
        y : ignored

        Raises
        ------
        DataError, UsageError
            Data or arguments that do not fit.
        NonFiniteError
            Training diverged.
        """
        sequences = _read(X)
        if len(sequences) < 2:
            raise DataError(f"{len(sequences)} series were given; training needs at least 2.")
        x, mask = pack(sequences)
        self.seed_, self.n_features_in_, self.notes_ = seeds.resolve(self.random_state), x.shape[2], []
        every = np.concatenate([np.asarray(s).reshape(len(s), -1) for s in sequences])
        self._choose(every)
        self._make_net()
        self._train(self._scaled(x, mask), mask)
        return self

    def _choose(self, steps: np.ndarray) -> None:
        """Choose likelihood and scaling from all steps together."""
        config = self.likelihood
        if config == "auto":
            proposal = propose(steps)
            config = proposal.config
            if config["name"] == "gaussian":
                # One noise a column for all steps, as in a Kalman filter: a head of variances lets the emission eat the dynamics.
                config = {"name": "gaussian", "variance": "shared"}
            kinds = {"gaussian": "values are real numbers: a Gaussian likelihood of a step, with one variance a column"}
            self.notes_.append(kinds.get(config["name"], proposal.reason))
        name = config if isinstance(config, str) else config.get("name")
        if name in ("poisson", "nb", "zinb") and (isinstance(config, str) or "library" not in config):
            config = {**({"name": config} if isinstance(config, str) else config), "library": False}
        likelihood = make_likelihood(config, self.n_features_in_)
        self.likelihood_ = dict(sorted(likelihood.config().items()))
        self.scaling_, said = choose_scaling(steps, likelihood, self.scale)
        self.notes_ += [said] if said else []
        self._check(steps, likelihood)

    def _check(self, steps: np.ndarray, likelihood: Any) -> None:
        if likelihood.name != "gaussian" or likelihood.bounded:
            plain = self.scaling_.factor.numel() == 1 and not bool((self.scaling_.centre != 0).any())
            if plain or likelihood.name != "bernoulli":
                check_values(steps, likelihood, float(self.scaling_.factor[0]) if plain else 1.0)

    def _make_net(self) -> None:
        self.net_ = SequenceNet(
            make_likelihood(self.likelihood_, self.n_features_in_),
            self.n_latent,
            self.hidden,
            (self.emission,) if isinstance(self.emission, int) else tuple(self.emission),
            transition=self.transition,
            direction=self.direction,
            activation=self.activation,
            seed=seeds.child(self.seed_, "network"),
        )

    def _train(self, x: Tensor, mask: Tensor) -> None:
        bound = BoundConfig(
            estimator=self.estimator,
            samples=self.samples,
            beta=self.beta,
            free_bits=self.free_bits,
            warmup_steps=self.warmup_epochs * -(-len(x) // self.batch_size),
        )

        def loss(batch: tuple[Tensor, ...], at: At) -> Loss:
            longest = int(batch[1].sum(1).max())
            return self.net_.loss(batch[0][:, :longest], batch[1][:, :longest], at.rng, bound, at.step)

        config = TrainConfig(
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            clip=self.clip,
            schedule="cosine",
            final_rate=0.05,
            seed=seeds.child(self.seed_, "training"),
            checkpoint_seconds=60.0,
        )
        history = train(
            Objective(self.net_, loss),
            (x, mask),
            config,
            out=self.out,
            progress=self.progress or SILENT,
            label="SequenceVAE",
        )
        self.history_ = [dict(sorted(e.items())) for e in history.epochs]
        self.n_iter_ = len(self.history_)
        with torch.no_grad():
            rng = seeds.torch_generator(self.seed_, "kl")
            self.kl_per_step_ = self.net_.kl_per_step(x[:CHUNK], mask[:CHUNK], rng).tolist()

    def _scaled(self, x: Tensor, mask: Tensor) -> Tensor:
        scaled = (x.double() - self.scaling_.centre.double()) * self.scaling_.factor.double()
        return torch.where(mask[..., None], scaled, 0.0).float()

    # Files.

    def state(self) -> State:
        """Return what the model is made of."""
        check_is_fitted(self, "net_")
        given = self.get_params(deep=False)
        given["random_state"] = None if given["random_state"] is None else self.seed_
        given["out"] = None if given["out"] is None else str(given["out"])
        given["progress"] = None
        tensors = {f"net.{k}": v.contiguous() for k, v in self.net_.state_dict().items()}
        tensors |= {"scaling.centre": self.scaling_.centre, "scaling.factor": self.scaling_.factor}
        return State(
            {"given": given, "learned": {name: getattr(self, name) for name in LEARNED}},
            tensors,
            seeds={"random_state": self.seed_},
            metrics={k: v for k, v in self.history_[-1].items() if isinstance(v, float)},
            notes="\n".join(f"- {note}" for note in self.notes_),
        )

    @classmethod
    def from_state(cls, state: State) -> Self:
        """Make the model that `state` describes."""
        made = cls(**state.parameters["given"])
        for name, value in state.parameters["learned"].items():
            setattr(made, name, value)
        made.scaling_ = Scaling(state.tensors["scaling.centre"], state.tensors["scaling.factor"])
        made._make_net()
        made.net_.load_state_dict({k[4:]: v for k, v in state.tensors.items() if k.startswith("net.")})
        return made


class SequenceVAE(KeepsTuples, _SequenceVAE):
    """Latent states, scores and forecasts for series of unequal length.

    Parameters
    ----------
    n_latent : int
        Width of z_t.
    hidden : int
        Width of the GRU and of the transition's hidden layer.
    emission : sequence of int
        Hidden layers between z_t and x_t; () makes it linear.
    transition : {"gated", "linear"}
    direction : {"backward", "forward"}
        What q(z_t|z_{t-1}, .) sees in training: x_{t..T}, or x_{1..t}, which makes `filter` quick.
    likelihood : "auto", str or dict
        Of one step's columns, as in `VAE`; counts are without library size. "auto" gives real numbers a Gaussian whose variance
        is one a column.
    scale : {"auto", "standard", "unit", "none"}
        As in `VAE`.
    estimator, samples, beta
        See `mumei.vae.objective.BoundConfig`.
    free_bits : float
        Nats a step that are not pressed.
    warmup_epochs : int
        Epochs over which the KL's weight rises from 0 to `beta`.
    epochs, batch_size, learning_rate, clip
        See `mumei.core.config.TrainConfig`; the rate falls by a cosine to a twentieth. A row of a batch is a series.
    random_state : int, RandomState or None
    out : path, optional
        A folder for checkpoints.
    progress : mumei.core.progress.Progress, optional

    Attributes
    ----------
    net_ : SequenceNet
    likelihood_ : dict
    history_ : list of dict
        For each epoch the means over series of "reconstruction", "kl" and "bound", in nats of the scaled data.
    kl_per_step_ : list of float
        The KL of each step, nats, averaged over (at most 256) training series.
    notes_ : list of str
        What was chosen or done without being asked for.

    Examples
    --------
    >>> draw = np.random.default_rng(0)
    >>> X = [np.sin(np.arange(length) + draw.uniform(0, 6)) for length in (8, 12, 5)]
    >>> model = SequenceVAE(n_latent=2, hidden=8, emission=(8,), epochs=2, random_state=0).fit(X)
    >>> [states.shape for states in model.transform(X)], model.forecast(X, 3, samples=10).shape
    ([(8, 2), (12, 2), (5, 2)], (10, 3, 3, 1))
    """

    _tuples = ("emission",)

    def transform(self, X: Any) -> list[np.ndarray]:
        """Return the posterior means of z_t for each series: float32 (T_i, n_latent).

        Direction "backward" has read x_{t..T} and what is behind, "forward" x_{1..t}.
        """
        return self._states(X, self._net().smooth)

    def filter(self, X: Any) -> list[np.ndarray]:
        """Return the means of z_t given x_{1..t} for each series: float32 (T_i, n_latent)."""
        return self._states(X, self._net().filter)

    def score_samples(self, X: Any) -> np.ndarray:
        """Return the bound on log p(x) of each series, in nats, float32 (n,): low ones are unusual series.

        Its 16 noise paths follow from the series' values, so a score does not depend on other series.
        """
        net, found = self._net(), []
        for x, mask in self._parts(X):
            with torch.no_grad():
                value = net.bound(x, mask, None, noise=self._own_noise(x, mask)).double()
            found.append((value + self._volume(mask)).numpy())
        return np.concatenate(found).astype(np.float32)

    def score(self, X: Any, y: Any = None) -> float:
        """Return the mean over series of the bound on log p(x), in nats."""
        return float(self.score_samples(X).astype(np.float64).mean())

    def log_likelihood(self, X: Any, *, samples: int = 100, seed: int | None = None) -> Estimate:
        """Estimate log p(x) of each series by the importance-weighted bound, with standard errors, in the data's units."""
        net, values, errors = self._net(), [], []
        at_least("samples", samples, 2, whole=True)
        rng = seeds.torch_generator(self.seed_ if seed is None else seed, "likelihood")
        for x, mask in self._parts(X):
            with torch.no_grad():
                value, error = log_mean(net.log_weights(x, mask, samples, rng).double())
            values.append(value + self._volume(mask))
            errors.append(error)
        return finish(values, errors, "iwae", {"samples": samples})

    def sample(self, n: int = 1, steps: int = 20, *, seed: int | None = None) -> np.ndarray:
        """Draw new series, float32 (n, steps, d), in the data's units."""
        net = self._net()
        at_least("n", n, 1, whole=True)
        rng = seeds.torch_generator(self.seed_ if seed is None else seed, "sample")
        with torch.no_grad():
            return self.scaling_.undo(net.generate(n, steps, rng)).float().numpy()

    def forecast(self, X: Any, steps: int, *, samples: int = 100, seed: int | None = None) -> np.ndarray:
        """Draw what follows each series: float32 (samples, n, steps, d), in the data's units."""
        net = self._net()
        rng = seeds.torch_generator(self.seed_ if seed is None else seed, "forecast")
        with torch.no_grad():
            parts = [net.forecast(x, mask, steps, samples, rng) for x, mask in self._parts(X)]
        return self.scaling_.undo(torch.cat(parts, 1)).float().numpy()

    def _net(self) -> SequenceNet:
        check_is_fitted(self, "net_")
        return self.net_

    def _parts(self, X: Any) -> list[tuple[Tensor, Tensor]]:
        """Return scaled series and masks, `CHUNK` at a time."""
        sequences, found = _read(X), []
        for start in range(0, len(sequences), CHUNK):
            x, mask = pack(sequences[start : start + CHUNK])
            if x.shape[2] != self.n_features_in_:
                raise DataError(
                    f"series of {x.shape[2]} columns were given; the model was fitted on {self.n_features_in_}."
                )
            self._check(x[mask].numpy(), self.net_.likelihood)
            found.append((self._scaled(x, mask), mask))
        if not found:
            raise DataError("there is no series; give at least one array (steps, columns).")
        return found

    def _states(self, X: Any, method: Any) -> list[np.ndarray]:
        found = []
        for x, mask in self._parts(X):
            with torch.no_grad():
                means = method(x, mask, None, noise=self._own_noise(x, mask))
            found += [m[t].numpy() for m, t in zip(means, mask, strict=True)]
        return found

    def _own_noise(self, x: Tensor, mask: Tensor) -> Tensor:
        """Return noise (T, 16, n, latent) that follows from each series alone, in opposite pairs; zeros behind its end."""
        noise = torch.zeros(x.shape[1], 2 * SCORED, len(x), self.n_latent)
        for i, (series, there) in enumerate(zip(x, mask, strict=True)):
            length = int(there.sum())
            own = row_noise(series[:length].reshape(1, -1), SCORED, length * self.n_latent, self.seed_)
            noise[:length, :, i] = own.reshape(2 * SCORED, length, self.n_latent).transpose(0, 1)
        return noise

    def _volume(self, mask: Tensor) -> Tensor:
        """Return what turns a log density of scaled series into one of the user's, in nats per series (n,)."""
        if self.likelihood_["name"] != "gaussian":
            return torch.zeros(len(mask), dtype=torch.float64)
        return mask.sum(1).double() * self.scaling_.log_volume(self.n_features_in_)


def _read(X: Any) -> list[Any]:
    """Return a list of series; a table is refused, since its rows could be series or steps."""
    if isinstance(X, Tensor):
        X = X.detach().cpu().numpy()
    if isinstance(X, np.ndarray) and X.dtype != object and X.ndim != 3:
        raise UsageError(
            f"an array of shape {X.shape} was given; give a list of series, or an array (series, steps, columns)."
        )
    if isinstance(X, str) or not hasattr(X, "__len__"):
        raise UsageError(f"a {type(X).__name__} was given; give a list of arrays (steps, columns).")
    return list(X)
