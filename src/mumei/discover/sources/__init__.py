"""Sources of `discover`: what a path is, told from its content; see `open_source`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mumei.core.errors import DataError, UsageError, suggest
from mumei.discover.sources.rows import Checker, Item, Problem, Source

__all__ = ["Checker", "Item", "Problem", "Source", "open_source"]

ACCEPTED = (
    "JSON lines, JSON, CSV, TSV, Parquet, MEDLINE or JATS XML, FASTA, .npy, .npz, .h5ad (text formats also as "
    ".gz .bz2 .xz .zst .zip), a folder of text files, or the word primer"
)
PLAIN = (".txt", ".md", ".text")
PARTS = (".jsonl", ".ndjson", ".csv", ".tsv", ".parquet", ".xml", ".nxml", ".fasta", ".fa", ".faa", ".fna")
PACKED = (".gz", ".bz2", ".xz", ".zst", ".zip")
PRIMER = "primer"


def open_source(
    path: str | Path, *, id_column: str | None = None, title_column: str | None = None, text_column: str | None = None
) -> Any:
    """Open a source by path, or the embedded corpus by the word "primer".

    Parameters
    ----------
    path : str or Path
        A file or folder; what it is, is told from its content.
    id_column, title_column, text_column : str, optional
        Columns of a table of texts; guessed if not given.

    Returns
    -------
    Source or TableSource
        `kind` is "text", "sequence" or "table".

    Raises
    ------
    UsageError
        There is no such path or column.
    DataError
        It is empty, or nothing in it can be used.
    """
    columns = {"id_column": id_column, "title_column": title_column, "text_column": text_column}
    if str(path) == PRIMER and not Path(path).exists():
        from mumei.discover.primer import open_primer

        return open_primer()
    path = Path(path)
    if not path.exists():
        raise _missing(path)
    try:
        return _open_folder(path, columns) if path.is_dir() else _open_file(path, columns)
    except PermissionError as error:
        raise DataError(f"{path} may not be read by you ({error.strerror}); change its permissions.") from error


def _missing(path: Path) -> UsageError:
    parent = path.parent
    near = suggest(path.name, [p.name for p in parent.iterdir()]) if parent.is_dir() else f" {parent} is no folder."
    return UsageError(f"there is no {path}.{near} A source is: {ACCEPTED}.")


def _open_folder(folder: Path, columns: dict[str, str | None]) -> Any:
    from mumei.discover.sources.documents import TextFolder

    files = sorted(f for f in folder.rglob("*") if f.is_file() and not any(p.startswith(".") for p in f.parts))
    texts = [f for f in files if f.suffix.lower() in PLAIN]
    parts = [f for f in files if _inner_suffix(f) in PARTS and f.stat().st_size]
    if texts and len(texts) >= len(parts):
        return TextFolder(folder, texts)
    if not parts:
        raise DataError(f"{folder} holds {len(files)} files and none that can be read; give {ACCEPTED}.")
    kinds = {format_of(f) for f in parts}
    if len(kinds) > 1:
        raise DataError(f"{folder} mixes {', '.join(sorted(kinds))}; give a folder of one kind, or one file.")
    return _open_texts(parts, folder.resolve().name, kinds.pop(), columns)


def _open_file(path: Path, columns: dict[str, str | None]) -> Any:
    if not path.stat().st_size:
        raise DataError(f"{path} is empty.")
    format = format_of(path)
    if format == "numpy":
        from mumei.discover.sources.arrays import open_array

        return open_array(path)
    if format == "AnnData":
        from mumei.discover.sources.arrays import open_h5ad

        return open_h5ad(path)
    if format in ("CSV", "TSV", "Parquet") and not any(columns.values()):
        from mumei.discover.sources.arrays import open_numeric
        from mumei.discover.sources.tabular import text_column

        if text_column(path, format) is None:
            table = open_numeric(path, format)
            if table is not None:
                return table
    return _open_texts([path], path.name, format, columns)


def _open_texts(paths: list[Path], name: str, format: str, columns: dict[str, str | None]) -> Any:
    if format == "XML":
        from mumei.discover.sources.documents import XmlSource

        return XmlSource(paths, name)
    if format == "FASTA":
        from mumei.discover.sources.documents import FastaSource

        return FastaSource(paths, name)
    if format == "text":
        from mumei.discover.sources.documents import TextFolder

        return TextFolder(paths[0].parent, paths)
    from mumei.discover.sources.tabular import TabularSource

    return TabularSource(paths, name, format, **columns)


def _inner_suffix(path: Path) -> str:
    suffixes = [s.lower() for s in path.suffixes]
    while suffixes and suffixes[-1] in PACKED:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def format_of(path: Path) -> str:
    """Return what a file is: "numpy", "AnnData", "Parquet", "XML", "FASTA", "JSON lines", "JSON", "CSV", "TSV" or "text"."""
    from mumei.discover.sources.lines import read_head

    with open(path, "rb") as handle:
        magic = handle.read(8)
    suffix = _inner_suffix(path)
    if magic.startswith(b"\x93NUMPY") or suffix == ".npz":
        return "numpy"
    if magic.startswith(b"\x89HDF"):
        return "AnnData"
    if magic.startswith(b"PAR1"):
        return "Parquet"
    head = read_head(path).lstrip("\ufeff \t\r\n")
    if not head:
        raise DataError(f"{path} holds nothing but blanks.")
    return _by_text(path, head, suffix)


def _by_text(path: Path, head: str, suffix: str) -> str:
    first = head.split("\n", 1)[0]
    if head.startswith((">", ";")) and suffix not in (".csv", ".tsv", *PLAIN):
        return "FASTA"
    if head.startswith("<") and ("<" in head and suffix not in (".csv", ".tsv", *PLAIN)):
        if suffix in (".html", ".htm") or head[:200].lower().startswith(("<!doctype html", "<html")):
            raise DataError(f"{path} is a web page; save its text as .txt, or give {ACCEPTED}.")
        return "XML"
    if head.startswith("{") or suffix in (".jsonl", ".ndjson"):
        whole = suffix == ".json" and not first.rstrip().endswith("}")
        return "JSON" if whole else "JSON lines"
    if head.startswith("[") and suffix not in (".csv", ".tsv", *PLAIN):
        return "JSON"
    if suffix in (".tsv", ".tab") or (suffix not in (".csv", *PLAIN) and "\t" in first):
        return "TSV"
    if suffix == ".csv" or (suffix not in PLAIN and any(first.count(d) >= 1 for d in ",;|") and "\n" in head):
        return "CSV"
    if suffix in PLAIN or (suffix == "" and head.isprintable()):
        return "text"
    if "\ufffd" in head[:2000] or "\0" in head[:2000]:
        raise DataError(f"{path} is binary and of no known kind; give {ACCEPTED}.")
    return "text"
