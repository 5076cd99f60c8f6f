"""Freed memory is kept for the next step while a training runs, instead of being given back to the system and asked for again.

The gradients of a network of some megabytes are freed and made anew at each step. glibc gives blocks of that size back to the
system at once, and each page of the next ones is then a page fault: 6 % of a step's forward and backward pass through a
784-500-500-2000-10 autoencoder on one core (batches of 256), measured on Emerald Rapids. The numbers are the same to the bit.
Where the C library has no `mallopt` (musl, macOS, Windows) nothing is done.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import threading
from collections.abc import Iterator
from typing import Any

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
LARGEST = 32 << 20  # glibc takes no larger threshold for its own mappings
KEPT = 1 << 30  # bytes that are kept at the heap's top
USUAL = 128 << 10  # glibc's own first value for both
_lock = threading.Lock()
_running = 0


@functools.cache
def _libc() -> Any:
    """Return the C library, or None where it has not glibc's `mallopt` and `malloc_trim`."""
    try:
        found = ctypes.CDLL(None)
        return found if found.mallopt and found.malloc_trim else None
    except (OSError, AttributeError, TypeError):
        return None


@contextlib.contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Keep freed memory within the context; at the end of the outermost one what is free goes back to the system.

    Examples
    --------
    >>> with freed_memory_kept():
    ...     sum(range(3))
    3
    """
    global _running
    with _lock:
        _running += 1
        if _running == 1:
            _set(LARGEST, KEPT)
    try:
        yield
    finally:
        with _lock:
            _running -= 1
            if _running == 0:
                _set(USUAL, USUAL)
                if (libc := _libc()) is not None:
                    libc.malloc_trim(0)


def _set(mapped: int, kept: int) -> None:
    libc = _libc()
    if libc is not None:
        libc.mallopt(M_MMAP_THRESHOLD, mapped)
        libc.mallopt(M_TRIM_THRESHOLD, kept)
