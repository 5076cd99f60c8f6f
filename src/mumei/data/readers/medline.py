"""MEDLINE and PubMed XML: citations with title, abstract and what the library says of them; streamed.

Sections of an abstract are passages of their own, with their label as attribute "label". MeSH headings, substances and keywords
are attributes of the document; journal, year, ids, languages and kinds of publication its metadata. White space is collapsed:
the files are laid out by programs, and markup in titles and abstracts (`<sub>`) is taken away. Without an abstract there is only
the title. Entities that only a DTD knows are an error (see `readers.xml`); PubMed's own files have none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from mumei.data.documents import Attribute, Document
from mumei.data.readers.base import Problems, ReadError, SourceFile
from mumei.data.readers.xml import collapsed, documents, head
from mumei.data.schemas import Passage

_ARTICLE = re.compile(rb"<PubmedArticle[\s>]")
_YEAR = re.compile(r"\d{4}")


def read_medline(files: Sequence[SourceFile], problems: Problems, *, encoding: str = "") -> Iterator[Document]:
    """Yield the citations of MEDLINE or PubMed XML files.

    Parameters
    ----------
    files : sequence of SourceFile
        Files of one split.
    problems : Problems
        Takes citations that are no XML or have no PMID, and files that end too early.
    encoding : str
        Of all files; by default what each declares.

    Yields
    ------
    Document
        Passages "title" and "abstract", no entities; the id is the PMID.
    """
    for file in files:
        try:
            tag = "PubmedArticle" if _ARTICLE.search(head(file, encoding)) else "MedlineCitation"
        except ReadError as error:
            problems.bad(error.message, error.file, error.line, error.document)
            continue
        for element, line in documents(file, tag, problems, encoding):
            citation = element if tag == "MedlineCitation" else element.find("MedlineCitation")
            name = collapsed(citation.find("PMID")) if citation is not None else ""
            if not name:
                problems.bad("a citation without a PMID", file.name, line)
                continue
            made = Document(name, name, metadata=_metadata(element, citation), file=file.name, line=line)
            _passages(made, citation)
            _subjects(made, citation)
            yield made


def _passages(made: Document, citation: Any) -> None:
    title = collapsed(citation.find("Article/ArticleTitle")) or collapsed(citation.find("Article/VernacularTitle"))
    made.passages.append(Passage(made.id + "_title", "title", [title], [(0, len(title))]))
    at = len(title) + 1
    for number, section in enumerate(citation.iterfind("Article/Abstract/AbstractText"), 1):
        text, label = collapsed(section), section.get("Label")
        own = f"{made.id}_abstract{number}"
        made.passages.append(Passage(own, "abstract", [text], [(at, at + len(text))]))
        if label:
            made.attributes.append(Attribute(own + "_label", "label", label, own))
        at += len(text) + 1


def _subjects(made: Document, citation: Any) -> None:
    """Add MeSH headings (`D001249 Asthma / D000188 drug therapy*`, a star for a major topic), substances and keywords."""
    said = [("mesh", " / ".join(map(_term, heading))) for heading in citation.iterfind("MeshHeadingList/MeshHeading")]
    said += [("substance", _term(s)) for s in citation.iterfind("ChemicalList/Chemical/NameOfSubstance")]
    said += [("keyword", collapsed(word)) for word in citation.iterfind("KeywordList/Keyword")]
    for number, (kind, value) in enumerate(said, 1):
        made.attributes.append(Attribute(f"{made.id}_S{number}", kind, value, made.id))


def _term(element: Any) -> str:
    star = "*" if element.get("MajorTopicYN") == "Y" else ""
    return f"{element.get('UI', '')} {collapsed(element)}{star}".strip()


def _metadata(element: Any, citation: Any) -> dict[str, str]:
    article = citation.find("Article")
    if article is None:
        return {}
    date = collapsed(article.find("Journal/JournalIssue/PubDate"))
    year = _YEAR.search(date)
    found = {
        "journal": collapsed(article.find("Journal/Title")),
        "year": year[0] if year else "",
        "language": " ".join(map(collapsed, article.findall("Language"))),
        "publication_types": "; ".join(map(collapsed, article.findall("PublicationTypeList/PublicationType"))),
        "authors": "; ".join(map(_author, article.findall("AuthorList/Author"))),
    }
    for one in article.iterfind("ELocationID"):
        found.setdefault(one.get("EIdType", "location"), collapsed(one))
    for one in element.iterfind("PubmedData/ArticleIdList/ArticleId"):
        found.setdefault(one.get("IdType", "id"), collapsed(one))
    return {key: value for key, value in found.items() if value}


def _author(element: Any) -> str:
    names = (collapsed(element.find(part)) for part in ("LastName", "Initials", "CollectiveName"))
    return " ".join(filter(None, names))
