"""Approach 1: the lower envelope of training curves. At each of 1,500 budgets the run of the lowest loss says the best size.

Curves are smoothed by a running median of five points and interpolated in log C; nothing is extrapolated past a curve's end.
Budgets at which the smallest or the largest size wins are left out: they say only that the best size lies further out.
Intervals resample whole runs, because the points of a curve are correlated.

The points of a curve before its end are not what a run of that length would have reached: its learning rate had not decayed
yet. They are asked about in `study.py` and can be dropped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mumei.core.errors import DataError
from mumei.core.seeds import numpy_generator
from mumei.scaling.isoflop import PowerLaw, line
from mumei.scaling.laws import positive

BUDGETS = 1500
SMOOTH = 5


@dataclass(frozen=True)
class Envelope:
    """The winners and the law through them.

    Parameters
    ----------
    flops, params, loss : ndarray (n,)
        Budgets whose winner is neither the smallest nor the largest size, the winner's size and loss.
    law : PowerLaw
    runs, sizes : int
        Curves used, and sizes that win somewhere inside.
    """

    flops: Any
    params: Any
    loss: Any
    law: PowerLaw
    runs: int
    sizes: int


def fit_envelope(runs: Any, params: Any, flops: Any, loss: Any, *, resamples: int = 500, seed: int = 0) -> Envelope:
    """Fit the envelope of curves.

    Parameters
    ----------
    runs : sequence (n,)
        A name for each point: points of one name are one curve.
    params, flops, loss : array (n,)
    resamples : int
        Of whole runs; 0 for no interval.

    Raises
    ------
    DataError
        Fewer than four sizes have curves, or at no budget does a size between the smallest and the largest win.
    """
    names, place = np.unique(np.asarray(runs), return_inverse=True)
    params, flops, loss = (np.asarray(v, float) for v in (params, flops, loss))
    positive(params=params, flops=flops, loss=loss)
    curves = [place == i for i in range(len(names))]
    curves = [own for own in curves if own.sum() >= 3]
    sizes = np.array([float(np.median(params[own])) for own in curves])
    if len(np.unique(sizes)) < 4:
        raise DataError(
            f"approach 1 needs training curves of four sizes or more; {len(np.unique(sizes))} have curves of three "
            "points or more."
        )
    grid = np.linspace(np.log(flops.min()), np.log(flops.max()), BUDGETS)
    height = np.stack([_on_grid(np.log(flops[own]), loss[own], grid) for own in curves])
    winner, inside = _winners(height, sizes)
    if inside.sum() < 10 or len(np.unique(sizes[winner[inside]])) < 2:
        raise DataError(
            "approach 1 found no budgets at which a size between the smallest and the largest has the lowest loss; train sizes "
            "beyond both ends."
        )
    x, y = grid[inside], np.log(sizes[winner[inside]])
    a, base = line(x, y[None])
    samples = _resample(height, sizes, grid, resamples, seed) if resamples else np.empty((0, 2))
    lowest = height[winner[inside], np.flatnonzero(inside)]
    law = PowerLaw(
        float(a[0]), float(np.exp(base[0])), 1 - float(a[0]), samples, float(x.mean()), 6.0, "envelope of curves"
    )
    return Envelope(np.exp(x), np.exp(y), lowest, law, len(curves), len(np.unique(y)))


def _on_grid(x: Any, loss: Any, grid: Any) -> Any:
    """Return a curve's smoothed loss at budgets; infinite outside of it."""
    order = np.argsort(x, kind="stable")
    x, loss = x[order], loss[order]
    if len(loss) > SMOOTH:
        half = SMOOTH // 2
        middle = np.median(np.lib.stride_tricks.sliding_window_view(loss, SMOOTH), axis=1)
        loss = np.concatenate([loss[:half], middle, loss[-half:]])
    found = np.interp(grid, x, loss)
    return np.where((grid >= x[0] - 1e-12) & (grid <= x[-1] + 1e-12), found, np.inf)


def _winners(height: Any, sizes: Any) -> tuple[Any, Any]:
    """Return each budget's winning curve, and whether its size lies strictly between those that have a curve there."""
    winner = height.argmin(0)
    there = np.isfinite(height)
    smallest = np.where(there, sizes[:, None], np.inf).min(0)
    largest = np.where(there, sizes[:, None], -np.inf).max(0)
    won = sizes[winner]
    return winner, there.any(0) & (won > smallest * 1.001) & (won < largest * 0.999)


def _resample(height: Any, sizes: Any, grid: Any, count: int, seed: int) -> Any:
    """Return slopes and intercepts (r, 2) with runs drawn again."""
    generator = numpy_generator(seed, "scaling", "envelope")
    found = []
    for _ in range(count):
        drawn = np.unique(generator.integers(0, len(sizes), len(sizes)))
        winner, inside = _winners(height[drawn], sizes[drawn])
        if inside.sum() < 10:
            continue
        a, base = line(grid[inside], np.log(sizes[drawn][winner[inside]])[None])
        if np.isfinite(a[0]):
            found.append((a[0], base[0]))
    return np.array(found).reshape(-1, 2)
