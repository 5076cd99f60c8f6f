"""Approach 2 and published optima: Porian's ladder, known laws, the bias of vertices, edges, budgets found in noise."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mumei.core.errors import DataError, UsageError
from mumei.scaling.isoflop import METHODS, budgets_of, fit_isoflop, fit_optima, line
from mumei.scaling.laws import BESIROGLU, HOFFMANN, Chinchilla

LADDER = {
    "rw|base|long|kaplan|kaplan": 0.834,
    "rw|base|long|kaplan|standard": 0.701,
    "rw|base|short|kaplan|standard": 0.604,
    "rw|base|short|chinchilla|standard": 0.571,
    "rw|tuned|short|const|standard": 0.497,
}


def grid(law, budgets, points=15, half_width=4.0):
    """Noise-free IsoFLOP runs of a law, centred on its optima."""
    found = []
    for flops in budgets:
        sizes = law.optimal(flops).params * np.geomspace(1 / half_width, half_width, points)
        found += [(n, flops, law.loss(n, flops / 6 / n)) for n in sizes]
    return np.array(found).T


@pytest.mark.parametrize(("setting", "published"), LADDER.items())
def test_porians_ladder_from_the_raw_runs(rows, setting, published):
    own = [
        [float(r[k]) for k in ("N", "C", "loss", "D")]
        for r in rows("isoflop_porian_refinedweb.csv")
        if r["setting"] == setting and r["loss"]
    ]
    n, c, loss, d = np.array(own).T
    found = fit_isoflop(n, c, loss, tokens=d, resamples=0)
    assert found.laws["akima"].a == pytest.approx(published, abs=0.02)


@pytest.mark.parametrize(("setting", "published"), LADDER.items())
def test_porians_published_optima(rows, setting, published):
    own = [r for r in rows("isoflop_porian_refinedweb_optima.csv") if r["setting"] == setting and r["N_opt"]]
    columns = [np.array([float(r[k] or "nan") for r in own]) for k in ("C", "N_opt", "N_opt_logstd")]
    found = fit_optima(columns[0], columns[1], deviations=columns[2])
    assert found.law.a == pytest.approx(published, abs=0.02)
    low, high = found.law.interval()
    assert low < found.law.a < high


@settings(max_examples=20, deadline=None)
@given(st.floats(0.2, 0.6), st.floats(0.2, 0.6), st.floats(1, 2.5))
def test_every_method_finds_the_exponent_of_a_known_law(alpha, beta, e):
    law = Chinchilla(e, 400, 1000, alpha, beta)
    found = fit_isoflop(*grid(law, np.geomspace(1e17, 1e21, 5)), resamples=0)
    for method in METHODS:
        assert found.laws[method].a == pytest.approx(law.a, abs=2e-3)
        assert found.usable(method) == 5


@pytest.mark.parametrize(
    ("law", "errors"),
    [
        (HOFFMANN, (-0.33, -1.3, -2.9, -5.1)),
        (BESIROGLU, (0.11, 0.44, 0.98, 1.75)),
        (Chinchilla(1.8, 400, 400, 0.31, 0.31), (0, 0, 0, 0)),
    ],
    ids=["hoffmann", "besiroglu", "equal"],
)
def test_the_bias_of_quadratic_vertices_grows_with_the_grid(law, errors):
    """Percent error of D* at 1e24 from 15 points at five budgets 1e17 to 1e21, half-widths 2, 4, 8, 16."""
    for half_width, error in zip((2, 4, 8, 16), errors, strict=True):
        fitted = fit_isoflop(*grid(law, np.geomspace(1e17, 1e21, 5), 15, half_width), resamples=0).laws["quadratic"]
        off = fitted.optimal(1e24).tokens / law.optimal(1e24).tokens - 1
        assert 100 * off == pytest.approx(error, abs=0.02, rel=0.12)
        assert fitted.a == pytest.approx(law.a, abs=1e-6)


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    rng, held = np.random.default_rng(0), 0
    n, c, loss = grid(BESIROGLU, np.geomspace(1e18, 1e21, 6), 9)
    for seed in range(40):
        found = fit_isoflop(n, c, loss * np.exp(rng.normal(0, 0.003, len(n))), resamples=300, seed=seed)
        low, high = found.laws["quadratic"].interval()
        held += low < BESIROGLU.a < high
    assert held >= 33


def test_a_minimum_at_the_edge_is_refused():
    n, c, loss = grid(BESIROGLU, [1e18, 1e19, 1e20, 1e21], 9)
    cut = ~((c == 1e21) & (n < 1.05 * BESIROGLU.optimal(1e21).params))
    found = fit_isoflop(n[cut], c[cut], loss[cut], resamples=0)
    assert [bool(p.vertices["quadratic"].refused) for p in found.profiles] == [False, False, False, True]
    assert "smallest size tried" in found.profiles[3].vertices["akima"].refused
    assert found.usable("quadratic") == 3


def test_what_cannot_be_fitted_says_why():
    n, c, loss = grid(BESIROGLU, [1e18, 1e19], 9)
    one = c == 1e18
    with pytest.raises(DataError, match="two budgets with a minimum"):
        fit_isoflop(n[one], c[one], loss[one])
    few = (c == 1e18) | (np.arange(len(c)) % 4 == 0)
    with pytest.raises(DataError, match=r"3 sizes, at least 4 are needed|runs between the budgets"):
        fit_isoflop(n[few], c[few], loss[few])
    with pytest.raises(UsageError, match="above zero"):
        fit_isoflop(n, -c, loss)


def test_budgets_are_found_among_scattered_runs():
    rng = np.random.default_rng(0)
    truth = np.repeat([1e18, 1e19, 1e20], 10)
    read_off = truth * np.exp(rng.normal(0, 0.01, 30))
    between = np.geomspace(2e18, 6e18, 6)
    found = budgets_of(np.r_[read_off, between])
    assert found[:30].tolist() == np.repeat([0, 1, 2], 10).tolist()
    assert (found[30:] == -1).all()
    assert (budgets_of(np.geomspace(1e18, 1e21, 60)) == -1).all()
    assert budgets_of([]).tolist() == []


def test_seeds_of_one_size_count_by_the_best():
    n, c, loss = grid(BESIROGLU, [1e18, 1e19, 1e20], 9)
    twice = fit_isoflop(np.r_[n, n], np.r_[c, c], np.r_[loss, loss * 1.05], resamples=0)
    assert twice.laws["akima"].k == pytest.approx(fit_isoflop(n, c, loss, resamples=0).laws["akima"].k, rel=1e-12)


def test_a_line_through_values_with_gaps():
    x = np.arange(5.0)
    values = np.stack([2 + 3 * x, np.where(x == 2, np.nan, 1 - x), np.full(5, np.nan)])
    slope, base = line(x, values)
    assert slope[:2] == pytest.approx([3, -1])
    assert base[:2] == pytest.approx([2, 1])
    assert math.isnan(slope[2])


def test_optima_that_are_too_few():
    with pytest.raises(DataError, match="2 budgets have an optimum"):
        fit_optima([1e18, 1e19], [1e8, 1e9])
    with pytest.raises(UsageError, match="unknown quantity"):
        fit_optima([1, 2, 3], [1, 2, 3], quantity="size")


def test_the_half_width_keeps_near_sizes():
    n, c, loss = grid(BESIROGLU, [1e18, 1e19, 1e20], 15, 8)
    found = fit_isoflop(n, c, loss, half_width=2.1, resamples=0)
    assert max(p.half_width for p in found.profiles) <= 2.2
