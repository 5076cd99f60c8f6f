"""ID: ids, documents and annotations that occur twice (BigBIO's check 3, over all splits), and RD: what could not be read."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING

from mumei.data.checks.core import Check, Finding, corpus_check, document_check
from mumei.data.documents import Document, Record
from mumei.data.overlap import content_hash
from mumei.data.schemas import SCHEMAS, Entity

if TYPE_CHECKING:
    from mumei.data.corpus import Corpus

_WITH_IDS = ("passages", "entities", "events", "coreferences", "relations", "concept_relations", "attributes")


@corpus_check(
    "ID01",
    "error",
    "id that occurs twice",
    explanation="Every id, of records and of annotations at any depth, is unique over the whole corpus, all splits.",
    example="entity 12_T1 in train and in test",
)
def unique_ids(corpus: Corpus, check: Check) -> Iterator[Finding]:
    """Find ids given again, within a split or across splits; an id and its second place."""
    seen: dict[str, str] = {}
    for split in corpus.splits:
        table = corpus.source(split)
        for batch in table.to_batches():
            parts = [batch.column("id").to_pylist()]
            if corpus.kind == "kb":
                structs = (batch.column(name).flatten() for name in _WITH_IDS)
                parts += [s.field("id").to_pylist() for s in structs if len(s)]
            for name in chain.from_iterable(parts):
                if name in seen:
                    yield check.finding(f"the id {name} is in {seen[name]} already", split=split, item=name)
                else:
                    seen[name] = split


@corpus_check(
    "ID02",
    "warning",
    "document that occurs twice",
    explanation="A document_id given again, in the same split or another: a duplicate, or training data in the test part.",
    example="PMID 8528200 twice in train",
    kinds=("kb", "text"),
)
def unique_documents(corpus: Corpus, check: Check) -> Iterator[Finding]:
    """Find document ids given again."""
    seen: dict[str, str] = {}
    for split in corpus.splits:
        table = corpus.source(split)
        columns = (table.column(name).to_pylist() for name in ("document_id", "id", "file", "line"))
        for document, own, file, line in zip(*columns, strict=True):
            if document in seen:
                message = f"the document {document} is in {seen[document]} already"
                yield check.finding(message, split=split, document=own, file=file, line=line)
            else:
                seen[document] = split


@corpus_check(
    "RD01",
    "error",
    "document that could not be read",
    explanation="Its file breaks the format there; the document is missing in every count.",
    example="a mention without offsets at line 40 of train.pubtator",
)
def unread(corpus: Corpus, check: Check) -> Iterator[Finding]:
    """Return the reader's reports of documents left out."""
    for problem in corpus.problems:
        if problem.skipped:
            yield check.finding(problem.message, document=problem.document, file=problem.file, line=problem.line)


@corpus_check(
    "RD02",
    "info",
    "oddity met when reading",
    explanation="Something in the files that costs no document, such as an id given twice, which was made unique.",
    example="the id 8528200 occurs again; this record's is 8528200.2",
)
def odd(corpus: Corpus, check: Check) -> Iterator[Finding]:
    """Return the reader's notes."""
    for problem in corpus.problems:
        if not problem.skipped:
            yield check.finding(problem.message, document=problem.document, file=problem.file, line=problem.line)


@corpus_check(
    "ID03",
    "warning",
    "text that occurs twice in a split",
    explanation="Two records of a split have the same content but for case, blanks and punctuation: it counts twice.",
    example="the same abstract as documents 12 and 98 of train",
)
def repeated_texts(corpus: Corpus, check: Check) -> Iterator[Finding]:
    """Find records whose content was met in the same split; short ones may be alike by chance and are left out."""
    for split in corpus.splits:
        seen: dict[bytes, str] = {}
        for record in corpus.records(split):
            content = content_hash(record)
            if content and seen.setdefault(content, record.id) != record.id:
                yield check.finding(
                    f"its content is that of {seen[content]}",
                    split=split,
                    document=record.id,
                    file=record.file,
                    line=record.line,
                )


@document_check(
    "ID04",
    "warning",
    "annotation given twice",
    explanation="Two mentions with the same type, place and links, or two relations or events that say the same, are one.",
    example="T1 and T2, both Gene at (2, 6)",
)
def repeated_annotations(document: Document) -> Iterator[tuple[str, str]]:
    """Find annotations that say what an earlier one says."""
    seen: dict[object, str] = {}
    for name, said in _statements(document):
        if seen.setdefault(said, name) != name:
            yield name, f"it says the same as {seen[said]}"


def _statements(document: Document) -> Iterator[tuple[str, object]]:
    for e in document.entities:
        links = frozenset((n.db_name, n.db_id) for n in e.normalized)
        yield e.id, ("entity", e.type, tuple(e.offsets), links)
    for r in (*document.relations, *document.concept_relations):
        yield r.id, (type(r), r.type, r.arg1_id, r.arg2_id)
    for event in document.events:
        arguments = frozenset((a.role, a.number, a.ref_id) for a in event.arguments)
        yield event.id, ("event", event.type, tuple(event.trigger.offsets), arguments)


@document_check(
    "ID05",
    "info",
    "mention within another of its type",
    explanation="Nested mentions of one type are at times meant, at times two annotators' spans of the same thing.",
    example="Disease 'breast cancer' and, within it, Disease 'cancer'",
)
def nested(document: Document) -> Iterator[tuple[str, str]]:
    """Find continuous mentions that lie within a longer one of the same type."""
    for inner, outer in overlapping(document):
        holds = outer.offsets[0][0] <= inner.offsets[0][0] and inner.offsets[0][1] <= outer.offsets[0][1]
        if holds and inner.type == outer.type and inner.offsets != outer.offsets:
            yield inner.id, f"it lies within {outer.id}, both {inner.type}"


@document_check(
    "ID06",
    "error",
    "empty id",
    explanation="Records and annotations need ids: what has none cannot be referred to, deduplicated or compared.",
    example="an entity with the id ''",
    kinds=tuple(SCHEMAS),
)
def without_id(record: Record) -> Iterator[tuple[str, str]]:
    """Find empty ids, of the record, its document or its annotations."""
    for name in ("id", "document_id"):
        if not getattr(record, name, "-").strip():
            yield name, f"the record's {name} is empty"
    for part in _WITH_IDS if isinstance(record, Document) else ():
        for number, annotation in enumerate(getattr(record, part), 1):
            if not annotation.id.strip():
                yield part, f"number {number} of its {part} has no id"


@document_check(
    "ID07",
    "warning",
    "mentions that cross",
    explanation="Two continuous mentions share a part of their text and neither holds the other: one edge is mostly wrong.",
    example="'lung cancer' at (0, 11) and 'cancer cells' at (5, 17)",
)
def crossing(document: Document) -> Iterator[tuple[str, str]]:
    """Find continuous mentions that overlap without nesting."""
    for second, first in overlapping(document):
        (a, b), (c, d) = first.offsets[0], second.offsets[0]
        if a < c < b < d:
            yield second.id, f"its {c}-{d} crosses {a}-{b} of {first.id}"


@document_check(
    "ID08",
    "info",
    "one place with two types",
    explanation="The same words are annotated with two types: meant in some corpora, a disagreement in others.",
    example="Gene and Protein, both at (2, 6)",
)
def two_types(document: Document) -> Iterator[tuple[str, str]]:
    """Find entities at the place of an earlier one with another type."""
    seen: dict[tuple, Entity] = {}
    for entity in document.entities:
        first = seen.setdefault(tuple(entity.offsets), entity)
        if first.type != entity.type:
            yield entity.id, f"{entity.type} where {first.id} is {first.type}"


def overlapping(document: Document) -> Iterator[tuple[Entity, Entity]]:
    """Yield (later, earlier) for each pair of continuous entities that overlap, by their start, longer first."""
    whole = [e for e in document.entities if len(e.offsets) == 1 and e.offsets[0][0] < e.offsets[0][1]]
    whole.sort(key=lambda e: (e.offsets[0][0], -e.offsets[0][1]))
    open_: list[Entity] = []
    for entity in whole:
        open_ = [e for e in open_ if e.offsets[0][1] > entity.offsets[0][0]]
        for earlier in open_:
            yield entity, earlier
        open_.append(entity)
