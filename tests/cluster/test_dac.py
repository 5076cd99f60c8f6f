"""DAC: which pairs count, what they cost, and how the thresholds move."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from cluster_toys import blobs

from mumei.cluster.augment import Tables
from mumei.cluster.augmented import Pairs
from mumei.cluster.dac import DAC, LabelFeatures, SurePairs, growth_of, thresholds
from mumei.core.errors import UsageError

SMALL: dict[str, Any] = {"n_clusters": 3, "hidden": (16,), "epochs": 4, "batch_size": 32, "random_state": 0}


def test_thresholds_are_the_papers_and_meet():
    for lam in (0.0, 0.1, 0.3, 0.45):
        assert thresholds(lam) == pytest.approx((0.95 - lam, 0.455 + 0.1 * lam))
    assert thresholds(1.0) == pytest.approx((0.5, 0.5))


def view(epoch, head):
    rng = torch.Generator().manual_seed(0)
    at: Any = SimpleNamespace(rows=torch.arange(9), rng=torch.Generator().manual_seed(5), epoch=epoch)
    nets = {"augment": Tables(), "encoder": torch.nn.Identity(), "head": head}
    return Pairs(nets, (3 * torch.randn(9, 4, generator=rng),), at, {})


class Plain(torch.nn.Module):
    """Label features without layers."""

    def forward(self, features):
        return torch.nn.functional.normalize(features.softmax(1))


@pytest.mark.parametrize("judged", ["copies", "rows", "apart"])
@pytest.mark.parametrize("unsure", ["ignored", "unlike"])
@pytest.mark.parametrize("epoch", [0, 10, 25, 400])
def test_the_loss_is_the_mean_over_the_pairs_that_count(epoch, unsure, judged):
    seen = view(epoch, Plain())
    found = float(SurePairs(growth=0.01, unsure=unsure, judged=judged)(seen))
    rng = torch.Generator().manual_seed(5)
    first, second = Tables()(seen.x, rng), Tables()(seen.x, rng)
    if judged == "rows":
        first, second = seen.x, first
    first, second, rows = (Plain()(v).double().numpy() for v in (first, second, seen.x))
    sure = rows if judged == "apart" else first
    lam = min(0.01 * epoch, 0.45)
    losses, ignored = [], 0
    for i in range(9):
        for j in range(9):
            alike, g = sure[i] @ sure[j], first[i] @ second[j]
            if alike > 0.95 - lam:
                losses.append(-math.log(min(g, 1 - 1e-7)))
            elif alike <= 0.455 + 0.1 * lam or unsure == "unlike":
                losses.append(-math.log(1 - g))
            else:
                ignored += 1
    assert (ignored == 0) == (epoch == 400 or unsure == "unlike")
    assert found == pytest.approx(np.mean(losses), rel=1e-4)


def test_no_pair_that_counts_is_no_loss():
    class Between(torch.nn.Module):
        """All rows are alike by 0.6: neither sure."""

        def forward(self, features):
            half = torch.nn.functional.one_hot(torch.arange(len(features) // 2), 9).float()
            same = torch.full((len(half), 1), 0.6**0.5)
            return torch.cat([torch.cat([same, 0.4**0.5 * half], 1)] * 2) + 0 * features.sum()

    seen = view(0, Between())
    seen.x.requires_grad_()
    found = SurePairs()(seen)
    # a row with itself is alike by 1: these alone count, and with their copies they cost nothing
    assert float(found.detach()) == pytest.approx(0.0, abs=1e-6)
    found.backward()


def test_label_features_are_of_length_one_and_name_the_softmaxs_cluster():
    head = LabelFeatures(6, 3, seed=1)
    z = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
    features, proba = head(z).detach(), head.proba(z).detach()
    np.testing.assert_allclose(features.norm(dim=1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(proba.sum(1), 1.0, rtol=1e-5)
    assert float(features.min()) >= 0
    np.testing.assert_allclose(features, proba / proba.norm(dim=1, keepdim=True), rtol=1e-5)
    for layer in (head.layers[4], head.layers[7]):
        assert torch.equal(layer.weight, torch.eye(3))


def test_it_finds_groups():
    X, y = blobs(300)
    model = DAC(n_clusters=3, hidden=(32,), random_state=0).fit(X)
    assert model.evaluate(y)["acc"] > 0.9
    assert np.array_equal(model.predict(X), model.labels_)
    assert any("altered copies" in note for note in model.notes_)


@pytest.mark.parametrize("preset", ["robust", "paper"])
def test_images_go_through_convolutions(preset):
    X = np.random.default_rng(0).integers(0, 256, (40, 8, 8), dtype=np.uint8)
    made = DAC(n_clusters=3, preset=preset, epochs=1, convolutions=(4, "pool", 6), batch_size=16, random_state=0)
    labels = made.fit(X).labels_
    assert np.array_equal(made.predict(X), labels)
    assert made.settings_["optimizer"] == ("rmsprop" if preset == "paper" else "adam")


@pytest.mark.parametrize("given", [-1.0, "a"])
def test_growth_is_a_number_of_at_least_zero(given):
    with pytest.raises(UsageError, match="growth="):
        DAC(**SMALL, growth=given).fit(blobs()[0])


@pytest.mark.parametrize(
    ("k", "given", "kind"), [(2, "auto", "Identity"), (4, "auto", "Identity"), (5, "auto", "ReLU"), (2, "relu", "ReLU")]
)
def test_the_heads_activation_follows_the_number_of_clusters(k, given, kind):
    X = np.random.default_rng(0).normal(size=(40, 4))
    model = DAC(**{**SMALL, "n_clusters": k, "epochs": 1, "head_activation": given}).fit(X)
    layers = model.net_["head"].layers
    assert {type(layers[i]).__name__ for i in (2, 6, 9)} == {kind}


def test_two_clusters_have_no_relu():
    """Units that are all off are a third direction: without it both groups of plain data are found from every seed."""
    y = np.arange(80) // 40
    X = y[:, None] + np.random.default_rng(0).normal(0, 0.1, (80, 4))
    for seed in range(3):
        model = DAC(n_clusters=2, hidden=(32,), batch_size=16, random_state=seed).fit(X)
        assert model.evaluate(y)["acc"] > 0.95


@pytest.mark.parametrize("name", ["unsure", "judged"])
def test_unsure_pairs_and_what_is_judged_are_one_of_a_few_things(name):
    with pytest.raises(UsageError, match=name):
        DAC(**SMALL, **{name: "alike"}).fit(blobs()[0])


def test_rows_apart_are_judged_by_running_means_and_leave_them_as_they_are():
    """The pass that judges sees one row as `predict` does, whatever the rest of the batch is, and moves no running mean."""
    head = LabelFeatures(4, 3)
    seen = view(0, head)
    before = {name: value.clone() for name, value in head.state_dict().items()}
    found = SurePairs(judged="apart")._of_rows(seen)
    assert head.training
    assert all(torch.equal(before[name], value) for name, value in head.state_dict().items())
    torch.testing.assert_close(found[2:3], head.eval()(seen.x[2:3]).detach())


def test_growth_follows_the_number_of_epochs():
    """Expected: 0.45, where the thresholds meet, after two thirds of the epochs; without a number of epochs, words."""
    assert [growth_of("auto", epochs) * 2 / 3 * epochs for epochs in (3, 30, 60)] == pytest.approx([0.45] * 3)
    with pytest.raises(UsageError, match="growth='auto' follows the number of epochs"):
        DAC(**{**SMALL, "epochs": "auto"}).fit(blobs()[0])
    assert DAC(**{**SMALL, "epochs": "auto"}, growth=0.1, options={"steps": 1}).fit(blobs()[0]).n_iter_ == 1
