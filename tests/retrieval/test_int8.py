"""8-bit scan: the bound holds for every row, and the answer is the float32 answer to the bit."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mumei.retrieval import index, int8, segments
from mumei.retrieval.exact import Candidates
from mumei.retrieval.index import VectorStore


def mixture(n: int, dim: int, seed: int = 0, spread: float = 0.5) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(20, dim))
    rows = centres[rng.integers(20, size=n)] + spread * rng.normal(size=(n, dim))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def always(monkeypatch) -> None:
    """Scan in 8 bits however few rows there are, in chunks of 64."""
    monkeypatch.setattr(int8, "LOADED", 1)
    monkeypatch.setattr(int8, "UNLOADED", 1)
    monkeypatch.setattr(segments, "SIDECAR_ROWS", 8)
    monkeypatch.setattr(int8, "multiplies_bytes", lambda: True)


@given(seed=st.integers(0, 2**20), dim=st.integers(2, 50), size=st.sampled_from([1e-42, 1e-20, 1.0, 1e15]))
@settings(max_examples=150, deadline=None)
def test_every_score_is_within_the_bound(seed, dim, size):
    """Expected: float64 products of the numbers given, against what the scan hands to the candidates."""
    rng = np.random.default_rng(seed)
    rows = (rng.normal(size=(40, dim)) * rng.exponential(size=(40, 1)) * size).astype(np.float32)
    queries = rng.standard_cauchy(size=(3, dim)).astype(np.float32)
    codes, scale, residual, norm = int8.quantise(rows)
    seen = []
    candidates = Candidates(queries, 3, lambda wanted: rows[wanted])
    candidates.add = lambda *given: seen.append(given)  # type: ignore[method-assign]
    one = np.array([scale]), np.array([residual]), np.array([norm])
    int8.Int8Scan(candidates).scan([(0, int8.Sidecar(codes, *one))], None)
    [(products, first, allowed, unit, error)] = seen
    assert (first, allowed) == (0, None)
    exact = queries.astype(np.float64) @ rows.T.astype(np.float64)
    assert (np.abs(products * unit[:, None] - exact) <= error[:, None]).all()
    if size == 1:  # and it is not idle: 8 bits of each number
        typical = candidates.lengths * norm
        assert (error < typical * (0.01 * dim**0.5 + 0.05)).all()


@given(
    seed=st.integers(0, 2**20), k=st.integers(1, 40), kind=st.sampled_from(["mixture", "near", "outlier", "ties"]),
    some=st.booleans(),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_the_answer_is_that_of_float32_to_the_bit(tmp_path_factory, seed, k, kind, some):
    rng = np.random.default_rng(seed)
    rows = mixture(300, 16, seed)
    if kind == "near":
        rows = (rows[:1] + 1e-4 * rng.normal(size=rows.shape)).astype(np.float32)
    elif kind == "outlier":
        rows[rng.integers(300)] *= 1000
    elif kind == "ties":
        rows = rows[rng.integers(5, size=300)]
    queries = np.concatenate([rows[:2], rng.normal(size=(2, 16)).astype(np.float32)])
    allow = rng.random(300) < 0.5 if some else None
    store = VectorStore(tmp_path_factory.mktemp("s"), "m", 16)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segments, "SIDECAR_ROWS", 8)
        for first in range(0, 300, 100):
            store.append(rows[first : first + 100])
        store.delete(rng.integers(300, size=20))
        expected = store.search(queries, k, allow=allow)
        assert store.last_search.engine == "float32"
        patch.setattr(int8, "LOADED", 1)
        patch.setattr(int8, "UNLOADED", 1)
        patch.setattr(int8, "multiplies_bytes", lambda: True)
        found = store.search(queries, k, allow=allow)
        assert store.last_search.engine == "int8"
    assert (found[0] == expected[0]).all()
    assert (found[1] == expected[1]).all()


def test_a_crowd_of_near_rows_is_scanned_again_in_float32_and_said(tmp_path, always, monkeypatch):
    rows = (mixture(1, 16) + 1e-6 * np.random.default_rng(0).normal(size=(4000, 16))).astype(np.float32)
    store = VectorStore(tmp_path, "m", 16)
    store.append(rows)
    monkeypatch.setattr("mumei.retrieval.exact.CANDIDATES", 100)
    monkeypatch.setattr(Candidates.__init__, "__kwdefaults__", {"give_up": False, "limit": 100})
    found, _ = store.search(rows[:2], 5)
    assert store.last_search.redone == 2
    monkeypatch.setattr(int8, "multiplies", lambda dim: False)
    assert (found == store.search(rows[:2], 5)[0]).all()
    assert (store.last_search.engine, store.last_search.redone) == ("float32", 0)


def test_a_sidecar_that_is_damaged_or_anothers_is_made_again(tmp_path, always):
    rows, store = mixture(100, 8), VectorStore(tmp_path, "m", 8)
    store.append(rows)
    expected, file = store.search(rows[:3], 4), tmp_path / "int8-000000.npy"
    whole = file.read_bytes()
    int8.write_sidecar(file, -rows, 12345)
    other = file.read_bytes()
    for content in (whole[:-1], b"", other, None):
        file.unlink() if content is None else file.write_bytes(content)
        again = VectorStore.open(tmp_path)
        found = again.search(rows[:3], 4)
        assert (found[0] == expected[0]).all()
        assert again.last_search.int8_rows == 100
        assert file.read_bytes() == whole


def test_without_the_right_to_write_the_scan_is_in_float32_and_said(tmp_path, always, monkeypatch):
    rows, store = mixture(100, 8), VectorStore(tmp_path, "m", 8)
    store.append(rows)
    (tmp_path / "int8-000000.npy").unlink()

    def full(*_):
        from mumei.core.errors import StorageError

        raise StorageError("full")

    monkeypatch.setattr(index, "write_sidecar", full)
    reader = VectorStore.open(tmp_path)
    assert reader.search(rows[:1], 1)[0].tolist() == [[0]]
    assert (reader.last_search.int8_rows, reader.last_search.float32_rows) == (0, 100)


def test_chunks_have_scales_of_their_own(tmp_path, always, monkeypatch):
    """A row a thousand times as long spoils one chunk, not all: few rows are scored anew."""
    monkeypatch.setattr(int8, "CHUNK", 64)
    monkeypatch.setattr(int8, "chunks", lambda array: segments.chunks(array, 64))
    rows = mixture(640, 32)
    rows[5] *= 1000
    store = VectorStore(tmp_path, "m", 32)
    store.append(rows)
    found, _ = store.search(rows[100:101], 3, allow=np.arange(640) != 5)
    assert found[0, 0] == 100
    assert store.last_search.rescored < 100


@pytest.mark.parametrize(("m", "n", "dim"), [(1, 1, 2), (1, 100, 3), (17, 33, 31), (64, 1000, 384), (3, 50, 768)])
def test_torch_multiplies_as_numpy_does(m, n, dim):
    import torch

    rng = np.random.default_rng(0)
    left, right = (rng.integers(-127, 128, size=(rows, dim)).astype(np.int8) for rows in (m, n))
    assert int8.multiplies(dim)
    found = torch.ops.aten._int_mm(torch.from_numpy(left), torch.from_numpy(right).t()).numpy()
    assert (found == left.astype(np.int32) @ right.T.astype(np.int32)).all()


def test_a_torch_that_multiplies_wrongly_is_not_used(monkeypatch):
    """As on CPUs that add pairs of products in 16 bits."""
    import torch

    real = torch.ops.aten._int_mm
    monkeypatch.setattr(torch.ops.aten, "_int_mm", lambda a, b: real(a, b).clamp(-32768, 32767))
    int8.multiplies.cache_clear()
    assert not int8.multiplies(64)
    int8.multiplies.cache_clear()


def test_a_small_store_is_searched_without_torch(tmp_path):
    """Importing torch takes more than a second; a store of this size a millisecond."""
    code = f"""
import sys, numpy as np
from mumei.retrieval.index import VectorStore
store = VectorStore({str(tmp_path)!r}, "m", 8)
store.append(np.eye(8).repeat(500, 0))
store.search(np.eye(8), 3)
print(store.last_search.engine, "torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["float32", "False"]
