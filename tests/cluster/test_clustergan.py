"""ClusterGAN: each term by another way, who minimises what, how rows are assigned."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from cluster_toys import blobs
from sklearn.cluster import KMeans

from mumei.cluster.adversarial import Code
from mumei.cluster.clustergan import (
    ClusterGAN,
    Distance,
    Fooling,
    GradientPenalty,
    KindBack,
    NoiseBack,
    Read,
    gradient_penalty,
)
from mumei.core.errors import UsageError
from mumei.nn.mlp import MLP

SMALL: dict[str, Any] = {"n_clusters": 3, "hidden": (16,), "noise": 2, "batch_size": 32, "random_state": 0}


def view(seed=0):
    nets: Any = {
        "code": Code(2, kinds=3, deviation=0.1),
        "generator": MLP((5, 8, 4), seed=1),
        "critic": MLP((4, 8, 1), activation="tanh", seed=2),
        "encoder": MLP((4, 8, 5), seed=3),
    }
    at: Any = SimpleNamespace(rng=torch.Generator().manual_seed(seed), rows=torch.arange(6))
    return Read(nets, (torch.randn(6, 4, generator=torch.Generator().manual_seed(9)),), at, {})


def numbers(net, x):
    with torch.no_grad():
        return net(torch.as_tensor(x, dtype=torch.float32)).double().numpy()


def test_the_games_terms_are_means_over_rows():
    seen = view()
    z, kind = seen.drawn
    fake = numbers(seen.nets["generator"], z)
    of_fake, of_rows = (numbers(seen.nets["critic"], x) for x in (fake, seen.x))
    assert Distance()(seen).item() == pytest.approx(of_fake.mean() - of_rows.mean(), rel=1e-4)
    assert Fooling()(seen).item() == pytest.approx(-of_fake.mean(), rel=1e-4)
    said = numbers(seen.nets["encoder"], fake)
    back = ((said[:, :2] - z[:, :2].numpy()) ** 2).sum() / 12
    assert NoiseBack()(seen).item() == pytest.approx(back, rel=1e-4)
    p = np.exp(said[:, 2:]) / np.exp(said[:, 2:]).sum(1, keepdims=True)
    assert KindBack()(seen).item() == pytest.approx(-np.log(p[np.arange(6), kind]).mean(), rel=1e-4)


def test_the_penalty_is_that_of_finite_differences():
    critic = MLP((4, 8, 1), activation="tanh", seed=2).double()
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    step, slopes = 1e-6, np.zeros((5, 4))
    for j in range(4):
        moved = step * torch.eye(4, dtype=torch.float64)[j]
        with torch.no_grad():
            slopes[:, j] = ((critic(x + moved) - critic(x - moved)) / (2 * step)).ravel()
    expected = ((np.sqrt((slopes**2).sum(1)) - 1) ** 2).mean()
    found = gradient_penalty(critic, x)
    assert found.item() == pytest.approx(expected, rel=1e-6)
    found.backward()
    weight: Any = next(critic.parameters())
    before, slope = weight.data.clone(), float(weight.grad[1, 2])
    values = []
    for moved in (step, -step):
        weight.data = before.clone()
        weight.data[1, 2] += moved
        values.append(gradient_penalty(critic, x).item())
    assert slope == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-5)


def test_the_penalty_is_taken_between_rows_and_generated_rows():
    seen: Any = view()
    asked = []

    def critic(x):
        asked.append(x)
        return (x * x).sum(1)

    seen.nets["critic"] = critic
    assert GradientPenalty()(seen).item() > 0
    points, share = asked[0].detach(), torch.empty(6, 1)
    difference = seen.x - seen.fake.detach()
    share = ((points - seen.fake.detach()) / difference).mean(1, keepdim=True)
    assert ((share > 0) & (share < 1)).all()
    assert len(share.unique()) == 6
    torch.testing.assert_close(points, seen.fake.detach() + share * difference, rtol=1e-4, atol=1e-5)


def test_who_minimises_what_and_when():
    given = {**SMALL, "batch_size": 16, "epochs": 10, "beta_n": 3.0, "beta_c": 7.0, "critic_steps": 2}
    model = ClusterGAN(**given, options={"penalty": 5.0}).fit(blobs()[0])
    players = model.players(model.settings_)
    assert {name: (p.nets, p.every) for name, p in players.items()} == {
        "critic": (("critic",), 1),
        "generator": (("generator", "encoder"), 2),
    }
    last = model.history_[-1]
    found = last["generator.fooling"] + 3.0 * last["generator.noise_back"] + 7.0 * last["generator.kind_back"]
    assert last["generator"] == pytest.approx(found, rel=1e-4)
    assert last["critic"] == pytest.approx(last["critic.distance"] + 5.0 * last["critic.penalty"], rel=1e-4, abs=1e-5)


def test_the_groups_of_plain_data_are_found():
    X, y = blobs(300)
    model = ClusterGAN(n_clusters=3, hidden=(64, 64), noise=5, batch_size=64, epochs=500, random_state=0)
    assert model.fit(X).evaluate(y)["acc"] > 0.85


def test_rows_are_assigned_by_k_means_on_the_code_if_asked_for():
    X, _ = blobs(90)
    soft = ClusterGAN(**SMALL, epochs=5).fit(X)
    hard = ClusterGAN(**SMALL, epochs=5, assignment="kmeans").fit(X)
    z = hard.transform(X)
    np.testing.assert_allclose(z, soft.transform(X))
    np.testing.assert_allclose(z[:, 2:], soft.predict_proba(X))
    assert np.array_equal(z[:, 2:].argmax(1), soft.labels_)
    assert set(np.unique(hard.predict_proba(X))) == {0.0, 1.0}
    many: Any = 20
    expected = KMeans(3, n_init=many, random_state=0).fit(z)
    mine = sum(((z[hard.labels_ == j] - z[hard.labels_ == j].mean(0)) ** 2).sum() for j in range(3))
    assert mine == pytest.approx(expected.inertia_, rel=1e-3)


def test_the_papers_preset_trains():
    X, y = blobs(128)
    model = ClusterGAN(n_clusters=3, preset="paper", epochs=2, random_state=0).fit(X)
    assert (model.settings_["critic_steps"], model.settings_["assignment"], model.settings_["noise"]) == (
        5,
        "kmeans",
        30,
    )
    assert model.presets()["paper"]["steps"] == 5 * 500_000
    assert model.evaluate(y)["acc"] > 0.3


def test_another_assignment_is_refused():
    with pytest.raises(UsageError, match="unknown assignment 'nearest'"):
        ClusterGAN(**SMALL, assignment="nearest").fit(blobs()[0])
