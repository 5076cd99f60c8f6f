"""What every reader stands on: the files it is given, the problems it reports, and its form.

A reader is a generator function `read_x(files, problems, **options) -> Iterator[record]`: it turns the files of ONE split
into records (`mumei.data.documents`), in the order of the files, one at a time. It knows a format and no corpus: what
differs between corpora is an option. It fills `file` and `line` of each record, and gives a bad document to
`problems.bad`, which raises unless the caller wants to keep going, and then leaves that document out.

Traps met here once for all: text is UTF-8 (or the encoding asked for) and nothing else; a byte order mark is dropped (BRAT
keeps one that offsets count); lines end at LF only, so that U+2028, U+0085, form feeds and others stay within a line, as
offsets expect; a CR before LF is cut from lines of annotations (`lines_of`) but stays in running text.
"""

from __future__ import annotations

import codecs
import contextlib
import gc
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from mumei.core.errors import DataError, UsageError
from mumei.data.documents import Record

BLOCK = 4 << 20  # bytes read at once from a file that is streamed
SMALL = 1 << 16  # bytes read at once from a file that is read whole
MARK = codecs.BOM_UTF8


class ReadError(DataError):
    """A file that cannot be read as what it should be: `file`, `line` (0: no particular one) and `document` say where."""

    def __init__(self, message: str, file: str = "", line: int = 0, document: str = ""):
        place = ":".join([file, str(line)] if line else [file])
        where = ", ".join(part for part in (place, f"document {document}" if document else "") if part)
        super().__init__(f"{where}: {message}" if where else message)
        self.message, self.file, self.line, self.document = message, file, line, document

    def __reduce__(self) -> tuple[type[ReadError], tuple[str, str, int, str]]:
        """Return how to make it again: an error has to come back from a worker process."""
        return type(self), (self.message, self.file, self.line, self.document)


@dataclass(frozen=True)
class Problem:
    """Something that was wrong with a file; `skipped` says whether a document is missing because of it."""

    message: str
    file: str = ""
    line: int = 0
    document: str = ""
    skipped: bool = True


@dataclass
class Problems:
    """Takes what is wrong. Without `keep_going` the first bad document ends the reading."""

    keep_going: bool = False
    found: list[Problem] = field(default_factory=list)

    def bad(self, message: str, file: str, line: int = 0, document: str = "") -> None:
        """Report a document that cannot be used; after this returns, the reader goes on with the next one.

        Raises
        ------
        ReadError
            Not `keep_going`.
        """
        if not self.keep_going:
            raise ReadError(message, file, line, document)
        self.found.append(Problem(message, file, line, document))

    def note(self, message: str, file: str, line: int = 0, document: str = "") -> None:
        """Report what is odd but costs no document."""
        self.found.append(Problem(message, file, line, document, skipped=False))

    @property
    def skipped(self) -> int:
        """How many documents were left out."""
        return sum(p.skipped for p in self.found)


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file to read: `name` is how it is called in messages and splits (`corpus.tar.gz!train/1.txt`)."""

    path: str
    name: str

    @property
    def stem(self) -> str:
        """`name` without its folders and last suffix."""
        return self.name.rpartition("/")[2].rpartition("!")[2].rpartition(".")[0] or self.name

    def read(self) -> bytes:
        """Return the content."""
        try:
            handle = os.open(self.path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
            try:  # the fewest calls of the system: a folder may have a hundred thousand small files
                pieces = []
                while piece := os.read(handle, SMALL):
                    pieces.append(piece)
                return pieces[0] if len(pieces) == 1 else b"".join(pieces)
            finally:
                os.close(handle)
        except OSError as error:
            raise ReadError(f"cannot be read ({error.strerror or error})", self.name) from error

    def text(self, encoding: str = "utf-8") -> str:
        """Return the content as text, newlines as they are, the byte order mark dropped."""
        return decode(self.read(), self.name, encoding)


class Reader(Protocol):
    """The form of a reader."""

    def __call__(self, files: Sequence[SourceFile], problems: Problems, **options: Any) -> Iterator[Record]:
        """Yield the records of one split."""
        ...


def drops_mark(content: bytes, encoding: str = "utf-8") -> bool:
    """Whether `decode` drops a byte order mark at the beginning of bytes."""
    return content.startswith(MARK) and encoding.lower().replace("_", "-") in ("utf-8", "utf8")


def decode(content: bytes, name: str, encoding: str = "utf-8", line: int = 1) -> str:
    """Return bytes as text; raise `ReadError` with the line of the first byte that is not in the encoding."""
    if drops_mark(content, encoding):
        content = content[len(MARK) :]
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        line += content.count(b"\n", 0, error.start)
        raise ReadError(
            f"byte 0x{content[error.start]:02x} is not {encoding}; if the file is in another encoding, name it "
            "(encoding='windows-1252')",
            name,
            line,
        ) from error
    except LookupError as error:
        raise UsageError(f"unknown encoding {encoding!r}; give a name such as utf-8, windows-1252 or utf-16") from error


def lines_of(text: str) -> list[str]:
    """Return lines of annotations: split at LF only, a CR before it cut; no empty last line for a final LF."""
    lines = text.split("\n")
    if not lines[-1]:
        lines.pop()
    return [line[:-1] if line.endswith("\r") else line for line in lines] if "\r" in text else lines


def blocks(file: SourceFile, encoding: str = "utf-8", size: int = BLOCK) -> Iterator[tuple[str, int]]:
    """Yield (text, number of its first line) of a file in pieces of about `size` bytes, cut after an empty line.

    For formats whose documents end at an empty line; memory holds one piece. An encoding that is no superset of ASCII
    (utf-16) is read in one piece.
    """
    if not _splits_at_newline(encoding):
        yield file.text(encoding), 1
        return
    rest, line = b"", 1
    try:
        with open(file.path, "rb", buffering=0) as handle:
            while piece := handle.read(size):
                rest += piece
                end = max(rest.rfind(b"\n\n") + 2, rest.rfind(b"\n\r\n") + 3)
                if end > 2:
                    yield decode(rest[:end], file.name, encoding, line), line
                    line += rest.count(b"\n", 0, end)
                    rest = rest[end:]
    except OSError as error:
        if isinstance(error, ReadError):
            raise
        raise ReadError(f"cannot be read ({error.strerror or error})", file.name) from error
    if rest:
        yield decode(rest, file.name, encoding, line), line


def _splits_at_newline(encoding: str) -> bool:
    try:
        return "\n".encode(encoding) == b"\n"
    except LookupError as error:
        raise UsageError(f"unknown encoding {encoding!r}; give a name such as utf-8 or windows-1252") from error


def files_below(folder: Path | str, prefix: str = "") -> list[SourceFile]:
    """Return the files below a folder in the order of their names, `prefix` before each name.

    Hidden files, `__MACOSX` folders and links out of the folder are left out.
    """
    found: list[SourceFile] = []
    stack = [(str(folder), prefix)]
    while stack:
        path, start = stack.pop()
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    if entry.name.startswith(".") or entry.name == "__MACOSX":
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        stack.append((entry.path, f"{start}{entry.name}/"))
                    elif entry.is_file():
                        found.append(SourceFile(entry.path, start + entry.name))
        except OSError as error:
            raise ReadError(f"the folder cannot be read ({error.strerror or error})", path) from error
    return sorted(found, key=lambda file: file.name)


@contextlib.contextmanager
def collector_paused() -> Iterator[None]:
    """Pause Python's cyclic garbage collector: building many small objects costs 3 to 4 times more with it."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
