"""Deep clustering beside ClustPy, on one thread, in one run.

    pip install -r benchmarks/requirements-cluster.txt
    python benchmarks/cluster.py [--rows 10000] [--epochs 2] [--repeats 3] [--threads 1]
        [--seeds 3] [--only speed|accuracy|paired] [--methods dec idec] [--json]

Speed: a 784-500-500-2000-10 autoencoder on MNIST, batches of 256, Adam: `fit` of DEC and IDEC beside ClustPy's DEC and IDEC,
whole estimators as a user calls them. Seconds of CPU time an epoch are differences: a fit with `--epochs` more epochs of one
phase less the short fit, so that k-means and set-up drop out. Our IDEC has a Q of all rows before each epoch; ClustPy has none.
Activations are leaky ReLUs, the clustering's rate is 1e-4, weights and biases begin as torch draws them, as ClustPy has it.
Contenders take turns, `--repeats` times, and medians are shown.

Ours runs twice: in float32, as ClustPy does, and with `precision="bf16"` (weights, optimiser, k-means and the labels that come
out stay float32; the products of a step are rounded), where the processor multiplies bfloat16.

The limit is the products of a step alone, forward and backward, by the quickest product of that precision that torch has here.

Rates are constant in both.

Accuracy: the same epochs of both phases (`--learn`), rows and scale for both, seeds 0, 1, ...; ACC and NMI against the digits.
Few epochs, so these are no figures of the papers. After these epochs the start decides most of it, so there is a second count:
all programs cluster from the same pre-trained weights (ours, float32) by as many starts of k-means, and the differences
between them are of pairs.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import io
import itertools
import json
import os
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from autoencoder import onednn
from torch import Tensor

from mumei.cluster.dec import DEC
from mumei.cluster.idec import IDEC
from mumei.cluster.metrics import with_labels
from mumei.cluster.pretraining import Cache
from mumei.core.cpu import multiplies_bfloat16
from mumei.core.linear import capability

DATA = Path(os.environ.get("MUMEI_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
SIZES, BATCH, K = (784, 500, 500, 2000, 10), 256, 10
CONTENDERS = {"dec": DEC, "idec": IDEC}
SCORES, STARTS = ("acc", "nmi"), DEC.presets()["robust"]["starts"]
RATES = {"learning_rate": 1e-4}  # of the clustering, the peer's
Product = Callable[[Tensor, Tensor], Tensor]
NET = {
    "activation": "leaky_relu",
    "weights": "torch",
}  # the peer's too; with biases of 0 a code is half as wide after ten epochs


def load(count: int) -> tuple[np.ndarray, np.ndarray | None, str]:
    """Return rows (count, 784) float32 with mean |x|^2 / d = 1, their digits, and what they are."""
    parts, digits = [], []
    for file in sorted((DATA / "images").glob("mnist_train_part*.npz")):
        with np.load(file, allow_pickle=False) as held:
            parts.append(held["images"].reshape(-1, SIZES[0]))
            digits.append(held["labels"])
    if not parts:
        x, y, source = np.random.default_rng(0).random((count, SIZES[0])), None, "random rows of MNIST's shape"
    else:
        x, y, source = np.concatenate(parts)[:count].astype(np.float64), np.concatenate(digits)[:count], "MNIST"
    return (x / np.sqrt(np.square(x).mean())).astype(np.float32), y, source


def ours(
    name: str,
    x: np.ndarray,
    pretrain: int,
    epochs: int,
    seed: int = 0,
    *,
    precision: str = "float32",
    cache: Cache | None = None,
) -> np.ndarray:
    model = CONTENDERS[name](
        n_clusters=K,
        hidden=SIZES[1:-1],
        n_latent=SIZES[-1],
        batch_size=BATCH,
        pretrain_epochs=pretrain,
        epochs=epochs,
        tol=0.0,
        preprocess="none",
        random_state=seed,
        cache=cache,
        options={
            "pretrain_schedule": "constant",
            "schedule": "constant",
            "precision": precision,
            **NET,
            **RATES,
        },
    )
    return model.fit(x).labels_


def theirs(
    name: str, x: np.ndarray, pretrain: int, epochs: int, seed: int = 0, *, weights: Mapping[str, Tensor] | None = None
) -> np.ndarray:
    with quiet():
        from clustpy.deep import DEC as PeerDEC
        from clustpy.deep import IDEC as PeerIDEC

        options: dict[str, Any] = {"pretrain_epochs": pretrain, "clustering_epochs": epochs, "batch_size": BATCH}
        if weights is not None:
            from sklearn.cluster import KMeans

            options["neural_network"] = _pretrained(weights, seed)
            # ClustPy takes one start of k-means, ours the best of twenty.
            options |= {"initial_clustering_class": KMeans, "initial_clustering_params": {"n_init": STARTS}}
        # Ours is shown the labels of its own head; ClustPy's labels of that kind are `dec_labels_`.
        peer = {"dec": PeerDEC, "idec": PeerIDEC}[name]
        return peer(K, embedding_size=SIZES[-1], device="cpu", random_state=seed, **options).fit(x).dec_labels_


def _pretrained(weights: Mapping[str, Tensor], seed: int) -> Any:
    """Return ClustPy's autoencoder with the weights that ours was pre-trained to."""
    from clustpy.deep.neural_networks import FeedforwardAutoencoder

    net = FeedforwardAutoencoder(list(SIZES), random_state=seed)
    for side in ("encoder", "decoder"):
        mine = [w for key, w in sorted(weights.items()) if key.startswith(f"{side}/") and key.endswith("weight")]
        bias = [w for key, w in sorted(weights.items()) if key.startswith(f"{side}/") and key.endswith("bias")]
        layers = [m for m in getattr(net, side).modules() if isinstance(m, torch.nn.Linear)]
        with torch.no_grad():
            for layer, w, b in zip(layers, mine, bias, strict=True):
                layer.weight.copy_(w)
                layer.bias.copy_(b)
    net.fitted = True
    return net


@contextlib.contextmanager
def quiet() -> Any:
    """Peers print bars and warnings; a benchmark's output is its figures."""
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        yield


def contenders(skip: bool) -> dict[str, Callable[..., np.ndarray]]:
    """Return those that are there; says which is not."""
    found: dict[str, Callable[..., np.ndarray]] = {"mumei": ours}
    if multiplies_bfloat16():
        found["mumei bf16"] = functools.partial(ours, precision="bf16")
    else:
        print("left out: mumei bf16 (this processor has no fast bfloat16 product)", file=sys.stderr)
    try:
        with quiet():
            _operators_for_torchvision()
            __import__("clustpy.deep")
    except ImportError as error:
        print(f"left out: clustpy ({error}); pip install -r benchmarks/requirements-cluster.txt", file=sys.stderr)
        return found
    return found if skip else {**found, "clustpy": theirs}


_KEPT: list[Any] = []  # a library's operators go with it


def _operators_for_torchvision() -> None:
    """Name the operators that a torchvision of another torch asks for when it is imported; ClustPy uses its transforms alone."""
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, name):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _KEPT.append(library)


def seconds(call: Callable[[], Any]) -> float:
    """CPU seconds of a call, on all its threads."""
    start = time.process_time()
    call()
    return time.process_time() - start


def speed(options: argparse.Namespace, programs: dict[str, Callable[..., np.ndarray]]) -> dict[str, Any]:
    """Return rows per CPU second of each phase and program, and the ratios."""
    x, _, source = load(options.rows)
    more = options.epochs
    found: dict[str, dict[str, list[float]]] = {}
    for _ in range(options.repeats):
        for program, fit in programs.items():
            short = {name: seconds(lambda f=fit, n=name: f(n, x, 1, 1)) for name in CONTENDERS}
            long = seconds(lambda f=fit: f("dec", x, 1 + more, 1)) - short["dec"]
            phases = {"pre-training": long}
            for name in CONTENDERS:
                phases[name] = seconds(lambda f=fit, n=name: f(n, x, 1, 1 + more)) - short[name]
            for phase, value in phases.items():
                found.setdefault(phase, {}).setdefault(program, []).append(more * len(x) / max(value, 1e-9))
    rates = {phase: {p: statistics.median(v) for p, v in each.items()} for phase, each in found.items()}
    mine = [program for program in programs if program != "clustpy"]
    limits = {phase: {p: limit(phase, bf16=p.endswith("bf16")) for p in mine} for phase in rates}
    return {
        "rows": source,
        "rows per CPU second": rates,
        "times clustpy": {k: {p: r[p] / r["clustpy"] for p in mine} for k, r in rates.items() if "clustpy" in r},
        "limit": limits,
        "share of the limit": {k: {p: r[p] / limits[k][p] for p in mine} for k, r in rates.items()},
    }


def limit(phase: str, *, bf16: bool) -> float:
    """Return rows per CPU second if an epoch were the products of its steps (and of its refresh, float32) alone."""
    draw = torch.Generator().manual_seed(0)
    encoder = list(itertools.pairwise(SIZES))
    layers = encoder if phase == "dec" else [*encoder, *((b, a) for a, b in reversed(encoder))]
    plain = [[torch.randn(s, generator=draw) for s in ((BATCH, a), (b, a), (BATCH, b))] for a, b in layers]
    rounded = [[t.bfloat16() for t in three] for three in plain]

    def step(product: Product, made: list[list[Tensor]]) -> None:
        for i, (x, w, g) in enumerate(made):
            product(x, w)
            product(g.t(), x.t())
            if i:  # nothing asks for the gradient of the data
                product(g, w.t())

    def refresh(product: Product, made: list[list[Tensor]]) -> None:
        for x, w, _ in made[: len(encoder)]:
            product(x, w)

    once = quickest(step, rounded if bf16 else plain)
    return BATCH / (once + quickest(refresh, plain) if phase == "idec" else once)


def quickest(call: Callable[[Product, list[list[Tensor]]], None], made: list[list[Tensor]], repeats: int = 15) -> float:
    """Return the CPU seconds of the products, by the quickest way that torch has here."""
    products: list[Product] = [torch.nn.functional.linear]
    if capability().agrees and made[0][0].dtype is torch.float32:
        products.append(onednn)
    with torch.no_grad():
        times = [
            statistics.median(seconds(lambda p=p: [call(p, made) for _ in range(4)]) / 4 for _ in range(repeats))
            for p in products
        ]
    return min(times)


def accuracy(options: argparse.Namespace, programs: dict[str, Callable[..., np.ndarray]]) -> dict[str, Any]:
    """Return ACC and NMI in percent, mean and spread over seeds."""
    x, y, source = load(options.rows)
    if y is None:
        return {"rows": source, "left out": "random rows have no digits"}
    found: dict[str, Any] = {"rows": source, "epochs of each phase": options.learn, "seeds": options.seeds}
    for name in CONTENDERS:
        for program, fit in programs.items():
            scores = [with_labels(y, fit(name, x, options.learn, options.learn, s)) for s in range(options.seeds)]
            found[f"{name}, {program}"] = {
                score: {
                    "mean": 100 * statistics.mean(s[score] for s in scores),
                    "each": [100 * s[score] for s in scores],
                }
                for score in SCORES
            }
    return found


def paired(options: argparse.Namespace, programs: dict[str, Callable[..., np.ndarray]]) -> dict[str, Any]:
    """Return ACC and NMI in percent where all begin at the same pre-trained weights, and ours less theirs with its standard
    error.
    """
    x, y, source = load(options.rows)
    if y is None or "clustpy" not in programs:
        return {"rows": source, "left out": "there is nothing to compare"}
    found: dict[str, Any] = {"rows": source, "epochs of each phase": options.learn, "seeds": options.seeds}
    for name in options.methods or CONTENDERS:
        scores: dict[str, dict[str, list[float]]] = {}
        for seed in range(options.seeds):
            cache = Cache()
            ours(name, x, options.learn, 1, seed, cache=cache)
            (weights,) = cache.kept.values()
            for program in programs:
                more: dict[str, Any] = {"weights": weights}
                if program != "clustpy":
                    # Pre-trained in float32 for all: an entry is found by its settings, of which the precision is one.
                    more = {"cache": _Given(weights), "precision": "bf16" if program.endswith("bf16") else "float32"}
                fit = theirs if program == "clustpy" else ours
                for score, value in with_labels(y, fit(name, x, options.learn, options.learn, seed, **more)).items():
                    scores.setdefault(program, {}).setdefault(score, []).append(100 * value)
            print(name, seed, {p: round(each["acc"][-1], 1) for p, each in scores.items()}, file=sys.stderr, flush=True)
        for program, each in scores.items():
            found[f"{name}, {program}"] = {
                k: {"mean": statistics.mean(v), "each": v} for k, v in each.items() if k in SCORES
            }
        for program in set(programs) - {"clustpy"}:
            found[f"{name}, {program} less clustpy"] = {
                k: difference(scores[program][k], scores["clustpy"][k]) for k in SCORES
            }
    return found


class _Given(Cache):
    """A cache in which every key has these weights."""

    def __init__(self, weights: Mapping[str, Tensor]):
        super().__init__()
        self.weights = dict(weights)

    def get(self, key: str) -> dict[str, Tensor]:
        return self.weights


def difference(one: list[float], other: list[float]) -> dict[str, float]:
    """Return the mean of pairs' differences and its standard error."""
    gaps = np.asarray(one) - np.asarray(other)
    return {"mean": float(gaps.mean()), "standard error": float(gaps.std(ddof=1) / len(gaps) ** 0.5)}


def rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: rounded(v) for k, v in value.items()}
    if isinstance(value, list):
        return [rounded(v) for v in value]
    return float(f"{value:.3g}") if isinstance(value, float) else value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--learn", type=int, default=10)
    parser.add_argument("--only", choices=("speed", "accuracy", "paired"))
    parser.add_argument("--methods", nargs="*", choices=sorted(CONTENDERS), help="of the paired count; all by default")
    parser.add_argument("--skip", action="store_true", help="leave ClustPy out")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    programs, found = contenders(options.skip), {}
    for name, call in (("speed", speed), ("accuracy", accuracy), ("paired", paired)):
        if options.only in (None, name):
            found[name] = rounded(call(options, programs))
            if not options.json:
                print(name, *(f"  {k}: {v}" for k, v in found[name].items()), sep="\n", flush=True)
    if options.json:
        print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
