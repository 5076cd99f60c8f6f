"""Bayesian networks against Bayesian linear regression in closed form; what they are unsure of; conformance; files; bad input."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
from sklearn.datasets import make_moons

import mumei
from mumei.core.errors import DataError, UsageError
from mumei.testing import check_estimator
from mumei.vae.bayes_mlp import BayesianMLPClassifier, BayesianMLPRegressor

NOISE, PRIOR, N = 0.4, 0.9, 40


def orthogonal(seed: int = 0, d: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Rows whose columns are orthogonal to one another and to ones: the posterior of weights and bias is diagonal."""
    draw = np.random.default_rng(seed)
    basis, _ = np.linalg.qr(np.column_stack([np.ones(N), draw.normal(size=(N, d))]))
    X = basis[:, 1:] * 5
    return X, X @ draw.normal(size=d) + 0.7 + NOISE * draw.normal(size=N)


def linear(**options) -> BayesianMLPRegressor:
    return BayesianMLPRegressor(
        **{
            "hidden": (),
            "noise": NOISE,
            "prior_std": PRIOR,
            "standardise": False,
            "epochs": 600,
            "learning_rate": 0.03,
            "random_state": 0,
            **options,
        }
    )


def full(X: np.ndarray) -> np.ndarray:
    return np.column_stack([np.ones(len(X)), X])


def evidence(X: np.ndarray, y: np.ndarray) -> float:
    covariance = NOISE**2 * np.eye(len(X)) + PRIOR**2 * full(X) @ full(X).T
    return float(scipy.stats.multivariate_normal(np.zeros(len(X)), covariance).logpdf(y))


def test_without_hidden_layers_it_is_bayesian_linear_regression():
    """Mean, deviation and evidence in closed form (Bishop 2006, equations 3.53, 3.58 and 3.86)."""
    X, y = orthogonal()
    model = linear().fit(X, y)
    precision = full(X).T @ full(X) / NOISE**2 + np.eye(4) / PRIOR**2
    new = np.random.default_rng(5).normal(size=(7, 3)) * 3
    expected = full(new) @ np.linalg.solve(precision, full(X).T @ y / NOISE**2)
    variance = NOISE**2 + np.einsum("ni,ij,nj->n", full(new), np.linalg.inv(precision), full(new))
    mean, std = model.predict(new, return_std=True)
    np.testing.assert_allclose(mean, expected, atol=1e-3)
    np.testing.assert_allclose(std, np.sqrt(variance), rtol=1e-3)
    assert model.bound_ == pytest.approx(evidence(X, y) / N, abs=1e-4)


def test_the_bound_stays_below_the_evidence_where_the_posterior_is_not_diagonal():
    draw = np.random.default_rng(1)
    X = draw.normal(size=(N, 1)) + 0.3 * draw.normal(size=(N, 3))
    y = X.sum(1) + NOISE * draw.normal(size=N)
    gap = evidence(X, y) / N - linear().fit(X, y).bound_
    assert 0.01 < gap < 0.5


def test_the_bound_is_per_row_of_the_whole_set_whatever_the_batch():
    X, y = orthogonal()
    whole, parts = linear().fit(X, y), linear(batch_size=8).fit(X, y)
    assert parts.bound_ == pytest.approx(whole.bound_, abs=0.01)


def test_a_change_of_units_changes_the_bound_by_its_logarithm():
    X, y = orthogonal()
    first, second = (linear(noise=NOISE * f, standardise=True).fit(X, y * f) for f in (1.0, 10.0))
    assert second.bound_ == pytest.approx(first.bound_ - np.log(10), abs=1e-4)
    np.testing.assert_allclose(second.predict(X), 10 * first.predict(X), rtol=1e-4, atol=1e-3)


def test_the_noise_is_found():
    X, y = orthogonal()
    X, y = np.tile(X, (20, 1)), np.tile(y, 20) + np.random.default_rng(3).normal(size=20 * N) * NOISE
    residual = y - full(X) @ np.linalg.lstsq(full(X), y)[0]
    model = linear(noise="learned", epochs=200).fit(X, y)
    assert model.noise_ == pytest.approx(residual.std(), rel=0.02)


def test_a_regressor_is_unsure_away_from_its_data():
    X = np.linspace(-2, 2, 80)[:, None]
    y = np.sin(2 * X[:, 0]) + 0.1 * np.random.default_rng(0).normal(size=80)
    model = BayesianMLPRegressor(hidden=(30,), noise=0.1, epochs=800, random_state=0).fit(X, y)
    assert np.abs(model.predict(X) - np.sin(2 * X[:, 0])).mean() < 0.15
    spread = [
        float(np.mean(model.predict(np.array(at)[:, None], return_std=True)[1]))
        for at in ([0.0, 0.5], [4, -4], [8, -8])
    ]
    assert 0.1 < spread[0] < 0.5 * spread[1] < 0.5 * 0.6 * spread[2]


def test_a_classifier_is_unsure_away_from_its_data():
    X, y = make_moons(200, noise=0.1, random_state=0)
    model = BayesianMLPClassifier(hidden=(30,), epochs=300, random_state=0).fit(X, y)
    assert model.score(X, y) > 0.92  # a line reaches 0.88
    assert model.predict_proba([[40.0, 40.0]]).max() < model.predict_proba(X).max()


def test_probabilities_far_away_are_those_of_the_slopes_sign():
    """At x = 1000 a logistic curve is a step, so the predictive probability is that of a positive slope; the mean's is 1."""
    X, y = np.linspace(-1, 1, 8)[:, None], np.array([0, 1, 1, 0, 1, 0, 0, 1])
    model = BayesianMLPClassifier(hidden=(), standardise=False, predict_samples=20_000, random_state=0).fit(X, y)
    layer = model.net_.layers[0]
    slope, variance = (layer.weight[1] - layer.weight[0]).item(), layer.weight_log_std.exp().square().sum().item()
    found = model.predict_proba([[1000.0]])[0, 1]
    assert found == pytest.approx(scipy.stats.norm.cdf(slope / variance**0.5), abs=0.01)
    assert found < 0.99


def test_logistic_regression_equals_integration_over_a_grid():
    """One column, two classes: the predictive probability under q by integration over the difference of the two logits."""
    X, y = np.linspace(-1, 1, 12)[:, None], np.array([0] * 5 + [1, 0] + [1] * 5)
    model = BayesianMLPClassifier(hidden=(), standardise=False, predict_samples=20_000, random_state=0).fit(X, y)
    row = torch.tensor([[1.5]])
    with torch.no_grad():
        mean, variance = (m[0] for m in model.net_.layers[0].moments(row))
    grid = np.linspace(-40, 40, 20_001)
    density = scipy.stats.norm(float(mean[1] - mean[0]), float(variance.sum()) ** 0.5).pdf(grid)
    expected = float((density * scipy.special.expit(grid)).sum() * (grid[1] - grid[0]))
    assert model.predict_proba(row.numpy())[0, 1] == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("kind", [BayesianMLPClassifier, BayesianMLPRegressor])
def test_they_conform(kind):
    check_estimator(kind.example())


@pytest.mark.parametrize("options", [{}, {"hidden": 5}, {"hidden": ()}])
def test_save_and_load(tmp_path, options):
    X, y = make_moons(40, random_state=0)
    words = np.array(["left", "right"])[y]
    model = BayesianMLPClassifier(epochs=5, random_state=0, **options).fit(X, words)
    loaded = mumei.load(model.save(tmp_path / "model"))
    assert np.array_equal(loaded.predict_proba(X), model.predict_proba(X))
    assert loaded.predict(X).dtype == words.dtype
    assert loaded.get_params() == model.get_params()


@pytest.mark.parametrize(
    ("made", "error", "message"),
    [
        (BayesianMLPRegressor(noise="lerned"), UsageError, "'learned'"),
        (BayesianMLPRegressor(noise=0.0), UsageError, "noise"),
        (BayesianMLPRegressor(prior_std=-1.0), UsageError, "prior_std"),
        (BayesianMLPRegressor(hidden=(0,)), UsageError, "sizes"),
        (BayesianMLPRegressor(predict_samples=0), UsageError, "predict_samples"),
        (BayesianMLPRegressor(activation="tahn"), UsageError, "'tanh'"),
        (BayesianMLPClassifier(epochs=0), UsageError, "epochs"),
    ],
)
def test_bad_arguments_are_named(made, error, message):
    with pytest.raises(error, match=message):
        made.fit(*orthogonal()) if isinstance(made, BayesianMLPRegressor) else made.fit(
            orthogonal()[0], np.arange(N) % 2
        )


def test_bad_targets_are_named():
    X, y = orthogonal()
    with pytest.raises(DataError, match="39 numbers for 40 rows"):
        BayesianMLPRegressor().fit(X, y[1:])
    with pytest.raises(DataError, match="give numbers"):
        BayesianMLPRegressor().fit(X, ["a"] * N)
    with pytest.raises(DataError, match="one class"):
        BayesianMLPClassifier().fit(X, ["a"] * N)
