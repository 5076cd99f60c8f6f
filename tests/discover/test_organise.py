"""Clusters, their number, their terms, and the map, on data whose answer is known."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from mumei.core.errors import DataError, UsageError
from mumei.core.mapping import LANDMARKS, place
from mumei.discover.describe import distinctive
from mumei.discover.organise import choose, organise, sample_rows
from mumei.discover.tables import TableEncoder


def blobs(k=4, n=60, d=6, seed=0, spread=0.3):
    rng = np.random.default_rng(seed)
    centres = rng.normal(0, 4, (k, d))
    truth = np.repeat(np.arange(k), n)
    return (centres[truth] + rng.normal(0, spread, (k * n, d))).astype(np.float32), truth


def test_the_number_of_separate_blobs_is_found():
    z, truth = blobs(5)
    found = organise(z, None, seed=0)
    assert adjusted_rand_score(truth, found.labels) == pytest.approx(1)
    assert [p["clusters"] for p in found.curve][:3] == [2, 3, 4]
    again = organise(z, None, seed=0)
    np.testing.assert_array_equal(found.labels, again.labels)
    assert found.curve == again.curve


def test_clusters_are_numbered_by_size_and_distances_are_to_the_own_centre():
    z, _ = blobs(2, 30)
    z = np.r_[z, z[:10] + 0.01]
    found = organise(z, 2, seed=0)
    assert (np.bincount(found.labels) == [40, 30]).all()
    for cluster in range(2):
        mine = z[found.labels == cluster]
        expected = np.linalg.norm(mine - mine.mean(0), axis=1)
        np.testing.assert_allclose(found.distances[found.labels == cluster], expected, atol=1e-3)


def test_odd_sizes():
    assert organise(np.zeros((1, 3), np.float32), None, 0).labels.tolist() == [0]
    assert organise(np.zeros((5, 3), np.float32), None, 0).labels.tolist() == [0] * 5
    with pytest.raises(UsageError, match="--clusters 3 is not possible with 1 distinct"):
        organise(np.zeros((5, 3), np.float32), 3, 0)
    with pytest.raises(UsageError, match="--clusters 0"):
        organise(blobs()[0], 0, 0)
    assert choose([]) == 1


def test_samples_are_sorted_distinct_and_seeded():
    a = sample_rows(1000, 50, 3, "x")
    assert (np.diff(a) > 0).all()
    np.testing.assert_array_equal(a, sample_rows(1000, 50, 3, "x"))
    assert not np.array_equal(a, sample_rows(1000, 50, 3, "y"))
    np.testing.assert_array_equal(sample_rows(5, 50, 0, "x"), np.arange(5))


def test_neighbours_on_the_map_are_of_one_blob():
    z, truth = blobs(4, LANDMARKS // 4 + 50)  # so that some rows are no landmarks
    xy = place(z, seed=0)
    assert xy.shape == (len(z), 2)
    assert np.abs(xy).max() == pytest.approx(1)
    rng = np.random.default_rng(0)
    for row in rng.choice(len(z), 60, replace=False):
        near = np.argsort(((xy - xy[row]) ** 2).sum(1))[1:6]
        assert (truth[near] == truth[row]).mean() > 0.5
    few = z[::20]
    np.testing.assert_array_equal(place(few, seed=0), place(few, seed=0))


@pytest.mark.parametrize("n", [1, 2, 4, 6])
def test_small_and_flat_maps(n):
    assert np.isfinite(place(np.zeros((n, 3), np.float32), 0)).all()
    assert np.isfinite(place(np.random.default_rng(0).normal(size=(n, 1)).astype(np.float32), 0)).all()


def test_distinctive_terms_prefer_what_others_lack():
    """By hand: "shared" is everywhere, "mine" only here, "once" in one document."""
    counts = [Counter(shared=20, mine=10, once=1, common=12), Counter(shared=20, common=9), Counter(shared=20)]
    assert distinctive(counts, [20, 20, 20], 0)[0] == "mine"
    assert "once" not in distinctive(counts, [20, 20, 20], 0)
    assert distinctive(counts, [20, 20, 20], 2) == []


def test_table_scaling_equals_numpy_over_any_blocks():
    rng = np.random.default_rng(0)
    x = rng.normal(5, 3, (100, 4)).astype(np.float32)
    x[:, 2] = 7
    encoder = TableEncoder(lambda: iter([x[:1], x[1:60], x[60:]]))
    keep = x[:, [0, 1, 3]]
    expected = (keep - keep.mean(0)) / keep.std(0)
    np.testing.assert_allclose(encoder.encode(x), expected, atol=1e-4)
    assert encoder.dim == 3
    with pytest.raises(DataError, match="constant"):
        TableEncoder(lambda: iter([np.ones((3, 2), np.float32)]))
    with pytest.raises(DataError, match="no rows"):
        TableEncoder(lambda: iter([]))


def test_counts_are_normalised_and_wide_tables_projected():
    rng = np.random.default_rng(0)
    x = rng.poisson(0.3, (200, 300)).astype(np.float32)
    x[:, 0] += 5 * (np.arange(200) % 2)
    encoder = TableEncoder(lambda: iter([x]), seed=1)
    assert encoder.counts
    assert encoder.dim == 50
    assert any("log1p" in line for line in encoder.described)
    assert any("principal components" in line for line in encoder.described)
    sizes = x.sum(1)
    logged = np.log1p(x * (np.median(sizes) / np.maximum(sizes, 1))[:, None])
    np.testing.assert_allclose(encoder._values(x), logged, atol=1e-4)
