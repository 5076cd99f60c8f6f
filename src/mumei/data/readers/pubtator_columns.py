"""PubTator as columns: the documents of `readers.pubtator`, all annotations of a piece of a file at once.

Titles and abstracts are taken one by one; lines of annotations are put together and cut at their tabs as arrays. A document that
has anything else than plain lines (another id, a number that is none, too few columns) goes through `readers.pubtator`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from mumei.data.columns import (
    Bytes,
    Ints,
    Part,
    between,
    can_be_stored,
    ends_of,
    joined,
    kb_batch,
    lists,
    numbered,
    ones,
    pairs,
    repeated,
    strings,
    structs,
    within,
)
from mumei.data.documents import Attribute, ConceptRelation
from mumei.data.readers.base import Problems, SourceFile, blocks
from mumei.data.readers.concepts import ConceptFields
from mumei.data.readers.pubtator import _documents, without_returns
from mumei.data.schemas import NULL, Entity, Normalized, Passage


class _Plain(NamedTuple):
    """A document: its text from `line` on, of which `annotations` are the last `count` lines."""

    id: str
    title: str
    abstract: str
    annotations: str
    count: int
    text: str
    line: int


_Odd = tuple[int, str, int]  # number of plain documents before it, its text, its first line


def pubtator_columns(
    files: Sequence[SourceFile],
    problems: Problems,
    *,
    encoding: str = "utf-8",
    database: str = NULL,
    joiners: str = "|+",
    whole: Sequence[str] = (),
) -> Iterator[Part]:
    """Yield the documents of `read_pubtator` as record batches, and those that are not plain as records between them."""
    links = ConceptFields(database, joiners, whole)
    for file in files:
        for text, first in blocks(file, encoding):
            plain, odd = _sorted(without_returns(text), first)
            batch, more = _batch(plain, file.name, links) if plain else (None, [])
            others = sorted([*odd, *more], key=lambda o: o[2])
            # What a document left out at the second look had before it is counted without those left out with it.
            left = sorted(place for place, _, _ in more)
            moved = ((o[0] - int(np.searchsorted(left, o[0])), o) for o in others)
            yield from between(batch, ((n, _documents(o[1], o[2], file.name, links, problems)) for n, o in moved))


def _sorted(text: str, first: int) -> tuple[list[_Plain], list[_Odd]]:
    """Return the documents that look plain, and the others."""
    plain: list[_Plain] = []
    odd: list[_Odd] = []
    for piece in text.split("\n\n"):
        line, next_first = first, first + piece.count("\n") + 2
        if piece[:1] == "\n" or piece[-1:] == "\n":
            line += len(piece) - len(piece.lstrip("\n"))
            piece = piece.strip("\n")
        first = next_first
        if not piece:
            continue
        head, _, rest = piece.partition("\n")
        document, mark, title = head.partition("|t|")
        start, abstract = document + "|a|", ""
        if rest.startswith(start):
            abstract, _, rest = rest.partition("\n")
            abstract = abstract[len(start) :]
        count = rest.count("\n") + 1 if rest else 0
        own = document + "\t"
        if not document or not mark or "\t" in document or "|t|" in rest:
            odd.append((len(plain), piece, line))
        elif rest and (not rest.startswith(own) or rest.count("\n" + own) != count - 1):
            odd.append((len(plain), piece, line))
        else:
            plain.append(_Plain(document, title, abstract, rest, count, piece, line))
    return plain, odd


class _Lines:
    """Lines of annotations, cut at their tabs."""

    def __init__(self, content: bytes):
        self.bytes = Bytes(content)
        self.ends = self.bytes.where("\n")
        self.starts = np.concatenate([[0], self.ends[:-1] + 1]) if len(self.ends) else self.ends
        tabs = self.bytes.where("\t")
        self.first = np.searchsorted(tabs, self.starts)
        self.tabs = np.diff(np.append(self.first, len(tabs)))
        self._places = np.append(tabs, np.full(8, len(content)))  # so that any line can be asked for its columns

    def column(self, number: int, rows: Ints) -> tuple[Ints, Ints]:
        """Return where a column begins and ends in lines that have it; number 0 is the one after the document's id."""
        first = self.first[rows] + number
        return self._places[first] + 1, np.minimum(self._places[first + 1], self.ends[rows])

    def strings(self, number: int, rows: Ints) -> pa.StringArray:
        """Return a column of lines."""
        return self.bytes.strings(*self.column(number, rows))


def _batch(plain: list[_Plain], file: str, links: ConceptFields) -> tuple[pa.RecordBatch | None, list[_Odd]]:
    """Return the documents as rows, and those that turn out not to be plain."""
    text = "\n".join([d.annotations for d in plain if d.count] + [""])
    if not can_be_stored(file, text, *[d.title + d.abstract for d in plain]):
        return None, [(n, d.text, d.line) for n, d in enumerate(plain)]
    lines = _Lines(text.encode())
    owner = np.repeat(np.arange(len(plain)), [d.count for d in plain])
    rows = np.arange(len(owner))
    begun, ended = lines.column(0, rows)
    head = lines.bytes.array[np.minimum(begun, len(text) and len(lines.bytes.array) - 1)] if len(rows) else begun
    mention = (head >= 48) & (head <= 57)
    wrong = (lines.tabs < 3) | (ended <= begun) | (head == ord("-")) | (head >= 128) | (mention & (lines.tabs < 4))
    mentions = rows[mention & ~wrong]
    starts, good = lines.bytes.numbers(begun[mentions], ended[mentions])
    wrong[mentions[~good]] = True
    ends, good = lines.bytes.numbers(*lines.column(1, mentions))
    wrong[mentions[~good]] = True
    odd: list[_Odd] = []
    if wrong.any():
        bad = np.zeros(len(plain), np.bool_)
        bad[owner[wrong]] = True
        odd = [(int(n), plain[n].text, plain[n].line) for n in np.flatnonzero(bad)]
        kept = ~bad[owner]
        starts, ends, mentions = (a[kept[mentions]] for a in (starts, ends, mentions))
        wrong |= ~kept
        owner = (np.cumsum(~bad) - 1)[owner]
        plain = [d for d, out in zip(plain, bad, strict=True) if not out]
    relations = rows[~mention & ~wrong]
    if not plain:
        return None, odd
    ids = strings([d.id for d in plain])
    entities, attributes = _entities(ids, lines, (mentions, starts, ends), owner, links)
    batch = kb_batch(
        id=ids,
        document_id=ids,
        passages=_passages(plain),
        entities=entities,
        concept_relations=_relations(ids, lines, relations, owner),
        attributes=attributes,
        file=repeated(file, len(plain)),
        line=pa.array([d.line for d in plain], pa.int32()),
    )
    return batch, odd


def _passages(plain: list[_Plain]) -> pa.Array:
    middles = np.fromiter((len(d.title) + 1 for d in plain), np.int64, len(plain))
    starts, ends = np.zeros(2 * len(plain), np.int64), np.empty(2 * len(plain), np.int64)
    starts[1::2], ends[0::2] = middles, middles - 1
    ends[1::2] = middles + np.fromiter((len(d.abstract) for d in plain), np.int64, len(plain))
    items = structs(
        Passage,
        id=strings([name for d in plain for name in (d.id + "_title", d.id + "_abstract")]),
        type=strings(["title", "abstract"] * len(plain)),
        text=ones(strings([text for d in plain for text in (d.title, d.abstract)])),
        offsets=ones(pairs(starts, ends)),
    )
    return lists(np.full(len(plain), 2), items)


def _entities(
    documents: pa.Array, lines: _Lines, found: tuple[Ints, Ints, Ints], owner: Ints, links: ConceptFields
) -> tuple[pa.Array, pa.Array]:
    """Return the documents' mentions and attributes."""
    rows, starts, ends = found
    owner = owner[rows]
    counts = np.bincount(owner, minlength=len(documents))
    own = numbered(joined(documents, "_T"), owner, within(counts) + 1)
    normalized, keep = _links(lines, rows, links)
    items = structs(
        Entity,
        id=own,
        type=lines.strings(3, rows),
        text=ones(lines.strings(2, rows)),
        offsets=ones(pairs(starts, ends)),
        normalized=normalized,
    )
    concepts, parts = np.flatnonzero(keep), np.flatnonzero(lines.tabs[rows] > 5)
    which = np.concatenate([concepts, parts])
    order = np.argsort(which, kind="stable")
    tails = lines.column(5, rows[parts])[0], lines.ends[rows[parts]]
    kinds = pa.array(["concept"] * len(concepts) + ["parts"] * len(parts), pa.string()).take(pa.array(order))
    of = own.take(pa.array(which[order]))
    values = pa.concat_arrays([lines.strings(4, rows[concepts]), lines.bytes.strings(*tails)])
    attributes = structs(
        Attribute, id=joined(of, "_", kinds), type=kinds, value=values.take(pa.array(order)), ref_id=of
    )
    return lists(counts, items), lists(np.bincount(owner[which], minlength=len(documents)), attributes)


def _links(lines: _Lines, rows: Ints, links: ConceptFields) -> tuple[pa.Array, Any]:
    """Return the mentions' links to concepts, and whose fields are kept as they stand: each field is looked at once."""
    having = lines.tabs[rows] > 4
    start, end = lines.column(3, rows[having])[0], lines.column(4, rows[having])[1]
    coded = lines.bytes.strings(start, end).dictionary_encode()  # type, tab, field
    looked = []
    for both in coded.dictionary.to_pylist():
        kind, _, field = both.partition("\t")
        looked.append(links.seen.get((kind, field)) or links.get(kind, field))
    flat = [link for found, _ in looked for link in found]
    lengths = np.array([len(found) for found, _ in looked] + [0])
    codes = np.full(len(rows), len(looked))
    codes[having] = coded.indices.to_numpy()
    counts = lengths[codes]
    index = pa.array(np.repeat(ends_of(lengths)[codes], counts) + within(counts))
    items = structs(
        Normalized,
        db_name=strings([link.db_name for link in flat]).take(index),
        db_id=strings([link.db_id for link in flat]).take(index),
    )
    return lists(counts, items), np.array([keep for _, keep in looked] + [False])[codes]


def _relations(documents: pa.Array, lines: _Lines, rows: Ints, owner: Ints) -> pa.Array:
    owner = owner[rows]
    counts = np.bincount(owner, minlength=len(documents))
    flags = lines.tabs[rows] - 3
    starts = np.repeat(rows, flags)
    first = lines.first[starts] + 3 + within(flags)
    ends = np.minimum(lines._places[first + 1], lines.ends[starts])
    items = structs(
        ConceptRelation,
        id=numbered(joined(documents, "_R"), owner, within(counts) + 1),
        type=lines.strings(0, rows),
        arg1_id=lines.strings(1, rows),
        arg2_id=lines.strings(2, rows),
        flags=lists(flags, lines.bytes.strings(lines._places[first] + 1, ends)),
    )
    return lists(counts, items)
