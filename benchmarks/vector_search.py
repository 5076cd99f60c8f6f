"""Exact search of the vector store beside FAISS's exact index on the same vectors, in one run.

    python benchmarks/vector_search.py [--rows 200000] [--threads 2] [--rounds 15] [--vectors A.npy --queries B.npy] [--json]

The vectors have unit length: mixtures of topics of very different size, in a space whose variance falls off from direction to
direction as that of sentence encoders does; queries are drawn likewise. The contenders take turns, round by round, so that
another process on the machine slows all of them; the best round of each counts, and for FAISS the better of both settings. "same" is the share of queries with the same
set of rows as FAISS, a row that ties with the last one counted as the same. usearch and hnswlib are measured where installed.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable

import numpy as np

DIM = 384


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


def in_turn(contenders: dict[str, Callable[[], object]], rounds: int) -> dict[str, dict[str, float]]:
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for call in contenders.values():
        call()
    for _ in range(rounds):
        for name, call in contenders.items():
            start = time.perf_counter()
            call()
            times[name].append((time.perf_counter() - start) * 1e3)
    return {name: {"best": min(t), "median": float(np.median(t))} for name, t in times.items()}


def others(vectors: np.ndarray) -> dict[str, Callable[[np.ndarray, int], object]]:
    """Approximate or exact indexes that happen to be installed."""
    found: dict[str, Callable[[np.ndarray, int], object]] = {}
    try:
        from usearch.index import search

        found["usearch exact"] = lambda q, k: search(vectors, q, k, exact=True)
    except ImportError:
        pass
    try:
        import hnswlib

        graph = hnswlib.Index("ip", DIM)
        graph.init_index(len(vectors), M=16, ef_construction=100)
        graph.add_items(vectors)
        graph.set_ef(128)
        found["hnswlib ef 128"] = lambda q, k: graph.knn_query(q, k)
    except ImportError:
        pass
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--vectors")
    parser.add_argument("--queries")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = str(options.threads)
    import faiss
    import torch

    from mumei.retrieval import int8
    from mumei.retrieval.index import VectorStore

    torch.set_num_threads(options.threads)
    faiss.omp_set_num_threads(options.threads)
    if options.vectors:
        vectors, queries = np.load(options.vectors), np.load(options.queries)
    else:
        vectors, queries = mixtures(options.rows, 256)
    flat = faiss.IndexFlatIP(vectors.shape[1])
    flat.add(vectors)
    result: dict = {
        "rows": len(vectors),
        "threads": options.threads,
        "load": os.getloadavg()[0],
        "faiss": faiss.__version__,
    }
    with tempfile.TemporaryDirectory() as folder:
        store = VectorStore(folder, "benchmark", vectors.shape[1])
        start = time.perf_counter()
        for first in range(0, len(vectors), 20_000):
            store.append(vectors[first : first + 20_000])
        result["build seconds"] = time.perf_counter() - start
        rest = others(vectors)

        def plain(q: np.ndarray, k: int) -> object:
            multiplies, int8.multiplies = int8.multiplies, lambda dim: False
            try:
                return store.search(q, k)
            finally:
                int8.multiplies = multiplies

        def alone(q: np.ndarray, k: int) -> object:
            faiss.omp_set_num_threads(1)  # for one query FAISS may be quicker so
            try:
                return flat.search(q, k)
            finally:
                faiss.omp_set_num_threads(options.threads)

        for k in (10, 100):
            ours = store.search(queries, k)
            result[f"k={k} stats"] = vars(store.last_search)
            distances, rows = flat.search(queries, k)
            result[f"k={k} same"] = same_rows(ours, (rows, distances))
            for m in (1, 64):
                some = queries[:m]
                contenders = {
                    "mumei": lambda some=some, k=k: store.search(some, k),
                    "mumei float32": lambda some=some, k=k: plain(some, k),
                    "faiss flat": lambda some=some, k=k: flat.search(some, k),
                    "faiss 1 thread": lambda some=some, k=k: alone(some, k),
                    **{name: (lambda call=call, some=some, k=k: call(some, k)) for name, call in rest.items()},
                }
                result[f"k={k} m={m}"] = in_turn(contenders, options.rounds)
    if options.json:
        print(json.dumps(result, indent=2))
        return
    print({key: value for key, value in result.items() if not key.startswith("k=") or "m=" not in key})
    for key, times in result.items():
        if " m=" in key:
            m = int(key.split("m=")[1])
            theirs = min(t["best"] for name, t in times.items() if name.startswith("faiss"))
            for name, t in times.items():
                ratio = theirs / t["best"]
                print(
                    f"{key:12s} {name:16s} {t['best'] / m:8.3f} ms/query (median {t['median'] / m:.3f})  {ratio:.2f}x"
                )


if __name__ == "__main__":
    main()
