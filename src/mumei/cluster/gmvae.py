"""GMVAE: a variational autoencoder whose prior is a mixture of Gaussians that a second latent variable bends.

Source: Dilokthanakul, Mediano, Garnelo, Lee, Salimbeni, Arulkumaran and Shanahan 2016, "Deep Unsupervised Clustering with
Gaussian Mixture Variational Autoencoders". In the terms of this package (their y is x here, their x is z, their z is c):

    p(w) = N(0, I),   p(c) = 1/k,   p(z|w, c) = N(mu_c(w), diag s2_c(w)),   p(x|z) a likelihood
    q(z, w, c|x) = q(z|x) q(w|x) p(c|z, w),   p(c|z, w) = p(z|w, c) / sum over c'

    L = E log p(x|z) - E sum_c p(c|z, w) KL(q(z|x) || p(z|w, c)) - KL(q(w|x) || p(w)) - E KL(p(c|z, w) || p(c))

The four are the paper's reconstruction, conditional prior, w-prior and z-prior terms; the last is called "cluster" here. Since
it pulls all rows into all components, it is not pressed below `floor` nats, the paper's lambda, which holds for a batch's mean.
One sample of z and of w a row. The label is the c with the largest p(c|z, w) at the means of q.

Departures, `preset="paper"` (sizes and rates are those of the authors' program for fully connected networks): no batch
normalisation in the encoder, one sample in place of ten. The robust default departs much further: like VaDE it begins with an
autoencoder and the mixture that k-means finds in its code, which the biases of mu_c(w) and s2_c(w) take over, with as many
dimensions of z as other methods here. From random weights the labels differ much from seed to seed, as the paper's own table
shows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init

from mumei.cluster.autoencoder import initial_weights
from mumei.cluster.initial import INITS, Start
from mumei.cluster.likelihoods import likelihood_of
from mumei.cluster.mixture import LOG_VARIANCE, log_densities
from mumei.cluster.run import Run
from mumei.cluster.terms import Term
from mumei.cluster.variational import LatentView, NegativeLogLikelihood, VariationalClusterer
from mumei.core import seeds
from mumei.core.estimating import widths
from mumei.core.linear import FastLinear
from mumei.nn.mlp import MLP, initialise
from mumei.vae.gaussians import kl_between
from mumei.vae.network import LOG_VARIANCE as POSTERIOR
from mumei.vae.network import VAENet
from mumei.vae.objective import gaussian_kl, reparameterise

BENT = 0.1  # what the last layer's first weights are scaled by, so that components begin nearly unbent


class TwoCodes(VAENet):
    """A variational network whose encoder gives q(w|x) beside q(z|x).

    Parameters
    ----------
    n_w : int
        Width of w.
    others
        Those of `VAENet`.
    """

    def __init__(self, *given: Any, n_w: int, seed: int, **more: Any):
        super().__init__(*given, seed=seed, **more)
        self.posterior_w = cast("FastLinear", skip_init(FastLinear, self.encoder.sizes[-1], 2 * n_w))
        initialise(self.posterior_w, more["init"], seeds.torch_generator(seed, "posterior_w"))

    def encode_both(self, x: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Return mean and log-variance of q(z|x), each (b, latent), and of q(w|x), each (b, n_w)."""
        hidden = self.encoder(self.likelihood.features(x))
        (mean, log_variance), (mean_w, log_variance_w) = (
            head(hidden).float().chunk(2, -1) for head in (self.posterior, self.posterior_w)
        )
        return (mean, log_variance.clamp(*POSTERIOR)), (mean_w, log_variance_w.clamp(*POSTERIOR))


class BentMixture(nn.Module):
    """p(z|w, c): means and log-variances of k components by a network of w.

    Parameters
    ----------
    n_clusters, n_latent, n_w : int
    hidden : int
        Units (tanh).
    seed : int
    """

    def __init__(self, n_clusters: int, n_latent: int, n_w: int, hidden: int, seed: int):
        super().__init__()
        self.shape = (2, n_clusters, n_latent)
        sizes = (n_w, hidden, 2 * n_clusters * n_latent)
        self.net = MLP(sizes, activation="tanh", init="glorot", seed=seed)

    def components(self, w: Tensor) -> tuple[Tensor, Tensor]:
        """Return means and log-variances, each (b, k, latent), for w (b, n_w)."""
        means, log_variances = self.net(w).float().unflatten(-1, self.shape).unbind(-3)
        return means, log_variances.clamp(*LOG_VARIANCE)

    def forward(self, z: Tensor, w: Tensor) -> Tensor:
        """Return log p(c|z, w) (b, k)."""
        return log_assignment(z, *self.components(w))

    @torch.no_grad()
    def place(self, start: Start) -> None:
        """Let the components be those of a fitted mixture, whatever w is, but for a little."""
        last = cast("FastLinear", self.net.layers[-1])
        last.weight.mul_(BENT)
        bias = last.bias.view(self.shape)
        bias[0] = torch.from_numpy(start.centres)
        if start.variances is not None:
            bias[1] = torch.from_numpy(start.variances).log().clamp(*LOG_VARIANCE)

    @torch.no_grad()
    def reseed(self, cluster: int, z: Tensor) -> None:
        """Move an emptied component's bias to an embedded row (latent,), with the average of the variances' biases."""
        bias = cast("FastLinear", self.net.layers[-1]).bias.view(self.shape)
        bias[0, cluster], bias[1, cluster] = z, bias[1].mean(0)


def log_assignment(z: Tensor, means: Tensor, log_variances: Tensor) -> Tensor:
    """Return log p(c|z, w) (b, k) for z (b, d) and each row's own components (b, k, d), equally likely."""
    return torch.log_softmax(log_densities(z, means, log_variances).sum(-1), 1)


class BentView(LatentView):
    """A batch with moments and a sample of w, the components that it gives, and p(c|z, w)."""

    @cached_property
    def both(self) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Moments of q(z|x) and of q(w|x)."""
        return self.nets["vae"].encode_both(self.x)

    @cached_property
    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of q(z|x), each (b, latent)."""
        return self.both[0]

    @cached_property
    def w(self) -> Tensor:
        """A sample of q(w|x) (b, n_w)."""
        return reparameterise(*self.both[1], 1, self.at.rng)[0]

    @cached_property
    def components(self) -> tuple[Tensor, Tensor]:
        """Means and log-variances of p(z|w, c), each (b, k, latent)."""
        return self.nets["head"].components(self.w)

    @cached_property
    def log_chosen(self) -> Tensor:
        """The logarithm of p(c|z, w) (b, k)."""
        return log_assignment(self.z, *self.components)


@dataclass
class ConditionalPrior(Term):
    """sum_c p(c|z, w) KL(q(z|x) || p(z|w, c))."""

    name: ClassVar[str] = "code"

    def __call__(self, view: Any) -> Tensor:
        """Return the mean over rows, in nats."""
        mean, log_variance = (part[:, None] for part in view.moments)
        each = kl_between(mean, log_variance, *view.components).sum(-1)
        return (view.log_chosen.exp() * each).sum(1).mean()


@dataclass
class BendingPrior(Term):
    """KL(q(w|x) || N(0, I))."""

    name: ClassVar[str] = "w"

    def __call__(self, view: Any) -> Tensor:
        """Return the mean over rows, in nats."""
        return gaussian_kl(*view.both[1]).sum(1).mean()


@dataclass
class ClusterPrior(Term):
    """KL(p(c|z, w) || 1/k), its mean over rows, or `floor` where that is more."""

    name: ClassVar[str] = "cluster"
    floor: float = 0.0

    def __call__(self, view: Any) -> Tensor:
        """Return the mean over rows, in nats."""
        log_chosen = view.log_chosen
        uniform = torch.log(torch.tensor(float(log_chosen.shape[1])))
        return ((log_chosen.exp() * log_chosen).sum(1).mean() + uniform).clamp(min=self.floor)


@dataclass(kw_only=True, eq=False, repr=False)
class GMVAE(VariationalClusterer):
    """A variational autoencoder with a prior of components that a second latent variable bends.

    Parameters
    ----------
    n_w : int, optional
        Width of that variable.
    floor : float, optional
        Nats below which the divergence of p(c|z, w) from the uniform prior is not pressed.
    others
        Those of `mumei.cluster.variational.VariationalClusterer`; `GMVAE.presets()` shows what a preset sets.

    Examples
    --------
    >>> X = np.concatenate([np.zeros((20, 4)), np.ones((20, 4))]) + np.random.default_rng(0).normal(0, 0.1, (40, 4))
    >>> model = GMVAE(n_clusters=2, hidden=(16,), n_latent=2, pretrain_epochs=60, epochs=2, random_state=0)
    >>> np.bincount(model.fit_predict(X)).tolist()
    [20, 20]
    """

    n_w: int | None = None
    floor: float | None = None

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "robust": {"n_w": 5, "floor": 0.0, "prior_hidden": 64},
        "paper": {
            "hidden": (500, 500),
            "n_latent": 200,
            "n_w": 150,
            "prior_hidden": 500,
            "floor": 0.5,
            "likelihood": {"name": "bernoulli", "grey": True},
            "weights": "glorot",
            "init": "none",
            "batch_size": 50,
            "epochs": 100,
            "learning_rate": 1e-4,
            "schedule": "constant",
            "tol": 0.0,
            "empty": "keep",
        },
    }
    LEAST: ClassVar[dict[str, float]] = {**VariationalClusterer.LEAST, "n_w": 1, "floor": 0.0, "prior_hidden": 1}
    view_class: ClassVar[type[LatentView]] = BentView
    inits: ClassVar[tuple[str, ...]] = (*INITS, "none")

    def make_network(self, run: Run, latent: int) -> VAENet:
        """Return the network with two codes."""
        settings = run.settings
        return TwoCodes(
            likelihood_of(settings["likelihood"], run.width),
            latent,
            widths(settings["hidden"]),
            activation=settings["activation"],
            init=initial_weights(run),
            n_w=settings["n_w"],
            seed=seeds.child(run.seed, "network"),
        )

    def make_head(self, run: Run, latent: int) -> nn.Module:
        """Return the components' network."""
        settings, seed = run.settings, seeds.child(run.seed, "head")
        return BentMixture(run.n_clusters, latent, settings["n_w"], settings["prior_hidden"], seed)

    def assign(self, nets: Mapping[str, Any], x: Tensor) -> Tensor:
        """Return p(c|z, w) (b, k) at the means of q(z|x) and q(w|x)."""
        (z, _), (w, _) = nets["vae"].encode_both(x)
        return nets["head"](z, w).exp()

    def terms(self, settings: Mapping[str, Any]) -> Sequence[Term]:
        """Return the four parts of -L."""
        return [NegativeLogLikelihood(), ConditionalPrior(), BendingPrior(), ClusterPrior(floor=settings["floor"])]
