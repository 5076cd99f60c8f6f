"""All that runs can say: every approach that their columns allow, the gates, and a consensus.

The approaches look at the same runs, so agreement between them is no independent evidence: the consensus weighs each exponent
by its own variance, and its interval reaches over all of theirs.

Where a gate refuses the free surface, sizes are planned by the next approach that is not refused: IsoFLOP vertices, the envelope,
a surface with one exponent for both terms.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mumei.core.errors import DataError, UsageError
from mumei.scaling.envelope import Envelope, fit_envelope
from mumei.scaling.fitting import SurfaceFit, fit_surface, largest_out
from mumei.scaling.gates import Gate, agreement, data_gates, envelope_gates, isoflop_gates, surface_gates
from mumei.scaling.isoflop import IsoFlop, budgets_of, fit_isoflop
from mumei.scaling.laws import Allocation
from mumei.scaling.objective import Objective, objective
from mumei.scaling.runs import Choice, Runs, repeats, schedule

FEWEST = 4
ORDER = ("surface", "isoflop", "envelope", "tied surface")


@dataclass(frozen=True)
class Study:
    """What was found.

    Parameters
    ----------
    runs : Runs
        As they were fitted.
    surface, tied : SurfaceFit or None
    isoflop : IsoFlop or None
    envelope : Envelope or None
    gates : list of Gate
    why_not : dict of str to str
        Of each approach that was not possible.
    held_out : dict or None
        The largest budget left out.
    """

    runs: Runs
    surface: SurfaceFit | None = None
    isoflop: IsoFlop | None = None
    envelope: Envelope | None = None
    tied: SurfaceFit | None = None
    gates: list[Gate] = field(default_factory=list)
    why_not: dict[str, str] = field(default_factory=dict)
    held_out: dict[str, float] | None = None

    @property
    def refused(self) -> dict[str, list[str]]:
        """Gates' texts by the approach that they refuse."""
        found: dict[str, list[str]] = {}
        for gate in self.gates:
            if gate.refuses:
                found.setdefault(gate.refuses, []).append(f"{gate.name}: {gate.text}")
        return found

    def exponents(self, level: float = 0.95) -> dict[str, tuple[float, tuple[float, float] | None]]:
        """Return a and its interval by approach, refused ones too."""
        found: dict[str, tuple[float, tuple[float, float] | None]] = {}
        if self.surface is not None:
            found["surface"] = self.surface.law.a, self.surface.interval("a", level)
        if self.isoflop is not None:
            found["isoflop"] = self.isoflop.law.a, self.isoflop.law.interval(level)
        if self.envelope is not None:
            found["envelope"] = self.envelope.law.a, self.envelope.law.interval(level)
        return found

    @property
    def basis(self) -> str | None:
        """The approach by which sizes are planned; None where every one is refused."""
        there = {"surface": self.surface, "isoflop": self.isoflop, "envelope": self.envelope, "tied surface": self.tied}
        return next((name for name in ORDER if there[name] is not None and name not in self.refused), None)

    def consensus(self, level: float = 0.95) -> tuple[float, tuple[float, float]] | None:
        """Return a and its interval over the approaches that are not refused; None where there is none with an interval."""
        kept = {n: e for n, e in self.exponents(level).items() if n not in self.refused and e[1] is not None}
        if not kept:
            return None
        values = np.array([e[0] for e in kept.values()])
        edges = np.array([e[1] for e in kept.values()])
        weights = 1 / np.maximum(edges[:, 1] - edges[:, 0], 1e-6) ** 2
        return float((weights * values).sum() / weights.sum()), (float(edges[:, 0].min()), float(edges[:, 1].max()))

    def optimal(self, flops: float) -> Allocation:
        """Return the allocation by the basis; `DataError` where every approach is refused."""
        law = {"surface": self.surface, "tied surface": self.tied}.get(self.basis or "")
        if law is not None:
            return law.optimal(flops)
        if self.basis == "isoflop" and self.isoflop is not None:
            return self.isoflop.law.optimal(flops)
        if self.basis == "envelope" and self.envelope is not None:
            return self.envelope.law.optimal(flops)
        raise DataError(f"no approach can be trusted on {self.runs.name}: {self.refusals()}")

    def optimal_intervals(self, flops: float, level: float = 0.95) -> dict[str, tuple[float, float]]:
        """Return intervals of the basis at a budget."""
        surface = {"surface": self.surface, "tied surface": self.tied}.get(self.basis or "")
        if surface is not None:
            return surface.optimal_intervals(flops, level)
        fit = {"isoflop": self.isoflop, "envelope": self.envelope}.get(self.basis or "")
        interval = fit.law.optimal_interval(flops, level) if fit is not None else None
        return (
            {}
            if interval is None or fit is None
            else {"params": interval, "tokens": _tokens(flops, interval, fit.law.factor)}
        )

    def refusals(self) -> str:
        """Return why approaches are refused or impossible, in one line."""
        texts = [f"{name} ({'; '.join(why)})" for name, why in self.refused.items()]
        return "; ".join([*texts, *(f"{name} ({why})" for name, why in self.why_not.items())])


def _tokens(flops: float, params: tuple[float, float], factor: float) -> tuple[float, float]:
    return flops / (factor * params[1]), flops / (factor * params[0])


def fit(
    runs: Runs,
    *,
    goal: str | Objective = "hoffmann",
    delta: float | None = None,
    q: float | None = None,
    resamples: int = 1000,
    seed: int = 0,
    mid_schedule: Choice = "ask",
    half_width: float | None = None,
) -> Study:
    """Fit runs by every approach that they allow.

    Parameters
    ----------
    runs : Runs
        Of one experiment: `Runs.of(params, tokens, loss)` or one of `read_runs(path)`.
    goal, delta, q
        The surface's objective, as in `fit_surface`.
    resamples : int
        For all intervals; 0 for sandwich errors alone.
    mid_schedule : "ask", "keep" or "drop"
        What is done with points before the end of their schedule; "ask" keeps them and warns.
    half_width : float, optional
        IsoFLOP profiles use only sizes within this factor of their best.

    Returns
    -------
    Study

    Raises
    ------
    DataError
        No approach is possible at all, or all runs have one budget.
    """
    if mid_schedule not in ("ask", "keep", "drop"):
        raise UsageError(f"mid_schedule is {mid_schedule!r}; give ask, keep or drop.")
    goal = objective(goal, delta, q)
    runs = repeats(schedule(runs, mid_schedule))
    final = runs.final()
    if len(final) < FEWEST:
        raise DataError(
            f"{runs.name}: {len(final)} finished runs are too few to fit anything; give {FEWEST} or more, better 20."
        )
    _check_budgets(final)
    why: dict[str, str] = {}
    surface = held_out = isoflop = envelope = tied = None
    clusters = final.run if final.run is not None and len(np.unique(final.run)) < len(final) else None
    per_token = float(np.median(final.flops / (final.params * final.tokens))) if runs.unique is None else 6.0
    common: dict[str, Any] = {"goal": goal, "clusters": clusters, "seed": seed, "per_token": per_token}
    try:
        surface = fit_surface(final.params, final.tokens, final.loss, resamples=resamples, **common)
        held_out = largest_out(final.params, final.tokens, final.loss, _rounded(final), goal)
    except DataError as error:
        why["surface"] = str(error)
    try:
        isoflop = fit_isoflop(
            final.params,
            final.flops,
            final.loss,
            tokens=final.tokens,
            budgets=final.budgets,
            resamples=resamples,
            seed=seed,
            half_width=half_width,
        )
    except DataError as error:
        why["isoflop"] = str(error)
    if runs.curves:
        try:
            envelope = fit_envelope(
                runs.run, runs.params, runs.flops, runs.loss, resamples=min(resamples, 500), seed=seed
            )
        except DataError as error:
            why["envelope"] = str(error)
    gates = [
        *data_gates(runs),
        *surface_gates(surface, held_out),
        *isoflop_gates(isoflop, surface),
        *envelope_gates(envelope),
    ]
    found = Study(final, surface, isoflop, envelope, None, gates, why, held_out)
    if surface is not None and "surface" in found.refused:
        tied = fit_surface(final.params, final.tokens, final.loss, tied=True, resamples=resamples, **common)
        gates += [_tied(gate) for gate in surface_gates(tied, None) if gate.refuses]
    if surface is None and isoflop is None and envelope is None:
        raise DataError(f"{runs.name}: nothing can be fitted to {len(final)} runs. {' '.join(why.values())}")
    kept = {n: e for n, e in found.exponents().items() if n not in found.refused}
    return Study(final, surface, isoflop, envelope, tied, [*gates, *agreement(kept)], why, held_out)


def _tied(gate: Gate) -> Gate:
    return Gate(gate.name, f"with one exponent: {gate.text}", "tied surface")


def _check_budgets(runs: Runs) -> None:
    low, high = float(runs.flops.min()), float(runs.flops.max())
    if high / low < 1.25:
        best = int(np.argmin(runs.loss))
        raise DataError(
            f"{runs.name}: all runs have one budget ({low:.2e} to {high:.2e} FLOPs), which says nothing of how size grows with "
            f"it. The lowest loss there is {runs.loss[best]:.4g} at {runs.params[best]:.3g} parameters. Add runs at two other "
            "budgets or more."
        )


def _rounded(runs: Runs) -> Any:
    """Return budgets for leaving out the largest: declared ones, found ones, else steps of a factor two."""
    if runs.budgets is not None:
        return runs.budgets
    groups = budgets_of(runs.flops)
    if (groups >= 0).mean() > 0.8:
        middles = np.array([np.exp(np.log(runs.flops[groups == g]).mean()) for g in range(groups.max() + 1)])
        return np.where(groups >= 0, middles[groups], runs.flops)
    return 2.0 ** np.floor(np.log2(runs.flops / runs.flops.max()) + 1e-9) * runs.flops.max()
