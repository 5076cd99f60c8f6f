"""Finished runs, checked: what every approach is fitted to.

Bad values stop with an error that names the row; what can be set right is set right and told by a named warning:
`missing-values`, `outliers`, `duplicated-rows`, `learning-rates`, `units`, `several-losses`, `no-tokens`, `no-flops`,
`mixed-conventions`, `other-convention`, `mid-schedule`, `repeated-data`, `past-minimum`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mumei.core.errors import DataError
from mumei.scaling.columns import NAMES, Note, Table, match, read_table, split
from mumei.scaling.flops import check_convention
from mumei.scaling.laws import MUENNIGHOFF

AT_END = 0.99  # of its own schedule: such a point counts as final
CURVE = 3  # points that make a run a curve
RISE = 1e-3  # log loss above the best of fewer epochs that counts as past the minimum
Choice = Literal["ask", "keep", "drop"]


@dataclass(frozen=True)
class Runs:
    """Runs of one experiment.

    Parameters
    ----------
    params, tokens, loss, flops : ndarray (n,)
    name : str
    run : ndarray of str (n,) or None
        Which run a point belongs to.
    budgets : ndarray (n,) or None
        Declared budgets.
    unique, lr : ndarray (n,) or None
        Unique tokens, peak learning rate.
    ended : ndarray of bool (n,) or None
        Whether a point is at the end of its own learning-rate schedule; None where nothing says so.
    curves : bool
        Runs have many points each.
    matched : dict of str to str
        Column by meaning.
    notes : tuple of Note
    """

    params: Any
    tokens: Any
    loss: Any
    flops: Any
    name: str = "runs"
    run: Any = None
    budgets: Any = None
    unique: Any = None
    lr: Any = None
    ended: Any = None
    curves: bool = False
    matched: dict[str, str] = field(default_factory=dict)
    notes: tuple[Note, ...] = ()

    def __len__(self) -> int:
        return len(self.loss)

    def take(self, rows: Any, *notes: Note) -> Runs:
        """Return some rows, with more notes."""
        parts = {
            name: None if getattr(self, name) is None else getattr(self, name)[rows]
            for name in ("params", "tokens", "loss", "flops", "run", "budgets", "unique", "lr", "ended")
        }
        return replace(self, **parts, notes=(*self.notes, *notes))

    def noted(self, *notes: Note) -> Runs:
        """Return the same runs with more notes."""
        return replace(self, notes=(*self.notes, *notes))

    def final(self) -> Runs:
        """Return the last point of each run; all points where runs are no curves."""
        if not self.curves:
            return self
        names, place = np.unique(self.run, return_inverse=True)
        last = [int(np.flatnonzero(place == i)[np.argmax(self.tokens[place == i])]) for i in range(len(names))]
        return replace(self.take(np.sort(last)), curves=False)

    @classmethod
    def of(cls, params: Any, tokens: Any, loss: Any, *, flops: Any = None, name: str = "runs", **beside: Any) -> Runs:
        """Make runs from arrays, checked as a table's are.

        Raises
        ------
        DataError
            Values that are not above zero, or columns of unequal length.
        """
        columns: dict[str, Any] = {"params": params, "tokens": tokens, "loss": loss, "flops": flops, **beside}
        columns = {k: list(map(str, np.asarray(v).tolist())) for k, v in columns.items() if v is not None}
        if len({len(v) for v in columns.values()}) != 1:
            shown = ", ".join(f"{len(v)} {k}" for k, v in columns.items())
            raise DataError(f"columns differ in length: {shown}; give as many of each.")
        return make_runs(Table(name, columns, {k: k for k in columns}))


def make_runs(table: Table, *, keep_outliers: bool = False) -> Runs:
    """Check a table whose columns are matched and return its runs.

    Raises
    ------
    DataError
        A column is missing, a value is zero or negative or no number, or no row is left.
    """
    _demand(table)
    found = {
        name: table.numbers(name)
        for name in ("params", "tokens", "flops", "loss", "budget", "unique")
        if table.has(name)
    }
    keep, notes = np.ones(len(table), bool), []
    if table.has("outlier") and not keep_outliers:
        marked = table.flags("outlier")
        if marked.any():
            notes.append(Note("outliers", f"{marked.sum()} rows that {table.matched['outlier']!r} marks were left out"))
        keep &= ~marked
    needed = [n for n in ("params", "tokens", "flops", "loss") if n in found]
    missing = ~np.all([np.isfinite(found[n]) for n in needed], axis=0) & keep
    if missing.any():
        rows = ", ".join(str(r + 1) for r in np.flatnonzero(missing)[:5])
        notes.append(
            Note("missing-values", f"{missing.sum()} rows without a finite {' or '.join(needed)} were left out: {rows}")
        )
        keep &= ~missing
    for name in found:
        bad = keep & (found[name] <= 0)
        if bad.any():
            rows = np.flatnonzero(bad)
            raise DataError(
                f"{table.name}: {table.matched[name]} is {found[name][rows[0]]:g} in row {rows[0] + 1}"
                f"{f' and {len(rows) - 1} more' if len(rows) > 1 else ''}; it has to be above zero."
            )
    if not keep.any():
        raise DataError(
            f"{table.name}: no row is left of {len(table)}. {' '.join(n.text + '.' for n in notes)}".strip()
        )
    found = {k: v[keep] for k, v in found.items()}
    notes += _derive(found)
    run = np.array(table.text("run"))[keep] if table.has("run") else None
    runs = Runs(
        found["params"],
        found["tokens"],
        found["loss"],
        found["flops"],
        table.name,
        run,
        found.get("budget"),
        found.get("unique"),
        table.numbers("lr")[keep] if table.has("lr") else None,
        _ended(table, keep, found["tokens"]),
        _are_curves(run),
        dict(table.matched),
        (*table.notes, *notes),
    )
    return _tuned(_without_duplicates(runs))


def _demand(table: Table) -> None:
    """Raise where the columns do not suffice."""
    sizes = [m for m in ("params", "tokens") if table.has(m)]
    compute = table.has("flops") or table.has("budget")
    if table.has("loss") and (len(sizes) == 2 or (sizes and compute)):
        return
    lacking = [] if table.has("loss") else ["the loss"]
    if len(sizes) + compute < 2 or not sizes:
        lacking.append("two of parameters, tokens and FLOPs")
    understood = "; ".join(f"{m}: {', '.join(NAMES[m][:4])}" for m in ("params", "tokens", "flops", "loss"))
    raise DataError(
        f"{table.name} lacks {' and '.join(lacking)}. Its columns are {', '.join(list(table.columns)[:20])}. "
        f"Names that are understood: {understood}; or say which column it is (--columns params=NAME)."
    )


def _derive(found: dict[str, Any]) -> list[Note]:
    """Fill in the missing one of N, D and C by C = 6 N D, and say how C stands to it where all are given."""
    if "flops" not in found and "budget" in found:
        found["flops"] = found["budget"]
    if "flops" not in found:
        found["flops"] = 6 * found["params"] * found["tokens"]
        return [Note("no-flops", "there is no column of FLOPs: C = 6 N D")]
    if "tokens" not in found:
        found["tokens"] = found["flops"] / (6 * found["params"])
        return [Note("no-tokens", "there is no column of tokens: D = C / 6 N")]
    if "params" not in found:
        found["params"] = found["flops"] / (6 * found["tokens"])
        return [Note("no-params", "there is no column of parameters: N = C / 6 D")]
    kind, middle = check_convention(found["params"], found["tokens"], found["flops"])
    if kind == "6nd":
        return []
    if kind == "other":
        return [
            Note("other-convention", f"C is {6 * middle:.2f} N D in all rows, not 6 N D: its own convention is kept")
        ]
    ratio = found["flops"] / (found["params"] * found["tokens"])
    low, high = float(ratio.min()), float(ratio.max())
    text = f"C / (N D) goes from {low:.2f} to {high:.2f}: rows may count in different ways, which moves exponents"
    return [Note("mixed-conventions", text)]


def _ended(table: Table, keep: Any, tokens: Any) -> Any:
    if table.has("progress"):
        progress = table.numbers("progress")[keep]
        return (progress if np.nanmax(progress) <= 1.01 else progress / 100) >= AT_END
    if table.has("schedule_end"):
        return tokens >= AT_END * table.numbers("schedule_end")[keep]
    return None


def _are_curves(run: Any) -> bool:
    return run is not None and bool(np.median(np.unique(run, return_counts=True)[1]) >= CURVE)


def _without_duplicates(runs: Runs) -> Runs:
    columns = [runs.params, runs.tokens, runs.flops, runs.loss]
    if runs.run is not None:
        columns.append(np.unique(runs.run, return_inverse=True)[1].astype(float))
    first = np.unique(np.stack(columns, 1), axis=0, return_index=True)[1]
    if len(first) == len(runs):
        return runs
    gone = len(runs) - len(first)
    return runs.take(np.sort(first), Note("duplicated-rows", f"{gone} rows that repeat another one were left out"))


def _tuned(runs: Runs) -> Runs:
    """Keep the best learning rate of each size and token count: a badly tuned run lies above the law."""
    if runs.curves or runs.lr is None:
        return runs
    keys = np.stack([np.round(np.log(runs.params), 4), np.round(np.log(runs.tokens), 4)], 1)
    kinds, place = np.unique(keys, axis=0, return_inverse=True)
    if len(kinds) == len(runs):
        return runs
    order = np.lexsort((runs.loss, place.ravel()))
    first = order[np.unique(place.ravel()[order], return_index=True)[1]]
    several = sum(len(np.unique(runs.lr[place.ravel() == i])) > 1 for i in range(len(kinds)))
    if not several:
        return runs
    text = f"{several} pairs of size and tokens were run with several learning rates; the best run of each was kept"
    return runs.take(np.sort(first), Note("learning-rates", text))


def schedule(runs: Runs, choice: Choice = "ask") -> Runs:
    """Deal with points that are not at the end of their own learning-rate schedule.

    Their losses are higher than those of runs of that length (Hoffmann and others 2022: a cycle over 25 % too long is seen to
    hurt).

    Parameters
    ----------
    choice : "ask", "keep" or "drop"
        "ask" keeps them and warns.
    """
    inner = None
    if runs.ended is not None:
        inner = ~runs.ended
    elif runs.curves:
        last = runs.final()
        ends = dict(zip(last.run, last.tokens, strict=True))
        inner = runs.tokens < AT_END * np.array([ends[r] for r in runs.run])
    if inner is None or not inner.any() or choice == "keep":
        return runs
    if choice == "drop":
        left = replace(
            runs.take(
                ~inner, Note("mid-schedule", f"{inner.sum()} points before the end of their schedule were dropped")
            )
        )
        return replace(left, curves=_are_curves(left.run))
    text = (
        f"{inner.sum()} of {len(runs)} points are not at the end of their own schedule, so their losses are too high for "
        "their length; "
        "--mid-schedule drop leaves them out, keep says that they are meant"
    )
    return runs.noted(Note("mid-schedule", text))


def repeats(runs: Runs) -> Runs:
    """Deal with repeated data: count repeated tokens for what they are worth, and leave out runs past their minimum.

    The worth is Muennighoff's D' with R* = 15.4. A run is past its minimum where one of the same size and unique data with
    fewer epochs has a lower loss: the law cannot bend upward, so it must not be fitted through them.
    """
    if runs.unique is None:
        return runs
    epochs = runs.tokens / runs.unique
    again = epochs > 1.01
    if not again.any():
        return runs
    past = np.zeros(len(runs), bool)
    keys = np.stack([np.round(np.log(runs.params), 2), np.round(np.log(runs.unique), 2)], 1)
    for key in np.unique(keys, axis=0):
        own = np.flatnonzero((keys == key).all(1))
        order = own[np.argsort(epochs[own], kind="stable")]
        best = np.minimum.accumulate(runs.loss[order])
        past[order[1:]] = np.log(runs.loss[order[1:]] / best[:-1]) > RISE
    worth = np.where(
        again, MUENNIGHOFF.effective_tokens(runs.tokens, np.minimum(runs.unique, runs.tokens)), runs.tokens
    )
    notes = [
        Note(
            "repeated-data",
            f"{again.sum()} runs saw data more than once; their tokens count for what Muennighoff's law says",
        )
    ]
    if past.any():
        notes.append(Note("past-minimum", f"{past.sum()} runs past the minimum of their validation loss were left out"))
    return replace(runs, tokens=worth).take(~past, *notes)


def read_runs(
    path: Path | str,
    *,
    columns: Mapping[str, str] | None = None,
    by: Sequence[str] | None = None,
    keep_outliers: bool = False,
) -> list[Runs]:
    """Read a table of runs, split where it mixes experiments.

    Parameters
    ----------
    path : path
        CSV, TSV or Parquet.
    columns : mapping, optional
        Column by meaning, where names are not understood: {"params": "size_of_model"}.
    by : sequence of str, optional
        Columns that tell experiments apart; well-known names by default, an empty one for no splitting.
    keep_outliers : bool
        Keep rows that a column "outlier" marks.
    """
    table = match(read_table(path), columns)
    return [make_runs(part, keep_outliers=keep_outliers) for part in split(table, by, skip=("model",))]
