"""The paper's own estimator of the marginal likelihood, from samples of the posterior.

Source: Kingma and Welling 2013, appendix D. (i) Draw posterior samples by Hamiltonian Monte Carlo; (ii) fit a density q to them;
(iii) draw NEW posterior samples z_l, for which

    1 / p(x)  ~  (1/L) sum_l  q(z_l) / (p(z_l) p(x|z_l)).

It is a harmonic mean: where q has wider tails than the posterior its variance is infinite, and then neither the value nor its
standard error means much. Even where that is finite, too few samples miss q's tail, and the value comes out too high: on a
Gaussian posterior in two dimensions the errors are about right with 400 samples, and about half of what they should be with the
paper's 50. Chains that miss a mode of the posterior make the value too low by that mode's share. The paper uses it below five
latent dimensions. Give `iwae` or `ais` beside it.

Departures from the paper (50 samples a point, 4 leapfrog steps; everything else from `dpkingma/anglepy`):

- Several chains a row, whose spread gives the standard error in spite of the samples of one chain depending on each other; with
  one chain, successive batches of its samples do. The first half of each chain fits q, the second half estimates.
- Chains start at q(z|x) where there is an encoder, else from the prior; step sizes are tuned while burning in and then fixed.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from mumei.core.config import at_least
from mumei.core.errors import UsageError
from mumei.vae import kde
from mumei.vae.estimate import Block, Estimate, Problem, Progress, finish, log_mean
from mumei.vae.hmc import Position, StepSize, move, place

MOST_LATENT = 5
FIRST_STEP = 0.1
GROUPS = 8  # at least so many groups of samples give the standard error
DISTANCES = 1 << 23  # between samples, at a time; 64 MB
TAIL = "harmonic means can have infinite variance: the standard errors hold only where q is narrower than the posterior"


def appendix_d(
    net: Any,
    x: Tensor,
    generator: torch.Generator,
    *,
    samples: int = 200,
    chains: int = 10,
    burn_in: int = 100,
    leapfrog: int = 4,
    acceptance: float = 0.9,
    force: bool = False,
    covariates: Tensor | None = None,
    progress: Progress | None = None,
) -> Estimate:
    """Estimate log p(x) of each row by the paper's appendix D.

    Parameters
    ----------
    net : object with `likelihood`, `latent` and `decode`
        `encode`, where there is one, says where chains start.
    x : Tensor (n, n_features)
        Rows as the likelihood sees them.
    generator : torch.Generator
    samples : int
        Posterior samples a row, over all chains: half of them fit q, half estimate. The paper takes 50.
    chains : int
        Chains a row, each of at least four samples. The paper takes 1.
    burn_in : int
        Transitions of each chain that are thrown away, in which step sizes are tuned.
    leapfrog : int
        Steps in a transition.
    acceptance : float
        What step sizes are tuned to.
    force : bool
        Go on above five latent dimensions.
    covariates : Tensor (n, covariates), optional
    progress : callable, optional
        Called with the number of rows done.

    Returns
    -------
    Estimate
        Its settings hold "acceptance_reached" and "single_gaussians", the rows whose q is one Gaussian for want of samples.

    Raises
    ------
    UsageError
        More than five latent dimensions without `force`; a setting or a shape that is not allowed.
    NonFiniteError
        The density is not finite where a chain starts, or a row's value is not.
    """
    for name, value, low in (("chains", chains, 1), ("burn_in", burn_in, 1), ("leapfrog", leapfrog, 1)):
        at_least(name, value, low, whole=True)
    at_least("samples", samples, 4 * chains, whole=True)
    StepSize(target=acceptance)  # an acceptance that is not allowed is named before any work
    if net.latent > MOST_LATENT and not force:
        raise UsageError(
            f"appendix_d was asked for {net.latent} latent dimensions; it is unreliable above {MOST_LATENT}, where a "
            "density cannot be fitted to a few samples. Use 'iwae' or 'ais', or give force=True."
        )
    problem = Problem(net, x, covariates)
    half = samples // chains // 2
    rows = min(problem.rows_at_a_time(chains), max(1, DISTANCES // (half * chains) ** 2))
    values, errors, reached, single, kind = [], [], [], 0, ""
    for block in problem.blocks(rows, progress):
        sampler = _Sampler(block, leapfrog, generator)
        step = sampler.tune(place(_start(problem, block, chains, generator), block.target), burn_in, acceptance)
        old, _ = sampler.draw(half, step)
        q = kde.fit(_by_row(old))
        new, joint = sampler.draw(samples // chains - half, step)
        ratio = q.log_prob(_by_row(new)) - _by_row(joint[..., None])[..., 0].to(torch.float64)
        value, error = log_mean(ratio.T, _groups(chains, len(new)))
        values.append(-value)
        errors.append(error)
        reached.append(sampler.reached())
        single, kind = single + int(q.single.sum()), block.target.kind
    settings = {
        "samples": samples // chains * chains,
        "chains": chains,
        "burn_in": burn_in,
        "leapfrog": leapfrog,
        "acceptance": acceptance,
        "gradient": kind,
        "acceptance_reached": float(torch.cat(reached).mean()),
        "single_gaussians": single,
        "force": force,
    }
    return finish(values, errors, "appendix_d", settings, _notes(net.latent, single))


def _notes(latent: int, single: int) -> list[str]:
    notes = [TAIL]
    if single:
        notes.append(
            f"{single} rows have too few distinct samples for kernels: q is one Gaussian there; take more samples"
        )
    if latent > MOST_LATENT:
        notes.append(f"forced at {latent} latent dimensions: unreliable above {MOST_LATENT}")
    return notes


def _start(problem: Problem, block: Block, chains: int, generator: torch.Generator) -> Tensor:
    """Draw z (chains, r, latent) from q(z|x), or from the prior where there is no encoder."""
    shape = (chains, len(block), problem.net.latent)
    noise = torch.randn(shape, generator=generator, dtype=block.x.dtype, device=block.x.device)
    if not callable(getattr(problem.net, "encode", None)):
        return noise
    mean, log_variance = problem.net.encode(block.x, *block.extra)
    return mean + torch.exp(0.5 * log_variance) * noise


def _groups(chains: int, count: int) -> int:
    """Return into how many runs of successive samples of a chain the samples are cut, for the standard error."""
    return chains * max(1, min(count // 2, math.ceil(GROUPS / chains)))


def _by_row(samples: Tensor) -> Tensor:
    """Turn (count, chains, r, width) into (r, chains * count, width), each chain's samples together."""
    return samples.permute(2, 1, 0, 3).flatten(1, 2)


class _Sampler:
    """A block's chains, their step sizes and how often they accept."""

    def __init__(self, block: Block, leapfrog: int, generator: torch.Generator):
        self.target, self.leapfrog, self.generator = block.target, leapfrog, generator
        self.position: Position
        self.shares: list[Tensor] = []

    def tune(self, position: Position, transitions: int, acceptance: float) -> Tensor:
        """Burn in: one step size for all in the first half, one a row (r,) in the second, whose later half is averaged."""
        self.position = position
        common = StepSize(FIRST_STEP, acceptance)
        for _ in range(transitions // 2):
            common.update(self._move(common.value))
        own = StepSize(common.value, acceptance, chains=position.z.shape[-2])
        found = []
        for _ in range(transitions - transitions // 2):
            own.update(self._move(own.value))
            found.append(own.value.log())
        return torch.stack(found[len(found) // 2 :]).mean(0).exp().to(position.z)

    def draw(self, count: int, step: Tensor) -> tuple[Tensor, Tensor]:
        """Return the next samples (count, chains, r, latent) and log p(x, z) (count, chains, r)."""
        found, values = [], []
        for _ in range(count):
            self.shares.append(self._move(step).mean(0))
            found.append(self.position.z)
            values.append(self.position.value)
        return torch.stack(found), torch.stack(values)

    def reached(self) -> Tensor:
        """Return each row's mean acceptance (r,) since tuning."""
        return torch.stack(self.shares).mean(0)

    def _move(self, step: Any) -> Tensor:
        done = move(self.position, self.target, step, self.leapfrog, self.generator, jitter=0.2)
        self.position = done.position
        return done.probability
