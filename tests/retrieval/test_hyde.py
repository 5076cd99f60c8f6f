"""HyDE's vector, against the paper's formula written out, and its settings."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mumei.core.errors import DataError, UsageError
from mumei.retrieval.feedback import feedback_vector
from mumei.retrieval.hyde import DEFAULT, PAPER, Hyde, hyde_vector

FLOATS = st.floats(-2, 2, width=32)


@given(
    st.integers(1, 8).flatmap(lambda n: arrays(np.float32, (n, 5), elements=FLOATS)),
    arrays(np.float32, 5, elements=FLOATS),
)
def test_the_paper_averages_the_query_with_the_documents(documents, query):
    """Expected: equation 8 of the paper as a loop over its N + 1 terms."""
    total = query.astype(np.float64)
    for document in documents:
        total = total + document
    np.testing.assert_allclose(hyde_vector(query, documents), total / (len(documents) + 1), atol=1e-6)


@given(st.floats(0, 1))
def test_a_weight_moves_between_documents_and_query(weight):
    query, documents = np.array([1.0, 0.0]), np.array([[0.0, 2.0], [0.0, 4.0]])
    np.testing.assert_allclose(hyde_vector(query, documents, weight), [weight, 3 * (1 - weight)], atol=1e-6)


def test_no_document_gives_the_query_and_nothing_is_normalised():
    query = np.array([3.0, 4.0], dtype=np.float32)
    np.testing.assert_array_equal(hyde_vector(query, np.empty((0, 2))), query)
    assert np.linalg.norm(hyde_vector(query, query[None])) == pytest.approx(5)


def test_the_paper_setting_is_the_papers():
    assert (PAPER.n, PAPER.temperature, PAPER.max_tokens) == (8, 0.7, 512)
    assert (PAPER.guard, PAPER.fuse, PAPER.senses) == (False, False, False)
    assert PAPER.weight(8) == pytest.approx(1 / 9)
    assert DEFAULT.n == 2
    assert DEFAULT.guard


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"n": 0}, "n=0"),
        ({"temperature": 3}, "temperature=3"),
        ({"max_tokens": 0}, "max_tokens=0"),
        ({"query_weight": 1.5}, "query_weight=1.5"),
        ({"query_weight": "half"}, "query_weight='half'"),
    ],
)
def test_settings_without_meaning_are_refused(options, match):
    with pytest.raises(UsageError, match=match):
        Hyde(**options)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(DataError, match=r"\(3,\) and \(1, 2\)"):
        hyde_vector(np.zeros(3), np.zeros((1, 2)))


def test_feedback_is_the_mean_of_query_and_first_hits():
    class Index:
        def rows(self, wanted):
            return np.eye(4, dtype=np.float32)[wanted]

    np.testing.assert_allclose(feedback_vector(np.zeros(4, np.float32), Index(), [0, 1, 2, 3]), [0.25, 0.25, 0.25, 0])
    np.testing.assert_array_equal(feedback_vector(np.ones(4, np.float32), Index(), []), np.ones(4))
