"""Records to Arrow and back, by columns: one flat child array a field instead of a dictionary an annotation.

The Arrow type of a struct follows from its annotations: `str` string, `int` int32, `list[X]` list<item: X>, a pair of
offsets list<item: int32>, a struct a struct, `dict[str, str]` list<item: struct<key, value>>. For the six harmonised structs
these are the types, names and order of BigBIO's `datasets` features. Nothing may be null.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import chain, islice, pairwise
from operator import attrgetter
from typing import Any, get_args, get_origin, get_type_hints

import numpy as np
import pyarrow as pa
from msgspec import Struct

from mumei.core.errors import DataError

BATCH = 2_000  # records in a record batch
_LEAVES = {str: pa.string(), int: pa.int32(), bool: pa.bool_(), float: pa.float64()}


@cache
def fields_of(struct: type[Struct]) -> dict[str, Any]:
    """Return a struct's fields in order, name -> type hint."""
    hints = get_type_hints(struct)
    return {name: hints[name] for name in struct.__struct_fields__}


@cache
def arrow_type(hint: Any) -> pa.DataType:
    """Return the Arrow type of a type hint."""
    if hint in _LEAVES:
        return _LEAVES[hint]
    if isinstance(hint, type) and issubclass(hint, Struct):
        return pa.struct([pa.field(name, arrow_type(inner)) for name, inner in fields_of(hint).items()])
    origin, args = get_origin(hint), get_args(hint)
    if origin in (list, tuple):
        return pa.list_(arrow_type(args[0]))
    if origin is dict:
        return pa.list_(pa.struct([pa.field("key", arrow_type(args[0])), pa.field("value", arrow_type(args[1]))]))
    raise TypeError(f"{hint} has no Arrow type here")


@cache
def arrow_schema(struct: type[Struct]) -> pa.Schema:
    """Return the Arrow schema of a table of such structs."""
    return pa.schema([pa.field(name, arrow_type(hint)) for name, hint in fields_of(struct).items()])


def to_batch(records: Sequence[Struct], struct: type[Struct]) -> pa.RecordBatch:
    """Return records as one record batch.

    Raises
    ------
    DataError
        A value is missing, is not of the field's type, or does not fit it (an offset over 2^31 - 1, half a surrogate pair).
    """
    arrays = []
    for name, hint in fields_of(struct).items():
        try:
            arrays.append(column(list(map(attrgetter(name), records)), hint))
        except (pa.ArrowException, TypeError, OverflowError, UnicodeError, AttributeError) as error:
            raise DataError(_culprit(records, name, hint, error)) from error
    return pa.RecordBatch.from_arrays(arrays, schema=arrow_schema(struct))


def _culprit(records: Sequence[Struct], name: str, hint: Any, error: Exception) -> str:
    """Return a message that names the first record whose field does not fit."""
    for record in records:
        try:
            column([getattr(record, name)], hint)
        except (pa.ArrowException, TypeError, OverflowError, UnicodeError, AttributeError) as own:
            where = (
                f"{getattr(record, 'file', '')}:{getattr(record, 'line', 0)}: " if getattr(record, "file", "") else ""
            )
            return f"{where}record {getattr(record, 'id', '?')!r}: its {name} cannot be stored ({own})."
    return f"{name} cannot be stored ({error})."


def column(values: list[Any], hint: Any) -> pa.Array:
    """Return values of a type hint as one Arrow array of its type."""
    if _is_plain(hint):  # Arrow's own conversion: one look at each object
        array = pa.array(values, arrow_type(hint))
        _check_plain(array, hint)
        return array
    if isinstance(hint, type) and issubclass(hint, Struct):
        return _struct(hint, values)
    origin, args = get_origin(hint), get_args(hint)
    ends = np.zeros(len(values) + 1, np.int32)
    np.cumsum(np.fromiter(map(len, values), np.int32, len(values)), out=ends[1:])
    if origin is dict:
        pairs = list(chain.from_iterable(map(dict.items, values)))
        parts = [column([pair[i] for pair in pairs], args[i]) for i in (0, 1)]
        child = pa.StructArray.from_arrays(parts, names=["key", "value"])
    else:
        child = column(list(chain.from_iterable(values)), args[0])
    return pa.ListArray.from_arrays(pa.array(ends), child, type=arrow_type(hint))


@cache
def _is_plain(hint: Any) -> bool:
    """Whether a type hint has no struct and no dictionary in it."""
    return hint in _LEAVES or (get_origin(hint) in (list, tuple) and all(map(_is_plain, get_args(hint))))


def _check_plain(array: pa.Array, hint: Any) -> None:
    """Raise `TypeError` where a value is missing or a tuple is not of its hint's length."""
    if array.null_count:
        raise TypeError("a value is missing")
    if hint in _LEAVES:
        return
    args = get_args(hint)
    if get_origin(hint) is tuple and (np.diff(array.offsets.to_numpy()) != len(args)).any():
        raise TypeError(f"offsets that are not {len(args)} numbers")
    _check_plain(array.values, args[0])


def _struct(struct: type[Struct], values: list[Any]) -> pa.Array:
    hints = fields_of(struct)
    if not values:
        return pa.array([], arrow_type(struct))
    arrays = [column(list(map(attrgetter(name), values)), hint) for name, hint in hints.items()]
    return pa.StructArray.from_arrays(arrays, fields=list(arrow_type(struct)))


def batches(records: Iterable[Struct], struct: type[Struct], size: int = BATCH) -> Iterator[pa.RecordBatch]:
    """Yield record batches of at most `size` records: memory stays bounded however many there are."""
    source = iter(records)
    while block := list(islice(source, size)):
        yield to_batch(block, struct)


def to_table(records: Iterable[Struct], struct: type[Struct]) -> pa.Table:
    """Return records as an Arrow table, one chunk a batch."""
    return pa.Table.from_batches(list(batches(records, struct)), schema=arrow_schema(struct))


def from_table(table: pa.Table, struct: type[Struct]) -> Iterator[Any]:
    """Yield the structs of a table's rows, in order.

    Raises
    ------
    DataError
        The table has other columns or types.
    """
    if not table.schema.equals(arrow_schema(struct)):
        missing = [f.name for f in arrow_schema(struct) if f not in list(table.schema)]
        raise DataError(f"the table is not one of {struct.__name__}: columns missing or of another type: {missing}.")
    for batch in table.to_batches(max_chunksize=BATCH):
        columns = [_values(batch.column(i), hint) for i, hint in enumerate(fields_of(struct).values())]
        yield from map(struct, *columns)


def _values(array: Any, hint: Any) -> list[Any]:
    if hint in _LEAVES:
        return array.to_pylist()
    if isinstance(hint, type) and issubclass(hint, Struct):
        return list(map(hint, *(_values(array.field(i), inner) for i, inner in enumerate(fields_of(hint).values()))))
    origin, args = get_origin(hint), get_args(hint)
    ends = array.offsets.to_pylist()
    first = ends[0] if ends else 0
    child = array.values.slice(first, (ends[-1] if ends else 0) - first)
    if origin is dict:
        inner = list(zip(*(_values(child.field(i), args[i]) for i in (0, 1)), strict=True))
        return [dict(inner[a - first : b - first]) for a, b in pairwise(ends)]
    inner = _values(child, args[0])
    kind = tuple if origin is tuple else list
    return [kind(inner[a - first : b - first]) for a, b in pairwise(ends)]
