"""Files appear whole or not at all. Nobody else in mumei opens a file for writing.

A write goes to a temporary file in the same folder, is flushed to the disk (fsync), and is renamed over the target;
then the folder itself is flushed, so that the name survives a power cut too. A crash at any moment leaves the old file
or the new one, and perhaps a temporary file, which `sweep` removes at the next start. A folder cannot be renamed over a
full one: the old one steps aside (`replace_folder`) and, if a crash comes just then, `sweep` or `restore` puts it back.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from mumei.core.errors import StorageError

TEMPORARY = ".tmp-mumei-"  # unfinished: worth nothing after a crash
ASIDE = ".old-mumei-"  # the old content of a folder that is being replaced: the only copy between two renames


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


def about(error: OSError, path: Path | str) -> StorageError:
    """Return an error about `path`, whichever temporary file below or beside it the disk refused."""
    cause = error.__cause__ if isinstance(error, StorageError) else error
    return storage_error(cause, path) if isinstance(cause, OSError) else StorageError(str(error))


def make_folder(path: Path | str) -> Path:
    """Make a folder with its parents; raise `StorageError` with a remedy where that is refused."""
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise StorageError(
            f"cannot use {path} as a folder: a file of that name exists. Choose another path."
        ) from error
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
    # Only the end of a long name: with the whole of it the temporary name could pass the file system's limit of 255.
    temporary = path.with_name(f"{TEMPORARY}{secrets.token_hex(6)}-{path.name[-40:]}")
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
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    with atomic_path(path) as temporary:
        temporary.touch()
        mode = temporary.stat().st_mode
        try:
            save_file(_own_storage(tensors), temporary, metadata=metadata)
            temporary.chmod(mode)  # safetensors puts a file of its own there, which nobody else may read
        except SafetensorError as error:
            # safetensors reports what the disk said in its own exception class, as text: "... (os error 28)".
            number = re.search(r"os error (\d+)", str(error))
            if number is None:
                raise
            raise OSError(int(number[1]), os.strerror(int(number[1]))) from error


def _own_storage(tensors: dict[str, Any]) -> dict[str, Any]:
    """Make tensors contiguous and copy those that share memory (tied weights), which safetensors refuses."""
    seen: set[int] = set()
    out = {}
    for name, tensor in tensors.items():
        tensor = tensor.detach().contiguous()
        address = tensor.untyped_storage().data_ptr()
        out[name] = tensor.clone() if address in seen else tensor
        seen.add(address)
    return out


def sha256_file(path: Path | str) -> str:
    """Return the hex sha256 of a file's content."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


@contextlib.contextmanager
def whole_folder(target: Path | str) -> Iterator[Path]:
    """Yield a temporary folder beside `target`; on success flush it and put it in `target`'s place, else remove it.

    Raises
    ------
    StorageError
        The disk is full, read-only or forbidden; what was at `target` is still there.
    """
    target = Path(os.path.abspath(target))
    # Only the end of a long name, as in `atomic_path`.
    temporary = target.with_name(f"{TEMPORARY}{secrets.token_hex(6)}-{target.name[-40:]}")
    try:
        make_folder(target.parent)
        temporary.mkdir()
        yield temporary
        sync_tree(temporary)
        replace_folder(temporary, target)
    except StorageError:
        raise
    except OSError as error:
        raise storage_error(error, target) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def new_file(path: Path) -> IO[bytes]:
    """Open a file that must not exist yet for binary writing, within a `whole_folder`, which flushes it."""
    return open(path, "xb")


def sync_tree(folder: Path, limit: int = 64) -> None:
    """Flush a folder's files and entries to the disk; past `limit` files by one flush of everything (faster)."""
    files = [Path(root, name) for root, _, names in os.walk(folder) for name in names]
    if len(files) > limit and hasattr(os, "sync"):
        os.sync()
        return
    for file in files:
        with open(file, "rb+") as handle:
            os.fsync(handle.fileno())
    for root, _, _ in os.walk(folder):
        sync_folder(Path(root))


def replace_folder(new: Path, target: Path) -> None:
    """Put the folder `new` in the place of `target`, missing or full; at any moment one of both can be had.

    Raises
    ------
    OSError
        A rename was refused; the old content is under `target` again.
    """
    restore(target)
    old = _asides(target)
    for _ in range(100):
        aside = target.with_name(f"{ASIDE}{secrets.token_hex(6)}-{target.name}")
        with contextlib.suppress(FileNotFoundError):
            os.replace(target, aside)
            old.append(aside)
        try:
            os.replace(new, target)
            break
        except OSError as error:
            # Between the two renames a reader has put the old folder back (`restore`), or another writer its own.
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST) and target.exists():
                continue
            if aside.exists():
                os.replace(aside, target)
            raise
    else:
        raise OSError(errno.EBUSY, "other processes replace it all the time")
    sync_folder(target.parent)
    for path in old:
        shutil.rmtree(path, ignore_errors=True)


def restore(target: Path) -> None:
    """Finish a replacement that was cut between its two renames: put the old folder back under its name."""
    asides = [] if target.exists() else _asides(target)
    if asides:
        # The newest by its last entry: one that a crash kept from being removed may lie there too.
        with contextlib.suppress(OSError):
            os.replace(max(asides, key=lambda p: p.stat().st_mtime_ns), target)


def _asides(target: Path) -> list[Path]:
    """Return what stepped aside from `target`."""
    if not target.parent.is_dir():
        return []
    return [p for p in target.parent.iterdir() if _steps_aside_from(p.name) == target.name]


def _steps_aside_from(name: str) -> str:
    """Return the name that a folder stepped aside from, or an empty string."""
    found = re.fullmatch(re.escape(ASIDE) + r"[0-9a-f]{12}-(.+)", name, flags=re.DOTALL)
    return found[1] if found else ""


def sweep(folder: Path | str) -> int:
    """Remove what a killed process left directly in `folder`; return how many temporary files and folders were found.

    A folder that stepped aside and was never replaced is put back instead.
    """
    folder = Path(folder)
    if not folder.is_dir():
        return 0
    for path in list(folder.iterdir()):
        if name := _steps_aside_from(path.name):
            restore(folder / name)
    found = [p for p in folder.iterdir() if p.name.startswith(TEMPORARY) or _steps_aside_from(p.name)]
    for path in found:
        with contextlib.suppress(OSError):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    return len(found)
