"""`mumei cluster fit`, `predict`, `report` and `methods`: groups of unlabelled rows, by command."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from mumei.cli.output import Output

TABLES = (".npy", ".parquet", ".csv")
PREPARATIONS = Literal["auto", "scale", "standard", "tfidf", "cells", "none"]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Rows:
    """Which rows are read, and how they are prepared.

    Parameters
    ----------
    rows
        Take only so many rows, drawn at random.
    image
        HEIGHTxWIDTH, where rows are images that were flattened: 28x28.
    preprocess
        auto, scale, standard (columns of units of their own), tfidf (counts of words), cells (counts of genes) or none.
    """

    rows: int | None = None
    image: str | None = None
    preprocess: PREPARATIONS = "auto"


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Training:
    """How methods are trained; what is not given is what the preset says.

    Parameters
    ----------
    preset
        robust, which trains in minutes, or paper, with the paper's own settings.
    hidden
        Units of the encoder's hidden layers from the data inwards: 500,500,2000.
    latent
        Width of the code.
    pretrain_epochs
        Passes over the rows before the clustering.
    epochs
        Passes over the rows in the clustering, at most.
    batch_size
        Rows in a step.
    set
        Any other setting, NAME=VALUE: alpha=2.0. May be given many times.
    """

    preset: str = "robust"
    hidden: str | None = None
    latent: int | None = None
    pretrain_epochs: int | None = None
    epochs: int | None = None
    batch_size: int | None = None
    set: tuple[str, ...] = ()

    def settings(self) -> dict[str, Any]:
        """Return the settings that were given, by name."""
        from mumei.core.errors import UsageError

        names = {"latent": "n_latent"}
        given = {k: v for k, v in vars(self).items() if k not in ("preset", "hidden", "set") and v is not None}
        found = {names.get(k, k): v for k, v in given.items()}
        if self.hidden is not None:
            found["hidden"] = widths(self.hidden)
        for text in self.set:
            name, equals, value = text.partition("=")
            if not equals or not name:
                raise UsageError(f"--set {text!r} is not understood; give NAME=VALUE, such as alpha=2.0.")
            found[name.strip().replace("-", "_")] = _value(value)
        return found


def widths(hidden: str) -> tuple[int, ...]:
    """Return units a layer from "500,500,2000"."""
    from mumei.core.errors import UsageError

    try:
        return tuple(int(part) for part in hidden.split(","))
    except ValueError:
        message = f"--hidden {hidden!r} is not understood; give units a layer, such as 500 or 500,500,2000."
        raise UsageError(message) from None


def _value(text: str) -> Any:
    """Return a JSON value, or the text as it is."""
    import json

    try:
        return json.loads(text)
    except ValueError:
        return text


DEFAULT_ROWS, DEFAULT_TRAINING = Rows(), Training()


def read(source: str, given: Rows, seed: int, output: Output) -> tuple[Any, Any, str]:
    """Return numbers, the matrix that methods get (images where their shape is given), and how it is prepared."""
    from mumei.cli import reading
    from mumei.core.pictures import image_shape

    numbers = reading.read_numbers(source).take(given.rows, seed)
    for line in numbers.described:
        output.progress().say(line)
    shape = image_shape(given.image, numbers.features) if given.image else None
    matrix = numbers.matrix if shape is None else reading.as_images(numbers.matrix, shape)
    counts = given.preprocess == "auto" and reading.cells(numbers)
    return numbers, matrix, "cells" if counts else given.preprocess


def fit(
    source: str,
    *,
    out: Path,
    method: str = "dec",
    k: Annotated[int | None, Parameter(name=["--k", "-k"])] = None,
    seeds: int = 3,
    given: Rows = DEFAULT_ROWS,
    training: Training = DEFAULT_TRAINING,
    labels: str | None = None,
    report: Path | None = None,
    checkpoints: Path | None = None,
    seed: int = 0,
    json: bool = False,
    quiet: bool = False,
) -> int:
    """Find groups in a table or in images, and write the model, the groups and a report page.

    Parameters
    ----------
    source
        .npz, .npy, .csv, .tsv, .parquet or .h5ad. file.npz:name takes an array (by default the largest), file.h5ad:name a layer.
    out
        Folder of the model; one that is there is replaced. Beside it go OUT.csv with the groups and OUT.html with the report.
    method
        See: mumei cluster methods.
    k
        Number of clusters. By default chosen by stability and BIC, and said.
    seeds
        Runs from different seeds: how far they agree is the stability, and the one that agrees most is kept.
    labels
        An array or column of true labels that the report compares with; the model does not see it.
    report
        Where the report goes in place of OUT.html.
    checkpoints
        A folder that keeps the training's state: the same command, run again after it was killed, goes on from there.
    seed
        Seed of everything random.
    json
        Print the result as one JSON document.
    quiet
        No progress.
    """
    output = Output(json=json, quiet=quiet)
    from mumei.cli import reading
    from mumei.cluster import catalogue

    reading.check_folder(out)
    numbers, matrix, preprocess = read(source, given, seed, output)
    true = numbers.column(labels, "labels")
    model = catalogue.make(
        method,
        training.settings(),
        n_clusters=k,
        n_init=seeds,
        preset=training.preset,
        preprocess=preprocess,
        random_state=seed,
        out=checkpoints,
        progress=output.progress(),
    )
    try:
        model.fit(matrix)
    except KeyboardInterrupt as stop:
        kept = checkpoints is not None
        stop.add_note("Checkpoints are kept." if kept else "Nothing was written: --checkpoints FOLDER would keep it.")
        raise
    reading.save_model(model, numbers, out)
    table, page = out.with_name(f"{out.name}.csv"), report or out.with_name(f"{out.name}.html")
    write_groups(table, numbers, model.labels_, model.predict_proba(matrix).max(1))
    write_page(model, numbers, matrix, page, true, output)
    _say_fit(output, model, true, {"model": out, "groups": table, "report": page})
    return 0


def write_groups(path: Path, numbers: Any, labels: Any, probability: Any) -> None:
    """Write a row's id, its cluster and the cluster's probability."""
    from mumei.cli import reading

    ids = [numbers.id(i) for i in range(len(labels))]
    reading.write_rows(path, ids, {"cluster": labels, "probability": probability}, labels)


def write_page(model: Any, numbers: Any, matrix: Any, path: Path, labels: Any, output: Output) -> None:
    """Write the report."""
    from mumei.cluster.report import subject_of, write_report

    output.progress().say("drawing the report")
    subject = subject_of(
        model,
        matrix,
        name=numbers.name,
        ids=numbers.ids,
        columns=numbers.columns,
        labels=labels,
        described=numbers.described,
    )
    write_report(subject, path)


def _say_fit(output: Output, model: Any, labels: Any, written: dict[str, Path]) -> None:
    import numpy as np

    sizes = np.bincount(model.labels_, minlength=model.n_clusters_).tolist()
    stable = model.stability_["mean_ari"]
    data = {
        **written,
        "method": type(model).__name__,
        "rows": len(model.labels_),
        "columns": model.n_features_in_,
        "n_clusters": model.n_clusters_,
        "sizes": sizes,
        "stability": stable,
        "epochs": model.n_iter_,
        "notes": model.notes_,
    }
    lines = [f"note: {note}" for note in model.notes_]
    lines.append(f"{type(model).__name__}: {len(model.labels_):,} rows in {model.n_clusters_} clusters")
    lines.append("sizes: " + ", ".join(f"{i}: {size:,}" for i, size in enumerate(sizes)))
    if stable is not None:
        lines.append(f"stability: ARI {stable:.2f} between {len(model.runs_)} seeds (1 is the same groups, 0 chance)")
    if labels is not None:
        data["against_labels"] = found = model.evaluate(labels)
        lines.append("against the labels: " + ", ".join(f"{k.upper()} {100 * v:.1f}" for k, v in found.items()))
    lines += [f"{name}: {output.path(path)}" for name, path in written.items()]
    output.result(data, "\n".join(lines))


def open_model(folder: Path) -> Any:
    """Return a clusterer that `mumei cluster fit` wrote."""
    import mumei
    from mumei.cluster.estimator import Clusterer
    from mumei.core.errors import ArtifactError

    found = mumei.load(folder)
    if not isinstance(found, Clusterer):
        raise ArtifactError(
            f"{folder} holds a {type(found).__name__}, which clusters nothing; give a model of: mumei cluster fit"
        )
    return found


def read_for(model: Any, source: str, rows: int | None, seed: int, output: Output) -> tuple[Any, Any]:
    """Return numbers in the model's columns, and the matrix as the model takes it."""
    from mumei.cli import reading

    numbers = reading.read_for(model, source, rows, seed, output)
    shape = model.image_shape_
    if shape is None or len(numbers.matrix.shape) > 2:
        return numbers, numbers.matrix
    return numbers, reading.as_images(numbers.matrix, shape)


def predict(
    model: Path,
    source: str,
    *,
    out: Path,
    labels: str | None = None,
    json: bool = False,
    quiet: bool = False,
) -> int:
    """Write the cluster of each row, and the cluster's probability.

    Parameters
    ----------
    model
        Folder of a model that `mumei cluster fit` wrote.
    source
        Numbers of the same columns.
    out
        A file that ends in .npy (the clusters alone), .parquet or .csv.
    labels
        An array or column of true labels to compare with.
    json
        Print the result as one JSON document.
    quiet
        No progress.
    """
    output = Output(json=json, quiet=quiet)
    import numpy as np

    from mumei.cli import reading
    from mumei.cluster import metrics

    reading.check_suffix(out, TABLES)
    fitted = open_model(model)
    numbers, matrix = read_for(fitted, source, None, 0, output)
    true = numbers.column(labels, "labels")
    proba = fitted.predict_proba(matrix)
    found = proba.argmax(1)
    write_groups(out, numbers, found, proba.max(1))
    sizes = np.bincount(found, minlength=fitted.n_clusters_).tolist()
    data = {"out": out, "rows": len(found), "n_clusters": fitted.n_clusters_, "sizes": sizes}
    lines = [f"{output.path(out)}: {len(found):,} rows in {sum(s > 0 for s in sizes)} of {len(sizes)} clusters"]
    lines.append("sizes: " + ", ".join(f"{i}: {size:,}" for i, size in enumerate(sizes)))
    if true is not None:
        data["against_labels"] = scores = metrics.with_labels(true, found)
        lines.append("against the labels: " + ", ".join(f"{k.upper()} {100 * v:.1f}" for k, v in scores.items()))
    output.result(data, "\n".join(lines))
    return 0


def report(
    model: Path,
    source: str,
    *,
    out: Path = Path("report.html"),
    labels: str | None = None,
    rows: int | None = None,
    seed: int = 0,
    json: bool = False,
    quiet: bool = False,
) -> int:
    """Write a page on a model and these rows: map, groups with exemplars and markers, stability, baselines.

    Parameters
    ----------
    model
        Folder of a model that `mumei cluster fit` wrote.
    source
        Numbers of the same columns; they need not be those of the training.
    out
        The page.
    labels
        An array or column of true labels that the page compares with.
    rows
        Take only so many rows, drawn at random.
    seed
        Of the rows.
    json
        Print the result as one JSON document.
    quiet
        No progress.
    """
    output = Output(json=json, quiet=quiet)
    from mumei.cli import reading

    reading.check_suffix(out, (".html", ".htm"))
    fitted = open_model(model)
    numbers, matrix = read_for(fitted, source, rows, seed, output)
    true = numbers.column(labels, "labels")
    write_page(fitted, numbers, matrix, out, true, output)
    output.result({"report": out, "rows": len(numbers)}, f"report: {output.path(out)}")
    return 0


def methods(*, json: bool = False, quiet: bool = False) -> int:
    """List the methods: name, family, the data it takes, what it does, paper.

    Parameters
    ----------
    json
        Print the list as one JSON document.
    quiet
        No progress.
    """
    output = Output(json=json, quiet=quiet)
    from mumei.cluster import catalogue

    found = catalogue.methods()
    wide = max(len(row["method"]) for row in found)
    lines, family = [], ""
    for row in found:
        if row["family"] != family:
            family = row["family"]
            lines += [*([""] if lines else []), family]
        lines.append(f"  {row['method']:<{wide}}  {row['summary']}")
        about = f"for {row['data']}" + (f"; {row['paper']}" if row["paper"] else "")
        lines.append(f"  {'':<{wide}}  {about}")
    output.result({"methods": found}, "\n".join(lines))
    return 0
