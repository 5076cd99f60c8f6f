"""L-BFGS for the convex fits of this package: value and gradient in one call, nothing else needed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor

from mumei.core.errors import NonFiniteError

WARM = 3  # steps before it may end: the first ones are small, as it does not know the scale yet


def minimise(
    value: Callable[[Tensor], tuple[float, Tensor]],
    start: Tensor,
    *,
    max_iter: int,
    tolerance: float,
    losses: list[float],
    memory: int = 8,
    progress: Callable[[int], Any] | None = None,
) -> Tensor:
    """Minimise a convex function by L-BFGS with backtracking (Nocedal and Wright, algorithm 7.4); return the best point.

    `value(x)` gives the function and its gradient; `losses` is filled with one value a step. It ends where the relative fall
    over a step is below `tolerance`.
    """
    point, (loss, slope) = start, value(start)
    losses.append(loss)
    pairs: list[tuple[Tensor, Tensor, Tensor]] = []
    for step in range(max_iter):
        direction = -_two_loops(slope, pairs)
        descent = float(direction @ slope)
        size = 1.0 if step else 1.0 / max(float(slope.norm()), 1e-12)
        for _ in range(30):
            new = point + size * direction
            new_loss, new_slope = value(new)
            if new_loss <= loss + 1e-4 * size * descent:
                break
            size *= 0.5
        else:
            break  # no fall along the direction: the minimum, to the precision of the numbers
        if not np.isfinite(new_loss):
            raise NonFiniteError(f"the fit became non-finite at step {step}; look at the data for extreme values.")
        moved, turned = new - point, new_slope - slope
        curvature = moved @ turned
        if float(curvature) > 1e-10 * float(turned @ turned):
            pairs = [*pairs[-memory + 1 :], (moved, turned, 1.0 / curvature)]
        fell, point, loss, slope = loss - new_loss, new, new_loss, new_slope
        losses.append(loss)
        if progress is not None:
            progress(1)
        if step >= WARM and fell <= tolerance * abs(loss):
            break
    return point


def _two_loops(slope: Tensor, pairs: list[tuple[Tensor, Tensor, Tensor]]) -> Tensor:
    """Return the inverse Hessian's estimate times a gradient."""
    q, steps = slope.clone(), []
    for moved, turned, rho in reversed(pairs):
        alpha = rho * (moved @ q)
        q -= alpha * turned
        steps.append(alpha)
    if pairs:
        moved, turned, rho = pairs[-1]
        q *= 1.0 / (rho * (turned @ turned))
    for (moved, turned, rho), alpha in zip(pairs, reversed(steps), strict=True):
        q += (alpha - rho * (turned @ q)) * moved
    return q
