"""XML of documents made of sentences with entities and pairs: what the readers of DDI and PPI XML share.

Both have `<document id><sentence id text><entity id charOffset text type/>...`, with offsets within the sentence. The document's
text is its sentences joined by one blank, one passage. Ids are the file's without the document's in front. An entity of several
spans has a text a span, cut out of the sentence; the file's own text, where it is another, is kept as attribute "text". Further
attributes of the elements are kept as attributes of the annotations, and of the document as metadata.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from mumei.data.documents import Attribute, Document, Relation
from mumei.data.readers.base import Problems, SourceFile
from mumei.data.readers.xml import attribute, documents
from mumei.data.schemas import NULL, Entity, Pair, Passage

_SPAN = re.compile(r"(\d+)-(\d+)")

# Takes an element of a sentence that is no entity; returns the type of the relation that it states, "" where it states none,
# None where it is no pair.
Stated = Callable[[Any], str | None]


def read_sentences(
    files: Sequence[SourceFile], problems: Problems, encoding: str, inclusive: bool, passage_type: str, stated: Stated
) -> Iterator[Document]:
    """Yield the documents of files; `inclusive` says whether ends of spans are."""
    for file in files:
        for element, line in documents(file, "document", problems, encoding):
            name = element.get("id", "")
            try:
                made = _Builder(element, inclusive, passage_type, stated).made
            except ValueError as error:
                problems.bad(str(error), file.name, line, name)
                continue
            made.file, made.line = file.name, line
            yield made


class _Builder:
    """Makes a document of an element."""

    def __init__(self, element: Any, inclusive: bool, passage_type: str, stated: Stated):
        name = attribute(element, "id")
        if not name:
            raise ValueError("the document's id is empty")
        self.made = Document(name, name, metadata={k: v for k, v in element.attrib.items() if k != "id" and v})
        self.inclusive, self.stated, self.pairs, self.texts = inclusive, stated, 0, []
        self.ids: set[str] = set()
        start = 0
        for sentence in element.iterfind("sentence"):
            text = attribute(sentence, "text")
            self._sentence(sentence, text, start)
            self.texts.append(text)
            start += len(text) + 1
        text = " ".join(self.texts)
        self.made.passages = [Passage(name + "_text", passage_type, [text], [(0, len(text))])]
        if self.pairs:
            self.made.metadata["pairs"] = str(self.pairs)

    def _id(self, given: str) -> str:
        local = given.removeprefix(self.made.id + ".")
        return f"{self.made.id}_{local}"

    def _new(self, element: Any) -> str:
        own = self._id(attribute(element, "id"))
        if own in self.ids:
            raise ValueError(f"the id {element.get('id')} is given twice")
        self.ids.add(own)
        return own

    def _sentence(self, sentence: Any, text: str, start: int) -> None:
        self.made.sentences.append((start, start + len(text)))
        for element in sentence:
            if element.tag == "entity":
                self._entity(element, text, start)
                continue
            kind = self.stated(element)
            if kind is None:
                continue
            self.pairs += 1
            if kind:
                ends = self._id(attribute(element, "e1")), self._id(attribute(element, "e2"))
                own = self._new(element)
                self.made.relations.append(Relation(own, kind, *ends, [], "e1", "e2"))
                self._keep(element, own, ("id", "e1", "e2", "type", "ddi", "interaction"))

    def _entity(self, element: Any, sentence: str, start: int) -> None:
        own, said = self._new(element), attribute(element, "text")
        spans = self._spans(attribute(element, "charOffset"))
        texts = [said] if len(spans) == 1 else [sentence[a:b] for a, b in spans]
        offsets = [(a + start, b + start) for a, b in spans]
        self.made.entities.append(Entity(own, element.get("type") or NULL, texts, offsets, []))
        self._keep(element, own, ("id", "charOffset", "type", "text"))
        if len(spans) > 1 and " ".join(texts) != said:
            self.made.attributes.append(Attribute(own + "_text", "text", said, own))

    def _keep(self, element: Any, own: str, known: Sequence[str]) -> None:
        for key, value in element.attrib.items():
            if key not in known:
                self.made.attributes.append(Attribute(f"{own}_{key}", key, value, own))

    def _spans(self, text: str) -> list[Pair]:
        found: list[Pair] = []
        for piece in re.split("[;,]", text):
            span = _SPAN.fullmatch(piece.strip())
            if span is None:
                raise ValueError(f"charOffset is {text[:40]!r}, expected start-end, several apart by ';'")
            found.append((int(span[1]), int(span[2]) + self.inclusive))
        return found
