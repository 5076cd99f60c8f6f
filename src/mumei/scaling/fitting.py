"""Approach 3: the surface E + A/N^alpha + B/D^beta fitted to finished runs, with intervals and what makes it untrustworthy.

The objective is always named with its numbers: with delta = 1e-2 instead of 1e-3, or five outliers kept, beta moves from .37 to
.38 or .45. Presets: "hoffmann" is Huber with delta 1e-3 (the paper's), "besiroglu" is least absolute deviations (the
replication's published values).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from mumei.core.errors import DataError
from mumei.scaling.lad import solve_lad
from mumei.scaling.laws import Allocation, Chinchilla
from mumei.scaling.objective import Design, Objective, objective
from mumei.scaling.solver import GONE, NOTHING, Solution, solve, stages
from mumei.scaling.uncertainty import NAMES, Bootstrap, bootstrap, percentiles, sandwich, with_exponent


@dataclass(frozen=True)
class SurfaceFit:
    """A fitted surface.

    Parameters
    ----------
    law : Chinchilla
    goal : Objective
    solution : Solution
    design : Design
    errors : dict of str to float
        Sandwich standard errors, by coefficient.
    resamples : Bootstrap or None
    """

    law: Chinchilla
    goal: Objective
    solution: Solution
    design: Design
    errors: dict[str, float]
    resamples: Bootstrap | None = None

    @property
    def n(self) -> int:
        """Runs."""
        return len(self.design.x)

    @cached_property
    def residuals(self) -> Any:
        """Log of predicted over measured loss (n,)."""
        return self.design.residuals(self.solution.theta[None])[0]

    @property
    def rms(self) -> float:
        """Root mean square of the log residuals."""
        return float(np.sqrt(np.mean(self.residuals**2)))

    @property
    def e_at_bound(self) -> bool:
        """Whether E went to zero."""
        return bool(self.law.E <= GONE * np.exp(self.design.target.min()))

    @property
    def degenerate(self) -> bool:
        """Whether the size's or the data's term has gone: no fit at all."""
        floor = GONE * float(np.exp(self.design.target.min()))
        theta = self.solution.theta
        size = np.exp((theta[0] - theta[3] * self.design.x).max())
        data = np.exp((theta[1] - theta[4] * self.design.y).max())
        return bool(size < floor or data < floor or max(theta[3], theta[4]) > 15 or min(theta[3], theta[4]) < 1e-3)

    @cached_property
    def condition(self) -> float:
        """Largest over smallest eigenvalue of the scaled Gauss-Newton matrix; huge where the data do not tell."""
        from mumei.scaling.lad import linearised

        _, jacobian = linearised(self.design, self.solution.theta)
        if self.solution.theta[2] <= NOTHING:
            jacobian = np.delete(jacobian, 2, 1)
        size = np.linalg.svd(jacobian / np.linalg.norm(jacobian, axis=0), compute_uv=False)
        return float((size[0] / max(size[-1], 1e-300)) ** 2)

    def coefficients(self) -> dict[str, float]:
        """Return E, A, B, alpha, beta, a."""
        law = self.law
        return dict(zip(NAMES, (law.E, law.A, law.B, law.alpha, law.beta, law.a), strict=True))

    def interval(self, name: str, level: float = 0.95) -> tuple[float, float] | None:
        """Return a coefficient's interval: of resamples, else normal by the sandwich error."""
        if self.resamples is not None:
            return self.resamples.interval(name, level)
        from scipy.special import ndtri

        reach = float(ndtri((1 + level) / 2)) * self.errors[name]
        middle = self.coefficients()[name]
        return (middle - reach, middle + reach) if np.isfinite(reach) else None

    def optimal(self, flops: float) -> Allocation:
        """Return the best allocation."""
        return self.law.optimal(flops)

    def optimal_intervals(self, flops: float, level: float = 0.95) -> dict[str, tuple[float, float]]:
        """Return intervals of N, D and loss at the optimum of a budget; empty without resamples."""
        if self.resamples is None:
            return {}
        found = self.resamples.optima(flops, self.law.per_token)
        return {
            name: percentiles(column, level) for name, column in zip(("params", "tokens", "loss"), found.T, strict=True)
        }

    def predict(self, params: Any, tokens: Any, level: float = 0.95) -> dict[str, Any]:
        """Return the loss at points, with intervals where there are resamples."""
        loss = self.law.loss(params, tokens)
        if self.resamples is None:
            return {"loss": loss}
        e, a, b, alpha, beta, _ = self.resamples.samples.T[..., None]
        x, y = np.log(np.atleast_1d(params).astype(float)), np.log(np.atleast_1d(tokens).astype(float))
        every = e + np.exp(np.log(a) - alpha * x) + np.exp(np.log(b) - beta * y)
        low, high = np.quantile(every, [(1 - level) / 2, (1 + level) / 2], axis=0)
        return {"loss": loss, "low": low, "high": high}


def check_enough(params: Any, tokens: Any, loss: Any, tied: bool = False) -> None:
    """Raise `DataError` where runs cannot say five coefficients."""
    n, needed = len(loss), 4 if tied else 5
    if not len(params) == len(tokens) == n:
        raise DataError(f"{len(params)} sizes, {len(tokens)} tokens and {n} losses were given; give as many of each.")
    for name, values in (("params", params), ("tokens", tokens), ("loss", loss)):
        bad = ~(np.isfinite(values) & (np.asarray(values) > 0))
        if bad.any():
            place = int(np.flatnonzero(bad)[0])
            raise DataError(f"{name} of row {place + 1} is {values[place]}; every one has to be finite and above zero.")
    if n <= needed:
        raise DataError(
            f"{n} runs cannot say the surface's {needed} coefficients; give at least {needed + 1}, better 20 over several "
            "sizes and budgets."
        )
    for name, values in (("sizes", params), ("token counts", tokens)):
        kinds = len(np.unique(np.round(np.log(values), 3)))
        if kinds < 2:
            raise DataError(f"all runs have one of the {name}; the surface needs several, better four or more.")


def fit_surface(
    params: Any,
    tokens: Any,
    loss: Any,
    *,
    goal: str | Objective = "hoffmann",
    delta: float | None = None,
    q: float | None = None,
    tied: bool = False,
    resamples: int = 0,
    clusters: Any = None,
    seed: int = 0,
    per_token: float = 6.0,
) -> SurfaceFit:
    """Fit the surface.

    Parameters
    ----------
    params, tokens, loss : array (n,)
        N, D and final loss of each run.
    goal : str or Objective
        hoffmann (huber), besiroglu (lad), mse_log, asymmetric.
    delta, q : float, optional
        Over the preset's.
    tied : bool
        One exponent for both terms: a = 1/2.
    resamples : int
        Bootstrap resamples; 0 for sandwich errors alone.
    clusters : sequence, optional
        A name for each run; runs of one name are resampled together.
    per_token : float
        Training FLOPs of a parameter and token, for the law's optimum.

    Returns
    -------
    SurfaceFit

    Raises
    ------
    DataError
        Values that are not finite and above zero, or fewer runs than coefficients, or one size or one token count only.
    UsageError
        An unknown objective, or numbers that it does not take.

    Examples
    --------
    >>> from mumei.scaling.laws import BESIROGLU
    >>> n, d = (g.ravel() for g in np.meshgrid(np.geomspace(1e8, 1e10, 5), np.geomspace(1e9, 1e11, 5)))
    >>> round(fit_surface(n, d, BESIROGLU.loss(n, d)).law.alpha, 5)
    0.34781
    """
    goal = objective(goal, delta, q)
    params, tokens, loss = (np.asarray(v, float) for v in (params, tokens, loss))
    check_enough(params, tokens, loss, tied)
    design = Design.of(params, tokens, loss, tied)
    found = solve_lad(design) if goal.name == "lad" else solve(design, goal)
    coefficients = design.coefficients(found.theta[None])[0]
    if found.theta[2] <= NOTHING:
        coefficients[0] = 0.0
    law = Chinchilla(
        *map(float, coefficients), per_token=per_token, source=f"fitted to {len(loss)} runs, {goal.describe()}"
    )
    errors = sandwich(design, goal, found.theta, clusters)
    drawn = bootstrap(design, goal, found.theta, resamples, seed, clusters) if resamples else None
    return SurfaceFit(law, goal, found, design, errors, drawn)


def largest_out(
    params: Any, tokens: Any, loss: Any, budgets: Any, goal: str | Objective = "hoffmann"
) -> dict[str, float] | None:
    """Fit without the largest budget's runs and predict them: the error that an extrapolation would have had.

    Parameters
    ----------
    budgets : array (n,)
        FLOPs of each run, equal within a budget.

    Returns
    -------
    dict or None
        Runs held out, the factor of compute between them and the rest, mean and root mean square of the log error, and a model of
        no law beside it: the best loss seen. None where too little would be left.
    """
    budgets = np.asarray(budgets, float)
    out = budgets >= 0.999 * budgets.max()
    if out.sum() < 1 or (~out).sum() < 8:
        return None
    params, tokens, loss = (np.asarray(v, float) for v in (params, tokens, loss))
    try:
        fitted = fit_surface(params[~out], tokens[~out], loss[~out], goal=goal)
    except DataError:
        return None
    error = np.log(fitted.law.loss(params[out], tokens[out]) / loss[out])
    return {
        "runs": int(out.sum()),
        "reach": float(budgets.max() / budgets[~out].max()),
        "mean": float(error.mean()),
        "rms": float(np.sqrt(np.mean(error**2))),
        "rms_without_law": float(np.sqrt(np.mean(np.log(loss[~out].min() / loss[out]) ** 2))),
    }


__all__ = ["SurfaceFit", "fit_surface", "largest_out", "stages", "with_exponent"]
