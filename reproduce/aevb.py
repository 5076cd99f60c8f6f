"""The experiments of "Auto-Encoding Variational Bayes" (Kingma and Welling 2013) on the paper's data, printed as one JSON object.

    python reproduce/aevb.py figure2 --data DIR [--set mnist|freyface] [--latent 20] [--method aevb|wake-sleep] [--samples 1e6]
    python reproduce/aevb.py figure3 --data DIR [--rows 1000] [--method aevb|wake-sleep|mcem] [--samples 5e6]
    python reproduce/aevb.py order --data DIR [--samples 1e6]

The paper's setting: 500 (MNIST), 200 (Frey Face) or 100 (Figure 3) tanh units a side, minibatches of 100, one sample of z,
weights and biases from N(0, 0.01^2), prior N(0, I) on weights, Adagrad. Chosen here where the paper leaves it open: grey values
go in as they are (bytes / 255; Frey Face / 256, as in the first author's program); all 60,000 digits train and the 10,000 of the
test set test; of Frey Face a tenth of the frames tests, drawn with a fixed seed (`--split random`, the likely reading of the
paper) or the last tenth (`--split block`: frames are a film, so a random split leaks).

Products are in bfloat16 where the processor has it, else in float32: what was used is printed. As in the first author's program
Adagrad only adds up in wake-sleep's first 100 steps (`--warm-up 0`: as the paper's text has it).

"samples" counts training rows seen; Monte Carlo EM sees every row once a step, in which it makes 10 leapfrog steps and 5 updates.
Bounds are nats per row by one sample a row, on at most 10,000 rows, in float32. Figure 3 estimates log p(x) of the first 1,000
training and test rows as appendix D does, with the importance-weighted bound of 1,000 samples beside it. "order" trains 3
dimensions and compares the bound, the importance-weighted bound and annealed importance sampling on 100 test rows.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch

from mumei.core import seeds
from mumei.core.cpu import multiplies_bfloat16
from mumei.core.train import TrainConfig, fit
from mumei.vae.engine import AEVB, WARM_UP, WakeSleep, adagrad
from mumei.vae.evaluate import ais, appendix_d, elbo, iwae
from mumei.vae.likelihoods import Bernoulli, Gaussian
from mumei.vae.mcem import MCEM
from mumei.vae.network import VAENet
from mumei.vae.objective import bound

METHODS = {"aevb": AEVB, "wake-sleep": WakeSleep, "mcem": MCEM}
MARKS = (1e4, 3e4, 1e5, 3e5, 1e6, 2e6, 3e6, 5e6, 1e7, 2e7, 3e7, 5e7, 1e8)
EVALUATED, ESTIMATED = 10_000, 1_000  # rows
DRAWS = 20_000


def load(data: Path, name: str, split: str = "random") -> tuple[torch.Tensor, torch.Tensor, float]:
    """Return training and test rows (n, pixels) uint8, and what a byte is multiplied by."""
    folder = data / "images"
    if name == "mnist":
        parts = [np.load(folder / f"mnist_train_part{i}of3.npz")["images"] for i in (1, 2, 3)]
        train, test, scale = np.concatenate(parts), np.load(folder / "mnist_test.npz")["images"], 1 / 255
    else:
        images, scale = np.load(folder / "freyface.npz")["images"], 1 / 256
        order = np.arange(len(images))
        if split == "random":
            order = seeds.numpy_generator(0, "freyface").permutation(len(images))
        cut = len(images) - len(images) // 10
        train, test = images[order[:cut]], images[order[cut:]]
    flat = [torch.from_numpy(a.reshape(len(a), -1)) for a in (train, test)]
    return flat[0], flat[1], scale


def network(name: str, pixels: int, latent: int, hidden: int | None, seed: int) -> VAENet:
    """Return the paper's network for a data set."""
    likelihood = Bernoulli(pixels, grey=True) if name == "mnist" else Gaussian(pixels, bounded=True)
    width = hidden or (500 if name == "mnist" else 200)
    return VAENet(likelihood, latent, (width,), init="normal", init_std=0.01, seed=seed)


@torch.no_grad()
def bound_of(net: VAENet, rows: torch.Tensor, scale: float, seed: int) -> float:
    """Return the mean bound of rows (n, pixels) uint8 in nats, by one sample a row."""
    rng = seeds.torch_generator(seed, "evaluation")
    parts = [bound(net, part.float() * scale, rng).double().sum() for part in rows[:EVALUATED].split(1000)]
    return float(sum(parts)) / min(len(rows), EVALUATED)


def marks(samples: float) -> set[int]:
    """Return the numbers of samples at which a curve is read off."""
    return {int(m) for m in (*MARKS, samples) if m <= samples}


def train_on(train: torch.Tensor, net: VAENet, scale: float, options: argparse.Namespace, read_off) -> int:
    """Train a network as the options say, calling `read_off(samples)` at each mark; return the samples per CPU second."""
    wanted = marks(options.samples)
    whole = options.method == "mcem"
    batch, rate = (len(train), options.rate or 0.1) if whole else (options.batch, options.rate or 0.02)
    method = METHODS[options.method](net, len(train), precision=options.precision, scale=scale)
    spent = 0.0

    def after(at, values) -> None:
        nonlocal spent
        seen = (at.step + 1) * batch
        if seen in wanted:
            begun = time.thread_time()
            read_off(seen)
            spent += time.thread_time() - begun

    config = TrainConfig(
        epochs=None,
        max_steps=int(options.samples) // batch,
        batch_size=batch,
        optimizer=adagrad(rate, WARM_UP.get(options.method, 0) if options.warm_up is None else options.warm_up),
        drop_last=True,
        seed=options.seed,
    )
    began = time.thread_time()
    fit(method, train, config, on_step=after)
    return round(options.samples / (time.thread_time() - began - spent))


def figure2(options: argparse.Namespace) -> dict:
    """Train one curve of Figure 2 and read it off."""
    train, test, scale = load(options.data, options.set, options.split)
    net = network(options.set, train.shape[1], options.latent, options.hidden, options.seed)
    curve = {}

    def read_off(seen: int) -> None:
        sets = {"train": train, "test": test}
        found = {name: round(bound_of(net, rows, scale, options.seed), 2) for name, rows in sets.items()}
        curve[label(seen)] = found
        print(seen, found, file=sys.stderr, flush=True)

    speed = train_on(train, net, scale, options, read_off)
    said = {name: getattr(options, name) for name in ("set", "method", "latent", "precision", "seed")}
    return {**said, "samples per CPU second": speed, **curve[label(int(options.samples))], "at": curve}


def label(samples: int) -> str:
    """Return 1e6 for a million, 2.5e6 for two and a half."""
    exponent = len(str(samples)) - 1
    return f"{samples / 10**exponent:g}e{exponent}"


class DecoderOnly:
    """A network whose chains start where z is likely: Monte Carlo EM trains no encoder, and from the prior they would be stuck.

    For each row the best of `DRAWS` draws from the prior; all draws meet all rows in one product.
    """

    def __init__(self, net: VAENet, seed: int):
        self.likelihood, self.latent, self.decode = net.likelihood, net.latent, net.decode
        self.decoder, self.output = net.decoder, net.output
        self.draws = torch.randn(DRAWS, net.latent, generator=seeds.torch_generator(seed, "starts"))

    @torch.no_grad()
    def encode(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return each row's start and the log-variance (n, latent) around it."""
        scores = []
        for z in self.draws.split(2000):
            logits = self.decode(z)
            scores.append(x @ logits.t() - torch.nn.functional.softplus(logits).sum(1))
        best = self.draws[torch.cat(scores, 1).argmax(1)]
        return best, torch.full_like(best, -4.0)


def figure3(options: argparse.Namespace) -> dict:
    """Train one curve of Figure 3 and estimate its marginal likelihood at each mark from 1e6 on."""
    train, test, scale = load(options.data, "mnist")
    train = train[: options.rows]
    net = network("mnist", train.shape[1], 3, options.hidden or 100, options.seed)
    curve = {}

    def read_off(seen: int) -> None:
        if seen < 1_000_000:
            return
        found = {}
        for name, rows in (("train", train), ("test", test)):
            x = rows[:ESTIMATED].float() * scale
            judged = DecoderOnly(net, options.seed) if options.method == "mcem" else net
            rng = seeds.torch_generator(options.seed, "appendix d")
            value = appendix_d(judged, x, rng, samples=50, chains=5, burn_in=100)
            found[name], found[f"{name} error"] = round(value.mean, 2), round(value.standard_error, 2)
            if options.method != "mcem":
                rng = seeds.torch_generator(options.seed, "importance")
                found[f"{name} importance-weighted"] = round(iwae(net, x, rng, samples=1000).mean, 2)
        curve[label(seen)] = found
        print(seen, found, file=sys.stderr, flush=True)

    speed = train_on(train, net, scale, options, read_off)
    said = {name: getattr(options, name) for name in ("method", "rows", "precision", "seed")}
    return {**said, "samples per CPU second": speed, **curve[label(int(options.samples))], "at": curve}


def order(options: argparse.Namespace) -> dict:
    """Compare the estimates of log p(x), which rise in this order, on test rows of a trained network."""
    train, test, scale = load(options.data, "mnist")
    net = network("mnist", train.shape[1], 3, options.hidden, options.seed)
    train_on(train, net, scale, options, lambda seen: None)
    x = test[:100].float() * scale
    found = {}
    for name, call in (
        ("elbo", lambda rng: elbo(net, x, rng, samples=1000)),
        ("iwae", lambda rng: iwae(net, x, rng, samples=5000)),
        ("ais", lambda rng: ais(net, x, rng, chains=10, temperatures=500)),
        ("appendix_d", lambda rng: appendix_d(net, x, rng)),
    ):
        start = time.perf_counter()
        value = call(seeds.torch_generator(options.seed, name))
        print(name, round(time.perf_counter() - start, 1), "s", file=sys.stderr, flush=True)
        found[name], found[f"{name} error"] = round(value.mean, 3), round(float(np.mean(value.standard_errors)), 3)
    return {**found, "in order": int(found["elbo"] <= found["iwae"] <= found["ais"])}


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    top = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    commands = top.add_subparsers(required=True)
    for name, run in (("figure2", figure2), ("figure3", figure3), ("order", order)):
        one = commands.add_parser(name)
        one.set_defaults(run=run)
        one.add_argument("--data", type=Path, required=True)
        one.add_argument("--method", choices=tuple(METHODS), default="aevb")
        one.add_argument("--samples", type=float, default=1e6)
        one.add_argument("--hidden", type=int)
        one.add_argument("--batch", type=int, default=100)
        one.add_argument("--rate", type=float, help="Adagrad's; 0.02 by default, 0.1 for mcem")
        one.add_argument(
            "--warm-up", type=int, help="steps in which Adagrad only adds up; 100 by default for wake-sleep, else 0"
        )
        one.add_argument("--precision", choices=("auto", "float32", "bf16"), default="auto")
        one.add_argument("--threads", type=int, default=1)
        one.add_argument("--seed", type=int, default=0)
        if name == "figure2":
            one.add_argument("--set", choices=("mnist", "freyface"), default="mnist")
            one.add_argument("--split", choices=("random", "block"), default="random")
            one.add_argument("--latent", type=int, default=20)
        if name == "figure3":
            one.add_argument("--rows", type=int, default=1000)
    return top


def main() -> None:
    """Run one experiment."""
    options = parser().parse_args()
    if options.precision == "auto":
        options.precision = "bf16" if multiplies_bfloat16() else "float32"
    torch.set_num_threads(options.threads)
    print(json.dumps(options.run(options), indent=1))


if __name__ == "__main__":
    main()
