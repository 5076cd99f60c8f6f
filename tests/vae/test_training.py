"""What ties a training run to its estimator: kept optimisers, compared settings, and a model left as it was."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from mumei.core import checkpoint, files
from mumei.core.config import TrainConfig
from mumei.core.errors import UsageError
from mumei.core.estimating import as_it_was, plain, widths
from mumei.core.method import make_optimizer
from mumei.vae.choose import make_likelihood
from mumei.vae.network import VAENet
from mumei.vae.objective import BoundConfig, loss
from mumei.vae.training import BoundMethod, Kept, Watched, check_same_run, settings_of


class Owner:
    """As much of an estimator as the run needs."""

    def __init__(self, **settings: Any):
        self.settings, self.likelihood_, self.notes_ = settings, {"name": "bernoulli"}, []

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        return self.settings


def net() -> VAENet:
    return VAENet(make_likelihood("bernoulli", 3), 2, (4,), seed=0)


def test_the_warm_up_counts_the_steps_of_earlier_passes():
    made, x = net(), torch.ones(5, 3)
    bound = BoundConfig(warmup_steps=10)
    for done in (0, 4, 20):
        at: Any = SimpleNamespace(rng=torch.Generator().manual_seed(0), step=1)
        found = BoundMethod(made, 5, bound, done=done).step((x,), at).total
        expected = loss(made, x, torch.Generator().manual_seed(0), bound, done + 1).total
        assert found is not None
        assert expected is not None
        assert found.item() == expected.item()


def test_the_prior_is_weight_decay_on_weights_alone():
    groups = BoundMethod(net(), 50, BoundConfig()).optimizers(TrainConfig())["all"].param_groups
    assert [g["weight_decay"] for g in groups] == [1 / 50, 0]
    assert {p.dim() for p in groups[0]["params"]} == {2}
    assert {p.dim() for p in groups[1]["params"]} == {1}


class Method:
    """Trains one number."""

    def __init__(self, start: float = 1.0):
        self.net = nn.Linear(1, 1)
        nn.init.constant_(self.net.weight, start)

    def modules(self):
        return {"net": self.net}

    def optimizers(self, config):
        return {"all": make_optimizer(config, list(self.net.parameters()))}


def test_optimisers_keep_their_averages_and_take_new_rates():
    owner, method = Owner(), Method()
    first = Kept(method, owner, 0).optimizers(TrainConfig(learning_rate=0.1))["all"]
    method.net(torch.ones(1, 1)).sum().backward()
    first.step()
    again = Kept(method, owner, 1).optimizers(TrainConfig(learning_rate=0.5))["all"]
    assert again.param_groups[0]["lr"] == 0.5
    moments = [next(iter(o.state.values()))["exp_avg"] for o in (first, again)]
    assert torch.equal(*moments)
    assert moments[0].data_ptr() != moments[1].data_ptr()
    fresh = Kept(method, owner, 0).optimizers(TrainConfig())["all"]
    assert not fresh.state
    other = Kept(method, owner, 1).optimizers(TrainConfig(optimizer="sgd"))["all"]
    assert not other.state
    assert owner.notes_ == ["the optimiser began afresh: it or the bound was changed between passes"]


def test_settings_are_compared_with_those_of_the_newest_whole_checkpoint(tmp_path):
    owner = Owner(beta=1.0, epochs=3, hidden=(4,), out=tmp_path)
    assert settings_of(owner) == {"beta": 1.0, "likelihood": {"name": "bernoulli"}}
    check_same_run(None, owner)
    check_same_run(tmp_path, owner)
    tensor = {"net/w": torch.zeros(1)}
    for step, beta in ((1, 9.0), (2, 1.0)):
        settings = settings_of(Owner(beta=beta))
        checkpoint.save(tmp_path / "checkpoints", step, {"method": {"settings": settings}}, tensor, {})
    check_same_run(tmp_path, Owner(beta=np.float64(1.0), epochs=99))
    with pytest.raises(UsageError, match=r"beta: 1\.0 then, 2\.0 now"):
        check_same_run(tmp_path, Owner(beta=2.0))
    files.write_text(tmp_path / "checkpoints" / "step-00000002" / checkpoint.STATE, "{")
    check_same_run(tmp_path, Owner(beta=9.0))


def test_a_kept_method_saves_the_state_of_the_one_inside():
    inner = Watched(Method(2.0), lambda: 5.0)
    kept = Kept(inner, Owner(beta=1.0), 0)
    kept.end_epoch(None, {})
    state = kept.state_dict()
    assert state["settings"]["beta"] == 1.0
    other = Watched(Method(7.0), lambda: 0.0)
    Kept(other, Owner(), 0).load_state_dict(state)
    other.restore()
    assert other.value == 5.0
    assert other.method.net.weight.item() == 2.0


def test_the_best_weights_are_those_of_the_highest_value():
    values = iter([1.0, 3.0, 2.0])
    method = Method()
    watched = Watched(method, lambda: next(values))
    for weight in (10.0, 20.0, 30.0):
        nn.init.constant_(method.net.weight, weight)
        watched.end_epoch(None, {})  # type: ignore[arg-type]
    watched.restore()
    assert method.net.weight.item() == 20.0


def test_a_model_is_left_as_it_was():
    model = SimpleNamespace(net_=nn.Linear(1, 1), kept=1)
    nn.init.constant_(model.net_.weight, 1.0)

    def spoil() -> None:
        with as_it_was(model):
            nn.init.constant_(model.net_.weight, 2.0)
            model.kept, model.new = 2, 3
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        spoil()
    assert model.net_.weight.item() == 1.0
    assert model.kept == 1
    assert not hasattr(model, "new")
    with as_it_was(model):
        model.kept = 4
    assert model.kept == 4


def test_plain_values_and_widths():
    given = {"a": np.float32(0.5), "b": (np.int64(1), [np.array([2, 3])])}
    assert plain(given) == {"a": 0.5, "b": [1, [[2, 3]]]}
    assert widths(np.int64(3)) == (3,)
    assert widths(np.array([3, 4])) == (3, 4)
    for bad in ("ab", None, 1.5):
        with pytest.raises(UsageError, match="hidden="):
            widths(bad)
