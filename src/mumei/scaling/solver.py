"""Finding the lowest point of an objective: a grid over the exponents, then Newton's method from its best cells.

With alpha and beta fixed the law is linear in E, A, B, so for each cell of a 40 x 40 grid these come from 3 x 3 normal
equations of the relative residuals, non-negative by trying all sets of terms (7 small solves, all cells at once). The best
cells are polished by Newton's method with the exact Hessian, its eigenvalues made positive, through ever smaller delta. A
single local start is never trusted: of 4,500 scipy L-BFGS-B starts on Hoffmann's runs 91 % stop over 1 % above the minimum and
report success.

E is carried as its logarithm. Where it goes to zero the other four are solved with E = 0, and the fit says that it is on its
bound.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from mumei.scaling.objective import Design, Objective, asymmetric, huber

EXPONENTS = np.geomspace(0.02, 2.5, 40)
SETS = tuple(range(1, 8))  # bits: E, A, B
NOTHING = -40.0  # the logarithm of a term that is not there
POLISHED = 8
GONE = 1e-4  # a term below this share of the lowest loss is on its bound


@dataclass(frozen=True)
class Solution:
    """The lowest point that was found.

    Parameters
    ----------
    theta : ndarray (5,)
    value : float
    gradient : float
        Its largest entry; near zero for a smooth objective.
    starts, agreeing : int
        Cells that were polished, and how many of them came to this point within a millionth.
    """

    theta: Any
    value: float
    gradient: float
    starts: int
    agreeing: int


def grid(design: Design, weights: Any, keep: int = POLISHED, exponents: Any = EXPONENTS) -> Any:
    """Return the best cells' theta (keep, 5), by squared relative residuals."""
    loss = np.exp(design.target)
    w = weights / loss**2
    f = np.exp(-exponents[:, None] * design.x)  # (g, n)
    g = np.exp(-exponents[:, None] * design.y)
    size, cells = len(exponents), len(exponents) ** 2
    normal, right = np.empty((size, size, 3, 3)), np.empty((size, size, 3))
    fw, gw = f * w, g * w
    normal[..., 0, 0], right[..., 0] = w.sum(), (w * loss).sum()
    normal[..., 0, 1] = normal[..., 1, 0] = fw.sum(1)[:, None]
    normal[..., 0, 2] = normal[..., 2, 0] = gw.sum(1)[None]
    normal[..., 1, 1], normal[..., 2, 2] = (fw * f).sum(1)[:, None], (gw * g).sum(1)[None]
    normal[..., 1, 2] = normal[..., 2, 1] = fw @ g.T
    right[..., 1], right[..., 2] = (fw @ loss)[:, None], (gw @ loss)[None]
    normal, right = normal.reshape(cells, 3, 3), right.reshape(cells, 3)
    best, error = _non_negative(normal, right)
    if design.tied:
        off = ~np.eye(size, dtype=bool).ravel()
        error[off] = np.inf
    chosen = _local_first(error.reshape(size, size), keep)
    alpha, beta = exponents[chosen // size], exponents[chosen % size]
    with np.errstate(divide="ignore"):
        logs = np.maximum(np.log(best[chosen]), NOTHING)
    return np.stack([logs[:, 1], logs[:, 2], logs[:, 0], alpha, beta], 1)


def _non_negative(normal: Any, right: Any) -> tuple[Any, Any]:
    """Return the non-negative solutions (cells, 3) and what they leave of the squares, up to a constant."""
    cells = len(normal)
    best, error = np.zeros((cells, 3)), np.full(cells, np.inf)
    scale = np.sqrt(normal[:, range(3), range(3)])
    for chosen in SETS:
        at = [i for i in range(3) if chosen >> i & 1]
        scaled = normal[:, at][:, :, at] / (scale[:, at, None] * scale[:, None, at]) + 1e-13 * np.eye(len(at))
        found = np.linalg.solve(scaled, (right[:, at] / scale[:, at])[..., None])[..., 0] / scale[:, at]
        left = -(found * right[:, at]).sum(1)
        better = (found >= 0).all(1) & (left < error)
        best[better] = 0
        best[np.ix_(better, at)] = found[better]
        error[better] = left[better]
    return best, error


def _local_first(error: Any, keep: int) -> Any:
    """Return cells: those lower than their neighbours first (at most half of `keep`), then the lowest."""
    padded = np.pad(error, 1, constant_values=np.inf)
    n = len(error)
    around = [padded[1 + i : 1 + i + n, 1 + j : 1 + j + n] for i in (-1, 0, 1) for j in (-1, 0, 1) if i or j]
    minima = np.flatnonzero((np.isfinite(error) & (error <= np.min(around, 0))).ravel())
    flat = error.ravel()
    minima = minima[np.argsort(flat[minima], kind="stable")][: keep // 2]
    order = [c for c in np.argsort(flat, kind="stable") if np.isfinite(flat[c]) and c not in set(minima.tolist())]
    return np.array([*minima, *order[: keep - len(minima)]], dtype=int)


def newton(
    design: Design, theta: Any, weights: Any, goal: Objective, steps: int = 60, tolerance: float = 1e-13
) -> tuple[Any, Any]:
    """Run damped Newton for parameters (s, 5) at once; return them and their objectives.

    A row that gets no lower any more is left out of the next step, so the last few stragglers cost little.
    """
    theta = theta.copy()
    many = np.ndim(weights) == 2
    value = design.value(theta, weights, goal)
    active = np.arange(len(theta))
    for _ in range(steps):
        own = weights[active] if many else weights
        before, gradient, hessian = design.derivatives(theta[active], own, goal)
        size, vectors = np.linalg.eigh(hessian)
        top = np.abs(size).max(1, keepdims=True)
        size = np.maximum(np.abs(size), 1e-9 * top + 1e-300)
        move = -np.einsum("skj,sj->sk", vectors, np.einsum("skj,sk->sj", vectors, gradient) / size)
        move *= np.minimum(1, 3 / np.maximum(np.abs(move).max(1, keepdims=True), 1e-300))
        taken, after = _search(design, theta[active], move, before, own, goal)
        theta[active] = taken
        value[active] = after
        going = before - after > tolerance * np.abs(before)
        active = active[going]
        if not len(active):
            break
    return theta, value


def _search(design: Design, theta: Any, move: Any, before: Any, weights: Any, goal: Objective) -> tuple[Any, Any]:
    """Halve each row's step until it goes down; a row that never does stays."""
    best, lowest = theta.copy(), before.copy()
    waiting, scale = np.arange(len(theta)), 1.0
    many = np.ndim(weights) == 2
    for _ in range(14):
        tried = _inside(design.step(theta[waiting], scale * move[waiting]))
        found = design.value(tried, weights[waiting] if many else weights, goal)
        good = found < before[waiting]
        best[waiting[good]], lowest[waiting[good]] = tried[good], found[good]
        waiting = waiting[~good]
        if not len(waiting):
            break
        scale *= 0.5
    return best, lowest


def _inside(theta: Any) -> Any:
    """Keep logarithms and exponents where numbers can hold them."""
    theta[:, :3] = np.clip(theta[:, :3], NOTHING, 60)
    theta[:, 3:] = np.clip(theta[:, 3:], 1e-4, 20)
    return theta


def stages(goal: Objective) -> list[Objective]:
    """Return objectives of ever smaller delta, the last the one that is wanted (for lad the last but one: see `lad.py`)."""
    target = 1e-4 if goal.name == "lad" else goal.delta
    made = [delta for delta in (0.1, 0.01, 0.003, 0.001) if delta > 1.01 * target]
    kind = (lambda d: asymmetric(goal.q, d)) if goal.name == "asymmetric" else huber
    return [*(kind(d) for d in made), goal if goal.name != "lad" else huber(target)]


def solve(design: Design, goal: Objective, weights: Any = None, starts: int = POLISHED) -> Solution:
    """Return the lowest point of a smooth objective; for lad the one of a Huber objective of a small delta."""
    weights = np.ones(len(design.x)) if weights is None else np.asarray(weights, float)
    theta = grid(design, weights, starts)
    value = np.zeros(len(theta))
    for stage in stages(goal):
        theta, value = newton(design, theta, weights, stage)
    last = stages(goal)[-1]
    alive = _alive(design, theta)
    candidates = alive if alive.any() else np.ones(len(theta), bool)
    place = int(np.flatnonzero(candidates)[np.argmin(value[candidates])])
    theta[place], value[place] = _without_e(design, theta[place], value[place], weights, last)
    _, gradient, _ = design.derivatives(theta[place : place + 1], weights, last)
    if theta[place, 2] <= NOTHING:
        gradient = np.delete(gradient, 2, 1)
    close = np.abs(value - value[place]) <= 1e-6 * max(abs(value[place]), 1e-300)
    return Solution(theta[place], float(value[place]), float(np.abs(gradient).max()), len(theta), int(close.sum()))


def _alive(design: Design, theta: Any) -> Any:
    """Say which points have both terms: others are stationary too, and no fits."""
    low = math.log(GONE) + float(design.target.min())
    size = (theta[:, 0, None] - theta[:, 3, None] * design.x).max(1)
    data = (theta[:, 1, None] - theta[:, 4, None] * design.y).max(1)
    return (size > low) & (data > low)


def _without_e(design: Design, theta: Any, value: float, weights: Any, goal: Objective) -> tuple[Any, float]:
    """Solve with E = 0 where E has all but gone; take it where it is no worse."""
    if theta[2] > math.log(GONE) + float(design.target.min()):
        return theta, value
    start = theta.copy()
    start[2] = NOTHING
    found, lower = newton(design, start[None], weights, goal)
    found[0, 2] = NOTHING
    lower = design.value(found, weights, goal)
    return (found[0], float(lower[0])) if lower[0] <= value * (1 + 1e-9) else (theta, value)
