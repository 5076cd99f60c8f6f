"""Rows to records: every schema, defaults, lookups, conditions, and options that cannot be used."""

from __future__ import annotations

import hashlib
from inspect import signature

import pytest

from mumei.core.errors import UsageError
from mumei.data import load, readers
from mumei.data.documents import Entailment, LabelledText, Question, TextPair, TextToText
from mumei.data.readers.base import Problems, ReadError
from mumei.data.readers.json import read_jsonl
from mumei.data.schemas import NULL


def read(files, **options):
    return list(read_jsonl(files, Problems(), **options))


def test_rows_under_their_schemas_own_names_need_no_fields(files):
    given = files(
        {"a.jsonl": '{"premise": "p", "hypothesis": "h", "label": 1}\n\n{"premise":"p","hypothesis":"h","label":"x"}'}
    )
    assert read(given, schema="te") == [
        Entailment("a_1", "p", "h", "1", {}, "", "a.jsonl", 1),
        Entailment("a_2", "p", "h", "x", {}, "", "a.jsonl", 3),
    ]
    (text,) = read(
        files({"b.jsonl": '{"id": 3, "text": "t", "labels": ["x", "y"]}'}, "b"), schema="TEXT", prefix="dev_"
    )
    assert text == LabelledText("dev_3", "dev_3", "t", ["x", "y"], {}, "", "b.jsonl", 1)
    (pair,) = read(
        files({"c.jsonl": '{"document_id": 9, "text_1": "t", "text_2": "u", "label": 0.5}'}, "c"), schema="pairs"
    )
    assert pair == TextPair("c_1", "9", "t", "u", "0.5", {}, "", "c.jsonl", 1)
    (both,) = read(files({"d.jsonl": '{"text_1": "t", "text_2": "u"}'}, "d"), schema="bigbio_t2t")
    assert both == TextToText("d_1", "d_1", "t", "u", NULL, NULL, {}, "", "d.jsonl", 1)
    (question,) = read(
        files({"e.jsonl": '{"id": "q", "question": "?", "type": "list", "answer": "a"}'}, "e"), schema="qa"
    )
    assert question == Question("q", "q", "q", "?", "list", [], "", ["a"], {}, "", "e.jsonl", 1)


def test_fields_metadata_and_ids(files):
    given = files({"d/x.jsonl": '{"q": "?", "n": 4, "k": "yesno", "gold": ["yes"], "extra": {"a": [1]}}'})
    (found,) = read(
        given,
        schema="qa",
        prefix="p_",
        fields={
            "id": "n",
            "question": "q",
            "type": "k",
            "choices": {"value": ["yes", "no"]},
            "answer": "gold",
            "metadata": {"extra": "extra", "row": "#row", "missing": "nowhere"},
        },
    )
    assert found == Question(
        "p_4",
        "p_4",
        "p_4",
        "?",
        "yesno",
        ["yes", "no"],
        "",
        ["yes"],
        {"extra": '{"a": [1]}', "row": "1"},
        "",
        "d/x.jsonl",
        1,
    )


def test_lookups_keep_and_drop(files):
    given = files(
        {
            "main.jsonl": "\n".join(f'{{"id": {n}, "text": "t", "of": "k{n % 3}", "labels": "l"}}' for n in range(6)),
            "side.jsonl": '{"key": "k0", "v": "zero"}\n{"key": "k1", "v": "one"}\n{"key": "k1", "v": "again"}\n{"v": "no key"}\n',
        }
    )
    problems = Problems()
    options = {
        "schema": "text",
        "main": "main*",
        "lookups": {"side": {"files": "side*", "by": "of", "key": "key"}},
        "fields": {"metadata": {"side": "side.v"}},
    }
    found = list(read_jsonl(given, problems, **options))
    assert [r.metadata.get("side") for r in found] == ["zero", "one", None, "zero", "one", None]
    assert [(p.file, p.line, p.skipped) for p in problems.found] == [("side.jsonl", 3, False), ("side.jsonl", 4, False)]
    assert [r.id for r in read(given, **options, keep={"side": "*"})] == ["0", "1", "3", "4"]
    assert [r.id for r in read(given, **options, drop={"side": ["*"]})] == ["2", "5"]
    assert [r.id for r in read(given, **options, keep={"side.v": "one"}, drop={"id": [4]})] == ["1"]


def test_bad_rows_are_named_and_only_they_are_skipped(files):
    given = files(
        {"a.jsonl": '{"text": "t", "labels": "l"}\n{"text": ["a", "b"], "labels": "l"}\n{"text": "u", "labels": "l"}\n'}
    )
    with pytest.raises(ReadError, match=r"a.jsonl:2: row 2: text is a list of 2"):
        read(given, schema="text")
    problems = Problems(keep_going=True)
    assert [r.text for r in read_jsonl(given, problems, schema="text")] == ["t", "u"]
    assert [(p.file, p.line, p.skipped) for p in problems.found] == [("a.jsonl", 2, True)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "rows need a schema"),
        ({"schema": "kb"}, "rows are records of qa, te"),
        ({"schema": "source"}, "rows are records of qa, te"),
        ({"schema": "tet"}, "unknown schema 'tet'"),
        ({"schema": "te", "fields": {"premiss": "x"}}, "unknown field of te 'premiss'. Did you mean 'premise'"),
        ({"schema": "te", "fields": {"premise": 3}}, "fields.premise has to be a path"),
        ({"schema": "te", "fields": {"metadata": "x"}}, "fields.metadata has to be a table"),
        ({"schema": "te", "prefix": 3}, "prefix has to be a text"),
        ({"schema": "te", "main": "*.csv"}, "no file fits main="),
        ({"schema": "te", "lookups": {"x": {"files": "*"}}}, "lookups.x has to be a table with files and by"),
        ({"schema": "te", "lookups": {"x": {"files": "*.csv", "by": "id"}}}, "no file fits '\\*.csv' of lookups.x"),
        (
            {"schema": "te", "lookups": {"x": {"files": "*", "by": "id", "kee": "id"}}},
            "unknown part of lookups.x 'kee'",
        ),
        ({"schema": "te", "keep": "x"}, "keep has to be a table"),
        ({"schema": "te", "encodin": "utf-8"}, "unknown option 'encodin'"),
    ],
)
def test_options_that_cannot_be_used(files, options, message):
    with pytest.raises(UsageError, match=message):
        read(files({"a.jsonl": "{}"}), **options)


def test_options_are_seen_by_name():
    assert "lookups" in signature(readers.reader("csv")).parameters
    readers.check_options("csv", {"delimiter": ",", "fields": {}})
    with pytest.raises(UsageError, match=r"unknown option of the reader csv 'delimeter'. Did you mean 'delimiter'"):
        readers.check_options("csv", {"delimeter": ","})
    assert readers.schema_of("brat", "") == "kb"
    assert readers.schema_of("csv", "te") == "te"
    assert readers.schema_option("brat", "kb") == {}


def test_files_of_ones_own(tmp_path):
    (tmp_path / "README").write_text('not, a "table')
    (tmp_path / "train.csv").write_text("premise,hypothesis,label\na,b,1\n")
    (tmp_path / "test.csv").write_text("premise,hypothesis,label\nc,d,0\n")
    corpus = load(tmp_path, schema="te")
    assert repr(corpus) == f"Corpus('{tmp_path.name}', 'te', train: 1, test: 1)"
    assert corpus["test"].to_pylist() == [{"id": "test_1", "premise": "c", "hypothesis": "d", "label": "0"}]
    source = load(tmp_path, schema="source", options={"schema": "te"})
    assert [r.file for r in source.records("train")] == ["train.csv"]
    with pytest.raises(UsageError, match="the reader csv needs a schema: qa, te, t2t, pairs, text"):
        load(tmp_path)
    with pytest.raises(UsageError, match="needs a schema"):
        load(tmp_path, schema="kb")


def test_options_of_one_split(tmp_path):
    """A recipe's view may give a split options of its own, over those of the view."""
    (tmp_path / "a.jsonl").write_text("".join(f'{{"id": {n}, "text": "t", "labels": "l"}}\n' for n in range(4)))
    sha = hashlib.sha256((tmp_path / "a.jsonl").read_bytes()).hexdigest()
    (tmp_path / "toy.toml").write_text(
        f"""
name = "toy"
title = "t"
description = "d"
homepage = "https://example.org"
citation = "c"
licence = "CC0-1.0"
languages = ["en"]
tasks = ["TXTCLASS"]
files = [{{ name = "a.jsonl", sha256 = "{sha}" }}]
splits = {{ train = ["a.jsonl"], test = ["a.jsonl"] }}
[views.text]
reader = "jsonl"
options = {{ prefix = "p_", drop = {{ id = [0] }} }}
splits.train = {{ keep = {{ id = [0, 1, 2] }} }}
splits.test = {{ keep = {{ id = [3] }}, prefix = "t_" }}
"""
    )
    corpus = load(str(tmp_path / "toy.toml"), folder=tmp_path)
    assert {split: [r.id for r in corpus.records(split)] for split in corpus} == {
        "train": ["p_1", "p_2"],
        "test": ["t_3"],
    }
