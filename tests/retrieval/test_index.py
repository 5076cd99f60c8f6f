"""The vector store: exact against brute force, crash-safe, and never mixing models."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mumei.core.errors import ArtifactError, DataError, StorageError, UsageError
from mumei.retrieval import index as module
from mumei.retrieval.index import Index, VectorStore
from mumei.retrieval.locks import BusyError


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


def test_deleted_rows_never_come_back_and_numbers_stay(tmp_path, vectors):
    store = VectorStore(tmp_path, "m", 8)
    store.append(vectors[:200])
    best = store.search(vectors[:1], 3)[0][0]
    store.delete(best[:2])
    store.delete([int(best[0])])
    assert store.search(vectors[:1], 1)[0].tolist() == [[best[2]]]
    for first in range(200, 300, 5):  # merges
        store.append(vectors[first : first + 5])
    assert len(store) == 300
    for again in (store, VectorStore.open(tmp_path)):
        assert np.flatnonzero(~again.live).tolist() == sorted(best[:2])
        assert not np.isin(best[:2], again.search(vectors[:1], 300)[0]).any()
        assert again.search(vectors[:1], 300)[0].shape == (1, 298)
        assert (again.rows(range(300)) == vectors).all()
    with pytest.raises(UsageError, match="300 rows"):
        store.delete([300])


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99, 0.0])
def test_only_allowed_rows_are_found(tmp_path, vectors, share):
    """Expected: a stable sort of the products of the allowed and live rows. A small share is fetched, a large one scanned."""
    store = VectorStore(tmp_path, "m", 8)
    store.append(np.rint(vectors))
    store.delete(range(0, 300, 7))
    allow = np.random.default_rng(1).random(300) < share
    allow[1] = share > 0
    possible = np.flatnonzero(allow & store.live)
    found, scores = store.search(np.rint(vectors[:5]), 10, allow=allow)
    products = np.rint(vectors[:5]) @ np.rint(vectors[possible]).T
    expected = np.argsort(-products, axis=1, kind="stable")[:, :10]
    assert found.shape == scores.shape == (5, min(10, len(possible)))
    assert (found == possible[expected]).all()
    assert store.last_search.engine == ("fetch" if share == 0.01 else "float32")
    with pytest.raises(UsageError, match="one bool for each of the 300 rows"):
        store.search(vectors[:1], 1, allow=allow[:5])
    with pytest.raises(UsageError, match="one bool"):
        store.search(vectors[:1], 1, allow=possible)


def test_no_queries_and_no_rows(tmp_path, vectors):
    store = VectorStore(tmp_path, "m", 8)
    assert store.search(vectors[:2], 5)[0].shape == (2, 0)
    store.append(vectors)
    assert store.search(vectors[:0], 5)[1].shape == (0, 5)


@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["append", "delete", "truncate", "reopen"]), st.integers(0, 2**16)), max_size=25
    )
)
@settings(max_examples=40, deadline=None)
def test_any_sequence_of_changes_equals_a_list(tmp_path_factory, steps):
    """Expected: the same changes on a plain array and a set."""
    folder, rng = tmp_path_factory.mktemp("store"), np.random.default_rng(0)
    store, rows, dead = VectorStore(folder, "m", 3), np.empty((0, 3), np.float32), set()
    for step, number in steps:
        if step == "append":
            new = rng.integers(-9, 9, size=(number % 40, 3)).astype(np.float32)
            store.append(new)
            rows = np.concatenate([rows, new])
        elif step == "delete" and len(rows):
            store.delete([number % len(rows)])
            dead.add(number % len(rows))
        elif step == "truncate":
            rows = rows[: number % (len(rows) + 1)]
            store.truncate(len(rows))
            dead = {row for row in dead if row < len(rows)}
        else:
            store = VectorStore(folder, "m", 3)
    for again in (store, VectorStore(folder, "m", 3)):
        assert (again.rows(range(len(again))) == rows).all()
        assert len(again) == len(rows)
        assert set(np.flatnonzero(~again.live)) == dead
        found = again.search(np.ones((1, 3)), 1000)[0][0]
        assert set(found) == set(range(len(rows))) - dead
    allowed = {"manifest.json", ".lock", ".readers"}
    named = {s["file"] for s in again._view.manifest["segments"]} | {again._view.manifest["deleted"]} | allowed
    assert {p.name for p in folder.iterdir()} <= named


def test_many_small_batches_become_few_files(tmp_path):
    rows, store = np.random.default_rng(0).normal(size=(300, 4)).astype(np.float32), VectorStore(tmp_path, "m", 4)
    for row in rows:
        store.append(row[None])
    assert len(list(tmp_path.glob("vectors-*.npy"))) < 16
    assert (VectorStore.open(tmp_path).rows(range(300)) == rows).all()
    whole = VectorStore(tmp_path / "whole", "m", 4)
    whole.append(rows)
    assert whole.fingerprint == store.fingerprint
    store.truncate(200)
    store.append(rows[200:])
    assert whole.fingerprint != store.fingerprint


def test_a_store_of_format_1_opens_grows_and_forgets(tmp_path, vectors):
    """As the first release wrote it: np.save and a manifest without anything but files and rows."""
    import json

    np.save(tmp_path / "vectors-000000.npy", vectors[:100])
    np.save(tmp_path / "vectors-000001.npy", vectors[100:200])
    parts = [{"file": f"vectors-00000{i}.npy", "rows": 100} for i in range(2)]
    manifest = {"format": 1, "model": "m", "dim": 8, "segments": parts}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    store = VectorStore.open(tmp_path)
    found, scores = store.search(vectors[:4], 3)
    store.append(vectors[200:])
    store.delete([250])
    new = VectorStore(tmp_path / "new", "m", 8)
    new.append(vectors)
    assert store.fingerprint == new.fingerprint
    assert (store.rows(range(300)) == vectors).all()
    store.truncate(200)
    again = VectorStore.open(tmp_path)
    assert (again.search(vectors[:4], 3)[0] == found).all()
    assert (again.search(vectors[:4], 3)[1] == scores).all()
    (tmp_path / "manifest.json").write_text(json.dumps({**manifest, "format": 3}))
    with pytest.raises(ArtifactError, match=r"has format 3, this mumei reads up to 2"):
        VectorStore.open(tmp_path)


def test_the_second_writer_is_told_and_nothing_is_lost(tmp_path, vectors):
    first, second = VectorStore(tmp_path, "m", 8), VectorStore(tmp_path, "m", 8)
    with first.writing():
        first.append(vectors[:100])
        first.append(vectors[100:200])
        with pytest.raises(BusyError, match="another process is writing"):
            second.append(vectors[:10])
    with pytest.raises(BusyError, match="has written to"):
        second.append(vectors[:10])
    with pytest.raises(BusyError, match="Open it again"):
        VectorStore.delete(second, np.array([], dtype=int))
    assert len(second) == 0
    second.refresh()
    second.append(vectors[200:])
    assert (VectorStore.open(tmp_path).rows(range(300)) == vectors).all()


def test_a_reader_keeps_what_it_saw(tmp_path, vectors):
    writer = VectorStore(tmp_path, "m", 8)
    writer.append(vectors[:100])
    reader = VectorStore.open(tmp_path)
    expected = reader.search(vectors[:3], 5)
    for i in range(100, 300, 10):  # merges: the segment that the reader has open is removed
        writer.append(vectors[i : i + 10])
    writer.delete(range(100))
    found = reader.search(vectors[:3], 5)
    assert not (tmp_path / "vectors-000000.npy").exists()
    assert (found[0] == expected[0]).all()
    assert reader.live.all()
    reader.refresh()
    assert (reader.search(vectors[:3], 5)[0] >= 100).all()


def test_a_store_goes_to_another_process_and_back(tmp_path, vectors):
    import copy

    store = VectorStore(tmp_path, "m", 8)
    store.append(vectors)
    assert isinstance(store, Index)
    assert (copy.deepcopy(store).rows([5, 3]) == vectors[[5, 3]]).all()


def test_a_missing_segment_is_named(tmp_path, vectors):
    VectorStore(tmp_path, "m", 8).append(vectors)
    (tmp_path / "vectors-000000.npy").unlink()
    with pytest.raises(ArtifactError, match=r"vectors-000000.npy is missing"):
        VectorStore.open(tmp_path)


def test_damage_is_named(tmp_path, vectors):
    VectorStore(tmp_path, "m", 8).append(vectors)
    (tmp_path / "vectors-000000.npy").write_bytes(b"x")
    with pytest.raises(ArtifactError, match="vectors-000000"):
        VectorStore.open(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(ArtifactError, match="no vector store"):
        VectorStore.open(tmp_path)
