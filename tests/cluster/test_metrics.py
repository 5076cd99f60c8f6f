"""Scores against brute force over all maps, and against their definitions."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from mumei.cluster.metrics import accuracy, ari, contingency, nmi, purity, silhouette, with_labels, without_labels
from mumei.core.errors import DataError


def draw(seed: int, n: int = 40, k: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, k, n)
    return y, np.where(rng.random(n) < 0.6, (y + 1) % k, rng.integers(0, k, n))


@pytest.mark.parametrize("seed", range(3))
def test_accuracy_is_the_best_of_all_one_to_one_maps(seed):
    y, labels = draw(seed)
    best = max(np.mean([m[c] == t for c, t in zip(labels, y, strict=True)]) for m in permutations(range(4)))
    assert accuracy(y, labels) == pytest.approx(best)


def test_accuracy_with_more_clusters_than_classes_leaves_some_unmapped():
    assert accuracy([0, 0, 0, 1], [0, 0, 1, 2]) == 0.75
    assert accuracy([0, 1, 2, 2], [0, 0, 0, 0]) == 0.5


def test_nmi_and_purity_are_their_definitions():
    y, labels = draw(5)
    table = contingency(y, labels) / len(y)
    rows, columns = table.sum(1), table.sum(0)
    mutual = sum(p * np.log(p / (rows[i] * columns[j])) for (i, j), p in np.ndenumerate(table) if p)
    entropy = [-sum(p * np.log(p) for p in m) for m in (rows, columns)]
    assert nmi(y, labels) == pytest.approx(mutual / np.mean(entropy))
    commonest = {c: np.bincount(y[labels == c]).argmax() for c in set(labels)}
    assert purity(y, labels) == pytest.approx(np.mean([commonest[c] == t for c, t in zip(labels, y, strict=True)]))


def test_ari_counts_pairs():
    y, labels = draw(7, n=15)
    pairs = [(i, j) for i in range(15) for j in range(i)]
    both = sum(y[i] == y[j] and labels[i] == labels[j] for i, j in pairs)
    one, other = (sum(v[i] == v[j] for i, j in pairs) for v in (y, labels))
    expected = one * other / len(pairs)
    assert ari(y, labels) == pytest.approx((both - expected) / ((one + other) / 2 - expected))


def test_labels_of_any_kind_and_what_is_refused():
    assert with_labels(["a", "b"], [7, 3]) == {"acc": 1.0, "nmi": 1.0, "ari": 1.0, "purity": 1.0}
    with pytest.raises(DataError, match="one label a row"):
        accuracy([0, 1], [0])


def test_scores_without_labels():
    z = np.concatenate([np.zeros((10, 2)), np.ones((30, 2))]) + np.random.default_rng(0).normal(0, 0.01, (40, 2))
    found = without_labels(z, np.arange(40) >= 10)
    assert found["silhouette"] > 0.95
    assert found["smallest"] == 0.25
    assert without_labels(z, np.zeros(40))["silhouette"] is None
    assert silhouette(z, np.arange(40)) is None
