"""The vector store: exact against brute force, crash-safe, and never mixing models."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mumei.core.errors import ArtifactError, DataError, StorageError, UsageError
from mumei.retrieval import index as module
from mumei.retrieval.index import VectorStore


@pytest.fixture
def vectors() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(300, 8)).astype(np.float32)


@given(
    n=st.integers(1, 60), k=st.integers(1, 70), cuts=st.lists(st.integers(0, 60), max_size=3), ties=st.booleans(),
    block=st.integers(1, 64),
)  # fmt: skip
@settings(max_examples=300, deadline=None)
def test_search_equals_a_stable_sort_of_all_products(tmp_path_factory, n, k, cuts, ties, block):
    """Expected: numpy's stable argsort over the whole product; small whole numbers make every product exact."""
    rng = np.random.default_rng(n * 100 + k)
    rows = rng.integers(-2 if ties else -50, 3 if ties else 50, size=(n, 4)).astype(np.float32)
    store = VectorStore(tmp_path_factory.mktemp("store"), "m", 4)
    edges = sorted({0, n, *(c for c in cuts if c < n)})
    for first, last in itertools.pairwise(edges):
        store.append(rows[first:last])
    queries = rng.integers(-3, 4, size=(2, 4)).astype(np.float32)
    old, module.BLOCK = module.BLOCK, block
    try:
        found, scores = store.search(queries, k)
    finally:
        module.BLOCK = old
    products = queries @ rows.T
    expected = np.argsort(-products, axis=1, kind="stable")[:, :k]
    assert (found == expected).all()
    assert (scores == np.take_along_axis(products, expected, 1)).all()


def test_rows_come_back_bit_equal_in_any_order_across_segments(tmp_path, vectors):
    store = VectorStore(tmp_path, "m", 8)
    store.append(vectors[:100])
    store.append(vectors[100:])
    again = VectorStore.open(tmp_path)
    assert (again.rows([299, 0, 100, 0]) == vectors[[299, 0, 100, 0]]).all()
    assert len(again) == 300
    assert (np.concatenate([b for _, b in again.blocks(64)]) == vectors).all()


def test_another_model_or_size_is_refused(tmp_path, vectors):
    VectorStore(tmp_path, "m", 8).append(vectors)
    with pytest.raises(ArtifactError, match="cannot be mixed"):
        VectorStore(tmp_path, "other", 8)
    with pytest.raises(ArtifactError, match="cannot be mixed"):
        VectorStore(tmp_path, "m", 9)


def test_bad_rows_leave_the_store_as_it_was(tmp_path, vectors):
    store = VectorStore(tmp_path, "m", 8)
    store.append(vectors)
    bad = vectors[:2].copy()
    bad[1, 3] = np.nan
    with pytest.raises(DataError, match="vector 1"):
        store.append(bad)
    with pytest.raises(DataError, match=r"\(n, 8\)"):
        store.append(vectors[:, :3])
    store.append(vectors[:0])
    assert len(store) == len(VectorStore.open(tmp_path)) == 300


def test_bad_questions_say_what_fits(tmp_path, vectors):
    store = VectorStore(tmp_path, "m", 8)
    store.append(vectors)
    with pytest.raises(DataError, match=r"\(m, 8\)"):
        store.search(vectors[:1, :3], 3)
    with pytest.raises(UsageError, match="k=0"):
        store.search(vectors[:1], 0)
    with pytest.raises(UsageError, match="300 rows"):
        store.rows([300])


def test_a_failed_write_keeps_the_old_store(tmp_path, vectors, monkeypatch):
    """Fail the n-th rename for all n: the store then has the old rows or the new ones, and opens."""
    import os

    for n in range(2):
        folder = tmp_path / str(n)
        VectorStore(folder, "m", 8).append(vectors[:10])
        real, calls = os.replace, iter(range(100))

        def broken(a, b, real=real, calls=calls, n=n):
            if next(calls) == n:
                raise OSError(28, "No space left on device")
            return real(a, b)

        monkeypatch.setattr(os, "replace", broken)
        with pytest.raises(StorageError, match="disk is full"):
            VectorStore(folder, "m", 8).append(vectors[10:20])
        monkeypatch.setattr(os, "replace", real)
        store = VectorStore(folder, "m", 8)
        assert len(store) == 10
        store.append(vectors[10:20])
        assert (store.rows(range(20)) == vectors[:20]).all()


def test_damage_is_named(tmp_path, vectors):
    VectorStore(tmp_path, "m", 8).append(vectors)
    (tmp_path / "vectors-000000.npy").write_bytes(b"x")
    with pytest.raises(ArtifactError, match="vectors-000000"):
        VectorStore.open(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(ArtifactError, match="no vector store"):
        VectorStore.open(tmp_path)
