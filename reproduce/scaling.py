"""Figures of compute-optimal scaling, through the code that users run; each command prints one JSON object.

    python reproduce/scaling.py surface|porian|tables|laws|protein [--data FOLDER]

FOLDER holds `scaling/` with the tables of its SOURCES.md. `surface` fits Hoffmann's 240 runs (objective, coefficients, 4,000
resamples); `porian` the ladder of exponents from raw IsoFLOP runs; `tables` compares the optima of Tables 3 and A3 and the
ratios of Table A4; `laws` checks values of laws that need no data; `protein` the causal protein models.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mumei.scaling.fitting import fit_surface
from mumei.scaling.flops import Shape
from mumei.scaling.frontier import FRONTIERS
from mumei.scaling.isoflop import fit_isoflop
from mumei.scaling.laws import BESIROGLU, HOFFMANN, MUENNIGHOFF, Served
from mumei.scaling.shapes import TABLE_A9
from mumei.scaling.tables import fit_file

STEPS = {
    "kaplan counting": "rw|base|long|kaplan|kaplan",
    "head counted": "rw|base|long|kaplan|standard",
    "short warmup": "rw|base|short|kaplan|standard",
    "cosine matched": "rw|base|short|chinchilla|standard",
    "tuned": "rw|tuned|short|const|standard",
}
# Hoffmann and others 2022, Tables 3 and A3: size, FLOPs and tokens by approach 1, 2, 3.
TABLE = (
    (400e6, 1.92e19, 8.0e9, 1.84e19, 7.7e9, 2.21e19, 9.2e9),
    (1e9, 1.21e20, 20.2e9, 1.20e20, 20.0e9, 1.62e20, 27.1e9),
    (10e9, 1.23e22, 205.1e9, 1.32e22, 219.5e9, 2.46e22, 410.1e9),
    (67e9, 5.76e23, 1.5e12, 6.88e23, 1.7e12, 1.71e24, 4.1e12),
    (175e9, 3.85e24, 3.7e12, 4.54e24, 4.3e12, 1.26e25, 12.0e12),
    (280e9, 9.90e24, 5.9e12, 1.18e25, 7.1e12, 3.52e25, 20.1e12),
    (520e9, 3.43e25, 11.0e12, 4.19e25, 13.4e12, 1.36e26, 43.5e12),
    (1e12, 1.27e26, 21.2e12, 1.59e26, 26.5e12, 5.65e26, 94.1e12),
    (10e12, 1.30e28, 216.2e12, 1.75e28, 292.0e12, 8.55e28, 1425.5e12),
)
A4 = {"73M": 74, "305M": 306, "552M": 552, "1100M": 1143, "1600M": 1593, "6800M": 6796}


def read(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as handle:
        return list(csv.DictReader(handle))


def surface(data: Path) -> dict[str, Any]:
    rows = [r for r in read(data / "scaling" / "chinchilla_fig4.csv") if r["outlier"] == "0"]
    n, d, loss = (np.array([float(r[k]) for r in rows]) for k in ("N", "D", "loss"))
    huber = fit_surface(n, d, loss, resamples=4000, seed=42)
    exact = fit_surface(n, d, loss, goal="besiroglu")
    low, high = huber.interval("a") or (math.nan, math.nan)
    return {
        "huber": {"objective e3": 1e3 * huber.solution.value, **huber.coefficients()},
        "lad": {**exact.coefficients(), "objective": exact.solution.value},
        "bootstrap": {"sd a": huber.resamples.sd("a") if huber.resamples else None, "low a": low, "high a": high},
    }


def porian(data: Path) -> dict[str, Any]:
    rows = read(data / "scaling" / "isoflop_porian_refinedweb.csv")
    found = {}
    for step, setting in STEPS.items():
        own = [[float(r[k]) for k in ("N", "C", "loss", "D")] for r in rows if r["setting"] == setting and r["loss"]]
        n, c, loss, d = np.array(own).T
        found[step] = fit_isoflop(n, c, loss, tokens=d, resamples=0).laws["akima"].a
    return found


def tables(data: Path) -> dict[str, Any]:
    """Largest difference in percent, over rows whose own three numbers fit together (C = 6ND within 3 %)."""
    found: dict[str, Any] = {}
    laws = {
        "approach 1": FRONTIERS["hoffmann-1"],
        "approach 2": FRONTIERS["hoffmann-2"],
        "approach 3": FRONTIERS["hoffmann-3"],
    }
    for place, (name, law) in enumerate([*laws.items(), ("approach 3 by the published constants", HOFFMANN)]):
        column = 1 + 2 * min(place, 2)
        off = []
        for row in TABLE:
            flops, tokens = row[column], row[column + 1]
            if abs(flops / (6 * row[0] * tokens) - 1) <= 0.03:
                best = law.optimal(flops)
                off += [abs(best.params / row[0] - 1), abs(best.tokens / tokens - 1)]
        found[name] = 100 * max(off)
    shapes = {row[0]: Shape(*row[1:]) for row in TABLE_A9}
    found["A4"] = {name: shapes[size].table_a4() for name, size in A4.items()}
    found["A9 worst"] = 100 * max(abs(Shape(*row[1:]).params(relative=True) / (1e6 * row[0]) - 1) for row in TABLE_A9)
    return found


def laws(data: Path) -> dict[str, Any]:
    served = {f"{tokens:.0e}": 100 * Served(BESIROGLU, tokens).saving(5.88e23) for tokens in (1e12, 1e13, 1e14)}
    return {
        "muennighoff 6340M": MUENNIGHOFF.loss(6.34e9, 242e9, 25e9),
        "muennighoff 8670M": MUENNIGHOFF.loss(8.67e9, 178e9, 25e9),
        "worth of 4 epochs": MUENNIGHOFF.effective_tokens(4.0, 1.0),
        "worth of 40 epochs": MUENNIGHOFF.effective_tokens(40.0, 1.0),
        "waste of twice the size": 100 * BESIROGLU.waste(2.0),
        "saving": served,
        "D per N at Chinchilla": BESIROGLU.optimal(5.88e23).tokens_per_param,
    }


def protein(data: Path) -> dict[str, Any]:
    found, _ = fit_file(data / "scaling" / "protein_clm_runs.csv", resamples=1000)
    study = found[0].study
    assert study is not None
    assert study.isoflop is not None
    law = study.isoflop.laws["quadratic"]
    low, high = law.interval() or (math.nan, math.nan)
    return {"surface refused": int("surface" in study.refused), "a": law.a, "low": low, "high": high}


COMMANDS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "surface": surface,
    "porian": porian,
    "tables": tables,
    "laws": laws,
    "protein": protein,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=list(COMMANDS))
    parser.add_argument("--data", type=Path, default=Path("."))
    options = parser.parse_args()
    print(json.dumps(COMMANDS[options.what](options.data)))


if __name__ == "__main__":
    main()
