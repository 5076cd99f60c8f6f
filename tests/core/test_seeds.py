"""Named seeds: fixed for ever, of any integer type, apart for other names."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mumei.core import seeds
from mumei.core.errors import UsageError

names = st.lists(st.integers(-(10**6), 10**6) | st.text("abc", max_size=3), max_size=4)


def test_a_child_is_the_same_for_ever():
    """Expected: blake2b of the documented text, its first 63 bits."""
    digest = hashlib.blake2b(b"7/str:kmeans/int:3", digest_size=8).digest()
    assert seeds.child(7, "kmeans", 3) == int.from_bytes(digest, "big") // 2


@given(seed=st.integers(0, 2**63), one=names, two=names)
def test_children_are_in_range_and_apart(seed, one, two):
    assert 0 <= seeds.child(seed, *one) < 2**63
    assert 0 <= seeds.seed32(seed, *one) < 2**31
    assert (seeds.child(seed, *one) == seeds.child(seed, *two)) == (one == two)
    assert seeds.child(seed, *one) != seeds.child(seed + 1, *one)


@pytest.mark.parametrize("kind", [np.int32, np.int64, np.uint8])
def test_numpy_integers_name_the_same_stream(kind):
    assert seeds.child(kind(3), "a", kind(5)) == seeds.child(3, "a", 5)
    assert seeds.child(0, 5) != seeds.child(0, "5")


@pytest.mark.parametrize("name", [1.5, None])
def test_a_name_is_a_text_or_an_integer(name):
    with pytest.raises(TypeError):
        seeds.child(0, name)


def test_generators_follow_their_names_and_leave_the_global_ones_alone():
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    draws = [seeds.numpy_generator(1, n).random(4).tolist() for n in ("a", "a", "b")]
    assert draws[0] == draws[1] != draws[2]
    draws = [torch.rand(4, generator=seeds.torch_generator(1, n)).tolist() for n in ("a", "a", "b")]
    assert draws[0] == draws[1] != draws[2]
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])


def test_random_state_is_understood_as_scikit_learn_does():
    assert seeds.resolve(5) == seeds.resolve(np.int64(5)) == 5
    assert 0 <= seeds.resolve(None) < 2**31
    one, two = np.random.RandomState(0), np.random.RandomState(0)
    assert seeds.resolve(one) == two.randint(0, 2**31 - 1)
    assert seeds.resolve(one) == two.randint(0, 2**31 - 1)
    assert seeds.resolve(np.random.default_rng(0)) == np.random.default_rng(0).integers(0, 2**31 - 1)


@pytest.mark.parametrize("given", [-1, 1.5, "a", object])
def test_another_random_state_is_refused(given):
    with pytest.raises(UsageError, match="random_state="):
        seeds.resolve(given)
