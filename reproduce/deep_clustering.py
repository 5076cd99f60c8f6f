"""Deep clustering of labelled data, several seeds of one method, printed as one JSON object.

    python reproduce/deep_clustering.py --method dec --data mnist [--rows 60000] [--seeds 0 1 2] [--preset robust|paper]
        [--epochs 10] [--set gamma=0.2 hidden=[64,64]] [--flat] [--cache DIR] [--out DIR] [--data-dir DIR] [--threads 1]

Methods are those registered as cluster/..., and k-means on the rows (kmeans), on 50 principal components (pca+kmeans) and on the
code of an autoencoder (ae+kmeans). Data: digits (scikit-learn's 1,797), mnist (the 60,000 that train), usps (9,298), worm_neuron
(4,186 cells), r8 and ohsumed23 (documents). Digits, mnist and usps are pictures, which a method may take as such; `--flat` gives
them as plain rows. Of `--rows` fewer than there are the first are taken of mnist, random ones (the same for all seeds) of others.

Labels are only looked at when all is done: the figures are those of the last epoch, "acc", "nmi" and "ari" in percent with their
mean and standard deviation over seeds. "first" are the figures of the clustering that training began with. "cpu" are seconds of
the process from the call of fit to its end, pre-training, refreshes and k-means included, and nothing that came from `--cache`;
"rows per second" are training rows seen, in all phases, by that.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse
import torch

from mumei.cluster import baselines, metrics
from mumei.cluster.inputs import prepare
from mumei.core import registry, seeds

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("MUMEI_DATA", ROOT.parent / "shared" / "data"))
PREPARED = {"worm_neuron": "cells", "r8": "tfidf", "ohsumed23": "tfidf"}  # others: "auto"
BASELINES = {"kmeans": baselines.kmeans, "pca+kmeans": baselines.kmeans_on_components}
ALIASES = {"ae+kmeans": "ae-kmeans"}


def digits(folder: Path) -> tuple[Any, np.ndarray]:
    """Return scikit-learn's digits (1797, 8, 8)."""
    from sklearn.datasets import load_digits

    found: Any = load_digits()
    return found.images, found.target


def mnist(folder: Path) -> tuple[Any, np.ndarray]:
    """Return the digits that train (60000, 28, 28) uint8."""
    parts = [np.load(folder / "images" / f"mnist_train_part{i}of3.npz") for i in (1, 2, 3)]
    return np.concatenate([p["images"] for p in parts]), np.concatenate([p["labels"] for p in parts])


def usps(folder: Path) -> tuple[Any, np.ndarray]:
    """Return all digits (9298, 16, 16) uint8."""
    found = np.load(folder / "images" / "usps.npz")
    images, labels = (
        np.concatenate([found[f"{part}_{w}"] for part in ("train", "test")]) for w in ("images", "labels")
    )
    return images, labels


def counts(name: str):
    """Return what reads a matrix of counts, CSR (n, d)."""

    def read(folder: Path) -> tuple[Any, np.ndarray]:
        f = np.load(folder / "cluster" / f"{name}.npz")
        parts = (f["x_data"].astype(np.float32), f["x_indices"].astype(np.int32), f["x_indptr"])
        return scipy.sparse.csr_matrix(parts, shape=tuple(f["x_shape"])), f["y"]

    return read


SETS = {"digits": digits, "mnist": mnist, "usps": usps, **{name: counts(name) for name in PREPARED}}


def load(name: str, folder: Path, rows: int | None, flat: bool) -> tuple[Any, np.ndarray]:
    """Return the rows or pictures of a data set, and their classes (n,) int64."""
    X, y = SETS[name](folder)
    if rows is not None and rows < len(y):
        order = np.arange(len(y)) if name == "mnist" else seeds.numpy_generator(0, "rows", name).permutation(len(y))
        X, y = X[np.sort(order[:rows])], y[np.sort(order[:rows])]
    return (X.reshape(len(y), -1) if flat else X), np.asarray(y, dtype=np.int64)


def figures(y: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Return ACC, NMI and ARI in percent."""
    found = metrics.with_labels(y, labels)
    return {name: round(100 * found[name], 2) for name in ("acc", "nmi", "ari")}


def baseline(options: argparse.Namespace, X: Any, y: np.ndarray, seed: int) -> dict[str, Any]:
    """Run k-means on rows prepared as the methods prepare them."""
    flat = X.reshape(len(y), -1)
    made, _ = prepare(flat, options.preprocess)
    began = time.process_time()
    x = made.apply(flat)
    labels = BASELINES[options.method](x, len(np.unique(y)), seed=seed)
    return {**figures(y, labels), "cpu": round(time.process_time() - began, 1)}


def method(options: argparse.Namespace, X: Any, y: np.ndarray, seed: int) -> dict[str, Any]:
    """Fit a method from one seed."""
    made: Any = registry.resolve(f"cluster/{ALIASES.get(options.method, options.method)}")
    given = {"epochs": options.epochs, **dict(options.set)}
    own = {k: v for k, v in given.items() if k in made.__dataclass_fields__}
    more = {k: v for k, v in given.items() if k not in own}
    model = made(
        **{"n_clusters": len(np.unique(y)), "preprocess": options.preprocess, **own},
        options=more or None,
        preset=options.preset,
        cache=options.cache,
        out=None if options.out is None else options.out / f"{options.method}-{options.data}-{seed}",
        random_state=seed,
    )
    began = time.process_time()
    model.fit(X)
    cpu = time.process_time() - began
    seen = len(y) * len(model.history_)
    last = model.history_[-1] if model.history_ else {}
    first = {} if model.initial_labels_ is None else {"first": figures(y, model.initial_labels_)}
    return {
        **figures(y, model.labels_),
        **first,
        "cpu": round(cpu, 1),
        "rows per second": round(seen / max(cpu, 1e-9)),
        "epochs": model.n_iter_,
        "clusters": len(np.unique(model.labels_)),
        "last": {k: float(f"{v:.4g}") for k, v in last.items() if isinstance(v, float)},
    }


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Run all seeds; each is printed on standard error when it is done."""
    X, y = load(options.data, options.data_dir, options.rows, options.flat)
    found: dict[str, Any] = {}
    for seed in options.seeds:
        found[str(seed)] = (baseline if options.method in BASELINES else method)(options, X, y, seed)
        print(options.method, options.data, seed, json.dumps(found[str(seed)]), file=sys.stderr, flush=True)
    said = {name: getattr(options, name) for name in ("method", "data", "preset")}
    result: dict[str, Any] = {**said, "rows": len(y), "threads": torch.get_num_threads()}
    for name in ("acc", "nmi", "ari", "cpu"):
        values = [one[name] for one in found.values()]
        result |= {name: round(float(np.mean(values)), 2), f"{name} sd": round(float(np.std(values)), 2)}
    return {**result, "seeds": found}


def setting(text: str) -> tuple[str, Any]:
    """Return name and value of "name=value"; the value is JSON, or a word."""
    name, _, value = text.partition("=")
    if not name or not value:
        raise argparse.ArgumentTypeError(f"{text!r} is not name=value")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--method", required=True, help="a registered one, kmeans, pca+kmeans or ae+kmeans")
    parser.add_argument("--data", choices=tuple(SETS), required=True)
    parser.add_argument("--data-dir", type=Path, default=DATA)
    parser.add_argument("--rows", type=int)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--preset", default="robust")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--set", type=setting, nargs="+", default=[], metavar="NAME=VALUE", help="other settings")
    parser.add_argument("--preprocess", help="of the rows, where it is not the data set's usual one")
    parser.add_argument("--flat", action="store_true", help="pictures as plain rows")
    parser.add_argument("--cache", type=Path, help="a folder of pre-trained weights")
    parser.add_argument("--out", type=Path, help="a folder of checkpoints: a killed run goes on")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    options.preprocess = options.preprocess or PREPARED.get(options.data, "auto")
    torch.set_num_threads(options.threads)
    print(json.dumps(run(options), indent=1))


if __name__ == "__main__":
    main()
