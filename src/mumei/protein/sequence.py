"""Sequences and alignments out of files: FASTA, A3M and Stockholm, packed by gzip or not, read as a stream.

The format is found by content. In A3M lower-case letters are insertions against the query; they are dropped, and so are the
dots that align them. Rows of an alignment that differ in length are refused with the record's name.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from mumei.core.errors import DataError
from mumei.core.files import atomic_open

WIDTH = 80
LETTERS = re.compile(r"[A-Za-z*.\-]*")
DROP_INSERTIONS = {ord(c): None for c in "abcdefghijklmnopqrstuvwxyz.*"}
GAPS = str.maketrans({".": "-", "*": None})


class Record(NamedTuple):
    """One entry: the first word of its header, the rest of it, and the sequence as it stands there."""

    name: str
    description: str
    sequence: str


@dataclass(frozen=True)
class Alignment:
    """Aligned sequences: `names` and `rows` of one length, upper case, "-" for gaps."""

    names: tuple[str, ...]
    rows: tuple[str, ...]
    path: str = ""

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def width(self) -> int:
        """Return the number of columns."""
        return len(self.rows[0])


def read_fasta(path: Path | str) -> Iterator[Record]:
    """Yield the records of a FASTA file one by one; a header without a word is named by its number.

    Raises
    ------
    DataError
        Not there, damaged, no FASTA, a record without residues, or a sign that is no letter of a sequence.
    """
    header, parts, start, count = None, [], 0, 0
    for number, line in _lines(path):
        if line.startswith(">"):
            if header is not None:
                yield _record(path, header, parts, start, count)
            header, parts, start, count = line[1:].strip(), [], number, count + 1
        elif line.strip() and not line.startswith(";"):
            text = "".join(line.split())
            if header is None:
                raise DataError(
                    f"{path} is no FASTA: line {number} ({text[:40]!r}) comes before any '>'. Give FASTA, A3M or Stockholm."
                )
            if not LETTERS.fullmatch(text):
                bad = next(c for c in text if not LETTERS.fullmatch(c))
                raise DataError(
                    f"{path}, line {number}: {bad!r} is no residue (record {header[:60]!r}); correct it there."
                )
            parts.append(text)
    if header is None:
        raise DataError(f"{path} holds no sequence; give a file with at least one record.")
    yield _record(path, header, parts, start, count)


def _record(path: Path | str, header: str, parts: list[str], line: int, count: int) -> Record:
    name, _, description = header.partition(" ")
    sequence = "".join(parts)
    if not sequence.strip("*"):
        raise DataError(f"{path}, line {line}: record {name or count!r} has no residues; fill it or take it out.")
    return Record(name or str(count), description.strip(), sequence)


def _lines(path: Path | str) -> Iterator[tuple[int, str]]:
    path = Path(path)
    try:
        with path.open("rb") as handle:
            packed = handle.read(2) == b"\x1f\x8b"
        with gzip.open(path, "rb") if packed else path.open("rb") as handle:
            for number, line in enumerate(handle, start=1):
                yield number, line.decode("utf-8", "replace").rstrip("\r\n").removeprefix("\ufeff")
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read ({getattr(error, 'strerror', None) or error}).") from error


def read_sequences(path: Path | str) -> Iterator[Record]:
    """Yield the records of a FASTA file as unaligned upper-case sequences, without gaps and the final stop sign."""
    for record in read_fasta(path):
        sequence = record.sequence.upper().replace("-", "").replace(".", "")
        stop = sequence.find("*", 0, len(sequence.rstrip("*")))
        if stop >= 0:
            raise DataError(f"{path}: record {record.name!r} has a stop (*) at position {stop + 1}; cut it there.")
        if not sequence.rstrip("*"):
            raise DataError(f"{path}: record {record.name!r} has gaps only; take it out.")
        yield Record(record.name, record.description, sequence.rstrip("*"))


def read_alignment(path: Path | str) -> Alignment:
    """Read an alignment: aligned FASTA, A3M (by the file's name, or by lower-case letters) or Stockholm.

    Raises
    ------
    DataError
        As `read_fasta`, and rows of unequal length, with the record named.
    """
    first = next((line for _, line in _lines(path) if line.strip()), "")
    stockholm = first.startswith("# STOCKHOLM")
    records = _stockholm(path) if stockholm else [(r.name, r.sequence) for r in read_fasta(path)]
    if not stockholm and _is_a3m(path, [sequence for _, sequence in records]):
        rows = [sequence.translate(DROP_INSERTIONS) for _, sequence in records]
    else:
        rows = [sequence.upper().translate(GAPS) for _, sequence in records]
    names = [name for name, _ in records]
    for i, row in enumerate(rows):
        if len(row) != len(rows[0]):
            raise DataError(
                f"{path}: record {names[i]!r} (number {i + 1}) has {len(row)} columns, the first record has {len(rows[0])}. "
                "The rows of an alignment have one length: align the sequences first, or give A3M with insertions in lower case."
            )
    if not rows[0]:
        raise DataError(f"{path}: the first record has no aligned column; its letters are all lower case.")
    return Alignment(tuple(names), tuple(rows), str(path))


def _is_a3m(path: Path | str, sequences: list[str]) -> bool:
    """Whether lower case means insertion: the name says so, or dropping it, and only that, brings the rows to one length."""
    if ".a3m" in Path(path).suffixes:
        return True
    if len({len(s) for s in sequences}) == 1:
        return False
    return len({len(s.translate(DROP_INSERTIONS)) for s in sequences}) == 1


def _stockholm(path: Path | str) -> list[tuple[str, str]]:
    parts: dict[str, list[str]] = {}
    for number, line in _lines(path):
        if line.startswith("//"):
            break
        if line.startswith("#") or not line.strip():
            continue
        fields = line.split()
        if len(fields) != 2 or not LETTERS.fullmatch(fields[1]):
            raise DataError(f"{path}, line {number}: not a name and a sequence, as Stockholm has them ({line[:60]!r}).")
        parts.setdefault(fields[0], []).append(fields[1])
    if not parts:
        raise DataError(f"{path} holds no sequence; give a file with at least one record.")
    return [(name, "".join(pieces)) for name, pieces in parts.items()]


def write_fasta(path: Path | str, records: Iterable[Record]) -> int:
    """Write records as FASTA, whole or not at all; return how many."""
    count = 0
    with atomic_open(path, "w", encoding="utf-8") as handle:
        for record in records:
            handle.write(f">{record.name} {record.description}".rstrip() + "\n")
            for start in range(0, len(record.sequence), WIDTH):
                handle.write(record.sequence[start : start + WIDTH] + "\n")
            count += 1
    return count
