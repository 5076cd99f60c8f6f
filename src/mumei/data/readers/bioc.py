"""BioC's own model as documents: what the readers of BioC XML and BioC JSON share.

Comeau and others 2013, BioC: a minimalist approach to interoperability for biomedical text processing (Database bat064). A
passage's offset is its place in the source, which may lie behind the end of the passage before by more than one blank; here
passages follow each other by one blank, and the offsets of annotations move with theirs. Some files count otherwise, in the
text so joined or from the passage's start; where the passage's own offset does not fit, that way is taken by which most mentions
stand at their texts, and it is noted. Texts of sentences stand at their
offsets within the passage. An annotation of several locations has a text a location, cut out of the passage; the file's own
text, of other words then, is kept as attribute "text".

Infons: `type` is the type; those named by `concepts` hold concept ids without the name of their vocabulary, those named by
`databases` ids of the vocabulary that they are called like. All others are kept as attributes. A relation with two nodes is one
between mentions. One without nodes is one between concepts, if its infons name two (`arguments`); its further infons are its
flags, by value. Relations of another form are kept as attributes of the document and noted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from mumei.data.documents import Attribute, ConceptRelation, Document, Relation
from mumei.data.readers.concepts import ConceptFields
from mumei.data.schemas import NULL, Entity, Normalized, Passage

Infons = tuple[tuple[str, str], ...]  # key and value, in order
Mention = tuple[str, Infons, tuple[tuple[int, int], ...], str]  # id, infons, locations (offset, length), text
Note = Callable[[str], None]  # takes what is odd
GAP = 1_000  # characters: more between two sentences is a wrong offset
TYPES = ("type", "relation")  # infons that hold a relation's type


class Part(NamedTuple):
    """A passage: `offset` in the source, annotations with offsets there, sentences as (offset, length) there."""

    infons: Infons
    offset: int
    text: str
    mentions: Sequence[Mention]
    sentences: Sequence[tuple[int, int]] = ()


class Link(NamedTuple):
    """A relation: nodes are (id referred to, role)."""

    id: str
    infons: Infons
    nodes: Sequence[tuple[str, str]]


class Options(NamedTuple):
    """What differs between corpora; see `readers.bioc_xml.read_bioc_xml`."""

    database: str
    joiners: str
    whole: Sequence[str]
    concepts: Sequence[str]
    databases: Sequence[str]
    arguments: Sequence[str]


def joined(text: str, start: int, sentence: str) -> str:
    """Return a passage's text so far with a sentence at `start`, blanks between; `ValueError` for a start that cannot be."""
    if not 0 <= start - len(text) <= GAP:
        raise ValueError(f"a sentence begins at {start} of its passage, where {len(text)} or a little more is expected")
    return text.ljust(start) + sentence


def shift_of(offset: int, text: str, mentions: Iterable[tuple[int, int, str]], start: int, note: Note) -> int:
    """Return what is added to locations to give offsets in the document, where a passage of this text begins at `start`.

    Mentions are location, length and text. `offset` is what the passage says of itself.
    """
    given = list(mentions)
    by_offset = start - offset
    counts: dict[int, int] = {}
    for shift in (by_offset, 0, start):
        moved = shift - start
        counts[shift] = sum(text[max(at + moved, 0) : max(at + moved + n, 0)] == own for at, n, own in given)
        if counts[shift] == len(given):
            break
    best = max(counts, key=lambda shift: counts[shift])
    if best != by_offset:
        note(
            f"{counts[by_offset]} of {len(given)} mentions stand where the offset {offset} of their passage says, "
            f"{counts[best]} do when moved by {best - by_offset}: they are moved"
        )
    return best


class Builder:
    """Makes documents of BioC's parts."""

    def __init__(self, options: Options):
        self.options = options
        self.fields = ConceptFields(options.database, options.joiners, options.whole)
        self.vocabularies = {name: ConceptFields(name, options.joiners, ()) for name in options.databases}
        # What infons of a mention mean: type, links, what else to keep (type and value of an attribute).
        self.seen: dict[Infons, tuple[str, list[Normalized], list[tuple[str, str]]]] = {}

    def document(self, name: str, infons: Infons, parts: Sequence[Part], links: Sequence[Link], note: Note) -> Document:
        """Return a document; `note` takes what is odd.

        Raises
        ------
        ValueError
            It has no id.
        """
        if not name:
            raise ValueError("the document has no id")
        made = Document(name, name, metadata={key: value for key, value in infons if value})
        start, ids = 0, set()
        for number, part in enumerate(parts):
            self._passage(made, number, part, start)
            shift = start - part.offset
            if shift and part.mentions:
                places = ((at, length, text) for _, _, ((at, length), *_), text in part.mentions)
                shift = shift_of(part.offset, part.text, places, start, note)
            self._mentions(made, part, (start, shift), ids, note)
            made.sentences += [(a + start - part.offset, a + n + start - part.offset) for a, n in part.sentences]
            start += len(part.text) + 1
        for number, link in enumerate(links):
            self._link(made, number, link, note)
        return made

    def _passage(self, made: Document, number: int, part: Part, start: int) -> None:
        own, kind = f"{made.id}_P{number}", NULL
        for key, value in part.infons:
            if key == "type":
                kind = value
            else:
                made.attributes.append(Attribute(f"{own}_{key}", key, value, own))
        made.passages.append(Passage(own, kind, [part.text], [(start, start + len(part.text))]))

    def _mentions(self, made: Document, part: Part, place: tuple[int, int], ids: set[str], note: Note) -> None:
        prefix, entities, seen = made.id + "_", made.entities, self.seen
        shift, base = place[1], place[1] - place[0]  # from a location to the document, and to the passage's text
        for local, infons, locations, text in part.mentions:
            found = seen.get(infons) or self.meaning(infons)
            own = prefix + local
            if local in ids:
                count = 2
                while f"{local}.{count}" in ids:
                    count += 1
                note(f"the id {local} of an annotation is given again, as {local}.{count} here")
                local = f"{local}.{count}"
                own = prefix + local
            ids.add(local)
            if len(locations) == 1:
                start, length = locations[0]
                start += shift
                entities.append(Entity(own, found[0], [text], [(start, start + length)], found[1].copy()))
            else:
                offsets = [(at + shift, at + shift + length) for at, length in locations]
                texts = [part.text[max(at + base, 0) : max(at + base + length, 0)] for at, length in locations]
                entities.append(Entity(own, found[0], texts, offsets, found[1].copy()))
                if " ".join(texts) != text:
                    made.attributes.append(Attribute(own + "_text", "text", text, own))
            if found[2]:
                made.attributes += [Attribute(f"{own}_{key}", key, value, own) for key, value in found[2]]

    def meaning(self, infons: Infons) -> tuple[str, list[Normalized], list[tuple[str, str]]]:
        """Return what infons of a mention mean: its type, its links, and what is kept as attributes (type and value)."""
        kind = next((value for key, value in infons if key == "type"), NULL)
        links: list[Normalized] = []
        kept: list[tuple[str, str]] = []
        for key, value in infons:
            fields = self.fields if key in self.options.concepts else self.vocabularies.get(key)
            if fields is not None:
                found, keep = fields.seen.get((kind, value)) or fields.get(kind, value)
                links += found
                if keep:
                    kept.append(("concept", value))
            elif key != "type":
                kept.append((key, value))
        self.seen[infons] = kind, links, kept
        return self.seen[infons]

    def _link(self, made: Document, number: int, link: Link, note: Note) -> None:
        own = f"{made.id}_{link.id or f'relation{number}'}"
        kind = next((value for key, value in link.infons if key in TYPES), NULL)
        rest = [(key, value) for key, value in link.infons if key not in TYPES]
        ends = [(key, value) for key, value in rest if key in self.options.arguments]
        if len(link.nodes) == 2:
            (first, role1), (second, role2) = link.nodes
            prefix = made.id + "_"
            made.relations.append(Relation(own, kind, prefix + first, prefix + second, [], role1, role2))
            made.attributes += [Attribute(f"{own}_{key}", key, value, own) for key, value in rest]
        elif not link.nodes and len(ends) == 2:
            flags = [value for key, value in rest if key not in self.options.arguments]
            made.concept_relations.append(ConceptRelation(own, kind, ends[0][1], ends[1][1], flags))
        else:
            note(f"the relation {link.id} of {len(link.nodes)} nodes is kept as attributes only")
            said = [*link.infons, *(("node", f"{role}:{ref}") for ref, role in link.nodes)]
            made.attributes += [Attribute(f"{own}_{n}", key, value, made.id) for n, (key, value) in enumerate(said)]
