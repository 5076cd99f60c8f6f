"""Which labels are unknown, and which targets are refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mumei.core.errors import DataError
from mumei.vae.labels import from_json, read_labels, to_json


@pytest.mark.parametrize(
    ("y", "classes", "codes"),
    [
        ([3, -1, 7, 3], [3, 7], [0, -1, 1, 0]),
        ([3.0, np.nan, 7.0, -1.0], [3.0, 7.0], [0, -1, 1, -1]),
        (["b", "", "a", "b"], ["a", "b"], [1, -1, 0, 1]),
        (["b", None, "a", -1], ["a", "b"], [1, -1, 0, -1]),
        (np.array(["b", np.nan, "a", ""], dtype=object), ["a", "b"], [1, -1, 0, -1]),
        (np.array([1, None, 0, 1], dtype=object), [0, 1], [1, -1, 0, 1]),
        ([True, False, True, True], [False, True], [1, 0, 1, 1]),
    ],
)
def test_unknown_labels(y, classes, codes):
    found = read_labels(y, 4, unknown=True)
    assert found[0].tolist() == classes
    assert found[1].tolist() == codes


def test_minus_one_is_a_class_where_all_labels_are_known():
    classes, codes = read_labels([-1, 1, -1], 3)
    assert (classes.tolist(), codes.tolist()) == ([-1, 1], [0, 1, 0])


@pytest.mark.parametrize("values", [np.array([3, 7]), np.array(["a", "béta"]), np.array(["a", "b"], dtype=object)])
def test_classes_go_through_json_to_the_last_bit(values):
    read = from_json(json.loads(json.dumps(to_json(values))))
    assert read.dtype == values.dtype
    assert np.array_equal(read, values)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([-1, -1, -1], "no row has a known label"),
        ([1, 1, -1], "one class alone, "),
        ([0.5, 1.2, 3.4], "Unknown label type"),
        ([0.0, np.inf, 1.0], "infinity"),
        ([0, 1], "2 labels for 3 rows"),
        (None, "target y is None"),
        (["a", 1, "b"], "mixes words"),
    ],
)
def test_bad_labels_are_named(y, message):
    with pytest.raises(DataError, match=message):
        read_labels(y, 3, unknown=True)


def test_nan_is_refused_where_labels_must_be_known():
    with pytest.raises(DataError, match="NaN"):
        read_labels([0.0, np.nan, 1.0], 3)
