"""Lines of bounded length from a stream of bytes, in UTF-8 whatever the file's encoding was.

A byte order mark or many NUL bytes tell UTF-16 and UTF-32; those are turned into UTF-8 on the way. Everything else is
taken as UTF-8, and bytes that are not become lone surrogates when a line is decoded (see `checks.clean`).
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from typing import Any

from mumei.core.errors import DataError, UsageError
from mumei.discover.sources.compression import Blob
from mumei.discover.sources.kinds import MAX_LINE

_CHUNK = 1 << 20
_UNFIT = re.compile("[\ufffd\ud800-\udfff]")  # what decoders put where bytes do not fit
_NOT_FOR_FILES = ("unicode-escape", "raw-unicode-escape", "punycode", "idna", "undefined")
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def check_encoding(encoding: str | None) -> str | None:
    """Return the canonical name of an encoding, None for none; an unknown one raises `UsageError`."""
    if encoding is None:
        return None
    try:
        "x".encode(encoding)
        codecs.getincrementaldecoder(encoding)
        name = codecs.lookup(encoding).name
        if name.replace("_", "-") in _NOT_FOR_FILES:
            raise LookupError(name)
        return name
    except (LookupError, UnicodeError, ValueError, TypeError) as error:
        raise UsageError(
            f"unknown encoding {encoding!r}; give a name such as utf-8, utf-16, cp1252, latin-1, shift_jis or gb18030."
        ) from error


def detect_encoding(head: bytes) -> str:
    """Return "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be" or "utf-32" for the first bytes of a file."""
    for mark, name in _MARKS:
        if head.startswith(mark):
            return name
    start = head[:1000]
    half = len(start) // 2
    if half >= 4:
        even, odd = start[0::2].count(0), start[1::2].count(0)
        if odd > 0.4 * half and even < 0.05 * half:
            return "utf-16-le"
        if even > 0.4 * half and odd < 0.05 * half:
            return "utf-16-be"
    return "utf-8"


class Utf8Stream:
    """A stream of UTF-8 bytes over a stream in another encoding.

    Bytes that do not fit the encoding become the byte 0x81, which is neither UTF-8 nor Windows-1252, so that they
    show up as undecodable, and as U+FFFD, further on; with `strict=False` they become U+FFFD at once.
    """

    def __init__(self, stream: Any, encoding: str, strict: bool = True):
        self._stream, self._encoding = stream, encoding
        self._mark = chr(0xDC00 + 0x81) if strict else "\ufffd"
        self._decoder = codecs.getincrementaldecoder(encoding)(errors="replace")
        self._ended = False

    def read(self, size: int = _CHUNK) -> bytes:
        """Return about `size` bytes, b"" only at the end."""
        while not self._ended:
            piece = self._stream.read(size if size > 0 else _CHUNK)
            self._ended = not piece
            try:
                text = self._decoder.decode(piece, final=self._ended)
            except UnicodeError as error:
                raise DataError(
                    f"this file cannot be read as {self._encoding}: {error}. Give another encoding."
                ) from error
            if text:
                text = _UNFIT.sub(self._mark, text)
                return text.encode("utf-8", "surrogateescape")
        return b""


def utf8(stream: Any, encoding: str, strict: bool = True) -> Any:
    """Return a stream of UTF-8 bytes without byte order mark."""
    if encoding == "utf-8":
        return stream
    if encoding == "utf-8-sig":
        stream.read_full(3)
        return stream
    return Utf8Stream(stream, encoding, strict)


def blob_encoding(blob: Blob, given: str | None) -> str:
    """Return the encoding to read a file in: the one given, unless a byte order mark is only skipped by it."""
    found = detect_encoding(blob.head(1000))
    if given is None or (given == "utf-8" and found == "utf-8-sig"):
        return found
    return given


def text_head(blob: Blob, given: str | None, size: int = 1 << 16) -> tuple[str, bool]:
    """Return the first part of a file as text and whether that is all of it."""
    encoding = blob_encoding(blob, given)
    with blob.open() as stream:
        source = utf8(stream, encoding)
        pieces, total = [], 0
        while total < size and (piece := source.read(size)):
            pieces.append(piece)
            total += len(piece)
        whole = not source.read(1)
    return b"".join(pieces).decode("utf-8", "surrogateescape"), whole


def bounded(stream: Any, limit: int = MAX_LINE, separator: bytes = b"\n") -> Iterator[tuple[int, bytes, bool]]:
    """Yield (line number from 1, line without its separator, whether it was cut at `limit` bytes)."""
    number, pieces, held, cut = 1, [], 0, False
    while chunk := stream.read(_CHUNK):
        *ended, rest = chunk.split(separator)
        for line in ended:
            if pieces:
                pieces.append(line)
                line = b"".join(pieces)
                pieces, held = [], 0
            yield number, line[:limit], cut or len(line) > limit
            number, cut = number + 1, False
        if held + len(rest) > limit:
            # Hold what fits and forget the rest: the line is cut, however long it goes on.
            rest, cut = rest[: max(limit - held, 0)], True
        if rest:
            pieces.append(rest)
            held += len(rest)
    if pieces or cut:
        yield number, b"".join(pieces), cut


def lines(blob: Blob, given: str | None, limit: int = MAX_LINE) -> Iterator[tuple[int, bytes, bool]]:
    """Yield the lines of a file as `bounded` does; line ends are LF, CR LF, or CR in a file whose start has no LF."""
    head, _ = text_head(blob, given)
    separator = b"\r" if "\r" in head and "\n" not in head else b"\n"
    encoding = blob_encoding(blob, given)
    with blob.open() as stream:
        yield from bounded(utf8(stream, encoding), limit, separator)
