"""Two runs compared query by query: how much, how sure, where.

The interval is a paired percentile bootstrap over queries (Efron and Tibshirani 1993); p is that of a paired randomisation test,
which flips the sign of each query's difference at random (Smucker, Allan and Carterette 2007).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mumei.core.errors import UsageError
from mumei.core.seeds import numpy_generator
from mumei.retrieval.evaluate import evaluate

if TYPE_CHECKING:
    import numpy as np

RESAMPLES = 10_000
BLOCK = 2_000_000  # numbers drawn at once
TIE = 1e-9
LISTED = 5
LEAST = 5  # queries in a slice


@dataclass(frozen=True)
class Difference:
    """How a run b differs from a run a: `mean` is b - a, with a 95 % interval and the randomisation test's p."""

    queries: int
    a: float
    b: float
    mean: float
    low: float
    high: float
    p: float
    wins: int
    ties: int
    losses: int


@dataclass(frozen=True)
class Comparison:
    """What `compare` found.

    Parameters
    ----------
    measure : str
    total : Difference
    gains, harms : list of (query id, a, b)
        The queries that differ most.
    slices : dict of name to Difference
        By a property of the queries.
    """

    measure: str
    total: Difference
    gains: list[tuple[str, float, float]]
    harms: list[tuple[str, float, float]]
    slices: dict[str, Difference] = field(default_factory=dict)

    def to_table(self, names: tuple[str, str] = ("a", "b")) -> str:
        """Return the comparison as lines of text."""
        first, second = names
        lines = [f"{self.measure:<24} {first:>10} {second:>10}  difference (95 % interval)      p   wins ties losses"]
        lines += [_line(name, d) for name, d in {"all": self.total, **self.slices}.items()]
        if len(self.slices) > 1:
            lines.append(f"{len(self.slices)} slices were looked at: one in twenty differs by chance at p = .05")
        for title, listed in (("largest gains", self.gains), ("largest losses", self.harms)):
            lines += [f"{title}:"] if listed else []
            lines += [f"  {query:<24} {a:.3f} -> {b:.3f}" for query, a, b in listed]
        return "\n".join(lines)


def _line(name: str, d: Difference) -> str:
    interval = f"{d.mean:+.4f} ({d.low:+.4f} to {d.high:+.4f})"
    return (
        f"{name[:24]:<24} {d.a:>10.4f} {d.b:>10.4f}  {interval:<30} {d.p:>5.3f} {d.wins:>5} {d.ties:>4} {d.losses:>6}"
    )


def compare(
    a: Mapping[str, Any],
    b: Mapping[str, Any],
    judgements: Mapping[str, Mapping[str, int]],
    measure: str = "nDCG@10",
    *,
    slices: Mapping[str, str] | Callable[[str], str] | None = None,
    seed: int = 0,
) -> Comparison:
    """Compare two runs over the same judged queries; a query that a run lacks counts 0 there.

    Parameters
    ----------
    a, b : mapping of query id to ranking
        As in `evaluate`.
    judgements : mapping of query id to {document id: grade}
    measure : str
    slices : mapping or function of query id to str, optional
        A property of each query (its type, language, length); slices of fewer than 5 queries are left out.
    seed : int
        Of the resampling.
    """
    left, right = (next(iter(evaluate(run, judgements, [measure]).per_query.items())) for run in (a, b))
    name, before = left
    after = right[1]
    queries = sorted(before)
    if not queries:
        raise UsageError("there is no judged query to compare on.")
    groups: dict[str, list[str]] = {}
    if slices is not None:
        of = slices if callable(slices) else lambda query: slices.get(query, "")
        for query in queries:
            groups.setdefault(str(of(query)), []).append(query)
    moved = sorted(((q, before[q], after[q]) for q in queries), key=lambda item: (item[1] - item[2], item[0]))
    return Comparison(
        name,
        _difference(before, after, queries, seed),
        [item for item in moved[:LISTED] if item[2] - item[1] > TIE],
        [item for item in reversed(moved[-LISTED:]) if item[1] - item[2] > TIE],
        {
            group: _difference(before, after, members, seed)
            for group, members in sorted(groups.items())
            if group and len(members) >= LEAST
        },
    )


def _difference(before: Mapping[str, float], after: Mapping[str, float], queries: list[str], seed: int) -> Difference:
    import numpy as np

    a = np.array([before[q] for q in queries])
    b = np.array([after[q] for q in queries])
    change = b - a
    low, high = np.quantile(bootstrap_means(change, seed), (0.025, 0.975))
    return Difference(
        queries=len(queries),
        a=float(a.mean()),
        b=float(b.mean()),
        mean=float(change.mean()),
        low=float(low),
        high=float(high),
        p=sign_flip_p(change, seed),
        wins=int((change > TIE).sum()),
        ties=int((np.abs(change) <= TIE).sum()),
        losses=int((change < -TIE).sum()),
    )


def bootstrap_means(values: np.ndarray, seed: int = 0, resamples: int = RESAMPLES) -> np.ndarray:
    """Return the means (resamples,) of values (n,) drawn with replacement."""
    import numpy as np

    rng = numpy_generator(seed, "bootstrap")
    step = max(1, BLOCK // len(values))
    sizes = [min(step, resamples - start) for start in range(0, resamples, step)]
    return np.concatenate([values[rng.integers(0, len(values), (size, len(values)))].mean(axis=1) for size in sizes])


def sign_flip_p(values: np.ndarray, seed: int = 0, resamples: int = RESAMPLES) -> float:
    """Return the two-sided p of the mean of values (n,) being 0, by flipping signs; never below 1 / (resamples + 1)."""
    import numpy as np

    rng = numpy_generator(seed, "sign flips")
    observed = abs(values.mean()) - 1e-12
    step, beyond = max(1, BLOCK // len(values)), 0
    for start in range(0, resamples, step):
        signs = rng.integers(0, 2, (min(step, resamples - start), len(values)), dtype=np.int8) * 2 - 1
        beyond += int((np.abs((signs * values).mean(axis=1)) >= observed).sum())
    return (beyond + 1) / (resamples + 1)
