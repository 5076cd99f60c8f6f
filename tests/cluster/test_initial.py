"""The first clustering: what k-means and a mixture of Gaussians say of it."""

from __future__ import annotations

import numpy as np
import pytest

from mumei.cluster.initial import initial_clustering
from mumei.core.errors import UsageError


def draw() -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.concatenate([rng.normal(0, 0.5, (30, 2)), rng.normal([8, 0], [0.5, 2.0], (60, 2))]).astype(np.float32)


@pytest.mark.parametrize("init", ["kmeans", "gmm"])
def test_the_centres_are_the_groups_means(init):
    z = draw()
    start = initial_clustering(z, 2, init, 0, starts=2)
    assert sorted(start.sizes().tolist()) == [30, 60]
    for k in range(2):
        np.testing.assert_allclose(start.centres[k], z[start.labels == k].mean(0), atol=1e-3)


def test_kmeans_minimises_the_squared_distances_and_a_mixture_has_weights_and_variances():
    z = draw()
    start = initial_clustering(z, 2, "kmeans", 0, starts=2)
    assert start.score == pytest.approx(float(((z - start.centres[start.labels]) ** 2).sum()), rel=1e-4)
    large = int(start.sizes().argmax())
    np.testing.assert_allclose(start.variances[large], z[start.labels == large].var(0), rtol=0.05)
    mixture = initial_clustering(z, 2, "gmm", 0, starts=2)
    big = int(mixture.sizes().argmax())
    assert mixture.weights[big] == pytest.approx(2 / 3, abs=0.01)
    np.testing.assert_allclose(mixture.variances[big], z[30:].var(0), rtol=0.05)


def test_fewer_points_than_clusters_give_empty_ones_without_a_warning():
    assert sorted(initial_clustering(np.zeros((5, 2), np.float32), 2, "kmeans", 0, starts=1).sizes().tolist()) == [0, 5]
    with pytest.raises(UsageError, match="kmeans"):
        initial_clustering(draw(), 2, "k-means", 0)
