"""BioC XML: collections of documents, streamed; the meaning of their parts is in `readers.bioc`.

Most documents are written by programs and have one plain form: no comments, entities of one's own, sentences or namespaces. Such
a document is read by patterns that have to account for every character of it (`Quick`); anything else is parsed as XML
(`_parts`). Both give the same parts; the first is several times faster.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from mumei.data.documents import Document
from mumei.data.readers.base import Problems, ReadError, SourceFile
from mumei.data.readers.bioc import Builder, Infons, Link, Mention, Options, Part, joined
from mumei.data.readers.xml import attribute, elements, parse
from mumei.data.schemas import NULL

Plain = tuple[str, Infons, list[Part], list[Link]]


def read_bioc_xml(
    files: Sequence[SourceFile],
    problems: Problems,
    *,
    encoding: str = "",
    database: str = NULL,
    joiners: str = "|+",
    whole: Sequence[str] = (),
    concepts: Sequence[str] = ("identifier",),
    databases: Sequence[str] = ("MESH", "OMIM"),
    arguments: Sequence[str] = ("entity1", "entity2", "Chemical", "Disease"),
) -> Iterator[Document]:
    """Yield the documents of BioC XML files.

    Parameters
    ----------
    files : sequence of SourceFile
        Files of one split.
    problems : Problems
        Takes documents that are no XML or lack what BioC asks for, and files that end too early.
    encoding : str
        Of all files; by default what each declares.
    database : str
        Vocabulary of the ids that `concepts` hold, where they have no prefix.
    joiners : str
        Characters that stand between several concept ids of a mention.
    whole : sequence of str
        Types whose concept field is one id, joiners and colons included.
    concepts, databases : sequence of str
        Keys of infons of annotations that hold concept ids; those of `databases` are the vocabulary's name too.
    arguments : sequence of str
        Keys of infons of relations that hold the concepts related.

    Yields
    ------
    Document
        Passages, types, relations as in the files.
    """
    builder = Builder(Options(database, joiners, whole, concepts, databases, arguments))
    quick = Quick()
    for file in files:
        try:
            for content, line in elements(file, "document", problems, encoding):
                yield from document(content, line, file.name, (builder, quick), problems)
        except ReadError as error:
            if not problems.keep_going:
                raise
            problems.bad(error.message, error.file, error.line, error.document)


def document(
    content: bytes, line: int, file: str, tools: tuple[Builder, Quick], problems: Problems
) -> Iterator[Document]:
    """Yield the document of an element, if it is one."""
    builder, quick = tools
    name = ""
    try:
        name, infons, parts, links = quick.document(content) or _parts(parse(content, file, line))
        made = builder.document(name, infons, parts, links, lambda said: problems.note(said, file, line, name))
    except ReadError as error:
        problems.bad(error.message, file, error.line or line, error.document)
    except ValueError as error:
        problems.bad(str(error), file, line, name)
    else:
        made.file, made.line = file, line
        yield made


# By XML --------------------------------------------------------------------------------------------------------------


def _text(element: Any) -> str:
    return "" if element is None else "".join(element.itertext())


def _infons(element: Any) -> Infons:
    return tuple((attribute(e, "key"), _text(e)) for e in element.findall("infon"))


def _number(text: str, what: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{what} is {text[:40]!r}, expected a whole number") from None


def _mention(element: Any) -> Mention:
    name = attribute(element, "id")
    found = element.findall("location")
    if not found:
        raise ValueError(f"the annotation {name} has no location")
    locations = tuple(
        (_number(attribute(e, "offset"), "an offset"), _number(attribute(e, "length"), "a length")) for e in found
    )
    return name, _infons(element), locations, _text(element.find("text"))


def _parts(element: Any) -> Plain:
    name = _text(element.find("id")).strip()
    try:
        parts = [_part(e) for e in element.findall("passage")]
        links = [
            Link(e.get("id", ""), _infons(e), [(attribute(n, "refid"), n.get("role", "")) for n in e.findall("node")])
            for e in element.iterfind(".//relation")
        ]
    except ValueError as error:
        raise ReadError(str(error), document=name) from error
    return name, _infons(element), parts, links


def _part(element: Any) -> Part:
    offset = _number(_text(element.find("offset")), "a passage's offset")
    text, sentences = _text(element.find("text")), []
    mentions = [_mention(e) for e in element.findall("annotation")]
    for sentence in element.findall("sentence"):
        at, own = _number(_text(sentence.find("offset")), "a sentence's offset"), _text(sentence.find("text"))
        if element.find("text") is None:
            text = joined(text, at - offset, own)
        sentences.append((at, len(own)))
        mentions += [_mention(e) for e in sentence.findall("annotation")]
    return Part(_infons(element), offset, text, mentions, tuple(sentences))


# By patterns ---------------------------------------------------------------------------------------------------------

_INFONS = r"((?:<infon key=(?:\"[^\"<&]*\"|'[^'<&]*')>[^<]*</infon>\s*)*)"
_INFON = re.compile(r"<infon key=[\"']([^\"'<&]*)[\"']>([^<]*)</infon>")
# ASCII: what is white space to Unicode alone, such as U+2028, is none to XML.
_LOCATION = re.compile(r"<location offset=[\"'](\d+)[\"'] length=[\"'](\d+)[\"']\s*/>", re.ASCII)
MENTION = re.compile(
    rf"(<annotation id=[\"']([^\"'<&]*)[\"']>\s*{_INFONS}"
    r"<location offset=[\"'](\d+)[\"'] length=[\"'](\d+)[\"']\s*/>\s*"
    r"((?:<location offset=[\"']\d+[\"'] length=[\"']\d+[\"']\s*/>\s*)*)<text>([^<]*)</text>\s*</annotation>\s*)",
    re.ASCII,
)
HEAD = re.compile(rf"\s*{_INFONS}<offset>(\d+)</offset>\s*(?:<text>([^<]*)</text>|<text/>)\s*", re.ASCII)
_START = re.compile(rf"<document>\s*<id>([^<&]*)</id>\s*{_INFONS}", re.ASCII)
_NODE = re.compile(r"<node refid=[\"']([^\"'<&]*)[\"'] role=[\"']([^\"'<&]*)[\"']\s*/>", re.ASCII)
_LINK = re.compile(
    rf"(<relation id=[\"']([^\"'<&]*)[\"']>\s*{_INFONS}"
    r"((?:<node refid=[\"'][^\"'<&]*[\"'] role=[\"'][^\"'<&]*[\"']\s*/>\s*)*)</relation>\s*)",
    re.ASCII,
)
CLOSE = re.compile(r"</passage>\s*", re.ASCII)
_END = re.compile(r"</document\s*>", re.ASCII)
_REFERENCE = re.compile(r"&(?:(lt|gt|amp|quot|apos)|#([0-9]{1,7})|#x([0-9A-Fa-f]{1,6}));")
_NAMED = {"lt": "<", "gt": ">", "amp": "&", "quot": '"', "apos": "'"}
# Bytes that XML forbids, or, the CR, changes.
_CONTROLS = bytes(c for c in range(32) if c not in b"\t\n")


class NotPlain(Exception):
    """The document has another form."""


def _character(found: re.Match[str]) -> str:
    name, decimal, hexadecimal = found.groups()
    code = 0 if name else int(decimal) if decimal else int(hexadecimal, 16)
    if not name and not (32 <= code < 0xD800 or 0xE000 <= code < 0xFFFE or 0xFFFF < code < 0x110000):
        raise NotPlain
    return _NAMED[name] if name else chr(code)


def plain(text: str) -> str:
    """Return text with its references resolved."""
    if "&" not in text:
        return text
    plain = _REFERENCE.sub(_character, text)
    if text.count("&") != len(_REFERENCE.findall(text)):
        raise NotPlain
    return plain


class Quick:
    """Reads documents of the plain form; what a piece of markup means is remembered by the piece."""

    def __init__(self) -> None:
        self.infons: dict[str, Infons] = {"": ()}

    def document(self, content: bytes) -> Plain | None:
        """Return the parts of a document, or None for another form."""
        try:
            name, infons, (tail, *pieces) = self.cut(content)
            parts = []
            for piece in pieces:
                if tail:
                    raise NotPlain
                part, end = self._part(piece)
                parts.append(part)
                tail = piece[end:]
            return name, infons, parts, self.links(tail)
        except (UnicodeDecodeError, NotPlain):
            return None

    def cut(self, content: bytes) -> tuple[str, Infons, list[str]]:
        """Return a document's id, its infons, and what is left, cut before each passage."""
        if len(content.translate(None, _CONTROLS)) != len(content):
            raise NotPlain
        text = content.decode("utf-8")
        start = _START.match(text)
        if start is None or "\ufffe" in text or "\uffff" in text or "]]>" in text:
            raise NotPlain
        return start[1].strip(), self.infons_of(start[2]), text[start.end() :].split("<passage>")

    def infons_of(self, piece: str) -> Infons:
        """Return the infons that a piece of markup has, and nothing else."""
        found = self.infons.get(piece)
        if found is None:
            found = tuple((key, plain(value)) for key, value in _INFON.findall(piece))
            if 2 * len(found) != piece.count("<"):
                raise NotPlain
            if len(self.infons) < 1 << 16:
                self.infons[piece] = found
        return found

    def _part(self, piece: str) -> tuple[Part, int]:
        """Return a passage and where it ends: matches follow each other without a gap, or the end is not found there."""
        head = HEAD.match(piece)
        if head is None:
            raise NotPlain
        end = head.end()
        mentions = []
        for whole, name, infons, start, length, more, text in MENTION.findall(piece, end):
            end += len(whole)
            own = self.infons.get(infons)
            if own is None:
                own = self.infons_of(infons)
            locations = ((int(start), int(length)),)
            if more:
                locations += tuple((int(a), int(b)) for a, b in _LOCATION.findall(more))
            mentions.append((name, own, locations, plain(text) if "&" in text else text))
        closed = CLOSE.match(piece, end)
        if closed is None:
            raise NotPlain
        return Part(self.infons_of(head[1]), int(head[2]), plain(head[3] or ""), mentions), closed.end()

    def links(self, tail: str) -> list[Link]:
        """Return the relations of a document's end."""
        found = _LINK.findall(tail)
        if not _END.fullmatch(tail, sum(len(whole) for whole, *_ in found)):
            raise NotPlain
        return [Link(name, self.infons_of(infons), _NODE.findall(nodes)) for _, name, infons, nodes in found]
