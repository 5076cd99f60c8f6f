"""What a deep method has to beat: k-means on the data, on principal components, on an autoencoder's code.

All are scikit-learn's k-means with 20 starts, on the rows as the method has prepared them, from the method's seed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from mumei.cluster.initial import initial_clustering
from mumei.core import seeds

COMPONENTS = 50


def kmeans(x: Any, n_clusters: int, *, seed: int = 0, starts: int = 20) -> np.ndarray:
    """Return k-means' labels (n,) of rows (n, d), an ndarray, tensor or CSR matrix."""
    rows = x if hasattr(x, "toarray") else np.asarray(x, dtype=np.float32)
    return initial_clustering(rows, n_clusters, "kmeans", seed, starts=starts).labels


def principal_components(x: Any, components: int = COMPONENTS, *, seed: int = 0) -> np.ndarray:
    """Return the first principal components (n, components) of rows (n, d), an ndarray, tensor or CSR matrix."""
    from sklearn.decomposition import PCA, TruncatedSVD

    width, state = min(components, *x.shape), seeds.seed32(seed, "pca")
    if hasattr(x, "toarray"):  # too large to be made dense: without the mean taken off
        return TruncatedSVD(min(width, x.shape[1] - 1), random_state=state).fit_transform(x)
    rows = np.asarray(x, dtype=np.float32)
    return PCA(width, svd_solver="randomized", random_state=state).fit_transform(rows)


def kmeans_on_components(
    x: Any, n_clusters: int, *, components: int = COMPONENTS, seed: int = 0, starts: int = 20
) -> np.ndarray:
    """Return k-means' labels (n,) of the first principal components of rows (n, d)."""
    return kmeans(principal_components(x, components, seed=seed), n_clusters, seed=seed, starts=starts)


def baselines(model: Any, X: Any, *, starts: int = 20) -> dict[str, np.ndarray]:
    """Return the labels of k-means beside a fitted model: "kmeans", "kmeans on components", "kmeans on code".

    Parameters
    ----------
    model : Clusterer
        Fitted; the number of clusters, the seed and the preparation are its own.
    X : as for `fit`
        The training rows.
    starts : int

    Returns
    -------
    dict of name to ndarray (n,) int64
        "kmeans on code" is there where the model began with a clustering of an autoencoder's code.

    Examples
    --------
    >>> from mumei.cluster.dec import DEC
    >>> X = np.random.default_rng(0).normal(size=(30, 4))
    >>> model = DEC(n_clusters=2, hidden=(8,), n_latent=2, pretrain_epochs=1, epochs=1, random_state=0).fit(X)
    >>> sorted(baselines(model, X))
    ['kmeans', 'kmeans on code', 'kmeans on components']
    """
    check_is_fitted(model, "net_")
    x = model._seen(X).arrays[0]
    k, seed = model.n_clusters_, model.run_seed_
    found = {
        "kmeans": kmeans(x, k, seed=seed, starts=starts),
        "kmeans on components": kmeans_on_components(x, k, seed=seed, starts=starts),
    }
    if model.initial_labels_ is not None:
        found["kmeans on code"] = model.initial_labels_
    return found
