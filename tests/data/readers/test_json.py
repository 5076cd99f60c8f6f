"""JSON and JSON lines: where records are, their lines, the traps, and every error with its line."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mumei.core.errors import UsageError
from mumei.data.readers.base import Problems, ReadError
from mumei.data.readers.json import json_rows, jsonl_rows, read_json, read_jsonl

LIST = '[\n {"id": 1, "v": "a\u2028b"},\n\n {"id": 2, "v": "\\u00e9\\n"}]\n'
OBJECT = '{"version": [1, {"x": "}"}],\n "data": {"rows": [\n{"id": 1},\n{"id": 2}\n], "after": null},\n "end": "]"}'
KEYED = '{\n"k1": {"id": 1},\n"k2": "text",\n"k1": {"id": 3}}'


def rows(files, text, name="a.json", **options):
    file = next(f for f in files({name: text}, "folder") if f.name == name)
    return list(json_rows(file, Problems(), **options))


@pytest.mark.parametrize("change", [lambda t: t, lambda t: t.replace("\n", "\r\n"), lambda t: "\ufeff" + t])
def test_list_object_and_objects_by_key(files, change):
    assert rows(files, change(LIST)) == [({"id": 1, "v": "a\u2028b"}, 2), ({"id": 2, "v": "é\n"}, 4)]
    assert rows(files, change(OBJECT), records="data.rows") == [({"id": 1}, 3), ({"id": 2}, 4)]
    assert rows(files, change(KEYED), records="*") == [
        ({"id": 1, "#key": "k1"}, 2),
        ({"value": "text", "#key": "k2"}, 3),
        ({"id": 3, "#key": "k1"}, 4),  # given again, and not lost
    ]
    assert rows(files, change('\n{"a": {"x": {"id": 1}}}'), records="a.*") == [({"id": 1, "#key": "x"}, 2)]
    assert rows(files, change('\n {"id": 1} ')) == [({"id": 1}, 2)]
    assert rows(files, change("[]")) == rows(files, change("{}"), records="*") == []


def test_encodings(files):
    assert rows(files, LIST.encode("utf-16"), encoding="utf-16")[0] == ({"id": 1, "v": "a\u2028b"}, 2)
    with pytest.raises(ReadError, match=r"a.json:2: byte 0xe9 is not utf-8"):
        rows(files, '[\n"é"]'.encode("cp1252"))
    with pytest.raises(UsageError, match="unknown encoding"):
        rows(files, LIST, encoding="utf-9")


@pytest.mark.parametrize(
    ("text", "records", "message"),
    [
        ("", "", r"a.json:1: the JSON is broken: Expecting value, at the end of the file"),
        ('"text"', "", "1: .*expected a list of records or one"),
        ("[]", "rows", "1: .*expected an object with rows"),
        ("[]", "*", r"1: .*expected an object with \*"),
        ('{"rows": 3}', "rows", "expected a list at rows"),
        ('{"rows": [1]}', "rows.*", r"expected an object with \*"),
        ('{"row": []}', "rows", "there is no rows in it"),
        ('[\n{"id": 1}', "", "2: .*expected ',' or ']', at the end of the file"),
        ('[\n{"id": 1},]', "", "2: .*Expecting value"),
        ('[\n{"id": 1}\n{"id": 2}]', "", "3: .*expected ',' or ']'"),
        ('[{"id": }]', "", "Expecting value"),
        ('[{"id": NaN}]', "", "NaN is no JSON"),
        ("[" + "9" * 5000 + "]", "", "limit"),
        ("[[[" + "[" * 100_000, "", "maximum recursion depth"),
        ("[]\n\n[]", "", "3: .*expected the end of the file"),
        ('{"a": {} "b": []}', "b", "expected ',' or '}'"),
        ('{"a" {}}', "b", "expected ':'"),
        ("{a: 1}", "b", "expected a key"),
        ('{"rows": [], "b": }', "rows", "Expecting value"),
    ],
)
def test_broken_files_say_where(files, text, records, message):
    with pytest.raises(ReadError, match=message):
        rows(files, text, records=records)


def test_what_stands_before_a_broken_place_is_kept(files):
    given_files = files({"a.json": '[{"text": "t", "labels": "l"},\n{"text": "u", "labels"'})
    problems = Problems(keep_going=True)
    assert [r.text for r in read_json(given_files, problems, schema="text")] == ["t"]
    assert [(p.file, p.line, p.skipped) for p in problems.found] == [("a.json", 2, True)]
    with pytest.raises(ReadError):
        list(read_json(given_files, Problems(), schema="text"))


def test_half_a_surrogate_pair_is_told(files):
    with pytest.raises(ReadError, match=r"a.json:1: row 1: text holds half a surrogate pair"):
        list(read_json(files({"a.json": '[{"text": "\\ud800", "labels": "l"}]'}), Problems(), schema="text"))


def test_lines(files):
    (file,) = files({"a.jsonl": '{"v": "a\u2028b"}\r\n\r\n[1]\r\n{"v": 1}\n{"v": \n{"v": 2}'})
    with pytest.raises(ReadError, match=r"a.jsonl:3: expected an object, got '\[1\]'"):
        list(jsonl_rows(file, Problems()))
    problems = Problems(keep_going=True)
    assert list(jsonl_rows(file, problems)) == [({"v": "a\u2028b"}, 1), ({"v": 1}, 4), ({"v": 2}, 6)]
    assert [p.line for p in problems.found] == [3, 5]
    assert "column" in problems.found[1].message


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.text(), values), st.sampled_from([None, 1, "\t"]), st.booleans())
def test_equal_to_another_reader(tmp_path_factory, value, indent, escaped):
    from mumei.data.readers.base import SourceFile

    path = tmp_path_factory.mktemp("json") / "a"
    path.write_bytes(
        json.dumps({"x": 1, "rows": value}, indent=indent, ensure_ascii=escaped).encode("utf-8", "surrogatepass")
    )
    try:
        path.read_bytes().decode()
    except UnicodeDecodeError:
        return  # hypothesis draws no surrogates by default; json may not escape them
    found = list(json_rows(SourceFile(str(path), "a"), Problems(), records="rows.*"))
    expected = json.loads(path.read_bytes())["rows"]
    assert {row.pop("#key"): row for row, _ in found} == {
        k: {n: x for n, x in v.items() if n != "#key"} if isinstance(v, dict) else {"value": v}
        for k, v in expected.items()
    }


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_mutated_files(data, mutate, survives):
    made = mutate(data, json.dumps({"rows": [{"text": "é", "labels": ["a"], "n": 1.5}] * 3}, indent=1).encode())
    survives(read_json, {"a.json": made}, schema="text", records="rows")
    lines = mutate(data, '{"text": "é\u2028", "labels": ["a"]}\r\n{"text": "x", "labels": "y"}\n'.encode())
    survives(read_jsonl, {"a.jsonl": lines}, schema="text")
