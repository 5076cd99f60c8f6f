"""What the commands on numbers read and write: numbers with their shape and type kept, and one row of results for each row read.

`discover`'s readers serve CSV, TSV and Parquet. Arrays are read here, since bytes have to stay bytes and images keep their height
and width; an array in an .npz, or a layer of an .h5ad, is named after a colon: `faces.npz:images`. No pickle is ever read.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mumei.core.errors import ArtifactError, DataError, MissingExtraError, UsageError, suggest, unknown

if TYPE_CHECKING:
    import numpy as np

    from mumei.cli.output import Output

SPARSE = ("indptr", "indices", "data", "shape")
_DAMAGED = (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True)
class Numbers:
    """Rows of numbers and what is known of them.

    Parameters
    ----------
    name : str
        Of the file.
    matrix : ndarray (n, ...) or csr_matrix (n, d)
    ids, columns : list of str
        Of rows and features; empty where the file names none.
    beside : dict of str to list of str
        What else the file says of each row: labels, batches.
    described : list of str
        How the file was read.
    """

    name: str
    matrix: Any
    ids: list[str] = field(default_factory=list)
    columns: list[str] = field(default_factory=list)
    beside: dict[str, list[str]] = field(default_factory=dict)
    described: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return int(self.matrix.shape[0])

    @property
    def features(self) -> int:
        """Numbers in a row."""
        width = 1
        for size in self.matrix.shape[1:]:
            width *= int(size)
        return width

    def id(self, row: int) -> str:
        """Return a row's id, by default its number from 1."""
        return self.ids[row] if self.ids else str(row + 1)

    def column(self, name: str | None, option: str) -> list[str] | None:
        """Return what the file says of each row under a name; None for no name."""
        if name is None:
            return None
        if name not in self.beside:
            if not self.beside:
                raise UsageError(f"--{option} {name}: {self.name} holds nothing beside its numbers; leave it out.")
            raise unknown(f"array or column for --{option}", name, self.beside)
        return self.beside[name]

    def take(self, rows: int | None, seed: int) -> Numbers:
        """Return so many rows, drawn without replacement, in their order; all of them for None."""
        if rows is None or rows >= len(self):
            return self
        if rows < 1:
            raise UsageError(f"--rows {rows} is not allowed; give 1 or more.")
        import numpy as np

        from mumei.core.seeds import numpy_generator

        chosen = np.sort(numpy_generator(seed, "rows").choice(len(self), rows, replace=False))
        return replace(
            self,
            matrix=self.matrix[chosen],
            ids=[self.id(int(i)) for i in chosen],
            beside={name: [values[i] for i in chosen] for name, values in self.beside.items()},
            described=[*self.described, f"rows: {rows:,} of {len(self):,}, drawn at random"],
        )


def read_numbers(source: str) -> Numbers:
    """Read a table of numbers, checked.

    Parameters
    ----------
    source : str
        A .npz, .npy, .csv, .tsv, .parquet or .h5ad file; `file.npz:name` names an array, `file.h5ad:name` a layer.

    Raises
    ------
    UsageError
        There is no such file, array or layer, or it holds texts.
    DataError
        It is damaged, holds no numbers, or a number that is not finite.
    """
    path, key = _split(source)
    suffix = path.suffix.lower()
    if key is not None and suffix not in (".npz", ".h5ad"):
        raise UsageError(f"{source}: a name after the colon is for an array of an .npz or a layer of an .h5ad file.")
    if not path.is_file() or suffix not in (".npy", ".npz", ".h5ad"):
        found = _table(str(path))
    else:
        try:
            found = {".npy": _npy, ".npz": _npz, ".h5ad": _h5ad}[suffix](path, key)
        except (UsageError, DataError, MissingExtraError):
            raise
        except _DAMAGED as error:
            what = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise DataError(
                f"cannot read {path}: {what}. It may be cut off, or hold Python objects (pickles are refused); save plain "
                "numeric arrays."
            ) from error
    _check(found, str(path))
    return found


def _split(source: str) -> tuple[Path, str | None]:
    path = Path(source)
    before, colon, after = source.rpartition(":")
    if colon and after and not path.exists() and Path(before).suffix.lower() in (".npz", ".h5ad", ".npy"):
        return Path(before), after
    return path, None


def _check(found: Numbers, path: str) -> None:
    import numpy as np

    values = found.matrix.data if hasattr(found.matrix, "indptr") else found.matrix
    if values.dtype.kind not in "biuf":
        raise DataError(f"{path} has values of type {values.dtype}; save numbers.")
    if len(found.matrix.shape) < 2 or 0 in found.matrix.shape:
        raise DataError(
            f"{path} has the shape {found.matrix.shape}; a table needs rows and columns, at least one of each."
        )
    if values.dtype.kind == "f" and not bool(np.isfinite(values).all()):
        bad = ~np.isfinite(values)
        where = "" if hasattr(found.matrix, "indptr") else f" (the first in row {int(np.argwhere(bad)[0][0]) + 1})"
        raise DataError(
            f"{path} holds {int(bad.sum()):,} numbers that are NaN or infinite{where}. Leave those rows out, or fill the gaps in."
        )


def _npy(path: Path, key: str | None) -> Numbers:
    import numpy as np

    with path.open("rb") as handle:  # numpy leaves a file open that it cannot read
        array = np.load(handle, allow_pickle=False)
    return Numbers(path.name, array, described=[f"{path.name}: array of {_shape(array)}, {array.dtype}"])


def _npz(path: Path, key: str | None) -> Numbers:
    import numpy as np
    from scipy import sparse

    with path.open("rb") as handle, np.load(handle, allow_pickle=False) as arrays:
        read: dict[str, Any] = {name: _loaded(arrays, name) for name in arrays.files}
    names, found = list(read), {name: array for name, array in read.items() if array is not None}
    if {"format", "shape", "data"} <= set(names):
        matrix = sparse.load_npz(path).tocsr()
        return Numbers(path.name, matrix, described=[f"{path.name}: sparse matrix of {_shape(matrix)}"])
    for prefix in [n.removesuffix("_indptr") for n in names if n.endswith("_indptr")]:
        if all(f"{prefix}_{part}" in found for part in SPARSE):
            parts = [found.pop(f"{prefix}_{part}") for part in SPARSE]
            found[prefix] = sparse.csr_matrix(
                (parts[2], parts[1].astype(np.int64), parts[0].astype(np.int64)), shape=tuple(int(n) for n in parts[3])
            )
            found[prefix].check_format(full_check=True)
    candidates = [n for n, a in found.items() if len(a.shape) >= 2 and a.dtype.kind in "biuf"]
    if key is not None and key not in candidates:
        raise unknown(f"array in {path.name}", key, candidates)
    if not candidates:
        raise DataError(
            f"{path} has no numeric array of two or more dimensions (arrays: {', '.join(names)}; pickles are refused)."
        )
    chosen = key or max(candidates, key=lambda n: (float(np.prod(found[n].shape)), n))
    matrix = found[chosen]
    beside = {
        n: [str(v) for v in a.tolist()]
        for n, a in found.items()
        if n != chosen and a.shape == matrix.shape[:1] and a.dtype.kind in "biufU"
    }
    sort = "sparse matrix" if hasattr(matrix, "indptr") else "array"
    described = [f"{path.name}: {sort} {chosen!r} of {_shape(matrix)}, {matrix.dtype}"]
    left = [n for n in (*found, *(n for n in read if read[n] is None)) if n != chosen and n not in beside]
    if left:
        described.append(f"arrays not used: {', '.join(left)}")
    return Numbers(path.name, matrix, beside=beside, described=described)


def _loaded(arrays: Any, name: str) -> Any:
    """Return an array; None for one that holds Python objects."""
    try:
        return arrays[name]
    except ValueError:
        return None


def _h5ad(path: Path, key: str | None) -> Numbers:
    try:
        import anndata
    except ImportError as error:
        raise MissingExtraError("reading .h5ad files", "anndata", "anndata") from error
    data = anndata.read_h5ad(path)
    if key is not None and key not in data.layers:
        raise unknown(f"layer in {path.name}", key, data.layers)
    matrix: Any = data.X if key is None else data.layers[key]
    if matrix is None:
        raise DataError(
            f"{path} has no matrix X; name a layer after a colon: {', '.join(data.layers) or 'it has none'}."
        )
    return Numbers(
        path.name,
        matrix.tocsr() if hasattr(matrix, "tocsr") else matrix,
        [str(v) for v in data.obs_names],
        [str(v) for v in data.var_names],
        {str(name): [str(v) for v in data.obs[name]] for name in data.obs.columns},
        [f"{path.name}: {'X' if key is None else f'layer {key!r}'} of {_shape(matrix)}, {matrix.dtype}"],
    )


def _table(path: str) -> Numbers:
    import numpy as np

    from mumei.discover.sources import open_source

    source: Any = open_source(path)
    if source.kind != "table":
        raise UsageError(
            f"{path} holds a {source.kind}, and this command takes numbers; for texts use: mumei discover {path}"
        )
    blocks = list(source.blocks())
    dropped = [p for p in source.problems if p.dropped]
    if dropped:
        more = f", and {len(dropped) - 1:,} more rows have the like" if len(dropped) > 1 else ""
        raise DataError(
            f"{path}: {dropped[0].kind}: {dropped[0].detail}{more}. Leave those rows out, or fill the gaps in."
        )
    if not blocks:
        raise DataError(f"{path} has no row of numbers.")
    described = [f"{source.name}: {source.described[0]}", *source.described[1:]]
    return Numbers(source.name, np.concatenate(blocks), source.ids(), list(source.columns), {}, described)


def _shape(array: Any) -> str:
    return " x ".join(f"{n:,}" for n in array.shape)


def as_images(matrix: Any, shape: Sequence[int]) -> np.ndarray:
    """Return rows as images (n, height, width, ...), a sparse matrix made dense."""
    dense = matrix.toarray() if hasattr(matrix, "toarray") else matrix
    return dense.reshape(len(dense), *shape)


def cells(numbers: Numbers) -> bool:
    """Whether the numbers are the counts of an .h5ad file."""
    import numpy as np

    if not numbers.name.lower().endswith(".h5ad"):
        return False
    values = numbers.matrix.data if hasattr(numbers.matrix, "indptr") else numbers.matrix
    return bool((values >= 0).all() and (values == np.floor(values)).all())


def read_for(model: Any, source: str, rows: int | None, seed: int, output: Output) -> Numbers:
    """Return the numbers of a source in a fitted model's columns, at most `rows` of them; what they are is said aloud."""
    numbers = match_columns(read_numbers(source).take(rows, seed), model)
    for line in numbers.described:
        output.progress().say(line)
    return numbers


def match_columns(numbers: Numbers, model: Any) -> Numbers:
    """Return the numbers with the columns that a model was fitted on, in its order.

    The model's own names are taken off, since plain arrays go to it from here on.

    Raises
    ------
    DataError
        A column is missing, or a row has another number of numbers.
    """
    wanted = [str(c) for c in getattr(model, "feature_names_in_", ())]
    if wanted:
        del model.feature_names_in_
    if wanted and numbers.columns and numbers.columns != wanted:
        missing = [c for c in wanted if c not in numbers.columns]
        if missing:
            raise DataError(
                f"{numbers.name} lacks {len(missing):,} of the model's {len(wanted):,} columns, {missing[0]!r} for one."
                f"{suggest(missing[0], numbers.columns)} Give the columns that the model was fitted on."
            )
        places = {c: i for i, c in enumerate(numbers.columns)}
        numbers = replace(
            numbers,
            matrix=numbers.matrix[:, [places[c] for c in wanted]],
            columns=wanted,
            described=[*numbers.described, "columns were put in the model's order; others were left out"],
        )
    if numbers.features != model.n_features_in_:
        raise DataError(
            f"{numbers.name} has {numbers.features:,} numbers a row and the model was fitted on {model.n_features_in_:,}; give "
            "data of the same columns."
        )
    return replace(numbers, columns=numbers.columns or wanted)


def check_suffix(out: Path, allowed: Sequence[str]) -> str:
    """Return the suffix of an output file.

    Raises
    ------
    UsageError
        It is none of those allowed.
    """
    suffix = out.suffix.lower()
    if suffix not in allowed:
        raise UsageError(f"--out {out}: {suffix or 'no ending'} is not written; end the name in {', '.join(allowed)}.")
    return suffix


def check_folder(out: Path) -> None:
    """Refuse a place for a model that holds something else, before an hour of training rather than after.

    Raises
    ------
    ArtifactError
        It is a file, or a folder of something else.
    """
    if out.is_file() or (out.is_dir() and not (out / "artifact.json").exists() and any(out.iterdir())):
        raise ArtifactError(f"{out} exists and is not a mumei artifact; it was left alone. Give a new path.")


def save_model(model: Any, numbers: Numbers, out: Path) -> None:
    """Save a model with the columns' names, as one that was fitted on a data frame has them."""
    if not numbers.columns:
        model.save(out)
        return
    import numpy as np

    model.feature_names_in_ = np.asarray(numbers.columns, dtype=object)
    model.save(out)
    del model.feature_names_in_  # plain arrays go to it from here on


def write_rows(out: Path, ids: Sequence[str], columns: Mapping[str, np.ndarray], array: np.ndarray) -> None:
    """Write results by row: .npy holds `array` alone, .csv and .parquet ids and named columns. Whole or not at all."""
    from mumei.core import files

    suffix = out.suffix.lower()
    if suffix == ".npy":
        import numpy as np

        with files.atomic_open(out) as handle:
            np.save(handle, array, allow_pickle=False)
    elif suffix == ".parquet":
        import pyarrow as pa

        files.write_table(out, pa.table({"id": list(ids), **{name: pa.array(v) for name, v in columns.items()}}))
    else:
        import csv

        with files.atomic_open(out, "w") as handle:
            writer = csv.writer(handle, lineterminator="\n")
            writer.writerow(["id", *columns])
            for row in zip(ids, *(values.tolist() for values in columns.values()), strict=True):
                writer.writerow(row)
