"""Sources made of records: texts in JSONL, CSV and the like, and whatever else reads as id, title and text."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from mumei.core.errors import DataError
from mumei.discover.sources.checks import Checker
from mumei.discover.sources.columns import ID_NAMES, LABEL_NAMES, choose, gather, is_numeric, listed, normal
from mumei.discover.sources.kinds import SAMPLE_ROWS, Columns, Item, Options, Problem, Reader, Record
from mumei.discover.sources.numeric import RecordTable

_SAMPLE_CHARACTERS = 32 << 20  # a look at the first rows stops here, however few they are


class RecordSource:
    """Texts or sequences out of readers: picks the columns and checks each row.

    Parameters
    ----------
    readers : sequence of Reader
        One or more, read in order.
    columns : Columns
        Which values are id, title and text.
    kind : str
        "text" or "sequence".
    name : str
        Short label.
    described : list of str
        Lines to echo.
    total_hint : int, optional
        Rows, where known.
    """

    def __init__(
        self,
        readers: Sequence[Reader],
        columns: Columns,
        kind: str,
        name: str,
        described: list[str],
        total_hint: int | None = None,
    ):
        self._readers, self._columns = readers, columns
        self.kind, self.name, self.described, self.total_hint = kind, name, described, total_hint

    def files(self) -> list[Path]:
        """Return the files whose content the source depends on."""
        return [file for reader in self._readers for file in reader.files()]

    def rows(self, metadata: bool = False) -> Iterator[Item | Problem]:
        """Stream the rows in order: an item for each row that is kept, a problem for each finding.

        With `metadata`, rows are documents to be kept by their ids: an item carries the row's other values that are words,
        numbers, truth values or lists of them, and repeated texts and ids pass.
        """
        checker, row = Checker(self.kind, distinct=not metadata), 0
        columns = self._columns
        used = None if metadata else columns.used()
        for reader in self._readers:
            paths = reader.files()
            name = paths[0].name if paths else self.name
            for record in reader.records(used):
                values = record.values or {}
                found = (
                    values.get(columns.id) if columns.id is not None else None,
                    values.get(columns.title) if columns.title is not None else None,
                    values.get(columns.text) if columns.text is not None else None,
                )
                where = record.file or f"{name}:{record.line}"
                for result in checker.check(row, where, found, record.notes):
                    if metadata and isinstance(result, Item):
                        result = replace(result, metadata=_others(values, columns.used()))
                    yield result
                row += 1


def _others(values: dict[str, Any], used: Sequence[str]) -> dict[str, Any]:
    """Return a record's values beside id, title and text; those of a nested "metadata" stand by their own names."""
    others = {name: value for name, value in values.items() if name not in used and value not in (None, "", [], {})}
    nested = others.pop("metadata", None)
    if isinstance(nested, dict):
        others = {**others, **{str(k): v for k, v in nested.items() if v not in (None, "", [], {})}}
    elif nested is not None:
        others["metadata"] = nested
    return {name: value for name, value in others.items() if _simple(value)}


def _simple(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(not isinstance(item, (list, tuple, dict)) and _simple(item) for item in value)
    # NaN and infinity stand for a missing value here.
    return isinstance(value, (str, int, bool)) or (isinstance(value, float) and math.isfinite(value))


def sample(readers: Sequence[Reader]) -> list[Record]:
    """Return the first records that could be read, at most `SAMPLE_ROWS`."""
    found, size = [], 0
    for reader in readers:
        for record in islice(reader.records(), 10 * SAMPLE_ROWS):
            if record.values is None:
                continue
            found.append(record)
            size += sum(len(v) for v in record.values.values() if isinstance(v, str))
            if len(found) == SAMPLE_ROWS or size > _SAMPLE_CHARACTERS:
                return found
    return found


def open_records(
    readers: Sequence[Reader], path: Path, described: list[str], options: Options, total_hint: int | None = None
) -> RecordSource | RecordTable:
    """Open files of records as texts, or as a numeric table where they hold no text.

    Raises
    ------
    UsageError
        A given column does not exist.
    DataError
        There is no row, or no column with text or numbers.
    """
    columns = gather(sample(readers))
    if not columns:
        raise DataError(f"{path} has no row that can be read as {readers[0].format}; check what is in it.")
    chosen = choose(columns, options, str(path))
    if chosen is None:
        return _open_table(readers, path, described, columns, options, total_hint)
    return RecordSource(readers, chosen, "text", path.name, [*described, chosen.line()], total_hint)


def _open_table(
    readers: Sequence[Reader],
    path: Path,
    described: list[str],
    columns: dict[str, list[Any]],
    options: Options,
    total_hint: int | None,
) -> RecordTable:
    """Open a table of numbers; columns of words, labels and gaps are left out, and said to be."""
    id_column = options.id_column or _id_column(columns)
    how = "given" if options.id_column else "guessed"
    labels = [n for n in columns if normal(n) in LABEL_NAMES or (normal(n) == "y" and "x" not in map(normal, columns))]
    numeric = [n for n in columns if n != id_column and n not in labels and is_numeric(columns[n])]
    if not numeric:
        raise DataError(
            f"{path} has neither a column with text nor one with numbers beside id and labels. Its columns: "
            f"{listed(list(columns))}. Name one to read as text with --text-column."
        )
    other = [n for n in columns if n not in numeric and n not in labels and n != id_column]
    described = [*described, f"columns: id={id_column!r} ({how})" if id_column else "columns: id=(row number)"]
    described.append(f"numbers: {len(numeric):,} columns ({listed(numeric, 5)})")
    if labels:
        described.append(f"labels are not features, ignored: {listed(labels)}")
    if other:
        described.append(f"not numbers, ignored: {listed(other, 10)}")
    return RecordTable(readers, path.name, described, numeric, id_column, total_hint)


def _id_column(columns: dict[str, list[Any]]) -> str | None:
    """Return the column with the name of an id or row name, else the first with words that never repeat."""
    for name in columns:
        # A blank first header, as pandas and R write row names, was made "column 1" or "row name".
        if normal(name) in ID_NAMES or name == "row name" or normal(name) == "unnamed_0":
            return name
    first = next(iter(columns))
    for name, values in columns.items():
        words = not is_numeric(values) and normal(name) not in LABEL_NAMES
        if words and len(set(map(str, values))) == len(values) > 1:
            return name
    counted = columns[first]
    if first == "column 1" and [str(v) for v in counted] in (
        [str(i) for i in range(len(counted))],
        [str(i + 1) for i in range(len(counted))],
    ):
        return first
    return None
