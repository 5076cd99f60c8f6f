"""Rows of named values: JSON lines, a JSON array, CSV, TSV, Parquet; one file or a folder of parts."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import orjson

from mumei.core.errors import DataError
from mumei.discover.sources.columns import Columns, as_text, choose_columns, guess_text
from mumei.discover.sources.lines import BROKEN, Line, damaged, open_bytes, read_head, read_lines
from mumei.discover.sources.rows import Checker, Item, Problem

SAMPLE = 200
LARGEST_ARRAY = 1 << 30  # a JSON array must be read whole; beyond this ask for JSON lines
Row = tuple[int, dict[str, Any] | None, str]  # line number, values (None: not readable), remark


class TabularSource:
    """Rows of a table with a column of text."""

    kind = "text"

    def __init__(
        self,
        paths: list[Path],
        name: str,
        format: str,
        id_column: str | None = None,
        title_column: str | None = None,
        text_column: str | None = None,
    ):
        self.paths, self.name, self.format = paths, name, format
        self.total_hint = _parquet_rows(paths) if format == "Parquet" else None
        sample = list(islice((values for path in paths for _, values, _ in self._raw(path) if values), SAMPLE))
        if not sample:
            raise DataError(f"{name} has no readable row as {format}; check that it is what its name says.")
        self.columns: Columns = choose_columns(sample, name, id_column, title_column, text_column)
        files = f", {len(paths)} files" if len(paths) > 1 else ""
        self.described = [f"format: {format}{files}", self.columns.described]

    def files(self) -> list[Path]:
        """Return the files read."""
        return self.paths

    def rows(self) -> Iterator[Item | Problem]:
        """Stream checked rows."""
        return Checker().check(self._items())

    def _items(self) -> Iterator[Item | Problem]:
        row = -1
        for path in self.paths:
            for number, values, remark in self._raw(path):
                row += 1
                where = f"{path.name}:{number}"
                if values is None:
                    kind, _, detail = remark.partition(": ")
                    yield Problem(row, "", kind, f"{detail} ({where})", True)
                    continue
                name = as_text(values.get(self.columns.id)) if self.columns.id else ""
                name = name.strip() or str(row + 1)
                if remark:
                    yield Problem(row, name, "undecodable", f"no UTF-8, read as Windows-1252 ({where})", False)
                title = as_text(values.get(self.columns.title)) if self.columns.title else ""
                yield Item(name, title, as_text(values.get(self.columns.text)), row, where)

    def _raw(self, path: Path) -> Iterator[Row]:
        readers = {"JSON lines": json_lines, "JSON": json_array, "Parquet": parquet_rows}
        reader = readers.get(self.format)
        return reader(path) if reader else delimited_rows(path, "\t" if self.format == "TSV" else None)


def json_lines(path: Path) -> Iterator[Row]:
    """Yield the objects of a JSON lines file."""
    for line in read_lines(path):
        if line.text is None:
            yield line.number, None, "too long: a line of over 64 MB was skipped"
        elif line.text.strip():
            yield _object(line)


def _object(line: Line) -> Row:
    try:
        value = orjson.loads(line.text or "")
    except orjson.JSONDecodeError as error:
        value = _lenient(line.text or "")
        if value is None:
            return line.number, None, f"malformed: no JSON, {str(error)[:80]}"
    if not isinstance(value, dict):
        return line.number, None, f"malformed: a {type(value).__name__}, not an object"
    return line.number, value, "guessed" if line.guessed else ""


def _lenient(text: str) -> Any:
    """Read what orjson refuses and the standard library allows: lone surrogates, NaN."""
    import json

    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def json_array(path: Path) -> Iterator[Row]:
    """Yield the objects of a JSON array, or of the first array inside a JSON object."""
    try:
        with open_bytes(path) as handle:
            raw = handle.read(LARGEST_ARRAY + 1)
    except BROKEN as error:
        raise damaged(path, error) from error
    if len(raw) > LARGEST_ARRAY:
        raise DataError(f"{path} is a JSON array of over 1 GB, which must be read whole; give JSON lines instead.")
    value = _lenient(raw.decode("utf-8-sig", "replace"))
    if isinstance(value, dict):
        value = next((v for v in value.values() if isinstance(v, list)), [value])
    if not isinstance(value, list):
        raise DataError(f"{path} is no JSON array of objects; give JSON lines or an array of objects.")
    for i, item in enumerate(value, 1):
        yield (
            (i, item, "") if isinstance(item, dict) else (i, None, f"malformed: a {type(item).__name__}, not an object")
        )


def sniff_delimiter(head: str) -> str:
    """Return the delimiter that splits the first line into most cells: comma, tab, semicolon or bar."""
    first = head.lstrip("\ufeff").split("\n", 1)[0]
    return max(",\t;|", key=first.count)


def delimited_rows(path: Path, delimiter: str | None = None) -> Iterator[Row]:
    """Yield the rows of a CSV or TSV file as dicts by its first row; quoted cells may hold line ends."""
    delimiter = delimiter or sniff_delimiter(read_head(path))
    guessed: list[int] = []
    lines = _fed(read_lines(path), guessed)
    # The standard reader refuses cells above a process-wide limit; long lines were already held back by read_lines.
    old = csv.field_size_limit(1 << 30)
    try:
        reader = csv.reader(lines, delimiter=delimiter, strict=False)
        header = next(reader, None)
        if header is None:
            return
        names = [h.strip() or f"column {i + 1}" for i, h in enumerate(header)]
        while True:
            guessed.clear()
            number = reader.line_num + 1
            try:
                cells = next(reader, None)
            except csv.Error as error:
                yield number, None, f"malformed: {error}"
                continue
            if cells is None:
                return
            if cells:
                yield _cells(names, cells, number, bool(guessed))
    finally:
        csv.field_size_limit(old)


def _cells(names: list[str], cells: list[str], number: int, guessed: bool) -> Row:
    if len(cells) == 1 and cells[0] == "\0":
        return number, None, "too long: a line of over 64 MB was skipped"
    if len(cells) > len(names):
        return number, None, f"malformed: {len(cells)} cells under {len(names)} headings"
    return number, dict(zip(names, cells, strict=False)), "guessed" if guessed else ""


def _fed(lines: Iterator[Line], guessed: list[int]) -> Iterator[str]:
    for line in lines:
        if line.guessed:
            guessed.append(line.number)
        # A NUL stands for a line that was too long; the reader would otherwise refuse or merge such lines.
        yield "\0\n" if line.text is None else line.text.replace("\0", " ").replace("\r", " ") + "\n"


def parquet_rows(path: Path) -> Iterator[Row]:
    """Yield the rows of a Parquet file, in batches."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        number = 0
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(4096):
                for values in batch.to_pylist():
                    number += 1
                    yield number, values, ""
    except (pa.ArrowException, OSError) as error:
        raise damaged(path, error) from error


def _parquet_rows(paths: list[Path]) -> int | None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return sum(pq.read_metadata(path).num_rows for path in paths)
    except (pa.ArrowException, OSError) as error:
        raise damaged(paths[0], error) from error


def numeric_rows(path: Path, format: str) -> tuple[list[str], Iterator[list[str]]]:
    """Return the header and the rows of a delimited table as they stand, for numeric tables."""
    delimiter = "\t" if format == "TSV" else sniff_delimiter(read_head(path))
    reader = csv.reader(_fed(read_lines(path), []), delimiter=delimiter)
    return next(reader, []), reader


def text_column(path: Path, format: str) -> str | None:
    """Return the column that a table's text would be taken from, or None if no column reads like text."""
    rows = parquet_rows(path) if format == "Parquet" else delimited_rows(path, "\t" if format == "TSV" else None)
    return guess_text([values for _, values, _ in islice(rows, SAMPLE) if values])
