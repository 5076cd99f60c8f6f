"""Bytes of a file, whatever it is compressed with, as lines of text in bounded memory.

Compression is told from the first bytes, not from the name. A line longer than `LONGEST_LINE` bytes is skipped in pieces and
reported; bytes that are no UTF-8 are read as Windows-1252, which never fails, line by line, and counted.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from mumei.core.errors import DataError, MissingExtraError

LONGEST_LINE = 64 << 20
CHUNK = 1 << 20
MAGIC = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\x00": "xz", b"\x28\xb5\x2f\xfd": "zstd", b"PK\x03\x04": "zip"}
BROKEN = (EOFError, OSError, lzma.LZMAError, zlib.error, zipfile.BadZipFile, ValueError)


@dataclass(frozen=True, slots=True)
class Line:
    """A line without its end: `text` is None for one that is too long; `guessed` if its bytes were no UTF-8."""

    number: int
    text: str | None
    guessed: bool = False


def compression(path: Path) -> str:
    """Return "gzip", "bzip2", "xz", "zstd", "zip" or "" by the file's first bytes."""
    with open(path, "rb") as handle:
        head = handle.read(6)
    return next((name for magic, name in MAGIC.items() if head.startswith(magic)), "")


def open_bytes(path: Path) -> IO[bytes]:
    """Open a file for reading bytes, decompressing as needed; a zip must hold exactly one file."""
    kind = compression(path)
    if kind == "zip":
        return _open_zip(path)
    if kind == "zstd":
        try:
            import zstandard
        except ImportError as error:
            raise MissingExtraError(f"reading {path.name} (zstd)", "zstandard", "zstd") from error
        return zstandard.open(path, "rb")
    openers = {"gzip": gzip.open, "bzip2": bz2.open, "xz": lzma.open, "": open}
    return openers[kind](path, "rb")  # type: ignore[operator]


def _open_zip(path: Path) -> IO[bytes]:
    try:
        archive = zipfile.ZipFile(path)
        names = [i for i in archive.infolist() if not i.is_dir() and not i.filename.startswith("__MACOSX")]
        if len(names) != 1:
            raise DataError(
                f"{path} holds {len(names)} files; give an archive of one file, or unpack it and give the folder."
            )
        return archive.open(names[0])
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
        raise DataError(f"{path} cannot be unpacked ({error}); unpack it yourself and give the folder.") from error


def damaged(path: Path, error: Exception) -> DataError:
    """Return the error for a file that cannot be read to its end."""
    return DataError(f"{path} is damaged or cut off ({error}); get the file again.")


def read_head(path: Path, size: int = 1 << 16) -> str:
    """Return the first characters of a file as text, for guessing what it is."""
    try:
        with open_bytes(path) as handle:
            raw = handle.read(size)
    except BROKEN as error:
        raise damaged(path, error) from error
    encoding = wide_encoding(raw)
    return raw.decode(encoding or "utf-8-sig", "replace")


def wide_encoding(head: bytes) -> str:
    """Return "utf-16" or "utf-32" where a byte order mark says so, else ""."""
    if head.startswith((b"\xff\xfe\x00\x00", b"\x00\x00\xfe\xff")):
        return "utf-32"
    return "utf-16" if head.startswith((b"\xff\xfe", b"\xfe\xff")) else ""


def read_lines(path: Path, longest: int = LONGEST_LINE) -> Iterator[Line]:
    """Stream the lines of a text file, numbered from 1.

    Raises
    ------
    DataError
        The file is damaged or cut off.
    """
    try:
        with open_bytes(path) as handle:
            head = handle.read(4)
        encoding = wide_encoding(head)
        with open_bytes(path) as handle:
            if encoding:
                wrapped = io.TextIOWrapper(handle, encoding=encoding, errors="replace")
                yield from (Line(i, text.rstrip("\r\n")) for i, text in enumerate(wrapped, 1))
            else:
                yield from _byte_lines(handle, longest)
    except BROKEN as error:
        if isinstance(error, DataError):
            raise
        raise damaged(path, error) from error


def _byte_lines(handle: IO[bytes], longest: int) -> Iterator[Line]:
    number, skipping, pending = 1, False, b""
    while chunk := handle.read(CHUNK):
        parts = (pending + chunk).split(b"\n")
        pending = parts.pop()
        for raw in parts:
            too_long = skipping or len(raw) > longest
            yield Line(number, None) if too_long else _decode(number, raw)
            number, skipping = number + 1, False
        if len(pending) > longest:
            pending, skipping = b"", True
    if skipping:
        yield Line(number, None)
    elif pending:
        yield _decode(number, pending)


def _decode(number: int, raw: bytes) -> Line:
    raw = raw.removesuffix(b"\r")
    if number == 1:
        raw = raw.removeprefix(b"\xef\xbb\xbf")
    try:
        return Line(number, raw.decode("utf-8"))
    except UnicodeDecodeError:
        return Line(number, raw.decode("cp1252", "replace"), True)
