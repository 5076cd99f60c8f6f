"""Vectors on disk as memory-mapped float32 segments, searched exactly.

A segment is one `.npy` file; `manifest.json` lists the segments and names what made the vectors. `append` writes the
segment first and the manifest last, so that a crash at any moment leaves the store as it was before or after. Search is an
inner product in blocks with a running top k: one block of scores is in memory, never the whole matrix.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mumei.core.errors import ArtifactError, DataError, UsageError
from mumei.core.files import atomic_open, make_folder, read_json, sweep, write_json

if TYPE_CHECKING:
    import numpy as np

BLOCK = 16_384  # rows scored at once
FORMAT = 1


class VectorStore:
    """Float32 vectors of one model, in order of their rows.

    Parameters
    ----------
    folder : path
        Where the segments lie; made if missing.
    model : str
        What makes the vectors. A store of another model is refused: vectors of two models cannot be compared.
    dim : int
        Length of a vector.

    Raises
    ------
    ArtifactError
        The folder holds vectors of another model or size, or is damaged.
    """

    def __init__(self, folder: Path | str, model: str, dim: int):
        self.folder = make_folder(folder)
        self.model, self.dim = model, dim
        self._segments: list[dict[str, Any]] = []
        self._open: list[np.ndarray] = []
        sweep(self.folder)
        if self._manifest.exists():
            self._read()

    @classmethod
    def open(cls, folder: Path | str) -> VectorStore:
        """Open an existing store, whatever made it."""
        manifest = _read_manifest(Path(folder) / "manifest.json")
        return cls(folder, manifest["model"], manifest["dim"])

    @property
    def _manifest(self) -> Path:
        return self.folder / "manifest.json"

    def _read(self) -> None:
        manifest = _read_manifest(self._manifest)
        if (manifest["model"], manifest["dim"]) != (self.model, self.dim):
            raise ArtifactError(
                f"{self.folder} holds vectors of {manifest['model']} ({manifest['dim']} numbers each), not of {self.model} "
                f"({self.dim}); vectors of two models cannot be mixed. Use another folder or the same model."
            )
        self._segments = manifest["segments"]
        self._open = [self._map(segment) for segment in self._segments]

    def _map(self, segment: dict[str, Any]) -> np.ndarray:
        import numpy as np

        path = self.folder / segment["file"]
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise ArtifactError(f"{path} cannot be read ({error}); remove {self.folder} and run again.") from error
        if array.shape != (segment["rows"], self.dim) or array.dtype != np.float32:
            raise ArtifactError(
                f"{path} is {array.dtype} {array.shape}, not what the manifest says; remove {self.folder}."
            )
        return array

    def __len__(self) -> int:
        return sum(segment["rows"] for segment in self._segments)

    def append(self, vectors: np.ndarray) -> None:
        """Add rows (n, dim); they are on the disk, whole, when this returns.

        Raises
        ------
        DataError
            The shape is wrong or a value is not finite; nothing was added.
        """
        import numpy as np

        vectors = np.ascontiguousarray(vectors, dtype=np.float32)
        if vectors.ndim != 2 or vectors.shape[1] != self.dim:
            raise DataError(f"vectors of shape {vectors.shape} do not fit this store; give (n, {self.dim}).")
        if not np.isfinite(vectors).all():
            row = int(np.flatnonzero(~np.isfinite(vectors).all(axis=1))[0])
            raise DataError(f"vector {row} has a value that is NaN or infinite; the store takes finite numbers only.")
        if not len(vectors):
            return
        segment = {"file": f"vectors-{len(self._segments):06d}.npy", "rows": len(vectors)}
        with atomic_open(self.folder / segment["file"]) as handle:
            np.save(handle, vectors, allow_pickle=False)
        self._segments = [*self._segments, segment]
        write_json(self._manifest, {"format": FORMAT, "model": self.model, "dim": self.dim, "segments": self._segments})
        self._open.append(self._map(segment))

    def blocks(self, size: int = BLOCK) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (first row, block (m, dim)) in order; blocks are views of the disk, at most `size` rows each."""
        first = 0
        for array in self._open:
            for start in range(0, len(array), size):
                yield first + start, array[start : start + size]
            first += len(array)

    def rows(self, wanted: Any) -> np.ndarray:
        """Return the vectors (n, dim) of some row numbers, in the order given."""
        import numpy as np

        wanted = np.asarray(wanted, dtype=np.int64)
        if wanted.size and (wanted.min() < 0 or wanted.max() >= len(self)):
            raise UsageError(f"row numbers from {wanted.min()} to {wanted.max()} were asked of {len(self)} rows.")
        out = np.empty((len(wanted), self.dim), dtype=np.float32)
        first = 0
        for array in self._open:
            here = np.flatnonzero((wanted >= first) & (wanted < first + len(array)))
            out[here] = array[wanted[here] - first]
            first += len(array)
        return out

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Find the k rows with the largest inner product with each query, exactly.

        Parameters
        ----------
        queries : ndarray (m, dim)
        k : int
            At most `len(self)` rows are returned.

        Returns
        -------
        rows : ndarray (m, min(k, n)), int64
            Best first; equal scores by row number.
        scores : ndarray (m, min(k, n)), float32
        """
        import numpy as np

        queries = np.ascontiguousarray(queries, dtype=np.float32)
        if queries.ndim != 2 or queries.shape[1] != self.dim:
            raise DataError(f"queries of shape {queries.shape} do not fit this store; give (m, {self.dim}).")
        if k < 1:
            raise UsageError(f"k={k} is not allowed; give 1 or more.")
        rows = np.empty((len(queries), 0), dtype=np.int64)
        scores = np.empty((len(queries), 0), dtype=np.float32)
        for first, block in self.blocks(BLOCK):
            here = queries @ block.T  # (m, block)
            best = _top(here, k)
            rows = np.concatenate([rows, best + first], axis=1)
            scores = np.concatenate([scores, np.take_along_axis(here, best, 1)], axis=1)
            # Sorted anew for each block, so that equal scores at the border are won by the lower row number.
            keep = np.lexsort((rows, -scores), axis=1)[:, :k]
            rows, scores = np.take_along_axis(rows, keep, 1), np.take_along_axis(scores, keep, 1)
        return rows, scores


def _top(scores: np.ndarray, k: int) -> np.ndarray:
    """Return the columns of the k largest values of each row; among equal values the leftmost win. Order unspecified."""
    import numpy as np

    if scores.shape[1] <= k:
        return np.broadcast_to(np.arange(scores.shape[1]), scores.shape)
    chosen = np.argpartition(-scores, k - 1, axis=1)[:, :k]
    # argpartition breaks ties at the border anyhow: redo such rows, so that results do not depend on the blocks.
    border = np.take_along_axis(scores, chosen, 1).min(axis=1, keepdims=True)
    tied = np.flatnonzero(
        (scores == border).sum(axis=1) > (np.take_along_axis(scores, chosen, 1) == border).sum(axis=1)
    )
    for i in tied:
        chosen[i] = np.argsort(-scores[i], kind="stable")[:k]
    return chosen


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        manifest = read_json(path)
        known = manifest["format"] <= FORMAT
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"no vector store at {path.parent}: its manifest.json is missing or damaged.") from error
    if not known:
        raise ArtifactError(f"{path} has format {manifest['format']}, this mumei reads up to {FORMAT}; update mumei.")
    return manifest
