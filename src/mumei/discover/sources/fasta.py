"""FASTA: protein or nucleotide sequences, one record after another, never more of one in memory than is kept."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from mumei.discover.sources.compression import Blob
from mumei.discover.sources.kinds import MAX_TEXT, Note, Record
from mumei.discover.sources.lines import lines

_LONGEST_LINE = 4 * MAX_TEXT  # a line's rest beyond this cannot be kept anyway
_LAYOUT = re.compile(r"[\s\d.\-]+")  # spaces, counts and alignment gaps
_INVALID = re.compile(r"[^A-Z*]")


def looks_like(head: str) -> bool:
    """Tell whether a text starts as FASTA: a header, then mostly letters without spaces."""
    kept = [line.strip() for line in head.splitlines() if line.strip() and not line.startswith(";")]
    if not kept or not kept[0].startswith(">"):
        return False
    body = [line for line in kept[1:3] if not line.startswith(">")]
    return all(sum(c.isalpha() or c in "*-." for c in line) >= 0.7 * len(line) for line in body)


class _Open:
    """The sequence being read."""

    def __init__(self, header: str, line: int):
        name, *rest = header.split(None, 1) or [""]
        self.name, self.title, self.line = name, rest[0].strip() if rest else "", line
        self._pieces: list[str] = []
        self._held = self.length = 0

    def add(self, text: str) -> None:
        letters = _LAYOUT.sub("", text).upper()
        self.length += len(letters)
        if self._held <= MAX_TEXT:  # one beyond what is kept: a stop that ends the sequence is seen as such
            self._pieces.append(letters)
            self._held += len(letters)

    def record(self) -> Record:
        text, notes = "".join(self._pieces), []
        if self.length == self._held:  # all of it is here, so that stars at the end are its end
            text = text.rstrip("*")
        if len(text) > MAX_TEXT:
            notes.append(Note("too long", f"{self.length:,} letters: cut at {MAX_TEXT:,}", False))
            text = text[:MAX_TEXT]
        if "*" in text:
            count, first = text.count("*"), text.index("*") + 1
            notes.append(Note("malformed", f"{count} stops inside, the first at {first}: read as X", False))
            text = text.replace("*", "X")
        invalid = sorted(set(_INVALID.findall(text)))
        if invalid:
            count = sum(text.count(c) for c in invalid)
            shown = " ".join(c if c.isprintable() else ascii(c) for c in invalid[:8])
            dropped = 2 * count > len(text)
            what = "too many to keep it" if dropped else "read as X"
            notes.append(Note("malformed", f"{count} characters that are no letters ({shown}): {what}", dropped))
            text = _INVALID.sub("X", text)
        return Record({"id": self.name, "title": self.title, "text": text}, self.line, tuple(notes))


class Fasta:
    """A FASTA file: id is the header's first word, title the rest, text the sequence in capitals without gaps."""

    format = "FASTA"

    def __init__(self, blob: Blob, encoding: str | None = None):
        self._blob, self._encoding = blob, encoding

    def files(self) -> list[Path]:
        """Return the file."""
        return [self._blob.path]

    def records(self, columns: Sequence[str] | None = None) -> Iterator[Record]:
        """Stream the records."""
        sequence: _Open | None = None
        stray = False
        for number, raw, _ in lines(self._blob, self._encoding, _LONGEST_LINE):
            if raw[:1] == b">":
                if sequence is not None:
                    yield sequence.record()
                sequence = _Open(raw[1:10_000].decode("utf-8", "surrogateescape"), number)
            elif raw[:1] == b";" or not raw.strip():
                continue
            elif sequence is None:
                if not stray:
                    yield Record(None, number, (Note("malformed", "text before the first '>' header"),))
                stray = True
            else:
                sequence.add(raw.decode("utf-8", "surrogateescape"))
        if sequence is not None:
            yield sequence.record()
