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


@document_check(
    "RF02",
    "warning",
    "coreference member that is no entity",
    explanation="Members of a coreference are entities; one of an event or a trigger has no place in the harmonised schema.",
    example="a coreference of T1 and the event E1",
)
def coreferent_events(document: Document) -> Iterator[tuple[str, str]]:
    """Find coreferences with an event or trigger as a member."""
    others = _events_and_triggers(document)
    for coreference in document.coreferences:
        for member in coreference.entity_ids:
            if member in others:
                yield coreference.id, f"its member {member} is {others[member]}; the harmonised view leaves it out"


@document_check(
    "RF03",
    "warning",
    "relation argument that is no entity",
    explanation="A relation holds between two entities; one with an event or a trigger has no place in the harmonised schema.",
    example="a relation from T1 to the trigger T7 of an event",
)
def related_events(document: Document) -> Iterator[tuple[str, str]]:
    """Find relations to an event or trigger."""
    others = _events_and_triggers(document)
    for relation in document.relations:
        for side in (relation.arg1_id, relation.arg2_id):
            if side in others:
                yield relation.id, f"its argument {side} is {others[side]}; the harmonised view leaves it out"


def _events_and_triggers(document: Document) -> dict[str, str]:
    entities = {e.id for e in document.entities}
    found = {e.trigger.id: "a trigger" for e in document.events if e.trigger.id}
    found |= {e.id: "an event" for e in document.events}
    return {name: kind for name, kind in found.items() if name not in entities}


@document_check(
    "RF04",
    "warning",
    "coreference of less than two",
    explanation="Coreference says that several mentions name one thing; with one member, or the same twice, it says nothing.",
    example="a coreference of T1 alone",
)
def lonely_coreference(document: Document) -> Iterator[tuple[str, str]]:
    """Find coreferences with fewer than two different members, or with a member twice."""
    for coreference in document.coreferences:
        different = len(set(coreference.entity_ids))
        if different < 2 or different < len(coreference.entity_ids):
            yield coreference.id, f"{different} different of {len(coreference.entity_ids)} members"


@document_check(
    "RF05",
    "warning",
    "relation or event that refers to itself",
    explanation="Both arguments of a relation are the same annotation, or an event is its own participant.",
    example="a relation from T1 to T1",
)
def reflexive(document: Document) -> Iterator[tuple[str, str]]:
    """Find relations and events with themselves."""
    for relation in (*document.relations, *document.concept_relations):
        if relation.arg1_id == relation.arg2_id:
            yield relation.id, f"both its arguments are {relation.arg1_id}"
    for event in document.events:
        if any(argument.ref_id == event.id for argument in event.arguments):
            yield event.id, "it is its own argument"


@document_check(
    "RF06",
    "error",
    "events that contain each other",
    explanation="Events may be participants of events, but not in a circle: nothing could ever be read off such events.",
    example="E1 has the Theme E2, and E2 has the Cause E1",
)
def cyclic(document: Document) -> Iterator[tuple[str, str]]:
    """Find circles of two or more events, each once, at its member that comes first."""
    after = {e.id: [a.ref_id for a in e.arguments if a.ref_id != e.id] for e in document.events}
    place = {name: i for i, name in enumerate(after)}
    for circle in strong_components(after):
        if len(circle) > 1:
            members = sorted(circle, key=place.__getitem__)
            yield members[0], f"the events {', '.join(members)} contain each other"


def strong_components(after: dict[str, list[str]]) -> Iterator[list[str]]:
    """Yield the strongly connected components of a graph (Tarjan 1972), without recursion; unknown nodes are left out."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    path: list[str] = []
    on_path: set[str] = set()
    for root in after:
        work = [(root, iter(after[root]))] if root not in index else []
        while work:
            node, rest = work[-1]
            if node not in index:
                index[node] = low[node] = len(index)
                path.append(node)
                on_path.add(node)
            for child in rest:
                if child in after and child not in index:
                    work.append((child, iter(after[child])))
                    break
                if child in on_path:
                    low[node] = min(low[node], index[child])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    start = path.index(node)
                    component, path[start:] = path[start:], []
                    on_path.difference_update(component)
                    yield component


@document_check(
    "RF07",
    "warning",
    "relation of a concept that no mention carries",
    explanation="A relation between concepts can be seen in the text only where mentions are linked to both; this one is lost "
    "in the harmonised view.",
    example="a relation of D003920 in a document without a mention linked to it",
)
def unmentioned_concepts(document: Document) -> Iterator[tuple[str, str]]:
    """Find relations between concepts with an end that is not mentioned."""
    linked = {n.db_id for e in document.entities for n in e.normalized}
    for relation in document.concept_relations:
        for side in dict.fromkeys((relation.arg1_id, relation.arg2_id)):
            if side not in linked:
                yield relation.id, f"no mention is linked to {side}"


@document_check(
    "RF08",
    "info",
    "entity in two coreferences",
    explanation="Coreferences of one kind that share an entity name one thing, and should be one.",
    example="coreferences {T1, T2} and {T2, T3}",
)
def shared_members(document: Document) -> Iterator[tuple[str, str]]:
    """Find entities in two coreferences of the same type."""
    seen: dict[tuple[str, str], str] = {}
    for coreference in document.coreferences:
        for member in dict.fromkeys(coreference.entity_ids):
            other = seen.setdefault((coreference.type, member), coreference.id)
            if other != coreference.id:
                yield coreference.id, f"its member {member} is in {other} too"
