"""The guard's threshold and the background it comes from."""

from __future__ import annotations

import numpy as np
import pytest
from toys import ToyIndex

from mumei.retrieval.guard import Guard, background, cosines


def test_cosines_of_rows_and_of_tables():
    left = np.array([[3.0, 0.0], [1.0, 1.0], [0.0, 0.0]])
    np.testing.assert_allclose(cosines(left, np.array([1.0, 0.0])), [1, 0.5**0.5, 0], atol=1e-6)
    np.testing.assert_allclose(cosines(left, np.eye(2))[1], [0.5**0.5, 0.5**0.5], atol=1e-6)


def test_background_is_that_of_random_pairs():
    """Expected: for 500 rows, mean and deviation of all 124,750 pairs; 2,000 sampled pairs lie within 5 standard errors."""
    vectors = np.random.default_rng(1).normal(0.3, 1, (500, 16)).astype(np.float32) * 7  # not of unit length
    pairs = cosines(vectors, vectors)[np.triu_indices(500, 1)]
    mean, deviation = background(ToyIndex(vectors))
    assert mean == pytest.approx(pairs.mean(), abs=float(5 * pairs.std() / 2000**0.5))
    assert deviation == pytest.approx(pairs.std(), rel=0.1)


@pytest.mark.parametrize("rows", [0, 1])
def test_background_of_next_to_nothing(rows):
    assert background(ToyIndex(np.ones((rows, 3), np.float32))) == (0.0, 1.0)


def test_dead_rows_do_not_count():
    vectors = np.vstack([np.ones((20, 4)), -np.ones((20, 4))]).astype(np.float32)
    assert background(ToyIndex(vectors), live=np.arange(40) < 20) == (1.0, 0.0)


def test_threshold():
    assert Guard.from_background(0.1, 0.12).threshold == pytest.approx(0.46)  # mean + 3 deviations
    assert Guard.from_background(0.5, 0.15).threshold == pytest.approx(0.75)  # one subject: half way to 1
    kept, found = Guard(0.5).keeps(np.array([1.0, 0.0]), np.array([[1.0, 0.2], [0.0, 1.0]]))
    assert kept.tolist() == [True, False]
    assert found[1] == 0
