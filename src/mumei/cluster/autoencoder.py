"""What the autoencoder family shares: an autoencoder is pre-trained, and k-means on its code is where clustering starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from mumei.cluster.assignment import StudentCentres
from mumei.cluster.drivers import in_blocks
from mumei.cluster.estimator import Clusterer
from mumei.cluster.initial import initial_clustering
from mumei.cluster.likelihoods import (
    RECONSTRUCTIONS,
    CountDecoder,
    CountEncoder,
    check_rows,
    likelihood_of,
    preparation_for,
)
from mumei.cluster.pretraining import Reconstruct, pretrain
from mumei.cluster.run import Run
from mumei.cluster.terms import Reconstruction, Term
from mumei.core import seeds
from mumei.core.config import at_least, one_of
from mumei.core.errors import UsageError
from mumei.core.estimating import widths
from mumei.nn.mlp import INITS, MLP, Autoencoder

WIDE = 100  # units of a layer from which on weights begin small,
LONG = 500  # where there are as many steps to grow in


def initial_weights(run: Run) -> str:
    """Return how a network's weights begin, a name of `mumei.nn.mlp.INITS`.

    "auto" is "uniform" for wide networks that are trained for long, and "he" for others. He's leave wide networks with a higher
    error (20,000 digits of MNIST, 10 epochs: 0.24 against 0.17) and a code that k-means cuts worse; but small weights take some
    hundred steps to leave the start (scikit-learn's digits, layers of 128-128-256, ACC of k-means on the code, he and uniform:
    67 and 31 after 320 steps, 71 and 73 after 800), and networks of a few units hardly leave it at all.
    """
    given = run.settings["weights"]
    if given != "auto":
        one_of("weights", given, INITS)
        return given
    if min(widths(run.settings["hidden"]), default=0) < WIDE or run.arrays is None:  # None: weights will be loaded
        return "he"
    phase = "" if run.settings["init"] == "none" else "pretrain_"
    return "uniform" if run.steps(phase) >= LONG else "he"


@dataclass(kw_only=True, eq=False, repr=False)
class AutoencoderClusterer(Clusterer):
    """An encoder, its mirror image as decoder, a head of centres; a method adds presets, terms and, at times, another head.

    Parameters
    ----------
    hidden : sequence of int, optional
        Widths of the encoder's hidden layers, from the data inwards; 500-500-2000 in most papers.
    n_latent : int or "auto", optional
        Width of the code; "auto" is 10, or the number of columns where that is less.
    pretrain_epochs : int or "auto", optional
        Passes over the data in pre-training.
    reconstruction : {"mse", "nb", "zinb"}, optional
        What the decoder is trained by: the squared error; or, for raw counts (of molecules, words), the negative binomial's
        likelihood, zero-inflated or not, with the row's sum as library size. The encoder then sees log(1 + x).
    others
        Those of `Clusterer`.
    """

    hidden: Any = None
    n_latent: Any = None
    pretrain_epochs: Any = None
    reconstruction: str | None = None

    COMMON: ClassVar[dict[str, Any]] = {
        **Clusterer.COMMON,
        "activation": "relu",
        "hidden": (500, 500, 2000),
        "n_latent": "auto",
        "noise": 0.0,
        "pretrain_epochs": "auto",
        "pretrain_steps": None,
        "pretrain_learning_rate": 1e-3,
        "pretrain_optimizer": "adam",
        "pretrain_schedule": "cosine",
        "init": "kmeans",
        "starts": 20,
        "alpha": 1.0,
        "reconstruction": "mse",
        "weights": "auto",
    }
    LEAST: ClassVar[dict[str, float]] = {**Clusterer.LEAST, "noise": 0.0, "starts": 1}
    learns: ClassVar[tuple[str, ...]] = ("encoder", "decoder", "head")

    def make_networks(self, run: Run) -> dict[str, nn.Module]:
        """Return encoder, decoder and head."""
        settings, latent = run.settings, self.latent_width(run)
        sizes = (run.width, *widths(settings["hidden"]), latent)
        same: dict[str, Any] = {"activation": settings["activation"], "init": initial_weights(run)}
        net = Autoencoder(sizes, seed=seeds.child(run.seed, "network"), **same)
        nets: dict[str, nn.Module] = {"encoder": net.encoder, "decoder": net.decoder}
        if (kind := self._reconstruction(settings)) != "mse":
            likelihood, own = likelihood_of(kind, run.width), seeds.child(run.seed, "network", "counts")
            decoder = MLP((*sizes[:0:-1], likelihood.outputs), seed=own, **same)
            nets = {"encoder": CountEncoder(net.encoder), "decoder": CountDecoder(decoder, likelihood)}
        return {**nets, "head": self.make_head(run, latent)}

    def _reconstruction(self, settings: Mapping[str, Any]) -> str:
        kind = settings.get("reconstruction", "mse")
        one_of("reconstruction", kind, RECONSTRUCTIONS)
        return kind

    def preprocess_as(self, settings: Mapping[str, Any]) -> str:
        """Return the preparation that the reconstruction asks for."""
        kind = self._reconstruction(settings)
        return "auto" if kind == "mse" else preparation_for(kind)

    def latent_width(self, run: Run) -> int:
        """Return the width of the code."""
        given = run.settings["n_latent"]
        latent = min(10, run.width) if given == "auto" else given
        if isinstance(latent, str):
            raise UsageError(f"n_latent={latent!r} is not allowed; give a number of dimensions or 'auto'.")
        at_least("n_latent", latent, 1, whole=True)
        return latent

    def make_head(self, run: Run, latent: int) -> nn.Module:
        """Return the head: centres with Student's t, unless a method has another."""
        at_least("alpha", run.settings["alpha"], 0.0, strictly=True)
        return StudentCentres(run.n_clusters, latent, run.settings["alpha"])

    def pretrain(self, nets: dict[str, nn.Module], run: Run) -> list[dict[str, Any]]:
        """Fit the autoencoder to its input; return the epochs' records."""
        noise = run.settings["noise"]
        if noise >= 1.0:
            raise UsageError(f"noise={noise!r} is not allowed; give a share of at least 0 and below 1.")
        if isinstance(decoder := nets["decoder"], CountDecoder):
            check_rows(decoder.likelihood, run.arrays)
        config = run.config("pretrain_", seed=seeds.child(run.seed, "pretraining"))
        method = Reconstruct(nets, noise)
        return pretrain(
            method,
            run.rows,
            config,
            cache=run.cache,
            out=run.folder("pretrain"),
            progress=run.progress,
            label="pre-training",
        )

    def space(self, run: Run) -> np.ndarray:
        """Return the pre-trained code (n, latent); the first run then finds the networks in the cache."""
        nets = self.make_networks(run)
        self.pretrain(nets, run)
        return in_blocks(self.encode, nets, run.rows).numpy()

    def initialise(self, nets: dict[str, nn.Module], run: Run) -> np.ndarray:
        """Place the head's centres by k-means (or a mixture) on the code; return these first labels."""
        z = in_blocks(self.encode, nets, run.rows).numpy()
        settings = run.settings
        start = initial_clustering(z, run.n_clusters, settings["init"], run.seed, starts=settings["starts"])
        self.place(nets, start)
        return start.labels

    def place(self, nets: dict[str, nn.Module], start: Any) -> None:
        """Give the head the initial clustering."""
        nets["head"].place(torch.from_numpy(start.centres), torch.from_numpy(start.sizes()).float())  # type: ignore[operator]

    def encode(self, nets: Mapping[str, Any], x: Tensor) -> Tensor:
        """Return the code (b, latent)."""
        return nets["encoder"](x)

    def assign(self, nets: Mapping[str, Any], x: Tensor) -> Tensor:
        """Return the head's probabilities (b, k)."""
        return nets["head"].proba(nets["encoder"](x))

    def reseed(self, nets: Mapping[str, Any], cluster: int, z: Tensor) -> None:
        """Move an emptied cluster's centre to an embedded row."""
        nets["head"].reseed(cluster, z)

    def drift_terms(self, settings: Mapping[str, Any]) -> tuple[Sequence[Term], Sequence[Term]] | None:
        """Return the clustering's terms, and the reconstruction."""
        return [t for t in self.terms(settings) if not isinstance(t, Reconstruction)], [Reconstruction()]
