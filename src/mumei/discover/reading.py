"""The read step's parts: items go into Parquet parts as they stream in, problems are counted and listed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mumei.core.files import write_table
from mumei.discover.workspace import PART

PROBLEM_ROWS = 10_000  # problems listed one by one; all are counted


def table_items(source: Any) -> Iterator[Any]:
    """Yield the problems that a pass over the table finds, then an item per row kept."""
    from mumei.discover.sources import Item

    for _ in source.blocks():
        pass
    yield from source.problems
    for row, name in enumerate(source.ids()):
        yield Item(id=name, title="", text="", row=row, where="")


def nothing_kept(source: str, summary: dict) -> str:
    """Return what is said when no row of a source can be used."""
    reasons = ", ".join(f"{count} {kind}" for kind, count in summary["problems"].items()) or "it is empty"
    return f"{source} has no usable row ({summary['rows']} read: {reasons}); check the file and the column options."


def problem_lines(summary: dict) -> list[str]:
    """Return one line per kind of problem with its number of rows."""
    return [f"{kind}: {count:,} rows" for kind, count in summary.get("problems", {}).items()]


class ItemWriter:
    """Collects items into Parquet parts of `PART` rows and counts problems."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.kept = self.dropped = self.parts = 0
        self.characters = 0
        self.problems: dict[str, int] = {}
        self.listed: list[Any] = []
        self._rows: list[Any] = []

    def add(self, item: Any) -> None:
        """Take an `Item`, or a `Problem` (which is counted, and listed while there is room)."""
        if hasattr(item, "kind"):
            self.problems[item.kind] = self.problems.get(item.kind, 0) + 1
            self.dropped += item.dropped
            if len(self.listed) < PROBLEM_ROWS:
                self.listed.append(item)
            return
        self.kept += 1
        self.characters += len(item.text)
        self._rows.append(item)
        if len(self._rows) == PART:
            self._flush()

    def _flush(self) -> None:
        import pyarrow as pa

        columns = {name: [getattr(i, name) for i in self._rows] for name in ("id", "title", "text")}
        table = pa.table({**{k: pa.array(v, pa.string()) for k, v in columns.items()}})
        table = table.append_column("row", pa.array([i.row for i in self._rows], pa.int64()))
        write_table(self.folder / f"part-{self.parts:06d}.parquet", table)
        self.parts += 1
        self._rows = []

    def close(self) -> dict[str, Any]:
        """Write what is left and return the step's summary."""
        if self._rows:
            self._flush()
        rows = self.kept + self.dropped
        return {
            "rows": rows,
            "kept": self.kept,
            "dropped": self.dropped,
            "mean_characters": round(self.characters / max(self.kept, 1), 1),
            "problems": dict(sorted(self.problems.items())),
            "said": f"{self.kept:,} of {rows:,} rows kept",
        }

    def problem_table(self) -> Any:
        """Return the listed problems as an Arrow table (row, id, kind, detail, dropped)."""
        import pyarrow as pa

        fields = {
            "row": pa.int64(),
            "id": pa.string(),
            "kind": pa.string(),
            "detail": pa.string(),
            "dropped": pa.bool_(),
        }
        return pa.table(
            {name: pa.array([getattr(p, name) for p in self.listed], kind) for name, kind in fields.items()}
        )
