"""BRAT standoff: `x.txt` with `x.ann`, or the shared tasks' `x.a1` and `x.a2`.

T text-bound, E event, R relation, `*` Equiv, A and M attributes, N normalisation, `#` notes. A T line that an event has as
its trigger is that trigger and no entity, unless another annotation refers to it by its own id too. Offsets count the characters
of the text file as it is, a CR included. Discontinuous spans (`0 3;8 11`) have a text a fragment: the line's text is cut by
the fragments' lengths where these fit it, else it is kept whole and the checks say so. A byte order mark is dropped, unless
more spans fit the text with it than without: then the offsets count it, and it stays in the text as U+FEFF (MEDDOCAN).

Departures from BigBIO's parser: attributes, notes and the ids of triggers are kept; relations of events and triggers are kept
in the superset; `Theme2` is role "Theme" with number 2; an Equiv line without an id is `Equiv<n>`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from mumei.core.errors import UsageError
from mumei.data.documents import Argument, Attribute, Coreference, Document, Event, Relation, Trigger
from mumei.data.readers.base import Problems, ReadError, SourceFile, decode, drops_mark, lines_of
from mumei.data.schemas import NULL, Entity, Normalized, Pair, Passage

ANNOTATIONS = ("ann", "a1", "a2")
BOM = "\ufeff"
_QUOTED = re.compile(r'"([^"]*)"')


class Options(NamedTuple):
    """What differs between corpora; see `read_brat`."""

    encoding: str = "utf-8"
    passage_type: str = "text"
    keep_triggers: bool = False
    texts: str = ""
    concept_types: bool = False
    database: str = NULL


class _Wrong(Exception):
    """What is wrong with a line."""


def read_brat(
    files: Sequence[SourceFile],
    problems: Problems,
    *,
    encoding: str = "utf-8",
    passage_type: str = "text",
    keep_triggers: bool = False,
    texts: str = "",
    concept_types: bool = False,
    database: str = NULL,
) -> Iterator[Document]:
    """Yield the documents of BRAT files.

    Parameters
    ----------
    files : sequence of SourceFile
        Files of one split; others than .txt, .ann, .a1 and .a2 are passed over.
    problems : Problems
        Takes annotations without a text, lines that are none of the format, and ids given twice. A text without
        annotations is noted.
    encoding : str
        Of all files.
    passage_type : str
        Type of the one passage.
    keep_triggers : bool
        Whether the trigger of an event is an entity besides.
    texts : str
        Name of a file that holds all texts, a line a document: its name, a tab, its text. Other .txt files are passed over then.
    concept_types : bool
        Whether types of T lines are ids of concepts; an entity's type is then what the note of it names last (`,"DISO"`).
    database : str
        Vocabulary of these ids.

    Yields
    ------
    Document
        One passage with the whole text, in the order of the names.
    """
    held, files = held_texts(files, texts, encoding) if texts else (None, files)
    options = Options(encoding, passage_type, keep_triggers, texts, concept_types, database)
    for stem, members in groups(files).items():
        yield from documents(stem, members, held, problems, options)


def documents(
    stem: str, members: dict[str, SourceFile], held: dict[str, str] | None, problems: Problems, options: Options
) -> Iterator[Document]:
    """Yield the document of files of one name, if it is good; `held` are texts by name where one file has them all."""
    members, encoding = dict(members), options.encoding
    text = members.pop("txt", None)
    name = name_of(stem)
    first = next(iter(members.values()), text)
    assert first is not None
    if held is not None and name not in held:
        problems.bad(f"annotations without their text, which is not in {options.texts}", first.name, 0, name)
    elif held is None and text is None:
        problems.bad("annotations without their text; expected a .txt of the same name", first.name)
    elif not members:
        problems.note("a text without annotations (.ann, .a1 or .a2), left out", first.name)
    else:
        try:
            raw = text.read() if text is not None else b""
            content = (
                held[name] if held is not None else decode(raw, first.name if text is None else text.name, encoding)
            )
            passage = Passage(name + "_text", options.passage_type, [content], [(0, len(content))])
            begun = Document(name, name, [passage], file=(text or first).name, line=1)
            builder = _Builder(begun, options.keep_triggers)
            made = _document(builder, members, problems, encoding)
            if held is None and drops_mark(raw, encoding) and _counts_mark(builder.spans.values(), content):
                passage.text, passage.offsets = [BOM + content], [(0, len(content) + 1)]
        except ReadError as error:
            problems.bad(error.message, error.file, error.line, error.document or name)
            return
        for document in made:
            if options.concept_types:
                _types_from_notes(document, options.database)
            yield document


def name_of(stem: str) -> str:
    """Return a document's name from those of its files without their suffixes."""
    return stem.rpartition("/")[2].rpartition("!")[2]


def held_texts(files: Sequence[SourceFile], texts: str, encoding: str) -> tuple[dict[str, str], list[SourceFile]]:
    """Return {document's name: text} from the file of all texts, and the files that are left to read."""
    file = next((f for f in files if f.name == texts or f.name.endswith(("/" + texts, "!" + texts))), None)
    if file is None:
        raise UsageError(f"there is no file {texts} that holds the texts; there are {[f.name for f in files[:3]]}.")
    held: dict[str, str] = {}
    for number, line in enumerate(lines_of(file.text(encoding)), 1):
        name, tab, text = line.partition("\t")
        if not tab or not name or name in held:
            wrong = "is given twice" if tab and name else "expected a document's name, a tab and its text"
            raise ReadError(f"{wrong}: {line[:80]!r}", file.name, number, name)
        held[name] = text
    return held, [f for f in files if not f.name.endswith(".txt")]


def _counts_mark(spans: Collection[Entity], text: str) -> bool:
    """Return whether more spans say what the text has at their offsets with a byte order mark before it than without."""
    fits = [
        sum(span.text == [whole[start:end] for start, end in span.offsets] for span in spans)
        for whole in (text, BOM + text)
    ]
    return fits[1] > fits[0]


def _types_from_notes(document: Document, database: str) -> None:
    """Make links of entities' types, and types of the last words of the notes on them."""
    words = {a.ref_id: _QUOTED.findall(a.value) for a in document.attributes if a.type == "AnnotatorNotes"}
    for entity in document.entities:
        entity.normalized.append(Normalized(database, entity.type))
        if words.get(entity.id):
            entity.type = words[entity.id][-1]


def groups(files: Sequence[SourceFile]) -> dict[str, dict[str, SourceFile]]:
    """Return {name without suffix: {suffix: file}}."""
    groups: dict[str, dict[str, SourceFile]] = {}
    for file in files:
        stem, _, suffix = file.name.rpartition(".")
        if suffix == "txt" or suffix in ANNOTATIONS:
            groups.setdefault(stem, {})[suffix] = file
    return groups


def _document(builder: _Builder, members: dict[str, SourceFile], problems: Problems, encoding: str) -> list[Document]:
    """Return the document with the annotations of its files, or none after `problems.bad`."""
    name = builder.made.id
    for suffix in ANNOTATIONS:
        if suffix not in members:
            continue
        source = members[suffix]
        for number, line in enumerate(lines_of(decode(source.read(), source.name, encoding)), 1):
            try:
                builder.add(line)
            except (ValueError, IndexError):
                problems.bad(f"expected {FORMS.get(line[:1], FORMS[''])}, got {line[:80]!r}", source.name, number, name)
                return []
            except _Wrong as wrong:
                problems.bad(str(wrong), source.name, number, name)
                return []
    missing = builder.missing_trigger()
    if missing:
        problems.bad(missing, next(reversed(members.values())).name, 0, name)
        return []
    return [builder.document()]


FORMS = {  # what a line should look like, for messages
    "T": "'T1<tab>type start end<tab>text'",
    "E": "'E1<tab>type:T1 role:T2 ...'",
    "R": "'R1<tab>type role:T1 role:T2'",
    "*": "'*<tab>Equiv T1 T2 ...'",
    "A": "'A1<tab>name id [value]'",
    "M": "'M1<tab>name id [value]'",
    "N": "'N1<tab>Reference T1 database:id[<tab>text]'",
    "#": "'#1<tab>kind id<tab>note'",
    "": "a line of BRAT (T, E, R, *, A, M, N or #)",
}


class _Builder:
    """Collects the lines of one document; references may point forwards."""

    def __init__(self, document: Document, keep_triggers: bool):
        self.made, self.keep_triggers = document, keep_triggers
        self.prefix = document.id + "_"
        self.spans: dict[str, Entity] = {}  # local id -> text-bound annotation
        self.events: list[tuple[str, str, str, list[Argument]]] = []  # id, type, trigger's local id, arguments
        self.named: set[str] = set()  # local ids that are referred to other than as a trigger
        self.ids: set[str] = set()

    def add(self, line: str) -> None:
        """Add one line."""
        kind = line[:1]
        if kind == "T":
            self._span(line)
        elif kind == "E":
            self._event(line)
        elif kind in ("R", "*", "A", "M", "N", "#"):
            getattr(self, _METHODS[kind])(line)
        elif line.strip():
            raise _Wrong(f"expected {FORMS['']}, got {line[:80]!r}")

    def _new(self, name: str) -> str:
        if name in self.ids:
            raise _Wrong(f"the id {name} is given twice")
        self.ids.add(name)
        return self.prefix + name

    def _ref(self, name: str) -> str:
        self.named.add(name)
        return self.prefix + name

    def _span(self, line: str) -> None:
        name, where, text = line.split("\t", 2)
        full = self._new(name)
        if ";" not in where:
            kind, start, end = where.split(" ")
            self.spans[name] = Entity(full, kind, [text], [(int(start), int(end))], [])
            return
        kind, _, spans = where.partition(" ")
        offsets: list[Pair] = []
        for span in spans.split(";"):
            start, end = span.split(" ")
            offsets.append((int(start), int(end)))
        self.spans[name] = Entity(full, kind, fragments(text, offsets), offsets, [])

    def _event(self, line: str) -> None:
        name, rest = line.split("\t", 1)
        head, *arguments = rest.split()
        kind, trigger = head.split(":")
        made = []
        for argument in arguments:
            role, ref = argument.split(":")
            base, number = numbered_role(role)
            made.append(Argument(base, self._ref(ref), number))
        self.events.append((self._new(name), kind, trigger, made))

    def _relation(self, line: str) -> None:
        name, rest = line.split("\t", 1)
        kind, first, second = rest.split()
        (role1, ref1), (role2, ref2) = first.split(":"), second.split(":")
        relation = Relation(self._new(name), kind, self._ref(ref1), self._ref(ref2), [], role1, role2)
        self.made.relations.append(relation)

    def _equiv(self, line: str) -> None:
        name, rest = line.split("\t", 1)
        kind, *members = rest.split()
        if len(members) < 2:
            raise _Wrong(f"{kind} names {len(members)} annotations, expected at least 2: {line[:80]!r}")
        own = self._new(f"{kind}{len(self.made.coreferences) + 1}" if name == "*" else name)
        self.made.coreferences.append(Coreference(own, [self._ref(m) for m in members], kind))

    def _attribute(self, line: str) -> None:
        name, rest = line.split("\t", 1)
        kind, ref, *value = rest.split(None, 2)
        # An attribute of a trigger does not make an entity of it.
        self.made.attributes.append(Attribute(self._new(name), kind, value[0] if value else "", self.prefix + ref))

    def _normalised(self, line: str) -> None:
        name, rest = line.split("\t", 1)
        _, ref, target = rest.partition("\t")[0].split(None, 2)
        database, concept = target.split(":", 1)
        self._new(name)
        if ref not in self.spans:
            raise _Wrong(f"{name} refers to {ref}, which does not stand above it")
        self.spans[ref].normalized.append(Normalized(database, concept))

    def _note(self, line: str) -> None:
        name, rest, *note = line.split("\t", 2)
        kind, ref = rest.split()
        own = f"#{len(self.made.attributes) + 1}" if name == "#" else name
        self.made.attributes.append(Attribute(self._new(own), kind, note[0] if note else "", self.prefix + ref))

    def missing_trigger(self) -> str:
        """Say which event's trigger is not there, or ""."""
        for name, _, trigger, _ in self.events:
            if trigger not in self.spans:
                return f"event {name[len(self.prefix) :]} has the trigger {trigger}, which is not annotated"
        return ""

    def document(self) -> Document:
        """Return the document."""
        triggers = set()
        for name, kind, trigger, arguments in self.events:
            span = self.spans[trigger]
            triggers.add(trigger)
            self.made.events.append(Event(name, kind, Trigger(span.text, span.offsets, span.id), arguments))
        triggers = set() if self.keep_triggers else triggers - self.named
        self.made.entities = [span for name, span in self.spans.items() if name not in triggers]
        return self.made


_METHODS = {"R": "_relation", "*": "_equiv", "A": "_attribute", "M": "_attribute", "N": "_normalised", "#": "_note"}


def numbered_role(role: str) -> tuple[str, int]:
    """Return a role and its number: `Theme2` is Theme, 2."""
    base = role.rstrip("0123456789")
    return (base, int(role[len(base) :])) if base and base != role else (role, 0)


def fragments(text: str, offsets: list[Pair]) -> list[str]:
    """Return the text cut into one piece a fragment, or whole where the lengths do not fit."""
    lengths = [end - start for start, end in offsets]
    if len(text) != sum(lengths) + len(lengths) - 1:
        return [text]
    pieces, at = [], 0
    for length in lengths:
        pieces.append(text[at : at + length])
        at += length + 1
    return pieces
