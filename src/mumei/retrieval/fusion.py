"""Reciprocal rank fusion: join rankings whose scores cannot be compared.

Source: Cormack, Clarke and Büttcher 2009, "Reciprocal rank fusion outperforms Condorcet and individual rank learning methods".
Departure: scores are divided by the best possible one (first in every ranking), so that they lie in (0, 1] and read as a share.
"""

from __future__ import annotations

from collections.abc import Sequence

DAMPING = 60  # the paper's constant


def reciprocal_rank_fusion(
    rankings: Sequence[Sequence[int]], k: int, damping: int = DAMPING, weights: Sequence[float] | None = None
) -> list[tuple[int, float]]:
    """Join rankings of row numbers.

    Parameters
    ----------
    rankings : sequence of sequences of int
        Row numbers, best first; a row may be missing from some.
    k : int
        How many to return.
    weights : sequence of float, optional
        What each ranking counts; equal by default, as in the paper.

    Returns
    -------
    list of (row, score)
        Best first; equal scores by row number. A score of 1 means first everywhere.
    """
    scores: dict[int, float] = {}
    weights = [1.0] * len(rankings) if weights is None else weights
    for ranking, weight in zip(rankings, weights, strict=True):
        for rank, row in enumerate(ranking, start=1):
            scores[row] = scores.get(row, 0.0) + weight / (damping + rank)
    best = sum(weights) / (damping + 1)
    ordered = sorted(scores.items(), key=lambda pair: (-pair[1], pair[0]))
    return [(row, score / best) for row, score in ordered[:k]]
