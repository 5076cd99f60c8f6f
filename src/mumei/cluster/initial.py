"""The clustering that a method starts from, by scikit-learn: k-means, or a mixture of Gaussians, on embedded rows."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from mumei.core import seeds
from mumei.core.config import one_of

INITS = ("kmeans", "gmm")


@dataclass(frozen=True)
class Start:
    """Centres (k, d), labels (n,), variances (k, d) where rows were dense, and of a mixture the weights (k,).

    `score` is what the method minimised: the sum of squared distances, or minus the mean log-likelihood.
    """

    centres: np.ndarray
    labels: np.ndarray
    score: float
    weights: np.ndarray | None = None
    variances: np.ndarray | None = None

    def sizes(self) -> np.ndarray:
        """Return how many rows each cluster has (k,)."""
        return np.bincount(self.labels, minlength=len(self.centres))


def initial_clustering(z: Any, n_clusters: int, init: str, seed: int, *, starts: int = 20) -> Start:
    """Cluster embedded rows.

    Parameters
    ----------
    z : ndarray (n, d)
    n_clusters : int
        At most n.
    init : {"kmeans", "gmm"}
    seed : int
    starts : int
        Random starts; the one with the best score counts.

    Raises
    ------
    UsageError
        An unknown `init`.

    Examples
    --------
    >>> initial_clustering(np.array([[0.0], [0.1], [5.0]]), 2, "kmeans", 0).sizes().tolist()
    [1, 2]
    """
    one_of("init", init, INITS)
    with warnings.catch_warnings():
        # Fewer distinct points than clusters, or a mixture that is not settled: the refresh counts what is empty.
        warnings.simplefilter("ignore")
        return (_kmeans if init == "kmeans" else _mixture)(z, n_clusters, seeds.seed32(seed, init), starts)


def _kmeans(z: np.ndarray, k: int, seed: int, starts: int) -> Start:
    from sklearn.cluster import KMeans

    options: Any = {"n_init": starts, "random_state": seed}
    model: Any = KMeans(k, **options).fit(z)
    labels = model.labels_.astype(np.int64)
    centres = model.cluster_centers_.astype(np.float32)
    # Baselines cluster rows of CSR; no mixture begins from those.
    variances = _within(z, labels, k) if isinstance(z, np.ndarray) else None
    return Start(centres, labels, float(model.inertia_), variances=variances)


def _within(z: np.ndarray, labels: np.ndarray, k: int) -> np.ndarray:
    """Return each cluster's variances (k, d) float32; those of a small cluster lean on all rows' spread around their centres."""
    from scipy.sparse import csr_matrix

    sizes = np.bincount(labels, minlength=k).astype(np.float64)
    member = csr_matrix((np.ones(len(z)), (labels, np.arange(len(z)))), shape=(k, len(z)))
    rows = z.astype(np.float64)
    means = member @ rows / np.maximum(sizes, 1)[:, None]
    squares = member @ np.square(rows - means[labels])
    pooled = squares.sum(0) / len(z) + 1e-6
    return ((squares + pooled) / (sizes[:, None] + 1.0)).astype(np.float32)


def _mixture(z: np.ndarray, k: int, seed: int, starts: int) -> Start:
    from sklearn.mixture import GaussianMixture

    model: Any = GaussianMixture(k, covariance_type="diag", n_init=starts, random_state=seed, reg_covar=1e-6)
    labels = model.fit_predict(z.astype(np.float64))
    means, weights, variances = (a.astype(np.float32) for a in (model.means_, model.weights_, model.covariances_))
    return Start(means, labels.astype(np.int64), -float(model.lower_bound_), weights, variances)
