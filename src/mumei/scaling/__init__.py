"""Compute-optimal training, planned: how big a model, how many tokens, what loss, how sure.

`fit(runs)` fits finished runs by every approach their columns allow, `plan.plan(...)` spends a budget, `propose(...)` says which
small runs to train first. Importing this package loads nothing heavy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mumei.scaling.fitting import fit_surface
    from mumei.scaling.laws import law
    from mumei.scaling.runs import Runs, read_runs
    from mumei.scaling.study import fit
    from mumei.scaling.sweep import propose

__all__ = ["Runs", "fit", "fit_surface", "law", "propose", "read_runs"]
_HOMES = {
    "Runs": "runs",
    "fit": "study",
    "fit_surface": "fitting",
    "law": "laws",
    "propose": "sweep",
    "read_runs": "runs",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
