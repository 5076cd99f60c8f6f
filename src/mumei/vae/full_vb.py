"""Full variational Bayes: a posterior over the generative parameters theta as well as over z.

Source: Kingma and Welling 2013, appendix F. q(theta) is a diagonal Gaussian, theta = mu + sigma zeta, and the estimate is

    f = N (log p(x|z, theta) + log p(z) - log q(z|x)) + log p(theta) - log q(theta)

whose mean over rows of the data bounds log p(D), the evidence of the whole set. Everything here is f / N, nats per row: the
weights' part counts 1/N. Where prior and posterior are Gaussian both of z and theta, their two KL terms are used in closed form
(`estimator="closed"`); `"samples"` is f as it stands.

The encoder's parameters have no prior and stay point estimates, as in the paper; so do parameters of the likelihood itself (a
shared variance), for which N(0, 1) would be no sensible prior. Departures: theta is drawn once a batch and sample, where the
paper draws it once a row: the mean is the same, the variance larger, and a batch is one product. The prior's deviation may be
other than 1.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from mumei.core import seeds
from mumei.core.config import TrainConfig, at_least, one_of
from mumei.core.errors import UsageError
from mumei.core.method import At, Loss, make_optimizer
from mumei.core.progress import SILENT, Progress
from mumei.core.train import History, fit
from mumei.vae.likelihoods import gaussian_log_prob, standard_log_prob
from mumei.vae.network import VAENet
from mumei.vae.objective import gaussian_kl, reparameterise

ESTIMATORS = ("closed", "samples")
GENERATIVE = ("decoder", "output")


class WeightPosterior(nn.Module):
    """q(theta) = N(mean, exp(log_std)^2) over some of a network's parameters, all in one vector.

    Parameters
    ----------
    net : nn.Module
        The means begin at its parameters.
    random : sequence of str
        Names of its submodules whose parameters are random.
    prior_std : float
        p(theta) = N(0, prior_std^2).
    initial_std : float
        Where the deviations of q begin.
    """

    def __init__(
        self, net: nn.Module, random: Sequence[str] = GENERATIVE, *, prior_std: float = 1.0, initial_std: float = 0.01
    ):
        super().__init__()
        at_least("prior_std", prior_std, 0.0, strictly=True)
        at_least("initial_std", initial_std, 0.0, strictly=True)
        chosen = [(n, p) for n, p in net.named_parameters() if n.split(".")[0] in random]
        if not chosen:
            there = sorted({n.split(".")[0] for n, _ in net.named_parameters()})
            raise UsageError(f"random={tuple(random)} names no parameters; the network has {', '.join(there)}.")
        self.prior_std = prior_std
        self.shapes = {name: tuple(p.shape) for name, p in chosen}
        mean = torch.cat([p.detach().flatten() for _, p in chosen]).clone()
        self.mean = nn.Parameter(mean)
        self.log_std = nn.Parameter(torch.full_like(mean, math.log(initial_std)))

    def split(self, theta: Tensor) -> dict[str, Tensor]:
        """Return a vector's parts by the parameters' names."""
        sizes = [math.prod(shape) for shape in self.shapes.values()]
        return {n: v.view(s) for (n, s), v in zip(self.shapes.items(), theta.split(sizes), strict=True)}

    def draw(self, generator: torch.Generator) -> Tensor:
        """Return theta = mean + deviation * zeta, one vector, differentiable."""
        noise = torch.randn(self.mean.shape, generator=generator, dtype=self.mean.dtype, device=self.mean.device)
        return self.mean + self.log_std.exp() * noise

    def kl(self) -> Tensor:
        """Return KL(q(theta) || p(theta)), in nats."""
        shrunk = 2.0 * (self.log_std - math.log(self.prior_std))
        return gaussian_kl(self.mean / self.prior_std, shrunk).sum()

    def log_ratio(self, theta: Tensor) -> Tensor:
        """Return log p(theta) - log q(theta), in nats."""
        prior = gaussian_log_prob(theta, torch.zeros_like(theta), theta.new_tensor(2.0 * math.log(self.prior_std)))
        return prior - gaussian_log_prob(theta, self.mean, 2.0 * self.log_std)


class _Decode(nn.Module):
    """A network whose call is its decoder, which `functional_call` needs."""

    def __init__(self, net: VAENet):
        super().__init__()
        self.net = net

    def forward(self, z: Tensor, covariates: Tensor | None) -> Tensor:
        return self.net.decode(z, covariates)


@dataclass(frozen=True)
class FullBound:
    """An estimate of the bound: `rows` (n,), what each row gives, and `weights`, log p(theta) - log q(theta), in nats."""

    rows: Tensor
    weights: Tensor

    def per_row(self, n: int) -> Tensor:
        """Return f / N for a data set of n rows."""
        return self.rows.mean() + self.weights / n

    def total(self, n: int) -> Tensor:
        """Return f: the bound of the whole data set of n rows, N/M times the batch's sum and the weights' part once."""
        return n * self.per_row(n)


def full_bound(
    net: VAENet,
    weights: WeightPosterior,
    x: Tensor,
    generator: torch.Generator,
    *,
    estimator: str = "closed",
    samples: int = 1,
    covariates: Tensor | None = None,
) -> FullBound:
    """Estimate the bound on rows x (n, n_features).

    Parameters
    ----------
    estimator : {"closed", "samples"}
    samples : int
        L: draws of theta, each with a draw of z for every row.
    covariates : Tensor (n, covariates), optional
    """
    one_of("estimator", estimator, ESTIMATORS)
    at_least("samples", samples, 1, whole=True)
    mean, log_variance = net.encode(x, covariates)
    z = reparameterise(mean, log_variance, samples, generator)
    decode, ratio = _Decode(net), x.new_zeros(())
    fit = x.new_zeros(len(x))
    for one in z:
        theta = weights.draw(generator)
        named = {f"net.{name}": value for name, value in weights.split(theta).items()}
        fit = fit + net.likelihood.log_prob(functional_call(decode, named, (one, covariates)), x) / samples
        ratio = ratio + weights.log_ratio(theta) / samples if estimator == "samples" else ratio
    if estimator == "closed":
        return FullBound(fit - gaussian_kl(mean, log_variance).sum(-1), -weights.kl())
    latent = (standard_log_prob(z) - gaussian_log_prob(z, mean, log_variance)).mean(0)
    return FullBound(fit + latent, ratio)


class FullVB:
    """Full variational Bayes as a method of the training loop.

    Training arrays are the rows (n, n_features) and, where the network has them, the covariates.

    Parameters
    ----------
    net : VAENet
    rows : int
        N, the rows of the whole data set.
    random, prior_std, initial_std
        See `WeightPosterior`.
    estimator, samples
        See `full_bound`.

    Examples
    --------
    >>> from mumei.vae.likelihoods import Bernoulli
    >>> method = FullVB(VAENet(Bernoulli(6), 2, (4,)), rows=20)
    >>> history = fit(method, torch.ones(20, 6), TrainConfig(epochs=2))
    >>> sorted(history.epochs[0])
    ['bound', 'epoch', 'loss', 'rows', 'weights']
    """

    def __init__(
        self,
        net: VAENet,
        rows: int,
        *,
        random: Sequence[str] = GENERATIVE,
        prior_std: float = 1.0,
        initial_std: float = 0.01,
        estimator: str = "closed",
        samples: int = 1,
    ):
        at_least("rows", rows, 1, whole=True)
        one_of("estimator", estimator, ESTIMATORS)
        at_least("samples", samples, 1, whole=True)
        self.net, self.rows, self.estimator, self.samples = net, rows, estimator, samples
        self.weights = WeightPosterior(net, random, prior_std=prior_std, initial_std=initial_std)

    def modules(self) -> dict[str, nn.Module]:
        """Return the network and the posterior of its weights."""
        return {"net": self.net, "weights": self.weights}

    def optimizers(self, config: TrainConfig) -> dict[str, torch.optim.Optimizer]:
        """Return one optimiser over the point estimates and the posterior's moments."""
        points = [p for name, p in self.net.named_parameters() if name not in self.weights.shapes]
        return {"all": make_optimizer(config, [*points, *self.weights.parameters()])}

    def step(self, batch: tuple[Tensor, ...], at: At) -> Loss:
        """Return the negative bound of one batch, nats per row; "weights" is the weights' part, a negative KL / N."""
        found = self.estimate(batch[0].float(), at.rng, batch[1] if len(batch) > 1 else None)
        value = found.per_row(self.rows)
        return Loss(-value, {"rows": found.rows.mean(), "weights": found.weights / self.rows, "bound": value})

    def estimate(self, x: Tensor, generator: torch.Generator, covariates: Tensor | None = None) -> FullBound:
        """Estimate the bound on rows x (n, n_features), with the method's estimator and samples."""
        return full_bound(
            self.net,
            self.weights,
            x,
            generator,
            estimator=self.estimator,
            samples=self.samples,
            covariates=covariates,
        )

    def posterior_mean(self) -> VAENet:
        """Return a network whose generative parameters are the posterior's means; the method's own is left as it is."""
        made = copy.deepcopy(self.net)
        with torch.no_grad():
            own = dict(made.named_parameters())
            for name, value in self.weights.split(self.weights.mean).items():
                own[name].copy_(value)
        return made


@dataclass(frozen=True)
class FullPosterior:
    """What full variational Bayes found.

    Attributes
    ----------
    net : VAENet
        The encoder, and the generative parameters' posterior means.
    means, deviations : dict of str to Tensor
        Of q(theta), by the parameters' names in `net`.
    bound : float
        On log p(D) / N, nats per row, the weights' KL / N included.
    weights_kl : float
        KL(q(theta) || p(theta)), in nats, of the whole set.
    history : History
    """

    net: VAENet
    means: dict[str, Tensor]
    deviations: dict[str, Tensor]
    bound: float
    weights_kl: float
    history: History


def fit_full_vb(
    net: VAENet,
    x: Tensor,
    config: TrainConfig | None = None,
    *,
    covariates: Tensor | None = None,
    draws: int = 32,
    progress: Progress = SILENT,
    out: Any = None,
    **options: Any,
) -> FullPosterior:
    """Train and return the posterior.

    Parameters
    ----------
    net : VAENet
        Its encoder is trained in place; its generative parameters are where the posterior's means begin.
    x : Tensor (n, n_features)
    config : TrainConfig, optional
    covariates : Tensor (n, covariates), optional
    draws : int
        Of theta, for the bound that is reported.
    progress, out
        See `mumei.core.train.fit`.
    **options
        `FullVB`'s random, prior_std, initial_std, estimator and samples.
    """
    at_least("draws", draws, 1, whole=True)
    method, config = FullVB(net, len(x), **options), config or TrainConfig()
    arrays = (x,) if covariates is None else (x, covariates)
    history = fit(method, arrays, config, out=out, progress=progress, label="full variational Bayes")
    method.samples, method.estimator = draws, "closed"
    with torch.no_grad():
        rng, rows = seeds.torch_generator(config.seed, "full_vb", "bound"), 0.0
        for start in range(0, len(x), 1000):
            part = slice(start, start + 1000)
            extra = None if covariates is None else covariates[part]
            rows += float(method.estimate(x[part].float(), rng, extra).rows.double().sum())
        kl = float(method.weights.kl())
        means = {k: v.clone() for k, v in method.weights.split(method.weights.mean.detach()).items()}
        deviations = {k: v.clone() for k, v in method.weights.split(method.weights.log_std.detach().exp()).items()}
    return FullPosterior(method.posterior_mean(), means, deviations, (rows - kl) / len(x), kl, history)
