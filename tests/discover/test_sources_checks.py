"""The checks of rows, on the rows themselves."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mumei.discover.sources.checks import Checker, Names, as_text, clean
from mumei.discover.sources.kinds import MAX_TEXT, Item, Note, Problem


def run(*rows: tuple) -> list:
    checker = Checker()
    return [found for n, row in enumerate(rows) for found in checker.check(n, f"f:{n}", row)]


def kinds(found: list) -> list:
    return [(p.row, p.kind, p.dropped) for p in found if isinstance(p, Problem)]


def test_a_good_row_is_an_item():
    assert run(("a", " A  title\n", " Some text. ")) == [Item("a", "A title", "Some text.", 0, "f:0")]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("", "empty"),
        ("  \t\n", "empty"),
        (None, "empty"),
        ("\x00\x01", "empty"),
        ("...!? --", "punctuation"),
        ("___", "punctuation"),
        ("。、", "punctuation"),
    ],
)
def test_rows_without_content_are_dropped(text, kind):
    assert (0, kind, True) in kinds(run(("a", "", text)))


def test_a_title_stands_in_for_a_missing_text():
    found = run(("a", "The title", ""))
    assert kinds(found) == [(0, "empty", False)]
    assert found[-1].text == "The title"


def test_duplicates_differ_in_nothing_but_case_and_space():
    found = run(
        ("a", "", "Some Text"),
        ("b", "", "some \n text"),
        ("c", "", "some text."),
        ("d", "", "STRASSE"),
        ("e", "", "straße"),
    )
    assert kinds(found) == [(1, "duplicate", True), (4, "duplicate", True)]


def test_repeated_ids_get_numbers_that_are_free():
    found = run(
        ("a", "", "one"), ("a#2", "", "two"), ("a", "", "three"), ("a", "", "four"), ("", "", "five"), ("5", "", "six")
    )
    assert [i.id for i in found if isinstance(i, Item)] == ["a", "a#2", "a#3", "a#4", "5", "5#2"]
    assert kinds(found) == [(2, "duplicate id", False), (3, "duplicate id", False), (5, "duplicate id", False)]


def test_a_text_over_the_limit_is_cut_and_one_at_the_limit_is_not():
    found = run(("a", "", "x" * MAX_TEXT), ("b", "", "y" * (MAX_TEXT + 1)))
    assert [len(i.text) for i in found if isinstance(i, Item)] == [MAX_TEXT, MAX_TEXT]
    assert kinds(found) == [(1, "too long", False)]


def test_a_note_that_drops_ends_the_check():
    found = Checker().check(3, "f:4", ("a", "", "text"), [Note("malformed", "odd")])
    assert found == [Problem(3, "a", "malformed", "f:4: odd", True)]


@given(st.text(st.characters(min_codepoint=0, max_codepoint=0x10FFFF, exclude_categories=[])))
def test_cleaned_text_is_storable(text):
    """Whatever comes in, what goes out is UTF-8, holds no NUL, and is clean already."""
    cleaned, _ = clean(text)
    cleaned.encode("utf-8")
    assert "\0" not in cleaned
    assert clean(cleaned) == (cleaned, "")


@given(st.text(st.characters(codec="cp1252", min_codepoint=0xA0, max_codepoint=0xFF), min_size=1))
def test_bytes_of_windows_1252_come_back(text):
    """The inverse of Python's own encoder; the letters around keep the bytes from forming UTF-8 by chance."""
    spaced = "a".join(text)
    cleaned, remark = clean("<" + spaced.encode("cp1252").decode("utf-8", "surrogateescape") + ">")
    assert cleaned == "<" + spaced + ">"
    assert "Windows-1252" in remark


@given(st.lists(st.sampled_from(["a", "b", "a#2", "a#3", "b#2", "a#2#2"])))
def test_names_are_unique(names):
    maker = Names()
    made = [maker.unique(n) for n in names]
    assert len(set(made)) == len(made)
    assert all(m == n or m.startswith(n + "#") for m, n in zip(made, names, strict=True))


def test_cells_as_text():
    deep: list = ["end"]
    for _ in range(100):
        deep = [deep]
    assert [as_text(v) for v in (None, 3, 3.0, 2.5, float("nan"), True, b"caf\xc3\xa9", ["a", None, "b"], deep)] == [
        "",
        "3",
        "3",
        "2.5",
        "",
        "True",
        "café",
        "a b",
        "",
    ]
