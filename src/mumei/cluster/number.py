"""The number of clusters, where it is not given: a curve over k of stability and of BIC, and a rule that is said.

For each k: a mixture of diagonal Gaussians on embedded rows gives BIC = -2 log L + (free parameters) log n (less is better);
k-means on pairs of random halves gives the stability: both label all rows, and the ARI between these labels is averaged over
pairs. The rule: of the k whose stability is within one standard error of the best, the one with the least BIC. The curve is
kept: look at it, one number hides how flat it is.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from mumei.cluster.metrics import ari, silhouette
from mumei.core import seeds
from mumei.core.errors import DataError

PAIRS = 6
STARTS: Any = 3  # of each k-means; the stubs of scikit-learn know text alone
ROWS = 5000  # at most: more rows change the curve little


def number_of_clusters(
    z: Any, *, seed: int, candidates: Sequence[int] | None = None
) -> tuple[int, list[dict[str, Any]]]:
    """Return the number of clusters of embedded rows, and the curve it was read from.

    Parameters
    ----------
    z : ndarray (n, d)
    seed : int
    candidates : sequence of int, optional
        2 to 20, as far as there are ten rows for each cluster.

    Returns
    -------
    chosen : int
    curve : list of dict
        "n_clusters", "stability" and its "error", "bic", "silhouette" (None where there is none).

    Raises
    ------
    DataError
        Too few rows to choose from two numbers.
    """
    z = np.asarray(z, dtype=np.float64)
    index = np.sort(seeds.numpy_generator(seed, "rows").permutation(len(z))[:ROWS])
    z = z[index]
    most = min(20, len(z) // 10)
    candidates = range(2, most + 1) if candidates is None else sorted(set(candidates))
    candidates = [k for k in candidates if k <= len(z) // 2]
    if not candidates:
        raise DataError(f"{len(z)} rows are too few to choose a number of clusters from; give n_clusters.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a k that does not fit is told by its place on the curve
        curve = [_point(z, k, seed) for k in candidates]
    best = max(curve, key=lambda p: p["stability"])
    good = [p for p in curve if p["stability"] >= best["stability"] - best["error"]]
    return min(good, key=lambda p: p["bic"])["n_clusters"], curve


def _point(z: np.ndarray, k: int, seed: int) -> dict[str, Any]:
    from sklearn.cluster import KMeans
    from sklearn.mixture import GaussianMixture

    values = []
    for pair in range(PAIRS):
        order = seeds.numpy_generator(seed, "half", pair).permutation(len(z))
        halves = order[: len(z) // 2], order[len(z) // 2 :]
        models = [
            KMeans(k, n_init=STARTS, random_state=seeds.seed32(seed, "kmeans", k, pair, i)).fit(z[h])
            for i, h in enumerate(halves)
        ]
        values.append(ari(*(m.predict(z) for m in models)))
    mixture = GaussianMixture(k, covariance_type="diag", random_state=seeds.seed32(seed, "gmm", k), reg_covar=1e-4)
    bic = float(mixture.fit(z).bic(z))
    labels = KMeans(k, n_init=STARTS, random_state=seeds.seed32(seed, "all", k)).fit_predict(z)
    return {
        "bic": bic,
        "error": float(np.std(values, ddof=1) / PAIRS**0.5),
        "n_clusters": k,
        "silhouette": silhouette(z, labels, seed=seed),
        "stability": float(np.mean(values)),
    }
