"""A file of anything that this package can fit, told by its columns: runs, curves, optima that others found, routed models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mumei.core.errors import DataError
from mumei.scaling.columns import Note, Table, match, read_table, split
from mumei.scaling.curves import CurveFit, fit_curves
from mumei.scaling.isoflop import Optima, fit_optima
from mumei.scaling.routing import RoutedFit, fit_routed
from mumei.scaling.runs import Runs, make_runs, schedule
from mumei.scaling.study import Study, fit

SIZES_OF_CURVES = 4


@dataclass(frozen=True)
class Fitted:
    """One experiment of a file.

    Parameters
    ----------
    name, kind : str
        runs, curves, optima or routed.
    matched : dict of str to str
    notes : tuple of Note
    study, curves, optima, routed
        What was found, by kind.
    """

    name: str
    kind: str
    matched: dict[str, str]
    notes: tuple[Note, ...] = ()
    study: Study | None = None
    curves: list[CurveFit] = field(default_factory=list)
    optima: dict[str, Optima] = field(default_factory=dict)
    routed: RoutedFit | None = None


def fit_file(
    path: Path | str,
    *,
    columns: Mapping[str, str] | None = None,
    by: Sequence[str] | None = None,
    keep_outliers: bool = False,
    **options: Any,
) -> tuple[list[Fitted], list[Note]]:
    """Fit all experiments of a file; those that cannot be fitted are told, unless none can.

    Parameters
    ----------
    path, columns, by, keep_outliers
        As in `read_runs`.
    options
        Of `study.fit`.

    Returns
    -------
    list of Fitted, list of Note
        The notes tell which parts were left out.

    Raises
    ------
    DataError, UsageError
        No part can be fitted.
    """
    table = match(read_table(path), columns)
    if table.has("experts") and table.has("dense") and table.has("loss") and not table.has("tokens"):
        parts, fit_one = _routed_parts(table, by), _fit_routed
    elif (table.has("variable") and table.has("value")) or table.has("best_params") or table.has("best_tokens"):
        parts, fit_one = split(table, by), _fit_optima
    else:
        parts = split(table, by, skip=("model",))

        def fit_one(table: Table, options: Mapping[str, Any]) -> Fitted:
            return _fit_runs(make_runs(table, keep_outliers=keep_outliers), options)

    found, left, first = [], [], None
    for part in parts:
        try:
            found.append(fit_one(part, options))
        except DataError as error:
            first = first or error
            left.append(Note("part-left-out", f"{part.name} ({len(part)} rows) was left out: {error}"))
    if not found:
        assert first is not None
        raise first
    return found, left


def _fit_runs(runs: Runs, options: Mapping[str, Any]) -> Fitted:
    if runs.curves and len(np.unique(np.round(np.log(runs.params), 2))) < SIZES_OF_CURVES:
        fitted = fit_curves(runs, resamples=options.get("resamples", 1000), seed=options.get("seed", 0))
        few = Note("few-sizes", f"fewer than {SIZES_OF_CURVES} sizes have curves: each is fitted by itself")
        return Fitted(runs.name, "curves", runs.matched, (*schedule(runs, "keep").notes, few), curves=fitted)
    study = fit(runs, **options)
    return Fitted(runs.name, "runs", runs.matched, study.runs.notes, study)


def _fit_optima(table: Table, options: Mapping[str, Any]) -> Fitted:
    settings = {"resamples": options.get("resamples", 1000) or 1, "seed": options.get("seed", 0)}
    if not table.has("flops"):
        raise DataError(f"{table.name} has optima and no column of FLOPs; name one flops.")
    flops = table.numbers("flops")
    found: dict[str, Optima] = {}
    if table.has("variable"):
        words = np.array([w.strip().lower() for w in table.text("variable")])
        for word, quantity in (("params", "params"), ("tokens", "tokens")):
            own = words == word
            if own.any():
                found[quantity] = fit_optima(flops[own], table.numbers("value")[own], quantity=quantity, **settings)
    for meaning, quantity in (("best_params", "params"), ("best_tokens", "tokens")):
        if table.has(meaning):
            deviations = table.numbers("deviation") if table.has("deviation") else None
            found[quantity] = fit_optima(
                flops, table.numbers(meaning), deviations=deviations, quantity=quantity, **settings
            )
    if not found:
        raise DataError(f"{table.name}: the column {table.matched['variable']!r} names neither params nor tokens.")
    return Fitted(table.name, "optima", dict(table.matched), tuple(table.notes), optima=found)


def _routed_parts(table: Table, by: Sequence[str] | None) -> list[Table]:
    """Split by router; the dense runs belong to every one."""
    experts = table.numbers("experts")
    if by is not None or "router_type" not in table.columns:
        return split(table, by)
    kinds = sorted({k for k, e in zip(table.columns["router_type"], experts, strict=True) if e > 1})
    rows = [
        np.array([k == kind or e == 1 for k, e in zip(table.columns["router_type"], experts, strict=True)])
        for kind in kinds
    ]
    return [table.take(own, f"router_type={kind}") for kind, own in zip(kinds, rows, strict=True)]


def _fit_routed(table: Table, options: Mapping[str, Any]) -> Fitted:
    params, experts, loss = (table.numbers(n) for n in ("dense", "experts", "loss"))
    kept = np.isfinite(params) & np.isfinite(experts) & np.isfinite(loss)
    notes = list(table.notes)
    for column in ("k", "flop_increase"):  # runs with more than one expert a token cost more: another law
        if column in table.columns:
            plain = np.array([v.strip() in ("", "1", "1.0") for v in table.columns[column]])
            if (kept & ~plain).any():
                notes.append(Note("other-routing", f"{(kept & ~plain).sum()} runs with {column} above 1 were left out"))
            kept &= plain
    resamples = min(options.get("resamples", 500), 500)
    fitted = fit_routed(params[kept], experts[kept], loss[kept], resamples=resamples, seed=options.get("seed", 0))
    return Fitted(table.name, "routed", dict(table.matched), tuple(notes), routed=fitted)
