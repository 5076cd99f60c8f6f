"""A 784-500-500-2000-10 autoencoder on 60,000 rows: the core loop beside a plain torch loop with a DataLoader, in one run.

    python benchmarks/autoencoder.py [--steps 60] [--rounds 5] [--threads 1] [--json]

Both train the same network on the same rows with Adam and batches of 256. The two take turns, a few dozen steps each, so that
whatever else the machine does falls on both. Rows are MNIST where MUMEI_DATA (or ../shared/data) has it, else random of that
shape: the speed does not depend on the values. The limit is the time of the products alone (6 flops per weight and row), at the
speed measured here for the shapes of this network.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from pathlib import Path

import numpy as np
import torch

from mumei.core.linear import _product, capability
from mumei.core.train import Loss, TrainConfig, _Loop, simple
from mumei.core.runtime import SingleRuntime
from mumei.core.progress import SILENT
from mumei.nn.mlp import Autoencoder

SIZES = (784, 500, 500, 2000, 10)
ROWS, BATCH = 60_000, 256


def load_rows() -> tuple[torch.Tensor, str]:
    folder = Path(os.environ.get("MUMEI_DATA", Path(__file__).resolve().parents[2] / "shared" / "data")) / "images"
    files = sorted(folder.glob("mnist_train_part*of3.npz"))
    if not files:
        return torch.rand(ROWS, 784, generator=torch.Generator().manual_seed(0)), "random rows of MNIST's shape"
    parts = []
    for file in files:
        with np.load(file, allow_pickle=False) as loaded:
            key = next(k for k in loaded.files if loaded[k].ndim >= 2)
            parts.append(loaded[key].reshape(len(loaded[key]), -1))
    return torch.from_numpy(np.concatenate(parts)).float() / 255, "MNIST"


class Plain:
    """What a tutorial writes: Dataset, DataLoader, nn.Linear, Adam."""

    def __init__(self, x: torch.Tensor):
        layers: list[torch.nn.Module] = []
        sizes = [*SIZES, *reversed(SIZES[:-1])]
        for i, (a, b) in enumerate(zip(sizes, sizes[1:], strict=False)):
            layers.append(torch.nn.Linear(a, b))
            if i not in (len(SIZES) - 2, len(sizes) - 2):
                layers.append(torch.nn.ReLU())
        self.net = torch.nn.Sequential(*layers)
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=1e-3)
        dataset = torch.utils.data.TensorDataset(x)
        self.loader = torch.utils.data.DataLoader(dataset, batch_size=BATCH, shuffle=True)
        self.batches = iter(self.loader)

    def run(self, steps: int) -> None:
        for _ in range(steps):
            try:
                (x,) = next(self.batches)
            except StopIteration:
                self.batches = iter(self.loader)
                (x,) = next(self.batches)
            loss = torch.nn.functional.mse_loss(self.net(x), x)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            loss.item()


class Core:
    """The core loop, stopped and continued so that it can take turns."""

    def __init__(self, x: torch.Tensor, precision: str = "float32"):
        def loss(net: torch.nn.Module, batch) -> Loss:
            (rows,) = batch.data
            error = torch.nn.functional.mse_loss(net(rows), rows)
            return Loss(error, {"reconstruction": error})

        config = TrainConfig(epochs=1_000, batch_size=BATCH, precision=precision)
        self.loop = _Loop(simple(Autoencoder(SIZES), loss), x, config, None, SingleRuntime(), SILENT, None)

    def run(self, steps: int) -> None:
        class Silent:
            @staticmethod
            def advance(n: int, note: str) -> None:
                pass

        target = self.loop.step + steps
        while self.loop.step < target:
            self.loop._epoch(target, Silent, [])
            self.loop.history.stopped = "epochs"


def product_speed(kind: str, seconds: float = 0.4) -> float:
    """GFLOP/s per core over the forward and both backward products of the network's layers."""
    products = []
    for a, b in zip(SIZES, SIZES[1:], strict=False):
        x, w, g = torch.randn(BATCH, a), torch.randn(b, a), torch.randn(BATCH, b)
        if kind == "bf16":
            x, w, g = x.bfloat16(), w.bfloat16(), g.bfloat16()
        call = _product if kind == "oneDNN" else (lambda p, q, _: torch.nn.functional.linear(p, q))
        products.append((call, x, w, g))
    flops = sum(6 * BATCH * a * b for a, b in zip(SIZES, SIZES[1:], strict=False))
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.process_time()
        for call, x, w, g in products:
            call(x, w, None)
            call(g, w.t(), None)
            call(g.t(), x.t(), None)
        best = min(best, time.process_time() - start)
    return flops / best / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    x, source = load_rows()
    runs = {"plain torch": Plain(x), "core loop": Core(x), "core loop, bf16": Core(x, "bf16")}
    seen: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(options.rounds + 1):
        for name, run in runs.items():
            start = time.process_time()
            run.run(options.steps)
            if turn:  # the first turn warms up
                seen[name].append(options.steps * BATCH / (time.process_time() - start))
    limits = {kind: product_speed(kind) for kind in ("default", "oneDNN", "bf16")}
    weights = 2 * sum(a * b for a, b in zip(SIZES, SIZES[1:], strict=False))
    rate = {name: statistics.median(values) for name, values in seen.items()}
    ratios = [b / a for a, b in zip(seen["plain torch"], seen["core loop"], strict=True)]
    result = {
        "rows": source,
        "threads": options.threads,
        "fast linear": capability().reason,
        "samples per core-second, median": {k: round(v, 1) for k, v in rate.items()},
        "ratio core/plain, median of rounds": round(statistics.median(ratios), 3),
        "ratio core/plain, range": [round(min(ratios), 3), round(max(ratios), 3)],
        "GFLOP/s per core of the network's products": {k: round(v, 1) for k, v in limits.items()},
        "share of the float32 limit": {
            name: round(rate[name] * 6 * weights / 1e9 / max(limits["default"], limits["oneDNN"]), 3)
            for name in ("plain torch", "core loop")
        },
        "share of the bf16 limit": round(rate["core loop, bf16"] * 6 * weights / 1e9 / limits["bf16"], 3),
    }
    if options.json:
        print(json.dumps(result, indent=2))
    else:
        for key, value in result.items():
            print(f"{key}: {value}")


if __name__ == "__main__":
    main()
