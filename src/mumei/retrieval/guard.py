"""A guard against generated texts that have nothing to do with the query: it costs no model and no label.

A hypothetical document that answers a query lies near to it; a text about something else lies where unrelated documents
lie. The scale comes from the corpus itself: the cosines of random pairs of its documents have a mean m and a deviation s, and
a generated text whose cosine to the query is below m + `DEVIATIONS` s is dropped. In a corpus about one subject, where random
pairs are near, the threshold stays below the middle between m and 1. When all are dropped the plain query is searched, and the
answer says so. Below `LEAST` documents the scale means nothing and there is no guard, which is said too.

What it cannot see: a wrong text about the query's own subject is as near as a right one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mumei.core.seeds import numpy_generator

if TYPE_CHECKING:
    import numpy as np

DEVIATIONS = 3.0
PAIRS = 2000
LEAST = 30  # documents


@dataclass(frozen=True)
class Guard:
    """A threshold on the cosine between a query and a text generated for it."""

    threshold: float

    @classmethod
    def of(cls, material: Any) -> Guard | None:
        """Return the guard of a collection, or None for one with too few documents to tell what unrelated means."""
        return cls.from_background(*material.background) if int(material.live.sum()) >= LEAST else None

    @classmethod
    def from_background(cls, mean: float, deviation: float) -> Guard:
        """Make a guard from the mean and deviation of the cosines of random document pairs."""
        return cls(min(mean + DEVIATIONS * deviation, (mean + 1) / 2))

    def keeps(self, query: np.ndarray, documents: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return which documents may be used, bool (n,), and their cosines to the query, float32 (n,)."""
        found = cosines(documents, query)
        return found >= self.threshold, found


def cosines(vectors: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the cosine of each row of (n, d) with a vector (d,), or with each row of (m, d) as (n, m); 0 for a zero vector."""
    import numpy as np

    left = vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
    right = other / np.maximum(np.linalg.norm(other, axis=-1, keepdims=True), 1e-12)
    return (left @ right.T).astype(np.float32)


def background(index: Any, seed: int = 0, live: np.ndarray | None = None) -> tuple[float, float]:
    """Return mean and deviation of the cosine of two random documents: what "unrelated" looks like in this corpus.

    Parameters
    ----------
    index : Index
        Anything with `rows` and a length.
    live : ndarray (n,) of bool, optional
        Documents that count; all of them by default.

    Returns
    -------
    (mean, deviation)
        (0, 1) where there are fewer than two documents.
    """
    import numpy as np

    pool = np.arange(len(index)) if live is None else np.flatnonzero(live)
    if len(pool) < 2:
        return 0.0, 1.0
    left, right = pool[numpy_generator(seed, "background").integers(0, len(pool), (2, PAIRS))]
    apart = left != right
    if not apart.any():
        return 0.0, 1.0
    a, b = index.rows(left[apart]), index.rows(right[apart])
    lengths = np.maximum(np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1), 1e-12)
    products = np.einsum("nd,nd->n", a, b) / lengths
    return round(float(products.mean()), 4), round(float(products.std()), 4)
