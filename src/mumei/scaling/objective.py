"""Objectives of a fit of the surface, with exact gradients and Hessians, for many parameter vectors at once.

The residual of a run is r = logsumexp(a - alpha x, b - beta y, e) - log L with x, y the centred logarithms of N and D: above
zero where the law predicts too much. With p the softmax of the three terms, dr = (p1, p2, p3, -x p1, -y p2), and the second
derivative of the log-sum-exp is diag(p) - p p'. So gradient and Hessian are matrix products, and a thousand resamples cost
little more than one.

| objective | rho(r) |
|---|---|
| `huber(delta)` | r^2/2 up to delta, delta (abs r - delta/2) beyond: Hoffmann's, delta = 1e-3 |
| `lad` | abs r: what Besiroglu's published fit amounts to |
| `mse_log` | r^2/2 |
| `asymmetric(q)` | Huber's, times 2 (1 - q) where the law predicts too much, 2 q where too little: a quantile |
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from mumei.core.errors import UsageError, unknown

DELTA = 1e-3


@dataclass(frozen=True)
class Objective:
    """How residuals are summed.

    Parameters
    ----------
    name : str
        huber, lad, mse_log or asymmetric.
    delta : float
        Where squares become absolute values; infinite for mse_log, 0 for lad.
    q : float
        The quantile that is sought; .5 treats both sides alike.
    """

    name: str
    delta: float
    q: float = 0.5

    def __post_init__(self) -> None:
        if not self.delta >= 0 or (self.delta == 0 and self.name != "lad"):
            raise UsageError(f"delta is {self.delta}; give a number above zero.")
        if not 0 < self.q < 1:
            raise UsageError(f"q is {self.q}; give a number between 0 and 1, .5 for both sides alike.")

    def sides(self, residuals: Any) -> Any:
        """Return the factor of each residual."""
        return np.where(residuals > 0, 2 * (1 - self.q), 2 * self.q) if self.q != 0.5 else 1.0

    def rho(self, residuals: Any) -> Any:
        """Return what each residual adds."""
        size = np.abs(residuals)
        if math.isinf(self.delta):
            return self.sides(residuals) * 0.5 * size * size
        inner = np.minimum(size, self.delta)
        return self.sides(residuals) * (inner * (size - 0.5 * inner) if self.delta else size)

    def describe(self) -> str:
        """Return its name with its numbers."""
        return {
            "huber": f"huber(delta={self.delta:g})",
            "asymmetric": f"asymmetric(q={self.q:g}, delta={self.delta:g})",
        }.get(self.name, self.name)


def huber(delta: float = DELTA) -> Objective:
    """Hoffmann's objective."""
    return Objective("huber", float(delta))


def lad() -> Objective:
    """Least absolute deviations of log loss."""
    return Objective("lad", 0.0)


def mse_log() -> Objective:
    """Least squares of log loss."""
    return Objective("mse_log", math.inf)


def asymmetric(q: float = 0.1, delta: float = DELTA) -> Objective:
    """The quantile q of log loss: runs that were tuned badly lie above the law, and count less."""
    return Objective("asymmetric", float(delta), float(q))


PRESETS = {
    "hoffmann": huber(),
    "besiroglu": lad(),
    "huber": huber(),
    "lad": lad(),
    "mse_log": mse_log(),
    "asymmetric": asymmetric(),
}


def objective(given: str | Objective, delta: float | None = None, q: float | None = None) -> Objective:
    """Return an objective from its name; `delta` and `q` over the preset's."""
    if isinstance(given, Objective):
        return given
    if given not in PRESETS:
        raise unknown("objective", given, PRESETS)
    found = PRESETS[given]
    if delta is not None and found.name not in ("huber", "asymmetric"):
        raise UsageError(f"the objective {given} has no delta; leave it out, or choose huber or asymmetric.")
    if q is not None and found.name != "asymmetric":
        raise UsageError(f"the objective {given} has no q; leave it out, or choose asymmetric.")
    return Objective(found.name, found.delta if delta is None else float(delta), found.q if q is None else float(q))


@dataclass(frozen=True)
class Design:
    """Centred logarithms of runs.

    Parameters
    ----------
    x, y, target : ndarray (n,)
        log N and log D less their means, and log loss.
    centre : (float, float)
        Those means.
    tied : bool
        alpha = beta.
    """

    x: Any
    y: Any
    target: Any
    centre: tuple[float, float]
    tied: bool = False

    @classmethod
    def of(cls, params: Any, tokens: Any, loss: Any, tied: bool = False) -> Design:
        """Take logarithms and centre them: a and alpha are then hardly correlated."""
        x, y = np.log(np.asarray(params, float)), np.log(np.asarray(tokens, float))
        centre = float(x.mean()), float(y.mean())
        return cls(x - centre[0], y - centre[1], np.log(np.asarray(loss, float)), centre, tied)

    def residuals(self, theta: Any) -> Any:
        """Return residuals (s, n) of parameters (s, 5): a, b, e, alpha, beta."""
        return self._terms(theta)[0]

    def _terms(self, theta: Any) -> tuple[Any, Any, Any, Any]:
        u1 = theta[:, 0, None] - theta[:, 3, None] * self.x
        u2 = theta[:, 1, None] - theta[:, 4, None] * self.y
        u3 = theta[:, 2, None]
        top = np.maximum(np.maximum(u1, u2), u3)
        p1, p2, p3 = np.exp(u1 - top), np.exp(u2 - top), np.exp(u3 - top)
        total = p1 + p2 + p3
        return top + np.log(total) - self.target, p1 / total, p2 / total, p3 / total

    def value(self, theta: Any, weights: Any, goal: Objective) -> Any:
        """Return the objective (s,) of parameters (s, 5); weights (n,) or (s, n)."""
        return (weights * goal.rho(self.residuals(theta))).sum(1)

    def derivatives(self, theta: Any, weights: Any, goal: Objective, smooth: Any = None) -> tuple[Any, Any, Any]:
        """Return value (s,), gradient (s, k) and Hessian (s, k, k); k is 5, or 4 where the exponents are tied.

        Parameters
        ----------
        smooth : callable, optional
            Takes the residuals and returns rho'' in place of the exact one, which is an indicator.
        """
        r, p1, p2, p3 = self._terms(theta)
        sides = goal.sides(r) * weights
        value = (weights * goal.rho(r)).sum(1)
        psi = sides * np.clip(r, -goal.delta, goal.delta)
        curve = sides * (smooth(r) if smooth is not None else (np.abs(r) <= goal.delta))
        jacobian = np.stack([p1, p2, p3, -self.x * p1, -self.y * p2], 1)  # (s, 5, n)
        gradient = np.einsum("skn,sn->sk", jacobian, psi)
        hessian = (jacobian * (curve - psi)[:, None]) @ jacobian.transpose(0, 2, 1)
        w1, w2 = psi * p1, psi * p2
        s1x, s2y = (w1 * self.x).sum(1), (w2 * self.y).sum(1)
        hessian[:, 0, 0] += w1.sum(1)
        hessian[:, 1, 1] += w2.sum(1)
        hessian[:, 2, 2] += (psi * p3).sum(1)
        hessian[:, 0, 3] -= s1x
        hessian[:, 3, 0] -= s1x
        hessian[:, 1, 4] -= s2y
        hessian[:, 4, 1] -= s2y
        hessian[:, 3, 3] += (w1 * self.x**2).sum(1)
        hessian[:, 4, 4] += (w2 * self.y**2).sum(1)
        if self.tied:
            fold = np.zeros((5, 4))
            fold[[0, 1, 2, 3, 4], [0, 1, 2, 3, 3]] = 1
            gradient, hessian = gradient @ fold, fold.T @ hessian @ fold
        return value, gradient, hessian

    def step(self, theta: Any, move: Any) -> Any:
        """Return theta after a move of (s, k)."""
        return theta + (np.concatenate([move, move[:, 3:4]], 1) if self.tied else move)

    def coefficients(self, theta: Any) -> Any:
        """Return (s, 5) of E, A, B, alpha, beta, uncentred."""
        e, a, b = (
            np.exp(theta[:, 2]),
            theta[:, 0] + theta[:, 3] * self.centre[0],
            theta[:, 1] + theta[:, 4] * self.centre[1],
        )
        with np.errstate(over="ignore"):
            return np.stack([e, np.exp(a), np.exp(b), theta[:, 3], theta[:, 4]], 1)

    def parameters(self, coefficients: Any) -> Any:
        """Return theta (s, 5) of coefficients (s, 5)."""
        e, a, b, alpha, beta = np.asarray(coefficients, float).T
        with np.errstate(divide="ignore"):
            return np.stack(
                [np.log(a) - alpha * self.centre[0], np.log(b) - beta * self.centre[1], np.log(e), alpha, beta], 1
            )
