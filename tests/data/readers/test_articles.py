"""MEDLINE and JATS: citations and articles worked out by hand, the traps, and every error with its line."""

from __future__ import annotations

import pytest

from mumei.data.documents import Attribute, Document
from mumei.data.readers.base import Problems, ReadError
from mumei.data.readers.jats import read_jats
from mumei.data.readers.medline import read_medline
from mumei.data.schemas import Passage

CITATION = """<MedlineCitation Owner="NLM"><PMID Version="1">7</PMID><Article><Journal><JournalIssue><PubDate>
<MedlineDate>1999 Jan-Feb</MedlineDate></PubDate></JournalIssue><Title>J</Title></Journal>
<ArticleTitle>On H<sub>2</sub>O &lt;x&gt;
\t\tfor all.</ArticleTitle><ELocationID EIdType="doi">10.1/x</ELocationID><Abstract><AbstractText Label="AIM">Ab.</AbstractText>
<AbstractText>Cd.</AbstractText></Abstract><AuthorList><Author><LastName>Do</LastName><Initials>J</Initials></Author>
<Author><CollectiveName>Group</CollectiveName></Author></AuthorList><Language>eng</Language></Article>
<MeshHeadingList><MeshHeading><DescriptorName UI="D1" MajorTopicYN="N">Asthma</DescriptorName>
<QualifierName UI="Q8" MajorTopicYN="Y">drug therapy</QualifierName></MeshHeading></MeshHeadingList>
<KeywordList><Keyword>key</Keyword></KeywordList></MedlineCitation>"""
PUBMED = f"""<?xml version="1.0"?>
<!DOCTYPE PubmedArticleSet PUBLIC "-//NLM//DTD PubMedArticle//EN" "https://dtd.nlm.nih.gov/x.dtd">
<PubmedArticleSet><PubmedArticle>{CITATION}<PubmedData><ArticleIdList><ArticleId IdType="pmc">PMC1</ArticleId>
<ArticleId IdType="doi">other</ArticleId></ArticleIdList></PubmedData></PubmedArticle>
<PubmedArticle><MedlineCitation><PMID>8</PMID></MedlineCitation></PubmedArticle></PubmedArticleSet>"""


def test_citation_by_hand(files):
    found, bare = read_medline(files({"a.xml": PUBMED}), Problems())
    assert found == Document(
        "7",
        "7",
        [
            Passage("7_title", "title", ["On H2O <x> for all."], [(0, 19)]),
            Passage("7_abstract1", "abstract", ["Ab."], [(20, 23)]),
            Passage("7_abstract2", "abstract", ["Cd."], [(24, 27)]),
        ],
        attributes=[
            Attribute("7_abstract1_label", "label", "AIM", "7_abstract1"),
            Attribute("7_S1", "mesh", "D1 Asthma / Q8 drug therapy*", "7"),
            Attribute("7_S2", "keyword", "key", "7"),
        ],
        metadata={
            "journal": "J",
            "year": "1999",
            "language": "eng",
            "authors": "Do J; Group",
            "doi": "10.1/x",
            "pmc": "PMC1",
        },
        file="a.xml",
        line=3,
    )
    assert (bare.id, bare.text(), bare.metadata, bare.line) == ("8", "", {}, 13)


def test_citations_without_pubmeds_frame(files):
    content = f"<MedlineCitationSet>{CITATION}</MedlineCitationSet>"
    (found,) = read_medline(files({"a.xml": content}), Problems())
    assert (found.id, found.metadata.get("pmc")) == ("7", None)


def test_citation_without_its_id(files):
    given_files = files({"a.xml": PUBMED.replace('<PMID Version="1">7</PMID>', "")})
    with pytest.raises(ReadError, match=r"a\.xml:3: a citation without a PMID"):
        list(read_medline(given_files, Problems()))
    problems = Problems(keep_going=True)
    assert [d.id for d in read_medline(given_files, problems)] == ["8"]


ARTICLE = """<article xmlns:xlink="http://www.w3.org/1999/xlink" article-type="research-article" xml:lang="en"><front>
<journal-meta><journal-title>J</journal-title></journal-meta><article-meta><article-id pub-id-type="pmc">1</article-id>
<article-id pub-id-type="pmid">9</article-id><title-group><article-title>A <italic>B</italic></article-title></title-group>
<pub-date><year>2008</year></pub-date><abstract><sec><title>Aim</title><p>Ab.</p></sec></abstract></article-meta></front>
<body><sec><title>Methods</title><p>One <xref rid="r1">[1]</xref>.<fig id="f"><label>Figure 1</label><caption><title>T.</title>
<p>Cap.</p></caption><graphic xlink:href="x"/></fig> Two.</p><sec><title>More</title><p>Three
<list><list-item><p>item</p></list-item></list></p></sec><table-wrap><caption><p>Tab.</p></caption><table><tr><td>1</td></tr>
</table></table-wrap></sec></body><back><ref-list><ref>no</ref></ref-list></back></article>"""


def test_article_by_hand(files):
    (found,) = read_jats(files({"a.nxml": "<!DOCTYPE article SYSTEM 'x.dtd'>\n" + ARTICLE}), Problems())
    assert (found.id, found.line) == ("9", 2)
    assert [(p.type, *p.text) for p in found.passages] == [
        ("title", "A B"),
        ("abstract", "Ab."),
        ("body", "One [1]. Two."),
        ("caption", "Figure 1 T. Cap."),
        ("body", "Three item"),
        ("caption", "Tab."),
    ]
    assert [(a.ref_id, a.value) for a in found.attributes] == [
        ("9_P1", "Aim"),
        ("9_P2", "Methods"),
        ("9_P3", "Methods"),
        ("9_P4", "Methods / More"),
        ("9_P5", "Methods"),
    ]
    assert found.metadata == {
        "article_type": "research-article",
        "language": "en",
        "journal": "J",
        "year": "2008",
        "pmc": "1",
        "pmid": "9",
    }
    for passage in found.passages:
        ((start, end),) = passage.offsets
        assert found.text()[start:end] == passage.text[0]


def test_sets_of_articles_declare_prefixes_at_the_root(files):
    plain = ARTICLE.replace(' xmlns:xlink="http://www.w3.org/1999/xlink"', "")
    other = plain.replace('pub-id-type="pmid">9', 'pub-id-type="pmid">10')
    content = f'<pmc-articleset xmlns:xlink="http://www.w3.org/1999/xlink">\n{plain}\n{other}</pmc-articleset>'
    assert [d.id for d in read_jats(files({"a.xml": content}), Problems())] == ["9", "10"]


def test_articles_without_paragraphs_or_ids(files):
    (found,) = read_jats(files({"name.xml": "<article><body>plain text</body></article>"}), Problems())
    assert (found.id, found.text()) == ("name", "plain text")


def test_entities_of_the_dtd_are_an_error_that_says_so(files):
    given_files = files({"a.nxml": ARTICLE.replace("Ab.", "&beta;")})
    with pytest.raises(ReadError, match="Entity 'beta' not defined; entities of a DTD are not read"):
        list(read_jats(given_files, Problems()))
