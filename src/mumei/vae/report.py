"""One self-contained `report.html` on a fitted model: what the latent space carries and shows. No script, no outside request.

Figures 4 and 5 of Kingma and Welling 2013 (manifold, samples) are drawn where rows are images; for other rows the page names the
features that move along each latent dimension, and those that make a row unusual. Text that came from the data is escaped by the
template.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from mumei.core import charts, page, pictures, seeds
from mumei.core.artifact import library_versions
from mumei.core.errors import UsageError
from mumei.core.files import write_text
from mumei.core.inputs import dense, flatten_images, unpack
from mumei.vae import figures
from mumei.vae.charts import BARS, bars
from mumei.vae.collapse import ACTIVE, CollapseReport, collapse_report
from mumei.vae.inputs import one_hot

if TYPE_CHECKING:
    from numpy.typing import NDArray

ROWS = 20_000  # rows a page looks at
CELLS = 1 << 27  # and numbers: 512 MB
POINTS = 3000  # rows drawn on the map
UNUSUAL = 24  # rows listed
LOOKED_AT = 500  # rows from which a feature's usual error is taken
GROUPS = 40  # values of a label that still can be told apart by colour
SPAN = 2.0  # how far a latent dimension is walked, in the prior's standard deviations


def _same(values: NDArray[Any]) -> NDArray[Any]:
    return values


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A fitted network and the rows a report is about.

    Parameters
    ----------
    net : object with `likelihood`, `latent`, `encode` and `decode`
    x : Tensor (n, n_features)
        Rows as the likelihood sees them.
    scores : ndarray (n,)
        The bound of each row, in nats and in the units of the data.
    collapse : CollapseReport
    name : str
        Of the data.
    model : str
        What the model is, in a line.
    ids : sequence of str
        Of the rows; by default their numbers from 1.
    columns : sequence of str
        Of the features; by default their numbers from 1.
    image : (height, width), optional
        Rows are pictures of this shape.
    labels : sequence of str, optional
        One a row, for the colours of the map; the model has not seen them.
    history : sequence of dict
        What training reported by epoch.
    described : sequence of str
        How the data was read and scaled, said on the page.
    restore : callable
        Takes values as the likelihood sees them back to the units of the data.
    shift : float
        Nats a row that a change of units adds to log p(x).
    covariates : Tensor (n, covariates), optional
    seed : int
    """

    net: Any
    x: Tensor
    scores: NDArray[np.float64]
    collapse: CollapseReport
    name: str = "data"
    model: str = ""
    ids: Sequence[str] = ()
    columns: Sequence[str] = ()
    image: tuple[int, int] | None = None
    labels: Sequence[str] | None = None
    history: Sequence[dict[str, Any]] = ()
    described: Sequence[str] = ()
    restore: Callable[[NDArray[Any]], NDArray[Any]] = field(default=_same)
    shift: float = 0.0
    covariates: Tensor | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        n, width = self.x.shape
        for what, found, wanted in (
            ("scores", len(self.scores), n),
            ("ids", len(self.ids) or n, n),
            ("columns", len(self.columns) or width, width),
            ("labels", n if self.labels is None else len(self.labels), n),
        ):
            if found != wanted:
                raise UsageError(f"{what} has {found} entries and the rows need {wanted}; give one for each.")
        if self.image is not None:
            pictures.image_shape("{}x{}".format(*self.image), width)

    def id(self, row: int) -> str:
        """Return a row's id."""
        return str(self.ids[row]) if len(self.ids) else f"row {row + 1}"

    def column(self, feature: int) -> str:
        """Return a feature's name."""
        return str(self.columns[feature]) if len(self.columns) else f"column {feature + 1}"

    def beside(self, rows: Any) -> tuple[Tensor, ...]:
        """Return the covariates of some rows, as further arguments of the network."""
        return () if self.covariates is None else (self.covariates[rows],)

    def means(self, rows: Any) -> NDArray[np.float32]:
        """Return the posterior means of some rows (m, latent)."""
        with torch.no_grad():
            return self.net.encode(self.x[rows], *self.beside(rows))[0].numpy()

    def reconstructions(self, rows: Any) -> NDArray[Any]:
        """Return E[x|z] at the posterior means of some rows, in the units of the data."""
        x, extra = self.x[rows], self.beside(rows)
        with torch.no_grad():
            out = self.net.decode(self.net.encode(x, *extra)[0], *extra)
            library = x.sum(1) if self.net.likelihood.counts else None
            return self.restore(self.net.likelihood.mean(out, library).numpy())

    def values(self, rows: Any) -> NDArray[Any]:
        """Return some rows in the units of the data."""
        return self.restore(self.x[rows].numpy())

    def decoded(self, z: Tensor) -> NDArray[Any]:
        """Return E[x|z] in the units of the data; for counts of the median library size, for covariates of their mean."""
        library = float(self.x.sum(1).median()) if self.net.likelihood.counts else None
        shared = None if self.covariates is None else self.covariates.mean(0)
        return self.restore(figures.decode_means(self.net, z, library, shared).numpy())


def subject_of(
    model: Any,
    X: Any,
    *,
    name: str = "data",
    ids: Sequence[str] = (),
    columns: Sequence[str] = (),
    image: tuple[int, int] | None = None,
    labels: Sequence[str] | None = None,
    batch: Any = None,
    described: Sequence[str] = (),
) -> Subject:
    """Return what a page on a fitted `VAE` and rows X is about.

    Parameters
    ----------
    model : VAE
    X : ndarray, CSR, data frame or AnnData
        As for `VAE.transform`. Of more than 20,000 rows, or more than 512 MB, some are drawn, and the page says so.
    name, ids, columns, image, labels, described
        See `Subject`; `image` is by default the shape of the images that the model was fitted on.
    batch : array (n,), optional
        For a model that was fitted with batch labels.
    """
    matrix, _ = unpack(X, model.layer)
    matrix, _ = flatten_images(matrix)
    matrix = matrix if hasattr(matrix, "indptr") else np.asarray(matrix)
    n, seed = matrix.shape[0], model.seed_
    most = max(2, min(ROWS, CELLS // matrix.shape[1]))
    rows, said = np.arange(n), []
    if n > most:
        rows = np.sort(seeds.numpy_generator(seed, "report").choice(n, most, replace=False))
        said = [f"this page looks at {most:,} of {n:,} rows, drawn at random"]
        matrix, batch = matrix[rows], None if batch is None else [batch[i] for i in rows]
    scores = model.score_samples(matrix, batch=batch).astype(np.float64)
    x = model.scaling_.apply(torch.from_numpy(dense(matrix)))
    covariates = None if batch is None else one_hot(batch, model.batches_, len(x), "batch")
    shape = getattr(model, "image_shape_", None)
    return Subject(
        net=model.net_,
        x=x,
        scores=scores,
        collapse=collapse_report(model.net_, x, seeds.torch_generator(seed, "report"), covariates=covariates),
        name=name,
        model=_described(model),
        ids=[str(ids[i]) for i in rows] if len(ids) else [f"row {i + 1}" for i in rows],
        columns=columns,
        image=image or (tuple(shape) if shape is not None and len(shape) == 2 else None),
        labels=None if labels is None else [str(labels[i]) for i in rows],
        history=model.history_,
        described=[*described, *said, *(note for note in model.notes_ if note not in model.collapse_["warnings"])],
        restore=lambda values: model.scaling_.undo(torch.from_numpy(values)).numpy(),
        shift=model.scaling_.log_volume(model.n_features_in_) if model.likelihood_["name"] == "gaussian" else 0.0,
        covariates=covariates,
        seed=seed,
    )


def _described(model: Any) -> str:
    given = {k: v for k, v in model.likelihood_.items() if k != "name" and v is not None and v is not False}
    options = ", ".join(k if v is True else f"{k} {v}" for k, v in given.items())
    hidden = model.hidden if isinstance(model.hidden, int) else ", ".join(str(h) for h in model.hidden)
    return (
        f"Variational autoencoder: {model.n_features_in_:,} columns, {hidden} hidden units, {model.latent_} latent dimensions, "
        f"{model.likelihood_['name']} likelihood{f' ({options})' if options else ''}, {model.n_iter_} epochs."
    )


def write_report(subject: Subject, path: Path | str) -> Path:
    """Write the page, whole or not at all; return its path.

    Raises
    ------
    StorageError
        The disk refused.
    """
    path = Path(path)
    write_text(path, render(subject))
    return path


def render(subject: Subject) -> str:
    """Return the page's HTML."""
    was = subject.net.training if isinstance(subject.net, torch.nn.Module) else None
    try:
        if was:
            subject.net.eval()
        return page.render("mumei.vae", "report.html.j2", **context(subject))
    finally:
        if was:
            subject.net.train()


def context(subject: Subject) -> dict[str, Any]:
    """Return what the template shows."""
    collapse = subject.collapse
    unusual = np.argsort(subject.scores, kind="stable")[:UNUSUAL]
    active = [v > ACTIVE for v in collapse.mean_variance]
    curve, about = _curve(subject)
    return {
        "name": subject.name,
        "model": subject.model,
        "rows": len(subject.x),
        "facts": _facts(subject),
        "warnings": collapse.warnings,
        "map": _map(subject, unusual),
        "bars": page.markup(bars(collapse.kl_per_dimension, active)),
        "bars_left": max(0, collapse.latent - BARS),
        "curve": page.markup(curve),
        "curve_about": about,
        "unusual_about": _unusual_about(subject),
        "described": subject.described,
        "versions": library_versions(),
        "pictures": subject.image is not None,
        **(_pictures(subject, unusual) if subject.image else _tables(subject, unusual)),
    }


def _facts(subject: Subject) -> list[dict[str, str]]:
    c, shift = subject.collapse, subject.shift
    information = f"{max(c.mutual_information, 0):.2f}"
    limit = (
        f"at the limit of log {c.rows:,} rows: it may be more"
        if c.saturated
        else f"± {c.mutual_information_error:.2f} nats: what z tells about which row it came from"
    )
    return [
        {
            "value": f"{c.bound + shift:,.2f}",
            "name": "bound",
            "means": "nats a row: log p of a row is at least this, on average",
        },
        {
            "value": f"{c.reconstruction + shift:,.2f}",
            "name": "reconstruction",
            "means": "nats a row: how well z gives the row back",
        },
        {"value": f"{c.kl:,.2f}", "name": "KL", "means": "nats a row: what z costs; bound = reconstruction - KL"},
        {
            "value": f"{c.active_units} of {c.latent}",
            "name": "active units",
            "means": "latent dimensions that differ from row to row",
        },
        {"value": information, "name": "mutual information", "means": limit},
    ]


def _map(subject: Subject, unusual: NDArray[np.intp]) -> dict[str, Any]:
    n = len(subject.x)
    rows = np.arange(n)
    if n > POINTS:
        drawn = seeds.numpy_generator(subject.seed, "map").choice(n, POINTS, replace=False)
        rows = np.union1d(drawn, unusual)
    xy, axes = pictures.plane(subject.means(rows), seeds.seed32(subject.seed, "plane"))
    groups, names = _groups(subject, rows)
    titles = [f"{subject.id(int(r))}: {subject.scores[r]:.1f} nats" for r in rows]
    if groups is not None:
        titles = [f"{title}, {names[g]}" for title, g in zip(titles, groups, strict=True)]
    ringed = np.flatnonzero(np.isin(rows, unusual)).tolist()
    svg = charts.scatter(xy.tolist(), groups=groups, names=names, titles=titles, ringed=ringed)
    return {"svg": page.markup(svg), "axes": axes, "drawn": len(rows)}


def _groups(subject: Subject, rows: NDArray[np.intp]) -> tuple[list[int] | None, list[str]]:
    if subject.labels is None:
        return None, []
    names = sorted({str(label) for label in subject.labels}, key=_natural)
    if len(names) > GROUPS:
        return None, []
    places = {name: i for i, name in enumerate(names)}
    return [places[str(subject.labels[r])] for r in rows], names


def _natural(name: str) -> tuple[int, float, str]:
    try:
        return 0, float(name), name
    except ValueError:
        return 1, 0.0, name


def _curve(subject: Subject) -> tuple[str, str]:
    lines: dict[str, list[tuple[float, float]]] = {}
    for place, record in enumerate(subject.history):
        epoch = float(record.get("epoch", place)) + 1
        for name, value in record.items():
            if name in ("bound", "validation") and isinstance(value, int | float):
                label = {"bound": "training"}.get(name, name)
                lines.setdefault(label, []).append((epoch, float(value) + subject.shift))
    return charts.curves(lines), "The bound after each pass over the rows; higher is better."


def _unusual_about(subject: Subject) -> str:
    if subject.net.likelihood.counts:
        return "Rows of large totals have low bounds for that alone."
    return "Look for errors in the data first, then for something new."


# ------------------------------------------------------------------------------------------------------ images


def _pictures(subject: Subject, unusual: NDArray[np.intp]) -> dict[str, Any]:
    height, width = subject.image or (0, 0)
    rng = seeds.numpy_generator(subject.seed, "pictures")
    some = np.sort(rng.choice(len(subject.x), min(32, len(subject.x)), replace=False))
    looked_at = subject.values(some)
    low, high = float(looked_at.min()), float(looked_at.max())

    def shaded(values: NDArray[Any]) -> NDArray[np.uint8]:
        return pictures.shades(values, low, high).reshape(-1, height, width)

    steps = max(5, min(20, 800 // max(height, width)))
    dimensions = figures.chosen_dimensions(subject.collapse.kl_per_dimension)
    z = figures.manifold(subject.net.latent, dimensions, steps)
    count = max(5, min(10, 800 // max(height, width)))
    prior = torch.randn(
        count * count, subject.net.latent, generator=seeds.torch_generator(subject.seed, "report", "samples")
    )
    odd = zip(
        unusual.tolist(),
        shaded(subject.values(unusual)),
        shaded(subject.reconstructions(unusual)),
        strict=True,
    )
    return {
        "manifold": {
            "uri": pictures.data_uri(pictures.grid(shaded(subject.decoded(z)), steps, gap=0)),
            "about": _walked(subject, dimensions),
        },
        "samples": {
            "uri": pictures.data_uri(pictures.grid(shaded(subject.decoded(prior)), count)),
            "about": "z drawn from the prior, and the mean of p(x|z).",
        },
        "reconstructions": pictures.data_uri(
            figures.beside(shaded(looked_at), shaded(subject.reconstructions(some)), 4)
        ),
        "moves": [],
        "unusual": [
            {
                "id": subject.id(row),
                "score": float(subject.scores[row]),
                "uri": pictures.data_uri(figures.beside(given[None], made[None], 1)),
            }
            for row, given, made in odd
        ],
    }


def _walked(subject: Subject, dimensions: Sequence[int]) -> str:
    steps = "Steps are of equal probability under the prior, by the inverse of the normal distribution function."
    left = subject.net.latent - len(dimensions)
    if len(dimensions) == 1:
        return f"the one dimension from left to right. {steps}"
    if not left:
        return f"dimension 0 from left to right, dimension 1 upwards. {steps}"
    a, b = dimensions
    others = "the other is" if left == 1 else f"the other {left} are"
    return f"dimension {a} from left to right, {b} upwards, the two of the largest KL; {others} held at 0. {steps}"


# --------------------------------------------------------------------------------------------------- other rows


def _tables(subject: Subject, unusual: NDArray[np.intp]) -> dict[str, Any]:
    rng = seeds.numpy_generator(subject.seed, "features")
    some = np.sort(rng.choice(len(subject.x), min(LOOKED_AT, len(subject.x)), replace=False))
    return {
        "manifold": None,
        "samples": None,
        "reconstructions": None,
        "moves": _moves(subject, subject.values(some).std(0)),
        "unusual": _odd_features(subject, unusual, some),
    }


def _odd_features(subject: Subject, unusual: NDArray[np.intp], some: NDArray[np.intp]) -> list[dict[str, Any]]:
    """Return the rows with the features whose error is largest against that feature's usual error."""
    both = np.union1d(some, unusual)
    usual = np.sqrt(np.square(subject.values(both) - subject.reconstructions(both)).mean(0))
    values, expected = subject.values(unusual), subject.reconstructions(unusual)
    found = []
    for row, value, mean in zip(unusual.tolist(), values, expected, strict=True):
        far = np.abs(value - mean) / np.where(usual > 0, usual, np.inf)
        features = [
            {"name": subject.column(int(j)), "value": f"{value[j]:.4g}", "expected": f"{mean[j]:.3g}"}
            for j in np.argsort(-far, kind="stable")[:6]
            if far[j] > 0
        ]
        found.append({"id": subject.id(row), "score": float(subject.scores[row]), "features": features})
    return found


def _moves(subject: Subject, spread: NDArray[Any], most: int = 8, features: int = 6) -> list[dict[str, Any]]:
    """Return the features that change along the active dimensions, those of the largest KL first."""
    kl = subject.collapse.kl_per_dimension
    order = [j for j in np.argsort(-np.asarray(kl), kind="stable") if subject.collapse.mean_variance[j] > ACTIVE][:most]
    if not order:
        return []
    z = torch.zeros(2 * len(order), subject.net.latent)
    for place, j in enumerate(order):
        z[2 * place, j], z[2 * place + 1, j] = -SPAN, SPAN
    ends = subject.decoded(z)
    found = []
    for place, j in enumerate(order):
        change = (ends[2 * place + 1] - ends[2 * place]) / np.where(spread > 0, spread, np.inf)
        ranked = np.argsort(-change, kind="stable")
        up = [subject.column(int(i)) for i in ranked[:features] if change[i] > 0.1]
        down = [subject.column(int(i)) for i in ranked[::-1][:features] if change[i] < -0.1]
        found.append({"dimension": int(j), "kl": kl[j], "up": up, "down": down})
    return found
