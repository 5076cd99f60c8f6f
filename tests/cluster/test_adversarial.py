"""What the adversarial methods share: codes, networks for tables and images; and what each of them must stand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from cluster_toys import blobs

from mumei.cluster import run
from mumei.cluster.adec import ADEC
from mumei.cluster.adversarial import Code, Generator, Judge
from mumei.cluster.catgan import CatGAN
from mumei.cluster.clustergan import ClusterGAN
from mumei.cluster.images import Shape
from mumei.core import train
from mumei.core.errors import UsageError

METHODS = CatGAN, ClusterGAN, ADEC


def small(method, **given) -> Any:
    own = {"n_clusters": 3, "hidden": (16,), "epochs": 4, "batch_size": 32, "random_state": 0, "tol": 0.0}
    own |= {"n_latent": 2, "pretrain_epochs": 6} if method is ADEC else {}
    return method(**{**own, **given})


def test_codes_have_the_asked_for_distribution():
    z, kind = Code(3, kinds=4, deviation=0.1)(20_000, torch.Generator().manual_seed(0))
    assert z.shape == (20_000, 7)
    np.testing.assert_allclose(z[:, :3].std(0), 0.1, rtol=0.03)
    np.testing.assert_allclose(z[:, :3].mean(0), 0.0, atol=0.003)
    assert torch.equal(z[:, 3:].argmax(1), kind)
    assert torch.equal(z[:, 3:].sum(1), torch.ones(20_000))
    np.testing.assert_allclose(torch.bincount(kind) / 20_000, 0.25, atol=0.01)
    assert Code(3)(5, torch.Generator().manual_seed(0))[0].shape == (5, 3)


@pytest.mark.parametrize("came", [(8, 9), (8, 9, 3), (3, 8, 9)])
def test_images_go_through_convolutions_and_come_back_as_rows(came):
    shape = Shape(came)
    made = Generator(5, int(np.prod(came)), (16,), shape, (4, 8), seed=1)(torch.zeros(6, 5))
    assert made.shape == (6, np.prod(came))
    images = np.moveaxis(made.detach().numpy().reshape(6, *came), -1, 1) if came == (8, 9, 3) else made.detach()
    assert np.array_equal(shape.images(made).detach().reshape(6, -1), np.asarray(images).reshape(6, -1))
    judge = Judge(int(np.prod(came)), 2, (16,), shape, (4, 8), seed=1)
    assert judge(made).shape == (6, 2)
    assert [type(m).__name__ for m in judge.modules()].count("Conv2d") == 2


@pytest.mark.parametrize("method", METHODS)
def test_labels_are_predictions_for_tables_and_images(method):
    X, y = blobs()
    model = small(method).fit(X)
    assert np.array_equal(model.predict(X), model.labels_)
    assert model.transform(X).shape[0] == 60
    images = np.random.default_rng(0).normal(size=(60, 8, 8)) + 3 * y[:, None, None]
    model = small(method).fit(images)
    assert np.array_equal(model.predict(images), model.labels_)
    assert np.isfinite(model.predict_proba(images)).all()


@pytest.mark.parametrize("method", METHODS)
def test_a_thousand_steps_at_ten_times_the_learning_rate_give_no_nan(method):
    model = small(method, epochs=500, refresh=100)
    rate = 10 * model.presets()["robust"]["learning_rate"]
    model.set_params(learning_rate=rate, options={"schedule": "constant", "drop_last": False}).fit(blobs()[0])
    assert np.isfinite(model.predict_proba(blobs()[0])).all()
    assert np.isfinite(model.transform(blobs()[0])).all()
    assert model.history_[-1]["epoch"] == 499


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("crash", "images"), [(2, False), (9, False), (17, False), (2, True), (27, True)])
def test_a_fit_that_was_stopped_goes_on_to_the_same_bits(method, crash, images, tmp_path, monkeypatch):
    """Crashes fall in the pre-training (of ADEC) and in the game, within an epoch and at its end."""
    monkeypatch.setattr(run, "CHECKPOINT_SECONDS", 1e-6)
    X = np.random.default_rng(0).normal(size=(80, 6, 6)) if images else blobs(80)[0]
    given = {"epochs": 10, "batch_size": 20}
    calm = small(method, **given).fit(X)
    count, steps = train._Loop._count, []

    def broken(self, values, rows):
        steps.append(1)
        if len(steps) == crash + 1:
            raise KeyboardInterrupt
        count(self, values, rows)

    with monkeypatch.context() as patch:
        patch.setattr(train._Loop, "_count", broken)
        with pytest.raises(KeyboardInterrupt):
            small(method, **given, out=tmp_path).fit(X)
    resumed = small(method, **given, out=tmp_path).fit(X)
    assert np.array_equal(resumed.predict_proba(X), calm.predict_proba(X))
    assert np.array_equal(resumed.transform(X), calm.transform(X))


@pytest.mark.parametrize("method", [CatGAN, ClusterGAN])
@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"batch_size": 1}, "batch_size=1"),
        ({"options": {"beta2": 1.0}}, "beta2=1.0"),
        ({"options": {"beta1": -0.1}}, "beta1=-0.1"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"noise": 0}, "noise=0"),
        ({"dense": 1.5}, "dense=1.5"),
    ],
)
def test_settings_that_are_refused(method, given, match):
    with pytest.raises(UsageError, match=match):
        small(method, **given).fit(blobs()[0])


@pytest.mark.parametrize("method", [CatGAN, ClusterGAN])
def test_within_a_turn_only_the_players_own_networks_learn(method):
    model = small(method)
    settings = {**model.presets()["robust"], "refresh": "epoch"}
    for name, player in model.players(settings).items():
        assert set(player.nets) == {
            "generator": {"generator", "encoder"} if method is ClusterGAN else {"generator"}
        }.get(name, {name})
