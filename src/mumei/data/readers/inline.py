"""Marks in the running text: a line a document, mentions between brackets or tags (`( disorder )`, `<gene>BRCA1</gene>`).

Every kind of mark is looked for by itself, the shortest match first, so that mentions of different kinds may lie within each
other. Marks that belong to no pair are text: a line may be cut off in the middle of one, and a bracket may be only a bracket.
Marks are taken out of the text, with the blanks just inside of them; offsets count in what remains. A mention of blanks alone is
text too.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mumei.core.errors import UsageError
from mumei.data.documents import Document
from mumei.data.readers.base import BLOCK, Problems, ReadError, SourceFile, decode
from mumei.data.schemas import Entity, Passage

_Marks = list[tuple[str, str, str]]  # type, what stands before a mention, what behind it


def read_inline(
    files: Sequence[SourceFile],
    problems: Problems,
    *,
    marks: Mapping[str, Sequence[str]],
    encoding: str = "utf-8",
    passage_type: str = "sentence",
) -> Iterator[Document]:
    """Yield a document for each line that is not empty.

    Parameters
    ----------
    files : sequence of SourceFile
        Files of one split.
    problems : Problems
        Takes lines that are not of the encoding.
    marks : mapping of str to sequence of str
        Type of a mention -> what stands before it and what behind it.
    encoding : str
        Of all files.
    passage_type : str
        Type of the one passage.

    Yields
    ------
    Document
        One passage; ids are the file's name and the line's number.

    Examples
    --------
    >>> list(read_inline([], Problems(), marks={"drug": ["[", "]"]}))
    []
    """
    pairs = _pairs(marks)
    for file in files:
        try:
            for number, line in _lines(file, encoding, problems):
                if line and not line.isspace():
                    yield _document(file, number, line, pairs, passage_type)
        except ReadError as error:
            if not problems.keep_going:
                raise
            problems.bad(error.message, error.file, error.line, error.document)


def _pairs(marks: Mapping[str, Any]) -> _Marks:
    found: _Marks = []
    for kind, pair in marks.items():
        if isinstance(pair, str) or len(pair) != 2 or not all(isinstance(mark, str) and mark for mark in pair):
            raise UsageError(f"marks of {kind!r} have to be two strings, before and behind a mention; got {pair!r}.")
        found.append((kind, pair[0], pair[1]))
    if not found:
        raise UsageError("marks has to name at least one type, such as {drug: ['[', ']']}.")
    return found


def _lines(file: SourceFile, encoding: str, problems: Problems) -> Iterator[tuple[int, str]]:
    """Yield (number, line), read as they are needed; a line that is not of the encoding goes to `problems.bad`."""
    if encoding.lower().replace("_", "-") not in ("utf-8", "utf8"):
        yield from enumerate((line.removesuffix("\r") for line in file.text(encoding).split("\n")), 1)
        return
    rest, number = b"", 0
    try:
        with open(file.path, "rb", buffering=0) as handle:
            while True:
                piece = handle.read(BLOCK)
                *lines, rest = (rest + piece).split(b"\n") if piece else (rest, b"")
                for line in lines:
                    number += 1
                    try:
                        yield number, decode(line.removesuffix(b"\r"), file.name, encoding, number)
                    except ReadError as error:
                        problems.bad(error.message, file.name, error.line, f"{file.stem}_{number}")
                if not piece:
                    return
    except OSError as error:
        raise ReadError(f"cannot be read ({error.strerror or error})", file.name) from error


def _document(file: SourceFile, number: int, line: str, pairs: _Marks, passage_type: str) -> Document:
    name = f"{file.stem}_{number}"
    found: list[tuple[int, int, str]] = []  # inner start and end of mentions in the line, and their types
    drop: list[tuple[int, int]] = []  # where marks are
    for kind, before, behind in pairs:
        for opened, closed in _between(line, before, behind):
            inner = line[opened:closed]
            start = opened + len(inner) - len(inner.lstrip())
            end = closed - (len(inner) - len(inner.rstrip()))
            if start < end:
                found.append((start, end, kind))
                drop += [(opened - len(before), start), (end, closed + len(behind))]
    text, spans = _without(line, drop, found) if found else (line, [])
    entities = [
        Entity(f"{name}_T{n}", kind, [text[start:end]], [(start, end)], [])
        for n, (start, end, kind) in enumerate(sorted(_trimmed(text, spans)), 1)
    ]
    return Document(name, name, [_passage(name, passage_type, text)], entities, file=file.name, line=number)


def _between(line: str, before: str, behind: str) -> Iterator[tuple[int, int]]:
    """Yield start and end of what stands between two marks, from the first one before to the next one behind; never nothing.

    By hand and not by a regular expression, which needs quadratic time for many marks that are never closed.
    """
    at = 0
    while (opened := line.find(before, at)) >= 0:
        start = opened + len(before)
        end = line.find(behind, start)
        if end < 0:
            return
        if end > start:
            yield start, end
        at = end + len(behind) if end > start else opened + 1


def _trimmed(text: str, spans: list[tuple[int, int, str]]) -> Iterator[tuple[int, int, str]]:
    """Yield the spans without blanks at their ends, which marks of another kind may have left; none without a character."""
    for start, end, kind in spans:
        inner = text[start:end]
        if inner and not inner.isspace():
            yield start + len(inner) - len(inner.lstrip()), end - len(inner) + len(inner.rstrip()), kind


def _without(
    line: str, drop: list[tuple[int, int]], found: list[tuple[int, int, str]]
) -> tuple[str, list[tuple[int, int, str]]]:
    """Return the line without the pieces to drop, and the mentions as they lie in what remains."""
    drop.sort()
    pieces: list[str] = []
    ends: list[tuple[int, int]] = []  # up to where, and how much was dropped before
    at = gone = 0
    for start, end in drop:
        if end <= at:
            continue
        start = max(start, at)
        pieces.append(line[at:start])
        ends.append((start, gone))
        gone += end - start
        at = end
    pieces.append(line[at:])
    ends.append((len(line), gone))

    def place(position: int) -> int:
        n = bisect_left(ends, (position,))
        n = min(n, len(ends) - 1)
        # Within a piece that was dropped (marks that cross), a position is where that piece was.
        before = ends[n - 1][0] - ends[n - 1][1] if n else 0
        return max(position - ends[n][1], before)

    return "".join(pieces), [(place(start), place(end), kind) for start, end, kind in found]


def _passage(name: str, kind: str, text: str) -> Passage:
    return Passage(name + "_text", kind, [text], [(0, len(text))])
