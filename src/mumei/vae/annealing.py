"""Annealed importance sampling: log p(x) by a slow walk from a distribution that can be drawn from to the posterior.

Source: Neal 2001, "Annealed importance sampling"; Wu and others 2017, "On the quantitative analysis of decoder-based generative
models", for its use on decoders and for the sigmoidal temperatures. With p_t(z) proportional to base(z)^(1-t) p(x, z)^t, z_0
drawn from base, and a Hamiltonian transition that leaves p_t as it is after each temperature t_k,

    log w = sum_k (t_k - t_(k-1)) [log p(x, z_(k-1)) - log base(z_(k-1))],      E[w] = p(x) for any number of temperatures.

The value is the logarithm of the mean w over chains: below log p(x) in expectation, and close to it once the chains agree.

Step sizes are learned on pilot chains that are thrown away, one a row and temperature, and are then fixed: sizes that follow the
chains that are counted would spoil E[w] = p(x).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mumei.core.config import at_least, one_of
from mumei.vae.estimate import Block, Estimate, Problem, Progress, finish, log_mean
from mumei.vae.hmc import Position, StepSize, move, place, prior
from mumei.vae.targets import GaussianTarget, Target

SCHEDULES = ("sigmoidal", "linear")
STARTS = ("prior", "posterior")
STEEPNESS = 4.0  # of the sigmoidal schedule, as in Wu and others
PILOTS = 4  # chains a row that step sizes are learned on
SMOOTH = 9  # temperatures over which a learned step size is averaged
FIRST_STEP = 0.3  # in units of the prior's deviation


def temperatures(count: int, schedule: str = "sigmoidal") -> Tensor:
    """Return `count` + 1 rising numbers from 0 to 1, float64.

    "sigmoidal" takes small steps at both ends, where the log weights change most.

    Examples
    --------
    >>> temperatures(4, "linear").tolist()
    [0.0, 0.25, 0.5, 0.75, 1.0]
    """
    at_least("temperatures", count, 1, whole=True)
    one_of("schedule", schedule, SCHEDULES)
    even = torch.linspace(0.0, 1.0, count + 1, dtype=torch.float64)
    if schedule == "linear":
        return even
    curve = torch.sigmoid(STEEPNESS * (2.0 * even - 1.0))
    return ((curve - curve[0]) / (curve[-1] - curve[0])).clamp(0.0, 1.0)


def ais(
    net: Any,
    x: Tensor,
    generator: torch.Generator,
    *,
    chains: int = 10,
    temperatures: int = 500,
    schedule: str = "sigmoidal",
    leapfrog: int = 5,
    acceptance: float = 0.8,
    start: str = "prior",
    covariates: Tensor | None = None,
    progress: Progress | None = None,
) -> Estimate:
    """Estimate log p(x) of each row by annealed importance sampling.

    Parameters
    ----------
    net : object with `likelihood`, `latent` and `decode`
        And `encode`, for start="posterior".
    x : Tensor (n, n_features)
        Rows as the likelihood sees them.
    generator : torch.Generator
    chains : int
        Chains a row, at least 2: the standard error needs two.
    temperatures : int
    schedule : {"sigmoidal", "linear"}
    leapfrog : int
        Steps in the one transition at each temperature.
    acceptance : float
        What step sizes are tuned to.
    start : {"prior", "posterior"}
        Where chains start: N(0, I), or q(z|x). The latter needs several times fewer temperatures, but finds no mode of the
        posterior that q misses: the value is then low, and its standard error does not show it.
    covariates : Tensor (n, covariates), optional
    progress : callable, optional
        Called with the number of rows done.

    Returns
    -------
    Estimate
        Its settings hold the mean "acceptance_reached" and "log_weight_deviation", the median over rows of the standard deviation
        of log w between chains: above about 1 the chains disagree, and more temperatures are needed.

    Raises
    ------
    UsageError
        A setting or a shape is not allowed.
    NonFiniteError
        The density is not finite where a chain starts, or a row's value is not.
    """
    at_least("chains", chains, 2, whole=True)
    at_least("leapfrog", leapfrog, 1, whole=True)
    one_of("start", start, STARTS)
    ladder = _ladder(temperatures, schedule)
    StepSize(target=acceptance)  # an acceptance that is not allowed is named before any work
    problem = Problem(net, x, covariates)
    if start == "posterior":
        problem.needs_encoder("ais from the posterior")
    values, errors, deviations, reached, kind = [], [], [], [], ""
    for block in problem.blocks(problem.rows_at_a_time(chains), progress):
        walk = _Walk(problem, block, ladder, leapfrog, generator, start)
        steps = walk.learn(min(chains, PILOTS), acceptance)
        weights, taken = walk.run(chains, steps)
        value, error = log_mean(weights)
        for found, new in ((values, value), (errors, error), (deviations, weights.std(0)), (reached, taken)):
            found.append(new)
        kind = block.target.kind
    deviation = float(torch.cat(deviations).median())
    settings = {
        "chains": chains,
        "temperatures": temperatures,
        "schedule": schedule,
        "leapfrog": leapfrog,
        "acceptance": acceptance,
        "start": start,
        "gradient": kind,
        "acceptance_reached": float(torch.cat(reached).mean()),
        "log_weight_deviation": deviation,
    }
    return finish(values, errors, "ais", settings, _notes(deviation))


def _notes(deviation: float) -> list[str]:
    if deviation <= 1.0:
        return []
    return [
        f"the chains of a row differ by {deviation:.1f} nats (standard deviation, median over rows): the values are low and "
        "their standard errors too small; take more temperatures, leapfrog steps or chains"
    ]


_ladder = temperatures  # the argument of that name hides the function


class _Walk:
    """One block's chains between the same two distributions, along the same temperatures."""

    def __init__(
        self, problem: Problem, block: Block, ladder: Tensor, leapfrog: int, generator: torch.Generator, start: str
    ):
        self.target, self.ladder, self.leapfrog, self.generator = block.target, ladder.tolist(), leapfrog, generator
        shape, options = (len(block), problem.net.latent), {"dtype": block.x.dtype, "device": block.x.device}
        self.base: Target = prior
        self.mean, self.deviation = torch.zeros(shape, **options), torch.ones(shape, **options)
        if start == "posterior":
            self.mean, log_variance = problem.net.encode(block.x, *block.extra)
            self.deviation, self.base = torch.exp(0.5 * log_variance), GaussianTarget(self.mean, log_variance)

    def learn(self, chains: int, acceptance: float) -> list[Tensor]:
        """Return a step size for each temperature and row (r,), learned on pilot chains."""
        first = FIRST_STEP * float(self.deviation.min())
        tuner = StepSize(first, acceptance, chains=self.mean.shape[0])
        found, position = [], self._start(chains)
        for t in self.ladder[1:]:
            done = self._move(position, tuner.value, t)
            # The probability, not the yes or no: less noise for the same mean.
            tuner.update(done.probability)
            found.append(tuner.value.log())
            position = done.position
        return list(_smoothed(torch.stack(found)).exp().to(self.mean))

    def run(self, chains: int, steps: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Return log weights (chains, r), float64, and each row's share of accepted transitions (r,)."""
        position, weights = self._start(chains), torch.zeros((chains, len(self.mean)), dtype=torch.float64)
        weights, taken = weights.to(self.mean.device), torch.zeros(len(self.mean), device=self.mean.device)
        last = len(self.ladder) - 1
        for k in range(1, last + 1):
            rise = self.ladder[k] - self.ladder[k - 1]
            weights += rise * (position.value - self.base(position.z)[0]).to(torch.float64)
            if k < last:  # a move after the last weight would change nothing
                done = self._move(position, steps[k - 1], self.ladder[k])
                position, taken = done.position, taken + done.probability.mean(0)
        return weights, taken / max(last - 1, 1)

    def _start(self, chains: int) -> Position:
        shape = (chains, *self.mean.shape)
        noise = torch.randn(shape, generator=self.generator, dtype=self.mean.dtype, device=self.mean.device)
        return place(self.mean + self.deviation * noise, self.target)

    def _move(self, position: Position, step: Tensor, temperature: float) -> Any:
        return move(
            position,
            self.target,
            step,
            self.leapfrog,
            self.generator,
            temperature=temperature,
            base=self.base,
            jitter=0.2,
        )


def _smoothed(logs: Tensor) -> Tensor:
    """Return means (t, r) over a window of `SMOOTH` temperatures, narrower at both ends."""
    half = min(SMOOTH, len(logs)) // 2
    sums = torch.cat([torch.zeros_like(logs[:1]), logs.cumsum(0)])
    at = torch.arange(len(logs))
    reach = torch.minimum(torch.minimum(at, len(logs) - 1 - at), torch.tensor(half))
    return (sums[at + reach + 1] - sums[at - reach]) / (2 * reach + 1)[:, None]
