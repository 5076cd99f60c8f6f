"""Vectors in 8 bits beside their segment: a scan that reads a quarter of the bytes and still gives the exact answer.

A chunk of rows has one scale c: x is stored as x8 = round(x / c), so that x' = c x8 is near x; a query likewise, q' = c_q q8.
Whole numbers multiply without error, so the score q.x is off from c_q c (q8.x8) by at most

    |q.x - q'.x'| <= |q - q'| max|x'| + |q| max|x - x'|        (Cauchy and Schwarz),

with both maxima measured when the chunk is written. `exact.Candidates` rescores whatever that bound leaves possible. The product
is `torch._int_mm` (oneDNN: the CPU's 8-bit instructions); a CPU without such instructions scans in float32.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from mumei.core.cpu import multiplies_bytes
from mumei.core.files import atomic_open
from mumei.core.threads import in_order, torch_pool
from mumei.retrieval.exact import LARGE, SLACK, Candidates, picked
from mumei.retrieval.segments import CHUNK, chunks, map_array

if TYPE_CHECKING:
    import numpy as np

# Rows from which 8 bits are worth it, with torch imported already and without: importing it takes as long as many scans.
LOADED, UNLOADED = 16_384, 100_000
HANDED = 8 * 2**20  # bytes of products that a thread makes at once


@dataclass(frozen=True)
class Sidecar:
    """The 8-bit rows of a segment, mapped.

    Attributes
    ----------
    codes : ndarray (n, dim), int8
    scales, residuals, norms : ndarray (chunks,), float64
        Of each chunk of `CHUNK` rows: c, max|x - x'| and max|x'|, the latter two rounded up.
    """

    codes: np.ndarray
    scales: np.ndarray
    residuals: np.ndarray
    norms: np.ndarray


def quantise(vectors: np.ndarray) -> tuple[np.ndarray, float, float, float]:
    """Return codes (n, dim) int8, scale, largest residual and largest norm of float32 vectors (n, dim).

    Examples
    --------
    >>> import numpy as np
    >>> codes, scale, residual, norm = quantise(np.array([[1.27, -0.01, 0.006]], dtype=np.float32))
    >>> codes.tolist(), round(scale, 4), round(residual, 4)
    ([[127, -1, 1]], 0.01, 0.004)
    """
    import numpy as np

    scale = float(np.float32(np.abs(vectors).max(initial=0.0) / 127))
    if scale < 1e-30:  # its inverse would overflow; such rows stay candidates of every query
        scale, codes = 0.0, np.zeros(vectors.shape, dtype=np.int8)
    else:
        codes = np.clip(np.rint(vectors * (1 / scale)), -127, 127).astype(np.int8)
    near = codes * np.float64(scale)
    residual, norm = (_longest(x) for x in (near - vectors, near))
    return codes, scale, residual, norm


def _longest(vectors: np.ndarray) -> float:
    import numpy as np

    length = float(np.sqrt(np.einsum("nd,nd->n", vectors, vectors).max(initial=0.0)))
    with np.errstate(over="ignore"):
        return float(np.nextafter(np.float32(length * (1 + 1e-6)), np.float32(np.inf)))


def write_sidecar(path: Path, vectors: np.ndarray, crc: int) -> None:
    """Write the 8-bit rows of a segment whose float32 rows have the check sum `crc`: codes, three numbers a chunk, the sum."""
    import numpy as np

    size = vectors.size + 12 * -(-len(vectors) // CHUNK) + 4
    table = []
    with atomic_open(path) as handle:
        np.lib.format.write_array_header_1_0(handle, {"descr": "|u1", "fortran_order": False, "shape": (size,)})
        for chunk in chunks(vectors):
            codes, *numbers = quantise(chunk)
            handle.write(codes.tobytes())
            table.append(numbers)
        handle.write(np.array(table, dtype="<f4").tobytes() + np.array(crc, dtype="<u4").tobytes())


def open_sidecar(path: Path, stored: int, rows: int, dim: int, crc: int | None) -> Sidecar | None:
    """Map the 8-bit rows of a segment, or return None if there are none, or others: they can be made again."""
    import numpy as np

    try:
        raw = map_array(path, writable=True)[0]
    except (OSError, ValueError):
        return None
    size = stored * dim
    if raw.shape != (size + 12 * -(-stored // CHUNK) + 4,) or raw.dtype != np.uint8:
        return None
    if crc is not None and int(np.frombuffer(raw[-4:].tobytes(), "<u4")[0]) != crc:
        return None
    table = np.frombuffer(raw[size:-4].tobytes(), "<f4").reshape(-1, 3).astype(np.float64)
    return Sidecar(raw[:size].view(np.int8).reshape(stored, dim)[:rows], *table.T)


def worthwhile(rows: int, dim: int) -> bool:
    """Whether to scan so many rows in 8 bits: processor and torch can, and torch is loaded or worth its loading time."""
    return multiplies_bytes() and rows >= (LOADED if "torch" in sys.modules else UNLOADED) and multiplies(dim)


@cache
def multiplies(dim: int) -> bool:
    """Whether torch multiplies 8-bit numbers here, and rightly.

    It is tried on extreme numbers: old CPUs add pairs of products in 16 bits, which overflow, and some releases (2.13 among
    them) return memory that was never written for dim = 1.
    """
    import numpy as np

    try:
        import torch
    except ImportError:
        return False
    rng = np.random.default_rng(0)
    left, right = (np.where(rng.random((n, dim)) < 0.9, 127, -127).astype(np.int8) for n in (17, 100))
    expected = left.astype(np.int32) @ right.T.astype(np.int32)
    try:
        found = [torch.ops.aten._int_mm(torch.from_numpy(x), torch.from_numpy(right).t()) for x in (left, left[:1])]
    except (AttributeError, RuntimeError):
        return False
    return bool((found[0].numpy() == expected).all() and (found[1].numpy() == expected[:1]).all())


class Int8Scan:
    """Queries in 8 bits, offered block by block to their candidates.

    Parameters
    ----------
    candidates : Candidates
        Of at most a few hundred queries: the products of a chunk with all of them are in memory.
    """

    def __init__(self, candidates: Candidates):
        import numpy as np
        import torch

        self.candidates = candidates
        queries = candidates.queries.astype(np.float64)
        self._scale = np.abs(queries).max(axis=1, initial=0.0) / 127
        codes = np.rint(queries / np.where(self._scale == 0, 1, self._scale)[:, None])
        off = queries - codes * self._scale[:, None]
        self._off = np.sqrt(np.einsum("md,md->m", off, off)) * (1 + 1e-9)
        self._codes = torch.from_numpy(codes.astype(np.int8))

    def scan(self, parts: Sequence[tuple[int, Sidecar]], allow: np.ndarray | None) -> None:
        """Offer all rows of segments, given with their first rows in ascending order."""
        import numpy as np

        lengths = self.candidates.lengths
        pieces = [
            (first + i * CHUNK, codes, self._scale * side.scales[i], side.norms[i], side.residuals[i])
            for first, side in parts
            for i, codes in enumerate(chunks(side.codes))
        ]
        results = _in_threads(self._multiply, [piece[1] for piece in pieces], 4 * CHUNK * len(self._codes))
        for products, (start, _, unit, norm, residual) in zip(results, pieces, strict=True):
            with np.errstate(invalid="ignore"):
                error = self._off * norm + lengths * residual + SLACK * lengths * (norm + residual)
                error[~(lengths * (norm + residual) < LARGE)] = np.inf
            self.candidates.add(products, start, picked(allow, start, products.shape[1]), unit, error)

    def _multiply(self, chunk: np.ndarray) -> np.ndarray:
        import torch

        return torch.ops.aten._int_mm(self._codes, torch.from_numpy(chunk).t()).numpy()


def _in_threads(
    call: Callable[[np.ndarray], np.ndarray], parts: Sequence[np.ndarray], size: int
) -> Iterator[np.ndarray]:
    """Yield the call's results in order, as many at work as torch may use threads; a result takes `size` bytes at most.

    Some parts to a thread, not one part shared by all: threads that wait for each other after every part stand still for whole
    time slices when another process wants the cores.
    """
    import torch

    threads = torch.get_num_threads()
    if threads == 1 or len(parts) == 1:
        yield from map(call, parts)
        return
    # Handing over takes its time too: some parts at once, as far as their results are small.
    group = max(1, min(HANDED // size, -(-len(parts) // (2 * threads))))
    groups = [parts[i : i + group] for i in range(0, len(parts), group)]

    def work(group: Sequence[np.ndarray]) -> list[np.ndarray]:
        return [call(part) for part in group]

    for done in in_order(torch_pool(threads), work, groups, threads + 1):
        yield from done
