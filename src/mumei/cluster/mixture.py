"""A mixture of Gaussians with diagonal covariances as a prior over codes, and the assignment that follows from it.

    p(c) = pi_c,   p(z|c) = N(z; mu_c, diag s2_c),   gamma_c = p(c|z) = pi_c p(z|c) / sum over c'

Everything is in logarithms, log-variances are kept within `LOG_VARIANCE`: a code far from all components gives no NaN.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mumei.cluster.initial import Start
from mumei.vae.likelihoods import LOG_2PI

LOG_VARIANCE = (-10.0, 10.0)  # of a component: beyond, it is a point or no component at all


def log_densities(z: Tensor, means: Tensor, log_variances: Tensor) -> Tensor:
    """Return log N(z_i; mean_k, exp(log_variance_k)) of each dimension (b, k, d) for z (b, d), means and log-variances (k, d)."""
    each = (z[:, None] - means).square() * torch.exp(-log_variances) + log_variances + LOG_2PI
    return -0.5 * each


class MixturePrior(nn.Module):
    """Weights, means and variances that learn by gradient.

    Parameters
    ----------
    n_clusters, n_latent : int
    """

    def __init__(self, n_clusters: int, n_latent: int):
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(n_clusters))
        self.means = nn.Parameter(torch.zeros(n_clusters, n_latent))
        self.log_variances = nn.Parameter(torch.zeros(n_clusters, n_latent))

    @torch.no_grad()
    def place(self, start: Start) -> None:
        """Take over a mixture, or k-means with the variances of its clusters."""
        self.means.copy_(torch.from_numpy(start.centres))
        sizes = torch.from_numpy(start.sizes()).float() if start.weights is None else torch.from_numpy(start.weights)
        self.logits.copy_((sizes / sizes.sum()).clamp(min=1e-6).log())
        if start.variances is not None:
            self.log_variances.copy_(torch.from_numpy(start.variances).log().clamp(*LOG_VARIANCE))

    @property
    def log_weights(self) -> Tensor:
        """The logarithm of pi (k,)."""
        return torch.log_softmax(self.logits, 0)

    def bounded(self) -> Tensor:
        """Return the log-variances (k, d) within their bounds."""
        return self.log_variances.clamp(*LOG_VARIANCE)

    def log_joint(self, z: Tensor) -> Tensor:
        """Return log pi_c + log p(z|c) (b, k)."""
        return self.log_weights + log_densities(z, self.means, self.bounded()).sum(-1)

    def forward(self, z: Tensor) -> Tensor:
        """Return log gamma (b, k)."""
        return torch.log_softmax(self.log_joint(z), 1)

    def proba(self, z: Tensor) -> Tensor:
        """Return gamma (b, k)."""
        return self(z).exp()

    @torch.no_grad()
    def reseed(self, cluster: int, z: Tensor) -> None:
        """Start an emptied component at an embedded row (d,), with the average of the variances and an equal share."""
        self.means[cluster] = z
        self.log_variances[cluster] = self.log_variances.mean(0)
        self.logits[cluster] = self.logits.mean()
