"""CoNLL columns: a token and its tag a line, sentences apart by empty lines, documents perhaps by `-DOCSTART-`.

Tags are `O` or a prefix, a hyphen and a type. Schemes (Ramshaw and Marcus 1995; Tjong Kim Sang and Veenstra 1999): "iob1" a
span begins with I, with B only right after another of its type; "iob2" every span begins with B; "iobes" besides, the last token
of a span has E (or L) and a span of one token S (or U, W). A tag that cannot follow the one before it is read as CoNLL's scorer
does, as the begin of a span, and noted.

The text is lost in this format: it is made of the tokens with one blank between them, and between sentences.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

from mumei.core.errors import UsageError, unknown
from mumei.data.documents import Document
from mumei.data.readers.base import Problems, ReadError, SourceFile, blocks
from mumei.data.schemas import Entity, Pair, Passage

SCHEMES = ("iob1", "iob2", "iobes")
DOCUMENTS = ("marker", "sentence", "file")
_BLANK = re.compile(r"^[^\S\n]+$", re.MULTILINE)
_PREFIXES = {"B": "B", "I": "I", "E": "E", "L": "E", "M": "I", "S": "S", "U": "S", "W": "S"}
MARKER_ID = re.compile(
    r"\A[^(]*\((.+)\)"
)  # from the line's beginning: many brackets that are never closed take linear time


class Sentence(NamedTuple):
    """Tokens with their tags, one a line from `line` on."""

    tokens: Sequence[str]
    tags: Sequence[str]
    line: int


class _Bad(NamedTuple):
    message: str
    line: int


class _Marker(NamedTuple):
    text: str
    line: int


_Item = Sentence | _Bad | _Marker


class Columns(NamedTuple):
    """Which column is what; see `read_conll`."""

    separator: str
    token: int
    tag: int
    marker: str


def read_conll(
    files: Sequence[SourceFile],
    problems: Problems,
    *,
    encoding: str = "utf-8",
    scheme: str = "iob2",
    separator: str = "\t",
    token: int = 0,
    tag: int = -1,
    document: str = "marker",
    marker: str = "-DOCSTART-",
    passage_type: str = "text",
) -> Iterator[Document]:
    """Yield the documents of CoNLL files.

    Parameters
    ----------
    files : sequence of SourceFile
        Files of one split.
    problems : Problems
        Takes lines that are none of the format. Tags that cannot follow each other are noted.
    encoding : str
        Of all files.
    scheme : str
        "iob1", "iob2" or "iobes".
    separator : str
        One character between columns.
    token, tag : int
        Columns, from 0, or from -1 backwards.
    document : str
        What one is: "marker": what follows a marker, or a sentence where a file does not begin with one; "sentence"; "file".
    marker : str
        Token of a line that begins a document; its id may follow in brackets.
    passage_type : str
        Type of the one passage.

    Yields
    ------
    Document
        One passage, with the sentences' offsets. Ids are the markers', else the file's name and, unless that is the
        document, a number.
    """
    columns = checked(scheme, document, Columns(separator, token, tag, marker))
    for file in files:
        builder = Builder(file, scheme, passage_type, problems)
        try:
            yield from builder.documents(_items(file, encoding, columns), document)
        except ReadError as error:
            if not problems.keep_going:
                raise
            problems.bad(error.message, error.file, error.line, error.document)


def checked(scheme: str, document: str, columns: Columns) -> Columns:
    """Return the columns, or raise `UsageError` for an option that cannot be."""
    if scheme not in SCHEMES:
        raise unknown("scheme of tags", scheme, SCHEMES)
    if document not in DOCUMENTS:
        raise unknown("unit of documents", document, DOCUMENTS)
    if len(columns.separator) != 1 or not columns.separator.isascii():
        raise UsageError(
            f"separator has to be one ASCII character such as a tab or a blank, got {columns.separator!r}."
        )
    return columns


# Lines ---------------------------------------------------------------------------------------------------------------


def _items(file: SourceFile, encoding: str, columns: Columns) -> Iterator[_Item]:
    for text, first in blocks(file, encoding):
        yield from items_of(text.replace("\r\n", "\n") if "\r" in text else text, first, columns)


def items_of(text: str, first: int, columns: Columns) -> Iterator[_Item]:
    """Yield the sentences and markers of lines that end at LF alone; `first` is the number of the first."""
    width = _regular(text, columns.separator)
    yield from _whole(text, first, width, columns) if width else _by_line(text, first, columns)


def _regular(text: str, separator: str) -> int:
    """Return how many columns all lines of a text have, 0 if not all as many or not one that is given.

    Only separators and line ends are looked at, as bytes: this costs next to nothing.
    """
    keep = f"{separator}\n".encode()
    text = text.strip("\n")
    marks = text.encode("utf-8", "replace").translate(None, bytes(c for c in range(256) if c not in keep)) + b"\n"
    row = marks.partition(b"\n")[0] + b"\n"
    rows = marks.count(row)
    # What is left are the ends of empty lines; more of them are lines without a separator (or several empty lines on end).
    alike = len(row) > 1 and len(marks) - rows * len(row) == text.count("\n\n")
    return len(row) if alike and not marks.replace(row, b"").strip(b"\n") else 0


def _whole(text: str, first: int, width: int, columns: Columns) -> Iterator[_Item]:
    """Yield the sentences of a text whose lines all have `width` columns: columns are strides of one list."""
    separator, token, tag = columns.separator, columns.token % width, columns.tag % width
    mark = "\n" + columns.marker
    # A marker or a line of blanks within a sentence ends it.
    amid = (bool(columns.marker) and text.count(mark) != text.count("\n" + mark)) or _BLANK.search(text)
    if amid or max(columns.token, columns.tag, -columns.token - 1, -columns.tag - 1) >= width:
        yield from _by_line(text, first, columns)
        return
    for piece in text.split("\n\n"):
        stripped = piece.strip("\n")
        if stripped:
            fields = stripped.replace("\n", separator).split(separator)
            tokens, tags = fields[token::width], fields[tag::width]
            line = first + len(piece) - len(piece.lstrip("\n"))
            if columns.marker and stripped.startswith(columns.marker):
                yield _Marker(stripped.partition("\n")[0], line)
                tokens, tags, line = tokens[1:], tags[1:], line + 1
            if tokens:
                yield Sentence(tokens, tags, line)
        first += piece.count("\n") + 2


def _by_line(text: str, first: int, columns: Columns) -> Iterator[_Item]:
    """Yield the sentences of a text whose lines differ, or what is wrong with a line."""
    separator, token, tag, marker = columns
    least = max(token, tag, -token - 1, -tag - 1, 1) + 1
    tokens: list[str] = []
    tags: list[str] = []
    start = first
    for number, line in enumerate(text.split("\n"), first):
        if not line or line.isspace():
            if tokens:
                yield Sentence(tokens, tags, start)
            tokens, tags = [], []
            continue
        if marker and line.startswith(marker):
            if tokens:
                yield Sentence(tokens, tags, start)
            tokens, tags = [], []
            yield _Marker(line, number)
            continue
        fields = line.split(separator)
        if len(fields) < least:
            yield _Bad(f"expected at least {least} columns apart by {separator!r}, got {line[:80]!r}", number)
            continue
        if not tokens:
            start = number
        tokens.append(fields[token])
        tags.append(fields[tag])
    if tokens:
        yield Sentence(tokens, tags, start)


# Documents -----------------------------------------------------------------------------------------------------------


class Builder:
    """Puts the sentences of a file together."""

    def __init__(self, file: SourceFile, scheme: str, passage_type: str, problems: Problems):
        self.file, self.scheme, self.kind, self.problems = file, scheme, passage_type, problems
        self.known: dict[str, tuple[str, str]] = {"O": ("O", "")}  # tag -> prefix and type
        self.count = 0

    def documents(self, items: Iterator[_Item], unit: str) -> Iterator[Document]:
        """Yield the documents that the items make."""
        sentences: list[Sentence] = []
        name, bad, begun, marked = "", None, 0, False
        for item in items:
            if isinstance(item, _Marker) and unit == "marker":
                yield from self.finish(name, sentences, bad, begun)
                found = MARKER_ID.search(item.text)
                self.count += 1
                name = found[1] if found else f"{self.file.stem}_{self.count}"
                sentences, bad, begun, marked = [], None, item.line, True
            elif isinstance(item, _Bad):
                bad = bad or item
                if not (marked or unit == "file"):
                    self.problems.bad(item.message, self.file.name, item.line, f"{self.file.stem}_{self.count + 1}")
                    bad = None
            elif isinstance(item, Sentence):
                if marked or unit == "file":
                    sentences.append(item)
                    continue
                self.count += 1
                yield from self.finish(f"{self.file.stem}_{self.count}", [item], None, item.line)
        yield from self.finish(name or self.file.stem, sentences, bad, begun or 1)

    def finish(self, name: str, sentences: list[Sentence], bad: _Bad | None, line: int) -> Iterator[Document]:
        """Yield the document that sentences make, if there are any and none of its lines is `bad`."""
        if bad:
            self.problems.bad(bad.message, self.file.name, bad.line, name)
        elif sentences:
            try:
                yield self._document(name, sentences, line)
            except ReadError as error:
                self.problems.bad(error.message, self.file.name, error.line, name)

    def _document(self, name: str, sentences: list[Sentence], line: int) -> Document:
        texts, spans, entities, at = [], [], [], 0
        for sentence in sentences:
            text = " ".join(sentence.tokens)
            if sentence.tags.count("O") != len(sentence.tags):
                self._spans(name, sentence, at, text, entities)
            texts.append(text)
            spans.append((at, at + len(text)))
            at += len(text) + 1
        text = " ".join(texts)
        passage = Passage(name + "_text", self.kind, [text], [(0, len(text))])
        return Document(name, name, [passage], entities, sentences=spans, file=self.file.name, line=line)

    def _spans(self, name: str, sentence: Sentence, base: int, text: str, entities: list[Entity]) -> None:
        """Add the spans of a sentence that begins at `base`."""
        starts = list(accumulate(map(len, sentence.tokens), lambda at, length: at + length + 1, initial=0))
        for first, last, kind in self._tagged(name, sentence):
            start, end = starts[first], starts[last + 1] - 1
            offsets: list[Pair] = [(base + start, base + end)]
            entities.append(Entity(f"{name}_T{len(entities) + 1}", kind, [text[start:end]], offsets, []))

    def _tagged(self, name: str, sentence: Sentence) -> Iterator[tuple[int, int, str]]:
        """Yield (first token, last token, type) of each span."""
        start, kind, before, known = -1, "", "O", self.known
        for n, tag in enumerate(sentence.tags):
            found = known.get(tag) or self.split(tag, sentence.line + n)
            prefix, own = found
            inside = before in "BI" and own == kind and prefix in "IE"
            if start >= 0 and not inside:
                yield start, n - 1, kind
                start = -1
            if prefix != "O" and not inside:
                start, kind = n, own
            if prefix != "B" and not self._may_follow(before, prefix, inside):
                self.problems.note(
                    f"the tag {tag} cannot stand here ({self.scheme})", self.file.name, sentence.line + n, name
                )
            before = prefix
        if start >= 0:
            yield start, len(sentence.tags) - 1, kind

    def _may_follow(self, before: str, prefix: str, inside: bool) -> bool:
        """Say whether a tag that is no B is what the scheme allows."""
        if self.scheme == "iob1":
            return prefix in "IO"
        if self.scheme == "iob2":
            return prefix == "O" or (prefix == "I" and inside)
        return inside if prefix in "IE" else before not in "BI"

    def split(self, tag: str, line: int) -> tuple[str, str]:
        """Return a tag's prefix, under its name in IOBES, and type; raise `ReadError` for what is no tag."""
        prefix, hyphen, kind = tag.partition("-")
        if not hyphen or not kind or prefix not in _PREFIXES:
            raise ReadError(f"expected O or a tag such as B-Gene, got {tag[:40]!r}", self.file.name, line)
        found = self.known[tag] = _PREFIXES[prefix], kind
        return found
