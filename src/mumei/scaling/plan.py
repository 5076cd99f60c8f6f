"""A budget spent: size, tokens, loss, how sure, and what changes when unique data is limited or the model serves a lot."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from mumei.core.errors import DataError, UsageError
from mumei.scaling import frontier
from mumei.scaling.budget import Budget, budget
from mumei.scaling.flops import Shape
from mumei.scaling.frontier import Frontier, Settings, deepseek_settings
from mumei.scaling.laws import (
    Allocation,
    Chinchilla,
    DataConstrained,
    Kaplan,
    Law,
    OverTrained,
    Served,
    constrained,
    law,
)
from mumei.scaling.presets import resamples_of
from mumei.scaling.shapes import nearest
from mumei.scaling.study import Study
from mumei.scaling.uncertainty import percentiles

WASTE = 0.05
MANY_EPOCHS = 40.0  # beyond what Muennighoff's runs saw
FAR = 100.0  # times the largest budget seen: an extrapolation to be told


@dataclass(frozen=True)
class Plan:
    """What to train.

    Parameters
    ----------
    budget : Budget
    best : Allocation
        With limited data or serving taken into account.
    plain : Allocation
        Without.
    source : str
        Where the law is from.
    intervals : dict of str to (float, float)
        Of params, tokens and loss of `plain`; empty where they are not known.
    band : (float, float) or None
        Sizes between which at most `waste` of the compute is wasted.
    size, shape, shape_known : float, Shape, bool
        The nearest published configuration.
    saving : float or None
        Share of the whole cost that serving-aware planning saves.
    total : float
        Training and serving FLOPs.
    settings : Settings
        DeepSeek's learning rate and batch, as a first guess.
    notes : list of str
    """

    budget: Budget
    best: Allocation
    plain: Allocation
    source: str
    intervals: dict[str, tuple[float, float]]
    band: tuple[float, float] | None
    waste: float
    size: float
    shape: Shape
    shape_known: bool
    total: float
    settings: Settings
    saving: float | None = None
    notes: list[str] = field(default_factory=list)
    comparison: list[dict[str, object]] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "flops": self.budget.flops,
            "budget": self.budget.said,
            "gpu_hours": self.budget.hours(self.best.flops),
            "law": self.source,
            **_plain(self.best),
            "without_limits": _plain(self.plain),
            "intervals": self.intervals,
            "band": {"waste": self.waste, "params": self.band} if self.band else None,
            "shape": {"params": self.size, "within_table": self.shape_known, **vars(self.shape)},
            "total_flops": self.total,
            "saving": self.saving,
            "learning_rate": self.settings.learning_rate,
            "batch_tokens": self.settings.batch_tokens,
            "comparison": self.comparison,
            "notes": self.notes,
        }


def _plain(one: Allocation) -> dict[str, Any]:
    return {
        "training_flops": one.flops,
        "params": one.params,
        "tokens": one.tokens,
        "tokens_per_param": one.tokens_per_param,
        "loss": one.loss,
        "epochs": one.epochs,
    }


def plan(
    flops: float | None = None,
    *,
    by: str | Law | Study = "besiroglu",
    gpu: str | None = None,
    hours: float | None = None,
    mfu: float = 0.4,
    money: float | None = None,
    price: float | None = None,
    unique_tokens: float | None = None,
    serve_tokens: float | None = None,
    waste: float = WASTE,
    level: float = 0.95,
    domain: str | None = None,
) -> Plan:
    """Spend a budget.

    Parameters
    ----------
    flops, gpu, hours, mfu, money, price
        The budget, as in `budget`.
    by : str, law or Study
        A preset's name (besiroglu, hoffmann, protein-clm, ...), a law, or what `fit` found in your own runs.
    unique_tokens : float, optional
        Unique training tokens that there are; more are seen again (Muennighoff and others 2023).
    serve_tokens : float, optional
        Tokens that the model will serve in its life: then the cheapest model of the same quality (Sardana and Frankle 2023).
    waste : float
        Of the band of sizes.
    level : float
        Of intervals.
    domain : str, optional
        Laws to compare with: text, protein, genome, health records; by default those of the law's own kind.

    Raises
    ------
    UsageError
        No budget or two, an unknown law, or a variant that the law has no loss for.
    DataError
        The runs' fit is refused by every gate.

    Examples
    --------
    >>> found = plan(5.76e23)
    >>> round(found.best.params / 1e9), round(found.best.tokens_per_param, 1)
    (72, 18.3)
    """
    spend = budget(flops, gpu=gpu, hours=hours, mfu=mfu, money=money, price=price)
    if unique_tokens is not None and serve_tokens is not None:
        raise UsageError("limited data and serving are planned one at a time; give unique_tokens or serve_tokens.")
    notes: list[str] = []
    chosen, plain, intervals = _law(by, spend.flops, level, notes)
    surface = _surface(chosen)
    best, saving, total = plain, None, plain.flops
    if unique_tokens is not None:
        best = _limited(surface, chosen, spend.flops, unique_tokens, notes)
    if serve_tokens is not None:
        served = Served(_needed(surface, chosen, "serve_tokens"), serve_tokens)
        best, saving = served.optimal(spend.flops), served.saving(spend.flops)
        total = served.total(best.params, best.tokens)
        notes.append(
            f"the same loss as {plain.params:.3g} parameters after {plain.tokens:.3g} tokens, cheaper over its whole life"
        )
    band = (
        _band(surface, best, waste) if unique_tokens is None and serve_tokens is None and surface is not None else None
    )
    size, shape, known = nearest(best.params)
    if not known:
        notes.append(
            "no published configuration of Hoffmann's Table A9 is as large or small; the shape is scaled from Chinchilla's"
        )
    wanted = domain or (chosen.domain if isinstance(chosen, Frontier) else "text")
    return Plan(
        *(spend, best, plain, chosen.source, intervals, band, waste, size, shape, known, total),
        *(deepseek_settings(spend.flops), saving, notes),
        frontier.comparison(spend.flops, wanted),
    )


def _law(
    by: Any, flops: float, level: float, notes: list[str]
) -> tuple[Any, Allocation, dict[str, tuple[float, float]]]:
    """Return the law, its optimum and intervals."""
    if isinstance(by, Study):
        return _of_study(by, flops, level, notes)
    chosen = law(by) if isinstance(by, str) else by
    drawn = resamples_of(chosen)
    intervals: dict[str, tuple[float, float]] = {}
    if drawn is not None:
        columns = zip(("params", "tokens", "loss"), drawn.optima(flops).T, strict=True)
        intervals = {name: percentiles(column, level) for name, column in columns}
    elif isinstance(chosen, Frontier) and chosen.interval is not None:
        notes.append(f"the law's exponent a was published as {chosen.interval[0]:g} to {chosen.interval[1]:g}")
    else:
        notes.append("how sure this law is, is not known here: no intervals")
    if isinstance(chosen, Kaplan):
        notes.append(
            "Kaplan's exponent is known to be too high: learning rates were not matched to runs, embeddings not counted"
        )
    return chosen, chosen.optimal(flops), intervals


def _of_study(
    study: Study, flops: float, level: float, notes: list[str]
) -> tuple[Any, Allocation, dict[str, tuple[float, float]]]:
    basis = study.basis
    if basis is None:
        raise DataError(
            f"no approach can be trusted on {study.runs.name}, so nothing is planned by it: {study.refusals()}"
        )
    for name, why in study.refused.items():
        notes.append(f"the {name} of these runs is refused: {'; '.join(why)}")
    notes.append(f"planned by the {basis} fit of {len(study.runs)} runs")
    largest = float(study.runs.flops.max())
    if flops > FAR * largest:
        notes.append(f"the budget is {flops / largest:,.0f} times the largest one that was fitted: a far extrapolation")
    surface = {"surface": study.surface, "tied surface": study.tied}.get(basis)
    chosen = surface.law if surface is not None else None
    if basis == "isoflop" and study.isoflop is not None:
        chosen = study.isoflop.law
    if basis == "envelope" and study.envelope is not None:
        chosen = study.envelope.law
    return chosen, study.optimal(flops), study.optimal_intervals(flops, level)


def _surface(chosen: Any) -> Chinchilla | None:
    if isinstance(chosen, Chinchilla):
        return chosen
    return chosen.surface if isinstance(chosen, DataConstrained | OverTrained) else None


def _needed(surface: Chinchilla | None, chosen: Any, option: str) -> Chinchilla:
    if surface is None:
        raise UsageError(
            f"{option} needs a law with a loss, and {chosen.source} says optima alone; choose besiroglu or another surface."
        )
    return surface


def _limited(surface: Chinchilla | None, chosen: Any, flops: float, unique: float, notes: list[str]) -> Allocation:
    own = chosen if isinstance(chosen, DataConstrained) else constrained(_needed(surface, chosen, "unique_tokens"))
    best = own.optimal(flops, unique)
    fresh = own.surface.optimal(flops)
    if best.unique_tokens is None:
        notes.append(f"{unique:.3g} unique tokens are enough: {fresh.tokens:.3g} are needed")
        return best
    assert best.loss is not None
    assert fresh.loss is not None
    worth = own.effective_tokens(best.tokens, unique)
    notes.append(
        f"{best.epochs:.1f} epochs of {unique:.3g} unique tokens are worth {worth:.3g} fresh ones; unlimited data would "
        f"reach a loss of {fresh.loss:.4g}"
    )
    if best.epochs > MANY_EPOCHS:
        notes.append(
            f"more than {MANY_EPOCHS:.0f} epochs were never measured: more unique data is worth more than more compute"
        )
    return best


def _band(surface: Chinchilla, best: Allocation, waste: float) -> tuple[float, float] | None:
    try:
        low, high = surface.band(best.flops, waste)
    except OverflowError:
        return None
    return (low, high) if math.isfinite(low) and math.isfinite(high) else None
