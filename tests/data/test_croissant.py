"""Croissant: the description against the files, by hand, and validated and read by `mlcroissant` where that is installed."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from mumei.core.files import sha256_file
from mumei.data import catalogue, load
from mumei.data.corpus import corpus_of
from mumei.data.documents import TextToText
from mumei.data.writers import write

TEXT = "left and right arm grow"
ANN = "T1\tOrgan 0 4;15 18\tleft arm\nT2\tGrowth 19 23\tgrow\nE1\tGrowth:T2 Theme:T1\nN1\tReference T1 UBERON:1\tarm\n"


@pytest.fixture
def written(tmp_path) -> Path:
    """A KB corpus of two splits, exported."""
    for split, name in (("train", "a"), ("test", "b")):
        folder = tmp_path / "corpus" / split
        folder.mkdir(parents=True)
        (folder / f"{name}.txt").write_text(TEXT)
        (folder / f"{name}.ann").write_text(ANN)
    corpus = load(tmp_path / "corpus")
    corpus.recipe = catalogue.recipe("bionlp_st_2013_cg")
    write(corpus, "croissant", tmp_path / "out")
    return tmp_path / "out"


def said(folder: Path) -> dict:
    return json.loads((folder / "croissant.json").read_text())


def test_description_by_hand(written):
    found = said(written)
    recipe = catalogue.recipe("bionlp_st_2013_cg")
    assert (found["name"], found["url"], found["license"]) == ("corpus", recipe.homepage, "GENIA")
    assert [f["sha256"] for f in found["distribution"]] == [
        sha256_file(written / n) for n in ("train.parquet", "test.parquet")
    ]
    assert [f["contentSize"] for f in found["distribution"]] == [
        f"{(written / n).stat().st_size} B" for n in ("train.parquet", "test.parquet")
    ]
    train = found["recordSet"][0]
    fields = {f["@id"]: f for f in train["field"]}
    assert [name.removeprefix("train/") for name in fields] == pq.read_schema(written / "train.parquet").names
    assert fields["train/id"]["dataType"] == "sc:Text"
    entities = fields["train/entities"]
    assert (entities["isArray"], entities["arrayShape"]) == (True, "-1")
    assert entities["description"].endswith(": normalized.")
    offsets = next(f for f in entities["subField"] if f["name"] == "train/entities/offsets")
    assert offsets == {
        "@type": "cr:Field",
        "@id": "train/entities/offsets",
        "name": "train/entities/offsets",
        "isArray": True,
        "arrayShape": "-1,-1",
        "dataType": "cr:Int32",
        "source": {
            "fileObject": {"@id": "train.parquet"},
            "extract": {"column": "entities"},
            "transform": {"jsonPath": "offsets"},
        },
    }
    trigger = next(f for f in fields["train/events"]["subField"] if f["name"].endswith("trigger"))
    assert [f["source"]["transform"]["jsonPath"] for f in trigger["subField"]] == ["trigger.text", "trigger.offsets"]


def test_a_corpus_of_ones_own_says_nothing_that_is_not_known(tmp_path):
    corpus = corpus_of({"train": [TextToText("1", "1", "a", "b")]}, "t2t", name="mine", schema="t2t")
    write(corpus, "croissant", tmp_path / "out")
    found = said(tmp_path / "out")
    assert not {"license", "description", "url", "citeAs"} & set(found)
    assert set(found["recordSet"][0]["field"][0]) == {"@type", "@id", "name", "dataType", "source"}


def test_mlcroissant_validates_and_reads_it(written):
    import logging
    import warnings

    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of deprecated parts of rdflib
            mlcroissant = pytest.importorskip("mlcroissant", reason="mlcroissant is not installed")
            found = mlcroissant.Dataset(jsonld=str(written / "croissant.json"))
            assert not found.metadata.ctx.issues.errors
            (record,) = found.records("test")
    finally:
        logging.disable(logging.NOTSET)
    assert record["test/id"] == b"b"
    assert record["test/passages"][0]["test/passages/text"] == [TEXT.encode()]
    (organ,) = record["test/entities"]
    assert organ["test/entities/text"] == [b"left", b"arm"]
    assert [list(map(int, pair)) for pair in organ["test/entities/offsets"]] == [[0, 4], [15, 18]]
