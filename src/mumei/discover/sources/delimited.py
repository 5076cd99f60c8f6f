"""CSV and TSV, read record by record with the standard library's parser.

Its field limit is one for the whole process, so it is raised only while a record is parsed, under a lock. A quote that
is never closed would swallow the rest of the file; here it costs one row: a record may span `MAX_LINES` lines, and if
it does not end, or comes out with the wrong number of fields, its first line is read again by itself without quoting.
"""

from __future__ import annotations

import csv
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mumei.core.errors import DataError
from mumei.discover.sources.columns import number
from mumei.discover.sources.compression import Blob
from mumei.discover.sources.kinds import MAX_LINE, Note, Record
from mumei.discover.sources.lines import lines, text_head

DELIMITERS = "\t,;|"
NOTHING = "\x1f"  # the delimiter of a file with one column
MAX_LINES = 5_000
_FIELD = 1 << 30
_LOCK = threading.RLock()
_SNIFFED = 50  # records that decide on the delimiter


@dataclass(frozen=True)
class Dialect:
    """How a file is divided: delimiter, column names, and whether its first line is a header."""

    delimiter: str
    columns: tuple[str, ...]
    header: bool

    @property
    def label(self) -> str:
        """Name the format."""
        name = {"\t": "TSV", ",": "CSV", NOTHING: "one column"}.get(self.delimiter, f"CSV with {self.delimiter!r}")
        return name + ("" if self.header else ", no header")


def parse_rows(text: Sequence[str], delimiter: str, quoting: bool = True) -> list[list[str]]:
    """Parse some lines for a look at them; what the parser refuses ends the list."""
    rows: list[list[str]] = []
    reader = csv.reader(text, delimiter=delimiter, quoting=csv.QUOTE_MINIMAL if quoting else csv.QUOTE_NONE)
    while len(rows) <= _SNIFFED:
        try:
            row = _parse(reader)
        except (StopIteration, csv.Error):
            break
        if row:
            rows.append(row)
    return rows


def _parse(reader: Any) -> list[str]:
    with _LOCK:
        before = csv.field_size_limit(_FIELD)
        try:
            return next(reader)
        finally:
            csv.field_size_limit(before)


def sniff(head: str, whole: bool, suffix: str) -> Dialect | None:
    """Find the dialect of a file from its start; None if it does not look like a table.

    A name ending in .csv, .tsv or .tab is believed; for others the fields must fit without exception.
    """
    physical = head.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    if not whole and len(physical) > 1:
        physical = physical[:-1]
    physical = [line + "\n" for line in physical]
    named = suffix in (".csv", ".tsv", ".tab")
    best = (0.0, 0, "")
    for delimiter in DELIMITERS if suffix not in (".txt", ".md", ".text") else "\t":
        rows = parse_rows(physical, delimiter)
        rows = rows[:-1] if not whole and len(rows) > 2 else rows
        width = len(rows[0]) if rows else 0
        if width > 1:
            fits = sum(len(row) in (width, width + 1) for row in rows) / len(rows)
            best = max(best, (round(fits, 1), width, delimiter))
    if best[0] < 0.6 or (not named and (best[0] < 1.0 or len(parse_rows(physical, best[2])) < 2)):
        if not named:
            return None
        expected = "," if suffix == ".csv" else "\t"
        best = (0.0, 0, expected if expected in physical[0] else NOTHING)
    rows = parse_rows(physical, best[2])
    return _with_header(rows, best[2]) if rows else None


def _with_header(rows: list[list[str]], delimiter: str) -> Dialect:
    first, body = rows[0], rows[1:]
    if not _is_header(first):
        return Dialect(delimiter, tuple(f"column {i + 1}" for i in range(len(first))), False)
    names = [name.strip().strip("\ufeff") or f"column {i + 1}" for i, name in enumerate(first)]
    if body and all(len(row) == len(first) + 1 for row in body):
        names = ["row name", *names]  # as R writes tables: row names have no header
    seen: dict[str, int] = {}
    for i, name in enumerate(names):
        seen[name] = seen.get(name, 0) + 1
        if seen[name] > 1:
            names[i] = f"{name} ({seen[name]})"
    return Dialect(delimiter, tuple(names), True)


def _is_header(first: list[str]) -> bool:
    """Tell names from values: a header's cells are short, mostly distinct, and hardly any is a number."""
    cells = [cell.strip() for cell in first]
    if any(len(cell) > 100 for cell in cells) or len(set(cells)) < len(cells) / 2:
        return False
    values = [number(cell) for cell in cells]
    numbers = sum(v is not None and v == v for v in values)  # NaN is what a blank or "NA" gives
    return numbers <= (0.2 * len(cells) if len(cells) > 10 else 0)


@dataclass(frozen=True, slots=True)
class _Line:
    number: int
    text: str
    cut: bool


class _Feeder:
    """Hands lines to the parser, remembers what the current record took, and takes lines back."""

    def __init__(self, source: Iterator[tuple[int, bytes, bool]]):
        self._source = source
        self._waiting: deque[_Line] = deque()
        self.taken: list[_Line] = []
        self.stopped = False
        self._size = 0

    def __iter__(self) -> _Feeder:
        return self

    def __next__(self) -> str:
        if len(self.taken) >= MAX_LINES or self._size > MAX_LINE:
            self.stopped = True
            raise StopIteration
        if self._waiting:
            line = self._waiting.popleft()
        else:
            found = next(self._source, None)
            if found is None:
                self.stopped = True
                raise StopIteration
            text = "" if found[2] else found[1].decode("utf-8", "surrogateescape").rstrip("\r").replace("\r", " ")
            line = _Line(found[0], text, found[2])
        self.taken.append(line)
        self._size += len(line.text)
        return line.text + "\n"

    def begin(self) -> None:
        self.taken, self.stopped, self._size = [], False, 0

    def give_back(self) -> _Line:
        """Keep only the first line of the record; the others will be read again."""
        self._waiting.extendleft(reversed(self.taken[1:]))
        return self.taken[0]


class Delimited:
    """A CSV or TSV file."""

    def __init__(self, blob: Blob, encoding: str | None = None, dialect: Dialect | None = None):
        self._blob, self._encoding = blob, encoding
        dialect = dialect or sniff(*text_head(blob, encoding), blob.suffix)
        if dialect is None:
            raise DataError(f"{blob.path} does not look like CSV or TSV: its lines have no common delimiter.")
        self.dialect: Dialect = dialect
        self.format = self.dialect.label

    def files(self) -> list[Path]:
        """Return the file."""
        return [self._blob.path]

    def records(self, columns: Sequence[str] | None = None) -> Iterator[Record]:
        """Stream the records; blank lines are skipped."""
        names, width = self.dialect.columns, len(self.dialect.columns)
        header = self.dialect.header
        for line, row, note in self._rows(width):
            if header:
                header = False
                continue
            if row is not None and len(row) > width and not any(row[width:]):
                row = row[:width]
            if row is None or note is not None:
                notes = (note or Note("malformed", "cannot be divided into fields"),)
                yield Record(dict(zip(names, row, strict=False)) if row else None, line, notes)
            elif len(row) != width:
                yield Record(None, line, (Note("malformed", f"{len(row)} fields where there are {width} columns"),))
            else:
                yield Record(dict(zip(names, row, strict=True)), line)

    def _rows(self, width: int) -> Iterator[tuple[int, list[str] | None, Note | None]]:
        """Yield (line, fields or None, note) of each record."""
        feeder = _Feeder(lines(self._blob, self._encoding))
        reader = csv.reader(feeder, delimiter=self.dialect.delimiter)
        while True:
            feeder.begin()
            row: list[str] | None = None
            try:
                row = _parse(reader)
            except StopIteration:
                return
            except csv.Error:
                row = None
            taken = feeder.taken
            if any(line.cut for line in taken):
                yield feeder.give_back().number, None, Note("too long", f"a line of over {MAX_LINE:,} bytes")
            elif row is None or feeder.stopped or (len(taken) > 1 and len(row) != width):
                yield self._alone(feeder.give_back(), width)
            elif row:
                yield taken[0].number, row, None

    def _alone(self, line: _Line, width: int) -> tuple[int, list[str] | None, Note | None]:
        """Read a line by itself, quotes as they stand."""
        rows = parse_rows([line.text], self.dialect.delimiter, quoting=False)
        if rows and len(rows[0]) == width:
            return (
                line.number,
                rows[0],
                Note("malformed", "a quote is not closed: the line is read as it stands", False),
            )
        return line.number, None, Note("malformed", "a quote is not closed and the line does not have the right fields")
