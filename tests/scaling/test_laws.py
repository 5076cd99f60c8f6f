"""Laws: published numbers, optima against brute force, refusals."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mumei.core.errors import UsageError
from mumei.scaling import laws
from mumei.scaling.laws import (
    BESIROGLU,
    HOFFMANN,
    MUENNIGHOFF,
    Chinchilla,
    DataConstrained,
    Kaplan,
    OverTrained,
    Served,
)

surfaces = st.builds(
    Chinchilla,
    E=st.floats(0, 3),
    A=st.floats(10, 3000),
    B=st.floats(10, 3000),
    alpha=st.floats(0.1, 0.8),
    beta=st.floats(0.1, 0.8),
)
budgets = st.floats(1e17, 1e26)


@settings(max_examples=60, deadline=None)
@given(surfaces, budgets)
def test_the_closed_form_is_the_lowest_point_of_a_grid(law, flops):
    best = law.optimal(flops)
    assert math.isclose(6 * best.params * best.tokens, flops, rel_tol=1e-9)
    sizes = best.params * np.geomspace(0.01, 100, 2001)
    losses = law.E + law.A / sizes**law.alpha + law.B / (flops / 6 / sizes) ** law.beta
    assert losses.min() >= best.loss - 1e-12
    assert abs(math.log(sizes[losses.argmin()] / best.params)) < 0.01
    assert math.isclose(law.flops_for_params(best.params), flops, rel_tol=1e-6)


@settings(max_examples=40, deadline=None)
@given(surfaces, budgets, st.floats(0.05, 20))
def test_waste_is_the_compute_that_the_right_size_would_not_have_needed(law, flops, factor):
    """Against the definition: the loss of the wrong size, and the budget whose optimum has that loss."""
    best = law.optimal(flops)
    loss = law.loss(best.params * factor, best.tokens / factor)
    if loss - law.E < 1e-9:
        return
    enough = law.flops_for_loss(loss)
    assert math.isclose(1 + law.waste(factor), flops / enough, rel_tol=1e-5)


def test_the_band_wastes_its_share_at_both_ends():
    low, high = BESIROGLU.band(5.76e23)
    best = BESIROGLU.optimal(5.76e23).params
    assert BESIROGLU.waste(low / best) == pytest.approx(0.05, abs=1e-9)
    assert BESIROGLU.waste(high / best) == pytest.approx(0.05, abs=1e-9)
    assert low < best < high


@pytest.mark.parametrize(("factor", "published"), [(1.41, 0.043), (2, 0.185), (4, 0.93), (10, 4.67)])
def test_a_wrong_size_wastes_little_at_first(factor, published):
    """Both sides of the optimum, about equal."""
    assert BESIROGLU.waste(factor) == pytest.approx(published, rel=0.03)
    assert BESIROGLU.waste(1 / factor) == pytest.approx(published, rel=0.06)


def test_the_unrounded_constants_put_gophers_optimum_at_forty_billion():
    rounded = Chinchilla(1.69, 406.4, 410.7, 0.34, 0.28)
    assert HOFFMANN.optimal(5.76e23).params / 1e9 == pytest.approx(40.4, abs=0.3)
    assert rounded.optimal(5.76e23).params / 1e9 == pytest.approx(32.2, abs=0.3)
    assert HOFFMANN.optimal(2.21e19).params / 1e6 == pytest.approx(389, abs=1)
    assert math.exp(6.0073404) == pytest.approx(HOFFMANN.A, rel=1e-6)
    assert BESIROGLU.optimal(5.88e23).tokens_per_param == pytest.approx(18.4, abs=0.1)


def test_muennighoffs_check_values_to_twelve_digits():
    assert MUENNIGHOFF.loss(6.34e9, 242e9, 25e9) == pytest.approx(2.2256440889984477, rel=1e-12)
    assert MUENNIGHOFF.loss(8.67e9, 178e9, 25e9) == pytest.approx(2.2269634075087867, rel=1e-12)


@pytest.mark.parametrize(("epochs", "worth"), [(1, 1), (2, 1.97), (4, 3.73), (8, 6.62), (16, 10.58), (40, 15.17)])
def test_what_repeated_data_is_worth(epochs, worth):
    assert MUENNIGHOFF.effective_tokens(epochs * 1e9, 1e9) / 1e9 == pytest.approx(worth, abs=0.006)


def test_the_optimum_of_limited_data_is_the_lowest_point_of_a_fine_grid():
    best = MUENNIGHOFF.optimal(9.2e21, 25e9)
    sizes = np.geomspace(1e8, 1e12, 40_001)
    losses = MUENNIGHOFF.loss(sizes, 9.2e21 / 6 / sizes, 25e9)
    assert best.loss <= losses.min() + 1e-12
    assert best.params == pytest.approx(sizes[losses.argmin()], rel=1e-3)
    assert best.epochs == best.tokens / 25e9
    assert best.params < MUENNIGHOFF.optimal(9.2e21).params  # smaller, for more epochs


def test_limited_data_that_is_enough_changes_nothing():
    free = MUENNIGHOFF.optimal(1e20)
    assert MUENNIGHOFF.optimal(1e20, 1e13) == free
    assert free.epochs == 1


@settings(max_examples=30, deadline=None)
@given(st.floats(1e18, 1e24), st.floats(1e8, 1e12))
def test_more_unique_data_never_hurts(flops, unique):
    assert MUENNIGHOFF.optimal(flops, 2 * unique).loss <= MUENNIGHOFF.optimal(flops, unique).loss + 1e-9


@pytest.mark.parametrize(
    ("served", "params", "tokens", "saved"),
    [(1e12, 58e9, 1.7e12, 0.025), (1e13, 35e9, 3.7e12, 0.286), (1e14, 21.5e9, 13e12, 0.61)],
)
def test_a_model_that_serves_a_lot_is_smaller(served, params, tokens, saved):
    law = Served(BESIROGLU, served)
    best = law.optimal(5.88e23)
    assert best.params == pytest.approx(params, rel=0.02)
    assert best.tokens == pytest.approx(tokens, rel=0.03)
    assert law.saving(5.88e23) == pytest.approx(saved, abs=0.005)
    assert law.loss(best.params, best.tokens) == pytest.approx(BESIROGLU.optimal(5.88e23).loss, rel=1e-9)


def test_a_model_that_serves_nothing_is_the_one_cheapest_to_train():
    assert Served(BESIROGLU, 0).optimal(1e21).params == pytest.approx(BESIROGLU.optimal(1e21).params, rel=1e-9)


def test_over_training_is_the_surface_with_equal_exponents():
    surface = Chinchilla(1.8, 500, 700, 0.3, 0.3)
    law = OverTrained.of(surface)
    assert law.loss(1e9, 2e11) == pytest.approx(surface.loss(1e9, 2e11), rel=1e-12)
    assert law.optimal(1e21).params == pytest.approx(surface.optimal(1e21).params, rel=1e-9)
    assert law.surface.A == pytest.approx(500)
    with pytest.raises(UsageError, match="no constants for the downstream error"):
        law.downstream_error(2.0)
    with pytest.raises(UsageError, match="tied=True"):
        OverTrained.of(HOFFMANN)
    assert OverTrained(1.8, 1, 1, 0.1, (0.85, 2.0, 0.7)).downstream_error(2.0) == pytest.approx(
        0.85 - 2 * math.exp(-1.4)
    )


def test_kaplans_laws():
    law = Kaplan()
    assert law.loss_of_size(8.8e13) == 1
    assert law.loss_of_data(5.4e13) == 1
    assert law.critical_batch(1.0) == 2e8
    assert law.optimal(10 * 8.64e19).params / law.optimal(8.64e19).params == pytest.approx(10**0.73)
    assert law.loss(1e9, 1e30) == pytest.approx((6.4e13 / 1e9) ** 0.076, rel=1e-6)


@pytest.mark.parametrize("bad", [0, -1, float("nan"), float("inf")])
def test_a_law_refuses_what_has_no_meaning(bad):
    for call in (
        lambda: HOFFMANN.loss(bad, 1e9),
        lambda: HOFFMANN.loss(1e9, [1e9, bad]),
        lambda: HOFFMANN.optimal(bad),
        lambda: MUENNIGHOFF.loss(1e9, 1e9, bad),
        lambda: Kaplan().loss(1e9, bad),
        lambda: Chinchilla(1, bad, 1, 0.3, 0.3),
        lambda: DataConstrained(HOFFMANN, repeats=bad),
        lambda: HOFFMANN.waste(bad),
    ):
        with pytest.raises(UsageError, match="give a finite number above zero"):
            call()


def test_other_refusals():
    with pytest.raises(UsageError, match="irreducible loss"):
        Chinchilla(-1, 1, 1, 0.3, 0.3)
    with pytest.raises(UsageError, match=r"cannot be reached: the law's irreducible loss is 1\.69"):
        HOFFMANN.flops_for_loss(1.5)
    with pytest.raises(UsageError, match="zero or above"):
        Served(HOFFMANN, -1)
    with pytest.raises(UsageError, match=r"unknown law 'hofmann'\. Did you mean 'hoffmann'"):
        laws.law("hofmann")
    assert laws.law("protein-clm").source.startswith("Cheng")
    assert HOFFMANN.tokens_for_loss(1e3, 1.7) == math.inf
