"""The search for a structure: a facet against scikit-learn, planted facets, the best tree by enumeration."""

from __future__ import annotations

import itertools

import numpy as np
from sklearn.metrics import mutual_info_score
from sklearn.mixture import GaussianMixture

from mumei.cluster.structure import Facet, best_facet, chow_liu, climb, fit_facet, make_tree, mutual_information


def planted(n: int = 600, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return z (n, 5): two clusterings of two dimensions each, independent of each other, and one dimension of noise."""
    rng = np.random.default_rng(seed)
    one, other = rng.integers(0, 3, n), rng.integers(0, 2, n)
    z = rng.normal(size=(n, 5))
    z[:, 0] += 6.0 * one
    z[:, 1] += 6.0 * (one == 1)
    z[:, 2] += 6.0 * other
    z[:, 3] -= 6.0 * other
    return z, one, other


def test_a_facet_is_scikit_learns_mixture():
    z, one, _ = planted()
    begun = np.eye(3)[one]
    found = fit_facet(z, (0, 1), begun, iterations=200)
    means = np.array([z[one == j][:, :2].mean(0) for j in range(3)])
    model = GaussianMixture(3, covariance_type="diag", means_init=means, tol=1e-6, reg_covar=0).fit(z[:, :2])
    np.testing.assert_allclose(found.score, -0.5 * model.bic(z[:, :2]), rtol=1e-4)
    np.testing.assert_allclose(found.weights, model.predict_proba(z[:, :2]), atol=0.02)


def test_the_number_of_states_is_that_of_the_clusters():
    z, _, _ = planted()
    assert best_facet(z, (4,), 4, 0).weights.shape[1] == 1
    assert best_facet(z, (2, 3), 4, 0).weights.shape[1] == 2


def test_the_climb_finds_planted_facets():
    z, one, _ = planted()
    begun = fit_facet(z, (0, 1, 2, 3, 4), np.eye(3)[one])
    facets = climb(z, [begun], 3, 0)
    assert facets[0].columns == (0, 1)
    assert (2, 3) in [f.columns for f in facets]
    assert sum((f.columns for f in facets), ()).__len__() == 5
    parts = [best_facet(z, (c,), 3, 0).score for c in (2, 3, 4)]
    assert sum(f.score for f in facets) > fit_facet(z, (0, 1), np.eye(3)[one]).score + sum(parts)
    assert climb(z, facets, 3, 0) == facets


def test_the_clusters_keep_a_dimension():
    z = np.random.default_rng(0).normal(size=(80, 2))
    facets = climb(z, [fit_facet(z, (0, 1), np.eye(4)[np.arange(80) % 4])], 4, 0)
    assert len(facets[0].columns) >= 1
    assert facets[0].weights.shape[1] == 4


def test_mutual_information_is_scikit_learns():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 3, 50), rng.integers(0, 2, 50)
    expected = mutual_info_score(a, b)
    np.testing.assert_allclose(mutual_information(np.eye(3)[a], np.eye(2)[b]), expected, rtol=1e-6)


def test_the_tree_is_the_best_of_all_trees():
    rng = np.random.default_rng(1)
    a = rng.integers(0, 3, 300)
    b = np.where(rng.random(300) < 0.7, a, rng.integers(0, 3, 300))
    c = np.where(rng.random(300) < 0.7, b, rng.integers(0, 3, 300))
    d = np.where(rng.random(300) < 0.5, b, rng.integers(0, 3, 300))
    weights = [np.eye(3)[v] for v in (a, b, c, d)]
    found = chow_liu(weights)
    value = sum(mutual_information(weights[f], weights[p]) for f, p in found[1:])

    def joined(edges):
        reached = {0}
        for _ in range(4):
            reached |= {j for pair in edges for j in pair if set(pair) & reached}
        return len(reached) == 4

    every = itertools.combinations(itertools.combinations(range(4), 2), 3)
    best = max(sum(mutual_information(weights[i], weights[j]) for i, j in e) for e in every if joined(e))
    np.testing.assert_allclose(value, best)
    assert sorted(found[:, 0].tolist()) == [0, 1, 2, 3]
    place = {f: i for i, f in enumerate(found[:, 0].tolist())}
    assert all(place[p] < place[f] for f, p in found[1:].tolist())


def test_a_trees_statistics_are_weighted_sums():
    z, one, other = planted(60)
    facets = [Facet((0, 1, 4), np.eye(3)[one], 0.0), Facet((2, 3), np.eye(2)[other], 0.0)]
    tree = make_tree(z, facets, 3)
    assert tree.facet.tolist() == [0, 0, 1, 1, 0]
    assert (tree.parent.tolist(), tree.states.tolist()) == ([0, 0], [3, 2])
    for i, j in itertools.product(range(3), range(2)):
        assert tree.pairs[1, i, j] == np.mean((one == i) & (other == j))
    np.testing.assert_allclose(tree.sums[1, 2], z[other == 1, 2].sum() / 60)
    np.testing.assert_allclose(tree.squares[2, 4], (z[one == 2, 4] ** 2).sum() / 60)
