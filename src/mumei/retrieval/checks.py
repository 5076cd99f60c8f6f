"""What goes into an index, checked in one place: every index gives the same errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mumei.core.errors import DataError, UsageError

if TYPE_CHECKING:
    import numpy as np

CHUNK = 16_384  # rows looked at at once


def check_vectors(vectors: Any, dim: int) -> np.ndarray:
    """Return vectors as float32 (n, dim), or raise `DataError`: the shape is wrong or a value is not finite."""
    import numpy as np

    vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    if vectors.ndim != 2 or vectors.shape[1] != dim:
        raise DataError(f"vectors of shape {vectors.shape} do not fit this store; give (n, {dim}).")
    for start in range(0, len(vectors), CHUNK):
        finite = np.isfinite(vectors[start : start + CHUNK]).all(axis=1)
        if not finite.all():
            row = start + int(np.flatnonzero(~finite)[0])
            raise DataError(f"vector {row} has a value that is NaN or infinite; the store takes finite numbers only.")
    return vectors


def check_queries(queries: Any, k: int, dim: int) -> np.ndarray:
    """Return queries as float32 (m, dim), or raise an error that says what fits."""
    import numpy as np

    queries = np.ascontiguousarray(queries, dtype=np.float32)
    if queries.ndim != 2 or queries.shape[1] != dim:
        raise DataError(f"queries of shape {queries.shape} do not fit this store; give (m, {dim}).")
    if not np.isfinite(queries).all():
        row = int(np.flatnonzero(~np.isfinite(queries).all(axis=1))[0])
        raise DataError(f"query {row} has a value that is NaN or infinite.")
    if k < 1:
        raise UsageError(f"k={k} is not allowed; give 1 or more.")
    return queries


def allowed_rows(dead: np.ndarray | None, allow: Any, rows: int) -> np.ndarray | None:
    """Return which rows may be found, bool (rows,), or None for all of them."""
    import numpy as np

    if allow is None:
        return None if dead is None else ~dead
    mask = np.asarray(allow)
    if mask.shape != (rows,) or mask.dtype != bool:
        raise UsageError(f"allow is {mask.dtype} {mask.shape}; give one bool for each of the {rows} rows.")
    mask = mask if dead is None else mask & ~dead
    return None if mask.all() else mask


def row_numbers(wanted: Any, rows: int) -> np.ndarray:
    """Return row numbers as int64 (n,), or raise `UsageError`: there are not so many rows."""
    import numpy as np

    wanted = np.asarray(wanted, dtype=np.int64).reshape(-1)
    if wanted.size and (wanted.min() < 0 or wanted.max() >= rows):
        raise UsageError(f"row numbers from {wanted.min()} to {wanted.max()} were asked of {rows} rows.")
    return wanted
