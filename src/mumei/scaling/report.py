"""The page of a fit: figures, pictures, gates, and at its end one paragraph that a manager can read. No script."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from mumei.core import page
from mumei.core.files import write_text
from mumei.scaling.columns import Note
from mumei.scaling.plots import pictures, png
from mumei.scaling.tables import Fitted
from mumei.scaling.words import amount, between, matched_line, paragraph

TITLES = {
    "profiles": "Loss against size at each budget",
    "surface": "The loss surface and its frontier",
    "cloud": "How sure the exponents are",
    "frontier": "What each approach says of the best size",
    "curves": "Each run's own curve",
    "optima": "Optima and their power laws",
    "routed": "Loss by size and experts",
}


def write_report(
    fitted: list[Fitted], left: list[Note], path: Path | str, *, name: str, flops: float | None = None
) -> Path:
    """Write the page of all experiments of a file, whole or not at all; return its path."""
    parts = [_context(one, flops) for one in fitted]
    text = page.render("mumei.scaling", "report.html.j2", name=name, parts=parts, left=[vars(n) for n in left])
    write_text(path, text)
    return Path(path)


def _context(fitted: Fitted, flops: float | None) -> dict[str, Any]:
    drawn = {
        key: {"title": TITLES[key], "source": "data:image/png;base64," + base64.b64encode(png(figure)).decode("ascii")}
        for key, figure in pictures(fitted).items()
    }
    return {
        "name": fitted.name,
        "columns": matched_line(fitted.matched),
        "notes": [vars(note) for note in fitted.notes],
        "facts": _facts(fitted),
        "rows": _rows(fitted),
        "gates": [vars(g) for g in fitted.study.gates] if fitted.study is not None else [],
        "not_possible": fitted.study.why_not if fitted.study is not None else {},
        "pictures": list(drawn.values()),
        "paragraph": paragraph(fitted, flops),
    }


def _facts(fitted: Fitted) -> list[dict[str, str]]:
    study = fitted.study
    if study is None:
        return []
    both = study.consensus()
    facts = [{"value": f"{len(study.runs):,}", "means": "runs"}]
    facts.append({"value": f"{study.runs.flops.max():.1e}", "means": "FLOPs, the largest run"})
    if both is not None:
        facts.append({"value": f"{both[0]:.2f}{between(both[1], '.2f')}", "means": "a, size grows as C^a"})
    facts.append({"value": study.basis or "nothing", "means": "sizes are planned by this"})
    if study.basis is not None:
        target = 10 * float(study.runs.flops.max())
        best = study.optimal(target)
        facts.append({"value": amount(best.params), "means": f"parameters at {target:.1e} FLOPs"})
    return facts


def _rows(fitted: Fitted) -> list[list[str]]:
    """Return name, value and interval of what was fitted."""
    rows: list[list[str]] = []
    study = fitted.study
    if study is not None and study.surface is not None:
        mark = " (refused)" if "surface" in study.refused else ""
        for key, value in study.surface.coefficients().items():
            rows.append([f"surface{mark}: {key}", f"{value:.5g}", between(study.surface.interval(key), ".4g").strip()])
    if study is not None and study.isoflop is not None:
        for method, law in study.isoflop.laws.items():
            rows.append([f"IsoFLOP {method}: a", f"{law.a:.4f}", between(law.interval()).strip()])
    if study is not None and study.envelope is not None:
        rows.append(["envelope: a", f"{study.envelope.law.a:.4f}", between(study.envelope.law.interval()).strip()])
    for one in fitted.curves:
        rows.append(
            [f"{one.run}: lowest loss", f"{one.lowest:.4f}", f"at {amount(one.at)} tokens, {one.end:.4f} at the end"]
        )
    for quantity, one in fitted.optima.items():
        rows.append([f"{quantity} ~ C^", f"{one.law.a:.4f}", between(one.law.interval()).strip()])
    if fitted.routed is not None:
        for key in "abcd":
            rows.append(
                [
                    key,
                    f"{getattr(fitted.routed.law, key):.4f}",
                    between(fitted.routed.intervals.get(key), ".4f").strip(),
                ]
            )
    return rows
