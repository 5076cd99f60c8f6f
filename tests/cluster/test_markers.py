"""Markers: Cohen's d by the textbook's two sums, AUC by counting pairs, scipy's Mann and Whitney beside it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse, stats

from mumei.cluster.markers import auc, effects, markers


def by_hand(x, inside):
    a, b = x[inside], x[~inside]
    pooled = ((len(a) - 1) * a.var(ddof=1) + (len(b) - 1) * b.var(ddof=1)) / (len(a) + len(b) - 2)
    return (a.mean() - b.mean()) / pooled**0.5


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_matrix], ids=["dense", "sparse"])
def test_effects_are_cohens_d(make):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 3000)
    x = rng.normal(size=(3000, 4)) * [1, 2, 3, 4] + 500 + labels[:, None] * [0, 1, 2, 0]
    found = effects(make(x), labels, 3)
    expected = [[by_hand(x[:, j], labels == k) for j in range(4)] for k in range(3)]
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8)


def test_what_has_no_effect_is_zero():
    """A constant column, an empty cluster, a cluster of one row, a cluster of all rows."""
    x = np.c_[np.full(5, 7.0), np.arange(5.0)]
    found = effects(x, np.array([0, 0, 0, 0, 1]), 3)
    assert not found[:, 0].any()
    assert not found[[1, 2]].any()
    assert not effects(x, np.zeros(5, int), 1).any()


def test_auc_counts_pairs():
    rng = np.random.default_rng(1)
    values, inside = rng.integers(0, 6, 80).astype(float), rng.random(80) < 0.3
    a, b = values[inside], values[~inside]
    pairs = (a[:, None] > b).mean() + (a[:, None] == b).mean() / 2
    assert auc(values, inside) == pytest.approx(pairs)
    assert auc(values, inside) == pytest.approx(stats.mannwhitneyu(a, b).statistic / (len(a) * len(b)))
    assert auc(values, np.zeros(80, bool)) == 0.5


def test_markers_are_in_the_datas_units_and_columns():
    """Prepared rows are columns 2 and 0 of the data, in another unit."""
    rng = np.random.default_rng(2)
    labels = np.repeat([0, 1], 50)
    X = rng.normal(size=(100, 3))
    X[:, 2] += 10 * labels
    found = markers(X[:, [2, 0]] * 0.1, X, [2, 0], labels, 2)
    assert [[m.feature for m in of] for of in found] == [[2], [2]]
    (high,) = found[1]
    assert high.d > 5
    assert high.auc == 1.0
    assert (high.inside, high.outside) == pytest.approx((X[50:, 2].mean(), X[:50, 2].mean()))
    assert high.present is None


def test_counts_say_in_how_many_rows_they_are_present():
    labels = np.repeat([0, 1], 50)
    X = np.zeros((100, 4))
    X[:40, 1] = 3 + np.arange(40) % 2
    (marker,) = markers(sparse.csr_matrix(X), sparse.csr_matrix(X), range(4), labels, 2)[0]
    assert marker.feature == 1
    assert marker.present == (0.8, 0.0)
