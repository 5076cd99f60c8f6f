"""What readers give: one record a document, a lossless superset of BigBIO's row of the same schema.

A superset has the harmonised fields first, in order, and after them what BigBIO has no place for: attributes (negation,
speculation, confidence, notes), relations between concepts instead of mentions with their flags, roles and their numbers,
sentence offsets, metadata, the split, and where in which file the record begins. `to_bigbio` (`mumei.data.bigbio`) gives
the harmonised row of it.

Ids: `document_id` is the file's own id; `id` is unique over the corpus and mostly equal to it (a document that occurs again
gets `id.2`, see `with_id`). Ids within a document are `<id>_<local id>`.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec
from msgspec import Struct

from mumei.data.schemas import NULL, Entity, Normalized, Pair, Passage


class Trigger(Struct, gc=False):
    """An event's trigger; `id` is its own in the file."""

    text: list[str]
    offsets: list[Pair]
    id: str = ""


class Argument(Struct, gc=False):
    """A participant; `number` is 2 for a role written `Theme2`, else 0."""

    role: str
    ref_id: str
    number: int = 0


class Event(Struct, gc=False):
    """An event."""

    id: str
    type: str
    trigger: Trigger
    arguments: list[Argument] = []


class Coreference(Struct, gc=False):
    """Entities that name the same thing; `type` is the file's word for it (`Equiv`)."""

    id: str
    entity_ids: list[str]
    type: str = ""


class Relation(Struct, gc=False):
    """A relation between two mentions, with the roles of both."""

    id: str
    type: str
    arg1_id: str
    arg2_id: str
    normalized: list[Normalized] = []
    arg1_role: str = ""
    arg2_role: str = ""


class ConceptRelation(Struct, gc=False):
    """A relation that the document states between two concepts, by their ids; `flags` such as `Novel` as in the file."""

    id: str
    type: str
    arg1_id: str
    arg2_id: str
    flags: list[str] = []


class Attribute(Struct, gc=False):
    """Anything said of an annotation, a passage or (`ref_id` equal to the document's `id`) the document.

    `value` is "" for a flag (`Negation`); the file's own ids that were split up are kept as `type` "concept".
    """

    id: str
    type: str
    value: str
    ref_id: str


class Document(Struct, gc=False):
    """The superset of KB. `sentences` are pairs of offsets; `file` and `line` say where the document begins."""

    id: str
    document_id: str
    passages: list[Passage] = []
    entities: list[Entity] = []
    events: list[Event] = []
    coreferences: list[Coreference] = []
    relations: list[Relation] = []
    concept_relations: list[ConceptRelation] = []
    attributes: list[Attribute] = []
    sentences: list[Pair] = []
    metadata: dict[str, str] = {}
    split: str = ""
    file: str = ""
    line: int = 0

    def text(self) -> str:
        """Return the passages' texts joined by one blank: what offsets count in."""
        return " ".join([part for passage in self.passages for part in passage.text])


class Question(Struct, gc=False):
    """The superset of QA."""

    id: str
    question_id: str
    document_id: str
    question: str
    type: str
    choices: list[str]
    context: str
    answer: list[str]
    metadata: dict[str, str] = {}
    split: str = ""
    file: str = ""
    line: int = 0


class Entailment(Struct, gc=False):
    """The superset of TE."""

    id: str
    premise: str
    hypothesis: str
    label: str
    metadata: dict[str, str] = {}
    split: str = ""
    file: str = ""
    line: int = 0


class TextToText(Struct, gc=False):
    """The superset of T2T."""

    id: str
    document_id: str
    text_1: str
    text_2: str
    text_1_name: str = NULL
    text_2_name: str = NULL
    metadata: dict[str, str] = {}
    split: str = ""
    file: str = ""
    line: int = 0


class TextPair(Struct, gc=False):
    """The superset of PAIRS."""

    id: str
    document_id: str
    text_1: str
    text_2: str
    label: str
    metadata: dict[str, str] = {}
    split: str = ""
    file: str = ""
    line: int = 0


class LabelledText(Struct, gc=False):
    """The superset of TEXT."""

    id: str
    document_id: str
    text: str
    labels: list[str]
    metadata: dict[str, str] = {}
    split: str = ""
    file: str = ""
    line: int = 0


Record: TypeAlias = Document | Question | Entailment | TextToText | TextPair | LabelledText
RECORDS: dict[str, type[Record]] = {
    "kb": Document,
    "qa": Question,
    "te": Entailment,
    "t2t": TextToText,
    "pairs": TextPair,
    "text": LabelledText,
}


def with_id(record: Record, new: str) -> Record:
    """Return the record under another `id`; a document's inner ids and references to them follow.

    Inner ids that do not begin with the old id stay, and so do references to them.
    """
    if not isinstance(record, Document):
        return msgspec.structs.replace(record, id=new)
    old, start = record.id, record.id + "_"

    def moved(name: str) -> str:
        if name == old:
            return new
        return f"{new}_{name[len(start) :]}" if name.startswith(start) else name

    def again(value: object) -> object:
        if isinstance(value, list):
            return [again(v) for v in value]
        if not isinstance(value, Struct):
            return value
        given = {f: getattr(value, f) for f in value.__struct_fields__}
        for name, inner in given.items():
            concept = isinstance(value, ConceptRelation) and name != "id"
            if isinstance(inner, str) and name in ("id", "ref_id", "arg1_id", "arg2_id") and not concept:
                given[name] = moved(inner)
            elif name == "entity_ids":
                given[name] = [moved(i) for i in inner]
            else:
                given[name] = again(inner)
        return type(value)(**given)

    renamed = again(record)
    assert isinstance(renamed, Document)
    return renamed
