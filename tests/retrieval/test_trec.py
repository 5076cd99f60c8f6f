"""TREC's files: read, written, wrong."""

from __future__ import annotations

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mumei.core.errors import DataError, UsageError
from mumei.retrieval.trec import read_qrels, read_run, read_topics, write_qrels, write_run

IDS = st.text(st.characters(categories=("L", "N")), min_size=1, max_size=6)


@given(run=st.dictionaries(IDS, st.dictionaries(IDS, st.floats(-1e6, 1e6), min_size=1)))
def test_a_run_comes_back_as_it_was(run, tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "run.txt"
    write_run(path, run)
    assert read_run(path) == run


@given(judged=st.dictionaries(IDS, st.dictionaries(IDS, st.integers(-2, 3), min_size=1)))
def test_judgements_come_back_as_they_were(judged, tmp_path_factory):
    path = tmp_path_factory.mktemp("qrels") / "qrels.txt"
    write_qrels(path, judged)
    assert read_qrels(path) == judged


def test_a_run_is_written_best_first(tmp_path):
    write_run(tmp_path / "run", {"q": {"a": 0.5, "b": 2.0}}, "mine")
    assert (tmp_path / "run").read_text() == "q Q0 b 1 2.0 mine\nq Q0 a 2 0.5 mine\n"


def test_beirs_three_columns_and_packed_files(tmp_path):
    path = tmp_path / "qrels.tsv.gz"
    path.write_bytes(gzip.compress(b"query-id\tcorpus-id\tscore\nq 1\td\t2\n"))
    assert read_qrels(path) == {"q 1": {"d": 2}}


def test_topics(tmp_path):
    tagged = tmp_path / "topics"
    tagged.write_text(
        "<top>\n<num> Number: 7\n<title> heart\nattack\n<desc> Description:\nx\n</top>\n"
        "<top><num>8<desc> Description:\nonly this</top>"
    )
    assert read_topics(tagged) == {"7": "heart attack", "8": "only this"}
    lines = tmp_path / "topics.tsv"
    lines.write_text("1\theart attack\n2\tstroke\n")
    assert read_topics(lines) == {"1": "heart attack", "2": "stroke"}


@pytest.mark.parametrize(
    ("read", "text", "message"),
    [
        (read_qrels, "q 0 d 1\nq d\n", ":2: 2 columns"),
        (read_qrels, "q 0 d one\n", "'one' is not a whole number"),
        (read_qrels, "q 0 d inf\n", "not a whole number"),
        (read_run, "q Q0 d 1 0.5\n", ":1: 5 columns"),
        (read_run, "q Q0 d 1 x run\n", "'x' is not a number"),
        (read_run, "q Q0 d 1 2 run\nq Q0 d 2 1 run\n", ":2: document 'd' comes twice"),
        (read_topics, "heart attack\n", "line 1 has no tab"),
        (read_topics, "<top><title>x</top>", "no <num>"),
    ],
)
def test_wrong_files_are_refused_with_the_line(read, text, message, tmp_path):
    path = tmp_path / "file"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        read(path)


def test_files_that_are_not_there_or_not_text(tmp_path):
    with pytest.raises(UsageError, match="no file"):
        read_qrels(tmp_path / "none")
    (tmp_path / "bytes").write_bytes(b"q 0 \xff 1\n")
    with pytest.raises(DataError, match="UTF-8"):
        read_qrels(tmp_path / "bytes")
    (tmp_path / "cut.gz").write_bytes(gzip.compress(b"q 0 d 1\n" * 100)[:-12])
    with pytest.raises(DataError, match="cannot be read"):
        read_qrels(tmp_path / "cut.gz")


def test_an_id_with_a_space_cannot_be_written(tmp_path):
    with pytest.raises(DataError, match="'a b'"):
        write_run(tmp_path / "run", {"q": {"a b": 1.0}})
    assert not (tmp_path / "run").exists()
