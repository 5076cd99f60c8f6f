"""What every `Reader` must do. Each check takes a maker, called for a fresh reader of a source with a few rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping, MutableSequence
from itertools import islice
from typing import Any

from mumei.core.protocols import Reader
from mumei.testing.common import fail, same_bits

Make = Callable[[], Any]


def check_meets_protocol(make: Make) -> None:
    """It has a name and `rows`, which gives an iterator (not a list) of at least one row."""
    reader = make()
    if not isinstance(reader, Reader) or not isinstance(reader.name, str) or not reader.name:
        fail(check_meets_protocol, reader, "lacks rows or a name that is not empty")
    rows = reader.rows()
    if not isinstance(rows, Iterator):
        fail(check_meets_protocol, reader, f"returns a {type(rows).__name__} from rows(), not an iterator")
    if next(rows, None) is None:
        fail(check_meets_protocol, reader, "has no rows; give an example with some")


def check_repeats(make: Make) -> None:
    """Every pass gives the same rows in the same order, also after one that was left early."""
    reader = make()
    next(reader.rows(), None)
    first = list(reader.rows())
    if not same_bits(first, list(reader.rows())):
        fail(check_repeats, reader, "gives other rows at the second pass")
    if not same_bits(first, list(make().rows())):
        fail(check_repeats, reader, "gives other rows when it is made again")


def check_passes_apart(make: Make) -> None:
    """Two passes at once do not disturb each other."""
    reader = make()
    expected = list(islice(make().rows(), 4))
    a, b = reader.rows(), reader.rows()
    pairs = [(next(a, None), next(b, None)) for _ in expected]
    if not same_bits([x for x, _ in pairs], expected) or not same_bits([y for _, y in pairs], expected):
        fail(check_passes_apart, reader, "mixes up two passes that run at once")


def check_rows_not_shared(make: Make) -> None:
    """What a caller writes into a row is not seen by the next pass."""
    reader = make()
    expected = list(make().rows())
    for row in reader.rows():
        if isinstance(row, MutableMapping | MutableSequence):
            row.clear()
    if not same_bits(expected, list(reader.rows())):
        fail(check_rows_not_shared, reader, "hands out the same row objects again, with what a caller wrote into them")


CHECKS = (check_meets_protocol, check_repeats, check_passes_apart, check_rows_not_shared)


def check_reader(make_reader: Make) -> None:
    """Run every check of a reader of a source with a few rows. Raises `AssertionError`."""
    for check in CHECKS:
        check(make_reader)
