"""Retrieval quality against judged documents: the measures of trec_eval, in plain Python.

Source: Järvelin and Kekäläinen 2002, "Cumulated gain-based evaluation of IR techniques"; trec_eval's `ndcg_cut`, `map`,
`map_cut`, `recall`, `P`, `recip_rank` and `success`.
Conventions, trec_eval's: gains are linear in the grade, a grade below 1 is not relevant, an unjudged document is not relevant,
scores are compared as 32-bit numbers, equal ones are ordered by document id, the larger first. A judged query that the run
lacks counts 0 (trec_eval's `-c`), unless `missing="skip"` (trec_eval without it); a query whose judgements hold no relevant
document counts 0, as trec_eval does, unless `empty="skip"`: there nothing could be found.
"""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mumei.core.errors import DataError, UsageError, unknown

DEFAULT_MEASURES = ("nDCG@10", "AP", "R@100", "MRR@10")
NAMES = ("nDCG", "AP", "R", "P", "MRR", "success")
Judged = Mapping[str, int]


def ndcg(ranked: Sequence[str], judged: Judged, k: int = 10) -> float:
    """Return nDCG@k of one ranking, in [0, 1].

    Parameters
    ----------
    ranked : sequence of str
        Document ids, best first.
    judged : mapping of id to grade
        Grades of 0 or less count as not relevant. Unjudged documents count as not relevant.
    k : int
        Depth.

    Examples
    --------
    >>> ndcg(["a", "b"], {"a": 2, "b": 1})
    1.0
    """
    _check_depth(k)
    ideal = _dcg(sorted((g for g in judged.values() if g > 0), reverse=True)[:k])
    return _dcg([max(judged.get(d, 0), 0) for d in ranked[:k]]) / ideal if ideal else 0.0


def _dcg(gains: Sequence[int]) -> float:
    return sum(g / math.log2(i + 2) for i, g in enumerate(gains))


def average_precision(ranked: Sequence[str], judged: Judged, k: int | None = None) -> float:
    """Return the mean over all relevant documents of the precision at the place of each (0 for one not in the first k)."""
    found, total = 0, 0.0
    for place, document in enumerate(ranked[:k], start=1):
        if judged.get(document, 0) > 0:
            found += 1
            total += found / place
    return total / _relevant(judged) if found else 0.0


def recall(ranked: Sequence[str], judged: Judged, k: int | None = None) -> float:
    """Return the share of the relevant documents that are in the first k."""
    return _found(ranked, judged, k) / max(_relevant(judged), 1)


def precision(ranked: Sequence[str], judged: Judged, k: int) -> float:
    """Return the share of k places that hold a relevant document."""
    return _found(ranked, judged, k) / k


def reciprocal_rank(ranked: Sequence[str], judged: Judged, k: int | None = None) -> float:
    """Return 1 / the place of the first relevant document, 0 where there is none in the first k."""
    return next((1 / i for i, d in enumerate(ranked[:k], start=1) if judged.get(d, 0) > 0), 0.0)


def success(ranked: Sequence[str], judged: Judged, k: int) -> float:
    """Return 1 where a relevant document is in the first k, else 0."""
    return float(_found(ranked, judged, k) > 0)


def _found(ranked: Sequence[str], judged: Judged, k: int | None) -> int:
    return sum(judged.get(document, 0) > 0 for document in ranked[:k])


def _relevant(judged: Judged) -> int:
    return sum(grade > 0 for grade in judged.values())


@dataclass(frozen=True)
class Measure:
    """A measure with its depth, made from a name such as "nDCG@10" or "AP"."""

    name: str
    k: int | None

    @classmethod
    def parse(cls, text: str) -> Measure:
        """Read a name; an unknown one raises `UsageError` with the closest match."""
        name, at, depth = text.partition("@")
        known = {n.lower(): n for n in NAMES} | {"map": "AP", "rr": "MRR", "recall": "R", "precision": "P"}
        if name.lower() not in known:
            raise unknown("measure", text, [f"{n}@10" for n in NAMES] + ["AP", "MRR"])
        name = known[name.lower()]
        if at and not re.fullmatch(r"[1-9]\d*", depth):
            raise UsageError(f"measure {text!r}: the depth after @ is a whole number of 1 or more, as in {name}@10.")
        if not at and name in ("P", "success"):
            raise UsageError(f"measure {text!r} needs a depth, as in {name}@10.")
        k = int(depth) if at else 10 if name == "nDCG" else None
        return cls(f"{name}@{k}" if k is not None else name, k)

    def __call__(self, ranked: Sequence[str], judged: Judged) -> float:
        """Return the measure of one ranking."""
        functions: dict[str, Any] = {
            "nDCG": ndcg,
            "AP": average_precision,
            "R": recall,
            "P": precision,
            "MRR": reciprocal_rank,
            "success": success,
        }
        return functions[self.name.partition("@")[0]](ranked, judged, self.k)


@dataclass(frozen=True)
class Evaluation:
    """What a run scored.

    Parameters
    ----------
    per_query : dict of measure to dict of query id to value
    missing : tuple of str
        Judged queries that the run lacks.
    empty : tuple of str
        Queries whose judgements hold no relevant document.
    counted : tuple of str
        Which of the two are in the means, as 0: "missing", "empty".
    """

    per_query: dict[str, dict[str, float]]
    missing: tuple[str, ...] = ()
    empty: tuple[str, ...] = ()
    counted: tuple[str, ...] = ("missing", "empty")

    @property
    def mean(self) -> dict[str, float]:
        """The mean of each measure over its queries."""
        return {name: math.fsum(values.values()) / max(len(values), 1) for name, values in self.per_query.items()}

    def to_table(self) -> str:
        """Return the means as lines of text."""
        lines = [f"{name:<12} {value:.4f}" for name, value in self.mean.items()]
        queries = max((len(values) for values in self.per_query.values()), default=0)
        notes = [
            f"; {len(some):,} {what} {'count 0' if name in self.counted else 'left out'}"
            for name, some, what in (
                ("missing", self.missing, "not in the run"),
                ("empty", self.empty, "without a relevant document"),
            )
            if some
        ]
        return "\n".join([*lines, f"over {queries:,} queries{''.join(notes)}"])


def evaluate(
    run: Mapping[str, Any] | Iterable[tuple[str, Any]],
    judgements: Mapping[str, Judged],
    measures: Sequence[str] = DEFAULT_MEASURES,
    *,
    missing: str = "zero",
    empty: str = "zero",
) -> Evaluation:
    """Measure a run.

    Parameters
    ----------
    run : mapping, or iterable of pairs, of query id to ranking
        A ranking is a sequence of document ids, best first, or a mapping of id to score. Pairs are taken one by one: only
        their values are kept.
    judgements : mapping of query id to {document id: grade}
    measures : sequence of str
        "nDCG@10", "AP", "R@100", "P@5", "MRR@10", "success@1", ...
    missing : {"zero", "skip"}
        What a judged query that the run lacks counts.
    empty : {"zero", "skip"}
        What a query whose judgements hold no relevant document counts.

    Raises
    ------
    UsageError
        No judgement, no measure, an unknown one, no query of the run is judged, or a query comes twice.
    DataError
        A ranking names a document twice, or has a score that is NaN.

    Examples
    --------
    >>> evaluate({"q": ["a", "b"]}, {"q": {"b": 1}}, ["MRR@10", "P@1"]).mean
    {'MRR@10': 0.5, 'P@1': 0.0}
    """
    for name, choice in (("missing", missing), ("empty", empty)):
        if choice not in ("zero", "skip"):
            raise unknown(f"choice of {name}", choice, ("zero", "skip"))
    parsed = [Measure.parse(name) for name in measures]
    if not judgements or not parsed:
        raise UsageError("an evaluation needs at least one judged query and one measure.")
    hopeless = {query for query, judged in judgements.items() if not _relevant(judged)}
    per_query: dict[str, dict[str, float]] = {measure.name: {} for measure in parsed}
    seen: set[str] = set()
    for query, ranking in _pairs(run):
        if query not in judgements:
            continue
        if query in seen:
            raise UsageError(f"query {query!r} comes twice in the run; give each query's ranking whole.")
        seen.add(query)
        ranked = order(ranking)
        for measure in parsed:
            per_query[measure.name][query] = measure(ranked, judgements[query])
    if not seen:
        raise UsageError(
            f"no query of the run is judged; judged are {', '.join(list(judgements)[:3])}, ... Check that both use the same ids."
        )
    absent = tuple(query for query in judgements if query not in seen)
    counted = tuple(name for name, choice in (("missing", missing), ("empty", empty)) if choice == "zero")
    for values in per_query.values():
        values.update(dict.fromkeys(absent if missing == "zero" else (), 0.0))
        for query in hopeless if empty == "skip" else ():
            values.pop(query, None)
    return Evaluation(per_query, absent, tuple(query for query in judgements if query in hopeless), counted)


def _pairs(run: Any) -> Iterator[tuple[str, Any]]:
    yield from run.items() if isinstance(run, Mapping) else run


def order(ranking: Mapping[str, float] | Sequence[str]) -> list[str]:
    """Return document ids, best first: by score as a 32-bit number, then by id, the larger first, as trec_eval does.

    Raises
    ------
    DataError
        A score is NaN, or a list of ids names one twice.

    Examples
    --------
    >>> order({"a": 1.0, "b": 2.0, "c": 1.0 + 1e-9})
    ['b', 'c', 'a']
    """
    if not isinstance(ranking, Mapping):
        if len(set(ranking)) != len(ranking):
            raise DataError("a ranking names a document twice; every document has one place.")
        return list(ranking)
    scores = dict(zip(ranking, array("f", ranking.values()), strict=True))
    if any(score != score for score in scores.values()):
        raise DataError("a ranking has a score that is NaN, which has no place in an order.")
    return sorted(sorted(scores, reverse=True), key=scores.__getitem__, reverse=True)


def mean_ndcg(run: Mapping[str, Sequence[str]], judgements: Mapping[str, Judged], k: int = 10) -> float:
    """Return the mean nDCG@k over the judged questions; a question without a ranking counts 0.

    Parameters
    ----------
    run : mapping of question id to ranked document ids
    judgements : mapping of question id to {document id: grade}
    k : int
    """
    if not judgements:
        raise UsageError("no judged questions were given; nDCG needs at least one.")
    return math.fsum(ndcg(run.get(q, ()), judged, k) for q, judged in judgements.items()) / len(judgements)


def _check_depth(k: int) -> None:
    if k < 1:
        raise UsageError(f"k={k} is not allowed; give 1 or more.")
