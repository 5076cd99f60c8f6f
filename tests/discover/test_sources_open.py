"""What `open_source` says of what it cannot use; and that nothing but a `MumeiError` ever leaves it."""

from __future__ import annotations

import contextlib
import gzip
import os
import sys
import zipfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mumei.core.errors import DataError, MissingExtraError, MumeiError, UsageError
from mumei.discover.sources import Item, Problem, open_source


def drain(path, **options) -> None:
    source = open_source(path, **options)
    assert source.kind in ("text", "sequence", "table")
    assert all(isinstance(line, str) for line in source.described)
    if source.kind == "table":
        assert sum(len(b) for b in source.blocks()) == len(source.ids())
        assert all(isinstance(p, Problem) for p in source.problems)
        return
    seen = set()
    for row in source.rows():
        assert isinstance(row, Item | Problem)
        if isinstance(row, Item):
            assert row.text.strip()
            "".join((row.id, row.title, row.text)).encode("utf-8")
            assert row.id not in seen
            seen.add(row.id)


def test_unknown_path_gets_the_closest_names(tmp_path):
    (tmp_path / "notes.csv").write_text("x")
    with pytest.raises(UsageError, match=r"Did you mean 'notes.csv'\? Accepted: JSONL"):
        open_source(tmp_path / "note.csv")
    with pytest.raises(UsageError, match="does not exist"):
        open_source(tmp_path / "no" / "such" / "folder.csv")
    with pytest.raises(UsageError, match="'primer'"):
        open_source("primmer")
    for odd in ("a\0b", "x" * 5000):
        with pytest.raises(UsageError):
            open_source(odd)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="neither a file nor a folder"):
        open_source(tmp_path / "pipe")


@pytest.mark.parametrize(
    "content",
    [b"", b" \n\r\n ", b"\xef\xbb\xbf", b"\xff\xfe", gzip.compress(b"", mtime=0)],
    ids=["nothing", "space", "bom8", "bom16", "gzip"],
)
@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.xml", "a.fasta", "a.dat", "a.txt"])
def test_empty_files(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match="is empty"):
        open_source(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.pdf", b"%PDF-1.7 ...", "PDF"),
        ("a.pkl", b"\x80\x04\x95abc", "never read"),
        ("a.dat", bytes(range(256)) * 20, "no format that mumei reads"),
        ("a.dat", b"Just some prose.\nNothing else in it.\n", "no format that mumei reads"),
        ("a.fasta", b"this is no fasta", "no format that mumei reads"),
        ("a.json", b"hello", "no format that mumei reads"),
        ("a.json", b'{"a": [1, 2', "not valid JSON"),
        ("a.csv", b"id,text\n", "no row"),
        ("a.jsonl", b"not json\nneither\n", "no row"),
        ("a.tar", b"x" * 257 + b"ustar" + b"x" * 300, "tar archive"),
        ("a.csv", b"id,label\n1,a\n2,b\n", None),
    ],
)
def test_files_in_no_format(tmp_path, name, content, says):
    (tmp_path / name).write_bytes(content)
    if says is None:
        drain(tmp_path / name)
        return
    with pytest.raises(DataError, match=says):
        open_source(tmp_path / name)


def test_zip_archives(tmp_path):
    path = tmp_path / "a.zip"
    for names, says in (
        ((), "empty"),
        (("a.csv", "b.csv"), "holds 2 files"),
        (("xl/sheet.xml", "b"), "Excel"),
        (("word/d.xml",), "Word"),
    ):
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                archive.writestr(name, "x")
        with pytest.raises(DataError, match=says):
            open_source(path)


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz", ".zst", ".zip"])
def test_cut_off_compression_is_an_error_at_every_length(tmp_path, suffix):
    """Half a file must not pass for the whole: every cut raises `DataError`, on opening or on reading."""
    import bz2
    import lzma

    import zstandard

    plain = b"".join(b'{"text": "row %d of the rows"}\n' % (n * 7919) for n in range(400))
    path = tmp_path / ("a.jsonl" + suffix)
    if suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a.jsonl", plain)
        packed = path.read_bytes()
    else:
        packed = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress, ".zst": zstandard.compress}[suffix](
            plain
        )
    for end in range(20, len(packed) - 1, max(1, len(packed) // 40)):
        path.write_bytes(packed[:end])
        with pytest.raises(DataError):
            drain(path)
    path.write_bytes(packed)
    drain(path)


def test_zstd_frames_in_a_row(tmp_path):
    import zstandard

    path = tmp_path / "a.jsonl.zst"
    path.write_bytes(b"".join(zstandard.compress(b'{"text": "row %d"}\n' % n) for n in range(5)))
    assert sum(isinstance(r, Item) for r in open_source(path).rows()) == 5


def test_missing_packages_are_named(tmp_path, monkeypatch):
    (tmp_path / "a.jsonl.zst").write_bytes(b"\x28\xb5\x2f\xfd" + bytes(20))
    (tmp_path / "a.h5ad").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(20))
    monkeypatch.setitem(sys.modules, "zstandard", None)
    monkeypatch.setitem(sys.modules, "anndata", None)
    with pytest.raises(MissingExtraError, match=r"mumei\[zstd\]"):
        open_source(tmp_path / "a.jsonl.zst")
    with pytest.raises(MissingExtraError, match=r"mumei\[anndata\]"):
        open_source(tmp_path / "a.h5ad")


@pytest.mark.parametrize("option", ["id_column", "title_column", "text_column"])
def test_options_that_do_not_apply(tmp_path, option):
    (tmp_path / "a.fasta").write_text(">a\nMKV\n")
    with pytest.raises(UsageError, match="does not apply to FASTA"):
        open_source(tmp_path / "a.fasta", **{option: "x"})
    with pytest.raises(UsageError, match="does not apply to the embedded corpus"):
        open_source("primer", **{option: "x"})


def test_importing_loads_nothing_heavy():
    import subprocess

    heavy = "numpy pyarrow lxml torch"
    code = f"import sys, mumei.discover.sources; print([m for m in {heavy.split()} if m in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


# --- any bytes ------------------------------------------------------------------------------------------------------

PIECES = st.sampled_from(
    [
        *[bytes([c]) for c in b'{}[]",:\n\r\t<>/;|*#\\ 01a\x00\xff\xe9'],
        b'{"text": "',
        b'"}\n',
        b'"id": 1',
        b"\\ud800",
        b"text,id\n",
        b'"',
        b"<article>",
        b"</article>",
        b"<PubmedArticleSet>",
        b"<MedlineCitation><PMID>1</PMID>",
        b"</MedlineCitation>",
        b"</PubmedArticleSet>",
        b"<?xml version='1.0'?>",
        b"<!DOCTYPE a",
        b"<!ENTITY a 'b'>",
        b"&a;",
        b">seq one\n",
        b"MKV*",
        b"\xff\xfe",
        b"\xef\xbb\xbf",
        b"\x1f\x8b\x08",
        b"PK\x03\x04",
        b"BZh91AY&SY",
        b"\xfd7zXZ\x00",
        b"\x28\xb5\x2f\xfd",
        b"PAR1",
        b"\x93NUMPY",
        b"\x89HDF\r\n\x1a\n",
        b"1,2,3\n",
        b"nan",
        b"1e999",
        b"some words here",
    ]
)
ANYTHING = st.one_of(st.binary(max_size=300), st.lists(PIECES, max_size=30).map(b"".join))


@pytest.mark.parametrize(
    "name", ["a.jsonl", "a.json", "a.csv", "a.tsv", "a.fasta", "a.xml", "a.txt", "a", "a.npy", "a.parquet", "a.npz"]
)
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=ANYTHING)
def test_any_bytes_give_rows_or_a_mumei_error(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with contextlib.suppress(MumeiError):
        drain(path)


@pytest.mark.parametrize(
    "prefix", [b'{"text": "one two"}\n', b"id,text\n1,one two\n2,three four\n", b">s\nMKV\n", b"a,b\n1,2\n3,4\n"]
)
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=ANYTHING)
def test_any_bytes_after_good_rows(tmp_path, prefix, content):
    path = tmp_path / "file"
    path.write_bytes(prefix + content)
    with contextlib.suppress(MumeiError):
        drain(path)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=ANYTHING,
    encoding=st.sampled_from(
        ["utf-8", "utf-16", "utf-7", "cp1252", "shift_jis", "utf-32", "punycode", "unicode_escape"]
    ),
)
def test_any_bytes_in_any_encoding(tmp_path, content, encoding):
    path = tmp_path / "a.csv"
    path.write_bytes(b"id,text\n" + content)
    with contextlib.suppress(MumeiError):
        drain(path, encoding=encoding)
