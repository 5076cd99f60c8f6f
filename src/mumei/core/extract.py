"""Open a tar or zip archive without trusting it.

Every member is checked (its name, its kind, its size) and written by this module itself into a temporary folder beside
the target, which is renamed at the end: the target appears whole or not at all. Stricter on purpose than usual tools
are: a tar must carry its end mark (a cut one often reads well without it); sparse members, backslashes in names and zip
methods other than stored and deflate are refused; permissions, owners and dates of the archive are not kept.
"""

from __future__ import annotations

import bz2
import errno
import gzip
import io
import lzma
import os
import re
import secrets
import shutil
import stat
import struct
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Any

from mumei.core.errors import DataError, MumeiError, UsageError
from mumei.core.files import TEMPORARY, make_folder, new_file, storage_error, sync_folder

CHUNK = 1 << 20  # bytes per read and write
FREE = 10_000_000  # the ratio limit starts after this many bytes
LARGEST_READ = 4 << 20  # tar headers are read in one piece: none may ask for more memory than this
BROKEN = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, struct.error, EOFError, ValueError, LookupError),
    *(lzma.LZMAError, OverflowError, TypeError, AttributeError, RuntimeError, MemoryError),
)


@dataclass
class _Limits:
    """Counts what came out of the archive and says stop."""

    max_bytes: int
    max_files: int
    max_ratio: float
    packed: int  # size of the archive file in bytes
    members: int = 0
    written: int = 0
    seen: dict[str, tuple[str, str]] = field(default_factory=dict)  # folded name -> (spelling, kind)

    def check_bytes(self, count: int) -> None:
        if count > self.max_bytes:
            raise DataError(f"it unpacks to more than {self.max_bytes:,} bytes, the limit (max_bytes)")
        self.check_ratio(count)

    def check_ratio(self, count: int) -> None:
        if count > FREE and count > self.max_ratio * max(self.packed, 1):
            raise DataError(f"it unpacks to more than {self.max_ratio} times its own size, the limit (max_ratio)")

    def add_member(self) -> None:
        self.members += 1
        if self.members > self.max_files:
            raise DataError(f"it has more than {self.max_files:,} members, the limit (max_files)")

    def add_name(self, path: PurePosixPath, kind: str) -> None:
        """Register a member and its parent folders; refuse a name given twice, also where only the case differs."""
        for parent in reversed(path.parents[:-1]):
            self._register(parent, "implied")
        self._register(path, kind)

    def _register(self, path: PurePosixPath, kind: str) -> None:
        key = unicodedata.normalize("NFC", str(path)).casefold()
        spelling, old = self.seen.get(key, (str(path), "implied"))
        if spelling != str(path):
            raise DataError(f"the names {spelling!r} and {str(path)!r} collide where upper and lower case are the same")
        if ("file" in (kind, old) and key in self.seen) or (kind == old == "folder"):
            raise DataError(f"the name {str(path)!r} occurs twice")
        self.seen[key] = (spelling, old if kind == "implied" else kind)


class _Guard:
    """A read-only view of a decompressed tar stream: it only moves forward, in bounded steps, within the limits.

    This stops headers that ask for gigabytes of memory and negative sizes that would make a reader loop for ever.
    """

    def __init__(self, stream: Any, limits: _Limits):
        self.stream, self.limits, self.last = stream, limits, b""

    def tell(self) -> int:
        return self.stream.tell()

    def seek(self, position: int, whence: int = 0) -> int:
        # tarfile steps back one byte before each header and never further in an honest archive.
        if whence != 0 or position < self.stream.tell() - 1:
            raise DataError("a header points backwards")
        while (missing := position - self.stream.tell()) > 0:
            if not self.read(min(missing, CHUNK)):
                raise DataError("it ends in the middle of a member")
        return self.stream.seek(position)

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= LARGEST_READ:
            raise DataError("a header declares an impossible size")
        try:
            self.last = self.stream.read(size)
        except OSError as error:
            if error.errno:  # a real fault of the disk; decompressors leave it empty
                raise
            raise DataError(str(error)) from error
        self.limits.check_ratio(self.stream.tell())
        return self.last


class _Archive(io.BufferedReader):
    """The archive file; a place before its beginning, which damaged directories of a zip name, is no fault of the disk."""

    def seek(self, target: int, whence: int = 0, /) -> int:
        try:
            return super().seek(target, whence)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            raise DataError("a header points out of the file") from error


def safe_extract(
    archive: Path | str,
    folder: Path | str,
    *,
    max_bytes: int = 20_000_000_000,
    max_files: int = 100_000,
    max_ratio: float = 200,
) -> Path:
    """Unpack a tar (plain, gzip, bzip2, xz) or zip archive, or a single compressed file, into a new folder.

    Parameters
    ----------
    archive : path
        The archive; its kind is told from its first bytes. What is no tar in a `.gz`, `.bz2` or `.xz` is a single file,
        called as the archive without that ending.
    folder : path
        Where to unpack: must not exist, or be an empty folder. Parents are made.
    max_bytes : int
        At most this many bytes unpacked, in all.
    max_files : int
        At most this many members, folders included.
    max_ratio : float
        Unpacked bytes over archive bytes, checked once 10 MB came out.

    Returns
    -------
    Path
        `folder`.

    Raises
    ------
    UsageError
        `folder` is a file or not empty.
    DataError
        The archive is broken, encrypted, over a limit, or has a member that is not a plain file or folder with a
        relative, unique name. Nothing is left in `folder`.
    StorageError
        The disk refused; nothing is left in `folder`.
    """
    archive, folder = Path(archive), Path(folder)
    if not archive.is_file():
        raise DataError(f"cannot unpack {archive}: there is no such file. Check the path.")
    temporary = folder.with_name(f"{TEMPORARY}{secrets.token_hex(6)}-{folder.name}")
    try:
        if os.path.lexists(folder) and (not folder.is_dir() or any(folder.iterdir())):
            raise UsageError(f"cannot unpack into {folder}: it exists and is not an empty folder. Choose a new one.")
        limits = _Limits(max_bytes, max_files, max_ratio, archive.stat().st_size)
        make_folder(folder.parent)
        temporary.mkdir()
        _unpack(archive, temporary, limits)
        if folder.exists():
            folder.rmdir()
        os.replace(temporary, folder)
        sync_folder(folder.parent)
    except OSError as error:
        if isinstance(error, MumeiError):
            raise
        raise storage_error(error, folder) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _unpack(archive: Path, folder: Path, limits: _Limits) -> None:
    """Write all members below `folder`; everything that is wrong with the archive becomes `DataError`."""
    try:
        with _Archive(open(archive, "rb", buffering=0)) as handle:
            start = handle.read(6)
            handle.seek(0)
            if start[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
                _unpack_zip(handle, folder, limits)
            else:
                with _decompressed(handle, start) as stream:
                    guard = _Guard(stream, limits)
                    if stream is not handle and (name := _single_name(archive)) and not _starts_as_tar(stream):
                        limits.add_member()
                        _write(guard, None, folder, _plain_name(name, False), limits)
                    else:
                        _unpack_tar(guard, folder, limits)
    except BROKEN as error:
        if isinstance(error, MumeiError) and not isinstance(error, DataError):
            raise
        raise DataError(
            f"cannot unpack {archive}: {error or type(error).__name__}. "
            "Expected a sound tar (.gz, .bz2, .xz) or zip archive; get it again and check its sha256."
        ) from error


def _decompressed(handle: IO[bytes], start: bytes) -> Any:
    """Return the stream inside a gzip, bzip2 or xz file, or the file itself."""
    if start[:2] == b"\x1f\x8b":
        return gzip.GzipFile(fileobj=handle)
    if start[:3] == b"BZh":
        return bz2.BZ2File(handle)
    if start == b"\xfd7zXZ\x00":
        return lzma.LZMAFile(handle)
    return handle


def _single_name(archive: Path) -> str:
    """Return the name of the one file that a `.gz`, `.bz2` or `.xz` may hold, or "" where the name says otherwise."""
    stem, dot, suffix = archive.name.rpartition(".")
    single = dot and suffix.lower() in ("gz", "bz2", "xz") and not stem.lower().endswith(".tar")
    return stem if single else ""


def _starts_as_tar(stream: Any) -> bool:
    """Say whether the first block is a tar header, by its checksum: old archives carry no other mark."""
    try:
        block = stream.read(tarfile.BLOCKSIZE)
    except OSError as error:
        if error.errno:
            raise
        raise DataError(str(error)) from error
    stream.seek(0)
    try:
        tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.TarError, ValueError):
        return False
    return True


def _unpack_tar(guard: _Guard, folder: Path, limits: _Limits) -> None:
    stream: Any = guard
    with tarfile.open(fileobj=stream, mode="r:") as tar:
        for member in tar:
            limits.add_member()
            path = _plain_name(member.name, member.isdir())
            if member.isdir():
                _make(folder, path, limits)
                continue
            if not member.isreg() or member.issparse() or member.size < 0:
                raise DataError(f"{member.name!r} is not a plain file or folder (a link, a device or a sparse file)")
            limits.check_bytes(limits.written + member.size)
            source = tar.extractfile(member)
            if source is None:
                raise DataError(f"{member.name!r} has no content")
            with source:
                _write(source, member.size, folder, path, limits)
    if guard.last != bytes(tarfile.BLOCKSIZE):
        raise DataError("it has no end mark: it was cut or damaged")
    for _ in iter(lambda: guard.read(CHUNK), b""):  # reach the end, so that the checksum of the compression is verified
        pass


def _unpack_zip(handle: IO[bytes], folder: Path, limits: _Limits) -> None:
    with zipfile.ZipFile(handle) as packed:
        for info in packed.infolist():
            limits.add_member()
            _check_zip_member(info)
            path = _plain_name(info.filename, info.is_dir())
            if info.is_dir():
                _make(folder, path, limits)
                continue
            limits.check_bytes(limits.written + info.file_size)
            with packed.open(info) as source:
                _write(source, info.file_size, folder, path, limits)


def _check_zip_member(info: zipfile.ZipInfo) -> None:
    if info.flag_bits & 0x1:
        raise DataError(f"{info.filename!r} is encrypted; unpack the archive yourself, with its password")
    if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise DataError(f"{info.filename!r} is not a plain file or folder (a link or a device)")
    # The standard library bounds the memory of one step for these two methods only.
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise DataError(f"{info.filename!r} is packed with method {info.compress_type}; allowed: stored, deflate")
    if "\0" in info.orig_filename:
        raise DataError(f"the name {info.orig_filename!r} holds a zero byte")


def _plain_name(name: str, is_folder: bool) -> PurePosixPath:
    """Return the relative path of a member, or raise `DataError`."""
    path = PurePosixPath(name)
    if path.is_absolute() or re.match(r"[A-Za-z]:", name):
        raise DataError(f"the name {name!r} is absolute")
    if ".." in path.parts:
        raise DataError(f"the name {name!r} leads out of the folder ('..')")
    if not name or "\\" in name or any(ord(letter) < 32 for letter in name) or not (path.parts or is_folder):
        raise DataError(f"the name {name!r} is empty or holds a backslash or a control character")
    if len(os.fsencode(name)) > 1000 or any(len(os.fsencode(part)) > 255 for part in path.parts):
        raise DataError(f"the name {name[:60]!r}... is too long")
    return path


def _make(folder: Path, path: PurePosixPath, limits: _Limits) -> None:
    if path.parts:  # the entry "./" is the target itself
        limits.add_name(path, "folder")
        (folder / path).mkdir(parents=True, exist_ok=True)


def _write(source: Any, size: int | None, folder: Path, path: PurePosixPath, limits: _Limits) -> None:
    """Copy one member, of `size` bytes where declared, to a new file, within the limits, and flush it to the disk."""
    limits.add_name(path, "file")
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    start = limits.written
    with new_file(folder / path) as target:
        for block in _blocks(source):
            limits.written += len(block)
            limits.check_bytes(limits.written)
            target.write(block)
        target.flush()
        os.fsync(target.fileno())
    if size is not None and limits.written - start != size:
        raise DataError(f"{str(path)!r} holds {limits.written - start:,} bytes, declared {size:,}")


def _blocks(source: Any) -> Iterator[bytes]:
    while block := source.read(CHUNK):
        yield block
