"""Vector feedback: the query moved towards its own first hits. No language model takes part.

It stands in for HyDE where no generator is at hand, and is labelled so. Source: Rocchio 1971, in its positive, vector form.
It is no safe default: it helps where the first hits are right (MED .788 to .813 nDCG@10) and harms where they are not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

FIRST_HITS = 3


def feedback_vector(query: np.ndarray, index: Any, rows: Any, hits: int = FIRST_HITS) -> np.ndarray:
    """Return the mean of the query's vector (d,) and those of its first hits.

    Parameters
    ----------
    query : ndarray (d,)
    index : Index
    rows : sequence of int
        The query's ranking, best first; its first `hits` are used, and an empty one gives the query back.
    """
    import numpy as np

    first = index.rows(np.asarray(rows[:hits], dtype=np.int64)) if len(rows) else np.empty((0, len(query)), np.float32)
    return np.vstack([query[None], first]).mean(axis=0, dtype=np.float64).astype(np.float32)
