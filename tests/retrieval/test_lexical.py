"""Lexical search against BM25 computed by hand, and its tokens."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mumei.core.errors import ArtifactError
from mumei.retrieval.lexical import K1, B, LexicalIndex, overlap, tokens

TEXTS = [
    "heart failure drugs",
    "heart heart valve",
    "",
    "lung cancer screening by imaging",
    "肺炎の治療",
    "drugs for the heart",
]


def by_hand(word: str, text: str) -> float:
    """BM25 in Lucene's form: idf = ln(1 + (N - df + .5)/(df + .5)), tf/(tf + k1 (1 - b + b L/mean L))."""
    split = [tokens(t) for t in TEXTS]
    df = sum(word in s for s in split)
    mean = sum(map(len, split)) / len(split)
    mine = tokens(text)
    tf = mine.count(word)
    idf = math.log(1 + (len(TEXTS) - df + 0.5) / (df + 0.5))
    return idf * tf / (tf + K1 * (1 - B + B * len(mine) / mean))


def test_scores_equal_the_formula(tmp_path):
    index = LexicalIndex.build(TEXTS, tmp_path / "lexical")
    rows, scores = index.search("heart drugs", 10)
    expected = {i: by_hand("heart", t) + by_hand("drug", t) for i, t in enumerate(TEXTS)}
    assert dict(zip(rows, scores, strict=True)) == pytest.approx({i: s for i, s in expected.items() if s > 0}, rel=1e-5)
    assert rows == sorted(rows, key=lambda r: (-expected[r], r))


def test_unspaced_scripts_are_found_by_bigrams(tmp_path):
    index = LexicalIndex.build(TEXTS, tmp_path / "lexical")
    assert index.search("肺炎", 3)[0] == [4]
    assert LexicalIndex.open(tmp_path / "lexical").search("治療", 3)[0] == [4]


def test_unknown_words_and_empty_collections_find_nothing(tmp_path):
    assert LexicalIndex.build(TEXTS, tmp_path / "a").search("zebra", 3) == ([], [])
    assert LexicalIndex.build(["", "  "], tmp_path / "b").search("heart", 3) == ([], [])
    assert len(LexicalIndex.open(tmp_path / "b")) == 2


def test_shards_cover_all_rows(tmp_path):
    texts = [f"word{i} common" for i in range(10)]
    index = LexicalIndex.build(texts, tmp_path / "lexical", shard=3)
    assert len(index) == 10
    assert all(index.search(f"word{i}", 1)[0] == [i] for i in range(10))
    assert sorted(index.search("common", 20)[0]) == list(range(10))


def test_no_index_says_so(tmp_path):
    with pytest.raises(ArtifactError, match="no lexical index"):
        LexicalIndex.open(tmp_path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The BRCA1 genes", ["brca1", "gene"]),
        ("beta-blockers", ["beta-blocker", "beta", "blocker"]),
        ("studies of diabetes mellitus", ["study", "diabete", "mellitus"]),
        ("肺", ["肺"]),
        ("!!! ...", []),
    ],
)
def test_tokens(text, expected):
    assert tokens(text) == expected


@given(st.text(max_size=200))
def test_tokens_never_fail_and_never_hold_space(text):
    assert all(t and not t.isspace() for t in tokens(text))


def test_overlap_is_in_the_order_of_the_query():
    assert overlap("valve heart valve lung", "Heart valves") == ["valve", "heart"]
