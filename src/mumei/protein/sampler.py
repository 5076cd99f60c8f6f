"""Metropolis chains with simulated annealing over an energy (Verkuil and others 2022), many at once and ahead of themselves.

A step draws a site and a residue and takes the change with probability min(1, exp(-change / T) q(back) / q(there)). What step t
of a chain draws depends on (seed, chain, t) alone (`draws`), so three things may be done that change no trajectory:

- many chains share a batch;
- a chain judges its next K proposals from where it stands, takes the first that is accepted, and forgets the later ones, which
  it draws again from the new place (speculative steps). K follows the acceptance seen: half of its inverse;
- what is known is not computed again: a masked pass has both residues' probabilities, the current energy is that of the step
  that was accepted, and a proposal that comes again before the chain moves is remembered.

Batches differ in the last bit of their floats, so trajectories agree as far as that decides no step; the same run, cut and
resumed, does the same batches and agrees to the bit.

Proposals are uniform, as published, or informed: the residue is drawn from (1 - e) p(a | the rest) + e uniform, p that of the
terms that are known for all residues at a place (language, n-gram, bias) at the step's temperature. It depends on the other
residues only, so q(back) is known without another pass.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mumei.core.errors import UsageError, unknown
from mumei.core.memory import freed_memory_kept
from mumei.protein import draws
from mumei.protein.energy import Energy, Proposals
from mumei.protein.energy_structure import DrawnStructureTerm
from mumei.protein.moves import Moves
from mumei.protein.schedule import Schedule, temperature_of

PROPOSALS = ("uniform", "informed")
FLAT = 0.05  # the uniform part of informed proposals
MEMORY = 0.98  # of the acceptance that K follows
WARM_UP = 200  # proposals from which a temperature is set
GAIN = 1e-3  # a fall of the best energy that counts


@dataclass(frozen=True)
class Settings:
    """How chains run.

    Parameters
    ----------
    steps : int
        Of each chain.
    chains : int
    proposal : {"uniform", "informed"}
    keep : {"last", "best"}
        Which state a chain gives back.
    lookahead : int
        Most proposals that a chain judges ahead; 1 is serial.
    patience : int
        Steps without a better state, in the second half, after which a chain ends; 0 for never.
    every : int
        Steps between records of the trace.
    redraw : int
        Steps between draws of the structure in free generation.
    """

    steps: int = 170_000
    chains: int = 1
    proposal: str = "uniform"
    keep: str = "last"
    lookahead: int = 1
    patience: int = 0
    every: int = 1000
    redraw: int = 3

    def __post_init__(self) -> None:
        if self.proposal not in PROPOSALS:
            raise unknown("proposal", self.proposal, PROPOSALS)
        if self.keep not in ("last", "best"):
            raise unknown("state to keep", self.keep, ("last", "best"))
        for name in ("steps", "chains", "lookahead", "every", "redraw"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name}={getattr(self, name)} is not allowed; give 1 or more.")


PRESETS = {
    "paper": Settings(),
    "fast": Settings(10_000, 16, "informed", "best", 32, 2000, 100),
}


class Sampler:
    """Chains that go on from where they are.

    Parameters
    ----------
    energy : Energy
    moves : Moves
    schedule : Schedule
    settings : Settings
    seed : int
        Step t of chain c draws by (seed, c, t).
    starts : Tensor (chains, L) int64, optional
        Drawn by `moves` where left out.

    Attributes
    ----------
    tokens, best : Tensor (chains, L)
    values : Tensor (chains, terms) float64
        Of `tokens`, unweighted, as far as a chain knows them.
    step, moved, proposed : Tensor (chains,) int64
        Steps done; changes accepted and judged.
    trace : list of dict
        A record each `settings.every` steps of each chain.
    """

    def __init__(
        self,
        energy: Energy,
        moves: Moves,
        schedule: Schedule,
        settings: Settings,
        seed: int = 0,
        starts: Tensor | None = None,
    ):
        self.energy, self.moves, self.schedule, self.settings, self.seed = energy, moves, schedule, settings, seed
        n = settings.chains
        self.tokens = moves.starts(n, seed) if starts is None else starts.clone()
        if len(self.tokens) != n:
            raise UsageError(f"there are {len(self.tokens)} sequences to start with and {n} chains; give one for each.")
        self._key = draws.keys(seed, n, "chain")
        self._single = (moves.sites >= 0).sum(1) == 1
        self._allowed = torch.zeros(len(moves.groups), 20, dtype=torch.bool)
        self._allowed.scatter_(1, moves.lists, torch.arange(20) < moves.sizes[:, None])
        self.values = energy.start(self.tokens)
        self.violation = moves.violation(self.tokens)
        self.step = torch.zeros(n, dtype=torch.int64)
        self.moved, self.proposed = self.step.clone(), self.step.clone()
        self.done = torch.zeros(n, dtype=torch.bool)
        self.best, self.best_values = self.tokens.clone(), self.values.clone()
        self.best_total, self.best_step = energy.total(self.values), self.step.clone()
        self.marked_total, self.marked_step = self.best_total.clone(), self.step.clone()
        self.acceptance, self.rounds = 1.0, 0
        self.trace: list[dict[str, Any]] = []
        self._drawn = next((t for t in energy.terms if isinstance(t, DrawnStructureTerm)), None)
        self._structure = [t.name for t in energy.terms].index(self._drawn.name) if self._drawn else -1
        self._record(torch.arange(n))

    @property
    def finished(self) -> bool:
        """Whether all chains have ended."""
        return bool(self.done.all())

    @property
    def results(self) -> tuple[Tensor, Tensor]:
        """Return the sequences kept (chains, L) and the terms' values that their chains know (chains, terms)."""
        return (self.best, self.best_values) if self.settings.keep == "best" else (self.tokens, self.values)

    def run(self, *, after: Callable[[Sampler], Any] | None = None, rounds: int | None = None) -> Sampler:
        """Go on to the end, or for so many rounds; `after` is called after each round."""
        with freed_memory_kept():
            while not self.finished and (rounds is None or rounds > 0):
                self.round()
                rounds = None if rounds is None else rounds - 1
                if after is not None:
                    after(self)
        return self

    def round(self) -> None:
        """Bring every chain on by the steps that it can judge from where it stands."""
        active = torch.where(~self.done)[0]
        horizon = self._horizon(active)
        row = active.repeat_interleave(horizon)
        ahead = torch.cat([torch.arange(int(h)) for h in horizon])
        step = self.step[row] + ahead
        u = draws.step_draws(self._key[row.numpy()], step.numpy())
        temperature = torch.from_numpy(self.schedule(step.numpy()))
        proposals, ratio = self._propose(row, u, temperature)
        changes = (proposals.before != proposals.after).any(1)
        accepted = torch.zeros(len(row), dtype=torch.bool)
        judged = torch.where(changes)[0]
        judged = judged[self._keeps_rules(proposals.take(judged))]
        difference = torch.zeros(len(row), len(self.energy.terms), dtype=torch.float64)
        if len(judged):
            difference[judged] = self.energy.changes(proposals.take(judged))
            exponent = -self.energy.total(difference[judged]) / temperature[judged] + ratio[judged]
            with np.errstate(divide="ignore"):
                accepted[judged] = torch.from_numpy(np.log(u[judged.numpy(), 2])) < exponent
        self._advance(active, horizon, row, ahead, proposals, changes, accepted, difference)
        self.rounds += 1

    def _horizon(self, active: Tensor) -> Tensor:
        """Return how many steps each chain judges: K, but not past its end, a record or a draw of the structure."""
        most = min(self.settings.lookahead, max(1, round(0.5 / max(self.acceptance, 1e-6))))
        step = self.step[active]
        left = torch.minimum(self.settings.steps - step, self.settings.every - step % self.settings.every)
        if self._drawn is not None:
            left = torch.minimum(left, self.settings.redraw - step % self.settings.redraw)
        return left.clamp(max=most)

    def _propose(self, row: Tensor, u: np.ndarray, temperature: Tensor) -> tuple[Proposals, Tensor]:
        """Return proposals and log q(back) - log q(there)."""
        count = len(self.moves.groups)
        group = torch.from_numpy((u[:, 0] * count).astype(np.int64)).clamp(max=count - 1)
        sites = self.moves.sites[group]
        residue = self.moves.uniform(group, u[:, 1])
        ratio = torch.zeros(len(row), dtype=torch.float64)
        if self.settings.proposal == "informed":
            single = torch.where(self._single[group])[0]
            if len(single):
                site, where = sites[single, 0], row[single]
                p = self._informed(where, site, group[single], temperature[single])
                drawn = (
                    p.cumsum(1)[:, :-1] <= torch.from_numpy(u[single.numpy(), 1])[:, None] * p.sum(1, keepdim=True)
                ).sum(1)
                residue[single] = drawn
                old = self.tokens[where, site]
                known = p.gather(1, torch.stack([old, drawn], 1)).clamp(min=1e-300).log()
                ratio[single] = known[:, 0] - known[:, 1]
        before = self.tokens[row]
        after = before.clone()
        for k in range(sites.shape[1]):
            there = torch.where(sites[:, k] >= 0)[0]
            after[there, sites[there, k]] = residue[there]
        return Proposals(row, group, sites, residue, before, after), ratio

    def _informed(self, rows: Tensor, sites: Tensor, group: Tensor, temperature: Tensor) -> Tensor:
        """Return the probability of each residue at a site, (n, 20); 0 for those not allowed."""
        place, back = torch.unique(rows * self.tokens.shape[1] + sites, return_inverse=True)
        energy = self.energy.conditional(self.tokens, place // self.tokens.shape[1], place % self.tokens.shape[1])[back]
        allowed = self._allowed[group]
        p = torch.softmax((-energy / temperature[:, None]).masked_fill(~allowed, -torch.inf), 1)
        return (1 - FLAT) * p + FLAT * allowed / allowed.sum(1, keepdim=True)

    def _keeps_rules(self, proposals: Proposals) -> Tensor:
        if not self.moves.rules or not len(proposals):
            return torch.ones(len(proposals), dtype=torch.bool)
        after = self.moves.violation(proposals.after)
        return (after == 0) | (after < self.violation[proposals.row])

    def _advance(
        self,
        active: Tensor,
        horizon: Tensor,
        row: Tensor,
        ahead: Tensor,
        proposals: Proposals,
        changes: Tensor,
        accepted: Tensor,
        difference: Tensor,
    ) -> None:
        """Move each chain to its first accepted proposal, or past all that were rejected."""
        begin = torch.cumsum(horizon, 0) - horizon
        far = torch.where(accepted, ahead, 1 << 40)
        first = torch.full((len(self.tokens),), 1 << 40).scatter_reduce_(0, row, far, "amin")[active]
        hit = first < (1 << 40)
        done = torch.where(hit, first + 1, horizon)
        used = ahead < done.repeat_interleave(horizon)
        self.step[active] += done
        judged = torch.zeros(len(self.tokens), dtype=torch.int64).index_add_(0, row, (changes & used).long())
        self.proposed += judged
        winners = (begin + first)[hit]
        if len(winners):
            self._move(proposals.take(winners), difference[winners])
        total = int(judged.sum())
        if total:
            keep = MEMORY ** (total / len(active))
            self.acceptance = keep * self.acceptance + (1 - keep) * len(winners) / total
        self._mark(active)

    def _move(self, chosen: Proposals, difference: Tensor) -> None:
        rows = chosen.row
        self.energy.accept(chosen)
        self.tokens[rows] = chosen.after
        self.values[rows] += difference
        self.moved[rows] += 1
        if self.moves.rules:
            self.violation[rows] = self.moves.violation(chosen.after)
        total = self.energy.total(self.values[rows])
        # A state that breaks a rule is not the best, whatever its energy.
        kept = (self.violation[rows] == 0) & ((total < self.best_total[rows]) | (self._best_breaks(rows)))
        better = rows[kept]
        self.best[better], self.best_values[better] = self.tokens[better], self.values[better]
        self.best_total[better], self.best_step[better] = total[kept], self.step[better]

    def _best_breaks(self, rows: Tensor) -> Tensor:
        if not self.moves.rules:
            return torch.zeros(len(rows), dtype=torch.bool)
        return self.moves.violation(self.best[rows]) > 0

    def _mark(self, active: Tensor) -> None:
        """Redraw structures, record, and end chains, where their step says so."""
        step = self.step[active]
        if self._drawn is not None:
            due = active[(step % self.settings.redraw == 0) & (step < self.settings.steps)]
            if len(due):
                self.values[due, self._structure] = self._drawn.redraw(due, self.step[due] // self.settings.redraw)
        ended = step >= self.settings.steps
        recorded = (step % self.settings.every == 0) | ended
        if self.settings.patience:
            gained = self.best_total[active] < self.marked_total[active] - GAIN
            at = active[recorded & gained]
            self.marked_total[at], self.marked_step[at] = self.best_total[at], self.step[at]
            waited = (step - self.marked_step[active] >= self.settings.patience) & (step * 2 >= self.settings.steps)
            ended = ended | (recorded & waited)
        self.done[active[ended]] = True
        if bool(recorded.any()):
            self._record(active[recorded])

    def _record(self, rows: Tensor) -> None:
        total, temperature = self.energy.total(self.values), self.schedule(self.step.numpy())
        for c in rows.tolist():
            self.trace.append(
                {
                    "chain": c, "step": int(self.step[c]), "temperature": float(temperature[c]),
                    **dict(zip(self.energy.names, self.values[c].tolist(), strict=True)), "total": float(total[c]),
                    "moved": int(self.moved[c]), "proposed": int(self.proposed[c]),
                }
            )  # fmt: skip


def warm_up(energy: Energy, moves: Moves, seed: int, n: int = WARM_UP, starts: Tensor | None = None) -> np.ndarray:
    """Return the energy changes of n uniform proposals that change something, from drawn starts or given ones; float64."""
    tokens = moves.starts(min(8, n), seed) if starts is None else starts
    settings = Settings(steps=1 << 30, chains=len(tokens), every=1 << 30)
    sampler = Sampler(energy, moves, Schedule(1.0), settings, seed, tokens)
    each = -(-n // len(tokens))
    row = torch.arange(len(tokens)).repeat_interleave(each)
    step = np.tile(np.arange(each), len(tokens))
    u = draws.step_draws(draws.keys(seed, len(tokens), "warm-up")[row.numpy()], step)
    proposals, _ = sampler._propose(row, u, torch.ones(len(row)))
    some = proposals.take(torch.where((proposals.before != proposals.after).any(1))[0])
    return energy.total(energy.changes(some)).numpy()


def automatic(
    energy: Energy, moves: Moves, settings: Settings, seed: int, hot: float = 0.8, cold: float = 0.01
) -> Schedule:
    """Return a geometric schedule: from where 80% of proposals are taken at drawn starts, to where 1% are at a state that
    8 L greedy steps lead to.
    """
    first = temperature_of(warm_up(energy, moves, seed), hot)
    greedy = replace(
        settings, steps=8 * len(moves.allowed), chains=4, patience=0, every=1 << 30, keep="last", lookahead=4
    )
    quenched = Sampler(energy, moves, Schedule(first * 1e-4), greedy, seed).run().tokens
    last = temperature_of(warm_up(energy, moves, seed + 1, starts=quenched), cold)
    return Schedule.geometric(first, min(last, first), settings.steps)
