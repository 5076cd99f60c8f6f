"""Folders of text, MEDLINE and JATS XML, and FASTA, from files written here and from real ones."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mumei.core.errors import DataError, UsageError
from mumei.discover.sources import Item, Problem, open_source
from mumei.discover.sources.kinds import MAX_TEXT


def read(path: Path, **options) -> tuple[list[Item], list[Problem]]:
    rows = list(open_source(path, **options).rows())
    return [r for r in rows if isinstance(r, Item)], [r for r in rows if isinstance(r, Problem)]


# --- folders --------------------------------------------------------------------------------------------------------


def test_folder_of_text_files(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "b.txt").write_text("A note without title, in one line.")
    (tmp_path / "a.md").write_text("# Statins\n\nThey lower cholesterol.\n")
    (tmp_path / "sub" / "c.text").write_bytes("Herz\n\nGef\u00e4\u00dfe".encode("cp1252"))
    (tmp_path / "d.txt").write_text("")
    (tmp_path / "e.txt").write_bytes(bytes(range(256)) * 50)
    (tmp_path / "f.txt.gz").write_bytes(gzip.compress(b"packed note"))
    (tmp_path / "u.txt").write_bytes("Titel\nund Text".encode("utf-16"))
    (tmp_path / ".hidden.txt").write_text("not this")
    (tmp_path / "image.png").write_bytes(b"\x89PNG")
    source = open_source(tmp_path)
    assert source.total_hint == 7
    assert any("left out: 1 other files (image.png)" in line for line in source.described)
    items, problems = read(tmp_path)
    assert [(i.id, i.title, i.text) for i in items] == [
        ("a.md", "Statins", "Statins\n\nThey lower cholesterol."),
        ("b.txt", "b", "A note without title, in one line."),
        ("f.txt.gz", "f", "packed note"),
        ("sub/c.text", "Herz", "Herz\n\nGefäße"),
        ("u.txt", "Titel", "Titel\nund Text"),
    ]
    assert [(p.id, p.kind, p.dropped) for p in problems] == [
        ("d.txt", "empty", True),
        ("e.txt", "malformed", True),
        ("sub/c.text", "undecodable", False),
    ]


def test_a_huge_text_file_is_cut(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"word " * 2_000_000)
    items, problems = read(tmp_path)
    assert len(items[0].text) == MAX_TEXT
    assert [(p.kind, p.dropped) for p in problems] == [("too long", False)]


def test_folder_of_parts_checks_across_files(tmp_path):
    (tmp_path / "README.md").write_text("about")
    (tmp_path / "part-1.jsonl").write_text('{"id": "a", "text": "the first"}\n{"id": "b", "text": "the second"}\n')
    (tmp_path / "part-2.jsonl.gz").write_bytes(
        gzip.compress(b'{"id": "a", "text": "the third"}\n{"id": "c", "text": "The First"}\n')
    )
    (tmp_path / "part-3.json").write_text(json.dumps([{"id": "d", "text": "the fourth"}]))
    (tmp_path / "part-4.jsonl").write_text("")
    items, problems = read(tmp_path)
    assert [i.id for i in items] == ["a", "b", "a#2", "d"]
    assert [(p.kind, p.dropped, p.row) for p in problems] == [
        ("duplicate id", False, 2),
        ("duplicate", True, 3),
        ("empty", True, 5),
    ]
    assert [i.row for i in items] == [0, 1, 2, 4]


def test_folder_of_csv_parts_and_numeric_parts(tmp_path):
    for n in range(2):
        (tmp_path / f"{n}.csv").write_text(f"id,text\n{n},This is the text number {n}\n")
    assert [i.id for i in read(tmp_path)[0]] == ["0", "1"]
    for n in range(2):
        (tmp_path / f"{n}.csv").write_text(f"a,b\n{n},1.5\n")
    assert [b.tolist() for b in open_source(tmp_path).blocks()] == [[[0.0, 1.5], [1.0, 1.5]]]


def test_folders_that_cannot_be_read(tmp_path):
    with pytest.raises(DataError, match="holds nothing that can be read"):
        open_source(tmp_path)
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    (tmp_path / "b.jsonl").write_text("{}\n")
    with pytest.raises(DataError, match="several formats"):
        open_source(tmp_path)
    (tmp_path / "b.jsonl").unlink()
    (tmp_path / "a.csv").rename(tmp_path / "a.txt")
    with pytest.raises(UsageError, match="does not apply"):
        open_source(tmp_path, text_column="x")


def test_links_in_a_circle_end(tmp_path):
    (tmp_path / "a.txt").write_text("some text")
    os.symlink(tmp_path, tmp_path / "loop")
    os.symlink(tmp_path / "nowhere", tmp_path / "dead.txt")
    assert len(read(tmp_path)[0]) == 1


def test_plain_text_file_is_one_document_a_line(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("First, a note.\n\nSecond note, with commas, too.\n")
    source = open_source(path)
    assert "one document a line" in source.described[0]
    assert [(i.id, i.text, i.where) for i in read(path)[0]] == [
        ("1", "First, a note.", "a.txt:1"),
        ("2", "Second note, with commas, too.", "a.txt:3"),
    ]


# --- XML ------------------------------------------------------------------------------------------------------------

CITATION = """<PubmedArticle><MedlineCitation><PMID Version="1">{n}</PMID><Article>
<ArticleTitle>Title <i>{n}</i></ArticleTitle>
<Abstract><AbstractText Label="AIM">To see {n} &amp; more &#946;.</AbstractText>
<AbstractText>Plain<!-- no --> end.</AbstractText></Abstract>
</Article><CommentsCorrectionsList><CommentsCorrections><PMID>999</PMID></CommentsCorrections></CommentsCorrectionsList>
</MedlineCitation><PubmedData><History/></PubmedData></PubmedArticle>"""


def medline(n: int, root: str = "PubmedArticleSet") -> str:
    return f'<?xml version="1.0"?>\n<{root}>' + "\n".join(CITATION.format(n=i) for i in range(1, n + 1)) + f"</{root}>"


def test_medline_citations(tmp_path):
    path = tmp_path / "a.xml"
    path.write_text(medline(3))
    items, problems = read(path)
    assert not problems
    assert [(i.id, i.title, i.text) for i in items] == [
        (str(n), f"Title {n}", f"AIM: To see {n} & more β. Plain end.") for n in (1, 2, 3)
    ]


def test_medline_set_single_root_utf16_and_gzip(tmp_path):
    bare = CITATION.format(n=1)
    inner = bare[bare.index("<MedlineCitation>") : bare.index("<PubmedData>")]
    contents = {
        "set.xml": f"<MedlineCitationSet>{inner}</MedlineCitationSet>".encode(),
        "one.xml": bare.encode(),
        "bare.xml": inner.encode(),
        "wide.xml": ('<?xml version="1.0" encoding="UTF-16"?>' + medline(1)[21:]).encode("utf-16"),
        "latin.xml": ('<?xml version="1.0" encoding="ISO-8859-1"?>' + medline(1)[21:]).encode("latin-1"),
        "packed.xml.gz": gzip.compress(medline(1).encode()),
        "no_name": medline(1).encode(),
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        assert [i.id for i in read(tmp_path / name)[0]] == ["1"], name


def test_broken_xml_keeps_what_came_before(tmp_path):
    path = tmp_path / "a.xml"
    path.write_text(medline(3)[:-400])
    items, problems = read(path)
    assert [i.id for i in items] == ["1", "2"]
    assert [(p.kind, p.dropped) for p in problems] == [("malformed", True)]


def test_entities_of_its_own_are_refused_and_unknown_ones_read_as_html(tmp_path):
    path = tmp_path / "a.xml"
    path.write_text(
        '<!DOCTYPE PubmedArticleSet [<!ENTITY x SYSTEM "file:///etc/passwd">]>' + medline(1)[21:].replace("more", "&x;")
    )
    with pytest.raises(DataError, match="entities of its own"):
        read(path)
    doctype = '<!DOCTYPE PubmedArticleSet PUBLIC "-//NLM//DTD" "http://127.0.0.1:9/none.dtd">'
    path.write_text(doctype + medline(1)[21:].replace("more", "&alpha;&nbsp;unit"))
    assert "& α unit β" in read(path)[0][0].text


def test_memory_does_not_grow_with_the_number_of_citations(tmp_path):
    """Ten times the file, about the same peak of Python memory."""
    import tracemalloc

    peaks = []
    for n in (200, 2000):
        path = tmp_path / f"{n}.xml"
        path.write_text(medline(n))
        source = open_source(path)
        tracemalloc.start()
        count = 0
        for record in source._readers[0].records():
            count += record.values is not None
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert count == n
    assert peaks[1] < 3 * peaks[0] + (1 << 20)


def test_jats_article(tmp_path):
    path = tmp_path / "paper.nxml"
    path.write_text(
        """<!DOCTYPE article PUBLIC "-//NLM//DTD" "x.dtd"><article xmlns:xlink="x"><front><article-meta>
        <article-id pub-id-type="doi">10.1/x</article-id><article-id pub-id-type="pmid">77</article-id>
        <title-group><article-title>A <italic>small</italic> paper</article-title></title-group>
        <abstract><sec><title>Aim</title><p>We looked.</p></sec></abstract></article-meta></front>
        <body><sec><p>One <xref>[1]</xref> thing<list><list-item><p>inner</p></list-item></list>.</p>
        <fig><caption><p>Not this.</p></caption></fig><p>Two.</p></sec></body><back><p>Nor this.</p></back></article>"""
    )
    items, problems = read(path)
    assert not problems
    assert [(i.id, i.title, i.text) for i in items] == [
        ("77", "A small paper", "We looked.\nOne [1] thinginner.\nTwo.")
    ]


def test_other_xml_is_refused(tmp_path):
    path = tmp_path / "a.xml"
    path.write_text("<corpus><doc>text</doc></corpus>")
    with pytest.raises(DataError, match="no format that mumei reads"):
        open_source(path)
    path.write_text("<!DOCTYPE html><html><body>hi</body></html>")
    with pytest.raises(DataError, match="web page"):
        open_source(path)


def test_real_medline_and_jats_files(data_dir):
    """Ids and title as they stand in the files' own PMID and title elements."""
    items, problems = read(data_dir / "bigbio" / "medline_xml" / "pubmed-29768149.xml")
    assert [(i.id, i.title) for i in items] == [
        ("29768149", "Inhaled Combined Budesonide-Formoterol as Needed in Mild Asthma.")
    ]
    assert items[0].text.startswith("BACKGROUND: In patients with mild asthma")
    assert " CONCLUSIONS: " in items[0].text
    assert not problems
    items, problems = read(data_dir / "bigbio" / "medline_xml")
    assert [i.id for i in items] == ["18405359", "17299597", "29768149"]
    assert min(len(i.text) for i in items) > 1500
    assert not problems


# --- FASTA ----------------------------------------------------------------------------------------------------------


def test_fasta(tmp_path):
    path = tmp_path / "a.fasta"
    path.write_text(
        ">P1 first protein  OS=X\nMKV-\nlla.g*\n\n>P2\n1 MKV*LL 60\n>P3 odd\nMK@V!\n"
        ">P4 empty\n>P5 worse\n@@@@M\n>P1\nAAAA\n>\nCCCC\n>P9\nMKVLLAG\n"
    )
    source = open_source(path)
    assert source.kind == "sequence"
    items, problems = read(path)
    assert [(i.id, i.title, i.text) for i in items] == [
        ("P1", "first protein OS=X", "MKVLLAG"),
        ("P2", "", "MKVXLL"),
        ("P3", "odd", "MKXVX"),
        ("P1#2", "", "AAAA"),
        ("7", "", "CCCC"),
    ]
    assert [(p.row, p.kind, p.dropped) for p in problems] == [
        (1, "malformed", False),
        (2, "malformed", False),
        (3, "empty", True),
        (4, "malformed", True),
        (5, "duplicate id", False),
        (7, "duplicate", True),
    ]
    assert "the first at 4" in problems[0].detail
    assert "(! @)" in problems[1].detail


def test_a_chromosome_on_one_line_is_cut(tmp_path):
    path = tmp_path / "a.fa"
    path.write_bytes(b">chr1\n" + b"ACGT" * 3_000_000 + b"\n>chr2\n" + b"ACGTA\n" * 250_000)
    items, problems = read(path)
    assert [(i.id, len(i.text)) for i in items] == [("chr1", MAX_TEXT), ("chr2", MAX_TEXT)]
    assert [(p.kind, p.dropped) for p in problems] == [("too long", False)] * 2


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.text("ACDEFGHIKLMNPQRSTVWY", min_size=1, max_size=200), min_size=1, max_size=6, unique=True),
    st.integers(1, 80),
)
def test_fasta_round_trip(tmp_path_factory, sequences, width):
    path = tmp_path_factory.mktemp("f") / "a.fasta"
    wrapped = [
        f">s{n}\n" + "\n".join(s[i : i + width] for i in range(0, len(s), width)) for n, s in enumerate(sequences)
    ]
    path.write_text("\n".join(wrapped))
    assert [(i.id, i.text) for i in read(path)[0]] == [(f"s{n}", s) for n, s in enumerate(sequences)]


def test_real_proteomes(data_dir):
    """Counts from the files' own '>' lines; what is missing is reported, as repeated sequences."""
    for path in sorted((data_dir / "protein" / "sequences").glob("*.fasta.gz"))[:4]:
        headers = sum(line.startswith(b">") for line in gzip.open(path))
        items, problems = read(path)
        assert len(items) + sum(p.dropped for p in problems) == headers
        assert {p.kind for p in problems} <= {"duplicate", "duplicate id"}


def test_real_abstracts(data_dir):
    items, problems = read(data_dir / "cluster" / "ohsumed23_text.jsonl.xz")
    assert len(items) + sum(p.dropped for p in problems) == 7400
    assert items[0].text.startswith("Infection in total joint replacement.")
