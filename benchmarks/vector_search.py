"""Exact search of the vector store beside FAISS's exact index on the same vectors, in one run.

    python benchmarks/vector_search.py [--rows 200000] [--threads 2] [--passes 3] [--vectors A.npy --queries B.npy] [--json]

The vectors have unit length: mixtures of topics of very different size, in a space whose variance falls off from direction to
direction as that of sentence encoders does; queries are drawn likewise. Each contender runs in a process of its own, since
their threads would wait for each other in one; they take turns, pass by pass, and the best time of all passes counts. FAISS
is measured with all threads and with one, which is quicker for single queries; the better counts. "same" is the share of
queries with the same set of rows as FAISS, a row that ties with the last one counted as the same. usearch (exact) and hnswlib
(approximate) are measured where installed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

DIM = 384
CASES = [(k, m) for k in (10, 100) for m in (1, 64)]
Search = Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]]


def mixtures(rows: int, queries: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    turn = np.linalg.qr(rng.normal(size=(DIM, DIM)))[0] * (1 + np.arange(DIM))[:, None] ** -0.5
    topics = rng.normal(size=(5000, DIM))
    size = rng.pareto(1.5, 5000) + 0.1

    def draw(n: int) -> np.ndarray:
        two = rng.choice(5000, size=(n, 2), p=size / size.sum())
        share = rng.uniform(0.5, 1, size=(n, 1))
        found = share * topics[two[:, 0]] + (1 - share) * topics[two[:, 1]] + rng.normal(size=(n, DIM)) * 0.5
        found = found @ turn
        return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)

    return np.concatenate([draw(min(20_000, rows - first)) for first in range(0, rows, 20_000)]), draw(queries)


def same_rows(ours: tuple[np.ndarray, np.ndarray], theirs: tuple[np.ndarray, np.ndarray]) -> float:
    """Share of queries with equal row sets; a row of either that scores as the last one, to float32 rounding, is a tie."""
    equal = []
    for rows, scores, others, their in zip(*ours, *theirs, strict=True):
        border = min(scores[-1], their[-1]) + 1e-6
        clear = set(rows[scores > border]) | set(others[their > border])
        equal.append(clear <= set(rows) and clear <= set(others))
    return float(np.mean(equal))


def mumei(folder: Path, vectors: np.ndarray, threads: int, eight: bool) -> Search:
    import torch

    from mumei.retrieval import int8
    from mumei.retrieval.index import VectorStore

    torch.set_num_threads(threads)
    if not eight:
        int8.multiplies = lambda dim: False
    return VectorStore.open(folder / "store").search


def flat(folder: Path, vectors: np.ndarray, threads: int) -> Search:
    import faiss

    faiss.omp_set_num_threads(threads)
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    return lambda q, k: index.search(q, k)[::-1]


def usearch(folder: Path, vectors: np.ndarray, threads: int) -> Search:
    from usearch.index import MetricKind, search

    def found(q: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        hits = search(vectors, q, k, MetricKind.IP, exact=True, threads=threads)
        return hits.keys, 1 - hits.distances

    return found


def hnswlib(folder: Path, vectors: np.ndarray, threads: int) -> Search:
    import hnswlib

    graph = hnswlib.Index("ip", vectors.shape[1])
    graph.init_index(len(vectors), M=16, ef_construction=100)
    graph.add_items(vectors, num_threads=threads)
    graph.set_ef(128)
    return lambda q, k: graph.knn_query(q, k, num_threads=threads)


CONTENDERS: dict[str, Callable[[Path, np.ndarray, int], Search]] = {
    "mumei": lambda *given: mumei(*given, eight=True),
    "mumei float32": lambda *given: mumei(*given, eight=False),
    "faiss flat": flat,
    "faiss flat, 1 thread": lambda folder, vectors, threads: flat(folder, vectors, 1),
    "usearch exact": usearch,
    "hnswlib": hnswlib,
}


def contend(folder: Path, name: str, threads: int, seconds: float) -> None:
    """Time one contender in this process; save what it found."""
    vectors, queries = np.load(folder / "vectors.npy", mmap_mode="r"), np.load(folder / "queries.npy")
    try:
        search = CONTENDERS[name](folder, np.asarray(vectors), threads)
    except ImportError:
        return
    times: dict[str, list[float]] = {}
    for k, m in CASES:
        some, found, end = np.ascontiguousarray(queries[:m]), [], time.perf_counter() + seconds
        search(some, k)
        while time.perf_counter() < end or len(found) < 3:
            start = time.perf_counter()
            search(some, k)
            found.append((time.perf_counter() - start) * 1e3 / m)
        times[f"k={k} m={m}"] = [min(found), float(np.median(found))]
    for k in (10, 100):
        np.savez(folder / f"{name} {k}.npz", *search(queries, k))
    print(json.dumps(times))


def run(folder: Path, options: argparse.Namespace) -> dict:
    from mumei.retrieval.index import VectorStore

    vectors = np.load(folder / "vectors.npy", mmap_mode="r")
    store, start = VectorStore(folder / "store", "benchmark", vectors.shape[1]), time.perf_counter()
    for first in range(0, len(vectors), 20_000):
        store.append(vectors[first : first + 20_000])
    result: dict = {"rows": len(vectors), "threads": options.threads, "build seconds": time.perf_counter() - start}
    result["load before"], best = os.getloadavg()[0], {}
    threads = str(options.threads)
    quiet = {**os.environ, "OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
    for _ in range(options.passes):
        for name in CONTENDERS:
            command = [sys.executable, __file__, "--threads", threads, "--contender", name, "--folder", str(folder)]
            done = subprocess.run(command, capture_output=True, text=True, check=True, env=quiet)
            for case, (least, median) in (json.loads(done.stdout) if done.stdout else {}).items():
                old = best.setdefault(case, {}).setdefault(name, [least, median])
                best[case][name] = [min(old[0], least), min(old[1], median)]
    result["ms per query, best and median"] = best
    for name in ("mumei", "mumei float32"):
        found = {k: [np.load(folder / f"{who} {k}.npz") for who in (name, "faiss flat")] for k in (10, 100)}
        result[f"same, {name}"] = {k: same_rows(*((z["arr_0"], z["arr_1"]) for z in two)) for k, two in found.items()}
    return result


def show(result: dict) -> None:
    best = result.pop("ms per query, best and median")
    print(result)
    for case, times in best.items():
        theirs = [min(t[i] for name, t in times.items() if name.startswith("faiss")) for i in (0, 1)]
        for name, (least, median) in times.items():
            ratios = f"{theirs[0] / least:5.2f}x FAISS (by medians {theirs[1] / median:.2f}x)"
            print(f"{case:12s} {name:22s} {least:8.3f} ms/query (median {median:.3f})  {ratios}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--vectors")
    parser.add_argument("--queries")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--contender", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contender:
        contend(options.folder, options.contender, options.threads, 1.5)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        given = (options.vectors, options.queries)
        vectors, queries = map(np.load, given) if options.vectors else mixtures(options.rows, 256)
        np.save(folder / "vectors.npy", vectors)
        np.save(folder / "queries.npy", queries[:256])
        del vectors
        result = run(folder, options)
    if options.json:
        print(json.dumps(result, indent=2))
    else:
        show(result)


if __name__ == "__main__":
    main()
