"""Every index meets the same protocol: checked against brute force."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from mumei.core.errors import ArtifactError, DataError, MumeiError, UsageError
from mumei.retrieval.index import Index, VectorStore
from mumei.retrieval.lance import LanceIndex
from mumei.retrieval.milvus import MilvusIndex

DIM = 16
NEEDS = {"store": "numpy", "milvus": "milvus_lite", "lance": "lancedb"}


def make(kind, folder, model="m", dim=DIM):
    if kind == "store":
        return VectorStore(folder / "store", model, dim)
    if kind == "milvus":
        return MilvusIndex(str(folder / "vectors.db"), "notes", model, dim)
    return LanceIndex(folder / "lance", "notes", model, dim)


@pytest.fixture(params=NEEDS)
def kind(request):
    if importlib.util.find_spec(NEEDS[request.param]) is None:
        pytest.skip(f"{NEEDS[request.param]} is not installed")
    return request.param


@pytest.fixture
def vectors():
    return np.random.default_rng(0).normal(size=(300, DIM)).astype(np.float32)


@pytest.fixture
def index(kind, tmp_path, vectors):
    index = make(kind, tmp_path)
    index.append(vectors[:200])
    index.append(vectors[200:])
    return index


def brute(vectors, queries, k, possible):
    scores = np.where(possible, queries @ vectors.T, -np.inf)
    return np.argsort(-scores, axis=1, kind="stable")[:, : min(k, int(possible.sum()))]


def test_it_meets_the_protocol(index):
    assert isinstance(index, Index)
    assert (index.model, index.dim, len(index)) == ("m", DIM, 300)
    assert index.live.all()


def test_search_is_exact(index, vectors):
    queries = np.random.default_rng(1).normal(size=(7, DIM)).astype(np.float32)
    rows, scores = index.search(queries, 20)
    np.testing.assert_array_equal(rows, brute(vectors, queries, 20, np.ones(300, bool)))
    np.testing.assert_allclose(scores, np.take_along_axis(queries @ vectors.T, rows, 1), atol=1e-5)
    assert index.search(queries, 1000)[0].shape == (7, 300)
    assert index.search(queries[:0], 5)[0].shape == (0, 5)


def test_deleted_rows_stay_deleted_and_keep_their_numbers(index, vectors):
    index.delete([3, 299, 3])
    assert len(index) == 300
    assert np.flatnonzero(~index.live).tolist() == [3, 299]
    rows, _ = index.search(vectors[[3, 299]], 300)
    assert rows.shape == (2, 298)
    assert not np.isin(rows, [3, 299]).any()
    np.testing.assert_allclose(index.rows([299, 0]), vectors[[299, 0]])
    index.append(vectors[:1])
    assert index.search(vectors[:1], 2)[0].tolist() == [[0, 300]]


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 1.0])
def test_a_condition_limits_the_search(index, vectors, share):
    allow = np.random.default_rng(2).random(300) < share
    rows, _ = index.search(vectors[:5], 10, allow=allow)
    np.testing.assert_array_equal(rows, brute(vectors, vectors[:5], 10, allow))


def test_rows_come_in_the_order_asked(index, vectors):
    np.testing.assert_allclose(index.rows([250, 3, 250]), vectors[[250, 3, 250]])
    assert index.rows([]).shape == (0, DIM)
    with pytest.raises(UsageError, match="300 rows"):
        index.rows([300])


def test_truncate_forgets_the_end(index, vectors):
    index.truncate(150)
    assert len(index) == 150
    index.append(vectors[:10])
    np.testing.assert_allclose(index.rows([150]), vectors[:1])


def test_another_model_or_size_is_refused(kind, tmp_path, index):
    if kind == "milvus":
        index.close()
    for model, dim in (("other", DIM), ("m", DIM + 1)):
        with pytest.raises(ArtifactError, match="cannot be mixed"):
            make(kind, tmp_path, model, dim)
    again = make(kind, tmp_path)
    assert len(again) == 300


def test_bad_vectors_and_queries_are_refused(index):
    with pytest.raises(DataError, match="do not fit"):
        index.append(np.zeros((2, DIM + 1)))
    with pytest.raises(DataError, match="vector 1 has a value"):
        index.append(np.array([[0.0] * DIM, [np.nan] * DIM]))
    with pytest.raises(DataError, match="do not fit"):
        index.search(np.zeros((1, 3)), 1)
    with pytest.raises(UsageError, match="k=0"):
        index.search(np.zeros((1, DIM)), 0)
    with pytest.raises(MumeiError, match="allow"):
        index.search(np.zeros((1, DIM)), 1, allow=np.ones(3, bool))
    assert len(index) == 300


def test_many_allowed_rows_are_searched_by_asking_for_more_or_in_parts(kind, tmp_path, monkeypatch):
    """Small limits make both ways of a served index run; expected: brute force."""
    monkeypatch.setattr("mumei.retrieval.served.PART", 40)
    vectors = np.random.default_rng(3).normal(size=(500, DIM)).astype(np.float32)
    index = make(kind, tmp_path)
    index.append(vectors)
    near = vectors @ vectors[0] > 0
    for allow in (near, ~near, np.arange(500) % 2 == 0):
        rows, _ = index.search(vectors[:3], 10, allow=allow)
        np.testing.assert_array_equal(rows, brute(vectors, vectors[:3], 10, allow))


def test_a_table_of_somebody_else_is_left_alone(tmp_path):
    lancedb = pytest.importorskip("lancedb")
    lancedb.connect(str(tmp_path / "lance")).create_table("notes", data=[{"a": 1}])
    with pytest.raises(ArtifactError, match="not one of mumei's"):
        make("lance", tmp_path)


def test_a_missing_package_names_its_extra(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "pymilvus", None)
    monkeypatch.setitem(sys.modules, "lancedb", None)
    for kind in ("milvus", "lance"):
        with pytest.raises(MumeiError, match=rf"mumei\[{kind}\]"):
            make(kind, tmp_path)


def test_a_bad_name_is_refused(tmp_path):
    pytest.importorskip("pymilvus")
    with pytest.raises(UsageError, match="letters, digits"):
        MilvusIndex(str(tmp_path / "x.db"), "a b", "m", 3)
