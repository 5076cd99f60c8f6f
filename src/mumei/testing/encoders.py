"""What every `Encoder` must do. Each check takes a maker, called for a fresh encoder, and three or more items."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mumei.core.errors import UsageError
from mumei.core.protocols import Encoder
from mumei.testing.common import copy_items, describe, fail, must_refuse, same_bits, take, untouched_randomness

Make = Callable[[], Any]
TOLERANCE = 1e-2  # of a row's length, when other items share the call: room for low-precision arithmetic


def check_meets_protocol(make: Make, items: Any) -> None:
    """It meets the protocol: `encode`, a `name` that is not empty and a positive `dim`."""
    encoder = make()
    if not isinstance(encoder, Encoder):
        fail(check_meets_protocol, encoder, "lacks one of encode, name, dim")
    if not isinstance(encoder.name, str) or not encoder.name:
        fail(
            check_meets_protocol,
            encoder,
            f"has the name {encoder.name!r}; give a text that says what made the vectors",
        )
    if not isinstance(encoder.dim, int) or encoder.dim < 1:
        fail(check_meets_protocol, encoder, f"has dim={encoder.dim!r}; give the vectors' length")
    if make().name != encoder.name:
        fail(check_meets_protocol, encoder, f"is called {make().name!r} when it is made again")


def check_shape(make: Make, items: Any) -> None:
    """The vectors of n items are a finite float32 array (n, dim)."""
    encoder = make()
    _vectors(check_shape, encoder, items)


def _vectors(check: Callable[..., Any], encoder: Any, items: Any, **options: Any) -> Any:
    import numpy as np

    out = encoder.encode(items, **options)
    if not isinstance(out, np.ndarray):
        fail(check, encoder, f"returns a {type(out).__name__}, not an ndarray")
    if out.dtype != np.float32 or out.shape != (len(items), encoder.dim):
        wanted = f"float32 {(len(items), encoder.dim)}"
        fail(check, encoder, f"returns {out.dtype} {out.shape} for {len(items)} items, not {wanted}")
    if not np.isfinite(out).all():
        fail(check, encoder, f"returns NaN or infinity in row {int(np.argwhere(~np.isfinite(out))[0, 0])}")
    return out


def check_same_input_same_bits(make: Make, items: Any) -> None:
    """The same items give the same bits: twice from one encoder, and from another one."""
    encoder = make()
    first = _vectors(check_same_input_same_bits, encoder, items)
    if not same_bits(first, encoder.encode(items)):
        fail(check_same_input_same_bits, encoder, "gives other bits for the same items at the second call")
    if not same_bits(first, make().encode(items)):
        fail(check_same_input_same_bits, encoder, "gives other bits for the same items when it is made again")


def _near(a: Any, b: Any) -> bool:
    import numpy as np

    allowed = TOLERANCE * np.maximum(np.linalg.norm(a, axis=1), 1e-6)
    return bool((np.linalg.norm(a - b, axis=1) <= allowed).all())


def check_order(make: Make, items: Any) -> None:
    """Rows stand in the order of the items, whatever it is."""
    encoder = make()
    rows = list(range(len(items)))[::-1]
    forward = _vectors(check_order, encoder, items)
    if not _near(forward[rows], _vectors(check_order, encoder, take(items, rows))):
        fail(check_order, encoder, "does not return rows in the order of the items")


def check_batches(make: Make, items: Any) -> None:
    """`batch_size` changes the speed, not the vectors."""
    encoder = make()
    whole = _vectors(check_batches, encoder, items)
    for size in (1, 2):
        if not _near(whole, _vectors(check_batches, encoder, items, batch_size=size)):
            fail(check_batches, encoder, f"gives other vectors with batch_size={size}")


def check_one_row(make: Make, items: Any) -> None:
    """One item gives (1, dim), the same as among others."""
    encoder = make()
    whole = _vectors(check_one_row, encoder, items)
    if not _near(whole[1:2], _vectors(check_one_row, encoder, take(items, [1]))):
        fail(check_one_row, encoder, "gives an item alone another vector than among others")


def check_empty(make: Make, items: Any) -> None:
    """No items give (0, dim)."""
    _vectors(check_empty, make(), take(items, []))


def check_tells_items_apart(make: Make, items: Any) -> None:
    """Different items do not all get one and the same vector."""
    encoder = make()
    vectors = _vectors(check_tells_items_apart, encoder, items)
    if _near(vectors, vectors[[0] * len(vectors)]):
        fail(check_tells_items_apart, encoder, "gives all of the different items the same vector")


def check_duplicates(make: Make, items: Any) -> None:
    """An item that occurs twice gets the same vector twice."""
    encoder = make()
    n = len(items)
    twice = _vectors(check_duplicates, encoder, take(items, [*range(n), *range(n)]))
    if not _near(twice[:n], twice[n:]):
        fail(check_duplicates, encoder, "gives two occurrences of an item different vectors")


def check_input_not_mutated(make: Make, items: Any) -> None:
    """The caller's items are as they were."""
    encoder = make()
    before = copy_items(items)
    encoder.encode(items)
    if not same_bits(before, items):
        fail(check_input_not_mutated, encoder, "changes the items that it is given")


def check_progress_counts(make: Make, items: Any) -> None:
    """`progress` is called with counts that sum to n."""
    encoder = make()
    done: list[int] = []
    encoder.encode(items, progress=done.append)
    if any(count < 1 for count in done):
        fail(check_progress_counts, encoder, f"reports {min(done)} items as finished in one call of progress")
    if sum(done) != len(items):
        fail(check_progress_counts, encoder, f"reports {sum(done)} items as finished, of {len(items)}")


def check_refuses_non_items(make: Make, items: Any) -> None:
    """A lone str, None or a number among texts, and NaN in a table are refused by a `MumeiError`."""
    import numpy as np

    encoder = make()
    if isinstance(items[0], str):
        must_refuse(check_refuses_non_items, encoder, lambda: encoder.encode(items[0]), "a single str for a list")
        for wrong in (None, 3.5):
            mixed = [items[0], wrong]
            must_refuse(check_refuses_non_items, encoder, lambda m=mixed: encoder.encode(m), f"the item {wrong!r}")
        return
    table = np.array(items, dtype=float)
    table[1, 0] = np.nan
    must_refuse(check_refuses_non_items, encoder, lambda: encoder.encode(table), "NaN in a table")


def check_global_random(make: Make, items: Any) -> None:
    """Nothing is drawn from global random states."""
    encoder = make()
    with untouched_randomness(check_global_random, encoder):
        make().encode(items)


CHECKS = (
    check_meets_protocol,
    check_input_not_mutated,  # before those that use the same input twice
    check_shape,
    check_same_input_same_bits,
    check_order,
    check_batches,
    check_tells_items_apart,
    check_one_row,
    check_empty,
    check_duplicates,
    check_progress_counts,
    check_refuses_non_items,
    check_global_random,
)


def check_encoder(make_encoder: Make, items: Any) -> None:
    """Run every check of an encoder.

    Parameters
    ----------
    make_encoder : callable
        Makes a fresh encoder, without arguments.
    items : sequence or array
        Three or more different items of the kind that it encodes: a list of str, or an array (n, d).

    Raises
    ------
    AssertionError
        The first check that fails, with the object's name and a sentence.
    UsageError
        Fewer than three items.
    """
    if len(items) < 3:
        raise UsageError(f"check_encoder got {len(items)} items for {describe(make_encoder())}; give three or more.")
    for check in CHECKS:
        check(make_encoder, copy_items(items))
