"""A 784-500-500-2000-10 autoencoder on 60,000 rows: the core loop beside a plain torch loop, in one run.

    python benchmarks/autoencoder.py [--steps 20] [--repeats 5] [--threads 1] [--rows 60000] [--json]

The plain loop is what a tutorial writes: DataLoader, `nn.Linear`, Adam as it comes. The core loop is
`mumei.core.train.fit` with a `mumei.nn.mlp.Autoencoder`. Both have the same sizes, rows, batch and learning rate. They
take turns, `--steps` steps each, so that whatever else the machine does falls on all; speed is rows per second of CPU
time of one core. `--steps 235` makes a turn an epoch. "fused Adam" is the plain loop with that one change, to tell the
optimiser's share from the products'.

The limit is the speed of the network's own products, forward and backward, measured here; a loop's share of it says
what everything but products costs. Rows are MNIST where MUMEI_DATA (or ../shared/data) has it, else random: speed does
not depend on the values.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mumei.core.linear import capability
from mumei.core.train import Objective, TrainConfig, fit
from mumei.nn.mlp import Autoencoder

SIZES = (784, 500, 500, 2000, 10)
LAYERS = list(zip((*SIZES, *SIZES[-2:0:-1]), (*SIZES[1:], *SIZES[-2::-1]), strict=True))
BATCH = 256


def load_rows(count: int) -> tuple[Tensor, str]:
    """Return (count, 784) float32 in [0, 1] and what they are."""
    folder = Path(os.environ.get("MUMEI_DATA", Path(__file__).resolve().parents[2] / "shared" / "data")) / "images"
    parts = []
    for file in sorted(folder.glob("mnist_train_part*.npz")):
        with np.load(file, allow_pickle=False) as loaded:
            parts.append(loaded["images"].reshape(-1, 784))
    if not parts:
        return torch.rand(count, 784, generator=torch.Generator().manual_seed(0)), "random rows of MNIST's shape"
    return torch.from_numpy(np.concatenate(parts)[:count]).float() / 255, "MNIST"


def plain_loop(x: Tensor, fused: bool = False) -> Iterator[None]:
    """One step of the tutorial's loop at each `next`."""
    layers: list[nn.Module] = []
    for i, (inputs, outputs) in enumerate(LAYERS):
        layers += [nn.Linear(inputs, outputs)] + ([nn.ReLU()] if i not in (3, 7) else [])
    net = nn.Sequential(*layers)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, **({"fused": True} if fused else {}))
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x), batch_size=BATCH, shuffle=True)
    while True:
        for (batch,) in loader:
            optimizer.zero_grad()
            loss = F.mse_loss(net(batch), batch)
            loss.backward()
            optimizer.step()
            loss.item()
            yield


class Turns:
    """`fit` in a thread that makes one step at each `next`, so that the loop under test is the one that users call."""

    def __init__(self, x: Tensor, precision: str):
        self.go, self.done = threading.Semaphore(0), threading.Semaphore(0)
        config = TrainConfig(epochs=None, max_steps=10**9, batch_size=BATCH, precision=precision)
        net = Autoencoder(SIZES)

        def loss(batch: tuple[Tensor, ...], at: Any) -> Tensor:
            return F.mse_loss(at.nets["net"](batch[0]), batch[0])

        def turn(at: Any, values: dict[str, float]) -> None:
            self.done.release()
            self.go.acquire()

        def work() -> None:
            # The number of threads is each thread's own.
            torch.set_num_threads(threads)
            self.go.acquire()
            fit(Objective(net, loss), x, config, on_step=turn)

        threads = torch.get_num_threads()
        threading.Thread(target=work, daemon=True).start()

    def __next__(self) -> None:
        self.go.release()
        self.done.acquire()


def compare(runs: dict[str, Any], steps: int, repeats: int) -> dict[str, list[float]]:
    """Return, for each run, rows per core-second of each turn after a first one that warms up."""
    speeds: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(repeats + 1):
        for name, run in runs.items():
            start = time.process_time()
            for _ in range(steps):
                next(run)
            if turn:
                speeds[name].append(steps * BATCH / (time.process_time() - start))
    return speeds


def product_limit(
    product: Callable[[Tensor, Tensor], Tensor], dtype: torch.dtype, repeats: int = 7
) -> dict[str, float]:
    """Return rows per core-second if a step were its products alone, and their GFLOP/s: median and best."""
    draw = torch.Generator().manual_seed(0)
    shapes = []
    for i, (a, b) in enumerate(LAYERS):
        x, w, g = (torch.randn(s, generator=draw).to(dtype) for s in ((BATCH, a), (b, a), (BATCH, b)))
        shapes.append((x, w, g, i > 0))
    flops = sum(2 * BATCH * w.numel() * (2 + inner) for _, w, _, inner in shapes)
    times = []
    for _ in range(repeats + 1):
        start = time.process_time()
        for x, w, g, inner in shapes:
            product(x, w)
            product(g.t(), x.t())
            if inner:  # nothing asks for the gradient of the data
                product(g, w.t())
        times.append(time.process_time() - start)
    median, best = statistics.median(times[1:]), min(times[1:])
    return {
        "gflops": flops / median / 1e9,
        "gflops_best": flops / best / 1e9,
        "rows": BATCH / median,
        "rows_best": BATCH / best,
    }


def onednn(x: Tensor, w: Tensor) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, w, None, "none", [], "")


def measure(options: argparse.Namespace) -> dict[str, Any]:
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    x, source = load_rows(options.rows)
    runs = {
        "plain torch": plain_loop(x),
        "plain torch, fused Adam": plain_loop(x, fused=True),
        "core loop": Turns(x, "float32"),
        "core loop, bf16": Turns(x, "bf16"),
    }
    speeds = compare(runs, options.steps, options.repeats)
    with torch.no_grad():
        limits = {
            "float32 MKL": product_limit(F.linear, torch.float32),
            "bf16": product_limit(F.linear, torch.bfloat16),
        }
        if capability().agrees:
            limits["float32 oneDNN"] = product_limit(onednn, torch.float32)
    top = max(v["rows"] for k, v in limits.items() if k != "bf16")
    found = {}
    for name, values in speeds.items():
        limit = limits["bf16"]["rows"] if "bf16" in name else top
        found[name] = {
            "median": statistics.median(values),
            "best": max(values),
            "over_plain": statistics.median(a / b for a, b in zip(values, speeds["plain torch"], strict=True)),
            "share_of_limit": statistics.median(values) / limit,
        }
    return {
        "rows": source,
        "threads": options.threads,
        "steps": options.steps,
        "repeats": options.repeats,
        "fast_linear": capability().reason,
        "rows_per_core_second": found,
        "products": limits,
    }


def show(result: dict[str, Any]) -> None:
    print(f"{result['rows']}, {result['threads']} thread(s), {result['repeats']} turns of {result['steps']} steps")
    print(f"fast linear: {result['fast_linear']}\n")
    print(f"{'rows per core-second':28}{'median':>9}{'best':>9}{'x plain':>9}{'of limit':>10}")
    for name, v in result["rows_per_core_second"].items():
        print(f"{name:28}{v['median']:9.0f}{v['best']:9.0f}{v['over_plain']:9.2f}{v['share_of_limit']:10.0%}")
    print(f"\n{'products alone':28}{'median':>9}{'best':>9}{'GFLOP/s':>9}")
    for name, v in result["products"].items():
        print(f"{name:28}{v['rows']:9.0f}{v['rows_best']:9.0f}{v['gflops']:9.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    result = measure(options)
    print(json.dumps(result, indent=2)) if options.json else show(result)


if __name__ == "__main__":
    main()
