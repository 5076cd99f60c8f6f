"""BioC JSON: a collection, a document, a list of documents, or one of these a line; parts as in `readers.bioc`.

A document that is no BioC costs no other; a file that is no JSON is reported as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from mumei.data.documents import Document
from mumei.data.readers.base import Problems, ReadError, SourceFile
from mumei.data.readers.bioc import Builder, Infons, Link, Options, Part, joined
from mumei.data.schemas import NULL


class _Location(Struct):
    offset: int
    length: int


class _Annotation(Struct):
    id: str | int
    locations: list[_Location]
    infons: dict[str, Any] = {}
    text: str | None = ""


class _Node(Struct):
    refid: str | int
    role: str | None = ""


class _Relation(Struct):
    id: str | int = ""
    infons: dict[str, Any] = {}
    nodes: list[_Node] = []


class _Sentence(Struct):
    offset: int
    text: str | None = ""
    annotations: list[_Annotation] = []
    relations: list[_Relation] = []


class _Passage(Struct):
    offset: int
    text: str | None = None
    infons: dict[str, Any] = {}
    annotations: list[_Annotation] = []
    sentences: list[_Sentence] = []
    relations: list[_Relation] = []


class _Document(Struct):
    id: str | int
    passages: list[_Passage]
    infons: dict[str, Any] = {}
    relations: list[_Relation] = []


_COLLECTION = msgspec.json.Decoder(dict[str, msgspec.Raw] | list[msgspec.Raw])
_DOCUMENTS = msgspec.json.Decoder(list[msgspec.Raw])
_DOCUMENT = msgspec.json.Decoder(_Document)
_NOT_JSON = (msgspec.DecodeError, RecursionError)  # the second for what is nested too deep


def read_bioc_json(
    files: Sequence[SourceFile],
    problems: Problems,
    *,
    encoding: str = "utf-8",
    database: str = NULL,
    joiners: str = "|+",
    whole: Sequence[str] = (),
    concepts: Sequence[str] = ("identifier",),
    databases: Sequence[str] = ("MESH", "OMIM"),
    arguments: Sequence[str] = ("entity1", "entity2", "Chemical", "Disease"),
) -> Iterator[Document]:
    """Yield the documents of BioC JSON files.

    Parameters
    ----------
    files : sequence of SourceFile
        Files of one split.
    problems : Problems
        Takes files that are no JSON, and documents that are no BioC.
    encoding : str
        Of all files.
    database, joiners, whole, concepts, databases, arguments
        As in `read_bioc_xml`.

    Yields
    ------
    Document
        Passages, types, relations as in the files.
    """
    builder = Builder(Options(database, joiners, whole, concepts, databases, arguments))
    for file in files:
        try:
            content = file.text(encoding).encode()
        except (ReadError, UnicodeEncodeError) as error:
            line = error.line if isinstance(error, ReadError) else 1
            problems.bad(getattr(error, "message", str(error)), file.name, line)
            continue
        for raw, line in _documents(content, file.name, problems):
            yield from _document(raw, line, file.name, builder, problems)


def _why(error: Exception) -> str:
    return "nested too deep" if isinstance(error, RecursionError) else str(error)


def _documents(content: bytes, file: str, problems: Problems) -> Iterator[tuple[bytes, int]]:
    """Yield (JSON, line) of each document."""
    try:
        yield from _collection(content, 1)
        return
    except _NOT_JSON as error:
        reason = _why(error)
    lines = [(n, line) for n, line in enumerate(content.split(b"\n"), 1) if line.strip()]
    try:
        _COLLECTION.decode(lines[0][1] if len(lines) > 1 else b"")
    except _NOT_JSON:
        problems.bad(f"it is no JSON of BioC ({reason})", file, 1)
        return
    for number, line in lines:
        try:
            yield from _collection(line, number)
        except _NOT_JSON as error:
            problems.bad(f"it is no JSON of BioC ({_why(error)})", file, number)


def _collection(content: bytes, line: int) -> Iterator[tuple[bytes, int]]:
    found = _COLLECTION.decode(content)
    if isinstance(found, dict) and "documents" not in found:
        if "passages" not in found:
            raise msgspec.DecodeError("expected `documents` or `passages`")
        yield content, line
        return
    given = found if isinstance(found, list) else _DOCUMENTS.decode(found["documents"])
    at = 0
    for raw in map(bytes, given):
        start = content.find(raw, at)
        line += content.count(b"\n", at, start)
        yield raw, line
        line += raw.count(b"\n")
        at = start + len(raw)


def _document(raw: bytes, line: int, file: str, builder: Builder, problems: Problems) -> Iterator[Document]:
    name = ""
    try:
        found = _DOCUMENT.decode(raw)
        name = str(found.id)
        links = [_link(r) for r in found.relations]
        for passage in found.passages:
            links += [_link(r) for r in passage.relations]
            links += [_link(r) for sentence in passage.sentences for r in sentence.relations]
        parts = [_part(p) for p in found.passages]
        made = builder.document(
            name, _infons(found.infons), parts, links, lambda said: problems.note(said, file, line, name)
        )
    except (*_NOT_JSON, ValueError) as error:
        problems.bad(f"it is no document of BioC ({_why(error)})", file, line, name)
    else:
        made.file, made.line = file, line
        yield made


def _infons(given: dict[str, Any]) -> Infons:
    return tuple((key, value if isinstance(value, str) else _said(value)) for key, value in given.items())


def _said(value: Any) -> str:
    return "" if value is None else msgspec.json.encode(value).decode()


def _link(relation: _Relation) -> Link:
    nodes = [(str(node.refid), node.role or "") for node in relation.nodes]
    return Link(str(relation.id), _infons(relation.infons), nodes)


def _mention(found: _Annotation) -> tuple[str, Infons, tuple[tuple[int, int], ...], str]:
    if not found.locations:
        raise ValueError(f"the annotation {found.id} has no location")
    locations = tuple((location.offset, location.length) for location in found.locations)
    return str(found.id), _infons(found.infons), locations, found.text or ""


def _part(passage: _Passage) -> Part:
    text, sentences = passage.text or "", []
    mentions = [_mention(a) for a in passage.annotations]
    for sentence in passage.sentences:
        own, at = sentence.text or "", sentence.offset
        if passage.text is None:
            text = joined(text, at - passage.offset, own)
        sentences.append((at, len(own)))
        mentions += [_mention(a) for a in sentence.annotations]
    return Part(_infons(passage.infons), passage.offset, text, mentions, tuple(sentences))
