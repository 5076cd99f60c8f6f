"""Known items: who is drawn, what a query is, and what rankers score on them."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mumei.core.errors import DataError, UsageError
from mumei.retrieval.documents import Document
from mumei.retrieval.known_item import KnownItem, find_known_items, known_items, query_of, without_query


def documents(n=50):
    return [
        Document(str(i), f"The title of document {i}", f"This is sentence {i} first. Second one.") for i in range(n)
    ]


def test_known_items_are_documents_own_titles_or_sentences():
    assert known_items(documents(3)) == [KnownItem(f"The title of document {i}", str(i)) for i in range(3)]
    assert known_items(documents(1), kind="sentence") == [KnownItem("This is sentence 0 first.", "0")]


def test_a_seeded_sample_that_favours_no_document():
    """Expected: each of 50 documents is drawn in 10/50 of the samples; 5 standard errors of 300 draws."""
    assert known_items(documents(), 10, seed=1) == known_items(documents(), 10, seed=1)
    drawn = [item.id for seed in range(300) for item in known_items(documents(), 10, seed=seed)]
    shares = [drawn.count(str(i)) / 300 for i in range(50)]
    assert max(abs(share - 0.2) for share in shares) < 5 * (0.2 * 0.8 / 300) ** 0.5


def test_titles_that_are_shared_or_short_are_no_query():
    twice = [Document("a", "The same long title", "x"), Document("b", "The same long title", "y")]
    with pytest.raises(DataError, match="no document has a title"):
        known_items([*twice, Document("c", "Short", "z")])
    with pytest.raises(UsageError, match="Did you mean 'title'"):
        known_items(documents(), kind="titel")
    with pytest.raises(UsageError, match="count=0"):
        known_items(documents(), 0)


def test_the_sample_does_not_depend_on_the_order():
    some = documents()
    expected = set(known_items(some, 10, seed=2))
    for seed in range(3):
        random.Random(seed).shuffle(some)
        assert set(known_items(some, 10, seed=2)) == expected


@settings(deadline=None)
@given(st.lists(st.integers(0, 12), min_size=1, max_size=40), st.integers(1, 8), st.integers(0, 3))
def test_no_drawn_title_is_shared(titles, count, seed):
    """Expected: by counting all titles, which the sample does not hold."""
    some = [Document(str(i), f"The title of document {t}") for i, t in enumerate(titles)]
    own = {d.id for d in some if titles.count(int(d.title.split()[-1])) == 1}
    try:
        drawn = known_items(some, count, seed)
    except DataError:
        drawn = []
    assert {item.id for item in drawn} <= own
    assert len(drawn) == len({item.id for item in drawn}) <= count
    if len(set(titles)) <= 2 * count:
        assert len(drawn) == min(count, len(own))


def test_what_is_left_of_a_document_does_not_hold_its_query():
    document = Document("1", "A title", "A title. Then more. And more.", {"year": 3})
    assert without_query(document) == Document("1", "", "Then more. And more.", {"year": 3})
    assert without_query(document, "sentence") == Document("1", "A title", "Then more. And more.", {"year": 3})
    single = Document("1", "A title", "One sentence alone.")
    assert query_of(single, "sentence") == ""
    assert without_query(single, "sentence") == single


def test_rankers_are_measured_side_by_side():
    """Expected by hand: places 1, 3, 11 (not looked at) and none of four items."""
    items = [KnownItem(f"query number {i}", f"d{i}") for i in range(4)]
    places = [1, 3, 11, 0]

    def search(queries, k):
        assert queries == [item.query for item in items]
        fill = [f"x{i}" for i in range(20)]
        return [[*fill[: p - 1], f"d{i}", *fill[p:]] if p else fill for i, p in enumerate(places)]

    found = find_known_items({"mine": search, "perfect": lambda queries, k: [[item.id] for item in items]}, items)
    assert found["mine"].mean == pytest.approx({"MRR@10": (1 + 1 / 3) / 4, "success@1": 0.25, "success@10": 0.5})
    assert set(found["perfect"].mean.values()) == {1.0}


def test_rankings_that_are_not_one_a_query_are_refused():
    with pytest.raises(DataError, match="'mine' returned 2 rankings for 1 queries"):
        find_known_items({"mine": lambda queries, k: [["a"], ["b"]]}, [KnownItem("a query", "a")])
    with pytest.raises(UsageError, match="no known items"):
        find_known_items({}, [])
