"""Tables of numbers: CSV, TSV, Parquet, .npy, .npz (dense or a sparse matrix in parts), .h5ad. Labels are never features.

A table gives blocks of float32 rows; rows with a value that is not finite are left out and listed. Sparse and compressed
matrices are held as they are and made dense a block at a time.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mumei.core.errors import DataError, MissingExtraError
from mumei.discover.sources.columns import is_number
from mumei.discover.sources.lines import damaged
from mumei.discover.sources.rows import Problem

if TYPE_CHECKING:
    import numpy as np

BLOCK = 4096
FIRST = ("x", "X", "data", "arr_0", "features", "view0", "images", "counts")
SPARSE = ("indptr", "indices", "data", "shape")
Slices = Callable[[int, int], "np.ndarray"]


class TableSource:
    """A table of n rows and d numeric columns.

    Parameters
    ----------
    path : Path
    n : int
    columns : list of str
    take : callable
        `take(start, stop)` returns rows as a dense array.
    names : list of str, optional
        Row names; numbers from 1 by default.
    described : list of str
    """

    kind = "table"

    def __init__(
        self, path: Path, n: int, columns: list[str], take: Slices, names: list[str] | None, described: list[str]
    ):
        if n == 0 or not columns:
            raise DataError(f"{path} has {n} rows and {len(columns)} numeric columns: there is nothing to organise.")
        self.path, self.name, self.columns, self.total_hint = path, path.name, columns, n
        self._take, self._names = take, names
        self.described = [*described, f"table: {n:,} rows by {len(columns):,} columns"]
        self.problems: list[Problem] = []
        self._bad: set[int] | None = None

    def files(self) -> list[Path]:
        """Return the file read."""
        return [self.path]

    def _row_name(self, row: int) -> str:
        return self._names[row] if self._names else str(row + 1)

    def ids(self) -> list[str]:
        """Return the names of the rows kept, in order; repeated names get a number."""
        if self._bad is None:
            for _ in self.blocks():
                pass
        seen: dict[str, int] = {}
        out = []
        for row in range(self.total_hint):
            if row not in (self._bad or ()):
                name = self._row_name(row)
                seen[name] = seen.get(name, 0) + 1
                out.append(name if seen[name] == 1 else f"{name}#{seen[name]}")
        return out

    def blocks(self, size: int = BLOCK) -> Iterator[np.ndarray]:
        """Yield float32 blocks (m, d) of the rows whose values are all finite; the others are in `problems`."""
        import numpy as np

        bad: set[int] = set()
        problems: list[Problem] = []
        for start in range(0, self.total_hint, size):
            with np.errstate(over="ignore"):
                block = np.asarray(self._take(start, min(start + size, self.total_hint))).astype(np.float32)
            block = block.reshape(len(block), -1)
            fine = np.isfinite(block).all(axis=1)
            for row in np.flatnonzero(~fine) + start:
                bad.add(int(row))
                problems.append(
                    Problem(int(row), self._row_name(int(row)), "not finite", "a value is NaN or infinite", True)
                )
            if fine.any():
                yield block if fine.all() else block[fine]
        self._bad, self.problems = bad, problems


def open_array(path: Path) -> TableSource:
    """Open a .npy or .npz file."""
    import numpy as np

    try:
        loaded = np.load(path, mmap_mode="r" if path.suffix == ".npy" else None, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return _dense(path, loaded, ["format: .npy"])
        with loaded:
            return _from_npz(path, loaded)
    except (ValueError, OSError, zipfile.BadZipFile, EOFError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"{path} cannot be read as numpy arrays without pickle ({error}); save plain numeric arrays."
        ) from error


def _from_npz(path: Path, loaded: Any) -> TableSource:
    names = list(loaded.files)
    prefix = _sparse_prefix(names)
    labels = [n for n in names if n in ("y", "labels", "label", "target", "classes")]
    ignored = [f"ignored: {', '.join(labels)} (labels are never features)"] if labels else []
    if prefix is not None:
        from scipy.sparse import csr_matrix

        dot = prefix + "_" if prefix else ""
        indptr, indices, data, shape = (loaded[dot + part] for part in SPARSE)
        height, width = (int(size) for size in shape)
        matrix = csr_matrix((data.astype("f4"), indices.astype("i8"), indptr.astype("i8")), (height, width))
        said = ["format: .npz, sparse matrix " + repr(prefix or "data"), *ignored]
        columns = _column_names(loaded, names, width)
        return TableSource(path, height, columns, lambda a, b: matrix[a:b].toarray(), None, said)
    arrays = [n for n in names if n not in labels and loaded[n].ndim >= 2 and loaded[n].dtype.kind in "biuf"]
    if not arrays:
        raise DataError(
            f"{path} holds no numeric array of two or more dimensions. Arrays: {', '.join(names) or '(none)'}."
        )
    chosen = next((n for n in FIRST if n in arrays), arrays[0])
    others = [n for n in arrays if n != chosen]
    said = [f"format: .npz, array {chosen!r}" + (f" (not used: {', '.join(others)})" if others else ""), *ignored]
    return _dense(path, loaded[chosen], said)


def _sparse_prefix(names: list[str]) -> str | None:
    found = [n.removesuffix("indptr").rstrip("_") for n in names if n.endswith("indptr")]
    whole = [p for p in found if all((f"{p}_{part}" if p else part) in names for part in SPARSE)]
    return next((p for p in ("x", "X", "") if p in whole), whole[0] if whole else None)


def _column_names(loaded: Any, names: list[str], d: int) -> list[str]:
    for key in ("vocab", "columns", "genes", "feature_names"):
        if key in names and loaded[key].dtype.kind in "US":
            values = loaded[key].astype(str)
            listed = str(values).split("\n") if values.ndim == 0 else [str(v) for v in values]
            if len(listed) == d:
                return listed
    return [f"column {i + 1}" for i in range(d)]


def _dense(path: Path, array: np.ndarray, described: list[str]) -> TableSource:
    if array.dtype.kind not in "biuf" or array.ndim < 2:
        raise DataError(f"{path} holds a {array.dtype} array of shape {array.shape}; give numbers, rows by columns.")
    columns = [f"column {i + 1}" for i in range(int(array[0].size) if len(array) else 0)]
    if array.ndim > 2:
        described = [*described, f"images or blocks of shape {array.shape[1:]} are read as rows of numbers"]
    return TableSource(path, len(array), columns, lambda a, b: array[a:b], None, described)


def open_h5ad(path: Path) -> TableSource:
    """Open an AnnData file: X by blocks from the disk, obs_names as ids, var_names as columns."""
    try:
        import anndata
    except ImportError as error:
        raise MissingExtraError(f"reading {path.name}", "anndata", "anndata") from error
    try:
        data = anndata.read_h5ad(path, backed="r")
    except (OSError, KeyError, ValueError) as error:
        raise damaged(path, error) from error

    def take(start: int, stop: int) -> Any:
        block: Any = data.X[start:stop]  # type: ignore[index]
        return block.toarray() if hasattr(block, "toarray") else block

    return TableSource(
        path, data.n_obs, list(map(str, data.var_names)), take, list(map(str, data.obs_names)), ["format: .h5ad, X"]
    )


def open_numeric(path: Path, format: str) -> TableSource | None:
    """Open a delimited or Parquet table as numbers; None if most of its columns are none."""
    return _numeric_parquet(path) if format == "Parquet" else _numeric_delimited(path, format)


def _numeric_parquet(path: Path) -> TableSource | None:
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pq.read_schema(path)
    numeric = [f.name for f in schema if pa.types.is_floating(f.type) or pa.types.is_integer(f.type)]
    if len(numeric) * 2 <= len(schema.names):
        return None
    table = pq.read_table(path, columns=numeric)
    matrix = np.column_stack([table[c].to_numpy(zero_copy_only=False).astype(np.float32) for c in numeric])
    return TableSource(path, len(matrix), numeric, lambda a, b: matrix[a:b], None, ["format: Parquet, numeric columns"])


def _numeric_delimited(path: Path, format: str) -> TableSource | None:
    from itertools import chain, islice

    import numpy as np

    from mumei.discover.sources.tabular import numeric_rows

    header, rows = numeric_rows(path, format)
    head = list(islice(rows, 200))
    if not head or not header:
        return None
    if all(is_number(cell) and cell.strip() for cell in header):  # no header: the first row is data
        head.insert(0, header)
        header = [f"column {i + 1}" for i in range(len(header))]
    width = len(header)
    numeric = [j for j in range(width) if all(is_number(r[j]) for r in head if len(r) > j)]
    names_at = next((j for j in range(width) if j not in numeric), None)
    labels = [j for j in numeric if header[j].strip().lower() in ("y", "label", "labels", "target", "class")]
    used = [j for j in numeric if j not in labels]
    if not used or len(numeric) * 2 <= width:
        return None
    values, names = [], []
    for row in chain(head, rows):
        if row:
            values.append(np.array([_number(row[j] if j < len(row) else "") for j in used], dtype=np.float32))
            names.append(row[names_at] if names_at is not None and names_at < len(row) else str(len(names) + 1))
    matrix = np.array(values)
    said = [f"format: {format}, numeric columns"]
    if labels:
        said.append(f"ignored: {', '.join(header[j] for j in labels)} (labels are never features)")
    return TableSource(path, len(matrix), [header[j] for j in used], lambda a, b: matrix[a:b], names, said)


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return float("nan")
