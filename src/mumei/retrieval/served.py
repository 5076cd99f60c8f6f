"""What the adapters to vector databases share: row numbers, deletions and conditions in the terms of `Index`.

A database holds a row number, the vector and whether it is alive. A deleted row stays, marked, so that row numbers are never
given twice and the number of rows is that of all rows ever appended. Conditions (`allow`) become filters on row numbers: where
many rows are allowed, more hits are asked for and the others left out; where that does not give enough, the allowed rows are
searched in parts and the parts joined. Answers are as exact as the database's own index; the adapters ask for a flat one.

A database has its own locks: several processes may search, and one may write at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from mumei.core.errors import ArtifactError, DataError, UsageError

if TYPE_CHECKING:
    import numpy as np

BATCH = 1000  # rows sent at once
PART = 4096  # row numbers in one filter
MOST = 16_384  # hits that one request may ask for
ENOUGH = 0.1  # share of rows allowed from which asking for more is tried first


class ServedIndex:
    """Base of the adapters; one defines `_put`, `_mark`, `_drop`, `_get`, `_dead`, `_count` and `_nearest`."""

    name = "a vector database"

    def __init__(self, model: str, dim: int):
        if dim < 1:
            raise UsageError(f"dim={dim} is not allowed; give 1 or more.")
        self.model, self.dim = model, dim

    def _check_same(self, model: str | None, dim: int, where: str) -> None:
        if (model, dim) != (self.model, self.dim):
            raise ArtifactError(
                f"{where} holds vectors of {model or 'an unknown model'} ({dim} numbers each), not of {self.model} "
                f"({self.dim}); vectors of two models cannot be mixed. Use another collection or the same model."
            )

    def __len__(self) -> int:
        return self._count()

    @property
    def live(self) -> np.ndarray:
        """Which rows are not deleted, bool (n,)."""
        import numpy as np

        live = np.ones(len(self), dtype=bool)
        live[self._dead()] = False
        return live

    def append(self, vectors: np.ndarray) -> None:
        """Add rows (n, dim), in requests of 1,000 rows; `truncate` forgets what a cut left."""
        import numpy as np

        vectors = np.ascontiguousarray(vectors, dtype=np.float32)
        if vectors.ndim != 2 or vectors.shape[1] != self.dim:
            raise DataError(f"vectors of shape {vectors.shape} do not fit this store; give (n, {self.dim}).")
        if not np.isfinite(vectors).all():
            row = int(np.flatnonzero(~np.isfinite(vectors).all(axis=1))[0])
            raise DataError(f"vector {row} has a value that is NaN or infinite; the store takes finite numbers only.")
        first = len(self)
        for start in range(0, len(vectors), BATCH):
            self._put(first + start, vectors[start : start + BATCH])

    def rows(self, wanted: Any) -> np.ndarray:
        """Return the vectors (n, dim) of some row numbers, in the order given; deleted ones too."""
        import numpy as np

        numbers = self._numbers(wanted)
        unique, places = np.unique(numbers, return_inverse=True)
        out = np.empty((len(unique), self.dim), dtype=np.float32)
        for start in range(0, len(unique), BATCH):
            part = unique[start : start + BATCH].tolist()
            found = self._get(part)
            if len(found) != len(part):
                raise ArtifactError(
                    f"{self.name} lost {len(part) - len(found)} of {len(part)} rows that were appended."
                )
            out[start : start + len(part)] = [found[number] for number in part]
        return out[places]

    def delete(self, wanted: Any) -> None:
        """Mark rows as deleted: they are not found any more."""
        numbers = self._numbers(wanted)
        for start in range(0, len(numbers), BATCH):
            self._mark(numbers[start : start + BATCH].tolist())

    def truncate(self, rows: int) -> None:
        """Forget the rows from this number on."""
        if not 0 <= rows <= len(self):
            raise UsageError(f"truncate({rows}) is not allowed; give 0 to {len(self)}.")
        self._drop(rows)

    def _numbers(self, wanted: Any) -> np.ndarray:
        import numpy as np

        numbers = np.asarray(wanted, dtype=np.int64).ravel()
        total = len(self)
        if numbers.size and (numbers.min() < 0 or numbers.max() >= total):
            raise UsageError(f"row numbers from {numbers.min()} to {numbers.max()} were asked of {total} rows.")
        return numbers

    def search(self, queries: np.ndarray, k: int, *, allow: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Find the k rows with the largest inner product with each query.

        Parameters
        ----------
        queries : ndarray (m, dim)
        k : int
            At most 16,384.
        allow : ndarray (n,), bool, optional
            Rows that may be returned.

        Returns
        -------
        rows : ndarray (m, min(k, possible)), int64
            Best first; equal scores by row number.
        scores : ndarray (m, min(k, possible)), float32
        """
        import numpy as np

        queries = np.ascontiguousarray(queries, dtype=np.float32)
        if queries.ndim != 2 or queries.shape[1] != self.dim:
            raise DataError(f"queries of shape {queries.shape} do not fit this store; give (m, {self.dim}).")
        if not 1 <= k <= MOST:
            raise UsageError(f"k={k} is not allowed; give 1 to {MOST}.")
        possible = self.live
        if allow is not None:
            allow = np.asarray(allow)
            if allow.shape != possible.shape or allow.dtype != bool:
                raise DataError(f"allow is {allow.dtype} {allow.shape}; give one bool a row ({len(possible)},).")
            limited = bool((possible & ~allow).any())
            possible = possible & allow
        else:
            limited = False
        size = min(k, int(possible.sum()))
        if not size or not len(queries):
            return np.empty((len(queries), size), np.int64), np.empty((len(queries), size), np.float32)
        found = list(self._limited(queries, size, possible) if limited else self._nearest(queries, size, None))
        rows, scores = np.array([r for r, _ in found], np.int64), np.array([s for _, s in found], np.float32)
        order = np.lexsort((rows, -scores), axis=1)
        return np.take_along_axis(rows, order, 1), np.take_along_axis(scores, order, 1)

    def _limited(
        self, queries: np.ndarray, k: int, possible: np.ndarray
    ) -> Iterator[tuple[Sequence[int], Sequence[float]]]:
        import numpy as np

        allowed = np.flatnonzero(possible)
        share = len(allowed) / len(possible)
        if len(allowed) > PART and share >= ENOUGH:
            more = min(MOST, len(possible), int(4 * k / share) + 16)
            picked = [
                [(row, score) for row, score in zip(*hit, strict=True) if possible[row]][:k]
                for hit in self._nearest(queries, more, None)
            ]
            if all(len(hits) == k for hits in picked):
                for hits in picked:
                    yield [row for row, _ in hits], [score for _, score in hits]
                return
        best: list[list[tuple[float, int]]] = [[] for _ in queries]
        for start in range(0, len(allowed), PART):
            part = allowed[start : start + PART].tolist()
            for hits, (rows, scores) in zip(best, self._nearest(queries, min(k, len(part)), part), strict=True):
                hits.extend((-score, row) for row, score in zip(rows, scores, strict=True))
                hits.sort()
                del hits[k:]
        for hits in best:
            yield [row for _, row in hits], [-score for score, _ in hits]

    # --- what an adapter defines ---

    def _count(self) -> int:
        raise NotImplementedError

    def _dead(self) -> list[int]:
        """Return the numbers of the deleted rows."""
        raise NotImplementedError

    def _put(self, first: int, vectors: np.ndarray) -> None:
        """Write rows; a row that is there already is replaced."""
        raise NotImplementedError

    def _mark(self, rows: list[int]) -> None:
        raise NotImplementedError

    def _drop(self, first: int) -> None:
        raise NotImplementedError

    def _get(self, rows: list[int]) -> dict[int, Any]:
        raise NotImplementedError

    def _nearest(
        self, queries: np.ndarray, k: int, only: list[int] | None
    ) -> Iterator[tuple[Sequence[int], Sequence[float]]]:
        """Yield (rows, scores) of the k nearest living rows of each query, among some rows if they are given."""
        raise NotImplementedError
