"""One self-contained page on a fitted clusterer: map, groups with exemplars and markers, stability, baselines, what was done.

No script, no outside request. Scores that need no labels come first; ACC, NMI and ARI are there only where labels were given, and
the model has never seen them. Text that came from the data is escaped by the template.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse

from mumei.cluster import metrics
from mumei.cluster.baselines import COMPONENTS, kmeans, principal_components
from mumei.cluster.markers import Marker, markers
from mumei.cluster.stability import consensus_matrix
from mumei.core import charts, page, pictures, seeds
from mumei.core.artifact import library_versions
from mumei.core.errors import DataError
from mumei.core.files import write_text
from mumei.core.inputs import dense, flatten_images, unpack
from mumei.core.mapping import place

if TYPE_CHECKING:
    from numpy.typing import NDArray

ROWS = 20_000  # rows a page looks at
CELLS = 1 << 27  # and numbers
POINTS = 3000  # rows drawn on the map
EXEMPLARS = 8  # of each cluster
BETWEEN = 12  # rows listed that lie between two clusters
CLASSES = 24  # classes whose table is drawn
CLOSE = 0.8  # of the first cluster's probability, from which a second one is close
CONSENSUS = 400  # rows of the consensus matrix


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A fitted model and the rows a page is about; made by `subject_of`.

    Parameters
    ----------
    model : Clusterer
    X : ndarray or CSR (n, d)
        Rows as they came.
    x : ndarray or CSR (n, d')
        Prepared rows.
    z : ndarray (n, latent)
        Embedding.
    proba : ndarray (n, k)
    name : str
        Of the data.
    ids, columns : sequence of str
        Of rows and features.
    image : tuple, optional
        (height, width), (height, width, channels) or (channels, height, width): rows are pictures.
    labels : ndarray of str (n,), optional
        True labels.
    described : sequence of str
        How the data was read.
    """

    model: Any
    X: Any
    x: Any
    z: NDArray[np.float32]
    proba: NDArray[np.float32]
    name: str
    ids: Sequence[str]
    columns: Sequence[str]
    image: tuple[int, ...] | None = None
    labels: NDArray[Any] | None = None
    described: Sequence[str] = ()

    def __post_init__(self) -> None:
        for what, values in (("ids", self.ids), ("labels", self.labels)):
            if values is not None and len(values) not in (0, len(self.z)):
                raise DataError(
                    f"{what} has {len(values)} entries and there are {len(self.z)} rows; give one for each."
                )

    @property
    def assigned(self) -> NDArray[np.int64]:
        """The cluster of each row."""
        return self.proba.argmax(1)

    @property
    def seed(self) -> int:
        """The fit's."""
        return self.model.seed_

    def id(self, row: int) -> str:
        """Return a row's name."""
        return str(self.ids[row]) if len(self.ids) else f"row {row + 1}"

    def column(self, feature: int) -> str:
        """Return a feature's name."""
        return str(self.columns[feature]) if len(self.columns) else f"column {feature + 1}"


def subject_of(
    model: Any,
    X: Any,
    *,
    name: str = "data",
    ids: Sequence[str] = (),
    columns: Sequence[str] = (),
    image: tuple[int, ...] | None = None,
    labels: Any = None,
    described: Sequence[str] = (),
) -> Subject:
    """Return what a page on a fitted model and rows X is about.

    Parameters
    ----------
    model : Clusterer
    X : as for `predict`
        Of more than 20,000 rows, or more than 2^27 numbers, some are drawn, and the page says so.
    name, ids, columns, image, labels, described
        See `Subject`; `image` is by default the shape of the images that the model was fitted on.
    """
    matrix: Any = unpack(X, model.layer)[0]
    names = [str(c) for c in getattr(matrix, "columns", ())] or [str(c) for c in columns]
    n, said = matrix.shape[0], []
    matrix = matrix if hasattr(matrix, "indptr") or hasattr(matrix, "iloc") else np.asarray(matrix)
    most = max(2, min(ROWS, CELLS // max(1, model.n_features_in_)))
    if n > most:
        rows = seeds.sample_rows(n, most, model.seed_, "report")
        matrix = matrix.iloc[rows] if hasattr(matrix, "iloc") else matrix[rows]
        ids = [str(ids[i]) for i in rows] if len(ids) else [f"row {i + 1}" for i in rows]
        labels = None if labels is None else [labels[i] for i in rows]
        said = [f"this page looks at {most:,} of {n:,} rows, drawn at random"]
    prepared = model._seen(matrix).arrays[0]
    flat, _ = flatten_images(np.asarray(matrix) if hasattr(matrix, "iloc") else matrix)
    return Subject(
        model=model,
        X=flat,
        x=prepared if scipy.sparse.issparse(prepared) else prepared.numpy(),
        z=model.transform(matrix),
        proba=model.predict_proba(matrix),
        name=name,
        ids=ids,
        columns=names,
        image=image or model.image_shape_,
        labels=None if labels is None else np.asarray([str(v) for v in labels]),
        described=[*described, *said],
    )


def write_report(subject: Subject, path: Path | str) -> Path:
    """Write the page, whole or not at all; return its path.

    Raises
    ------
    StorageError
        The disk refused.
    """
    path = Path(path)
    write_text(path, page.render("mumei.cluster", "report.html.j2", **context(subject)))
    return path


def context(subject: Subject) -> dict[str, Any]:
    """Return what the template shows."""
    model, k = subject.model, subject.model.n_clusters_
    groups = [_group(subject, j, found) for j, found in enumerate(_markers(subject))]
    stable = _stability(subject)
    for group in groups:
        group["consensus"] = None if stable is None else stable["by_cluster"].get(group["number"])
    quality = metrics.without_labels(subject.z, subject.assigned, seed=subject.seed)
    beside = _baselines(subject)
    return {
        "name": subject.name,
        "model": _described(subject),
        "rows": len(subject.z),
        "facts": _facts(subject, groups, quality),
        "map": _map(subject),
        "groups": groups,
        "held": sum(group["size"] > 0 for group in groups),
        "clusters": k,
        "pictures": subject.image is not None,
        "stability": stable,
        "drift": _curve(model, ("feature_drift",), "cosine"),
        "changed": _curve(model, ("changed",), "share of labels that changed"),
        "number_curve": _number_curve(model),
        "baselines": beside,
        "beaten": _beaten(beside),
        "crossed": _crossed(subject),
        "between": _between(subject),
        "notes": model.notes_,
        "described": subject.described,
        "settings": {key: value for key, value in model.settings_.items() if value is not None},
        "versions": library_versions(),
    }


def _described(subject: Subject) -> str:
    model = subject.model
    runs = len(model.runs_)
    return (
        f"{type(model).__name__}: {model.n_clusters_} clusters, fitted on {model.runs_.shape[1]:,} rows of "
        f"{model.n_features_in_:,} columns from {runs} seed{'s' if runs > 1 else ''}, preset {model.preset!r}."
    )


def _facts(subject: Subject, groups: list[dict[str, Any]], quality: dict[str, Any]) -> list[dict[str, str]]:
    model, sizes = subject.model, [g["size"] for g in groups if g["size"]]
    stable = model.stability_["mean_ari"]
    facts = [
        {
            "value": f"{len(sizes)} of {model.n_clusters_}",
            "name": "clusters hold rows",
            "means": f"{min(sizes):,} to {max(sizes):,} rows each",
        },
        {
            "value": "-" if stable is None else f"{stable:.2f}",
            "name": "stability",
            "means": "one seed was run"
            if stable is None
            else f"mean ARI between {len(model.runs_)} seeds; 1 is the same groups",
        },
        {
            "value": "-" if quality["silhouette"] is None else f"{quality['silhouette']:.2f}",
            "name": "silhouette",
            "means": "in the model's own code, which it has made for this",
        },
        {
            "value": f"{100 * _close_calls(subject.proba):.1f} %",
            "name": "close calls",
            "means": f"rows whose second cluster has {100 * CLOSE:.0f} % of the first one's probability or more",
        },
    ]
    if subject.labels is not None:
        found = metrics.with_labels(subject.labels, subject.assigned)
        means = f"against the labels; NMI {100 * found['nmi']:.1f}, ARI {100 * found['ari']:.1f}"
        facts.append({"value": f"{100 * found['acc']:.1f} %", "name": "accuracy", "means": means})
    return facts


def _close_calls(proba: NDArray[np.float32]) -> float:
    ordered = np.sort(proba, 1)
    return float((ordered[:, -2] >= CLOSE * ordered[:, -1]).mean()) if proba.shape[1] > 1 else 0.0


def _map(subject: Subject) -> dict[str, Any]:
    rows = seeds.sample_rows(len(subject.z), POINTS, subject.seed, "map")
    xy, assigned = place(subject.z[rows], subject.seed), subject.assigned[rows]
    present = np.unique(assigned)
    marks = [(*np.median(xy[assigned == j], 0).tolist(), str(j)) for j in present]
    titles = [f"{subject.id(int(r))}: cluster {j}" for r, j in zip(rows, assigned, strict=True)]
    if subject.labels is not None:
        titles = [f"{title}, {subject.labels[r]}" for title, r in zip(titles, rows, strict=True)]
    names = [str(j) for j in range(subject.model.n_clusters_)]
    svg = charts.scatter(xy.tolist(), groups=assigned.tolist(), names=names, titles=titles, marks=marks, legended=False)
    return {"svg": page.markup(svg), "drawn": len(rows)}


# ------------------------------------------------------------------------------------------------------- groups


def _markers(subject: Subject) -> list[list[Marker]]:
    k = subject.model.n_clusters_
    if subject.image is not None:
        return [[] for _ in range(k)]
    kept = subject.model.preparation_.tensors
    columns = kept["columns"].tolist() if "columns" in kept else list(range(subject.X.shape[1]))
    return markers(subject.x, subject.X, columns, subject.assigned, k)


def _group(subject: Subject, number: int, found: list[Marker]) -> dict[str, Any]:
    """Return what is said of one cluster."""
    rows = np.flatnonzero(subject.assigned == number)
    group: dict[str, Any] = {
        "number": number,
        "colour": charts.colour(number),
        "size": len(rows),
        "share": len(rows) / len(subject.z),
        "sure": float(subject.proba[rows, number].mean()) if len(rows) else None,
        "markers": [_marker(subject, m) for m in found],
        "exemplars": [],
        "mean": None,
    }
    if not len(rows):
        return group
    far = np.square(subject.z[rows] - subject.z[rows].mean(0)).sum(1)
    nearest = rows[np.argsort(far, kind="stable")[:EXEMPLARS]]
    if subject.image is None:
        group["exemplars"] = [{"id": subject.id(int(r)), "uri": ""} for r in nearest]
        return group
    shown = _pictures(subject, np.concatenate([dense(subject.X[nearest]), dense(subject.X[rows]).mean(0)[None]]))
    group["exemplars"] = [
        {"id": subject.id(int(r)), "uri": pictures.data_uri(p)} for r, p in zip(nearest, shown, strict=False)
    ]
    group["mean"] = pictures.data_uri(shown[-1])
    return group


def _marker(subject: Subject, m: Marker) -> dict[str, Any]:
    return {
        "name": subject.column(m.feature),
        "d": m.d,
        "bar": min(abs(m.d) / 3, 1.0),
        "auc": m.auc,
        "inside": _short(m.inside),
        "outside": _short(m.outside),
        "present": None if m.present is None else [f"{100 * share:.0f} %" for share in m.present],
    }


def _short(value: float) -> str:
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e6 else f"{value:.3g}"


def _pictures(subject: Subject, rows: NDArray[Any]) -> list[NDArray[np.uint8]]:
    """Return rows as pictures: greys, or colours where there are three channels; of others the first channel."""
    shape = subject.image or ()
    low, high = _ends(subject.X)
    shades = pictures.shades(rows, low, high).reshape(-1, *shape)
    if len(shape) == 3 and shape[0] in (1, 3) and shape[2] not in (1, 3):
        shades = shades.transpose(0, 2, 3, 1)
    if len(shape) == 3:
        shades = shades if shades.shape[-1] == 3 else shades[..., 0]
    return list(np.ascontiguousarray(shades))


def _ends(X: Any) -> tuple[float, float]:
    values = dense(X[:2000])
    return (0.0, 255.0) if values.dtype == np.uint8 else (float(values.min()), float(values.max()))


def _between(subject: Subject) -> list[dict[str, Any]]:
    """Return the rows whose two likeliest clusters are nearest to each other; none where assignments are hard."""
    order = np.argsort(-subject.proba, axis=1)[:, :2]
    if subject.proba.shape[1] < 2:
        return []
    first, second = (np.take_along_axis(subject.proba, order[:, [i]], 1).ravel() for i in (0, 1))
    rows = np.argsort(first - second, kind="stable")[:BETWEEN]
    rows = rows[second[rows] > 0.1]
    shown = (
        _pictures(subject, dense(subject.X[rows])) if subject.image is not None and len(rows) else [None] * len(rows)
    )
    return [
        {
            "id": subject.id(int(r)),
            "uri": None if picture is None else pictures.data_uri(picture),
            "clusters": [
                {"number": int(j), "colour": charts.colour(int(j)), "share": float(subject.proba[r, j])}
                for j in order[r]
            ],
        }
        for r, picture in zip(rows, shown, strict=True)
    ]


# ---------------------------------------------------------------------------------------------------- stability


def _stability(subject: Subject) -> dict[str, Any] | None:
    """Return the agreement between the fit's runs: table, picture, and the mean consensus within each cluster."""
    model = subject.model
    if len(model.runs_) < 2:
        return None
    matrix, index = consensus_matrix(model.runs_, sample=CONSENSUS, seed=subject.seed)
    labels = model.labels_[index]
    order = np.argsort(labels, kind="stable")
    within = {}
    for j in np.unique(labels):
        rows = np.flatnonzero(labels == j)
        pairs = matrix[np.ix_(rows, rows)][np.triu_indices(len(rows), 1)]
        if len(pairs):
            within[int(j)] = float(pairs.mean())
    bounds = np.flatnonzero(np.diff(labels[order])) + 1
    return {
        "ari": model.stability_["ari"],
        "mean": model.stability_["mean_ari"],
        "least": model.stability_["least_ari"],
        "chosen": model.stability_["chosen"],
        "select": model.stability_["select"],
        "by_cluster": within,
        "picture": pictures.data_uri(_ruled(pictures.tints(matrix[np.ix_(order, order)]), bounds)),
        "rows": len(index),
    }


def _ruled(picture: NDArray[np.uint8], bounds: NDArray[np.intp]) -> NDArray[np.uint8]:
    """Draw a line between the clusters."""
    for axis in (0, 1):
        picture = np.insert(picture, bounds, 160, axis=axis)
    return picture


def _curve(model: Any, keys: Sequence[str], unit: str) -> Any:
    """Return a chart of what was recorded of each epoch of the clustering phase; None where nothing was."""
    records = [r for r in model.history_ if r.get("phase") == "clustering"]
    records = records[1:] if "changed" in keys else records  # before the first refresh there were no labels to change
    lines = {
        key.replace("_", " "): [(float(r["epoch"]) + 1, float(r[key])) for r in records if key in r and "epoch" in r]
        for key in keys
    }
    svg = charts.curves(lines, unit)
    return page.markup(svg) if svg else None


def _number_curve(model: Any) -> Any:
    points = model.number_curve_ or ()
    lines = {"stability": [(float(p["n_clusters"]), float(p["stability"])) for p in points]}
    svg = charts.curves(lines, "ARI between halves", across="number of clusters")
    return page.markup(svg) if svg else None


# ------------------------------------------------------------------------------------------------ what is beside it


def _baselines(subject: Subject) -> list[dict[str, Any]]:
    """Return the result and the baselines, all on the rows of the page and scored in one space."""
    model, k = subject.model, min(subject.model.n_clusters_, len(subject.z))
    space = principal_components(subject.x, COMPONENTS, seed=model.run_seed_)
    found = {
        type(model).__name__: subject.assigned,
        "k-means on the rows": kmeans(subject.x, k, seed=model.run_seed_),
        "k-means on principal components": kmeans(space, k, seed=model.run_seed_),
    }
    trained_on = len(model.labels_) == len(subject.z) and np.array_equal(model.labels_, subject.assigned)
    if model.initial_labels_ is not None and trained_on:
        found["what training began with"] = model.initial_labels_
    return [
        {
            "name": name,
            "own": not place,
            "agrees": metrics.ari(subject.assigned, labels),
            "silhouette": metrics.silhouette(space, labels, seed=subject.seed),
            "smallest": float(np.unique(labels, return_counts=True)[1].min() / len(labels)),
            "clusters": len(np.unique(labels)),
            "scores": None if subject.labels is None else metrics.with_labels(subject.labels, labels),
        }
        for place, (name, labels) in enumerate(found.items())
    ]


def _beaten(beside: list[dict[str, Any]]) -> str:
    """Say it where a baseline is at least as good by what labels say, or by the silhouette where there are none."""
    own, others = beside[0], beside[1:]
    if own["scores"] is not None:
        best = max(others, key=lambda b: b["scores"]["nmi"])
        if best["scores"]["nmi"] >= own["scores"]["nmi"]:
            return f"A baseline wins: by the labels {best['name']} is at least as good as the result."
        return ""
    known = [b for b in others if b["silhouette"] is not None]
    best = max(known, key=lambda b: b["silhouette"], default=None)
    if best is not None and own["silhouette"] is not None and best["silhouette"] >= own["silhouette"]:
        return (
            f"The groups of a baseline, {best['name']}, are further apart in the rows' principal components. Without labels "
            "nothing here says that the result is the better one: look at the groups of both."
        )
    return ""


def _crossed(subject: Subject) -> dict[str, Any] | None:
    """Return how many rows of each class are in each cluster; None without labels, or with too many classes to draw."""
    if subject.labels is None:
        return None
    classes = np.unique(subject.labels)
    if len(classes) > CLASSES:
        return None
    held = np.unique(subject.assigned)
    table = metrics.contingency(subject.labels, subject.assigned)  # (classes, clusters)
    rows = [
        {
            "number": int(j),
            "colour": charts.colour(int(j)),
            "cells": [{"count": int(c), "share": float(c / table[:, i].sum())} for c in table[:, i]],
        }
        for i, j in enumerate(held)
    ]
    return {"classes": classes.tolist(), "rows": rows}
