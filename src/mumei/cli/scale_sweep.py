"""`mumei scale sweep`: the runs to train before a large one, proposed and brought up to date as they finish, by command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mumei.cli.output import Output
from mumei.cli.scale import DEFAULT_READING, Reading

TABLES = (".csv",)


def sweep(
    *,
    flops: float,
    runs: Path | None = None,
    law: str = "besiroglu",
    given: Reading = DEFAULT_READING,
    budgets: int = 5,
    points: int = 7,
    half_width: float = 4.0,
    share: float = 0.1,
    out: Path | None = None,
    json: bool = False,
    quiet: bool = False,
) -> int:
    """Propose an IsoFLOP grid for a target budget, and what is left of it as runs come in.

    Parameters
    ----------
    flops
        The target: training FLOPs of the run that the grid is for.
    runs
        Finished runs so far, a table as `mumei scale fit` takes it.
    law
        Where best sizes are before the runs say it.
    budgets
        Of the grid, a factor three apart.
    points
        Sizes at each budget.
    half_width
        How far sizes reach to either side of the best one, as a factor.
    share
        Of the target's FLOPs that the whole grid may cost.
    out
        Also write the runs to train as a table, .csv.
    json
        Print the result as one JSON document.
    quiet
        No progress.
    """
    output = Output(json=json, quiet=quiet)
    from mumei.cli.reading import check_suffix
    from mumei.scaling.sweep import propose
    from mumei.scaling.words import amount

    if out is not None:
        check_suffix(out, TABLES)
    finished = _finished(runs, given) if runs is not None else None
    found = propose(flops, runs=finished, by=law, budgets=budgets, points=points, half_width=half_width, share=share)
    if out is not None:
        _write(found.next, out)
    said = [f"target: {flops:.3g} FLOPs; centred on {found.centred_on}"]
    for level in found.budgets:
        own = [run for run in found.next if run.budget == level]
        state = f"finished: {found.done[level]}; " if level in found.done else ""
        sizes = ", ".join(amount(run.params) for run in own) or "nothing to train"
        said.append(f"{level:.2e} FLOPs: {state}{sizes}")
    said.append(
        f"{len(found.next)} runs to train, {found.cost:.2e} FLOPs, {100 * found.cost / flops:.1f} % of the target"
    )
    said += [f"table: {output.path(out)}"] if out is not None else []
    data = {
        "target": flops,
        "centred_on": found.centred_on,
        "budgets": found.budgets,
        "done": [{"budget": level, "says": text} for level, text in found.done.items()],
        "next": [run.to_json() for run in found.next],
        "cost": found.cost,
        "finished": found.finished,
        "table": out,
    }
    output.result(data, "\n".join(said))
    return 0


def _finished(path: Path, given: Reading) -> Any:
    from mumei.core.errors import DataError
    from mumei.scaling.runs import read_runs

    parts = read_runs(path, **given.options())
    if len(parts) != 1:
        names = "; ".join(part.name for part in parts)
        raise DataError(
            f"a sweep needs runs of one experiment, and the file has {len(parts)} ({names}); keep the rows of one."
        )
    return parts[0].final()


def _write(rows: list[Any], out: Path) -> None:
    import csv

    from mumei.core.files import atomic_open

    with atomic_open(out, "w") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(["budget", "params", "tokens", "why"])
        writer.writerows([f"{r.budget:.6g}", f"{r.params:.6g}", f"{r.tokens:.6g}", r.why] for r in rows)
