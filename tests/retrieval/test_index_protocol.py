"""One set of checks for every index: the embedded store, a graph, Milvus (Lite) and Lance, against brute force."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from mumei.core.errors import ArtifactError, DataError, MissingExtraError, UsageError
from mumei.retrieval import engine
from mumei.retrieval.index import Index, VectorStore
from mumei.retrieval.locks import BusyError

DIM = 8
ROWS = np.random.default_rng(0).normal(size=(400, DIM)).astype(np.float32)
QUERIES = np.random.default_rng(1).normal(size=(5, DIM)).astype(np.float32)


def store(folder: Path, model: str = "m", dim: int = DIM) -> VectorStore:
    return VectorStore(folder / "store", model, dim)


def graph(folder: Path, model: str = "m", dim: int = DIM) -> Index:
    pytest.importorskip("faiss")
    from mumei.retrieval.hnsw import HNSWIndex

    return HNSWIndex(store(folder, model, dim))


def milvus(folder: Path, model: str = "m", dim: int = DIM) -> Index:
    pytest.importorskip("pymilvus")
    pytest.importorskip("milvus_lite")
    from mumei.retrieval.milvus import MilvusIndex

    return MilvusIndex(str(folder / "milvus.db"), "vectors", model, dim)


def lance(folder: Path, model: str = "m", dim: int = DIM) -> Index:
    pytest.importorskip("lancedb")
    from mumei.retrieval.lance import LanceIndex

    return LanceIndex(str(folder / "lance"), "vectors", model, dim)


def close(index: Index) -> None:
    getattr(index, "close", lambda: None)()


def brute(queries: np.ndarray, k: int, allowed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Expected: a stable sort of float64 products of the rows allowed."""
    rows = np.flatnonzero(allowed)
    products = queries.astype(np.float64) @ ROWS[rows].T.astype(np.float64)
    order = np.argsort(-products, axis=1, kind="stable")[:, :k]
    return rows[order], np.take_along_axis(products, order, 1)


@pytest.mark.parametrize("make", [store, graph, milvus, lance])
class TestIndex:
    @pytest.fixture
    def index(self, make: Callable[..., Index], tmp_path: Path) -> Iterator[Index]:
        index = make(tmp_path)
        index.append(ROWS[:250])
        index.append(ROWS[250:])
        yield index
        close(index)

    def test_it_is_an_index(self, index):
        assert isinstance(index, Index)
        assert (index.model, index.dim, len(index)) == ("m", DIM, 400)
        assert index.live.tolist() == [True] * 400

    @pytest.mark.parametrize("k", [1, 10, 400, 1000])
    def test_search_is_brute_force(self, index, k):
        rows, scores = index.search(QUERIES, k)
        expected, values = brute(QUERIES, k, np.ones(400, dtype=bool))
        assert rows.dtype == np.int64
        assert scores.dtype == np.float32
        assert (rows == expected).all()
        assert np.allclose(scores, values, atol=1e-5)
        assert index.last_search.queries == 5

    def test_deleted_rows_are_not_found_and_numbers_stay(self, index, make, tmp_path):
        gone = brute(QUERIES, 2, np.ones(400, dtype=bool))[0].ravel()
        index.delete(gone)
        index.delete(gone[:1])
        live = np.ones(400, dtype=bool)
        live[gone] = False
        assert (index.live == live).all()
        assert len(index) == 400
        assert (index.search(QUERIES, 10)[0] == brute(QUERIES, 10, live)[0]).all()
        assert (index.search(QUERIES, 10, allow=~live)[0]).shape == (5, 0)
        assert index.search(QUERIES, 1000)[0].shape == (5, live.sum())
        assert (index.rows(gone) == ROWS[gone]).all()
        close(index)
        again = make(tmp_path)
        assert (again.live == live).all()
        assert (again.search(QUERIES, 10)[0] == brute(QUERIES, 10, live)[0]).all()
        again.append(QUERIES[:1])
        assert len(again) == 401
        assert again.search(QUERIES[:1] * 100, 1, allow=np.arange(401) == 400)[0].tolist() == [[400]]
        close(again)

    @pytest.mark.parametrize("share", [0.01, 0.3, 0.9, 0.0, 1.0])
    @pytest.mark.parametrize("named", [20, 1000])
    def test_only_allowed_rows_are_found(self, index, share, named, monkeypatch):
        """Few rows are named to a database, more are picked from a longer answer: `named` sets the border."""
        monkeypatch.setattr(engine, "NAMED", named)
        index.delete(range(0, 400, 9))
        allow = np.random.default_rng(2).random(400) < share
        allow[1] = share > 0
        expected, values = brute(QUERIES, 10, allow & index.live)
        rows, scores = index.search(QUERIES, 10, allow=allow)
        assert rows.shape == expected.shape
        assert (rows == expected).all()
        assert np.allclose(scores, values, atol=1e-5)

    def test_rows_come_back_in_the_order_asked(self, index):
        wanted = [399, 0, 250, 0]
        assert (index.rows(wanted) == ROWS[wanted]).all()
        assert index.rows([]).shape == (0, DIM)
        with pytest.raises(UsageError, match="400 rows"):
            index.rows([400])
        with pytest.raises(UsageError, match="400 rows"):
            index.delete([-1])

    def test_what_does_not_fit_is_refused(self, index):
        with pytest.raises(DataError, match=r"\(n, 8\)"):
            index.append(ROWS[:, :3])
        with pytest.raises(DataError, match="vector 1"):
            index.append(np.array([[1.0] * 8, [np.nan] * 8]))
        with pytest.raises(DataError, match=r"\(m, 8\)"):
            index.search(QUERIES[:, :3], 1)
        with pytest.raises(DataError, match="query 0"):
            index.search(QUERIES * np.inf, 1)
        with pytest.raises(UsageError, match="k=0"):
            index.search(QUERIES, 0)
        with pytest.raises(UsageError, match="one bool for each of the 400 rows"):
            index.search(QUERIES, 1, allow=np.ones(3, dtype=bool))
        index.append(ROWS[:0])
        assert len(index) == 400

    def test_another_model_or_size_is_refused(self, index, make, tmp_path):
        close(index)
        for model, dim in (("other", DIM), ("m", 9)):
            with pytest.raises(ArtifactError, match="cannot be mixed"):
                make(tmp_path, model, dim)

    def test_a_writer_whose_view_is_old_is_told(self, index, make, tmp_path):
        if make is milvus:
            pytest.skip("Milvus Lite: one process, one connection")
        other = make(tmp_path)
        index.append(ROWS[:1])
        with pytest.raises((BusyError, ArtifactError), match=r"another process|past the graph"):
            other.append(ROWS[:1])
        assert len(make(tmp_path)) == 401

    def test_empty(self, make, tmp_path):
        index = make(tmp_path)
        assert len(index) == 0
        assert index.search(QUERIES, 3)[0].shape == (5, 0)
        assert index.live.shape == (0,)
        close(index)


class TestDatabases:
    """What only the databases do."""

    @pytest.mark.parametrize("make", [milvus, lance])
    def test_at_the_limit_of_the_database_rows_are_named_part_by_part(self, make, tmp_path, monkeypatch):
        monkeypatch.setattr(engine, "NAMED", 30)
        index = make(tmp_path)
        index.append(ROWS)
        monkeypatch.setattr(index, "most", 5, raising=False)
        index.delete([7])
        live = index.live
        assert (index.search(QUERIES, 50)[0] == brute(QUERIES, 50, live)[0]).all()
        allow = np.arange(400) % 2 == 0
        assert (index.search(QUERIES, 50, allow=allow)[0] == brute(QUERIES, 50, live & allow)[0]).all()
        close(index)

    def test_a_collection_of_somebody_else_is_left_alone(self, tmp_path):
        pymilvus = pytest.importorskip("pymilvus")
        pytest.importorskip("milvus_lite")
        client = pymilvus.MilvusClient(str(tmp_path / "milvus.db"))
        client.create_collection("vectors", dimension=DIM)
        client.close()
        with pytest.raises(ArtifactError, match="not made by mumei"):
            milvus(tmp_path)

    def test_a_table_of_somebody_else_is_left_alone(self, tmp_path):
        lancedb = pytest.importorskip("lancedb")
        lancedb.connect(str(tmp_path / "lance")).create_table("vectors", [{"vector": [1.0] * DIM}])
        with pytest.raises(ArtifactError, match="not made by mumei"):
            lance(tmp_path)

    @pytest.mark.parametrize(
        ("module", "name", "extra"),
        [("milvus", "pymilvus", "milvus"), ("lance", "lancedb", "lance"), ("hnsw", "faiss", "hnsw")],
    )
    def test_a_missing_extra_is_named(self, module, name, extra, tmp_path, monkeypatch):
        monkeypatch.setitem(__import__("sys").modules, name, None)
        found = importlib.import_module(f"mumei.retrieval.{module}")
        given = {
            "milvus": lambda: found.MilvusIndex(str(tmp_path / "x.db"), "c", "m", 8),
            "lance": lambda: found.LanceIndex(str(tmp_path), "t", "m", 8),
            "hnsw": lambda: found.HNSWIndex(store(tmp_path)),
        }[module]
        with pytest.raises(MissingExtraError, match=rf"mumei\[{extra}\]"):
            given()
