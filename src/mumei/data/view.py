"""The page of a corpus's documents: texts with their annotations drawn over them as in BRAT, and tables of what is said.

Each document is drawn twice, for wide screens and for narrow ones; the style shows the one that fits. No script, no request.
"""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mumei.core import page
from mumei.core.charts import colour
from mumei.core.errors import UsageError, unknown
from mumei.core.files import write_text
from mumei.data.documents import Document, Entailment, Event, LabelledText, Question, Record
from mumei.data.layout import SMALL, Arc, Piece, Row, lay_out, marks_of
from mumei.data.licences import licence
from mumei.data.schemas import NULL

if TYPE_CHECKING:
    from mumei.data.corpus import Corpus

WIDE, NARROW = 124, 43  # columns of text
COLUMN, LINE, BOX, ARC = 8.43, 22, 17, 16  # pixels: a character, a line of text, a level of boxes, a level of arcs


def chosen(corpus: Corpus, documents: Sequence[str] = (), limit: int = 20) -> list[Record]:
    """Return the records asked for by id or document id, in that order; without any, the first ones.

    Raises
    ------
    UsageError
        There is no such document; the closest ids are given. Or `limit` is below 1.
    """
    if limit < 1:
        raise UsageError(f"--limit {limit} is not allowed; give 1 or more.")
    if not documents:
        found: list[Record] = []
        for record in corpus.records():
            found.append(record)
            if len(found) == limit:
                break
        return found
    every: dict[str, list[Record]] = {}
    for record in corpus.records():
        for name in {record.id, getattr(record, "document_id", record.id)}:
            every.setdefault(name, []).append(record)
    for name in documents:
        if name not in every:
            error = unknown(f"document of {corpus.name}", name, every)
            raise UsageError(str(error).partition(" Allowed:")[0] + f" It has {len(corpus):,} documents.")
    return [record for name in documents for record in every[name]]


def write_page(corpus: Corpus, records: Iterable[Record], path: Path | str) -> Path:
    """Write the page of records, whole or not at all; return its path."""
    records, path = list(records), Path(path)
    found = Counter(m.kind for r in records if isinstance(r, Document) for m in marks_of(r)[0])
    kinds = sorted(
        found, key=lambda kind: (-found[kind], kind)
    )  # the most frequent ones get the colours that differ most
    colours = {kind: colour(place) for place, kind in enumerate(kinds)}
    terms = corpus.recipe.licence if corpus.recipe else "unknown"
    shown = [_context(record, colours) for record in records]
    text = page.render(
        "mumei.data",
        "view.html.j2",
        name=corpus.recipe.title if corpus.recipe else corpus.name,
        corpus=corpus.name,
        licence=terms,
        caution=licence(terms).caution,
        total=len(corpus),
        records=shown,
        legend=[(kind, colours[kind]) for kind in kinds],
    )
    write_text(path, text)
    return path


def _context(record: Record, colours: dict[str, str]) -> dict[str, Any]:
    own = {"id": record.id, "split": record.split, "file": record.file, "line": record.line, "fields": [], "tables": []}
    own["metadata"] = list(record.metadata.items())
    if not isinstance(record, Document):
        return {**own, "fields": _fields(record), "wide": "", "narrow": ""}
    marks, links = marks_of(record)
    breaks = [start for start, _ in record.sentences] + [p.offsets[0][0] for p in record.passages if p.offsets]
    for name, width in (("wide", WIDE), ("narrow", NARROW)):
        rows = lay_out(record.text(), marks, links, width, breaks)
        own[name] = page.markup(draw(rows, colours, width, f"{record.id}, annotated"))
    return {**own, "tables": _tables(record)}


def draw(rows: Sequence[Row], colours: dict[str, str], width: int, title: str) -> str:
    """Return the rows as an SVG; colours are those of the marks' kinds. Texts are escaped."""
    parts, y = [], 4.0
    for row in rows:
        boxes, arcs = row.levels * BOX, row.arc_levels * ARC
        base = y + arcs + boxes  # lower edge of the boxes, and upper one of the text
        parts += [_arc(arc, base - boxes, base) for arc in row.arcs]
        parts += [_piece(piece, base, colours[piece.mark.kind]) for piece in row.pieces]
        parts.append(_text(row, base + LINE - 7))
        y = base + LINE + (6 if boxes or arcs else 0)
    size = f'viewBox="0 0 {width * COLUMN + 4:.0f} {y + 2:.0f}" width="{width * COLUMN + 4:.0f}"'
    head = f'<svg {size} role="img" aria-label="{html.escape(title, quote=True)}">'
    return head + "".join(parts) + "</svg>"


def _text(row: Row, y: float) -> str:
    """Return a row's words, each at its own place, so that a font of another width does not shift them."""
    words, at = [], 0
    for word in row.text.split(" "):
        if word:
            x, wide = row.columns[at] * COLUMN + 2, (row.columns[at + len(word)] - row.columns[at]) * COLUMN
            fixed = f' textLength="{wide:.1f}" lengthAdjust="spacingAndGlyphs"' if wide else ""
            words.append(f'<text class="w" x="{x:.1f}" y="{y:.1f}"{fixed}>{_escape(word)}</text>')
        at += len(word) + 1
    return "".join(words)


def _escape(text: str) -> str:
    """Return text that an HTML page can hold: escaped, control characters shown as a replacement."""
    return html.escape("".join(c if c >= " " or c == "\t" else "\ufffd" for c in text), quote=True)


def _piece(piece: Piece, base: float, shade: str) -> str:
    top = base - (piece.level + 1) * BOX
    x, wide = piece.left * COLUMN + 2, (piece.right - piece.left) * COLUMN
    under = "".join(
        f'<rect x="{a * COLUMN + 2:.1f}" y="{base + 2:.1f}" width="{(b - a) * COLUMN:.1f}" height="{LINE - 5}" rx="2" '
        f'fill="{shade}" fill-opacity=".16"/>'
        for a, b in piece.parts
    )
    ends = sorted(piece.parts)
    joined = "".join(
        f'<path d="M{a[1] * COLUMN + 2:.1f} {base + LINE - 5:.1f}H{b[0] * COLUMN + 2:.1f}" stroke="{shade}" '
        f'stroke-width="1.5" stroke-dasharray="2 3" fill="none"/>'
        for a, b in pairwise(ends)
    )
    label = piece.mark.shown if piece.first else "..."
    about = f"{piece.mark.id} {piece.mark.kind}\n{piece.mark.title}"
    event = ' stroke-width="1.6"' if piece.mark.group == "event" else ""
    round_ = 7 if piece.mark.group == "event" else 2
    return (
        f'{under}{joined}<g><title>{_escape(about)}</title><rect class="paper" x="{x:.1f}" y="{top + 1:.1f}" width="{wide:.1f}" '
        f'height="{BOX - 3}" rx="{round_}"/><rect x="{x:.1f}" y="{top + 1:.1f}" width="{wide:.1f}" height="{BOX - 3}" '
        f'rx="{round_}" fill="{shade}" fill-opacity=".22" stroke="{shade}"{event}/><text class="t" x="{x + wide / 2:.1f}" '
        f'y="{top + BOX - 5.5:.1f}">{_escape(label)}</text></g>'
    )


def _arc(arc: Arc, top: float, base: float) -> str:
    """Return a line: up from the source's box, along at its level, down to the target's box with an arrow head."""
    y = top - arc.level * ARC - 5
    a, b = arc.start * COLUMN + 2, arc.end * COLUMN + 2
    way = 1 if b >= a else -1
    bend = min(6.0, abs(b - a) / 2)
    path = f"M{a:.1f} {y:.1f}"
    if arc.source is not None:
        path = f"M{a:.1f} {base - (arc.source.level + 1) * BOX + 1:.1f}V{y + bend:.1f}q0 {-bend:.1f} {way * bend:.1f} {-bend:.1f}"
    head = ""
    if arc.target is None:
        path += f"H{b:.1f}"
    else:
        tip = base - (arc.target.level + 1) * BOX
        path += f"H{b - way * bend:.1f}q{way * bend:.1f} 0 {way * bend:.1f} {bend:.1f}V{tip:.1f}"
        head = f'<path class="h" d="M{b:.1f} {tip + 1:.1f}l-3 -6h6z"/>'
    long = len(arc.label) * SMALL * COLUMN
    if arc.source is not None and arc.target is not None:
        x = (a + b - long) / 2
    else:
        box = arc.box * COLUMN + 2
        x = box + 5 if arc.label_side > 0 else box - 5 - long
    label = f'<rect class="paper" x="{x - 1:.1f}" y="{y - 6:.1f}" width="{long + 2:.1f}" height="12"/>'
    label += f'<text class="t r" x="{x + long / 2:.1f}" y="{y + 3.5:.1f}">{_escape(arc.label)}</text>'
    return f'<g><title>{_escape(arc.link.title)}</title><path class="a" d="{path}"/>{head}{label}</g>'


def _fields(record: Record) -> list[tuple[str, list[str]]]:
    """Return what a record that is no document says, name and values."""
    if isinstance(record, Question):
        fields = [("question", [record.question]), ("type", [record.type]), ("context", [record.context])]
        fields += [("choices", record.choices), ("answer", record.answer)]
    elif isinstance(record, Entailment):
        fields = [("premise", [record.premise]), ("hypothesis", [record.hypothesis]), ("label", [record.label])]
    elif isinstance(record, LabelledText):
        fields = [("text", [record.text]), ("labels", record.labels)]
    elif not isinstance(record, Document) and hasattr(record, "label"):
        fields = [
            ("text 1", [record.text_1]),
            ("text 2", [record.text_2]),
            ("label", [str(getattr(record, "label", ""))]),
        ]
    else:
        names = [getattr(record, f"text_{n}_name", NULL) for n in (1, 2)]
        texts = [getattr(record, f"text_{n}") for n in (1, 2)]
        named = zip(names, texts, (1, 2), strict=True)
        fields = [(f"text {n}" if name == NULL else name, [text]) for name, text, n in named]
    return [(name, [v for v in values if v]) for name, values in fields if any(values)]


def _tables(document: Document) -> list[dict[str, Any]]:
    """Return the tables below a document: head and rows, each row a list of texts."""
    start = document.id + "_"

    def local(name: str) -> str:
        return name.removeprefix(start)

    texts = {e.id: " ".join(e.text) for e in document.entities}
    texts |= {e.id: " ".join(e.trigger.text) for e in document.events}

    def said(name: str) -> str:
        return f"{texts[name]} ({local(name)})" if name in texts else local(name)

    def arguments(event: Event) -> str:
        return "; ".join(f"{a.role}{a.number or ''}: {said(a.ref_id)}" for a in event.arguments)

    def spans(offsets: list[tuple[int, int]]) -> str:
        return ", ".join(f"{a}-{b}" for a, b in offsets)

    found = [
        ("mentions", ("id", "type", "text", "at", "concepts"), [
            [local(e.id), e.type, " ".join(e.text), spans(e.offsets), ", ".join(f"{n.db_name}:{n.db_id}" for n in e.normalized)]
            for e in document.entities
        ]),
        ("events", ("id", "type", "trigger", "arguments"), [
            [local(e.id), e.type, " ".join(e.trigger.text), arguments(e)]
            for e in document.events
        ]),
        ("relations", ("id", "type", "from", "to"), [
            [local(r.id), r.type, said(r.arg1_id), said(r.arg2_id)] for r in document.relations
        ]),
        ("relations between concepts", ("id", "type", "from", "to", "flags"), [
            [local(r.id), r.type, r.arg1_id, r.arg2_id, " ".join(r.flags)] for r in document.concept_relations
        ]),
        ("coreferences", ("id", "type", "members"), [
            [local(c.id), c.type, "; ".join(map(said, c.entity_ids))] for c in document.coreferences
        ]),
        ("attributes", ("id", "type", "value", "of"), [
            [local(a.id), a.type, a.value, said(a.ref_id)] for a in document.attributes
        ]),
    ]  # fmt: skip
    return [{"name": name, "head": head, "body": rows} for name, head, rows in found if rows]
