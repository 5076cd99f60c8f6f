"""A latent tree over the dimensions of a code: discrete facets, joined in a tree, each with Gaussian leaves of its own.

Facet f is a variable y_f with states; each dimension d of z belongs to one facet f(d). Facet 0 is the root:

    p(z, y) = p(y_0) prod_(f>0) p(y_f | y_parent(f)) prod_d N(z_d; mu_(d, y_f(d)), s2_(d, y_f(d)))

so that z has several clusterings at once, and p(z) and every p(y_f|z) are exact by passing messages up and down the tree. The
parameters follow the data by stepwise EM: sufficient statistics S, averages over rows, move towards those of each batch,
S <- S + rho (S_batch - S), and the parameters are what maximises the likelihood for S.

Source: Li, Chen, Poon and Zhang 2019, "Learning Latent Superstructures in Variational Autoencoders for Deep Multidimensional
Clustering".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from mumei.cluster.mixture import log_densities

LEAST_VARIANCE = 1e-4  # of a leaf
TINY = 1e-8  # under shares: a state that no row has


@dataclass(frozen=True)
class Tree:
    """A structure, and the sufficient statistics, averages over rows, that its parameters follow from.

    Parameters
    ----------
    facet : ndarray (d,) int64
        Facet of each dimension; 0 is the root.
    parent : ndarray (F,) int64
        Below f for f > 0; 0 for the root.
    states : ndarray (F,) int64
    pairs : ndarray (F, k, k)
        Share of rows with y_parent(f) = i and y_f = j; of the root the diagonal.
    counts, sums, squares : ndarray (k, d)
        For each dimension and state of its facet, the mean over rows of p(y|z), p(y|z) z and p(y|z) z^2.
    """

    facet: np.ndarray
    parent: np.ndarray
    states: np.ndarray
    pairs: np.ndarray
    counts: np.ndarray
    sums: np.ndarray
    squares: np.ndarray


class LatentTree(nn.Module):
    """The tree of a code, without parameters that learn by gradient.

    Parameters
    ----------
    n_clusters, n_latent : int
        States of facet 0, and most states of others; most facets.
    rate : float
        rho.
    """

    facet: Tensor
    parent: Tensor
    states: Tensor
    pairs: Tensor
    counts: Tensor
    sums: Tensor
    squares: Tensor

    def __init__(self, n_clusters: int, n_latent: int, rate: float = 0.01):
        super().__init__()
        k, d = n_clusters, n_latent
        self.rate = rate
        self.register_buffer("facet", torch.zeros(d, dtype=torch.int64))
        self.register_buffer("parent", torch.zeros(d, dtype=torch.int64))
        self.register_buffer("states", torch.ones(d, dtype=torch.int64))
        self.register_buffer("pairs", torch.zeros(d, k, k))
        for name in ("counts", "sums", "squares"):
            self.register_buffer(name, torch.zeros(k, d))
        self.states[0] = k
        self.pairs[0], self.pairs[1:, 0, 0] = torch.eye(k) / k, 1.0
        self.counts += 1.0 / k
        self.squares += 1.0 / k

    @torch.no_grad()
    def place(self, tree: Tree) -> None:
        """Take over a structure with its statistics; facets that it does not have hold no dimension and one state."""
        facets = len(tree.parent)
        self.facet.copy_(torch.from_numpy(tree.facet))
        self.parent.zero_()[:facets] = torch.from_numpy(tree.parent)
        self.states.fill_(1)[:facets] = torch.from_numpy(tree.states)
        self.pairs.zero_()[:, 0, 0] = 1.0
        self.pairs[:facets] = torch.from_numpy(tree.pairs).float()
        for name in ("counts", "sums", "squares"):
            getattr(self, name).copy_(torch.from_numpy(getattr(tree, name)).float())

    def facets(self) -> int:
        """Return how many facets hold a dimension."""
        return int(self.facet.max()) + 1

    # The parameters, as they follow from the statistics.

    def means(self) -> Tensor:
        """Return mu (k, d)."""
        return self.sums / self.counts.clamp(min=TINY)

    def log_variances(self) -> Tensor:
        """Return log s2 (k, d)."""
        spread = self.squares / self.counts.clamp(min=TINY) - self.means().square()
        return spread.clamp(min=LEAST_VARIANCE).log()

    def log_root(self) -> Tensor:
        """Return log p(y_0) (k,)."""
        share = self.pairs[0].diagonal().clamp(min=TINY)
        return (share / share.sum()).log()

    def log_table(self, f: int) -> Tensor:
        """Return log p(y_f = j | y_parent = i) (k, k); states that f does not have are impossible."""
        own = int(self.states[f])
        table = self.pairs[f].clamp(min=TINY)
        table = torch.where(torch.arange(table.shape[1]) < own, table, 0.0)
        return (table / table.sum(1, keepdim=True)).log()

    # Inference.

    def evidence(self, z: Tensor) -> Tensor:
        """Return log p(z_f | y_f = j) (b, k, F), z_f the dimensions of facet f."""
        each = log_densities(z, self.means(), self.log_variances())
        return each @ nn.functional.one_hot(self.facet, self.facets()).to(each.dtype)

    def upward(self, z: Tensor) -> list[Tensor]:
        """Return for each facet log p(all z at or below f | y_f = j) (b, k)."""
        below = list(self.evidence(z).unbind(-1))
        for f in range(len(below) - 1, 0, -1):
            p = int(self.parent[f])
            below[p] = below[p] + torch.logsumexp(self.log_table(f) + below[f][:, None], -1)
        return below

    def log_prob(self, z: Tensor) -> Tensor:
        """Return log p(z) (b,)."""
        return torch.logsumexp(self.log_root() + self.upward(z)[0], 1)

    def posteriors(self, z: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Return for each facet p(y_f|z) (b, k), and p(y_parent, y_f|z) (b, k, k); the root's pair is its diagonal."""
        below = self.upward(z)
        alone = [torch.softmax(self.log_root() + below[0], 1)]
        pairs = [torch.diag_embed(alone[0])]
        for f in range(1, len(below)):
            given = torch.softmax(self.log_table(f) + below[f][:, None], -1)  # p(y_f|y_parent, z)
            pairs.append(alone[int(self.parent[f])][..., None] * given)
            alone.append(pairs[f].sum(1))
        return alone, pairs

    def forward(self, z: Tensor) -> Tensor:
        """Return log p(y_0|z) (b, k)."""
        return torch.log_softmax(self.log_root() + self.upward(z)[0], 1)

    def proba(self, z: Tensor) -> Tensor:
        """Return p(y_0|z) (b, k)."""
        return self(z).exp()

    # Learning.

    def statistics(self, z: Tensor) -> dict[str, Tensor]:
        """Return the sufficient statistics that rows z (b, d) are expected to have: the E step."""
        alone, pairs = self.posteriors(z)
        weight = torch.stack(alone, -1)[..., self.facet]  # (b, k, d)
        return {
            "pairs": torch.stack([pair.mean(0) for pair in pairs]),
            "counts": weight.mean(0),
            "sums": (weight * z[:, None]).mean(0),
            "squares": (weight * z[:, None].square()).mean(0),
        }

    @torch.no_grad()
    def absorb(self, z: Tensor) -> None:
        """Move the statistics by `rate` towards those of rows z (b, d)."""
        for name, found in self.statistics(z).items():
            kept = getattr(self, name)[: len(found)]
            kept.lerp_(found, self.rate)

    @torch.no_grad()
    def reseed(self, cluster: int, z: Tensor) -> None:
        """Start an emptied state of facet 0 at an embedded row (d,), with an average share and the variances of all."""
        own = self.facet == 0
        share, variance = self.pairs[0].diagonal().mean(), self.log_variances().exp().mean(0)
        self.pairs[0, cluster, cluster] = share
        for name, value in (("counts", torch.ones_like(z)), ("sums", z), ("squares", z.square() + variance)):
            getattr(self, name)[cluster, own] = (share * value)[own]
