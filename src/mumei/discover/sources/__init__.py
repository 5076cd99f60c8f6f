"""What `discover` reads: `open_source(path)` finds out what a file or folder is and streams its rows, checked.

Texts and sequences come as `Item` and `Problem`, numbers as float32 blocks. Everything that was guessed (format,
compression, columns) stands in `described`, so that it can be echoed and, if wrong, overruled.
"""

from __future__ import annotations

from pathlib import Path

from mumei.core.errors import DataError, UsageError, suggest
from mumei.discover.sources.compression import Blob, peel
from mumei.discover.sources.kinds import ACCEPTED, Columns, Item, Options, Problem, Reader, Source
from mumei.discover.sources.numeric import TableSource

__all__ = ["Item", "Problem", "Source", "TableSource", "open_source"]

_FIXED = Columns("id", "title", "text")  # what formats without named columns give


def open_source(
    path_or_name: str | Path,
    *,
    id_column: str | None = None,
    title_column: str | None = None,
    text_column: str | None = None,
    encoding: str | None = None,
) -> Source | TableSource:
    """Open a file or folder as texts, sequences or numbers.

    Parameters
    ----------
    path_or_name : str or Path
        A file, a folder, or "primer" (where no file has that name) for the embedded corpus.
    id_column, title_column, text_column : str, optional
        Columns of a table of texts; guessed if not given. `id_column` serves numeric tables too.
    encoding : str, optional
        Encoding of text files; by default UTF-8 or what a byte order mark says. Bytes that are not UTF-8 are read as
        Windows-1252, and reported.

    Returns
    -------
    Source or TableSource
        By its `kind`: "text" and "sequence" have `rows()`, "table" has `blocks()`.

    Raises
    ------
    UsageError
        There is no such file, column or encoding, or the option does not apply.
    DataError
        The file is empty, damaged, without text, or in a format that is not read.
    MissingExtraError
        .zst or .h5ad without the package that reads them.

    Examples
    --------
    >>> source = open_source("primer")
    >>> source.kind, source.total_hint
    ('text', 264)
    """
    from mumei.discover.sources.lines import check_encoding

    options = Options(id_column, title_column, text_column, check_encoding(encoding))
    path = Path(path_or_name)
    try:
        is_file, is_folder = path.is_file(), path.is_dir()
        exists = is_file or is_folder or path.exists()
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot use {str(path_or_name)[:200]!r} as a source: {error}.") from error
    if is_folder:
        return _open_folder(path, options)
    if is_file:
        return _open_file(path, options)
    if exists:
        raise UsageError(f"{path} is neither a file nor a folder. Accepted: {ACCEPTED}.")
    if str(path_or_name) == "primer":
        return _open_primer(options)
    raise _missing(path)


def _missing(path: Path) -> UsageError:
    folder = path.parent
    try:
        names = [entry.name for entry in folder.iterdir()] if folder.is_dir() else None
    except OSError:
        names = []
    if names is None:
        return UsageError(
            f"there is no file or folder {path}: its folder {folder} does not exist. Accepted: {ACCEPTED}."
        )
    hint = suggest(path.name, [*names, "primer"])
    return UsageError(f"there is no file or folder {path}.{hint} Accepted: {ACCEPTED}.")


def _refuse(options: Options, what: str, allowed: tuple[str, ...] = ()) -> None:
    """Raise `UsageError` for options that mean nothing for a format."""
    for name in options.given():
        if name not in allowed:
            raise UsageError(f"--{name.replace('_', '-')} does not apply to {what}; leave it out.")


def _open_primer(options: Options) -> Source:
    from mumei.discover.primer import PASSAGES, load_passages
    from mumei.discover.sources.jsonlines import JsonLines
    from mumei.discover.sources.tabular import RecordSource

    _refuse(options, "the embedded corpus")
    count = len(load_passages())
    described = [f"format: embedded corpus, {count} passages in English and Japanese", _FIXED.line()]
    return RecordSource([JsonLines(Blob(PASSAGES))], _FIXED, "text", "primer", described, count)


def _open_file(path: Path, options: Options) -> Source | TableSource:
    from mumei.discover.sources.sniff import sniff

    blob = peel(path)
    found = sniff(blob, options.encoding)
    if found in ("npy", "npz", "h5ad"):
        return _open_arrays(blob, found, options)
    if found == "parquet":
        return _open_parquet(blob, options)
    return _open_readers(path, [_reader(blob, found, options)], found, blob.label, options)


def _reader(blob: Blob, found: str, options: Options) -> Reader:
    from mumei.discover.sources.delimited import Delimited
    from mumei.discover.sources.fasta import Fasta
    from mumei.discover.sources.jsonlines import JsonArray, JsonDocument, JsonLines
    from mumei.discover.sources.medline import Xml
    from mumei.discover.sources.text_folder import TextLines

    kinds = {
        "jsonl": JsonLines,
        "array": JsonArray,
        "document": JsonDocument,
        "csv": Delimited,
        "lines": TextLines,
        "xml": Xml,
        "fasta": Fasta,
    }
    if found not in kinds:
        raise DataError(f"{blob.path} is {found} where text is expected; rename it or take it out of the folder.")
    return kinds[found](blob, options.encoding)


def _open_readers(path: Path, readers: list[Reader], found: str, label: str, options: Options) -> Source | TableSource:
    from mumei.discover.sources.tabular import RecordSource, open_records

    described = [f"format: {readers[0].format}{label}"]
    if found in ("xml", "fasta", "lines", "text files"):
        _refuse(options, readers[0].format, ("encoding",))
        columns = Columns(None, None, "text") if found == "lines" else _FIXED
        kind = "sequence" if found == "fasta" else "text"
        hint = len(readers[0].files()) if found == "text files" else None
        return RecordSource(readers, columns, kind, path.name or str(path), described, hint)
    return open_records(readers, path, described, options)


def _open_parquet(blob: Blob, options: Options) -> Source | TableSource:
    from mumei.discover.sources.parquet import ParquetRows
    from mumei.discover.sources.tabular import open_records

    _refuse(options, "Parquet", ("id_column", "title_column", "text_column"))
    reader = ParquetRows(blob)
    if not reader.rows:
        raise DataError(f"{blob.path} has columns but no rows; give a file with rows in it.")
    return open_records([reader], blob.path, [f"format: Parquet{blob.label}"], options, reader.rows)


def _open_arrays(blob: Blob, found: str, options: Options) -> TableSource:
    from mumei.discover.sources import arrays

    _refuse(options, f"a .{found} file")
    if found == "npy":
        return arrays.open_npy(blob)
    if found == "npz":
        return arrays.open_npz(blob)
    if blob.layers:
        raise DataError(f"{blob.path} is a compressed .h5ad file, which cannot be read in blocks; unpack it first.")
    return arrays.AnnDataTable(blob.path)


def _open_folder(folder: Path, options: Options) -> Source | TableSource:
    from mumei.discover.sources import folder as folders
    from mumei.discover.sources.parquet import ParquetRows
    from mumei.discover.sources.sniff import sniff
    from mumei.discover.sources.text_folder import TextFolder

    group, paths, left = folders.choose(folder)
    if group == "text files":
        opened = _open_readers(folder, [TextFolder(folder, paths, options.encoding)], group, "", options)
    else:

        def reader(blob: Blob) -> Reader:
            found = sniff(blob, options.encoding)
            return ParquetRows(blob) if found == "parquet" else _reader(blob, found, options)

        kinds = {"XML": "xml", "FASTA": "fasta"}
        parts: list[Reader] = [folders.Part(path, reader, group) for path in paths]
        opened = _open_readers(folder, parts, kinds.get(group, "records"), "", options)
    opened.described[0] += f", {len(paths):,} files in {folder.name or folder}"
    if left:
        shown = ", ".join(p.relative_to(folder).as_posix() for p in left[:3]) + (", ..." if len(left) > 3 else "")
        opened.described.append(f"left out: {len(left):,} other files ({shown})")
    return opened
