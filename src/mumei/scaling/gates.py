"""Reasons not to believe a fit. Each gate has a name, what it saw, and whether it forbids extrapolation by an approach.

| gate | fires where |
|---|---|
| `on-bound` | E went to zero, or a term or an exponent vanished |
| `flat-hessian` | the data leave a direction of the coefficients open |
| `wide-exponent` | the interval of a is wider than .2 |
| `largest-out` | the largest budget, left out, is predicted worse than 5 %, or worse than by no law at all |
| `edge-minima` | lowest losses lie at the edge of the sizes tried |
| `few-points` | budgets have fewer than four sizes |
| `few-budgets` | fewer than three budgets have a minimum |
| `mid-schedule` | points are not at the end of their schedule |
| `past-minimum` | runs on repeated data are past their lowest validation loss |
| `biased-vertices` | exponents so unequal, or sizes so far apart, that vertices of quadratics are off |
| `disagreement` | two approaches' intervals do not meet |
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mumei.scaling.envelope import Envelope
from mumei.scaling.fitting import SurfaceFit
from mumei.scaling.isoflop import IsoFlop
from mumei.scaling.runs import Runs

WIDEST = 0.2
FLATTEST = 1e7
WORST = 0.05
UNEQUAL = 0.2
HALF_WIDTH = 8.0
BUDGETS = 3


@dataclass(frozen=True)
class Gate:
    """One reason.

    Parameters
    ----------
    name, text : str
    refuses : str
        The approach that must not be extrapolated, "" for a warning.
    """

    name: str
    text: str
    refuses: str = ""


def surface_gates(fit: SurfaceFit | None, held_out: dict[str, float] | None) -> list[Gate]:
    """Return what speaks against a surface."""
    if fit is None:
        return []
    found = []
    if fit.e_at_bound:
        found.append(Gate("on-bound", "the irreducible loss E went to its bound of zero", "surface"))
    if fit.degenerate:
        found.append(
            Gate("on-bound", "the term of size or of data vanished, or its exponent is on its bound", "surface")
        )
    if fit.condition > FLATTEST:
        text = f"the Hessian is flat (eigenvalues {fit.condition:.0e} apart): other coefficients fit as well"
        found.append(Gate("flat-hessian", text, "surface"))
    interval = fit.interval("a")
    if interval is None or interval[1] - interval[0] > WIDEST:
        shown = "has no interval" if interval is None else f"has an interval of {interval[0]:.2f} to {interval[1]:.2f}"
        text = f"the exponent a {shown}, wider than {WIDEST}"
        found.append(Gate("wide-exponent", text, "" if fit.design.tied else "surface"))
    if held_out is not None:
        text = (
            f"fitted without the largest budget ({held_out['runs']} runs, x{held_out['reach']:.2g}), its losses are predicted "
            f"with {100 * held_out['rms']:.1f} % error"
        )
        worse = held_out["rms"] > max(held_out["rms_without_law"], 0.01)
        if held_out["rms"] > WORST or worse:
            found.append(Gate("largest-out", text + (", worse than by no law" if worse else ""), "surface"))
        elif held_out["rms"] > 4 * fit.rms:
            found.append(Gate("largest-out", text + f", against {100 * fit.rms:.1f} % inside"))
    return found


def isoflop_gates(fit: IsoFlop | None, surface: SurfaceFit | None) -> list[Gate]:
    """Return what speaks against vertices."""
    if fit is None:
        return []
    found, method = [], fit.method
    edges = [p for p in fit.profiles if p.vertices[method].refused]
    if edges:
        shown = ", ".join(f"{p.flops:.1e}" for p in edges[:4])
        found.append(
            Gate("edge-minima", f"{len(edges)} of {len(fit.profiles)} budgets have no minimum inside ({shown})")
        )
    few = [text for text in fit.left_out if "sizes" in text]
    if few:
        found.append(Gate("few-points", f"{len(few)} budgets were left out: {few[0]}"))
    if fit.usable(method) < BUDGETS:
        text = f"{fit.usable(method)} budgets have a minimum; {BUDGETS} are needed to see whether they lie on a line"
        found.append(Gate("few-budgets", text, "isoflop"))
    interval = fit.law.interval()
    if interval is not None and interval[1] - interval[0] > 2 * WIDEST:
        text = f"the exponent of the vertices has an interval of {interval[0]:.2f} to {interval[1]:.2f}"
        found.append(Gate("wide-exponent", text, "isoflop"))
    wide = max(p.half_width for p in fit.profiles)
    law = surface.law if surface is not None else None
    unequal = abs(law.alpha - law.beta) / (law.alpha + law.beta) if law is not None else 0.0
    if method == "quadratic" and (wide > HALF_WIDTH or unequal > UNEQUAL):
        why = (
            f"sizes reach x{wide:.0f} to either side"
            if wide > HALF_WIDTH
            else f"alpha and beta differ by {100 * unequal:.0f} %"
        )
        found.append(
            Gate(
                "biased-vertices",
                f"{why}: quadratic vertices may be off by several percent; compare the cubic's and Akima's",
            )
        )
    return found


def data_gates(runs: Runs) -> list[Gate]:
    """Return what the runs' own notes say against them."""
    return [
        Gate(note.name, note.text)
        for note in runs.notes
        if note.name in ("mid-schedule", "past-minimum", "mixed-conventions")
    ]


def agreement(exponents: dict[str, tuple[float, Any]]) -> list[Gate]:
    """Return a gate where two approaches' intervals do not meet."""
    known = [(name, interval) for name, (_, interval) in exponents.items() if interval is not None]
    for i, (one, a) in enumerate(known):
        for other, b in known[i + 1 :]:
            if a[1] < b[0] or b[1] < a[0]:
                text = f"{one} says a is {a[0]:.2f} to {a[1]:.2f}, {other} says {b[0]:.2f} to {b[1]:.2f}"
                return [Gate("disagreement", text)]
    return []


def envelope_gates(fit: Envelope | None) -> list[Gate]:
    """Return what speaks against an envelope."""
    if fit is None:
        return []
    if fit.sizes < 3:
        return [Gate("few-sizes", f"{fit.sizes} sizes win at budgets inside; three are needed for a line", "envelope")]
    interval = fit.law.interval()
    if interval is not None and interval[1] - interval[0] > 2 * WIDEST:
        return [
            Gate(
                "wide-exponent",
                f"the envelope's exponent has an interval of {interval[0]:.2f} to {interval[1]:.2f}",
                "envelope",
            )
        ]
    return []
