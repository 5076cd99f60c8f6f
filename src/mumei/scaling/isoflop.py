"""Approach 2: at each budget the size of the lowest loss, and a power law through these sizes.

Three ways to the lowest point of a profile are always shown side by side: the vertex of a quadratic in log N (the paper's), the
minimum of a cubic, and that of an Akima spline through log loss (Porian and others 2024). With a grid too wide or not centred a
quadratic is off by a factor that is the same at every budget, so its exponent is right and its sizes are not; with centres that
drift, the exponent is wrong as well. A minimum at the edge of what was tried is refused: it says only that the best size lies
further out.

Intervals: the residuals of each profile are resampled around its curve, and what the vertices scatter about their line beyond
that is added as normal noise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from mumei.core.errors import DataError, unknown
from mumei.core.seeds import numpy_generator
from mumei.scaling.laws import Allocation, positive
from mumei.scaling.uncertainty import percentiles

METHODS = ("quadratic", "cubic", "akima")
GAP = math.log(1.12)  # width of a budget, at most
LEAST = 4  # sizes in a profile
FINE = 801  # points of a spline that are looked at
FAILED = 0.2  # a profile more of whose resamples than this have no minimum inside is refused


@dataclass(frozen=True)
class Vertex:
    """The lowest point of a profile by one method; `refused` says why it cannot be used."""

    params: float
    loss: float
    refused: str = ""


@dataclass(frozen=True)
class Profile:
    """Runs of one budget, sorted by size.

    Parameters
    ----------
    flops : float
        Geometric mean of the runs' own.
    params, loss : ndarray (n,)
    factor : float
        Median C / (N D): 6 where compute is 6ND.
    vertices : dict of str to Vertex
    """

    flops: float
    params: Any
    loss: Any
    factor: float
    vertices: dict[str, Vertex]

    @property
    def half_width(self) -> float:
        """How far the sizes reach to either side of their middle, as a factor."""
        return float(np.sqrt(self.params[-1] / self.params[0]))


@dataclass(frozen=True)
class PowerLaw:
    """N = k C^a, with resamples of both.

    Parameters
    ----------
    a, k : float
    b : float
        Exponent of the tokens.
    samples : ndarray (r, 2)
        Of a and log k; empty without resamples.
    centre : float
        Mean log C of the budgets.
    factor : float
        C / (N D) at the largest budget.
    """

    a: float
    k: float
    b: float
    samples: Any
    centre: float
    factor: float = 6.0
    source: str = "fitted"

    def interval(self, level: float = 0.95) -> tuple[float, float] | None:
        """Return the interval of a; None without resamples."""
        return percentiles(self.samples[:, 0], level) if len(self.samples) else None

    def optimal(self, flops: float) -> Allocation:
        """Return size and tokens at a budget."""
        positive(flops=flops)
        params = self.k * flops**self.a
        return Allocation(flops, params, flops / (self.factor * params))

    def optimal_interval(self, flops: float, level: float = 0.95) -> tuple[float, float] | None:
        """Return the interval of the size at a budget; None without resamples."""
        if not len(self.samples):
            return None
        low, high = percentiles(self.samples[:, 1] + self.samples[:, 0] * math.log(flops), level)
        return math.exp(low), math.exp(high)


@dataclass(frozen=True)
class IsoFlop:
    """All profiles, and a power law by each method that found at least two vertices."""

    profiles: list[Profile]
    laws: dict[str, PowerLaw]
    left_out: list[str]

    @property
    def method(self) -> str:
        """The method whose law is taken: quadratic, as published, unless another has more usable budgets by two."""
        return max(self.laws, key=lambda m: (self.usable(m) - (1.5 if m != "quadratic" else 0), -METHODS.index(m)))

    @property
    def law(self) -> PowerLaw:
        """The law of that method."""
        return self.laws[self.method]

    def usable(self, method: str) -> int:
        """Return how many budgets have a vertex by a method."""
        return sum(not p.vertices[method].refused for p in self.profiles)


def budgets_of(flops: Any) -> Any:
    """Return a number (n,) for each run, equal within a budget, ascending with it; -1 for runs between budgets.

    A budget is a window of 12 % with at least four runs: equal to 2 %, or at least half as many again as around it. Runs of other
    experiments may lie between the budgets, and values read off a figure scatter.

    Examples
    --------
    >>> budgets_of([1e18, 1e21, 1.01e18, 1.01e21, 1e18, 1e18, 1e21, 1e19, 1e21]).tolist()
    [0, 1, 0, 1, 0, 0, 1, -1, 1]
    """
    logs = np.log(np.asarray(flops, float))
    order = np.argsort(logs, kind="stable")
    found, taken = np.full(len(logs), -1), np.zeros(len(logs), bool)
    ends = np.searchsorted(logs[order], logs[order] + GAP, side="right")
    counts = ends - np.arange(len(logs))
    spread = np.array([logs[order][e - 1] - logs[order][i] for i, e in enumerate(ends)])
    number = 0
    for start in np.lexsort((spread, -counts)):
        inside = slice(start, ends[start])
        count = int(counts[start])
        if count < LEAST or taken[inside].any():
            continue
        middle = logs[order][inside].mean()
        near = int((np.abs(logs - middle) <= 2 * GAP).sum()) - count
        if spread[start] > 0.02 and (count <= LEAST or count < 1.5 * near / 3):
            continue
        taken[inside] = True
        found[order[inside]] = number
        number += 1
    middles = [logs[found == g].mean() for g in range(number)]
    ranks = np.argsort(np.argsort(middles))
    return np.array([ranks[g] if g >= 0 else -1 for g in found], int)


def fit_isoflop(
    params: Any,
    flops: Any,
    loss: Any,
    *,
    tokens: Any = None,
    budgets: Any = None,
    resamples: int = 1000,
    seed: int = 0,
    half_width: float | None = None,
) -> IsoFlop:
    """Fit profiles and their power laws.

    Parameters
    ----------
    params, flops, loss : array (n,)
    tokens : array (n,), optional
        C / 6N by default.
    budgets : array (n,), optional
        A value for each run, equal within a budget; found from the FLOPs by default.
    resamples : int
        For intervals; 0 for none.
    half_width : float, optional
        Use only sizes within this factor of the best one seen at each budget.

    Raises
    ------
    DataError
        Fewer than two budgets have a usable minimum by any method.
    """
    params, flops, loss = (np.asarray(v, float) for v in (params, flops, loss))
    positive(params=params, flops=flops, loss=loss)
    tokens = flops / (6 * params) if tokens is None else np.asarray(tokens, float)
    groups = budgets_of(flops) if budgets is None else np.unique(np.asarray(budgets, float), return_inverse=True)[1]
    profiles, left_out = [], []
    for group in range(int(groups.max(initial=-1)) + 1):
        own = groups == group
        made = _profile(params[own], flops[own], loss[own], tokens[own], half_width)
        if isinstance(made, str):
            left_out.append(made)
        else:
            profiles.append(made)
    if (groups < 0).any():
        left_out.append(f"{int((groups < 0).sum())} runs between the budgets")
    laws = {}
    for method in METHODS:
        law = _power_law(profiles, method, resamples, seed)
        if law is not None:
            laws[method] = law
    if not laws:
        why = [f"{p.flops:.2e}: {p.vertices['quadratic'].refused}" for p in profiles if p.vertices["quadratic"].refused]
        told = "; ".join([*why, *left_out][:4]) or "no budget has runs"
        raise DataError(
            f"IsoFLOP profiles need two budgets with a minimum inside the sizes tried, and {len(profiles)} budgets were found "
            f"({told}). Train more sizes at two or more budgets."
        )
    return IsoFlop(profiles, laws, left_out)


def _profile(params: Any, flops: Any, loss: Any, tokens: Any, half_width: float | None) -> Profile | str:
    """Return a budget's profile, or why there is none."""
    middle = float(np.exp(np.log(flops).mean()))
    if half_width is not None:
        near = np.abs(np.log(params / params[loss.argmin()])) <= math.log(half_width)
        params, flops, loss, tokens = params[near], flops[near], loss[near], tokens[near]
    sizes, place = np.unique(params, return_inverse=True)
    if len(sizes) < LEAST:
        return f"{middle:.2e} FLOPs: {len(sizes)} sizes, at least {LEAST} are needed"
    # A size that was run more than once (seeds, learning rates) counts by its best run.
    best = np.full(len(sizes), np.inf)
    np.minimum.at(best, place, loss)
    factor = float(np.median(flops / (params * tokens)))
    x = np.log(sizes)
    vertices = {method: _vertex(method, x, best[None]) for method in METHODS}
    found = {m: Vertex(float(np.exp(v[0][0])), float(v[1][0]), _why(m, v, x, best)) for m, v in vertices.items()}
    return Profile(middle, sizes, best, factor, found)


def _why(method: str, vertex: tuple[Any, Any], x: Any, loss: Any) -> str:
    """Return why a vertex is refused, or an empty string."""
    if np.isfinite(vertex[0][0]):
        return ""
    side = "smallest" if loss.argmin() == 0 else "largest"
    edge = f"the lowest loss is at the {side} size tried, so the best one may lie beyond it"
    return edge if loss.argmin() in (0, len(x) - 1) else f"the {method} has no minimum inside the sizes tried"


def _vertex(method: str, x: Any, losses: Any) -> tuple[Any, Any]:
    """Return log N and loss (r,) of the minima of curves through losses (r, n); NaN where none lies inside."""
    if method == "akima":
        from scipy.interpolate import Akima1DInterpolator

        fine = np.linspace(x[0], x[-1], FINE)
        curve = Akima1DInterpolator(x, np.log(losses).T)(fine)  # (FINE, r)
        place = curve.argmin(0)
        lowest = np.exp(curve[place, np.arange(curve.shape[1])])
        inside = (place > 0) & (place < FINE - 1)
        return np.where(inside, fine[place], np.nan), np.where(inside, lowest, np.nan)
    degree = 2 if method == "quadratic" else 3
    scale = max(float(np.ptp(x)) / 2, 1e-9)
    u, middle = (x - x.mean()) / scale, x.mean()
    terms = np.linalg.pinv(np.vander(u, degree + 1, increasing=True)) @ losses.T
    c0, c1, c2 = terms[:3]
    with np.errstate(divide="ignore", invalid="ignore"):
        if degree == 2:
            at = np.where(c2 > 0, -c1 / (2 * c2), np.nan)
            low = c0 + at * (c1 + at * c2)
        else:
            c3 = terms[3]
            root = np.sqrt(np.where(c2 * c2 - 3 * c1 * c3 >= 0, c2 * c2 - 3 * c1 * c3, np.nan))
            at = np.where(np.abs(c3) > 1e-12, (-c2 + root) / (3 * c3), -c1 / (2 * c2))  # where the slope rises
            low = c0 + at * (c1 + at * (c2 + at * c3))
        inside = (at > u[0]) & (at < u[-1])
    return np.where(inside, middle + scale * at, np.nan), np.where(inside, low, np.nan)


def _power_law(profiles: list[Profile], method: str, resamples: int, seed: int) -> PowerLaw | None:
    """Return the law through a method's usable vertices; None for fewer than two."""
    used = [p for p in profiles if not p.vertices[method].refused]
    if len(used) < 2 or np.ptp(np.log([p.flops for p in used])) < GAP:
        return None
    x = np.log([p.flops for p in used])
    y = np.log([p.vertices[method].params for p in used])
    factors = np.log([p.factor for p in used])
    a, log_k = line(x, y[None])
    b, _ = line(x, (x - y - factors)[None])
    samples = np.empty((0, 2))
    if resamples:
        drawn = np.stack([_resampled(p, method, resamples, seed) for p in used], 1)  # (r, budgets)
        samples = _line_samples(x, y, drawn, seed)
    return PowerLaw(
        float(a[0]),
        float(np.exp(log_k[0])),
        float(b[0]),
        samples,
        float(x.mean()),
        used[-1].factor,
        f"IsoFLOP, {method}",
    )


def _resampled(profile: Profile, method: str, count: int, seed: int) -> Any:
    """Return log N (count,) of vertices with residuals drawn again around a smooth curve in log N."""
    x, loss = np.log(profile.params), profile.loss
    degree = 3 if method != "quadratic" and len(x) > LEAST else 2
    u = (x - x.mean()) / max(float(np.ptp(x)) / 2, 1e-9)
    terms = np.vander(u, degree + 1, increasing=True)
    fitted = terms @ np.linalg.lstsq(terms, loss, rcond=None)[0]
    residuals = (loss - fitted) * math.sqrt(len(x) / max(len(x) - degree - 1, 1))
    generator = numpy_generator(seed, "scaling", "isoflop", f"{profile.flops:.6e}")
    around = loss if method == "akima" else fitted
    drawn = residuals[generator.integers(0, len(x), (count, len(x)))]
    return _vertex(method, x, np.maximum(around + drawn, 1e-9))[0]


def _line_samples(x: Any, y: Any, drawn: Any, seed: int) -> Any:
    """Return slopes and intercepts (r, 2) of lines through drawn vertices, the scatter beyond their noise added."""
    noise = np.nanvar(drawn, axis=0) if len(drawn) > 1 else np.zeros(len(x))
    excess = 0.0
    if len(x) > 2:
        slope, base = line(x, y[None])
        left = y - base[0] - slope[0] * x
        excess = max(0.0, float((left**2).sum() / (len(x) - 2) - np.nanmean(noise)))
    generator = numpy_generator(seed, "scaling", "isoflop", "line")
    values = drawn + generator.normal(0, math.sqrt(excess), drawn.shape)
    slope, base = line(x, values)
    kept = np.isfinite(slope)
    return np.stack([slope[kept], base[kept]], 1)


def line(x: Any, values: Any, weights: Any = None) -> tuple[Any, Any]:
    """Return slopes and intercepts (r,) of lines through values (r, n) over x (n,); NaN among the values is left out."""
    weight = np.isfinite(values) * (1.0 if weights is None else np.asarray(weights, float))
    filled = np.where(np.isfinite(values), values, 0.0)
    total = weight.sum(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean_x, mean_y = (weight * x).sum(1) / total, (weight * filled).sum(1) / total
        apart = x - mean_x[:, None]
        slope = (weight * apart * filled).sum(1) / (weight * apart * apart).sum(1)
    slope = np.where((np.isfinite(values)).sum(1) >= 2, slope, np.nan)
    return slope, mean_y - slope * mean_x


@dataclass(frozen=True)
class Optima:
    """A power law through optima that others have found: budgets with their best sizes or tokens."""

    law: PowerLaw
    flops: Any
    values: Any
    quantity: str = "params"


def fit_optima(
    flops: Any, values: Any, *, deviations: Any = None, quantity: str = "params", resamples: int = 1000, seed: int = 0
) -> Optima:
    """Fit value ~ C^exponent through published optima, with an interval from resampled budgets.

    Parameters
    ----------
    flops, values : array (n,)
    deviations : array (n,), optional
        Standard deviation of the logarithm of each value; those with a small one count more.
    quantity : str
        params or tokens.

    Raises
    ------
    DataError
        Fewer than three budgets.
    """
    if quantity not in ("params", "tokens"):
        raise unknown("quantity", quantity, ("params", "tokens"))
    there = np.isfinite(np.asarray(flops, float)) & np.isfinite(np.asarray(values, float))
    flops, values = np.asarray(flops, float)[there], np.asarray(values, float)[there]
    deviations = None if deviations is None else np.asarray(deviations, float)[there]
    positive(flops=flops, values=values)
    x, y = np.log(flops), np.log(values)
    if len(np.unique(x)) < 3:
        raise DataError(
            f"{len(np.unique(x))} budgets have an optimum; at least 3 are needed for a power law with an interval."
        )
    weights = np.ones(len(x)) if deviations is None else 1 / np.maximum(np.nan_to_num(deviations, nan=1.0), 1e-2) ** 2
    slope, base = line(x, y[None], weights)
    fitted = base[0] + slope[0] * x
    residuals = (y - fitted) * math.sqrt(len(x) / (len(x) - 2))
    generator = numpy_generator(seed, "scaling", "optima")
    drawn = fitted + residuals[generator.integers(0, len(x), (resamples, len(x)))]
    slopes, bases = line(x, drawn, weights)
    other = 1 - slope[0]
    law = PowerLaw(float(slope[0]), float(np.exp(base[0])), float(other), np.stack([slopes, bases], 1), float(x.mean()))
    return Optima(law, np.exp(x), np.exp(y), quantity)
