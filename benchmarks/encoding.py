"""The embedded encoder beside sentence-transformers on the same texts, in one run: documents per second and share of the limit.

    python benchmarks/encoding.py [--texts 300] [--threads 2] [--json]

The texts are the embedded corpus joined to about 225 tokens each, the length of an abstract. The limit is the bfloat16 (or
float32) product's speed measured here; a text of n tokens costs 12 d^2 n L + 4 n^2 d L multiply-adds and adds for L layers of
width d.
"""

from __future__ import annotations

import argparse
import json
import time

import torch

from mumei.discover.primer import load_passages
from mumei.retrieval.encoders import MiniLMEncoder

LAYERS, WIDTH = 6, 384


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--texts", type=int, default=300)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    texts = load_texts(options.texts)
    ours = MiniLMEncoder()
    ours.encode(texts[:8])
    lengths = [len(e.ids) for e in ours._tokenizer.encode_batch(texts)]
    flops = sum(LAYERS * (24 * WIDTH**2 * n + 4 * n * n * WIDTH) for n in lengths)
    runs = {f"mumei {ours.dtype}": lambda: ours.encode(texts)}
    try:
        from sentence_transformers import SentenceTransformer

        for dtype in ("float32", "bfloat16"):
            peer = SentenceTransformer(str(ours.folder), device="cpu", model_kwargs={"torch_dtype": dtype})
            runs[f"sentence-transformers {dtype}"] = lambda p=peer: p.encode(
                texts, batch_size=16, show_progress_bar=False
            )
    except ImportError:
        pass
    seconds = {name: best(call) for name, call in runs.items()}
    limit = product_speed(getattr(torch, ours.dtype))
    result = {
        "tokens per text": round(sum(lengths) / len(lengths), 1),
        "documents per second": {name: round(len(texts) / s, 1) for name, s in seconds.items()},
        "GFLOP/s": {name: round(flops / s / 1e9, 1) for name, s in seconds.items()},
        f"product limit in {ours.dtype}, GFLOP/s": round(limit, 1),
        "share of the limit": {name: round(flops / s / 1e9 / limit, 3) for name, s in seconds.items()},
    }
    print(json.dumps(result, indent=2) if options.json else "\n".join(f"{k}: {v}" for k, v in result.items()))


if __name__ == "__main__":
    main()
