"""What a search sees of a collection's vectors and words: the rows of one state, and of those the live ones alone.

The files may hold more than the state that a reader opened: a writer has gone on, or was cut before it swapped the manifest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mumei.core.errors import DataError, UsageError

if TYPE_CHECKING:
    import numpy as np


class VectorView:
    """A `VectorStore` seen through a collection: its first `total` rows, of which `live` ones are found."""

    def __init__(self, store: Any, total: int, live: np.ndarray):
        self.store, self.live = store, live
        self.model, self.dim = store.model, store.dim
        self._total = total

    def __len__(self) -> int:
        return self._total

    def rows(self, wanted: Any) -> np.ndarray:
        """Return the vectors (n, dim) of some row numbers, in the order given."""
        import numpy as np

        wanted = np.asarray(wanted, dtype=np.int64)
        if wanted.size and (wanted.min() < 0 or wanted.max() >= self._total):
            raise UsageError(f"row numbers from {wanted.min()} to {wanted.max()} were asked of {self._total} rows.")
        return self.store.rows(wanted)

    def search(self, queries: np.ndarray, k: int, *, allow: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Find the k live (and allowed) rows with the largest inner product; see `VectorStore.search`."""
        mask = allowed(self.live, allow)
        if len(self.store) == self._total and mask.all():
            return self.store.search(queries, k)
        return self.store.search(queries, k, allow=resized(mask, len(self.store)))

    def append(self, vectors: np.ndarray) -> None:
        """Refuse: rows come into a collection by its `add`."""
        raise UsageError("a collection's vectors come with its documents; use Collection.add.")

    def delete(self, row_numbers: Any) -> None:
        """Refuse: rows are deleted by the collection's `delete`."""
        raise UsageError("a collection's rows are deleted by id; use Collection.delete.")


class WordView:
    """A `LexicalIndex` (or none yet) seen through a collection: its first `total` rows, of which `live` ones are found."""

    def __init__(self, index: Any, total: int, live: np.ndarray):
        self._index, self._total, self.live = index, total, live

    @property
    def indexed(self) -> int:
        """How many rows are indexed."""
        return 0 if self._index is None else min(len(self._index), self._total)

    def __len__(self) -> int:
        return self._total

    def search(self, query: str, k: int, *, allow: np.ndarray | None = None) -> tuple[list[int], list[float]]:
        """Return at most k live (and allowed) rows that share a word with the query; see `LexicalIndex.search`."""
        mask = allowed(self.live, allow)
        if self._index is None or not len(self._index):
            return [], []
        if len(self._index) == self._total and mask.all():
            return self._index.search(query, k)
        return self._index.search(query, k, allow=resized(mask, len(self._index)))


def allowed(live: np.ndarray, allow: Any) -> np.ndarray:
    """Return which rows are live and allowed."""
    import numpy as np

    if allow is None:
        return live
    allow = np.asarray(allow)
    if allow.shape != live.shape or allow.dtype != bool:
        raise DataError(f"allow is {allow.dtype} {allow.shape}; give one bool a row {live.shape}.")
    return live & allow


def resized(mask: np.ndarray, rows: int) -> np.ndarray:
    """Return the mask for another number of rows; rows that it does not know are not allowed."""
    import numpy as np

    return np.concatenate([mask[:rows], np.zeros(max(rows - len(mask), 0), dtype=bool)])
