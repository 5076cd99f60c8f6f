"""Two diagonal Gaussians: their product and the KL of one from the other, as hierarchies and sequences need them.

Everything is in means and log-variances, of shapes that broadcast; nothing over- or underflows where those do not.
"""

from __future__ import annotations

import torch
from torch import Tensor


def merged(mean: Tensor, log_variance: Tensor, other_mean: Tensor, other_log_variance: Tensor) -> tuple[Tensor, Tensor]:
    """Return the moments of the Gaussian that is proportional to the product of two: means weighted by precision.

    The rule by which a ladder joins what comes from below with what comes from above (Sonderby and others 2016).

    Parameters
    ----------
    mean, log_variance, other_mean, other_log_variance : Tensor
        Shapes that broadcast.

    Returns
    -------
    mean, log_variance : Tensor
        log-variance = -log(1/v + 1/w), mean = (m/v + n/w) / (1/v + 1/w).

    Examples
    --------
    >>> zero = torch.zeros(1)
    >>> mean, log_variance = merged(zero, zero, zero + 1, zero)
    >>> mean.item(), round(log_variance.exp().item(), 6)
    (0.5, 0.5)
    """
    share = torch.sigmoid(other_log_variance - log_variance)  # of the first in the precision
    return torch.lerp(*torch.broadcast_tensors(other_mean, mean, share)), -torch.logaddexp(
        -log_variance, -other_log_variance
    )


def kl_between(mean: Tensor, log_variance: Tensor, other_mean: Tensor, other_log_variance: Tensor) -> Tensor:
    """Return KL(N(mean, exp(log_variance)) || N(other_mean, exp(other_log_variance))) per dimension, in nats.

    Examples
    --------
    >>> zero = torch.zeros(1)
    >>> kl_between(zero + 1, zero, zero, zero).item()
    0.5
    """
    gap = log_variance - other_log_variance
    return 0.5 * ((mean - other_mean).square() * torch.exp(-other_log_variance) + gap.exp() - 1.0 - gap)
