"""A million vectors of 384 numbers within 3 GB: appended, searched, appended to again, deleted from, merged, opened again."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from mumei.core.cpu import multiplies_bytes

SCRIPT = """
import json, resource, sys, time
import numpy as np
from mumei.retrieval.index import VectorStore

folder, total, batch = sys.argv[1], int(sys.argv[2]), 10_000

def draw(first, n):
    rng = np.random.default_rng(first)
    rows = rng.standard_normal((n, 384), dtype=np.float32) * (1 + np.arange(384, dtype=np.float32)) ** -0.3
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)

def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024**2

def best(call, rounds=7):
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        call()
        times.append((time.perf_counter() - start) * 1e3)
    return min(times)

out = {"GB": {}, "ms": {}}
store = VectorStore(folder, "synthetic", 384)
start = time.perf_counter()
for first in range(0, total, batch):
    store.append(draw(first, batch))
out["append_seconds"] = time.perf_counter() - start
out["GB"]["append"] = peak()
queries = draw(10**9, 64)
picked = np.array([3, total // 2, total - 1])
known = store.rows(picked)
out["found"] = store.search(known, 1)[0][:, 0].tolist() == picked.tolist()
out["engine"] = store.last_search.engine
out["ms"]["1"] = best(lambda: store.search(queries[:1], 100))
out["ms"]["64"] = best(lambda: store.search(queries, 100), 3)
out["GB"]["search"] = peak()
for first in range(total, total + 3 * batch, 100):
    if first < total + 20 * 100 or first % batch == 0:
        store.append(draw(first, 100))
start = time.perf_counter()
store.delete(picked)
out["ms"]["delete"] = (time.perf_counter() - start) * 1e3
out["gone"] = not np.isin(picked, store.search(known, 10)[0]).any()
store = VectorStore.open(folder)
out["still_gone"] = not np.isin(picked, store.search(known, 10)[0]).any()
allow = np.random.default_rng(1).random(len(store)) < 0.5
out["ms"]["64 of half"] = best(lambda: store.search(queries, 100, allow=allow), 3)
found, scores = store.search(queries[:4], 100)
# Independent: float64 products of all live rows, block by block.
exact = np.full((4, len(store)), -np.inf)
for first, block in store.blocks():
    exact[:, first : first + len(block)] = queries[:4].astype(np.float64) @ block.T.astype(np.float64)
exact[:, ~store.live] = -np.inf
out["exact"] = all(set(np.argsort(-e)[:100]) == set(f) for e, f in zip(exact, found))
out["GB"]["end"] = peak()
out["segments"] = len(store._view.segments)
out["stats"] = vars(store.last_search)
print(json.dumps(out))
"""


@pytest.mark.parametrize("rows", [50_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
def test_within_three_gigabytes(tmp_path, rows):
    command = [sys.executable, "-c", SCRIPT, str(tmp_path), str(rows)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    print(json.dumps(found, indent=2))
    assert found["found"]
    assert found["gone"]
    assert found["still_gone"]
    assert found["exact"]
    assert found["GB"]["end"] < (3.0 if rows > 500_000 else 1.0)
    assert found["engine"] == ("int8" if rows > 500_000 and multiplies_bytes() else "float32")
    assert found["segments"] < 60
