"""Measures: values by hand, by brute force, and by trec_eval."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mumei.core.errors import DataError, UsageError
from mumei.retrieval.evaluate import Measure, evaluate, mean_ndcg, ndcg, order

GRADES = st.dictionaries(st.sampled_from([f"d{i}" for i in range(12)]), st.integers(-1, 3), min_size=1)
SCORES = st.dictionaries(st.sampled_from([f"d{i}" for i in range(12)]), st.integers(0, 4).map(float), min_size=1)
RUNS = st.dictionaries(st.sampled_from("abc"), st.tuples(SCORES, GRADES), min_size=1)
ALL = ["nDCG@3", "nDCG@10", "AP", "AP@3", "R@3", "R", "P@5", "MRR", "MRR@2", "success@1"]
TREC = {"nDCG@3": "ndcg_cut_3", "nDCG@10": "ndcg_cut_10", "AP": "map", "AP@3": "map_cut_3", "R@3": "recall_3"}
TREC |= {"P@5": "P_5", "MRR": "recip_rank", "success@1": "success_1"}


def test_values_by_hand():
    """Relevant: b (grade 2) at place 2, c (1) at place 4, e (1) not found."""
    judged = {"b": 2, "c": 1, "e": 1, "a": 0}
    found = evaluate({"q": ["a", "b", "x", "c"]}, {"q": judged}, ALL).mean
    ideal = 2 + 1 / math.log2(3) + 1 / 2
    assert found["nDCG@3"] == pytest.approx(2 / math.log2(3) / ideal)
    assert found["nDCG@10"] == pytest.approx((2 / math.log2(3) + 1 / math.log2(5)) / ideal)
    assert found["AP"] == pytest.approx((1 / 2 + 2 / 4) / 3)
    assert found["AP@3"] == pytest.approx((1 / 2) / 3)
    assert (found["R@3"], found["R"]) == (pytest.approx(1 / 3), pytest.approx(2 / 3))
    assert found["P@5"] == pytest.approx(2 / 5)
    assert (found["MRR"], found["MRR@2"], found["success@1"]) == (0.5, 0.5, 0.0)


@settings(max_examples=150, deadline=None)
@given(RUNS)
def test_equal_to_trec_eval(data):
    """Expected: trec_eval itself, through pytrec_eval; ties, grades below 1 and unjudged documents included."""
    pytrec_eval = pytest.importorskip("pytrec_eval")
    run = {q: scores for q, (scores, _) in data.items()}
    judged = {q: grades for q, (_, grades) in data.items()}
    expected = pytrec_eval.RelevanceEvaluator(judged, set(TREC.values())).evaluate(run)
    found = evaluate(run, judged, list(TREC)).per_query
    for name, theirs in TREC.items():
        for query in run:
            assert found[name][query] == pytest.approx(expected[query][theirs], abs=1e-6), (name, query)


def test_equal_scores_go_by_id_the_larger_first():
    assert order({"a": 1.0, "c": 1.0, "b": 2.0}) == ["b", "c", "a"]


def test_a_query_that_the_run_lacks_counts_0_or_is_skipped():
    judged = {"q": {"a": 1}, "r": {"a": 1}}
    zero = evaluate({"q": ["a"]}, judged, ["R@1"])
    assert (zero.mean["R@1"], zero.missing) == (0.5, ("r",))
    assert "over 2 queries; 1 not in the run count 0" in zero.to_table()
    skipped = evaluate({"q": ["a"]}, judged, ["R@1"], missing="skip")
    assert skipped.mean["R@1"] == 1
    assert "over 1 queries; 1 not in the run left out" in skipped.to_table()


def test_a_query_without_a_relevant_document_counts_0():
    assert evaluate({"q": ["a"]}, {"q": {"a": 0}}, ALL).mean == dict.fromkeys(ALL, 0.0)


def test_or_is_left_out():
    judged = {"q": {"a": 1}, "r": {"a": 0}, "s": {}}
    found = evaluate({"q": ["a"], "r": ["a"]}, judged, ["R@1"], empty="skip")
    assert (found.mean["R@1"], found.empty, found.missing) == (1.0, ("r", "s"), ("s",))
    assert "2 without a relevant document left out" in found.to_table()


def test_scores_are_compared_as_32_bit_numbers():
    """Expected: trec_eval's own answer: 1 and 1 + 1e-9 are equal there, so the larger id comes first."""
    pytrec_eval = pytest.importorskip("pytrec_eval")
    run, judged = {"q": {"a": 1 + 1e-9, "b": 1.0}}, {"q": {"a": 1}}
    theirs = pytrec_eval.RelevanceEvaluator(judged, {"recip_rank"}).evaluate(run)["q"]["recip_rank"]
    assert evaluate(run, judged, ["MRR"]).mean["MRR"] == theirs == 0.5


def test_a_run_may_be_a_stream():
    pairs = ((f"q{i}", ["a", "b"]) for i in range(3))
    assert evaluate(pairs, {f"q{i}": {"b": 1} for i in range(3)}, ["MRR"]).mean["MRR"] == 0.5


@pytest.mark.parametrize(
    ("text", "name", "k"),
    [
        ("nDCG@10", "nDCG@10", 10),
        ("ndcg", "nDCG@10", 10),
        ("map", "AP", None),
        ("recall@5", "R@5", 5),
        ("rr", "MRR", None),
    ],
)
def test_names_of_measures(text, name, k):
    assert Measure.parse(text) == Measure(name, k)


@pytest.mark.parametrize(
    ("text", "message"),
    [("nDGC@10", "Did you mean"), ("P", "needs a depth"), ("R@0", "whole number"), ("R@x", "whole number")],
)
def test_wrong_names_are_refused(text, message):
    with pytest.raises(UsageError, match=message):
        Measure.parse(text)


def test_wrong_input_is_refused():
    with pytest.raises(UsageError, match="no query of the run is judged"):
        evaluate({"x": ["a"]}, {"q": {"a": 1}})
    with pytest.raises(UsageError, match="at least one judged query"):
        evaluate({"x": ["a"]}, {})
    with pytest.raises(UsageError, match="missing"):
        evaluate({"q": ["a"]}, {"q": {"a": 1}}, missing="zeros")
    with pytest.raises(UsageError, match="empty"):
        evaluate({"q": ["a"]}, {"q": {"a": 1}}, empty="zeros")
    with pytest.raises(UsageError, match="'q' comes twice"):
        evaluate([("q", ["a"]), ("q", ["b"])], {"q": {"a": 1}})
    with pytest.raises(DataError, match="NaN"):
        evaluate({"q": {"a": float("nan")}}, {"q": {"a": 1}})
    with pytest.raises(DataError, match="names a document twice"):
        evaluate({"q": ["a", "a"]}, {"q": {"a": 1}})
    with pytest.raises(UsageError, match="k=0"):
        ndcg(["a"], {"a": 1}, k=0)
    with pytest.raises(UsageError, match="at least one"):
        mean_ndcg({}, {})


def test_mean_ndcg_counts_absent_questions_as_0():
    assert mean_ndcg({"q": ["a"]}, {"q": {"a": 1}, "r": {"a": 1}}) == 0.5
