"""Numeric tables as float32 blocks of rows: the checks that all of them share, and those in CSV, TSV and Parquet.

A pass over `blocks()` drops rows that hold NaN or infinity (float32 infinity included) and notes constant columns; each
whole pass finds the same and leaves it in `problems`. Parsed text is kept in memory up to `KEEP` bytes, since later
passes need the same numbers again; beyond that it is parsed again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mumei.discover.sources.checks import Names, as_text, clean
from mumei.discover.sources.columns import number
from mumei.discover.sources.kinds import MAX_ID, Note, Problem, Reader

if TYPE_CHECKING:
    import numpy as np

CELLS = 1 << 24  # most cells of a block: 64 MB
KEEP = 1 << 30
_LARGEST = 3.4028235e38  # of float32


class TableSource:
    """Rows of numbers.

    Parameters
    ----------
    name : str
        Short label.
    described : list of str
        Lines to echo.
    columns : list of str
        Names of the columns, one for each number in a row.
    total_hint : int, optional
        Rows, where known.

    Attributes
    ----------
    problems : list of Problem
        Findings of the last whole pass over `blocks`.
    """

    kind = "table"

    def __init__(self, name: str, described: list[str], columns: list[str], total_hint: int | None = None):
        self.name, self.described, self.columns, self.total_hint = name, described, columns, total_hint
        self.problems: list[Problem] = []
        self._ids: list[str] | None = None

    def files(self) -> list[Path]:
        """Return the files whose content the source depends on."""
        raise NotImplementedError

    def _raw(self, size: int) -> Iterator[tuple[int, np.ndarray, list[str] | None, list[Problem]]]:
        """Yield (first row, (m, d) block, ids of its rows if there are any, problems found while reading)."""
        raise NotImplementedError

    def ids(self) -> list[str]:
        """Return the ids of the rows that are kept, in the order of the blocks."""
        if self._ids is None:
            for _ in self.blocks():
                pass
        return list(self._ids or [])

    def blocks(self, size: int = 65536) -> Iterator[np.ndarray]:
        """Stream the rows that are kept.

        Parameters
        ----------
        size : int
            At most this many rows a block; wide tables get fewer, so that a block stays under 64 MB.

        Yields
        ------
        ndarray
            float32 (m, d), m > 0, all finite.
        """
        import numpy as np

        size = max(1, min(size, CELLS // max(len(self.columns), 1)))
        problems: list[Problem] = []
        names, ids = Names(), []
        low = high = None
        for first, block, block_ids, found in self._raw(size):
            problems.extend(found)
            with np.errstate(over="ignore", invalid="ignore"):
                values = np.asarray(block, dtype=np.float32)
            finite = np.isfinite(values).all(axis=1)
            given = block_ids if block_ids is not None else [str(first + i + 1) for i in range(len(values))]
            for i in np.flatnonzero(~finite):
                problems.append(self._not_finite(first + int(i), given[i], values[i]))
            kept = values if finite.all() else values[finite]
            if not len(kept):
                continue
            low = kept.min(axis=0) if low is None else np.minimum(low, kept.min(axis=0))
            high = kept.max(axis=0) if high is None else np.maximum(high, kept.max(axis=0))
            rows = np.flatnonzero(finite)
            ids.extend(self._unique(names, first + int(i), given[i], problems) for i in rows)
            yield kept
        self.problems = problems + self._constant(low, high)
        self._ids = ids

    def _unique(self, names: Names, row: int, given: str, problems: list[Problem]) -> str:
        """Return a row's id, with a number if it came before, which is then noted."""
        name = clean(given)[0][:MAX_ID] or str(row + 1)
        unique = names.unique(name)
        if unique != name:
            problems.append(Problem(row, name, "duplicate id", f"the row is now {unique!r}", False))
        return unique

    def _not_finite(self, row: int, name: str, values: Any) -> Problem:
        import numpy as np

        bad = np.flatnonzero(~np.isfinite(values))
        more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
        detail = f"row {row + 1}: {values[bad[0]]} in column {self.columns[bad[0]]!r}{more}"
        return Problem(row, name, "not finite", detail, True)

    def _constant(self, low: Any, high: Any) -> list[Problem]:
        if low is None or low is high:
            return []
        import numpy as np

        constant = np.flatnonzero(low == high)
        names = [self.columns[j] for j in constant]
        details = [f"column {name!r} is {low[j]:g} in every row" for j, name in zip(constant, names, strict=True)]
        return [Problem(-1, n, "constant column", detail, False) for n, detail in zip(names, details, strict=True)]


class RecordTable(TableSource):
    """A numeric table in CSV, TSV or Parquet files.

    Parameters
    ----------
    readers : sequence of Reader
        The files, in order.
    id_column : str or None
        Where the ids are.
    """

    def __init__(
        self,
        readers: Sequence[Reader],
        name: str,
        described: list[str],
        columns: list[str],
        id_column: str | None = None,
        total_hint: int | None = None,
    ):
        super().__init__(name, described, columns, total_hint)
        self._readers, self._id_column = readers, id_column
        self._kept: list[tuple[int, Any, list[str] | None, list[Problem]]] | None = None
        self._kept_size = 0

    def files(self) -> list[Path]:
        """Return the files whose content the source depends on."""
        return [file for reader in self._readers for file in reader.files()]

    def _raw(self, size: int) -> Iterator[tuple[int, np.ndarray, list[str] | None, list[Problem]]]:
        if self._kept is not None and size == self._kept_size:
            yield from self._kept
            return
        kept: list[Any] | None = []
        held = 0
        for part in self._parse(size):
            held += part[1].nbytes
            if kept is not None and held <= KEEP:
                kept.append(part)
            else:
                kept = None
            yield part
        self._kept, self._kept_size = kept, size

    def _parse(self, size: int) -> Iterator[tuple[int, np.ndarray, list[str] | None, list[Problem]]]:
        """Yield blocks of consecutive rows, so that row numbers follow from a block's first."""
        import numpy as np

        row = first = 0
        rows, ids, problems = [], [], []
        for row, values, name, found in self._numbered():
            problems.extend(found)
            if values is not None:
                rows.append(values)
                ids.append(name)
            if rows and (values is None or len(rows) == size):
                yield first, np.array(rows, dtype=np.float32), ids, problems
                rows, ids, problems = [], [], []
            if not rows:
                first = row + 1
        if rows or problems:
            yield first, np.array(rows, dtype=np.float32).reshape(len(rows), len(self.columns)), ids, problems

    def _numbered(self) -> Iterator[tuple[int, list[float] | None, str, list[Problem]]]:
        """Yield (row, numbers or None if it is left out, id, problems) of each record."""
        row = 0
        wanted = [*self.columns, *([self._id_column] if self._id_column else [])]
        for reader in self._readers:
            for record in reader.records(wanted):
                values, notes = self._numbers(record.values, record.notes)
                name = as_text((record.values or {}).get(self._id_column)) if self._id_column else ""
                name = clean(name)[0] or str(row + 1)
                problems = [Problem(row, name, n.kind, f"line {record.line}: {n.detail}", n.dropped) for n in notes]
                yield row, values, name, problems
                row += 1

    def _numbers(
        self, values: dict[str, Any] | None, notes: Sequence[Note]
    ) -> tuple[list[float] | None, Sequence[Note]]:
        """Return the row's numbers, or None and why it is left out."""
        if values is None or any(n.dropped for n in notes):
            return None, notes or (Note("malformed", "cannot be read"),)
        out = []
        for column in self.columns:
            found = number(values.get(column))
            if found is None:
                text = clean(as_text(values[column])[:40])[0]
                return None, (*notes, Note("malformed", f"{text!r} in column {column!r} is not a number"))
            # Beyond float32 is infinite there: say so here, where no warning comes of it.
            out.append(found if abs(found) < _LARGEST or found != found else float("inf"))
        return out, notes
