"""`mumei vae fit`, `encode`, `sample`, `score` and `report`: a latent space of unlabelled numbers, by command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from mumei.cli.output import Output

TABLES = (".npy", ".parquet", ".csv")
LISTED = 20  # rows of a score that a person is shown


def fit(
    source: str,
    *,
    out: Path,
    latent: int | None = None,
    hidden: str = "128",
    likelihood: str = "auto",
    scale: str = "auto",
    epochs: int = 50,
    batch_size: int = 100,
    learning_rate: float = 2e-3,
    optimizer: str = "adam",
    precision: Literal["float32", "bf16"] = "float32",
    trainer: Literal["aevb", "wake-sleep"] = "aevb",
    objective: Literal["B", "A", "iwae"] = "B",
    samples: int = 1,
    beta: float = 1.0,
    free_bits: float = 0.0,
    warmup_epochs: int = 0,
    validation: float = 0.0,
    patience: int = 10,
    batch: str | None = None,
    rows: int | None = None,
    image: str | None = None,
    labels: str | None = None,
    report: Path | None = None,
    checkpoints: Path | None = None,
    seed: int = 0,
    json: bool = False,
    quiet: bool = False,
) -> int:
    """Learn a latent space of a table or of images, and write the model and a report page.

    Parameters
    ----------
    source
        .npz, .npy, .csv, .tsv, .parquet or .h5ad. file.npz:name takes an array (by default the largest), file.h5ad:name a layer.
    out
        Folder of the model; one that is there is replaced.
    latent
        Width of the latent space. By default 10, or the number of columns where that is less.
    hidden
        Units of the hidden layers from the data inwards: 500, or 256,64.
    likelihood
        bernoulli, gaussian, categorical, poisson, nb or zinb. By default proposed from the data, and said.
    scale
        auto, standard, unit or none: what is done to the numbers first.
    epochs
        Passes over the rows.
    batch_size
        Rows in a step.
    learning_rate
        Of the optimizer.
    optimizer
        adam, adamw, sgd, or the paper's adagrad.
    precision
        float32, or bf16: quicker where the processor has it.
    trainer
        aevb, or wake-sleep for one hidden layer and a bernoulli or gaussian likelihood.
    objective
        B: the KL in closed form. A: all of it sampled. iwae: the importance-weighted bound.
    samples
        Values of z a row and step.
    beta
        Weight of the KL.
    free_bits
        Nats of KL granted to each dimension.
    warmup_epochs
        Epochs over which the KL's weight rises to beta.
    validation
        Share of the rows held out; training stops when their bound has not risen for --patience epochs.
    patience
        See --validation.
    batch
        An array of the .npz, or a column of the .h5ad, of labels (donor, plate) that the latent space need not carry.
    rows
        Take only so many rows, drawn at random.
    image
        HEIGHTxWIDTH, where rows are images that were flattened: 28x28.
    labels
        An array or column that colours the report's map; the model does not see it.
    report
        Where the report goes. By default beside the model, as OUT.html.
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
    from mumei.vae.estimator import VAE

    reading.check_folder(out)
    numbers = reading.read_numbers(source).take(rows, seed)
    progress = output.progress()
    model = VAE(
        n_latent="auto" if latent is None else latent,
        hidden=_widths(hidden),
        likelihood=likelihood,
        scale=scale,
        trainer=trainer,
        estimator=objective,
        samples=samples,
        beta=beta,
        free_bits=free_bits,
        warmup_epochs=warmup_epochs,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        optimizer=optimizer,
        precision=precision,
        validation=validation,
        patience=patience,
        random_state=seed,
        out=checkpoints,
        progress=progress,
    )
    page = report or out.with_name(f"{out.name}.html")
    _fit(output, model, numbers, out, page, image=image, batch=batch, labels=labels)
    return 0


def _widths(hidden: str) -> tuple[int, ...]:
    from mumei.core.errors import UsageError

    try:
        return tuple(int(part) for part in hidden.split(","))
    except ValueError:
        raise UsageError(f"--hidden {hidden!r} is not understood; give units a layer, such as 500 or 256,64.") from None


def _fit(
    output: Output,
    model: Any,
    numbers: Any,
    out: Path,
    page: Path,
    *,
    image: str | None,
    batch: str | None,
    labels: str | None,
) -> None:
    """Train, write the model and then the page, and say what came of it."""
    from mumei.cli import reading
    from mumei.core.errors import DataError
    from mumei.core.pictures import image_shape

    if len(numbers) < 2:
        raise DataError(f"{numbers.name} has {len(numbers)} row; a latent space needs at least two.")
    shape = image_shape(image, numbers.features) if image else None
    given, coloured = numbers.column(batch, "batch"), numbers.column(labels, "labels")
    for line in numbers.described:
        output.progress().say(line)
    try:
        matrix = numbers.matrix if shape is None else reading.as_images(numbers.matrix, shape)
        model.fit(matrix, batch=given)
    except KeyboardInterrupt as stop:
        kept = model.out is not None
        stop.add_note("Checkpoints are kept." if kept else "Nothing was written: --checkpoints FOLDER would keep it.")
        raise
    reading.save_model(model, numbers, out)
    written = _write_report(model, numbers, page, None, coloured, given)
    _say_fit(output, model, numbers, written, out, page)


def _write_report(
    model: Any, numbers: Any, path: Path, image: tuple[int, int] | None, labels: Any, batch: Any
) -> dict[str, Any]:
    """Write the page; return the collapse report of its rows."""
    from mumei.vae.report import subject_of, write_report

    subject = subject_of(
        model,
        numbers.matrix,
        name=numbers.name,
        ids=numbers.ids,
        columns=numbers.columns,
        image=image,
        labels=labels,
        batch=batch,
        described=numbers.described,
    )
    write_report(subject, path)
    return {"bound": subject.collapse.bound + subject.shift, "collapse": subject.collapse}


def _say_fit(output: Output, model: Any, numbers: Any, written: dict[str, Any], out: Path, page: Path) -> None:
    collapse = written["collapse"]
    notes = [note for note in model.notes_ if note not in collapse.warnings and note not in model.collapse_["warnings"]]
    data = {
        "model": out,
        "report": page,
        "rows": len(numbers),
        "columns": model.n_features_in_,
        "likelihood": model.likelihood_,
        "latent": model.latent_,
        "epochs": model.n_iter_,
        "bound": written["bound"],
        "notes": notes,
        "collapse": collapse.to_dict(),
    }
    units = (
        []
        if abs(written["bound"] - collapse.bound) < 1e-9
        else [f"bound in the data's own units: {written['bound']:.2f} nats a row"]
    )
    lines = [*(f"note: {note}" for note in notes), collapse.text(), *units]
    lines += [f"model: {output.path(out)}", f"report: {output.path(page)}"]
    output.result(data, "\n".join(lines))


def _open(folder: Path) -> Any:
    from mumei.vae.estimator import VAE

    return VAE.load(folder)


def _read(source: str, model: Any, rows: int | None, seed: int, batch: str | None, output: Output) -> tuple[Any, Any]:
    """Return the numbers in the model's columns, and their batch labels."""
    from mumei.cli import reading

    numbers = reading.read_for(model, source, rows, seed, output)
    return numbers, numbers.column(batch, "batch")


def encode(
    model: Path,
    source: str,
    *,
    out: Path,
    batch: str | None = None,
    json: bool = False,
    quiet: bool = False,
) -> int:
    """Write the latent coordinates of rows: the means of q(z|x).

    Parameters
    ----------
    model
        Folder of a model that `mumei vae fit` wrote.
    source
        Numbers of the same columns.
    out
        A file that ends in .npy, .parquet or .csv.
    batch
        For a model that was fitted with batch labels: the array or column of these rows' labels.
    json
        Print the result as one JSON document.
    quiet
        No progress.
    """
    output = Output(json=json, quiet=quiet)
    from mumei.cli import reading

    reading.check_suffix(out, TABLES)
    fitted = _open(model)
    numbers, given = _read(source, fitted, None, 0, batch, output)
    z = fitted.transform(numbers.matrix, batch=given)
    names = [str(name) for name in fitted.get_feature_names_out()]
    ids = [numbers.id(i) for i in range(len(z))]
    reading.write_rows(out, ids, {name: z[:, j] for j, name in enumerate(names)}, z)
    output.result(
        {"out": out, "rows": len(z), "latent": z.shape[1], "columns": names},
        f"{output.path(out)}: {len(z):,} rows, {z.shape[1]} latent dimensions",
    )
    return 0


def sample(
    model: Path,
    *,
    out: Path,
    count: Annotated[int, Parameter(name=["--count", "-n"])] = 16,
    mean: bool = False,
    batch: str | None = None,
    image: str | None = None,
    seed: int = 0,
    json: bool = False,
    quiet: bool = False,
) -> int:
    """Draw new rows from a model: z from the prior, then x from p(x|z).

    Parameters
    ----------
    model
        Folder of a model that `mumei vae fit` wrote.
    out
        A file that ends in .npy, .parquet or .csv; or in .png for images, which shows the means of p(x|z), as the paper does.
    count
        How many.
    mean
        The mean of p(x|z) in place of a draw from it.
    batch
        For a model that was fitted with batch labels: the label of all of them.
    image
        HEIGHTxWIDTH for .png, where the model was fitted on flattened images.
    seed
        Of the draws.
    json
        Print the result as one JSON document.
    quiet
        No progress.
    """
    output = Output(json=json, quiet=quiet)
    from mumei.cli import reading

    suffix = reading.check_suffix(out, (*TABLES, ".png"))
    fitted = _open(model)
    names = [str(c) for c in getattr(fitted, "feature_names_in_", ())]
    shape = _picture(fitted, image) if suffix == ".png" else None
    x = fitted.sample(count, seed=seed, mean=mean or suffix == ".png", batch=_labels(fitted, batch, count))
    if shape is not None:
        _write_png(fitted, x.reshape(count, *shape), out)
    else:
        names = names or [f"column {j + 1}" for j in range(x.shape[1])]
        columns = {name: x[:, j] for j, name in enumerate(names)} if suffix != ".npy" else {}
        reading.write_rows(out, [str(i + 1) for i in range(count)], columns, x)
    output.result(
        {"out": out, "rows": count, "columns": int(x.shape[1])},
        f"{output.path(out)}: {count:,} new rows of {x.shape[1]:,} columns",
    )
    return 0


def _labels(fitted: Any, batch: str | None, count: int) -> list[Any] | None:
    """Return one batch label for each new row, as the model knows it."""
    if batch is None:
        return None
    from mumei.core.errors import unknown

    known = {str(b): b for b in fitted.batches_ or ()}
    if known and batch not in known:
        raise unknown("batch label", batch, known)
    return [known.get(batch, batch)] * count


def _picture(fitted: Any, image: str | None) -> tuple[int, int]:
    from mumei.core.errors import UsageError
    from mumei.core.pictures import image_shape

    if image:
        return image_shape(image, fitted.n_features_in_)
    shape = fitted.image_shape_
    if shape is None or len(shape) != 2:
        raise UsageError("the model was not fitted on grey images, so a .png needs their shape: --image HEIGHTxWIDTH.")
    return int(shape[0]), int(shape[1])


def _write_png(fitted: Any, pictures: Any, out: Path) -> None:
    import math

    import torch

    from mumei.core import pictures as drawing
    from mumei.core.files import write_bytes

    within = fitted.likelihood_["name"] == "bernoulli" or fitted.likelihood_.get("bounded")
    ends = fitted.scaling_.undo(torch.tensor([0.0, 1.0])).tolist() if within else [pictures.min(), pictures.max()]
    shades = drawing.shades(pictures, float(ends[0]), float(ends[1]))
    write_bytes(out, drawing.png(drawing.grid(shades, math.ceil(math.sqrt(len(pictures))))))


def score(
    model: Path,
    source: str,
    *,
    method: Literal["elbo", "iwae", "ais", "appendix_d"] = "elbo",
    samples: int | None = None,
    out: Path | None = None,
    top: int = LISTED,
    batch: str | None = None,
    rows: int | None = None,
    seed: int = 0,
    json: bool = False,
    quiet: bool = False,
) -> int:
    """Say how likely rows are, in nats, the least likely first.

    Parameters
    ----------
    model
        Folder of a model that `mumei vae fit` wrote.
    source
        Numbers of the same columns.
    method
        elbo: the bound, quick. iwae: importance sampling. ais: annealed importance sampling, slow. appendix_d: the paper's own,
        for few latents.
    samples
        Values of z a row, for elbo, iwae and appendix_d.
    out
        Also write the score of each row: .npy, .parquet or .csv.
    top
        Rows shown.
    batch
        For a model that was fitted with batch labels: the array or column of these rows' labels.
    rows
        Take only so many rows, drawn at random.
    seed
        Of the draws.
    json
        Print all rows as one JSON document.
    quiet
        No progress.
    """
    output = Output(json=json, quiet=quiet)
    import numpy as np

    from mumei.cli import reading

    if out is not None:
        reading.check_suffix(out, TABLES)
    fitted = _open(model)
    numbers, given = _read(source, fitted, rows, seed, batch, output)
    options: dict[str, Any] = {} if samples is None else {"samples": samples}
    with output.progress().task(method, len(numbers), "rows") as task:
        found = fitted.log_likelihood(numbers.matrix, method, batch=given, seed=seed, progress=task, **options)
    ids = [numbers.id(i) for i in range(len(numbers))]
    if out is not None:
        columns = {"nats": found.values, "standard_error": found.standard_errors}
        reading.write_rows(out, ids, columns, found.values)
    order = np.argsort(found.values, kind="stable")
    each = [
        {"id": ids[i], "nats": float(found.values[i]), "standard_error": float(found.standard_errors[i])} for i in order
    ]
    wide = max([len(row["id"]) for row in each[:top]] + [3])
    lines = [
        f"{method}: {found.mean:.2f} +- {found.standard_error:.2f} nats a row, {len(ids):,} rows; the least likely first"
    ]
    lines += [f"  {row['id']:<{wide}}  {row['nats']:12.2f} +- {row['standard_error']:.2f}" for row in each[:top]]
    lines += [f"note: {note}" for note in found.settings.get("notes", [])]
    output.result({**found.summary(), "per_row": each}, "\n".join(lines))
    return 0


def report(
    model: Path,
    source: str,
    *,
    out: Path = Path("report.html"),
    image: str | None = None,
    labels: str | None = None,
    batch: str | None = None,
    rows: int | None = None,
    seed: int = 0,
    json: bool = False,
    quiet: bool = False,
) -> int:
    """Write a page on a model and these rows: latent map, manifold, samples, reconstructions, KL, unusual rows.

    Parameters
    ----------
    model
        Folder of a model that `mumei vae fit` wrote.
    source
        Numbers of the same columns; they need not be those of the training.
    out
        The page.
    image
        HEIGHTxWIDTH, where the model was fitted on flattened images.
    labels
        An array or column that colours the map.
    batch
        For a model that was fitted with batch labels: the array or column of these rows' labels.
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
    from mumei.core.pictures import image_shape

    reading.check_suffix(out, (".html", ".htm"))
    fitted = _open(model)
    numbers, given = _read(source, fitted, rows, seed, batch, output)
    shape = image_shape(image, fitted.n_features_in_) if image else None
    written = _write_report(fitted, numbers, out, shape, numbers.column(labels, "labels"), given)
    collapse = written["collapse"]
    data = {"report": out, "rows": len(numbers), "bound": written["bound"], "collapse": collapse.to_dict()}
    output.result(data, f"{collapse.text()}\nreport: {output.path(out)}")
    return 0
