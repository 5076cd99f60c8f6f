"""CSV and TSV: RFC 4180 against Python's own reader, the traps of texts, and every error with its line."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mumei.core.errors import UsageError
from mumei.data.readers.base import Problems, ReadError, SourceFile
from mumei.data.readers.delimited import cells, delimited_rows, read_delimited

TABLE = 'id,text,label\n1,"a, ""b""\nc\u2028d",x\n\n2,5" long,y\n'


def rows(files, text, name="a.csv", **options):
    file = next(f for f in files({name: text}, "folder") if f.name == name)
    return list(delimited_rows(file, Problems(), **options))


@pytest.mark.parametrize(
    "change", [lambda t: t, lambda t: t.replace("\n", "\r\n"), lambda t: "\ufeff" + t, lambda t: t[:-1]]
)
def test_table_by_hand(files, change):
    end = "\r\n" if "\r" in change("\n\n") else "\n"
    assert rows(files, change(TABLE)) == [
        ({"id": "1", "text": f'a, "b"{end}c\u2028d', "label": "x"}, 2),
        ({"id": "2", "text": '5" long', "label": "y"}, 5),
    ]


def test_columns_delimiters_and_quotes(files):
    assert rows(files, '1\t"a"\n', "b.TSV", columns=["n", "t"]) == [({"n": "1", "t": "a"}, 1)]
    assert rows(files, '1\t"a\n', "a.tsv", columns=["n", "t"], quote="") == [({"n": "1", "t": '"a'}, 1)]
    assert rows(files, "1;'a;b'\n", columns=["n", "t"], delimiter=";", quote="'") == [({"n": "1", "t": "a;b"}, 1)]
    assert rows(files, ",\n", columns=["n", "t"]) == [({"n": "", "t": ""}, 1)]
    assert rows(files, '"",""\r\n', columns=["n", "t"]) == [({"n": "", "t": ""}, 1)]
    assert rows(files, "a\rb,c\r", columns=["n", "t"]) == [({"n": "a\rb", "t": "c"}, 1)]
    assert rows(files, "é,x\n".encode("cp1252"), columns=["n", "t"], encoding="cp1252")[0][0]["n"] == "é"
    long = "x" * 300_000
    assert rows(files, f'"{long}",y\n', columns=["n", "t"])[0][0]["n"] == long


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1\n", "a.csv:2: has 1 cells, expected 2"),
        ("a,b\n1,2\n\n1,2,3\n", "a.csv:4: has 3 cells, expected 2"),
        ('a,b\n1,"x\ny\n', "a.csv:2: a quote opens here that is never closed"),
        ('a,b\n"1\n\n"2,3\n', "a.csv:4: text behind a closing quote"),
        ("a,a\n1,2\n", "a.csv:1: the column 'a' occurs twice"),
        (b"a,b\n1,\xe9\n", "a.csv:2: byte 0xe9 is not utf-8"),
    ],
)
def test_broken_tables_say_where(files, text, message):
    with pytest.raises(ReadError, match=message):
        rows(files, text)


def test_only_bad_lines_are_lost(files):
    given_files = files({"a.csv": 'text,labels\na,x\n"b"c,y\nd\ne,z\n"f,z\n'})
    problems = Problems(keep_going=True)
    assert [r.text for r in read_delimited(given_files, problems, schema="text")] == ["a", "e"]
    assert [p.line for p in problems.found] == [3, 4, 6]


def test_missing_columns_are_named_once(files):
    given_files = files({"a.csv": "text,lable\na,x\nb,y\n"})
    with pytest.raises(ReadError, match=r"a.csv:2: no column labels; there are text, lable"):
        list(read_delimited(given_files, Problems(), schema="text"))
    problems = Problems(keep_going=True)
    assert list(read_delimited(given_files, problems, schema="text")) == []
    assert problems.skipped == 1


@pytest.mark.parametrize(
    "options", [{"delimiter": "::"}, {"quote": ","}, {"quote": "\n"}, {"columns": "ab"}, {"columns": ["a", "a"]}]
)
def test_options_that_cannot_be_used(files, options):
    with pytest.raises(UsageError):
        rows(files, TABLE, **options)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.lists(st.text(st.sampled_from('ab"\n ,é\u2028\t')), min_size=2, max_size=2)),
    st.sampled_from(["\n", "\r\n"]),
)
def test_equal_to_another_reader(tmp_path_factory, table, end):
    """Python's `csv`, in its strict mode, is the oracle."""
    path = tmp_path_factory.mktemp("csv") / "a"
    with open(path, "w", newline="", encoding="utf-8") as handle:
        csv.writer(handle, lineterminator=end).writerows(table)
    found = [row for row, _ in cells(SourceFile(str(path), "a"), "utf-8", ",", '"', Problems())]
    expected = list(csv.reader(io.StringIO(path.read_bytes().decode(), newline=""), strict=True))
    assert found == expected == table


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_mutated_files(data, mutate, survives):
    made = mutate(data, 'text,labels\n"a, ""b""\r\né",x\nc,y\nd,"z"\n'.encode())
    survives(read_delimited, {"a.csv": made}, schema="text")
