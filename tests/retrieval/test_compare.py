"""Comparisons of runs, against scipy's bootstrap and permutation test."""

from __future__ import annotations

import numpy as np
import pytest

from mumei.core.errors import UsageError
from mumei.retrieval.compare import bootstrap_means, compare, properties, sign_flip_p

JUDGED = {f"q{i:02d}": {"r": 1} for i in range(40)}


def run(places):
    """A run whose query i has the relevant document at a place (0: not at all)."""
    return {q: [f"x{i}" for i in range(p - 1)] + ["r"] if p else ["x"] for q, p in zip(JUDGED, places, strict=True)}


@pytest.fixture
def runs():
    rng = np.random.default_rng(3)
    return run(rng.integers(1, 6, 40)), run(rng.integers(1, 4, 40))


def test_interval_and_p_agree_with_scipy(runs):
    """Expected: scipy.stats.bootstrap (percentile) and permutation_test (samples) on the same differences."""
    from scipy import stats

    found = compare(*runs, JUDGED, "MRR").total
    change = np.array([1 / (len(runs[1][q])) - 1 / (len(runs[0][q])) for q in JUDGED])
    theirs = stats.bootstrap((change,), np.mean, n_resamples=20_000, method="percentile", rng=1).confidence_interval
    assert found.mean == pytest.approx(change.mean())
    assert (found.low, found.high) == (pytest.approx(theirs.low, abs=0.01), pytest.approx(theirs.high, abs=0.01))
    flips = stats.permutation_test(
        (change, np.zeros(40)), lambda a, b: np.mean(a - b), permutation_type="samples", rng=1
    )
    assert found.p == pytest.approx(flips.pvalue, abs=0.01)


def test_wins_ties_losses_and_the_largest():
    a, b = run([2] * 40), run([1] * 3 + [2] * 35 + [0, 4])
    found = compare(a, b, JUDGED, "MRR")
    assert (found.total.wins, found.total.ties, found.total.losses) == (3, 35, 2)
    assert [query for query, _, _ in found.gains] == ["q00", "q01", "q02"]
    assert [query for query, _, _ in found.harms] == ["q38", "q39"]
    assert found.total.queries == 40


def test_equal_runs_differ_by_nothing():
    found = compare(run([1] * 40), run([1] * 40), JUDGED)
    assert (found.total.mean, found.total.low, found.total.high, found.total.p) == (0, 0, 0, 1)
    assert found.gains == found.harms == []


def test_slices_and_their_warning(runs):
    found = compare(*runs, JUDGED, slices=lambda query: "low" if query < "q20" else "high" if query < "q38" else "few")
    assert {name: d.queries for name, d in found.slices.items()} == {"low": 20, "high": 18}
    assert found.few == {"few": 2}
    table = found.to_table(("BM25", "HyDE"))
    assert "fewer than 5 queries were left out: few" in table
    assert "2 slices" in table
    assert "BM25" in table


def test_a_query_may_be_in_several_slices_and_one_of_all_queries_is_left_out(runs):
    """Expected: the difference of a slice is that of the same queries compared alone."""
    slices = {q: ["all of them", "even"] if int(q[1:]) % 2 == 0 else ["all of them"] for q in JUDGED}
    found = compare(*runs, JUDGED, slices=slices).slices
    alone = compare(*runs, {q: judged for q, judged in JUDGED.items() if int(q[1:]) % 2 == 0}).total
    assert found == {"even": alone}


def test_properties_of_queries():
    assert properties("which of these words are many", {"type": "list", "language": "ja", "batch": 3}) == [
        "length 6 to 12 words",
        "type list",
        "language ja",
    ]
    assert properties("a " * 13) == ["length over 12 words"]


def test_the_same_seed_gives_the_same_interval(runs):
    assert compare(*runs, JUDGED, seed=1) == compare(*runs, JUDGED, seed=1)


def test_a_query_that_one_run_lacks_counts_0_there():
    a = run([1] * 40)
    b = {q: ranking for q, ranking in a.items() if q != "q00"}
    found = compare(a, b, JUDGED, "MRR")
    assert found.harms == [("q00", 1.0, 0.0)]
    assert found.missing == (0, 1)
    assert "HyDE lacks 1 queries, counted 0" in found.to_table(("BM25", "HyDE"))


def test_many_queries_stay_within_memory():
    """600,000 values: 10,000 resamples would be 48 GB at once."""
    assert bootstrap_means(np.ones(600_000), resamples=5).tolist() == [1.0] * 5
    assert sign_flip_p(np.ones(600_000), resamples=5) == pytest.approx(1 / 6)


def test_no_query_is_refused():
    with pytest.raises(UsageError, match="judged"):
        compare({"x": ["a"]}, {"x": ["a"]}, JUDGED)
