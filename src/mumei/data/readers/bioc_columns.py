"""BioC XML as columns: the documents of `readers.bioc_xml`, annotations found by its patterns and collected over many documents.

A document is plain where the patterns account for all of it, no id is given twice, annotations have one location each, and
relations are between two mentions or two concepts. Any other goes through
`readers.bioc_xml`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from mumei.data import documents as superset
from mumei.data.columns import (
    Part,
    between,
    can_be_stored,
    ends_of,
    kb_batch,
    lists,
    ones,
    pairs,
    strings,
    structs,
    within,
)
from mumei.data.readers.base import Problems, ReadError, SourceFile
from mumei.data.readers.bioc import TYPES, Builder, Infons, Link, Options, shift_of
from mumei.data.readers.bioc_xml import CLOSE, HEAD, MENTION, NotPlain, Quick, document, plain
from mumei.data.readers.xml import elements
from mumei.data.schemas import NULL, Entity, Normalized, Passage

BATCH = 500  # documents
SIZE = 4 << 20  # bytes
LARGEST = 2**31
COLUMNS = ("passages", "codes", "texts", "starts", "lengths", "attributes", "relations", "concepts", "flags", "notes")


def bioc_xml_columns(
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
) -> Iterator[Part]:
    """Yield the documents of `read_bioc_xml` as record batches, and those that are not plain as records between them."""
    builder = Builder(Options(database, joiners, whole, concepts, databases, arguments))
    meanings, quick = _Meanings(builder), Quick()
    for file in files:
        storable = can_be_stored(file.name, database, *whole, *databases)
        rows, others, own = _Rows(meanings, quick), [], Problems(problems.keep_going)
        found, broken = elements(file, "document", own, encoding), None
        while True:
            try:
                item = next(found, None)
            except ReadError as error:
                item, broken = None, error
            if item is None or len(rows.names) + len(others) >= BATCH or rows.size > SIZE:
                yield from between(rows.batch(file.name), others)
                rows, others = _Rows(meanings, quick), []
            if item is None:
                break
            if not storable or not rows.add(*item):
                others.append((len(rows.names), document(*item, file.name, (builder, quick), problems)))
            elif rows.notes:
                others.append((len(rows.names), _noted(rows.notes, file.name, item[1], rows.names[-1], problems)))
                rows.notes = []
        problems.found += own.found  # of the file's end: what its documents have to say comes first
        if broken is not None:
            if not problems.keep_going:
                raise broken
            problems.bad(broken.message, broken.file, broken.line, broken.document)


def _noted(notes: list[str], file: str, line: int, name: str, problems: Problems) -> Iterator[Part]:
    """Note what is odd about a plain document, in its turn among the others."""
    for said in notes:
        problems.note(said, file, line, name)
    yield from ()


class _Meanings:
    """What the markup of a mention's infons means, by numbers: each is looked at once."""

    def __init__(self, builder: Builder):
        self.builder = builder
        self.codes: dict[str, int] = {}
        self.types: list[str] = []
        self.links: list[Normalized] = []
        self.counts: list[int] = []
        self.kept: list[list[tuple[str, str]]] = []
        self.any_kept = False

    def add(self, piece: str, infons: Infons) -> int:
        """Return the number of markup."""
        kind, links, kept = self.builder.seen.get(infons) or self.builder.meaning(infons)
        self.types.append(kind)
        self.links += links
        self.counts.append(len(links))
        self.kept.append(kept)
        self.any_kept = self.any_kept or bool(kept)
        code = self.codes[piece] = len(self.codes)
        return code


@dataclass
class _Document:
    """A document in the making; `of_x` is how many x it has."""

    passages: list[tuple[str, str, str, int]] = field(default_factory=list)  # id, type, text, start
    mentions: list[str] = field(default_factory=list)
    codes: list[int] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    attributes: list[tuple[str, str, str, str]] = field(default_factory=list)  # id, type, value, what of
    relations: list[tuple[str, ...]] = field(default_factory=list)  # id, type, id, id, role, role
    concepts: list[tuple[str, ...]] = field(default_factory=list)  # id, type, concept, concept
    flags: list[list[str]] = field(default_factory=list)
    metadata: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


class _Rows(_Document):
    """Plain documents so far, in lists over all of them."""

    def __init__(self, meanings: _Meanings, quick: Quick):
        super().__init__()
        self.meanings, self.quick, self.size = meanings, quick, 0
        self.names: list[str] = []
        self.lines: list[int] = []
        self.keys: list[str] = []
        self.values: list[str] = []
        self.counts: list[
            tuple[int, ...]
        ] = []  # of a document: passages, mentions, attributes, relations, concepts, metadata

    def add(self, content: bytes, line: int) -> bool:
        """Add a document if it is plain; return whether it is."""
        try:
            name, infons, pieces = self.quick.cut(content)
            if not name:
                return False
            made = _Document(metadata={key: value for key, value in infons if value})
            links = self.quick.links(self._passages(name, made, pieces))
            for number, link in enumerate(links):
                self._link(name, made, number, link)
        except (UnicodeDecodeError, NotPlain):
            return False
        if len(set(made.mentions)) != len(made.mentions):
            return False
        prefix = name + "_"
        self.mentions += [prefix + local for local in made.mentions]
        for column in COLUMNS:
            getattr(self, column).extend(getattr(made, column))
        self.keys += made.metadata
        self.values += made.metadata.values()
        counted = (made.passages, made.mentions, made.attributes, made.relations, made.concepts, made.metadata)
        self.counts.append(tuple(map(len, counted)))
        self.names.append(name)
        self.lines.append(line)
        self.size += len(content)
        return True

    def _passages(self, name: str, made: _Document, pieces: list[str]) -> str:
        """Add the passages with their mentions; return what stands behind the last."""
        tail, *pieces = pieces
        start = 0
        for number, piece in enumerate(pieces):
            head = HEAD.match(piece)
            if head is None or tail:
                raise NotPlain
            own, kind, text = f"{name}_P{number}", NULL, plain(head[3] or "")
            for key, value in self.quick.infons_of(head[1]):
                if key == "type":
                    kind = value
                else:
                    made.attributes.append((f"{own}_{key}", key, value, own))
            made.passages.append((own, kind, text, start))
            closed = CLOSE.match(piece, self._mentions(name, made, piece, (head.end(), start, int(head[2]), text)))
            if closed is None:
                raise NotPlain
            tail = piece[closed.end() :]
            start += len(text) + 1
        return tail

    def _mentions(self, name: str, made: _Document, piece: str, place: tuple[int, int, int, str]) -> int:
        """Add the mentions of a passage; return where they end."""
        end, start, offset, text = place
        found = MENTION.findall(piece, end)
        if not found:
            return end
        wholes, names, infons, starts, lengths, more, texts = zip(*found, strict=True)
        if any(more):
            raise NotPlain
        if "&" in piece:
            texts = [plain(t) if "&" in t else t for t in texts]
        codes = self.meanings.codes
        own = [codes[i] if i in codes else self.meanings.add(i, self.quick.infons_of(i)) for i in infons]
        begun, long = list(map(int, starts)), list(map(int, lengths))
        if max(begun) + max(long) + start >= LARGEST:
            raise NotPlain
        if start != offset:
            shift = shift_of(offset, text, zip(begun, long, texts, strict=True), start, made.notes.append)
            begun = [at + shift for at in begun]
        if self.meanings.any_kept:
            kept = self.meanings.kept
            for local, code in zip(names, own, strict=True):
                made.attributes += [
                    (f"{name}_{local}_{key}", key, value, f"{name}_{local}") for key, value in kept[code]
                ]
        made.mentions += names
        made.codes += own
        made.texts += texts
        made.starts += begun
        made.lengths += long
        return end + sum(map(len, wholes))

    def _link(self, name: str, made: _Document, number: int, link: Link) -> None:
        own = f"{name}_{link.id or f'relation{number}'}"
        kind = next((value for key, value in link.infons if key in TYPES), NULL)
        rest = [(key, value) for key, value in link.infons if key not in TYPES]
        arguments = self.meanings.builder.options.arguments
        ends = [value for key, value in rest if key in arguments]
        if len(link.nodes) == 2:
            (first, role1), (second, role2) = link.nodes
            made.relations.append((own, kind, f"{name}_{first}", f"{name}_{second}", role1, role2))
            made.attributes += [(f"{own}_{key}", key, value, own) for key, value in rest]
        elif not link.nodes and len(ends) == 2:
            made.concepts.append((own, kind, *ends))
            made.flags.append([value for key, value in rest if key not in arguments])
        else:
            raise NotPlain

    # Columns ---------------------------------------------------------------------------------------------------------

    def batch(self, file: str) -> pa.RecordBatch | None:
        """Return the documents as rows."""
        if not self.names:
            return None
        passages, mentions, attributes, relations, concepts, metadata = np.array(self.counts).T
        names = strings(self.names)
        entries = pa.StructArray.from_arrays([strings(self.keys), strings(self.values)], names=["key", "value"])
        return kb_batch(
            id=names,
            document_id=names,
            passages=lists(passages, self._passage_rows()),
            entities=lists(mentions, self._entity_rows()),
            relations=lists(relations, _named(superset.Relation, self.relations)),
            concept_relations=lists(concepts, self._concept_rows()),
            attributes=lists(attributes, _named(superset.Attribute, self.attributes)),
            metadata=lists(metadata, entries),
            file=strings([file] * len(names)),
            line=pa.array(self.lines, pa.int32()),
        )

    def _passage_rows(self) -> pa.Array:
        own, kinds, texts, starts = zip(*self.passages, strict=True) if self.passages else ([], [], [], [])
        begun = np.array(starts, np.int64)
        ends = begun + np.fromiter(map(len, texts), np.int64, len(texts))
        text, offsets = ones(strings(texts)), ones(pairs(begun, ends))
        return structs(Passage, id=strings(own), type=strings(kinds), text=text, offsets=offsets)

    def _entity_rows(self) -> pa.Array:
        starts, codes = np.array(self.starts, np.int64), np.array(self.codes, np.int64)
        lengths = np.array(self.meanings.counts, np.int64)
        counts = lengths[codes]
        index = pa.array(np.repeat(ends_of(lengths)[codes], counts) + within(counts))
        links = structs(
            Normalized,
            db_name=strings([link.db_name for link in self.meanings.links]).take(index),
            db_id=strings([link.db_id for link in self.meanings.links]).take(index),
        )
        return structs(
            Entity,
            id=strings(self.mentions),
            type=strings(self.meanings.types).take(pa.array(codes)),
            text=ones(strings(self.texts)),
            offsets=ones(pairs(starts, starts + np.array(self.lengths, np.int64))),
            normalized=lists(counts, links),
        )

    def _concept_rows(self) -> pa.Array:
        own, kinds, first, second = zip(*self.concepts, strict=True) if self.concepts else ([], [], [], [])
        flags = lists(list(map(len, self.flags)), strings([flag for given in self.flags for flag in given]))
        return structs(
            superset.ConceptRelation,
            id=strings(own),
            type=strings(kinds),
            arg1_id=strings(first),
            arg2_id=strings(second),
            flags=flags,
        )


_FIELDS: dict[Any, tuple[str, ...]] = {
    superset.Relation: ("id", "type", "arg1_id", "arg2_id", "arg1_role", "arg2_role"),
    superset.Attribute: ("id", "type", "value", "ref_id"),
}


def _named(struct: Any, rows: list[Any]) -> pa.Array:
    """Return tuples of strings as structs."""
    names = _FIELDS[struct]
    columns = zip(*rows, strict=True) if rows else [[] for _ in names]
    return structs(struct, **{name: strings(column) for name, column in zip(names, columns, strict=True)})
