"""A deep Kalman filter: time series of unequal length under a Markov chain of latents, by the same bound.

Sources: Krishnan, Shalit and Sontag 2015, "Deep Kalman Filters", and 2017, "Structured Inference Networks for Nonlinear State
Space Models". It is the dynamic Bayesian network that Kingma and Welling 2013 leave to future work:

    p(x, z) = p(z_1) prod_t p(z_t|z_{t-1}) p(x_t|z_t)
    L(x)    = sum_t E_q[log p(x_t|z_t)] - E_q[KL(q(z_t|z_{t-1}, x) || p(z_t|z_{t-1}))]          nats per sequence

The exact posterior has the same chain: p(z_t|z_{t-1}, x_{t..T}) is proportional to p(z_t|z_{t-1}) p(x_{t..T}|z_t). So q is the
transition times a Gaussian message about z_t, which a GRU reads off x_{t..T} (direction "backward"): where the model is linear
and Gaussian, that family holds the exact posterior. With direction "forward" the GRU reads x_{1..t}: q is then a filter, which
can follow a series as it comes, at the price of a looser bound.

Departures: Krishnan's combiner mixes z_{t-1} and the GRU's state in a tanh layer; here they meet as a product of Gaussians
(`merged`), as in a ladder. Transition "gated" is theirs, with a head of log-variances in place of a softplus; "linear" is
z_t = A z_{t-1} + b + noise. Padding takes no part: it is behind the GRU's way and outside every sum.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init

from mumei.core import seeds
from mumei.core.config import at_least, one_of
from mumei.core.errors import DataError, UsageError
from mumei.core.linear import FastLinear
from mumei.core.method import Loss
from mumei.nn.mlp import MLP, initialise
from mumei.vae.gaussians import kl_between, merged
from mumei.vae.likelihoods import Likelihood, gaussian_log_prob
from mumei.vae.network import LOG_VARIANCE
from mumei.vae.objective import BoundConfig

DIRECTIONS = ("backward", "forward")
TRANSITIONS = ("gated", "linear")
START_LOG_VARIANCE = -1.0  # of a step's noise, before training


def pack(sequences: Sequence[Any]) -> tuple[Tensor, Tensor]:
    """Put sequences of unequal length side by side.

    Parameters
    ----------
    sequences : sequence of array (T_i, d)
        Or (T_i,), which is one column.

    Returns
    -------
    x : Tensor (n, T, d), float32
        T is the longest; behind a sequence's end are zeros.
    mask : Tensor (n, T), bool
        True where there is a step.

    Raises
    ------
    DataError
        No sequence, an empty one, or one of another width or that is not finite.

    Examples
    --------
    >>> x, mask = pack([np.ones((2, 3)), np.ones((4, 3))])
    >>> x.shape, mask.sum(1).tolist()
    (torch.Size([2, 4, 3]), [2, 4])
    """
    arrays = [_steps(s, i) for i, s in enumerate(sequences)]
    if not arrays:
        raise DataError("there is no sequence; give at least one array (steps, columns).")
    widths = {a.shape[1] for a in arrays}
    if len(widths) > 1:
        raise DataError(f"the sequences have {sorted(widths)} columns; all must have the same number.")
    x = torch.zeros(len(arrays), max(map(len, arrays)), widths.pop())
    mask = torch.zeros(x.shape[:2], dtype=torch.bool)
    for i, array in enumerate(arrays):
        x[i, : len(array)] = torch.from_numpy(np.array(array, dtype=np.float32))
        mask[i, : len(array)] = True
    return x, mask


def _steps(sequence: Any, place: int) -> np.ndarray:
    array = np.asarray(sequence)
    array = array[:, None] if array.ndim == 1 else array
    if array.ndim != 2 or not array.size or array.dtype.kind not in "biuf":
        raise DataError(
            f"sequence {place} has shape {np.shape(sequence)} and type {array.dtype}; give numbers (steps, columns), at least "
            "one step and one column."
        )
    if not np.isfinite(array).all():
        step = int((~np.isfinite(array)).any(1).argmax())
        raise DataError(
            f"sequence {place} is NaN or infinite at step {step}; leave the sequence out or fill the value in."
        )
    return array


@dataclass(frozen=True)
class Path:
    """Latents along sequences, and what each step costs.

    Parameters
    ----------
    z, mean : Tensor (T, samples, n, latent)
        Draws from q, and the mean that each was drawn around.
    kl : Tensor (T, samples, n)
        In closed form given the step before.
    ratio : Tensor (T, samples, n)
        log q - log p at the draw.
    """

    z: Tensor
    mean: Tensor
    kl: Tensor
    ratio: Tensor


class Transition(nn.Module):
    """p(z_t|z_{t-1}), and p(z_1).

    Parameters
    ----------
    latent, hidden : int
    kind : {"gated", "linear"}
        "gated": mean = (1 - g) * (A z + b) + g * MLP(z), with g and the log-variance read off the same hidden layer.
    seed : int
    """

    def __init__(self, latent: int, hidden: int, kind: str, seed: int):
        super().__init__()
        one_of("transition", kind, TRANSITIONS)
        self.first_mean = nn.Parameter(torch.zeros(latent))
        self.first_log_variance = nn.Parameter(torch.zeros(latent))
        self.linear = cast("FastLinear", skip_init(FastLinear, latent, latent))
        with torch.no_grad():
            nn.init.eye_(self.linear.weight).mul_(0.9)  # begins as a slowly forgetting walk
            nn.init.zeros_(self.linear.bias)
        self.kind = kind
        if kind == "linear":
            self.log_variance = nn.Parameter(torch.full((latent,), START_LOG_VARIANCE))
            return
        self.body = MLP((latent, hidden), final_activation="tanh", init="glorot", seed=seeds.child(seed, "body"))
        self.heads = cast("FastLinear", skip_init(FastLinear, hidden, 3 * latent))
        initialise(self.heads, "glorot", seeds.torch_generator(seed, "heads"))
        with torch.no_grad():
            self.heads.bias[2 * latent :] = START_LOG_VARIANCE

    def first(self) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance of p(z_1): (latent,)."""
        return self.first_mean, self.first_log_variance.clamp(*LOG_VARIANCE)

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance of p(z_t|z_{t-1}) for z_{t-1} (..., latent)."""
        straight = self.linear(z)
        if self.kind == "linear":
            return straight, self.log_variance.clamp(*LOG_VARIANCE)
        gate, bent, log_variance = self.heads(self.body(z)).chunk(3, -1)
        return torch.lerp(straight, bent, torch.sigmoid(gate)), log_variance.clamp(*LOG_VARIANCE)


class SequenceNet(nn.Module):
    """Transition, emission and the GRU that reads the messages.

    Parameters
    ----------
    likelihood : Likelihood
        Of one step's columns.
    latent : int
        Width of z_t.
    hidden : int
        Width of the GRU and of the transition's hidden layer.
    emission : sequence of int
        Hidden layers between z_t and x_t; none makes the emission linear.
    transition : {"gated", "linear"}
    direction : {"backward", "forward"}
        What q(z_t|z_{t-1}, .) sees: x_{t..T} or x_{1..t}.
    activation : str
        Of the emission; see `mumei.nn.mlp.ACTIVATIONS`.
    seed : int

    Raises
    ------
    UsageError
        A value is out of its range, or a likelihood of counts that needs a library size, which a step to come has not.

    Examples
    --------
    >>> from mumei.vae.likelihoods import Gaussian
    >>> net = SequenceNet(Gaussian(3, "shared"), 2, 8)
    >>> x, mask = pack([np.ones((4, 3)), np.ones((2, 3))])
    >>> net.bound(x, mask, torch.Generator().manual_seed(0)).shape
    torch.Size([2])
    """

    def __init__(
        self,
        likelihood: Likelihood,
        latent: int,
        hidden: int = 64,
        emission: Sequence[int] = (64,),
        *,
        transition: str = "gated",
        direction: str = "backward",
        activation: str = "tanh",
        seed: int = 0,
    ):
        super().__init__()
        for name, value in (("latent", latent), ("hidden", hidden), *(("emission", e) for e in emission)):
            at_least(name, value, 1, whole=True)
        one_of("direction", direction, DIRECTIONS)
        if getattr(likelihood, "library", False):
            raise UsageError(
                f"the {likelihood.name} likelihood of a step needs the step's sum, which a step to come has not; give "
                f"{{'name': {likelihood.name!r}, 'library': False}}."
            )
        self.likelihood, self.latent, self.direction = likelihood, latent, direction
        seen = likelihood.encoder_features
        # Made without memory first: the constructor's own initialisation would draw from the global generator.
        self.gru = nn.GRU(seen, hidden, batch_first=True, device="meta").to_empty(device="cpu")
        rng, reach = seeds.torch_generator(seed, "gru"), 1 / math.sqrt(hidden)
        with torch.no_grad():
            for parameter in self.gru.parameters():
                nn.init.uniform_(parameter, -reach, reach, generator=rng)
        # The message sees the step itself beside the GRU's state, which is bounded.
        self.message = cast("FastLinear", skip_init(FastLinear, hidden + seen, 2 * latent))
        initialise(self.message, "glorot", seeds.torch_generator(seed, "message"))
        self.transition = Transition(latent, hidden, transition, seeds.child(seed, "transition"))
        sizes = (latent, *emission, likelihood.outputs)
        self.emission = MLP(sizes, activation=activation, init="glorot", seed=seeds.child(seed, "emission"))

    # The parts.

    def messages(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the series says of each z_t: means and log-variances (n, T, latent); behind the end they mean nothing."""
        seen = self.likelihood.features(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        if self.direction == "forward":
            states = self.gru(seen)[0]
        else:
            turned = _turned(mask)[..., None]
            states = self.gru(seen.gather(1, turned.expand_as(seen)))[0]
            states = states.gather(1, turned.expand_as(states))
        mean, log_variance = self.message(torch.cat([states, seen], -1)).chunk(2, -1)
        return mean, log_variance.clamp(*LOG_VARIANCE)

    def noise(self, samples: int, n: int, steps: int, generator: torch.Generator) -> Tensor:
        """Return standard normal noise (steps, samples, n, latent)."""
        return torch.randn((steps, samples, n, self.latent), generator=generator)

    def infer(self, x: Tensor, mask: Tensor, noise: Tensor) -> Path:
        """Draw z_1, z_2, ... from q.

        Parameters
        ----------
        x : Tensor (n, T, n_features)
        mask : Tensor (n, T), bool
        noise : Tensor (T, samples, n, latent)
        """
        means, log_variances = self.messages(x, mask)
        found: list[tuple[Tensor, ...]] = []
        z = noise
        for t in range(x.shape[1]):
            prior = self.transition(z) if t else self.transition.first()
            mean, log_variance = merged(means[:, t], log_variances[:, t], *prior)
            z = mean + torch.exp(0.5 * log_variance) * noise[t]
            kl = kl_between(mean, log_variance, *prior).sum(-1).expand(z.shape[:-1])
            ratio = gaussian_log_prob(z, mean, log_variance) - gaussian_log_prob(z, *prior)
            found.append((z, mean.expand_as(z), kl, ratio))
        return Path(*(torch.stack(parts) for parts in zip(*found, strict=True)))

    def fit(self, x: Tensor, mask: Tensor, z: Tensor) -> Tensor:
        """Return log p(x|z) of each sequence, (samples, n), for z (T, samples, n, latent): the sum over its own steps."""
        there = mask.t()  # (T, n)
        steps = z.transpose(0, 1)[:, there]  # (samples, m, latent)
        each = self.likelihood.log_prob(self.emission(steps), x.transpose(0, 1)[there])
        owner = torch.arange(len(x)).expand(there.shape)[there]
        return each.new_zeros(z.shape[1], len(x)).index_add(1, owner, each)

    # The bound.

    def log_weights(
        self, x: Tensor, mask: Tensor, samples: int, generator: torch.Generator, noise: Tensor | None = None
    ) -> Tensor:
        """Return log p(x, z) - log q(z|x) for draws of whole paths: (samples, n), in nats."""
        path = self.infer(x, mask, self._noise(x, samples, generator, noise))
        return self.fit(x, mask, path.z) - _over(path.ratio, mask)

    def bound(
        self,
        x: Tensor,
        mask: Tensor,
        generator: torch.Generator | None,
        config: BoundConfig | None = None,
        *,
        noise: Tensor | None = None,
    ) -> Tensor:
        """Return the estimate of the bound per sequence (n,), in nats, without beta, warm-up or free bits.

        `noise` (T, samples, n, latent), where given, takes the place of the generator's.
        """
        config = config or BoundConfig()
        drawn = self._noise(x, config.samples, generator, noise)
        if config.estimator != "B":
            path = self.infer(x, mask, drawn)
            weights = self.fit(x, mask, path.z) - _over(path.ratio, mask)
            return weights.mean(0) if config.estimator == "A" else torch.logsumexp(weights, 0) - math.log(len(weights))
        path = self.infer(x, mask, drawn)
        return (self.fit(x, mask, path.z) - _over(path.kl, mask)).mean(0)

    def loss(self, x: Tensor, mask: Tensor, generator: torch.Generator, config: BoundConfig, step: int = 0) -> Loss:
        """Return what training minimises: nats per sequence, with parts "reconstruction", "kl" and "bound".

        `config.free_bits` is in nats a step. The importance-weighted bound has the part "bound" alone.
        """
        if config.estimator == "iwae":
            value = self.bound(x, mask, generator, config).mean()
            return Loss(-value, {"bound": value})
        if config.estimator == "A" and config.free_bits:
            raise UsageError("free_bits needs the KL of each step in closed form, which estimator B has; choose it.")
        path = self.infer(x, mask, self.noise(config.samples, len(x), x.shape[1], generator))
        fit = self.fit(x, mask, path.z).mean()
        cost = path.ratio if config.estimator == "A" else path.kl
        kl = pressed = _over(cost, mask).mean()
        if config.free_bits:
            by_step = torch.where(mask.t(), cost.mean(1), 0.0).sum(1) / len(x)
            floor = config.free_bits * mask.sum(0) / len(x)  # of the sequences that are still there
            pressed = torch.maximum(by_step, floor).sum()
        return Loss(config.weight(step) * pressed - fit, {"reconstruction": fit, "kl": kl, "bound": fit - kl})

    def kl_per_step(self, x: Tensor, mask: Tensor, generator: torch.Generator, samples: int = 8) -> Tensor:
        """Return the KL of each step (T,), in nats, averaged over the sequences that have it."""
        path = self.infer(x, mask, self.noise(samples, len(x), x.shape[1], generator))
        return torch.where(mask.t(), path.kl.mean(1), 0.0).sum(1) / mask.sum(0).clamp(min=1)

    # Using it.

    def smooth(
        self,
        x: Tensor,
        mask: Tensor,
        generator: torch.Generator | None,
        samples: int = 32,
        *,
        noise: Tensor | None = None,
    ) -> Tensor:
        """Return the means of q(z_t|x) given what the direction lets it see: (n, T, latent), averaged over draws of the past."""
        return self.infer(x, mask, self._noise(x, samples, generator, noise)).mean.mean(1).transpose(0, 1)

    def filter(
        self,
        x: Tensor,
        mask: Tensor,
        generator: torch.Generator | None,
        samples: int = 32,
        *,
        noise: Tensor | None = None,
    ) -> Tensor:
        """Return the means of q(z_t|x_{1..t}) (n, T, latent): what is known of z_t before x_{t+1} comes.

        Direction "backward" reads every beginning of the series anew, T times.
        """
        noise = self._noise(x, samples, generator, noise)
        if self.direction == "forward":
            return self.smooth(x, mask, None, noise=noise)
        ends = [self.infer(x[:, : t + 1], mask[:, : t + 1], noise[: t + 1]).mean[-1] for t in range(x.shape[1])]
        return torch.stack(ends).mean(1).transpose(0, 1)

    def forecast(self, x: Tensor, mask: Tensor, steps: int, samples: int, generator: torch.Generator) -> Tensor:
        """Draw what follows each series: (samples, n, steps, n_features)."""
        at_least("steps", steps, 1, whole=True)
        at_least("samples", samples, 1, whole=True)
        path = self.infer(x, mask, self.noise(samples, len(x), x.shape[1], generator))
        last = (mask.sum(1) - 1)[None, None, :, None].expand(1, *path.z.shape[1:])
        return self._onwards(path.z.gather(0, last)[0], steps, generator)

    def generate(self, n: int, steps: int, generator: torch.Generator) -> Tensor:
        """Draw n series of so many steps: (n, steps, n_features)."""
        at_least("steps", steps, 1, whole=True)
        mean, log_variance = self.transition.first()
        z = mean + torch.exp(0.5 * log_variance) * torch.randn((1, n, self.latent), generator=generator)
        x = self.likelihood.sample(self.emission(z), generator)[:, :, None]
        return (torch.cat([x, self._onwards(z, steps - 1, generator)], 2) if steps > 1 else x)[0]

    def _onwards(self, z: Tensor, steps: int, generator: torch.Generator) -> Tensor:
        found = []
        for _ in range(steps):
            mean, log_variance = self.transition(z)
            z = mean + torch.exp(0.5 * log_variance) * torch.randn(z.shape, generator=generator)
            found.append(self.likelihood.sample(self.emission(z), generator))
        return torch.stack(found, -2)

    def _noise(self, x: Tensor, samples: int, generator: torch.Generator | None, noise: Tensor | None) -> Tensor:
        if noise is not None:
            return noise
        if generator is None:
            raise UsageError("give a generator, or noise.")
        return self.noise(samples, len(x), x.shape[1], generator)


def _turned(mask: Tensor) -> Tensor:
    """Return the places (n, T) that turn each sequence round within its own length; the padding stays behind."""
    places, lengths = torch.arange(mask.shape[1]), mask.sum(1, keepdim=True)
    return torch.where(places < lengths, lengths - 1 - places, places)


def _over(each: Tensor, mask: Tensor) -> Tensor:
    """Return the sums (samples, n) of (T, samples, n) over each sequence's own steps."""
    return torch.where(mask.t()[:, None], each, 0.0).sum(0)
