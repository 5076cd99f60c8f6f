"""A sound toy encoder passes; each toy that is broken in one way is caught by the check of that way."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from mumei.core.errors import DataError, UsageError
from mumei.testing import check_encoder
from mumei.testing import encoders as kit

ITEMS = ["alpha", "beta", "gamma delta", ""]
MADE = iter(range(10**9))


class Sound:
    """Eight numbers from a checksum of the text."""

    name, dim = "toy", 8

    def vector(self, item: str) -> np.ndarray:
        if not isinstance(item, str):
            raise DataError(f"item {item!r} is not text")
        crc = zlib.crc32(item.encode())
        return np.array([(crc >> i) % 251 for i in range(8)], dtype=np.float32)

    def encode(self, items, *, batch_size=None, progress=None):
        if isinstance(items, str):
            raise DataError("give a list of texts")
        rows = [self.vector(item) for item in items]
        if progress is not None:
            progress(len(rows))
        return np.array(rows, dtype=np.float32).reshape(-1, self.dim)


class Nameless(Sound):
    name = ""


class NoDim(Sound):
    dim = 0


class NoEncode:
    name, dim = "toy", 8


class RenamedEachTime(Sound):
    def __init__(self):
        self.name = f"toy-{next(MADE)}"


class Doubles(Sound):
    def encode(self, items, **options):
        return super().encode(items, **options).astype(np.float64)


class Lists(Sound):
    def encode(self, items, **options):
        return super().encode(items, **options).tolist()


class NotFinite(Sound):
    def vector(self, item):
        return super().vector(item) * (np.nan if item == "beta" else 1)


class Forgetful(Sound):
    def __init__(self):
        self.calls = 0

    def encode(self, items, **options):
        self.calls += 1
        return super().encode(items, **options) * np.float32(1 + 1e-6 * self.calls)


class RandomWeights(Sound):
    def __init__(self):
        self.scale = np.float32(1 + 1e-6 * next(MADE))

    def vector(self, item):
        return super().vector(item) * self.scale


class Sorts(Sound):
    def encode(self, items, **options):
        return super().encode(items if isinstance(items, str) else sorted(items, key=str), **options)


class BatchMatters(Sound):
    def encode(self, items, *, batch_size=None, progress=None):
        return super().encode(items, progress=progress) * np.float32(batch_size or 5)


class Normalises(Sound):
    """Subtracts the mean of the call: an item's vector depends on the others."""

    def encode(self, items, **options):
        vectors = super().encode(items, **options)
        return vectors - vectors.mean(axis=0) if len(vectors) else vectors


class Constant(Sound):
    def vector(self, item):
        return super().vector(item) * 0 + 1


class NoEmptyList(Sound):
    def encode(self, items, **options):
        return super().encode(items, **options) if len(items) else np.zeros(0, np.float32)


class Counts(Sound):
    """The second occurrence of an item gets another vector."""

    def encode(self, items, **options):
        vectors = super().encode(items, **options)
        seen: list[str] = []
        for i, item in enumerate(items):
            vectors[i] *= 1 + seen.count(item)
            seen.append(item)
        return vectors


class Consumes(Sound):
    def encode(self, items, **options):
        vectors = super().encode(items, **options)
        if items and not isinstance(items, str):
            items[-1] = "eaten"
        return vectors


class Silent(Sound):
    def encode(self, items, *, batch_size=None, progress=None):
        return super().encode(items)


class CountsTotal(Sound):
    """Reports how many are done in all, not how many since the last call."""

    def encode(self, items, *, batch_size=None, progress=None):
        vectors = super().encode(items)
        if progress is not None:
            for done in range(len(items)):
                progress(done + 1)
        return vectors


class CountsDown(Sound):
    def encode(self, items, *, batch_size=None, progress=None):
        vectors = super().encode(items)
        if progress is not None:
            progress(len(items) + 1)
            progress(-1)
        return vectors


class TakesAnything(Sound):
    def vector(self, item):
        return super().vector(str(item))


class Letters(Sound):
    def encode(self, items, **options):
        return super().encode(list(items), **options)


class Crashes(Sound):
    def vector(self, item):
        return super().vector(item + "")


class GlobalRandom(Sound):
    def encode(self, items, **options):
        np.random.random()
        return super().encode(items, **options)


BROKEN = [
    (kit.check_meets_protocol, Nameless),
    (kit.check_meets_protocol, NoDim),
    (kit.check_meets_protocol, NoEncode),
    (kit.check_meets_protocol, RenamedEachTime),
    (kit.check_shape, Doubles),
    (kit.check_shape, Lists),
    (kit.check_shape, NotFinite),
    (kit.check_same_input_same_bits, Forgetful),
    (kit.check_same_input_same_bits, RandomWeights),
    (kit.check_order, Sorts),
    (kit.check_batches, BatchMatters),
    (kit.check_tells_items_apart, Constant),
    (kit.check_one_row, Normalises),
    (kit.check_empty, NoEmptyList),
    (kit.check_duplicates, Counts),
    (kit.check_input_not_mutated, Consumes),
    (kit.check_progress_counts, Silent),
    (kit.check_progress_counts, CountsTotal),
    (kit.check_progress_counts, CountsDown),
    (kit.check_refuses_non_items, TakesAnything),
    (kit.check_refuses_non_items, Letters),
    (kit.check_refuses_non_items, Crashes),
    (kit.check_global_random, GlobalRandom),
]


def test_a_sound_encoder_passes():
    check_encoder(Sound, list(ITEMS))


@pytest.mark.parametrize(("check", "broken"), BROKEN, ids=lambda x: x.__name__)
def test_each_fault_is_caught_by_its_check(check, broken):
    """The whole kit stops at this check and no other: all checks before it pass. The sentence names check and class."""
    state = np.random.get_state()
    try:
        with pytest.raises(AssertionError, match=rf"^{check.__name__}: {broken.__name__}\b.*\.$"):
            check_encoder(broken, list(ITEMS))
    finally:
        np.random.set_state(state)


def test_every_check_was_seen_to_fail():
    assert {check for check, _ in BROKEN} == set(kit.CHECKS)


class Table(Sound):
    dim = 3

    def encode(self, items, *, batch_size=None, progress=None):
        items = np.asarray(items)
        if not np.isfinite(items).all():
            raise DataError("the table holds NaN")
        if progress is not None:
            progress(len(items))
        return np.asarray(items, dtype=np.float32)


class TakesNan(Table):
    def encode(self, items, **options):
        return super().encode(np.nan_to_num(items), **options)


def test_tables_are_items_too():
    rows = np.arange(12.0).reshape(4, 3)
    check_encoder(Table, rows)
    with pytest.raises(AssertionError, match=r"check_refuses_non_items: TakesNan .* accepts NaN in a table"):
        check_encoder(TakesNan, rows)


def test_too_few_items():
    with pytest.raises(UsageError, match="three or more"):
        check_encoder(Sound, ["a", "b"])
