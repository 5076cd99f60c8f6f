"""The language of fields: each source and step on small rows, and what cannot be used."""

from __future__ import annotations

import pytest

from mumei.core.errors import UsageError
from mumei.data.readers.fields import FieldError, conditions, field_of, one_of, resolve

ROW = {
    "id": 7,
    "a.b": "literal",
    "a": {"b": "nested", "c": None},
    "parts": [{"text": "one", "score": 3}, {"text": "two", "score": 1}, {"score": 2}, "odd"],
    "cop": 2,
    "letter": "B",
    "kind": "yes",
    "opa": "x",
    "opb": "y",
    "labels": " Growth--fast AND Death ANDGrowth--slow",
    "empty": "",
    "none": None,
    "truth": True,
    "deep": [["p"], [["q"]], None],
    "section": "b",
}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("id", 7),
        ("a.b", "literal"),
        ("a.c", None),
        ("a.x", None),
        ("id.x", None),
        ("parts.text", ["one", "two"]),
        ("parts.text.x", []),
        ("a.{section}", "nested"),
        ("a.{missing}", None),
    ],
)
def test_paths(path, value):
    assert resolve(ROW, path) == value


@pytest.mark.parametrize(
    ("given", "texts"),
    [
        ("id", ["7"]),
        ("truth", ["true"]),
        ("deep", ["p", "q"]),
        ({"value": ["yes", "no"]}, ["yes", "no"]),
        ({"first": ["none", "empty", "nowhere", "opb"]}, ["y"]),
        (["opa", "opb"], ["x", "y"]),
        ({"case": "kind", "of": {"yes": "opa", "no": "opb"}}, ["x"]),
        ({"case": "kind", "of": {"no": "opb"}, "default": "neither"}, ["neither"]),
        ({"at": "cop", "of": ["opa", "opb"], "base": 1}, ["y"]),
        ({"at": "letter", "of": ["opa", "opb"], "base": "A"}, ["y"]),
        ({"at": "cop", "of": ["opa", "deep"]}, ["q"]),
        ({"mean": ["parts.score"]}, ["2.0"]),
        ({"mean": ["id", "cop"]}, ["4.5"]),
        ({"format": "{id}-{kind}"}, ["7-yes"]),
        ({"format": "{n}!", "of": {"n": {"path": "kind", "map": {"yes": "1"}}}}, ["1!"]),
        ({"path": "parts", "where": {"score": [3, 2]}, "take": "text"}, ["one"]),
        (
            {
                "path": "labels",
                "split": "AND",
                "cut": "--",
                "trim": True,
                "lower": True,
                "drop": ["death"],
                "unique": True,
            },
            ["growth"],
        ),
        ({"path": "labels", "squeeze": True}, ["Growth--fast AND Death ANDGrowth--slow"]),
        ({"path": "parts.text", "join": " | "}, ["one | two"]),
        ({"path": "empty", "default": ["none"], "lower": True}, ["none"]),
        ({"path": "nowhere", "default": []}, []),
        ({"path": "labels", "trim": False}, [" Growth--fast AND Death ANDGrowth--slow"]),
    ],
)
def test_sources_and_steps(given, texts):
    assert field_of(given).texts(ROW) == texts


def test_order_of_steps_is_not_that_of_the_option():
    one = {"path": "labels", "split": "AND", "cut": "--", "trim": True}
    assert field_of(dict(reversed(one.items()))).texts(ROW) == field_of(one).texts(ROW) == ["Growth", "Death", "Growth"]


def test_notes_keep_structure_as_json():
    assert (
        field_of("parts").note(ROW) == '[{"text": "one", "score": 3}, {"text": "two", "score": 1}, {"score": 2}, "odd"]'
    )
    assert field_of("none").note(ROW) is None
    assert field_of("id").note(ROW) == "7"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("nowhere", "is missing"),
        ("parts.text", "is a list of 2, expected one text"),
        ("a", "is an object, expected a text"),
        ({"at": "id", "of": ["opa", "opb"]}, "is chosen by '7', but there are 2"),
        ({"at": "letter", "of": ["opa"]}, "is chosen by 'B', expected a number"),
        ({"at": "labels", "of": ["opa"], "base": "A"}, "expected a letter"),
        ({"mean": ["kind"]}, "a mean of numbers, and 'yes' is none"),
        ({"mean": [{"value": "nan"}]}, "a mean of numbers, not of"),
        ({"mean": [{"value": []}]}, "a mean of numbers, not of"),
        ({"format": "{id} {nowhere}"}, "is put together from nowhere, which is missing"),
        ({"path": "kind", "map": {"no": "0"}}, "is 'yes', expected one of no"),
        ({"value": "a\ud800"}, "half a surrogate pair"),
        (["opa", "nowhere"], "needs nowhere, which is missing"),
    ],
)
def test_rows_without_a_value_say_why(given, message):
    with pytest.raises(FieldError, match=message):
        field_of(given).text(ROW)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (3, "has to be a path or a table"),
        ({}, "needs one of path, value"),
        ({"path": "a", "value": "b"}, "it has path, value"),
        ({"path": "a", "splitt": ","}, "unknown part of f 'splitt'. Did you mean 'split'"),
        ({"path": "a", "base": 1}, "unknown part of f 'base'"),
        ({"path": 3}, "cannot be used"),
        ({"path": "a", "split": ""}, "cannot be used"),
        ({"path": "a", "map": "x"}, "cannot be used"),
        ({"path": "a", "drop": [1]}, "cannot be used"),
        ({"path": "a", "where": ["x"]}, "where has to be a table"),
        ({"first": []}, "cannot be used"),
        ({"case": "a"}, "cannot be used"),
        ({"at": "a", "of": ["b"], "base": "AB"}, "cannot be used"),
        ({"format": "{a}", "of": 3}, "cannot be used"),
    ],
)
def test_what_is_not_in_the_language(given, message):
    with pytest.raises(UsageError, match=message):
        field_of(given, "f")


def test_conditions():
    assert one_of(ROW, conditions({"kind": "yes", "cop": [2, 3]}, "keep"))
    assert not one_of(ROW, conditions({"kind": "no"}, "keep"))
    assert one_of(ROW, conditions({"parts.text": ["two"], "a": ["*"]}, "keep"))
    assert not one_of(ROW, conditions({"none": ["*"]}, "keep"))
    assert one_of(ROW, {})
    with pytest.raises(UsageError, match="keep has to be a table"):
        conditions(["a"], "keep")
