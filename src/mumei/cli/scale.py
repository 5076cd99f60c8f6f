"""`mumei scale fit` and `plan`: what finished runs say of compute-optimal training, and a budget spent by it, by command."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cyclopts import Parameter

from mumei.cli.output import Output

if TYPE_CHECKING:
    from mumei.scaling.columns import Note
    from mumei.scaling.tables import Fitted

PAGES = (".html", ".htm")
OBJECTIVES = Literal["hoffmann", "besiroglu", "huber", "lad", "mse_log", "asymmetric"]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Reading:
    """How a table of runs is read.

    Parameters
    ----------
    columns
        Which column means what, MEANING=NAME, where names are not understood: params=size. May be given many times.
    loss
        The column of the loss, where there are several.
    by
        A column that tells experiments apart; may be given many times. By default well-known names; "none" for no splitting.
    keep_outliers
        Keep rows that a column "outlier" marks.
    """

    columns: tuple[str, ...] = ()
    loss: str | None = None
    by: tuple[str, ...] = ()
    keep_outliers: bool = False

    def options(self) -> dict[str, Any]:
        """Return what `fit_file` takes."""
        from mumei.core.errors import UsageError

        given: dict[str, str] = {}
        for text in self.columns:
            meaning, equals, column = text.partition("=")
            if not equals or not meaning or not column:
                raise UsageError(f"--columns {text!r} is not understood; give MEANING=NAME, such as params=model_size.")
            given[meaning.strip()] = column
        if self.loss is not None:
            given["loss"] = self.loss
        by = None if not self.by else [] if self.by == ("none",) else list(self.by)
        return {"columns": given, "by": by, "keep_outliers": self.keep_outliers}


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Fitting:
    """How runs are fitted.

    Parameters
    ----------
    objective
        hoffmann (Huber, delta 1e-3), besiroglu (least absolute deviations), huber, lad, mse_log or asymmetric.
    delta
        Of huber and asymmetric.
    q
        Of asymmetric: the quantile that is sought, such as 0.1 for the lower envelope.
    resamples
        Bootstrap resamples for intervals; 0 for standard errors alone.
    seed
        Of the resamples.
    mid_schedule
        Points before the end of their learning-rate schedule: ask keeps and warns, keep, drop.
    half_width
        IsoFLOP profiles use only sizes within this factor of their best.
    """

    objective: OBJECTIVES = "hoffmann"
    delta: float | None = None
    q: float | None = None
    resamples: int = 1000
    seed: int = 0
    mid_schedule: Literal["ask", "keep", "drop"] = "ask"
    half_width: float | None = None

    def options(self) -> dict[str, Any]:
        """Return what `study.fit` takes."""
        from mumei.core.errors import UsageError

        if self.resamples < 0 or self.resamples > 100_000:
            raise UsageError(f"--resamples {self.resamples} is not allowed; give 0 to 100,000.")
        if self.half_width is not None and not self.half_width > 1:
            raise UsageError(f"--half-width {self.half_width} is not allowed; give a factor above 1, such as 4.")
        return {
            "goal": self.objective,
            "delta": self.delta,
            "q": self.q,
            "resamples": self.resamples,
            "seed": self.seed,
            "mid_schedule": self.mid_schedule,
            "half_width": self.half_width,
        }


DEFAULT_READING = Reading()
DEFAULT_FITTING = Fitting()


def fit(
    runs: Path,
    *,
    given: Reading = DEFAULT_READING,
    fitting: Fitting = DEFAULT_FITTING,
    flops: float | None = None,
    out: Path | None = None,
    plots: Path | None = None,
    json: bool = False,
    quiet: bool = False,
) -> int:
    """Fit finished runs by every approach that their columns allow, and say how far they can be trusted.

    Parameters
    ----------
    runs
        CSV, TSV or Parquet: one row for each run, or for each point of its curve.
    flops
        The budget that the page's last paragraph speaks of; by default ten times the largest run.
    out
        Also write a page, .html.
    plots
        Also write pictures into this folder, PNG.
    json
        Print the result as one JSON document.
    quiet
        No progress.
    """
    output = Output(json=json, quiet=quiet)
    from mumei.cli.reading import check_suffix
    from mumei.scaling.tables import fit_file
    from mumei.scaling.words import fitted_json, lines

    if out is not None:
        check_suffix(out, PAGES)
    if flops is not None:
        from mumei.scaling.laws import positive

        positive(flops=flops)
    found, left = fit_file(runs, **given.options(), **fitting.options())
    pictures = _write_plots(found, plots) if plots is not None else []
    if out is not None:
        from mumei.scaling.report import write_report

        write_report(found, left, out, name=f"Scaling of {runs.name}", flops=flops)
    said = [line for one in found for line in lines(one)]
    said += [f"note ({note.name}): {note.text}" for note in left]
    said += [f"page: {output.path(out)}"] if out is not None else []
    said += [f"picture: {output.path(path)}" for path in pictures]
    data = {
        "file": runs.name,
        "experiments": [fitted_json(one) for one in found],
        "left_out": [vars(note) for note in left],
        "page": out,
        "pictures": pictures,
    }
    output.result(data, "\n".join(said))
    return 0


def _write_plots(found: list[Fitted], folder: Path) -> list[Path]:
    """Draw all pictures, then write them: nothing is written where one cannot be drawn."""
    import re

    from mumei.core.files import make_folder, write_bytes
    from mumei.scaling.plots import pictures, png

    drawn = {}
    for one in found:
        start = re.sub(r"[^A-Za-z0-9]+", "-", Path(one.name).stem if one.name.endswith(".csv") else one.name).strip("-")
        for key, figure in pictures(one).items():
            drawn[f"{start}-{key}.png"] = png(figure)
    made = make_folder(folder)
    for name, content in drawn.items():
        write_bytes(made / name, content)
    return [made / name for name in drawn]


def only(found: list[Fitted], left: list[Note], what: str) -> Any:
    """Return the one study of a file; `DataError` where it has none or several."""
    from mumei.core.errors import DataError

    studies = [one.study for one in found if one.study is not None]
    if len(studies) != 1:
        names = "; ".join(one.name for one in found)
        raise DataError(
            f"{what} needs runs of one experiment, and the file has {len(studies)} ({names}); keep the rows of one."
        )
    return studies[0]


def plan(
    *,
    flops: float | None = None,
    gpu: str | None = None,
    hours: float | None = None,
    mfu: float = 0.4,
    money: float | None = None,
    price: float | None = None,
    law: str = "besiroglu",
    runs: Path | None = None,
    given: Reading = DEFAULT_READING,
    fitting: Fitting = DEFAULT_FITTING,
    unique_tokens: float | None = None,
    serve_tokens: float | None = None,
    waste: float = 0.05,
    domain: Literal["text", "protein", "genome", "health records"] | None = None,
    json: bool = False,
    quiet: bool = False,
) -> int:
    """Spend a training budget: how many parameters and tokens, what loss, how sure.

    Parameters
    ----------
    flops
        The budget in training FLOPs.
    gpu
        Or in hours or money on this accelerator: a100, h100, h200, b200, mi300x and others, or a peak in FLOP/s.
    hours
        Accelerator-hours, all of them together.
    mfu
        Share of the peak that training gets.
    money
        To spend.
    price
        Of one accelerator-hour.
    law
        besiroglu, hoffmann, hoffmann-1, hoffmann-2, kaplan, muennighoff, protein-clm, protein-mlm, genome-hyena and others.
    runs
        Plan by your own finished runs instead, a table as `mumei scale fit` takes it.
    unique_tokens
        Unique training tokens that there are; more are seen again.
    serve_tokens
        Tokens that the model will serve in its life: then the cheapest model of the same quality.
    waste
        Of the band of sizes that are nearly as good.
    domain
        Compare with laws of text, protein, genome or health records; by default those of the law's own kind.
    json
        Print the plan as one JSON document.
    quiet
        No progress.
    """
    output = Output(json=json, quiet=quiet)
    from mumei.scaling.plan import plan as make_plan
    from mumei.scaling.words import plan_lines

    by: Any = law
    if runs is not None:
        from mumei.scaling.tables import fit_file

        by = only(*fit_file(runs, **given.options(), **fitting.options()), "a plan")
    found = make_plan(
        flops,
        by=by,
        gpu=gpu,
        hours=hours,
        mfu=mfu,
        money=money,
        price=price,
        unique_tokens=unique_tokens,
        serve_tokens=serve_tokens,
        waste=waste,
        domain=domain,
    )
    output.result(found.to_json(), "\n".join(plan_lines(found)))
    return 0
