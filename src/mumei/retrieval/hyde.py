"""HyDE: search with the vectors of hypothetical documents.

Source: Gao, Ma, Lin and Callan 2022, "Precise Zero-Shot Dense Retrieval without Relevance Labels".

A language model is asked for N documents that would answer the query q. With the encoder f, the search vector is

    v = ( f(d_1) + ... + f(d_N) + f(q) ) / (N + 1)                                                     (the paper)
    v = w f(q) + (1 - w) ( f(d_1) + ... + f(d_N) ) / N                                                 (with a query weight w)

and the documents with the largest inner product with v are returned. Nothing is trained and nothing is normalised after f.
The paper's mean is w = 1/(N + 1).

`PAPER` is the paper's setting: N = 8, temperature 0.7, at most 512 tokens, top_p 1, text ends at three newlines, ranked by v
alone. Departures of `DEFAULT`, each with its reason:

- N = 2: two texts bring 90 to 100 % of the gain of eight at a quarter of the cost.
- w = 0.25 whatever N is: the top of the curve is flat between 0.1 and 0.3.
- A guard drops generated texts that are no nearer to the query than unrelated documents are to each other (`guard.py`).
- The ranking is joined with those of the plain query and of BM25 (`fusion.py`); the texts' words join the query's in BM25.
- Texts of several senses are searched apart, not averaged (`senses.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mumei.core.errors import DataError, UsageError

if TYPE_CHECKING:
    import numpy as np

STOP = ("\n\n\n",)  # where the paper's generations end
WEIGHT = 0.25


def _check_weight(weight: float | str) -> None:
    if isinstance(weight, str) or not 0 <= weight <= 1:
        raise UsageError(f"query_weight={weight!r} is not allowed; give a number from 0 to 1, or 'paper'.")


@dataclass(frozen=True)
class Hyde:
    """How hypothetical documents are made and used.

    Parameters
    ----------
    n : int
        Documents asked for.
    temperature : float
        0 is the most likely text; the paper's 0.7 gives documents that differ.
    max_tokens : int
        Longest document, in the generator's tokens.
    query_weight : float or "paper"
        Weight of the query's own vector, in [0, 1]; "paper" is 1/(N + 1).
    guard : bool
        Drop documents that the corpus calls unrelated to the query.
    fuse : bool
        Join the ranking with those of the plain query and of BM25; else HyDE's ranking alone is the answer.
    senses : bool
        Search apart where the documents fall into several senses.
    """

    n: int = 2
    temperature: float = 0.7
    max_tokens: int = 512
    query_weight: float | str = WEIGHT
    guard: bool = True
    fuse: bool = True
    senses: bool = True

    def __post_init__(self) -> None:
        if self.n < 1:
            raise UsageError(f"n={self.n} is not allowed; give 1 or more hypothetical documents.")
        if not 0 <= self.temperature <= 2:
            raise UsageError(f"temperature={self.temperature} is not allowed; give 0 to 2.")
        if self.max_tokens < 1:
            raise UsageError(f"max_tokens={self.max_tokens} is not allowed; give 1 or more.")
        if self.query_weight != "paper":
            _check_weight(self.query_weight)

    def weight(self, documents: int) -> float:
        """Return the weight of the query's vector when this many documents are left."""
        return 1 / (documents + 1) if self.query_weight == "paper" else float(self.query_weight)


PAPER = Hyde(n=8, temperature=0.7, max_tokens=512, query_weight="paper", guard=False, fuse=False, senses=False)
DEFAULT = Hyde()


def hyde_vector(query: np.ndarray, documents: np.ndarray, weight: float | None = None) -> np.ndarray:
    """Return the search vector of a query and its hypothetical documents.

    Parameters
    ----------
    query : ndarray (d,)
        f(q).
    documents : ndarray (n, d)
        f(d_i); none gives the query's vector back.
    weight : float, optional
        Weight of the query, in [0, 1]; the paper's 1/(n + 1) by default.

    Returns
    -------
    ndarray (d,), float32, not normalised

    Examples
    --------
    >>> import numpy as np
    >>> hyde_vector(np.array([3.0, 0.0]), np.array([[0.0, 3.0], [0.0, 3.0]]))
    array([1., 2.], dtype=float32)
    """
    import numpy as np

    query, documents = np.asarray(query, np.float64), np.asarray(documents, np.float64)
    if query.ndim != 1 or documents.ndim != 2 or (len(documents) and documents.shape[1] != len(query)):
        raise DataError(f"shapes {query.shape} and {documents.shape} do not fit; give (d,) and (n, d).")
    if not len(documents):
        return query.astype(np.float32)
    if weight is None:
        weight = 1 / (len(documents) + 1)
    _check_weight(weight)
    return (weight * query + (1 - weight) * documents.mean(axis=0)).astype(np.float32)
