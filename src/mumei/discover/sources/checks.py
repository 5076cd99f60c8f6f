"""The checks that every text and sequence passes, one row at a time: memory holds the ids and a 16-byte digest a row.

Undecodable bytes arrive as lone surrogates (Python's `surrogateescape`), wherever they come from. `clean` is the one
place that turns them into text: each such byte is read as Windows-1252, so lines, and even cells, of mixed encoding
come out right.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

from mumei.discover.sources.kinds import MAX_ID, MAX_TEXT, MAX_TITLE, Item, Note, Problem

_BAD = re.compile("[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\ud800-\udfff]")
_WORD = re.compile(r"[^\W_]")
_DEPTH = 8  # nesting to which lists and mappings of strings are followed


def _mend(match: re.Match[str]) -> str:
    code = ord(match.group())
    if 0xDC80 <= code <= 0xDCFF:
        return bytes([code - 0xDC00]).decode("cp1252", "replace")
    return "\ufffd" if code >= 0xD800 else " "


def clean(text: str) -> tuple[str, str]:
    r"""Return text without control characters, lone surrogates and outer space, and a remark ("" if nothing was wrong).

    Examples
    --------
    >>> clean("caf\udce9")
    ('café', 'not valid UTF-8: read as Windows-1252')
    """
    if text.isprintable():  # the quick way for most texts: no control character, no surrogate, no line break
        return text.strip("\ufeff "), ""
    found = set(_BAD.findall(text))
    if not found:
        return text.strip().strip("\ufeff").strip(), ""
    remarks = []
    if any("\udc80" <= c <= "\udcff" for c in found):
        remarks.append("not valid UTF-8: read as Windows-1252")
    if any("\ud800" <= c < "\udc80" or "\udcff" < c <= "\udfff" for c in found):
        remarks.append("half a surrogate pair: replaced")
    if any(c < "\ud800" for c in found):
        remarks.append("control characters: replaced by spaces")
    return _BAD.sub(_mend, text).strip().strip("\ufeff").strip(), "; ".join(remarks)


def as_text(value: Any, depth: int = 0) -> str:
    """Turn a cell into text: strings as they are, whole floats without ".0", lists and mappings joined by spaces."""
    if isinstance(value, str):
        return value
    if value is None or depth > _DEPTH:
        return ""
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    if isinstance(value, float):
        if value != value:
            return ""
        return str(int(value)) if value.is_integer() and abs(value) < 2**53 else str(value)
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return " ".join(part for part in (as_text(v, depth + 1) for v in value) if part)
    return str(value)


class Names:
    """Makes ids unique: the second of a name gets "#2", the third "#3"."""

    def __init__(self) -> None:
        self._seen: set[str] = set()
        self._repeats: dict[str, int] = {}

    def unique(self, name: str) -> str:
        """Return the name, or a new one where it is taken."""
        if name not in self._seen:
            self._seen.add(name)
            return name
        number = self._repeats.get(name, 1) + 1
        while f"{name}#{number}" in self._seen:
            number += 1
        self._repeats[name] = number
        self._seen.add(f"{name}#{number}")
        return f"{name}#{number}"


class Checker:
    """Checks rows in order; one checker serves one pass over a source.

    Parameters
    ----------
    kind : str
        "text" or "sequence"; a title can stand in for a missing text, never for a sequence.
    distinct : bool
        Leave out texts that came before and rename ids that came before; else both pass, for whoever keeps rows by their ids.
    """

    def __init__(self, kind: str = "text", distinct: bool = True) -> None:
        self._kind, self._distinct = kind, distinct
        self._names = Names()
        self._digests: set[bytes] = set()

    def check(
        self, row: int, where: str, values: tuple[Any, Any, Any], notes: Sequence[Note] = ()
    ) -> list[Item | Problem]:
        """Check one row.

        Parameters
        ----------
        row : int
            0-based place in the source.
        where : str
            File and line.
        values : tuple
            Id, title and text as they were found, of any type.
        notes : sequence of Note
            What the reader noticed; one that drops the row ends the check.

        Returns
        -------
        list of Item or Problem
            Problems first; then the item, if the row is kept.
        """
        name, id_remark = clean(as_text(values[0]))
        name = name[:MAX_ID] or str(row + 1)
        out: list[Item | Problem] = [Problem(row, name, n.kind, f"{where}: {n.detail}", n.dropped) for n in notes]
        if any(n.dropped for n in notes):
            return out
        title, title_remark = clean(as_text(values[1]))
        text, text_remark = clean(as_text(values[2]))
        remark = text_remark or title_remark or id_remark
        if remark:
            out.append(Problem(row, name, "undecodable", f"{where}: {remark}", False))
        text, findings = self._findings(title, text)
        out.extend(Problem(row, name, n.kind, f"{where}: {n.detail}", n.dropped) for n in findings)
        if any(n.dropped for n in findings):
            return out
        unique = self._names.unique(name) if self._distinct else name
        if unique != name:
            out.append(
                Problem(row, name, "duplicate id", f"{where}: this id came before; the row is now {unique!r}", False)
            )
        out.append(Item(unique, " ".join(title[:MAX_TITLE].split()), text[:MAX_TEXT], row, where))
        return out

    def _findings(self, title: str, text: str) -> tuple[str, list[Note]]:
        """Return the text to keep and what is wrong with it."""
        found = []
        if not text:
            if self._kind != "text" or not _WORD.search(title):
                return text, [Note("empty", f"no {self._kind}")]
            found.append(Note("empty", "no text: the title stands in", False))
            text = title
        elif not _WORD.search(text):
            return text, [Note("punctuation", "no letter or digit in the text")]
        if len(text) > MAX_TEXT:
            found.append(Note("too long", f"{len(text):,} characters: cut at {MAX_TEXT:,}", False))
            text = text[:MAX_TEXT]
        if not self._distinct:
            return text, found
        # "replace" is for lone surrogates, which clean() has removed: nothing can raise here.
        digest = blake2b(" ".join(text.casefold().split()).encode("utf-8", "replace"), digest_size=16).digest()
        if digest in self._digests:
            return text, [*found, Note("duplicate", "the same text came before")]
        self._digests.add(digest)
        return text, found
