"""BRAT standoff: `<split>/<id>.txt` and `<id>.ann`, and an `annotation.conf` so that BRAT shows and edits them.

Texts are the passages' joined by one blank, which is what offsets count in. Local ids that BRAT allows (T1, E1, R1, A1, #1) are
kept, others are numbered on. A trigger that is also an entity of its own right gets a line of its own, unless another annotation
refers to it: readers take a line that is only a trigger for no entity.

What has no place in BRAT is counted: borders of passages, relations between concepts, attributes of a document or passage, links
of a relation, metadata. Types and roles lose blanks and colons (an underscore each), text columns newlines (a blank each, as BRAT
itself writes them).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, cast
from urllib.parse import quote

from mumei.core.files import new_file
from mumei.data.documents import Attribute, Coreference, Document, Event, Relation
from mumei.data.schemas import Pair

if TYPE_CHECKING:
    from mumei.data.corpus import Corpus

_NAME = re.compile(r"[\s:;]+")
_LINE = re.compile(r"[\r\n]")
_FORMS = {
    kind: re.compile(rf"{form}\d+") for kind, form in (("T", "T"), ("E", "E"), ("R", "R"), ("A", "[AM]"), ("#", "#"))
}
_LONGEST = 200  # bytes of a file's name


def write_brat(corpus: Corpus, folder: Path, notes: Counter[str]) -> None:
    """Write every document's two files, and the types that occur."""
    types: dict[str, dict[str, set[str]]] = {}
    for split in corpus.splits:
        (folder / split).mkdir()
        taken: set[str] = set()
        for record in corpus.records(split):
            document = cast("Document", record)
            name = _file_name(document.id, taken)
            for suffix, content in ((".txt", document.text()), (".ann", standoff(document, notes))):
                with new_file(folder / split / (name + suffix)) as out:
                    out.write(content.encode())
            _types(document, types)
    with new_file(folder / "annotation.conf") as out:
        out.write(_configuration(types).encode())


def _file_name(name: str, taken: set[str]) -> str:
    """Return a name that every file system takes, the id itself wherever it is one."""
    safe = quote(name, safe=" ()+,=@_-.;~'&!#[]{}$^") if re.search(r'[/\\:*?"<>|\x00-\x1f%]', name) else name
    safe = "%2E" + safe[1:] if safe.startswith(".") else safe or "_"
    while len(safe.encode()) > _LONGEST:
        safe = safe[: len(safe) - 1]
    made, number = safe, 1
    while made.lower() in taken:
        number += 1
        made = f"{safe}.{number}"
    taken.add(made.lower())
    return made


def standoff(document: Document, notes: Counter[str] | None = None) -> str:
    """Return the content of a document's .ann file; what BRAT has no place for is counted in `notes`."""
    return _Lines(document, Counter() if notes is None else notes).all()


class _Lines:
    """Makes the lines of one document."""

    def __init__(self, document: Document, notes: Counter[str]):
        self.document, self.notes, self.lines = document, notes, []
        self.names: dict[str, str] = {}  # id -> local id in the file
        self.free: Counter[str] = Counter()  # highest number given by kind
        self.triggers: dict[str, str] = {}  # event's id -> its trigger's local id
        for kind, ids in self._ids():
            for name in ids:
                local = self._local(name)
                if _FORMS[kind].fullmatch(local):
                    self.names[name] = local
                    self.free[kind] = max(self.free[kind], int(local[1:]))
        for kind, ids in self._ids():
            for name in ids:
                if name not in self.names:
                    self.names[name] = self._next(kind)

    def _ids(self) -> Iterable[tuple[str, list[str]]]:
        document = self.document
        yield "T", [e.id for e in document.entities] + [e.trigger.id for e in document.events if e.trigger.id]
        yield "E", [e.id for e in document.events]
        yield "R", [r.id for r in document.relations]
        yield "A", [a.id for a in document.attributes if not self._is_note(a)]
        yield "#", [a.id for a in document.attributes if self._is_note(a)]

    def _local(self, name: str) -> str:
        return name.removeprefix(self.document.id + "_")

    def _is_note(self, attribute: Attribute) -> bool:
        return self._local(attribute.id).startswith("#")

    def _next(self, kind: str) -> str:
        self.free[kind] += 1
        return f"{kind}{self.free[kind]}"

    def _name(self, text: str) -> str:
        plain = _NAME.sub("_", text) or "_"
        if plain != text:
            self.notes["types or roles written with an underscore in place of blanks or colons"] += 1
        return plain

    def _ref(self, name: str) -> str:
        return self.names.get(name) or _NAME.sub("_", self._local(name))

    def all(self) -> str:
        """Return the whole file."""
        document = self.document
        self.notes["borders of passages"] += max(0, len(document.passages) - 1)
        self.notes["relations between concepts"] += len(document.concept_relations)
        self.notes["entries of metadata"] += len(document.metadata)
        for entity in document.entities:
            self._span(self.names[entity.id], entity.type, entity.text, entity.offsets)
            for link in entity.normalized:
                if ":" in link.db_name:
                    self.notes["names of databases that hold a colon"] += 1
                target = f"{link.db_name}:{link.db_id}"
                shown = _LINE.sub(" ", " ".join(entity.text))
                self.lines.append(f"{self._next('N')}\tReference {self.names[entity.id]} {target}\t{shown}")
        self._all_triggers()
        for event in document.events:
            self._event(event)
        for relation in document.relations:
            self._relation(relation)
        for place, coreference in enumerate(document.coreferences, 1):
            self._equiv(coreference, place)
        for attribute in document.attributes:
            self._attribute(attribute)
        for key in [key for key, n in self.notes.items() if not n]:
            del self.notes[key]
        return "".join(line + "\n" for line in self.lines)

    def _span(self, name: str, kind: str, texts: list[str], offsets: list[Pair]) -> None:
        where = ";".join(f"{start} {end}" for start, end in offsets)
        text = " ".join(texts)
        if _LINE.search(text):
            self.notes["newlines in the texts of mentions"] += 1
        self.lines.append(f"{name}\t{self._name(kind)} {where}\t{_LINE.sub(' ', text)}")

    def _all_triggers(self) -> None:
        """Write the triggers that are not entities; events that share one share its line."""
        entities = {e.id for e in self.document.entities}
        named = {a.ref_id for e in self.document.events for a in e.arguments}
        named |= {i for r in self.document.relations for i in (r.arg1_id, r.arg2_id)}
        named |= {i for c in self.document.coreferences if len(c.entity_ids) > 1 for i in c.entity_ids}
        made: dict[str, str] = {}
        for event in self.document.events:
            trigger = event.trigger
            if trigger.id in entities and trigger.id in named:
                self.triggers[event.id] = self.names[trigger.id]
                continue
            if not trigger.id or trigger.id not in made:
                own = self._next("T") if not trigger.id or trigger.id in entities else self.names[trigger.id]
                self._span(own, event.type, trigger.text, trigger.offsets)
                made[trigger.id] = own
            self.triggers[event.id] = made[trigger.id]

    def _event(self, event: Event) -> None:
        said = [f"{self._name(event.type)}:{self.triggers[event.id]}"]
        for a in event.arguments:
            said.append(f"{self._name(a.role)}{a.number or ''}:{self._ref(a.ref_id)}")
        self.lines.append(f"{self.names[event.id]}\t{' '.join(said)}")

    def _relation(self, relation: Relation) -> None:
        self.notes["links of relations"] += len(relation.normalized)
        first = f"{self._name(relation.arg1_role or 'Arg1')}:{self._ref(relation.arg1_id)}"
        second = f"{self._name(relation.arg2_role or 'Arg2')}:{self._ref(relation.arg2_id)}"
        self.lines.append(f"{self.names[relation.id]}\t{self._name(relation.type)} {first} {second}")

    def _equiv(self, coreference: Coreference, place: int) -> None:
        if len(coreference.entity_ids) < 2:
            self.notes["coreferences of a single mention"] += 1
            return
        kind, local = self._name(coreference.type or "Equiv"), self._local(coreference.id)
        own = local if re.fullmatch(r"\*\S+", local) else "*"
        self.lines.append(f"{own}\t{kind} {' '.join(map(self._ref, coreference.entity_ids))}")

    def _attribute(self, attribute: Attribute) -> None:
        inside = attribute.ref_id in self.names
        if not inside and attribute.ref_id in {self.document.id, *(p.id for p in self.document.passages)}:
            self.notes["attributes of a document or passage"] += 1
            return
        kind, value = self._name(attribute.type), _LINE.sub(" ", attribute.value)
        between = "\t" if self._is_note(attribute) else " "
        value = f"{between}{value}" if value or between == "\t" else ""
        self.lines.append(f"{self.names[attribute.id]}\t{kind} {self._ref(attribute.ref_id)}{value}")


def _types(document: Document, types: dict[str, dict[str, set[str]]]) -> None:
    """Add the types of a document: section of the configuration -> type -> roles."""
    for section, names in (
        ("entities", [e.type for e in document.entities]),
        ("attributes", [a.type for a in document.attributes if not a.id.startswith(f"{document.id}_#")]),
    ):
        for name in names:
            types.setdefault(section, {}).setdefault(_NAME.sub("_", name), set())
    for event in document.events:
        roles = {_NAME.sub("_", a.role) for a in event.arguments}
        types.setdefault("events", {}).setdefault(_NAME.sub("_", event.type), set()).update(roles)
    for r in document.relations:
        roles = {r.arg1_role or "Arg1", r.arg2_role or "Arg2"}
        types.setdefault("relations", {}).setdefault(_NAME.sub("_", r.type), set()).update(roles)


def _configuration(types: dict[str, dict[str, set[str]]]) -> str:
    """Return BRAT's annotation.conf: every type that occurs, its roles open to anything."""
    lines = []
    for section in ("entities", "relations", "events", "attributes"):
        lines.append(f"[{section}]")
        for name, roles in sorted(types.get(section, {}).items()):
            if section == "entities":
                lines.append(name)
            elif section == "attributes":
                lines.append(f"{name}\tArg:<ANY>")
            else:
                kind = "*:<ANY>" if section == "events" else ":<ANY>"
                lines.append(f"{name}\t{', '.join(role + kind for role in sorted(roles))}".rstrip())
        lines.append("")
    return "\n".join(lines)
