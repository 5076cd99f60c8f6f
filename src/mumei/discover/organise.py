"""Clusters: k-means on leading components, their number chosen by stability unless it is given.

Stability of a number k is the mean adjusted Rand index between two k-means fits on overlapping random halves, compared on all
rows of the sample (after Ben-Hur, Elisseeff and Guyon 2002, "A stability based method for discovering structure in clustered
data"). Departure: few clusters are nearly always stable, and so is one odd corner against all the rest. The choice is
therefore the k with the largest stability times the chance that two random rows are told apart (1 - sum of squared shares):
what is both repeatable and worth knowing. The whole curve is kept and shown, because on real data it is often flat.

Everything is computed with one thread: sums over several threads differ in their last bits from run to run.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from mumei.core.errors import UsageError
from mumei.core.seeds import numpy_generator, sample_rows, seed32
from mumei.core.threads import one_thread

if TYPE_CHECKING:
    import numpy as np

COMPONENTS = 50
FIT_ROWS = 20_000  # rows that components are learnt on
CLUSTER_ROWS = 50_000  # rows that k-means is fitted on; the others are assigned
STABILITY_ROWS = 4_000
PAIRS = 6
CANDIDATES = (2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 30)


@dataclass(frozen=True)
class Organisation:
    """Clusters of n rows: `labels` (n,) from 0, largest cluster first; `distances` (n,) to the own centre; the curve."""

    labels: np.ndarray
    distances: np.ndarray
    curve: list[dict[str, float]]
    chosen_by: str


def reduce(store: Any, seed: int) -> np.ndarray:
    """Return the leading components (n, at most 50), float32, of a vector store's rows (centred; the store's own if few)."""
    import numpy as np
    from sklearn.decomposition import PCA

    n, wanted = len(store), min(COMPONENTS, store.dim, len(store))
    chosen = sample_rows(n, FIT_ROWS, seed, "components")
    with one_thread():
        if store.dim <= COMPONENTS or n < 3:
            return np.concatenate([np.asarray(block) for _, block in store.blocks()])
        pca = PCA(wanted, svd_solver="covariance_eigh").fit(store.rows(chosen))
        out = np.empty((n, wanted), dtype=np.float32)
        for first, block in store.blocks():
            out[first : first + len(block)] = pca.transform(block)
    return out


def organise(z: np.ndarray, clusters: int | None, seed: int, progress: Any = None) -> Organisation:
    """Cluster rows.

    Parameters
    ----------
    z : ndarray (n, d)
        Reduced vectors.
    clusters : int, optional
        How many; chosen by stability if not given.
    seed : int
    progress : callable, optional
        Called with 1 after each fit.

    Raises
    ------
    UsageError
        More clusters than distinct rows, or fewer than one.
    """
    import numpy as np

    distinct = len(np.unique(z[: max(1000, 2 * (clusters or 0))], axis=0))
    if clusters is not None and not 1 <= clusters <= min(len(z), max(distinct, 1)):
        raise UsageError(f"--clusters {clusters} is not possible with {distinct} distinct rows; give 1 to {distinct}.")
    with one_thread():
        curve: list[dict[str, float]] = []
        if clusters is None:
            curve = stability_curve(z, distinct, seed, progress)
            clusters = choose(curve)
            why = "stability and how much is told apart" if curve else "too few rows for more than one"
        else:
            why = "given"
        labels, distances = _fit(z, clusters, seed)
    return Organisation(labels, distances, curve, why)


def stability_curve(z: np.ndarray, distinct: int, seed: int, progress: Any = None) -> list[dict[str, float]]:
    """Return [{"clusters": k, "stability": mean ARI, "told_apart": share}] over the candidates that n rows allow."""
    import numpy as np
    from sklearn.cluster import KMeans
    from sklearn.metrics import adjusted_rand_score

    z = z[sample_rows(len(z), STABILITY_ROWS, seed, "stability")]
    n, curve = len(z), []
    for k in CANDIDATES:
        if k > distinct // 2 or k > math.sqrt(n) * 1.5:
            break
        scores, apart = [], []
        for pair in range(PAIRS):
            order = numpy_generator(seed, "stability", k, pair).permutation(n)
            halves = order[: int(0.8 * n)], order[int(0.2 * n) :]
            fits = [
                KMeans(k, n_init=cast("Any", 2), random_state=seed32(seed, "stability", k, pair, side)).fit(z[half])
                for side, half in enumerate(halves)
            ]
            labels = [fit.predict(z) for fit in fits]
            scores.append(adjusted_rand_score(*labels))
            apart += [1 - float(((np.bincount(found) / n) ** 2).sum()) for found in labels]
        stability, told_apart = round(float(np.mean(scores)), 4), round(float(np.mean(apart)), 4)
        curve.append({"clusters": k, "stability": stability, "told_apart": told_apart})
        if progress is not None:
            progress(1)
    return curve


def choose(curve: list[dict[str, float]]) -> int:
    """Return the number of clusters with the largest stability times share told apart; 1 for an empty curve.

    Examples
    --------
    >>> choose([{"clusters": 2, "stability": 0.9, "told_apart": 0.2}, {"clusters": 5, "stability": 0.7, "told_apart": 0.8}])
    5
    """
    if not curve:
        return 1
    return int(max(curve, key=lambda point: point["stability"] * point["told_apart"])["clusters"])


def _fit(z: np.ndarray, clusters: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    import numpy as np
    from sklearn.cluster import KMeans

    chosen = sample_rows(len(z), CLUSTER_ROWS, seed, "clusters")
    model = KMeans(clusters, n_init=cast("Any", 4), random_state=seed32(seed, "clusters")).fit(z[chosen])
    labels = np.empty(len(z), dtype=np.int32)
    distances = np.empty(len(z), dtype=np.float32)
    for start in range(0, len(z), 65_536):
        part = slice(start, start + 65_536)
        to_all = model.transform(z[part])
        labels[part] = to_all.argmin(axis=1)
        distances[part] = to_all.min(axis=1)
    sizes = np.bincount(labels, minlength=clusters)
    rank = np.empty(clusters, dtype=np.int32)
    rank[np.argsort(-sizes, kind="stable")] = np.arange(clusters)  # largest first; equal sizes by k-means' own order
    return rank[labels], distances
