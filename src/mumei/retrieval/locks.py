"""Who may use a folder: one writer at a time, any number of readers, and old files go only when nobody reads them.

`.lock` is held by the writer, `.readers` is shared by all who have the folder open. Both are advisory locks (flock), so a
dead process holds none. Where the system has no flock, two writers are the user's to avoid.
"""

from __future__ import annotations

import contextlib
import os
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mumei.core.errors import MumeiError
from mumei.core.files import new_file, storage_error

WRITER, READERS = ".lock", ".readers"


class BusyError(MumeiError, RuntimeError):
    """Another process is writing to the folder."""


def _flock() -> Any:
    try:
        import fcntl
    except ImportError:  # a platform without flock
        return None
    return fcntl


def make_locks(folder: Path) -> None:
    """Make the two files that are locked, if they are not there."""
    for name in (WRITER, READERS):
        try:
            with contextlib.suppress(FileExistsError):  # made by another process just now
                new_file(folder / name).close()
        except OSError as error:
            raise storage_error(error, folder / name) from error


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Hold the folder for writing; a second writer gets `BusyError`."""
    fcntl = _flock()
    make_locks(folder)
    with open(folder / WRITER, "rb") as handle:
        if fcntl is not None:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise BusyError(
                    f"another process is writing to {folder}; wait until it is done, or choose another folder."
                ) from error
        yield


class Reader:
    """A share in the folder: while it lives, no writer removes files that an earlier state names."""

    def __init__(self, folder: Path):
        self._descriptor: int | None = None
        fcntl = _flock()
        if fcntl is None:
            return
        try:
            self._descriptor = os.open(folder / READERS, os.O_RDONLY)
        except OSError:  # a copy without the file, which nobody writes to
            return
        fcntl.flock(self._descriptor, fcntl.LOCK_SH)  # a writer holds it for moments only
        self._close = weakref.finalize(self, os.close, self._descriptor)

    def alone(self) -> bool:
        """Whether nobody else reads, this moment: for the writer, who asks before it removes files within `exclusive`."""
        with self.exclusive() as yes:
            return yes

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[bool]:
        """Keep other readers out if there are none; yields whether that was so."""
        fcntl = _flock()
        if fcntl is None or self._descriptor is None:
            yield True
            return
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            alone = True
        except OSError:
            alone = False
        try:
            yield alone
        finally:
            # A refused change may have lost the share: take it again. Only the one writer ever excludes: no wait.
            fcntl.flock(self._descriptor, fcntl.LOCK_SH)

    def close(self) -> None:
        """Give the share back."""
        if self._descriptor is not None:
            self._close()
            self._descriptor = None
