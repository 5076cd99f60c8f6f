"""The harmonised view against rows worked out by hand, and BioRED's relations against what BigBIO's loader gives."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mumei.data.bigbio import document_to_kb, to_bigbio
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
from mumei.data.readers.base import Problems, SourceFile
from mumei.data.readers.pubtator import read_pubtator
from mumei.data.schemas import KB, SCHEMAS, Entity, Normalized, Passage
from mumei.data.tables import arrow_schema, to_table


def link(name):
    return Normalized("MESH", name)


DOCUMENT = Document(
    "1",
    "1",
    [Passage("1_p", "text", ["a b c"], [(0, 5)])],
    [
        Entity("1_T1", "x", ["a"], [(0, 1)], [link("D1"), link("D2")]),
        Entity("1_T2", "x", ["b"], [(2, 3)], [link("D1")]),
        Entity("1_T3", "y", ["c"], [(4, 5)], [link("D3")]),
    ],
    [Event("1_E1", "e", Trigger(["a"], [(0, 1)], "1_T9"), [Argument("Theme", "1_T1", 2)])],
    [Coreference("1_C1", ["1_T1", "1_T2"], "Equiv"), Coreference("1_C2", ["1_T1", "1_E1"], "Equiv")],
    [Relation("1_R1", "r", "1_T1", "1_T2", [], "Arg1", "Arg2"), Relation("1_R2", "r", "1_E1", "1_T2")],
    [ConceptRelation("1_R3", "c", "D1", "D3", ["Novel"]), ConceptRelation("1_R4", "c", "D1", "D9")],
    [Attribute("1_A1", "Negation", "", "1_E1")],
)


def test_kb_row_by_hand():
    row = to_bigbio(to_table([DOCUMENT], Document), "bigbio_kb").to_pylist()[0]
    assert list(row) == ["id", "document_id", "passages", "entities", "events", "coreferences", "relations"]
    trigger = {"text": ["a"], "offsets": [[0, 1]]}
    arguments = [{"role": "Theme", "ref_id": "1_T1"}]
    assert row["events"] == [{"id": "1_E1", "type": "e", "trigger": trigger, "arguments": arguments}]
    assert row["coreferences"] == [{"id": "1_C1", "entity_ids": ["1_T1", "1_T2"]}]
    ends = [(r["id"], r["type"], r["arg1_id"], r["arg2_id"], r["normalized"]) for r in row["relations"]]
    assert ends == [
        ("1_R1", "r", "1_T1", "1_T2", []),
        ("1_R3_0", "c", "1_T1", "1_T3", []),
        ("1_R3_1", "c", "1_T2", "1_T3", []),
    ]
    assert row["entities"][0]["normalized"] == [{"db_name": "MESH", "db_id": "D1"}, {"db_name": "MESH", "db_id": "D2"}]


def test_columns_and_rows_agree():
    plain = Document("2", "2", DOCUMENT.passages, DOCUMENT.entities, DOCUMENT.events)
    for documents in ([DOCUMENT, plain], [plain]):
        table = to_bigbio(to_table(documents, Document), "kb")
        table.validate(full=True)
        rows = [json.loads(msgspec.json.encode(document_to_kb(d))) for d in documents]
        assert table.to_pylist() == rows


LOCAL = st.sampled_from(["T1", "T2", "T3", "E1"])
CONCEPT = st.sampled_from(["D1", "D2", "1_T1"])
DOCUMENTS = st.builds(
    Document,
    id=st.sampled_from(["1", "2"]),
    document_id=st.just("1"),
    entities=st.lists(
        st.builds(
            Entity, LOCAL, st.just("x"), st.just(["a"]), st.just([(0, 1)]), st.lists(CONCEPT.map(link), max_size=3)
        ),
        max_size=3,
    ),
    coreferences=st.lists(st.builds(Coreference, LOCAL, st.lists(LOCAL, max_size=3)), max_size=3),
    relations=st.lists(
        st.builds(Relation, LOCAL, st.just("r"), LOCAL, LOCAL, st.lists(CONCEPT.map(link), max_size=2)), max_size=3
    ),
    concept_relations=st.lists(st.builds(ConceptRelation, LOCAL, st.just("c"), CONCEPT, CONCEPT), max_size=3),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(DOCUMENTS, max_size=4), st.integers(0, 2))
def test_all_rows_at_once_are_the_rows_one_by_one(documents, first):
    table = to_bigbio(to_table(documents, Document).slice(first), "kb")
    table.validate(full=True)
    assert table.equals(to_table([document_to_kb(d) for d in documents[first:]], KB))


@pytest.mark.parametrize("kind", SCHEMAS)
def test_every_kind_has_its_view(kind):
    assert to_bigbio(to_table([], RECORDS[kind]), kind).schema.equals(arrow_schema(SCHEMAS[kind]))


def test_text_row():
    table = to_table([LabelledText("1", "d", "t", ["a"], {"k": "v"}, "train", "f", 3)], LabelledText)
    assert to_bigbio(table, "text").to_pylist() == [{"id": "1", "document_id": "d", "text": "t", "labels": ["a"]}]


def test_biored_relations_as_bigbio_expands_them(corpora_dir):
    path = corpora_dir / "biored" / "Dev.PubTator"
    documents = list(read_pubtator([SourceFile(str(path), path.name)], Problems(), joiners=","))
    expected = json.loads((corpora_dir / "expected_counts.json").read_text())["biored_dev"]
    assert len(documents) == expected["raw"]["docs"]
    assert sum(len(d.entities) for d in documents) == expected["raw"]["mentions"]
    assert sum(len(d.concept_relations) for d in documents) == expected["raw"]["relations"]
    rows = to_bigbio(to_table(documents, Document), "kb")
    assert len(rows["relations"].combine_chunks().flatten()) == expected["bigbio_loader"]["relations"]
