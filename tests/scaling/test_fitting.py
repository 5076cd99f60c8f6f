"""Approach 3: published minima to their digits, derivatives by differences, invariants, resamples, refusals."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from mumei.core.errors import DataError, UsageError
from mumei.scaling.fitting import fit_surface, largest_out
from mumei.scaling.laws import BESIROGLU, Chinchilla
from mumei.scaling.objective import Design, asymmetric, huber, lad, mse_log, objective
from mumei.scaling.solver import solve
from mumei.scaling.uncertainty import draws, percentiles


def plain_objective(theta, params, tokens, loss, delta):
    """Hoffmann's objective as the paper writes it, for comparison."""
    a, b, e, alpha, beta = theta
    terms = np.stack([a - alpha * np.log(params), b - beta * np.log(tokens), np.full(len(params), e)])
    residual = np.log(np.exp(terms).sum(0)) - np.log(loss)
    size = np.abs(residual)
    return np.where(size <= delta, residual**2 / 2, delta * (size - delta / 2)).sum()


def test_hoffmanns_objective_reaches_its_minimum(hoffmann):
    fit = fit_surface(hoffmann.params, hoffmann.tokens, hoffmann.loss)
    law = fit.law
    assert fit.solution.value == pytest.approx(0.0010182740178006, rel=1e-9)
    theta = math.log(law.A), math.log(law.B), math.log(law.E), law.alpha, law.beta
    written = plain_objective(theta, hoffmann.params, hoffmann.tokens, hoffmann.loss, 1e-3)
    assert written == pytest.approx(0.0010182740178006, rel=1e-9)
    assert (law.E, law.A, law.B) == pytest.approx((1.8172181, 477.825868, 2143.41736), rel=1e-6)
    assert (law.alpha, law.beta, law.a) == pytest.approx((0.34731050, 0.36717243, 0.5139), abs=1e-4)
    assert (fit.solution.starts, fit.solution.agreeing) == (8, 8)
    assert fit.solution.gradient < 1e-10
    assert (np.abs(fit.residuals) < 1e-3).sum() == 39
    assert fit.rms == pytest.approx(0.00755, abs=1e-5)


def test_least_absolute_deviations_are_the_replications_published_values(hoffmann):
    fit = fit_surface(hoffmann.params, hoffmann.tokens, hoffmann.loss, goal="besiroglu")
    law = fit.law
    assert law.A == pytest.approx(482.006, abs=5e-4)
    assert law.B == pytest.approx(2085.436, abs=5e-4)
    assert (law.E, law.alpha, law.beta) == pytest.approx((1.816864, 0.347813, 0.365854), abs=6e-7)
    assert fit.solution.value == pytest.approx(1.1294946536, abs=1e-9)
    assert (np.abs(fit.residuals) < 1e-9).sum() == 5


@pytest.mark.parametrize(
    ("goal", "options", "expected"),
    [
        ("huber", {"delta": 1e-2}, (1.838, 539, 2906, 0.3544, 0.3815)),
        ("mse_log", {}, (1.8646, 593.3, 4875.6, 0.36025, 0.40588)),
        ("huber", {"delta": 0.5}, (1.8646, 593.3, 4875.6, 0.36025, 0.40588)),
    ],
)
def test_other_objectives_have_their_own_minima(hoffmann, goal, options, expected):
    law = fit_surface(hoffmann.params, hoffmann.tokens, hoffmann.loss, goal=goal, **options).law
    assert (law.E, law.A, law.B, law.alpha, law.beta) == pytest.approx(expected, rel=5e-4)


def test_the_lower_envelope_lies_below_the_runs(hoffmann):
    fit = fit_surface(hoffmann.params, hoffmann.tokens, hoffmann.loss, goal="asymmetric", q=0.1)
    assert (fit.residuals < 0).mean() == pytest.approx(0.9, abs=0.03)


@pytest.mark.parametrize("goal", [huber(0.02), mse_log(), asymmetric(0.2, 0.02)], ids=lambda g: g.name)
@pytest.mark.parametrize("tied", [False, True])
def test_derivatives_against_differences(hoffmann, goal, tied):
    design = Design.of(hoffmann.params, hoffmann.tokens, hoffmann.loss, tied)
    rng = np.random.default_rng(0)
    weights = rng.integers(0, 3, len(hoffmann.loss)).astype(float)
    theta = design.parameters(np.array([[1.7, 400.0, 900.0, 0.33, 0.33]]))
    value, gradient, hessian = design.derivatives(theta, weights, goal)
    assert value == pytest.approx(design.value(theta, weights, goal))
    k, h = gradient.shape[1], 1e-6

    def moved(i, by):
        return design.step(theta, by * np.eye(k)[i : i + 1])

    slopes = [
        (design.value(moved(i, h), weights, goal) - design.value(moved(i, -h), weights, goal))[0] / (2 * h)
        for i in range(k)
    ]
    assert gradient[0] == pytest.approx(slopes, rel=1e-5, abs=1e-6)
    for i in range(k):
        ahead, behind = (design.derivatives(moved(i, by), weights, goal)[1][0] for by in (1e-7, -1e-7))
        # rho'' jumps at delta; where a residual crosses it the difference sees a part of the jump
        assert hessian[0, i] == pytest.approx((ahead - behind) / 2e-7, rel=1e-3, abs=2e-2)


@settings(max_examples=15, deadline=None)
@given(
    st.floats(1.0, 2.5),
    st.floats(100, 2000),
    st.floats(100, 3000),
    st.floats(0.2, 0.6),
    st.floats(0.2, 0.6),
    st.sampled_from(["huber", "mse_log", "lad"]),
)
def test_runs_of_a_known_law_give_it_back(e, a, b, alpha, beta, goal):
    n, d = (g.ravel() for g in np.meshgrid(np.geomspace(3e7, 1e10, 6), np.geomspace(1e9, 1e12, 6)))
    law = Chinchilla(e, a, b, alpha, beta)
    found = fit_surface(n, d, law.loss(n, d), goal=goal).law
    assert found.loss(n, d) == pytest.approx(law.loss(n, d), rel=1e-6)
    assert found.a == pytest.approx(law.a, abs=2e-3)


@settings(max_examples=10, deadline=None)
@given(st.floats(0.01, 100), st.floats(0.01, 100), st.integers(0, 1000))
def test_units_and_order_do_not_matter(by_size, by_data, seed):
    """N in millions and D in billions give the same exponents and the same objective; so does another order of runs."""
    rng = np.random.default_rng(1)
    n, d = np.exp(rng.uniform(18, 23, 40)), np.exp(rng.uniform(21, 26, 40))
    loss = BESIROGLU.loss(n, d) * np.exp(rng.normal(0, 0.005, 40))
    order = np.random.default_rng(seed).permutation(40)
    plain, other = fit_surface(n, d, loss), fit_surface(by_size * n[order], by_data * d[order], loss[order])
    assert other.solution.value == pytest.approx(plain.solution.value, rel=1e-7)
    assert other.law.alpha == pytest.approx(plain.law.alpha, abs=1e-5)
    assert other.law.beta == pytest.approx(plain.law.beta, abs=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_no_careful_scipy_multi_start_gets_lower(hoffmann, seed):
    """A resample, solved by the grid and Newton and by 30 tight L-BFGS-B starts near the truth and far from it."""
    weights = draws(len(hoffmann.loss), 1, seed)[0]
    design = Design.of(hoffmann.params, hoffmann.tokens, hoffmann.loss)
    ours = solve(design, huber(), weights)
    rng, lowest = np.random.default_rng(seed), math.inf

    def scaled(theta):
        value, gradient, _ = design.derivatives(theta[None], weights, huber())
        return 1e3 * value[0], 1e3 * gradient[0]

    for _ in range(30):
        start = ours.theta + rng.normal(0, 0.3, 5) * [1, 1, 0.3, 0.5, 0.5]
        lowest = min(
            lowest,
            minimize(
                scaled, start, jac=True, method="L-BFGS-B", options={"ftol": 1e-15, "gtol": 1e-12, "maxiter": 5000}
            ).fun
            / 1e3,
        )
    assert ours.value <= lowest * (1 + 1e-9)


def test_resamples_of_hoffmanns_runs(hoffmann):
    fit = fit_surface(hoffmann.params, hoffmann.tokens, hoffmann.loss, resamples=4000, seed=42)
    drawn = fit.resamples
    assert drawn.sd("a") == pytest.approx(0.0195, abs=0.003)
    assert fit.interval("a") == pytest.approx((0.482, 0.556), abs=0.005)
    assert (drawn.sd("alpha"), drawn.sd("beta"), drawn.sd("E")) == pytest.approx((0.0154, 0.0206, 0.026), abs=0.002)
    low, high = fit.interval("a", 0.8)
    assert high - low == pytest.approx(0.051, abs=0.006)
    # The sandwich errors, in no time, are within a third of them.
    assert fit.errors["alpha"] == pytest.approx(drawn.sd("alpha"), rel=0.33)
    assert fit.errors["a"] == pytest.approx(drawn.sd("a"), rel=0.33)


def test_a_resample_is_solved_as_well_as_on_its_own(hoffmann):
    design = Design.of(hoffmann.params, hoffmann.tokens, hoffmann.loss)
    fit = fit_surface(hoffmann.params, hoffmann.tokens, hoffmann.loss, resamples=20, seed=3)
    weights = draws(240, 20, 3)
    theta = design.parameters(fit.resamples.samples[:, :5])
    batched = design.value(theta, weights, huber())
    alone = np.array([solve(design, huber(), w).value for w in weights])
    assert (batched <= alone * (1 + 1e-6)).all()


def test_the_same_seed_gives_the_same_resamples(hoffmann):
    one, two, other = (
        fit_surface(hoffmann.params, hoffmann.tokens, hoffmann.loss, resamples=300, seed=s).resamples for s in (1, 1, 2)
    )
    assert np.array_equal(one.samples, two.samples)
    assert not np.array_equal(one.samples, other.samples)


def test_runs_of_one_cluster_are_drawn_together():
    names = np.repeat(["a", "b", "c"], [1, 2, 3])
    weights = draws(6, 50, 0, names)
    assert (weights[:, 1] == weights[:, 2]).all()
    assert (weights[:, 3] == weights[:, 5]).all()
    assert (weights[:, [0, 1, 3]].sum(1) == 3).all()


def test_correlated_runs_widen_the_interval_when_they_are_clustered():
    """Each run three times over: rows alone pretend to three times the data, clusters do not."""
    rng = np.random.default_rng(0)
    n, d = np.exp(rng.uniform(18, 23, 60)), np.exp(rng.uniform(21, 26, 60))
    loss = BESIROGLU.loss(n, d) * np.exp(rng.normal(0, 0.01, 60))
    thrice = [np.repeat(v, 3) for v in (n, d, loss)]
    rows = fit_surface(*thrice, goal="mse_log", resamples=400)
    runs = fit_surface(*thrice, goal="mse_log", resamples=400, clusters=np.repeat(np.arange(60), 3))
    single = fit_surface(n, d, loss, goal="mse_log", resamples=400)
    assert runs.resamples.clusters == 60
    assert rows.resamples.sd("a") < 0.75 * runs.resamples.sd("a")
    assert runs.resamples.sd("a") == pytest.approx(single.resamples.sd("a"), rel=0.25)
    assert runs.errors["a"] == pytest.approx(single.errors["a"], rel=0.25)


def test_e_on_its_bound_is_solved_and_said():
    n, d = (g.ravel() for g in np.meshgrid(np.geomspace(3e7, 1e10, 6), np.geomspace(1e9, 1e12, 6)))
    fit = fit_surface(n, d, 30 * n**-0.1 + 200 * d**-0.2, goal="mse_log")
    assert fit.e_at_bound
    assert fit.law.E == 0
    assert fit.law.alpha == pytest.approx(0.1, abs=1e-3)
    assert not fit_surface(n, d, BESIROGLU.loss(n, d)).e_at_bound


def test_tied_exponents(hoffmann):
    fit = fit_surface(hoffmann.params, hoffmann.tokens, hoffmann.loss, tied=True, resamples=50)
    assert fit.law.alpha == fit.law.beta
    assert fit.law.a == 0.5
    assert fit.solution.value > 0.0010182740178006


def test_predictions_have_intervals(hoffmann):
    fit = fit_surface(hoffmann.params, hoffmann.tokens, hoffmann.loss, resamples=200)
    found = fit.predict([1e9, 7e10], [2e10, 1.4e12])
    assert (found["low"] <= found["loss"]).all()
    assert (found["loss"] <= found["high"]).all()
    best = fit.optimal_intervals(5.76e23)
    assert best["params"][0] < fit.optimal(5.76e23).params < best["params"][1]
    assert fit_surface(hoffmann.params, hoffmann.tokens, hoffmann.loss).optimal_intervals(1e21) == {}


def test_the_largest_budget_left_out():
    n, d = (g.ravel() for g in np.meshgrid(np.geomspace(1e8, 1e10, 5), np.geomspace(1e9, 1e11, 5)))
    budget = np.repeat(np.arange(5), 5) + 1.0
    found = largest_out(n, d, BESIROGLU.loss(n, d), budget)
    assert found["runs"] == 5
    assert found["rms"] < 1e-6
    assert found["rms_without_law"] > 0.01
    assert largest_out(n[:6], d[:6], BESIROGLU.loss(n, d)[:6], budget[:6]) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda n, d, v: (n[:5], d[:5], v[:5]), "5 runs cannot say the surface's 5 coefficients"),
        (lambda n, d, v: (0 * n + 1e9, d, v), "all runs have one of the sizes"),
        (lambda n, d, v: (n, 0 * d + 1e9, v), "all runs have one of the token counts"),
        (lambda n, d, v: (n, d, np.where(v == v.max(), np.nan, v)), r"loss of row \d+ is nan"),
        (lambda n, d, v: (-n, d, v), "params of row 1 is -"),
        (lambda n, d, v: (n[:-1], d, v), "give as many of each"),
    ],
)
def test_runs_that_cannot_be_fitted(change, message):
    n, d = (g.ravel() for g in np.meshgrid(np.geomspace(1e8, 1e10, 5), np.geomspace(1e9, 1e11, 5)))
    with pytest.raises(DataError, match=message):
        fit_surface(*change(n, d, BESIROGLU.loss(n, d)))


def test_objectives_by_name():
    assert objective("hoffmann") == huber(1e-3)
    assert objective("besiroglu") == lad()
    assert objective("huber", delta=0.1).delta == 0.1
    assert objective(mse_log()).describe() == "mse_log"
    for call, message in (
        (lambda: objective("hubert"), "unknown objective 'hubert'"),
        (lambda: objective("lad", delta=1), "has no delta"),
        (lambda: objective("huber", q=0.2), "has no q"),
        (lambda: huber(-1), "delta is -1"),
        (lambda: huber(0), "delta is 0"),
        (lambda: asymmetric(1.5), r"q is 1\.5"),
        (lambda: draws(5, 0, 0), "0 resamples"),
        (lambda: percentiles([1.0], 2), "level is 2"),
    ):
        with pytest.raises(UsageError, match=message):
            call()
