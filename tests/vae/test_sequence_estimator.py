"""SequenceVAE: units, files, forecasts that beat standing still, counts, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

import mumei
from mumei.core.errors import DataError, UsageError
from mumei.vae.sequence_estimator import SequenceVAE


def oscillations(n: int = 100, seed: int = 0, least: int = 10, most: int = 20) -> list[np.ndarray]:
    draw, found = np.random.default_rng(seed), []
    for _ in range(n):
        t, phase = np.arange(draw.integers(least, most + 1)), draw.uniform(0, 2 * np.pi)
        wave = np.stack([np.sin(0.5 * t + phase), np.cos(0.5 * t + phase)], 1)
        found.append(wave + 0.1 * draw.normal(size=wave.shape))
    return found


def small(**options) -> SequenceVAE:
    return SequenceVAE(**{"n_latent": 2, "hidden": 16, "emission": (16,), "epochs": 3, "random_state": 0, **options})


def test_forecasts_beat_the_last_value_and_the_mean():
    model = small(epochs=40, learning_rate=1e-2).fit(oscillations(300))
    fresh = oscillations(60, seed=1, least=20)
    drawn = model.forecast([s[:15] for s in fresh], 5, samples=100)
    truth = np.stack([s[15:20] for s in fresh])
    error = np.sqrt(np.square(drawn.mean(0) - truth).mean())
    still = np.sqrt(np.square(np.stack([s[14:15] for s in fresh]) - truth).mean())
    assert error < 0.5 * min(still, truth.std())
    assert model.history_[-1]["bound"] > model.history_[0]["bound"] + 5
    strange = [np.random.default_rng(0).permutation(s) for s in fresh]
    assert model.score(strange) < model.score(fresh) - 10


def test_scores_are_in_the_datas_own_units_and_belong_to_a_series():
    """A change of units by a factor c changes a density of T d numbers by -T d log c."""
    X = oscillations()
    first, second = small().fit(X), small().fit([10 * s for s in X])
    volume = np.array([s.size for s in X]) * np.log(10)
    gap = second.score_samples([10 * s for s in X]) - (
        first.score_samples(X) - volume
    )  # noise follows the values' last bits
    assert abs(gap.mean()) < 0.15
    assert np.abs(gap).max() < 2
    np.testing.assert_allclose(first.score_samples(X[3:5]), first.score_samples(X)[3:5], rtol=1e-4)
    assert first.score(X) == pytest.approx(float(first.score_samples(X).mean()), rel=1e-5)
    assert first.log_likelihood(X, samples=64).mean > first.score(X)


@pytest.mark.parametrize("direction", ["backward", "forward"])
def test_same_bits_after_save_and_load(tmp_path, direction):
    X = oscillations(20)
    model, again = (small(direction=direction).fit(X) for _ in range(2))
    loaded = mumei.load(model.save(tmp_path / "model"))
    assert loaded.get_params() == model.get_params() == clone(model).get_params()
    for other in (again, loaded):
        assert np.array_equal(other.score_samples(X), model.score_samples(X))
        assert np.array_equal(other.sample(2, 5), model.sample(2, 5))
        for name in ("transform", "filter"):
            for a, b in zip(getattr(other, name)(X), getattr(model, name)(X), strict=True):
                assert np.array_equal(a, b)
    assert loaded.kl_per_step_ == model.kl_per_step_
    assert loaded.notes_ == model.notes_


def test_shapes():
    X = [s[:, 0] for s in oscillations(12)]
    model = small().fit(X)
    assert [s.shape for s in model.transform(X)] == [(len(s), 2) for s in X]
    assert [s.shape for s in model.filter(X)] == [(len(s), 2) for s in X]
    assert model.sample(3, 7).shape == (3, 7, 1)
    assert model.forecast(X, 4, samples=6).shape == (6, 12, 4, 1)
    assert len(model.kl_per_step_) == max(map(len, X))
    cube = np.stack([s[:10] for s in oscillations(12)])
    assert small().fit(cube).score_samples(cube).shape == (12,)


def test_counts_and_bits():
    draw = np.random.default_rng(0)
    counts = [draw.poisson(3 + np.sin(np.arange(t))[:, None], (t, 2)) for t in (8, 12, 9, 11)]
    model = small().fit(counts)
    assert model.likelihood_ == {"library": False, "name": "poisson"}
    assert np.array_equal(model.sample(3, 5), model.sample(3, 5).round())
    bits = [(c > 3).astype(int) for c in counts]
    assert small().fit(bits).likelihood_["name"] == "bernoulli"
    with pytest.raises(DataError, match="counts"):
        model.score([c + 0.5 for c in counts])


def test_what_is_refused():
    X = oscillations(10)
    with pytest.raises(NotFittedError):
        small().transform(X)
    with pytest.raises(UsageError, match="list of series"):
        small().fit(X[0])
    with pytest.raises(DataError, match="at least 2"):
        small().fit(X[:1])
    with pytest.raises(DataError, match="NaN"):
        small().fit([*X, np.full((3, 2), np.nan)])
    model = small().fit(X)
    with pytest.raises(DataError, match="1 columns"):
        model.score([s[:, :1] for s in X])
    with pytest.raises(DataError, match="no series"):
        model.score([])
    with pytest.raises(UsageError, match="steps"):
        model.forecast(X, 0)
