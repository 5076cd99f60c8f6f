"""MEDLINE and PubMed citations, and JATS articles, streamed out of XML.

The parser loads no DTD, opens no other file and no connection, and expands no entity. A document that defines entities
of its own is refused: no citation needs them, and they are how a small file becomes a huge one.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mumei.core.errors import DataError
from mumei.discover.sources.compression import Blob
from mumei.discover.sources.kinds import MAX_TEXT, Note, Record
from mumei.discover.sources.lines import blob_encoding, utf8

ROOTS = ("PubmedArticleSet", "MedlineCitationSet", "PubmedArticle", "MedlineCitation", "article", "pmc-articleset")
_ROOT = re.compile(r"<([A-Za-z_][\w.-]*:)?([A-Za-z_][\w.-]*)")
_BEFORE_ROOT = re.compile(r"<!--.*?-->|<\?.*?\?>|<!DOCTYPE[^\[>]*(\[.*?\]\s*)?>", re.DOTALL)
_ENCODING = re.compile(rb"^\s*<\?xml[^>]{0,200}?encoding\s*=\s*[\"']([A-Za-z0-9._-]+)[\"']")
_ASCII_LIKE = re.compile(rb"(?i)(utf-?8|us-ascii|ascii|iso-?8859-\d+|latin-?1|windows-125\d|utf-?16)$")
_ENTITY = re.compile(r"&[A-Za-z]\w*;")
_OWN_ENTITY = b"<!ENTITY"
_NOT_PROSE = ("{*}fig", "{*}table-wrap", "{*}tex-math", "{*}supplementary-material", "{*}ref-list")


def root_name(head: str) -> str:
    """Return the name of the first element, "" if there is none."""
    found = _ROOT.search(_BEFORE_ROOT.sub(" ", head))
    return found.group(2) if found else ""


class _Screened:
    """Passes bytes on and refuses a document that defines entities."""

    def __init__(self, stream: Any, path: Path):
        self._stream, self._path, self._tail = stream, path, b""

    def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes."""
        piece = self._stream.read(min(size, 1 << 16) if size > 0 else 1 << 16)
        if _OWN_ENTITY in self._tail + piece:
            raise DataError(f"{self._path} defines XML entities of its own, which is not safe; write them out first.")
        self._tail = (self._tail + piece)[-len(_OWN_ENTITY) :]
        return piece


class Xml:
    """An XML file of citations (id is the PMID) or of JATS articles (id is the PMID, PMCID or DOI)."""

    format = "MEDLINE or JATS XML"

    def __init__(self, blob: Blob, encoding: str | None = None):
        self._blob, self._encoding = blob, encoding

    def files(self) -> list[Path]:
        """Return the file."""
        return [self._blob.path]

    def records(self, columns: Sequence[str] | None = None) -> Iterator[Record]:
        """Stream the records; where the XML breaks, a note says so and the rest is left out."""
        from lxml import etree  # pyright: ignore[reportAttributeAccessIssue]

        with self._blob.open() as stream:
            encoding, source = self._source(stream)
            parsed = etree.iterparse(
                _Screened(source, self._blob.path),
                events=("end",),
                tag=("PubmedArticle", "MedlineCitation", "{*}article"),
                resolve_entities=False,
                load_dtd=False,
                no_network=True,
                huge_tree=True,
                remove_comments=True,
                remove_pis=True,
                encoding=encoding,
            )
            line = 0
            try:
                for _, element in parsed:
                    line = element.sourceline or 0
                    if element.tag == "MedlineCitation":
                        yield Record(_citation(element), line)
                    elif element.tag != "PubmedArticle":
                        yield Record(_article(element, self._blob.path.stem), line)
                    _forget(element)
            except etree.XMLSyntaxError as error:
                detail = f"the XML breaks here, the rest is left out: {error.msg}"
                yield Record(None, line, (Note("malformed", detail),))
            except (LookupError, UnicodeError) as error:
                yield Record(None, line, (Note("malformed", f"unreadable encoding: {error}"),))

    def _source(self, stream: Any) -> tuple[str | None, Any]:
        """Return the encoding to tell the parser (None: as declared) and the stream as bytes that can be screened."""
        encoding = blob_encoding(self._blob, self._encoding)
        if encoding != "utf-8":
            return "utf-8", utf8(stream, encoding, strict=False)
        declared = _ENCODING.match(self._blob.head(1000))
        if declared and not _ASCII_LIKE.match(declared.group(1)):
            name = declared.group(1).decode()
            raise DataError(f"{self._blob.path} is XML in {name}; convert it to UTF-8 first.")
        if declared and declared.group(1).lower().startswith((b"utf-16", b"utf16")):
            return "utf-8", stream  # declared as UTF-16, but no byte says so
        return None, stream


def _forget(element: Any) -> None:
    """Free an element and what came before it, so that memory does not grow with the file."""
    element.clear(keep_tail=False)
    parent = element.getparent()
    if parent is not None and element.tag != "MedlineCitation":
        while element.getprevious() is not None:
            del parent[0]


def _text(element: Any) -> str:
    """Return the text inside an element, whitespace collapsed; entities that only a DTD knows are read as HTML's."""
    if element is None:
        return ""
    pieces = (html.unescape(p) if p[:1] == "&" and _ENTITY.fullmatch(p) else p for p in element.itertext())
    return " ".join("".join(pieces).split())


def _citation(element: Any) -> dict[str, Any]:
    article = element.find("Article")
    if article is None:
        return {"id": _text(element.find("PMID")), "title": "", "text": ""}
    title = _text(article.find("ArticleTitle")) or _text(article.find("VernacularTitle"))
    sections = []
    for section in article.findall("Abstract/AbstractText"):
        text, label = _text(section), (section.get("Label") or "").strip()
        if text:
            sections.append(f"{label}: {text}" if label and label.upper() != "UNLABELLED" else text)
    return {"id": _text(element.find("PMID")), "title": title, "text": " ".join(sections)}


def _article(element: Any, stem: str) -> dict[str, Any]:
    from lxml import etree  # pyright: ignore[reportAttributeAccessIssue]

    etree.strip_elements(element, *_NOT_PROSE, with_tail=False)
    meta = element.find("{*}front/{*}article-meta")
    found: dict[str, str] = {}
    for name in meta.findall("{*}article-id") if meta is not None else []:
        found.setdefault(name.get("pub-id-type") or "", _text(name))
    title = _text(meta.find("{*}title-group/{*}article-title")) if meta is not None else ""
    blocks = meta.findall("{*}abstract") if meta is not None else []
    blocks += element.findall("{*}body")
    paragraphs, size = [], 0
    for block in blocks:
        for paragraph in _paragraphs(block):
            text = _text(paragraph)
            size += len(text)
            if text and size <= 2 * MAX_TEXT:
                paragraphs.append(text)
    name = found.get("pmid") or found.get("pmc") or found.get("pmcid") or found.get("doi") or stem
    return {"id": name, "title": title, "text": "\n".join(paragraphs)}


def _paragraphs(block: Any) -> Iterator[Any]:
    """Yield the outermost paragraphs of a block, in order; a block without any is one itself."""
    found = False
    for paragraph in block.iterdescendants("{*}p"):
        outer = paragraph.getparent()
        while outer is not block and not str(outer.tag).endswith("}p") and outer.tag != "p":
            outer = outer.getparent()
        if outer is block:
            found = True
            yield paragraph
    if not found:
        yield block
