"""Lines and what belongs to them in other files."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mumei.core.errors import UsageError
from mumei.data.readers.base import Problems, ReadError
from mumei.data.readers.parallel import read_parallel

OPTIONS = {"schema": "text", "main": "*text/*", "fields": {"labels": {"path": "labels", "split": ",", "default": []}}}
MARKS = {**OPTIONS, "beside": ["labels"], "separator": "<", "skip": 1}


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_pieces_by_lines_and_by_a_separator(files, end):
    given_files = files({"text/1.txt": f"a\u2028b{end}c{end}{end}", "labels/1.txt": f"x,y{end} z {end}"})
    found = list(read_parallel(given_files, Problems(), **OPTIONS, beside=["labels"]))
    assert [(r.id, r.text, r.labels, r.line) for r in found] == [
        ("1_1", "a\u2028b", ["x", "y"], 1),
        ("1_2", "c", ["z"], 2),
    ]
    marked = files({"d/text/1.txt": f"a{end}b", "d/labels/1.txt": "< x<  \n"}, "marked")
    found = list(read_parallel(marked, Problems(), **MARKS))
    assert [(r.text, r.labels) for r in found] == [("a", ["x"]), ("b", [])]


def test_files_that_do_not_fit_are_named(files):
    given_files = files(
        {
            "text/1.txt": "a\nb",
            "labels/1.txt": "<x",
            "text/2.txt": "a",
            "text/3.txt": "a",
            "labels/3.txt": "<x",
            "x/2.txt": "<",
        }
    )
    with pytest.raises(ReadError, match=r"text/1.txt: has 2 lines, and labels has 1 pieces for them"):
        list(read_parallel(given_files, Problems(), **MARKS))
    problems = Problems(keep_going=True)
    assert [r.file for r in read_parallel(given_files, problems, **MARKS)] == ["text/3.txt"]
    assert [(p.file, p.skipped) for p in problems.found] == [("text/1.txt", True), ("text/2.txt", True)]
    assert "there is no file of this name in labels" in problems.found[1].message
    with pytest.raises(UsageError, match="skip is a number from 0 on"):
        list(read_parallel(given_files, Problems(), **{**MARKS, "skip": -1}))


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_mutated_files(data, mutate, survives):
    texts, labels = mutate(data, "a\r\né\u2028\nb\n".encode()), mutate(data, b"< x,y< < z")
    survives(read_parallel, {"text/1.txt": texts, "labels/1.txt": labels}, **MARKS)
