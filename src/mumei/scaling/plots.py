"""Pictures of a fit: IsoFLOP profiles, the loss surface with its frontier, the cloud of resamples."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mumei.core.charts import COLOURS
from mumei.core.errors import DataError
from mumei.core.files import write_bytes
from mumei.scaling.fitting import SurfaceFit
from mumei.scaling.isoflop import IsoFlop
from mumei.scaling.study import Study
from mumei.scaling.tables import Fitted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIZE = (7.6, 4.8)
DPI = 150
MOST_CURVES = 14


def _figure(title: str) -> tuple[Figure, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE, dpi=DPI, layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title, loc="left", fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(visible=True, color="#e6e9ee", linewidth=0.7)
    axes.set_axisbelow(True)
    return figure, axes


def profiles(fit: IsoFlop, name: str = "") -> Figure:
    """Draw loss against size at each budget, with the minima; a cross where one was refused."""
    from matplotlib import colormaps

    figure, axes = _figure(f"IsoFLOP profiles{f': {name}' if name else ''}")
    shown = fit.profiles if len(fit.profiles) <= MOST_CURVES else fit.profiles[:: -(-len(fit.profiles) // MOST_CURVES)]
    colours = colormaps["viridis"](np.linspace(0, 0.92, len(shown)))
    for profile, colour in zip(shown, colours, strict=True):
        vertex = profile.vertices[fit.method]
        axes.plot(profile.params, profile.loss, "o", color=colour, markersize=3.5, label=f"{profile.flops:.1e}")
        x = np.log(profile.params)
        degree = 2 if fit.method == "quadratic" else 3
        fine = np.linspace(x[0], x[-1], 200)
        if fit.method == "akima":
            from scipy.interpolate import Akima1DInterpolator

            curve = np.exp(Akima1DInterpolator(x, np.log(profile.loss))(fine))
        else:
            curve = np.polyval(np.polyfit(x - x.mean(), profile.loss, degree), fine - x.mean())
        axes.plot(np.exp(fine), curve, color=colour, linewidth=1.2)
        if not vertex.refused:
            axes.plot([vertex.params], [vertex.loss], "D", color="#b0413e", markersize=5, zorder=5)
        else:
            place = int(profile.loss.argmin())
            axes.plot([profile.params[place]], [profile.loss[place]], "x", color="#b0413e", markersize=8, zorder=5)
    axes.plot([], [], "D", color="#b0413e", markersize=5, label=f"minimum ({fit.method})")
    if any(p.vertices[fit.method].refused for p in shown):
        axes.plot([], [], "x", color="#b0413e", markersize=8, label="at the edge: refused")
    axes.set_xscale("log")
    axes.set_xlabel("parameters N")
    axes.set_ylabel("loss (nats per token)")
    lows = [p.loss.min() for p in shown]
    highs = [np.quantile(p.loss, 0.85) for p in shown]
    reach = max(highs) - min(lows)
    axes.set_ylim(min(lows) - 0.05 * reach, max(highs) + 0.1 * reach)
    axes.legend(
        title="FLOPs", fontsize=7.5, title_fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False
    )
    return figure


def surface(study: Study, fit: SurfaceFit, name: str = "") -> Figure:
    """Draw the fitted loss over compute and size, the runs, and the frontier of optimal sizes."""
    runs, law = study.runs, fit.law
    refused = ", refused" if "surface" in study.refused else ""
    figure, axes = _figure(f"Loss surface{refused}{f': {name}' if name else ''}")
    low_c, high_c = runs.flops.min() / 2, runs.flops.max() * 30
    low_n, high_n = runs.params.min() / 2, max(runs.params.max() * 2, law.optimal(high_c).params * 3)
    c, n = np.geomspace(low_c, high_c, 160), np.geomspace(low_n, high_n, 160)
    grid_c, grid_n = np.meshgrid(c, n)
    with np.errstate(over="ignore"):
        loss = law.loss(grid_n, grid_c / (law.per_token * grid_n))
    low, high = law.optimal(high_c).loss, float(np.quantile(runs.loss, 0.98))
    assert low is not None
    levels = np.linspace(low, max(high, low * 1.05), 22)
    drawn = axes.contourf(grid_c, grid_n, loss, levels=levels, cmap="viridis_r", extend="both", alpha=0.85)
    bar = figure.colorbar(drawn, ax=axes, pad=0.02)
    bar.set_label("predicted loss (nats per token)")
    axes.plot(
        runs.flops,
        runs.params,
        "o",
        color="white",
        markeredgecolor="#1c2330",
        markeredgewidth=0.5,
        markersize=3,
        label="runs",
    )
    best = np.array([law.optimal(float(v)).params for v in c])
    axes.plot(c, best, color="#b0413e", linewidth=2, label=f"optimal size, N ~ C^{law.a:.2f}")
    if fit.resamples is not None:
        few = np.geomspace(low_c, high_c, 24)
        drawn_n = [fit.resamples.optima(float(v), law.per_token)[:, 0] for v in few]
        edges = np.quantile(drawn_n, [0.025, 0.975], axis=1)
        axes.fill_between(few, edges[0], edges[1], color="#b0413e", alpha=0.25, linewidth=0, label="95 % interval")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(low_c, high_c)
    axes.set_ylim(low_n, high_n)
    axes.set_xlabel("training compute C (FLOPs)")
    axes.set_ylabel("parameters N")
    axes.grid(visible=False)
    axes.legend(loc="upper left", fontsize=8, framealpha=0.9)
    return figure


def cloud(fit: SurfaceFit, name: str = "") -> Figure:
    """Draw the resamples' exponents, and how the exponent of the optimal size is spread."""
    from matplotlib.figure import Figure

    if fit.resamples is None:
        raise DataError("there are no resamples to draw; fit with resamples=1000.")
    figure = Figure(figsize=SIZE, dpi=DPI, layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.15, 1))
    alpha, beta, a = (fit.resamples.column(k) for k in ("alpha", "beta", "a"))
    left.plot(alpha, beta, ".", color=COLOURS[0], markersize=2.5, alpha=0.35, label=f"{len(a):,} resamples")
    left.plot([fit.law.alpha], [fit.law.beta], "D", color="#b0413e", markersize=6, label="fit")
    for values, limits in ((alpha, left.set_xlim), (beta, left.set_ylim)):
        low, high = np.quantile(values, [0.002, 0.998])
        limits(low - 0.1 * (high - low) - 1e-9, high + 0.1 * (high - low) + 1e-9)
    left.axline(
        (fit.law.alpha, fit.law.alpha), slope=1, color="#5b6575", linewidth=0.8, linestyle="--", label="alpha = beta"
    )
    left.set_xlabel("alpha, exponent of size")
    left.set_ylabel("beta, exponent of data")
    left.legend(fontsize=8, loc="upper left", framealpha=0.9)
    left.set_title(f"Resamples{f': {name}' if name else ''}", loc="left", fontsize=11)
    low, high = np.quantile(a, [0.001, 0.999])
    right.hist(a, bins=np.linspace(low, high + 1e-9, 41), color=COLOURS[0], alpha=0.75)
    right.axvline(fit.law.a, color="#b0413e", linewidth=2, label=f"a = {fit.law.a:.3f}")
    for place, edge in enumerate(fit.resamples.interval("a")):
        right.axvline(edge, color="#b0413e", linewidth=1, linestyle=":", label="95 % interval" if place == 0 else None)
    right.set_xlabel("a, N ~ C^a")
    right.set_ylabel("resamples")
    right.set_ylim(0, right.get_ylim()[1] * 1.22)
    right.legend(fontsize=8, loc="upper left", framealpha=0.9)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(visible=True, color="#e6e9ee", linewidth=0.7)
        axes.set_axisbelow(True)
    return figure


def frontier(study: Study, name: str = "") -> Figure:
    """Draw what each approach says of the optimal size over compute."""
    figure, axes = _figure(f"Optimal size by approach{f': {name}' if name else ''}")
    c = np.geomspace(study.runs.flops.min() / 2, study.runs.flops.max() * 30, 60)
    place = 0

    def line(law: Any, label: str, dashed: bool) -> None:
        nonlocal place
        sizes = [law.optimal(float(v)).params for v in c]
        axes.plot(c, sizes, color=COLOURS[place], linewidth=1.8, linestyle="--" if dashed else "-", label=label)
        place += 1

    refused = study.refused
    if study.surface is not None:
        line(
            study.surface.law,
            f"surface, a = {study.surface.law.a:.2f}" + (" (refused)" if "surface" in refused else ""),
            "surface" in refused,
        )
    if study.isoflop is not None:
        for method, law in study.isoflop.laws.items():
            line(law, f"IsoFLOP {method}, a = {law.a:.2f}", "isoflop" in refused)
        method = study.isoflop.method
        used = [p for p in study.isoflop.profiles if not p.vertices[method].refused]
        points = [p.flops for p in used], [p.vertices[method].params for p in used]
        axes.plot(*points, "D", color="#1c2330", markersize=4.5, label=f"minima ({method})")
    if study.envelope is not None:
        line(study.envelope.law, f"envelope, a = {study.envelope.law.a:.2f}", "envelope" in refused)
    if study.tied is not None:
        line(study.tied.law, "one exponent for both, a = 0.50", True)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("training compute C (FLOPs)")
    axes.set_ylabel("optimal parameters N")
    axes.legend(fontsize=8, loc="upper left", framealpha=0.9)
    return figure


def curves(fitted: Fitted) -> Figure:
    """Draw the fitted loss and the lowest point of each run's own curve."""
    figure, axes = _figure(f"Each run's own curve: {fitted.name}")
    for place, one in enumerate(fitted.curves):
        tokens = np.geomspace(one.points[0].min(), one.tokens, 200)
        colour = COLOURS[place % len(COLOURS)]
        axes.plot(*one.points, ".", color=colour, markersize=3, alpha=0.6)
        axes.plot(tokens, one.E + one.B * tokens**-one.beta, color=colour, linewidth=1.6, label=one.run)
        axes.plot([one.at], [one.lowest], "D", color=colour, markersize=5)
        axes.plot([one.tokens], [one.end], "x" if one.turned else "o", color=colour, markersize=7)
    axes.plot([], [], "D", color="#5b6575", label="lowest loss")
    axes.plot([], [], "x", color="#5b6575", label="end, after a turn")
    axes.set_xscale("log")
    axes.set_xlabel("training tokens D")
    axes.set_ylabel("loss (nats per token)")
    axes.legend(fontsize=8, framealpha=0.9)
    return figure


def optima(fitted: Fitted) -> Figure:
    """Draw optima that others found and the power laws through them."""
    figure, axes = _figure(f"Optima: {fitted.name}")
    for place, (quantity, one) in enumerate(fitted.optima.items()):
        order = np.argsort(one.flops)
        c = one.flops[order]
        axes.plot(c, one.values[order], "o", color=COLOURS[place], markersize=4, label=f"{quantity} (optima)")
        axes.plot(c, one.law.k * c**one.law.a, color=COLOURS[place], label=f"{quantity} ~ C^{one.law.a:.2f}")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("training compute C (FLOPs)")
    axes.set_ylabel("optimal parameters or tokens")
    axes.legend(fontsize=8, framealpha=0.9)
    return figure


def routed(fitted: Fitted) -> Figure:
    """Draw the loss by the dense part's size for some numbers of experts."""
    assert fitted.routed is not None
    law = fitted.routed.law
    figure, axes = _figure(f"Routed models: {fitted.name}")
    n = np.geomspace(1e7, 3e9, 100)
    for place, experts in enumerate((1, 8, 64, 512)):
        axes.plot(n, law.loss(n, experts), color=COLOURS[place], label=f"{experts} expert{'s' if experts > 1 else ''}")
    axes.set_xscale("log")
    axes.set_xlabel("parameters of the dense part")
    axes.set_ylabel("loss (nats per token)")
    axes.legend(fontsize=8, framealpha=0.9)
    return figure


def pictures(fitted: Fitted) -> dict[str, Figure]:
    """Return all pictures of one experiment, by name."""
    if fitted.kind == "curves":
        return {"curves": curves(fitted)}
    if fitted.kind == "optima":
        return {"optima": optima(fitted)}
    if fitted.kind == "routed":
        return {"routed": routed(fitted)}
    study, found = fitted.study, {}
    assert study is not None
    if study.isoflop is not None:
        found["profiles"] = profiles(study.isoflop, fitted.name)
    if study.surface is not None and not study.surface.degenerate:
        found["surface"] = surface(study, study.surface, fitted.name)
        if study.surface.resamples is not None:
            found["cloud"] = cloud(study.surface, fitted.name)
    found["frontier"] = frontier(study, fitted.name)
    return found


def png(figure: Figure) -> bytes:
    """Return a figure as PNG, the same bytes for the same figure."""
    held = io.BytesIO()
    figure.savefig(held, format="png", metadata={"Software": None})
    return held.getvalue()


def save(figure: Figure, path: Path | str) -> Path:
    """Write a figure as PNG, whole or not at all."""
    write_bytes(path, png(figure))
    return Path(path)
