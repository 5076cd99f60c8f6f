"""JSON in three shapes: one object a line, one array of objects, and one document that holds a list of objects.

Lines and arrays are streamed. A line that is not JSON becomes a note, never an exception. An array that breaks off
ends there with a note, since nothing after the break can be told apart. A document is read whole, up to
`MAX_DOCUMENT` bytes.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson

from mumei.core.errors import DataError
from mumei.discover.sources.compression import Blob
from mumei.discover.sources.kinds import MAX_LINE, Note, Record
from mumei.discover.sources.lines import blob_encoding, lines, utf8

MAX_DOCUMENT = 512 << 20
_CHUNK = 1 << 20
_SPACE = " \t\r\n"
_NOT_JSON = (ValueError, RecursionError)


def parse(line: bytes) -> Any:
    """Parse JSON bytes; what strict JSON refuses (lone surrogates, NaN, bad bytes) is read where that is possible."""
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        return json.loads(line.decode("utf-8", "surrogateescape"))


def as_record(value: Any, line: int) -> Record:
    """Make a record of a parsed value; a bare string is a text."""
    if isinstance(value, dict):
        return Record(value, line)
    if isinstance(value, str):
        return Record({"text": value}, line)
    return Record(None, line, (Note("malformed", f"{type(value).__name__} where an object is expected"),))


class JsonLines:
    """One JSON object a line; blank lines are skipped."""

    format = "JSONL"

    def __init__(self, blob: Blob, encoding: str | None = None):
        self._blob, self._encoding = blob, encoding

    def files(self) -> list[Path]:
        """Return the file."""
        return [self._blob.path]

    def records(self, columns: Sequence[str] | None = None) -> Iterator[Record]:
        """Stream the records."""
        for number, line, cut in lines(self._blob, self._encoding):
            if cut:
                yield Record(None, number, (Note("too long", f"a line of over {MAX_LINE:,} bytes"),))
                continue
            try:
                value = parse(line)
            except _NOT_JSON as error:
                if line.strip(b" \t\r\n\x00"):
                    yield Record(None, number, (Note("malformed", f"not JSON: {_short(error)}"),))
                continue
            yield as_record(value, number)


def _short(error: Exception) -> str:
    return "nested too deep" if isinstance(error, RecursionError) else str(error)[:200]


class JsonArray:
    """One array of objects, decoded element by element."""

    format = "JSON array"

    def __init__(self, blob: Blob, encoding: str | None = None):
        self._blob, self._encoding = blob, encoding

    def files(self) -> list[Path]:
        """Return the file."""
        return [self._blob.path]

    def records(self, columns: Sequence[str] | None = None) -> Iterator[Record]:
        """Stream the records; `line` is the element's number."""
        encoding = blob_encoding(self._blob, self._encoding)
        with self._blob.open() as stream:
            window = _Window(utf8(stream, encoding))
            window.take("[")
            number = 0
            while window.peek() not in ("]", ""):
                number += 1
                try:
                    value = window.element()
                except _NOT_JSON as error:
                    detail = f"not JSON from here on, the rest is left out: {_short(error)}"
                    yield Record(None, number, (Note("malformed", detail),))
                    return
                yield as_record(value, number)
                if window.peek() == ",":
                    window.take(",")
                elif window.peek() not in ("]", ""):
                    yield Record(None, number + 1, (Note("malformed", "no comma here, the rest is left out"),))
                    return
            if window.peek() == "":
                detail = "the array is not closed: the file is cut off here"
                yield Record(None, number + 1, (Note("malformed", detail),))


class _Window:
    """The part of a JSON text in memory: grows until an element fits, up to `MAX_LINE`, and forgets what was read."""

    def __init__(self, stream: Any):
        self._stream = stream
        self._decode = codecs.getincrementaldecoder("utf-8")(errors="surrogateescape").decode
        self._decoder = json.JSONDecoder()
        self._text, self._at, self._ended = "", 0, False

    def _more(self, size: int = _CHUNK) -> None:
        pieces = []
        while size > 0 and not self._ended:
            piece = self._stream.read(_CHUNK)
            self._ended = not piece
            pieces.append(self._decode(piece, final=self._ended))
            size -= len(piece)
        self._text, self._at = self._text[self._at :] + "".join(pieces), 0

    def peek(self) -> str:
        """Return the next character that is no space, "" at the end."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in _SPACE:
                self._at += 1
            if self._at < len(self._text) or self._ended:
                return self._text[self._at : self._at + 1]
            self._more()

    def take(self, character: str) -> None:
        """Step over the next character if it is this one."""
        if self.peek() == character:
            self._at += 1

    def element(self) -> Any:
        """Return the next value; `ValueError` if it is not JSON."""
        self.peek()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
                # A number or word at the very edge may go on in the next piece.
                if end < len(self._text) or self._ended:
                    self._at = end
                    return value
            except json.JSONDecodeError as error:
                unfinished = error.msg.startswith("Unterminated") or error.pos >= len(self._text) - 16
                if self._ended or not unfinished:
                    raise
            held = len(self._text) - self._at
            if held > MAX_LINE:
                raise ValueError(f"an element of over {MAX_LINE:,} characters")
            self._more(max(held, _CHUNK))


class JsonDocument:
    """One JSON object: its longest list of objects, or its objects by name, or itself as the only row."""

    format = "JSON document"

    def __init__(self, blob: Blob, encoding: str | None = None):
        self._blob, self._encoding = blob, encoding

    def files(self) -> list[Path]:
        """Return the file."""
        return [self._blob.path]

    def records(self, columns: Sequence[str] | None = None) -> Iterator[Record]:
        """Yield the records; the document is parsed as a whole."""
        document = self._document()
        if not isinstance(document, dict):
            yield as_record(document, 1)
            return
        lists = [v for v in document.values() if isinstance(v, list) and v and all(isinstance(e, dict) for e in v)]
        if lists:
            rows = max(lists, key=len)
        elif len(document) > 1 and all(isinstance(v, dict) for v in document.values()):
            rows = [{"id": key, **value} for key, value in document.items()]
        else:
            rows = [document]
        for number, row in enumerate(rows, 1):
            yield Record(row, number)

    def _document(self) -> Any:
        path = self._blob.path
        encoding = blob_encoding(self._blob, self._encoding)
        pieces, size = [], 0
        with self._blob.open() as stream:
            source = utf8(stream, encoding)
            while piece := source.read(_CHUNK):
                pieces.append(piece)
                size += len(piece)
                if size > MAX_DOCUMENT:
                    limit = f"{MAX_DOCUMENT >> 20} MB"
                    raise DataError(f"{path} is one JSON document of over {limit}; write one object a line.")
        try:
            return parse(b"".join(pieces))
        except _NOT_JSON as error:
            raise DataError(
                f"{path} is not valid JSON: {_short(error)}. Mend it, or write one object a line."
            ) from error
