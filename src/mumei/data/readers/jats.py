"""JATS: full articles of PubMed Central, of journals and of `pmc-articleset`; mixed content made plain.

Passages follow the article: title, paragraphs of abstracts ("abstract"), paragraphs of the body ("body"), captions of figures and
tables ("caption"). A passage's section, titles from the outermost on, is its attribute "section". A paragraph is an outermost
`<p>`: what lies in it, lists and formulas in text too, is its text; white space is collapsed.

Left out: figures and tables but for their captions, TeX beside MathML, supplements, references, footnotes and back matter.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from mumei.data.documents import Attribute, Document
from mumei.data.readers.base import Problems, SourceFile
from mumei.data.readers.xml import collapsed, documents, local
from mumei.data.schemas import Passage

# Prefixes that articles within a set may take from the root.
AROUND = (
    b'<_ xmlns:xlink="http://www.w3.org/1999/xlink" xmlns:mml="http://www.w3.org/1998/Math/MathML" '
    b'xmlns:ali="http://www.niso.org/schemas/ali/1.0/" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">'
)
_FLOATS = ("fig", "table-wrap", "boxed-text", "supplementary-material")
_NOT_PROSE = ("{*}tex-math", "{*}supplementary-material", "{*}ref-list", "{*}fn-group", "{*}table", "{*}graphic")
_CAPTIONED = ("fig", "table-wrap")


def read_jats(files: Sequence[SourceFile], problems: Problems, *, encoding: str = "") -> Iterator[Document]:
    """Yield the articles of JATS files.

    Parameters
    ----------
    files : sequence of SourceFile
        Files of one split.
    problems : Problems
        Takes articles that are no XML, and files that end too early or have none.
    encoding : str
        Of all files; by default what each declares.

    Yields
    ------
    Document
        Passages, no entities. The id is the PMID, else the PMCID, the DOI or the file's name.
    """
    for file in files:
        for element, line in documents(file, "article", problems, encoding, AROUND):
            made = _document(element, file.stem)
            made.file, made.line = file.name, line
            yield made


def _document(article: Any, stem: str) -> Document:
    from lxml import etree  # pyright: ignore[reportAttributeAccessIssue]

    etree.strip_elements(article, *_NOT_PROSE, with_tail=False)
    meta = article.find("{*}front/{*}article-meta")
    ids: dict[str, str] = {}
    for one in meta.iterfind("{*}article-id") if meta is not None else ():
        ids.setdefault(one.get("pub-id-type", "id"), collapsed(one))
    name = next(filter(None, (ids.get(kind) for kind in ("pmid", "pmc", "pmcid", "doi"))), stem)
    made = Document(name, name, metadata={**_metadata(article, meta), **{k: v for k, v in ids.items() if v}})
    if meta is not None:
        _add(made, "title", collapsed(meta.find("{*}title-group/{*}article-title")), "")
        for abstract in meta.iterfind("{*}abstract"):
            _paragraphs(made, "abstract", abstract, abstract)
    body = article.find("{*}body")
    if body is not None:
        _paragraphs(made, "body", body, body)
    return made


def _metadata(article: Any, meta: Any) -> dict[str, str]:
    found = {
        "article_type": article.get("article-type", ""),
        "language": article.get("{http://www.w3.org/XML/1998/namespace}lang", ""),
        "journal": collapsed(article.find("{*}front/{*}journal-meta//{*}journal-title")),
    }
    if meta is not None:
        found["year"] = collapsed(meta.find("{*}pub-date/{*}year"))
        found["keywords"] = "; ".join(collapsed(word) for word in meta.iterfind("{*}kwd-group/{*}kwd"))
        found["licence"] = collapsed(meta.find("{*}permissions/{*}license"))
    return {key: value for key, value in found.items() if value}


def _add(made: Document, kind: str, text: str, section: str) -> None:
    """Add a passage, unless it is empty."""
    if not text:
        return
    at = made.passages[-1].offsets[0][1] + 1 if made.passages else 0
    own = f"{made.id}_P{len(made.passages)}"
    made.passages.append(Passage(own, kind, [text], [(at, at + len(text))]))
    if section:
        made.attributes.append(Attribute(own + "_section", "section", section, own))


def _paragraphs(made: Document, kind: str, top: Any, block: Any) -> None:
    """Add the paragraphs within a block, in order; captions where their figures stand."""
    found = False
    for element in list(block.iter()):
        name = local(element)
        if name in _CAPTIONED:
            caption = element.find("{*}caption")
            words = [collapsed(e) for e in (element.find("{*}label"), *(caption if caption is not None else ()))]
            _add(made, "caption", " ".join(filter(None, words)), _section(element, top))
            found = True
        elif name == "p" and not _inner(element, top):
            _add(made, kind, collapsed(element, _FLOATS), _section(element, top))
            found = True
    if not found:
        _add(made, kind, collapsed(block), "")


def _inner(element: Any, top: Any) -> bool:
    """Say whether a paragraph is part of another one or of a caption."""
    above = element.getparent()
    while above is not None and above is not top:
        if local(above) in ("p", *_CAPTIONED):
            return local(above) in _CAPTIONED or not _floating(element, above)
        above = above.getparent()
    return False


def _floating(element: Any, paragraph: Any) -> bool:
    """Say whether a float, whose text the paragraph is without, lies between an element and a paragraph around it."""
    above = element.getparent()
    while above is not paragraph:
        if local(above) in _FLOATS:
            return True
        above = above.getparent()
    return False


def _section(element: Any, top: Any) -> str:
    titles = []
    above = element.getparent()
    while above is not None and above is not top:
        title = collapsed(above.find("{*}title")) if local(above) == "sec" else ""
        titles += [title] if title else []
        above = above.getparent()
    return " / ".join(reversed(titles))
