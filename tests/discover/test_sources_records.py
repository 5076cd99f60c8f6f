"""Records in JSON, CSV and Parquet: every value of a real file comes out again, and every fault is reported."""

from __future__ import annotations

import bz2
import csv
import gzip
import json
import lzma
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from mumei.core.errors import DataError, UsageError
from mumei.discover.sources import Item, Problem, delimited, jsonlines, kinds, open_source

ROWS = [
    {"id": "a", "title": "Statins", "text": 'Statins lower cholesterol, and "prevent" strokes.'},
    {"id": "b", "title": "", "text": "Line one\nline two; with | and\ttab"},
    {"id": "c", "title": "腎臓", "text": "腎臓の病気について書かれた文章です。"},
]


def split(source) -> tuple[list[Item], list[Problem]]:
    rows = list(source.rows())
    return [r for r in rows if isinstance(r, Item)], [r for r in rows if isinstance(r, Problem)]


def read(path: Path, **options) -> tuple[list[Item], list[Problem]]:
    return split(open_source(path, **options))


def as_jsonl(rows) -> bytes:
    return b"".join(json.dumps(r, ensure_ascii=False).encode() + b"\n" for r in rows)


def as_csv(rows, delimiter=",") -> bytes:
    import io

    handle = io.StringIO(newline="")
    writer = csv.DictWriter(handle, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return handle.getvalue().encode()


def as_parquet(rows) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    return sink.getvalue().to_pybytes()


FORMATS = {
    "a.jsonl": as_jsonl,
    "a.ndjson": as_jsonl,
    "a.json": lambda rows: json.dumps(rows, indent=1).encode(),
    "doc.json": lambda rows: json.dumps({"version": 1, "rows": rows}, indent=1).encode(),
    "a.csv": as_csv,
    "a.tsv": lambda rows: as_csv(rows, "\t"),
    "semicolon.csv": lambda rows: as_csv(rows, ";"),
    "a.parquet": as_parquet,
    "no_suffix": as_jsonl,
    "wrong.csv": as_jsonl,
}
PACKERS = {
    "": lambda content, path: path.write_bytes(content),
    ".gz": lambda content, path: path.write_bytes(gzip.compress(content)),
    ".bz2": lambda content, path: path.write_bytes(bz2.compress(content)),
    ".xz": lambda content, path: path.write_bytes(lzma.compress(content)),
    ".zst": lambda content, path: path.write_bytes(zstandard.compress(content)),
    ".zip": lambda content, path: zip_one(path, content),
}


def zip_one(path: Path, content: bytes) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("__MACOSX/._x", b"")
        archive.writestr(path.name.removesuffix(".zip"), content)


@pytest.mark.parametrize("packer", PACKERS)
@pytest.mark.parametrize("name", FORMATS)
def test_every_format_in_every_compression_gives_the_same_rows(tmp_path, name, packer):
    path = tmp_path / (name + packer)
    PACKERS[packer](FORMATS[name](ROWS), path)
    source = open_source(path)
    items, problems = split(source)
    assert [(i.id, i.title, i.text, i.row) for i in items] == [
        (r["id"], r["title"], r["text"], n) for n, r in enumerate(ROWS)
    ]
    assert not problems
    assert source.kind == "text"
    assert source.files() == [path]
    assert "id='id' (guessed), title='title' (guessed), text='text' (guessed)" in source.described[-1]
    assert [i for i in source.rows() if isinstance(i, Item)] == items  # a second pass gives the same


def test_parquet_knows_its_rows(tmp_path):
    path = tmp_path / "a.parquet"
    path.write_bytes(as_parquet(ROWS))
    assert open_source(path).total_hint == 3


TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1).map(str.strip)


@settings(max_examples=60, deadline=None)
@given(st.lists(TEXT, min_size=1, max_size=8, unique=True))
def test_jsonl_round_trip(tmp_path_factory, texts):
    """What is kept is what was written, unless a check has a named reason to drop it."""
    path = tmp_path_factory.mktemp("j") / "a.jsonl"
    path.write_bytes(as_jsonl([{"text": "first text"}] + [{"text": t} for t in texts]))
    items, problems = read(path)
    dropped = {p.row for p in problems if p.dropped}
    assert {p.kind for p in problems} <= {"empty", "punctuation", "duplicate"}
    expected = ["first text", *texts]
    assert [i.text.strip("\ufeff ") for i in items] == [
        t.strip("\ufeff ") for n, t in enumerate(expected) if n not in dropped
    ]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=6))
def test_csv_round_trip(tmp_path_factory, pairs):
    """Cells with quotes, delimiters and spaces come back as Python's own writer put them in."""
    path = tmp_path_factory.mktemp("c") / "a.csv"
    rows = [{"title": t, "text": f"Text number {n}: {x}"} for n, (t, x) in enumerate(pairs)]
    path.write_bytes(as_csv(rows))
    items, _ = read(path, title_column="title", text_column="text")
    assert [i.text for i in items] == [r["text"].strip() for r in rows]


def test_malformed_json_lines_are_named_and_the_rest_is_read(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(
        b'{"text": "good one"}\n{"text": \n\n[1, 2]\n{"text": "good two"}\n"a bare string"\n' + b"[" * 100_000 + b"\n"
    )
    items, problems = read(path)
    assert [i.text for i in items] == ["good one", "good two", "a bare string"]
    assert [(p.kind, p.dropped, p.row) for p in problems] == [
        ("malformed", True, 1),
        ("malformed", True, 2),
        ("malformed", True, 5),
    ]
    assert "a.jsonl:2:" in problems[0].detail
    assert [i.where for i in items] == ["a.jsonl:1", "a.jsonl:5", "a.jsonl:6"]


def test_lone_surrogates_nan_and_nul_in_json(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(
        b'{"text": "half \\ud83d face", "x": NaN}\n{"text": "whole \\ud83d\\ude00 face"}\n'
        b'{"text": "nul\\u0000inside"}\n'
    )
    items, problems = read(path)
    assert [i.text for i in items] == ["half \ufffd face", "whole \U0001f600 face", "nul inside"]
    assert [(p.kind, p.dropped, p.row) for p in problems] == [("undecodable", False, 0), ("undecodable", False, 2)]


def test_cells_that_are_no_strings(tmp_path):
    path = tmp_path / "a.jsonl"
    rows = [
        {"id": 7, "text": ["One.", "Two."]},
        {"id": 8.0, "text": {"a": "deep", "b": ["er"]}},
        {"id": None, "text": 12.5},
    ]
    path.write_bytes(as_jsonl(rows))
    items, _ = read(path, text_column="text")
    assert [(i.id, i.text) for i in items] == [("7", "One. Two."), ("8", "deep er"), ("3", "12.5")]


@pytest.mark.parametrize(
    "cut",
    [
        '[{"text": "one"}, {"text": "two"}',
        '[{"text": "one"}, {"text": "two"}, {"te',
        '[{"text": "one"}, {"text": "two"},',
    ],
)
def test_an_array_that_breaks_off_keeps_what_came_before(tmp_path, cut):
    path = tmp_path / "a.json"
    path.write_text(cut)
    items, problems = read(path)
    assert [i.text for i in items] == ["one", "two"]
    assert [(p.kind, p.dropped) for p in problems] == [("malformed", True)]


def test_a_long_array_streams_across_chunks(tmp_path):
    """Elements are larger and smaller than the window's chunk, so borders fall everywhere."""
    texts = [f"{n}-" + "x" * (n * 37_003 % 900_000) for n in range(12)]
    path = tmp_path / "a.json"
    path.write_text(json.dumps([{"text": t} for t in texts]))
    assert [i.text for i in read(path)[0]] == texts


def test_objects_by_name(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"p1": {"text": "One text."}, "p2": {"text": "Another text."}}, indent=2))
    assert [(i.id, i.text) for i in read(path)[0]] == [("p1", "One text."), ("p2", "Another text.")]


def test_csv_rows_with_faults(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(
        b'id,text\n1,fine text here\n2,too,many\n3\n\n4,"quoted\nover lines"\n'
        b'5,nul\x00 byte\n6,"never closed\n7,the last row\n'
    )
    items, problems = read(path)
    assert [(i.id, i.text) for i in items] == [
        ("1", "fine text here"),
        ("4", "quoted\nover lines"),
        ("5", "nul  byte"),
        ("6", '"never closed'),
        ("7", "the last row"),
    ]
    assert [(p.kind, p.dropped, p.row) for p in problems] == [
        ("malformed", True, 1),
        ("malformed", True, 2),
        ("undecodable", False, 4),
        ("malformed", False, 5),
    ]
    assert "a.csv:3: 3 fields where there are 2 columns" in problems[0].detail


def test_a_stray_quote_costs_one_row_of_a_large_file(tmp_path):
    path = tmp_path / "a.tsv"
    rows = [f"{n}\tsome text number {n}" for n in range(3 * delimited.MAX_LINES)]
    rows[5] = '5\t"an open quote'
    path.write_text("id\ttext\n" + "\n".join(rows) + "\n")
    items, problems = read(path)
    assert len(items) == len(rows)
    assert items[5].text == '"an open quote'
    assert [(p.kind, p.dropped, p.row) for p in problems] == [("malformed", False, 5)]


def test_fields_longer_than_the_parser_allows_by_default(tmp_path):
    """The standard library stops at 131,072 characters; ours do not, and its setting is as it was."""
    before = csv.field_size_limit()
    path = tmp_path / "a.csv"
    path.write_text("id,text\n1," + "word " * 40_000 + '\n2,"' + "more\n" * 1_000 + '"\n')
    items, problems = read(path)
    assert [len(i.text) for i in items] == [199_999, 4_999]
    assert not problems
    assert csv.field_size_limit() == before


def test_csv_without_header_with_blank_header_and_one_column(tmp_path):
    path = tmp_path / "no_header.csv"
    path.write_text("1,The first text of all\n2,The second text of all\n")
    source = open_source(path)
    assert [i.text for i in split(source)[0]] == ["The first text of all", "The second text of all"]
    assert "no header" in source.described[0]
    path = tmp_path / "pandas.csv"
    path.write_text(",text\n0,The first text of all\n1,The second text of all\n")
    assert len(read(path)[0]) == 2
    path = tmp_path / "one.csv"
    path.write_text("text\nOne, with comma\nTwo, with, commas\n")
    assert [i.text for i in read(path)[0]] == ["One, with comma", "Two, with, commas"]
    path = tmp_path / "r.tsv"
    path.write_text("title\ttext\nx\tA\tThe first text\ny\tB\tThe second text\n")
    assert [(i.title, i.text) for i in read(path)[0]] == [("A", "The first text"), ("B", "The second text")]


def test_repeated_column_names_stay_apart(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("text,text\nThe first text of all,other\nThe second text of all,another\n")
    assert [i.text for i in read(path, text_column="text (2)")[0]] == ["other", "another"]


@pytest.mark.parametrize("ending", ["\r\n", "\r"])
def test_line_endings(tmp_path, ending):
    path = tmp_path / "a.csv"
    path.write_bytes(ending.join(["id,text", "1,first text", "2,second text", ""]).encode())
    items, problems = read(path)
    assert [(i.id, i.text) for i in items] == [("1", "first text"), ("2", "second text")]
    assert not problems


@pytest.mark.parametrize("codec", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.json"])
def test_unicode_encodings_are_found_out(tmp_path, codec, name):
    path = tmp_path / name
    latin = [r | {"title": "é", "text": r["text"] + " café"} for r in ROWS]
    path.write_bytes(FORMATS[name](latin).decode().encode(codec))
    items, problems = read(path)
    assert [i.text for i in items] == [r["text"] for r in latin]
    assert not problems


def test_a_given_encoding_is_used_and_a_wrong_one_refused(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes("id,text\n1,腎臓の病気です\n2,心臓の病気です\n".encode("shift_jis"))
    items, problems = read(path, encoding="shift_jis")
    assert [i.text for i in items] == ["腎臓の病気です", "心臓の病気です"]
    assert not problems
    for wrong in ("utf-9", "rot13", "undefined", "unicode_escape", "punycode", ""):
        with pytest.raises(UsageError, match="unknown encoding"):
            open_source(path, encoding=wrong)
    path.write_bytes(b"id,text\n1,fine text\n2,bad \xff\xff bytes\n")
    items, problems = read(path, encoding="ascii")
    assert items[1].text == "bad \ufffd\ufffd bytes"
    assert [(p.kind, p.dropped, p.row) for p in problems] == [("undecodable", False, 1)]


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.json"])
def test_mixed_encodings_in_one_file(tmp_path, name):
    """UTF-8 and Windows-1252 rows side by side; the expected text is what Python decodes row by row."""
    path = tmp_path / name
    rows = [{"id": "u", "text": "naïve café"}, {"id": "w", "text": "MARK"}]
    path.write_bytes(FORMATS[name](rows).replace(b"MARK", "Gef\u00e4\u00dfe \u2013 \u201cso\u201d".encode("cp1252")))
    items, problems = read(path)
    assert [i.text for i in items if i.id == "w"] == ["Gefäße – “so”"]
    assert [i.text for i in items if i.id == "u"] == ["naïve café"]
    assert [(p.id, p.kind, p.dropped) for p in problems] == [("w", "undecodable", False)]


def test_undecodable_parquet_strings(tmp_path):
    bad = pa.Array.from_buffers(
        pa.string(),
        2,
        [None, pa.py_buffer(b"\x00\x00\x00\x00\x05\x00\x00\x00\x0e\x00\x00\x00"), pa.py_buffer(b"caf\xe9 fine text")],
    )
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": bad}), path)
    items, problems = read(path)
    assert [i.text for i in items] == ["café", "fine text"]
    assert [p.kind for p in problems] == ["undecodable"]


def test_lines_over_the_limit_are_skipped_in_bounded_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(kinds, "MAX_LINE", 1 << 21)
    for module in (jsonlines, delimited):
        monkeypatch.setattr(module, "MAX_LINE", 1 << 21)
    from mumei.discover.sources import lines as lines_module

    monkeypatch.setattr(lines_module.bounded, "__defaults__", (1 << 21, b"\n"))
    monkeypatch.setattr(lines_module.lines, "__defaults__", (1 << 21,))
    path = tmp_path / "a.jsonl"
    with open(path, "wb") as handle:
        handle.write(b'{"text": "before"}\n{"text": "')
        for _ in range(20):
            handle.write(b"x" * (1 << 20))
        handle.write(b'"}\n{"text": "after"}\n')
    items, problems = read(path)
    assert [i.text for i in items] == ["before", "after"]
    assert [(p.kind, p.dropped, p.row) for p in problems] == [("too long", True, 1)]
    path = tmp_path / "a.csv"
    path.write_bytes(b"id,text\n1,before\n2," + b"x" * (5 << 20) + b"\n3,after that\n")
    items, problems = read(path)
    assert [i.text for i in items] == ["before", "after that"]
    assert [(p.kind, p.dropped, p.row) for p in problems] == [("too long", True, 1)]


def test_memory_stays_bounded_for_a_200_mb_line(tmp_path):
    """A gzip of one 200 MB line: what is read holds no more than the limit of a line and a little."""
    import tracemalloc

    from mumei.discover.sources.compression import peel
    from mumei.discover.sources.lines import lines

    path = tmp_path / "a.jsonl.gz"
    with gzip.open(path, "wb", compresslevel=1) as handle:
        for _ in range(200):
            handle.write(bytes(1 << 20))
        handle.write(b'\n{"text": "after"}\n')
    tracemalloc.start()
    found = [(n, len(line), cut) for n, line, cut in lines(peel(path), "utf-8", 4 << 20)]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found == [(1, 4 << 20, True), (2, 17, False)]
    assert peak < 32 << 20


# --- columns --------------------------------------------------------------------------------------------------------


def columns_line(path: Path, rows, **options) -> str:
    path.write_bytes(as_jsonl(rows))
    return open_source(path, **options).described[-1]


def test_columns_by_name(tmp_path):
    rows = [
        {"PMID": 1, "Article Title": "T", "Abstract": "Some text.", "year": "1999"},
        {"PMID": 2, "Abstract": "More."},
    ]
    line = columns_line(tmp_path / "a.jsonl", rows)
    assert line == "columns: id='PMID' (guessed), title='Article Title' (guessed), text='Abstract' (guessed)"


def test_the_longest_column_is_the_text_where_no_name_tells(tmp_path):
    rows = [{"kind": "short", "finding": "A much longer description of what was found there.", "n": 4}] * 2
    line = columns_line(tmp_path / "a.jsonl", rows)
    assert line == "columns: id=(row number), title=(none), text='finding' (guessed)"


def test_given_columns_are_echoed_and_unknown_ones_refused(tmp_path):
    rows = [{"a": "One thing.", "b": "Another longer thing.", "abstract": "Text."}]
    path = tmp_path / "a.jsonl"
    line = columns_line(path, rows, text_column="a", id_column="b")
    assert line == "columns: id='b' (given), title=(none), text='a' (given)"
    with pytest.raises(
        UsageError,
        match=r"no column 'abstrct' \(--text-column\). Did you mean 'abstract'\?.*Its columns: a, b, abstract",
    ):
        open_source(path, text_column="abstrct")


def test_no_text_column_lists_the_columns(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"id": "x"}\n{"id": "y"}\n')
    with pytest.raises(DataError, match=r"Its columns: id\. Name .* --text-column"):
        open_source(path)


def test_unnamed_ids_must_hardly_repeat(tmp_path):
    rows = [{"patient_id": "p", "text": f"note {n}"} for n in range(10)]
    assert columns_line(tmp_path / "a.jsonl", rows).startswith("columns: id=(row number)")


def test_metadata_carries_the_other_columns_and_lets_repeats_pass(tmp_path):
    path = tmp_path / "notes.jsonl"
    first = {
        "_id": "a",
        "text": "Statins lower cholesterol.",
        "year": 2019,
        "metadata": {"journal": "Lancet"},
        "x": {"y": 1},
    }
    second = {"_id": "a", "text": "Statins lower cholesterol.", "tags": ["heart", "drug"], "note": ""}
    path.write_text("\n".join(json.dumps(row) for row in (first, second)))
    items = [item for item in open_source(path).rows(metadata=True) if hasattr(item, "text")]
    assert [(item.id, item.metadata) for item in items] == [
        ("a", {"year": 2019, "journal": "Lancet"}),
        ("a", {"tags": ["heart", "drug"]}),
    ]
    assert [item.metadata for item in open_source(path).rows() if hasattr(item, "text")] == [{}]
