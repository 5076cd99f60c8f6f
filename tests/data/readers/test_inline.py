"""Marks in running text: lines worked out by hand, the traps, and every error with its line."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mumei.core.errors import UsageError
from mumei.data.documents import Document
from mumei.data.readers.base import Problems, ReadError, SourceFile
from mumei.data.readers.inline import _between, read_inline
from mumei.data.schemas import Entity, Passage

MARKS = {"disorder": ["(", ")"], "drug": ["[", "]"], "body": ["{", "}"]}


def read(files, text, problems=None, marks=MARKS, **options):
    return list(read_inline(files({"a.txt": text}), problems or Problems(), marks=marks, **options))


def said(document):
    return document.text(), [(e.type, *e.text, *e.offsets) for e in document.entities]


def test_line_by_hand(files):
    found = read(files, "Take [ flytande medicin ] for ( pain ).\n\n \nplain\u2028text\r\n")
    assert found[0] == Document(
        "a_1",
        "a_1",
        [Passage("a_1_text", "sentence", ["Take flytande medicin for pain."], [(0, 31)])],
        [
            Entity("a_1_T1", "drug", ["flytande medicin"], [(5, 21)], []),
            Entity("a_1_T2", "disorder", ["pain"], [(26, 30)], []),
        ],
        file="a.txt",
        line=1,
    )
    assert [(d.id, d.text(), d.line) for d in found[1:]] == [("a_4", "plain\u2028text", 4)]


@pytest.mark.parametrize(
    ("line", "text", "mentions"),
    [
        ("{kropp} x", "kropp x", [("body", "kropp", (0, 5))]),
        ("x) a {hud} (vat", "x) a hud (vat", [("body", "hud", (5, 8))]),
        ("t ({hår} me) x", "t hår me x", [("body", "hår", (2, 5)), ("disorder", "hår me", (2, 8))]),
        ("( ) { } x", "( ) { } x", []),
        ("(a)(b)", "ab", [("disorder", "a", (0, 1)), ("disorder", "b", (1, 2))]),
        ("((a)", "(a", [("disorder", "(a", (0, 2))]),
        ("(a [b) c]", "a b c", [("disorder", "a b", (0, 3)), ("drug", "b c", (2, 5))]),
        ("({ })", "{ }", [("disorder", "{ }", (0, 3))]),
    ],
)
def test_nested_cut_off_and_empty_marks(files, line, text, mentions):
    (found,) = read(files, line)
    assert said(found) == (text, mentions)


def test_a_name_that_is_repeated_is_found_where_each_of_its_marks_stands(files):
    """Loaders that look names up in the text put every later mention, marked or not, on the first."""
    (found,) = read(files, "TP53 and <g>TP53</g>, then <g>TP53</g> again", marks={"gene": ["<g>", "</g>"]})
    assert said(found) == ("TP53 and TP53, then TP53 again", [("gene", "TP53", (9, 13)), ("gene", "TP53", (20, 24))])


def test_tags_of_several_characters(files):
    marks = {"gene": ["<g>", "</g>"], "first": ["<<", ">>"], "second": ["[[", "]]"]}
    (found,) = read(files, "a <g>B<C</g> << x y >> [[ z ]] ]] <g></g>", marks=marks)
    assert said(found) == (
        "a B<C x y z ]] <g></g>",
        [("gene", "B<C", (2, 5)), ("first", "x y", (6, 9)), ("second", "z", (10, 11))],
    )


@pytest.mark.parametrize("size", [1, 3, 10, 1000])
def test_blocks_of_every_size(files, monkeypatch, size):
    monkeypatch.setattr("mumei.data.readers.inline.BLOCK", size)
    assert [said(d)[0] for d in read(files, "\ufeff(å) b\n\n[c]\nd")] == ["å b", "c", "d"]


def test_bad_bytes_cost_their_line(files):
    content = b"a\n\xe9\n(b)\n"
    with pytest.raises(ReadError, match=r"a\.txt:2.*: byte 0xe9 is not utf-8"):
        read(files, content)
    problems = Problems(keep_going=True)
    assert [d.text() for d in read(files, content, problems)] == ["a", "b"]
    assert problems.skipped == 1
    assert [d.text() for d in read(files, content, encoding="latin-1")] == ["a", "é", "b"]


@pytest.mark.parametrize("marks", [{}, {"x": "()"}, {"x": ["("]}, {"x": ["", ")"]}, {"x": [1, 2]}])
def test_marks_are_checked(files, marks):
    with pytest.raises(UsageError, match="marks"):
        read(files, "x", marks=marks)


@settings(max_examples=400, deadline=None)
@given(st.text(alphabet="()[]{} ab\u2028\r\x00é\t"))
def test_mentions_are_where_they_are_said_to_be(tmp_path_factory, line):
    path = tmp_path_factory.mktemp("fuzz") / "a"
    path.write_bytes(line.encode())
    for document in read_inline([SourceFile(str(path), "a")], Problems(), marks=MARKS):
        text = document.text()
        removed = len(line.removesuffix("\r")) - len(text)
        assert removed >= 2 * len(document.entities) * (len({e.type for e in document.entities}) == 1)
        for entity in document.entities:
            ((start, end),) = entity.offsets
            assert text[start:end] == entity.text[0] != ""
            assert entity.text[0] == entity.text[0].strip()


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="()<>b/ a"), st.sampled_from([("(", ")"), ("<b>", "</b>"), ("((", "))"), ("<", "<")]))
def test_mentions_are_those_of_a_regular_expression(line, pair):
    start, end = map(re.escape, pair)
    pattern = re.compile(rf"{start}((?:(?!{end}).)+){end}")
    assert list(_between(line, *pair)) == [match.span(1) for match in pattern.finditer(line)]


def test_many_marks_that_are_never_closed_take_no_longer_than_the_line(files):
    began = time.process_time()
    (found,) = read(files, "(" * 300_000 + "()" * 100_000)
    assert len(found.entities) == 1  # of the first mark to the first one behind
    assert time.process_time() - began < 5
