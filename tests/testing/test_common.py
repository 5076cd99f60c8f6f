"""Equality of bits, refusals and the watch over global random states, which every check relies on."""

from __future__ import annotations

import random

import numpy as np
import pytest
import scipy.sparse
import torch

from mumei.core.errors import DataError
from mumei.testing.common import describe, fail, must_refuse, same_bits, untouched_randomness

X = np.array([[1.0, 0.0], [np.nan, -0.0]])
EQUAL = [
    (X, X.copy()),
    (torch.from_numpy(X), torch.from_numpy(X.copy())),
    (torch.ones(3, dtype=torch.bfloat16), torch.ones(3, dtype=torch.bfloat16)),
    (scipy.sparse.csr_matrix(X), scipy.sparse.csr_matrix(X)),
    ({"a": [X, (1, "x")]}, {"a": [X.copy(), (1, "x")]}),
    (float("nan"), float("nan")),
    (np.array(["a", None], dtype=object), np.array(["a", None], dtype=object)),
]
DIFFERENT = [
    (X, np.nextafter(X, 2)),
    (np.array([0.0]), np.array([-0.0])),
    (X, X.astype(np.float32)),
    (X, X.ravel()),
    (torch.ones(2), torch.ones(2, dtype=torch.float64)),
    (torch.ones(2), torch.ones(1, 2)),
    (torch.ones(2), np.ones(2, dtype=np.float32)),
    (scipy.sparse.csr_matrix(X), scipy.sparse.csr_matrix(X + 1)),
    ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    ([1, 2], [1]),
    (1, 1.0),
    (np.array(["a", None], dtype=object), np.array(["a", "b"], dtype=object)),
]


@pytest.mark.parametrize(("a", "b"), EQUAL)
def test_equal_bits(a, b):
    assert same_bits(a, b)


@pytest.mark.parametrize(("a", "b"), DIFFERENT)
def test_different_bits(a, b):
    assert not same_bits(a, b)
    assert not same_bits(b, a)


def some_check():
    """Stands for a check."""


def test_a_failure_names_check_and_object():
    class Toy:
        name = "toy-1"

    with pytest.raises(AssertionError, match=r"^some_check: Toy \(toy-1\) is odd\.$"):
        fail(some_check, Toy(), "is odd")
    assert describe(Toy) == "Toy (toy-1)"
    assert describe(3) == "int"
    assert describe(some_check) == "some_check"


def _raise(error):
    raise error


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: None, "accepts junk; it should raise MumeiError"),
        (lambda: _raise(DataError("")), "refuses junk without a message"),
        (lambda: _raise(DataError("no")), "refuses junk without a message that says one of"),
        (lambda: _raise(KeyError("nan")), "answers junk with KeyError .*, not MumeiError"),
    ],
)
def test_a_refusal_is_an_error_of_the_right_kind_with_the_right_words(call, sentence):
    with pytest.raises(AssertionError, match=rf"^some_check: int {sentence}"):
        must_refuse(some_check, 3, call, "junk", words=("nan",))


def test_a_sound_refusal_passes():
    must_refuse(some_check, 3, lambda: _raise(DataError("row 3 is NaN")), "junk", words=("nan",))


@pytest.mark.parametrize(
    ("draw", "name"),
    [
        (random.random, "random"),
        (lambda: random.seed(0), "random"),
        (np.random.random, "numpy"),
        (lambda: np.random.seed(0), "numpy"),
        (lambda: torch.rand(1), "torch"),
        (lambda: torch.manual_seed(0), "torch"),
    ],
)
def test_drawing_and_seeding_are_seen_and_the_states_put_back(draw, name):
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    with (
        pytest.raises(AssertionError, match=f"draws from or seeds the global random state of {name}"),
        untouched_randomness(some_check, 3),
    ):
        draw()
    assert same_bits(before, (random.getstate(), np.random.get_state(), torch.get_rng_state()))
    with untouched_randomness(some_check, 3):
        np.random.default_rng(0).random()
