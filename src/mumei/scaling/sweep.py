"""Which runs to train next: an IsoFLOP grid for a target budget, centred anew on the law as runs come in.

Budgets are a factor three apart, the largest so that the whole grid costs a given share of the target; sizes reach a factor
four to either side of the best one by the law at hand. With finished runs the law is their own where the gates allow, budgets
that have their minimum inside are done, and a budget whose lowest loss is at an edge gets sizes beyond it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from mumei.core.errors import DataError, UsageError
from mumei.scaling.isoflop import GAP, LEAST
from mumei.scaling.laws import Law, law, positive
from mumei.scaling.runs import Runs
from mumei.scaling.shapes import nearest
from mumei.scaling.study import fit

APART = 3.0
MOST_PASSES = 3  # sizes beyond an edge at once


@dataclass(frozen=True)
class Proposed:
    """A run to train.

    Parameters
    ----------
    budget, params, tokens : float
    why : str
        Part of the grid, or beyond an edge.
    """

    budget: float
    params: float
    tokens: float
    why: str = "grid"

    def to_json(self) -> dict[str, Any]:
        """Return it with the nearest published shape."""
        size, shape, _ = nearest(self.params)
        return {**vars(self), "nearest_shape": {"params": size, **vars(shape)}}


@dataclass(frozen=True)
class Sweep:
    """A grid and its state.

    Parameters
    ----------
    target : float
    budgets : list of float
    next : list of Proposed
        Runs still to train, the cheapest budget first, the sizes nearest to the best one first.
    done : dict of float to str
        What finished runs say of a budget: "minimum at 1.2e9", "edge", "3 of 7 runs".
    cost : float
        FLOPs of all runs still to train.
    centred_on : str
        The law that says where the best sizes are.
    """

    target: float
    budgets: list[float]
    next: list[Proposed]
    done: dict[float, str]
    cost: float
    centred_on: str

    @property
    def finished(self) -> bool:
        """Whether nothing is left to train."""
        return not self.next


def propose(
    flops: float,
    *,
    runs: Runs | None = None,
    by: str | Law = "besiroglu",
    budgets: int = 5,
    points: int = 7,
    half_width: float = 4.0,
    share: float = 0.1,
    resamples: int = 200,
) -> Sweep:
    """Propose the runs to train before a large one.

    Parameters
    ----------
    flops : float
        The target budget.
    runs : Runs, optional
        Finished so far.
    by : str or law
        Where best sizes are before runs say it.
    budgets, points : int
        Of the grid: at least 4 and 5.
    half_width : float
        Sizes reach from best / half_width to best x half_width; above 8 vertices are biased.
    share : float
        Of the target that the whole grid may cost.

    Raises
    ------
    UsageError
        Numbers outside what makes a useful grid.

    Examples
    --------
    >>> grid = propose(1e22)
    >>> len(grid.next), len(grid.budgets), f"{grid.cost / 1e22:.2f}"
    (35, 5, '0.10')
    """
    positive(flops=flops)
    _check(budgets, points, half_width, share)
    total = points * sum(APART**-i for i in range(budgets))
    largest = share * flops / total
    levels = [largest * APART**-i for i in reversed(range(budgets))]
    if runs is not None:
        levels = [_own_level(level, runs) for level in levels]
    chosen, said = _centre(by, runs, resamples)
    todo: list[Proposed] = []
    done: dict[float, str] = {}
    for level in levels:
        best = chosen.optimal(level).params
        sizes = best * np.geomspace(1 / half_width, half_width, points)
        own = _near(runs, level)
        if own is None:
            todo += [_run(level, float(n)) for n in sorted(sizes, key=lambda n: abs(math.log(n / best)))]
            continue
        more, state = _remaining(own, sizes, level, points)
        done[level] = state
        todo += more
    return Sweep(flops, levels, todo, done, float(sum(r.budget for r in todo)), said)


def _check(budgets: int, points: int, half_width: float, share: float) -> None:
    if not 4 <= budgets <= 12:
        raise UsageError(f"{budgets} budgets were asked for; 4 to 12 make a line that can be judged.")
    if not 5 <= points <= 25:
        raise UsageError(f"{points} points a budget were asked for; 5 to 25 make a profile with a minimum.")
    if not 1.5 <= half_width <= 16:
        raise UsageError(
            f"a half-width of {half_width} is not useful; give 1.5 to 16, such as 4: wider grids bias their vertices."
        )
    if not 0 < share <= 1:
        raise UsageError(
            f"a share of {share} is not possible; give the part of the target's FLOPs that the grid may cost, such as 0.1."
        )


def _centre(by: str | Law, runs: Runs | None, resamples: int) -> tuple[Any, str]:
    chosen = law(by) if isinstance(by, str) else by
    if runs is None:
        return chosen, chosen.source
    try:
        study = fit(runs, resamples=resamples, mid_schedule="keep")
    except DataError as error:
        return chosen, f"{chosen.source}; the {len(runs)} runs do not say it yet ({error})"
    if study.basis in (None, "tied surface"):
        return chosen, f"{chosen.source}; the {len(runs)} runs do not say it yet: {study.refusals()}"
    return study, f"the {study.basis} fit of {len(runs)} runs"


def _own_level(level: float, runs: Runs) -> float:
    """Return the budget of finished runs nearest to a planned one, where one is within a third of the way to the next."""
    logs = np.log(runs.flops / level)
    place = int(np.argmin(np.abs(logs)))
    return float(runs.flops[place]) if abs(logs[place]) < math.log(APART) / 3 else level


def _near(runs: Runs | None, level: float) -> tuple[Any, Any] | None:
    """Return sizes and losses of finished runs of a budget, sorted by size."""
    if runs is None:
        return None
    own = np.abs(np.log(runs.flops / level)) <= GAP
    if not own.any():
        return None
    order = np.argsort(runs.params[own])
    return runs.params[own][order], runs.loss[own][order]


def _remaining(own: tuple[Any, Any], sizes: Any, level: float, points: int) -> tuple[list[Proposed], str]:
    """Return what a budget still needs, and what its runs say."""
    params, loss = own
    place = int(loss.argmin())
    step = math.log(sizes[1] / sizes[0])
    if len(params) >= LEAST and 0 < place < len(params) - 1 and len(params) >= points - 2:
        return [], f"minimum near {params[place]:.3g} of {len(params)} sizes"
    if len(params) >= LEAST and place in (0, len(params) - 1):
        sign = -1 if place == 0 else 1
        beyond = [float(params[place]) * math.exp(sign * step * i) for i in range(1, MOST_PASSES)]
        return [
            _run(level, n, "beyond the edge") for n in beyond
        ], f"lowest loss at the {'smallest' if place == 0 else 'largest'} size"
    missing = [float(n) for n in sizes if np.abs(np.log(params / n)).min() > step / 2]
    best = float(np.sqrt(sizes[0] * sizes[-1]))
    ordered = sorted(missing, key=lambda n: abs(math.log(n / best)))
    return [_run(level, n) for n in ordered], f"{len(params)} of {points} runs"


def _run(level: float, params: float, why: str = "grid") -> Proposed:
    return Proposed(level, params, level / (6 * params), why)
