"""What every `Sampler` must do. Each check takes a maker, called for a fresh sampler."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mumei.core.protocols import Sampler
from mumei.testing.common import fail, must_refuse, same_bits, untouched_randomness

Make = Callable[[], Any]


def check_meets_protocol(make: Make) -> None:
    """It has `sample` and a `name` that is not empty."""
    sampler = make()
    if not isinstance(sampler, Sampler) or not isinstance(sampler.name, str) or not sampler.name:
        fail(check_meets_protocol, sampler, "lacks sample or a name that is not empty")


def check_count(make: Make) -> None:
    """`sample(n)` gives n items, for 1 and for more."""
    sampler = make()
    for n in (1, 5):
        if (found := len(sampler.sample(n, seed=0))) != n:
            fail(check_count, sampler, f"makes {found} items when {n} are asked for")


def check_same_seed_same_bits(make: Make) -> None:
    """The same seed gives the same bits, another seed other items."""
    sampler = make()
    first = sampler.sample(5, seed=3)
    if not same_bits(first, sampler.sample(5, seed=3)):
        fail(check_same_seed_same_bits, sampler, "gives other items for the same seed at the second call")
    if not same_bits(first, make().sample(5, seed=3)):
        fail(check_same_seed_same_bits, sampler, "gives other items for the same seed when it is made again")
    if same_bits(first, sampler.sample(5, seed=4)):
        fail(check_same_seed_same_bits, sampler, "gives the same items for another seed")


def check_refuses_bad_arguments(make: Make) -> None:
    """A negative number of items is refused by a `MumeiError`."""
    sampler = make()
    must_refuse(check_refuses_bad_arguments, sampler, lambda: sampler.sample(-1), "n=-1")


def check_global_random(make: Make) -> None:
    """Nothing is drawn from global random states."""
    sampler = make()
    with untouched_randomness(check_global_random, sampler):
        make().sample(3, seed=0)


CHECKS = (
    check_meets_protocol,
    check_count,
    check_same_seed_same_bits,
    check_refuses_bad_arguments,
    check_global_random,
)


def check_sampler(make_sampler: Make) -> None:
    """Run every check of a sampler. Raises `AssertionError`."""
    for check in CHECKS:
        check(make_sampler)
