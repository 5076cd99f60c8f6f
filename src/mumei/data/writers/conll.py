"""CoNLL: `<split>.conll`, a token and its IOB2 tag a line, apart by a tab; `-DOCSTART- (id)` before each document.

Tokens are runs of letters and digits, and any other character that is no white space; they are cut where a mention begins or
ends. An empty line ends a sentence; where the corpus knows none, a passage. A sentence's end within a mention is passed over.

The format is flat: of mentions that overlap the longest is kept, of equally long ones the first; the others, and discontinuous
ones, are counted, as are annotations other than mentions. The text's white space is lost.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, cast

from mumei.core.files import new_file
from mumei.data.documents import Document
from mumei.data.schemas import Entity

if TYPE_CHECKING:
    from mumei.data.corpus import Corpus

MARKER = "-DOCSTART-"
_TOKEN = re.compile(r"\w+|[^\w\s]")
_BLANKS = re.compile(r"\s+")
_OTHERS = ("events", "relations", "concept_relations", "coreferences", "attributes")


def write_conll(corpus: Corpus, folder: Path, notes: Counter[str]) -> None:
    """Write the splits."""
    for split in corpus.splits:
        with new_file(folder / f"{split}.conll") as out:
            for record in corpus.records(split):
                document = cast("Document", record)
                lines = [f"{MARKER} ({_BLANKS.sub(' ', document.id)})\tO", ""]
                for sentence in sentences(document, notes):
                    lines += [f"{token}\t{tag}" for token, tag in sentence]
                    lines.append("")
                out.write(("\n".join(lines) + "\n").encode())


def flat(document: Document, notes: Counter[str]) -> list[Entity]:
    """Return the mentions that CoNLL can hold, in the order of the text: whole ones that do not overlap, the longest first."""
    length = len(document.text())
    fitting = []
    for entity in document.entities:
        if len(entity.offsets) != 1:
            notes["discontinuous mentions"] += 1
        elif not 0 <= entity.offsets[0][0] < entity.offsets[0][1] <= length:
            notes["mentions outside of the text"] += 1
        else:
            fitting.append(entity)
    kept: list[Entity] = []
    taken = bytearray(length)
    for entity in sorted(fitting, key=lambda e: (e.offsets[0][0] - e.offsets[0][1], e.offsets[0][0])):
        start, end = entity.offsets[0]
        if any(taken[start:end]):
            notes["mentions that overlap a longer one"] += 1
            continue
        taken[start:end] = b"\x01" * (end - start)
        kept.append(entity)
    return sorted(kept, key=lambda e: e.offsets[0][0])


def sentences(document: Document, notes: Counter[str]) -> Iterator[list[tuple[str, str]]]:
    """Yield the sentences of a document, lists of (token, tag); what is lost is counted in `notes`."""
    for name in _OTHERS:
        if getattr(document, name):
            notes[name.replace("_", " ")] += len(getattr(document, name))
    links = sum(len(e.normalized) for e in document.entities)
    notes.update({"links to concepts": links} if links else {})
    text, kept = document.text(), flat(document, notes)
    spans = document.sentences or [pair for passage in document.passages for pair in passage.offsets]
    begins = sorted({start for start, _ in spans})
    owner: dict[int, Entity] = {}
    edges = set()
    for entity in kept:
        start, end = entity.offsets[0]
        edges |= {start, end}
        owner.update(dict.fromkeys(range(start, end), entity))
    tagged: set[str] = set()
    current: list[tuple[str, str]] = []
    place = 0
    for start, end in _tokens(text, edges):
        entity = owner.get(start)
        passed = place
        while place < len(begins) and begins[place] <= start:
            place += 1
        inside = entity is not None and entity.id in tagged
        if place > passed and current and not inside:
            yield current
            current = []
        tag = "O"
        if entity is not None:
            tag = f"{'I' if inside else 'B'}-{_BLANKS.sub('_', entity.type) or '_'}"
            tagged.add(entity.id)
        current.append((text[start:end], tag))
    if current:
        yield current
    lost = len(kept) - len(tagged)
    notes.update({"mentions of white space only": lost} if lost else {})


def _tokens(text: str, edges: set[int]) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of the tokens, cut at the edges."""
    for match in _TOKEN.finditer(text):
        start = match.start()
        for at in range(start + 1, match.end()):
            if at in edges:
                yield start, at
                start = at
        yield start, match.end()
