"""BEIR folders, whole and broken."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma

import pytest

from mumei.core.errors import DataError, UsageError
from mumei.retrieval.beir import BeirFolder
from mumei.retrieval.documents import Document


@pytest.fixture
def folder(tmp_path):
    rows = [{"_id": "d1", "title": "T", "text": "one", "metadata": {"year": 3}}, {"_id": 2, "text": "two"}]
    (tmp_path / "corpus.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "queries.jsonl").write_text(json.dumps({"_id": "q1", "text": "which?", "metadata": {"type": "list"}}))
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t1\nq1\tgone\t1\nq9\td1\t1\n")
    return tmp_path


def test_a_folder_is_read(folder):
    beir = BeirFolder(folder)
    assert list(beir.documents()) == [Document("d1", "T", "one", {"year": 3}), Document("2", "", "two", {})]
    assert beir.queries()["q1"].metadata == {"type": "list"}
    assert beir.judgements()["q1"] == {"d1": 1, "gone": 1}
    assert beir.unresolved() == {"documents": 1, "queries": 1}


def test_what_is_missing_is_said_beside_what_is_there(folder):
    with pytest.raises(UsageError, match=r"qrels/dev\.tsv.*It has: corpus\.jsonl, qrels/test\.tsv"):
        BeirFolder(folder, "dev")
    with pytest.raises(UsageError, match="no folder"):
        BeirFolder(folder / "nothing")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", ":3: not JSON"),
        ("[" * 100_000, ":3: not JSON"),
        ("[1]", ":3: a line needs '_id' and 'text'"),
        ('{"_id": "x"}', ":3: a line needs '_id' and 'text'"),
        ('{"text": "x"}', ":3: a line needs '_id'.*it has None"),
        ('{"_id": "", "text": "x"}', ":3: a line needs '_id'"),
        ('{"_id": true, "text": "x"}', ":3: a line needs '_id'"),
        ('{"_id": "x", "text": "x", "title": 3}', ":3: 'title' is int; it must be a text"),
        ('{"_id": "x", "text": "x", "metadata": [1]}', ":3: 'metadata' is list; it must be an object"),
        ('{"_id": "d1", "text": "again"}', ":3: the id 'd1' came before"),
    ],
)
def test_broken_lines_are_named(folder, line, message):
    with open(folder / "corpus.jsonl", "a") as handle:
        handle.write("\n" + line + "\n")
    with pytest.raises(DataError, match=message):
        list(BeirFolder(folder).documents())


def test_a_packed_folder_gives_the_same(folder):
    whole = BeirFolder(folder)
    expected = list(whole.documents()), whole.queries(), whole.judgements()
    for name, packer in (("corpus.jsonl", gzip), ("queries.jsonl", lzma), ("qrels/test.tsv", bz2)):
        ending = {gzip: ".gz", lzma: ".xz", bz2: ".bz2"}[packer]
        (folder / (name + ending)).write_bytes(packer.compress((folder / name).read_bytes()))
        (folder / name).unlink()
    packed = BeirFolder(folder)
    assert (list(packed.documents()), packed.queries(), packed.judgements()) == expected


def test_a_query_that_comes_twice_is_named(folder):
    line = (folder / "queries.jsonl").read_text()
    (folder / "queries.jsonl").write_text(f"{line}\n{line}\n")
    with pytest.raises(DataError, match=r"queries\.jsonl:2: the id 'q1' came before"):
        BeirFolder(folder).queries()
