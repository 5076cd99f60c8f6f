"""PubTator: a document worked out by hand, the traps, and every error with its line."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mumei.core.errors import MumeiError
from mumei.data.documents import Attribute, ConceptRelation, Document
from mumei.data.readers.base import Problems, ReadError, SourceFile
from mumei.data.readers.pubtator import read_pubtator
from mumei.data.schemas import Entity, Normalized, Passage

PLAIN = """
1|t|Ab cd.
1|a|Ef\u2028gh.
1\t0\t2\tAb\tDisease\tD1|OMIM:2+D3
1\t3\t5\tcd\tChemical\t-1
1\t7\t9\tEf\tGene\tD4\tE|f
1\t7\t9\tEf\tOther
1\tCID\tD1\tD4
1\tBind\tD1\tD4\tNovel

2|t|Only a title
"""


def read(files, **options):
    return list(read_pubtator(files, Problems(), **options))


def test_document_by_hand(files):
    first, second = read(files({"a.txt": PLAIN}), database="MESH")
    links = [Normalized("MESH", "D1"), Normalized("OMIM", "2"), Normalized("MESH", "D3")]
    assert first == Document(
        "1",
        "1",
        [
            Passage("1_title", "title", ["Ab cd."], [(0, 6)]),
            Passage("1_abstract", "abstract", ["Ef\u2028gh."], [(7, 13)]),
        ],
        [
            Entity("1_T1", "Disease", ["Ab"], [(0, 2)], links),
            Entity("1_T2", "Chemical", ["cd"], [(3, 5)], []),
            Entity("1_T3", "Gene", ["Ef"], [(7, 9)], [Normalized("MESH", "D4")]),
            Entity("1_T4", "Other", ["Ef"], [(7, 9)], []),
        ],
        concept_relations=[
            ConceptRelation("1_R1", "CID", "D1", "D4"),
            ConceptRelation("1_R2", "Bind", "D1", "D4", ["Novel"]),
        ],
        attributes=[
            Attribute("1_T1_concept", "concept", "D1|OMIM:2+D3", "1_T1"),
            Attribute("1_T2_concept", "concept", "-1", "1_T2"),
            Attribute("1_T3_parts", "parts", "E|f", "1_T3"),
        ],
        file="a.txt",
        line=2,
    )
    assert first.text() == "Ab cd. Ef\u2028gh."
    assert (second.id, second.line, second.passages[1].text) == ("2", 11, [""])


@pytest.mark.parametrize(
    "change", [lambda s: s.replace("\n", "\r\n"), lambda s: s.replace("\n\n2", "\n2"), lambda s: s + "\n\n\n"]
)
def test_line_ends_and_missing_or_many_empty_lines(files, change):
    plain = read(files({"a.txt": PLAIN}, "one"))
    other = read(files({"a.txt": change(PLAIN)}, "two"))
    for document in (*plain, *other):
        document.line = 0
    assert other == plain


def test_whole_types_keep_joiners(files):
    text = "1|t|x\n1|a|\n1\t0\t1\tx\tDNAMutation\tc|SUB|A|12|G\n1\t0\t1\tx\tGene\t1|2\n"
    (document,) = read(files({"a": text}), whole=["DNAMutation"], database="db")
    assert [[n.db_id for n in e.normalized] for e in document.entities] == [["c|SUB|A|12|G"], ["1", "2"]]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("2\t0\t1\tx\tGene\tD1", "the line's id is not the document's"),
        ("1\t0\t1", "expected at least 4 columns"),
        ("1\t0\tone\tx\tGene", "expected id, start, end, text, type"),
        ("1\t0\t1\tx", "expected id, start, end, text, type"),
        ("1\t\u00b2\t1\tx\tGene", "expected id, start, end, text, type"),
        ("1\t-1\t1\tx\tGene", "the start is no offset"),
        ("nonsense", "the line's id is not the document's"),
    ],
)
def test_bad_lines_are_named_and_only_their_document_is_skipped(files, line, message):
    given_files = files({"a.txt": f"0|t|x\n0|a|y\n\n1|t|x\n1|a|y\n{line}\n\n2|t|x\n2|a|y\n"})
    with pytest.raises(ReadError, match=f"a.txt:6, document 1: {message}"):
        read(given_files)
    problems = Problems(keep_going=True)
    assert [d.id for d in read_pubtator(given_files, problems)] == ["0", "2"]
    assert [(p.file, p.line, p.document, p.skipped) for p in problems.found] == [("a.txt", 6, "1", True)]


def test_no_title(files):
    with pytest.raises(ReadError, match=r"a:1: expected 'id\|t\|title'"):
        read(files({"a": "1|a|x\n1\t0\t1\tx\tGene\tD1\n"}))


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.sampled_from(["1|t|a", "1|a|b", "1\t0\t1\ta\tT\tD", "\n", "\r\n", "\t", "|t|", "1", "\u2028", "\x00", "é"])
    )
)
def test_any_mixture_gives_documents_or_an_error(tmp_path_factory, pieces):
    path = tmp_path_factory.mktemp("fuzz") / "a"
    path.write_bytes("".join(pieces).encode())
    problems = Problems(keep_going=True)
    list(read_pubtator([SourceFile(str(path), "a")], problems))
    try:
        list(read_pubtator([SourceFile(str(path), "a")], Problems()))
        assert problems.skipped == 0
    except MumeiError:
        assert problems.skipped > 0
