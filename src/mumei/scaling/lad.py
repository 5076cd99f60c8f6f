"""Least absolute deviations, exactly: a sequence of linear programs.

Around a point the residuals are linear in the move, so the sum of their absolute values is a linear program (HiGHS) within a
box; the box grows after a good step and shrinks after a bad one. At the end as many runs as there are coefficients are hit
exactly.

Besiroglu and others minimise Huber's loss with a free scale, which shrinks to e^-12.27: theirs is this fit, to every published
digit.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from mumei.scaling.objective import Design, lad, mse_log
from mumei.scaling.solver import NOTHING, Solution, _inside, solve

FIRST_BOX, LAST_BOX = 0.05, 1e-12


def solve_lad(design: Design, weights: Any = None) -> Solution:
    """Return the parameters of the least sum of absolute log residuals.

    The start is a Huber fit of a small delta, itself found by the grid; a second one is the fit of least squares.
    """
    weights = np.ones(len(design.x)) if weights is None else np.asarray(weights, float)
    starts = [solve(design, lad(), weights), solve(design, mse_log(), weights)]
    found = [_descend(design, start.theta, weights) for start in starts]
    theta, value = min(found, key=lambda pair: pair[1])
    close = sum(abs(v - value) <= 1e-6 * value for _, v in found)
    return replace(starts[0], theta=theta, value=value, gradient=0.0, starts=len(found), agreeing=close)


def _descend(design: Design, theta: Any, weights: Any) -> tuple[Any, float]:
    goal, box = lad(), FIRST_BOX
    value = float(design.value(theta[None], weights, goal)[0])
    for _ in range(100):
        move, expected = _program(design, theta, weights, box)
        if move is None or value - expected <= 1e-14 * value:
            break
        tried = _inside(design.step(theta[None], move[None]))[0]
        after = float(design.value(tried[None], weights, goal)[0])
        gained = (value - after) / (value - expected)
        if gained > 1e-4:
            theta, value = tried, after
        box = min(box * 2, 1.0) if gained > 0.5 else box / 4 if gained < 0.1 else box
        if box < LAST_BOX:
            break
    return theta, value


def _program(design: Design, theta: Any, weights: Any, box: float) -> tuple[Any, float]:
    """Solve min sum w t with -t <= r + J move <= t, abs(move) <= box; return the move and its value."""
    from scipy.optimize import linprog
    from scipy.sparse import csr_matrix, eye_array, hstack, vstack

    residuals, jacobian = linearised(design, theta)
    n, k = jacobian.shape
    slack = eye_array(n)
    rows = hstack([csr_matrix(np.vstack([jacobian, -jacobian])), vstack([-slack, -slack])])
    limits = np.concatenate([-residuals, residuals])
    boxes = [(-box, box)] * k
    if theta[2] <= NOTHING + 1:
        boxes[2] = (0.0, 0.0)
    found = linprog(
        np.concatenate([np.zeros(k), weights]),
        A_ub=rows.tocsr(),
        b_ub=limits,
        bounds=[*boxes, *[(0, None)] * n],
        method="highs",
        options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
    )
    return (found.x[:k], float(found.fun)) if found.status == 0 else (None, math.inf)


def linearised(design: Design, theta: Any) -> tuple[Any, Any]:
    """Return residuals (n,) and their Jacobian (n, k) at one point."""
    residuals, p1, p2, p3 = (part[0] for part in design._terms(theta[None]))
    columns = [p1, p2, p3, -design.x * p1, -design.y * p2]
    if design.tied:
        columns[3:] = [columns[3] + columns[4]]
    return residuals, np.stack(columns, 1)
