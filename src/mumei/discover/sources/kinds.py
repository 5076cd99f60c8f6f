"""What a source gives: items and problems, and the records that the readers hand over before they are checked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

MAX_TEXT = 1_000_000  # characters kept of one text
MAX_TITLE = 2_000  # characters kept of a title
MAX_ID = 500  # characters kept of an id
MAX_LINE = 64 << 20  # bytes of one line; what is longer is never held in memory
SAMPLE_ROWS = 200  # rows looked at to guess columns

ACCEPTED = (
    "JSONL, JSON, CSV, TSV or Parquet (also .gz .bz2 .xz .zst .zip), a folder of text files or of parts of one format, "
    "MEDLINE or JATS XML, FASTA, .npy, .npz, .h5ad, or the word primer for the embedded corpus"
)


@dataclass(frozen=True, slots=True)
class Item:
    """One row of a source that passed the checks. `row` is its 0-based place, `where` a file with a line number.

    `metadata` holds the row's other values where `rows(metadata=True)` asked for them.
    """

    id: str
    title: str
    text: str
    row: int
    where: str
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Problem:
    """A row that was left out (`dropped`) or changed, or a remark on the source (`row` is -1)."""

    row: int
    id: str
    kind: str
    detail: str
    dropped: bool


@dataclass(frozen=True, slots=True)
class Note:
    """What a reader has to say about one record."""

    kind: str
    detail: str
    dropped: bool = True


@dataclass(frozen=True, slots=True)
class Record:
    """One unchecked row: its named values (None where it could not be read), its line, and notes on it."""

    values: dict[str, Any] | None
    line: int
    notes: tuple[Note, ...] = ()
    file: str = ""


@dataclass(frozen=True)
class Options:
    """What the caller said about columns and encoding; None means: find out."""

    id_column: str | None = None
    title_column: str | None = None
    text_column: str | None = None
    encoding: str | None = None

    def given(self) -> list[str]:
        """Return the names of the options that were given."""
        return [name for name, value in vars(self).items() if value is not None]


class Reader(Protocol):
    """Reads the records of one file or folder in one format."""

    format: str

    def files(self) -> list[Path]:
        """Return the files that are read."""
        ...

    def records(self, columns: Sequence[str] | None = None) -> Iterator[Record]:
        """Stream the records; `columns` limits what is read where the format allows it."""
        ...


class Source(Protocol):
    """Texts or sequences, streamed and checked. `TableSource` is its counterpart for numbers."""

    kind: str
    name: str
    described: list[str]
    total_hint: int | None

    def files(self) -> list[Path]:
        """Return the files whose content the source depends on."""
        ...

    def rows(self, metadata: bool = False) -> Iterator[Item | Problem]:
        """Stream the rows in order: an item for each row that is kept, a problem for each finding.

        With `metadata`, items carry their row's other values, and repeated texts and ids pass.
        """
        ...


@dataclass
class Columns:
    """The columns in use and whether each was given or guessed."""

    id: str | None
    title: str | None
    text: str | None
    how: dict[str, str] = field(default_factory=dict)

    def line(self) -> str:
        """Return the line that echoes the choice."""
        return "columns: " + ", ".join(self._one(role) for role in ("id", "title", "text"))

    def _one(self, role: str) -> str:
        name = getattr(self, role)
        if name is None:
            return "id=(row number)" if role == "id" else f"{role}=(none)"
        how = self.how.get(role, "")
        return f"{role}={name!r}" + (f" ({how})" if how else "")

    def used(self) -> list[str]:
        """Return the distinct names in use."""
        return list(dict.fromkeys(name for name in (self.id, self.title, self.text) if name is not None))
