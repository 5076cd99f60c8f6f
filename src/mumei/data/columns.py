"""Arrow columns put together from flat arrays: what readers fill when they make tables without a struct an annotation.

A reader of columns (`readers.<format>_columns`) takes what is plain in a file as arrays over all its documents and gives record
batches of `Document` rows (`kb_batch`); what is not plain it leaves to its format's reader of documents, whose records stand
between the batches. So there is one meaning of a format, and the tables are the same to the byte.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as _compute
from msgspec import Struct

from mumei.data.documents import Document, Record
from mumei.data.tables import BATCH, arrow_schema, arrow_type, fields_of, to_batch

Part: TypeAlias = Record | pa.RecordBatch
Ints: TypeAlias = npt.NDArray[np.int64]
pc: Any = _compute  # its functions are made when it is imported
DIGITS = 9  # a number of so many fits 32 bits


class Bytes:
    """UTF-8 text as an array of bytes, from which fields are cut all at once."""

    def __init__(self, content: bytes | npt.NDArray[np.uint8]):
        self.array = np.frombuffer(content, np.uint8)

    def where(self, character: str) -> Ints:
        """Return the places of an ASCII character."""
        return np.flatnonzero(self.array == ord(character))

    def cut(self, starts: Ints, ends: Ints) -> tuple[npt.NDArray[np.uint8], Ints]:
        """Return the bytes of all slices one after the other, and where each begins, the end of the last included."""
        lengths = ends - starts
        places = ends_of(lengths)
        index = np.arange(places[-1])
        index += np.repeat(starts - places[:-1], lengths)
        return self.array[index], places

    def strings(self, starts: Ints, ends: Ints) -> pa.StringArray:
        """Return slices as strings."""
        return strings_of(*self.cut(starts, ends))

    def numbers(self, starts: Ints, ends: Ints) -> tuple[Ints, npt.NDArray[np.bool_]]:
        """Return slices as numbers, and which are: those of one to nine ASCII digits."""
        lengths = ends - starts
        good = (lengths > 0) & (lengths <= DIGITS)
        values = np.zeros(len(starts), np.int64)
        scale = 1
        for place in range(1, int(lengths[good].max(initial=0)) + 1):
            inside = lengths >= place
            digits = self.array[np.where(inside, ends - place, 0)].astype(np.int64) - 48
            good &= ~inside | ((digits >= 0) & (digits <= 9))
            values += np.where(inside, digits * scale, 0)
            scale *= 10
        return values, good


def ends_of(lengths: Any) -> Ints:
    """Return where each of several runs ends, 0 before them."""
    places = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=places[1:])
    return places


def within(lengths: Any) -> Ints:
    """Return 0, 1, ... of each run, one run after the other."""
    places = ends_of(lengths)
    return np.arange(places[-1]) - np.repeat(places[:-1], lengths)


def strings_of(content: npt.NDArray[np.uint8], places: Ints) -> pa.StringArray:
    """Return bytes that are cut at `places` as strings."""
    offsets = pa.py_buffer(places.astype(np.int32))
    return pa.StringArray.from_buffers(len(places) - 1, offsets, pa.py_buffer(np.ascontiguousarray(content)))


def can_be_stored(*texts: str) -> bool:
    """Return whether texts are UTF-8: names of files and some codecs give halves of surrogate pairs."""
    try:
        return all(text.isascii() or text.encode() for text in texts)
    except UnicodeEncodeError:
        return False


def strings(values: Sequence[str]) -> pa.StringArray:
    """Return strings as an array."""
    return pa.array(values, pa.string())


def numbered(prefixes: pa.Array, owners: Any, numbers: Any) -> pa.Array:
    """Return `<prefix of its owner><number>` for each item."""
    digits = strings([str(n) for n in range(int(np.max(numbers, initial=0)) + 1)])
    return pc.binary_join_element_wise(prefixes.take(pa.array(owners)), digits.take(pa.array(numbers)), "")


def joined(*arrays: pa.Array | str) -> pa.Array:
    """Return strings put together item by item; a single string is put to every item."""
    return pc.binary_join_element_wise(*arrays, "")


def repeated(value: Any, count: int, kind: pa.DataType | None = None) -> pa.Array:
    """Return an array of one value."""
    return pa.repeat(pa.scalar(value, kind), count)


def lists(lengths: Any, child: pa.Array) -> pa.ListArray:
    """Return lists of so many items each."""
    return pa.ListArray.from_arrays(pa.array(ends_of(lengths).astype(np.int32)), child)


def ones(child: pa.Array) -> pa.ListArray:
    """Return each item as a list of one."""
    return pa.ListArray.from_arrays(pa.array(np.arange(len(child) + 1, dtype=np.int32)), child)


def pairs(starts: Any, ends: Any) -> pa.ListArray:
    """Return starts and ends as pairs."""
    flat = np.empty(2 * len(starts), np.int32)
    flat[0::2], flat[1::2] = starts, ends
    return pa.ListArray.from_arrays(pa.array(np.arange(0, len(flat) + 1, 2, dtype=np.int32)), pa.array(flat))


def structs(struct: type[Struct], **columns: pa.Array) -> pa.StructArray:
    """Return structs of columns by the names of their fields; a list or text that is not given is empty, a number 0."""
    count = len(next(iter(columns.values())))
    arrays = [columns.get(name, None) for name in fields_of(struct)]
    kind = arrow_type(struct)
    filled = [_empty(field.type, count) if array is None else array for field, array in zip(kind, arrays, strict=True)]
    return pa.StructArray.from_arrays([_as(a, f.type) for a, f in zip(filled, kind, strict=True)], fields=list(kind))


def _as(array: pa.Array, kind: pa.DataType) -> pa.Array:
    return array if array.type.equals(kind) else array.cast(kind)


@cache
def _no_items(kind: pa.DataType) -> pa.Array:
    return pa.array([], kind)


def _empty(kind: pa.DataType, count: int) -> pa.Array:
    if pa.types.is_list(kind):
        return pa.ListArray.from_arrays(pa.array(np.zeros(count + 1, np.int32)), _no_items(kind.value_type), type=kind)
    return repeated("" if pa.types.is_string(kind) else 0, count, kind)


def kb_batch(**columns: pa.Array) -> pa.RecordBatch:
    """Return rows of `Document` from columns by the names of its fields; what is not given is empty."""
    schema = arrow_schema(Document)
    count = len(columns["id"])
    arrays = [_as(columns[f.name], f.type) if f.name in columns else _empty(f.type, count) for f in schema]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def between(batch: pa.RecordBatch | None, others: Iterable[tuple[int, Iterable[Part]]]) -> Iterator[Part]:
    """Yield a batch with other records between its rows: each is given with the number of rows that stand before it."""
    at = 0
    for place, parts in others:
        if batch is not None and place > at:
            yield batch.slice(at, place - at)
            at = place
        yield from parts
    if batch is not None and at < batch.num_rows:
        yield batch.slice(at)


def regrouped(parts: Iterable[Part], struct: type[Struct], size: int = BATCH) -> Iterator[pa.RecordBatch]:
    """Yield record batches of `size` rows, the last of fewer, from records and batches of any size in their order.

    Raises
    ------
    DataError
        A record does not fit its Arrow type (`to_batch`).
    """
    held: list[pa.RecordBatch | int] = []  # a number stands for so many of the records, which are converted at once
    records: list[Any] = []
    count = 0
    part: Any
    for part in parts:
        if not isinstance(part, pa.RecordBatch):
            records.append(part)
            if held and isinstance(held[-1], int):
                held[-1] += 1
            else:
                held.append(1)
            count += 1
            if count == size:
                yield _one(held, records, struct)
                held, records, count = [], [], 0
            continue
        at = 0
        while part.num_rows - at >= size - count:
            yield _one([*held, part.slice(at, size - count)], records, struct)
            at += size - count
            held, records, count = [], [], 0
        if at < part.num_rows:
            held.append(part.slice(at))
            count += part.num_rows - at
    if held:
        yield _one(held, records, struct)


def _one(parts: Sequence[pa.RecordBatch | int], records: list[Any], struct: type[Struct]) -> pa.RecordBatch:
    converted, at, batches = to_batch(records, struct) if records else None, 0, []
    for part in parts:
        if isinstance(part, int):
            assert converted is not None  # numbers stand for records
            batches.append(converted.slice(at, part))
            at += part
        else:
            batches.append(part)
    return batches[0] if len(batches) == 1 else pa.concat_batches(batches)
