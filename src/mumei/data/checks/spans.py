"""SP: offsets of passages, sentences, entities and triggers against the text (BigBIO's checks 6 and 7, and stricter)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from mumei.data.checks.core import document_check
from mumei.data.documents import Document

Span = tuple[str, list[str], list[tuple[int, int]]]
CJK = "\u2e80"  # from here on: writing without blanks between words
PUNCTUATION = tuple(",;:")
BRACKETS = ("()", "[]", "{}")


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
    """Find mentions whose slice is another text; spans out of range are SP04's, blanks alone SP09's, no text SP10's."""
    for name, said, start, cut in _other_texts(document):
        if said.strip() and not _same_but_blanks(said, cut):
            yield name, f"{said[:60]!r} is said to be at {start}-{start + len(cut)}, where the text has {cut[:60]!r}"


@document_check(
    "SP06",
    "warning",
    "blank at the edge of a mention",
    explanation="A mention begins and ends with a character of the text; a blank at its edge is a slip of the annotator.",
    example="'tumour ' at (10, 17)",
)
def blank_edges(document: Document) -> Iterator[tuple[str, str]]:
    """Find fragments with white space at an edge; those of white space alone are SP10's."""
    text = document.text()
    for name, start, end in fragments(document, len(text)):
        cut = text[start:end]
        if cut != cut.strip() != "":
            yield name, f"{cut[:60]!r} at {start}-{end} has a blank at its edge"


@document_check(
    "SP07",
    "warning",
    "fragments out of order or overlapping",
    explanation="The fragments of a discontinuous mention follow each other in the text and share no character.",
    example="offsets [(15, 18), (0, 4)]",
)
def fragment_order(document: Document) -> Iterator[tuple[str, str]]:
    """Find mentions whose fragments go back."""
    for name, _, offsets in spans(document):
        if any(second[0] < first[1] for first, second in pairwise(offsets)):
            yield name, f"its fragments {', '.join(f'{a}-{b}' for a, b in offsets)} overlap or are out of order"


@document_check(
    "SP08",
    "info",
    "mention that begins or ends within a word",
    explanation=(
        "A letter goes on as a letter, or a digit as a digit, over the edge of the mention: mostly offsets that are off by "
        "one, at times a part of a word that is meant. Not for writing without blanks."
    ),
    example="'umour' at (11, 16) in 'a large tumour'",
)
def within_word(document: Document) -> Iterator[tuple[str, str]]:
    """Find fragments with an edge inside a word."""
    text = document.text()
    for name, start, end in fragments(document, len(text)):
        if _goes_on(text, start) or _goes_on(text, end):
            yield name, f"{text[start:end][:60]!r} at {start}-{end} is cut out of {_around(text, start, end)!r}"


@document_check(
    "SP09",
    "warning",
    "text that differs from the document in white space only",
    explanation="The mention is at its offsets, but the file writes it with other blanks or line ends than the document.",
    example="'breast  cancer' at (10, 23), where the document has 'breast cancer'",
)
def mention_blanks(document: Document) -> Iterator[tuple[str, str]]:
    """Find mentions whose slice is the same text but for white space."""
    for name, said, start, cut in _other_texts(document):
        if _same_but_blanks(said, cut):
            yield name, f"{said[:60]!r} is said to be at {start}, where the text has {cut[:60]!r}"


@document_check(
    "SP10",
    "error",
    "mention without any text",
    explanation="A mention of nothing, or of white space alone.",
    example="text [''], offsets [(4, 5)]",
)
def empty_mention(document: Document) -> Iterator[tuple[str, str]]:
    """Find mentions with an empty or blank text."""
    for name, texts, offsets in spans(document):
        if texts and not any(said.strip() for said in texts):
            yield name, f"its text at {', '.join(f'{a}-{b}' for a, b in offsets) or 'no place'} is blank"


@document_check(
    "SP11",
    "warning",
    "sentences that are no parts of the document",
    explanation="Sentences lie within the document, in order, and share no character.",
    example="sentences (0, 20) and (15, 40)",
)
def sentence_offsets(document: Document) -> Iterator[tuple[str, str]]:
    """Find sentences out of range, empty, out of order or overlapping."""
    length, last = len(document.text()), 0
    for start, end in document.sentences:
        if not last <= start < end <= length:
            yield document.id, f"the sentence {start}-{end} after one that ends at {last}, in {length} characters"
        last = max(last, end)


@document_check(
    "SP12",
    "warning",
    "mention that lies in no one passage",
    explanation="Every fragment lies within one passage; one that crosses the blank between two, or lies on it, is misplaced.",
    example="(5, 10) where the title is (0, 7) and the abstract (8, 17)",
)
def outside_passages(document: Document) -> Iterator[tuple[str, str]]:
    """Find fragments that no passage holds."""
    parts = [pair for passage in document.passages for pair in passage.offsets]
    for name, start, end in fragments(document, len(document.text())):
        if not any(a <= start and end <= b for a, b in parts):
            yield name, f"{start}-{end} lies in none of the {len(parts)} passages"


@document_check(
    "SP13",
    "info",
    "mention that crosses the end of a sentence",
    explanation="Where the corpus gives sentences, a fragment in two of them shows a wrong sentence split or a wrong span.",
    example="(15, 30) with sentences (0, 20) and (21, 40)",
)
def across_sentences(document: Document) -> Iterator[tuple[str, str]]:
    """Find fragments that hold the start of a sentence."""
    starts = [start for start, _ in document.sentences]
    for name, start, end in fragments(document, len(document.text())) if starts else ():
        if any(start < s < end for s in starts):
            yield name, f"{start}-{end} goes over the end of a sentence"


@document_check(
    "SP14",
    "error",
    "passages that overlap or leave text out",
    explanation="Passages follow each other with one blank between, from 0 to the end: a passage's text may be at its offsets "
    "by chance, where the same words occur twice.",
    example="two passages 'Results.' both at (0, 8)",
)
def passage_order(document: Document) -> Iterator[tuple[str, str]]:
    """Find passages elsewhere than their turn, among those whose text is at their offsets (else SP02's)."""
    text, turn = document.text(), 0
    for passage in document.passages:
        for said, (start, end) in zip(passage.text, passage.offsets, strict=False):
            if start != turn and text[max(start, 0) : max(end, 0)] == said:
                yield passage.id, f"it is said to begin at {start}; in its turn it begins at {turn}"
        turn += sum(len(said) + 1 for said in passage.text)


@document_check(
    "SP15",
    "info",
    "punctuation at the edge of a mention",
    explanation="A comma, colon or semicolon at an edge, or a bracket whose other half is left out, is seldom a part of a name.",
    example="'tumour,' or '(TNF' at (4, 8)",
)
def punctuation_edges(document: Document) -> Iterator[tuple[str, str]]:
    """Find fragments with such an edge."""
    text = document.text()
    for name, start, end in fragments(document, len(text)):
        cut = text[start:end].strip()
        lonely = any(cut.count(a) != cut.count(b) and (cut[:1] == a or cut[-1:] == b) for a, b in BRACKETS)
        if lonely or cut[:1] in PUNCTUATION or cut[-1:] in PUNCTUATION:
            yield name, f"{cut[:60]!r} at {start}-{end}"


def fragments(document: Document, length: int) -> Iterator[tuple[str, int, int]]:
    """Yield (id, start, end) of each fragment of each mention and trigger that is in range."""
    for name, _, offsets in spans(document):
        for start, end in offsets:
            if 0 <= start < end <= length:
                yield name, start, end


def _other_texts(document: Document) -> Iterator[tuple[str, str, int, str]]:
    """Yield (id, text said, start, text found) of fragments in range where both differ."""
    text = document.text()
    for name, texts, offsets in spans(document):
        for said, (start, end) in zip(texts, offsets, strict=False):
            if 0 <= start < end <= len(text) and text[start:end] != said:
                yield name, said, start, text[start:end]


def _same_but_blanks(said: str, cut: str) -> bool:
    said, cut = "".join(said.split()), "".join(cut.split())
    return said == cut != ""


def _goes_on(text: str, place: int) -> bool:
    """Whether a word goes on over a place between two characters."""
    if not 0 < place < len(text):
        return False
    before, after = text[place - 1], text[place]
    if max(before, after) >= CJK:
        return False
    return (before.isalpha() and after.isalpha()) or (before.isdigit() and after.isdigit())


def _around(text: str, start: int, end: int) -> str:
    return text[max(start - 15, 0) : end + 15][:90]


def _cut(text: str, start: int, end: int) -> str:
    return text[max(start, 0) : max(end, 0)][:60]
