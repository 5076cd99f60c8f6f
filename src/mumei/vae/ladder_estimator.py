"""`LadderVAE`: the ladder variational auto-encoder as a scikit-learn estimator, with the reading, scaling and files of `VAE`.

Source and departures: see `ladder.py`. After each fit the KL of every layer is looked at, and a layer that carries nothing is
named in `notes_`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Self

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from mumei.core import seeds
from mumei.core.config import EarlyStopping, at_least
from mumei.core.errors import UsageError
from mumei.core.inputs import CHUNK, unpack
from mumei.core.method import At, Loss
from mumei.core.progress import SILENT
from mumei.core.train import fit as train
from mumei.vae.choose import make_likelihood
from mumei.vae.estimate import BUDGET, Estimate, finish, log_mean
from mumei.vae.estimator import LATENT, VAE, _Kept, _rows_of
from mumei.vae.inputs import training_rows
from mumei.vae.ladder import LadderNet, idle_layers
from mumei.vae.noise import row_noise
from mumei.vae.objective import BoundConfig
from mumei.vae.outputs import SCORED
from mumei.vae.training import BoundMethod, Watched
from mumei.vae.tuples import KeepsTuples

LOOKED_AT = 2000  # rows, for the KL by layer


class LadderMethod(BoundMethod):
    """Climbs a ladder's bound."""

    net: Any

    def step(self, batch: tuple[Tensor, ...], at: At) -> Loss:
        """Return the negative bound of one batch in nats per row."""
        x = batch[0]
        x = self.scaling.apply(x) if x.dtype is torch.uint8 and self.scaling is not None else x.float()
        return self.net.loss(x, at.rng, self.bound, at.step, batch[1] if len(batch) > 1 else None)


class LadderVAE(KeepsTuples, VAE):
    """`VAE` with a hierarchy of latents.

    Parameters
    ----------
    latents : "auto" or sequence of int
        Widths of the layers, from the data up; "auto" is two layers, of 10 (or the number of columns, where that is less) and
        half of that.
    hidden : sequence of int
        One width for each layer.
    free_bits : float
        Nats a layer that are not pressed.
    warmup_epochs : int
        Epochs over which the KL's weight rises from 0 to `beta`: without it upper layers tend to fall silent.
    activation, likelihood, scale, estimator, samples, beta, epochs, batch_size, learning_rate, optimizer, precision,
    weight_prior, init, validation, patience, layer, random_state, out, progress
        As in `VAE`; `init` is "glorot" or "he".

    Attributes
    ----------
    net_ : LadderNet
    latents_ : tuple of int
        Widths of the layers.
    latent_ : int
        Their sum: the columns of `transform`, those of the layer next to the data first.
    collapse_ : dict
        "rows" looked at, "kl_per_layer" and "kl_per_dimension" (a list for each layer), in nats per row.
    notes_ : list of str
        What was chosen unasked, and layers that are not used.

    See `VAE` for the others.

    Examples
    --------
    >>> X = np.random.default_rng(0).normal(size=(40, 5))
    >>> model = LadderVAE(latents=(3, 2), hidden=(16, 8), epochs=2, random_state=0).fit(X)
    >>> model.transform(X).shape, len(model.collapse_["kl_per_layer"])
    ((40, 5), 2)
    """

    net_: Any  # type: ignore[assignment]
    _tuples = ("latents",)
    trainer = "aevb"  # no argument here

    def __init__(
        self,
        *,
        latents: Any = "auto",
        hidden: Any = (128, 64),
        activation: str = "tanh",
        likelihood: Any = "auto",
        scale: str = "auto",
        estimator: str = "B",
        samples: int = 1,
        beta: float = 1.0,
        free_bits: float = 0.0,
        warmup_epochs: int = 10,
        epochs: int = 50,
        batch_size: int = 100,
        learning_rate: float = 2e-3,
        optimizer: str = "adam",
        precision: str = "float32",
        weight_prior: bool = True,
        init: str = "glorot",
        validation: float = 0.0,
        patience: int = 10,
        layer: str | None = None,
        random_state: Any = None,
        out: Any = None,
        progress: Any = None,
    ):
        self.latents = latents
        self.hidden = hidden
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
        self.optimizer = optimizer
        self.precision = precision
        self.weight_prior = weight_prior
        self.init = init
        self.validation = validation
        self.patience = patience
        self.layer = layer
        self.random_state = random_state
        self.out = out
        self.progress = progress

    @classmethod
    def example(cls) -> Self:
        """Return one whose fit is short, for the conformance checks."""
        return cls(hidden=(8, 4), epochs=3)

    @property
    def latents_(self) -> tuple[int, ...]:
        """Widths of the layers, from the data up."""
        check_is_fitted(self, "net_")
        return self.net_.latents

    # Fitting.

    def _layers(self, n_features: int) -> tuple[int, ...]:
        if isinstance(self.latents, str):
            if self.latents != "auto":
                raise UsageError(f"latents={self.latents!r} is not allowed; give a width for each layer, or 'auto'.")
            first = min(LATENT, n_features)
            return first, max(1, first // 2)
        return (self.latents,) if isinstance(self.latents, int) else tuple(self.latents)

    def _width(self, n_features: int) -> int:
        layers = self._layers(n_features)
        for width in layers:
            at_least("latents", width, 1, whole=True)
        return sum(layers)

    def _make_net(self) -> None:
        self.net_ = LadderNet(
            make_likelihood(self.likelihood_, self.n_features_in_),
            self._layers(self.n_features_in_),
            (self.hidden,) if isinstance(self.hidden, int) else tuple(self.hidden),
            activation=self.activation,
            init=self.init,
            covariates=len(self.batches_ or ()),
            seed=seeds.child(self.seed_, "network"),
        )

    def _train(
        self,
        rows: Any,
        covariates: Tensor | None,
        kept: np.ndarray,
        held: np.ndarray | None,
        epochs: int,
        resumed: int = 0,
    ) -> None:
        bound = BoundConfig(
            estimator=self.estimator,
            samples=self.samples,
            beta=self.beta,
            free_bits=self.free_bits,
            warmup_steps=self.warmup_epochs * -(-len(kept) // self.batch_size),
        )
        if resumed:
            bound = replace(bound, warmup_steps=0)  # a later pass begins where the warm-up has ended
        net: Any = self.net_
        method: Any = LadderMethod(net, len(kept), bound, weight_prior=self.weight_prior, scaling=self.scaling_)
        used = [a for a in (training_rows(rows, self.scaling_), covariates) if a is not None]
        stopping = None
        if held is not None:
            kept_out = [_rows_of(a, held) for a in used]
            used = [_rows_of(a, kept) for a in used]
            method = Watched(method, lambda: float(self._scores(*kept_out).mean()))
            stopping = EarlyStopping(patience=self.patience, metric="validation", mode="max")
        history = train(
            _Kept(method, self, resumed),
            tuple(used),
            self._config(epochs, stopping, resumed),
            out=self.out if not resumed else None,
            progress=self.progress or SILENT,
            label="LadderVAE",
        )
        if held is not None:
            method.restore()
        self.history_ = [dict(sorted(e.items())) for e in history.epochs]
        self.n_iter_ = len(self.history_)

    def _look(self, rows: Any, covariates: Tensor | None) -> list[str]:
        """Measure each layer's KL on at most `LOOKED_AT` rows; return a sentence for each layer that is not used."""
        rng = seeds.numpy_generator(self.seed_, "collapse")
        index = np.sort(rng.permutation(rows.shape[0])[:LOOKED_AT])
        x, extra = self._as_seen(rows[index]), None if covariates is None else covariates[torch.from_numpy(index)]
        with torch.no_grad():
            down = self.net_.infer(x, row_noise(x, 1, self.latent_, self.seed_), extra)
        dimensions = [kl.double().mean((0, 1)).tolist() for kl in down.kl]
        layers = [sum(d) for d in dimensions]
        self.collapse_ = {"kl_per_dimension": dimensions, "kl_per_layer": layers, "rows": len(index)}
        return idle_layers(layers)

    # Using it.

    def transform(self, X: Any, *, batch: Any = None) -> np.ndarray:
        """Return the posterior means of all layers, each given the means above, float32 (n, sum of latents), z_1 first.

        Those of an AnnData also go to its `obsm["X_vae"]`.
        """
        rows, covariates = self._seen(X, batch)
        found = np.empty((rows.shape[0], self.latent_), dtype=np.float32)
        with torch.no_grad():
            for start in range(0, len(found), CHUNK):
                part = slice(start, start + CHUNK)
                extra = None if covariates is None else covariates[part]
                found[part] = self.net_.means(self._as_seen(rows[part]), extra).numpy()
        _, annotated = unpack(X, self.layer)
        if annotated is not None:
            annotated.obsm["X_vae"] = found
        return found

    def inverse_transform(self, Z: Any, *, batch: Any = None, library: Any = None) -> np.ndarray:
        """Return E[x|z_1], float32 (n, n_features), for latents of all layers (n, sum of latents), of which x needs z_1 alone.

        `batch` and `library` are as in `VAE.inverse_transform`.
        """
        z, covariates = self._latents(Z, batch)
        with torch.no_grad():
            out = self.net_.decode(z[:, : self.latents_[0]], covariates)
            return self._in_units(self.net_.likelihood.mean(out, self._library(library, len(z))))

    def sample(
        self, n: int = 1, *, seed: int | None = None, mean: bool = False, batch: Any = None, library: Any = None
    ) -> np.ndarray:
        """Draw new rows from the top layer down, float32 (n, n_features), in the data's units; arguments as in `VAE.sample`."""
        check_is_fitted(self, "net_")
        at_least("n", n, 1, whole=True)
        rng = seeds.torch_generator(self.seed_ if seed is None else seed, "sample")
        with torch.no_grad():
            drawn = self.net_.generate(self.net_.noise(1, n, rng)[0])
            z, covariates = self._latents(drawn.numpy(), batch)
            out, sums = self.net_.decode(z[:, : self.latents_[0]], covariates), self._library(library, n)
            likelihood = self.net_.likelihood
            return self._in_units(likelihood.mean(out, sums) if mean else likelihood.sample(out, rng, sums))

    def _scores(self, rows: Any, covariates: Tensor | None = None) -> np.ndarray:
        found = np.empty(rows.shape[0])
        step = max(1, CHUNK // 16)
        with torch.no_grad():
            for start in range(0, len(found), step):
                part = slice(start, start + step)
                x, extra = self._as_seen(rows[part]), None if covariates is None else covariates[part]
                down = self.net_.infer(x, row_noise(x, SCORED, self.latent_, self.seed_), extra)
                fit = self.net_.likelihood.log_prob(self.net_.decode(down.z[0], extra), x).double().mean(0)
                kl = torch.stack([k.double().sum(-1).mean(0) for k in down.kl]).sum(0)
                found[part] = (fit - kl).numpy()
        return found

    def log_likelihood(
        self, X: Any, method: str = "iwae", *, batch: Any = None, seed: int | None = None, **options: Any
    ) -> Estimate:
        """Estimate log p(x) of each row, with standard errors, in nats and the data's units.

        Parameters
        ----------
        method : {"elbo", "iwae"}
            The mean of the log weights of draws from q, or the importance-weighted bound; `samples` (100) draws.
        seed : int, optional

        Raises
        ------
        UsageError
            Another method: "ais" and "appendix_d" know one layer of latents.
        """
        if method not in ("elbo", "iwae") or set(options) - {"samples"}:
            raise UsageError(
                f"method={method!r} with options {sorted(options)} is not allowed; give 'elbo' or 'iwae', and samples=."
            )
        samples = options.get("samples", 100)
        at_least("samples", samples, 2, whole=True)
        rows, covariates = self._seen(X, batch)
        rng = seeds.torch_generator(self.seed_ if seed is None else seed, "likelihood")
        x, values, errors = self._as_seen(rows), [], []
        step = max(1, BUDGET // (samples * self.net_.likelihood.outputs))
        with torch.no_grad():
            for start in range(0, len(x), step):
                extra = None if covariates is None else covariates[start : start + step]
                weights = self.net_.log_weights(x[start : start + step], samples, rng, extra).double()
                plain = (weights.mean(0), weights.std(0) / samples**0.5)
                value, error = log_mean(weights) if method == "iwae" else plain
                values.append(value + self._volume())
                errors.append(error)
        return finish(values, errors, method, {"samples": samples})

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the latents' names: z1_0, z1_1, ..., z2_0, ..."""
        widths = enumerate(self.latents_, start=1)
        return np.asarray([f"z{layer}_{i}" for layer, width in widths for i in range(width)], dtype=object)
