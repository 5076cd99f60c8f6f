"""CoNLL: documents worked out by hand in each scheme, the traps, and every error with its line."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mumei.core.errors import MumeiError, UsageError
from mumei.data.documents import Document
from mumei.data.readers.base import Problems, ReadError, SourceFile, files_below
from mumei.data.readers.conll import read_conll
from mumei.data.schemas import Entity, Passage

# (B, E): tokens 0-1 of type x, 2 of type x right behind, 3 of type y; 4 is none.
SAME = {
    "iob1": ["I-x", "I-x", "B-x", "I-y", "O"],
    "iob2": ["B-x", "I-x", "B-x", "B-y", "O"],
    "iobes": ["B-x", "E-x", "S-x", "S-y", "O"],
}


def column(tags, tokens="abcde"):
    return "".join(f"{token}\t{tag}\n" for token, tag in zip(tokens, tags, strict=True))


def read(files, problems=None, **options):
    return list(read_conll(files, problems or Problems(), **options))


@pytest.mark.parametrize("scheme", SAME)
def test_schemes_mean_the_same(files, scheme):
    problems = Problems()
    (found,) = read(files({"a.tsv": column(SAME[scheme])}), problems, scheme=scheme)
    assert found == Document(
        "a_1",
        "a_1",
        [Passage("a_1_text", "text", ["a b c d e"], [(0, 9)])],
        [
            Entity("a_1_T1", "x", ["a b"], [(0, 3)], []),
            Entity("a_1_T2", "x", ["c"], [(4, 5)], []),
            Entity("a_1_T3", "y", ["d"], [(6, 7)], []),
        ],
        sentences=[(0, 9)],
        file="a.tsv",
        line=1,
    )
    assert problems.found == []


def test_letters_of_bilou_and_bmewo(files):
    for tags in (["B-x", "L-x", "U-x", "U-y", "O"], ["B-x", "E-x", "W-x", "W-y", "O"]):
        (found,) = read(files({"a.tsv": column(tags)}), scheme="iobes")
        assert [e.offsets for e in found.entities] == [[(0, 3)], [(4, 5)], [(6, 7)]]


@pytest.mark.parametrize(
    ("scheme", "tags", "line"),
    [
        ("iob2", ["O", "I-x", "O", "O", "O"], 2),
        ("iob2", ["B-x", "I-y", "O", "O", "O"], 2),
        ("iob1", ["O", "E-x", "O", "O", "O"], 2),
        ("iobes", ["B-x", "O", "O", "O", "O"], 2),
        ("iobes", ["O", "O", "I-x", "E-x", "O"], 3),
    ],
)
def test_tags_that_cannot_stand_are_noted(files, scheme, tags, line):
    problems = Problems()
    (found,) = read(files({"a.tsv": column(tags)}), problems, scheme=scheme)
    assert found.entities
    assert problems.found[0].line == line
    assert "cannot stand here" in problems.found[0].message
    assert problems.skipped == 0


MARKED = "-DOCSTART-\tO\n\na\tB-x\n\nb\tO\nc\u2028\tB-x\n\n-DOCSTART- (9)\tO\n\nd\tO\n"


@pytest.mark.parametrize(
    "change", [str, lambda s: s.replace("\n", "\r\n"), lambda s: s + "\n\n\n", lambda s: s.rstrip("\n")]
)
def test_markers_sentences_and_files(files, change):
    given_files = files({"a.tsv": change(MARKED)})
    first, second = read(given_files)
    assert (first.id, first.line, first.text(), first.sentences) == ("a_1", 1, "a b c\u2028", [(0, 1), (2, 6)])
    assert [e.offsets for e in first.entities] == [[(0, 1)], [(4, 6)]]
    assert (second.id, second.line, second.text()) == ("9", 8, "d")
    assert [d.text() for d in read(given_files, document="sentence")] == ["a", "b c\u2028", "d"]
    assert [(d.id, d.text()) for d in read(given_files, document="file")] == [("a", "a b c\u2028 d")]


def test_whole_and_by_line_agree(files, monkeypatch):
    """The way of equal columns and the way line by line, over blocks of every size."""
    text = "".join(f"w{n}\tX\t{tag}\n" + "\n" * (n % 3 == 0) for n, tag in enumerate(["O", "B-x", "I-x", "B-y"] * 9))
    (file,) = files({"a.tsv": text})
    plain = read([file])
    monkeypatch.setattr("mumei.data.readers.conll._regular", lambda *_: 0)
    assert read([file]) == plain
    begins = 0  # B, or an I behind nothing or the other type
    for sentence in text.strip("\n").split("\n\n"):
        tags = ["O", *(line.split("\t")[2] for line in sentence.split("\n"))]
        begins += sum(t[0] == "B" or (t[0] == "I" and before[1:] != t[1:]) for before, t in pairwise(tags))
    assert sum(len(d.entities) for d in plain) == begins > 18
    assert plain[3].line == text[: text.index("w7")].count("\n") + 1


def test_columns_and_separator(files):
    text = "-DOCSTART- (5)\n\nA NN x O\n\nB NN x I-p\n"
    (found,) = read(files({"a.txt": text}), separator=" ", scheme="iob1", token=0, tag=3)
    assert (found.id, found.text(), [e.text for e in found.entities]) == ("5", "A B", [["B"]])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a\tO\n\nb\n\nc\tO\n", "a.tsv:3, document a_2: expected at least 2 columns"),
        ("a\tO\n\nb\tB\n\nc\tO\n", "a.tsv:3, document a_2: expected O or a tag such as B-Gene, got 'B'"),
        ("a\tO\n\nb\tO\nb\tX-y\n\nc\tO\n", "a.tsv:4, document a_2: expected O or a tag"),
    ],
)
def test_bad_lines_cost_their_sentence(files, content, message):
    given_files = files({"a.tsv": content})
    with pytest.raises(ReadError, match=message):
        read(given_files, token=0, tag=1)
    problems = Problems(keep_going=True)
    assert [d.text() for d in read(given_files, problems, token=0, tag=1)] == ["a", "c"]
    assert problems.skipped == 1


def test_a_bad_line_costs_its_marked_document(files):
    problems = Problems(keep_going=True)
    found = read(files({"a.tsv": MARKED.replace("b\tO", "b")}), problems, token=0, tag=1)
    assert [d.id for d in found] == ["9"]
    assert [(p.line, p.document) for p in problems.found] == [(5, "a_1")]


def test_options_are_checked(files):
    for options, message in (
        ({"scheme": "iob3"}, "unknown scheme of tags 'iob3'. Did you mean"),
        ({"document": "page"}, "unknown unit of documents"),
        ({"separator": "  "}, "separator has to be one ASCII character"),
    ):
        with pytest.raises(UsageError, match=message):
            read([], **options)


def test_wrong_encoding(files):
    given_files = files({"a.tsv": b"a\tO\n\xe9\tO\n", "b.tsv": b"a\tO\n"})
    with pytest.raises(ReadError, match=r"a\.tsv:2: byte 0xe9"):
        read(given_files)
    problems = Problems(keep_going=True)
    assert [d.id for d in read(given_files, problems)] == ["b_1"]


PIECES = ["a\tO", "b\tB-x", "c\tI-x", "\n", "\r\n", "\t", "-DOCSTART-", "\u2028", "O", "\x00", "é", " ", "E-", "-"]


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(PIECES)), st.sampled_from(["marker", "sentence", "file"]), st.sampled_from(list(SAME)))
def test_any_mixture_gives_documents_or_an_error(tmp_path_factory, pieces, document, scheme):
    path = tmp_path_factory.mktemp("fuzz") / "a"
    path.write_bytes("".join(pieces).encode())
    file, options = SourceFile(str(path), "a"), {"document": document, "scheme": scheme}
    problems = Problems(keep_going=True)
    for found in read([file], problems, **options):
        for entity in found.entities:
            assert [found.text()[a:b] for a, b in entity.offsets] == entity.text
    try:
        read([file], **options)
        assert problems.skipped == 0
    except MumeiError:
        assert problems.skipped > 0


def test_anat_em_is_the_same_as_in_brat(corpora_dir, tmp_path):
    """The corpus's two forms: the same mentions, type by type, in every document."""
    from mumei.core.extract import safe_extract
    from mumei.data.readers.brat import read_brat

    folder = corpora_dir / "anat_em"
    conll = files_below(safe_extract(folder / "anatem-conll.tar.gz", tmp_path / "conll"))
    brat = files_below(safe_extract(folder / "anatem-standoff.tar.gz", tmp_path / "brat"))
    ours = {d.id: d for d in read(conll, document="file")}
    theirs = {d.id: d for d in read_brat(brat, Problems())}
    assert ours.keys() == theirs.keys()
    assert len(ours) == 1212
    inner = 0
    for name, document in ours.items():
        expected = sorted(theirs[name].entities, key=lambda e: e.offsets)
        assert [e.type for e in document.entities] == [e.type for e in expected]
        for one, other in zip(document.entities, expected, strict=True):
            words, said = ("".join("".join(e.text).split()) for e in (one, other))
            assert said in words
            inner += said != words
    assert inner == 78  # parts of a token, such as `tumor` in `antitumor`: a column has the token only


def test_marker_with_many_brackets_that_are_never_closed(files):
    """Quadratic time would take minutes."""
    (found,) = read(files({"a.tsv": f"-DOCSTART-\t{'(' * 300_000}\n\na\tO\n"}))
    assert (found.id, found.text()) == ("a_1", "a")
    (found,) = read(files({"b.tsv": "-DOCSTART- ((x) y)\tO\n\na\tO\n"}, "b"))
    assert found.id == "(x) y"
