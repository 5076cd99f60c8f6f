"""CoNLL as columns: the documents of `readers.conll`, all lines of a piece of a file at once.

Tokens, tags and spans are arrays over lines. Lines that differ in their number of columns, tags that are none, and markers within
a sentence send the piece through `readers.conll`; a tag that cannot follow the one before it sends its document, noted there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
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
    strings_of,
    structs,
    within,
)
from mumei.data.readers.base import Problems, ReadError, SourceFile, blocks
from mumei.data.readers.conll import MARKER_ID, Builder, Columns, Sentence, checked, items_of
from mumei.data.schemas import Entity, Passage

_PREFIXES = "OBIES"
_O, _B, _I, _E, _S = range(5)
Flags = npt.NDArray[np.bool_]


def conll_columns(
    files: Sequence[SourceFile],
    problems: Problems,
    *,
    encoding: str = "utf-8",
    scheme: str = "iob2",
    separator: str = "\t",
    token: int = 0,
    tag: int = -1,
    document: str = "marker",
    marker: str = "-DOCSTART-",
    passage_type: str = "text",
) -> Iterator[Part]:
    """Yield the documents of `read_conll` as record batches, and those that are not plain as records between them."""
    columns = checked(scheme, document, Columns(separator, token, tag, marker))
    for file in files:
        builder = Builder(file, scheme, passage_type, problems)
        try:
            for text, first in _pieces(file, encoding, document, marker):
                lines = _lines(text, first, columns, builder)
                if lines is None:
                    yield from builder.documents(items_of(text, first, columns), document)
                else:
                    yield from _parts(lines, builder, document)
        except ReadError as error:
            if not problems.keep_going:
                raise
            problems.bad(error.message, error.file, error.line, error.document)


def _pieces(file: SourceFile, encoding: str, unit: str, marker: str) -> Iterator[tuple[str, int]]:
    """Yield (text, number of its first line) of pieces that hold whole documents."""
    held, begun, found, broken = "", 1, blocks(file, encoding), None
    while True:
        try:
            block = next(found, None)
        except ReadError as error:
            block, broken = None, error
        if held and unit != "file" and (block or broken):
            # What follows a marker is one document, however long.
            cut = held.rfind("\n" + marker) + 1 if unit == "marker" and marker else len(held)
            if not cut and not held.startswith(marker):
                cut = len(held)
            if cut:
                yield held[:cut], begun
            begun, held = begun + held.count("\n", 0, cut), held[cut:]
        if broken is not None:
            raise broken
        if block is None:
            break
        begun = begun if held else block[1]
        held += block[0].replace("\r\n", "\n") if "\r" in block[0] else block[0]
    if held:
        yield held, begun


@dataclass
class _Lines:
    """Lines with a token: where it is, the code of its tag, and whether it begins a sentence; markers apart from them."""

    bytes: Bytes
    starts: Ints
    ends: Ints
    tags: Ints
    begins: Flags
    numbers: Ints  # of the lines
    written: list[str]  # code -> tag
    known: list[tuple[str, str]]  # code -> prefix and type
    markers: list[tuple[int, int, str]]  # number of tokens before, number of the line, the line
    ascii: bool

    def keep(self, rows: Flags) -> None:
        """Leave out all other lines."""
        self.starts, self.ends, self.tags = self.starts[rows], self.ends[rows], self.tags[rows]
        self.begins, self.numbers = self.begins[rows], self.numbers[rows]


def _lines(text: str, first: int, columns: Columns, builder: Builder) -> _Lines | None:
    """Return the lines of a text, or None where it is not plain."""
    if columns.separator == "\n" or not text.strip("\n") or not can_be_stored(text, builder.file.name):
        return None
    content = text.encode() if text.endswith("\n") else text.encode() + b"\n"
    data = Bytes(content)
    ends = data.where("\n")
    starts = np.append(0, ends[:-1] + 1)
    filled = np.flatnonzero(ends > starts)
    starts, ends = starts[filled], ends[filled]
    fields = _fields(data, starts, ends, columns)
    if fields is None:
        return None
    begins = np.append(True, np.diff(filled) > 1)
    markers = _markers(content, starts, columns)
    if not begins[markers].all():
        return None
    tags = data.strings(*fields[columns.tag]).dictionary_encode()
    kinds = tags.dictionary.to_pylist()
    marked = [
        (int(m) - n, first + int(filled[m]), content[starts[m] : ends[m]].decode()) for n, m in enumerate(markers)
    ]
    lines = _Lines(
        data, *fields[columns.token], tags.indices.to_numpy(), begins, filled + first, kinds, [], marked, text.isascii()
    )
    if len(markers):
        begins[np.minimum(markers + 1, len(begins) - 1)] = True
        rows = np.ones(len(begins), np.bool_)
        rows[markers] = False
        lines.keep(rows)
    try:  # of markers too: their tag is looked at by nobody, so a strange one only costs time
        lines.known = [builder.known.get(t) or builder.split(t, 0) for t in kinds]
    except ReadError:
        return None
    return lines


def _fields(data: Bytes, starts: Ints, ends: Ints, columns: Columns) -> list[tuple[Ints, Ints]] | None:
    """Return where each column begins and ends, or None where lines have not all as many."""
    marks = data.where(columns.separator)
    width, over = divmod(len(marks), len(starts))
    if over or not width or not all(-width - 1 <= n <= width for n in (columns.token, columns.tag)):
        return None
    rows = marks.reshape(len(starts), width)
    if (rows[:, 0] < starts).any() or (rows[:, -1] >= ends).any():
        return None
    edges = [starts - 1, *rows.T, ends]
    return [(edges[n] + 1, edges[n + 1]) for n in range(width + 1)]


def _markers(content: bytes, starts: Ints, columns: Columns) -> Ints:
    """Return which lines are markers."""
    if not columns.marker or columns.marker.encode() not in content:
        return np.array([], np.int64)
    found = re.finditer(rb"^" + re.escape(columns.marker.encode()), content, re.MULTILINE)
    return np.searchsorted(starts, [m.start() for m in found])


def _parts(lines: _Lines, builder: Builder, unit: str) -> Iterator[Part]:
    """Yield the documents of lines."""
    names, numbers, owner = _documents(lines, builder, unit)
    prefixes = np.array([_PREFIXES.index(prefix) for prefix, _ in lines.known], np.int64)
    types = list(dict.fromkeys(kind for _, kind in lines.known))
    kinds = np.array([types.index(kind) for _, kind in lines.known], np.int64)[lines.tags]
    first, last, wrong = _spans(prefixes[lines.tags], kinds, lines.begins, builder.scheme)
    others: list[tuple[int, Any]] = []
    if wrong.any():
        odd = np.zeros(len(names), np.bool_)
        odd[owner[wrong]] = True
        place = np.cumsum(~odd)
        others = [
            (int(place[d]), builder.finish(names[d], _sentences(lines, np.flatnonzero(owner == d)), None, numbers[d]))
            for d in np.flatnonzero(odd)
        ]
        kept = ~odd[owner]
        first, last, kinds = first[kept], last[kept], kinds[kept]
        lines.keep(kept)
        owner = (place - 1)[owner[kept]]
        names = [name for name, out in zip(names, odd, strict=True) if not out]
        numbers = [number for number, out in zip(numbers, odd, strict=True) if not out]
    types = strings(types).take(pa.array(kinds[first]))
    batch = _batch(lines, (names, numbers, owner), (np.flatnonzero(first), np.flatnonzero(last), types), builder)
    yield from between(batch, others)


def _documents(lines: _Lines, builder: Builder, unit: str) -> tuple[list[str], list[int], Ints]:
    """Return the documents' names and lines, and the document of each line."""
    sentence, stem = np.cumsum(lines.begins) - 1, builder.file.stem
    if unit == "file":
        some = int(len(sentence) > 0)
        return [stem] * some, [1] * some, np.zeros(len(sentence), np.int64)
    starts = np.flatnonzero(lines.begins)
    markers = lines.markers if unit == "marker" else []
    single = int(np.count_nonzero(starts < markers[0][0])) if markers else len(starts)
    names = [f"{stem}_{n}" for n in range(builder.count + 1, builder.count + single + 1)]
    numbers = lines.numbers[starts[:single]].tolist()
    builder.count += single
    owner = np.minimum(sentence, single)
    for n, (before, number, line) in enumerate(markers):
        found = MARKER_ID.search(line)
        builder.count += 1
        end = markers[n + 1][0] if n + 1 < len(markers) else len(sentence)
        if end > before:
            owner[before:end] = len(names)
            names.append(found[1] if found else f"{stem}_{builder.count}")
            numbers.append(number)
    return names, numbers, owner


def _spans(prefix: Ints, kind: Ints, begins: Flags, scheme: str) -> tuple[Flags, Flags, Flags]:
    """Return which lines begin a span, which end one, and which have a tag that cannot follow the one before."""
    before = np.where(begins, _O, np.append(_O, prefix[:-1]))
    open_before = (before == _B) | (before == _I)
    inside = open_before & (kind == np.append(-1, kind[:-1])) & ((prefix == _I) | (prefix == _E))
    spanned = prefix != _O
    first = spanned & ~inside
    last = spanned & ~np.append(inside[1:], False)
    if scheme == "iob1":
        wrong = (prefix == _E) | (prefix == _S)
    elif scheme == "iob2":
        wrong = spanned & (prefix != _B) & ~((prefix == _I) & inside)
    else:
        ends = (prefix == _I) | (prefix == _E)
        wrong = (ends & ~inside) | (((prefix == _O) | (prefix == _S)) & open_before)
    return first, last, wrong


def _sentences(lines: _Lines, rows: Ints) -> list[Sentence]:
    """Return lines of one document as the sentences that `readers.conll` makes of them."""
    tokens = lines.bytes.strings(lines.starts[rows], lines.ends[rows]).to_pylist()
    tags = [lines.written[code] for code in lines.tags[rows]]
    edges = [*np.flatnonzero(lines.begins[rows]).tolist(), len(rows)]
    return [Sentence(tokens[a:b], tags[a:b], int(lines.numbers[rows[a]])) for a, b in pairwise(edges)]


def _batch(
    lines: _Lines, documents: tuple[list[str], list[int], Ints], spans: tuple[Ints, Ints, Any], builder: Builder
) -> pa.RecordBatch | None:
    """Return the documents as rows."""
    (names, numbers, owner), (first, last, types) = documents, spans
    if not names:
        return None
    count = len(names)
    final = np.append(np.diff(owner) != 0, True)  # the last token of a document, which no blank follows
    content, places = lines.bytes.cut(lines.starts, lines.ends + ~final)
    content[places[1:][~final] - 1] = ord(" ")
    starts, ends = places[:-1], places[:-1] + lines.ends - lines.starts
    begins = np.append(0, np.flatnonzero(final)[:-1] + 1)  # first token of each document
    edges = np.append(starts[begins], places[-1])
    mentions = Bytes(content).strings(starts[first], ends[last])
    texts = strings_of(content, edges)
    if not lines.ascii:  # offsets count characters: bytes that do not go on with one
        characters = ends_of((content & 0xC0) != 0x80)
        starts, ends, edges = characters[starts], characters[ends], characters[edges]
    base = edges[:-1][owner]
    starts, ends = starts - base, ends - base
    ids, own = strings(names), owner[first]
    counts = np.bincount(own, minlength=count)
    sentences = np.flatnonzero(lines.begins)
    stops = np.append(sentences[1:] - 1, len(starts) - 1)
    passages = structs(
        Passage,
        id=joined(ids, "_text"),
        type=repeated(builder.kind, count),
        text=ones(texts),
        offsets=ones(pairs(np.zeros(count, np.int64), np.diff(edges))),
    )
    entities = structs(
        Entity,
        id=numbered(joined(ids, "_T"), own, within(counts) + 1),
        type=types,
        text=ones(mentions),
        offsets=ones(pairs(starts[first], ends[last])),
    )
    return kb_batch(
        id=ids,
        document_id=ids,
        passages=ones(passages),
        entities=lists(counts, entities),
        sentences=lists(np.bincount(owner[sentences], minlength=count), pairs(starts[sentences], ends[stops])),
        file=repeated(builder.file.name, count),
        line=pa.array(numbers, pa.int32()),
    )
