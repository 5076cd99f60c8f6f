"""The bound and its estimators, in nats per row.

Source: Kingma and Welling 2013. With z = m + s e, e ~ N(0, I):

    estimator A   (1/L) sum_l [log p(x|z_l) + log p(z_l) - log q(z_l|x)]                    equation 6
    estimator B   (1/L) sum_l log p(x|z_l) - KL(q(z|x) || p(z))                              equation 7
    KL            -1/2 sum_j (1 + log s_j^2 - m_j^2 - s_j^2)                                 appendix B

The bound of a data set of N rows, estimated on M of them, is N/M times the sum over the M (equation 8); here the mean over rows
is used throughout, and the prior over weights, N(0, I), therefore weighs 1/N.

Beyond the paper: beta (Higgins 2017) on the KL; a linear warm-up of it (Sonderby 2016); free bits (Kingma 2016): a dimension
whose KL, averaged over the batch, is below `free_bits` is not pressed further; the importance-weighted bound (Burda 2016).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mumei.core.config import at_least, one_of
from mumei.core.errors import UsageError
from mumei.core.method import Loss
from mumei.vae.likelihoods import gaussian_log_prob, standard_log_prob
from mumei.vae.network import VAENet

ESTIMATORS = ("A", "B", "iwae")


@dataclass(frozen=True, kw_only=True)
class BoundConfig:
    """Which bound is climbed.

    Parameters
    ----------
    estimator : {"A", "B", "iwae"}
    samples : int
        L, or the K of the importance-weighted bound.
    beta : float
        Weight of the KL; anything but 1 makes the number no bound on log p(x).
    warmup_steps : int
        Steps over which that weight rises from 0.
    free_bits : float
        Nats a latent dimension.
    """

    estimator: str = "B"
    samples: int = 1
    beta: float = 1.0
    warmup_steps: int = 0
    free_bits: float = 0.0

    def __post_init__(self) -> None:
        one_of("estimator", self.estimator, ESTIMATORS)
        at_least("samples", self.samples, 1, whole=True)
        at_least("beta", self.beta, 0.0)
        at_least("warmup_steps", self.warmup_steps, 0, whole=True)
        at_least("free_bits", self.free_bits, 0.0)
        if self.estimator == "iwae" and (self.free_bits or self.beta != 1.0 or self.warmup_steps):
            raise UsageError(
                "the importance-weighted bound has no KL to weigh: leave beta, warmup_steps and free_bits."
            )

    def weight(self, step: int) -> float:
        """Return the KL's weight at a step counted from 0."""
        return self.beta * (min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps else 1.0)


def gaussian_kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return KL(N(mean, exp(log_variance)) || N(0, 1)) per dimension, in nats; of the arguments' shape."""
    return 0.5 * (mean.square() + log_variance.exp() - 1.0 - log_variance)


def reparameterise(mean: Tensor, log_variance: Tensor, samples: int, generator: torch.Generator) -> Tensor:
    """Draw z ~ q(z|x) as a differentiable function of its moments (n, latent): (samples, n, latent)."""
    noise = torch.randn((samples, *mean.shape), generator=generator, dtype=mean.dtype, device=mean.device)
    return mean + torch.exp(0.5 * log_variance) * noise


def log_weights(
    net: VAENet, x: Tensor, samples: int, generator: torch.Generator, covariates: Tensor | None = None
) -> Tensor:
    """Return log p(x, z_l) - log q(z_l|x) for z_l ~ q(z|x): (samples, n), all samples in one product."""
    mean, log_variance = net.encode(x, covariates)
    z = reparameterise(mean, log_variance, samples, generator)
    joint = net.likelihood.log_prob(net.decode(z, covariates), x) + standard_log_prob(z)
    return joint - gaussian_log_prob(z, mean, log_variance)


def bound(
    net: VAENet,
    x: Tensor,
    generator: torch.Generator,
    config: BoundConfig | None = None,
    covariates: Tensor | None = None,
) -> Tensor:
    """Return the estimate of the bound per row (n,), in nats, without beta, warm-up or free bits."""
    config = config or BoundConfig()
    if config.estimator != "B":
        weights = log_weights(net, x, config.samples, generator, covariates)
        if config.estimator == "A":
            return weights.mean(0)
        return torch.logsumexp(weights, 0) - math.log(config.samples)
    mean, log_variance = net.encode(x, covariates)
    z = reparameterise(mean, log_variance, config.samples, generator)
    fit = net.likelihood.log_prob(net.decode(z, covariates), x).mean(0)
    return fit - gaussian_kl(mean, log_variance).sum(-1)


def loss(
    net: VAENet,
    x: Tensor,
    generator: torch.Generator,
    config: BoundConfig,
    step: int = 0,
    covariates: Tensor | None = None,
) -> Loss:
    """Return what training minimises on a batch (n, n_features): nats per row, with parts "reconstruction" and "kl".

    The importance-weighted bound has the part "bound" alone.
    """
    if config.estimator == "iwae":
        value = bound(net, x, generator, config, covariates).mean()
        return Loss(-value, {"bound": value})
    mean, log_variance = net.encode(x, covariates)
    z = reparameterise(mean, log_variance, config.samples, generator)
    fit = net.likelihood.log_prob(net.decode(z, covariates), x).mean()
    if config.estimator == "A":
        if config.free_bits:
            raise UsageError("free_bits needs the KL of each dimension, which estimator B has; choose it.")
        kl = (gaussian_log_prob(z, mean, log_variance) - standard_log_prob(z)).mean()
        pressed = kl
    else:
        each = gaussian_kl(mean, log_variance).mean(0)
        kl, pressed = each.sum(), each.clamp(min=config.free_bits).sum() if config.free_bits else each.sum()
    return Loss(config.weight(step) * pressed - fit, {"reconstruction": fit, "kl": kl, "bound": fit - kl})
