"""Tokens by example, and the plain analyzer's published figures on the development data."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mumei.core.errors import UsageError
from mumei.retrieval.analyzers import analyzer, plain, tokens
from mumei.retrieval.evaluate import mean_ndcg
from mumei.retrieval.lexical import LexicalIndex

# nDCG@10 of BM25 (k1 .9, b .4) measured with bm25s and Snowball stems; the Japanese one with character bigrams.
BASELINES = {
    "medline": 0.671,
    "bioasq12b-dev": 0.822,
    "bioasq12b-dev generated": 0.816,
    "pubmedqa": 0.976,
    "liveqa-medquad": 0.391,
    "liveqa-medquad summary": 0.514,
    "jaquad-dev": 0.913,
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("8世紀に日本", ["8", "8世", "世紀", "紀に", "に日", "日本", "世", "紀", "日", "本"]),
        ("BRCA1遺伝子", ["brca1", "1遺", "遺伝", "伝子", "遺", "伝", "子"]),
        ("肺 炎", ["肺", "炎"]),
        ("佐々木", ["佐々", "々木", "佐", "木"]),
        ("snake_case and p53_wt", ["snake_case", "p53_wt"]),
        ("alzheimer's", ["alzheimer'", "alzheimer"]),
    ],
)
def test_words(text, expected):
    assert tokens(text) == expected


def test_unstemmed_words_are_as_written():
    assert tokens("The beta-blockers of 8世紀", stem=False) == ["beta-blockers", "8", "世紀"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The patients were treated with beta-blockers", ["patient", "were", "treat", "beta", "blocker"]),
        ("a I x ray", ["ray"]),
        ("", []),
    ],
)
def test_plain(text, expected):
    assert plain(text) == expected


@given(st.text(max_size=200))
def test_analyzers_never_fail_and_give_no_space(text):
    assert all(t and not t.isspace() for t in tokens(text) + plain(text))


def test_an_unknown_analyzer_says_what_there_is(tmp_path):
    with pytest.raises(UsageError, match="unknown analyzer 'plane'"):
        analyzer("plane")
    with pytest.raises(UsageError, match="unknown analyzer"):
        LexicalIndex.build([], tmp_path / "x", analyzer="plane")


def read(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def measured(data_dir, tmp_path, name, name_of_analyzer):
    """nDCG@10 over a collection's judged queries, documents being "title text"."""
    name, _, kind = name.partition(" ")
    folder = data_dir / "retrieval" / name
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    documents, queries = read(folder / "corpus.jsonl"), read(folder / "queries.jsonl")
    texts = {q["_id"]: q["metadata"]["summary"] if kind == "summary" else q["text"] for q in queries}
    judged: dict[str, dict[str, int]] = {}
    for line in (folder / "qrels.tsv").read_text().splitlines()[1:]:
        query, document, grade = line.split("\t")
        judged.setdefault(query, {})[document] = int(grade)
    if kind == "generated":
        chosen = {g["query_id"] for g in read(folder / "generations.jsonl")}
        judged = {q: grades for q, grades in judged.items() if q in chosen}
    joined = [f"{d['title']} {d['text']}".strip() for d in documents]
    index = LexicalIndex.build(joined, tmp_path / "words", analyzer=name_of_analyzer)
    run = {q: [documents[row]["_id"] for row in index.search(texts[q], 10)[0]] for q in judged}
    return mean_ndcg(run, judged)


@pytest.mark.parametrize("name", BASELINES)
def test_our_words_are_as_good_as_the_baselines_or_better(data_dir, tmp_path, name):
    assert measured(data_dir, tmp_path, name, "words") > BASELINES[name] - 0.005


@pytest.mark.parametrize("name", [name for name in BASELINES if name != "jaquad-dev"])
def test_plain_reproduces_the_baselines(data_dir, tmp_path, name):
    assert measured(data_dir, tmp_path, name, "plain") == pytest.approx(BASELINES[name], abs=0.001)
