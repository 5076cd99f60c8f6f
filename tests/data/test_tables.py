"""Records to Arrow and back: the same records, whatever they hold."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mumei.core.errors import DataError
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
    with_id,
)
from mumei.data.schemas import Entity, Normalized, Passage
from mumei.data.tables import arrow_schema, from_table, to_table

WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
PAIRS = st.lists(st.tuples(st.integers(-5, 2**31 - 1), st.integers(0, 99)), max_size=2)
LINKS = st.lists(st.builds(Normalized, WORDS, WORDS), max_size=2)


def several(*fields):
    return lambda struct: st.lists(st.builds(struct, *fields), max_size=3)


DOCUMENTS = st.builds(
    Document,
    id=WORDS,
    document_id=WORDS,
    passages=several(WORDS, WORDS, st.lists(WORDS, max_size=2), PAIRS)(Passage),
    entities=several(WORDS, WORDS, st.lists(WORDS, max_size=2), PAIRS, LINKS)(Entity),
    events=several(
        WORDS,
        WORDS,
        st.builds(Trigger, st.lists(WORDS, max_size=2), PAIRS, WORDS),
        several(WORDS, WORDS, st.integers(0, 9))(Argument),
    )(Event),
    coreferences=several(WORDS, st.lists(WORDS, max_size=3), WORDS)(Coreference),
    relations=several(WORDS, WORDS, WORDS, WORDS, LINKS, WORDS, WORDS)(Relation),
    concept_relations=several(WORDS, WORDS, WORDS, WORDS, st.lists(WORDS, max_size=2))(ConceptRelation),
    attributes=several(WORDS, WORDS, WORDS, WORDS)(Attribute),
    sentences=PAIRS,
    metadata=st.dictionaries(WORDS, WORDS, max_size=2),
    split=WORDS,
    file=WORDS,
    line=st.integers(0, 9),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(DOCUMENTS, max_size=4))
def test_back_is_the_same(documents):
    table = to_table(documents, Document)
    assert table.schema.equals(arrow_schema(Document))
    table.validate(full=True)
    assert list(from_table(table, Document)) == documents
    assert list(from_table(table.slice(1), Document)) == documents[1:]


@pytest.mark.parametrize("kind", RECORDS)
def test_superset_begins_with_the_harmonised_fields(kind):
    from mumei.data.schemas import SCHEMAS

    harmonised = list(SCHEMAS[kind].__struct_fields__)
    assert list(RECORDS[kind].__struct_fields__)[: len(harmonised)] == harmonised
    assert list(from_table(to_table([], RECORDS[kind]), RECORDS[kind])) == []


@pytest.mark.parametrize(
    "document",
    [
        Document("a", None),  # pyright: ignore
        Document("a", "a", entities=[Entity("a", "b", ["c"], [(0, 2**31)])]),
        Document("a", "a", entities=[Entity("a", "b", ["c"], [(0, 1, 2)])]),  # pyright: ignore
        Document("a", "a", entities=[Entity("a", 3, ["c"], [])]),  # pyright: ignore
        Document("a", "a\ud800"),
        Document("a", "a", passages=None),  # pyright: ignore
    ],
)
def test_what_cannot_be_stored_is_named(document):
    document.file, document.line = "x.txt", 7
    with pytest.raises(DataError, match=r"x.txt:7: record 'a': its (document_id|entities|passages) cannot be stored"):
        to_table([Document("good", "good"), document], Document)


def test_another_table_is_refused():
    with pytest.raises(DataError, match="columns missing or of another type"):
        list(from_table(pa.table({"id": ["a"]}), LabelledText))


def test_with_id_moves_inner_ids_and_references_only():
    document = Document(
        "7",
        "7",
        [Passage("7_p", "text", ["7_T1 7"], [(0, 6)])],
        [Entity("7_T1", "7", ["7"], [(5, 6)], [Normalized("7", "7_T1")])],
        [Event("7_E1", "x", Trigger(["7"], [(5, 6)], "7_T2"), [Argument("7", "7_T1")])],
        [Coreference("7_C", ["7_T1"])],
        [Relation("7_R1", "x", "7_T1", "77_T1")],
        [ConceptRelation("7_R2", "x", "7", "7_T1")],
        [Attribute("7_A", "x", "7_T1", "7_T1"), Attribute("7_B", "x", "", "7")],
    )
    assert with_id(document, "8") == Document(
        "8",
        "7",
        [Passage("8_p", "text", ["7_T1 7"], [(0, 6)])],
        [Entity("8_T1", "7", ["7"], [(5, 6)], [Normalized("7", "7_T1")])],
        [Event("8_E1", "x", Trigger(["7"], [(5, 6)], "8_T2"), [Argument("7", "8_T1")])],
        [Coreference("8_C", ["8_T1"])],
        [Relation("8_R1", "x", "8_T1", "77_T1")],
        [ConceptRelation("8_R2", "x", "7", "7_T1")],
        [Attribute("8_A", "x", "7_T1", "8_T1"), Attribute("8_B", "x", "", "8")],
    )
    assert with_id(LabelledText("a", "a", "t", []), "b").id == "b"
