"""The language to choose documents: meaning against Python's own operators, missing values, and errors that say where."""

from __future__ import annotations

import operator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mumei.core.errors import UsageError
from mumei.retrieval.expression import MAX_DEPTH, parse

ROW = {
    **{
        "year": 2012,
        "journal": "The Lancet",
        "keywords": ["Heart", "stroke"],
        "phase": "3",
        "doi": None,
        "retracted": False,
    },
    **{"source": {"name": "PubMed", "id": 7}, "pub-date": "2012-03-04", "score": 0.5, "open": True},
}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("year >= 2010 and journal == 'The Lancet'", True),
        ('journal == "The lancet"', False),
        ("2010 < year <= 2012", True),
        ("2012 < year <= 2020", False),
        ("year in [2011, 2012]", True),
        ("year in (1, 2)", False),
        ("year not in (1, 2)", True),
        ("journal contains 'lancet'", True),
        ("'lancet' in journal", True),
        ("journal not contains 'BMJ'", True),
        ("keywords contains 'heart'", True),
        ("'hear' in keywords", False),
        ("keywords in ['Heart']", True),
        ("phase >= 2", True),
        ("phase == 3", True),
        ("phase == '3'", True),
        ("phase < '21'", False),
        ("year == '2012'", True),
        ("journal > 3", False),
        ("journal != 3", True),
        ("source.name == 'PubMed' and source.id == 7", True),
        ("source.nothing == 1", False),
        ("year.name == 1", False),
        ("`pub-date` >= '2012-01-01'", True),
        ("open", True),
        ("retracted", False),
        ("open == true and retracted == false", True),
        ("open == 1", False),
        ("retracted < 1", False),
        ("not (year < 2000 or retracted)", True),
        ("not not open", True),
        ("year < 2000 or year > 2010 and open", True),
        ("(year < 2000 or year > 2010) and retracted", False),
        ("journal == 'The Lanc\\et'", True),
        ("score > -1.5e0 and score < .75", True),
        ("YEAR == 2012", False),
        ("year == 2012 AND NOT retracted", True),
    ],
)
def test_meaning(source, expected):
    assert parse(source).test(ROW) is expected


@pytest.mark.parametrize("compare", ["==", "!=", "<", "<=", ">", ">=", "in", "not in", "contains", "not contains"])
@pytest.mark.parametrize("name", ["doi", "absent"])
def test_what_is_missing_is_false_in_every_comparison(compare, name):
    assert parse(f"{name} {compare} 'x'").test(ROW) is False
    assert parse(f"'x' {compare} {name}").test(ROW) is False
    assert parse(f"not ({name} {compare} 'x')").test(ROW) is True
    assert parse(name).test(ROW) is False


@given(
    st.integers() | st.floats(allow_nan=False),
    st.sampled_from(["==", "!=", "<", "<=", ">", ">="]),
    st.integers() | st.floats(allow_nan=False, allow_infinity=False),
)
def test_numbers_compare_as_in_python(left, compare, right):
    names = {"==": "eq", "!=": "ne", "<": "lt", "<=": "le", ">": "gt", ">=": "ge"}
    assert parse(f"x {compare} {right!r}").test({"x": left}) is getattr(operator, names[compare])(left, right)


@given(st.text(), st.text())
def test_any_text_can_be_written_in_quotes(left, right):
    quoted = "'" + left.replace("\\", "\\\\").replace("'", "\\'") + "'"
    if len(quoted) < 9000:
        assert parse(f"x == {quoted}").test({"x": right}) is (left == right)


@pytest.mark.parametrize(
    ("source", "place", "expected"),
    [
        ("year = 3", 6, "'==' instead of '='"),
        ("year == 3 && open", 11, "'and' instead of '&&'"),
        ("year >", 7, "a field, a number"),
        ("(year == 1", 11, "`)`"),
        ("year == 1 open", 11, "`and` / `or`"),
        ("'a", 1, "closing quote"),
        ("year in [1 2]", 12, "`,` or `]`"),
        ("year in [1, open]", 13, "a field, a number, or a text"),
        ("3", 2, "an operator"),
        ("3 4", 3, "an operator"),
        ("year == null", 9, "write `not field`"),
        ("year not 3", 10, "`in` or `contains`"),
        ("", 1, "a field"),
        ("year == 1 ; drop", 11, "a field, a value or an operator"),
        ("__import__('os')", 11, "nothing more here"),
        ("year == 2010.5.1", 9, "a field, a value"),
    ],
)
def test_errors_say_where(source, place, expected):
    with pytest.raises(UsageError, match=f"wrong at character {place}: ") as caught:
        parse(source)
    assert expected in str(caught.value)
    _, shown, mark = str(caught.value).split("\n")
    assert len(mark) - 1 == min(place, 41) + 1
    assert source[:30] in shown


@given(st.text(alphabet="ab '\"`()[],.<>=!&|-+0123456789 andornotincontains\\\n\0", max_size=60))
def test_any_other_text_is_a_usage_error_or_a_test(source):
    try:
        result = parse(source).test(ROW)
    except UsageError as error:
        result = bool(str(error)) if "expression" in str(error) else str(error)
    assert result in (True, False)


def test_size_and_depth_are_limited():
    deep = "(" * (MAX_DEPTH + 1) + "year" + ")" * (MAX_DEPTH + 1)
    with pytest.raises(UsageError, match="nested more than"):
        parse(deep)
    with pytest.raises(UsageError, match="characters"):
        parse("year or " * 2000 + "year")
    assert parse("not " * 1001 + "year").test(ROW) is False
    assert parse(" or ".join(["year"] * 1000)).test({}) is False


def test_fields_are_collected_and_checked():
    found = parse("year > 1 and source.name == 'x' or `a b` == 1")
    assert found.fields == {"year", "source", "a b"}
    with pytest.raises(UsageError, match=r"no document has the field 'jornal'\. Did you mean 'journal'"):
        parse("jornal == 'x'").check(["journal", "year"])
    with pytest.raises(UsageError, match=r"'Lancet'.*A text needs quotes"):
        parse("journal == Lancet").check(["journal", "year"])
