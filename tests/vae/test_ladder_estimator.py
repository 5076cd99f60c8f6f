"""LadderVAE: conformance, units, files, samples, and what it says about its layers."""

from __future__ import annotations

import numpy as np
import pytest

import mumei
from mumei.core.errors import UsageError
from mumei.testing import check_estimator
from mumei.vae.ladder_estimator import LadderVAE


def rows(n: int = 300, seed: int = 0) -> np.ndarray:
    draw = np.random.default_rng(seed)
    group = draw.integers(0, 3, n)
    return (
        4 * draw.normal(size=(3, 6))[group]
        + draw.normal(size=(n, 2)) @ draw.normal(size=(2, 6))
        + 0.2 * draw.normal(size=(n, 6))
    )


def small(**options) -> LadderVAE:
    return LadderVAE(**{"latents": (3, 2), "hidden": (16, 8), "epochs": 5, "random_state": 0, **options})


def test_it_conforms():
    check_estimator(LadderVAE.example())


def test_scores_are_in_the_datas_own_units():
    """A change of units by a factor c changes a density of d columns by -d log c."""
    X = rows()
    first, second = small().fit(X), small().fit(10 * X)
    assert second.score(10 * X) == pytest.approx(first.score(X) - 6 * np.log(10), abs=0.1)
    ours, theirs = (m.log_likelihood(x, samples=100).mean for m, x in ((second, 10 * X), (first, X)))
    assert ours - theirs == pytest.approx(-6 * np.log(10), abs=0.02)


def test_estimates_are_in_order():
    X = rows()
    model = small(epochs=30).fit(X)
    elbo, iwae = model.log_likelihood(X, "elbo", samples=200), model.log_likelihood(X, "iwae", samples=200)
    assert elbo.mean == pytest.approx(model.score(X), abs=5 * elbo.standard_error + 0.2)
    assert iwae.mean > elbo.mean
    with pytest.raises(UsageError, match="elbo"):
        model.log_likelihood(X, "ais")
    with pytest.raises(UsageError, match="sample"):
        model.log_likelihood(X, "iwae", draws=3)


def test_samples_have_the_datas_moments():
    X = rows(1000)
    drawn = small(epochs=60, learning_rate=5e-3).fit(X).sample(4000, seed=1)
    assert np.abs(drawn.mean(0) - X.mean(0)).max() < 0.25 * X.std()
    np.testing.assert_allclose(drawn.std(0), X.std(0), rtol=0.3)


def test_layers_are_reported(tmp_path):
    X = rows()
    model = small(free_bits=0.5).fit(X)
    report = model.collapse_
    assert [len(d) for d in report["kl_per_dimension"]] == [3, 2]
    assert report["kl_per_layer"] == pytest.approx([sum(d) for d in report["kl_per_dimension"]])
    assert model.transform(X).shape == (300, 5)
    assert list(model.get_feature_names_out()) == ["z1_0", "z1_1", "z1_2", "z2_0", "z2_1"]
    assert model.inverse_transform(model.transform(X)).shape == X.shape
    loaded = mumei.load(model.save(tmp_path / "model"))
    assert loaded.get_params() == model.get_params()
    assert loaded.collapse_ == report
    assert np.array_equal(loaded.score_samples(X), model.score_samples(X))
    assert np.array_equal(loaded.sample(3), model.sample(3))


def test_an_idle_layer_is_named():
    noise = np.random.default_rng(0).normal(size=(200, 4))
    model = small(epochs=40, warmup_epochs=0).fit(noise)
    assert min(model.collapse_["kl_per_layer"]) < 0.1
    assert any("not used" in note or "no layer" in note for note in model.notes_)


def test_batches_validation_bytes_and_more_passes():
    draw = np.random.default_rng(0)
    images = (draw.random((120, 6, 5)) < np.linspace(0.1, 0.9, 5)).astype(np.uint8) * 255
    donors = np.array(["a", "b"])[np.arange(120) % 2]
    model = small(validation=0.2, epochs=4).fit(images, batch=donors)
    assert "validation" in model.history_[0]
    assert model.transform(images, batch=donors).shape == (120, 5)
    assert model.sample(2, batch=["a", "b"]).shape == (2, 30)
    before = model.score(images, batch=donors)
    for _ in range(20):
        model.partial_fit(images, batch=donors)
    assert model.score(images, batch=donors) > before


def test_what_is_refused():
    with pytest.raises(UsageError, match="auto"):
        LadderVAE(latents="many").fit(rows())
    with pytest.raises(UsageError, match="each layer"):
        LadderVAE(latents=(3, 2), hidden=(8,)).fit(rows())
    with pytest.raises(UsageError, match="at least 1"):
        LadderVAE(latents=(3, 0)).fit(rows())


def test_it_trains_by_adagrad():
    X = np.random.default_rng(0).normal(size=(40, 5))
    model = LadderVAE(
        latents=(3, 2), hidden=(8, 4), epochs=5, optimizer="adagrad", learning_rate=0.05, random_state=0
    ).fit(X)
    assert model.history_[-1]["bound"] > model.history_[0]["bound"]
