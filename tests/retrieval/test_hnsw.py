"""The graph: measured against the exact scan, never used for other vectors, good about deletions and masks."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mumei.core.errors import ArtifactError, UsageError
from mumei.retrieval.index import VectorStore

pytest.importorskip("faiss")
from mumei.retrieval.hnsw import HNSWIndex


def rows(n: int = 3000, dim: int = 16, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    found = rng.normal(size=(30, dim))[rng.integers(30, size=n)] + 0.5 * rng.normal(size=(n, dim))
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def store(tmp_path) -> VectorStore:
    store = VectorStore(tmp_path, "m", 16)
    store.append(rows())
    return store


def test_recall_is_measured_at_the_build_and_kept(store):
    index = HNSWIndex(store, ef=64)
    assert index.built
    assert index.measured.recall > 0.95
    assert (index.measured.k, index.measured.sample, index.measured.ef) == (10, 200, 64)
    assert index.measured.ms > 0
    assert str(index.measured).startswith("recall ")
    again = HNSWIndex(store, ef=64)
    assert not again.built
    assert again.measured == index.measured
    assert (again.search(rows()[:5], 10)[0] == index.search(rows()[:5], 10)[0]).all()


def test_recall_is_the_share_of_true_neighbours(store, monkeypatch):
    """By hand: a walk that returns rows 0 to 9 for every query finds what the exact answer shares with these."""
    index = HNSWIndex(store)
    monkeypatch.setattr(index, "_walk", lambda queries, k, mask: np.tile(np.arange(k), (len(queries), 1)))
    seen = []
    real = store.search
    monkeypatch.setattr(store, "search", lambda *a, **n: seen.append(real(*a, **n)) or seen[-1])
    measured = index.recall(50, 10)
    expected = np.mean([np.isin(found[0], np.arange(10)).mean() for found, _ in seen[1:]])
    assert measured.recall == pytest.approx(expected)
    assert len(seen) == 51


def test_scores_are_those_of_the_exact_search(store):
    index = HNSWIndex(store, ef=500)
    queries = rows(20, seed=1)
    (found, scores), (expected, exact) = index.search(queries, 5), store.search(queries, 5)
    same = (found == expected).all(axis=1)
    assert same.mean() > 0.9
    assert (scores[same] == exact[same]).all()


@pytest.mark.parametrize(("share", "engine"), [(0.5, "hnsw"), (0.01, "fetch")])
def test_rows_that_may_not_be_found_are_passed_over(store, share, engine):
    index = HNSWIndex(store, ef=500)
    allow = np.random.default_rng(1).random(3000) < share
    index.delete(np.flatnonzero(allow)[:2])
    found, _ = index.search(rows(10, seed=1), 3, allow=allow)
    assert allow[found].all()
    assert not np.isin(found, np.flatnonzero(allow)[:2]).any()
    assert index.last_search.engine == engine
    expected = store.search(rows(10, seed=1), 3, allow=allow)[0]
    assert (found == expected).mean() > 0.9


def test_a_walk_that_finds_too_few_is_made_good_and_counted(store, monkeypatch):
    index = HNSWIndex(store)
    monkeypatch.setattr(index, "_walk", lambda queries, k, mask: np.full((len(queries), k), -1))
    assert (index.search(rows()[:4], 3)[0] == store.search(rows()[:4], 3)[0]).all()
    assert index.last_search.redone == 4


def test_a_stale_graph_is_built_again_or_refused(store):
    HNSWIndex(store)
    store.append(rows(10, seed=3))
    with pytest.raises(ArtifactError, match="was built over"):
        HNSWIndex(store, stale="refuse")
    index = HNSWIndex(store)
    assert index.built
    assert not HNSWIndex(store, stale="refuse").built
    assert HNSWIndex(store, m=8).built
    store.truncate(3000)
    store.append(rows(10, seed=4))  # as many rows, others
    with pytest.raises(ArtifactError, match="was built over"):
        HNSWIndex(store, m=8, stale="refuse")


def test_deletions_do_not_make_it_stale(store):
    HNSWIndex(store)
    store.delete([0])
    index = HNSWIndex(store, stale="refuse")
    assert index.search(rows()[:1], 1)[0].tolist() != [[0]]


def test_appending_grows_both_and_saving_keeps_it(store):
    index = HNSWIndex(store)
    new = rows(50, seed=5)
    index.append(new)
    assert (index.search(new, 1)[0][:, 0] == np.arange(3000, 3050)).mean() > 0.9
    index.save()
    assert not HNSWIndex(store, stale="refuse").built
    store.append(new)
    with pytest.raises(ArtifactError, match="past the graph"):
        index.search(new, 1)
    index.build()
    assert len(index) == 3100
    assert len(list(index.folder.glob("*.faiss"))) == 1


def test_damage_is_named(store):
    index = HNSWIndex(store)
    file = index.folder / json.loads((index.folder / "manifest.json").read_text())["file"]
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ArtifactError, match="it will be built again"):
        HNSWIndex(store)
    (index.folder / "manifest.json").write_text("{}")
    with pytest.raises(ArtifactError, match="damaged"):
        HNSWIndex(store)
    for wrong in ({"stale": "x"}, {"m": 1}, {"ef": 0}):
        with pytest.raises(UsageError, match=r"not allowed|too small"):
            HNSWIndex(store, **wrong)
