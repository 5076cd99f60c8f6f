"""What templates of prompts can use of a record, by task: plain texts and lists, with references followed.

A field that a record does not have (an empty text, or BigBIO's missing string) is left out, so that using it is an error. Lists
of annotations are there even when empty. `types`, `databases` and `choices` are of the whole corpus: what may be answered.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mumei.core.errors import UsageError
from mumei.data.bigbio import coreferences_of
from mumei.data.documents import Document, Entailment, LabelledText, Question, Record, TextPair, TextToText
from mumei.data.languages import NAMES
from mumei.data.schemas import NULL

if TYPE_CHECKING:
    from mumei.data.corpus import Corpus

# Fields by task. Of lists: entities have text and type; mentions text, db_name and db_id; relations head, head_type, type, tail
# and tail_type; events trigger, type and arguments (role, text); clusters are lists of texts; the others are texts.
FIELDS: dict[str, tuple[str, ...]] = {
    "NER": ("text", "types", "entities"),
    "NED": ("text", "databases", "names", "mentions", "ids"),
    "RE": ("text", "types", "relations"),
    "EE": ("text", "types", "events"),
    "COREF": ("text", "clusters"),
    "TXTCLASS": ("text", "choices", "labels"),
    "QA": ("question", "type", "context", "choices", "answers"),
    "TE": ("premise", "hypothesis", "choices", "label"),
    "STS": ("text_1", "text_2", "lowest", "highest", "label"),
    "TXT2CLASS": ("text_1", "text_2", "choices", "label"),
    "PARA": ("text_1", "text_2"),
    "TRANSL": ("text_1", "text_2", "language_1", "language_2"),
    "SUM": ("text_1", "text_2"),
}


@dataclass(frozen=True)
class Labels:
    """What may be answered in a corpus: types, classes or databases, sorted; bounds of a scale as the corpus writes them."""

    names: tuple[str, ...] = ()
    lowest: str = ""
    highest: str = ""


def labels_of(corpus: Corpus, task: str) -> Labels:
    """Return what may be answered, of all splits together."""
    if task == "STS":
        scores = [r.label for r in corpus.records() if isinstance(r, TextPair) and not _missing(r.label)]
        try:
            scores.sort(key=float)
        except ValueError as error:
            raise UsageError(
                f"{corpus.name} has labels that are no numbers ({error}); similarity needs numbers."
            ) from error
        return Labels((), scores[0], scores[-1]) if scores else Labels()
    found: set[str] = set()
    for record in corpus.records():
        found.update(_named(record, task))
    return Labels(tuple(sorted(name for name in found if not _missing(name))))


def _named(record: Record, task: str) -> list[str]:
    if isinstance(record, Document):
        if task == "NED":
            return [n.db_name for e in record.entities for n in e.normalized]
        parts: Any = {"NER": record.entities, "EE": record.events}.get(task, ())
        relations = [*record.relations, *record.concept_relations] if task == "RE" else []
        return [a.type for a in (*parts, *relations)]
    if isinstance(record, LabelledText):
        return record.labels
    return [record.label] if isinstance(record, Entailment | TextPair) else []


def _missing(text: str) -> bool:
    return not text.strip() or text == NULL


def fields(record: Record, task: str, labels: Labels) -> dict[str, Any]:
    """Return a record's fields for a task."""
    found: dict[str, Any] = {}
    if isinstance(record, Document):
        found = {"text": record.text(), **_of_document(record, task)}
        found |= {"databases" if task == "NED" else "types": list(labels.names)}
    elif isinstance(record, LabelledText):
        found = {"text": record.text, "labels": record.labels, "choices": list(labels.names)}
    elif isinstance(record, Question):
        found = {"question": record.question, "type": record.type, "context": record.context}
        found |= {"choices": record.choices} | ({"answers": record.answer} if record.answer else {})
    elif isinstance(record, Entailment):
        found = {"premise": record.premise, "hypothesis": record.hypothesis, "label": record.label}
        found |= {"choices": list(labels.names)}
    elif isinstance(record, TextPair):
        found = {"text_1": record.text_1, "text_2": record.text_2, "label": record.label, "choices": list(labels.names)}
        found |= {"lowest": labels.lowest, "highest": labels.highest}
    else:
        found = _two_texts(record)
    kept = {name: value for name, value in found.items() if name in FIELDS[task]}
    return {name: value for name, value in kept.items() if not (isinstance(value, str) and _missing(value))}


def _two_texts(record: TextToText) -> dict[str, Any]:
    names = (NAMES.get(name, name) for name in (record.text_1_name, record.text_2_name))
    return {
        "text_1": record.text_1,
        "text_2": record.text_2,
        **dict(zip(("language_1", "language_2"), names, strict=True)),
    }


def _of_document(document: Document, task: str) -> dict[str, Any]:
    words = {e.id: " ".join(e.text) for e in document.entities}
    if task == "NER":
        return {"entities": [{"text": words[e.id], "type": e.type} for e in document.entities]}
    if task == "NED":
        linked = [(words[e.id], n.db_name, n.db_id) for e in document.entities for n in e.normalized]
        linked = list(dict.fromkeys(linked))
        return {
            "mentions": [dict(zip(("text", "db_name", "db_id"), link, strict=True)) for link in linked],
            "names": list(dict.fromkeys(link[0] for link in linked)),
            "ids": list(dict.fromkeys(link[2] for link in linked)),
        }
    if task == "RE":
        return {"relations": _relations(document, words)}
    if task == "COREF":
        return {"clusters": [[words[i] for i in c.entity_ids] for c in coreferences_of(document)]}
    triggers = {event.id: " ".join(event.trigger.text) for event in document.events}
    said = triggers | words
    return {
        "events": [
            {
                "type": event.type,
                "trigger": triggers[event.id],
                "arguments": [{"role": a.role, "text": said[a.ref_id]} for a in event.arguments if a.ref_id in said],
            }
            for event in document.events
        ]
    }


def _relations(document: Document, words: dict[str, str]) -> list[dict[str, str]]:
    """Return relations between mentions, those of concepts by the first mention of each; what says the same once."""
    types = {e.id: e.type for e in document.entities}
    firsts: dict[str, str] = {}
    for entity in document.entities:
        for link in entity.normalized:
            firsts.setdefault(link.db_id, entity.id)
    own = [(r.type, r.arg1_id, r.arg2_id) for r in document.relations if r.arg1_id in words and r.arg2_id in words]
    own += [
        (r.type, firsts[r.arg1_id], firsts[r.arg2_id])
        for r in document.concept_relations
        if r.arg1_id in firsts and r.arg2_id in firsts
    ]
    found = [(words[a], types[a], kind, words[b], types[b]) for kind, a, b in own]
    names = ("head", "head_type", "type", "tail", "tail_type")
    return [dict(zip(names, relation, strict=True)) for relation in dict.fromkeys(found)]
