"""The ladder variational auto-encoder: layers of latents, each inferred from the data below it and from the layer above it.

Source: Sonderby, Raiko, Maaloe, Sonderby and Winther 2016, "Ladder Variational Autoencoders". z_1 is next to the data and z_L
on top:

    p(x, z) = p(x|z_1) p(z_1|z_2) ... p(z_L),   p(z_L) = N(0, I)
    from below       d_0 = x,  d_l = MLP(d_{l-1}),  N(z_l; m_l(d_l), v_l(d_l)): what the data says
    from above       q(z_L|x) = N(m_L, v_L),   q(z_l|z_{l+1}, x) ~ N(m_l, v_l) p(z_l|z_{l+1}): precision-weighted merge

The bound in nats per row, one KL a layer, each in closed form given the sample above:

    L(x) = E_q[log p(x|z_1)] - sum_l E_q[KL(q(z_l|z_{l+1}, x) || p(z_l|z_{l+1}))]

Departures from the paper: no batch normalisation (a row's bound would depend on the rows beside it); heads of log-variances, as
everywhere here, in place of a softplus; one hidden layer a map in place of two. KL warm-up is the paper's; free bits are counted
by layer: a layer whose KL, averaged over the batch, is below `free_bits` is not pressed further.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init

from mumei.core import seeds
from mumei.core.errors import UsageError
from mumei.core.linear import FastLinear
from mumei.core.method import Loss
from mumei.nn.mlp import MLP, initialise
from mumei.vae.gaussians import kl_between, merged
from mumei.vae.likelihoods import Likelihood, gaussian_log_prob, standard_log_prob
from mumei.vae.network import LOG_VARIANCE
from mumei.vae.objective import BoundConfig, gaussian_kl

IDLE = 0.1  # nats a row, below which a layer is said to carry nothing


@dataclass(frozen=True)
class Descent:
    """One way down the ladder: for each layer, from z_1 up, samples and what they cost.

    Parameters
    ----------
    z : list of Tensor (samples, n, latent)
    kl : list of Tensor (samples or 1, n, latent)
        In closed form given the sample above, by dimension.
    ratio : list of Tensor (samples, n)
        log q(z_l|z_{l+1}, x) - log p(z_l|z_{l+1}) at the sample.
    """

    z: list[Tensor]
    kl: list[Tensor]
    ratio: list[Tensor]


class LadderNet(nn.Module):
    """Bottom-up maps, top-down priors, decoder and likelihood.

    Parameters
    ----------
    likelihood : Likelihood
        Its `n_features` is the width of the data.
    latents : sequence of int
        Widths of z_1 (next to the data) to z_L (on top).
    hidden : sequence of int
        Widths of the hidden layers between x and z_1, d_1 and z_2, ...: one for each layer of latents.
    activation : str
        See `mumei.nn.mlp.ACTIVATIONS`.
    init : {"glorot", "he"}
    covariates : int
        Columns that the first map up and the decoder see beside x and z_1.
    seed : int
        With one layer, the weights are those of `VAENet` of the same seed.

    Raises
    ------
    UsageError
        No layer, a width below 1, or another number of hidden widths than of layers.

    Examples
    --------
    >>> from mumei.vae.likelihoods import Bernoulli
    >>> net = LadderNet(Bernoulli(6), (3, 2), (8, 4))
    >>> net.bound(torch.ones(5, 6), torch.Generator().manual_seed(0)).shape
    torch.Size([5])
    """

    def __init__(
        self,
        likelihood: Likelihood,
        latents: Sequence[int] = (16, 8),
        hidden: Sequence[int] = (128, 64),
        *,
        activation: str = "tanh",
        init: str = "glorot",
        covariates: int = 0,
        seed: int = 0,
    ):
        super().__init__()
        self.latents, hidden = _widths("latents", latents), _widths("hidden", hidden)
        if len(hidden) != len(self.latents):
            raise UsageError(
                f"hidden={hidden} has {len(hidden)} widths for {len(self.latents)} layers of latents; give one for each layer."
            )
        self.likelihood, self.covariates = likelihood, covariates

        def body(name: str, level: int, sizes: tuple[int, ...]) -> MLP:
            own = seeds.child(seed, name, *([level] if level else []))
            return MLP(sizes, activation=activation, final_activation=activation, init=init, seed=own)

        def head(name: str, level: int, inputs: int, outputs: int) -> FastLinear:
            layer = cast("FastLinear", skip_init(FastLinear, inputs, outputs))
            initialise(layer, init, seeds.torch_generator(seed, name, *([level] if level else [])))
            return layer

        up, layers = (likelihood.encoder_features + covariates, *hidden), range(len(hidden))
        self.bodies = nn.ModuleList(body("encoder", i, (up[i], hidden[i])) for i in layers)
        self.posteriors = nn.ModuleList(head("posterior", i, hidden[i], 2 * self.latents[i]) for i in layers)
        self.downs = nn.ModuleList(body("prior body", i, (self.latents[i], hidden[i])) for i in layers[1:])
        self.priors = nn.ModuleList(head("prior", i, hidden[i], 2 * self.latents[i - 1]) for i in layers[1:])
        self.decoder = body("decoder", 0, (self.latents[0] + covariates, hidden[0]))
        self.output = head("output", 0, hidden[0], likelihood.outputs)

    @property
    def layers(self) -> int:
        """L, the number of layers of latents."""
        return len(self.latents)

    # The parts.

    def upwards(self, x: Tensor, covariates: Tensor | None = None) -> list[tuple[Tensor, Tensor]]:
        """Return what rows (n, n_features) alone say of each layer: means and log-variances (n, latent), from z_1 up."""
        hidden, found = self._joined(self.likelihood.features(x), covariates), []
        for body, head in zip(self.bodies, self.posteriors, strict=True):
            hidden = body(hidden)
            found.append(_moments(head(hidden)))
        return found

    def prior(self, level: int, above: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance of p(z_l|z_{l+1}) for samples of the layer above; `level` counts from 0, z_1."""
        return _moments(self.priors[level](self.downs[level](above)))

    def decode(self, z: Tensor, covariates: Tensor | None = None) -> Tensor:
        """Return the likelihood's parameters for z_1 (..., n, latents[0]): (..., n, outputs)."""
        return self.output(self.decoder(self._joined(z, covariates)))

    def noise(self, samples: int, rows: int, generator: torch.Generator) -> Tensor:
        """Return standard normal noise for all layers: (samples, rows, sum of latents)."""
        return torch.randn((samples, rows, sum(self.latents)), generator=generator)

    def infer(self, x: Tensor, noise: Tensor, covariates: Tensor | None = None) -> Descent:
        """Draw all layers from q, from the top down.

        Parameters
        ----------
        x : Tensor (n, n_features)
        noise : Tensor (samples, n, sum of latents)
            See `noise`; its columns are the layers', from z_1 up. Zeros follow the means.
        covariates : Tensor (n, covariates), optional
        """
        below, parts = self.upwards(x, covariates), noise.split(self.latents, -1)
        z: list[Tensor] = []
        kl: list[Tensor] = []
        ratio: list[Tensor] = []
        for level in reversed(range(self.layers)):
            mean, log_variance = below[level]
            if not z:
                each = gaussian_kl(mean, log_variance)[None]
            else:
                prior = self.prior(level, z[0])
                mean, log_variance = merged(mean, log_variance, *prior)
                each = kl_between(mean, log_variance, *prior)
            drawn = mean + torch.exp(0.5 * log_variance) * parts[level]
            expected = gaussian_log_prob(drawn, *prior) if z else standard_log_prob(drawn)
            ratio.insert(0, gaussian_log_prob(drawn, mean, log_variance) - expected)
            z.insert(0, drawn)
            kl.insert(0, each)
        return Descent(z, kl, ratio)

    def means(self, x: Tensor, covariates: Tensor | None = None) -> Tensor:
        """Return the posterior means of all layers, each given the means above: (n, sum of latents), z_1 first."""
        below = self.upwards(x, covariates)
        z = [below[-1][0]]
        for level in reversed(range(self.layers - 1)):
            # In float64: float32's vector instructions round a row by its place, and equal rows should have equal means.
            mean, _ = merged(*(t.double() for t in (*below[level], *self.prior(level, z[0]))))
            z.insert(0, mean.to(x.dtype))
        return torch.cat(z, -1)

    def generate(self, noise: Tensor) -> Tensor:
        """Turn noise (n, sum of latents) into draws from the prior, from the top down: (n, sum of latents), z_1 first."""
        parts = noise.split(self.latents, -1)
        z = [parts[-1]]
        for level in reversed(range(self.layers - 1)):
            mean, log_variance = self.prior(level, z[0])
            z.insert(0, mean + torch.exp(0.5 * log_variance) * parts[level])
        return torch.cat(z, -1)

    # The bound.

    def log_weights(
        self, x: Tensor, samples: int, generator: torch.Generator, covariates: Tensor | None = None
    ) -> Tensor:
        """Return log p(x, z) - log q(z|x) over all layers for draws from q: (samples, n), in nats."""
        down = self.infer(x, self.noise(samples, len(x), generator), covariates)
        return self.likelihood.log_prob(self.decode(down.z[0], covariates), x) - torch.stack(down.ratio).sum(0)

    def bound(
        self,
        x: Tensor,
        generator: torch.Generator,
        config: BoundConfig | None = None,
        covariates: Tensor | None = None,
    ) -> Tensor:
        """Return the estimate of the bound per row (n,), in nats, without beta, warm-up or free bits."""
        config = config or BoundConfig()
        if config.estimator != "B":
            weights = self.log_weights(x, config.samples, generator, covariates)
            if config.estimator == "A":
                return weights.mean(0)
            return torch.logsumexp(weights, 0) - math.log(config.samples)
        down = self.infer(x, self.noise(config.samples, len(x), generator), covariates)
        fit = self.likelihood.log_prob(self.decode(down.z[0], covariates), x).mean(0)
        return fit - torch.stack([kl.sum(-1).mean(0) for kl in down.kl]).sum(0)

    def loss(
        self,
        x: Tensor,
        generator: torch.Generator,
        config: BoundConfig,
        step: int = 0,
        covariates: Tensor | None = None,
    ) -> Loss:
        """Return what training minimises, in nats per row.

        Its parts are "reconstruction", "kl", "bound", and by layer "kl_1", "kl_2", ... `config.free_bits` is in nats a layer.
        The importance-weighted bound has the part "bound" alone.
        """
        if config.estimator == "iwae":
            value = self.bound(x, generator, config, covariates).mean()
            return Loss(-value, {"bound": value})
        if config.estimator == "A" and config.free_bits:
            raise UsageError("free_bits needs the KL of each layer in closed form, which estimator B has; choose it.")
        down = self.infer(x, self.noise(config.samples, len(x), generator), covariates)
        fit = self.likelihood.log_prob(self.decode(down.z[0], covariates), x).mean()
        each = [r.mean() for r in down.ratio] if config.estimator == "A" else [kl.sum(-1).mean() for kl in down.kl]
        layers = torch.stack(each)
        kl = layers.sum()
        pressed = layers.clamp(min=config.free_bits).sum() if config.free_bits else kl
        parts = {"reconstruction": fit, "kl": kl, "bound": fit - kl}
        parts |= {f"kl_{i + 1}": value for i, value in enumerate(each)}
        return Loss(config.weight(step) * pressed - fit, parts)

    def _joined(self, values: Tensor, covariates: Tensor | None) -> Tensor:
        if not self.covariates:
            return values
        if covariates is None:
            raise UsageError(f"this network was made with {self.covariates} covariate columns; give them.")
        return torch.cat([values, covariates.expand(*values.shape[:-1], self.covariates)], -1)


def idle_layers(kl: Sequence[float]) -> list[str]:
    """Return a sentence, with what to do, for each layer whose KL (nats per row, from z_1 up) says that it carries nothing."""
    if len(kl) > 1 and max(kl) < IDLE:
        return [
            f"no layer carries information (KL {sum(kl):.2g} nats a row in all): train longer, or with warmup_epochs."
        ]
    return [
        f"layer {i + 1} of {len(kl)} is not used (KL {value:.2g} nats a row): the data does not need it, or it collapsed early; "
        "try warmup_epochs, free_bits (nats a layer), or fewer layers."
        for i, value in enumerate(kl)
        if value < IDLE and len(kl) > 1
    ]


def _moments(out: Tensor) -> tuple[Tensor, Tensor]:
    mean, log_variance = out.chunk(2, -1)
    return mean, log_variance.clamp(*LOG_VARIANCE)


def _widths(name: str, values: Sequence[int]) -> tuple[int, ...]:
    widths = tuple(values)
    if not widths or not all(isinstance(v, int) and not isinstance(v, bool) and v >= 1 for v in widths):
        raise UsageError(f"{name}={widths!r} is not allowed; give a whole number above 0 for each layer.")
    return widths
