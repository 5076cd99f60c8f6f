"""nDCG against scikit-learn's and against hand counts; fusion against its formula."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from mumei.core.errors import UsageError
from mumei.retrieval.evaluate import mean_ndcg, ndcg
from mumei.retrieval.fusion import reciprocal_rank_fusion


@given(st.lists(st.integers(0, 3), min_size=2, max_size=30), st.integers(1, 12))
@settings(deadline=None)
def test_ndcg_equals_scikit_learns(grades, k):
    """Expected: sklearn.metrics.ndcg_score, which has the same linear gain, with scores that keep the order."""
    ids = [str(i) for i in range(len(grades))]
    expected = ndcg_score([grades], [np.arange(len(grades), 0, -1)], k=k) if any(grades) else 0.0
    assert ndcg(ids, dict(zip(ids, grades, strict=True)), k) == pytest.approx(expected)


def test_missing_and_unjudged_documents_count_nothing():
    assert ndcg(["x", "y"], {"a": 1}) == 0
    assert ndcg([], {"a": 1}) == 0
    assert mean_ndcg({"q1": ["a"]}, {"q1": {"a": 1}, "q2": {"b": 1}}) == 0.5
    with pytest.raises(UsageError, match="k=0"):
        ndcg(["a"], {"a": 1}, 0)
    with pytest.raises(UsageError, match="at least one"):
        mean_ndcg({}, {})


def test_fusion_follows_the_formula():
    fused = reciprocal_rank_fusion([[7, 3], [3]], 5)
    assert [row for row, _ in fused] == [3, 7]
    assert fused[0][1] == pytest.approx((1 / 62 + 1 / 61) / (2 / 61))
    assert reciprocal_rank_fusion([[1, 2], [1, 2]], 1) == [(1, 1.0)]
    assert [r for r, _ in reciprocal_rank_fusion([[5], [4]], 2)] == [4, 5]
