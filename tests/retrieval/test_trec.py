"""TREC's files: read, written, wrong."""

from __future__ import annotations

import gzip
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mumei.core.errors import DataError, UsageError
from mumei.retrieval.evaluate import evaluate, order
from mumei.retrieval.trec import read_qrels, read_run, read_topics, stream_run, write_qrels, write_run

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


@given(run=st.dictionaries(IDS, st.dictionaries(IDS, st.floats(-1e6, 1e6, width=32), min_size=1)), k=st.integers(1, 4))
def test_a_stream_gives_what_reading_whole_gives(run, k, tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "run.txt"
    write_run(path, run)
    assert list(stream_run(path)) == list(run.items())
    assert (
        dict(stream_run(path, k)) == read_run(path, k) == {q: {d: r[d] for d in order(r)[:k]} for q, r in run.items()}
    )


def test_a_run_that_is_not_grouped_by_query_is_read_whole_only(tmp_path):
    path = tmp_path / "run"
    path.write_text("q Q0 a 1 2 x\nr Q0 a 1 2 x\nq Q0 b 2 1 x\n")
    assert read_run(path) == {"q": {"a": 2.0, "b": 1.0}, "r": {"a": 2.0}}
    with pytest.raises(DataError, match=":3: query 'q' comes back"):
        list(stream_run(path))


def test_a_run_is_measured_in_the_memory_of_a_ranking(tmp_path):
    """2,000 queries of 100 hits: 200,000 scores at once would be over 20 MB."""
    path = tmp_path / "run"
    path.write_text("".join(f"q{q} Q0 d{d} {d} {-d} x\n" for q in range(2000) for d in range(100)))
    judged = {f"q{q}": {"d0": 1} for q in range(2000)}
    evaluate(stream_run(path), judged, ["MRR"])
    tracemalloc.start()
    try:
        assert evaluate(stream_run(path), judged, ["MRR"]).mean["MRR"] == 1
        assert tracemalloc.get_traced_memory()[1] < 2e6
    finally:
        tracemalloc.stop()


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


def test_titles_or_descriptions_without_their_markup(tmp_path):
    path = tmp_path / "topics"
    path.write_text("<top><num>1</num><title>Q &amp; <i>A</i></title><desc>What\nis it?<narr>no</narr></top>")
    assert read_topics(path) == {"1": "Q & A"}
    assert read_topics(path, "description") == {"1": "What is it?"}
    with pytest.raises(UsageError, match="Did you mean 'title'"):
        read_topics(path, "titel")


def test_columns_split_by_tabs_spaces_or_both(tmp_path):
    path = tmp_path / "qrels"
    path.write_text("q1\t0 d 1 \r\nq1 0 e\t1\nq 2\t0\td\t1\n")
    assert read_qrels(path) == {"q1": {"d": 1, "e": 1}, "q 2": {"d": 1}}


@pytest.mark.parametrize(
    ("read", "text", "message"),
    [
        (read_qrels, "q 0 d 1\nq d\n", ":2: 2 columns"),
        (read_qrels, "q 0 d one\n", "'one' is not a whole number"),
        (read_qrels, "q 0 d inf\n", "not a whole number"),
        (read_run, "q Q0 d 1 0.5\n", ":1: 5 columns"),
        (read_run, "q Q0 d 1 x run\n", "'x' is not a number"),
        (read_run, "q Q0 d 1 2 run\nq Q0 d 2 1 run\n", ":2: document 'd' comes twice"),
        (read_qrels, "q 0 d 1.5\n", "'1.5' is not a whole number"),
        (read_qrels, "q 0 d 1\n\nq 0 d 2\n", ":3: document 'd' has two grades for query 'q': 1, 2"),
        (read_run, "q Q0 d 1 nan run\n", ":1: the score 'nan'"),
        (read_topics, "1\tx\nheart attack\n", ":2: no tab"),
        (read_topics, "1\tx\n1\ty\n", ":2: the id '1' came before"),
        (read_topics, "<top><num>1<title>x</top>\n<top><num>1<title>y</top>", ":2: the id '1' came before"),
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
    with pytest.raises(DataError, match=":1: not UTF-8"):
        read_qrels(tmp_path / "bytes")
    (tmp_path / "flipped.gz").write_bytes(gzip.compress(b"q 0 d 1\n")[:10] + b"\xff" * 40)
    with pytest.raises(DataError, match="cannot be read"):
        read_qrels(tmp_path / "flipped.gz")
    (tmp_path / "cut.gz").write_bytes(gzip.compress(b"q 0 d 1\n" * 100)[:-12])
    with pytest.raises(DataError, match="cannot be read"):
        read_qrels(tmp_path / "cut.gz")


def test_an_id_with_a_space_cannot_be_written(tmp_path):
    with pytest.raises(DataError, match="'a b'"):
        write_run(tmp_path / "run", {"q": {"a b": 1.0}})
    with pytest.raises(DataError, match="'a b'"):
        write_qrels(tmp_path / "run", {"q": {"a b": 1}})
    with pytest.raises(UsageError, match="'two words'"):
        write_run(tmp_path / "run", {"q": {"a": 1.0}}, "two words")
    assert not (tmp_path / "run").exists()
