"""What a fit and a plan say, in words: lines for a terminal, plain values for programs, one paragraph for a manager."""

from __future__ import annotations

from typing import Any

from mumei.scaling.columns import Note
from mumei.scaling.plan import Plan, plan
from mumei.scaling.study import Study
from mumei.scaling.tables import Fitted

SCALES = ((1e12, "trillion"), (1e9, "billion"), (1e6, "million"))
MEANINGS = (
    "params",
    "tokens",
    "flops",
    "budget",
    "loss",
    "run",
    "unique",
    "outlier",
    "best_params",
    "best_tokens",
    "variable",
    "value",
    "experts",
    "dense",
)

PLAIN = {  # warnings, for somebody who knows none of the words
    "mid-schedule": "some measurements were taken before a run was finished, so they look worse than they should",
    "past-minimum": "some runs had seen the same data too often and were left out",
    "mixed-conventions": "the runs may not count their size or cost in the same way",
    "largest-out": "the largest runs were not predicted well from the smaller ones",
    "edge-minima": "at some budgets the best size may lie outside the sizes that were tried",
    "few-points": "some budgets have too few runs and were left out",
    "biased-vertices": "the best size may be off by several percent, because the sizes tried reach too far or lie unevenly",
    "disagreement": "two ways of reading the runs do not agree, so take the wider range",
}


def amount(value: float) -> str:
    """Return a number for people.

    Examples
    --------
    >>> amount(7.24e10), amount(1.33e12), amount(950.0)
    ('72.4 billion', '1.33 trillion', '950')
    """
    for scale, word in SCALES:
        if value >= scale:
            return f"{value / scale:,.3g} {word}" if value < 1000 * scale else f"{value / scale:,.0f} {word}"
    return f"{value:,.3g}"


def between(interval: tuple[float, float] | None, form: str = ".3f") -> str:
    """Return an interval in brackets, or nothing."""
    return f" [{interval[0]:{form}}, {interval[1]:{form}}]" if interval is not None else ""


def matched_line(matched: dict[str, str]) -> str:
    """Say which column was taken for what."""
    return "columns: " + ", ".join(f"{m} = {matched[m]!r}" for m in MEANINGS if m in matched)


def lines(fitted: Fitted, left: list[Note] | None = None) -> list[str]:
    """Return what is said of one experiment."""
    said = [f"{fitted.name}", f"  {matched_line(fitted.matched)}"]
    said += [f"  note ({note.name}): {note.text}" for note in fitted.notes]
    if fitted.kind == "runs":
        assert fitted.study is not None
        said += _study_lines(fitted.study)
    for one in fitted.curves:
        turn = (
            f"turned up after {amount(one.at)} tokens and ended at {one.end:.3f}" if one.turned else "fell to its end"
        )
        text = f"  {one.run}: E = {one.E:.3f}{between(one.intervals.get('E'))}, beta = {one.beta:.3f}"
        said.append(f"{text}{between(one.intervals.get('beta'))}; lowest loss {one.lowest:.3f}, {turn}")
    for quantity, one in fitted.optima.items():
        said.append(f"  optimal {quantity} ~ C^{one.law.a:.3f}{between(one.law.interval())}, {len(one.flops)} budgets")
    if fitted.routed is not None:
        law, edges = fitted.routed.law, fitted.routed.intervals
        said.append(
            f"  log10 L = a log10 N + b log10 E + c log10 N log10 E + d over {fitted.routed.n} runs, log error "
            f"{fitted.routed.rms:.4f}"
        )
        said += [f"  {name} = {getattr(law, name):.4f}{between(edges.get(name), '.4f')}" for name in "abc"]
    return said + [f"  note ({note.name}): {note.text}" for note in left or []]


def _study_lines(study: Study) -> list[str]:
    said = []
    fit = study.surface
    if fit is not None:
        c = fit.coefficients()
        shown = ", ".join(
            f"{name} = {c[name]:.4g}{between(fit.interval(name), '.4g')}" for name in ("E", "A", "B", "alpha", "beta")
        )
        mark = " (refused)" if "surface" in study.refused else ""
        said.append(f"  surface{mark}: {shown}; {fit.goal.describe()}, {fit.n} runs, log error {fit.rms:.4f}")
        said.append(f"  surface{mark}: N ~ C^{c['a']:.3f}{between(fit.interval('a'))}")
    if study.isoflop is not None:
        mark = " (refused)" if "isoflop" in study.refused else ""
        for method, law in study.isoflop.laws.items():
            used = f"{study.isoflop.usable(method)} of {len(study.isoflop.profiles)} budgets"
            said.append(
                f"  IsoFLOP {method}{mark}: N ~ C^{law.a:.3f}{between(law.interval())}, D ~ C^{law.b:.3f}, {used}"
            )
    if study.envelope is not None:
        mark = " (refused)" if "envelope" in study.refused else ""
        law = study.envelope.law
        said.append(f"  envelope{mark}: N ~ C^{law.a:.3f}{between(law.interval())}, {study.envelope.runs} curves")
    if study.tied is not None:
        tied = study.tied
        c = tied.coefficients()
        shown = ", ".join(
            f"{key} = {c[key]:.4g}{between(tied.interval(key), '.4g')}" for key in ("E", "A", "B", "alpha")
        )
        mark = " (refused)" if "tied surface" in study.refused else ""
        said.append(f"  tied surface{mark}: {shown}; one exponent for both terms, so a = 0.5 is assumed")
    said += [f"  not possible: {name}: {why}" for name, why in study.why_not.items()]
    said += [f"  gate {g.name}{f' refuses the {g.refuses}' if g.refuses else ''}: {g.text}" for g in study.gates]
    both = study.consensus()
    if both is not None:
        said.append(f"  consensus: N ~ C^{both[0]:.3f}{between(both[1])}; planned by the {study.basis}")
    else:
        said.append(f"  no free exponent can be trusted; planned by {study.basis or 'nothing'}")
    return said


def fitted_json(fitted: Fitted) -> dict[str, Any]:
    """Return one experiment as plain values."""
    found: dict[str, Any] = {
        "name": fitted.name,
        "kind": fitted.kind,
        "columns": fitted.matched,
        "notes": [vars(note) for note in fitted.notes],
    }
    if fitted.study is not None:
        found.update(_study_json(fitted.study))
    if fitted.curves:
        kept = ("run", "params", "E", "B", "beta", "intervals", "lowest", "at", "end", "tokens", "turned")
        found["curves"] = [{k: getattr(one, k) for k in kept} for one in fitted.curves]
    if fitted.optima:
        found["optima"] = {
            q: {"exponent": one.law.a, "factor": one.law.k, "interval": one.law.interval(), "budgets": len(one.flops)}
            for q, one in fitted.optima.items()
        }
    if fitted.routed is not None:
        law = fitted.routed.law
        names = ("a", "b", "c", "d", "start", "most")
        found["routed"] = {
            **{n: getattr(law, n) for n in names},
            "intervals": fitted.routed.intervals,
            "rms": fitted.routed.rms,
            "runs": fitted.routed.n,
        }
    return found


def _study_json(study: Study) -> dict[str, Any]:
    found: dict[str, Any] = {
        "runs": len(study.runs),
        "basis": study.basis,
        "not_possible": study.why_not,
        "held_out": study.held_out,
    }
    both = study.consensus()
    found["consensus"] = {"a": both[0], "interval": both[1]} if both else None
    found["gates"] = [vars(gate) for gate in study.gates]
    if study.surface is not None:
        fit = study.surface
        found["surface"] = {
            **fit.coefficients(),
            "objective": fit.goal.describe(),
            "value": fit.solution.value,
            "starts": fit.solution.starts,
            "agreeing": fit.solution.agreeing,
            "intervals": {name: fit.interval(name) for name in fit.coefficients()},
            "standard_errors": fit.errors,
            "resamples": len(fit.resamples.samples) if fit.resamples is not None else 0,
            "rms": fit.rms,
            "condition": fit.condition,
            "refused": "surface" in study.refused,
        }
    if study.isoflop is not None:
        found["isoflop"] = {
            "method": study.isoflop.method,
            "refused": "isoflop" in study.refused,
            "left_out": study.isoflop.left_out,
            **{m: {"a": w.a, "b": w.b, "k": w.k, "interval": w.interval()} for m, w in study.isoflop.laws.items()},
            "profiles": [
                {"flops": p.flops, "sizes": len(p.params), "vertices": {m: vars(v) for m, v in p.vertices.items()}}
                for p in study.isoflop.profiles
            ],
        }
    if study.envelope is not None:
        law = study.envelope.law
        found["envelope"] = {"a": law.a, "k": law.k, "interval": law.interval(), "curves": study.envelope.runs}
    return found


def plan_lines(found: Plan) -> list[str]:
    """Return what is said of a plan."""
    best, edges = found.best, found.intervals
    plain = found.best == found.plain
    said = [f"budget: {found.budget.said} = {found.budget.flops:.3e} FLOPs", f"law: {found.source}"]
    sure = {name: f", 95 % {amount(e[0])} to {amount(e[1])}" for name, e in edges.items() if plain and name != "loss"}
    said.append(f"parameters N: {amount(best.params)}{sure.get('params', '')}")
    said.append(f"tokens D: {amount(best.tokens)}{sure.get('tokens', '')}")
    said.append(f"tokens per parameter D/N: {best.tokens_per_param:.1f}")
    if best.epochs > 1:
        said.append(f"epochs: {best.epochs:.1f}")
    if best.loss is not None:
        interval = between(edges.get("loss"), ".3f") if plain else ""
        said.append(f"predicted loss: {best.loss:.4f}{interval}")
    if found.band is not None:
        low, high = found.band
        said.append(f"within {100 * found.waste:g} % of optimal: {amount(low)} to {amount(high)} parameters")
    if not plain:
        text = f"without that: {amount(found.plain.params)} parameters, {amount(found.plain.tokens)} tokens"
        said.append(text + (f", loss {found.plain.loss:.4f}" if found.plain.loss is not None else ""))
    if found.saving is not None:
        said.append(
            f"training and serving: {found.total:.3e} FLOPs, {100 * found.saving:.1f} % saved; training {best.flops:.3e}"
        )
    hours = found.budget.hours(best.flops)
    if hours is not None:
        said.append(f"accelerator-hours of training: {hours:,.0f}")
    s = found.shape
    said.append(
        f"nearest shape: {amount(found.size)}: {s.n_layers} layers, d_model {s.d_model}, ffw {s.ffw_size}, {s.n_heads} heads "
        f"of {s.kv_size}"
    )
    first = found.settings
    said.append(
        f"first guess (DeepSeek): learning rate {first.learning_rate:.2e}, batch {amount(first.batch_tokens)} tokens"
    )
    others = [row for row in found.comparison if row["params"] is not None]
    said += [
        f"compare {row['law']}: {amount(_float(row['params']))} parameters, {amount(_float(row['tokens']))} tokens"
        for row in others
    ]
    said += [
        f"compare {row['law']}: exponent a = {row['a']}, no sizes published"
        for row in found.comparison
        if row["params"] is None
    ]
    return said + [f"note: {text}" for text in found.notes]


def _float(value: object) -> float:
    return float(value)  # pyright: ignore[reportArgumentType]


def paragraph(fitted: Fitted, flops: float | None = None) -> str:
    """Return one paragraph that a manager can read."""
    if fitted.study is None:
        return _other_paragraph(fitted)
    study = fitted.study
    low, high = float(study.runs.flops.min()), float(study.runs.flops.max())
    said = [f"We looked at {len(study.runs)} finished training runs of {low:.1e} to {high:.1e} FLOPs."]
    if study.basis is None:
        said.append("They do not tell how large a model should be: every method of reading them was refused.")
        return " ".join(
            [
                *said,
                f"The reasons are: {study.refusals()}.",
                "More runs at more budgets are needed before money is spent.",
            ]
        )
    target = flops if flops is not None else 10 * high
    found = plan(target, by=study)
    best, edges = found.best, found.intervals
    said.append(f"For a budget of {target:.1e} FLOPs they advise a model of about {amount(best.params)} parameters")
    if "params" in edges:
        said[-1] += f" (95 % interval: {amount(edges['params'][0])} to {amount(edges['params'][1])})"
    said[-1] += f", trained on about {amount(best.tokens)} tokens, {best.tokens_per_param:.0f} for each parameter."
    if best.loss is not None:
        interval = edges.get("loss")
        sure = f", between {interval[0]:.2f} and {interval[1]:.2f}" if interval else ""
        said.append(f"Its loss should be about {best.loss:.2f}{sure}.")
    if found.band is not None:
        said.append(
            f"The choice is forgiving: any size from {amount(found.band[0])} to {amount(found.band[1])} wastes at most 5 % of "
            "the compute."
        )
    both = study.consensus()
    if both is not None:
        said.append(
            f"With ten times the compute the model should grow {10 ** both[0]:.1f} times (between {10 ** both[1][0]:.1f} and "
            f"{10 ** both[1][1]:.1f})."
        )
    if study.refused:
        said.append(
            f"We did not use {' and '.join(f'the {n} fit' for n in study.refused)}, because it would not be safe to extrapolate."
        )
    warnings = dict.fromkeys(PLAIN[g.name] for g in study.gates if not g.refuses and g.name in PLAIN)
    if warnings:
        said.append(f"Keep in mind: {'; '.join(warnings)}.")
    return " ".join(said)


def _other_paragraph(fitted: Fitted) -> str:
    if fitted.curves:
        turned = [one for one in fitted.curves if one.turned]
        said = f"{len(fitted.curves)} training curves were looked at, of too few model sizes to say how large a model should be."
        if not turned:
            return said + " None of them rose again before its end, so more training would still have helped."
        texts = [f"{one.run} after {amount(one.at)} tokens" for one in turned]
        return f"{said} {len(turned)} of them got worse again before they ended ({', '.join(texts)}): training should stop there."
    if fitted.optima:
        texts = []
        for quantity, one in fitted.optima.items():
            interval = one.law.interval()
            edges = f" (between {10 ** interval[0]:.1f} and {10 ** interval[1]:.1f})" if interval else ""
            texts.append(f"{10**one.law.a:.1f} times the {quantity}{edges}")
        return f"With ten times the compute, these published optima ask for {' and '.join(texts)}."
    assert fitted.routed is not None
    law = fitted.routed.law
    worth = law.dense_equivalent(1e8, 64) / 1e8
    said = f"A model of 100 million parameters with 64 experts is as good as a dense one {worth:.1f} times as large"
    return said + "; the gain shrinks with size."
