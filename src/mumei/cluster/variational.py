"""What the family of variational autoencoders shares: networks and likelihoods of `mumei.vae`, pre-training as an autoencoder.

    q(z|x) = N(m(x), diag v(x)),   p(x|z) one of `mumei.vae.choose.LIKELIHOODS`

A method adds a prior over z as its head, and terms that are read off one sample of z a row. The embedding is m(x). Pre-training
maximises log p(x | z = m(x)), an autoencoder by the likelihood's own measure. The variances v(x) begin as the same small share,
`START_SHARE`, of each dimension's variance: at random they would drown what the autoencoder has learned.

What the rows are prepared as follows from the likelihood (`preprocess="auto"`): bits and grey values from 0 to 1, counts as they
are, numbers scaled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, cast

import numpy as np
import torch
from torch import Tensor, nn

from mumei.cluster.autoencoder import AutoencoderClusterer, initial_weights
from mumei.cluster.drivers import OneOptimizer, in_blocks
from mumei.cluster.estimator import Clusterer
from mumei.cluster.initial import INITS, initial_clustering
from mumei.cluster.likelihoods import check_rows, likelihood_of, preparation_for
from mumei.cluster.pretraining import pretrain
from mumei.cluster.run import Run
from mumei.cluster.terms import Term, View, full_precision
from mumei.core import seeds
from mumei.core.config import TrainConfig, one_of
from mumei.core.estimating import widths
from mumei.core.method import At, Loss, make_optimizer
from mumei.vae.network import VAENet
from mumei.vae.objective import reparameterise

START_SHARE = 0.1  # of a code dimension's variance: what q(z|x) begins with
NOT_HERE = ("alpha", "noise", "reconstruction")  # settings of autoencoders


class LatentView(View):
    """One batch with its moments and one sample of z, drawn from `at.rng`."""

    @cached_property
    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of q(z|x), each (b, latent)."""
        mean, log_variance = self.nets["vae"].encode(self.x)
        return mean.float(), log_variance.float()

    @cached_property
    def z(self) -> Tensor:
        """A sample of q(z|x) (b, latent)."""
        return reparameterise(*self.moments, 1, self.at.rng)[0]

    @cached_property
    def reconstruction(self) -> Tensor:
        """The likelihood's parameters given z (b, outputs)."""
        return self.nets["vae"].decode(self.z)


@dataclass
class NegativeLogLikelihood(Term):
    """-log p(x|z) of the sample."""

    name: ClassVar[str] = "reconstruction"

    def __call__(self, view: View) -> Tensor:
        """Return the mean over rows, in nats."""
        return negative_log_likelihood(view.nets["vae"], view.reconstruction, view.x)


def negative_log_likelihood(net: VAENet, made: Tensor, x: Tensor) -> Tensor:
    """Return -log p(x|z) of rows x (b, d) by what the decoder made of their codes (b, outputs), its mean over rows in nats."""
    with full_precision(x):
        return -net.likelihood.log_prob(made.float(), x).mean()


class LatentDriver(OneOptimizer):
    """One optimiser; terms see a `LatentView`, or what the method names as its `view_class`."""

    def view(self, batch: tuple[Tensor, ...], at: At) -> View:
        """Return what the terms see of a batch."""
        return self.owner.view_class(at.nets, batch, at, self.memory)


class AsAutoencoder:
    """The method of the training loop that fits a variational network without its noise: -log p(x | z = m(x)).

    Parameters
    ----------
    net : VAENet
    """

    def __init__(self, net: VAENet):
        self.nets: dict[str, nn.Module] = {"vae": net}

    def modules(self) -> dict[str, nn.Module]:
        """Return the network."""
        return self.nets

    def optimizers(self, config: TrainConfig) -> dict[str, torch.optim.Optimizer]:
        """Return one optimiser over it."""
        return {"all": make_optimizer(config, list(self.nets["vae"].parameters()))}

    def step(self, batch: tuple[Tensor, ...], at: At) -> Loss:
        """Return the mean over rows, in nats."""
        net, x = cast("VAENet", at.nets["vae"]), batch[0].float()
        return Loss(negative_log_likelihood(net, net.decode(net.encode(x)[0]), x))


@dataclass(kw_only=True, eq=False, repr=False)
class VariationalClusterer(AutoencoderClusterer):
    """A variational autoencoder and a prior with clusters; a method adds presets, terms and the head.

    Parameters
    ----------
    likelihood : str or dict, optional
        What the decoder's output means: "gaussian", "bernoulli", "poisson", "nb", "zinb", or a dict with options, as in
        `mumei.vae.choose.make_likelihood`. Grey values may be given to "bernoulli"; counts have their row's sum as library size.
    others
        Those of `mumei.cluster.autoencoder.AutoencoderClusterer`, but for `reconstruction`.
    """

    likelihood: Any = None

    COMMON: ClassVar[dict[str, Any]] = {
        **{k: v for k, v in AutoencoderClusterer.COMMON.items() if k not in NOT_HERE},
        "init": "kmeans",
        "likelihood": {"name": "gaussian", "variance": 1.0},  # squared errors: learned ones follow the stillest pixels
        "starts": 5,
    }
    LEAST: ClassVar[dict[str, float]] = {k: v for k, v in AutoencoderClusterer.LEAST.items() if k not in NOT_HERE}
    learns: ClassVar[tuple[str, ...]] = ("vae", "head")
    driver_class: ClassVar[type[OneOptimizer]] = LatentDriver
    view_class: ClassVar[type[LatentView]] = LatentView
    inits: ClassVar[tuple[str, ...]] = INITS  # components that begin alike would stay alike

    def preprocess_as(self, settings: Mapping[str, Any]) -> str:
        """Return the preparation that the likelihood asks for."""
        return preparation_for(settings["likelihood"])

    def make_networks(self, run: Run) -> dict[str, nn.Module]:
        """Return the variational network and the head."""
        latent = self.latent_width(run)
        net = self.make_network(run, latent)
        return {"vae": net, "head": self.make_head(run, latent)}

    def make_network(self, run: Run, latent: int) -> VAENet:
        """Return the variational network."""
        settings = run.settings
        return VAENet(
            likelihood_of(settings["likelihood"], run.width),
            latent,
            widths(settings["hidden"]),
            activation=settings["activation"],
            init=initial_weights(run),
            seed=seeds.child(run.seed, "network"),
        )

    def pretrain(self, nets: dict[str, nn.Module], run: Run) -> list[dict[str, Any]]:
        """Fit the network as an autoencoder, then give q its first variances; nothing without an initial clustering."""
        net = cast("VAENet", nets["vae"])
        check_rows(net.likelihood, run.arrays)
        one_of("init", run.settings["init"], self.inits)
        if run.settings["init"] == "none":
            return []
        config = run.config("pretrain_", seed=seeds.child(run.seed, "pretraining"))
        to = {"cache": run.cache, "out": run.folder("pretrain"), "progress": run.progress, "label": "pre-training"}
        records = pretrain(AsAutoencoder(net), run.rows, config, **to)
        z = in_blocks(self.encode, nets, run.rows)
        start_variances(net, START_SHARE * z.var(0, unbiased=False))
        return records

    def space(self, run: Run) -> np.ndarray:
        """Return the pre-trained code (n, latent), or principal components where nothing is pre-trained."""
        return Clusterer.space(self, run) if run.settings["init"] == "none" else super().space(run)

    def initialise(self, nets: dict[str, nn.Module], run: Run) -> np.ndarray | None:
        """Give the head a mixture fitted to the codes; return its labels."""
        settings = run.settings
        if settings["init"] == "none":
            return None
        z = in_blocks(self.encode, nets, run.rows).numpy()
        start = initial_clustering(z, run.n_clusters, settings["init"], run.seed, starts=settings["starts"])
        self.place(nets, start)
        return start.labels

    def place(self, nets: dict[str, nn.Module], start: Any) -> None:
        """Give the head the initial clustering."""
        nets["head"].place(start)  # type: ignore[operator]

    def encode(self, nets: Mapping[str, Any], x: Tensor) -> Tensor:
        """Return m(x) (b, latent)."""
        return nets["vae"].encode(x)[0]

    def assign(self, nets: Mapping[str, Any], x: Tensor) -> Tensor:
        """Return the head's probabilities (b, k) at m(x)."""
        return nets["head"].proba(self.encode(nets, x))

    def drift_terms(self, settings: Mapping[str, Any]) -> tuple[Sequence[Term], Sequence[Term]] | None:
        """There is no encoder apart from the bound."""
        return None


@torch.no_grad()
def start_variances(net: VAENet, variances: Tensor) -> None:
    """Let q(z|x) have these variances (latent,) for every row."""
    half = net.latent
    net.posterior.weight[half:] = 0.0
    net.posterior.bias[half:] = variances.clamp(min=1e-4).log()
