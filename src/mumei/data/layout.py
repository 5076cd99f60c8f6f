"""Where annotations are drawn over a text, in columns of a fixed-width font: rows of text, boxes over them, arcs over the boxes.

As in BRAT (Stenetorp and others 2012): a box with the type over each mention and trigger, shorter spans nearer to the text, so
that what nests lies below what holds it; arcs from a relation's or event's box to its arguments. A span that runs over the end of
a row goes on in the next. Departure: an arc between rows is drawn as its two ends, each to the border of its row with the other
end's type named, instead of a line through all the rows between.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise

from mumei.data.documents import Document

GAP = 0.4  # columns between two boxes side by side
SMALL = 0.8  # width of a label's character, in columns


@dataclass(frozen=True)
class Mark:
    """Something said of spans of the text: a mention, or one event at its trigger. `shown` is what its box says."""

    id: str
    kind: str
    group: str
    spans: tuple[tuple[int, int], ...]
    shown: str
    title: str = ""


@dataclass(frozen=True)
class Link:
    """A directed line from a mark to another."""

    source: str
    target: str
    label: str
    title: str = ""


@dataclass
class Piece:
    """The part of a mark in a row: text columns `start` to `end`, box from `left` to `right` at a level; 0 is the lowest."""

    mark: Mark
    start: float
    end: float
    left: float
    right: float
    level: int = 0
    first: bool = True
    parts: list[tuple[float, float]] = field(default_factory=list)

    @property
    def middle(self) -> float:
        """The column of the box's middle."""
        return (self.left + self.right) / 2


@dataclass
class Arc:
    """A line in a row from column `start` to `end`; `out` and `into` say whether its source and target are in this row."""

    link: Link
    start: float
    end: float
    source: Piece | None
    target: Piece | None
    level: int = 0
    label: str = ""

    @property
    def box(self) -> float:
        """The column of the box in this row, of an arc with one end here."""
        return self.start if self.source is not None else self.end

    @property
    def label_side(self) -> int:
        """Where the label of such an arc lies: -1 left of the box, 1 right of it; on the arc, unless there is no room."""
        border = self.end if self.source is not None else self.start
        if border < self.box:
            return -1 if self.box >= len(self.label) * SMALL + 1 else 1
        return 1 if border - self.box >= len(self.label) * SMALL + 1 else -1


@dataclass
class Row:
    """A line of text, from character `start` to `end`, with what is drawn over it; `columns` has each character's place."""

    start: int
    end: int
    text: str
    columns: list[float]
    number: int = 0
    pieces: list[Piece] = field(default_factory=list)
    arcs: list[Arc] = field(default_factory=list)

    @property
    def levels(self) -> int:
        """How many levels of boxes there are."""
        return max((p.level + 1 for p in self.pieces), default=0)

    @property
    def arc_levels(self) -> int:
        """How many levels of arcs there are."""
        return max((a.level + 1 for a in self.arcs), default=0)


def width_of(character: str) -> float:
    """Return how many columns a character takes: 2 for wide ones (East Asian), 0 for marks that join the one before."""
    if unicodedata.combining(character) or unicodedata.category(character) in ("Cf", "Me", "Mn"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def rows_of(text: str, width: int, breaks: Sequence[int] = ()) -> list[Row]:
    """Cut a text into rows of at most `width` columns: at newlines and `breaks`, else at the last blank that fits."""
    edges = sorted(
        {0, len(text), *(b for b in breaks if 0 < b < len(text)), *(m.end() for m in re.finditer("\n", text))}
    )
    rows: list[Row] = []
    for start, end in pairwise(edges):
        at = start
        while at < end:
            stop = _fits(text, at, end, width)
            shown = text[at:stop].rstrip()
            if shown:
                places = list(accumulate((width_of(c) for c in text[at:stop]), initial=0.0))
                rows.append(Row(at, stop, shown, places, len(rows) + 1))
            at = stop
    return rows


def _fits(text: str, start: int, end: int, width: int) -> int:
    """Return where a row that begins at `start` ends: after the last blank that fits, or within a word that is too long."""
    used, blank = 0.0, 0
    for at in range(start, end):
        used += width_of(text[at])
        if used > width and not text[at].isspace():
            return blank or max(at, start + 1)
        if text[at].isspace():
            blank = at + 1
    return end


def lay_out(
    text: str, marks: Sequence[Mark], links: Sequence[Link], width: int, breaks: Sequence[int] = ()
) -> list[Row]:
    """Return the rows of a text with all that is drawn over them, within `width` columns.

    Parameters
    ----------
    text : str
        What offsets count in. Spans out of it are cut to it; marks without any span in it get no box.
    marks, links : sequences
        Links whose ends have no box are left out.
    width : int
        Columns.
    breaks : sequence of int
        Where a row begins in any case, as a sentence does.
    """
    rows = rows_of(text, width, breaks)
    starts = [row.start for row in rows]
    home: dict[str, tuple[Row, Piece]] = {}
    for mark in marks:
        for row, piece in _pieces(mark, rows, starts):
            row.pieces.append(piece)
            piece.first = mark.id not in home
            home.setdefault(mark.id, (row, piece))
    for row in rows:
        for piece in row.pieces:
            _widen(piece, width)
        _stack(row.pieces)
    for link in links:
        if link.source in home and link.target in home:
            _connect(link, home[link.source], home[link.target], width)
    for row in rows:
        _stack_arcs(row.arcs)
    return rows


def _pieces(mark: Mark, rows: list[Row], starts: list[int]) -> list[tuple[Row, Piece]]:
    """Return the parts of a mark, one for each row that it has text in."""
    found: dict[int, Piece] = {}
    for start, end in mark.spans:
        for place in range(max(0, bisect_right(starts, start) - 1), len(rows)):
            row = rows[place]
            if row.start >= end:
                break
            left, right = max(start, row.start), min(end, row.start + len(row.text))
            if left >= right:
                continue
            a, b = row.columns[left - row.start], row.columns[right - row.start]
            own = found.get(place)
            if own is None:
                found[place] = Piece(mark, a, b, a, b, parts=[(a, b)])
            else:
                own.start, own.end = min(own.start, a), max(own.end, b)
                own.parts.append((a, b))
    return [(rows[place], piece) for place, piece in sorted(found.items())]


def _widen(piece: Piece, width: int) -> None:
    """Make a box wide enough for its label, and keep it within the row."""
    label = len(piece.mark.shown if piece.first else "...") * SMALL + 0.8
    middle = (piece.start + piece.end) / 2
    half = max(label, piece.end - piece.start) / 2
    shift = max(0.0, half - middle) - max(0.0, middle + half - width)
    piece.left, piece.right = max(0.0, middle - half + shift), min(float(width), middle + half + shift)


def _stack(pieces: list[Piece]) -> None:
    """Give boxes levels: a shorter one first, at the lowest level that is free there."""
    levels: list[list[Piece]] = []
    for piece in sorted(pieces, key=lambda p: (p.end - p.start, p.start, p.mark.id)):
        level = next((i for i, held in enumerate(levels) if not any(_touch(piece, p) for p in held)), len(levels))
        if level == len(levels):
            levels.append([])
        piece.level = level
        levels[level].append(piece)


def _touch(one: Piece, other: Piece) -> bool:
    return one.right + GAP > other.left and other.right + GAP > one.left


def _connect(link: Link, source: tuple[Row, Piece], target: tuple[Row, Piece], width: int) -> None:
    (row, out), (other, into) = source, target
    if row is other:
        row.arcs.append(Arc(link, out.middle, into.middle, out, into, label=link.label))
        return
    down = other.number > row.number
    row.arcs.append(
        Arc(link, out.middle, float(width) if down else 0.0, out, None, label=f"{link.label} {into.mark.shown}")
    )
    other.arcs.append(Arc(link, 0.0 if down else float(width), into.middle, None, into, label=link.label))


def extent(arc: Arc) -> tuple[float, float]:
    """Return the columns that an arc and its label take."""
    left, right = min(arc.start, arc.end), max(arc.start, arc.end)
    middle, half = (left + right) / 2, (len(arc.label) * SMALL + 1) / 2
    if arc.source is None or arc.target is None:  # the label of an end lies at its box
        box = arc.box
        return (min(left, box - 2 * half), right) if arc.label_side < 0 else (left, max(right, box + 2 * half))
    return min(left, middle - half), max(right, middle + half)


def _stack_arcs(arcs: list[Arc]) -> None:
    """Give arcs levels: a shorter one first, at the lowest level that is free over all its columns."""
    levels: list[list[tuple[float, float]]] = []
    for arc in sorted(arcs, key=lambda a: (abs(a.end - a.start), a.start, a.link.source, a.link.target)):
        left, right = extent(arc)
        free = (i for i, held in enumerate(levels) if all(right + GAP <= a or b + GAP <= left for a, b in held))
        level = next(free, len(levels))
        if level == len(levels):
            levels.append([])
        arc.level = level
        levels[level].append((left, right))


def marks_of(document: Document) -> tuple[list[Mark], list[Link]]:
    """Return what is drawn of a document: mentions, events at their triggers, and the lines between them.

    Relations between concepts and what is said of annotations (negation) are not lines: a box has the first letters of its flags.
    """
    flags: dict[str, list[str]] = {}
    for a in document.attributes:
        if not a.value:
            flags.setdefault(a.ref_id, []).append(a.type)

    def shown(kind: str, name: str) -> str:
        return kind + "".join(f" !{flag[:3]}" for flag in flags.get(name, ()))

    marks = [
        Mark(
            e.id,
            e.type,
            "entity",
            tuple(e.offsets),
            shown(e.type, e.id),
            " ".join(e.text) + "".join(f"\n{n.db_name}:{n.db_id}" for n in e.normalized),
        )
        for e in document.entities
    ]
    marks += [
        Mark(e.id, e.type, "event", tuple(e.trigger.offsets), shown(e.type, e.id), " ".join(e.trigger.text))
        for e in document.events
    ]
    links = [
        Link(e.id, a.ref_id, f"{a.role}{a.number or ''}", f"{e.type} {a.role}")
        for e in document.events
        for a in e.arguments
    ]
    links += [Link(r.arg1_id, r.arg2_id, r.type, r.type) for r in document.relations]
    for c in document.coreferences:
        pairs = pairwise(c.entity_ids)
        links += [Link(a, b, c.type or "same", c.type or "coreference") for a, b in pairs]
    return marks, links
