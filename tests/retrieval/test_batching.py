"""Batches cover every text once, within their limits, and the thread that tokenises ahead changes nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mumei.core.errors import DataError, UsageError
from mumei.retrieval import batching
from mumei.retrieval.batching import (
    check_max_tokens,
    check_texts,
    group_by_equal_length,
    group_by_length,
    token_batches,
)


@given(st.lists(st.integers(1, 30), max_size=60), st.one_of(st.none(), st.integers(1, 9)), st.integers(1, 100))
def test_batches_of_one_length_cover_each_row_once(lengths, batch_size, budget):
    tokens = [[i] * n for i, n in enumerate(lengths)]
    batches = list(group_by_equal_length(list(range(len(lengths))), tokens, batch_size, budget))
    assert sorted(r for rows, _ in batches for r in rows) == list(range(len(lengths)))
    for rows, ids in batches:
        assert [tokens[r] for r in rows] == ids
        assert len({len(i) for i in ids}) == 1
        assert len(ids) == 1 or sum(map(len, ids)) <= budget
        assert batch_size is None or len(ids) <= batch_size


@given(st.lists(st.text(max_size=5), max_size=30), st.integers(1, 7))
def test_tokenising_ahead_gives_what_tokenising_at_once_gives(texts, at_once):
    """Expected: `group_by_length` of each slice of texts, tokenised in the caller's thread."""

    def tokenise(some):
        return [[ord(c) for c in text] for text in some]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batching, "TEXTS_PER_TOKENISING", at_once)
        got = list(token_batches(texts, tokenise, group_by_length))
    expected = []
    for start in range(0, len(texts), at_once):
        part = texts[start : start + at_once]
        expected += group_by_length(list(range(start, start + len(part))), tokenise(part))
    assert got == expected


def test_an_error_of_the_tokenizer_reaches_the_caller():
    def tokenise(some):
        raise ValueError("no such word")

    with pytest.raises(ValueError, match="no such word"):
        list(token_batches(["a"], tokenise, group_by_length))


def test_what_is_not_text_is_named():
    assert check_texts(("a", "")) == ["a", ""]
    with pytest.raises(DataError, match="item 1 is float"):
        check_texts(["a", 2.5])
    with pytest.raises(DataError, match="a list of texts"):
        check_texts("ab")
    assert check_max_tokens(3) == 3
    with pytest.raises(UsageError, match="max_tokens=2"):
        check_max_tokens(2)
