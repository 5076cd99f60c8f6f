"""The structs against BigBIO's features, written out here by hand as Arrow types."""

from __future__ import annotations

import msgspec
import pyarrow as pa
import pytest

from mumei.core.errors import UsageError
from mumei.data.schemas import NULL, SCHEMAS, TASKS, json_schema, schema_name
from mumei.data.tables import arrow_schema

S = pa.string()
STRINGS = pa.list_(S)
OFFSETS = pa.list_(pa.list_(pa.int32()))
LINKS = pa.list_(pa.struct([("db_name", S), ("db_id", S)]))
PASSAGE = pa.struct([("id", S), ("type", S), ("text", STRINGS), ("offsets", OFFSETS)])
ENTITY = pa.struct([("id", S), ("type", S), ("text", STRINGS), ("offsets", OFFSETS), ("normalized", LINKS)])
TRIGGER = pa.struct([("text", STRINGS), ("offsets", OFFSETS)])
ARGUMENTS = pa.list_(pa.struct([("role", S), ("ref_id", S)]))
EVENT = pa.struct([("id", S), ("type", S), ("trigger", TRIGGER), ("arguments", ARGUMENTS)])
COREFERENCE = pa.struct([("id", S), ("entity_ids", STRINGS)])
RELATION = pa.struct([("id", S), ("type", S), ("arg1_id", S), ("arg2_id", S), ("normalized", LINKS)])
EXPECTED = {
    "kb": [
        ("id", S),
        ("document_id", S),
        ("passages", pa.list_(PASSAGE)),
        ("entities", pa.list_(ENTITY)),
        ("events", pa.list_(EVENT)),
        ("coreferences", pa.list_(COREFERENCE)),
        ("relations", pa.list_(RELATION)),
    ],
    "qa": [
        *((n, S) for n in ("id", "question_id", "document_id", "question", "type")),
        ("choices", STRINGS),
        ("context", S),
        ("answer", STRINGS),
    ],
    "te": [(n, S) for n in ("id", "premise", "hypothesis", "label")],
    "t2t": [(n, S) for n in ("id", "document_id", "text_1", "text_2", "text_1_name", "text_2_name")],
    "pairs": [(n, S) for n in ("id", "document_id", "text_1", "text_2", "label")],
    "text": [("id", S), ("document_id", S), ("text", S), ("labels", STRINGS)],
}


@pytest.mark.parametrize("name", EXPECTED)
def test_arrow_schema_is_bigbios(name):
    assert arrow_schema(SCHEMAS[name]).equals(pa.schema(EXPECTED[name]))


def test_six_schemas_and_thirteen_tasks():
    assert sorted(SCHEMAS) == sorted(EXPECTED)
    assert len(TASKS) == 13
    assert set(TASKS.values()) == set(SCHEMAS)
    assert NULL == "<BB_NULL_STR>"


@pytest.mark.parametrize("name", SCHEMAS)
def test_json_schema_names_every_field_in_order(name):
    found = json_schema(name)
    row = found["$defs"][SCHEMAS[name].__name__]
    assert list(row["properties"]) == [field for field, _ in EXPECTED[name]]


def test_structs_decode_checked_json():
    row = msgspec.json.decode(b'{"id":"1","premise":"a","hypothesis":"b","label":"c"}', type=SCHEMAS["te"])
    assert row.label == "c"
    with pytest.raises(msgspec.ValidationError, match="label"):
        msgspec.json.decode(b'{"id":"1","premise":"a","hypothesis":"b","label":3}', type=SCHEMAS["te"])


def test_unknown_schema_gets_the_closest():
    assert schema_name("bigbio_T2T") == "t2t"
    with pytest.raises(UsageError, match=r"unknown schema 'pair'\. Did you mean 'pairs'"):
        schema_name("pair")
