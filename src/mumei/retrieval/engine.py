"""A vector database behind the `Index` protocol: what Milvus and Lance have in common.

Each row has its number, a mark whether it is live, and its vector. Rows are never removed, so that numbers are stable and the
count of rows is the count of numbers given; a deleted row is marked and left out by a filter within the database.

`allow` is put to the database in one of two ways. Few rows are named in the filter, and the answer is as exact as the
database's own. For more, it is asked for more rows than wanted, in growing numbers, and the rest is left out here; where its
limit is reached first, the rows are named after all, a part at a time.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mumei.retrieval.checks import allowed_rows, check_queries, check_vectors, row_numbers
from mumei.retrieval.index import SearchStats
from mumei.retrieval.locks import BusyError

if TYPE_CHECKING:
    import numpy as np

NAMED = 1000  # rows named in one filter


class EngineIndex(ABC):
    """An index whose rows a database holds; a subclass says how to put and ask.

    Notes
    -----
    One writer at a time; one that finds rows of another gets `BusyError`. Scores are the database's, in float32; equal ones are
    put in order of the rows among those that it returned.
    """

    engine = "engine"
    most = 16_384  # rows that the database returns for one query

    def __init__(self, model: str, dim: int, where: str):
        self.model, self.dim, self.where = model, dim, where
        self.last_search: SearchStats | None = None
        self._rows = 0

    # --- what a subclass does -----------------------------------------------------------------------------------------

    @abstractmethod
    def _count(self, dead: bool) -> int:
        """Count the rows, or those marked as deleted."""

    @abstractmethod
    def _dead(self) -> np.ndarray:
        """Return the row numbers marked as deleted."""

    @abstractmethod
    def _put(self, first: int, vectors: np.ndarray) -> None:
        """Add rows; they are there for everyone when this returns."""

    @abstractmethod
    def _mark(self, rows: np.ndarray) -> None:
        """Mark at most `NAMED` rows as deleted."""

    @abstractmethod
    def _fetch(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return (rows, vectors) of at most `NAMED` distinct rows, in any order."""

    @abstractmethod
    def _nearest(
        self, queries: np.ndarray, k: int, named: np.ndarray | None
    ) -> Sequence[tuple[np.ndarray, np.ndarray]]:
        """Return (rows, scores) of at most k live rows for each query, of the rows named if some are."""

    # --- the index ----------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return self._rows

    def refresh(self) -> None:
        """Count the rows anew: see what others have appended."""
        self._rows = self._count(dead=False)

    @property
    def live(self) -> np.ndarray:
        """Which rows are not deleted, bool (n,); asked of the database each time."""
        import numpy as np

        live = np.ones(self._rows, dtype=bool)
        if self._count(dead=True):
            dead = self._dead()
            live[dead[dead < self._rows]] = False
        return live

    def _check_alone(self) -> None:
        found = self._count(dead=False)
        if found != self._rows:
            raise BusyError(
                f"{self.where} has {found} rows and had {self._rows} when it was opened here: another process has written "
                "to it; nothing was changed. Open it again and repeat."
            )

    def append(self, vectors: np.ndarray) -> None:
        """Add rows (n, dim).

        Raises
        ------
        DataError
            The shape is wrong or a value is not finite; nothing was added.
        BusyError
            Another process has added rows since this was opened; nothing was added.
        """
        vectors = check_vectors(vectors, self.dim)
        if len(vectors):
            self._check_alone()
            self._put(self._rows, vectors)
            self._rows += len(vectors)

    def rows(self, wanted: Any) -> np.ndarray:
        """Return the vectors (n, dim) of some row numbers, in the order given; deleted ones too."""
        import numpy as np

        wanted = row_numbers(wanted, self._rows)
        distinct, place = np.unique(wanted, return_inverse=True)
        found = np.empty((len(distinct), self.dim), dtype=np.float32)
        for start in range(0, len(distinct), NAMED):
            numbers, vectors = self._fetch(distinct[start : start + NAMED])
            found[np.searchsorted(distinct, numbers)] = vectors
        return found[place]

    def delete(self, wanted: Any) -> None:
        """Mark rows as deleted: no search returns them any more. Deleting twice is no error."""
        import numpy as np

        distinct = np.unique(row_numbers(wanted, self._rows))
        self._check_alone()
        for start in range(0, len(distinct), NAMED):
            self._mark(distinct[start : start + NAMED])

    def search(self, queries: np.ndarray, k: int, *, allow: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Find the k rows with the largest inner product with each query, as exactly as the database's index does.

        Parameters
        ----------
        queries : ndarray (m, dim)
        k : int
        allow : ndarray (n,), bool, optional
            Rows that may be returned; deleted ones are not, whatever it says.

        Returns
        -------
        rows : ndarray (m, min(k, possible)), int64
            Best first. -1 where an approximate index found fewer.
        scores : ndarray (m, min(k, possible)), float32
        """
        import numpy as np

        queries = check_queries(queries, k, self.dim)
        if allow is None:
            possible, mask = self._rows - self._count(dead=True), None
        else:
            mask = allowed_rows(~self.live, allow, self._rows)
            possible = self._rows if mask is None else int(mask.sum())
        k = min(k, possible)
        rows = np.full((len(queries), k), -1, dtype=np.int64)
        scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
        if k and len(queries):
            for i, (found, theirs) in enumerate(self._ask(queries, k, mask, possible)):
                order = np.lexsort((found, -theirs))[:k]
                rows[i, : len(order)], scores[i, : len(order)] = found[order], theirs[order]
        self.last_search = SearchStats(self.engine, len(queries))
        return rows, scores

    def _ask(
        self, queries: np.ndarray, k: int, mask: np.ndarray | None, possible: int
    ) -> Sequence[tuple[np.ndarray, np.ndarray]]:
        import numpy as np

        named = np.flatnonzero(mask) if mask is not None and possible <= NAMED else None
        if (mask is None or named is not None) and k <= self.most:
            return self._nearest(queries, k, named)
        more = k if mask is None else int(k * 1.5 * self._rows / possible) + 10
        while mask is not None and more <= self.most:
            found = [(r[mask[r]], s[mask[r]]) for r, s in self._nearest(queries, more, None)]
            if more >= self._rows or all(len(r) >= k for r, _ in found):
                return found
            more = min(more * 4, max(self._rows, more + 1))
        return self._by_parts(queries, k, np.flatnonzero(self.live if mask is None else mask))

    def _by_parts(self, queries: np.ndarray, k: int, allowed: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        import numpy as np

        best = [(np.empty(0, np.int64), np.empty(0, np.float32))] * len(queries)
        for start in range(0, len(allowed), NAMED):
            part = allowed[start : start + NAMED]
            for i, (rows, scores) in enumerate(self._nearest(queries, min(k, len(part)), part)):
                both = np.concatenate([best[i][0], rows]), np.concatenate([best[i][1], scores])
                order = np.lexsort((both[0], -both[1]))[:k]
                best[i] = both[0][order], both[1][order]
        return best


def listed(rows: np.ndarray) -> str:
    """Return row numbers as a filter lists them: "1, 2, 3"."""
    return ", ".join(map(str, rows.tolist()))
