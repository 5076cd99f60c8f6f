"""One self-contained `report.html`: map, clusters, answers, quality of the input, and what was run. No outside request.

Everything that came from the source is data: it travels as JSON with `<` escaped and is shown with `textContent`, or is escaped
by the template. A content security policy in the page refuses anything else.
"""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

from mumei.core.artifact import library_versions
from mumei.core.files import read_json, write_text
from mumei.core.seeds import sample_rows
from mumei.discover.workspace import Workspace
from mumei.retrieval.passages import label, shorten

POINTS = 20_000  # points drawn; more would make the page heavy without being seen
SNIPPET = 150  # characters of text shown at a point
ANSWERS = 10
PROBLEMS = 50


def write_report(workspace: Workspace) -> Path:
    """Write `report.html` from what the workspace holds; return its path."""
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["thousands"] = lambda n: f"{n:,}"
    template = environment.from_string(resources.files("mumei.discover").joinpath("report.html.j2").read_text("utf-8"))
    path = workspace.path("report.html")
    write_text(path, template.render(**context(workspace)))
    return path


def context(workspace: Workspace) -> dict[str, Any]:
    """Return what the template shows."""
    grouped = read_json(workspace.path("groups.json"))
    source = workspace.manifest["source"]
    read = workspace.summary("read")
    groups = [_group(workspace, group) for group in grouped["groups"]]
    return {
        "name": source["name"],
        "kind": source["kind"],
        "described": [*source["described"], *source.get("encoding", [])],
        "read": read,
        "problems": _problems(workspace),
        "problem_count": sum(read["problems"].values()),
        "groups": groups,
        "by": grouped["by"],
        "curve": grouped["curve"],
        "curve_path": curve_path(grouped["curve"]),
        "answers": [{**a, "hits": a["hits"][:ANSWERS]} for a in read_json(workspace.path("answers.json"))],
        "quality": workspace.summary("ask").get("ndcg@10"),
        "encode": workspace.summary("encode"),
        "versions": library_versions(),
        "drawn": min(len(workspace), POINTS),
        "data": script_json(points(workspace, [g["name"] for g in groups])),
    }


def script_json(value: Any) -> str:
    r"""Return JSON that is safe inside a script element: no `<`, `>` or `&`, and none of JavaScript's own line ends.

    Examples
    --------
    >>> script_json("</script>")
    '"\\\\u003c/script\\\\u003e"'
    """
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    import markupsafe

    return markupsafe.Markup(text)  # noqa: S704 (escaped just above; the template must not escape it again)


def points(workspace: Workspace, names: list[str]) -> dict[str, Any]:
    """Return the map's points: coordinates in 0..10000, cluster numbers, titles and snippets of a sample of rows."""
    import numpy as np

    rows = sample_rows(len(workspace), POINTS, 0, "report")
    xy = np.c_[workspace.column("map", "x"), workspace.column("map", "y")][rows]
    whole = np.rint((xy + 1) * 5000).astype(int)
    titles, snippets = [], []
    for first, table in workspace.items():
        here = rows[np.searchsorted(rows, first) : np.searchsorted(rows, first + len(table))] - first
        for item in table.take(here).to_pylist():
            titles.append(label(item, workspace.kind))
            snippets.append(shorten(item["text"], SNIPPET) if item["title"] else item["id"])
    return {
        "x": whole[:, 0].tolist(),
        "y": whole[:, 1].tolist(),
        "c": workspace.column("clusters", "cluster")[rows].tolist(),
        "t": titles,
        "s": snippets,
        "names": names,
    }


def _group(workspace: Workspace, group: dict[str, Any]) -> dict[str, Any]:
    exemplars = [{"id": row["id"], "label": label(row, workspace.kind)} for row in workspace.rows(group["exemplars"])]
    return {**group, "share": group["size"] / max(len(workspace), 1), "exemplars": exemplars}


def _problems(workspace: Workspace) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    return pq.read_table(workspace.path("problems.parquet")).slice(0, PROBLEMS).to_pylist()


def curve_path(curve: list[dict[str, float]], width: int = 300, height: int = 90) -> str:
    """Return the stability curve as the points of an SVG polyline in a box of `width` by `height`."""
    if len(curve) < 2:
        return ""
    step = width / (len(curve) - 1)
    return " ".join(f"{i * step:.0f},{height * (1 - max(0.0, p['stability'])):.0f}" for i, p in enumerate(curve))
