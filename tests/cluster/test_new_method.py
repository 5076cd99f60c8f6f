"""A method that is not of the autoencoder family stands on the spine, as the spine's docstring tells: conformance kit and all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from cluster_toys import blobs

from mumei.cluster.drivers import Player, TakingTurns
from mumei.cluster.estimator import Clusterer
from mumei.cluster.terms import Term
from mumei.core import registry, seeds
from mumei.nn.mlp import MLP
from mumei.testing.estimators import check_estimator, example_rows


@dataclass
class Information(Term):
    """Minus the mutual information between a row's cluster and that of the row with noise."""

    name: ClassVar[str] = "information"

    def __call__(self, view):
        noise = 0.1 * torch.randn(view.x.shape, generator=view.at.rng)
        one, other = (torch.softmax(view.nets["head"](view.nets["encoder"](x)), 1) for x in (view.x, view.x + noise))
        joint = one.T @ other / len(one)
        joint = ((joint + joint.T) / 2).clamp(min=1e-9)
        return (joint * (joint.sum(0).log() + joint.sum(1, keepdim=True).log() - joint.log())).sum()


@dataclass(kw_only=True, eq=False, repr=False)
class Informed(Clusterer):
    """A softmax without pre-training; `strength` is a setting of its own."""

    strength: float | None = None

    PRESETS: ClassVar = {"robust": {"strength": 1.0, "learning_rate": 0.01, "tol": 0.0}}

    def make_networks(self, run):
        sizes = (run.width, 16), (16, run.n_clusters)
        names = "encoder", "head"
        return {n: MLP(s, seed=seeds.child(run.seed, n)) for n, s in zip(names, sizes, strict=True)}

    def terms(self, settings):
        return [Information(settings["strength"])]

    def encode(self, nets, x):
        return nets["encoder"](x)

    def assign(self, nets, x):
        return torch.softmax(nets["head"](nets["encoder"](x)), 1)


def slow(parameters: list[Any]) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.1)


@dataclass(kw_only=True, eq=False, repr=False)
class InTurns(Informed):
    """The same, encoder and head moved in turns."""

    driver_class: ClassVar = TakingTurns

    def players(self, settings: Any):
        terms = self.terms(settings)
        return {"outer": Player(("head",), terms), "inner": Player(("encoder",), terms, 1, slow)}


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    classes = {f"{c.__module__}:{c.__qualname__}": c for c in (Informed, InTurns)}
    own = {f"cluster/{c.__name__.lower()}": registry.Entry(target, "a test's own") for target, c in classes.items()}
    monkeypatch.setattr(registry, "_ENTRIES", {**registry._ENTRIES, **own})
    monkeypatch.setattr(registry.Entry, "resolve", lambda entry: classes[entry.target])


@pytest.mark.parametrize("method", [Informed, InTurns])
def test_it_passes_the_conformance_kit(method):
    check_estimator(method.example(), example_rows(), sklearn=False)


@pytest.mark.parametrize("method", [Informed, InTurns])
def test_it_finds_the_groups_of_plain_data(method):
    X, y = blobs()
    best = max(method(n_clusters=3, epochs=60, random_state=s).fit(X).evaluate(y)["acc"] for s in range(3))
    assert best > 0.9


def test_its_own_setting_and_what_it_lacks():
    X, _ = blobs()
    model = Informed(n_clusters=3, epochs=2, strength=2.0, random_state=0).fit(X)
    assert model.settings_["strength"] == 2.0
    assert model.initial_labels_ is None
    assert np.unique([r["phase"] for r in model.history_]).tolist() == ["clustering"]
    assert "feature_drift" not in model.history_[-1]
    assert model.history_[-1]["loss"] == pytest.approx(2 * model.history_[-1]["information"], rel=1e-5)
    assert Informed(n_clusters=None, epochs=1, random_state=0).fit(blobs(90)[0]).n_clusters_ == 3
