"""A density fitted to samples, many data points at once: a Gaussian kernel estimate, or one Gaussian where that is all there is.

Source: Kingma and Welling 2013, appendix D, asks for "a density estimator"; the first author's program (`dpkingma/anglepy`)
takes SciPy's Gaussian kernels, scaled by the full covariance of the samples, and picks the bandwidth factor that makes one half
of the samples likeliest under the other, from Scott's factor times exp((i - 5) / 2), i = 0..9. So it is done here. A row gets a
single Gaussian instead

- of its mean and covariance, where there are fewer than four samples a dimension;
- of its mean and variances, where that covariance, or that of half the samples, is (nearly) singular. A variance of 0 is set
  to the row's smallest that is not, or to 1 (the prior's) where none is.

Departure: that program repeats the result of the row before where a covariance is singular.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mumei.core.errors import UsageError
from mumei.vae.likelihoods import LOG_2PI

FACTORS = 10
PER_DIMENSION = 4  # samples a dimension that kernels need
SINGULAR = 1e-8  # smallest eigenvalue of a correlation matrix that counts as full rank


@dataclass(frozen=True)
class Density:
    """Kernels around samples, a mixture for each row.

    A row's single Gaussian is the same thing with all centres at its mean.

    Parameters
    ----------
    centres : Tensor (n, samples, latent), float64
        Divided by `scale`.
    scale : Tensor (n, latent, latent)
        Cholesky factor of the samples' covariance.
    factor : Tensor (n,)
        Bandwidth: a kernel's covariance is `factor`^2 that of the samples.
    single : Tensor (n,), bool
        Rows with a single Gaussian.
    """

    centres: Tensor
    scale: Tensor
    factor: Tensor
    single: Tensor

    def log_prob(self, z: Tensor) -> Tensor:
        """Return the log density at z (n, points, latent): (n, points), float64, in nats."""
        points = _whiten(z.to(torch.float64), self.scale)
        log_volume = self.scale.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        return _mixture(_distances(points, self.centres), self.factor, z.shape[-1]) - log_volume[:, None]


def fit(samples: Tensor) -> Density:
    """Fit a density to each row's samples.

    Parameters
    ----------
    samples : Tensor (n, samples, latent)
        At least two for each row. Order matters: the first half judges the bandwidth of the second.

    Returns
    -------
    Density

    Raises
    ------
    UsageError
        The shape is another, or there are fewer than two samples.

    Examples
    --------
    >>> samples = torch.randn(3, 50, 2, generator=torch.Generator().manual_seed(0))
    >>> fit(samples).log_prob(torch.zeros(3, 1, 2)).shape
    torch.Size([3, 1])
    """
    if samples.dim() != 3 or samples.shape[1] < 2:
        raise UsageError(
            f"samples has shape {tuple(samples.shape)}; give (rows, samples, latent) with at least 2 samples a row."
        )
    samples = samples.to(torch.float64)
    count, latent = samples.shape[1:]
    half = count // 2
    scale, singular = _scale(samples)
    if half < 2 or count < PER_DIMENSION * latent:
        factor, single = torch.ones_like(scale[:, 0, 0]), torch.ones_like(singular)
    else:
        half_scale, half_singular = _scale(samples[:, half:])
        single = singular | half_singular
        factor = _best_factor(samples[:, :half], samples[:, half:], half_scale, count, latent)
    centres = torch.where(single[:, None, None], samples.mean(1, keepdim=True), samples)
    return Density(_whiten(centres, scale), scale, torch.where(single, 1.0, factor), single)


def _best_factor(judges: Tensor, kernels: Tensor, scale: Tensor, count: int, latent: int) -> Tensor:
    """Return each row's factor (n,) under which `judges` are likeliest."""
    scott = count ** (-1.0 / (latent + 4))
    candidates = scott * torch.exp((torch.arange(FACTORS, dtype=torch.float64, device=judges.device) - 5.0) / 2.0)
    distances = _distances(_whiten(judges, scale), _whiten(kernels, scale))
    # A loop over ten numbers, not one product: (10, rows, samples, samples) would fill the memory.
    scores = torch.stack([_mixture(distances, c.expand(len(judges)), latent).sum(-1) for c in candidates])
    return candidates[scores.argmax(0)]


def _scale(samples: Tensor) -> tuple[Tensor, Tensor]:
    """Return the covariances' Cholesky factors, and which rows were singular and have a diagonal one."""
    centred = samples - samples.mean(1, keepdim=True)
    covariance = centred.mT @ centred / (samples.shape[1] - 1)
    variance = covariance.diagonal(dim1=-2, dim2=-1)
    # Equal numbers can have a variance of some 1e-33 by rounding.
    zero = variance <= 1e-24 * samples.square().mean(1).clamp(min=1e-300)
    smallest = variance.masked_fill(zero, math.inf).amin(-1, keepdim=True)
    filled = torch.where(zero, torch.where(smallest.isinf(), 1.0, smallest), variance)
    deviation = filled.sqrt()
    correlation = covariance / (deviation[:, :, None] * deviation[:, None, :])
    singular = zero.any(-1) | (torch.linalg.eigvalsh(correlation)[:, 0] < SINGULAR)
    covariance = torch.where(singular[:, None, None], torch.diag_embed(filled), covariance)
    return torch.linalg.cholesky(covariance), singular


def _whiten(z: Tensor, scale: Tensor) -> Tensor:
    return torch.linalg.solve_triangular(scale, z.mT, upper=False).mT


def _distances(points: Tensor, centres: Tensor) -> Tensor:
    """Return squared distances (n, points, centres)."""
    return torch.cdist(points, centres, compute_mode="donot_use_mm_for_euclid_dist").square()


def _mixture(distances: Tensor, factor: Tensor, latent: int) -> Tensor:
    kernels = -0.5 * distances / factor.square()[:, None, None]
    constant = latent * (0.5 * LOG_2PI + factor.log()) + math.log(distances.shape[-1])
    return torch.logsumexp(kernels, -1) - constant[:, None]
