"""Budgets, plans, sweeps, words and pictures."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mumei.core.errors import DataError, UsageError
from mumei.scaling import Runs
from mumei.scaling.budget import PEAKS, budget
from mumei.scaling.fitting import fit_surface
from mumei.scaling.laws import BESIROGLU, HOFFMANN, MUENNIGHOFF, Kaplan, OverTrained
from mumei.scaling.plan import plan
from mumei.scaling.presets import COVARIANCE, resamples_of
from mumei.scaling.study import fit
from mumei.scaling.sweep import propose
from mumei.scaling.words import amount, plan_lines


def runs_of(law, budgets, points=9, noise=0.002, seed=0):
    rng = np.random.default_rng(seed)
    c = np.repeat(budgets, points)
    n = np.concatenate([law.optimal(b).params * np.geomspace(1 / 4, 4, points) for b in budgets])
    return Runs.of(n, c / 6 / n, law.loss(n, c / 6 / n) * np.exp(rng.normal(0, noise, len(n))), flops=c)


def test_budgets():
    assert budget(1e21).flops == 1e21
    assert budget(gpu="H100", hours=1000, mfu=0.4).flops == pytest.approx(989e12 * 3600 * 1000 * 0.4)
    spent = budget(gpu="a100", money=5000, price=2.5, mfu=0.5)
    assert spent.flops == pytest.approx(312e12 * 3600 * 2000 * 0.5)
    assert spent.gpu_hours == 2000
    assert budget(gpu="1e15", hours=1).flops == pytest.approx(1e15 * 3600 * 0.4)
    assert budget(1e21, gpu="h100").hours(1e21) == pytest.approx(1e21 / (PEAKS["h100"] * 3600 * 0.4))
    assert budget(1e21).hours(1e21) is None


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        ({}, "none was given"),
        ({"flops": 1e21, "hours": 3}, "flops and hours was given"),
        ({"hours": 3}, "hours need an accelerator"),
        ({"gpu": "h100", "money": 3}, "give price"),
        ({"gpu": "h1000", "hours": 3}, "unknown accelerator 'h1000'.*Did you mean 'h100'"),
        ({"gpu": "12", "hours": 3}, "too slow"),
        ({"gpu": "h100", "hours": -3}, "hours is -3"),
        ({"gpu": "h100", "hours": 3, "mfu": 40}, "mfu is 40"),
        ({"flops": 0}, "flops is 0"),
    ],
)
def test_budgets_that_cannot_be(given_, message):
    with pytest.raises(UsageError, match=message):
        budget(**given_)


def test_the_plan_at_gophers_compute():
    found = plan(5.76e23)
    assert found.best.params == pytest.approx(72.4e9, rel=0.002)
    assert found.best.tokens_per_param == pytest.approx(18.3, abs=0.1)
    assert found.intervals["params"][0] < found.best.params < found.intervals["params"][1]
    low, high = found.band
    assert (low, high) == pytest.approx((49.9e9, 104.7e9), rel=0.01)
    assert found.size == pytest.approx(found.best.params, rel=0.05)
    assert plan(5.76e23, by="hoffmann").best.params == pytest.approx(40.4e9, rel=0.01)


def test_the_presets_covariance_is_that_of_hoffmanns_runs(hoffmann):
    fit_ = fit_surface(hoffmann.params, hoffmann.tokens, hoffmann.loss, goal="lad", resamples=1500, seed=5)
    made = np.cov(fit_.design.parameters(fit_.resamples.samples[:, :5]).T)
    assert np.sqrt(np.diag(made)) == pytest.approx(np.sqrt(np.diag(COVARIANCE)), rel=0.12)
    by_preset, own = plan(5.76e23).intervals["params"], fit_.optimal_intervals(5.76e23)["params"]
    assert np.log(by_preset) == pytest.approx(np.log(own), abs=0.12)
    assert resamples_of(HOFFMANN) is None


def test_limited_data_serving_and_both():
    short = plan(5.76e23, unique_tokens=2.5e10)
    plain = plan(5.76e23)
    assert short.best.epochs > 40
    assert any("were never measured" in n for n in short.notes)
    assert short.best.loss > plain.best.loss
    assert short.best.params < plain.best.params
    assert short.plain == plain.best
    enough = plan(1e20, unique_tokens=1e13)
    assert enough.best.params == plan(1e20).best.params
    served = plan(5.88e23, serve_tokens=1e13)
    assert served.best.params == pytest.approx(35e9, rel=0.02)
    assert served.saving == pytest.approx(0.286, abs=0.003)
    assert served.best.tokens_per_param == pytest.approx(107, abs=3)
    with pytest.raises(UsageError, match="one at a time"):
        plan(1e21, unique_tokens=1e9, serve_tokens=1e9)
    with pytest.raises(UsageError, match="optima alone"):
        plan(1e21, by="protein-clm", serve_tokens=1e12)
    with pytest.raises(UsageError, match="exponents alone"):
        plan(1e21, by="health-records")


def test_laws_of_every_kind_can_plan():
    for by in (
        "kaplan",
        "muennighoff",
        "hoffmann-2",
        "deepseek",
        "genome-mamba",
        OverTrained(1.8, 100, 200, 0.15),
        Kaplan(),
    ):
        found = plan(1e21, by=by)
        assert found.best.params > 1e7
        assert plan_lines(found)
    assert plan(1e21, by=MUENNIGHOFF, unique_tokens=1e9).best.epochs > 2
    assert {row["domain"] for row in plan(1e21, domain="genome").comparison} == {"genome"}
    assert {row["domain"] for row in plan(1e21, by="protein-clm").comparison} == {"protein"}


@settings(max_examples=25, deadline=None)
@given(st.floats(1e17, 1e26), st.floats(0.01, 0.5))
def test_a_plan_spends_its_budget_and_its_band_holds_the_optimum(flops, waste):
    found = plan(flops, waste=waste)
    assert 6 * found.best.params * found.best.tokens == pytest.approx(flops, rel=1e-9)
    assert found.band[0] < found.best.params < found.band[1]


def test_a_plan_by_ones_own_runs():
    study = fit(runs_of(BESIROGLU, (1e18, 3e18, 1e19, 3e19, 1e20)), resamples=200)
    found = plan(1e23, by=study)
    assert found.best.params == pytest.approx(BESIROGLU.optimal(1e23).params, rel=0.4)
    assert any("1,000 times the largest one" in n for n in found.notes)
    assert found.band is not None


# --------------------------------------------------------------------------------------------------------------- sweep


def test_a_grid_costs_its_share_and_is_centred():
    found = propose(1e22)
    assert len(found.next) == 35
    assert found.cost == pytest.approx(1e21, rel=1e-6)
    ratios = np.diff(np.log(found.budgets))
    assert ratios == pytest.approx(math.log(3))
    for level in found.budgets:
        sizes = np.array([r.params for r in found.next if r.budget == level])
        assert np.exp(np.log(sizes).mean()) == pytest.approx(BESIROGLU.optimal(level).params, rel=1e-9)
        assert sizes.max() / sizes.min() == pytest.approx(16)
    assert all(6 * r.params * r.tokens == pytest.approx(r.budget) for r in found.next)


def test_a_sweep_closes_its_loop():
    """Runs of a hidden law are trained as they are proposed; the grid ends, and its law predicts the target's optimum."""
    hidden = HOFFMANN
    done = np.empty((0, 3))
    runs = None
    for _ in range(12):
        grid = propose(1e22, runs=runs, resamples=50)
        if grid.finished:
            break
        level = grid.next[0].budget
        batch = [r for r in grid.next if r.budget == level]
        new = [(r.params, r.tokens, hidden.loss(r.params, r.tokens)) for r in batch]
        done = np.concatenate([done, new])
        runs = Runs.of(*done.T)
    assert grid.finished
    assert len(done) < 60
    assert fit(runs, resamples=50).optimal(1e22).params == pytest.approx(hidden.optimal(1e22).params, rel=0.05)
    assert all("minimum" in text for text in grid.done.values())


def test_an_edge_gets_sizes_beyond_it():
    grid = propose(1e22)
    level = grid.budgets[0]
    sizes = BESIROGLU.optimal(level).params * np.array([1.3, 1.7, 2.2, 3.0, 4.0])
    runs = Runs.of(sizes, level / 6 / sizes, BESIROGLU.loss(sizes, level / 6 / sizes))
    found = propose(1e22, runs=runs)
    beyond = [r for r in found.next if r.why == "beyond the edge"]
    assert beyond
    assert max(r.params for r in beyond) < sizes.min()
    assert "smallest" in found.done[min(found.done)]
    assert "do not say it yet" in found.centred_on


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"budgets": 2}, "2 budgets"),
        ({"points": 3}, "3 points"),
        ({"half_width": 1.0}, "half-width of 1"),
        ({"share": 0}, "share of 0"),
        ({"flops": -1}, "flops is -1"),
        ({"by": "nobody"}, "unknown law"),
    ],
)
def test_grids_that_cannot_be(options, message):
    with pytest.raises(UsageError, match=message):
        propose(**{"flops": 1e22, **options})


# ---------------------------------------------------------------------------------------------------- words, pictures


def test_amounts():
    assert [amount(v) for v in (950, 1.2e6, 7.24e10, 1.33e12, 1.4e15)] == [
        "950",
        "1.2 million",
        "72.4 billion",
        "1.33 trillion",
        "1,400 trillion",
    ]


def test_pictures_have_axes_units_and_legends():
    from mumei.scaling.plots import cloud, pictures, png
    from mumei.scaling.tables import Fitted

    study = fit(runs_of(BESIROGLU, (1e18, 3e18, 1e19, 3e19)), resamples=100)
    found = pictures(Fitted("made up", "runs", {}, study=study))
    assert set(found) == {"profiles", "surface", "cloud", "frontier"}
    for figure in found.values():
        for axes in figure.axes:
            assert axes.get_xlabel() or axes.get_ylabel()
        assert figure.axes[0].get_legend() is not None
    assert "FLOPs" in found["surface"].axes[0].get_xlabel()
    assert "nats" in found["profiles"].axes[0].get_ylabel()
    assert png(found["frontier"])[:8] == b"\x89PNG\r\n\x1a\n"
    with pytest.raises(DataError, match="no resamples"):
        cloud(fit_surface(study.runs.params, study.runs.tokens, study.runs.loss))


def test_the_same_figure_gives_the_same_bytes():
    from mumei.scaling.plots import frontier, png

    study = fit(runs_of(BESIROGLU, (1e18, 3e18, 1e19, 3e19)), resamples=20)
    assert png(frontier(study)) == png(frontier(study))
