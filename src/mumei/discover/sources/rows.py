"""What a source gives: items and problems, and the checks that every text row goes through.

Rows stream: besides one 16-byte digest per text and the set of ids, nothing of a row is kept once it was handed on.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

LONGEST = 1_000_000  # characters of a text; the rest is cut off
_WORD = re.compile(r"\w")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Item:
    """One row: `id` unique after checking, `title` may be empty, `row` from 0, `where` names file and line."""

    id: str
    title: str
    text: str
    row: int
    where: str = ""


@dataclass(frozen=True, slots=True)
class Problem:
    """A row left out (`dropped`) or changed, or a remark on the source."""

    row: int
    id: str
    kind: str
    detail: str
    dropped: bool


class Source(Protocol):
    """A source of texts or sequences."""

    kind: str
    name: str
    described: list[str]
    total_hint: int | None

    def files(self) -> list[Path]:
        """Return the files whose content the source is."""
        ...

    def rows(self) -> Iterator[Item | Problem]:
        """Stream checked rows and problems, in the order of the source."""
        ...


@dataclass
class Checker:
    """Checks items one by one: empty, punctuation, duplicate, repeated id, over-long, control characters."""

    longest: int = LONGEST
    _digests: set[bytes] = field(default_factory=set)
    _ids: set[str] = field(default_factory=set)
    _suffix: dict[str, int] = field(default_factory=dict)

    def check(self, items: Iterable[Item | Problem]) -> Iterator[Item | Problem]:
        """Yield each item that is usable, with a problem before it where it was changed, or a problem instead of it."""
        for item in items:
            if isinstance(item, Problem):
                yield item
            else:
                yield from self._one(item)

    def _one(self, item: Item) -> Iterator[Item | Problem]:
        text = _clean(item.text)
        found = self._drop(text)
        if found:
            yield Problem(item.row, item.id, found[0], f"{found[1]} ({item.where})", True)
            return
        if len(text) > self.longest:
            detail = f"{len(text):,} characters, cut to {self.longest:,} ({item.where})"
            yield Problem(item.row, item.id, "too long", detail, False)
            text = text[: self.longest]
        name = self._unique(_clean(item.id).strip() or str(item.row + 1))
        if name != item.id and item.id in self._ids:
            yield Problem(item.row, item.id, "duplicate id", f"kept as {name} ({item.where})", False)
        yield replace(item, id=name, title=_clean(item.title).strip(), text=text)

    def _drop(self, text: str) -> tuple[str, str] | None:
        if not text.strip():
            return "empty", "no text"
        if not _WORD.search(text):
            return "punctuation", "no letter and no digit"
        digest = hashlib.blake2b(" ".join(text.lower().split()).encode(), digest_size=16).digest()
        if digest in self._digests:
            return "duplicate", "the same text came before"
        self._digests.add(digest)
        return None

    def _unique(self, name: str) -> str:
        if name in self._ids:
            base, n = name, self._suffix.get(name, 1)
            while name in self._ids:
                n += 1
                name = f"{base}#{n}"
            self._suffix[base] = n
        self._ids.add(name)
        return name


def _clean(text: str) -> str:
    """Replace what cannot be stored as UTF-8 or shown (lone surrogates, control characters) by a space."""
    if text.isascii() and text.isprintable():
        return text
    return _SURROGATE.sub("\ufffd", _CONTROL.sub(" ", text))
