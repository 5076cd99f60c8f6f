"""Loading: names, paths, splits, the cache and its bytes, and what goes wrong with files."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from mumei.core.errors import DataError, FetchError, UsageError
from mumei.data import load
from mumei.data.corpus import corpus_of
from mumei.data.documents import Document
from mumei.data.readers.base import ReadError

ONE = "1|t|Ab\n1|a|cd\n1\t0\t2\tAb\tGene\tD1\n\n"
TWO = "2|t|Ef\n2|a|\n\n"
RECIPE = """
name = "toy"
title = "t"
description = "d"
homepage = "https://example.org/toy"
citation = "c"
licence = "CC0-1.0"
languages = ["en"]
tasks = ["NER"]
views.kb.reader = "pubtator"
files = [{{ name = "toy.zip", sha256 = "{sha}" }}]
[splits]
train = ["toy.zip!train/*"]
test = ["toy.zip!test/*"]
"""


@pytest.fixture
def toy(tmp_path) -> Path:
    """A recipe with its archive beside it."""
    with zipfile.ZipFile(tmp_path / "toy.zip", "w") as archive:
        archive.writestr("train/b.txt", TWO)
        archive.writestr("train/a.txt", ONE)
        archive.writestr("test/a.txt", ONE)
    sha = hashlib.sha256((tmp_path / "toy.zip").read_bytes()).hexdigest()
    (tmp_path / "toy.toml").write_text(RECIPE.format(sha=sha))
    return tmp_path / "toy.toml"


def parquets(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*.parquet"))}


def arrows(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*.arrow"))}


def test_recipe_of_ones_own(toy, cache):
    corpus = load(str(toy), folder=toy.parent)
    assert repr(corpus) == "Corpus('toy', 'kb', train: 2, test: 1)"
    assert [r.id for r in corpus.records()] == ["1", "2", "1.2"]
    assert [(r.split, r.file, r.line) for r in corpus.records()] == [
        ("train", "toy.zip!train/a.txt", 1),
        ("train", "toy.zip!train/b.txt", 1),
        ("test", "toy.zip!test/a.txt", 1),
    ]
    assert corpus["test"].to_pylist()[0]["entities"][0]["id"] == "1.2_T1"
    assert "the id 1 occurs again" in corpus.problems[0].message
    source = load(str(toy), folder=toy.parent, schema="source", split="test")
    assert source.splits == ["test"]
    assert source["test"].column_names[-1] == "line"
    assert source.to_bigbio()["test"].equals(corpus["test"])
    with pytest.raises(UsageError, match=r"unknown split of toy 'tset'\. Did you mean 'test'"):
        load(str(toy), folder=toy.parent, split="tset")


def test_bytes_are_the_same_whatever_the_hash_seed(toy, cache, tmp_path):
    code = "import sys; from mumei.data import load; load(sys.argv[1], folder=sys.argv[2])"
    found = []
    for seed in ("0", "1", "77"):
        own = tmp_path / f"cache{seed}"
        env = {**os.environ, "PYTHONHASHSEED": seed, "MUMEI_CACHE": str(own)}
        subprocess.run([sys.executable, "-c", code, str(toy), str(toy.parent)], check=True, env=env)
        found.append(parquets(own) | arrows(own))
    assert len(found[0]) == 8  # two splits of source and of kb, twice
    assert found[0] == found[1] == found[2]


def test_parquet_holds_what_the_mapped_file_holds_and_stands_in_for_it(toy, cache):
    first = load(str(toy), folder=toy.parent)
    tables = {split: first[split] for split in first.splits}
    assert all(table.num_rows for table in tables.values())
    mapped = list((cache / "data").glob("*-kb/*.arrow"))
    assert sorted(path.stem for path in mapped) == sorted(tables)
    for path in mapped:
        assert pq.read_table(path.with_suffix(".parquet")).equals(tables[path.stem])
        path.unlink()
    again = load(str(toy), folder=toy.parent)
    assert all(again[split].equals(table) for split, table in tables.items())


def test_a_damaged_file_of_the_cache_is_named(toy, cache):
    load(str(toy), folder=toy.parent)
    for path in (cache / "data").glob("*-kb/test.arrow"):
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match=r"test\.arrow cannot be read .*; remove .*-kb and load again"):
        load(str(toy), folder=toy.parent)["test"].num_rows  # noqa: B018


def test_second_load_reads_no_native_file(toy, monkeypatch):
    first = load(str(toy), folder=toy.parent)
    monkeypatch.setattr("mumei.data.loading._read", None)
    monkeypatch.setattr("mumei.data.loading._harmonise", None)
    again = load(str(toy), folder=toy.parent)
    assert again["train"].equals(first["train"])
    assert again.problems == first.problems


def test_changed_file_is_named_with_both_hashes(toy):
    load(str(toy), folder=toy.parent)
    archive = toy.parent / "toy.zip"
    archive.write_bytes(archive.read_bytes() + b"x")
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    with pytest.raises(DataError, match=rf"toy.zip is not the file that the recipe of toy declares.*{found}.*expected"):
        load(str(toy), folder=toy.parent)


def test_missing_file_says_where_to_get_it(toy, tmp_path):
    with pytest.raises(FetchError, match=r"toy needs toy.zip.*https://example.org/toy.*MUMEI_CORPORA"):
        load(str(toy), folder=tmp_path / "none")


def test_folder_of_ones_own_with_splits(files, tmp_path, monkeypatch):
    files({"train/x.txt": "ab", "train/x.ann": "T1\tGene 0 2\tab\n", "dev/y.txt": "c", "dev/y.ann": ""}, "mine")
    corpus = load(tmp_path / "mine")
    assert repr(corpus) == "Corpus('mine', 'kb', train: 1, validation: 1)"
    monkeypatch.chdir(tmp_path)
    assert repr(load("mine")) == repr(corpus)
    (tmp_path / "mine" / "train" / "x.ann").write_text("")
    os.utime(tmp_path / "mine" / "train" / "x.ann", (1, 1))
    assert load("mine")["train"]["entities"].to_pylist() == [[]]


def test_archive_and_single_file(tmp_path):
    (tmp_path / "a.pubtator").write_text(ONE)
    assert len(load(tmp_path / "a.pubtator")) == 1
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr("b/test.pubtator", ONE + TWO)
    assert repr(load(tmp_path / "b.zip")) == "Corpus('b.zip', 'kb', test: 2)"
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.writestr("../evil.pubtator", ONE)
    with pytest.raises(DataError, match="cannot unpack"):
        load(tmp_path / "bad.zip")


def test_bad_document_stops_or_is_skipped_and_counted(tmp_path, cache):
    (tmp_path / "a.pubtator").write_text(ONE + "3|t|x\nnonsense\n\n" + TWO)
    with pytest.raises(ReadError, match=r"a\.pubtator:6, document 3"):
        load(tmp_path / "a.pubtator")
    assert parquets(cache) == {}
    for _ in range(2):
        corpus = load(tmp_path / "a.pubtator", keep_going=True)
        assert len(corpus) == 2
        assert [(p.line, p.document) for p in corpus.problems if p.skipped] == [(6, "3")]


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ({}, {}, "has no files"),
        ({"a.txt": "nothing"}, {}, "no reader fits these files"),
        ({"a.txt": "nothing"}, {"reader": "brt"}, "unknown reader 'brt'"),
        ({"a.txt": ONE}, {"options": {"databse": "x"}}, "Did you mean 'database'"),
        ({"a.txt": ONE}, {"schema": "qa"}, "has no schema 'qa'"),
        ({"a.txt": ONE}, {"schema": "kbb"}, "unknown schema 'kbb'"),
        ({"a.txt": ""}, {"reader": "pubtator"}, "no document"),
    ],
)
def test_what_cannot_be_loaded_is_told(tmp_path, content, options, message):
    (tmp_path / "mine").mkdir()
    for name, text in content.items():
        (tmp_path / "mine" / name).write_text(text)
    with pytest.raises((UsageError, DataError), match=message):
        load(tmp_path / "mine", **options)


def test_nowhere():
    with pytest.raises(UsageError, match=r"unknown corpus 'ncbi_diseas'"):
        load("ncbi_diseas")
    with pytest.raises(UsageError, match="there is no file or folder"):
        load("/nowhere/at/all")


def test_corpus_in_memory():
    corpus = corpus_of({"train": [Document("1", "1")]}, "kb", schema="kb")
    assert corpus["train"].column_names[0] == "id"
    assert list(corpus.records("train")) == [Document("1", "1")]
    with pytest.raises(UsageError, match="unknown split of memory 'test'"):
        corpus["test"]
