"""The files of a vector store: segments, which merge as they become many, the rows deleted, and the manifest over them.

    manifest.json        model, size, segments, next file number; swapped last, the only truth
    vectors-000007.npy   float32 (rows, dim)                           a segment
    int8-000007.npy      the same rows in 8 bits (`int8.py`)           beside a segment of `SIDECAR_ROWS` or more
    deleted-000009.npy   one bit a row, set for the rows deleted       the one that the manifest names

No file is changed after it is written. What the manifest does not name is worth nothing and is removed by the next writer.
"""

from __future__ import annotations

import contextlib
import mmap
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mumei.core.errors import ArtifactError
from mumei.core.files import TEMPORARY, atomic_open, read_json, sweep

if TYPE_CHECKING:
    import numpy as np

FORMAT = 2  # 1: no deletions, no check sums, no sidecars
CHUNK = 16_384  # rows written, checked or copied at once
SIDECAR_ROWS = 1024  # a smaller segment is scanned in float32: nothing to gain
FAN = 8  # this many segments of one tier become one of the next
TIER = 64  # tier t holds up to TIER * FAN ** (t + 1) rows
WHOLE = 32_768  # a segment of so many rows is never merged again
_FILE = re.compile(r"(?:vectors|int8|deleted)-\d{6,}\.npy")


@dataclass(frozen=True)
class Segment:
    """One segment, mapped: `rows` of the `stored` rows of its file are in use."""

    path: Path
    entry: dict[str, Any]
    vectors: np.ndarray
    mapping: mmap.mmap

    @property
    def sidecar(self) -> Path:
        """Where its 8-bit rows lie."""
        return self.path.with_name(self.path.name.replace("vectors-", "int8-"))

    def release(self, start: int, stop: int) -> None:
        """Give the memory of some rows back to the system; they are read again when they are needed."""
        width = self.vectors.shape[1] * 4
        offset = self.mapping.size() - self.entry["stored"] * width
        first = (offset + start * width) // mmap.PAGESIZE * mmap.PAGESIZE
        if hasattr(self.mapping, "madvise"):
            self.mapping.madvise(mmap.MADV_DONTNEED, first, offset + stop * width - first)


def read_manifest(path: Path) -> dict[str, Any]:
    """Read a manifest of this format or the one before; return it in this one."""
    try:
        manifest = read_json(path)
        known = manifest["format"] <= FORMAT
        segments = (
            [{"stored": s["rows"], "crc": None, "norm": None, **s} for s in manifest["segments"]] if known else []
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"no vector store at {path.parent}: its manifest.json is missing or damaged.") from error
    if not known:
        raise ArtifactError(f"{path} has format {manifest['format']}, this mumei reads up to {FORMAT}; update mumei.")
    return {"next": len(segments), "deleted": None, "content": None, **manifest, "segments": segments}


def map_array(path: Path, *, writable: bool = False) -> tuple[np.ndarray, mmap.mmap]:
    """Map a `.npy` file; `ValueError` if it is no such file or is cut short or too long.

    `writable` is for torch, which warns of arrays that are not; what is written there stays in this process.
    """
    import numpy as np

    with open(path, "rb") as handle:
        if np.lib.format.read_magic(handle) != (1, 0):
            raise ValueError("it has another version of the npy format")
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(handle)
        offset, count = handle.tell(), int(np.prod(shape))
        size, wanted = handle.seek(0, 2), offset + count * dtype.itemsize
        if size != wanted or fortran or dtype.hasobject:
            raise ValueError(f"it has {size:,} bytes where {wanted:,} belong")
        mapping = mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_COPY if writable else mmap.ACCESS_READ)
    return np.frombuffer(mapping, dtype, count, offset).reshape(shape), mapping


def map_segment(folder: Path, entry: dict[str, Any], dim: int, known: Sequence[Segment] = ()) -> Segment:
    """Map a segment that the manifest names, unless it is one of those `known`.

    Raises
    ------
    FileNotFoundError
        It is not there: perhaps merged since the manifest was read.
    ArtifactError
        It is damaged or cut short.
    """
    import numpy as np

    for segment in known:
        if segment.entry == entry:
            return segment
    path = folder / entry["file"]
    remedy = f"Restore it from a copy, or remove {folder} and make it again."
    try:
        array, mapping = map_array(path)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path} is damaged ({error}). {remedy}") from error
    if array.shape != (entry["stored"], dim) or array.dtype != np.float32:
        raise ArtifactError(f"{path} is {array.dtype} {array.shape}, not what the manifest says. {remedy}")
    return Segment(path, entry, array[: entry["rows"]], mapping)


def write_segment(path: Path, parts: Iterable[np.ndarray], rows: int, dim: int) -> dict[str, Any]:
    """Write float32 parts (m, dim), `rows` in all, as one segment; return its entry for the manifest."""
    import numpy as np

    crc, largest = 0, 0.0
    header = {"descr": "<f4", "fortran_order": False, "shape": (rows, dim)}
    with atomic_open(path) as handle:
        np.lib.format.write_array_header_1_0(handle, header)
        for part in parts:
            for chunk in chunks(part):
                largest = max(largest, largest_norm(chunk))
                crc = zlib.crc32(chunk.data, crc)
                handle.write(chunk.data.cast("B"))
    return {"file": path.name, "rows": rows, "stored": rows, "crc": crc, "norm": largest}


def chunks(array: np.ndarray, size: int = CHUNK) -> Iterator[np.ndarray]:
    """Yield views of at most `size` rows."""
    for start in range(0, len(array), size):
        yield array[start : start + size]


def largest_norm(vectors: np.ndarray) -> float:
    """Return the largest Euclidean length of rows (n, dim), rounded up."""
    import numpy as np

    squares = max((float(np.einsum("nd,nd->n", c, c, dtype=np.float64).max()) for c in chunks(vectors)), default=0.0)
    return squares**0.5 * (1 + 1e-9)


def to_merge(sizes: Sequence[int], rows: int) -> int:
    """Return how many of the last segments a new batch is merged with.

    Parameters
    ----------
    sizes : sequence of int
        Rows of the segments there are.
    rows : int
        Rows that come.

    Notes
    -----
    The tiers of a log-structured merge tree (O'Neil and others 1996), kept in order: when `FAN - 1` segments at the end are of
    the batch's tier or below, they and the batch become one segment. So a row is rewritten a few times at most, and there are at
    most about `FAN` segments a tier besides the whole ones.

    Examples
    --------
    >>> to_merge([1, 1, 1], 1), to_merge([1] * 7, 1), to_merge([100_000] * 20, 1)
    (0, 7, 0)
    >>> to_merge([100] * 7, 100), to_merge([600] * 7 + [100] * 7, 100)
    (7, 14)
    """
    count = 0
    while True:
        tier = _tier(rows)
        end = len(sizes) - count
        more = 0
        while more < end and sizes[end - 1 - more] < WHOLE and _tier(sizes[end - 1 - more]) <= tier:
            more += 1
        if rows >= WHOLE or more < FAN - 1:
            return count
        rows += sum(sizes[end - more : end])
        count += more


def _tier(rows: int) -> int:
    tier = 0
    while rows > TIER * FAN ** (tier + 1):
        tier += 1
    return tier


def write_deleted(path: Path, dead: np.ndarray) -> None:
    """Write which rows are deleted, bool (n,), as bits."""
    import numpy as np

    bits = np.packbits(dead)
    with atomic_open(path) as handle:
        np.lib.format.write_array_header_1_0(handle, {"descr": "|u1", "fortran_order": False, "shape": bits.shape})
        handle.write(bits.tobytes())


def read_deleted(folder: Path, name: str | None, rows: int) -> np.ndarray | None:
    """Return which of `rows` rows are deleted, bool (rows,), or None if none is."""
    import numpy as np

    if name is None:
        return None
    try:
        bits = np.array(map_array(folder / name)[0])
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        raise ArtifactError(
            f"{folder / name} is damaged ({error}): which rows were deleted is lost. Restore it from a copy, or remove "
            f"{folder} and make it again."
        ) from error
    dead = np.zeros(rows, dtype=bool)
    found = np.unpackbits(bits)[:rows].astype(bool)  # written when there were fewer rows, or as many
    dead[: len(found)] = found
    return dead


def litter(folder: Path, manifest: dict[str, Any]) -> bool:
    """Whether a crash, or a writer at work, left something in the folder."""
    return any(p.name.startswith(TEMPORARY) for p in folder.iterdir()) or bool(leftovers(folder, manifest))


def leftovers(folder: Path, manifest: dict[str, Any]) -> list[Path]:
    """Return the files of a store that its manifest does not name."""
    named = {manifest["deleted"], *(s["file"] for s in manifest["segments"])}
    named |= {str(name).replace("vectors-", "int8-") for name in named}
    return [p for p in folder.iterdir() if _FILE.fullmatch(p.name) and p.name not in named]


def clear(folder: Path, manifest: dict[str, Any] | None) -> None:
    """Remove what crashes left; for a writer who holds the folder. Without a manifest segments are left alone."""
    sweep(folder)
    for path in leftovers(folder, manifest) if manifest else []:
        with contextlib.suppress(OSError):  # open elsewhere on a system that forbids this: the next writer's work
            path.unlink()
