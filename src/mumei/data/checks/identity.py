"""ID: ids and documents that occur twice (BigBIO's check 3, over all splits), and RD: what could not be read."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING

from mumei.data.checks.core import Check, Finding, corpus_check

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
