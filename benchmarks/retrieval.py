"""Search from end to end, in one run: encoding, exact vector search, BM25, and a query's time by stage, each beside a peer.

    python benchmarks/retrieval.py [--threads 2] [--documents 50000] [--skip encoding vectors] [--json]

Encoding and vector search are `encoding.py` and `vector_search.py`, run in processes of their own. BM25 stands
beside bm25s on made-up documents of 120 words by Zipf's law, with the same tokens. The stages are those of a search with
two hypothetical documents (replayed, so that no language model's time is in it) over a collection of the embedded corpus.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent


def documents(count: int, words: int = 120, vocabulary: int = 60_000, seed: int = 0) -> list[str]:
    rng = np.random.default_rng(seed)
    names = np.array([f"w{i:x}" for i in range(vocabulary)])
    chosen = np.minimum(rng.zipf(1.2, size=(count, words)) - 1, vocabulary - 1)
    return [" ".join(row) for row in names[chosen]]


def best(call, rounds: int) -> float:
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def lexical(count: int) -> dict:
    """Seconds to index, milliseconds a query, and how far the scores lie apart."""
    import bm25s

    from mumei.retrieval.lexical import LexicalIndex, tokens

    texts = documents(count)
    queries = [" ".join(text.split()[:8]) for text in documents(200, seed=1)]
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        index = LexicalIndex.build(texts, Path(folder) / "words")
        ours = time.perf_counter() - start
        start = time.perf_counter()
        vocabulary: dict[str, int] = {}
        ids = [[vocabulary.setdefault(word, len(vocabulary)) for word in tokens(text)] for text in texts]
        peer = bm25s.BM25(k1=0.9, b=0.4, method="lucene")
        peer.index(bm25s.tokenization.Tokenized(ids=ids, vocab=vocabulary), show_progress=False)
        theirs = time.perf_counter() - start

        def ask_peer(query: str, k: int = 100) -> tuple[np.ndarray, np.ndarray]:
            scores = peer.get_scores([word for word in tokens(query) if word in vocabulary])
            top = np.argpartition(-scores, k)[:k]
            order = np.lexsort((top, -scores[top]))
            return top[order], scores[top[order]]

        apart = max(float(np.abs(np.array(index.search(q, 100)[1]) - ask_peer(q)[1]).max()) for q in queries[:50])
        ours_query = best(lambda: [index.search(q, 100) for q in queries], 5) / len(queries) * 1e3
        theirs_query = best(lambda: [ask_peer(q) for q in queries], 5) / len(queries) * 1e3
        size = sum(f.stat().st_size for f in Path(folder).rglob("*") if f.is_file()) / 2**20
    return {
        "documents": count,
        "index seconds": {"mumei (to disk)": round(ours, 2), "bm25s (in memory)": round(theirs, 2)},
        "ms a query": {"mumei": round(ours_query, 2), "bm25s": round(theirs_query, 2)},
        "largest difference of a score": apart,
        "MB on disk": round(size, 1),
    }


def stages(rounds: int = 20) -> dict:
    """Milliseconds of each stage, the median over questions and rounds, after a warm-up."""
    from mumei.discover.primer import load_passages, load_questions
    from mumei.retrieval.collection import Collection
    from mumei.retrieval.documents import Document
    from mumei.retrieval.generators import OwnText
    from mumei.retrieval.searcher import Searcher

    passages = load_passages()
    asked = [q for q in load_questions() if q["text"].isascii()][:rounds]
    with tempfile.TemporaryDirectory() as folder:
        collection = Collection.create(Path(folder) / "primer")
        collection.add(Document(p["id"], p["title"], p["text"]) for p in passages)
        text = {p["id"]: p["text"] for p in passages}
        written = {q["text"]: [text[next(iter(q["relevant"]))]] * 2 for q in asked}
        searcher = Searcher(collection, generator=OwnText(written), mode="on")
        seen: dict[str, list[float]] = {}
        for number, question in enumerate([*asked[:3], *asked]):
            start = time.perf_counter()
            answer = searcher.search(question["text"])
            total = time.perf_counter() - start
            for name, seconds in [*((s.name, s.seconds) for s in answer.stages), ("all", total)] if number >= 3 else []:
                seen.setdefault(name, []).append(seconds * 1e3)
    return {name: round(float(np.median(times)), 1) for name, times in seen.items()}


def other(name: str, *arguments: str) -> dict:
    done = subprocess.run([sys.executable, str(HERE / name), *arguments, "--json"], stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--documents", type=int, default=50_000)
    parser.add_argument("--skip", nargs="*", default=[], choices=("encoding", "vectors", "words", "stages"))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    parts = {
        "encoding": lambda: other("encoding.py", "--threads", str(options.threads)),
        "vectors": lambda: other("vector_search.py", "--threads", str(options.threads)),
        "words": lambda: lexical(options.documents),
        "stages": stages,
    }
    result = {name: part() for name, part in parts.items() if name not in options.skip}
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
