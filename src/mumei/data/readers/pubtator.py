r"""PubTator: `id|t|title`, `id|a|abstract`, then a line an annotation, documents apart by empty lines.

A line with a number in its second column is a mention: id, start, end, text, type and, mostly, concept ids and the texts of
a composite mention's parts. Any other is a relation between concepts: id, type, first concept, second concept and flags.
Offsets count in title, one character, abstract; both are kept as passages though empty.

Concept ids: what stands before the first colon is a vocabulary's name (`OMIM:193300`), else `database` says which one. Several
ids of one mention (`D001|D002`, `D001+D002`) become several links; the field as it stood is then kept as an attribute
"concept" of the mention, and so is an id that means no concept (`-1`). The parts' texts are kept as an attribute "parts".

Nothing is corrected: a text that differs from the document at its offsets is for the checks to say.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mumei.data.documents import Attribute, ConceptRelation, Document
from mumei.data.readers.base import Problems, SourceFile, blocks
from mumei.data.readers.concepts import ConceptFields
from mumei.data.schemas import NULL, Entity, Passage


def read_pubtator(
    files: Sequence[SourceFile],
    problems: Problems,
    *,
    encoding: str = "utf-8",
    database: str = NULL,
    joiners: str = "|+",
    whole: Sequence[str] = (),
) -> Iterator[Document]:
    """Yield the documents of PubTator files.

    Parameters
    ----------
    files : sequence of SourceFile
        Files of one split.
    problems : Problems
        Takes lines that are none of the format, and documents without a title.
    encoding : str
        Of all files.
    database : str
        Vocabulary of concept ids without a prefix.
    joiners : str
        Characters that stand between several concept ids of a mention.
    whole : sequence of str
        Types whose concept field is one id, joiners and colons included (variants of tmVar: `c|SUB|A|12|G`).

    Yields
    ------
    Document
        Two passages, "title" and "abstract".
    """
    links = ConceptFields(database, joiners, whole)
    for file in files:
        for text, first in blocks(file, encoding):
            yield from _documents(without_returns(text), first, file.name, links, problems)


def without_returns(text: str) -> str:
    """Return text whose lines end at LF alone."""
    return text.replace("\r\n", "\n") if "\r" in text else text


def _documents(text: str, first: int, name: str, links: ConceptFields, problems: Problems) -> Iterator[Document]:
    for piece in text.split("\n\n"):
        lines = piece.split("\n")
        start = 0
        while start < len(lines) and not lines[start]:
            start += 1
        end = len(lines)
        while end > start and not lines[end - 1]:
            end -= 1
        # Mostly one document; a title may also follow the last annotation without an empty line.
        many = piece.find("|t|", sum(map(len, lines[: start + 1])) + start) >= 0
        ends = [n for n in range(start + 1, end) if _is_title(lines[n])] if many else []
        for stop in [*ends, end] if end > start else []:
            yield from _document(lines[start:stop], first + start, name, links, problems)
            start = stop
        first += len(lines) + 1


def _is_title(line: str) -> bool:
    document, mark, _ = line.partition("|t|")
    return bool(mark) and "\t" not in document and "|" not in document


def _document(lines: list[str], first: int, name: str, links: ConceptFields, problems: Problems) -> Iterator[Document]:
    document, mark, title = lines[0].partition("|t|")
    start = document + "|a|"
    if not mark or "\t" in document or not document:
        problems.bad(f"expected 'id|t|title' at the start of a document, got {lines[0][:80]!r}", name, first)
        return
    abstract, at = "", 1
    if len(lines) > 1 and lines[1].startswith(start):
        abstract, at = lines[1][len(start) :], 2
    middle = len(title) + 1
    passages = [
        Passage(document + "_title", "title", [title], [(0, middle - 1)]),
        Passage(document + "_abstract", "abstract", [abstract], [(middle, middle + len(abstract))]),
    ]
    made = Document(document, document, passages, file=name, line=first)
    wrong = _annotations(lines, at, document, made, links)
    if wrong is None:
        yield made
    else:
        number, message = wrong
        problems.bad(f"{message}: {lines[number][:80]!r}", name, first + number, document)


def _annotations(
    lines: list[str], at: int, document: str, made: Document, links: ConceptFields
) -> tuple[int, str] | None:
    """Add the annotations from line `at` on to `made`; return the first line that is none and why."""
    entities, seen = made.entities, links.seen
    start_of_id = document + "_T"
    count = 0
    for number in range(at, len(lines)):
        columns = lines[number].split("\t")
        if columns[0] != document:
            return number, f"the line's id is not the document's ({document})"
        if len(columns) < 4:
            return number, "expected at least 4 columns apart by tabs"
        if not columns[1].isdigit():
            wrong = _relation(columns, document, made)
            if wrong:
                return number, wrong
            continue
        count += 1
        own = start_of_id + str(count)
        try:
            offsets = [(int(columns[1]), int(columns[2]))]
            kind = columns[4]
        except (ValueError, IndexError):
            return number, "expected id, start, end, text, type and perhaps concept ids"
        if len(columns) < 6:
            entities.append(Entity(own, kind, [columns[3]], offsets, []))
            continue
        found, keep = seen.get((kind, columns[5])) or links.get(kind, columns[5])
        entities.append(Entity(own, kind, [columns[3]], offsets, found.copy()))
        if keep:
            made.attributes.append(Attribute(own + "_concept", "concept", columns[5], own))
        if len(columns) > 6:
            made.attributes.append(Attribute(own + "_parts", "parts", "\t".join(columns[6:]), own))
    return None


def _relation(columns: list[str], document: str, made: Document) -> str:
    if columns[1][:1] in "-0123456789" or not columns[1]:
        return "the start is no offset, and no type of a relation"
    name = f"{document}_R{len(made.concept_relations) + 1}"
    made.concept_relations.append(ConceptRelation(name, columns[1], columns[2], columns[3], columns[4:]))
    return ""
