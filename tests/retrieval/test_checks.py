"""What an index takes and refuses."""

from __future__ import annotations

import numpy as np
import pytest

from mumei.core.errors import DataError, UsageError
from mumei.retrieval import checks


def test_vectors_become_float32_and_the_first_bad_row_is_named():
    assert checks.check_vectors([[1, 2], [3, 4]], 2).dtype == np.float32
    rows = np.zeros((40_000, 2))
    rows[33_333, 1] = np.inf
    with pytest.raises(DataError, match="vector 33333 "):
        checks.check_vectors(rows, 2)
    with pytest.raises(DataError, match=r"\(3,\).*\(n, 2\)"):
        checks.check_vectors([1, 2, 3], 2)


def test_allowed_rows_are_live_ones():
    dead = np.array([True, False, False])
    assert checks.allowed_rows(None, None, 3) is None
    assert checks.allowed_rows(None, [True] * 3, 3) is None
    assert checks.allowed_rows(dead, None, 3).tolist() == [False, True, True]
    assert checks.allowed_rows(dead, [True, True, False], 3).tolist() == [False, True, False]
    with pytest.raises(UsageError, match="int64"):
        checks.allowed_rows(None, [1, 2, 3], 3)


def test_row_numbers_are_checked():
    assert checks.row_numbers(range(3), 3).tolist() == [0, 1, 2]
    assert checks.row_numbers([], 0).shape == (0,)
    with pytest.raises(UsageError, match="from -1 to 2 were asked of 2 rows"):
        checks.row_numbers([-1, 2], 2)
