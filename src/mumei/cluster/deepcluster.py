"""DeepCluster: k-means on the features gives the labels that the features are trained on.

Source: Caron, Bojanowski, Joulin and Douze 2018, "Deep Clustering for Unsupervised Learning of Visual Features". Before each
epoch

    features of all rows -> principal components, whitened, to length 1 -> k-means with more clusters than are sought

gives pseudo-labels (section 3.2); the classifier on the features starts anew, and both are trained on them by cross-entropy.
Rows are weighted by the inverse of their pseudo-cluster's size, as section 3.3 puts it in place of drawing rows evenly from the
clusters; an empty one is filled by k-means itself (scikit-learn moves its centre to a far row, the authors split another one).

The paper ends with features and does not cluster them; here k-means with the number that is sought, on the same whitened
features, gives the labels at each refresh and after the last step. Their numbers follow those of the refresh before as far as
they agree, so that the share of changed labels means something.

Departures: features are taken behind the last activation; components whose variance is below 1e-6 of the largest are left out,
as whitening would blow them up; no Sobel filter is put before the network.

`preset="paper"`: 256 components, ten times as many pseudo-clusters as clusters, SGD 0.05 with momentum 0.9 and weight decay
1e-5, batches of 256, 500 epochs; the network is a small one, not AlexNet. The robust default is Adam with a falling rate, and
fewer components: whitening gives the least one the weight of the first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mumei.cluster.assignment import HardCentres
from mumei.cluster.augmented import AugmentedClusterer, BesideCopies, Pairs
from mumei.cluster.drivers import in_blocks
from mumei.cluster.initial import initial_clustering
from mumei.cluster.run import Run
from mumei.cluster.terms import Term, View
from mumei.core import seeds
from mumei.core.config import at_least
from mumei.core.errors import UsageError
from mumei.core.method import At
from mumei.nn.mlp import MLP

ROWS = 10  # for a pseudo-cluster, at least
LEAST_VARIANCE = 1e-6  # of a component, as a share of the largest


class Whitening(nn.Module):
    """Principal components of features, each with variance 1, then rows to length 1.

    Parameters
    ----------
    features, components : int
        Columns; how many components are kept at most.
    """

    def __init__(self, features: int, components: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("axes", torch.zeros(features, min(components, features)))

    def fit(self, features: Tensor) -> Tensor:
        """Take the components of all rows (n, features), and return them whitened."""
        rows = features.double()
        mean = rows.mean(0)
        covariance = (rows - mean).T @ (rows - mean) / len(rows)
        axes = cast("Tensor", self.axes)
        values, vectors = (part.flip(-1)[..., : axes.shape[1]] for part in torch.linalg.eigh(covariance))
        kept = values > LEAST_VARIANCE * values[0]
        factors = torch.where(kept, values.clamp(min=1e-30).rsqrt(), torch.zeros_like(values))
        cast("Tensor", self.mean).copy_(mean)
        axes.copy_(vectors * factors)
        return self(features)

    def forward(self, features: Tensor) -> Tensor:
        """Return rows (b, components)."""
        return F.normalize((features - cast("Tensor", self.mean)) @ cast("Tensor", self.axes))


@dataclass
class PseudoLabels(Term):
    """Cross-entropy of altered copies against the pseudo-labels, weighted by the inverse of their clusters' sizes."""

    name: ClassVar[str] = "pseudo_labels"

    def __call__(self, view: View) -> Tensor:
        """Return the weighted mean over rows, in nats."""
        logits = view.nets["head"](cast("Pairs", view).copy)
        weight = view.remembered("weight")
        loss = F.cross_entropy(logits, view.remembered("pseudo"), reduction="none")
        return (weight * loss).sum() / weight.sum()


class Relabelling(BesideCopies):
    """A refresh makes pseudo-labels, and the classifier anew."""

    def _assign_all(self, at: At) -> Tensor:
        features = in_blocks(self.owner.features, at.nets, at.data, at.runtime.device)
        with torch.no_grad():
            z = at.nets["whitening"].fit(features)  # type: ignore[operator]
        nets: Any = self.nets
        many = min(nets["head"].sizes[1], max(len(nets["centres"].counts), len(z) // ROWS))
        pseudo = initial_clustering(z.numpy(), many, "kmeans", self.seed, starts=1).labels
        sizes = np.bincount(pseudo)
        self.made = {
            "pseudo": torch.from_numpy(pseudo),
            "weight": torch.from_numpy((1.0 / sizes[pseudo]).astype(np.float32)),
        }
        before = None if self.labels is None else self.labels.numpy()
        self.owner.group(at.nets, z, self.seed, before)
        return at.nets["centres"].proba(z)  # type: ignore[operator]

    def refresh(self, batch: tuple[Tensor, ...], at: At) -> bool:
        """Look at all rows; return whether the labels have settled."""
        settled = super().refresh(batch, at)
        self.memory = {**self.memory, **self.made}
        head = self.nets["head"]
        fresh = make_classifier(*head.sizes, seeds.child(self.seed, "head", at.step))  # type: ignore[misc]
        head.load_state_dict(fresh.state_dict())
        # What the optimiser remembers of the classes of before goes; at 0 it is as if it had not begun.
        for state in (o.state[p] for o in at.optimizers.values() for p in at.nets["head"].parameters() if p in o.state):
            for value in state.values():
                if isinstance(value, Tensor):
                    value.zero_()
        return settled


def make_classifier(features: int, classes: int, seed: int) -> MLP:
    """Return a linear classifier, its weights from N(0, 0.01^2)."""
    return MLP((features, classes), init="normal", seed=seed)


@dataclass(kw_only=True, eq=False, repr=False)
class DeepCluster(AugmentedClusterer):
    """Features trained on the pseudo-labels that k-means finds in them.

    Parameters
    ----------
    over : int or "auto", optional
        Pseudo-clusters; by default ten for each cluster that is sought. Where there are too few rows to give each ten, fewer
        are made.
    components : int or "auto", optional
        Principal components that k-means sees; "auto" is as many as clusters are sought: as few axes hold what tells k groups
        apart.
    others
        Those of `mumei.cluster.augmented.AugmentedClusterer`; `DeepCluster.presets()` shows what a preset sets.

    Examples
    --------
    >>> X = np.concatenate([np.zeros((40, 4)), np.ones((40, 4))]) + np.random.default_rng(0).normal(0, 0.1, (80, 4))
    >>> model = DeepCluster(n_clusters=2, hidden=(32,), components=2, epochs=5, random_state=0)
    >>> np.bincount(model.fit_predict(X)).tolist()
    [40, 40]
    """

    over: Any = None
    components: Any = None

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "robust": {"components": "auto", "over": "auto"},
        "paper": {
            "batch_size": 256,
            "components": 256,
            "epochs": 500,
            "learning_rate": 0.05,
            "momentum": 0.9,
            "optimizer": "sgd",
            "over": "auto",
            "schedule": "constant",
            "weight_decay": 1e-5,
        },
    }
    LEAST: ClassVar[dict[str, float]] = {**AugmentedClusterer.LEAST, "starts": 1}
    COMMON: ClassVar[dict[str, Any]] = {**AugmentedClusterer.COMMON, "starts": 20}
    driver_class: ClassVar[Any] = Relabelling

    def make_heads(self, run: Run, features: int) -> dict[str, nn.Module]:
        """Return the classifier, the whitening and the centres."""
        whitening = Whitening(features, number("components", run.settings["components"], run.n_clusters, 1))
        return {
            "head": make_classifier(
                features,
                number("over", run.settings["over"], 10 * run.n_clusters, run.n_clusters),
                seeds.child(run.seed, "head"),
            ),
            "whitening": whitening,
            "centres": HardCentres(run.n_clusters, cast("Tensor", whitening.axes).shape[1]),
        }

    def terms(self, settings: Mapping[str, Any]) -> Sequence[Term]:
        """Return the cross-entropy."""
        return [PseudoLabels()]

    def features(self, nets: Mapping[str, Any], x: Tensor) -> Tensor:
        """Return the encoder's features (b, features)."""
        return nets["encoder"](nets["augment"](x))

    def encode(self, nets: Mapping[str, Any], x: Tensor) -> Tensor:
        """Return the whitened features (b, components)."""
        return nets["whitening"](self.features(nets, x))

    def assign(self, nets: Mapping[str, Any], x: Tensor) -> Tensor:
        """Return 1 for the nearest centre and 0 for the others (b, k)."""
        return nets["centres"].proba(self.encode(nets, x))

    def group(self, nets: Mapping[str, Any], z: Tensor, seed: int, before: np.ndarray | None = None) -> None:
        """Place the centres by k-means on whitened features (n, components), numbered like the labels of before."""
        centres = nets["centres"]
        start = initial_clustering(z.numpy(), len(centres.counts), "kmeans", seed, starts=self.settings_["starts"])
        order = (
            np.arange(len(centres.counts)) if before is None else same_numbers(before, start.labels, len(start.centres))
        )
        centres.place(torch.from_numpy(start.centres[order]), torch.from_numpy(start.sizes()[order]).float())

    def finish(self, nets: dict[str, nn.Module], run: Run) -> None:
        """Whiten and cluster the features that the last step has left."""
        features = in_blocks(self.features, nets, run.rows)
        self.group(nets, nets["whitening"].fit(features), run.seed)  # type: ignore[operator]


def same_numbers(before: np.ndarray, now: np.ndarray, n_clusters: int) -> np.ndarray:
    """Return, for each number of before, the cluster of now that shares most rows with it, one to one (k,).

    Examples
    --------
    >>> same_numbers(np.array([0, 0, 1, 2]), np.array([2, 2, 0, 1]), 3).tolist()
    [2, 0, 1]
    """
    from scipy.optimize import linear_sum_assignment

    shared = np.zeros((n_clusters, n_clusters), dtype=np.int64)
    np.add.at(shared, (before, now), 1)
    return linear_sum_assignment(shared, maximize=True)[1]


def number(name: str, given: Any, auto: int, least: int) -> int:
    """Return a setting that is a number of at least `least`, or "auto"."""
    if given == "auto":
        return auto
    if isinstance(given, str):
        raise UsageError(f"{name}={given!r} is not allowed; give a number, or 'auto'.")
    at_least(name, given, least, whole=True)
    return given
