"""BEIR folders, whole and broken, and known items."""

from __future__ import annotations

import json

import pytest

from mumei.core.errors import DataError, UsageError
from mumei.retrieval.beir import BeirFolder
from mumei.retrieval.documents import Document
from mumei.retrieval.known_item import KnownItem, known_items


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
        ('{"_id": "x"}', ":3: a line needs"),
        ('{"_id": "d1", "text": "again"}', ":3: the id 'd1' came before"),
    ],
)
def test_broken_lines_are_named(folder, line, message):
    with open(folder / "corpus.jsonl", "a") as handle:
        handle.write("\n" + line + "\n")
    with pytest.raises(DataError, match=message):
        list(BeirFolder(folder).documents())


def documents(n=50):
    return [
        Document(str(i), f"The title of document {i}", f"This is sentence {i} first. Second one.") for i in range(n)
    ]


def test_known_items_are_documents_own_titles_or_sentences():
    assert known_items(documents(3)) == [KnownItem(f"The title of document {i}", str(i)) for i in range(3)]
    assert known_items(documents(1), kind="sentence") == [KnownItem("This is sentence 0 first.", "0")]


def test_a_seeded_sample_that_favours_no_document():
    """Expected: each of 50 documents is drawn in 10/50 of the samples; 5 standard errors of 300 draws."""
    assert known_items(documents(), 10, seed=1) == known_items(documents(), 10, seed=1)
    drawn = [item.id for seed in range(300) for item in known_items(documents(), 10, seed=seed)]
    shares = [drawn.count(str(i)) / 300 for i in range(50)]
    assert max(abs(share - 0.2) for share in shares) < 5 * (0.2 * 0.8 / 300) ** 0.5


def test_titles_that_are_shared_or_short_are_no_query():
    twice = [Document("a", "The same long title", "x"), Document("b", "The same long title", "y")]
    with pytest.raises(DataError, match="no document has a title"):
        known_items([*twice, Document("c", "Short", "z")])
    with pytest.raises(UsageError, match="kind='titel'"):
        known_items(documents(), kind="titel")
    with pytest.raises(UsageError, match="count=0"):
        known_items(documents(), 0)
