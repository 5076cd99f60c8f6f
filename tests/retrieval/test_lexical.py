"""Lexical search against BM25 computed by hand, and its tokens."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mumei.core.errors import ArtifactError, DataError, UsageError
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


words = st.lists(
    st.lists(st.sampled_from("heart lung valve drug trial".split()), max_size=6).map(" ".join), max_size=14
)


@settings(deadline=None, max_examples=40)
@given(words, st.lists(st.integers(0, 5), max_size=5), st.integers(1, 6))
def test_scores_do_not_depend_on_shards_or_on_how_rows_came(tmp_path_factory, texts, pieces, shard):
    folder = tmp_path_factory.mktemp("lexical")
    whole = LexicalIndex.build(texts, folder / "whole")
    grown = LexicalIndex.create(folder / "grown", shard=shard)
    at = 0
    for size in [*pieces, len(texts)]:
        grown.append(texts[at : at + size])
        at += size
    for index in (grown, LexicalIndex.open(folder / "grown")):
        assert len(index) == len(texts)
        assert LexicalIndex.rows_in(folder / "grown") == len(texts)
        assert index.search("heart drug heart", 5) == whole.search("heart drug heart", 5)
        assert index.verify() == []


def test_scores_equal_bm25s(tmp_path):
    bm25s = pytest.importorskip("bm25s")
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice([f"w{i}" for i in range(60)], rng.integers(1, 40))) for _ in range(200)]
    index = LexicalIndex.build(texts, tmp_path / "lexical", shard=70)
    vocabulary: dict[str, int] = {}
    rows = [[vocabulary.setdefault(w, len(vocabulary)) for w in tokens(t)] for t in texts]
    theirs = bm25s.BM25(k1=K1, b=B, method="lucene")
    theirs.index(bm25s.tokenization.Tokenized(ids=rows, vocab=vocabulary), show_progress=False)
    expected = theirs.get_scores(["w3", "w7", "w7"])
    found, scores = index.search("w3 w7 w7", 200)
    assert scores == pytest.approx(expected[found].tolist(), rel=1e-5)
    assert sorted(found) == np.flatnonzero(expected > 0).tolist()


def test_a_query_says_how_often_with_k1_and_b(tmp_path):
    index = LexicalIndex.build(["heart heart valve", "heart", "lung"], tmp_path / "lexical")
    idf, mean = math.log(1 + 1.5 / 2.5), 5 / 3
    for k1, b in ((1.2, 0.75), (0.0, 0.0)):
        expected = [idf * tf / (tf + k1 * (1 - b + b * size / mean)) for tf, size in ((2, 3), (1, 1))]
        rows, scores = index.search("heart", 2, k1=k1, b=b)
        assert dict(zip(rows, scores, strict=True)) == pytest.approx(dict(enumerate(expected)))


def test_only_allowed_rows_are_found_and_scores_stay(tmp_path):
    index = LexicalIndex.build(TEXTS, tmp_path / "lexical", shard=2)
    every = dict(zip(*index.search("heart drugs", 10), strict=True))
    allow = np.array([False, True, True, True, True, True])
    assert dict(zip(*index.search("heart drugs", 10, allow=allow), strict=True)) == {
        r: s for r, s in every.items() if r
    }
    assert index.search("heart", 10, allow=np.zeros(6, bool)) == ([], [])
    for wrong in (np.zeros(5, bool), np.zeros(6, int)):
        with pytest.raises(DataError, match="one bool a row"):
            index.search("heart", 1, allow=wrong)
    with pytest.raises(UsageError, match="k=0"):
        index.search("heart", 0)


def test_equal_scores_at_the_border_are_won_by_the_lower_row(tmp_path):
    index = LexicalIndex.build(["heart"] * 50, tmp_path / "lexical", shard=7)
    assert index.search("heart", 3)[0] == [0, 1, 2]


def test_full_shards_are_not_written_again_and_old_ones_are_swept(tmp_path):
    index = LexicalIndex.create(tmp_path, shard=3)
    index.append(["a1", "a2", "a3", "a4"])
    first = {p.name for p in tmp_path.glob("shard-*")}
    index.append(["a5"])
    index.append(["a6", "a7"])
    named = [s["folder"] for s in json.loads((tmp_path / "lexical.json").read_text())["shards"]]
    assert len(first & set(named)) == 1
    LexicalIndex.sweep(tmp_path)
    assert sorted(p.name for p in tmp_path.glob("shard-*")) == sorted(named)
    assert [LexicalIndex.open(tmp_path).search(f"a{i}", 1)[0] for i in range(1, 8)] == [[i] for i in range(7)]


def test_the_analyzer_is_kept(tmp_path):
    LexicalIndex.build(["the treated"], tmp_path / "a", analyzer="plain")
    index = LexicalIndex.open(tmp_path / "a")
    index.append(["treating"])
    assert (index.analyzer, index.search("treat", 5)[0]) == ("plain", [0, 1])
    with pytest.raises(ArtifactError, match="holds a lexical index already"):
        LexicalIndex.create(tmp_path / "a")
    with pytest.raises(UsageError, match="shard=0"):
        LexicalIndex.create(tmp_path / "b", shard=0)


def test_damage_and_other_formats_are_said(tmp_path):
    LexicalIndex.build(TEXTS, tmp_path / "a")
    manifest = json.loads((tmp_path / "a" / "lexical.json").read_text())
    for version, advice in ((1, "make it anew"), (9, "update mumei")):
        (tmp_path / "a" / "lexical.json").write_text(json.dumps({**manifest, "format": version}))
        with pytest.raises(ArtifactError, match=advice):
            LexicalIndex.open(tmp_path / "a")
    manifest["shards"][0]["rows"] = 5
    (tmp_path / "a" / "lexical.json").write_text(json.dumps(manifest))
    assert "has 6 rows, not 5" in LexicalIndex.open(tmp_path / "a").verify()[0]
    (tmp_path / "a" / "lexical.json").write_text("{")
    with pytest.raises(ArtifactError, match="cannot be read"):
        LexicalIndex.rows_in(tmp_path / "a")
