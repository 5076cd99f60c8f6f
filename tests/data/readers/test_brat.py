"""BRAT: a document worked out by hand, the traps, and every error with its line."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mumei.core.errors import MumeiError, UsageError
from mumei.data.documents import Argument, Attribute, Coreference, Document, Event, Relation, Trigger
from mumei.data.readers.base import Problems, ReadError, files_below
from mumei.data.readers.brat import FORMS, read_brat
from mumei.data.schemas import Entity, Normalized, Passage

TEXT = "left and right arm\r\ngrow\u2028fast"
A1 = "T1\tOrgan 0 4;15 18\tleft arm\nT2\tOrgan 9 18\tright arm\n"
A2 = (
    "*\tEquiv T1 T2\nE1\tGrowth:T3 Theme:T1 Theme2:T2\nT3\tGrowth 20 24\tgrow\nE2\tRegulation:T4 Theme:E1\n"
    "T4\tRegulation 25 29\tfast\nM1\tNegation E1\nA1\tLevel T2 L3\nR1\tPart_of Arg1:T1 Arg2:T2\n"
    "N1\tReference T2 UBERON:0001460\tarm\n#1\tAnnotatorNotes T1\ta note\twith a tab\n\n"
)


def read(files, **options):
    return list(read_brat(files, Problems(), **options))


def test_document_by_hand(files):
    (found,) = read(files({"d/x.txt": TEXT, "d/x.a1": A1, "d/x.a2": A2.replace("\n", "\r\n"), "d/README": "no"}))
    theme = [Argument("Theme", "x_T1", 0), Argument("Theme", "x_T2", 2)]
    assert found == Document(
        "x",
        "x",
        [Passage("x_text", "text", [TEXT], [(0, len(TEXT))])],
        [
            Entity("x_T1", "Organ", ["left", "arm"], [(0, 4), (15, 18)], []),
            Entity("x_T2", "Organ", ["right arm"], [(9, 18)], [Normalized("UBERON", "0001460")]),
        ],
        [
            Event("x_E1", "Growth", Trigger(["grow"], [(20, 24)], "x_T3"), theme),
            Event("x_E2", "Regulation", Trigger(["fast"], [(25, 29)], "x_T4"), [Argument("Theme", "x_E1")]),
        ],
        [Coreference("x_Equiv1", ["x_T1", "x_T2"], "Equiv")],
        [Relation("x_R1", "Part_of", "x_T1", "x_T2", [], "Arg1", "Arg2")],
        attributes=[
            Attribute("x_M1", "Negation", "", "x_E1"),
            Attribute("x_A1", "Level", "L3", "x_T2"),
            Attribute("x_#1", "AnnotatorNotes", "a note\twith a tab", "x_T1"),
        ],
        file="d/x.txt",
        line=1,
    )
    for entity in found.entities:
        assert [found.text()[a:b] for a, b in entity.offsets] == entity.text


def test_trigger_that_is_referred_to_stays_an_entity(files):
    ann = "T1\tGrowth 20 24\tgrow\nE1\tGrowth:T1\nR1\tx Arg1:T1 Arg2:T1\nA1\tNegation T1\n"
    (found,) = read(files({"x.txt": TEXT, "x.ann": ann}))
    assert [e.id for e in found.entities] == ["x_T1"]
    assert found.events[0].trigger.id == "x_T1"


def test_fragments_that_do_not_fit_stay_whole(files):
    (found,) = read(files({"x.txt": TEXT, "x.ann": "T1\tOrgan 0 4;15 18\tleft  arm\n"}))
    assert found.entities[0].text == ["left  arm"]
    assert len(found.entities[0].offsets) == 2


def test_text_alone_is_noted_and_annotations_alone_are_bad(files):
    problems = Problems(keep_going=True)
    found = list(read_brat(files({"a.txt": "x", "b.ann": "", "c.txt": "x", "c.ann": ""}), problems))
    assert [d.id for d in found] == ["c"]
    assert [(p.file, p.skipped) for p in problems.found] == [("a.txt", False), ("b.ann", True)]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("T1\tOrgan 0\tx", FORMS["T"]),
        ("T1\tOrgan 0 x\tx", FORMS["T"]),
        ("T1 Organ 0 1 x", FORMS["T"]),
        ("T9\tOrgan 0 4\tleft", "the id T9 is given twice"),
        ("E1\tGrowth Theme:T1", FORMS["E"]),
        ("R1\tx Arg1:T1", FORMS["R"]),
        ("*\tEquiv T9", "Equiv names 1 annotations"),
        ("M1\tNegation", FORMS["M"]),
        ("N1\tReference T9 nothing", FORMS["N"]),
        ("N1\tReference T5 a:b", "N1 refers to T5"),
        ("#1\tx", FORMS["#"]),
        ("W1\tx", "expected a line of BRAT"),
    ],
)
def test_bad_lines_are_named(files, line, message):
    given_files = files({"x.txt": TEXT, "x.ann": f"T9\tOrgan 0 4\tleft\n{line}\n", "y.txt": "a", "y.ann": ""})
    with pytest.raises(ReadError, match=rf"x.ann:2, document x: .*{re.escape(message)}"):
        read(given_files)
    problems = Problems(keep_going=True)
    assert [d.id for d in read_brat(given_files, problems)] == ["y"]
    assert problems.skipped == 1


def test_event_without_its_trigger(files):
    with pytest.raises(ReadError, match="event E1 has the trigger T1, which is not annotated"):
        read(files({"x.txt": TEXT, "x.ann": "E1\tGrowth:T1\n"}))


def test_all_texts_in_one_file(files):
    given_files = files(
        {
            "c/corpus.txt": "x\tab cd\ny\te\u2028f\tg\n",
            "c/ann/x.ann": "T1\tGene 3 5\tcd\n",
            "c/ann/y.ann": "",
            "c/README.txt": "",
        }
    )
    found = read(given_files, texts="corpus.txt")
    assert [(d.id, d.text(), d.file) for d in found] == [
        ("x", "ab cd", "c/ann/x.ann"),
        ("y", "e\u2028f\tg", "c/ann/y.ann"),
    ]
    with pytest.raises(UsageError, match=r"there is no file texts\.txt"):
        read(given_files, texts="texts.txt")
    for text, message in (
        ("x\tab\nx\tcd\n", "is given twice"),
        ("x\n", "expected a document's name, a tab and its text"),
    ):
        with pytest.raises(ReadError, match=message):
            read(files({"corpus.txt": text, "x.ann": ""}, message[:5]), texts="corpus.txt")
    with pytest.raises(
        ReadError, match=r"y\.ann, document y: annotations without their text, which is not in corpus\.txt"
    ):
        read(files({"corpus.txt": "x\ta\n", "y.ann": ""}, "none"), texts="corpus.txt")


def test_types_that_are_concepts(files):
    ann = 'T1\tC1 0 4\tleft\n#1\tAnnotatorNotes T1\t"C1", "Left", "A|B" ,"CONC"\nT2\tC2 5 8\tand\n'
    (found,) = read(files({"x.txt": TEXT, "x.ann": ann}), concept_types=True, database="UMLS")
    assert [(e.type, e.normalized) for e in found.entities] == [
        ("CONC", [Normalized("UMLS", "C1")]),
        ("C2", [Normalized("UMLS", "C2")]),
    ]


def test_triggers_may_stay_entities(files):
    given_files = files({"x.txt": TEXT, "x.ann": "T1\tGrowth 20 24\tgrow\nE1\tGrowth:T1\n"})
    assert [len(read(given_files, keep_triggers=keep)[0].entities) for keep in (False, True)] == [0, 1]


def test_wrong_encoding_costs_its_document(files):
    given_files = files(
        {"x.txt": b"\xe9", "x.ann": "", "y.txt": "a", "y.ann": b"T1\tG 0 1\t\xe9\n", "z.txt": "a", "z.ann": ""}
    )
    with pytest.raises(ReadError, match=r"x\.txt:1.*byte 0xe9"):
        read(given_files)
    problems = Problems(keep_going=True)
    assert [d.id for d in read_brat(given_files, problems)] == ["z"]
    assert [p.file for p in problems.found] == ["x.txt", "y.ann"]


PIECES = [
    "T1\t",
    "Organ 0 4",
    ";15 18",
    "\tleft",
    "\n",
    "\r\n",
    "E1\t",
    "x:T1",
    " Theme:T1",
    "*\tEquiv",
    " T1",
    "A1\t",
    "#",
    "\u2028",
]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(PIECES)))
def test_any_mixture_gives_documents_or_an_error(tmp_path_factory, pieces):
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "x.txt").write_text(TEXT)
    (folder / "x.ann").write_bytes("".join(pieces).encode())
    problems = Problems(keep_going=True)
    list(read_brat(files_below(folder), problems))
    try:
        read(files_below(folder))
        assert problems.skipped == 0
    except MumeiError:
        assert problems.skipped > 0


@pytest.mark.parametrize("counted", [True, False])
def test_a_byte_order_mark_stays_in_the_text_where_offsets_count_it(files, counted):
    """The mark is the text's first character, or was put before it by an editor: the spans say which."""
    shift = int(counted)
    ann = "".join(
        f"T{i}\tOrgan {text.index(word) + shift} {text.index(word) + len(word) + shift}\t{word}\n"
        for i, (text, word) in enumerate([("la mano", "mano"), ("la mano", "la")], 1)
    )
    (found,) = read(files({"x.txt": "\ufeffla mano", "x.ann": ann + "T3\tOrgan 0 3\tnowhere\n"}))
    assert found.text() == ("\ufeffla mano" if counted else "la mano")
    assert found.passages[0].offsets == [(0, len(found.text()))]
    assert [[found.text()[a:b] for a, b in e.offsets] for e in found.entities[:2]] == [["mano"], ["la"]]


def test_a_byte_order_mark_without_spans_is_dropped(files):
    (found,) = read(files({"x.txt": "\ufeffla mano", "x.ann": ""}))
    assert found.text() == "la mano"
