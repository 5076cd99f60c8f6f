"""BRAT as columns: the documents of `readers.brat`, their lines found by patterns and collected over many documents.

A document is plain where patterns find all of its lines, no id is given twice, and what a line refers to as trigger or normalised
mention stands there. Any other goes through `readers.brat`, and so do all where types are concepts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any

import numpy as np
import pyarrow as pa

from mumei.data import documents as superset
from mumei.data.columns import (
    DIGITS,
    Part,
    between,
    can_be_stored,
    ends_of,
    joined,
    kb_batch,
    lists,
    ones,
    pairs,
    repeated,
    strings,
    structs,
)
from mumei.data.readers.base import Problems, ReadError, SourceFile, decode, drops_mark
from mumei.data.readers.brat import (
    ANNOTATIONS,
    Options,
    documents,
    fragments,
    groups,
    held_texts,
    name_of,
    numbered_role,
    read_brat,
)
from mumei.data.schemas import NULL, Entity, Normalized, Passage

BATCH = 1_000  # documents
SIZE = 4 << 20  # characters

_NUMBER = rf"[0-9]{{1,{DIGITS}}}"
# Each begins with the end of the line before, a literal that is looked for fast, and stops before that of its own.
_SPAN = re.compile(rf"\n(T[^\t\n]*)\t([^ \t\n;]*) ({_NUMBER}) ({_NUMBER})((?:;{_NUMBER} {_NUMBER})*)\t([^\n]*)")
_EVENT = re.compile(r"\n(E[^\t\n]*)\t([^\s:]*):([^\s:]+)((?: [^\s:]+:[^\s:]+)*) *(?=\n)")
_RELATION = re.compile(r"\n(R[^\t\n]*)\t(\S+) ([^\s:]*):([^\s:]+) ([^\s:]*):([^\s:]+) *(?=\n)")
_EQUIV = re.compile(r"\n(\*[^\t\n]*)\t(\S+)((?: \S+){2,}) *(?=\n)")
_NORMALISED = re.compile(r"\n(N[^\t\n]*)\t\S+ (\S+) ([^\s:][^\t\n:]*):([^\t\n]*)(?:\t[^\n]*)?(?=\n)")
_ATTRIBUTE = re.compile(
    r"\n(?:([AM][^\t\n]*)\t(\S+) (\S+)(?: (\S[^\n]*))?|(#[^\t\n]*)\t(\S+) (\S+)(?:\t([^\n]*))?)(?=\n)"
)


class _NotPlain(Exception):
    """The document has another form."""


def brat_columns(
    files: Sequence[SourceFile],
    problems: Problems,
    *,
    encoding: str = "utf-8",
    passage_type: str = "text",
    keep_triggers: bool = False,
    texts: str = "",
    concept_types: bool = False,
    database: str = NULL,
) -> Iterator[Part]:
    """Yield the documents of `read_brat` as record batches, and those that are not plain as records between them."""
    options = Options(encoding, passage_type, keep_triggers, texts, concept_types, database)
    if concept_types or not can_be_stored(passage_type):
        yield from read_brat(files, problems, **options._asdict())
        return
    given, files = held_texts(files, texts, encoding) if texts else (None, files)
    plain, others = _Plain(options), []
    for stem, members in groups(files).items():
        if not plain.add(stem, members, given):
            others.append((len(plain.names), documents(stem, members, given, problems, options)))
        if len(plain.names) + len(others) >= BATCH or plain.size > SIZE:
            yield from between(plain.batch(), others)
            plain, others = _Plain(options), []
    yield from between(plain.batch(), others)


@dataclass
class _Plain:
    """Plain documents so far, in lists over all of them; `of_x` has the number of x in each document."""

    options: Options
    names: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    size: int = 0
    spans: list[tuple[str, ...]] = field(default_factory=list)  # id, type, start, end, further pairs, text
    of_spans: list[int] = field(default_factory=list)
    triggers: list[int] = field(default_factory=list)  # spans that are triggers and no entities
    events: list[str] = field(default_factory=list)  # ids
    event_kinds: list[str] = field(default_factory=list)
    event_spans: list[int] = field(default_factory=list)
    of_events: list[int] = field(default_factory=list)
    roles_of: list[str] = field(default_factory=list)  # of arguments
    refs: list[str] = field(default_factory=list)
    of_arguments: list[int] = field(default_factory=list)
    relations: list[tuple[str, ...]] = field(default_factory=list)  # id, type, role, id, role, id
    of_relations: list[int] = field(default_factory=list)
    equivs: list[tuple[str, str, list[str]]] = field(default_factory=list)  # id, type, members
    of_equivs: list[int] = field(default_factory=list)
    attributes: list[tuple[str, str, str, str]] = field(default_factory=list)  # id, type, value, what of
    of_attributes: list[int] = field(default_factory=list)
    links: list[tuple[int, str, str]] = field(default_factory=list)  # span, vocabulary, concept
    roles: dict[str, tuple[str, int]] = field(default_factory=dict)

    def add(self, stem: str, members: dict[str, SourceFile], given: dict[str, str] | None) -> bool:
        """Add a document if it is plain; return whether it is. `given` are texts by name where one file has them all."""
        name, text = name_of(stem), members.get("txt")
        if (text is None or len(members) < 2) if given is None else (text is not None or name not in given):
            return False
        try:
            raw = text.read() if text is not None else b""
            first = text or next(iter(members.values()))
            content = given[name] if given is not None else decode(raw, first.name, self.options.encoding)
            parts = [decode(f.read(), f.name, self.options.encoding) for s in ANNOTATIONS if (f := members.get(s))]
            lines = "\n".join(["", *[part.removesuffix("\n") for part in parts], ""])
            if "\r" in lines:
                lines = lines.replace("\r\n", "\n")
            if "\r" in lines or drops_mark(raw, self.options.encoding):
                return False
            if not can_be_stored(name, first.name, content, lines):
                return False
            self._annotations(lines)
        except (ReadError, _NotPlain):
            return False
        self.names.append(name)
        self.files.append(first.name)
        self.texts.append(content)
        self.size += len(content) + len(lines)
        return True

    def _annotations(self, lines: str) -> None:
        """Add a document's lines, or raise `_NotPlain` and add nothing."""
        spans = _SPAN.findall(lines)
        rest = lines.count("\n") > len(spans) + 1  # lines of another kind, or empty ones
        events = _EVENT.findall(lines) if rest else []
        relations = _RELATION.findall(lines) if rest else []
        equivs = [
            (f"{kind}{n}" if name == "*" else name, kind, members.split())
            for n, (name, kind, members) in enumerate(_EQUIV.findall(lines) if rest else (), 1)
        ]
        attributes = _attributes(lines) if rest else []
        links = _NORMALISED.findall(lines) if rest else []
        found = len(spans) + len(events) + len(relations) + len(equivs) + len(attributes) + len(links)
        if rest and found != len(lines.split("\n")) - lines.split("\n").count(""):
            raise _NotPlain
        place = {span[0]: n for n, span in enumerate(spans, len(self.spans))}
        ids = set(place)
        for others in (events, relations, equivs, attributes, links):
            ids.update([other[0] for other in others])
        if len(ids) != found:
            raise _NotPlain
        if links and (lines.find("\nN") < lines.rfind("\nT") or not all(ref in place for _, ref, _, _ in links)):
            raise _NotPlain
        if events:
            self._events(events, place, relations, equivs)
        self.links += [(place[ref], database, concept) for _, ref, database, concept in links]
        self.spans += spans
        self.relations += relations
        self.equivs += equivs
        self.attributes += attributes
        self.of_spans.append(len(spans))
        self.of_events.append(len(events))
        self.of_relations.append(len(relations))
        self.of_equivs.append(len(equivs))
        self.of_attributes.append(len(attributes))

    def _events(self, events: list[Any], place: dict[str, int], relations: list[Any], equivs: list[Any]) -> None:
        names, kinds, triggers, arguments = zip(*events, strict=True)
        pieces = "".join(arguments).replace(":", " ").split()
        roles, refs = pieces[0::2], pieces[1::2]
        for role in set(roles).difference(self.roles):
            self.roles[role] = numbered_role(role)
        if (
            not place.keys() >= set(triggers)
            or max([self.roles[role][1] for role in set(roles)], default=0) >= 10**DIGITS
        ):
            raise _NotPlain
        if not self.options.keep_triggers:
            named = {ref for relation in relations for ref in (relation[3], relation[5])}
            named.update(refs, [member for equiv in equivs for member in equiv[2]])
            self.triggers += [place[name] for name in set(triggers) - named]
        self.events += names
        self.event_kinds += kinds
        self.event_spans += map(place.__getitem__, triggers)
        self.of_arguments += map(str.count, arguments, repeat(":"))
        self.roles_of += roles
        self.refs += refs

    # Columns ---------------------------------------------------------------------------------------------------------

    def batch(self) -> pa.RecordBatch | None:
        """Return the documents as rows."""
        if not self.names:
            return None
        names = strings(self.names)
        prefixes, count = joined(names, "_"), len(names)
        lengths = np.fromiter(map(len, self.texts), np.int64, count)
        passages = structs(
            Passage,
            id=joined(names, "_text"),
            type=repeated(self.options.passage_type, count),
            text=ones(strings(self.texts)),
            offsets=ones(pairs(np.zeros(count, np.int64), lengths)),
        )
        ids, texts, offsets = _spans(self.spans, _prefixed(prefixes, self.of_spans))
        return kb_batch(
            id=names,
            document_id=names,
            passages=ones(passages),
            entities=self._entities(ids, texts, offsets),
            events=self._event_rows(prefixes, ids, texts, offsets),
            coreferences=self._coreference_rows(prefixes),
            relations=self._relation_rows(prefixes),
            attributes=self._attribute_rows(prefixes),
            file=strings(self.files),
            line=repeated(1, count, pa.int32()),
        )

    def _entities(self, ids: pa.Array, texts: pa.Array, offsets: pa.Array) -> pa.Array:
        order = sorted(self.links, key=lambda link: link[0])
        links = structs(
            Normalized, db_name=strings([link[1] for link in order]), db_id=strings([link[2] for link in order])
        )
        counts = np.bincount(np.array([link[0] for link in order], np.int64), minlength=len(self.spans))
        items = structs(
            Entity,
            id=ids,
            type=strings([span[1] for span in self.spans]),
            text=texts,
            offsets=offsets,
            normalized=lists(counts, links),
        )
        kept = np.ones(len(self.spans), np.bool_)
        kept[self.triggers] = False
        ends = ends_of(kept)[ends_of(self.of_spans)]
        return lists(np.diff(ends), items if kept.all() else items.take(pa.array(np.flatnonzero(kept))))

    def _event_rows(self, prefixes: pa.Array, ids: pa.Array, texts: pa.Array, offsets: pa.Array) -> pa.Array:
        at = pa.array(np.array(self.event_spans, np.int64))
        trigger = structs(superset.Trigger, text=texts.take(at), offsets=offsets.take(at), id=ids.take(at))
        roles = [self.roles[role] for role in self.roles_of]
        of_documents = np.diff(ends_of(self.of_arguments)[ends_of(self.of_events)])
        arguments = structs(
            superset.Argument,
            role=strings([role for role, _ in roles]),
            ref_id=joined(_prefixed(prefixes, of_documents), strings(self.refs)),
            number=pa.array([number for _, number in roles], pa.int32()),
        )
        items = structs(
            superset.Event,
            id=joined(_prefixed(prefixes, self.of_events), strings(self.events)),
            type=strings(self.event_kinds),
            trigger=trigger,
            arguments=lists(self.of_arguments, arguments),
        )
        return lists(self.of_events, items)

    def _coreference_rows(self, prefixes: pa.Array) -> pa.Array:
        members = [len(equiv[2]) for equiv in self.equivs]
        owners = _prefixed(prefixes, np.diff(ends_of(members)[ends_of(self.of_equivs)]))
        items = structs(
            superset.Coreference,
            id=joined(_prefixed(prefixes, self.of_equivs), strings([equiv[0] for equiv in self.equivs])),
            entity_ids=lists(members, joined(owners, strings([name for equiv in self.equivs for name in equiv[2]]))),
            type=strings([equiv[1] for equiv in self.equivs]),
        )
        return lists(self.of_equivs, items)

    def _relation_rows(self, prefixes: pa.Array) -> pa.Array:
        own, kind, role1, arg1, role2, arg2 = _turned(self.relations, 6)
        prefix = _prefixed(prefixes, self.of_relations)
        items = structs(
            superset.Relation,
            id=joined(prefix, own),
            type=kind,
            arg1_id=joined(prefix, arg1),
            arg2_id=joined(prefix, arg2),
            arg1_role=role1,
            arg2_role=role2,
        )
        return lists(self.of_relations, items)

    def _attribute_rows(self, prefixes: pa.Array) -> pa.Array:
        own, kind, value, ref = _turned(self.attributes, 4)
        prefix = _prefixed(prefixes, self.of_attributes)
        items = structs(superset.Attribute, id=joined(prefix, own), type=kind, value=value, ref_id=joined(prefix, ref))
        return lists(self.of_attributes, items)


def _attributes(lines: str) -> list[tuple[str, str, str, str]]:
    """Return (id, type, value, what it is of) of attributes and notes."""
    found = []
    for n, (a, kind, ref, value, note, kind2, ref2, value2) in enumerate(_ATTRIBUTE.findall(lines), 1):
        found.append((a, kind, value, ref) if a else (f"#{n}" if note == "#" else note, kind2, value2, ref2))
    return found


def _turned(rows: list[Any], width: int) -> list[pa.Array]:
    """Return rows of strings as columns."""
    return [strings(column) for column in zip(*rows, strict=True)] if rows else [strings([])] * width


def _prefixed(prefixes: pa.Array, counts: Any) -> pa.Array:
    """Return each document's prefix as often as it has items."""
    return prefixes.take(pa.array(np.repeat(np.arange(len(prefixes)), counts)))


def _spans(spans: list[Any], prefixes: pa.Array) -> tuple[pa.Array, pa.Array, pa.Array]:
    """Return ids, texts and offsets of spans."""
    own, _, starts, ends, more, texts = zip(*spans, strict=True) if spans else ([], [], [], [], [], [])
    ids = joined(prefixes, strings(own))
    first, last = (strings(column).cast(pa.int32()).to_numpy() for column in (starts, ends))
    if not any(more):
        return ids, ones(strings(texts)), ones(pairs(first, last))
    begun: list[int] = []
    ended: list[int] = []
    pieces: list[str] = []
    of_offsets, of_texts = [], []
    for start, end, further, text in zip(first.tolist(), last.tolist(), more, texts, strict=True):
        offsets = [(start, end)]
        if further:
            numbers = [int(n) for n in further[1:].replace(";", " ").split(" ")]
            offsets += zip(numbers[0::2], numbers[1::2], strict=True)
        found = fragments(text, offsets) if further else [text]
        begun += [a for a, _ in offsets]
        ended += [b for _, b in offsets]
        pieces += found
        of_offsets.append(len(offsets))
        of_texts.append(len(found))
    return ids, lists(of_texts, strings(pieces)), lists(of_offsets, pairs(begun, ended))
