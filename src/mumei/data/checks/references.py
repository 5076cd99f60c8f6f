"""RF: ids that refer to annotations (BigBIO's checks 5 and 8)."""

from __future__ import annotations

from collections.abc import Iterator

from mumei.data.checks.core import document_check
from mumei.data.documents import Document


@document_check(
    "RF01",
    "error",
    "reference to what does not exist",
    explanation=(
        "Arguments of events refer to entities or events of the same document, arguments of relations and members of "
        "coreferences to entities, events or triggers, attributes to any annotation or the document."
    ),
    example="an event with the argument Theme:T9 in a document without T9",
)
def dangling(document: Document) -> Iterator[tuple[str, str]]:
    """Find references to ids that the document lacks."""
    known = {e.id for e in document.entities} | {e.id for e in document.events}
    for event in document.events:
        for argument in event.arguments:
            if argument.ref_id not in known:
                yield event.id, f"its argument {argument.role} refers to {argument.ref_id}, which does not exist"
    known |= {e.trigger.id for e in document.events}
    for relation in document.relations:
        for side in (relation.arg1_id, relation.arg2_id):
            if side not in known:
                yield relation.id, f"its argument {side} does not exist"
    for coreference in document.coreferences:
        for member in coreference.entity_ids:
            if member not in known:
                yield coreference.id, f"its member {member} does not exist"
    known |= {document.id, *(p.id for p in document.passages), *(r.id for r in document.relations)}
    known |= {r.id for r in document.concept_relations} | {c.id for c in document.coreferences}
    for attribute in document.attributes:
        if attribute.ref_id not in known:
            yield attribute.id, f"it is said of {attribute.ref_id}, which does not exist"
