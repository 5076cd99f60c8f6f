"""The surface's fit beside a scipy L-BFGS-B loop over the paper's 4,500 starts, and PyPI `chinchilla`, in one run.

    pip install -r benchmarks/requirements-scaling.txt
    python benchmarks/scaling.py [--starts 4500] [--peer-starts 243] [--repeats 5] [--resamples 4000] [--json]

All minimise Hoffmann's objective (Huber of log residuals, delta 1e-3, summed) over the 240 runs of Figure 4. The loop is the
replication's own: scipy's L-BFGS-B with numeric gradients and default tolerances from each of 4,500 starts, the lowest kept;
the objective is plain numpy, 20 microseconds a call. Fewer starts (`--starts`) are spread evenly and the time is scaled up.
`chinchilla` has a grid of starts and the same optimiser in extended precision; its time is scaled to 4,500 starts too. Seconds
are of wall time and of CPU; ours are the median of repeats. Without the development data, made-up runs stand in.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import os
import statistics
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import minimize
from threadpoolctl import threadpool_limits

from mumei.scaling.fitting import fit_surface
from mumei.scaling.laws import BESIROGLU

DATA = Path(os.environ.get("MUMEI_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
DELTA = 1e-3
HALVES = np.arange(0, 2.5, 0.5)
GRID = list(itertools.product(np.arange(0, 30, 5.0), np.arange(0, 30, 5.0), np.arange(-1, 1.5, 0.5), HALVES, HALVES))


def load() -> tuple[np.ndarray, np.ndarray, np.ndarray, str]:
    path = DATA / "scaling" / "chinchilla_fig4.csv"
    if path.is_file():
        with open(path, newline="") as handle:
            rows = [r for r in csv.DictReader(handle) if r["outlier"] == "0"]
        n, d, loss = (np.array([float(r[k]) for r in rows]) for k in ("N", "D", "loss"))
        return n, d, loss, f"{len(rows)} runs of Hoffmann's Figure 4"
    rng = np.random.default_rng(0)
    n, d = np.exp(rng.uniform(18, 23, 240)), np.exp(rng.uniform(21, 26, 240))
    return n, d, BESIROGLU.loss(n, d) * np.exp(rng.normal(0, 0.007, 240)), "240 made-up runs"


def objective(theta: np.ndarray, log_n: np.ndarray, log_d: np.ndarray, log_loss: np.ndarray) -> float:
    """As the paper writes it; theta is a, b, e, alpha, beta."""
    a, b, e, alpha, beta = theta
    size, data = a - alpha * log_n, b - beta * log_d
    top = np.maximum(np.maximum(size, data), e)
    residual = np.abs(top + np.log(np.exp(size - top) + np.exp(data - top) + np.exp(e - top)) - log_loss)
    inner = np.minimum(residual, DELTA)
    return float((inner * (residual - 0.5 * inner)).sum())


def timed(call: Any) -> tuple[Any, float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    found = call()
    return found, time.perf_counter() - wall, time.process_time() - cpu


def scipy_loop(logs: tuple[np.ndarray, ...], starts: int) -> dict[str, Any]:
    chosen = [GRID[i] for i in np.linspace(0, len(GRID) - 1, starts).round().astype(int)]

    def run() -> list[float]:
        return [minimize(objective, s, args=logs, method="L-BFGS-B").fun for s in chosen]

    with warnings.catch_warnings(), threadpool_limits(1):  # its small products are six times slower on two threads
        warnings.simplefilter("ignore")
        values, wall, cpu = timed(run)
    scale = len(GRID) / starts
    best = min(values)
    return {
        "starts": starts,
        "objective": best,
        "wall seconds of 4,500 starts": wall * scale,
        "CPU seconds of 4,500 starts": cpu * scale,
        "share of starts within 1e-6": float(np.mean(np.array(values) <= best * (1 + 1e-6))),
    }


def ours(n: np.ndarray, d: np.ndarray, loss: np.ndarray, logs: tuple[np.ndarray, ...], repeats: int) -> dict[str, Any]:
    fit_surface(n, d, loss)  # scipy's parts are loaded
    done = [timed(lambda: fit_surface(n, d, loss)) for _ in range(repeats)]
    law = done[0][0].law
    theta = np.array([np.log(law.A), np.log(law.B), np.log(law.E), law.alpha, law.beta])
    return {
        "objective": objective(theta, *logs),
        "wall seconds": statistics.median(t for _, t, _ in done),
        "CPU seconds": statistics.median(t for _, _, t in done),
        "starts agreeing": f"{done[0][0].solution.agreeing} of {done[0][0].solution.starts}",
    }


def resampled(n: np.ndarray, d: np.ndarray, loss: np.ndarray, count: int) -> dict[str, Any]:
    fitted, wall, cpu = timed(lambda: fit_surface(n, d, loss, resamples=count, seed=42))
    low, high = fitted.interval("a")
    return {
        "resamples": count,
        "wall seconds": wall,
        "CPU seconds": cpu,
        "sd of a": fitted.resamples.sd("a"),
        "a": [low, high],
    }


def peer(
    n: np.ndarray, d: np.ndarray, loss: np.ndarray, logs: tuple[np.ndarray, ...], starts: int
) -> dict[str, Any] | str:
    """Fit by PyPI `chinchilla` with Hoffmann's objective, or say why not."""
    try:
        import tempfile

        import pandas as pd
        from chinchilla import Chinchilla
        from chinchilla._metrics import log_huber
    except ImportError as error:
        return f"left out: {error}; pip install -r benchmarks/requirements-scaling.txt"
    each = max(2, round(starts ** (1 / 5)))
    spans = {"e": (-1, 1), "a": (0, 25), "b": (0, 25), "alpha": (0, 2), "beta": (0, 2)}
    grid = {name: np.linspace(low, high, each) for name, (low, high) in spans.items()}
    try:
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pd.DataFrame({"C": 6 * n * d, "N": n, "D": d, "loss": loss}).to_csv(Path(folder) / "df.csv", index=False)
            space = {"C": (1e18, 1e22), "N_to_D": (5, 100)}
            model = Chinchilla(
                folder,
                param_grid=grid,
                seed_ranges=space,
                loss_fn=lambda y, p: log_huber(y, p, delta=DELTA),
                log_level=40,
            )
            _, wall, cpu = timed(model.fit)
    except Exception as error:  # noqa: BLE001 - a peer that fails is told, and the rest goes on
        return f"failed: {type(error).__name__}: {error}"
    theta = np.array([np.log(model.A), np.log(model.B), np.log(model.E), model.alpha, model.beta], float)
    scale = len(GRID) / each**5
    return {
        "starts": each**5,
        "objective": objective(theta, *logs),
        "wall seconds of 4,500 starts": wall * scale,
        "CPU seconds of 4,500 starts": cpu * scale,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--starts", type=int, default=len(GRID))
    parser.add_argument("--peer-starts", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--resamples", type=int, default=4000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    n, d, loss, source = load()
    logs = np.log(n), np.log(d), np.log(loss)
    found: dict[str, Any] = {"runs": source, "mumei": ours(n, d, loss, logs, options.repeats)}
    found["bootstrap"] = resampled(n, d, loss, options.resamples)
    found["scipy L-BFGS-B loop"] = loop = scipy_loop(logs, options.starts)
    found["chinchilla"] = other = peer(n, d, loss, logs, options.peer_starts)
    for name, one in (("scipy", loop), ("chinchilla", other)):
        if isinstance(one, dict):
            for kind in ("wall", "CPU"):
                found[f"times {name}, {kind}"] = (
                    one[f"{kind} seconds of 4,500 starts"] / found["mumei"][f"{kind} seconds"]
                )
            found[f"objective above ours, {name}"] = one["objective"] / found["mumei"]["objective"] - 1
    if options.json:
        print(json.dumps(found, indent=2))
        return
    for name, value in found.items():
        print(name, *(f"  {k}: {v}" for k, v in value.items()), sep="\n") if isinstance(value, dict) else print(
            f"{name}: {value}"
        )
    sys.stdout.flush()


if __name__ == "__main__":
    main()
