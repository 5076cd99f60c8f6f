"""BioC: a document worked out by hand in XML and JSON, the plain form against the full one, and every error with its line."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mumei.core.errors import MumeiError
from mumei.data.documents import Attribute, ConceptRelation, Document, Relation
from mumei.data.readers.base import Problems, ReadError, SourceFile
from mumei.data.readers.bioc_json import read_bioc_json
from mumei.data.readers.bioc_xml import Quick, _parts, read_bioc_xml
from mumei.data.readers.pubtator import read_pubtator
from mumei.data.readers.xml import parse
from mumei.data.schemas import NULL, Entity, Normalized, Passage

DOCUMENT = """<document><id>7</id><infon key="year">1999</infon>
<passage><infon key="type">title</infon><offset>0</offset><text>Kidney &amp; liver failure.</text>
<annotation id="1"><infon key="type">Disease</infon><infon key="MESH">D1|D2</infon>
<infon key="CompositeRole">CompositeMention</infon>
<location offset="0" length="22"/><text>Kidney &amp; liver failure</text></annotation>
<annotation id="2"><infon key="type">Disease</infon><infon key="MESH">D1</infon>
<location offset="0" length="6"/><location offset="15" length="7"/><text>Kidney failure</text></annotation>
</passage>
<passage><infon key="section">INTRO</infon><offset>100</offset><text>By \u2028drug.</text>
<annotation id="3"><infon key="type">Drug</infon><infon key="identifier">OMIM:5</infon>
<location offset="104" length="4"/><text>drug</text></annotation></passage>
<relation id="R0"><infon key="relation">CID</infon><infon key="Chemical">D9</infon><infon key="Disease">D1</infon>
<infon key="novel">No</infon></relation>
<relation id="R1"><infon key="type">Treats</infon><node refid="3" role="drug"/><node refid="1" role="disease"/></relation>
</document>"""
COLLECTION = """<?xml version='1.0' encoding='UTF-8'?><!DOCTYPE collection SYSTEM 'BioC.dtd'>
<collection><source>x</source>
{}</collection>"""


def infons(element):
    return {e.get("key"): e.text for e in element.findall("infon")}


def as_json(content: str) -> dict:
    """The same document in JSON, converted by other code than the readers'."""
    from xml.etree.ElementTree import fromstring

    root = fromstring(content)
    passages = [
        {
            "offset": int(p.findtext("offset")),
            "infons": infons(p),
            "text": p.findtext("text"),
            "annotations": [
                {
                    "id": a.get("id"),
                    "infons": infons(a),
                    "text": a.findtext("text"),
                    "locations": [{k: int(v) for k, v in x.attrib.items()} for x in a.findall("location")],
                }
                for a in p.findall("annotation")
            ],
        }
        for p in root.findall("passage")
    ]
    relations = [
        {"id": r.get("id"), "infons": infons(r), "nodes": [dict(n.attrib) for n in r.findall("node")]}
        for r in root.findall("relation")
    ]
    return {"id": root.findtext("id"), "infons": infons(root), "passages": passages, "relations": relations}


EXPECTED = Document(
    "7",
    "7",
    [
        Passage("7_P0", "title", ["Kidney & liver failure."], [(0, 23)]),
        Passage("7_P1", NULL, ["By \u2028drug."], [(24, 33)]),
    ],
    [
        Entity(
            "7_1",
            "Disease",
            ["Kidney & liver failure"],
            [(0, 22)],
            [Normalized("MESH", "D1"), Normalized("MESH", "D2")],
        ),
        Entity("7_2", "Disease", ["Kidney", "failure"], [(0, 6), (15, 22)], [Normalized("MESH", "D1")]),
        Entity("7_3", "Drug", ["drug"], [(28, 32)], [Normalized("OMIM", "5")]),
    ],
    relations=[Relation("7_R1", "Treats", "7_3", "7_1", [], "drug", "disease")],
    concept_relations=[ConceptRelation("7_R0", "CID", "D9", "D1", ["No"])],
    attributes=[
        Attribute("7_1_concept", "concept", "D1|D2", "7_1"),
        Attribute("7_1_CompositeRole", "CompositeRole", "CompositeMention", "7_1"),
        Attribute("7_P1_section", "section", "INTRO", "7_P1"),
    ],
    metadata={"year": "1999"},
)


def test_document_by_hand(files):
    (found,) = read_bioc_xml(files({"a.xml": COLLECTION.format(DOCUMENT)}), Problems())
    assert (found.file, found.line) == ("a.xml", 3)
    found.file, found.line = "", 0
    assert found == EXPECTED
    for entity in found.entities:
        assert [found.text()[a:b] for a, b in entity.offsets] == entity.text


@pytest.mark.parametrize(
    "shape",
    [
        lambda d: json.dumps({"source": "x", "documents": [d]}),
        lambda d: json.dumps([d], indent=1),
        lambda d: json.dumps(d),
        lambda d: json.dumps(d) + "\n\n" + json.dumps({**d, "id": 8}) + "\n",
    ],
)
def test_json_gives_the_same(files, shape):
    found, *more = read_bioc_json(files({"a.json": shape(as_json(DOCUMENT))}), Problems())
    assert [d.id for d in more] in ([], ["8"])
    found.file, found.line = "", 0
    assert found == EXPECTED


def test_lines_of_json(files):
    content = '{"documents": [\n{"id": "1", "passages": []},\n{"id": 2,\n"passages": []}, {"id": 3}]}'
    problems = Problems(keep_going=True)
    found = list(read_bioc_json(files({"a.json": content}), problems))
    assert [(d.id, d.line) for d in found] == [("1", 2), ("2", 3)]
    assert [(p.line, p.message) for p in problems.found] == [
        (4, "it is no document of BioC (Object missing required field `passages`)")
    ]


def test_plain_form_and_xml_agree():
    quick = Quick()
    content = DOCUMENT.encode()
    assert quick.document(content) == _parts(parse(content, "f"))
    for other in (
        content.replace(b"<passage>", b"<!-- x --><passage>", 1),
        content.replace(b"<text>", b"<text><![CDATA[<]]>", 1),
        content.replace(b"&amp;", b"&nbsp;", 1),
        content.replace(b"\n", b"\r\n"),
        content.replace(b"</document>", b"</passage></document>"),
        content.replace(b"<text>By", b"<text><b/>By"),
        content.replace(b"<id>7", b"<?x y?><id>7"),
        content.replace(b"By", b"B\x01y"),
        content.replace(b"By", b"B&#0;y"),
    ):
        assert quick.document(other) is None, other


CHANGES = ["", "<", ">", "&", "&lt;", "&#65;", "&#x110000;", "/", '"', " ", "a", "<text>", "]]>", "\u2028"]


@settings(max_examples=400, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1100), st.sampled_from(CHANGES), st.integers(0, 3)), min_size=1, max_size=3))
@example([(318, "\u2028", 0)])  # white space to Unicode, none to XML
def test_plain_form_never_differs_from_xml(changes):
    """Whatever is changed: where the patterns accept a document, XML gives the same parts."""
    text = DOCUMENT
    for at, piece, cut in changes:
        text = text[:at] + piece + text[at + cut :]
    found = Quick().document(text.encode())
    if found is not None:
        try:
            assert found == _parts(parse(text.encode(), "f"))
        except ReadError as error:  # looser than XML only where nothing is lost
            pytest.fail(f"{error}: {text}")


def test_sentences(files):
    content = (
        "<collection><document><id>1</id><passage><offset>10</offset><sentence><offset>10</offset><text>Ab.</text></sentence>"
        "<sentence><offset>15</offset><text>Cd.</text><annotation id='1'><location offset='15' length='2'/><text>Cd</text>"
        "</annotation></sentence></passage></document></collection>"
    )
    (found,) = read_bioc_xml(files({"a.xml": content}), Problems())
    assert found.text() == "Ab.  Cd."
    assert found.sentences == [(0, 3), (5, 8)]
    assert found.entities == [Entity("1_1", NULL, ["Cd"], [(5, 7)], [])]
    passage = {
        "offset": 10,
        "sentences": [
            {"offset": 10, "text": "Ab."},
            {
                "offset": 15,
                "text": "Cd.",
                "annotations": [{"id": 1, "locations": [{"offset": 15, "length": 2}], "text": "Cd"}],
            },
        ],
    }
    (same,) = read_bioc_json(files({"b/a.json": json.dumps({"id": "1", "passages": [passage]})}, "json"), Problems())
    same.file, same.line = found.file, found.line
    assert same == found


@pytest.mark.parametrize(("offset", "at"), [(100, 102), (100, 4), (100, 2)])
def test_mentions_are_where_most_of_them_fit(files, offset, at):
    """Offsets in the source, in the joined text, from the passage's start: `cd` is the same mention."""
    content = (
        "<collection><document><id>1</id><passage><offset>0</offset><text>a</text></passage>"
        f"<passage><offset>{offset}</offset><text>b cd</text><annotation id='1'><location offset='{at}' length='2'/>"
        "<text>cd</text></annotation></passage></document></collection>"
    )
    problems = Problems()
    (found,) = read_bioc_xml(files({"a.xml": content}), problems)
    assert found.entities[0].offsets == [(4, 6)]
    assert len(problems.found) == (at != 102)


def test_oddities_are_noted_and_kept(files):
    annotation = "<annotation id='1'><location offset='0' length='1'/><text>a</text></annotation>"
    content = (
        f"<collection><document><id>1</id><passage><offset>0</offset><text>a</text>{annotation}{annotation}</passage>"
        "<relation id='R'><infon key='type'>x</infon><node refid='1' role='y'/></relation></document></collection>"
    )
    problems = Problems()
    (found,) = read_bioc_xml(files({"a.xml": content}), problems)
    assert [e.id for e in found.entities] == ["1_1", "1_1.2"]
    assert [(a.type, a.value) for a in found.attributes] == [("type", "x"), ("node", "y:1")]
    assert [p.message for p in problems.found] == [
        "the id 1 of an annotation is given again, as 1.2 here",
        "the relation R of 1 nodes is kept as attributes only",
    ]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("<id>7</id>", "", "the document has no id"),
        ("<offset>100</offset>", "<offset>x</offset>", "a passage's offset is 'x', expected a whole number"),
        ("<offset>100</offset>", "", "a passage's offset is ''"),
        ('<location offset="0" length="6"/><location offset="15" length="7"/>', "", "the annotation 2 has no location"),
        ('length="4"', "", "<location> has no attribute length"),
        ('length="4"', 'length="4.5"', "a length is '4.5'"),
        ('refid="3"', "", "<node> has no attribute refid"),
        ("</text>", "", "the XML is broken"),
    ],
)
def test_bad_documents_are_named_and_only_they_are_skipped(files, old, new, message):
    good = DOCUMENT.replace("<id>7", "<id>8")
    given_files = files({"a.xml": COLLECTION.format(DOCUMENT.replace(old, new, 1) + "\n" + good)})
    with pytest.raises(ReadError, match=f"a.xml:.*{message}"):
        list(read_bioc_xml(given_files, Problems()))
    problems = Problems(keep_going=True)
    assert [d.id for d in read_bioc_xml(given_files, problems)] == ["8"]
    assert problems.skipped == 1


@pytest.mark.parametrize(
    "content",
    ["", "{", "[1]", '{"x": 1}', '{"documents": [{"id": "1", "passages": [{"offset": 0.5}]}]}', b"\xff", '"\ud800"'],
)
def test_bad_json(files, content):
    content = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    with pytest.raises(ReadError, match=r"a\.json:1"):
        list(read_bioc_json(files({"a.json": content}), Problems()))
    problems = Problems(keep_going=True)
    assert list(read_bioc_json(files({"a.json": content}), problems)) == []
    assert problems.skipped == 1


@settings(max_examples=300, deadline=None)
@given(
    st.integers(0, 900),
    st.integers(0, 30),
    st.sampled_from(["", "}", "]", "1", "-1", "null", '"', "\\ud800", "\u2028", "é", "\x00"]),
)
def test_any_mutation_of_json_gives_documents_or_an_error(tmp_path_factory, at, cut, piece):
    text = json.dumps({"documents": [as_json(DOCUMENT)]})
    path = tmp_path_factory.mktemp("fuzz") / "a"
    path.write_bytes((text[:at] + piece + text[at + cut :]).encode())
    problems = Problems(keep_going=True)
    found = list(read_bioc_json([SourceFile(str(path), "a")], problems))
    assert found or problems.skipped
    try:
        list(read_bioc_json([SourceFile(str(path), "a")], Problems()))
        assert problems.skipped == 0
    except MumeiError:
        assert problems.skipped > 0


def without_ids(documents):
    """What is said, whatever the annotations are called; passages without their types, which JSON lacks."""
    return [
        (
            d.id,
            d.text(),
            sorted((e.type, e.offsets, e.text, [(n.db_name, n.db_id) for n in e.normalized]) for e in d.entities),
            [(r.type, r.arg1_id, r.arg2_id, r.flags) for r in d.concept_relations],
            sorted((a.type, a.value) for a in d.attributes),
        )
        for d in documents
    ]


def test_biored_is_the_same_in_three_formats(corpora_dir):
    import gzip

    folder = corpora_dir / "biored"
    options = {"joiners": ",", "whole": ["SequenceVariant"], "database": "x"}
    pubtator = list(read_pubtator([SourceFile(str(folder / "Dev.PubTator"), "p")], Problems(), **options))
    xml = list(read_bioc_xml([SourceFile(str(folder / "Dev.BioC.XML"), "x")], Problems(), **options))
    assert len(pubtator) == 100
    assert without_ids(xml) == without_ids(pubtator)
    content = gzip.decompress((folder / "Dev.BioC.JSON.gz").read_bytes())
    assert json.loads(content)["documents"][0]["id"] == pubtator[0].id


def test_biored_json(corpora_dir, tmp_path):
    import gzip

    folder = corpora_dir / "biored"
    path = tmp_path / "Dev.json"
    path.write_bytes(gzip.decompress((folder / "Dev.BioC.JSON.gz").read_bytes()))
    xml = list(read_bioc_xml([SourceFile(str(folder / "Dev.BioC.XML"), "x")], Problems(), joiners=","))
    found = list(read_bioc_json([SourceFile(str(path), "j")], Problems(), joiners=","))
    assert without_ids(found) == without_ids(xml)
    assert [e.id for d in found for e in d.entities] == [e.id for d in xml for e in d.entities]


def test_composite_mentions_of_bc5cdr_are_where_the_file_says(corpora_dir):
    """BigBIO's issue 738: its loader cuts the text of a mention of several locations by their lengths; one is wrong here."""
    path = corpora_dir / "bc5cdr" / "CDR_sample.gold.BioC.xml"
    found = list(read_bioc_xml([SourceFile(str(path), path.name)], Problems()))
    assert sum(len(e.offsets) for d in found for e in d.entities) == 951
    assert sum(len(e.offsets) > 1 for d in found for e in d.entities) == 6
    for document in found:
        text = document.text()
        for entity in document.entities:
            assert [text[a:b] for a, b in entity.offsets] == entity.text
    said = {a.value for d in found for a in d.attributes if a.type == "text"}
    assert said == {"opistothonus dysfunction"}  # other words than those at the locations: kept beside them


def test_bc5cdr_sample_is_the_same_in_both_formats(corpora_dir):
    """47 of 50 documents are identical; in 3 BioC adds the parts of composite mentions, and nothing else."""
    folder = corpora_dir / "bc5cdr"
    xml = list(read_bioc_xml([SourceFile(str(folder / "CDR_sample.gold.BioC.xml"), "x")], Problems()))
    plain = list(
        read_pubtator([SourceFile(str(folder / "CDR_sample.gold.PubTator"), "p")], Problems(), database="MESH")
    )
    same = 0
    for one, other in zip(xml, plain, strict=True):
        spans = {(tuple(e.offsets), e.type, tuple(e.normalized)) for e in one.entities}
        theirs = {(tuple(e.offsets), e.type, tuple(e.normalized)) for e in other.entities}
        assert (one.id, one.text()) == (other.id, other.text())
        same += spans == theirs
        assert len(spans - theirs) <= 6
    assert same >= 47


@pytest.mark.parametrize("place", ["file", "document"])
def test_json_nested_too_deep_is_told_and_costs_its_document(files, place):
    deep = '{"a":' * 100_000 if place == "file" else '{"a":' * 100_000 + "1" + "}" * 100_000
    bad = deep if place == "file" else f'{{"id": "2", "passages": [], "infons": {{"x": {deep}}}}}'
    problems = Problems(keep_going=True)
    found = list(read_bioc_json(files({"a.json": f'{{"id": "1", "passages": []}}\n{bad}\n'}), problems))
    assert [d.id for d in found] == ["1"]
    assert [(p.line, p.skipped, "nested too deep" in p.message) for p in problems.found] == [(2, True, True)]
