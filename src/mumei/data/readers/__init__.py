"""Readers by format. `READERS` names them without importing any; `reader(name)` imports one.

A reader that is not in the table is named by its import string, `"package.module:function"`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from inspect import Parameter, signature
from typing import TYPE_CHECKING, Any

from mumei.core.errors import UsageError, unknown

if TYPE_CHECKING:
    from mumei.data.readers.base import Reader, SourceFile


@dataclass(frozen=True)
class ReaderEntry:
    """A reader: where it is, which schema its records have, and by what its files are known.

    `extensions` are endings of file names; where `head` is given, the first 64 kB of one of them must match it too.
    """

    target: str
    schema: str
    summary: str
    extensions: tuple[str, ...] = ()
    head: bytes = b""


READERS: dict[str, ReaderEntry] = {
    "brat": ReaderEntry(
        "mumei.data.readers.brat:read_brat",
        "kb",
        "BRAT standoff: .txt with .ann, or .a1 and .a2",
        (".ann", ".a1", ".a2"),
    ),
    "pubtator": ReaderEntry(
        "mumei.data.readers.pubtator:read_pubtator",
        "kb",
        "PubTator: id|t|title, id|a|abstract, mentions and relations between concepts",
        (".txt", ".pubtator", ".tsv"),
        rb"\A(\xef\xbb\xbf)?\s*[^\s|]+\|t\|",
    ),
}
HEAD = 1 << 16  # bytes


def entry(name: str) -> ReaderEntry:
    """Return a reader's entry, or raise `UsageError` with the closest names."""
    if name not in READERS:
        raise unknown("reader", name, READERS)
    return READERS[name]


def reader(name: str) -> Reader:
    """Import and return a reader by its name, or by `"package.module:function"`."""
    target = name if ":" in name else entry(name).target
    module, _, function = target.partition(":")
    try:
        return getattr(import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"the reader {target!r} cannot be imported: {error}.") from error


def check_options(name: str, options: dict[str, Any]) -> None:
    """Raise `UsageError` with the closest names for an option that the reader does not have."""
    parameters = signature(reader(name)).parameters.values()
    allowed = [p.name for p in parameters if p.kind is Parameter.KEYWORD_ONLY]
    for option in options:
        if option not in allowed:
            raise unknown(f"option of the reader {name}", option, allowed)


def recognise(files: Sequence[SourceFile]) -> str:
    """Return the name of the reader for files, or raise `UsageError` that says what is known."""
    for name, known in READERS.items():
        fitting = [f for f in files if f.name.lower().endswith(known.extensions)]
        if fitting and (not known.head or any(_matches(f, known.head) for f in fitting[:20])):
            return name
    shown = ", ".join(f.name for f in files[:3]) or "no file at all"
    raise UsageError(f"no reader fits these files ({shown}, ...); name one with reader=: {', '.join(sorted(READERS))}.")


def _matches(file: SourceFile, head: bytes) -> bool:
    try:
        with open(file.path, "rb") as handle:
            return re.search(head, handle.read(HEAD)) is not None
    except OSError:
        return False
