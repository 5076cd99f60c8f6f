"""Files appear whole or not at all. Nobody else in mumei opens a file for writing.

A write goes to a temporary file in the same folder, is flushed to the disk (fsync), and is renamed over the target; then the
folder itself is flushed, so that the name survives a power cut too. A crash at any moment leaves the old file or the new
one, and perhaps a temporary file, which `sweep` removes at the next start.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from mumei.core.errors import StorageError

TEMPORARY = ".tmp-mumei-"


def storage_error(error: OSError, path: Path | str) -> StorageError:
    """Turn an `OSError` into a message that says what to do."""
    reasons = {
        errno.ENOSPC: "the disk is full; free some space and run the same command again, it continues where it stopped",
        errno.EDQUOT: "your disk quota is used up; free some space and run the same command again",
        errno.EROFS: "the file system is read-only; choose another output folder with --out",
        errno.EACCES: "no permission to write there; choose another output folder with --out",
        errno.EPERM: "no permission to write there; choose another output folder with --out",
        errno.ENOTDIR: "a part of this path is a file, not a folder; choose another output folder with --out",
        errno.EISDIR: "this path is a folder where a file is expected",
    }
    return StorageError(f"cannot write {path}: {reasons.get(error.errno or 0, error.strerror or str(error))}.")


def make_folder(path: Path | str) -> Path:
    """Make a folder with its parents; raise `StorageError` with a remedy where that is refused."""
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise StorageError(f"cannot use {path} as a folder: a file of that name exists. Choose another path.") from error
    except OSError as error:
        raise storage_error(error, path) from error
    return path


def sync_folder(path: Path) -> None:
    """Flush a folder's entries to the disk (a no-op where the platform cannot)."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success flush it and rename it to `path`, on any failure remove it.

    Parameters
    ----------
    path : path
        The final name. Its folder must exist.

    Raises
    ------
    StorageError
        The disk is full, read-only or forbidden; nothing was changed.
    """
    path = Path(path)
    temporary = path.with_name(f"{TEMPORARY}{secrets.token_hex(6)}-{path.name}")
    try:
        yield temporary
        with open(temporary, "rb+") as handle:
            os.fsync(handle.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    except OSError as error:
        if isinstance(error, StorageError):
            raise
        raise storage_error(error, path) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_open(path: Path | str, mode: str = "wb", **options: Any) -> Iterator[IO[Any]]:
    """Open `path` for writing so that it appears whole or not at all (`mode` is "wb" or "w")."""
    if mode == "w":
        options = {"encoding": "utf-8", "newline": "\n", **options}
    with atomic_path(path) as temporary, open(temporary, mode, **options) as handle:
        yield handle


def write_bytes(path: Path | str, content: bytes) -> None:
    """Write bytes so that the file appears whole or not at all."""
    with atomic_open(path) as handle:
        handle.write(content)


def write_text(path: Path | str, content: str) -> None:
    """Write UTF-8 text so that the file appears whole or not at all."""
    write_bytes(path, content.encode("utf-8"))


def write_json(path: Path | str, content: Any) -> None:
    """Write indented JSON with sorted keys, so that equal content gives equal bytes."""
    import json

    write_text(path, json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path | str) -> Any:
    """Read a JSON file."""
    import json

    return json.loads(Path(path).read_bytes())


def write_table(path: Path | str, table: Any) -> None:
    """Write an Arrow table as Parquet (zstd) so that it appears whole or not at all."""
    import pyarrow.parquet as pq

    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def write_tensors(path: Path | str, tensors: dict[str, Any], metadata: dict[str, str] | None = None) -> None:
    """Write torch tensors as safetensors so that the file appears whole or not at all."""
    from safetensors.torch import save_file

    with atomic_path(path) as temporary:
        try:
            save_file({k: v.detach().contiguous() for k, v in tensors.items()}, temporary, metadata=metadata)
        except Exception as error:
            # safetensors reports a full disk as its own exception class: recognise it by its text.
            if "No space left" in str(error):
                raise storage_error(OSError(errno.ENOSPC, "no space"), path) from error
            raise


def sha256_file(path: Path | str) -> str:
    """Return the hex sha256 of a file's content."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def sweep(folder: Path | str) -> int:
    """Remove temporary files and folders that a killed process left directly in `folder`; return how many."""
    found = list(Path(folder).glob(f"{TEMPORARY}*"))
    for path in found:
        with contextlib.suppress(OSError):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    return len(found)
