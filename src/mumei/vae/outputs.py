"""What a fitted `VAE` gives: latents, rows made from latents, scores and likelihoods.

Everything is in the data's units: rows are scaled as they were for training, and densities get the
logarithm of the volume change.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from sklearn.base import TransformerMixin
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from mumei.core import seeds
from mumei.core.config import at_least
from mumei.core.errors import DataError, UsageError
from mumei.core.inputs import CHUNK, unpack
from mumei.vae.inputs import Scaling, labels_of, one_hot, scaled_rows
from mumei.vae.network import VAENet
from mumei.vae.noise import row_noise
from mumei.vae.objective import gaussian_kl

if TYPE_CHECKING:
    from mumei.vae.evaluate import Estimate

SCORED = 8  # pairs of noise vectors, +e and -e, in a row's score


class Outputs(TransformerMixin):
    """The part of `VAE` that needs no training; `_read` and `_check` are the estimator's.

    `set_output` changes `transform` only where the class that defines it is a transformer.
    """

    net_: VAENet
    scaling_: Scaling
    likelihood_: dict[str, Any]
    latent_: int
    library_: float | None
    batches_: list[Any] | None
    seed_: int
    n_features_in_: int
    image_shape_: Any
    layer: str | None
    _read: Any
    _check: Any

    # What rows are to the networks.

    def _as_seen(self, rows: Any) -> Tensor:
        """Return float32 rows (n, n_features) as the likelihood sees them."""
        if isinstance(rows, Tensor):
            return self.scaling_.apply(rows) if rows.dtype is torch.uint8 else rows.float()
        return scaled_rows(rows, self.scaling_)

    def _covariates(self, batch: Any, n: int) -> Tensor | None:
        if (batch is None) != (self.batches_ is None):
            raise UsageError(
                "this model was fitted with batch labels; give batch=."
                if batch is None
                else "this model was fitted without batch labels; leave batch= out."
            )
        return None if batch is None else one_hot(batch, cast("list[Any]", self.batches_), n, "batch")

    def _seen(self, X: Any, batch: Any) -> tuple[Any, Tensor | None]:
        check_is_fitted(self, "net_")
        rows = self._read(X, reset=False)
        self._check(rows)
        return rows, self._covariates(labels_of(X, batch), rows.shape[0])

    def _volume(self) -> float:
        """Return what turns a log density of scaled rows into one of the user's, in nats per row."""
        continuous = self.likelihood_["name"] == "gaussian"
        return self.scaling_.log_volume(self.n_features_in_) if continuous else 0.0

    # Using it.

    def transform(self, X: Any, *, batch: Any = None) -> np.ndarray:
        """Return the posterior means of rows, float32 (n, latent); those of an AnnData also go to its `obsm["X_vae"]`.

        Parameters
        ----------
        X : as for `fit`
            With the columns of the fit, under the names that they had then, if any.
        batch : array (n,) or str, optional
            For a model that was fitted with batch labels: as for `fit`.

        Raises
        ------
        DataError, ValueError
            Another width or other names, values that are missing or that the likelihood cannot give.
        UsageError
            Batch labels where the fit had none, or none where it had some.
        """
        rows, covariates = self._seen(X, batch)
        found = np.empty((rows.shape[0], self.latent_), dtype=np.float32)
        with torch.no_grad():
            for start in range(0, len(found), CHUNK):
                part = slice(start, start + CHUNK)
                extra = None if covariates is None else covariates[part]
                found[part] = self.net_.encode(self._as_seen(rows[part]), extra)[0].numpy()
        _, annotated = unpack(X, self.layer)
        if annotated is not None:
            annotated.obsm["X_vae"] = found
        return found

    def inverse_transform(self, Z: Any, *, batch: Any = None, library: Any = None) -> np.ndarray:
        """Return E[x|z] for latents (n, latent), in the data's units, float32 (n, n_features).

        Parameters
        ----------
        batch : array (n,), optional
            For a model that was fitted with batch labels.
        library : float or array (n,), optional
            For counts: the rows' sums; by default the median of the training rows.
        """
        z, covariates = self._latents(Z, batch)
        with torch.no_grad():
            x = self.net_.likelihood.mean(self.net_.decode(z, covariates), self._library(library, len(z)))
            return self._in_units(x)

    def sample(
        self, n: int = 1, *, seed: int | None = None, mean: bool = False, batch: Any = None, library: Any = None
    ) -> np.ndarray:
        """Draw new rows, float32 (n, n_features), in the data's units.

        Parameters
        ----------
        n : int
        seed : int, optional
            By default one that follows from `random_state`.
        mean : bool
            Return E[x|z] of drawn z in place of drawn x (grey images in place of bits).
        batch, library
            As for `inverse_transform`.
        """
        check_is_fitted(self, "net_")
        at_least("n", n, 1, whole=True)
        rng = seeds.torch_generator(self.seed_ if seed is None else seed, "sample")
        z, covariates = self._latents(torch.randn(n, self.latent_, generator=rng).numpy(), batch)
        with torch.no_grad():
            out, sums = self.net_.decode(z, covariates), self._library(library, n)
            likelihood = self.net_.likelihood
            return self._in_units(likelihood.mean(out, sums) if mean else likelihood.sample(out, rng, sums))

    def _latents(self, Z: Any, batch: Any) -> tuple[Tensor, Tensor | None]:
        check_is_fitted(self, "net_")
        z = np.asarray(Z, dtype=np.float32)
        if z.ndim != 2 or z.shape[1] != self.latent_ or not np.isfinite(z).all():
            raise DataError(f"latents of shape {z.shape} were given; give finite numbers of shape (n, {self.latent_}).")
        return torch.from_numpy(z), self._covariates(batch, len(z))

    def _library(self, library: Any, n: int) -> Tensor | None:
        if self.library_ is None:
            return None
        value = np.asarray(self.library_ if library is None else library, dtype=np.float64)
        if value.shape not in ((), (n,)) or not np.isfinite(value).all() or (value < 0).any():
            raise DataError(
                f"library has shape {value.shape}; give one sum of counts, or one a row ({n},), finite and not negative."
            )
        return torch.from_numpy(np.broadcast_to(value, (n,)).astype(np.float32))

    def _in_units(self, x: Tensor) -> np.ndarray:
        return self.scaling_.undo(x).numpy()

    def score_samples(self, X: Any, *, batch: Any = None) -> np.ndarray:
        """Return the bound on log p(x) of each row, in nats, float32 (n,): low ones are unusual rows.

        Each row's 16 noise vectors (8 and their opposites) follow from its values, so its score does not depend on other rows.
        """
        rows, covariates = self._seen(X, batch)
        return (self._scores(rows, covariates) + self._volume()).astype(np.float32)

    def _scores(self, rows: Any, covariates: Tensor | None = None) -> np.ndarray:
        found = np.empty(rows.shape[0])
        step = max(1, CHUNK // 16)
        with torch.no_grad():
            for start in range(0, len(found), step):
                part = slice(start, start + step)
                x, extra = self._as_seen(rows[part]), None if covariates is None else covariates[part]
                mean, log_variance = self.net_.encode(x, extra)
                z = mean + torch.exp(0.5 * log_variance) * row_noise(x, SCORED, self.latent_, self.seed_)
                fit = self.net_.likelihood.log_prob(self.net_.decode(z, extra), x).double().mean(0)
                found[part] = (fit - gaussian_kl(mean, log_variance).double().sum(-1)).numpy()
        return found

    def score(self, X: Any, y: Any = None, *, batch: Any = None) -> float:
        """Return the mean over rows of the bound on log p(x), in nats."""
        return float(self.score_samples(X, batch=batch).astype(np.float64).mean())

    def bits_per_dim(self, X: Any, *, batch: Any = None) -> float:
        """Return the bound as bits per column: -score / (n_features log 2), the images' custom."""
        return -self.score(X, batch=batch) / (self.n_features_in_ * float(np.log(2)))

    def log_likelihood(
        self, X: Any, method: str = "iwae", *, batch: Any = None, seed: int | None = None, **options: Any
    ) -> Estimate:
        """Estimate log p(x) of each row, with standard errors.

        Parameters
        ----------
        method : {"elbo", "iwae", "ais", "appendix_d"}
            See `mumei.vae.evaluate`, also for the options of each.
        seed : int, optional

        Returns
        -------
        Estimate
            `values` and `standard_errors` (n,), in nats and the data's units.
        """
        from mumei.vae.evaluate import log_likelihood

        rows, covariates = self._seen(X, batch)
        rng = seeds.torch_generator(self.seed_ if seed is None else seed, "likelihood")
        x = self._as_seen(rows)
        found = log_likelihood(self.net_, x, method, generator=rng, covariates=covariates, **options)
        return replace(found, values=found.values + self._volume())
