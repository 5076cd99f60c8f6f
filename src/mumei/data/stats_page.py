"""The page of a corpus's statistics: counts by split, types, lengths, mentions, concepts; charts without any script."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mumei.core import page
from mumei.core.charts import WIDTH, colour, frame, label, ticks
from mumei.core.files import write_text
from mumei.data.counts import ALL
from mumei.data.licences import licence
from mumei.data.stats import Statistics, top

TYPES = 20  # bars in a chart of types
BINS = 30
ORDER = ("documents", "unique_documents", "passages", "entities", "normalized", "events", "arguments", "relations")


def write_page(found: Sequence[Statistics], path: Path | str) -> Path:
    """Write the page of one or more corpora, whole or not at all; return its path."""
    path = Path(path)
    name = found[0].title if len(found) == 1 else f"{len(found)} corpora"
    write_text(path, page.render("mumei.data", "stats.html.j2", name=name, corpora=[_context(one) for one in found]))
    return path


def histogram(values: Sequence[int], unit: str = "words") -> str:
    """Draw how many records have which length; the longest hundredth is put together in the last bar.

    Returns
    -------
    str
        An SVG, "" for no values.
    """
    if not values:
        return ""
    ordered = sorted(values)
    low, high = ordered[0], ordered[int(0.99 * (len(ordered) - 1))]
    step = max(1, -(-(high - low + 1) // BINS))
    bins = -(-(high - low + 1) // step)
    held = Counter(min((v - low) // step, bins - 1) for v in values)
    most, left, bottom, height = max(held.values()), 60, 190, 160
    wide = (WIDTH - left - 10) / bins
    parts = [frame(f"Records by length in {unit}", 240)]
    for value in ticks(0, most, 3):
        y = bottom - height * value / most
        parts.append(f'<path class="rule" d="M{left} {y:.1f}H{WIDTH - 10}"/>')
        parts.append(f'<text class="end" x="{left - 8}" y="{y + 5:.1f}">{label(value)}</text>')
    for place, count in sorted(held.items()):
        x, tall = left + place * wide, height * count / most
        about = f"{low + place * step:,} to {low + (place + 1) * step - 1:,} {unit}: {count:,}"
        about = (
            f"{low + place * step:,} {unit} and more: {count:,}" if place == bins - 1 and ordered[-1] > high else about
        )
        parts.append(
            f'<rect class="bar" x="{x + 0.5:.1f}" y="{bottom - tall:.1f}" width="{max(wide - 1, 1):.1f}" height="{tall:.1f}">'
            f"<title>{html.escape(about)}</title></rect>"
        )
    for value in ticks(low, low + bins * step, 6):
        x = left + (value - low) / step * wide
        parts.append(f'<text class="mid" x="{min(x, WIDTH - 24):.1f}" y="{bottom + 20}">{label(value)}</text>')
    parts.append(f'<text class="end" x="{WIDTH - 10}" y="{bottom + 42}">{html.escape(unit)}</text></svg>')
    return "".join(parts)


def bars(numbers: Sequence[tuple[str, int]], most: int = TYPES) -> dict[str, Any]:
    """Return what the template draws as bars: names, numbers and widths in percent, and how many are left out."""
    highest = max((n for _, n in numbers), default=1) or 1
    rows = [
        {"name": name or "(empty)", "count": n, "width": f"{100 * n / highest:.1f}", "colour": colour(i)}
        for i, (name, n) in enumerate(numbers[:most])
    ]
    rest = numbers[most:]
    return {"rows": rows, "left": len(rest), "left_count": sum(n for _, n in rest)}


def _context(one: Statistics) -> dict[str, Any]:
    whole, lengths = one.counts[ALL], one.lengths()
    held = [key for key, n in whole.items() if "." not in key and n]
    keys = [*(key for key in ORDER if key in held), *(key for key in held if key not in ORDER)]
    facts = [("documents", whole["documents"], f"{len(one.counts) - 1} splits")]
    facts += [
        (key, whole[key], "") for key in ("entities", "events", "relations", "concept_relations") if whole.get(key)
    ]
    if one.shapes.get("mentions"):
        all_of = one.shapes["mentions"]
        for key, means in (
            ("nested", "lie within another mention"),
            ("discontinuous", "have more than one fragment"),
            ("normalized", "are linked to a concept"),
        ):
            if one.shapes[key]:
                facts.append((f"{key} mentions", one.shapes[key], f"{100 * one.shapes[key] / all_of:.1f} % {means}"))
    if lengths:
        facts.append(("words", int(lengths[ALL]["sum"]), f"{lengths[ALL]['median']:,.0f} in the middle document"))
    return {
        "title": one.title,
        "corpus": one.corpus,
        "kind": one.kind,
        "licence": one.licence,
        "caution": licence(one.licence).caution,
        "facts": [{"name": n.replace("_", " "), "value": v, "means": m} for n, v, m in facts],
        "columns": [key.replace("_", " ") for key in keys],
        "splits": [{"name": split, "cells": [own.get(key, 0) for key in keys]} for split, own in one.counts.items()],
        "types": [{"name": group.replace("_", " "), **bars(list(own.items()))} for group, own in one.types().items()],
        "histogram": page.markup(histogram([n for own in one.words.values() for n in own])),
        "lengths": [{"name": split, "cells": [own[k] for k in _SHOWN]} for split, own in lengths.items()],
        "frequent": [
            {"name": name, **bars(top(found))}
            for name, found in (("mentions", one.mentions), ("concepts", one.concepts))
            if found
        ],
    }


_SHOWN = ("min", "p25", "median", "p75", "p95", "max", "mean")
