"""Curves of one size: L(D) = E + B D^-beta with intervals, where the validation loss was lowest, and how far it rose after.

That is what is left to say where too few sizes were trained for a surface, and what shows how many epochs data can bear: a
curve on repeated data turns up while one on fresh data goes on falling.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mumei.core.errors import DataError
from mumei.core.seeds import numpy_generator
from mumei.scaling.runs import Runs
from mumei.scaling.uncertainty import percentiles

EXPONENTS = np.geomspace(0.02, 3, 120)
LEAST = 8
TURN = 0.002  # rise of the smoothed log loss from its minimum to the end that counts as a turn


@dataclass(frozen=True)
class CurveFit:
    """One curve.

    Parameters
    ----------
    run : str
    params : float
    E, B, beta : float
        Of the law on its falling part.
    intervals : dict of str to (float, float)
        Of E and beta, from resampled residuals.
    lowest, at, end : float
        Lowest smoothed loss, the tokens there, and the smoothed loss at the end.
    tokens : float
        At the end.
    points : (ndarray, ndarray)
        The curve itself: tokens and loss.
    """

    run: str
    params: float
    E: float
    B: float
    beta: float
    intervals: dict[str, tuple[float, float]]
    lowest: float
    at: float
    end: float
    tokens: float
    points: tuple[Any, Any]

    @property
    def turned(self) -> bool:
        """Whether the loss rose again after its minimum."""
        return bool(np.log(self.end / self.lowest) > TURN and self.at < 0.97 * self.tokens)


def fit_curves(runs: Runs, *, resamples: int = 1000, seed: int = 0) -> list[CurveFit]:
    """Fit each run's own curve.

    Raises
    ------
    DataError
        No run has eight points.
    """
    if runs.run is None:
        raise DataError(f"{runs.name}: there is no column that says which run a point belongs to.")
    found = []
    for name in np.unique(runs.run):
        own = runs.run == name
        if own.sum() >= LEAST:
            order = np.argsort(runs.tokens[own])
            tokens, loss = runs.tokens[own][order], runs.loss[own][order]
            found.append(_fit(str(name), float(np.median(runs.params[own])), tokens, loss, resamples, seed))
    if not found:
        raise DataError(f"{runs.name}: no run has {LEAST} points; a curve of fewer says nothing.")
    return found


def _fit(run: str, params: float, tokens: Any, loss: Any, resamples: int, seed: int) -> CurveFit:
    half = 2
    smooth = np.median(np.lib.stride_tricks.sliding_window_view(np.pad(loss, half, mode="edge"), 2 * half + 1), axis=1)
    place = int(smooth.argmin())
    part = slice(0, max(place + 1, LEAST))
    x, y = tokens[part] / tokens[-1], loss[part]
    e, b, beta, fitted = (v[0] for v in _best(x, y[None]))
    intervals = {}
    if resamples:
        generator = numpy_generator(seed, "scaling", "curve", run)
        drawn = (y - fitted)[generator.integers(0, len(y), (resamples, len(y)))]
        es, _, betas, _ = _best(x, fitted + drawn * np.sqrt(len(y) / max(len(y) - 3, 1)))
        intervals = {"E": percentiles(es), "beta": percentiles(betas)}
    scale = float(tokens[-1]) ** float(beta)
    return CurveFit(
        *(run, params, float(e), float(b) * scale, float(beta), intervals),
        *(float(smooth[place]), float(tokens[place]), float(smooth[-3:].mean()), float(tokens[-1]), (tokens, loss)),
    )


def _best(x: Any, losses: Any) -> tuple[Any, Any, Any, Any]:
    """Return E, B, beta (r,) and the fitted values (r, n) of least squares, E and B not below zero."""
    count = len(losses)
    best = np.full(count, np.inf)
    e, b, beta, fitted = np.zeros(count), np.zeros(count), np.zeros(count), np.zeros_like(losses)
    for exponent in EXPONENTS:
        f = x**-exponent
        both = np.linalg.pinv(np.stack([np.ones_like(f), f], 1)) @ losses.T
        low = (both < 0).any(0)
        both[0, low], both[1, low] = 0.0, (losses[low] @ f) / (f @ f)
        made = both[0][:, None] + both[1][:, None] * f
        error = ((losses - made) ** 2).sum(1)
        better = error < best
        best[better], beta[better] = error[better], exponent
        e[better], b[better], fitted[better] = both[0][better], both[1][better], made[better]
    return e, b, beta, fitted
