"""K-mer profiles against a dictionary count."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mumei.core.errors import DataError, UsageError
from mumei.protein.kmer import KmerEncoder

SEQUENCE = st.text("ACDEFGHIKLMNPQRSTVWY", min_size=3, max_size=80)


@given(SEQUENCE, SEQUENCE)
@settings(max_examples=30, deadline=None)
def test_without_collisions_the_product_is_the_cosine_of_damped_counts(a, b):
    """Expected: a Counter of words; with four million places collisions of so few words are all but excluded."""
    counts = [Counter(s[i : i + 3] for i in range(len(s) - 2)) for s in (a, b)]
    norms = [sum(c.values()) ** 0.5 for c in counts]
    expected = sum((counts[0][w] * counts[1][w]) ** 0.5 for w in counts[0]) / (norms[0] * norms[1])
    vectors = KmerEncoder(3, dim=4_000_037).encode([a, b])
    assert float(vectors[0] @ vectors[1]) == pytest.approx(expected, abs=1e-4)


def test_shape_order_case_and_short_sequences():
    encoder = KmerEncoder()
    vectors = encoder.encode(["MKVLA", "mkvla", "MK", "", "ＭＫ*X-B"])
    assert vectors.shape == (5, 512)
    np.testing.assert_array_equal(vectors[0], vectors[1])
    assert not vectors[2].any()
    assert not vectors[3].any()
    assert encoder.encode([]).shape == (0, 512)


def test_bad_input_is_named():
    with pytest.raises(DataError, match="item 0 is int"):
        KmerEncoder().encode([3])
    with pytest.raises(DataError, match="a list of sequences"):
        KmerEncoder().encode("MKV")
    with pytest.raises(UsageError, match="k=0"):
        KmerEncoder(0)
    with pytest.raises(UsageError, match="dim=1"):
        KmerEncoder(3, 1)
