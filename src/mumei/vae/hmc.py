"""Hamiltonian Monte Carlo on z given x, many chains at once, with the step size tuned to a wanted acceptance.

Source: Kingma and Welling 2013, sections 2 and 5 and appendix D (Monte Carlo EM and the marginal likelihood); Duane and
others 1987; Neal 2011, "MCMC using Hamiltonian dynamics". One leapfrog step of size s on position z and momentum p:

    p <- p + s/2 grad log f(z);   z <- z + s p;   p <- p + s/2 grad log f(z)

and the end of a trajectory is accepted with probability min(1, exp(H_start - H_end)), H = -log f(z) + |p|^2 / 2.

Shapes: rows are data points, one chain each; chains of the same row may stand in front of them, z (..., n, latent).

Departures from the paper, which says no more than "HMC, step size tuned to 90 % acceptance":

- The tuner follows the first author's program (`dpkingma/anglepy`) where one step size serves all chains, but its factor
  shrinks at each change of direction, down to 1.02: at a constant factor of 1.25 the acceptance swings about the wanted one.
  With one step size a chain, that program multiplies and divides by e^1.02, which rests at an acceptance of one half; here the
  logarithm moves by rate * (accepted - target), which rests at the target.
- The step's sign is random, as there (harmless: the momentum is symmetric). A jitter of its size may be asked for; it breaks
  the cycles of a fixed trajectory length on a nearly Gaussian target.
- A trajectory that runs off to a density of NaN or zero is rejected.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from mumei.core.config import at_least
from mumei.core.errors import NonFiniteError, UsageError
from mumei.vae.likelihoods import standard_log_prob
from mumei.vae.targets import Target, autograd_target, fast_target, mlp_target

__all__ = [
    "Move",
    "Position",
    "StepSize",
    "Target",
    "autograd_target",
    "fast_target",
    "hmc_step",
    "leapfrog",
    "mlp_target",
    "move",
    "place",
    "prior",
]

FACTOR, GROWTH, MOST = 1.25, 1.02, 100  # the first author's: largest factor, its growth a chain, chains it grows over


@dataclass(frozen=True)
class Position:
    """Where chains stand: z (..., n, latent), the target's log density (..., n) there and its gradient, as z."""

    z: Tensor
    value: Tensor
    gradient: Tensor


@dataclass(frozen=True)
class Move:
    """What a transition came to: the new position, who accepted (..., n) bool, and with what probability (..., n)."""

    position: Position
    accepted: Tensor
    probability: Tensor


def prior(z: Tensor) -> tuple[Tensor, Tensor]:
    """Return log N(z; 0, I) (..., n) and its gradient: the target that annealing starts from."""
    return standard_log_prob(z), -z


def place(z: Tensor, target: Target) -> Position:
    """Evaluate the target at z (..., n, latent).

    Raises
    ------
    NonFiniteError
        The log density is not finite there: no trajectory could be judged from it.
    """
    value, gradient = target(z)
    if not bool(torch.isfinite(value).all()):
        bad = int((~torch.isfinite(value)).sum())
        raise NonFiniteError(
            f"the log density is not finite at the start of {bad} of {value.numel()} chains; check the network's weights and "
            "the data, or start the chains nearer to the prior."
        )
    return Position(z, value, gradient)


def leapfrog(z: Tensor, momentum: Tensor, target: Target, step: Tensor | float, steps: int) -> tuple[Tensor, Tensor]:
    """Follow Hamilton's equations for `steps` leapfrog steps; return z and momentum, both (..., n, latent).

    Parameters
    ----------
    z, momentum : Tensor (..., n, latent)
    target : Target
    step : float or Tensor that broadcasts to (..., n)
    steps : int
    """
    size = _column(step)
    slope = gradient_of(target)
    momentum = momentum + 0.5 * size * slope(z)
    for i in range(steps):
        z = z + size * momentum
        momentum = momentum + (size if i < steps - 1 else 0.5 * size) * slope(z)
    return z, momentum


def move(
    start: Position,
    target: Target,
    step: Tensor | float,
    steps: int,
    generator: torch.Generator,
    *,
    temperature: float = 1.0,
    base: Target = prior,
    jitter: float = 0.0,
) -> Move:
    """Make one transition that leaves base^(1 - temperature) * target^temperature as it is.

    Knowing the start's density and gradient, and keeping the end's, it costs `steps` gradients, one of them with the density.

    Parameters
    ----------
    start : Position
        Of the target itself, whatever the temperature.
    target, base : Target
    step : float or Tensor that broadcasts to (..., n)
    steps : int
        Leapfrog steps.
    generator : torch.Generator
    temperature : float
        From 0 (base) to 1 (target).
    jitter : float
        In [0, 1): sizes are multiplied by uniform numbers from 1 - jitter to 1 + jitter.

    Returns
    -------
    Move
    """
    mix = _mixer(temperature, base)
    size = _signed(step, start.value, jitter, generator)[..., None]
    kick = torch.randn(start.z.shape, generator=generator, dtype=start.z.dtype, device=start.z.device)
    value, gradient = mix(start.z, start.value, start.gradient)
    z, momentum, slope = start.z, kick + 0.5 * size * gradient, gradient_of(target)
    for _ in range(steps - 1):
        z = z + size * momentum
        momentum = momentum + size * mix(z, None, slope(z))[1]
    z = z + size * momentum
    new_value, new_gradient = target(z)
    end, end_gradient = mix(z, new_value, new_gradient)
    momentum = momentum + 0.5 * size * end_gradient
    gain = end - value + 0.5 * (kick.square().sum(-1) - momentum.square().sum(-1))
    # A trajectory that ran off has a gain of NaN: it is never accepted.
    probability = torch.exp(gain.clamp(max=0.0)).nan_to_num(0.0)
    accepted = torch.rand(gain.shape, generator=generator, dtype=gain.dtype, device=gain.device) < probability
    kept = accepted[..., None]
    position = Position(
        torch.where(kept, z, start.z),
        torch.where(accepted, new_value, start.value),
        torch.where(kept, new_gradient, start.gradient),
    )
    return Move(position, accepted, probability)


def hmc_step(
    z: Tensor,
    target: Target,
    step: Tensor | float,
    leapfrog: int,
    generator: torch.Generator,
    *,
    jitter: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Make one transition of each chain, leaving the target's distribution as it is.

    Parameters
    ----------
    z : Tensor (..., n, latent)
    target : Target
        z to log density (..., n) and gradient (..., n, latent).
    step : float or Tensor (n,)
        Size of a leapfrog step, for all chains or for each.
    leapfrog : int
        Steps in a trajectory.
    generator : torch.Generator
    jitter : float
        In [0, 1): relative half-width of a uniform spread of the step's size.

    Returns
    -------
    z : Tensor (..., n, latent)
    accepted : Tensor (..., n), bool

    Raises
    ------
    UsageError
        A number is out of its range.
    NonFiniteError
        The log density is not finite at z.

    Examples
    --------
    >>> generator = torch.Generator().manual_seed(0)
    >>> z, accepted = hmc_step(torch.zeros(4, 2), prior, 0.5, 10, generator)
    >>> z.shape, accepted.shape
    (torch.Size([4, 2]), torch.Size([4]))
    """
    at_least("leapfrog", leapfrog, 1, whole=True)
    at_least("jitter", jitter, 0.0)
    if jitter >= 1.0:
        raise UsageError(f"jitter={jitter!r} is not allowed; give a number of at least 0 and below 1.")
    if not isinstance(step, Tensor):
        at_least("step", step, 0.0, strictly=True)
    done = move(place(z, target), target, step, leapfrog, generator, jitter=jitter)
    return done.position.z, done.accepted


def gradient_of(target: Target) -> Callable[[Tensor], Tensor]:
    """Return how to get a target's gradient alone: its method `gradient` where it has one, which may be cheaper."""
    own = getattr(target, "gradient", None)
    return (lambda z: target(z)[1]) if own is None else own


def _mixer(temperature: float, base: Target) -> Callable[..., tuple[Any, Tensor]]:
    if temperature == 1.0:
        return lambda z, value, gradient: (value, gradient)

    def mix(z: Tensor, value: Tensor | None, gradient: Tensor) -> tuple[Any, Tensor]:
        low, slope = base(z)
        blended = None if value is None else torch.lerp(low, value, temperature)
        return blended, torch.lerp(slope, gradient, temperature)

    return mix


def _signed(step: Tensor | float, like: Tensor, jitter: float, generator: torch.Generator) -> Tensor:
    draw = torch.rand(like.shape, generator=generator, dtype=like.dtype, device=like.device)
    sign = torch.where(draw < 0.5, -1.0, 1.0).to(like.dtype)
    if jitter:
        spread = torch.rand(like.shape, generator=generator, dtype=like.dtype, device=like.device)
        sign = sign * (1.0 + jitter * (2.0 * spread - 1.0))
    return sign * step


def _column(step: Tensor | float) -> Tensor | float:
    return step[..., None] if isinstance(step, Tensor) and step.dim() else step


class StepSize:
    """A step size that is multiplied or divided after each update, so that the acceptance comes to a wanted one.

    One size for all: the factor is f = min(1.25, 1.02^min(100, chains seen in the update)), or its (1 + r)-th root (at least
    1.02) after r changes of direction; upwards where at least the wanted share was accepted. One size a chain: after update i
    the logarithm moves by max(log 1.25, 2 / sqrt(i)) * (accepted - target).

    Parameters
    ----------
    initial : float
        The first size.
    target : float
        Wanted share of accepted transitions, in (0, 1).
    chains : int, optional
        One size for each of so many rows; else one for all.
    settle : bool
        Take the root; False keeps f, as the first author's program does.

    Raises
    ------
    UsageError
        A value is out of its range.

    Examples
    --------
    >>> tuner = StepSize(0.1)
    >>> tuner.update(torch.tensor([True, True]))
    >>> round(tuner.value, 5)
    0.10404
    """

    def __init__(self, initial: float = 0.1, target: float = 0.9, chains: int | None = None, *, settle: bool = True):
        at_least("initial", initial, 0.0, strictly=True)
        at_least("target", target, 0.0, strictly=True)
        if target >= 1.0:
            raise UsageError(f"target={target!r} is not allowed; give a number between 0 and 1.")
        if chains is not None:
            at_least("chains", chains, 1, whole=True)
        self.target, self.chains, self.settle = float(target), chains, settle
        self.updates, self.turns, self._last = 0, 0, 0
        self._log = torch.full((chains or 1,), math.log(initial), dtype=torch.float64)

    @property
    def value(self) -> Any:
        """The size: a float, or float32 (chains,) where each chain has its own."""
        return float(self._log.exp()) if self.chains is None else self._log.exp().float()

    def update(self, accepted: Tensor) -> None:
        """Learn from a batch's transitions.

        Parameters
        ----------
        accepted : Tensor (..., n), bool or probabilities
            n is `chains` where each chain has its own size.

        Raises
        ------
        UsageError
            Its last axis is not `chains`.
        """
        self.updates += 1
        if self.chains is None:
            self._update_one(accepted)
            return
        if not accepted.dim() or accepted.shape[-1] != self.chains:
            raise UsageError(
                f"accepted has shape {tuple(accepted.shape)}; its last axis must be the {self.chains} chains that this step "
                "size was made for."
            )
        share = accepted.to("cpu", torch.float64).reshape(-1, self.chains).mean(0)
        self._log += max(math.log(FACTOR), 2.0 / math.sqrt(self.updates)) * (share - self.target)

    def _update_one(self, accepted: Tensor) -> None:
        direction = 1 if float(accepted.to(torch.float64).mean()) >= self.target else -1
        self.turns += direction == -self._last
        self._last = direction
        factor = math.log(min(FACTOR, GROWTH ** min(MOST, accepted.numel())))
        if self.settle:
            factor = max(factor / (1 + self.turns), math.log(GROWTH))
        self._log += direction * factor

    def state(self) -> dict[str, Any]:
        """Return JSON values that `from_state` makes it from again, bit for bit."""
        names = ("target", "chains", "settle", "updates", "turns")
        return {**{name: getattr(self, name) for name in names}, "last": self._last, "log": self._log.tolist()}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        """Build the tuner that `state` describes."""
        tuner = cls(target=state["target"], chains=state["chains"], settle=state["settle"])
        tuner.updates, tuner.turns, tuner._last = (int(state[name]) for name in ("updates", "turns", "last"))
        tuner._log = torch.tensor(state["log"], dtype=torch.float64)
        return tuner
