"""BinaryCIF: the columns of a table of a MessagePack file, decoded.

The format is that of Sehnal and others 2020, "BinaryCIF and CIFTools: lightweight, efficient and extensible macromolecular
data management". A column is bytes with a list of encodings, which are undone from the last to the first. All seven
encodings are here. Numbers in the file are bounded by the bytes that it has, except in run lengths, which are capped.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import msgspec
import numpy as np

from mumei.core.errors import DataError

TYPES = {1: "<i1", 2: "<i2", 3: "<i4", 4: "<u1", 5: "<u2", 6: "<u4", 32: "<f4", 33: "<f8"}
MOST = 100_000_000  # values of a column


def columns(content: bytes, category: str, wanted: tuple[str, ...], name: str = "the file") -> dict[str, np.ndarray]:
    """Return the wanted columns of a category of the first data block that has it, each (n,); absent ones are left out.

    Text columns are arrays of objects; values that are not given ("." or "?") are the empty text or NaN.

    Raises
    ------
    DataError
        No BinaryCIF, or damaged.
    """
    try:
        blocks = msgspec.msgpack.decode(content)["dataBlocks"]
        for block in blocks:
            for table in block["categories"]:
                if table["name"].lstrip("_").lower() == category:
                    found = {c["name"]: c for c in table["columns"]}
                    return {key: _column(found[key]) for key in wanted if key in found}
    except (msgspec.DecodeError, KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
        raise DataError(f"{name} is no sound BinaryCIF ({type(error).__name__}: {error}); get it again.") from error
    raise DataError(f"{name} has no table {category!r}; it holds no coordinates.")


def _column(column: dict[str, Any]) -> np.ndarray:
    values = _decode(column["data"]["data"], column["data"]["encoding"])
    if column.get("mask"):
        given = _decode(column["mask"]["data"], column["mask"]["encoding"]) == 0
        if values.dtype == object:
            return np.where(given, values, "")
        values = np.where(given, values, np.nan) if not given.all() else values
    return values


def _decode(data: Any, encodings: list[dict[str, Any]]) -> np.ndarray:
    for encoding in reversed(encodings):
        data = _UNDO[encoding["kind"]](data, encoding)
    return np.asarray(data)


def _byte_array(data: bytes, encoding: dict[str, Any]) -> np.ndarray:
    return np.frombuffer(data, dtype=TYPES[encoding["type"]])


def _fixed_point(data: np.ndarray, encoding: dict[str, Any]) -> np.ndarray:
    return np.asarray(data, dtype=np.float64) / encoding["factor"]


def _interval(data: np.ndarray, encoding: dict[str, Any]) -> np.ndarray:
    step = (encoding["max"] - encoding["min"]) / (encoding["numSteps"] - 1)
    return encoding["min"] + np.asarray(data, dtype=np.float64) * step


def _run_length(data: np.ndarray, encoding: dict[str, Any]) -> np.ndarray:
    values, counts = data[::2], data[1::2].astype(np.int64)
    if (counts < 0).any() or counts.sum() > MOST:
        raise ValueError(f"run lengths add up to {int(counts.sum())}")
    return np.repeat(values, counts)


def _delta(data: np.ndarray, encoding: dict[str, Any]) -> np.ndarray:
    return np.cumsum(data, dtype=np.int64) + encoding["origin"]


def _integer_packing(data: np.ndarray, encoding: dict[str, Any]) -> np.ndarray:
    """Add up runs of the extreme value and what follows them."""
    limits = np.iinfo(data.dtype)
    goes_on = (data == limits.max) | ((data == limits.min) & (not encoding["isUnsigned"]))
    ends = np.flatnonzero(~goes_on)
    total = np.cumsum(data, dtype=np.int64)
    return np.diff(total[ends], prepend=0)


def _string_array(data: bytes, encoding: dict[str, Any]) -> np.ndarray:
    offsets = _decode(encoding["offsets"], encoding["offsetEncoding"])
    texts = [encoding["stringData"][a:b] for a, b in pairwise(offsets)]
    index = _decode(data, encoding["dataEncoding"])
    return np.array([*texts, ""], dtype=object)[index]  # -1, a value not given, is the last


_UNDO = {
    "ByteArray": _byte_array,
    "FixedPoint": _fixed_point,
    "IntervalQuantization": _interval,
    "RunLength": _run_length,
    "Delta": _delta,
    "IntegerPacking": _integer_packing,
    "StringArray": _string_array,
}
