"""`mumei cluster compare`: several methods and the baselines on one data set, by command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from mumei.cli.cluster import DEFAULT_ROWS, DEFAULT_TRAINING, Rows, Training, read
from mumei.cli.output import Output


def compare(
    source: str,
    *,
    out: Path = Path("comparison"),
    methods: str = "dec,idec,dcn",
    k: Annotated[int | None, Parameter(name=["--k", "-k"])] = None,
    seeds: int = 3,
    given: Rows = DEFAULT_ROWS,
    training: Training = DEFAULT_TRAINING,
    labels: str | None = None,
    no_baselines: bool = False,
    json: bool = False,
    quiet: bool = False,
) -> int:
    """Run methods and baselines on the same rows with the same seeds, and say plainly whether a baseline wins.

    Parameters
    ----------
    source
        .npz, .npy, .csv, .tsv, .parquet or .h5ad. file.npz:name takes an array (by default the largest), file.h5ad:name a layer.
    out
        Folder of the results: comparison.html, comparison.json, and one file for each method and seed. The same command goes on
        after the last of them; more methods or seeds may be asked for later.
    methods
        Names with commas between, or all. See: mumei cluster methods.
    k
        Number of clusters. By default chosen by stability and BIC, and said.
    seeds
        Fits of each method, from seeds 0, 1, 2 and so on.
    labels
        An array or column of true labels: adds ACC, NMI and ARI. Nothing is chosen by them.
    no_baselines
        Leave out k-means on the rows, on principal components and on an autoencoder's code.
    json
        Print the result as one JSON document.
    quiet
        No progress.
    """
    output = Output(json=json, quiet=quiet)
    from mumei.cluster import catalogue
    from mumei.cluster.compare import compare as run
    from mumei.cluster.compare_report import write_comparison
    from mumei.core import files
    from mumei.core.errors import UsageError

    names = [name for name in methods.split(",") if name.strip()]
    names = catalogue.names() if names == ["all"] else [catalogue.check_name(name) for name in names]
    if out.is_file() or (out.is_dir() and any(out.iterdir()) and not any((out / n).exists() for n in KNOWN)):
        raise UsageError(f"--out {out} holds something else than a comparison; it was left alone. Give a new folder.")
    numbers, matrix, preprocess = read(source, given, 0, output)
    true = numbers.column(labels, "labels")
    try:
        found = run(
            matrix,
            names,
            n_clusters=k,
            seeds=seeds,
            y=true,
            baselines=not no_baselines,
            settings=training.settings(),
            preset=training.preset,
            preprocess=preprocess,
            out=out,
            progress=output.progress(),
        )
    except KeyboardInterrupt as stop:
        stop.add_note(f"What was finished is kept in {output.path(out)}.")
        raise
    page, record = out / "comparison.html", out / "comparison.json"
    write_comparison(found, page, name=numbers.name, described=numbers.described, progress=output.progress())
    data = {**found.to_dict(), "name": numbers.name, "report": str(page)}
    files.write_json(record, data)
    notes = [f"note: {note}" for note in found.notes]
    output.result(data, "\n".join([*notes, found.text(), f"report: {output.path(page)}"]))
    return 0


KNOWN = ("results", "pretrained", "comparison.json", "comparison.html")
