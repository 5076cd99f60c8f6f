"""Tables of runs: columns matched kindly by name, numbers read strictly.

A column is matched by its name without case, blanks and marks: "N", "params", "num-params" are the size. What was matched is
always told. A number with a unit ("1.2B") is read where it can only mean one thing, and that is told too; any other text is an
error that names column and row. Nothing is guessed from values.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mumei.core.errors import DataError, UsageError, unknown

# By meaning, the names that are understood, the likeliest first.
NAMES: dict[str, tuple[str, ...]] = {
    "params": (
        "n",
        "params",
        "parameters",
        "n_params",
        "num_params",
        "param_count",
        "total_params",
        "model_size",
        "model_params",
        "size",
    ),
    "tokens": (
        "d",
        "tokens",
        "n_tokens",
        "num_tokens",
        "train_tokens",
        "training_tokens",
        "tokens_seen",
        "total_tokens",
        "data_size",
    ),
    "flops": ("c", "flops", "compute", "train_flops", "training_flops", "total_flops", "n_flops", "flop"),
    "budget": ("budget", "flop_budget", "flops_budget", "compute_budget", "isoflop"),
    "loss": (
        "loss",
        *(
            "val_loss",
            "valid_loss",
            "validation_loss",
            "eval_loss",
            "test_loss",
            "final_loss",
            "loss_validation",
            "loss_val",
        ),
        *("cross_entropy", "nll", "l"),
    ),
    "unique": ("u", "unique_tokens", "n_unique", "unique", "unique_data"),
    "run": ("run", "run_id", "run_name", "name", "experiment", "id"),
    "progress": ("portion_steps_elapsed", "progress", "schedule_fraction", "portion"),
    "schedule_end": ("schedule_end", "schedule_tokens", "horizon", "planned_tokens"),
    "lr": ("lr", "peak_lr", "learning_rate", "max_lr"),
    "outlier": ("outlier", "is_outlier", "exclude", "excluded"),
    "experts": ("num_experts", "experts", "n_experts"),
    "dense": ("dense_parameter_count", "dense_params", "active_params"),
    "best_params": ("n_opt", "params_opt", "optimal_params", "n_star"),
    "best_tokens": ("d_opt", "tokens_opt", "optimal_tokens", "d_star"),
    "deviation": ("n_opt_logstd", "logstd"),
    "variable": ("variable",),
    "value": ("value",),
}
SPLITS = ("setting", "source", "dataset", "train_set", "data", "objective", "router_type", "condition", "model")
UNITS = {"k": 1e3, "m": 1e6, "b": 1e9, "g": 1e9, "t": 1e12}
_WITH_UNIT = re.compile(r"([0-9.]+(?:[eE][+-]?[0-9]+)?)\s*([kKmMbBgGtT])")
MOST_ROWS = 1_000_000
MOST_GROUPS = 24


@dataclass(frozen=True)
class Note:
    """A named warning."""

    name: str
    text: str


@dataclass
class Table:
    """Text by column, and what was matched.

    Parameters
    ----------
    name : str
    columns : dict of str to list of str
    matched : dict of str to str
        Column by meaning.
    notes : list of Note
    """

    name: str
    columns: dict[str, list[str]]
    matched: dict[str, str] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), []))

    def take(self, rows: Any, name: str = "") -> Table:
        """Return some rows, with the notes so far."""
        kept = np.flatnonzero(rows)
        columns = {k: [v[i] for i in kept] for k, v in self.columns.items()}
        return Table(name or self.name, columns, self.matched, list(self.notes))

    def has(self, meaning: str) -> bool:
        """Say whether a column of this meaning was found."""
        return meaning in self.matched

    def text(self, meaning: str) -> list[str]:
        """Return a column's text."""
        return self.columns[self.matched[meaning]]

    def numbers(self, meaning: str) -> Any:
        """Return a column as numbers (n,), missing ones NaN; `DataError` for text."""
        column = self.matched[meaning]
        found, with_unit = np.empty(len(self)), ""
        for row, text in enumerate(self.columns[column]):
            value, unit = number(text)
            if value is None or (unit and meaning in ("loss", "progress", "lr")):
                raise DataError(
                    f"{self.name}: {text!r} in column {column!r}, row {row + 1}, is not a number; give "
                    "plain numbers such as 1.2e9."
                )
            found[row] = value
            with_unit = with_unit or (text if unit else "")
        if with_unit:
            value = number(with_unit)[0]
            note = Note("units", f"column {column!r} has numbers with units: {with_unit!r} was read as {value:g}")
            if note not in self.notes:
                self.notes.append(note)
        return found

    def flags(self, meaning: str) -> Any:
        """Return a column of yes and no (n,)."""
        words = [text.strip().lower() for text in self.text(meaning)]
        odd = [w for w in words if w not in ("", "0", "1", "true", "false", "yes", "no", "0.0", "1.0")]
        if odd:
            raise DataError(
                f"{self.name}: {odd[0]!r} in column {self.matched[meaning]!r} is neither yes nor no; give 0 or 1."
            )
        return np.array([w in ("1", "true", "yes", "1.0") for w in words])


def number(text: str) -> tuple[float | None, str]:
    """Return (value, unit): NaN for nothing, None for what is no number.

    Examples
    --------
    >>> number("1.2e9"), number("150M"), number("12 apples")
    ((1200000000.0, ''), (150000000.0, 'm'), (None, ''))
    """
    text = text.strip()
    if text.lower() in ("", "nan", "na", "none", "null", "-"):
        return math.nan, ""
    try:
        return float(text.replace("_", "x")), ""
    except ValueError:
        found = _WITH_UNIT.fullmatch(text)
        if not found:
            return None, ""
        try:
            return float(found[1]) * UNITS[found[2].lower()], found[2].lower()
        except ValueError:
            return None, ""


def read_table(path: Path | str) -> Table:
    """Read a CSV, TSV or Parquet file.

    Raises
    ------
    UsageError
        There is no such file.
    DataError
        It is no table: empty, not UTF-8, a row of another length, two columns of one name.
    """
    path = Path(path)
    if not path.is_file():
        raise UsageError(
            f"{path} {'is a folder' if path.is_dir() else 'does not exist'}; give a CSV, TSV or Parquet file of runs."
        )
    if path.suffix.lower() == ".parquet":
        return _parquet(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path.name} is not UTF-8 text ({error.reason} at byte {error.start}); save it as CSV in UTF-8."
        ) from error
    head = text.partition("\n")[0]
    delimiter = max(",\t;", key=head.count)
    try:
        rows = [
            row
            for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
            if any(c.strip() for c in row)
        ]
    except csv.Error as error:
        raise DataError(f"{path.name} is no table: {error}.") from error
    if len(rows) < 2:
        raise DataError(
            f"{path.name} has {'a head and no rows' if rows else 'nothing in it'}; give a head and one row for each run."
        )
    return _table(path.name, rows[0], rows[1:])


def _table(name: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    names = [n.strip() for n in head]
    twice = [n for n in names if names.count(n) > 1]
    if twice:
        raise DataError(f"{name} has two columns named {twice[0]!r}; rename one.")
    if len(rows) > MOST_ROWS:
        raise DataError(
            f"{name} has {len(rows):,} rows; at most {MOST_ROWS:,} are taken. Keep fewer points of each curve."
        )
    for place, row in enumerate(rows):
        if len(row) != len(names):
            raise DataError(
                f"{name}: row {place + 1} has {len(row)} cells and the head has {len(names)}; make them equal."
            )
    return Table(name, {n: [row[i] for row in rows] for i, n in enumerate(names)})


def _parquet(path: Path) -> Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        held = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path.name} is no Parquet file: {error}.") from error
    rows = [["" if v is None else str(v) for v in row.values()] for row in held.to_pylist()]
    if not rows:
        raise DataError(f"{path.name} has no rows; give one for each run.")
    return _table(path.name, held.column_names, rows)


def plain_name(name: str) -> str:
    """Return a name without case and marks: "Num-Params " becomes "num_params"."""
    return re.sub(r"[^a-z0-9]+", "_", name.strip().lower()).strip("_")


def match(table: Table, given: Mapping[str, str] | None = None) -> Table:
    """Match columns by meaning, those in `given` as it says; tell where several would do.

    Raises
    ------
    UsageError
        A meaning or column in `given` that does not exist.
    """
    by_name: dict[str, str] = {}
    for column in table.columns:
        by_name.setdefault(plain_name(column), column)
    for meaning, column in (given or {}).items():
        if meaning not in NAMES:
            raise unknown("meaning of a column", meaning, NAMES)
        if column not in table.columns:
            raise unknown(f"column for {meaning}", column, table.columns)
        table.matched[meaning] = column
    used = set(table.matched.values())
    for meaning, names in NAMES.items():
        if meaning in table.matched:
            continue
        # An exact capital letter first: a table may have both "C" and "c".
        found = [by_name[n] for n in names if n in by_name and by_name[n] not in used]
        if meaning == "loss" and not found:
            found = [c for n, c in by_name.items() if n.startswith("loss_") and c not in used]
        if found:
            table.matched[meaning] = found[0]
            used.add(found[0])
        if meaning == "loss":
            more = [c for n, c in by_name.items() if ("loss" in n.split("_")) and c != table.matched.get("loss")]
            if more and found:
                shown = ", ".join(repr(c) for c in more[:6])
                table.notes.append(
                    Note("several-losses", f"{found[0]!r} was taken as the loss; {shown} are there too (--loss NAME)")
                )
    return table


def split(table: Table, by: Sequence[str] | None = None, skip: Sequence[str] = ()) -> list[Table]:
    """Split a table that mixes experiments: by the columns given, or by well-known ones that have 2 to 24 values.

    Raises
    ------
    UsageError
        A column that does not exist, or one that would give more than 24 parts.
    """
    chosen = list(by or ())
    for column in chosen:
        if column not in table.columns:
            raise unknown("column to split by", column, table.columns)
    if by is None:
        by_name = {plain_name(c): c for c in table.columns}
        used = set(table.matched.values())
        known = [by_name[n] for n in SPLITS if n in by_name and n not in skip and by_name[n] not in used]
        chosen = [c for c in known if 2 <= len(set(table.columns[c])) <= MOST_GROUPS]
    if not chosen:
        return [table]
    keys = list(zip(*(table.columns[c] for c in chosen), strict=True))
    kinds = sorted(set(keys))
    if len(kinds) > MOST_GROUPS:
        raise UsageError(f"splitting by {', '.join(chosen)} gives {len(kinds)} parts; at most {MOST_GROUPS} are taken.")
    if len(kinds) == 1:
        return [table]
    # Columns that say nothing more than others do are left out of the names.
    shown = [
        i for i, c in enumerate(chosen) if i == 0 or len({k[: i + 1] for k in kinds}) > len({k[:i] for k in kinds})
    ]
    parts = []
    for kind in kinds:
        name = ", ".join(f"{chosen[i]}={kind[i]}" for i in shown)
        parts.append(table.take([k == kind for k in keys], name))
    return parts
