"""How good a clustering is: scores that need true labels, and, apart from them, scores that need none.

ACC = the largest share of rows that a one-to-one map of clusters to classes gets right (Hungarian method). NMI is normalised by
the arithmetic mean of the entropies. Nothing here is used to choose a model: what is chosen is chosen without labels.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mumei.core import seeds
from mumei.core.errors import DataError

SAMPLE = 2000  # rows that a silhouette is worked out on


def contingency(y: Any, labels: Any) -> np.ndarray:
    """Return how many rows of each class (r) are in each cluster (c), int64 (r, c).

    Raises
    ------
    DataError
        Labels of other lengths, or none.
    """
    y, labels = np.asarray(y), np.asarray(labels)
    if y.ndim != 1 or y.shape != labels.shape or not len(y):
        raise DataError(f"y has shape {y.shape} and the clusters have {labels.shape}; give one label a row for both.")
    classes, rows = np.unique(y, return_inverse=True)
    clusters, columns = np.unique(labels, return_inverse=True)
    table = np.zeros((len(classes), len(clusters)), dtype=np.int64)
    np.add.at(table, (rows, columns), 1)
    return table


# These need true labels.


def accuracy(y: Any, labels: Any) -> float:
    """Return ACC in [0, 1].

    Examples
    --------
    >>> accuracy(["a", "a", "b", "b"], [1, 1, 0, 2])
    0.75
    """
    from scipy.optimize import linear_sum_assignment

    table = contingency(y, labels)
    rows, columns = linear_sum_assignment(table, maximize=True)
    return float(table[rows, columns].sum() / table.sum())


def purity(y: Any, labels: Any) -> float:
    """Return the share of rows that are of their cluster's commonest class; it grows with the number of clusters."""
    table = contingency(y, labels)
    return float(table.max(0).sum() / table.sum())


def nmi(y: Any, labels: Any) -> float:
    """Return the mutual information over the mean of the two entropies, in [0, 1]."""
    from sklearn.metrics import normalized_mutual_info_score

    contingency(y, labels)
    return float(normalized_mutual_info_score(np.asarray(y), np.asarray(labels), average_method="arithmetic"))


def ari(y: Any, labels: Any) -> float:
    """Return the adjusted Rand index, 1 for equal groups and 0 on average for random ones."""
    from sklearn.metrics import adjusted_rand_score

    contingency(y, labels)
    return float(adjusted_rand_score(np.asarray(y), np.asarray(labels)))


def with_labels(y: Any, labels: Any) -> dict[str, float]:
    """Return "acc", "nmi", "ari" and "purity"."""
    return {"acc": accuracy(y, labels), "nmi": nmi(y, labels), "ari": ari(y, labels), "purity": purity(y, labels)}


# These need none.


def silhouette(z: Any, labels: Any, *, seed: int = 0, sample: int = SAMPLE) -> float | None:
    """Return the mean silhouette in [-1, 1] of at most `sample` rows z (n, d); None for one cluster, or one for each row."""
    from sklearn.metrics import silhouette_score

    z, labels = np.asarray(z), np.asarray(labels)
    index = np.sort(seeds.numpy_generator(seed, "silhouette").permutation(len(z))[:sample])
    kinds = len(np.unique(labels[index]))
    return float(silhouette_score(z[index], labels[index])) if 1 < kinds < len(index) else None


def without_labels(z: Any, labels: Any, *, seed: int = 0) -> dict[str, float | None]:
    """Return "silhouette", "davies_bouldin" (less is better), "calinski_harabasz", the smallest and the largest share."""
    from sklearn.metrics import calinski_harabasz_score, davies_bouldin_score

    z, labels = np.asarray(z), np.asarray(labels)
    sizes = np.unique(labels, return_counts=True)[1]
    scored = 1 < len(sizes) < len(labels)
    return {
        "silhouette": silhouette(z, labels, seed=seed),
        "davies_bouldin": float(davies_bouldin_score(z, labels)) if scored else None,
        "calinski_harabasz": float(calinski_harabasz_score(z, labels)) if scored else None,
        "smallest": float(sizes.min() / len(labels)),
        "largest": float(sizes.max() / len(labels)),
    }
