"""DAC: deep adaptive clustering, pairs of images judged alike or unlike.

Source: Chang, Wang, Meng, Xiang and Pan 2017, "Deep Adaptive Image Clustering". A network gives each row a label feature l_i,
non-negative and of length 1 (section 3.2); g_ij = l_i . l_j says how alike two rows are. Of the pairs in a batch those count
of which the network is sure (equation 5):

    r_ij = 1   where g_ij > u(lambda),   u = 0.95 - lambda
    r_ij = 0   where g_ij <= l(lambda),  l = 0.455 + 0.1 lambda
    L = the mean over these pairs of -r_ij log g_ij - (1 - r_ij) log(1 - g_ij)      equation 2

lambda grows by 1.1 * 0.009 an epoch (equation 7, eta = 0.009), until u and l meet at 0.5 and all pairs count; it stays there.
A row's cluster is the largest entry of its label feature. The probabilities are a softmax, of which l is the same to length
1, so both name the same cluster.

As in the authors' program the head is fully connected k x k layers that begin as the identity, with batch normalisation and
ReLU, without which all rows begin alike, and the loss is that of altered copies.

Departures: g in the loss is between an altered copy of one row and another copy of the other, so that a row and itself is a pair
as well; r comes from a pass of its own on one batch, normalised by running means (`judged="apart"`; the authors took 1,000 rows
at a time, and trained on them for five epochs). Convolutions are padded to keep their size; g is kept within 1e-7 of 0 and 1.

`preset="paper"`: the authors' network for MNIST, RMSprop 0.001, batches of 128, copies turned by 10 degrees, moved by 0.1,
enlarged by 0.05; 46 epochs bring lambda to where u and l meet. The robust default is a smaller network, Adam with a falling
rate, batches of 50, moves by 0.05, and a lambda that is there after two thirds of the epochs (chosen on scikit-learn's digits
with their labels). As in the authors' program, pairs between the thresholds are taken as unlike: where they are ignored
nothing keeps two groups from growing into one. One side of g are the rows as they are, on which r is judged in the same pass
(`judged="rows"`). None of the three choices is the best everywhere (ACC, three seeds): rows 81 on scikit-learn's digits, 93 on
usps, 88 on MNIST; copies 97, 73 (two seeds) and 87; apart 69 on the digits. Seeds differ by ten points and more, and of three on
MNIST (copies) the one of least loss was the most accurate, by nine: `n_init` with `select="loss"` is worth its time.

The ReLUs of the head give rows whose units are all off equal probabilities: a label feature of its own, which goes to no
cluster rightly. That is one row in 2^k by chance alone: among two or three clusters it is felt (groups are cut in two), so the
robust default leaves these ReLUs out (`head_activation="auto"`) where k is below `FEW`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import skip_init

from mumei.cluster.augmented import AugmentedClusterer, Pairs
from mumei.cluster.run import Run
from mumei.cluster.terms import Term, View, full_precision
from mumei.core import seeds
from mumei.core.config import at_least, one_of
from mumei.core.errors import UsageError
from mumei.core.linear import FastLinear
from mumei.nn.mlp import MLP, activation

UPPER, LOWER = (0.95, -1.0), (0.455, 0.1)  # u and l: at lambda = 0, and by how much they change with it
MEETING = (UPPER[0] - LOWER[0]) / (LOWER[1] - UPPER[1])  # 0.45
SETTLED = 2 / 3  # of the epochs, after which growth="auto" has them meet
EDGE = 1e-7
FEW = 5  # clusters, below which more than one row in 32 would have all units off


def thresholds(lam: float) -> tuple[float, float]:
    """Return u and l; beyond 0.45, where they meet, they stay.

    Examples
    --------
    >>> [round(v, 3) for v in (*thresholds(0.0), *thresholds(0.2), *thresholds(9.0))]
    [0.95, 0.455, 0.75, 0.475, 0.5, 0.5]
    """
    lam = min(lam, MEETING)
    return UPPER[0] + UPPER[1] * lam, LOWER[0] + LOWER[1] * lam


class LabelFeatures(nn.Module):
    """From features to a softmax over clusters, through layers that begin as the identity.

    Parameters
    ----------
    features, n_clusters : int
    head_activation : str
        Of the k x k layers, see `mumei.nn.mlp.ACTIVATIONS`.
    seed : int
    """

    def __init__(self, features: int, n_clusters: int, *, head_activation: str = "relu", seed: int = 0):
        super().__init__()
        k = n_clusters
        layers: list[nn.Module] = [MLP((features, k), seed=seed), nn.BatchNorm1d(k), activation(head_activation)]
        layers.append(nn.BatchNorm1d(k))
        for _ in range(2):
            layer = cast("FastLinear", skip_init(FastLinear, k, k))
            with torch.no_grad():
                nn.init.eye_(layer.weight)
                nn.init.zeros_(layer.bias)
            layers += [layer, nn.BatchNorm1d(k), activation(head_activation)]
        self.layers = nn.Sequential(*layers)

    def forward(self, features: Tensor) -> Tensor:
        """Return label features (b, k): non-negative, of length 1."""
        return F.normalize(self.proba(features))

    def proba(self, features: Tensor) -> Tensor:
        """Return probabilities (b, k)."""
        return torch.softmax(self.layers(features), 1)


@dataclass
class SurePairs(Term):
    """Binary cross-entropy of the pairs that the network is sure of.

    Parameters
    ----------
    growth : float
        Of lambda, in an epoch.
    unsure : {"ignored", "unlike"}
        What pairs between the thresholds are.
    judged : {"rows", "copies", "apart"}
        What r is judged on: the rows as they are, which then are one side of the loss; the loss's copies; or the rows as they are
        in a pass of their own.
    """

    name: ClassVar[str] = "pairs"
    growth: float = 0.0099
    unsure: str = "ignored"
    judged: str = "rows"

    def __call__(self, view: View) -> Tensor:
        """Return the mean over the pairs that count; 0 where there is none."""
        seen = cast("Pairs", view)
        sides = seen.features() if self.judged == "rows" else seen.two_copies()
        first, second = view.nets["head"](torch.cat(sides)).float().chunk(2)
        judged = self._of_rows(view) if self.judged == "apart" else first.detach()
        upper, lower = thresholds(self.growth * view.at.epoch)
        with full_precision(first):
            alike, g = judged @ judged.T, (first @ second.T).clamp(EDGE, 1.0 - EDGE)
        similar = alike > upper
        dissimilar = alike <= lower if self.unsure == "ignored" else ~similar
        loss = torch.where(similar, -g.log(), torch.where(dissimilar, -torch.log1p(-g), torch.zeros_like(g)))
        return loss.sum() / (similar | dissimilar).sum().clamp(min=1)

    @torch.no_grad()
    def _of_rows(self, view: View) -> Tensor:
        """Return the label features (b, k) of the rows as they are, as `predict` would see them."""
        nets = [view.nets["encoder"], view.nets["head"]]
        for net in nets:
            net.eval()
        try:
            return view.nets["head"](view.nets["encoder"](view.nets["augment"](view.x))).float()
        finally:
            for net in nets:
                net.train()


@dataclass(kw_only=True, eq=False, repr=False)
class DAC(AugmentedClusterer):
    """Deep adaptive clustering: decide for the surest pairs of rows first whether they belong together.

    Parameters
    ----------
    growth : float or "auto", optional
        Of lambda in an epoch: how fast less sure pairs are let in. All pairs count from 0.45 on; "auto" is there after two thirds
        of the epochs.
    head_activation : str, optional
        Of the k x k layers before the softmax: "relu" as in the authors' program, "identity", or "auto", which is "identity"
        for fewer than five clusters and "relu" for others.
    unsure : {"ignored", "unlike"}, optional
        What pairs between the thresholds are: none of the loss's (the paper), or unlike (the authors' program).
    judged : {"rows", "copies", "apart"}, optional
        On what it is judged whether two rows are alike: the rows as they are, beside which the loss then has one copy; the two
        altered copies that the loss has of each; or the rows as they are in a pass of their own (the authors' program).
    others
        Those of `mumei.cluster.augmented.AugmentedClusterer`; `DAC.presets()` shows what a preset sets.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.concatenate([np.zeros((40, 4)), np.ones((40, 4))]) + np.random.default_rng(0).normal(0, 0.1, (80, 4))
    >>> model = DAC(n_clusters=2, hidden=(32,), batch_size=16, random_state=0)
    >>> np.bincount(model.fit_predict(X)).tolist()
    [40, 40]
    """

    growth: Any = None
    head_activation: str | None = None
    unsure: str | None = None
    judged: str | None = None

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "robust": {
            "batch_size": 50,
            "epochs": 60,
            "growth": "auto",
            "head_activation": "auto",
            "judged": "rows",
            "learning_rate": 3e-3,
            "rotation": 10.0,
            "shift": 0.05,
            "unsure": "unlike",
            "zoom": 0.05,
        },
        "paper": {
            "batch_size": 128,
            "convolutions": (64, 64, 64, "pool", 128, 128, 128, "pool"),
            "epochs": 46,
            "growth": 1.1 * 0.009,
            "head_activation": "relu",
            "judged": "apart",
            "optimizer": "rmsprop",
            "rotation": 10.0,
            "schedule": "constant",
            "shift": 0.1,
            "unsure": "ignored",
            "zoom": 0.05,
        },
    }

    def make_heads(self, run: Run, features: int) -> dict[str, nn.Module]:
        """Return the head."""
        given, seed = run.settings["head_activation"], seeds.child(run.seed, "head")
        if given == "auto":
            given = "identity" if run.n_clusters < FEW else "relu"
        return {"head": LabelFeatures(features, run.n_clusters, head_activation=given, seed=seed)}

    def terms(self, settings: Mapping[str, Any]) -> Sequence[Term]:
        """Return the loss of the pairs."""
        unsure, judged = settings["unsure"], settings["judged"]
        one_of("unsure", unsure, ("ignored", "unlike"))
        one_of("judged", judged, ("rows", "copies", "apart"))
        return [SurePairs(growth=growth_of(settings["growth"], settings["epochs"]), unsure=unsure, judged=judged)]


def growth_of(given: Any, epochs: Any) -> float:
    """Return lambda's growth in an epoch, given as a number or as "auto" for so many epochs.

    Examples
    --------
    >>> growth_of("auto", 60), growth_of(0.5, 60)
    (0.01125, 0.5)
    """
    if given == "auto" and isinstance(epochs, int):
        return MEETING / (SETTLED * epochs)
    if given == "auto":
        raise UsageError(
            f"growth='auto' follows the number of epochs, and epochs={epochs!r} is none; give one of both as a number."
        )
    if isinstance(given, str):
        raise UsageError(f"growth={given!r} is not allowed; give a number of at least 0, or 'auto'.")
    at_least("growth", given, 0.0)
    return given
