"""Soft and hard assignment of embedded rows to clusters, and DEC's target distribution.

Source: Xie, Girshick and Farhadi 2016, equations 1 and 3, with alpha = 1 by default:

    q_ij = (1 + |z_i - mu_j|^2 / alpha)^(-(alpha + 1) / 2) / sum over j
    p_ij = (q_ij^2 / f_j) / sum over j,   f_j = sum over all rows i of q_ij

q is worked out in logarithms, from the differences themselves, so that far rows give no NaN and a row's q does not depend on
the rows beside it.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

TINY = 1e-30  # under f_j: a cluster that no row leans to


def squared_distances(z: Tensor, centres: Tensor) -> Tensor:
    """Return |z_i - mu_j|^2 (n, k) for z (n, d) and centres (k, d)."""
    return (z[:, None] - centres).square().sum(-1)


def log_soft_assignment(z: Tensor, centres: Tensor, alpha: float = 1.0) -> Tensor:
    """Return log q (n, k), Student's t with `alpha` degrees of freedom around centres (k, d), normalised over clusters.

    Examples
    --------
    >>> log_soft_assignment(torch.zeros(1, 2), torch.tensor([[0.0, 0.0], [1.0, 1.0]])).exp()
    tensor([[0.7500, 0.2500]])
    """
    kernel = -0.5 * (alpha + 1) * torch.log1p(squared_distances(z, centres) / alpha)
    return torch.log_softmax(kernel, -1)


def target_distribution(q: Tensor, frequencies: Tensor | None = None) -> Tensor:
    """Return P (n, k) for Q (n, k).

    Q is that of all rows, not of a mini-batch, for f_j is a sum over the whole data set; where Q is a mini-batch's, give the
    frequencies f (k,), whose scale does not matter.
    """
    f = q.sum(0) if frequencies is None else frequencies.to(q)
    weight = q.square() / f.clamp(min=TINY)
    return weight / weight.sum(1, keepdim=True)


class StudentCentres(nn.Module):
    """Centres that learn by gradient, and the soft assignment to them.

    Parameters
    ----------
    n_clusters, n_latent : int
    alpha : float
        Degrees of freedom.
    """

    def __init__(self, n_clusters: int, n_latent: int, alpha: float = 1.0):
        super().__init__()
        self.alpha = alpha
        self.centres = nn.Parameter(torch.zeros(n_clusters, n_latent))

    def place(self, centres: Tensor, sizes: Tensor) -> None:
        """Put the centres (k, d) where the initial clustering has them."""
        with torch.no_grad():
            self.centres.copy_(centres)

    def forward(self, z: Tensor) -> Tensor:
        """Return log q (n, k)."""
        return log_soft_assignment(z, self.centres, self.alpha)

    def proba(self, z: Tensor) -> Tensor:
        """Return q (n, k)."""
        return self(z).exp()

    def reseed(self, cluster: int, z: Tensor) -> None:
        """Move an emptied cluster's centre to an embedded row (d,)."""
        with torch.no_grad():
            self.centres[cluster] = z


class HardCentres(nn.Module):
    """Centres that are means, kept by counting, and the assignment to the nearest.

    Parameters
    ----------
    n_clusters, n_latent : int
    """

    def __init__(self, n_clusters: int, n_latent: int):
        super().__init__()
        self.register_buffer("centres", torch.zeros(n_clusters, n_latent))
        self.register_buffer("counts", torch.ones(n_clusters))

    def place(self, centres: Tensor, sizes: Tensor) -> None:
        """Put the centres (k, d) where the initial clustering has them, with its clusters' sizes (k,) as counts."""
        cast("Tensor", self.centres).copy_(centres)
        cast("Tensor", self.counts).copy_(sizes.clamp(min=1))

    def forward(self, z: Tensor) -> Tensor:
        """Return the number of the nearest centre (n,)."""
        return squared_distances(z, cast("Tensor", self.centres)).argmin(1)

    def proba(self, z: Tensor) -> Tensor:
        """Return 1 for the nearest centre and 0 for the others (n, k)."""
        return nn.functional.one_hot(self(z), len(cast("Tensor", self.counts))).float()

    def reseed(self, cluster: int, z: Tensor) -> None:
        """Move an emptied cluster's centre to an embedded row (d,), as if it had held one row."""
        cast("Tensor", self.centres)[cluster] = z
        cast("Tensor", self.counts)[cluster] = 1.0

    def absorb(self, z: Tensor) -> None:
        """Take rows (n, d) into the means of their nearest centres.

        Row by row this is c_k <- c_k + 1, m_k <- m_k - (m_k - z_i) / c_k; for rows assigned before any centre moves it has
        the closed form m_k <- (c_k m_k + sum of z_i) / (c_k + n_k).
        """
        centres, counts = cast("Tensor", self.centres), cast("Tensor", self.counts)
        chosen = nn.functional.one_hot(self(z), len(counts)).to(z.dtype)
        added = chosen.sum(0)
        total = counts + added
        centres.copy_((counts[:, None] * centres + chosen.T @ z) / total[:, None])
        counts.copy_(total)
