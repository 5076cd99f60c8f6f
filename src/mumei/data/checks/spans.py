"""SP: offsets of passages, entities and triggers against the text (BigBIO's checks 6 and 7)."""

from __future__ import annotations

from collections.abc import Iterator

from mumei.data.checks.core import document_check
from mumei.data.documents import Document

Span = tuple[str, list[str], list[tuple[int, int]]]


def spans(document: Document) -> Iterator[Span]:
    """Yield (id, texts, offsets) of each entity and each event's trigger."""
    for entity in document.entities:
        yield entity.id, entity.text, entity.offsets
    for event in document.events:
        yield event.id, event.trigger.text, event.trigger.offsets


@document_check(
    "SP01",
    "error",
    "passage that is not one text with one pair of offsets",
    explanation="A passage holds exactly one text and one pair of offsets: readers of the schema take the first only.",
    example="text ['A title.'], offsets [(0, 3), (4, 8)]",
)
def single_passage(document: Document) -> Iterator[tuple[str, str]]:
    """Find passages with more or less."""
    for passage in document.passages:
        if len(passage.text) != 1 or len(passage.offsets) != 1:
            yield (
                passage.id,
                f"{len(passage.text)} texts and {len(passage.offsets)} pairs of offsets, expected one of each",
            )


@document_check(
    "SP02",
    "error",
    "passage text that is not at its offsets",
    explanation="The passages' texts joined by one blank are the document's text; each passage's offsets must cut it out.",
    example="title 'Ab.' at (0, 3), abstract 'Cd.' at (3, 6) instead of (4, 7)",
)
def passage_text(document: Document) -> Iterator[tuple[str, str]]:
    """Find passages whose slice of the joined text is another text."""
    text = document.text()
    for passage in document.passages:
        for said, (start, end) in zip(passage.text, passage.offsets, strict=False):
            if not 0 <= start <= end <= len(text) or text[start:end] != said:
                yield (
                    passage.id,
                    f"{said[:40]!r} is said to be at {start}-{end}, where the text has {_cut(text, start, end)!r}",
                )


@document_check(
    "SP03",
    "error",
    "as many texts as pairs of offsets are needed",
    explanation="A mention of n fragments has n texts and n pairs of offsets.",
    example="text ['left and right arm'], offsets [(0, 4), (15, 18)]",
)
def fragment_count(document: Document) -> Iterator[tuple[str, str]]:
    """Find mentions whose texts and offsets differ in number, or that have none."""
    for name, texts, offsets in spans(document):
        if len(texts) != len(offsets) or not offsets:
            yield name, f"{len(texts)} texts and {len(offsets)} pairs of offsets"


@document_check(
    "SP04",
    "error",
    "offsets outside the document or backwards",
    explanation="Offsets are character positions, end exclusive, with 0 <= start < end <= length of the document.",
    example="(120, 131) in a document of 125 characters",
)
def in_range(document: Document) -> Iterator[tuple[str, str]]:
    """Find spans out of range."""
    length = len(document.text())
    for name, _, offsets in spans(document):
        for start, end in offsets:
            if not 0 <= start < end <= length:
                yield name, f"{start}-{end} is no span of a document of {length} characters"


@document_check(
    "SP05",
    "error",
    "text that is not at its offsets",
    explanation="The text of a mention is the slice of the document at its offsets; where it is not, one of both is wrong.",
    example="'tumour' at (10, 16), where the document has ' tumou'",
)
def mention_text(document: Document) -> Iterator[tuple[str, str]]:
    """Find mentions whose slice is another text; spans out of range are SP04's."""
    text = document.text()
    for name, texts, offsets in spans(document):
        for said, (start, end) in zip(texts, offsets, strict=False):
            if 0 <= start < end <= len(text) and text[start:end] != said:
                yield (
                    name,
                    f"{said[:60]!r} is said to be at {start}-{end}, where the text has {_cut(text, start, end)!r}",
                )


def _cut(text: str, start: int, end: int) -> str:
    return text[max(start, 0) : max(end, 0)][:60]
