"""Drivers: the refresh, stopping, emptied clusters, gradients' angle, two players against the same game by hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mumei.cluster.assignment import StudentCentres, log_soft_assignment, target_distribution
from mumei.cluster.drivers import OneOptimizer, Player, TakingTurns, cosine_of_gradients, in_blocks
from mumei.cluster.terms import KlRunning, KlTarget, Reconstruction, Term
from mumei.core.batches import Rows
from mumei.core.train import TrainConfig, fit

X = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
SETTINGS = {"refresh": "epoch", "tol": 0.0, "empty": "reseed"}


class Plain:
    """A method whose encoder is a linear map."""

    learns: ClassVar = ("encoder", "head")

    def terms(self, settings):
        return [KlTarget()]

    def drift_terms(self, settings):
        return [KlTarget()], [Reconstruction()]

    def encode(self, nets, x):
        return nets["encoder"](x)

    def assign(self, nets, x):
        return nets["head"].proba(nets["encoder"](x))

    def remember(self, q, settings):
        self.seen = q
        return {"target": target_distribution(q)}

    def seen_in_training(self, settings):
        return False

    def reseed(self, nets, cluster, z):
        nets["head"].reseed(cluster, z)


class Running(Plain):
    """One whose terms remember nothing of single rows."""

    def __init__(self):
        self.looks = 0

    def terms(self, settings):
        return [KlRunning()]

    def drift_terms(self, settings):
        return None

    def remember(self, q, settings):
        self.looks += 1
        return {"frequencies": q.mean(0)}

    def seen_in_training(self, settings):
        return True


def networks(centres: Tensor | None = None) -> dict[str, nn.Module]:
    rng = torch.Generator().manual_seed(1)
    nets = {"encoder": nn.Linear(3, 2), "decoder": nn.Linear(2, 3), "head": StudentCentres(3, 2)}
    with torch.no_grad():
        for net in nets.values():
            for p in net.parameters():
                p.normal_(generator=rng)
        if centres is not None:
            nets["head"].centres.copy_(centres)
    return nets


def driver(
    settings: dict[str, Any] | None = None, centres: Tensor | None = None, method: type[Plain] = Plain
) -> OneOptimizer:
    return OneOptimizer(method(), networks(centres), {**SETTINGS, **(settings or {})}, 0, {})


def test_the_target_is_of_all_rows_before_each_epoch():
    made = driver()
    with torch.no_grad():
        z = made.nets["encoder"](X)
        q = log_soft_assignment(z, made.nets["head"].centres).exp()
    weight = q.square() / q.sum(0)
    expected = weight / weight.sum(1, keepdim=True)
    fit(made, X, TrainConfig(epochs=1, batch_size=16, learning_rate=0.01))
    torch.testing.assert_close(made.memory["target"], expected)
    assert made.counts["refreshes"] == 1
    assert made.watched["changed"] == 1.0


@pytest.mark.parametrize(("refresh", "expected"), [("epoch", 4), (1, 12), (5, 3)])
def test_refreshes_come_when_they_are_due(refresh, expected):
    made = driver({"refresh": refresh})
    fit(made, X, TrainConfig(epochs=4, batch_size=16))
    assert made.counts["refreshes"] == expected


def test_it_stops_before_an_update_where_labels_have_settled():
    made = driver({"tol": 0.5})
    found = fit(made, X, TrainConfig(epochs=50, batch_size=16, learning_rate=1e-6))
    assert (found.stopped, made.counts["refreshes"], found.steps) == ("method", 2, 4)
    labels = in_blocks(Plain().assign, made.nets, Rows(X)).argmax(1)
    assert torch.equal(labels, made.labels)
    assert found.epochs[-1]["loss"] == pytest.approx(found.epochs[-1]["kl"])


def test_labels_of_an_epochs_steps_stand_for_a_look_at_all_rows():
    made = driver(method=Running)
    told = []

    def look(at, values):
        told.append((at.rows, made.seen[at.rows].clone(), made.labels.clone()))

    found = fit(made, X, TrainConfig(epochs=4, batch_size=16, learning_rate=0.05), on_step=look)
    assert (made.owner.looks, made.counts["refreshes"], len(told)) == (1, 4, 12)
    for epoch in (1, 2, 3):  # what a look back has is what the three steps before it gave, row by row
        expected = torch.full((40,), -1)
        for rows, labels, _ in told[3 * epoch - 3 : 3 * epoch]:
            expected[rows] = labels
        assert torch.equal(told[3 * epoch][2], expected)
        changed = float((expected != told[3 * epoch - 1][2]).float().mean())
        assert found.epochs[epoch]["changed"] == pytest.approx(changed)
    assert any(record["changed"] for record in found.epochs[1:])


def test_labels_of_steps_settle_as_those_of_a_look_do():
    made = driver({"tol": 0.5}, method=Running)
    found = fit(made, X, TrainConfig(epochs=50, batch_size=16, learning_rate=1e-6))
    # The third: the first pass's labels were compared with those of a look, half an epoch older than a pass's.
    assert (found.stopped, made.counts["refreshes"], made.owner.looks, found.steps) == ("method", 3, 1, 7)
    assert torch.equal(made.labels, in_blocks(Plain().assign, made.nets, Rows(X)).argmax(1))


@pytest.mark.parametrize("crash", [2, 4, 6])
def test_a_crash_does_not_move_the_pass_that_settles(tmp_path, crash):
    def stop(at, values):
        if at.step == crash:
            raise KeyboardInterrupt

    config = TrainConfig(epochs=50, batch_size=16, learning_rate=1e-6, checkpoint_steps=1)
    with pytest.raises(KeyboardInterrupt):
        fit(driver({"tol": 0.5}, method=Running), X, config, out=tmp_path, on_step=stop)
    found = fit(driver({"tol": 0.5}, method=Running), X, config, out=tmp_path)
    assert (found.resumed_from, found.stopped, found.steps) == (crash, "method", 7)


def test_where_a_cluster_is_empty_all_rows_are_looked_at():
    far = torch.tensor([[0.0, 0.0], [1e4, 1e4], [-1e4, 1e4]])
    made = driver({"empty": "keep"}, far, Running)
    fit(made, X, TrainConfig(epochs=3, batch_size=16, learning_rate=1e-6))
    assert (made.owner.looks, made.counts) == (3, {"refreshes": 3, "emptied": 6, "reseeded": 0})


def test_emptied_clusters_begin_anew_or_are_left_and_counted():
    far = torch.tensor([[0.0, 0.0], [1e4, 1e4], [-1e4, 1e4]])
    kept = driver({"empty": "keep"}, far)
    fit(kept, X, TrainConfig(epochs=1, batch_size=40))
    assert kept.counts == {"refreshes": 1, "emptied": 2, "reseeded": 0}
    assert kept.watched["empty"] == 2.0
    moved = driver({}, far)
    fit(moved, X, TrainConfig(epochs=1, batch_size=40))
    assert moved.counts == {"refreshes": 1, "emptied": 2, "reseeded": 2}
    assert len(moved.labels.unique()) == 3


def test_the_angle_of_two_gradients_is_that_of_finite_differences():
    w = torch.tensor([1.0, 2.0, -1.0], dtype=torch.float64, requires_grad=True)

    def one(v):
        return (v**3).sum()

    def other(v):
        return v[0] * v[1]

    h, at = 1e-5, w.detach()
    steps = h * torch.eye(3, dtype=torch.float64)
    a, b = (np.array([float(f(at + s) - f(at - s)) for s in steps]) for f in (one, other))
    expected = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    assert cosine_of_gradients(one(w), other(w), [w]) == pytest.approx(expected, rel=1e-4)
    assert cosine_of_gradients(one(w), (0 * w).sum(), [w]) == 0.0


def test_drift_is_watched_without_a_change_to_the_training():
    with_drift, without = driver(), driver()
    without.owner.drift_terms = lambda settings: None
    fit(with_drift, X, TrainConfig(epochs=2, batch_size=16))
    fit(without, X, TrainConfig(epochs=2, batch_size=16))
    assert -1 <= with_drift.watched["feature_drift"] <= 1
    assert "feature_drift" not in without.watched
    assert torch.equal(with_drift.nets["encoder"].weight, without.nets["encoder"].weight)


@pytest.mark.parametrize(("method", "refresh"), [(Plain, 2), (Running, "epoch")])
def test_a_crash_at_any_step_resumes_to_the_same_bits(tmp_path, method, refresh):
    def made():
        return driver({"refresh": refresh}, method=method)

    calm = made()
    fit(calm, X, TrainConfig(epochs=3, batch_size=16))
    for crash in (1, 3, 4, 7):

        def stop(at, values, crash=crash):
            if at.step == crash:
                raise KeyboardInterrupt

        broken, out = made(), tmp_path / str(crash)
        config = TrainConfig(epochs=3, batch_size=16, checkpoint_steps=1)
        with pytest.raises(KeyboardInterrupt):
            fit(broken, X, config, out=out, on_step=stop)
        resumed = made()
        found = fit(resumed, X, config, out=out)
        assert found.resumed_from == crash
        assert resumed.counts == calm.counts
        assert all(torch.equal(resumed.memory[k], v) for k, v in calm.memory.items())
        assert torch.equal(resumed.labels, calm.labels)
        assert resumed.watched == calm.watched
        assert torch.equal(resumed.nets["encoder"].weight, calm.nets["encoder"].weight)


@dataclass
class Product(Term):
    """sign * a * b + a^2 / 2 - b^2 / 2, of two networks that are one number each."""

    name: ClassVar[str] = "product"

    def __call__(self, view) -> Tensor:
        a, b = (view.nets[n].weight.sum() for n in ("a", "b"))
        return a * b + 0.5 * a * a - 0.5 * b * b


class Game(Plain):
    def players(self, settings):
        return {"critic": Player(("b",), [Product(-1.0)]), "generator": Player(("a",), [Product()], every=2)}

    def drift_terms(self, settings):
        return None

    def assign(self, nets, x):
        return torch.softmax(x * nets["a"].weight.sum(), 1)


def test_players_take_turns_as_by_hand():
    nets = {name: nn.Linear(1, 1, bias=False) for name in "ab"}
    with torch.no_grad():
        nets["a"].weight.fill_(1.0)
        nets["b"].weight.fill_(0.5)
    made = TakingTurns(Game(), nets, SETTINGS, 0, {})
    config = TrainConfig(epochs=4, batch_size=40, optimizer="sgd", learning_rate=0.1, momentum=0.0)
    found = fit(made, X, config)
    a, b = 1.0, 0.5
    for step in range(4):
        b += 0.1 * (a - b)
        if step % 2 == 0:
            a -= 0.1 * (b + a)
    assert nets["a"].weight.item() == pytest.approx(a, rel=1e-5)
    assert nets["b"].weight.item() == pytest.approx(b, rel=1e-5)
    assert {"critic", "critic.product", "generator", "generator.product", "changed"} <= set(found.epochs[0])


@dataclass
class Even(Reconstruction):
    """A reconstruction in even epochs; it counts what comes after."""

    name: ClassVar[str] = "even"
    parity: int = 0
    done: int = 0

    def due(self, at):
        return at.epoch % 2 == self.parity

    def after(self, view):
        self.done += 1


@dataclass
class Odd(Even):
    """The same in odd ones."""

    name: ClassVar[str] = "odd"
    parity: int = 1


def test_terms_take_turns_by_epochs():
    terms = Even(), Odd()
    made = OneOptimizer(type("Turns", (Plain,), {"terms": lambda self, settings: terms})(), networks(), SETTINGS, 0, {})
    found = fit(made, X, TrainConfig(epochs=3, batch_size=20, learning_rate=0.01)).epochs
    assert [sorted({"even", "odd"} & set(r)) for r in found] == [["even"], ["odd"], ["even"]]
    assert [r["loss"] for r in found] == [r.get("even", r.get("odd")) for r in found]
    assert [t.done for t in terms] == [4, 2]
