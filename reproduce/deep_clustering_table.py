"""All single-view methods and the baselines over several data sets and seeds, one run after another, resumable.

    python reproduce/deep_clustering_table.py run --results table.jsonl [--data digits usps worm_neuron r8 ohsumed23]
        [--methods kmeans pca+kmeans ae+kmeans dec ...] [--seeds 0 1 2] [--set precision=bf16] [--cache DIR]
    python reproduce/deep_clustering_table.py show --results reproduce/deep_clustering_table.jsonl

That file holds what was measured on 2026-11-26 and 27 on one core, of a Zen 5 or a Zen 4 (so CPU seconds
are not one machine's), with `--set precision=bf16`.

"run" takes every method with its robust default and appends each run's figures to the file as one line of JSON as soon as it is
done; runs that the file has already are passed over, so a killed table goes on. Data sets, preparation and figures are those of
deep_clustering.py: labels are looked at when all is done, at the last epoch. "show" prints a table in Markdown, mean and standard
deviation of ACC over seeds, NMI beside it with `--figure nmi`, the CPU seconds with `--figure cpu`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import deep_clustering as one
import numpy as np
import torch

METHODS = ("kmeans", "pca+kmeans", "ae+kmeans", "dec", "idec", "dcn", "dac", "deepcluster", "iic", "vade", "gmvae", "ltvae",
           "catgan", "clustergan", "adec")  # fmt: skip
BASELINES = METHODS[:3]
SETS = ("digits", "usps", "worm_neuron", "r8", "ohsumed23")


def done(path: Path) -> dict[tuple[str, str, int], dict[str, Any]]:
    """Return the runs of a file by (data, method, seed); a last line that was cut off is not one."""
    found = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        found[row["data"], row["method"], row["seed"]] = row
    return found


def run(options: argparse.Namespace) -> None:
    """Run what is not there yet, seed by seed, so that a table of one seed is whole first."""
    torch.set_num_threads(1)
    had = done(options.results)
    for seed in options.seeds:
        for data in options.data:
            X, y = one.load(data, options.data_dir, None, False)
            for name in options.methods:
                if (data, name, seed) in had:
                    continue
                given = argparse.Namespace(
                    method=name,
                    preprocess=one.PREPARED.get(data, "auto"),
                    epochs=None,
                    set=options.set if name not in BASELINES[:2] else [],
                    preset="robust",
                    cache=options.cache,
                    out=None,
                    data=data,
                )
                made = (one.baseline if name in BASELINES[:2] else one.method)(given, X, y, seed)
                row = {"data": data, "method": name, "seed": seed, **made}
                with options.results.open("a") as file:
                    file.write(json.dumps(row) + "\n")
                print(data, name, seed, made["acc"], made["cpu"], file=sys.stderr, flush=True)


def show(options: argparse.Namespace) -> None:
    """Print the table: the best method and the best baseline of each data set are marked."""
    cells: dict[tuple[str, str], list[float]] = defaultdict(list)
    for (data, method, _), row in done(options.results).items():
        cells[method, data].append(row[options.figure])
    sets = [d for d in SETS if any(key[1] == d for key in cells)]
    best = {}
    for data in sets:
        for group in (BASELINES, METHODS[3:]):
            means = {m: float(np.mean(cells[m, data])) for m in group if cells.get((m, data))}
            if means:
                best[data, group] = max(means, key=lambda m: means[m])
    print("| method | " + " | ".join(sets) + " |")
    print("|---|" + "---:|" * len(sets))
    for method in METHODS:
        row = []
        for data in sets:
            values = cells.get((method, data))
            text = f"{np.mean(values):.1f} ± {np.std(values):.1f}" if values else ""
            marked = options.figure != "cpu" and method in (best.get((data, BASELINES)), best.get((data, METHODS[3:])))
            row.append(f"**{text}**" if marked else text)
        print(f"| {method} | " + " | ".join(row) + " |")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "show"))
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--data", nargs="+", choices=SETS, default=SETS)
    parser.add_argument("--data-dir", type=Path, default=one.DATA)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--set", type=one.setting, nargs="+", default=[], metavar="NAME=VALUE")
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--figure", choices=("acc", "nmi", "ari", "cpu"), default="acc")
    options = parser.parse_args()
    (run if options.what == "run" else show)(options)


if __name__ == "__main__":
    main()
