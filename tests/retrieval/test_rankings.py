"""Runs of every way to search."""

from __future__ import annotations

import pytest
from toys import Scripted, ToyMaterial

from mumei.core.errors import DataError, MumeiError
from mumei.retrieval.rankings import make_runs
from mumei.retrieval.searcher import Searcher


def test_runs_hold_the_best_of_each_way_in_order():
    material = ToyMaterial()
    queries = {"a": "vaccine antibody", "b": "heart artery", "empty": " "}
    runs = make_runs(material, queries, 5, generator=Scripted("The heart pumps blood.")).runs
    assert list(runs) == ["words", "meaning", "joined", "hyde", "joined with hyde"]
    for run in runs.values():
        assert list(run) == ["a", "b"]
        assert all(list(ranking.values()) == [-1.0, -2.0, -3.0, -4.0, -5.0] for ranking in run.values())
    expected = [f"n{row}" for row, _ in Searcher(material, mode="off").ranked("heart artery", 5)]
    assert list(runs["joined"]["b"]) == expected


def test_without_a_generator_there_are_three_ways_and_dead_rows_are_left_out():
    material = ToyMaterial()
    material.live[:45] = False
    runs = make_runs(material, {"a": "vaccine antibody"}, 90).runs
    assert list(runs) == ["words", "meaning", "joined"]
    assert all(int(document[1:]) >= 45 for run in runs.values() for document in run["a"])


class Down:
    name = "down"

    def generate(self, prompts, **options):
        raise MumeiError("the endpoint is down")


def test_a_generator_that_fails_from_the_first_query_on_ends_the_evaluation():
    with pytest.raises(DataError, match="first 3 queries"):
        make_runs(ToyMaterial(), {str(i): "heart artery" for i in range(5)}, 5, generator=Down())


def test_queries_that_fell_back_are_named():
    made = make_runs(ToyMaterial(), {"a": "heart artery", "b": "stroke"}, 5, generator=Down())
    assert made.failed == {"a": "the endpoint is down", "b": "the endpoint is down"}
