"""Two runs compared query by query: how much, how sure, where.

The interval is a paired percentile bootstrap over queries (Efron and Tibshirani 1993); p is that of a paired randomisation test,
which flips the sign of each query's difference at random (Smucker, Allan and Carterette 2007).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

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
    few : dict of name to int
        Slices that were left out, and how many queries they have: fewer than `LEAST`.
    missing : (int, int)
        How many judged queries the first and the second run lack; they count 0 there.
    """

    measure: str
    total: Difference
    gains: list[tuple[str, float, float]]
    harms: list[tuple[str, float, float]]
    slices: dict[str, Difference] = field(default_factory=dict)
    few: dict[str, int] = field(default_factory=dict)
    missing: tuple[int, int] = (0, 0)

    def to_table(self, names: tuple[str, str] = ("a", "b")) -> str:
        """Return the comparison as lines of text."""
        first, second = names
        lines = [f"{self.measure:<24} {first:>10} {second:>10}  difference (95 % interval)      p   wins ties losses"]
        lines += [_line(name, d) for name, d in {"all": self.total, **self.slices}.items()]
        if len(self.slices) > 1:
            lines.append(f"{len(self.slices)} slices were looked at: one in twenty differs by chance at p = .05")
        if self.few:
            lines.append(f"slices of fewer than {LEAST} queries were left out: {', '.join(self.few)}")
        lines += [f"{name} lacks {n:,} queries, counted 0" for name, n in zip(names, self.missing, strict=True) if n]
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
    slices: Mapping[str, str | Sequence[str]] | Callable[[str], str | Sequence[str]] | None = None,
    seed: int = 0,
) -> Comparison:
    """Compare two runs over the same judged queries; a query that a run lacks counts 0 there.

    Parameters
    ----------
    a, b : mapping of query id to ranking
        As in `evaluate`.
    judgements : mapping of query id to {document id: grade}
    measure : str
    slices : mapping or function of query id to str or list of str, optional
        The slices that a query is in, such as those of `properties`. One of fewer than 5 queries is left out (see `few`), and
        so is one that holds every query.
    seed : int
        Of the resampling.
    """
    first, second = (evaluate(run, judgements, [measure]) for run in (a, b))
    name, before = next(iter(first.per_query.items()))
    after = second.per_query[name]
    queries = sorted(before)
    groups = {} if slices is None else _groups(queries, slices)
    moved = sorted(((q, before[q], after[q]) for q in queries), key=lambda item: (item[1] - item[2], item[0]))
    return Comparison(
        name,
        _difference(before, after, queries, seed),
        [item for item in moved[:LISTED] if item[2] - item[1] > TIE],
        [item for item in reversed(moved[-LISTED:]) if item[1] - item[2] > TIE],
        {
            group: _difference(before, after, members, seed)
            for group, members in groups.items()
            if len(members) >= LEAST
        },
        {group: len(members) for group, members in groups.items() if len(members) < LEAST},
        (len(first.missing), len(second.missing)),
    )


def properties(text: str, metadata: Mapping[str, Any] | None = None) -> list[str]:
    """Return the slices that a query is in: by its length in words and by its metadata's `type` and `language`.

    Examples
    --------
    >>> properties("does aspirin help", {"type": "yesno"})
    ['length up to 5 words', 'type yesno']
    """
    words = len(text.split())
    length = "up to 5 words" if words <= 5 else "6 to 12 words" if words <= 12 else "over 12 words"
    named = [f"{key} {value}" for key in ("type", "language") if (value := (metadata or {}).get(key)) not in (None, "")]
    return [f"length {length}", *named]


def _groups(queries: list[str], slices: Any) -> dict[str, list[str]]:
    """Return {slice: queries} by name; a slice that holds every query says nothing new and is left out."""
    groups: dict[str, list[str]] = {}
    for query in queries:
        names: Any = slices(query) if callable(slices) else slices.get(query, ())
        for name in dict.fromkeys([names] if isinstance(names, str) else names):
            groups.setdefault(str(name), []).append(query)
    return {name: groups[name] for name in sorted(groups) if name and len(groups[name]) < len(queries)}


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
