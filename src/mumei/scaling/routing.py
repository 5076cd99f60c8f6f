"""Clark's law of routed models, fitted: linear in a, b, c, d with the saturation of experts fixed, which a grid searches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mumei.core.errors import DataError
from mumei.core.seeds import numpy_generator
from mumei.scaling.laws import positive
from mumei.scaling.uncertainty import percentiles
from mumei.scaling.variants import Routed

STARTS = np.geomspace(1.05, 8, 24)
MOSTS = np.geomspace(30, 3000, 30)


@dataclass(frozen=True)
class RoutedFit:
    """A fitted law; intervals of a, b and c, and of how much the largest number of experts multiplies a model's size."""

    law: Routed
    intervals: dict[str, tuple[float, float]]
    rms: float
    n: int


def fit_routed(params: Any, experts: Any, loss: Any, *, resamples: int = 500, seed: int = 0) -> RoutedFit:
    """Fit log10 L = a log10 N + b log10 E^ + c log10 N log10 E^ + d by least squares.

    Parameters
    ----------
    params, experts, loss : array (n,)
        The dense part's size, the number of experts (1 for dense) and the loss.

    Raises
    ------
    DataError
        Fewer than eight runs, or fewer than three numbers of experts.
    """
    positive(params=params, experts=experts, loss=loss)
    params, experts, loss = (np.asarray(v, float) for v in (params, experts, loss))
    if len(loss) < 8 or len(np.unique(experts)) < 3:
        raise DataError(
            f"{len(loss)} runs with {len(np.unique(experts))} numbers of experts; give eight or more, with three or more."
        )
    x, y = np.log10(params), np.log10(loss)
    cells = [(s, m) for s in STARTS for m in MOSTS]
    terms = np.stack([_terms(x, experts, *cell) for cell in cells])  # (cells, n, 4)
    best, coefficients = _solve(terms, y, np.ones((1, len(y))))
    a, b, c, d = map(float, coefficients[0])
    law = Routed(a, b, c, d, float(cells[best[0]][0]), float(cells[best[0]][1]), source=f"fitted to {len(y)} runs")
    error = terms[best[0]] @ coefficients[0] - y
    intervals = {}
    if resamples:
        generator = numpy_generator(seed, "scaling", "routed")
        weights = generator.multinomial(len(y), np.full(len(y), 1 / len(y)), size=resamples).astype(float)
        chosen, drawn = _solve(terms, y, weights)
        intervals = {name: percentiles(column) for name, column in zip("abc", drawn.T[:3], strict=True)}
        size, most = float(np.median(params)), float(experts.max())
        worth = [_worth(c, cells[k], size, most) for c, k in zip(drawn, chosen, strict=True)]
        intervals["worth"] = percentiles(worth)
    return RoutedFit(law, intervals, float(np.sqrt(np.mean(error**2)) * np.log(10)), len(y))


def _worth(coefficients: Any, cell: Any, size: float, experts: float) -> float:
    a, b, c, d = map(float, coefficients)
    return Routed(a, b, c, d, float(cell[0]), float(cell[1])).dense_equivalent(size, experts) / size


def _terms(x: Any, experts: Any, start: float, most: float) -> Any:
    e = np.log10(Routed(0, 0, 0, 0, start, most).saturated(experts))
    return np.stack([x, e, x * e, np.ones_like(x)], 1)


def _solve(terms: Any, y: Any, weights: Any) -> tuple[Any, Any]:
    """Return the best cell (r,) and its coefficients (r, 4) for weights (r, n)."""
    outer = np.einsum("cni,cnj->cnij", terms, terms).reshape(len(terms), len(y), 16)
    best, value, found = np.zeros(len(weights), int), np.full(len(weights), np.inf), np.zeros((len(weights), 4))
    for cell, own in enumerate(terms):
        normal = (weights @ outer[cell]).reshape(-1, 4, 4) + 1e-10 * np.eye(4)
        right = (weights * y) @ own
        solved = np.linalg.solve(normal, right[..., None])[..., 0]
        left = (weights @ (y * y)) - (solved * right).sum(1)
        better = left < value
        best[better], value[better], found[better] = cell, left[better], solved[better]
    return best, found
