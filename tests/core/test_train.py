"""The training loop against one written out by hand, what it promises on resuming, its hooks and its errors."""

from __future__ import annotations

import io
import itertools
import json
import os
import signal
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mumei.core import checkpoint, seeds
from mumei.core.errors import ArtifactError, DataError, NonFiniteError, UsageError
from mumei.core.progress import Progress
from mumei.core.train import EarlyStopping, History, Loss, Objective, TrainConfig, fit, make_optimizer
from mumei.nn.mlp import MLP

X = torch.randn(50, 6, generator=torch.Generator().manual_seed(0))
SHORT = TrainConfig(epochs=3, batch_size=16, learning_rate=0.01, log_steps=1)


def network(dropout=0.0):
    return MLP((6, 8, 6), dropout=dropout, seed=2)


def reconstruct(batch, at):
    (x,) = batch
    noisy = x + 0.1 * torch.randn(x.shape, generator=at.rng)
    error = (at.nets["net"](noisy) - x).square()
    return Loss(error.mean(), {"largest": error.max()})


def weights(net):
    return torch.cat([p.detach().flatten() for p in net.parameters()])


def train(config=SHORT, dropout=0.3, **options):
    net = network(dropout)
    history = fit(Objective(net, reconstruct), X, config, **options)
    return net, history


def test_equals_a_loop_written_by_hand():
    """Expected: permutation by (seed, epoch), fused Adam, mean over rows; every step written out here."""
    net = network()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01, fused=True)
    means = []
    for epoch in range(3):
        order = torch.randperm(50, generator=seeds.torch_generator(0, "order", epoch))
        total = 0.0
        for start in range(0, 50, 16):
            x = X[order[start : start + 16]]
            optimizer.zero_grad()
            loss = (net(x) - x).square().mean()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(x)
        means.append(total / 50)
    ours = network()
    history = fit(Objective(ours, lambda batch, at: (ours(batch[0]) - batch[0]).square().mean()), X, SHORT)
    assert torch.equal(weights(ours), weights(net))
    assert [e["loss"] for e in history.epochs] == pytest.approx(means, rel=1e-6)
    assert (history.steps, history.stopped, history.resumed_from) == (12, "finished", None)


def test_every_row_once_an_epoch_in_an_order_of_seed_and_epoch_alone():
    seen: list[list[int]] = []
    train(on_step=lambda at, values: seen.append(at.rows.tolist()))
    assert [len(s) for s in seen] == [16, 16, 16, 2] * 3
    assert sorted(itertools.chain(*seen[:4])) == list(range(50))
    assert seen[0] != seen[4]
    other: list[list[int]] = []
    train(replace(SHORT, epochs=1), dropout=0.0, on_step=lambda at, values: other.append(at.rows.tolist()))
    assert other == seen[:4]
    plain: list[list[int]] = []
    config = replace(SHORT, epochs=1, shuffle=False, drop_last=True)
    train(config, on_step=lambda at, values: plain.append(at.rows.tolist()))
    assert plain == [list(range(i, i + 16)) for i in (0, 16, 32)]


def test_the_callers_random_state_and_modes_are_given_back(tmp_path):
    before = torch.random.get_rng_state()
    net = network(0.5).eval()
    fit(Objective(net, reconstruct), X, SHORT, out=tmp_path)
    assert torch.equal(before, torch.random.get_rng_state())
    assert not net.training
    assert not net.layers[2].training


class Cut(Exception):
    """Stands for a crash."""


def cut_at(step):
    def hook(at, values):
        if at.step == step:
            raise Cut

    return hook


def log_of(out):
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in ("seconds", "rows_per_second")} for line in lines]


@settings(max_examples=12, deadline=None)
@given(
    st.lists(st.integers(0, 11), min_size=1, max_size=3),
    st.integers(1, 13),
    st.sampled_from(["float32", "bf16"]),
    st.sampled_from(["adam", "sgd"]),
)
def test_a_run_cut_off_anywhere_ends_with_the_same_bits(tmp_path_factory, cuts, every, precision, optimizer):
    """Expected: the undisturbed run's weights, history and log (but for times)."""
    folder = tmp_path_factory.mktemp("cut")
    schedule = "cosine" if every % 2 else "constant"
    config = replace(
        SHORT, checkpoint_steps=every, precision=precision, optimizer=optimizer, schedule=schedule, log_steps=3
    )
    whole, expected = train(config, out=folder / "whole")
    for cut in cuts:
        try:
            train(config, out=folder / "cut", on_step=cut_at(cut))
        except Cut:
            pass
    ours, history = train(config, out=folder / "cut")
    assert torch.equal(weights(ours), weights(whole))
    assert (history.epochs, history.steps) == (expected.epochs, expected.steps)
    assert log_of(folder / "cut") == log_of(folder / "whole")


def test_checkpoints_do_not_change_the_run(tmp_path):
    plain, _ = train()
    saved, _ = train(replace(SHORT, checkpoint_steps=1, checkpoint_seconds=1e-9), out=tmp_path)
    assert torch.equal(weights(plain), weights(saved))
    assert len(checkpoint.existing(tmp_path / "checkpoints")) == 2


def test_a_finished_run_has_nothing_left_and_can_be_made_longer(tmp_path):
    net, history = train(out=tmp_path)
    again, resumed = train(out=tmp_path, on_step=cut_at(-1))
    assert torch.equal(weights(net), weights(again))
    assert (resumed.epochs, resumed.steps, resumed.resumed_from) == (history.epochs, 12, 12)
    longer, _ = train(replace(SHORT, epochs=5), out=tmp_path)
    expected, _ = train(replace(SHORT, epochs=5))
    assert torch.equal(weights(longer), weights(expected))
    with pytest.raises(UsageError, match="schedule: 'constant' then, 'linear' now"):
        train(replace(SHORT, schedule="linear"), out=tmp_path)


def test_steps_may_end_within_an_epoch(tmp_path):
    _, history = train(replace(SHORT, epochs=None, max_steps=6), out=tmp_path)
    assert history.steps == 6
    assert [e.get("partial", False) for e in history.epochs] == [False, True]
    whole, _ = train(replace(SHORT, epochs=None, max_steps=9))
    longer, history = train(replace(SHORT, epochs=None, max_steps=9), out=tmp_path)
    assert torch.equal(weights(longer), weights(whole))
    assert history.resumed_from == 6


def test_another_run_in_the_folder_is_refused(tmp_path):
    train(out=tmp_path)
    with pytest.raises(UsageError, match=r"batch_size: 16 then, 8 now.*resume=False"):
        train(replace(SHORT, batch_size=8), out=tmp_path)
    with pytest.raises(UsageError, match="data sha256"):
        fit(Objective(network(), reconstruct), X + 1, SHORT, out=tmp_path)
    with pytest.raises(UsageError, match="shape of net/layers"):
        fit(Objective(MLP((6, 9, 6)), reconstruct), X, SHORT, out=tmp_path)
    _, history = train(replace(SHORT, batch_size=8), out=tmp_path, resume=False)
    assert history.resumed_from is None
    assert log_of(tmp_path)[0]["step"] == 1


def test_a_damaged_checkpoint_is_passed_over(tmp_path):
    config = replace(SHORT, checkpoint_steps=5)
    whole, _ = train(config, out=tmp_path)
    newest = checkpoint.existing(tmp_path / "checkpoints")[-1]
    (newest / "weights.safetensors").write_bytes(b"torn")
    stream = io.StringIO()
    again, history = train(config, out=tmp_path, progress=Progress(stream=stream))
    assert torch.equal(weights(again), weights(whole))
    assert history.resumed_from == 10
    assert "step-00000012: weights.safetensors is not what was saved" in stream.getvalue()
    for path in checkpoint.existing(tmp_path / "checkpoints"):
        (path / "state.json").unlink()
    with pytest.raises(ArtifactError, match="resume=False"):
        train(config, out=tmp_path)


class Adversaries:
    """Two optimisers with updates of their own, a refresh before each epoch, and state beside the weights."""

    def __init__(self):
        self.nets = {"maker": network(), "critic": MLP((6, 4, 1), dropout=0.2, seed=5)}
        self.centre = torch.zeros(6)
        self.refreshed = 0

    def modules(self):
        return self.nets

    def optimizers(self, config):
        return {name: make_optimizer(config, list(net.parameters())) for name, net in self.nets.items()}

    def start_epoch(self, at):
        self.centre = at.data.gather(torch.arange(50), torch.device("cpu"))[0].mean(0) + torch.randn(
            6, generator=at.rng
        )
        self.refreshed += 1

    def end_epoch(self, at, means):
        return {"double": 2 * means["critic"]}

    def step(self, batch, at):
        (x,) = batch
        made = at.nets["maker"](torch.randn(x.shape, generator=at.rng)) + self.centre
        values = {}
        for name, sign in (("critic", -1.0), ("maker", 1.0)):
            judged = at.nets["critic"](x).mean() - at.nets["critic"](made if sign > 0 else made.detach()).mean()
            at.optimizers[name].zero_grad()
            at.backward(sign * judged)
            at.optimizers[name].step()
            values[name] = float(judged.detach())
        return Loss(None, values)

    def state_dict(self):
        return {"centre": self.centre, "refreshed": self.refreshed}

    def load_state_dict(self, state):
        self.centre, self.refreshed = state["centre"], state["refreshed"]


def test_a_method_with_its_own_updates_and_state_resumes_bit_for_bit(tmp_path):
    config = replace(SHORT, checkpoint_steps=3)
    whole, cut, again = Adversaries(), Adversaries(), Adversaries()
    expected = fit(whole, X, config)
    with pytest.raises(Cut):
        fit(cut, X, config, out=tmp_path, on_step=cut_at(6))
    history = fit(again, X, config, out=tmp_path)
    for name in ("maker", "critic"):
        assert torch.equal(weights(again.nets[name]), weights(whole.nets[name]))
    assert history.epochs == expected.epochs
    assert history.epochs[0]["double"] == 2 * history.epochs[0]["critic"]
    assert again.refreshed == whole.refreshed == 3
    assert torch.equal(again.centre, whole.centre)


@pytest.mark.parametrize("where", ["loss", "part"])
def test_not_finite_names_step_part_rows_and_checkpoint(tmp_path, where):
    def bad(batch, at):
        error = (at.nets["net"](batch[0]) - batch[0]).square().mean()
        wrong = error * float("nan") if at.step == 6 else error
        return Loss(wrong if where == "loss" else error, {"kl": wrong})

    rows: list[list[int]] = []
    net = network()
    with pytest.raises(NonFiniteError) as caught:
        fit(
            Objective(net, bad),
            X,
            replace(SHORT, checkpoint_steps=4),
            out=tmp_path,
            on_step=lambda at, values: rows.append(weights(net).tolist()),
        )
    order = torch.randperm(50, generator=seeds.torch_generator(0, "order", 1))[32:48]
    text = str(caught.value)
    assert "step 6 of epoch 1" in text
    assert "kl = nan" in text
    assert ", ".join(map(str, order[:8].tolist())) in text
    assert str(tmp_path / "checkpoints" / "step-00000004") in text
    # The bad step changed nothing.
    assert weights(net).tolist() == rows[-1]


def test_an_infinite_gradient_is_named_when_clipping_and_never_saved(tmp_path):
    """The square root's slope at 0 is infinite while its value is 0."""
    net = nn.Linear(6, 1, bias=False)
    with torch.no_grad():
        net.weight.zero_()

    def root(batch, at):
        return at.nets["net"](batch[0]).square().sum().sqrt()

    with pytest.raises(NonFiniteError, match="gradient norm = nan"):
        fit(Objective(net, root), X, replace(SHORT, clip=1.0))
    with pytest.raises(NonFiniteError, match=r"net/weight|loss = nan"):
        fit(Objective(net, root), X, replace(SHORT, checkpoint_steps=1), out=tmp_path)
    assert not checkpoint.existing(tmp_path / "checkpoints")


def test_clipping_bounds_the_step():
    """Expected: with SGD of rate 1 and no momentum the weights move by the clipped norm."""
    net = network()
    before = weights(net)
    config = TrainConfig(epochs=None, max_steps=1, optimizer="sgd", momentum=0.0, learning_rate=1.0, clip=0.01)
    fit(Objective(net, reconstruct), X, config)
    assert float((weights(net) - before).norm()) == pytest.approx(0.01, rel=1e-3)


def test_rmsprop_divides_by_the_root_of_a_mean_that_forgets():
    """Expected: Hinton's rule by hand, the mean of squared gradients with 0.9 of what it was."""
    weight = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
    optimizer = make_optimizer(TrainConfig(optimizer="rmsprop", learning_rate=0.1), [weight])
    expected, mean = torch.tensor([1.0, -2.0]), torch.zeros(2)
    for gradient in ([1.0, 2.0], [-3.0, 0.5]):
        weight.grad = torch.tensor(gradient)
        optimizer.step()
        mean = 0.9 * mean + 0.1 * weight.grad**2
        expected = expected - 0.1 * weight.grad / (mean.sqrt() + 1e-8)
    torch.testing.assert_close(weight.detach(), expected)


def test_schedule_sets_the_rate():
    rates: list[float] = []
    config = replace(SHORT, schedule="linear", warmup_steps=2, epochs=1)
    optimizer: list[torch.optim.Optimizer] = []

    def watch(at, values):
        rates.append(at.optimizers["all"].param_groups[0]["lr"])

    train(config, on_step=watch)
    assert rates == pytest.approx([0.005, 0.01, 0.01, 0.0])
    assert not optimizer


def test_early_stopping_on_the_loss_and_on_a_users_metric(tmp_path):
    values = iter([3.0, 2.0, 2.5, 1.95, 2.2, 9.0, 9.0])
    rule = EarlyStopping(patience=2, min_delta=0.1, metric="mine")
    _, history = train(
        replace(SHORT, epochs=7, early_stopping=rule), out=tmp_path, on_epoch=lambda at, means: {"mine": next(values)}
    )
    assert (len(history.epochs), history.stopped) == (4, "early")
    _, again = train(replace(SHORT, epochs=7, early_stopping=rule), out=tmp_path, on_step=cut_at(-1))
    assert (again.stopped, again.epochs) == ("early", history.epochs)
    up = EarlyStopping(patience=1, metric="largest", mode="max")
    assert train(replace(SHORT, epochs=9, early_stopping=up))[1].stopped == "early"
    with pytest.raises(UsageError, match=r"watches 'x'.*\['largest', 'loss'\]"):
        train(replace(SHORT, early_stopping=EarlyStopping(metric="x")))


def test_a_method_may_stop():
    def loss(batch, at):
        if at.step == 5:
            at.stop()
        return reconstruct(batch, at)

    history = fit(Objective(network(), loss), X, SHORT)
    assert (history.steps, history.stopped) == (6, "method")


def test_first_interrupt_saves_and_the_run_continues(tmp_path):
    """A real SIGINT in the middle of a step."""

    def interrupt(batch, at):
        if at.step == 5:
            os.kill(os.getpid(), signal.SIGINT)
        return reconstruct(batch, at)

    handler = signal.getsignal(signal.SIGINT)
    stream = io.StringIO()
    with pytest.raises(KeyboardInterrupt):
        fit(Objective(network(0.3), interrupt), X, SHORT, out=tmp_path, progress=Progress(stream=stream))
    assert signal.getsignal(signal.SIGINT) is handler
    assert "press Ctrl-C again" in stream.getvalue()
    assert checkpoint.existing(tmp_path / "checkpoints")[-1].name == "step-00000006"
    net = network(0.3)

    # The same loss by name and place: a run is continued by the method that began it.
    def resumed(batch, at):
        return reconstruct(batch, at)

    resumed.__qualname__ = interrupt.__qualname__
    assert fit(Objective(net, resumed), X, SHORT, out=tmp_path).resumed_from == 6
    assert torch.equal(weights(net), weights(train()[0]))


def test_second_interrupt_acts_at_once(tmp_path):
    def interrupt(batch, at):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        return pytest.fail("the step went on")

    with pytest.raises(KeyboardInterrupt):
        fit(Objective(network(), interrupt), X, SHORT, out=tmp_path)
    assert not checkpoint.existing(tmp_path / "checkpoints")


def test_without_a_folder_an_interrupt_is_pythons_own():
    def interrupt(batch, at):
        os.kill(os.getpid(), signal.SIGINT)
        return reconstruct(batch, at)

    with pytest.raises(KeyboardInterrupt):
        fit(Objective(network(), interrupt), X, SHORT)


def test_bf16_computes_in_bfloat16_and_keeps_float32_weights():
    seen = []

    def loss(batch, at):
        out = at.nets["net"](batch[0])
        seen.append(out.dtype)
        return (out - batch[0]).square().mean()

    net = network()
    fit(Objective(net, loss), X, replace(SHORT, precision="bf16"))
    assert set(seen) == {torch.bfloat16}
    assert weights(net).dtype is torch.float32


def test_several_arrays_keep_their_types():
    def loss(batch, at):
        x, y = batch
        assert (x.dtype, y.dtype) == (torch.uint8, torch.int64)
        assert torch.equal(x[:, 0].long(), y)
        return (at.nets["net"](x / 255.0)).square().mean()

    y = torch.arange(50)
    data = (y[:, None].to(torch.uint8).repeat(1, 6), y)
    assert fit(Objective(network(), loss), data, SHORT).steps == 12


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (lambda batch, at: at.nets["net"](batch[0]), r"'loss' has shape \(16, 6\).*scalar"),
        (lambda batch, at: at.nets["net"](batch[0]).mean().detach(), "has no gradient"),
        (lambda batch, at: Loss(at.nets["net"](batch[0]).mean(), {"kl": torch.zeros(3)}), r"'kl' has shape \(3,\)"),
    ],
)
def test_a_step_that_returns_the_wrong_thing(loss, said):
    with pytest.raises(UsageError, match=said):
        fit(Objective(network(), loss), X, SHORT)


def test_nothing_to_train_bad_names_and_bad_data(tmp_path):
    with pytest.raises(UsageError, match="nothing to train"):
        fit(Objective(network().requires_grad_(False), reconstruct), X, SHORT)
    with pytest.raises(UsageError, match="'a/b'"):
        fit(Objective({"a/b": network()}, reconstruct), X, SHORT, out=tmp_path)
    with pytest.raises(DataError, match="0 rows"):
        fit(Objective(network(), reconstruct), X[:0], SHORT)


def test_progress_and_log_tell_rate_and_loss(tmp_path, monkeypatch):
    monkeypatch.setattr("mumei.core.progress.INTERVAL", 0.0)
    stream = io.StringIO()
    _, history = train(out=tmp_path, progress=Progress(stream=stream), label="autoencoder")
    assert "autoencoder: 16 of 150 rows" in stream.getvalue()
    assert "epoch 3, loss" in stream.getvalue()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 13))
    assert set(lines[0]) == {"step", "epoch", "loss", "largest", "rows", "seconds", "rows_per_second"}
    rows = [line["rows"] for line in lines[:4]]
    mean = sum(line["loss"] * n for line, n in zip(lines[:4], rows, strict=True)) / 50
    assert history.epochs[0]["loss"] == pytest.approx(mean)
    assert isinstance(history, History)


def test_an_optimiser_factory():
    made = []

    def factory(parameters):
        made.append(torch.optim.RMSprop(parameters))
        return made[0]

    train(replace(SHORT, optimizer=factory))
    assert len(made[0].state) == 4
