"""One self-contained page on a run's designs: ranked table, trace, contact maps, confidence, 3D view, composition. No request
goes out; the one script is the viewer's, and the page's policy allows that text alone, by its hash.
"""

from __future__ import annotations

import base64
import hashlib
import json
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mumei.core import charts, page, pictures
from mumei.core.files import write_text
from mumei.protein.alphabet import AMINO_ACIDS
from mumei.protein.design import Result
from mumei.protein.measure import COLUMNS
from mumei.protein.models.ngram import Ngram

SHOWN = 12  # designs with letters, maps and a 3D view
POINTS = 300  # of a curve
MAP = 420  # pixels


def write_report(result: Result, path: Path | str, name: str = "") -> Path:
    """Write the page, whole or not at all; return its path."""
    path = Path(path)
    write_text(path, render(result, name))
    return path


def render(result: Result, name: str = "") -> str:
    """Return the page's HTML."""
    script = resources.files("mumei.protein").joinpath("viewer.js").read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    target = result.manifest.get("target", "")
    shown = min(SHOWN, len(result.rows))
    return page.render(
        "mumei.protein",
        "report.html.j2",
        name=name or f"Designs: {target}",
        manifest=result.manifest,
        policy=page.markup(f"script-src 'sha256-{digest}'"),
        script=page.markup(script),
        facts=_facts(result),
        columns=_columns(result),
        rows=result.rows,
        curves=[(title, page.markup(svg), about) for title, svg, about in _curves(result) if svg],
        maps=[_map(result, i) for i in range(shown)],
        letters=[_letters(result, i) for i in range(shown)],
        view=_view(result, shown),
        embedded=result.points is None,
        composition=page.markup(_composition(result)),
        settings=_settings(result),
        has_target=result.target is not None,
    )


def _facts(result: Result) -> list[dict[str, str]]:
    manifest, best = result.manifest, result.rows[0]
    rate = sum(manifest["moved"]) / max(1, sum(manifest["proposed"]))
    facts = [
        {"value": str(len(result.rows)), "name": "designs", "means": f"of {len(result.labels)} residues"},
        {"value": f"{best['total']:.3f}", "name": "lowest energy", "means": "the rank is by it"},
        {
            "value": f"{sum(manifest['steps_done']):,}",
            "name": "steps",
            "means": f"{manifest['structure_passes']:,} structure passes, {100 * rate:.0f} % of changes accepted",
        },
        {
            "value": f"{manifest['seconds']:.0f} s",
            "name": "time",
            "means": f"preset {manifest['preset']}, seed {manifest['seed']}",
        },
    ]
    if "contact precision" in best:
        mean = float(np.mean([row["contact precision"] for row in result.rows]))
        facts.append(
            {"value": f"{mean:.2f}", "name": "contact precision", "means": "of the L likeliest, mean of designs"}
        )
    if "recovery" in best:
        mean = float(np.mean([row["recovery"] for row in result.rows]))
        facts.append({"value": f"{100 * mean:.0f} %", "name": "recovery", "means": "residues as in the given sequence"})
    return facts


def _columns(result: Result) -> list[dict[str, str]]:
    return [
        {"name": name, "better": better, "means": means}
        for name, (better, means) in COLUMNS.items()
        if name in result.rows[0]
    ]


def _curves(result: Result) -> list[tuple[str, str, str]]:
    """Return the mean over chains of each weighted term, and the acceptance, by step."""
    weights = result.manifest["weights"]
    by_step: dict[int, list[dict[str, Any]]] = {}
    for record in result.trace:
        by_step.setdefault(record["step"], []).append(record)
    most = max(len(records) for records in by_step.values())
    steps = [step for step in sorted(by_step) if len(by_step[step]) * 2 >= most]
    steps = steps[:: max(1, len(steps) // POINTS)]

    def mean(step: int, key: str) -> float:
        return float(np.mean([record[key] for record in by_step[step]]))

    terms = {name: [(step, weight * mean(step, name)) for step in steps] for name, weight in weights.items()}
    rates, last = [], None
    for step in steps:
        now = mean(step, "moved"), mean(step, "proposed")
        if last is not None and now[1] > last[1]:
            rates.append((step, 100 * (now[0] - last[0]) / (now[1] - last[1])))
        last = now
    temperature = [(step, float(np.log10(mean(step, "temperature")))) for step in steps]
    return [
        ("Energy by term", charts.curves(terms, "weighted, mean of chains", "step"), "Lower is better."),
        (
            "Acceptance",
            charts.curves({"accepted": rates}, "% of changes", "step"),
            "Of proposals that change a residue.",
        ),
        ("Temperature", charts.curves({"temperature": temperature}, "log10", "step"), ""),
    ]


def _map(result: Result, i: int) -> dict[str, Any]:
    """Return the picture of target (above the diagonal) and predicted contacts (below)."""
    predicted = result.predicted[i].numpy()
    n = len(predicted)
    picture = pictures.tints(predicted)
    if result.target is not None:
        upper = np.triu(np.ones((n, n), dtype=bool), 1)
        wanted = result.target.contacts.numpy()
        missed = wanted & (predicted < 0.5)
        picture[upper] = 255
        picture[upper & wanted] = (40, 52, 70)
        picture[upper & missed] = (217, 138, 0)
    picture[np.eye(n, dtype=bool)] = (185, 194, 207)
    scale = max(1, MAP // n)
    grown = picture.repeat(scale, 0).repeat(scale, 1)
    return {"rank": result.rows[i]["rank"], "uri": pictures.data_uri(np.ascontiguousarray(grown))}


def _letters(result: Result, i: int) -> dict[str, Any]:
    """Return each residue with its shade, by p of the model."""
    cells = []
    for k, letter in enumerate(result.rows[i]["sequence"]):
        p = float(result.confidence[i, k])
        native = result.native[k] if result.native else ""
        cells.append(
            {
                "letter": letter,
                "share": f"{0.65 * min(1.0, p):.2f}",
                "title": f"{result.labels[k]} {letter}: p {p:.2f}" + (f", native {native}" if native else ""),
                "same": letter == native,
                "gap": k % 10 == 0 and k > 0,
            }
        )
    return {"rank": result.rows[i]["rank"], "cells": cells}


def _view(result: Result, shown: int) -> str:
    """Return what the viewer draws, as JSON."""
    points = embedding(result) if result.points is None else np.asarray(result.points, dtype=np.float64)
    seen = np.isfinite(points).all(axis=1)
    points = np.where(np.isfinite(points), points - points[np.flatnonzero(seen)].mean(0), 0.0)
    designs = []
    for i in range(shown):
        row = {
            "rank": result.rows[i]["rank"],
            "sequence": result.rows[i]["sequence"],
            "confidence": [round(float(p), 3) for p in result.confidence[i]],
        }
        if result.target is not None:
            wanted = result.target.contacts & ~torch.eye(len(points), dtype=torch.bool)
            met = ((result.predicted[i] >= 0.5) & wanted).sum(1) / wanted.sum(1).clamp(min=1)
            row["contacts"] = [round(float(share), 3) for share in met]
        designs.append(row)
    return json.dumps(
        {"points": np.round(points, 2).tolist(), "seen": seen.tolist(), "labels": result.labels, "designs": designs}
    )


def embedding(result: Result) -> np.ndarray:
    """Return points (L, 3) whose distances are near those that the best design's contacts suggest: shortest paths over
    contacts (6 Angstrom) and neighbours (3.8), by classical scaling. A mirror image looks the same.
    """
    from scipy.sparse.csgraph import shortest_path

    predicted = result.predicted[0].numpy().astype(np.float64)
    n = len(predicted)
    cost = np.where(predicted > 0.5, 6.0, 0.0)
    place = np.arange(n - 1)
    cost[place, place + 1] = cost[place + 1, place] = 3.8
    np.fill_diagonal(cost, 0.0)
    distances = shortest_path(cost, directed=False) ** 0.9  # a path over contacts is longer than the straight way
    centre = np.eye(n) - 1.0 / n
    values, vectors = np.linalg.eigh(-0.5 * centre @ (distances**2) @ centre)
    top = np.argsort(values)[::-1][:3]
    points = np.zeros((n, 3))
    points[:, : len(top)] = vectors[:, top] * np.sqrt(np.maximum(values[top], 0.0))
    return points


def _composition(result: Result) -> str:
    """Draw the share of each residue in the designs beside natural proteins, as an SVG."""
    natural = Ngram.natural((1,)).frequencies[1]
    natural = (natural / natural.sum()).tolist()
    made = (torch.bincount(result.tokens.flatten(), minlength=20)[:20] / result.tokens.numel()).tolist()
    top, left, base, height = max(*natural, *made), 50, 190, 170
    step = (charts.WIDTH - left - 8) / 20
    parts = [charts.frame("Share of each residue, designs and natural proteins", base + 60)]
    for mark in charts.ticks(0, 100 * top, 4):
        y = base - mark / 100 / top * height
        parts.append(f'<path class="rule" d="M{left},{y:.1f}H{charts.WIDTH - 8}"/>')
        parts.append(f'<text x="{left - 6}" y="{y + 5:.1f}" class="end">{charts.label(mark)}</text>')
    for k, letter in enumerate(AMINO_ACIDS):
        x = left + k * step
        for offset, value, kind, who in ((0.12, made[k], "bar", "designs"), (0.5, natural[k], "bar off", "natural")):
            tall = value / top * height
            parts.append(
                f'<rect class="{kind}" x="{x + offset * step:.1f}" y="{base - tall:.1f}" width="{0.36 * step:.1f}" '
                f'height="{tall:.1f}"><title>{letter}, {who}: {100 * value:.1f} %</title></rect>'
            )
        parts.append(f'<text x="{x + step / 2:.1f}" y="{base + 20}" class="mid">{letter}</text>')
    parts.append(f'<rect class="bar" x="{left}" y="{base + 38}" width="14" height="10"/>')
    parts.append(f'<text x="{left + 20}" y="{base + 48}">designs, %</text>')
    parts.append(f'<rect class="bar off" x="{left + 130}" y="{base + 38}" width="14" height="10"/>')
    parts.append(f'<text x="{left + 150}" y="{base + 48}">natural proteins, %</text></svg>')
    return "".join(parts)


def _settings(result: Result) -> list[tuple[str, str]]:
    manifest = result.manifest
    schedule = manifest["schedule"]
    out = [
        ("model", manifest["model"]),
        ("structure head", ", ".join(f"{k} {v}" for k, v in manifest["head"].items() if k in ("source", "chains", "residues"))),
        ("weights", ", ".join(f"{name} {weight:g}" for name, weight in manifest["weights"].items())),
        (
            "temperature",
            f"{schedule['first']:.4g}, times {schedule['factor']:.6g} every {schedule['every']:,} steps",
        ),
        ("chains", f"{manifest['settings']['chains']}, {manifest['settings']['proposal']} proposals, "
         f"{manifest['settings']['keep']} state kept, up to {manifest['settings']['lookahead']} steps ahead"),
    ]  # fmt: skip
    out += [(what, f"{where}: {means}") for what, where, means in manifest["constraints"]]
    return [*out, ("versions", ", ".join(f"{name} {version}" for name, version in manifest["versions"].items()))]
