"""Numeric tables as vectors: scaled columns, and for wide tables their leading principal components.

Three steps, each said aloud in `described`: counts (non-negative whole numbers, mostly zeros) are scaled to one library size
a row and log1p'd, as is usual for cells by genes; columns are standardised, constant ones dropped, extremes cut at 10 standard
deviations; above `WIDE` columns the `VARIABLE` most variable are kept and projected on `COMPONENTS` components.
All statistics come from passes over blocks of rows, so the table is never in memory as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from mumei.core.errors import DataError

if TYPE_CHECKING:
    import numpy as np

WIDE = 100
VARIABLE = 2000
COMPONENTS = 50
SAMPLE = 20_000
LIMIT = 10.0

Blocks = Callable[[], Iterator["np.ndarray"]]


class TableEncoder:
    """Learns the scaling from a table's blocks, then turns blocks into vectors.

    Parameters
    ----------
    blocks : callable
        Returns a fresh iterator over float32 (m, d) blocks.
    seed : int
        For the sample and the projection.
    """

    def __init__(self, blocks: Blocks, seed: int = 0):
        self.described: list[str] = []
        self.counts = self._are_counts(blocks)
        self.size = self._median_size(blocks) if self.counts else 1.0
        self._moments(blocks)
        self._choose_columns()
        self.components: np.ndarray | None = None
        self.dim = len(self.columns)
        if self.dim > WIDE:
            self._project(blocks, seed)
        self.name = f"scaled columns/{'log1p of counts/' if self.counts else ''}{len(self.columns)}/{self.dim}"

    def _are_counts(self, blocks: Blocks) -> bool:
        import numpy as np

        block = next(iter(blocks()), None)
        if block is None or not block.size:
            raise DataError("the table has no rows that can be used; see the list of problems.")
        head = block[:2000]
        return bool((head >= 0).all() and (head == np.rint(head)).all() and (head == 0).mean() > 0.5 and head.max() > 2)

    def _median_size(self, blocks: Blocks) -> float:
        import numpy as np

        sizes = np.concatenate([block.sum(axis=1, dtype=np.float64) for block in blocks()])
        self.described.append(f"values: counts, scaled to the median row sum of {np.median(sizes):,.0f}, then log1p")
        return float(np.median(sizes)) or 1.0

    def _values(self, block: np.ndarray) -> np.ndarray:
        """Return a block as float32 values before standardising: (m, d)."""
        import numpy as np

        if not self.counts:
            return block
        sums = np.maximum(block.sum(axis=1, keepdims=True), 1.0)
        return np.log1p(block * (self.size / sums))

    def _moments(self, blocks: Blocks) -> None:
        """Mean and standard deviation of each column in one pass (Chan's pairwise update, in float64)."""
        import numpy as np

        n, mean, squares = 0, np.zeros(1), np.zeros(1)
        for block in blocks():
            values = self._values(block)
            m = len(values)
            block_mean = values.mean(axis=0, dtype=np.float64)
            centred = values - block_mean
            block_squares = np.einsum("ij,ij->j", centred, centred, dtype=np.float64)
            gap = block_mean - mean
            squares = squares + block_squares + gap**2 * (n * m / (n + m))
            mean = mean + gap * (m / (n + m))
            n += m
        self.rows, self.mean, self.deviation = n, mean, np.sqrt(squares / n)

    def _choose_columns(self) -> None:
        import numpy as np

        varied = np.flatnonzero(self.deviation > 1e-12 * np.maximum(np.abs(self.mean), 1.0))
        if not len(varied):
            raise DataError(f"all {len(self.mean)} columns are constant: there is nothing to tell rows apart by.")
        if len(varied) > VARIABLE:
            # Variance beyond what the mean predicts would need a fit; plain dispersion serves for log counts.
            rank = np.argsort(-self.deviation[varied], kind="stable")[:VARIABLE]
            varied = np.sort(varied[rank])
        self.columns = varied
        dropped = len(self.mean) - len(varied)
        self.described.append(
            f"columns: {len(varied):,} of {len(self.mean):,} used, standardised"
            + (f" ({dropped:,} constant or least variable left out)" if dropped else "")
        )

    def scale(self, block: np.ndarray) -> np.ndarray:
        """Return the standardised columns in use: (m, len(columns)), cut at 10 standard deviations."""
        import numpy as np

        values = self._values(block)[:, self.columns]
        scaled = (values - self.mean[self.columns]) / self.deviation[self.columns]
        return np.clip(scaled, -LIMIT, LIMIT).astype(np.float32)

    def _project(self, blocks: Blocks, seed: int) -> None:
        import numpy as np
        from sklearn.decomposition import PCA

        from mumei.core.seeds import numpy_generator, seed32

        keep = np.ones(self.rows, dtype=bool)
        if self.rows > SAMPLE:
            keep[:] = False
            keep[numpy_generator(seed, "table sample").choice(self.rows, SAMPLE, replace=False)] = True
        parts, first = [], 0
        for block in blocks():
            parts.append(self.scale(block[keep[first : first + len(block)]]))
            first += len(block)
        sample = np.concatenate(parts)
        wanted = min(COMPONENTS, *sample.shape)
        pca = PCA(wanted, svd_solver="randomized", random_state=seed32(seed, "table projection")).fit(sample)
        self.components = np.asarray(pca.components_, dtype=np.float32)
        self.dim = wanted
        share = 100 * float(pca.explained_variance_ratio_.sum())
        self.described.append(f"projection: {wanted} principal components hold {share:.0f} % of the variance")

    def encode(self, block: np.ndarray) -> np.ndarray:
        """Turn a block (m, d) into vectors (m, dim), float32."""
        scaled = self.scale(block)
        return scaled if self.components is None else scaled @ self.components.T

    def state(self) -> dict[str, Any]:
        """Return what is worth recording: name, columns in use, whether log counts."""
        return {"name": self.name, "columns": len(self.columns), "log_counts": self.counts}
