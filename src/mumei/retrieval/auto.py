"""Whether hypothetical documents are worth their time for a query: the decision of the mode "auto".

It is made on evidence that the first search gives for nothing. Generated text helps where the query lies far from what a
document looks like, and harms the search for a name or an identifier, which is already its own best query. So: never for
identifiers and names; yes where the best hit is weak, or where meaning and words disagree about the first hits.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

STRONG = 6.0  # deviations above the cosine of unrelated documents: a hit that needs no help
SHARED = 2  # hits among the first ten that meaning and words must share
NAME_LENGTH = 3  # words

# BRCA1, rs1799853, NM_000546.6, NCT01234567, 10.1000/xyz, P04637, c.35delG, CD4+: letters with digits or joined by marks.
_IDENTIFIER = re.compile(r"(?=\S*\d)(?=\S*[A-Za-z])\S+|\d[\d.,:/-]*|\S*[_/:]\S*")
_ASKS = frozenset(
    "what which who whom whose when where why how is are was were do does did can could should would will may has have".split()
)


def is_name(query: str) -> bool:
    """Whether a query is an identifier or a name rather than a question.

    Examples
    --------
    >>> [is_name(q) for q in ("BRCA1", "rs1799853", "Noonan Syndrome", "does aspirin thin blood", "heart attack risk")]
    [True, True, True, False, False]
    """
    words = query.strip().split()
    if not words or len(words) > NAME_LENGTH or query.rstrip().endswith("?") or words[0].lower() in _ASKS:
        return False
    named = [bool(_IDENTIFIER.fullmatch(w)) or w[:1].isupper() for w in words]
    return all(named) or any(_IDENTIFIER.fullmatch(w) for w in words)


def worth_it(
    query: str, similarity: float | None, background: tuple[float, float], dense: Sequence[int], words: Sequence[int]
) -> tuple[bool, str]:
    """Decide for one query.

    Parameters
    ----------
    query : str
    similarity : float or None
        Cosine of the best hit by meaning; None where there is none.
    background : (mean, deviation)
        Cosine of random document pairs.
    dense, words : sequence of int
        The rankings by meaning and by BM25, best first.

    Returns
    -------
    (bool, str)
        Whether to generate, and why.
    """
    if is_name(query):
        return False, "a name or identifier is its own best query"
    if similarity is None or not dense:
        return False, "there is nothing to search by meaning"
    mean, deviation = background
    if similarity < mean + STRONG * deviation:
        return True, f"the nearest text is weak (cosine {similarity:.2f}, unrelated texts {mean:.2f})"
    shared = len(set(dense[:10]) & set(words[:10]))
    if shared < SHARED:
        return True, f"meaning and words share {shared} of their first ten hits"
    return False, f"the first search is strong (cosine {similarity:.2f}, {shared} of ten hits shared)"
