"""How sure a fit is: resamples solved all at once, and sandwich errors in no time.

- `bootstrap`: integer weights instead of copies, batched Newton from the fit's own optimum, 250 resamples at a time on all
  cores. With `clusters` whole runs are drawn, as their points are correlated.
- `sandwich`: H^-1 M H^-1, where the curvature of Huber's loss, an indicator, is smoothed by a normal kernel: counting the few
  residuals within delta overstates the errors.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from mumei.core.errors import UsageError
from mumei.core.seeds import numpy_generator
from mumei.scaling.objective import Design, Objective, huber
from mumei.scaling.solver import newton, stages

NAMES = ("E", "A", "B", "alpha", "beta", "a")
CHUNK = 250
MOST = 100_000


@dataclass(frozen=True)
class Bootstrap:
    """Coefficients of resamples.

    Parameters
    ----------
    samples : ndarray (r, 6)
        E, A, B, alpha, beta and a = beta / (alpha + beta).
    clusters : int or None
        How many groups were drawn from; None where rows were.
    """

    samples: Any
    clusters: int | None = None

    def column(self, name: str) -> Any:
        """Return the resamples of one coefficient."""
        return self.samples[:, NAMES.index(name)]

    def sd(self, name: str) -> float:
        """Return a coefficient's standard deviation."""
        return float(self.column(name).std(ddof=1))

    def interval(self, name: str, level: float = 0.95) -> tuple[float, float]:
        """Return a coefficient's percentile interval."""
        return percentiles(self.column(name), level)

    def optima(self, flops: float, per_token: float = 6.0) -> Any:
        """Return N, D and loss (r, 3) of each resample's optimum at a budget."""
        e, big_a, big_b, alpha, beta, a = self.samples.T
        log_g = (np.log(alpha) + np.log(big_a) - np.log(beta) - np.log(big_b)) / (alpha + beta)
        log_n = log_g + a * np.log(flops / per_token)
        log_d = np.log(flops / per_token) - log_n
        loss = e + np.exp(np.log(big_a) - alpha * log_n) + np.exp(np.log(big_b) - beta * log_d)
        return np.stack([np.exp(np.clip(log_n, -200, 200)), np.exp(np.clip(log_d, -200, 200)), loss], 1)


def percentiles(values: Any, level: float = 0.95) -> tuple[float, float]:
    """Return the middle `level` of values."""
    if not 0 < level < 1:
        raise UsageError(f"an interval's level is {level}; give a number between 0 and 1, such as 0.95.")
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def with_exponent(coefficients: Any) -> Any:
    """Return coefficients (s, 5) with a = beta / (alpha + beta) as a sixth column."""
    return np.concatenate([coefficients, (coefficients[:, 4] / (coefficients[:, 3] + coefficients[:, 4]))[:, None]], 1)


def draws(n: int, count: int, seed: int, clusters: Any = None) -> Any:
    """Return integer weights (count, n) of resamples: of rows, or of whole clusters."""
    if not 1 <= count <= MOST:
        raise UsageError(f"{count} resamples were asked for; give 1 to {MOST:,}.")
    generator = numpy_generator(seed, "scaling", "bootstrap")
    if clusters is None:
        return generator.multinomial(n, np.full(n, 1 / n), size=count).astype(np.float64)
    names, place = np.unique(np.asarray(clusters), return_inverse=True)
    drawn = generator.multinomial(len(names), np.full(len(names), 1 / len(names)), size=count)
    return drawn[:, place].astype(np.float64)


def bootstrap(
    design: Design, goal: Objective, theta: Any, count: int, seed: int = 0, clusters: Any = None
) -> Bootstrap:
    """Solve `count` resamples from the optimum of all rows.

    Parameters
    ----------
    clusters : sequence, optional
        A name for each row; rows of one name are drawn together.
    """
    weights = draws(len(design.x), count, seed, clusters)
    ladder = [*([huber(1e-2)] if goal.delta < 1e-2 else []), stages(goal)[-1]]

    def solve(part: Any) -> Any:
        found = np.repeat(theta[None], len(part), 0)
        for place, stage in enumerate(ladder):
            last = place == len(ladder) - 1
            found, _ = newton(design, found, part, stage, steps=40 if last else 12, tolerance=1e-9 if last else 1e-4)
        return design.coefficients(found)

    parts = [weights[i : i + CHUNK] for i in range(0, count, CHUNK)]
    with ThreadPoolExecutor(max_workers=max(1, min(len(parts), os.cpu_count() or 1))) as pool:
        samples = np.concatenate(list(pool.map(solve, parts)))
    return Bootstrap(with_exponent(samples), None if clusters is None else len(np.unique(np.asarray(clusters))))


def sandwich(design: Design, goal: Objective, theta: Any, clusters: Any = None) -> dict[str, float]:
    """Return standard errors of E, A, B, alpha, beta and a; infinite where the Hessian is singular."""
    goal = stages(goal)[-1]
    row = theta[None]
    residuals = design.residuals(row)[0]
    n = len(residuals)
    spread = 1.4826 * float(np.median(np.abs(residuals))) + 1e-12
    width = 1.06 * spread * n**-0.2
    _, _, hessian = design.derivatives(row, np.ones(n), goal, smooth=lambda r: _smoothed(r, goal.delta, width))
    terms = design._terms(row)
    columns = [terms[1][0], terms[2][0], terms[3][0], -design.x * terms[1][0], -design.y * terms[2][0]]
    if design.tied:
        columns[3:] = [columns[3] + columns[4]]
    scores = np.stack(columns, 1) * (goal.sides(residuals) * np.clip(residuals, -goal.delta, goal.delta))[:, None]
    if clusters is not None:
        _, place = np.unique(np.asarray(clusters), return_inverse=True)
        scores = np.stack([np.bincount(place, column) for column in scores.T], 1)
    moves = _gradients(design, theta)
    try:
        inverse = np.linalg.inv(hessian[0])
    except np.linalg.LinAlgError:
        return dict.fromkeys(NAMES, float("inf"))
    variance = moves @ inverse @ (scores.T @ scores) @ inverse @ moves.T
    return {name: float(np.sqrt(max(v, 0.0))) for name, v in zip(NAMES, np.diag(variance), strict=True)}


def _smoothed(residuals: Any, delta: float, width: float) -> Any:
    """Return the indicator of abs(r) <= delta, smoothed by a normal kernel."""
    from scipy.special import ndtr

    if np.isinf(delta):
        return np.ones_like(residuals)
    return ndtr((delta - residuals) / width) - ndtr((-delta - residuals) / width)


def _gradients(design: Design, theta: Any) -> Any:
    """Return the derivatives (6, k) of E, A, B, alpha, beta, a by the parameters."""
    e, big_a, big_b, alpha, beta = design.coefficients(theta[None])[0]
    total = (alpha + beta) ** 2
    found = np.zeros((6, 5))
    found[0, 2] = e
    found[1, [0, 3]] = big_a, big_a * design.centre[0]
    found[2, [1, 4]] = big_b, big_b * design.centre[1]
    found[3, 3] = found[4, 4] = 1
    found[5, [3, 4]] = -beta / total, alpha / total
    return np.concatenate([found[:, :3], found[:, 3:].sum(1, keepdims=True)], 1) if design.tied else found
