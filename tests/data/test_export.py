"""What is written is read back equal: by our own readers, by pyarrow, as JSON and YAML; what has no place is counted."""

from __future__ import annotations

import json
from collections import Counter

import msgspec
import pyarrow.parquet as pq
import pytest
import yaml

from mumei.core.errors import DataError, UsageError
from mumei.data.corpus import corpus_of
from mumei.data.documents import (
    RECORDS,
    Argument,
    Attribute,
    ConceptRelation,
    Coreference,
    Document,
    Event,
    LabelledText,
    Relation,
    Trigger,
)
from mumei.data.loading import load
from mumei.data.readers.base import Problems, files_below
from mumei.data.readers.brat import read_brat
from mumei.data.readers.conll import read_conll
from mumei.data.schemas import KB, Entity, Normalized, Passage
from mumei.data.tables import arrow_schema
from mumei.data.writers import FORMATS, write
from mumei.data.writers.brat import standoff
from mumei.data.writers.conll import flat, sentences
from mumei.data.writers.datasets import features

TEXT = "Cells of the liver and kidney grow.\nTNF\r\nactivates \U0001d6fd growth of cells."


def entity(name, kind, *offsets, links=(), text=TEXT):
    links = [Normalized(*link) for link in links]
    return Entity(name, kind, [text[a:b] for a, b in offsets], list(offsets), links)


@pytest.fixture
def document():
    """A document with everything that BRAT can say, ids as BRAT's reader makes them."""
    at = TEXT.index("activates")
    grow = TEXT.index("growth")
    tnf = TEXT.index("TNF")
    return Document(
        "d1",
        "d1",
        [Passage("d1_text", "text", [TEXT], [(0, len(TEXT))])],
        [
            entity("d1_T1", "Tissue", (0, 18)),
            entity("d1_T2", "Organ", (13, 18)),
            entity("d1_T3", "Tissue", (0, 12), (23, 29)),
            entity("d1_T7", "Protein", (tnf, tnf + 3), links=[("UniProt", "P01375"), ("HGNC", "1:2 3")]),
            entity("d1_T8", "Growth", (grow, grow + 6)),
        ],
        [
            Event("d1_E1", "Growth", Trigger(["growth"], [(grow, grow + 6)], "d1_T8"), [Argument("Theme", "d1_T1", 2)]),
            Event(
                "d1_E2",
                "Activation",
                Trigger(["activates"], [(at, at + 9)], "d1_T4"),
                [Argument("Cause", "d1_T7"), Argument("Theme", "d1_E1")],
            ),
            Event("d1_E5", "Activation", Trigger(["activates"], [(at, at + 9)], "d1_T4")),
        ],
        [Coreference("d1_Equiv1", ["d1_T1", "d1_T3"], "Equiv")],
        [Relation("d1_R3", "Part-of", "d1_T2", "d1_T8", [], "Part", "Whole")],
        [],
        [
            Attribute("d1_A1", "Negation", "", "d1_E2"),
            Attribute("d1_M2", "Confidence", "very high", "d1_T7"),
            Attribute("d1_#1", "AnnotatorNotes", "a cytokine\tor so", "d1_T7"),
        ],
        split="train",
        file="train/d1.txt",
        line=1,
    )


def corpus(document, **more):
    other = Document(
        "d2", "d2", [Passage("d2_text", "text", ["Nothing."], [(0, 8)])], split="test", file="test/d2.txt", line=1
    )
    return corpus_of({"train": [document], "test": [other]}, "kb", **more)


def back(folder, reader, **options):
    """Return the records of an exported folder by its readers, and what was noted."""
    problems = Problems()
    return list(reader(files_below(folder), problems, **options)), problems.found


# --------------------------------------------------------------------------------------------------------------- BRAT


def test_brat_comes_back_equal(document, tmp_path):
    written = write(corpus(document), "brat", tmp_path / "out")
    assert not written.notes
    assert written.files == [
        "annotation.conf", "test/d2.ann", "test/d2.txt", "train/d1.ann", "train/d1.txt"
    ]  # fmt: skip
    (found,), noted = back(tmp_path / "out" / "train", read_brat)
    assert not noted
    assert msgspec.structs.replace(found, split="train", file="train/d1.txt") == document
    again = load(tmp_path / "out", schema="source")
    assert {s: list(again.records(s)) for s in again} == {
        s: list(corpus(document).records(s)) for s in ("train", "test")
    }


def test_ids_of_other_formats_are_numbered_and_followed(document, tmp_path):
    text = "a b c d"
    strange = Document(
        "x:1/2",
        "x:1/2",
        [Passage("p", "title", ["a b"], [(0, 3)]), Passage("q", "abstract", ["c d"], [(4, 7)])],
        [entity("x:1/2_foo", "My Type", (0, 1), text=text), entity("x:1/2_T2", "B", (4, 5), text=text)],
        [Event("x:1/2_ev", "Go", Trigger(["b"], [(2, 3)]), [Argument("Theme", "x:1/2_foo")])],
        [],
        [Relation("x:1/2_rel", "has part", "x:1/2_T2", "x:1/2_foo")],
        [ConceptRelation("x:1/2_c", "binds", "D1", "D2")],
        [Attribute("x:1/2_k", "Novel", "", "x:1/2_ev"), Attribute("m", "Year", "2020", "x:1/2")],
        metadata={"journal": "J"},
    )
    lines = standoff(strange).splitlines()
    assert lines == [
        "T3\tMy_Type 0 1\ta",
        "T2\tB 4 5\tc",
        "T4\tGo 2 3\tb",
        "E1\tGo:T4 Theme:T3",
        "R1\thas_part Arg1:T2 Arg2:T3",
        "A1\tNovel E1",
    ]
    written = write(corpus_of({"train": [strange]}, "kb"), "brat", tmp_path / "out")
    assert written.notes == {
        "borders of passages": 1,
        "relations between concepts": 1,
        "attributes of a document or passage": 1,
        "entries of metadata": 1,
        "types or roles written with an underscore in place of blanks or colons": 2,
    }
    (found,), _ = back(tmp_path / "out" / "train", read_brat)
    assert found.text() == text
    assert [e.type for e in found.entities] == ["My_Type", "B"]
    assert found.relations[0].arg2_id == found.entities[0].id


def test_an_entity_that_is_only_a_trigger_is_not_lost():
    text = "grow"
    own = Document("d", "d", [Passage("p", "t", [text], [(0, 4)])], [entity("d_T1", "Word", (0, 4), text=text)])
    own.events = [Event("d_E1", "Growth", Trigger(["grow"], [(0, 4)], "d_T1"))]
    assert standoff(own).splitlines() == ["T1\tWord 0 4\tgrow", "T2\tGrowth 0 4\tgrow", "E1\tGrowth:T2"]


def test_newlines_and_single_coreferences_are_counted(document):
    document.entities.append(entity("d1_T9", "Span", (30, 39)))
    document.coreferences.append(Coreference("d1_Equiv2", ["d1_T9"], "Equiv"))
    notes: Counter[str] = Counter()
    lines = standoff(document, notes).splitlines()
    assert "T9\tSpan 30 39\tgrow. TNF" in lines
    assert notes == {"newlines in the texts of mentions": 1, "coreferences of a single mention": 1}


def test_names_of_files_are_unique_and_safe(tmp_path):
    ids = ["../up", ".hidden", "a/b", "A%b", "same", "SAME", "x" * 300, "é?"]
    made = [Document(i, i, [Passage(f"{n}", "t", ["x"], [(0, 1)])]) for n, i in enumerate(ids)]
    written = write(corpus_of({"train": made}, "kb"), "brat", tmp_path / "out")
    names = [f for f in written.files if f.endswith(".txt")]
    assert len({n.lower() for n in names}) == len(ids)
    assert all(len(n.encode()) < 240 and n.count("/") == 1 and not n.startswith("train/.") for n in names)
    found, _ = back(tmp_path / "out" / "train", read_brat)
    assert len(found) == len(ids)


# -------------------------------------------------------------------------------------------------------------- CoNLL


def test_conll_comes_back_with_the_same_mentions(tmp_path):
    text = "Non-small cells grow. TNF-alpha rises 5%!"
    mentions = [entity("d_T1", "Cell", (0, 15), text=text), entity("d_T2", "Gene", (22, 25), text=text)]
    made = Document(
        "d 7", "d 7", [Passage("p", "t", [text], [(0, len(text))])], mentions, sentences=[(0, 21), (22, 41)]
    )
    written = write(corpus_of({"train": [made]}, "kb"), "conll", tmp_path / "out")
    assert not written.notes
    lines = (tmp_path / "out" / "train.conll").read_text().split("\n")
    assert lines[:7] == [
        "-DOCSTART- (d 7)\tO",
        "",
        "Non\tB-Cell",
        "-\tI-Cell",
        "small\tI-Cell",
        "cells\tI-Cell",
        "grow\tO",
    ]
    (found,), noted = back(tmp_path / "out", read_conll)
    assert not noted
    assert found.id == "d 7"
    assert found.text().replace(" ", "") == text.replace(" ", "")
    assert [(e.type, "".join(e.text).replace(" ", "")) for e in found.entities] == [
        ("Cell", "Non-smallcells"),
        ("Gene", "TNF"),
    ]
    assert len(found.sentences) == 2
    loaded = load(tmp_path / "out")
    assert loaded["train"].num_rows == 1


def test_conll_keeps_the_longest_and_counts_the_rest(document):
    notes: Counter[str] = Counter()
    kept = flat(document, notes)
    assert [e.id for e in kept] == ["d1_T1", "d1_T7", "d1_T8"]
    assert notes == {"mentions that overlap a longer one": 1, "discontinuous mentions": 1}
    said: Counter[str] = Counter()
    tagged = list(sentences(document, said))
    assert [t for s in tagged for t in s if t[1] != "O"][:4] == [
        ("Cells", "B-Tissue"), ("of", "I-Tissue"), ("the", "I-Tissue"), ("liver", "I-Tissue")
    ]  # fmt: skip
    assert (said["events"], said["relations"], said["links to concepts"], said["attributes"]) == (3, 1, 2, 3)


def test_a_sentence_does_not_end_within_a_mention():
    text = "J. Smith wrote."
    made = Document("d", "d", [Passage("p", "t", [text], [(0, 15)])], [entity("d_T1", "Name", (0, 8), text=text)])
    made.sentences = [(0, 2), (3, 15)]
    assert [len(s) for s in sentences(made, Counter())] == [5]
    made.entities[0] = entity("d_T1", "Name", (0, 99), text=text)
    notes: Counter[str] = Counter()
    assert [len(s) for s in sentences(made, notes)] == [2, 3]
    assert notes["mentions outside of the text"] == 1


# ------------------------------------------------------------------------------------------------------------- tables


def test_parquet_and_json_lines_hold_the_tables(document, tmp_path):
    for schema, struct in (("kb", KB), ("source", RECORDS["kb"])):
        made = corpus(document, schema=schema)
        write(made, "parquet", tmp_path / schema / "p")
        table = pq.read_table(tmp_path / schema / "p" / "train.parquet")
        assert table.schema.equals(arrow_schema(struct))
        assert table.equals(made["train"])
        write(made, "jsonl", tmp_path / schema / "j")
        lines = (tmp_path / schema / "j" / "train.jsonl").read_bytes().splitlines()
        again = [msgspec.json.decode(line, type=struct) for line in lines]
        assert [json.loads(msgspec.json.encode(record)) for record in again] == [json.loads(line) for line in lines]
        if schema == "source":
            assert again == [document]
        assert list(json.loads(lines[0])) == list(arrow_schema(struct).names)
    write(corpus(document), "parquet", tmp_path / "again")
    first, second = (tmp_path / p / "train.parquet" for p in ("source/p", "again"))
    assert first.read_bytes() == second.read_bytes()


def test_the_card_of_a_datasets_folder_is_yaml_with_all_that_loading_needs(document, tmp_path):
    write(corpus(document, name="my: 'corpus'"), "datasets", tmp_path / "out")
    text = (tmp_path / "out" / "README.md").read_text()
    _, matter, body = text.split("---\n", 2)
    front = yaml.safe_load(matter)
    assert front["pretty_name"] == "my: 'corpus'"
    harmonised, source = front["configs"]
    assert harmonised["default"] is True
    assert "default" not in source
    for config, info in zip(front["configs"], front["dataset_info"], strict=True):
        assert config["config_name"] == info["config_name"]
        for file, split in zip(config["data_files"], info["splits"], strict=True):
            table = pq.read_table(tmp_path / "out" / file["path"])
            assert (file["split"], table.num_rows) == (split["name"], split["num_examples"])
            assert [f["name"] for f in info["features"]] == table.column_names
    events = front["dataset_info"][0]["features"][4]
    assert events["list"][2] == {
        "name": "trigger", "struct": [{"name": "text", "list": "string"}, {"name": "offsets", "list": {"list": "int32"}}]
    }  # fmt: skip
    assert "| train | 1 |" in body


def test_the_card_of_a_recipe_says_licence_and_citation(corpora_dir, tmp_path):
    write(
        load("bionlp_st_2013_cg", folder=corpora_dir / "bionlp_st_2013_cg", split="test"), "datasets", tmp_path / "out"
    )
    text = (tmp_path / "out" / "README.md").read_text()
    front = yaml.safe_load(text.split("---\n", 2)[1])
    assert (front["license"], front["license_name"], front["language"]) == ("other", "genia", ["en"])
    assert front["task_categories"] == ["token-classification"]
    assert "@inproceedings{pyysalo2013cg" in text
    assert "| test | 200 |" in text


def test_features_of_every_schema_name_their_types():
    for struct in RECORDS.values():
        for feature in features(arrow_schema(struct)):
            assert len(feature) == 2
            assert "name" in feature


# ----------------------------------------------------------------------------------------------------------- mistakes


def test_nothing_is_written_over_or_by_halves(document, tmp_path, monkeypatch):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("x")
    with pytest.raises(UsageError, match="holds something"):
        write(corpus(document), "jsonl", tmp_path / "full")
    with pytest.raises(UsageError, match="'parquet'"):
        write(corpus(document), "parquett", tmp_path / "new")
    with pytest.raises(UsageError, match="kb only"):
        write(corpus_of({"a": [LabelledText("1", "1", "t", [])]}, "text"), "brat", tmp_path / "new")
    with pytest.raises(DataError, match="no document"):
        write(corpus_of({"a": []}, "kb"), "brat", tmp_path / "new")
    monkeypatch.setattr("mumei.data.writers.brat.standoff", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write(corpus(document), "brat", tmp_path / "new")
    assert not (tmp_path / "new").exists()
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_every_format_is_there():
    assert all(callable(form.writer()) for form in FORMATS.values())


def test_a_real_corpus_comes_back_from_brat(corpora_dir, tmp_path):
    given = load("bionlp_st_2013_cg", folder=corpora_dir / "bionlp_st_2013_cg", split="validation", schema="source")
    written = write(given, "brat", tmp_path / "out")
    assert not written.notes
    found, _ = back(tmp_path / "out" / "validation", read_brat, passage_type="abstract")

    def content(records):
        return {r.id: msgspec.structs.replace(r, split="", file="", line=0) for r in records}

    assert content(found) == content(given.records())
