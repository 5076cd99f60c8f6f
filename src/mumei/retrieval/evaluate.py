"""Retrieval quality against judged passages, in plain Python: nDCG as trec_eval defines it (linear gain, log2 discount).

Source: Järvelin and Kekäläinen 2002, "Cumulated gain-based evaluation of IR techniques"; trec_eval's `ndcg_cut`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from mumei.core.errors import UsageError


def ndcg(ranked: Sequence[str], judged: Mapping[str, int], k: int = 10) -> float:
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
    if k < 1:
        raise UsageError(f"k={k} is not allowed; give 1 or more.")
    ideal = _dcg(sorted((g for g in judged.values() if g > 0), reverse=True)[:k])
    return _dcg([max(judged.get(d, 0), 0) for d in ranked[:k]]) / ideal if ideal else 0.0


def _dcg(gains: Sequence[int]) -> float:
    return sum(g / math.log2(i + 2) for i, g in enumerate(gains))


def mean_ndcg(run: Mapping[str, Sequence[str]], judgements: Mapping[str, Mapping[str, int]], k: int = 10) -> float:
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
