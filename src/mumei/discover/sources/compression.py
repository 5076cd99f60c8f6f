"""A file as the bytes inside it: gzip, bzip2, xz, zstd and zip are recognised by content and taken off layer by layer.

Streams are read forwards in pieces, so a large or hostile file costs time, not memory. A stream that ends early or
does not match its checksum raises `DataError`: half a collection must not pass for the whole.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import lzma
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any

from mumei.core.errors import DataError, MissingExtraError
from mumei.core.files import storage_error

_LAYERS = (
    (b"\x1f\x8b\x08", "gzip"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),
)
_SUFFIXES = (".gz", ".gzip", ".bz2", ".xz", ".zst", ".zstd", ".zip")
_DEEPEST = 3
_ZSTD_PIECE = 4096  # compressed bytes at once: zstd can blow one of them up to tens of megabytes, not more
_DAMAGED = (
    OSError,
    EOFError,
    zlib.error,
    lzma.LZMAError,
    zipfile.BadZipFile,
    RuntimeError,  # a zip member behind a password
    NotImplementedError,  # a zip method that Python lacks
    struct.error,
    ValueError,
)


class Blob:
    """One file as what is inside its compression.

    Parameters
    ----------
    path : Path
        The file.
    layers : tuple of str
        What to take off, outermost first.
    member : str
        The member of a zip.

    Attributes
    ----------
    name : str
        Lower-case name of the content, without compression suffixes.
    """

    def __init__(self, path: Path, layers: tuple[str, ...] = (), member: str = ""):
        self.path, self.layers, self.member = path, layers, member
        self.name = _inner_name(member or path.name)
        self.suffix = PurePosixPath(self.name).suffix

    @property
    def label(self) -> str:
        """What to add to a format's name: " (xz)", or nothing."""
        return f" ({', '.join(self.layers)})" if self.layers else ""

    @contextlib.contextmanager
    def open(self) -> Iterator[Guarded]:
        """Open the content for reading from its start."""
        with contextlib.ExitStack() as stack:
            stream: Any = stack.enter_context(open_raw(self.path))
            for layer in self.layers:
                try:
                    stream = stack.enter_context(_unwrap(layer, stream, self.member))
                except (*_DAMAGED, KeyError) as error:
                    raise damaged(self.path, layer, error) from error
            yield Guarded(stream, self.path, self.layers)

    def head(self, size: int = 1 << 16) -> bytes:
        """Return the first bytes of the content."""
        with self.open() as stream:
            return stream.read_full(size)

    @contextlib.contextmanager
    def seekable(self) -> Iterator[IO[bytes]]:
        """Open the content for random access; compressed content goes through a nameless temporary file."""
        if not self.layers:
            with open_raw(self.path) as handle:
                yield handle
            return
        with tempfile.TemporaryFile() as handle:
            with self.open() as stream:
                try:
                    while piece := stream.read(1 << 20):
                        handle.write(piece)
                except OSError as error:
                    raise storage_error(error, tempfile.gettempdir()) from error
            handle.seek(0)
            yield handle


class Guarded:
    """A forward-only stream that raises `DataError` where the bytes are damaged."""

    def __init__(self, stream: Any, path: Path, layers: tuple[str, ...]):
        self._stream, self._path, self._layers = stream, path, layers

    def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes, b"" at the end."""
        try:
            return self._stream.read(size)
        except _DAMAGED as error:
            raise damaged(self._path, self._layers[-1] if self._layers else "", error) from error

    def read_full(self, size: int) -> bytes:
        """Return `size` bytes, fewer only at the end."""
        pieces = []
        while size and (piece := self.read(size)):
            pieces.append(piece)
            size -= len(piece)
        return b"".join(pieces)


def open_raw(path: Path) -> IO[bytes]:
    """Open a file for reading; a refusal becomes a `DataError`."""
    try:
        return open(path, "rb")
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}. Check its name and permissions.") from error


def damaged(path: Path, layer: str, error: Exception) -> DataError:
    """Build the error for a stream that cannot be read to its end."""
    what = f"its {layer} compression is cut off, damaged or protected" if layer else "the disk refused"
    return DataError(f"cannot read {path}: {what} ({error}). Get the file again, or unpack it with another tool.")


def peel(path: Path) -> Blob:
    """Find out what compression a file is in.

    Raises
    ------
    DataError
        An archive of several files, an office document, or damaged compression.
    MissingExtraError
        A .zst file without the package zstandard.
    """
    blob = Blob(path)
    while (layer := _layer(blob.head(16))) and not is_npz(blob):
        if len(blob.layers) == _DEEPEST or (layer == "zip" and blob.layers):
            raise DataError(f"{path} is compressed in too many layers; unpack it first.")
        member = _only_member(path) if layer == "zip" else blob.member
        blob = Blob(path, (*blob.layers, layer), member)
    return blob


def is_npz(blob: Blob) -> bool:
    """Tell whether a file is a zip of NumPy arrays."""
    if blob.layers or not zipfile.is_zipfile(blob.path):
        return False
    names = _members(blob.path)
    return bool(names) and all(name.endswith(".npy") for name in names)


def _layer(head: bytes) -> str:
    for magic, layer in _LAYERS:
        if head.startswith(magic):
            return layer
    return "bz2" if head[:3] == b"BZh" and head[4:10] == b"1AY&SY" else ""


def _inner_name(name: str) -> str:
    name = name.lower()
    while name.endswith(_SUFFIXES):
        name = name[: name.rindex(".")]
    return name


def _members(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name and not name.endswith("/")]
    except _DAMAGED as error:
        raise damaged(path, "zip", error) from error
    return [n for n in names if not n.startswith("__MACOSX/") and not PurePosixPath(n).name.startswith(".")]


def _only_member(path: Path) -> str:
    names = _members(path)
    for folder, what in (
        ("xl/", "an Excel workbook; save the sheet as CSV"),
        ("word/", "a Word document; save it as text"),
    ):
        if any(name.startswith(folder) for name in names):
            raise DataError(f"{path} is {what} and give that.")
    if not names:
        raise DataError(f"{path} is an empty zip archive; there is nothing to read in it.")
    if len(names) > 1:
        shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
        raise DataError(
            f"{path} holds {len(names)} files ({shown}), one is allowed; unpack it and give the folder or a file."
        )
    return names[0]


def _unwrap(layer: str, stream: Any, member: str) -> Any:
    if layer == "gzip":
        return gzip.GzipFile(fileobj=stream, mode="rb")
    if layer == "bz2":
        return bz2.BZ2File(stream)
    if layer == "xz":
        return lzma.LZMAFile(stream)
    if layer == "zip":
        return _ZipMember(stream, member)
    return io.BufferedReader(_ZstdStream(stream), 1 << 20)


class _ZipMember:
    def __init__(self, stream: Any, member: str):
        self._archive = zipfile.ZipFile(stream)
        self._handle = self._archive.open(member)

    def read(self, size: int = -1) -> bytes:
        return self._handle.read(size)

    def __enter__(self) -> _ZipMember:
        return self

    def __exit__(self, *_: object) -> None:
        self._handle.close()
        self._archive.close()


class _ZstdStream(io.RawIOBase):
    """Frame after frame; unlike the package's own reader it notices a last frame that is cut off."""

    def __init__(self, stream: Any):
        try:
            import zstandard
        except ImportError as error:
            raise MissingExtraError("reading .zst files", "zstandard", "zstd") from error
        self._stream, self._package = stream, zstandard
        self._frame: Any = None
        self._waiting = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._waiting:
            piece = self._stream.read(_ZSTD_PIECE)
            if not piece:
                if self._frame is not None:
                    raise EOFError("the last frame is not complete")
                return 0
            self._waiting = memoryview(self._decompress(piece))
        size = min(len(buffer), len(self._waiting))
        buffer[:size] = self._waiting[:size]
        self._waiting = self._waiting[size:]
        return size

    def _decompress(self, piece: bytes) -> bytes:
        out = []
        try:
            while piece:
                if self._frame is None:
                    self._frame = self._package.ZstdDecompressor().decompressobj()
                out.append(self._frame.decompress(piece))
                piece = b""
                if self._frame.eof:
                    piece, self._frame = self._frame.unused_data, None
        except (self._package.ZstdError, MemoryError) as error:
            raise ValueError(str(error)) from error
        return b"".join(out)
