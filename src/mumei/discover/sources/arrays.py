"""Arrays: .npy memory-mapped, .npz dense or sparse, .h5ad through anndata. No pickle is ever read.

A sparse matrix in .npz is four arrays `P_indptr`, `P_indices`, `P_data`, `P_shape` of any prefix P (rows compressed),
or what `scipy.sparse.save_npz` writes. Images and other arrays of more than two dimensions are flattened row by row.
Arrays named like labels are not features: they are left alone, and `described` says so.
"""

from __future__ import annotations

import contextlib
import struct
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from mumei.core.errors import DataError, MissingExtraError, MumeiError
from mumei.discover.sources.columns import LABEL_NAMES, listed, normal
from mumei.discover.sources.compression import Blob
from mumei.discover.sources.kinds import Problem
from mumei.discover.sources.numeric import TableSource

if TYPE_CHECKING:
    import numpy as np

_PREFERRED = ("x", "data", "features", "images", "vectors", "embeddings", "view0")
_LABELS = ("y", *LABEL_NAMES)
_NAMES_OF_ROWS = ("ids", "id", "obs_names", "row_names", "names")
_NAMES_OF_COLUMNS = ("columns", "feature_names", "var_names", "genes", "gene_names", "vocab")
_SPARSE = ("indptr", "indices", "data", "shape")
_BROKEN = (
    ValueError,
    OSError,
    EOFError,
    KeyError,
    TypeError,
    AttributeError,
    IndexError,
    MemoryError,
    OverflowError,
    SyntaxError,
    RuntimeError,
    struct.error,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)


class MatrixTable(TableSource):
    """A dense array (memory-mapped or not) or a sparse matrix with its rows compressed.

    Parameters
    ----------
    path : Path
        The file.
    matrix : ndarray or scipy.sparse.csr_matrix
        (n, ...); more than two dimensions are flattened.
    """

    def __init__(
        self,
        path: Path,
        matrix: Any,
        described: list[str],
        columns: list[str] | None = None,
        ids: list[str] | None = None,
    ):
        width = 1
        for size in matrix.shape[1:]:
            width *= int(size)
        super().__init__(
            path.name, described, columns or [f"column {i + 1}" for i in range(width)], total_hint=int(matrix.shape[0])
        )
        self._path, self._matrix, self._row_ids = path, matrix, ids

    def files(self) -> list[Path]:
        """Return the file."""
        return [self._path]

    def _raw(self, size: int) -> Iterator[tuple[int, np.ndarray, list[str] | None, list[Problem]]]:
        for first in range(0, self._matrix.shape[0], size):
            piece = self._matrix[first : first + size]
            dense = piece.toarray() if hasattr(piece, "toarray") else piece.reshape(len(piece), -1)
            yield first, dense, self._row_ids[first : first + size] if self._row_ids else None, []


@contextlib.contextmanager
def _readable(path: Path, what: str) -> Iterator[None]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # old headers, repeated names: what matters is checked and reported here
            yield
    except MumeiError:
        raise
    except _BROKEN as error:
        detail = str(error).strip().splitlines()
        raise DataError(
            f"cannot read {path} as {what}: {detail[0] if detail else type(error).__name__}. It may be cut off or "
            "damaged, or hold Python objects (pickles are refused); save plain numeric arrays."
        ) from error


def _checked(path: Path, name: str, array: Any) -> Any:
    if array.dtype.kind not in "biuf":
        raise DataError(f"{path}: {name} has values of type {array.dtype}; save numbers.")
    if array.ndim < 2 or 0 in array.shape:
        raise DataError(
            f"{path}: {name} has shape {tuple(array.shape)}; a table needs rows and columns, at least one of each."
        )
    return array


def _shape(array: Any) -> str:
    return " x ".join(f"{n:,}" for n in array.shape)


def open_npy(blob: Blob) -> MatrixTable:
    """Open a .npy file, memory-mapped where it is not compressed."""
    import numpy as np

    path = blob.path
    with _readable(path, ".npy"):
        if blob.layers:
            with blob.seekable() as handle:
                array = np.load(handle, allow_pickle=False)
        else:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        array = _checked(path, "the array", array)
    described = [f"format: NumPy array{blob.label}", f"numbers: {_shape(array)}, {array.dtype}"]
    return MatrixTable(path, array, described)


def open_npz(blob: Blob) -> MatrixTable:
    """Open a .npz file: `x` or `X`, else the only array or sparse matrix of two or more dimensions, else `view0`."""
    import numpy as np

    path = blob.path
    with _readable(path, ".npz"), blob.seekable() as handle, np.load(handle, allow_pickle=False) as arrays:
        names = list(arrays.files)
        if {"format", "shape", "data"} <= set(names):
            return _open_scipy(path, handle)
        chosen, is_sparse = _choose(path, arrays, names)
        matrix = _csr(path, arrays, chosen) if is_sparse else _checked(path, f"array {chosen!r}", arrays[chosen])
        used = {f"{chosen}_{part}" for part in _SPARSE} if is_sparse else {chosen}
        n, width = matrix.shape[0], int(np.prod(matrix.shape[1:]))
        ids_name, ids = _strings(arrays, names, _NAMES_OF_ROWS, n)
        columns_name, columns = _strings(arrays, names, _NAMES_OF_COLUMNS, width)
    described = ["format: NumPy arrays (.npz)", f"numbers: array {chosen!r}, {_shape(matrix)}{', sparse' * is_sparse}"]
    if ids_name or columns_name:
        described.append(f"names: id={ids_name or '(row number)'}, columns={columns_name or '(numbered)'}")
    labels = [name for name in names if normal(name) in _LABELS and name not in used]
    if labels:
        described.append(f"labels are not features, ignored: {listed(labels)}")
    rest = [n for n in names if n not in used and n not in labels and n not in (ids_name, columns_name)]
    if rest:
        described.append(f"arrays not used: {listed(rest, 12)}")
    return MatrixTable(path, matrix, described, columns, ids)


def _open_scipy(path: Path, handle: IO[bytes]) -> MatrixTable:
    from scipy import sparse

    handle.seek(0)
    matrix = _checked(path, "the matrix", sparse.load_npz(handle).tocsr())
    described = ["format: SciPy sparse matrix (.npz)", f"numbers: {_shape(matrix)}, sparse"]
    return MatrixTable(path, matrix, described)


def _choose(path: Path, arrays: Any, names: list[str]) -> tuple[str, bool]:
    """Return the array or sparse prefix to use and whether it is sparse."""
    prefixes = [n.removesuffix("_indptr") for n in names if n.endswith("_indptr")]
    prefixes = [p for p in prefixes if all(f"{p}_{part}" in names for part in _SPARSE)]
    parts = {f"{p}_{part}" for p in prefixes for part in _SPARSE}
    dense = [n for n in names if n not in parts and normal(n) not in _LABELS and n != "edges" and _is_matrix(arrays, n)]
    candidates = {**dict.fromkeys(prefixes, True), **dict.fromkeys(dense, False)}
    if len(candidates) == 1:
        return next(iter(candidates.items()))
    for wanted in _PREFERRED:
        for name, is_sparse in candidates.items():
            if name.lower() == wanted:
                return name, is_sparse
    if not candidates:
        raise DataError(
            f"{path} has no numeric array of two or more dimensions (arrays: {listed(names)}); save one as 'x'."
        )
    raise DataError(
        f"{path} has several arrays ({listed(list(candidates))}) and none is called 'x'; save the one to use as 'x'."
    )


def _is_matrix(arrays: Any, name: str) -> bool:
    try:
        array = arrays[name]
    except ValueError:  # Python objects: not for us
        return False
    return array.dtype.kind in "biuf" and array.ndim >= 2


def _csr(path: Path, arrays: Any, prefix: str) -> Any:
    import numpy as np
    from scipy import sparse

    indptr, indices, data, shape = (arrays[f"{prefix}_{part}"] for part in _SPARSE)
    shape = tuple(int(n) for n in shape)
    data = data if data.dtype.kind == "f" else data.astype(np.float32)
    wide = np.int64 if len(data) > 2**31 - 1 else np.int32
    matrix = sparse.csr_matrix((data, indices.astype(wide), indptr.astype(wide)), shape=shape)
    matrix.check_format(full_check=True)
    return _checked(path, f"matrix {prefix!r}", matrix)


def _strings(arrays: Any, names: list[str], wanted: tuple[str, ...], count: int) -> tuple[str | None, list[str] | None]:
    """Return the first array of names that has the right length; one string with line breaks is taken apart."""
    for name in names:
        if name.lower() not in wanted:
            continue
        array = arrays[name]
        if array.dtype.kind == "U" and array.ndim == 0:
            found = str(array).split("\n")
        elif array.dtype.kind in "Uiu" and array.ndim == 1:
            found = [str(v) for v in array]
        else:
            continue
        if len(found) == count:
            return name, found
    return None, None


class AnnDataTable(TableSource):
    """The matrix X of an .h5ad file, read in blocks from the disk; ids are `obs_names`, columns `var_names`."""

    def __init__(self, path: Path):
        self._path = path
        with self._open() as data:
            if data.X is None or 0 in data.shape:
                raise DataError(f"{path} has no matrix X with rows and columns (its shape is {tuple(data.shape)}).")
            described = [
                "format: AnnData (.h5ad)",
                f"numbers: X, {data.n_obs:,} x {data.n_vars:,}",
                "names: id=obs_names, columns=var_names",
            ]
            if len(data.obs.columns):
                described.append(
                    f"observations' columns are not features, ignored: {listed(list(data.obs.columns), 8)}"
                )
            super().__init__(path.name, described, [str(v) for v in data.var_names], total_hint=int(data.n_obs))
            self._row_ids = [str(v) for v in data.obs_names]

    def files(self) -> list[Path]:
        """Return the file."""
        return [self._path]

    @contextlib.contextmanager
    def _open(self) -> Iterator[Any]:
        try:
            import anndata
        except ImportError as error:
            raise MissingExtraError("reading .h5ad files", "anndata", "anndata") from error
        with _readable(self._path, ".h5ad"):
            data = anndata.read_h5ad(self._path, backed="r")
            try:
                yield data
            finally:
                data.file.close()

    def _raw(self, size: int) -> Iterator[tuple[int, np.ndarray, list[str] | None, list[Problem]]]:
        with self._open() as data:
            for first in range(0, data.n_obs, size):
                piece = data.X[first : first + size]
                dense = piece.toarray() if hasattr(piece, "toarray") else piece
                yield first, dense, self._row_ids[first : first + size], []
