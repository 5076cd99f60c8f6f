"""Sources: every format, every kind of bad row, and no exception but ours whatever the bytes."""

from __future__ import annotations

import bz2
import contextlib
import csv
import gzip
import io
import json
import lzma
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mumei.core.errors import DataError, MumeiError, UsageError
from mumei.discover.primer import load_passages, load_questions
from mumei.discover.sources import Item, Problem, open_source
from mumei.discover.sources import lines as lines_module
from mumei.discover.sources.rows import Checker

ROWS = [
    {"pmid": "11", "title": "One", "abstract": "First text, of the heart."},
    {"pmid": "12", "title": "Two", "abstract": 'Second "quoted" text;\nover two lines.'},
    {"pmid": "13", "title": "", "abstract": "第三の本文。"},
]
JSONL = "\n".join(json.dumps(r, ensure_ascii=False) for r in ROWS).encode()


def read(path, **columns):
    source = open_source(path, **columns)
    rows = list(source.rows())
    return source, [r for r in rows if isinstance(r, Item)], [r for r in rows if isinstance(r, Problem)]


def delimited(delimiter):
    out = io.StringIO()
    writer = csv.DictWriter(out, list(ROWS[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(ROWS)
    return out.getvalue().encode()


def parquet():
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(ROWS), sink)
    return sink.getvalue().to_pybytes()


def zipped(raw):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("rows.jsonl", raw)
    return out.getvalue()


FORMATS = {
    "a.jsonl": JSONL,
    "a.json": json.dumps(ROWS, indent=1).encode(),
    "b.json": json.dumps({"n": 3, "documents": ROWS}, indent=1).encode(),
    "a.csv": delimited(","),
    "b.csv": delimited(";"),
    "a.tsv": delimited("\t"),
    "bom.csv": b"\xef\xbb\xbf" + delimited(","),
    "wide.jsonl": JSONL.decode().encode("utf-16"),
    "a.parquet": parquet(),
    "a.jsonl.gz": gzip.compress(JSONL),
    "a.jsonl.bz2": bz2.compress(JSONL),
    "a.jsonl.xz": lzma.compress(JSONL),
    "a.csv.gz": gzip.compress(delimited(",")),
    "misnamed.jsonl": gzip.compress(JSONL),
    "a.zip": zipped(JSONL),
}


@pytest.mark.parametrize("name", FORMATS)
def test_the_same_rows_come_out_of_every_format(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(FORMATS[name])
    source, items, problems = read(path)
    assert source.kind == "text"
    assert [(i.id, i.title) for i in items] == [("11", "One"), ("12", "Two"), ("13", "")]
    assert [i.text.split() for i in items] == [r["abstract"].split() for r in ROWS]
    assert problems == []
    assert "id='pmid' (guessed), title='title' (guessed), text='abstract' (guessed)" in source.described[1]


def test_zstd(tmp_path):
    zstandard = pytest.importorskip("zstandard", reason="needs the zstd extra")
    (tmp_path / "a.jsonl.zst").write_bytes(zstandard.compress(JSONL))
    assert len(read(tmp_path / "a.jsonl.zst")[1]) == 3


def test_given_columns_are_used_and_wrong_ones_refused(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(JSONL)
    source, items, _ = read(path, text_column="title", id_column="abstract")
    assert items[0].text == "One"
    assert "text='title' (given)" in source.described[1]
    with pytest.raises(UsageError, match=r"no column 'abstrct'\. Did you mean 'abstract'"):
        open_source(path, text_column="abstrct")


def test_the_wordiest_column_is_the_text_when_no_name_helps(tmp_path):
    (tmp_path / "x.csv").write_text("code,remark\na1,several words of prose here\na2,more words of prose\n")
    assert [i.text for i in read(tmp_path / "x.csv")[1]] == ["several words of prose here", "more words of prose"]


def test_bad_rows_are_reported_with_their_line(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"id,text\n1,fine text\n2,too,many\n3,\n4,caf\xe9 noir\n1,other text\n5,a\x00b\x07c\n")
    _, items, problems = read(path)
    expected = [("1", "fine text"), ("4", "café noir"), ("1#2", "other text"), ("5", "a b c")]
    assert [(i.id, i.text) for i in items] == expected
    kinds = [("malformed", True), ("empty", True), ("undecodable", False), ("duplicate id", False)]
    assert [(p.kind, p.dropped) for p in problems] == kinds
    assert "a.csv:3" in problems[0].detail


def test_lines_too_long_are_skipped_in_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr(lines_module, "CHUNK", 100)
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "first one"}\n{"text": "' + b"x" * 5000 + b'"}\n{"text": "last one"}')
    lines = list(lines_module.read_lines(path, longest=1000))
    assert [(line.number, line.text is None) for line in lines] == [(1, False), (2, True), (3, False)]


def test_long_texts_are_cut_and_said():
    found = list(Checker(longest=10).check([Item("a", "", "0123456789abc", 0, "f:1")]))
    assert found[0].kind == "too long"
    assert found[1].text == "0123456789"


def test_surrogates_and_nan_in_json_are_read(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"id": 1, "text": "bad \\ud800 half", "x": NaN}\n')
    _, items, _ = read(path)
    assert items[0].text == "bad \ufffd half"


MEDLINE = """<?xml version="1.0"?><!DOCTYPE x [<!ENTITY boom SYSTEM "file:///etc/passwd">]><PubmedArticleSet>
<PubmedArticle><MedlineCitation><PMID>7</PMID><Article><ArticleTitle>On <i>hearts</i></ArticleTitle>
<Abstract><AbstractText Label="AIM">We ask.</AbstractText><AbstractText Label="END">We know. &boom;</AbstractText></Abstract>
</Article></MedlineCitation></PubmedArticle>
<PubmedArticle><MedlineCitation><PMID>8</PMID><Article><ArticleTitle>Title alone</ArticleTitle></Article></MedlineCitation>
</PubmedArticle></PubmedArticleSet>"""


def test_medline_with_section_labels_and_without_entities(tmp_path):
    (tmp_path / "m.xml").write_text(MEDLINE)
    _, items, problems = read(tmp_path / "m.xml")
    expected = [("7", "On hearts", "AIM: We ask. END: We know."), ("8", "Title alone", "Title alone")]
    assert [(i.id, i.title, i.text) for i in items] == expected
    assert problems == []
    (tmp_path / "cut.xml").write_text(MEDLINE[: MEDLINE.index("<PMID>8")])
    _, items, problems = read(tmp_path / "cut.xml")
    assert [i.id for i in items] == ["7"]
    assert problems[0].kind == "malformed"


def test_a_folder_of_text_files(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "b_note.txt").write_text("text of b")
    (tmp_path / "sub" / "a.md").write_bytes(b"text of caf\xe9")
    (tmp_path / ".hidden.txt").write_text("not read")
    _, items, problems = read(tmp_path)
    expected = [("b_note.txt", "b note", "text of b"), ("sub/a.md", "a", "text of café")]
    assert [(i.id, i.title, i.text) for i in items] == expected
    assert problems[0].kind == "undecodable"


def test_a_folder_of_parts_and_folders_that_cannot_be_read(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"text": f"text of {name}"}))
    assert len(read(tmp_path)[1]) == 2
    (tmp_path / "c.csv").write_text("text\nanother text\n")
    with pytest.raises(DataError, match="mixes CSV, JSON lines"):
        open_source(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds 0 files"):
        open_source(tmp_path / "empty")


def test_fasta(tmp_path):
    raw = b">p1 first protein\nMKv-L\nAAG*\n>p2\nM1K?\n>p3\n\n>p4 again\nMKVLAAG\n"
    (tmp_path / "s.fa.gz").write_bytes(gzip.compress(raw))
    source, items, problems = read(tmp_path / "s.fa.gz")
    assert source.kind == "sequence"
    assert [(i.id, i.title, i.text) for i in items] == [("p1", "first protein", "MKVLAAG"), ("p2", "", "MK")]
    assert [(p.id, p.kind) for p in problems] == [("p2", "malformed"), ("p3", "empty"), ("p4", "duplicate")]
    assert "1 ?" in problems[0].detail


def write_table(folder, layout, x):
    path = folder / "x.npy"
    if layout == "npy":
        np.save(path, x)
    elif layout == "images":
        np.save(path, x.reshape(6, 2, 2).astype(np.uint8))
    elif layout == "npz":
        path = folder / "x.npz"
        np.savez(path, y=np.arange(6), x=x)
    elif layout == "sparse":
        from scipy.sparse import csr_matrix

        path, m = folder / "x.npz", csr_matrix(x)
        parts = {"x_indptr": m.indptr, "x_indices": m.indices.astype(np.uint16), "x_data": m.data, "x_shape": m.shape}
        np.savez(path, **parts, y=np.arange(6))
    elif layout in ("csv", "no header"):
        path = folder / "x.csv"
        head = "name,a,b,c,d,label\n" if layout == "csv" else ""
        rows = [",".join([f"r{i}"] * bool(head) + [str(v) for v in r] + ["1"] * bool(head)) for i, r in enumerate(x)]
        path.write_text(head + "\n".join(rows))
    elif layout == "parquet":
        path = folder / "x.parquet"
        pq.write_table(pa.table({c: x[:, i] for i, c in enumerate("abcd")}), path)
    else:
        anndata = pytest.importorskip("anndata", reason="needs the anndata extra")
        import pandas as pd

        path = folder / "x.h5ad"
        obs = pd.DataFrame(index=[f"r{i}" for i in range(6)])
        anndata.AnnData(x.astype(np.float32), obs=obs, var=pd.DataFrame(index=list("abcd"))).write_h5ad(path)
    return path


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("layout", ["npy", "npz", "sparse", "csv", "no header", "parquet", "images", "h5ad"])
def test_tables_of_numbers(tmp_path, layout):
    x = np.arange(24.0).reshape(6, 4)
    source = open_source(write_table(tmp_path, layout, x))
    assert source.kind == "table"
    np.testing.assert_array_equal(np.concatenate(list(source.blocks(4))), x)
    expected = [f"r{i}" for i in range(6)] if layout in ("csv", "h5ad") else [str(i + 1) for i in range(6)]
    assert source.ids() == expected
    if layout in ("npz", "sparse", "csv"):
        assert any("labels are never features" in line for line in source.described)


def test_rows_that_are_not_finite_are_left_out(tmp_path):
    x = np.ones((5, 3))
    x[1, 1], x[4, 0] = np.nan, np.inf
    np.save(tmp_path / "x.npy", x)
    source = open_source(tmp_path / "x.npy")
    assert source.ids() == ["1", "3", "4"]
    assert [p.row for p in source.problems] == [1, 4]
    np.save(tmp_path / "e.npy", np.ones((0, 3)))
    with pytest.raises(DataError, match="0 rows"):
        open_source(tmp_path / "e.npy")


def test_pickles_are_never_opened(tmp_path):
    np.save(tmp_path / "o.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="without pickle"):
        open_source(tmp_path / "o.npy")


SUFFIXES = [".jsonl", ".csv", ".tsv", ".json", ".xml", ".fasta", ".txt", ".npz", ".npy", ".parquet", ".gz", ""]


@pytest.mark.parametrize("suffix", SUFFIXES)
@given(raw=st.one_of(st.binary(max_size=300), st.text(max_size=200).map(lambda t: t.encode("utf-8", "replace"))))
@settings(max_examples=25, deadline=None)
def test_whatever_the_bytes_only_our_errors_come_out(tmp_path_factory, suffix, raw):
    path = tmp_path_factory.mktemp("fuzz") / f"f{suffix}"
    path.write_bytes(raw)
    with contextlib.suppress(MumeiError):
        source = open_source(path)
        rows = source.ids() if source.kind == "table" else list(source.rows())
        assert isinstance(rows, list)


MAGIC = [b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"PK\x03\x04", b"PAR1", b"\x89HDF\r\n\x1a\n", b"\x93NUMPY"]


@pytest.mark.parametrize("magic", MAGIC)
def test_damaged_files_are_named(tmp_path, magic):
    path = tmp_path / "f.jsonl"
    path.write_bytes(magic + b"\x00\x01\x02 rest")
    with pytest.raises(MumeiError, match=r"f\.jsonl"):
        open_source(path)


def test_the_primer_is_what_it_promises():
    passages, questions = load_passages(), load_questions()
    ids = {p["id"] for p in passages}
    assert len(passages) == len(ids) >= 240
    assert len({p["theme"] for p in passages}) >= 8
    assert len(questions) >= 48
    assert sum(q["lang"] == "ja" for q in questions) >= 10
    assert all(q["relevant"] and set(q["relevant"]) <= ids and set(q["relevant"].values()) <= {1, 2} for q in questions)
    items = list(open_source("primer").rows())
    assert [i.id for i in items] == [p["id"] for p in passages]


def test_real_files(data_dir):
    """Counts are those that the folders' own notes state."""
    _, items, _ = read(data_dir / "cluster" / "ohsumed23_text.jsonl.xz")
    assert len(items) == 7400
    source = open_source(data_dir / "cluster" / "worm_neuron.npz")
    assert (len(source.ids()), len(source.columns)) == (4186, 13488)
    _, items, problems = read(data_dir / "bigbio" / "medline_xml")
    assert {i.id for i in items} == {"29768149", "17299597", "18405359"}
    assert problems == []
    source, items, _ = read(data_dir / "protein" / "sequences" / "mycoplasma_genitalium.fasta.gz")
    assert source.kind == "sequence"
    assert len(items) > 400
