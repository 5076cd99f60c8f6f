"""Rows into batches: one vectorised gather a batch, in an order that is a function of (seed, epoch) alone.

Rows stay resident as they were given: torch tensors, NumPy arrays, or `numpy.memmap` files larger than memory, of which
only a batch's rows are read. uint8 stays uint8 until the training step, a quarter of the memory traffic of float32.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mumei.core import seeds
from mumei.core.errors import DataError

FINGERPRINT_ROWS = 4096
FINGERPRINT_WHOLE = 256 << 20  # bytes; up to here every byte is hashed (0.2 s), above it evenly spaced rows


class Rows:
    """One or more arrays of equal length, gathered together.

    Parameters
    ----------
    data : Tensor, ndarray, memmap, scipy CSR matrix, or a tuple of them
        Arrays whose first axis is the row; of a sparse one a batch's rows are made dense.

    Raises
    ------
    DataError
        No rows, unequal lengths, or something that is not a numeric array.
    """

    def __init__(self, data: Any):
        arrays = tuple(data) if isinstance(data, tuple | list) else (data,)
        if not arrays:
            raise DataError("the training data is an empty tuple; give at least one array of rows.")
        self.arrays = tuple(_usable(a, i) for i, a in enumerate(arrays))
        lengths = [a.shape[0] for a in self.arrays]
        if len(set(lengths)) > 1:
            raise DataError(f"the training arrays have {lengths} rows; all must have the same number.")
        if lengths[0] == 0:
            raise DataError("the training data has 0 rows; at least 1 is needed.")

    def __len__(self) -> int:
        return self.arrays[0].shape[0]

    def gather(self, index: Tensor, device: torch.device) -> tuple[Tensor, ...]:
        """Return the rows of an int64 CPU index (b,) from each array, on `device`."""
        return tuple(_gather(a, index).to(device, non_blocking=True) for a in self.arrays)

    def fingerprint(self) -> str:
        """Return a sha256 over shapes, types and content; of arrays over 256 MiB, over 4,096 evenly spaced rows."""
        digest = hashlib.sha256()
        for array in self.arrays:
            digest.update(f"{tuple(array.shape)} {str(array.dtype).removeprefix('torch.')};".encode())
            count = array.shape[0]
            whole = count * _row_bytes(array) <= FINGERPRINT_WHOLE
            rows = count if whole else min(FINGERPRINT_ROWS, count)
            index = torch.linspace(0, count - 1, rows, dtype=torch.float64).long()
            for part in index.split(FINGERPRINT_ROWS):
                block = _gather(array, part).cpu().contiguous()
                digest.update(block.flatten().view(torch.uint8).numpy().data if block.numel() else b"")
        return digest.hexdigest()


def _row_bytes(array: Any) -> int:
    """Return the bytes of one row, made dense."""
    size = array.element_size() if isinstance(array, Tensor) else array.dtype.itemsize
    return size * int(np.prod(array.shape[1:]))


def _usable(array: Any, position: int) -> Any:
    if getattr(array, "format", "") == "csr" and array.dtype.kind in "biuf":
        return array
    if isinstance(array, Tensor) and array.dim():
        return array.detach()
    if isinstance(array, np.ndarray) and array.ndim and array.dtype.kind in "biuf" and array.dtype.isnative:
        # Memory-mapped, read-only and reversed arrays stay NumPy's: torch cannot hold them as they are.
        shared = array.flags.writeable and min(array.strides) >= 0 and not isinstance(array, np.memmap)
        return torch.from_numpy(array) if shared else array
    given = (
        f"{type(array).__name__} of {getattr(array, 'dtype', 'no dtype')} and shape {getattr(array, 'shape', 'none')}"
    )
    raise DataError(f"training array {position} is a {given}; give numeric torch tensors or NumPy arrays with rows.")


def _gather(array: Any, index: Tensor) -> Tensor:
    if isinstance(array, Tensor):
        return array.index_select(0, index.to(array.device))
    if hasattr(array, "toarray"):
        return torch.from_numpy(array[index.numpy()].toarray())
    return torch.from_numpy(np.ascontiguousarray(np.take(array, index.numpy(), axis=0)))


class Order:
    """The batches of each epoch: which rows, in which order.

    Parameters
    ----------
    length, batch_size : int
        Rows in all and in a batch.
    seed : int
        The order of epoch e is drawn from `seeds.torch_generator(seed, "order", e)`.
    shuffle, drop_last : bool
        Without shuffling rows come as they lie; `drop_last` leaves out a last, smaller batch.
    """

    def __init__(self, length: int, batch_size: int, seed: int, shuffle: bool = True, drop_last: bool = False):
        self.length, self.batch_size, self.seed, self.shuffle = length, batch_size, seed, shuffle
        self.batches = length // batch_size if drop_last else -(-length // batch_size)
        if self.batches == 0:
            raise DataError(
                f"drop_last with {length} rows and batch_size={batch_size} leaves no batch; lower batch_size."
            )

    def epoch(self, epoch: int) -> Sequence[Tensor]:
        """Return the row numbers (b,) int64 of each batch of an epoch."""
        if self.shuffle:
            order = torch.randperm(self.length, generator=seeds.torch_generator(self.seed, "order", epoch))
        else:
            order = torch.arange(self.length)
        return order.split(self.batch_size)[: self.batches]
