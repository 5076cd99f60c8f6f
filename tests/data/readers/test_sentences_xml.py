"""DDI, PPI and TAC XML: documents worked out by hand, the traps, and every error with its document."""

from __future__ import annotations

import pytest

from mumei.data.documents import Attribute, Document, Relation
from mumei.data.readers.base import Problems, ReadError
from mumei.data.readers.ddi import read_ddi
from mumei.data.readers.ppi import read_ppi
from mumei.data.readers.tac import read_tac
from mumei.data.schemas import NULL, Entity, Normalized, Passage

DDI = """<?xml version="1.0" encoding="UTF-8"?>
<document id="DDI.d1" set="x">
<sentence id="DDI.d1.s0" text="Take A.&#xd;&#xa;"/>
<sentence id="DDI.d1.s1" text="Beta and gamma drugs &lt; C.">
<entity id="DDI.d1.s1.e0" charOffset="0-3;15-19" type="group" text="beta drugs"/>
<entity id="DDI.d1.s1.e1" charOffset="9-19" type="group" text="gamma drugs"/>
<entity id="DDI.d1.s1.e2" charOffset="23-23" type="drug" text="C"/>
<pair id="DDI.d1.s1.p0" e1="DDI.d1.s1.e0" e2="DDI.d1.s1.e1" ddi="false"/>
<pair id="DDI.d1.s1.p1" e1="DDI.d1.s1.e0" e2="DDI.d1.s1.e2" ddi="true" type="mechanism"/>
<pair id="DDI.d1.s1.p2" e1="DDI.d1.s1.e1" e2="DDI.d1.s1.e2" ddi="true"/>
</sentence></document>"""


def test_ddi_by_hand(files):
    (found,) = read_ddi(files({"a.xml": DDI}), Problems())
    text = "Take A.\r\n Beta and gamma drugs < C."
    assert found == Document(
        "DDI.d1",
        "DDI.d1",
        [Passage("DDI.d1_text", "text", [text], [(0, 35)])],
        [
            Entity("DDI.d1_s1.e0", "group", ["Beta", "drugs"], [(10, 14), (25, 30)], []),
            Entity("DDI.d1_s1.e1", "group", ["gamma drugs"], [(19, 30)], []),
            Entity("DDI.d1_s1.e2", "drug", ["C"], [(33, 34)], []),
        ],
        relations=[
            Relation("DDI.d1_s1.p1", "mechanism", "DDI.d1_s1.e0", "DDI.d1_s1.e2", [], "e1", "e2"),
            Relation("DDI.d1_s1.p2", NULL, "DDI.d1_s1.e1", "DDI.d1_s1.e2", [], "e1", "e2"),
        ],
        attributes=[Attribute("DDI.d1_s1.e0_text", "text", "beta drugs", "DDI.d1_s1.e0")],
        sentences=[(0, 9), (10, 35)],
        metadata={"set": "x", "pairs": "3"},
        file="a.xml",
        line=2,
    )
    for entity in found.entities:
        assert [text[a:b] for a, b in entity.offsets] == entity.text


PPI = """<corpus source="x"><document id="X.d0" origId="9">
<sentence charOffset="0-8" id="X.d0.s0" text="ab binds">
<entity charOffset="0-2" id="X.d0.s0.e0" seqId="e7" text="ab" type="p1||p2"/></sentence>
<sentence charOffset="9-11" id="X.d0.s1" text="cd"><entity charOffset="0-2" id="X.d0.s1.e0" text="cd" type="p1"/>
<interaction e1="X.d0.s1.e0" e2="X.d0.s1.e0" id="X.d0.s1.i0" type="PPI"/></sentence></document>
<document id="X.d1"/></corpus>"""


def test_ppi_by_hand(files):
    found, empty = read_ppi(files({"a.xml": PPI}), Problems())
    assert (empty.id, empty.text(), empty.line) == ("X.d1", "", 6)
    assert (found.text(), found.sentences) == ("ab binds cd", [(0, 8), (9, 11)])
    assert [(e.type, e.text, e.offsets) for e in found.entities] == [
        ("p1||p2", ["ab"], [(0, 2)]),
        ("p1", ["cd"], [(9, 11)]),
    ]
    assert found.relations == [Relation("X.d0_s1.i0", "PPI", "X.d0_s1.e0", "X.d0_s1.e0", [], "e1", "e2")]
    assert found.attributes == [Attribute("X.d0_s0.e0_seqId", "seqId", "e7", "X.d0_s0.e0")]
    assert found.metadata == {"origId": "9", "pairs": "1"}


def test_types_of_ppi_that_are_concepts(files):
    found, _ = read_ppi(files({"a.xml": PPI}), Problems(), concept_type="protein", database="db")
    assert [e.type for e in found.entities] == ["protein", "protein"]
    assert found.entities[0].normalized == [Normalized("db", "p1"), Normalized("db", "p2")]


def test_other_form_of_ppi(files):
    """Inclusive ends, and pairs of which the true ones interact."""
    text = PPI.replace('"0-2"', '"0-1"').replace('id="X.d0.s1.i0" type="PPI"', 'id="X.d0.s1.p0" interaction="True"')
    text = text.replace("<interaction ", "<pair ")
    found, _ = read_ppi(files({"a.xml": text}), Problems(), inclusive=True)
    assert [e.offsets for e in found.entities] == [[(0, 2)], [(9, 11)]]
    assert [r.type for r in found.relations] == ["PPI"]
    found, _ = read_ppi(files({"a.xml": text.replace("True", "False")}), Problems(), inclusive=True)
    assert (found.relations, found.metadata["pairs"]) == ([], "1")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('charOffset="9-19"', 'charOffset="9"', "charOffset is '9', expected start-end"),
        ('charOffset="9-19"', "", "has no attribute charOffset"),
        ('e1="DDI.d1.s1.e0" e2="DDI.d1.s1.e2"', 'e1="DDI.d1.s1.e0"', "has no attribute e2"),
        ('id="DDI.d1.s1.e1"', 'id="DDI.d1.s1.e0"', "the id DDI.d1.s1.e0 is given twice"),
        ('id="DDI.d1" set', "set", "<document> has no attribute id"),
        ('id="DDI.d1" set', 'id="" set', "the document's id is empty"),
        (' text="gamma drugs"', "", "has no attribute text"),
    ],
)
def test_bad_sentences_are_named(files, old, new, message):
    given_files = files({"a.xml": DDI.replace(old, new, 1), "b.xml": DDI})
    with pytest.raises(ReadError, match=rf"a.xml:2.*{message}"):
        list(read_ddi(given_files, Problems()))
    problems = Problems(keep_going=True)
    assert [d.file for d in read_ddi(given_files, problems)] == ["b.xml"]
    assert problems.skipped == 1


TAC = """<Label drug="xyz" track="T">
<Text><Section name="adverse reactions" id="S1">Skin  rash
seen.</Section><Section name="warnings" id="S2">No rash</Section></Text>
<Mentions><Mention id="M1" section="S1" type="AdverseReaction" start="0,6" len="4,4" str="Skin rash"/>
<Mention id="M2" section="S2" type="AdverseReaction" start="3" len="4" str="Rash"/>
<Mention id="M3" section="S2" type="Negation" start="0" len="2" str="No"/></Mentions>
<Relations><Relation id="RL1" type="Negated" arg1="M2" arg2="M3"/></Relations>
<Reactions><Reaction id="AR1" str="rash"><Normalization id="AR1.N1" meddra_pt="Rash" meddra_pt_id="100"/>
<Normalization id="AR1.N2" meddra_llt="Rash" meddra_llt_id="7" meddra_pt="Rash" meddra_pt_id="100"/></Reaction>
<Reaction id="AR2" str="no"><Normalization id="AR2.N1" meddra_pt="x" meddra_pt_id="1"/></Reaction></Reactions></Label>"""


def test_tac_by_hand(files):
    (found,) = read_tac(files({"XYZ.xml": TAC}), Problems())
    assert found == Document(
        "xyz",
        "xyz",
        [
            Passage("xyz_S1", "adverse reactions", ["Skin  rash\nseen."], [(0, 16)]),
            Passage("xyz_S2", "warnings", ["No rash"], [(17, 24)]),
        ],
        [
            Entity("xyz_M1", "AdverseReaction", ["Skin", "rash"], [(0, 4), (6, 10)], []),
            Entity("xyz_M2", "AdverseReaction", ["Rash"], [(20, 24)], [Normalized("MedDRA", "100")]),
            Entity("xyz_M3", "Negation", ["No"], [(17, 19)], []),
        ],
        relations=[Relation("xyz_RL1", "Negated", "xyz_M2", "xyz_M3", [], "arg1", "arg2")],
        attributes=[
            Attribute("xyz_AR1.N1", "reaction", "rash: meddra_pt=Rash; meddra_pt_id=100", "xyz"),
            Attribute(
                "xyz_AR1.N2",
                "reaction",
                "rash: meddra_llt=Rash; meddra_llt_id=7; meddra_pt=Rash; meddra_pt_id=100",
                "xyz",
            ),
            Attribute("xyz_AR2.N1", "reaction", "no: meddra_pt=x; meddra_pt_id=1", "xyz"),
        ],
        metadata={"track": "T"},
        file="XYZ.xml",
        line=1,
    )


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('len="4,4"', 'len="4"', "the mention M1 has start '0,6' and len '4'"),
        ('start="3"', 'start="x"', "the mention M2 has start 'x'"),
        ('section="S1"', 'section="S9"', "the mention M1 is in the section S9, which does not exist"),
        ('id="M2"', 'id="M1"', "the id M1 is given twice"),
        ('arg1="M2"', "", "has no attribute arg1"),
        ("</Text>", "", "the XML is broken"),
        ('drug="xyz"', "", "<Label> has no attribute drug"),
        ("Label", "Lable", "expected <Label>, got <Lable>"),
    ],
)
def test_bad_labels_are_named(files, old, new, message):
    given_files = files({"a.xml": TAC.replace(old, new), "b.xml": TAC})
    with pytest.raises(ReadError, match=rf"a.xml.*{message}"):
        list(read_tac(given_files, Problems()))
    problems = Problems(keep_going=True)
    assert [d.file for d in read_tac(given_files, problems)] == ["b.xml"]
    assert problems.skipped == 1


def test_offsets_out_of_range_are_for_the_checks(files):
    from mumei.data.checks import run_checks
    from mumei.data.corpus import corpus_of

    found = list(read_tac(files({"a.xml": TAC.replace('start="3"', 'start="300"')}), Problems()))
    found += read_ddi(files({"b/a.xml": DDI.replace('"9-19"', '"9-1900"')}, "ddi"), Problems())
    for document in found:
        document.split = "train"
    report = run_checks(corpus_of({"train": found}, "kb"), only=["SP04"])
    assert [(f.document, f.item, f.file) for f in report.findings] == [
        ("xyz", "xyz_M2", "a.xml"),
        ("DDI.d1", "DDI.d1_s1.e1", "b/a.xml"),
    ]
