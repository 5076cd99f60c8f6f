"""Which features mark a cluster, and by how much.

For each cluster and feature, rows inside against all rows outside:

    d   = (mean inside - mean outside) / pooled standard deviation             (Cohen 1988, section 2.2)
    AUC = P(inside > outside) + P(inside = outside) / 2                        (Mann and Whitney 1947, U / (n m))

d and AUC are worked out on the prepared rows (of counts: their logarithms), means on the rows as they came. No p-values are
given: the clusters were made from the same features, so a test of no difference would be sure to fail.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse

from mumei.core.inputs import CHUNK, dense

SMALL = 0.5  # |d| below which a feature marks nothing: Cohen's "medium"
ZEROS = 0.3  # share of zeros from which on "present in" says something


@dataclass(frozen=True)
class Marker:
    """A feature that marks a cluster.

    Parameters
    ----------
    feature : int
        Its column in the rows as they came.
    d, auc : float
    inside, outside : float
        Means, in the units of the data.
    present : (float, float) or None
        Share of rows in which it is not 0, inside and outside; for data with many zeros.
    """

    feature: int
    d: float
    auc: float
    inside: float
    outside: float
    present: tuple[float, float] | None = None


def sums(x: Any, labels: np.ndarray, n_clusters: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return by cluster and column the sums, the sums of squares and the counts of what is not 0, each float64 (k, d)."""
    total, square, present = (np.zeros((n_clusters, x.shape[1])) for _ in range(3))
    for start in range(0, x.shape[0], CHUNK):
        part = x[start : start + CHUNK]
        rows = dense(part).astype(np.float64)
        member = scipy.sparse.csr_matrix(
            (np.ones(len(rows)), (labels[start : start + CHUNK], np.arange(len(rows)))), shape=(n_clusters, len(rows))
        )
        total += member @ rows
        square += member @ np.square(rows)
        present += member @ (rows != 0)
    return total, square, present


def effects(x: Any, labels: np.ndarray, n_clusters: int) -> np.ndarray:
    """Return Cohen's d (k, d) of each cluster against the rest; 0 for a cluster or a rest of fewer than two rows.

    Parameters
    ----------
    x : ndarray or CSR (n, d)
    labels : ndarray (n,)
    n_clusters : int

    Examples
    --------
    >>> effects(np.array([[0.0], [2.0], [4.0], [6.0]]), np.array([0, 0, 1, 1]), 2).round(2).tolist()
    [[-2.83], [2.83]]
    """
    # Sums of squares of values far from 0 lose digits: the first row is taken off a dense matrix.
    x = x if scipy.sparse.issparse(x) else np.asarray(x, dtype=np.float64) - np.asarray(x[:1], dtype=np.float64)
    total, square, _ = sums(x, labels, n_clusters)
    n = np.bincount(labels, minlength=n_clusters).astype(np.float64)[:, None]
    rest = n.sum() - n
    with np.errstate(divide="ignore", invalid="ignore"):
        inside, outside = total / n, (total.sum(0) - total) / rest
        scatter = square - total * inside + (square.sum(0) - square) - (total.sum(0) - total) * outside
        pooled = np.sqrt(np.maximum(scatter, 0) / (n + rest - 2))
        found = (inside - outside) / pooled
    still = pooled <= 1e-9 * np.maximum(np.abs(inside), np.abs(outside))
    return np.where((n < 2) | (rest < 2) | still | ~np.isfinite(found), 0.0, found)


def auc(values: Any, inside: Any) -> float:
    """Return the chance that a value (n,) of a row inside is above one outside, a tie counting half.

    Examples
    --------
    >>> auc([1.0, 2.0, 2.0, 3.0], [False, False, True, True])
    0.875
    """
    from scipy.stats import rankdata

    inside = np.asarray(inside, dtype=bool)
    n, m = int(inside.sum()), int((~inside).sum())
    return float((rankdata(values)[inside].sum() - n * (n + 1) / 2) / (n * m)) if n and m else 0.5


def markers(
    x: Any, X: Any, columns: Sequence[int], labels: Any, n_clusters: int, *, most: int = 6
) -> list[list[Marker]]:
    """Return the features that mark each cluster, the largest |d| first.

    Parameters
    ----------
    x : ndarray or CSR (n, d')
        Prepared rows.
    X : ndarray or CSR (n, d)
        The same rows as they came.
    columns : sequence of int (d',)
        Which column of X each column of x is of.
    labels : array (n,)
    n_clusters : int
    most : int
        Features a cluster; those of |d| below 0.5 are left out.
    """
    labels = np.asarray(labels)
    found = effects(x, labels, n_clusters)
    total, _, present = sums(X, labels, n_clusters)
    n = np.bincount(labels, minlength=n_clusters).astype(np.float64)
    sparse = present.sum() < (1 - ZEROS) * n.sum() * X.shape[1]
    out: list[list[Marker]] = []
    for k in range(n_clusters):
        inside, rest = n[k], n.sum() - n[k]
        each = []
        for j in np.argsort(-np.abs(found[k]), kind="stable")[:most]:
            if abs(found[k, j]) < SMALL:
                break
            c = int(columns[j])
            values = dense(x[:, [j]]).ravel()
            shares = (float(present[k, c] / inside), float((present[:, c].sum() - present[k, c]) / rest))
            means = float(total[k, c] / inside), float((total[:, c].sum() - total[k, c]) / rest)
            each.append(Marker(c, float(found[k, j]), auc(values, labels == k), *means, shares if sparse else None))
        out.append(each)
    return out
