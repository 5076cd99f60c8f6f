"""Baselines beside a method."""

from __future__ import annotations

import numpy as np
import scipy.sparse
from cluster_toys import SMALL, blobs
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA

from mumei.cluster.baselines import baselines, kmeans, kmeans_on_components
from mumei.cluster.dec import DEC
from mumei.cluster.metrics import accuracy, ari


def test_they_are_kmeans_of_rows_components_and_code():
    X, y = blobs()
    model = DEC(**SMALL).fit(X)
    found = baselines(model, X, starts=3)
    assert [accuracy(y, labels) for labels in found.values()] == [1.0, 1.0, 1.0]
    assert np.array_equal(found["kmeans on code"], model.initial_labels_)


def test_they_are_scikit_learns():
    X = blobs(80, seed=3)[0].astype(np.float32)
    z = PCA(2, svd_solver="full").fit_transform(X)
    sparse = kmeans(scipy.sparse.csr_matrix(X), 3, starts=30)
    assert ari(sparse, kmeans(X, 3, starts=30)) == 1.0
    for ours, rows in ((kmeans(X, 3, starts=30), X), (kmeans_on_components(X, 3, components=2, starts=30), z)):
        assert ari(KMeans(3, n_init=30, random_state=1).fit_predict(rows), ours) > 0.99
