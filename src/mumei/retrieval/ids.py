"""From a document's id to its row, in bounded memory: sorted 64-bit hashes of the ids, mapped from the disk.

A run is one file, `ids-*.npy` of shape (2, n): hashes in ascending order, and their rows. Rows of runs follow one another, and
the newest rows wait in memory until there are enough of them. Two runs of about one size are merged, so that there are few.
Equal hashes may belong to different ids, and an id has a row for each time it changed: the caller reads the ids of the candidates
and leaves out rows that were deleted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mumei.core.errors import ArtifactError
from mumei.core.files import atomic_path, sha256_file

if TYPE_CHECKING:
    import numpy as np

RUN = 4096  # rows that wait in memory before they are worth a file
CHUNK = 1 << 20  # entries merged at once


def hash_ids(ids: Sequence[str]) -> np.ndarray:
    """Return a 64-bit hash of each id, (n,) uint64."""
    import numpy as np

    digests = b"".join(hashlib.blake2b(name.encode(), digest_size=8).digest() for name in ids)
    return np.frombuffer(digests, dtype="<u8").astype(np.uint64)


class IdIndex:
    """Hashes of ids and their rows. It does not change: `extended`, `written` and `merged` return a new one.

    Parameters
    ----------
    folder : Path
    runs : sequence of dict
        `file`, `rows`, `bytes`, `sha256` of each run, in order of their rows.
    waiting : ndarray (m,), uint64
        Hashes of the rows after those of the runs.
    """

    def __init__(self, folder: Path, runs: Sequence[dict[str, Any]] = (), waiting: np.ndarray | None = None):
        import numpy as np

        self.folder, self.runs = folder, list(runs)
        self.covered = sum(run["rows"] for run in self.runs)
        self._waiting = np.empty(0, dtype=np.uint64) if waiting is None else waiting

    def __len__(self) -> int:
        return self.covered + len(self._waiting)

    @cached_property
    def _open(self) -> list[np.ndarray]:
        return [self._map(run) for run in self.runs]

    @cached_property
    def _sorted(self) -> np.ndarray:
        """The waiting rows as a run."""
        import numpy as np

        order = np.argsort(self._waiting, kind="stable")
        return np.stack([self._waiting[order], order.astype(np.uint64) + np.uint64(self.covered)])

    def _map(self, run: dict[str, Any]) -> np.ndarray:
        import numpy as np

        path = self.folder / run["file"]
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise ArtifactError(
                f"{path} cannot be read ({error}); rebuild() of the collection makes it anew."
            ) from error
        if array.shape != (2, run["rows"]) or array.dtype != np.uint64:
            raise ArtifactError(f"{path} is not what was written; rebuild() of the collection makes it anew.")
        return np.asarray(array)

    def candidates(self, hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return (which, rows): `rows[i]` has the hash `hashes[which[i]]`; a hash may have no row or several."""
        import numpy as np

        which, rows = [], []
        for run in [*self._open, self._sorted]:
            left, right = np.searchsorted(run[0], hashes, "left"), np.searchsorted(run[0], hashes, "right")
            counts = right - left
            found = np.repeat(np.arange(len(hashes)), counts)
            offset = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
            which.append(found)
            rows.append(run[1][left[found] + offset].astype(np.int64))
        return np.concatenate(which), np.concatenate(rows)

    def extended(self, hashes: np.ndarray) -> IdIndex:
        """Return the index with rows added at its end."""
        import numpy as np

        other = IdIndex(self.folder, self.runs, np.concatenate([self._waiting, hashes]))
        other.__dict__.update({k: v for k, v in self.__dict__.items() if k == "_open"})  # the maps are the same
        return other

    def written(self, name: Callable[[], str], least: int = RUN) -> IdIndex:
        """Return the index with its waiting rows in a file, if there are at least so many; runs of one size are merged.

        `name()` gives the next unused file name.
        """
        if len(self._waiting) < max(least, 1):
            return self
        runs = [*self.runs, _write(self.folder / name(), [self._sorted])]
        while len(runs) > 1 and runs[-1]["rows"] * 2 > runs[-2]["rows"]:
            pair = [self._map(run) for run in runs[-2:]]
            runs[-2:] = [_write(self.folder / name(), pair)]
        return IdIndex(self.folder, runs)


def _write(path: Path, runs: list[np.ndarray]) -> dict[str, Any]:
    """Write the entries of sorted runs as one sorted run, a range of hashes at a time."""
    import numpy as np

    total = sum(run.shape[1] for run in runs)
    largest = max(runs, key=lambda run: run.shape[1])[0]
    borders = [*largest[CHUNK::CHUNK].tolist(), None]  # the largest run in equal pieces, the others as they fall
    with atomic_path(path) as temporary:
        out = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.uint64, shape=(2, total))
        starts, at = [0] * len(runs), 0
        for border in borders:
            ends = [run.shape[1] if border is None else int(np.searchsorted(run[0], np.uint64(border))) for run in runs]
            piece = np.concatenate([run[:, a:b] for run, a, b in zip(runs, starts, ends, strict=True)], axis=1)
            # Among equal hashes rows ascend: the runs come in order of their rows.
            out[:, at : at + piece.shape[1]] = piece[:, np.argsort(piece[0], kind="stable")]
            starts, at = ends, at + piece.shape[1]
        out.flush()
        del out
    return {"file": path.name, "rows": total, "bytes": path.stat().st_size, "sha256": sha256_file(path)}
