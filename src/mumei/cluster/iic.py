"""IIC: invariant information clustering.

Source: Ji, Henriques and Vedaldi 2019, "Invariant Information Clustering for Unsupervised Image Classification and
Segmentation". Phi(x) is a softmax over k clusters, g an alteration that leaves the meaning; over a batch of n rows

    P = (1/n) sum_i Phi(x_i) Phi(g x_i)^T, made symmetric       equation 2
    maximise I = sum_cc' P_cc' ln (P_cc' / (P_c P_c'))          equation 3

P_c being P's row sums. Section 3.3: a second head with more clusters than are sought ("over") shares the encoder and
takes turns with the first by epochs; each head is several sub-heads, of which the one with the least loss gives the labels. No
label is needed for that.

Departures: the loss of a sub-head is averaged with a memory of about a hundred steps, not over the last epoch; a row and its
copies share a pass (and so their batch normalisation); convolutions have He's weights.

`preset="paper"` has the authors' settings for MNIST: 5x5 convolutions, pictures cropped to 20 of 28 pixels and shown at 24,
copies turned by up to 25 degrees (half of them) and cropped to 16, 20 or 24, 5 copies of 140 rows a step, Adam 1e-4, 3,200
epochs, heads that begin with N(0, 0.01^2). There the rows themselves are always cropped around the middle, where the authors
cropped half of them at random. The robust default is for any picture: it is seen whole, by a small network, Adam 1e-3 with a
falling rate, one copy a row; lamb = 1.5 and heads with He's weights, as nearly equal probabilities at the start and a weak
entropy leave clusters empty when there are few steps (seen on scikit-learn's digits, with whose labels these two were
chosen).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from mumei.cluster.augmented import AugmentedClusterer, Pairs
from mumei.cluster.run import Run
from mumei.cluster.terms import Term, View, full_precision
from mumei.core import seeds
from mumei.core.config import at_least
from mumei.core.errors import UsageError
from mumei.core.method import At
from mumei.nn.mlp import MLP

TINY = 1e-12  # under a joint probability, whose logarithm is taken
MEMORY = 0.99  # share of a sub-head's mean loss that a step leaves


def information(p: Tensor, q: Tensor, lamb: float = 1.0) -> Tensor:
    """Return the mutual information in nats of paired soft assignments p, q (b, s, k), for each of s sub-heads (s,).

    `lamb` weighs the marginal entropies: I = lamb (H(c) + H(c')) - H(c, c').

    Examples
    --------
    >>> information(torch.eye(2)[:, None], torch.eye(2)[:, None])  # ln 2
    tensor([0.6931])
    """
    with full_precision(p):
        joint = torch.einsum("bsk,bsl->skl", p.float(), q.float()) / len(p)
    joint = ((joint + joint.transpose(1, 2)) / 2).clamp(min=TINY)
    rows, columns = joint.sum(2, keepdim=True), joint.sum(1, keepdim=True)
    return (joint * (joint.log() - lamb * rows.log() - lamb * columns.log())).sum((1, 2))


class SubHeads(nn.Module):
    """Several softmax layers on the same features, and the mean loss of each, by which one is chosen.

    Parameters
    ----------
    features, n_clusters, count : int
        Width of the features, clusters, and sub-heads.
    init : str
        See `mumei.nn.mlp.initialise`.
    seed : int
    """

    def __init__(self, features: int, n_clusters: int, count: int, *, init: str = "he", seed: int = 0):
        super().__init__()
        self.count, self.n_clusters = count, n_clusters
        self.layer = MLP((features, count * n_clusters), init=init, seed=seed)
        self.register_buffer("losses", torch.zeros(count))

    def forward(self, features: Tensor) -> Tensor:
        """Return the probabilities (b, s, k)."""
        return torch.softmax(self.layer(features).view(-1, self.count, self.n_clusters), 2)

    def proba(self, features: Tensor) -> Tensor:
        """Return those of the sub-head with the least loss (b, k)."""
        return self(features)[:, int(cast("Tensor", self.losses).argmin())]

    def note(self, losses: Tensor) -> None:
        """Take a step's losses (s,) into the means; all begin at 0, so their order is that of the steps' weighted means."""
        cast("Tensor", self.losses).lerp_(losses, 1.0 - MEMORY)


@dataclass
class Information(Term):
    """Minus the mutual information of rows and their copies, the mean over a head's sub-heads, in its epochs of a cycle.

    Parameters
    ----------
    head : str
        The network's name.
    lamb : float
        Weight of the marginal entropies.
    copies : int
        Of each row in a step.
    begins, ends, cycle : int
        It is due in epochs e with begins <= e mod cycle < ends.
    """

    name: ClassVar[str] = "information"
    head: str = "head"
    lamb: float = 1.0
    copies: int = 1
    begins: int = 0
    ends: int = 1
    cycle: int = 1

    def due(self, at: At) -> bool:
        """Whether this is one of its epochs."""
        return self.begins <= at.epoch % self.cycle < self.ends

    def __call__(self, view: View) -> Tensor:
        """Return the loss."""
        seen, copies = cast("Pairs", view).features(self.copies)
        head = view.nets[self.head]
        losses = -information(head(seen).repeat(self.copies, 1, 1), head(copies), self.lamb)
        self.last = losses.detach()
        return losses.mean()

    def after(self, view: View) -> None:
        """Remember the sub-heads' losses."""
        view.nets[self.head].note(self.last)


@dataclass
class OverInformation(Information):
    """The same for the head with more clusters."""

    name: ClassVar[str] = "over_information"
    head: str = "over"


@dataclass(kw_only=True, eq=False, repr=False)
class IIC(AugmentedClusterer):
    """Invariant information clustering: give a row and its altered copy the same cluster, and all clusters rows.

    Parameters
    ----------
    lamb : float, optional
        Weight of the marginal entropies; above 1 it asks for clusters of equal size more strongly.
    over : int or "auto", optional
        Clusters of the second head; 5 k by default.
    sub_heads : int, optional
        Of each head.
    copies : int, optional
        Altered copies of each row in a step.
    head_epochs : int, optional
        Epochs of the first head after each one of the second.
    others
        Those of `mumei.cluster.augmented.AugmentedClusterer`; `IIC.presets()` shows what a preset sets.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.concatenate([np.zeros((40, 4)), np.ones((40, 4))]) + np.random.default_rng(0).normal(0, 0.1, (80, 4))
    >>> model = IIC(n_clusters=2, hidden=(32,), batch_size=16, random_state=0)
    >>> np.bincount(model.fit_predict(X)).tolist()
    [40, 40]
    """

    lamb: float | None = None
    over: Any = None
    sub_heads: int | None = None
    copies: int | None = None
    head_epochs: int | None = None

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "robust": {
            "copies": 1,
            "epochs": 60,
            "head_epochs": 2,
            "head_init": "he",
            "lamb": 1.5,
            "over": "auto",
            "sub_heads": 5,
        },
        "paper": {
            "batch_size": 140,
            "brightness": 0.4,
            "centre": 20 / 28,
            "contrast": 0.4,
            "convolutions": (64, "pool", 128, "pool", 256, "pool", 512),
            "copies": 5,
            "crops": (16 / 28, 20 / 28, 24 / 28),
            "epochs": 3200,
            "head_epochs": 2,
            "head_init": "normal",
            "kernel": 5,
            "lamb": 1.0,
            "learning_rate": 1e-4,
            "over": "auto",
            "rotated": 0.5,
            "rotation": 25.0,
            "schedule": "constant",
            "shift": 0.0,
            "side": 24 / 28,
            "sub_heads": 5,
            "zoom": 0.0,
        },
    }
    LEAST: ClassVar[dict[str, float]] = {
        **AugmentedClusterer.LEAST,
        "copies": 1,
        "head_epochs": 1,
        "lamb": 0.0,
        "sub_heads": 1,
    }
    learns: ClassVar[tuple[str, ...]] = ("encoder", "head", "over")

    def make_heads(self, run: Run, features: int) -> dict[str, nn.Module]:
        """Return the head, and the one with more clusters."""
        k, count, init = run.n_clusters, run.settings["sub_heads"], run.settings["head_init"]
        return {
            name: SubHeads(features, width, count, init=init, seed=seeds.child(run.seed, name))
            for name, width in (("head", k), ("over", clusters_over(run.settings["over"], k)))
        }

    def terms(self, settings: Mapping[str, Any]) -> Sequence[Term]:
        """Return minus the information of both heads, by turns."""
        cycle = 1 + settings["head_epochs"]
        own = {"lamb": settings["lamb"], "copies": settings["copies"], "cycle": cycle}
        return [OverInformation(begins=0, ends=1, **own), Information(begins=1, ends=cycle, **own)]


def clusters_over(over: Any, n_clusters: int) -> int:
    """Return the number of clusters of the second head."""
    if over == "auto":
        return 5 * n_clusters
    if isinstance(over, str):
        raise UsageError(f"over={over!r} is not allowed; give a number of clusters, or 'auto'.")
    at_least("over", over, n_clusters, whole=True)
    return over
