"""The main job end to end: what it makes, what it keeps, what it redoes, and how it fails."""

from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest

from mumei.core.errors import ArtifactError, DataError, StorageError, UsageError
from mumei.core.progress import Progress
from mumei.discover import Searcher, Workspace, discover, pipeline, search
from mumei.discover.workspace import BusyError

pytestmark = pytest.mark.usefixtures("word_encoder")


def contents(folder):
    """Every file of a workspace but the log, the one that holds times."""
    return {
        p.relative_to(folder).as_posix(): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and p.name not in ("log.jsonl", ".lock")
    }


def test_a_collection_becomes_a_workspace(notes, tmp_path, capsys):
    workspace = discover(notes, out=tmp_path / "ws", ask=["stroke and memory"], progress=Progress())
    said = capsys.readouterr().err
    assert "columns: id='id' (guessed), title='title' (guessed), text='text' (guessed)" in said
    assert "90 of 90 rows kept" in said
    labels = workspace.column("clusters", "cluster")
    subjects = np.arange(90) % 3
    for cluster in set(labels):
        assert len(set(subjects[labels == cluster])) == 1, "a cluster mixes subjects that share no word"
    groups = json.loads((workspace.folder / "groups.json").read_text())["groups"]
    assert sum(g["size"] for g in groups) == 90
    assert all(g["terms"] and len(g["exemplars"]) == 3 for g in groups)
    xy = np.c_[workspace.column("map", "x"), workspace.column("map", "y")]
    assert xy.shape == (90, 2)
    assert np.abs(xy).max() == pytest.approx(1)
    answers = json.loads((workspace.folder / "answers.json").read_text())
    assert answers[0]["hits"][0]["title"].startswith("brain")
    report = (workspace.folder / "report.html").read_text()
    assert "stroke and memory" in report
    assert "http" not in report.replace("http-equiv", "")


def test_the_same_command_again_does_nothing_and_changes_redo_what_depends(notes, tmp_path, capsys):
    discover(notes, out=tmp_path / "ws")
    before = contents(tmp_path / "ws")
    os.utime(notes)
    discover(notes, out=tmp_path / "ws", progress=Progress())
    assert capsys.readouterr().err.count("nothing changed, kept") == 7
    assert contents(tmp_path / "ws") == before
    discover(notes, out=tmp_path / "ws", clusters=3, progress=Progress())
    said = capsys.readouterr().err
    assert "encode: nothing changed" in said
    assert "organise: 3 clusters" in said
    with notes.open("a") as handle:
        handle.write('{"id": "new", "title": "", "text": "a new note on fever"}\n')
    workspace = discover(notes, out=tmp_path / "ws", clusters=3)
    assert len(workspace) == 91
    assert "new" in [hit["id"] for hit in search(tmp_path / "ws", "new fever")["hits"]]


class Cut(BaseException):
    pass


def test_cut_off_at_any_write_the_next_run_ends_the_same(notes, tmp_path, monkeypatch):
    """Fail at the n-th rename, for all n, as a crash would; what follows must equal an undisturbed run, byte for byte."""
    monkeypatch.setattr(pipeline, "ENCODE_ROWS", 32)
    discover(notes, out=tmp_path / "whole", ask=["fever"])
    expected = contents(tmp_path / "whole")
    real = os.replace
    for n in range(200):
        out = tmp_path / "cut"
        shutil.rmtree(out, ignore_errors=True)
        calls = iter(range(1000))

        def cut(a, b, calls=calls, n=n):
            if next(calls) == n:
                raise Cut
            return real(a, b)

        monkeypatch.setattr(os, "replace", cut)
        try:
            discover(notes, out=out, ask=["fever"])
        except Cut:
            monkeypatch.setattr(os, "replace", real)
            discover(notes, out=out, ask=["fever"])
            assert contents(out) == expected, f"differs after a cut at rename {n}"
        else:
            monkeypatch.setattr(os, "replace", real)
            break
    assert n > 15


def test_encoding_continues_where_it_stopped(notes, tmp_path, monkeypatch, capsys):
    from mumei.retrieval.index import VectorStore

    monkeypatch.setattr(pipeline, "ENCODE_ROWS", 20)
    real, calls = VectorStore.append, iter(range(100))

    def stop(self, vectors):
        if next(calls) == 3:
            raise Cut
        real(self, vectors)

    monkeypatch.setattr(VectorStore, "append", stop)
    with pytest.raises(Cut):
        discover(notes, out=tmp_path / "ws")
    monkeypatch.setattr(VectorStore, "append", real)
    discover(notes, out=tmp_path / "ws", progress=Progress())
    assert "continuing at row 60 of 90" in capsys.readouterr().err


def _write(path, text):
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("make", "kind", "said"),
    [
        (lambda p: p / "notes.jsnol", UsageError, "Did you mean 'notes.jsonl'"),
        (lambda p: _write(p / "empty.jsonl", ""), DataError, "is empty"),
        (lambda p: _write(p / "blank.csv", "\n \n"), DataError, "is empty"),
        (lambda p: _write(p / "dots.jsonl", '{"text": "..."}\n{"text": ""}\n'), DataError, "no usable row"),
        (lambda p: _write(p / "void.csv", "a,b,c\n,,\n,,\n"), DataError, "no column with text"),
    ],
)
def test_sources_that_cannot_be_used_say_why(notes, tmp_path, make, kind, said):
    with pytest.raises(kind, match=said):
        discover(make(tmp_path), out=tmp_path / "ws")


def test_wrong_arguments_say_what_is_allowed(notes, tmp_path):
    with pytest.raises(UsageError, match="Did you mean 'text'"):
        discover(notes, out=tmp_path / "ws", text_column="txt")
    with pytest.raises(UsageError, match="--ask question is empty"):
        discover(notes, out=tmp_path / "ws", ask=["  "])
    with pytest.raises(UsageError, match="--clusters 1000"):
        discover(notes, out=tmp_path / "ws", clusters=1000)
    np.save(tmp_path / "x.npy", np.eye(5))
    with pytest.raises(UsageError, match="--ask needs text"):
        discover(tmp_path / "x.npy", out=tmp_path / "t", ask=["anything"])
    (tmp_path / "mine").mkdir()
    _write(tmp_path / "mine" / "thesis.txt", "precious")
    with pytest.raises(UsageError, match="left alone"):
        discover(notes, out=tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "precious"
    with pytest.raises(StorageError, match="a file of that name"):
        discover(notes, out=tmp_path / "x.npy")
    discover(notes, out=tmp_path / "ws")
    other = _write(tmp_path / "other.txt", "Another text. It has two sentences.")
    with pytest.raises(UsageError, match="choose another --out"):
        discover(other, out=tmp_path / "ws")


def test_two_writers_do_not_meet(notes, tmp_path):
    workspace = Workspace(tmp_path / "ws")
    with workspace.locked(), pytest.raises(BusyError, match="another mumei"):
        discover(notes, out=tmp_path / "ws")


def test_a_full_disk_loses_nothing_and_the_next_run_continues(notes, tmp_path, monkeypatch):
    discover(notes, out=tmp_path / "whole")
    expected = contents(tmp_path / "whole")
    real = os.fsync
    for n in range(2, 60, 9):
        calls = iter(range(1000))

        def full(descriptor, calls=calls, n=n):
            if next(calls) == n:
                raise OSError(28, "No space left on device")
            return real(descriptor)

        out = tmp_path / f"ws{n}"
        monkeypatch.setattr(os, "fsync", full)
        try:
            discover(notes, out=out)
        except StorageError as error:
            assert "disk is full" in str(error)  # noqa: PT017 (folder flushes swallow it, which is allowed)
        monkeypatch.setattr(os, "fsync", real)
        discover(notes, out=out)
        assert contents(out) == expected


def test_markup_in_the_text_stays_text(tmp_path):
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(2)> heart & virus"
    rows = [{"id": f"<b>{i}</b>", "title": f"<h1>{i}</h1>", "text": f"{evil} number {i}"} for i in range(6)]
    rows.append({"id": "<b>x</b>", "title": "", "text": ""})
    path = _write(tmp_path / "evil.jsonl", "\n".join(map(json.dumps, rows)))
    workspace = discover(path, out=tmp_path / "ws", ask=["<script>alert(3)</script> heart"])
    report = (workspace.folder / "report.html").read_text()
    assert report.count("<script") == 2
    assert report.count("</script>") == 2
    for bad in ("<img", "<h1>0", "<b>0", "<b>x", "alert(3)</script>"):
        assert bad not in report


def test_quality_is_counted_and_listed(tmp_path):
    lines = [
        '{"id": 1, "text": "one good text"}',
        "no json",
        '{"id": 1, "text": "another good text"}',
        '{"text": "!!"}',
    ]
    lines += ['{"id": 4, "text": "One  GOOD text"}', '{"id": 5, "text": ""}', "[1]"]
    path = tmp_path / "q.jsonl"
    path.write_bytes("\n".join(lines).encode() + b'\n{"id": 8, "text": "caf\xe9 au lait"}\n')
    workspace = discover(path, out=tmp_path / "ws")
    summary = workspace.summary("read")
    expected = {"malformed": 2, "duplicate id": 1, "punctuation": 1, "duplicate": 1, "empty": 1, "undecodable": 1}
    assert summary["problems"] == expected
    assert (summary["rows"], summary["kept"]) == (8, 3)
    listed = pq.read_table(workspace.folder / "problems.parquet").to_pylist()
    assert len(listed) == 7
    assert [r["id"] for _, t in workspace.items() for r in t.to_pylist()] == ["1", "1#2", "8"]
    assert [r["text"] for _, t in workspace.items() for r in t.to_pylist()][2] == "café au lait"


def test_one_row_and_equal_rows(tmp_path):
    one = discover(_write(tmp_path / "one.jsonl", '{"text": "a single note on fever"}\n'), out=tmp_path / "one")
    assert len(one) == 1
    np.save(tmp_path / "same.npy", np.tile(np.arange(4.0), (6, 1)))
    with pytest.raises(DataError, match="constant"):
        discover(tmp_path / "same.npy", out=tmp_path / "same")


def test_tables_and_sequences_go_the_same_road(tmp_path):
    rng = np.random.default_rng(0)
    x = np.r_[rng.normal(0, 1, (40, 5)), rng.normal(8, 1, (40, 5))]
    x[3, 2] = np.nan
    np.savez(tmp_path / "x.npz", x=x, y=np.arange(80))
    table = discover(tmp_path / "x.npz", out=tmp_path / "table", clusters=2)
    labels = table.column("clusters", "cluster")
    truth = np.delete(np.arange(80) >= 40, 3)
    assert len(set(zip(labels, truth, strict=True))) == 2
    assert table.summary("read")["problems"] == {"not finite": 1}
    with pytest.raises(UsageError, match="numeric table"):
        Searcher(tmp_path / "table")
    bases = ["MKVLAAGITRRWQDE" * 3, "PPGHCCNNYFSTLLK" * 3]
    records = [f">s{i} protein of kind {i % 2}\n{bases[i % 2]}{'ACDEFGHIKL'[i % 10]}{i * 'A'}\n" for i in range(20)]
    sequences = discover(_write(tmp_path / "s.fasta", "".join(records)), out=tmp_path / "seq", clusters=2)
    labels = sequences.column("clusters", "cluster")
    assert len(set(zip(labels, np.arange(20) % 2, strict=True))) == 2
    groups = json.loads((tmp_path / "seq" / "groups.json").read_text())["groups"]
    assert all(any("median length" in t for t in g["terms"]) for g in groups)
    hit = search(tmp_path / "seq", bases[1])["hits"][0]
    assert int(hit["id"][1:]) % 2 == 1
    assert search(tmp_path / "seq", "kind 1")["notes"]
    dna = discover(
        _write(tmp_path / "d.fa", ">a x\nACGTACGTTTGACA\n>b y\nTTGACAACGT\n>c z\nGGGGCCCC\n"), out=tmp_path / "dna"
    )
    assert dna.summary("encode")["model"] == "kmer/6/512"


def test_unfinished_and_missing_workspaces_say_so(notes, tmp_path, monkeypatch):
    with pytest.raises(ArtifactError, match="no workspace"):
        Workspace.open(tmp_path)
    monkeypatch.setattr(pipeline, "_index", lambda run: (_ for _ in ()).throw(Cut))
    with pytest.raises(Cut):
        discover(notes, out=tmp_path / "ws")
    with pytest.raises(ArtifactError, match="not finished"):
        search(tmp_path / "ws", "fever")
    (tmp_path / "ws" / "manifest.json").write_text("{")
    with pytest.raises(ArtifactError, match="cannot be read"):
        Workspace.open(tmp_path / "ws")
    (tmp_path / "ws" / "manifest.json").write_text('{"format": 99}')
    with pytest.raises(ArtifactError, match="format 99"):
        Workspace.open(tmp_path / "ws")
