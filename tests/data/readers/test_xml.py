"""XML cut into documents: pieces, lines, encodings, and what is refused; and every XML reader under mutation."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mumei.core.errors import MumeiError, UsageError
from mumei.data import readers
from mumei.data.readers.base import Problems, ReadError, SourceFile, collector_paused
from mumei.data.readers.xml import collapsed, documents, elements, parse, whole

BOMB = '<!DOCTYPE c [<!ENTITY a "x"><!ENTITY b "&a;&a;&a;&a;">]>'


def one(files, content, name="a.xml"):
    return files({name: content})[0]


def test_elements_have_their_lines_whatever_the_pieces(files, monkeypatch):
    text = (
        '<?xml version="1.0"?>\n<!-- no -->\n<c a=">">\n<doc id="a>b"/>\n\n<doc\nid="2">é\u2028<doc2/>\n</doc>\n'
        "<docs/><doc>3</doc ></c>"
    )
    file = one(files, text)
    expected = [(b'<doc id="a>b"/>', 4), ('<doc\nid="2">é\u2028<doc2/>\n</doc>'.encode(), 6), (b"<doc>3</doc >", 9)]
    for size in (1, 2, 3, 7, 50, 10_000):
        monkeypatch.setattr("mumei.data.readers.xml.BLOCK", size)
        assert list(elements(file, "doc", Problems())) == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("<c><doc>1</doc><doc>2", r"a.xml:1: the file ends within <doc>"),
        ("<c><doc>1</doc>\n<do", r"a.xml:1: the file ends before </c>"),
        ("<c><doc>1</doc>\n", r"the file ends before </c>"),
        ("<c></c>", "there is no <doc> in it"),
        ("", "there is no <doc> in it"),
        ("<c>\n<doc>\n<a></b></doc></c>", r"a.xml:3: the XML is broken \(Opening and ending tag mismatch"),
        ("<c><doc>&nbsp;</doc></c>", "entities of a DTD are not read"),
        (BOMB + "\n<c>\n<doc>&b;</doc></c>", r"a.xml:3: the XML is broken.*entities of a DTD are not read"),
        ('<?xml version="1.0" encoding="klingon"?><c><doc/></c>', "encoding 'klingon', which nobody knows"),
        ('<?xml version="1.0" encoding="utf-16"?><c><doc/></c>', "is not utf-16|cannot be read|no <doc>"),
        ("<c><doc>\x00</doc></c>", "the XML"),
        (b"<c><doc>\xe9</doc></c>", "the XML is broken"),
    ],
)
def test_what_is_wrong_is_named(files, content, message):
    with pytest.raises(ReadError, match=message):
        list(documents(one(files, content), "doc", Problems()))
    problems = Problems(keep_going=True)
    list(documents(one(files, content), "doc", problems))
    assert problems.skipped == 1


def test_a_broken_document_costs_no_other(files):
    problems = Problems(keep_going=True)
    file = one(files, "<c>\n<doc>1</doc>\n<doc><a></doc>\n<doc>3</doc></c>")
    assert [(e.text, line) for e, line in documents(file, "doc", problems)] == [("1", 2), ("3", 4)]
    assert [p.line for p in problems.found] == [3]


def test_encodings(files):
    text = '<?xml version="1.0" encoding="{}"?>\n<c><doc>é\u2013</doc></c>'
    for declared, used in (
        ("windows-1252", "cp1252"),
        ("UTF-16", "utf-16"),
        ("utf-8", "utf-8-sig"),
        ("utf-8", "utf-8"),
    ):
        file = one(files, text.format(declared).encode(used))
        assert [e.text for e, _ in documents(file, "doc", Problems())] == ["é\u2013"]
        assert whole(file)[0].text == "é\u2013"
    file = one(files, "<c><doc>é</doc></c>".encode("cp1252"))
    assert [e.text for e, _ in documents(file, "doc", Problems(), "windows-1252")] == ["é"]
    with pytest.raises(UsageError, match="unknown encoding 'utf-9'"):
        list(documents(file, "doc", Problems(), "utf-9"))


def test_no_other_file_is_opened(files, tmp_path):
    (tmp_path / "secret").write_text("secret")
    own = f'<!DOCTYPE c [<!ENTITY s SYSTEM "file://{tmp_path}/secret">]><c><doc>&s;</doc></c>'
    with pytest.raises(ReadError, match="entities of a DTD are not read"):
        list(documents(one(files, own), "doc", Problems()))
    with pytest.raises(ReadError, match="entities of a DTD are not read"):
        whole(one(files, own))


def test_too_large_an_element_is_refused(files, monkeypatch):
    monkeypatch.setattr("mumei.data.readers.xml.LARGEST", 100)
    with pytest.raises(ReadError, match="no end of <doc>"):
        list(documents(one(files, "<c><doc>" + "x" * 200), "doc", Problems()))


def test_prefixes_come_from_around(files):
    with pytest.raises(ReadError, match="Namespace prefix x"):
        parse(b"<a x:b='1'/>", "f")
    assert parse(b"<a x:b='1'/>", "f", 1, b'<_ xmlns:x="y">').get("{y}b") == "1"


def test_collapsed():
    element = parse(b"<a> x\n<b>y<c>z</c>\tw</b> v </a>", "f")
    assert collapsed(element) == "x yz w v"
    assert collapsed(element, ["c"]) == "x y w v"
    assert collapsed(None) == ""


SAMPLES = {
    "bioc_xml": "<collection><document><id>1</id><passage><infon key='type'>title</infon><offset>0</offset><text>a &lt; b"
    "</text><annotation id='1'><infon key='MESH'>D1</infon><location offset='0' length='1'/><text>a</text></annotation>"
    "</passage><relation id='R1'><infon key='relation'>CID</infon><infon key='Chemical'>D1</infon><infon key='Disease'>D2"
    "</infon><node refid='1' role='x'/></relation></document></collection>",
    "ddi": '<document id="d"><sentence id="d.s0" text="ab cd"><entity id="d.s0.e0" charOffset="0-1;3-4" type="drug" '
    'text="ab cd"/><pair id="d.s0.p0" e1="d.s0.e0" e2="d.s0.e0" ddi="true" type="int"/></sentence></document>',
    "ppi": '<corpus source="x"><document id="d"><sentence charOffset="0-5" id="d.s0" text="ab cd"><entity charOffset="0-2" '
    'id="d.s0.e0" text="ab" type="p"/><interaction e1="d.s0.e0" e2="d.s0.e0" id="d.s0.i0" type="PPI"/></sentence>'
    "</document></corpus>",
    "tac": '<Label drug="d"><Text><Section name="n" id="S1">ab cd</Section></Text><Mentions><Mention id="M1" section="S1" '
    'type="AdverseReaction" start="0,3" len="2,2" str="ab cd"/></Mentions><Relations><Relation id="RL1" type="Effect" '
    'arg1="M1" arg2="M1"/></Relations><Reactions><Reaction id="AR1" str="ab cd"><Normalization id="AR1.N1" '
    'meddra_pt_id="1"/></Reaction>'
    "</Reactions></Label>",
    "medline": "<PubmedArticleSet><PubmedArticle><MedlineCitation><PMID>1</PMID><Article><ArticleTitle>t</ArticleTitle><Abstract>"
    '<AbstractText Label="X">a</AbstractText></Abstract></Article></MedlineCitation></PubmedArticle></PubmedArticleSet>',
    "jats": '<article xmlns:xlink="http://www.w3.org/1999/xlink"><front><article-meta><article-id pub-id-type="pmid">1'
    "</article-id><title-group><article-title>t</article-title></title-group></article-meta></front><body><sec><title>s</title><p>a<fig>"
    "<caption><p>c</p></caption></fig></p></sec></body></article>",
}
# fmt: off
PIECES = ["<", ">", "/", "&", ";", '"', "'", "\x00", "\r\n", "\u2028", "é", "0", "-1", "9" * 20, "²", "]]>", "<!--", " ", ","]
# fmt: on


@pytest.mark.parametrize("name", SAMPLES)
def test_samples_are_sound(files, name):
    problems = Problems()
    assert len(list(readers.reader(name)([one(files, SAMPLES[name])], problems))) == 1
    assert readers.recognise([one(files, SAMPLES[name])]) == name


@pytest.mark.parametrize("name", SAMPLES)
@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_any_mutation_gives_documents_or_an_error(tmp_path_factory, name, data):
    """Cut off, bytes changed, pieces put in or taken out: documents, a recorded problem or a `MumeiError`, nothing else."""
    from mumei.data.documents import Document
    from mumei.data.tables import to_table

    content = SAMPLES[name].encode()
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(content)))
        kind = data.draw(st.sampled_from(["cut", "byte", "put", "take"]))
        if kind == "cut":
            content = content[:at]
        elif kind == "byte":
            content = content[:at] + data.draw(st.binary(min_size=1, max_size=1)) + content[at + 1 :]
        elif kind == "put":
            content = content[:at] + data.draw(st.sampled_from(PIECES)).encode() + content[at:]
        else:
            content = content[:at] + content[at + data.draw(st.integers(1, 20)) :]
    path = tmp_path_factory.mktemp("fuzz") / "a.xml"
    path.write_bytes(content)
    problems = Problems(keep_going=True)
    read = readers.reader(name)
    with collector_paused():
        found = list(read([SourceFile(str(path), "a.xml")], problems))
    assert found or problems.skipped
    try:
        to_table(found, Document)
        list(read([SourceFile(str(path), "a.xml")], Problems()))
        assert problems.skipped == 0
    except MumeiError:
        pass


@pytest.mark.parametrize("name", SAMPLES)
def test_keep_going_and_stopping_agree(files, name):
    """Every cut of the sample is told once, and stops the reading that does not keep going."""
    content = SAMPLES[name].encode()
    for at in range(0, len(content) - 1, 7):
        file = one(files, content[:at])
        problems = Problems(keep_going=True)
        list(readers.reader(name)([file], problems))
        assert problems.skipped == 1, content[:at]
        assert problems.found[-1].file == "a.xml"
        with pytest.raises(ReadError, match=r"a\.xml"):
            list(readers.reader(name)([file], Problems()))
