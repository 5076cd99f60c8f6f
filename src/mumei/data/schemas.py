"""BigBIO's six harmonised schemas as typed structs, field for field and in order, with the tasks that each serves.

Fries and others 2022, BigBIO: A Framework for Data-Centric Biomedical NLP (arXiv 2206.15076), section 3 and the features of
its loaders. Rules that hold in every schema: offsets are character positions (Python code points, end exclusive) into the
passages' texts joined by one blank; a discontinuous span is several pairs with as many texts; ids are unique over the whole
corpus, all splits; event arguments refer to entities or events, relation arguments and coreference members to entities; what
is missing reads `NULL`.

Departures: none in fields, order and types. `source`, in BigBIO a structure of each loader's own, is here one lossless
superset for all corpora of a schema (`mumei.data.documents`).
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from mumei.core.errors import unknown

NULL = "<BB_NULL_STR>"  # what BigBIO writes for a missing string
Pair = tuple[int, int]  # start and end, end exclusive


class Normalized(Struct, gc=False, frozen=True):
    """A link to a concept: `db_name` the vocabulary, `db_id` the concept's id there."""

    db_name: str
    db_id: str


class Passage(Struct, gc=False):
    """A part of a document: exactly one text and one pair of offsets."""

    id: str
    type: str
    text: list[str]
    offsets: list[Pair]


class Entity(Struct, gc=False):
    """A mention: as many texts as pairs of offsets, more than one where it is discontinuous."""

    id: str
    type: str
    text: list[str]
    offsets: list[Pair]
    normalized: list[Normalized] = []


class Trigger(Struct, gc=False):
    """The words that express an event."""

    text: list[str]
    offsets: list[Pair]


class Argument(Struct, gc=False):
    """A participant of an event: `ref_id` is an entity's or another event's id."""

    role: str
    ref_id: str


class Event(Struct, gc=False):
    """An event with its trigger and participants."""

    id: str
    type: str
    trigger: Trigger
    arguments: list[Argument] = []


class Coreference(Struct, gc=False):
    """Entities that name the same thing."""

    id: str
    entity_ids: list[str]


class Relation(Struct, gc=False):
    """A relation between two entities."""

    id: str
    type: str
    arg1_id: str
    arg2_id: str
    normalized: list[Normalized] = []


class KB(Struct, gc=False):
    """Knowledge base: named entities, their concepts, relations, events and coreference (NER, NED, RE, EE, COREF)."""

    id: str
    document_id: str
    passages: list[Passage] = []
    entities: list[Entity] = []
    events: list[Event] = []
    coreferences: list[Coreference] = []
    relations: list[Relation] = []


class QA(Struct, gc=False):
    """Question answering; `type` is one of `QA_TYPES`."""

    id: str
    question_id: str
    document_id: str
    question: str
    type: str
    choices: list[str]
    context: str
    answer: list[str]


class TE(Struct, gc=False):
    """Textual entailment."""

    id: str
    premise: str
    hypothesis: str
    label: str


class T2T(Struct, gc=False):
    """Text to text: translation, summaries, paraphrases."""

    id: str
    document_id: str
    text_1: str
    text_2: str
    text_1_name: str
    text_2_name: str


class PAIRS(Struct, gc=False):
    """Two texts and a label: similarity, or a class of the pair."""

    id: str
    document_id: str
    text_1: str
    text_2: str
    label: str


class TEXT(Struct, gc=False):
    """A text and its classes."""

    id: str
    document_id: str
    text: str
    labels: list[str]


SCHEMAS: dict[str, type[Struct]] = {"kb": KB, "qa": QA, "te": TE, "t2t": T2T, "pairs": PAIRS, "text": TEXT}
SOURCE = "source"
QA_TYPES = ("yesno", "multiple_choice", "factoid", "list", "summary")
TASKS: dict[str, str] = {  # task -> schema
    **dict.fromkeys(("NER", "NED", "EE", "RE", "COREF"), "kb"),
    "QA": "qa",
    "TE": "te",
    **dict.fromkeys(("STS", "TXT2CLASS"), "pairs"),
    **dict.fromkeys(("PARA", "TRANSL", "SUM"), "t2t"),
    "TXTCLASS": "text",
}


def schema_name(given: str) -> str:
    """Return a schema's name in lower case, `bigbio_` removed; raise `UsageError` with the closest ones for another.

    Examples
    --------
    >>> schema_name("bigbio_kb"), schema_name("KB"), schema_name("source")
    ('kb', 'kb', 'source')
    """
    name = given.lower().removeprefix("bigbio_")
    if name not in SCHEMAS and name != SOURCE:
        raise unknown("schema", given, [*SCHEMAS, SOURCE])
    return name


def json_schema(name: str) -> dict[str, Any]:
    """Return the JSON Schema of one row of a harmonised schema."""
    import msgspec

    return msgspec.json.schema(SCHEMAS[name])
