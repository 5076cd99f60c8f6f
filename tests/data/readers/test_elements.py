"""XML elements as rows: what of an element is where, and broken files."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mumei.core.errors import UsageError
from mumei.data.readers.base import Problems, ReadError
from mumei.data.readers.elements import read_xml, xml_rows

TEXT = """<?xml version="1.0"?>
<pairs>
<pair pid="1" value="true">
 <a>x &amp; \u2028y</a><b k="v">z</b><c>one</c><c>two</c><c n="3"/>
 <m>see <i>this</i> one</m>
</pair><!-- between -->
<pair xmlns:p="urn:p" p:pid="2"/>
</pairs>
"""


def test_rows_by_hand(files):
    (file,) = files({"a.xml": TEXT})
    first, second = xml_rows(file, Problems(), record="pair", mixed=["m"])
    assert first == (
        {
            "@pid": "1",
            "@value": "true",
            "a": "x & \u2028y",
            "b": {"@k": "v", "#text": "z"},
            "c": ["one", "two", {"@n": "3", "#text": ""}],
            "m": "see this one",
            "#text": "\n ",
        },
        3,
    )
    assert second == ({"@pid": "2", "#text": ""}, 7)


def test_records(files):
    fields = {"id": "@pid", "premise": "a", "hypothesis": {"path": "c", "join": " "}, "label": "@value"}
    (found,) = read_xml(
        files({"a.xml": TEXT.replace('<c n="3"/>', "")}),
        Problems(),
        schema="te",
        record="pair",
        fields=fields,
        keep={"@pid": 1},
    )
    assert (found.id, found.premise, found.hypothesis, found.label, found.line) == (
        "1",
        "x & \u2028y",
        "one two",
        "true",
        3,
    )


def test_bad_files_and_options(files):
    fields = {"premise": "a", "hypothesis": "a", "label": "@value"}
    with pytest.raises(ReadError, match=r"a.xml:7: row 2: premise is missing"):
        list(read_xml(files({"a.xml": TEXT}), Problems(), schema="te", record="pair", fields=fields))
    with pytest.raises(ReadError, match="the file ends within <pair>"):
        list(read_xml(files({"a.xml": TEXT[:120]}), Problems(), schema="te", record="pair", fields=fields))
    with pytest.raises(UsageError, match="this reader needs the option record"):
        list(read_xml(files({"a.xml": TEXT}), Problems(), schema="te"))
    with pytest.raises(UsageError, match="record has to be the name"):
        list(read_xml(files({"a.xml": TEXT}), Problems(), schema="te", record=""))


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_mutated_files(data, mutate, survives):
    fields = {"text": {"path": "a", "default": ""}, "labels": {"path": "c", "default": []}}
    made = mutate(data, TEXT.replace('<c n="3"/>', "").encode())
    survives(read_xml, {"a.xml": made}, schema="text", record="pair", fields=fields)
