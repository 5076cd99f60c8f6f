"""Variational autoencoders beside pythae and scvi-tools, on one thread, in one run.

    pip install -r benchmarks/requirements-vae.txt
    python benchmarks/vae.py [--rows 20000] [--cells 4186] [--repeats 3] [--threads 1] [--skip scvi pythae] [--json]

Training: 784-500-20-500-784 with tanh units on MNIST bytes as grey values, batches of 100, Adam: `VAE.fit` in float32 (and in
bfloat16 where the processor has it) beside pythae's `BaseTrainer` with the same networks. The limit is the network's own
products, forward and backward, measured here.
Likelihood: importance sampling with 1,000 samples a row: `VAE.log_likelihood` beside pythae's `get_nll`, on the same rows.
Counts: 2,000 genes, 128 hidden units, 10 latent, negative binomial, batches of 128: `VAE.fit` beside scvi-tools' `SCVI.train`.
scvi-tools also has batch normalisation, dropout of a tenth, and a loop of Lightning's; ours has tanh units and none of these, so
that ratio is one of programs, not of loops alone.

Contenders take turns, `--repeats` times; speed is rows per second of CPU time, without what a first short fit costs (set-up).
Peers that are not installed are left out, and that is said. Rows are MNIST and worm neurons where MUMEI_DATA (or
../shared/data) has them, else random of the same shape and density.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import logging
import os
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch

from mumei.core.cpu import multiplies_bfloat16
from mumei.vae.estimator import VAE

DATA = Path(os.environ.get("MUMEI_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
PIXELS, HIDDEN, LATENT, BATCH = 784, 500, 20, 100
GENES, CELL_BATCH = 2000, 128
SAMPLES = 1000


def images(count: int) -> tuple[np.ndarray, str]:
    """Return (count, 784) uint8 and what they are."""
    files = sorted((DATA / "images").glob("mnist_train_part*.npz"))
    if not files:
        return np.random.default_rng(0).integers(0, 256, (count, PIXELS), dtype=np.uint8), "random bytes"
    return np.concatenate([np.load(f)["images"].reshape(-1, PIXELS) for f in files])[:count], "MNIST"


def cells(count: int) -> tuple[sp.csr_matrix, str]:
    """Return counts (count, 2000) of the genes that vary most, and what they are."""
    file = DATA / "cluster" / "worm_neuron.npz"
    if not file.exists():
        return sp.random(count, GENES, 0.07, "csr", random_state=0, dtype=np.float32).ceil(), "random counts"
    held = np.load(file)
    parts = (held["x_data"].astype(np.float32), held["x_indices"].astype(np.int32), held["x_indptr"])
    matrix = sp.csr_matrix(parts, shape=tuple(held["x_shape"]))
    mean = np.asarray(matrix.mean(0)).ravel()
    variance = np.asarray(matrix.power(2).mean(0)).ravel() - mean**2
    chosen = np.sort(np.argsort(variance / np.maximum(mean, 1e-9) * (mean > 0))[-GENES:])
    matrix = matrix[:, chosen]
    return sp.csr_matrix(matrix[np.asarray(matrix.sum(1)).ravel() > 0][:count]), "worm neurons"


def seconds(call: Callable[[], Any]) -> float:
    """CPU seconds of a call, on all its threads."""
    start = time.process_time()
    call()
    return time.process_time() - start


def rates(contenders: dict[str, Callable[[int], Any]], work: int, repeats: int) -> dict[str, float]:
    """Return each contender's median rate; `contender(n)` does n pieces of work, and one piece is the set-up to subtract."""
    found: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(repeats):
        for name, call in contenders.items():
            short = seconds(lambda call=call: call(1))
            found[name].append(work / max(seconds(lambda call=call: call(3)) - short, 1e-9) * 2)
    return {name: statistics.median(values) for name, values in found.items()}


def ours(rows: Any, epochs: int, **options: Any) -> VAE:
    model = VAE(epochs=epochs, random_state=0, **options)
    return model.fit(rows)


def pythae_model() -> Any:
    """Return pythae's VAE with the paper's networks."""
    from pythae.models import VAE as Peer
    from pythae.models import VAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder

    class Encoder(BaseEncoder):
        def __init__(self) -> None:
            super().__init__()
            self.hidden, self.mean = torch.nn.Linear(PIXELS, HIDDEN), torch.nn.Linear(HIDDEN, LATENT)
            self.log_variance = torch.nn.Linear(HIDDEN, LATENT)

        def forward(self, x: torch.Tensor) -> Any:
            h = torch.tanh(self.hidden(x.reshape(len(x), -1)))
            return ModelOutput(embedding=self.mean(h), log_covariance=self.log_variance(h))

    class Decoder(BaseDecoder):
        def __init__(self) -> None:
            super().__init__()
            self.hidden, self.out = torch.nn.Linear(LATENT, HIDDEN), torch.nn.Linear(HIDDEN, PIXELS)

        def forward(self, z: torch.Tensor) -> Any:
            return ModelOutput(reconstruction=torch.sigmoid(self.out(torch.tanh(self.hidden(z)))))

    config = VAEConfig(input_dim=(PIXELS,), latent_dim=LATENT, reconstruction_loss="bce")
    return Peer(config, encoder=Encoder(), decoder=Decoder())


def pythae_fit(model: Any, data: torch.Tensor, epochs: int, folder: str) -> None:
    from pythae.data.datasets import BaseDataset
    from pythae.trainers import BaseTrainer, BaseTrainerConfig

    config = BaseTrainerConfig(
        output_dir=folder,
        num_epochs=epochs,
        learning_rate=1e-3,
        per_device_train_batch_size=BATCH,
        no_cuda=True,
        optimizer_cls="Adam",
    )
    dataset = BaseDataset(data, torch.zeros(len(data)))
    BaseTrainer(model, train_dataset=dataset, training_config=config).train()


def limit(repeats: int = 15) -> dict[str, float]:
    """Return rows per CPU second if a training step were its products alone, by number type."""
    found = {}
    for name, dtype in [("float32", torch.float32)] + ([("bf16", torch.bfloat16)] if multiplies_bfloat16() else []):
        sizes = [(PIXELS, HIDDEN, False), (HIDDEN, 2 * LATENT, True), (LATENT, HIDDEN, True), (HIDDEN, PIXELS, True)]
        made = [(torch.randn(BATCH, i), torch.randn(o, i), torch.randn(BATCH, o), back) for i, o, back in sizes]
        made = [(x.to(dtype), w.to(dtype), g.to(dtype), back) for x, w, g, back in made]

        def step(made: list[Any] = made) -> None:
            for x, w, g, back in made:
                torch.nn.functional.linear(x, w)
                g.t() @ x
                if back:
                    g @ w

        with torch.no_grad():
            found[name] = BATCH / statistics.median(
                [seconds(lambda: [step() for _ in range(20)]) / 20 for _ in range(repeats)]
            )
    return found


@contextlib.contextmanager
def quiet() -> Any:
    """Peers print bars and warnings; a benchmark's output is its figures."""
    logging.disable(logging.WARNING)
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        yield
    logging.disable(logging.NOTSET)


def missing(name: str, skip: list[str]) -> bool:
    """Whether a peer is left out; says so."""
    if name in skip:
        return True
    try:
        with quiet():
            __import__(name)
    except ImportError as error:
        print(f"left out: {name} ({error}); pip install -r benchmarks/requirements-vae.txt", file=sys.stderr)
        return True
    return False


def training(options: argparse.Namespace) -> dict[str, Any]:
    rows, source = images(options.rows)
    grey = {
        "likelihood": {"name": "bernoulli", "grey": True},
        "hidden": (HIDDEN,),
        "n_latent": LATENT,
        "batch_size": BATCH,
    }
    contenders: dict[str, Callable[[int], Any]] = {
        "mumei float32": lambda n: ours(rows, n, learning_rate=1e-3, **grey),
    }
    if multiplies_bfloat16():
        contenders["mumei bf16"] = lambda n: ours(rows, n, learning_rate=1e-3, precision="bf16", **grey)
    if not missing("pythae", options.skip):
        data, folder = torch.from_numpy(rows).float() / 255, tempfile.mkdtemp()

        def peer(n: int) -> None:
            with quiet():
                pythae_fit(pythae_model(), data, n, folder)

        contenders["pythae"] = peer
    speed = rates(contenders, len(rows), options.repeats)
    limits = limit()
    share = {k: v / limits["bf16" if "bf16" in k else "float32"] for k, v in speed.items()}
    return {
        "rows": source,
        **report(speed, "pythae", "rows per CPU second"),
        "limit": limits,
        "share of the limit": share,
    }


def likelihood(options: argparse.Namespace) -> dict[str, Any]:
    rows, source = images(2000)
    model = ours(rows, 3, likelihood={"name": "bernoulli", "grey": True}, hidden=(HIDDEN,), n_latent=LATENT)
    few = rows[: options.scored]
    contenders: dict[str, Callable[[int], Any]] = {
        "mumei float32": lambda n: [model.log_likelihood(few, method="iwae", samples=SAMPLES) for _ in range(n)],
    }
    if not missing("pythae", options.skip):
        peer, data = pythae_model(), torch.from_numpy(few).float() / 255

        def nll(n: int) -> None:
            with quiet():
                for _ in range(n):
                    peer.get_nll(data, n_samples=SAMPLES, batch_size=100)

        contenders["pythae"] = nll
    speed = rates(contenders, len(few), options.repeats)
    return {"rows": source, "samples": SAMPLES, **report(speed, "pythae", "rows per CPU second")}


def counts(options: argparse.Namespace) -> dict[str, Any]:
    matrix, source = cells(options.cells)
    settings: dict[str, Any] = {"likelihood": "nb", "hidden": (128,), "n_latent": 10, "batch_size": CELL_BATCH}
    contenders: dict[str, Callable[[int], Any]] = {
        "mumei float32": lambda n: ours(matrix, n, learning_rate=1e-3, **settings),
    }
    if multiplies_bfloat16():
        contenders["mumei bf16"] = lambda n: ours(matrix, n, learning_rate=1e-3, precision="bf16", **settings)
    if not missing("scvi", options.skip):

        def peer(n: int) -> None:
            with quiet():
                import anndata
                import scvi

                table = anndata.AnnData(matrix.copy())
                scvi.model.SCVI.setup_anndata(table)
                model = scvi.model.SCVI(table, n_hidden=128, n_latent=10, n_layers=1, gene_likelihood="nb")
                plain = {"accelerator": "cpu", "devices": 1, "enable_progress_bar": False, "logger": False}
                model.train(max_epochs=n, train_size=1.0, batch_size=CELL_BATCH, **plain)

        contenders["scvi-tools"] = peer
    speed = rates(contenders, matrix.shape[0], options.repeats)
    return {
        "rows": source,
        "cells": matrix.shape[0],
        "share of entries that are not 0": matrix.nnz / (matrix.shape[0] * matrix.shape[1]),
        **report(speed, "scvi-tools", "cells per CPU second"),
    }


def report(speed: dict[str, float], peer: str, unit: str) -> dict[str, Any]:
    over = {k: v / speed[peer] for k, v in speed.items()} if peer in speed else {}
    return {unit: speed, f"times {peer}": over}


def rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: rounded(v) for k, v in value.items()}
    return float(f"{value:.3g}") if isinstance(value, float) else value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--scored", type=int, default=50)
    parser.add_argument("--cells", type=int, default=4186)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--skip", nargs="*", default=[], choices=("pythae", "scvi"))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    found = {}
    for name, call in (("training", training), ("likelihood", likelihood), ("counts", counts)):
        found[name] = rounded(call(options))
        if not options.json:
            print(name, *(f"  {k}: {v}" for k, v in found[name].items()), sep="\n", flush=True)
    if options.json:
        print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
