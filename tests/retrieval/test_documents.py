"""Documents: what is stored comes back, look-ups and conditions against plain Python, hostile texts, damage."""

from __future__ import annotations

import datetime
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mumei.core.errors import ArtifactError, DataError, UsageError
from mumei.retrieval import documents as module
from mumei.retrieval.documents import Document, DocumentStore, join_text, prepare


def store_of(folder, given, pieces=3):
    store = DocumentStore(folder)
    prepared = [prepare(d, i) for i, d in enumerate(given)]
    size = max(-(-len(prepared) // pieces), 1)
    for start in range(0, len(prepared), size):
        store = store.extended(prepared[start : start + size])
    return store


@pytest.fixture
def small_parts(monkeypatch):
    monkeypatch.setattr(module, "PART", 8)
    monkeypatch.setattr(module, "GROUP", 3)


def many(n):
    return [
        Document(f"id{i}", f"title {i}", f"text {i}", {"year": 2000 + i % 10, "even": i % 2 == 0}) for i in range(n)
    ]


@pytest.mark.parametrize("n", [0, 1, 7, 8, 9, 16, 45])
def test_rows_come_back_in_any_order(tmp_path, small_parts, n):
    given = many(n)
    store = store_of(tmp_path, given)
    wanted = np.random.default_rng(n).integers(0, n, 20).tolist() if n else []
    assert len(store) == n
    assert [Document(r["id"], r["title"], r["text"], r["metadata"]) for r in store.rows(wanted)] == [
        given[i] for i in wanted
    ]
    assert [r["row"] for r in store.rows(wanted, ["id"])] == wanted
    for first in {0, n // 2, max(n - 1, 0)}:
        found = [(at + i, name) for at, t in store.items(["id"], first) for i, name in enumerate(t["id"].to_pylist())]
        assert found == [(i, f"id{i}") for i in range(first, n)]
    again = DocumentStore(tmp_path, json.loads(json.dumps(store.state)))
    assert again.rows(wanted) == store.rows(wanted)
    assert sum(p["rows"] for p in store.state["parts"][:-1]) % 8 == 0


def test_wrong_rows_and_columns_are_named(tmp_path):
    store = store_of(tmp_path, many(3))
    with pytest.raises(UsageError, match="from 0 to 3 were asked of 3 rows"):
        store.rows([0, 3])
    with pytest.raises(UsageError, match="unknown column 'titel'"):
        store.rows([0], ["titel"])


@pytest.mark.parametrize("least", [1, 10, 1000])
def test_ids_are_found_whatever_is_on_the_disk(tmp_path, small_parts, least):
    store = DocumentStore(tmp_path)
    for start in range(0, 60, 4):
        store = store.extended([prepare(d, 0) for d in many(60)[start : start + 4]]).settled(least)
    again = DocumentStore(tmp_path, store.state)
    for s in (store, again, again.reindexed()):
        assert s.row_of([f"id{i}" for i in range(60)]).tolist() == list(range(60))
        assert s.row_of(["id60", "", "肺"]).tolist() == [-1, -1, -1]
    store.sweep()
    assert {p.name for p in tmp_path.iterdir()} == {e["file"] for e in (*store.state["parts"], *store.state["runs"])}
    assert store.verify() == []


def test_equal_hashes_are_told_apart_by_the_id(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "hash_ids", lambda ids: np.full(len(ids), 7, dtype=np.uint64))
    store = store_of(tmp_path, many(9)).settled(4)
    assert store.row_of(["id8", "id0", "none"]).tolist() == [8, 0, -1]


def test_of_several_rows_of_an_id_the_live_one_is_found(tmp_path):
    store = store_of(tmp_path, [Document("a", text="old"), Document("b", text="x"), Document("a", text="new")])
    assert store.row_of(["a"], np.array([False, True, True])).tolist() == [2]
    assert store.row_of(["a"], np.array([True, True, False])).tolist() == [0]
    assert store.row_of(["a"], np.array([False, True, False])).tolist() == [-1]


@pytest.mark.parametrize(
    ("expression", "rule"),
    [
        ("year >= 2005", lambda d: d.metadata["year"] >= 2005),
        ("year in [2001, 2003] and even", lambda d: False),
        ("not even", lambda d: not d.metadata["even"]),
        ("title contains '3' or id == 'id4'", lambda d: "3" in d.title or d.id == "id4"),
        ("text == 'text 5' or year == 2000", lambda d: d.text == "text 5" or d.metadata["year"] == 2000),
    ],
)
def test_where_is_the_rule_row_by_row(tmp_path, small_parts, expression, rule):
    given = many(30)
    assert store_of(tmp_path, given).where(expression).tolist() == [rule(d) for d in given]


def test_where_names_an_unknown_field(tmp_path):
    store = store_of(tmp_path, many(3))
    with pytest.raises(UsageError, match=r"no document has the field 'yaer'. Did you mean 'year'"):
        store.where("yaer > 3")
    assert store_of(tmp_path / "own", [Document("a", "t", "x", {"title": "other"})]).where("title == 't'").tolist() == [
        True
    ]


def test_with_very_many_fields_an_unknown_one_is_missing(tmp_path):
    given = [Document("a", text="x", metadata={f"f{i}": 1 for i in range(module.MAX_FIELDS + 5)})]
    store = store_of(tmp_path, given)
    assert len(store.state["fields"]) == module.MAX_FIELDS
    assert store.where("nothing == 1").tolist() == [False]


values = (
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)

nested = st.recursive(values, lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(), v, max_size=3))


@settings(max_examples=60, deadline=None)
@given(
    st.text(min_size=1),
    st.text(),
    st.text(),
    st.dictionaries(
        st.text(), st.recursive(values, lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(), v, max_size=3))
    ),
)
def test_any_document_is_kept_cleaned_or_refused(tmp_path_factory, name, title, text, metadata):
    try:
        prepared = prepare(Document(name, title, text, metadata), 0)
    except DataError as error:
        if "the id" not in str(error):
            raise
        return
    store = DocumentStore(tmp_path_factory.mktemp("d")).extended([prepared])
    row = store.rows([0])[0]
    assert (row["id"], row["title"], row["text"]) == (name, prepared.title, prepared.text)
    if not prepared.cleaned:
        assert (row["title"], row["text"], row["metadata"]) == (title, text, metadata)
    assert store.row_of([name]).tolist() == [0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\x00b\x1bc", "a b c"),
        ("half \ud800 pair", "half \ufffd pair"),
        ("tab\tand\nline", "tab\tand\nline"),
        ("<script>alert('x')</script> & \u202e", "<script>alert('x')</script> & \u202e"),
        ("\x85\x9f", "\x85 "),
    ],
)
def test_what_is_no_text_is_replaced_and_said(text, expected):
    found = prepare(Document("a", text, text, {"note": text}), 0)
    assert (found.title, found.text) == (expected, expected)
    assert found.cleaned == (text != expected)
    assert not any("\ud800" <= c <= "\udfff" for c in found.metadata)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (Document("", text="x"), "document 4: the id '' is empty"),
        (Document(" \n", text="x"), "is empty"),
        (Document("a\x00", text="x"), "control characters"),
        (Document("a\udc80", text="x"), "half surrogate pairs"),
        (Document(3, text="x"), "its id is int"),
        (Document("a", text=None), "its text is NoneType"),
        (Document("a", title=b"x"), "its title is bytes"),
        (Document("a", text="x", metadata=[1]), "its metadata is list"),
        (Document("a", text="x", metadata={1: 2}), "a name in its metadata"),
        (Document("a", text="x", metadata={"x": float("nan")}), "no JSON form"),
        (Document("a", text="x", metadata={"x": object()}), "no JSON form"),
    ],
)
def test_what_cannot_be_stored_is_named(given, message):
    with pytest.raises(DataError, match=message):
        prepare(given, 4)


def test_metadata_that_refers_to_itself_is_refused():
    loop: dict = {}
    loop["self"] = loop
    with pytest.raises(DataError, match="no JSON form"):
        prepare(Document("a", text="x", metadata=loop), 0)


def test_dates_and_numpy_values_get_a_json_form():
    metadata = {
        "day": datetime.date(2020, 1, 2),
        "n": np.int64(3),
        "x": np.float32(0.5),
        "v": np.arange(2),
        "none": None,
    }
    found = json.loads(prepare(Document("a", text="x", metadata=metadata), 0).metadata)
    assert found == {"day": "2020-01-02", "n": 3, "x": 0.5, "v": [0, 1], "none": None}


def test_the_hash_tells_text_from_metadata():
    a = prepare(Document("a", "t", "x", {"y": 1, "z": 2}), 0)
    b = prepare(Document("b", "t", "x", {"z": 2, "y": 1}), 0)
    c = prepare(Document("a", "t", "x", {"y": 2}), 0)
    d = prepare(Document("a", "tx", "", {"y": 1, "z": 2}), 0)
    assert a.hash == b.hash
    assert a.hash[:16] == c.hash[:16]
    assert a.hash[16:] != c.hash[16:]
    assert a.hash[:16] != d.hash[:16]


@pytest.mark.parametrize(
    ("title", "text", "joined"),
    [("A", "b", "A. b"), ("", "b", "b"), ("A", "A b", "A b"), ("A", "", "A. "), ("", "", "")],
)
def test_title_and_text_are_joined(title, text, joined):
    assert join_text(title, text) == joined == prepare(Document("a", title, text), 0).joined


@pytest.mark.parametrize("damage", ["cut", "missing", "altered", "other"])
def test_damage_is_found_and_said(tmp_path, damage):
    store = store_of(tmp_path, many(20), pieces=1).settled(1)
    other = store_of(tmp_path / "other", many(3), pieces=1)
    name = store.state["parts"][0]["file"]
    path = tmp_path / name
    content = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    elif damage == "other":
        path.write_bytes((tmp_path / "other" / other.state["parts"][0]["file"]).read_bytes())
    else:
        content[30:60] = bytes(30)
        path.write_bytes(content[: len(content) // 2] if damage == "cut" else content)
    assert [file for file, _ in store.verify()] == [name]
    if damage != "altered":  # there the damage may lie where a reader does not look
        with pytest.raises(ArtifactError, match="cannot be read"):
            DocumentStore(tmp_path, store.state).rows([0])


def test_a_damaged_index_of_ids_is_an_error_with_a_remedy(tmp_path):
    store = store_of(tmp_path, many(20)).settled(1)
    path = tmp_path / store.state["runs"][0]["file"]
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(ArtifactError, match=r"rebuild\(\)"):
        DocumentStore(tmp_path, store.state).row_of(["id3"])
    assert "instead of" in store.verify()[0][1]


def test_a_long_document_is_kept_whole(tmp_path):
    text = "word " * 20_000
    store = store_of(tmp_path, [Document("a", "t", text), *many(3)])
    assert store.rows([0])[0]["text"] == text
