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
from mumei.scaling.frontier import FRONTIERS, TABLES
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
    """Largest difference in percent between laws and tables, over all rows, of sizes and of tokens."""
    found: dict[str, Any] = {}
    laws = {
        "approach 1": FRONTIERS["hoffmann-1"],
        "approach 2": FRONTIERS["hoffmann-2"],
        "approach 3": FRONTIERS["hoffmann-3"],
    }
    for place, (name, law) in enumerate([*laws.items(), ("approach 3 by the published constants", HOFFMANN)]):
        column = 1 + 2 * min(place, 2)
        off = []
        for row in TABLES:
            best = law.optimal(row[column])
            off += [abs(best.params / row[0] - 1), abs(best.tokens / row[column + 1] - 1)]
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
