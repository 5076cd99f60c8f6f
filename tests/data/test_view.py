"""Documents drawn: every character and annotation is there, none covers another, nothing of the data is markup."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from itertools import combinations

import pytest

from mumei.core.errors import UsageError
from mumei.data.corpus import corpus_of
from mumei.data.documents import (
    Argument,
    Attribute,
    Coreference,
    Document,
    Entailment,
    Event,
    LabelledText,
    Question,
    Relation,
    TextPair,
    TextToText,
    Trigger,
)
from mumei.data.layout import GAP, extent, lay_out, marks_of, rows_of, width_of
from mumei.data.loading import load
from mumei.data.schemas import Entity, Normalized, Passage
from mumei.data.view import NARROW, WIDE, chosen, draw, write_page

TEXT = (
    "Cells of the liver and kidney grow <fast>.\nTNF & friends activate the growth of cells in many organs of the body."
)


def entity(name, kind, *offsets, links=()):
    return Entity(name, kind, [TEXT[a:b] for a, b in offsets], list(offsets), [Normalized(*link) for link in links])


def at(word):
    return TEXT.index(word), TEXT.index(word) + len(word)


@pytest.fixture
def document():
    return Document(
        "d1",
        "d1",
        [Passage("d1_text", "text", [TEXT], [(0, len(TEXT))])],
        [
            entity("d1_T1", "Tissue", (0, 18)),
            entity("d1_T2", "Organ<i>", (13, 18)),
            entity("d1_T3", "Tissue", (0, 12), (23, 29)),
            entity("d1_T4", "Protein", at("TNF"), links=[("UniProt", "P01375")]),
        ],
        [
            Event("d1_E1", "Growth", Trigger(["growth"], [at("growth")], "d1_T5"), [Argument("Theme", "d1_T1")]),
            Event(
                "d1_E2",
                "Activation",
                Trigger(["activate"], [at("activate")]),
                [Argument("Cause", "d1_T4"), Argument("Theme", "d1_E1", 2)],
            ),
        ],
        [Coreference("d1_Equiv1", ["d1_T1", "d1_T3"], "Equiv")],
        [Relation("d1_R1", "Part-of", "d1_T2", "d1_T1")],
        attributes=[Attribute("d1_A1", "Negation", "", "d1_E2")],
        split="train",
    )  # fmt: skip


def rows(document, width):
    return lay_out(document.text(), *marks_of(document), width)


@pytest.mark.parametrize("width", [1, 7, 20, 43, 124, 500])
def test_rows_hold_the_whole_text_and_no_more_than_fits(width):
    text = TEXT + "\n\n  日本語のテキスト and e\u0301 " + "x" * 60
    found = rows_of(text, width, breaks=[6, 9])
    assert "".join("".join(r.text for r in found).split()) == "".join(text.split())
    assert all(sum(map(width_of, r.text)) <= max(width, 2) for r in found)
    assert not {6, 9} - {r.start for r in found}
    assert all("\n" not in r.text for r in found)


def test_words_are_not_cut_where_they_fit():
    assert [r.text for r in rows_of("one two three", 7)] == ["one two", "three"]
    assert [r.text for r in rows_of("abcdefgh ij", 3)] == ["abc", "def", "gh", "ij"]


@pytest.mark.parametrize("width", [30, NARROW, WIDE])
def test_every_annotation_is_drawn_and_none_covers_another(document, width):
    found = rows(document, width)
    marks, links = marks_of(document)
    assert {p.mark.id for r in found for p in r.pieces} == {m.id for m in marks}
    ends = [(a.link, a.source is not None, a.target is not None) for r in found for a in r.arcs]
    for link in links:
        assert sum(source for own, source, _ in ends if own == link) == 1
        assert sum(target for own, _, target in ends if own == link) == 1
    for row in found:
        for a, b in combinations(row.pieces, 2):
            assert a.level != b.level or a.right + GAP <= b.left or b.right + GAP <= a.left
        for a, b in combinations(row.arcs, 2):
            (left, right), (left2, right2) = extent(a), extent(b)
            assert a.level != b.level or right <= left2 or right2 <= left
        assert all(p.left >= 0 and p.right <= width for p in row.pieces)


def test_what_nests_lies_below_and_fragments_are_parts_of_one_box(document):
    (row, *_) = rows(document, WIDE)
    pieces = {p.mark.id: p for p in row.pieces}
    assert pieces["d1_T2"].level < pieces["d1_T1"].level
    assert pieces["d1_T3"].parts == [(0, 12), (23, 29)]
    assert (pieces["d1_T3"].start, pieces["d1_T3"].end) == (0, 29)


def test_an_arc_between_rows_names_the_other_end(document):
    arcs = [a for r in rows(document, WIDE) for a in r.arcs if a.link.source == "d1_E1"]
    assert [(a.source is not None, a.label) for a in sorted(arcs, key=lambda a: a.label)] == [
        (False, "Theme"),
        (True, "Theme Tissue"),
    ]
    assert arcs[0].label_side in (-1, 1)


def test_spans_out_of_the_text_get_no_box(document):
    document.entities.append(Entity("d1_T9", "Lost", ["x"], [(5000, 5001)]))
    document.relations.append(Relation("d1_R9", "To", "d1_T1", "d1_T9"))
    found = rows(document, WIDE)
    assert not any(p.mark.id == "d1_T9" for r in found for p in r.pieces)
    assert not any(a.link.target == "d1_T9" for r in found for a in r.arcs)


def test_the_drawing_is_sound_xml_with_all_words(document):
    document.passages[0].text = [TEXT.replace("kidney", "kid\x07ey")]
    found = rows(document, NARROW)
    colours = dict.fromkeys((m.kind for m in marks_of(document)[0]), "#123456")
    root = ET.fromstring(draw(found, colours, NARROW, 'a "title"'))
    words = [t.text for t in root.iter("text") if t.get("class") == "w"]
    assert words == TEXT.replace("kidney", "kid\ufffdey").split()
    assert "Organ<i>" in [t.text for t in root.iter("text")]
    width = float(root.get("viewBox", "").split()[2])
    assert all(float(r.get("x", -1)) >= 0 for r in root.iter("rect") if r.get("class") != "paper")
    assert all(float(r.get("x", 0)) + float(r.get("width", 0)) <= width for r in root.iter("rect"))


def test_the_page_is_one_file_that_asks_for_nothing(document, tmp_path):
    page = write_page(corpus_of({"train": [document]}, "kb"), [document], tmp_path / "view.html").read_text()
    assert not re.search(r"<script|<link|src=|url\(|@import", page)
    assert "Organ<i>" not in page
    assert "Organ&lt;i&gt;" in page
    assert page.count("<svg") == 2
    assert "4 mentions" in page
    assert "UniProt:P01375" in page
    assert "Activation !Neg" in page
    assert "Theme2: growth (E1)" in page


def test_records_of_every_other_schema_are_shown(tmp_path):
    records = {
        "qa": Question("1", "1", "1", "Why <b>?", "yesno", ["yes", "no"], "Since.", ["yes"]),
        "te": Entailment("1", "It rains.", "It is wet.", "entailment"),
        "t2t": TextToText("1", "1", "one", "two", "en", "fr"),
        "pairs": TextPair("1", "1", "one", "two", "3.5"),
        "text": LabelledText("1", "1", "one", ["a", "b"]),
    }
    shown = {
        "qa": ("Why &lt;b&gt;?", "choices", "yes"),
        "te": ("premise", "It is wet."),
        "t2t": ("<dt>fr</dt>", "two"),
        "pairs": ("text 2", "3.5"),
        "text": ("labels", "<dd>b</dd>"),
    }
    for kind, record in records.items():
        page = write_page(corpus_of({"test": [record]}, kind), [record], tmp_path / f"{kind}.html").read_text()
        assert all(part in page for part in shown[kind]), kind
        assert "<svg" not in page


def test_documents_are_chosen_by_id(document):
    other = Document("d2", "PMID2", [Passage("p", "t", ["x"], [(0, 1)])])
    corpus = corpus_of({"train": [document], "test": [other]}, "kb")
    assert [r.id for r in chosen(corpus, limit=1)] == ["d1"]
    assert [r.id for r in chosen(corpus, ["PMID2", "d1"])] == ["d2", "d1"]
    with pytest.raises(UsageError, match="'PMID2'"):
        chosen(corpus, ["PMID22"])
    with pytest.raises(UsageError, match="limit"):
        chosen(corpus, limit=0)


def test_a_real_document_is_drawn_whole(corpora_dir, tmp_path):
    corpus = load("bionlp_st_2013_cg", folder=corpora_dir / "bionlp_st_2013_cg", split="train")
    (record,) = chosen(corpus, ["PMID-10214859"])
    assert isinstance(record, Document)
    for width in (NARROW, WIDE):
        found = rows(record, width)
        assert {p.mark.id for r in found for p in r.pieces} == {m.id for m in marks_of(record)[0]}
    page = write_page(corpus, [record], tmp_path / "view.html").read_text()
    assert f"{len(record.events)} events" in page
