"""The embedded encoder on each runtime beside sentence-transformers on the same texts, in one run.

    python benchmarks/encoding.py [--texts 300] [--threads 2] [--rounds 3] [--json]

Documents per second (the best of the rounds; contenders take turns, so that another program slows all of them), the ratio to
sentence-transformers' default, cosine to its float32 vectors, and the share of the limit.
The texts are the embedded corpus joined to about 225 tokens each, the length of an abstract. The limit is the bfloat16 (or
float32) product's speed measured here; a text of n tokens costs 12 d^2 n L + 4 n^2 d L multiply-adds and adds for L layers of
width d.
"""

from __future__ import annotations

import argparse
import json
import sys
import time

import numpy as np
import torch

from mumei.core.cpu import multiplies_bfloat16
from mumei.core.errors import MumeiError
from mumei.discover.primer import load_passages
from mumei.retrieval.encoders import MiniLMEncoder, text_encoder

LAYERS, WIDTH = 6, 384
PEER = "sentence-transformers float32"


def load_texts(count: int) -> list[str]:
    english = [p["text"] for p in load_passages() if p["lang"] == "en"]
    return [" ".join(english[(3 * i + j) % len(english)] for j in range(3)) for i in range(count)]


def best(call, rounds: int = 3) -> float:
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def product_speed(dtype: torch.dtype, size: int = 1024) -> float:
    """GFLOP/s of a square product."""
    a, b = (torch.randn(size, size).to(dtype) for _ in range(2))
    return 2 * size**3 / best(lambda: a @ b, 20) / 1e9


def contenders(ours: MiniLMEncoder, threads: int) -> dict:
    """Return what encodes, by name; what is not installed is left out."""
    calls = {f"mumei {ours.dtype}": ours.encode}
    slow = set() if multiplies_bfloat16() else {"bfloat16"}  # a processor without it takes minutes
    for runtime, dtypes in (("openvino", ("float32", "bfloat16", "int8")), ("onnxruntime", ("float32", "int8"))):
        for dtype in (d for d in dtypes if d not in slow):
            try:
                encoder = text_encoder(None, runtime=runtime, dtype=dtype)
                encoder.encode(["a first text, so that the network is built"] * 4)
            except MumeiError as error:
                print(f"left out: {runtime} {dtype}: {error}", file=sys.stderr)
                continue
            calls[f"mumei {runtime} {dtype}"] = encoder.encode
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError:
        return calls
    for dtype in (d for d in ("float32", "bfloat16") if d not in slow):
        peer = SentenceTransformer(str(ours.folder), device="cpu", model_kwargs={"dtype": dtype})
        # The default: batches of 32, sorted by length, float32.
        calls[f"sentence-transformers {dtype}"] = lambda texts, peer=peer: peer.encode(
            texts, normalize_embeddings=True, show_progress_bar=False
        )
    torch.set_num_threads(threads)
    return calls


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--texts", type=int, default=300)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    texts = load_texts(options.texts)
    ours = MiniLMEncoder()
    ours.encode(texts[:8])
    lengths = [len(e.ids) for e in ours._tokenizer.encode_batch(texts)]
    flops = sum(LAYERS * (24 * WIDTH**2 * n + 4 * n * n * WIDTH) for n in lengths)
    calls = contenders(ours, options.threads)
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    vectors = {}
    for _ in range(options.rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            vectors[name] = np.asarray(call(texts), dtype=np.float32)
            seconds[name].append(time.perf_counter() - start)
    limit = product_speed(getattr(torch, ours.dtype))
    reference = vectors[PEER if PEER in vectors else next(iter(vectors))]
    rate = {name: len(texts) / min(times) for name, times in seconds.items()}
    near = {name: (v * reference).sum(1) for name, v in vectors.items()}
    result = {
        "tokens per text": round(sum(lengths) / len(lengths), 1),
        "documents per second": {name: round(r, 1) for name, r in rate.items()},
        "ratio to sentence-transformers' default": {name: round(r / rate[PEER], 2) for name, r in rate.items()}
        if PEER in rate
        else {},
        "cosine to float32, mean and least": {
            name: [round(float(c.mean()), 6), round(float(c.min()), 6)] for name, c in near.items()
        },
        f"product limit in {ours.dtype}, GFLOP/s": round(limit, 1),
        "share of that limit": {name: round(flops * r / len(texts) / 1e9 / limit, 3) for name, r in rate.items()},
    }
    print(json.dumps(result, indent=2) if options.json else "\n".join(f"{k}: {v}" for k, v in result.items()))


if __name__ == "__main__":
    main()
