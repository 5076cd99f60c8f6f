"""The page of a comparison: what it comes to, the table, the maps side by side, who agrees with whom."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mumei.cluster import metrics
from mumei.cluster.comparison import Comparison, cells, number, title
from mumei.core import charts, page, seeds
from mumei.core.files import write_text
from mumei.core.mapping import place
from mumei.core.progress import SILENT, Progress


def write_comparison(
    found: Comparison,
    path: Path | str,
    *,
    name: str = "data",
    described: Sequence[str] = (),
    progress: Progress = SILENT,
) -> Path:
    """Write the page, whole or not at all; return its path.

    Parameters
    ----------
    found : Comparison
    path : path
    name : str
        Of the data.
    described : sequence of str
        How the data was read.
    progress : Progress, optional
        Drawing a map takes seconds.

    Raises
    ------
    StorageError
        The disk refused.
    """
    path = Path(path)
    head, body = cells(found)
    shown = page.render(
        "mumei.cluster",
        "compare.html.j2",
        name=name,
        rows=len(found.results[0].labels),
        drawn=len(found.shown),
        clusters=found.n_clusters,
        labelled=found.y is not None,
        verdict=found.verdict(),
        failures=[{"method": title(m), "why": why} for m, why in found.failures.items()],
        head=head,
        body=[{"baseline": row["baseline"], "cells": cell} for row, cell in zip(found.table(), body, strict=True)],
        best=_best(found),
        maps=maps(found, progress),
        agreement=_agreement(found),
        described=[*described, *found.notes],
        versions=dict(found.versions),
    )
    write_text(path, shown)
    return path


def _best(found: Comparison) -> list[set[int]]:
    """Return for each column of the table the rows whose number is the best one, as far as it is shown."""
    rows = found.table()
    digits = {"stability": 2, "silhouette": 2, "acc": 3, "nmi": 3, "ari": 3}
    keys = ["method", "seeds", "stability", "silhouette", "own_silhouette", "clusters", "smallest", "seconds"]
    keys += ["acc", "nmi", "ari"] if found.y is not None else []
    best: list[set[int]] = []
    for key in keys:
        known = {
            i: round(row[key], digits[key]) for i, row in enumerate(rows) if key in digits and row[key] is not None
        }
        best.append({i for i, value in known.items() if value == max(known.values())})
    return best


def matched(reference: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return labels (n,) renumbered so that each cluster has the number of the reference's cluster that it shares most rows with.

    One to one, by the Hungarian method; clusters beyond the reference's get numbers beyond its own.
    """
    from scipy.optimize import linear_sum_assignment

    table = metrics.contingency(reference, labels)
    names, own = np.unique(reference), np.unique(labels)
    rows, columns = linear_sum_assignment(table, maximize=True)
    new = {int(own[c]): int(names[r]) for r, c in zip(rows, columns, strict=True)}
    spare = int(names.max()) + 1
    for label in own:
        if int(label) not in new:
            new[int(label)], spare = spare, spare + 1
    return np.asarray([new[int(label)] for label in labels])


def maps(found: Comparison, progress: Progress = SILENT) -> list[dict[str, Any]]:
    """Return the map of each method's chosen run, colours matched to the first one's."""
    drawn: list[dict[str, Any]] = []
    reference = found.chosen(next(iter(found.by_method))).labels
    places: dict[bytes, np.ndarray] = {}
    with progress.task("maps", len(found.by_method), "maps") as task:
        for method in found.by_method:
            run = found.chosen(method)
            key = run.code.tobytes()  # k-means on rows and on components are drawn in one space
            if key not in places:
                places[key] = place(run.code, seeds.child(0, "comparison", "map"))
            labels = matched(reference, run.labels)[found.shown]
            svg = charts.scatter(
                places[key].tolist(),
                groups=labels.tolist(),
                names=[str(j) for j in range(labels.max() + 1)],
                legended=False,
            )
            drawn.append({"title": title(method), "seed": run.seed, "svg": page.markup(svg)})
            task.advance()
    return drawn


def _agreement(found: Comparison) -> dict[str, Any]:
    names = [title(method) for method in found.by_method]
    table = found.agreement().tolist()
    rows = [
        {"name": name, "cells": [{"share": v, "text": number(v)} for v in values]}
        for name, values in zip(names, table, strict=True)
    ]
    return {"names": names, "rows": rows}
