"""The training loop against a loop written out by hand, its promises on resuming, and its errors."""

from __future__ import annotations

import json
import os
import signal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mumei.core.errors import ArtifactError, DataError, NonFiniteError, StorageError, UsageError
from mumei.core.progress import Progress
from mumei.core.seeds import torch_generator
from mumei.core.train import Loss, Method, Rows, TrainConfig, fit, make_optimizer, read_metrics, simple
from mumei.nn.mlp import MLP

X = torch.randn(50, 6, generator=torch.Generator().manual_seed(0))


def reconstruct(net, batch):
    (x,) = batch.data
    error = ((net(x) - x) ** 2).mean()
    return Loss(error, {"error": error, "rows": float(len(x))})


def method(dropout=0.3, **options):
    return simple(MLP((6, 8, 6), dropout=dropout, seed=1), reconstruct, **options)


def weights(made):
    return torch.cat([p.detach().flatten() for p in made.modules["net"].parameters()])


def test_equals_a_plain_loop_with_the_same_order():
    """Expected: torch written out, without any of the loop's parts."""
    made = method(dropout=0.0)
    history = fit(made, X, TrainConfig(epochs=3, batch_size=16, seed=4))
    net = MLP((6, 8, 6), seed=1)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, fused=True)
    losses = []
    for epoch in range(3):
        order = torch.randperm(50, generator=torch_generator(4, "order", epoch))
        total = 0.0
        for first in range(0, 50, 16):
            x = X[order[first : first + 16]]
            loss = ((net(x) - x) ** 2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() / 4
        losses.append(total)
    assert torch.equal(weights(made), torch.cat([p.detach().flatten() for p in net.parameters()]))
    assert history.losses == pytest.approx(losses)
    assert history.steps == 12


class Cut(Exception):
    pass


def cut_at(made, step):
    inner = made.step

    def failing(batch, nets):
        if batch.step == step:
            raise Cut
        return inner(batch, nets)

    made.step = failing
    return made


@given(cut=st.integers(0, 11), every=st.integers(0, 5), precision=st.sampled_from(["float32", "bf16"]))
@settings(max_examples=15, deadline=None)
def test_a_run_cut_off_anywhere_ends_bit_equal(tmp_path_factory, cut, every, precision):
    out = tmp_path_factory.mktemp("run")
    config = TrainConfig(epochs=3, batch_size=16, checkpoint_every=every, log_every=1, precision=precision, clip=1.0)
    whole = method()
    expected = fit(whole, X, config, out=out / "whole")
    with pytest.raises(Cut):
        fit(cut_at(method(), cut), X, config, out=out / "cut")
    again = method()
    history = fit(again, X, config, out=out / "cut")
    assert torch.equal(weights(whole), weights(again))
    assert history == expected
    timeless = [
        [{k: v for k, v in line.items() if k not in ("seconds", "rows_per_second")} for line in read_metrics(out / name)]
        for name in ("whole", "cut")
    ]
    assert timeless[0] == timeless[1]
    assert len(timeless[0]) == 12


def test_a_finished_run_resumes_with_nothing_left_and_can_be_made_longer(tmp_path):
    short, long = TrainConfig(epochs=2, batch_size=16), TrainConfig(epochs=4, batch_size=16)
    fit(method(), X, short, out=tmp_path / "a")
    again = method()
    assert fit(again, X, short, out=tmp_path / "a").steps == 8
    longer, whole = method(), method()
    fit(longer, X, long, out=tmp_path / "a")
    fit(whole, X, long)
    assert torch.equal(weights(longer), weights(whole))


def test_max_steps_ends_within_an_epoch_and_continues(tmp_path):
    made, whole = method(), method()
    history = fit(made, X, TrainConfig(epochs=9, batch_size=16, max_steps=6), out=tmp_path)
    assert (history.steps, history.stopped) == (6, "max_steps")
    made = method()
    assert fit(made, X, TrainConfig(epochs=3, batch_size=16), out=tmp_path).steps == 12
    fit(whole, X, TrainConfig(epochs=3, batch_size=16))
    assert torch.equal(weights(made), weights(whole))


def test_other_settings_or_data_are_refused(tmp_path):
    config = TrainConfig(epochs=1, batch_size=16)
    fit(method(), X, config, out=tmp_path)
    with pytest.raises(ArtifactError, match="seed was 0, is 1"):
        fit(method(), X, TrainConfig(epochs=1, batch_size=16, seed=1), out=tmp_path)
    with pytest.raises(ArtifactError, match="data was"):
        fit(method(), X + 1, config, out=tmp_path)
    with pytest.raises(ArtifactError, match="holds a run already"):
        fit(method(), X, config, out=tmp_path, resume=False)


def test_global_random_state_is_left_alone():
    before = torch.random.get_rng_state()
    fit(method(), X, TrainConfig(epochs=1))
    assert torch.equal(before, torch.random.get_rng_state())


def test_several_losses_and_optimizers_alternate_and_state_travels(tmp_path):
    """A critic and a generator: each loss moves its own network; what `begin_epoch` counted survives a resume."""

    def make():
        nets = {"critic": MLP((6, 1), seed=1), "generator": MLP((6, 6), seed=2)}
        optimizers = {n: make_optimizer("sgd", m.parameters(), lr=0.1) for n, m in nets.items()}
        kept = {"epochs": 0, "sum": torch.zeros(2)}

        def step(batch, nets):
            (x,) = batch.data
            yield Loss(nets["critic"](x).mean(), {"critic": 1.0}, "critic")
            yield Loss((nets["generator"](x) ** 2).mean(), {"generator": 2.0}, "generator")
            kept["sum"] = kept["sum"] + torch.rand(2, generator=batch.rng)

        def begin(epoch, nets):
            kept["epochs"] += 1

        made = Method(nets, optimizers, step, begin, lambda: dict(kept), kept.update)
        return made, kept

    config = TrainConfig(epochs=3, batch_size=25)
    whole, kept = make()
    history = fit(whole, X, config)
    assert kept["epochs"] == 3
    assert history.epochs[0]["critic"] == 1.0
    assert history.epochs[0]["generator"] == 2.0
    cut, _ = make()
    with pytest.raises(Cut):
        fit(cut_at(cut, 3), X, config, out=tmp_path)
    again, kept_again = make()
    fit(again, X, config, out=tmp_path)
    assert kept_again["epochs"] == 3
    assert torch.equal(kept["sum"], kept_again["sum"])
    for name in ("critic", "generator"):
        for a, b in zip(whole.modules[name].parameters(), again.modules[name].parameters(), strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize("where", ["part", "total"])
def test_not_finite_names_step_part_and_rows(tmp_path, where):
    def loss(net, batch):
        (x,) = batch.data
        error = ((net(x) - x) ** 2).mean()
        bad = torch.tensor(float("nan")) if batch.step == 5 else torch.tensor(1.0)
        return Loss(error * bad if where == "total" else error, {"weird": bad if where == "part" else 0.0})

    said = "loss part 'weird' is nan at step 5" if where == "part" else "the loss is nan at step 5"
    with pytest.raises(NonFiniteError, match=said) as caught:
        fit(simple(MLP((6, 6)), loss), X, TrainConfig(epochs=9, batch_size=16), out=tmp_path)
    assert "step-00000004" in str(caught.value)
    assert "batch rows" in str(caught.value)


def test_an_infinite_gradient_is_named():
    def loss(net, batch):
        (x,) = batch.data
        return Loss(torch.sqrt((net(x) * 0).sum()), {})

    with pytest.raises(NonFiniteError, match="gradient's norm"):
        fit(simple(MLP((6, 6)), loss), X, TrainConfig(epochs=1, clip=1.0))


def test_early_stopping_and_stop_iteration():
    config = TrainConfig(epochs=50, patience=2, min_delta=1e9)
    history = fit(method(), X, config)
    assert (len(history.epochs), history.stopped) == (3, "patience")

    def enough(history):
        if len(history.epochs) == 2:
            raise StopIteration

    assert fit(method(), X, TrainConfig(epochs=50), on_epoch=enough).stopped == "on_epoch"


def test_first_interrupt_waits_for_the_step_and_saves(tmp_path):
    made = method()
    inner = made.step

    def step(batch, nets):
        if batch.step == 6:
            os.kill(os.getpid(), signal.SIGINT)
        return inner(batch, nets)

    made.step = step
    config = TrainConfig(epochs=3, batch_size=16)
    with pytest.raises(KeyboardInterrupt) as caught:
        fit(made, X, config, out=tmp_path)
    assert "step 7" in caught.value.__notes__[0]
    again, whole = method(), method()
    fit(again, X, config, out=tmp_path)
    fit(whole, X, config)
    assert torch.equal(weights(again), weights(whole))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("kind", ["tensor", "array", "memmap", "bytes", "pair"])
def test_data_of_any_kind_trains_alike(tmp_path, kind):
    array = np.random.default_rng(0).integers(0, 255, (40, 6)).astype(np.uint8)
    np.save(tmp_path / "x.npy", array)
    forms = {
        "tensor": torch.from_numpy(array),
        "array": array,
        "memmap": np.load(tmp_path / "x.npy", mmap_mode="r"),
        "bytes": np.load(tmp_path / "x.npy"),
        "pair": (array, torch.arange(40)),
    }
    seen = []

    def loss(net, batch):
        x = batch.data[0]
        assert x.dtype == torch.uint8
        seen.append(x.clone())
        if kind == "pair":
            assert torch.equal(batch.data[1], batch.rows)
        x = x.float() / 255
        return Loss(((net(x) - x) ** 2).mean())

    fit(simple(MLP((6, 6)), loss), forms[kind], TrainConfig(epochs=1, batch_size=7))
    order = torch.randperm(40, generator=torch_generator(0, "order", 0))
    assert torch.equal(torch.cat(seen), torch.from_numpy(array)[order])
    assert Rows(forms["memmap"]).fingerprint() == Rows(forms["tensor"]).fingerprint()


def test_order_and_last_batch():
    sizes = []

    def loss(net, batch):
        sizes.append(batch.rows.tolist())
        return Loss(net(batch.data[0]).sum())

    fit(simple(MLP((6, 6)), loss), X, TrainConfig(epochs=1, batch_size=20, shuffle=False, drop_last=True))
    assert sizes == [list(range(20)), list(range(20, 40))]
    sizes.clear()
    fit(simple(MLP((6, 6)), loss), X[:1], TrainConfig(epochs=1, batch_size=20))
    assert sizes == [[0]]
    assert fit(method(), X, TrainConfig(epochs=0)).steps == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"epochs": -1}, "epochs=-1"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"precision": "bf61"}, "Did you mean 'bf16'"),
        ({"clip": 0.0}, "clip=0.0"),
        ({"clip": float("nan")}, "clip=nan"),
    ],
)
def test_settings_out_of_range_are_refused(options, said):
    with pytest.raises(UsageError, match=said):
        TrainConfig(**{"epochs": 1, **options})


def test_bad_data_and_names_are_refused():
    with pytest.raises(DataError, match="one number of rows"):
        fit(method(), (X, X[:3]), TrainConfig(epochs=1))
    with pytest.raises(DataError, match="above 0"):
        fit(method(), X[:0], TrainConfig(epochs=1))
    with pytest.raises(DataError, match="array or tensor"):
        fit(method(), ("text",), TrainConfig(epochs=1))
    with pytest.raises(UsageError, match="Did you mean 'adam'"):
        method(optimizer="adamm")
    with pytest.raises(UsageError, match="may not be called"):
        fit(simple(MLP((6, 6)), lambda n, b: Loss(n(b.data[0]).sum(), {"loss": 1.0})), X, TrainConfig(epochs=1))


def test_progress_and_metrics_are_written(tmp_path, capsys):
    fit(method(), X, TrainConfig(epochs=2, batch_size=16, log_every=4), out=tmp_path, progress=Progress())
    lines = read_metrics(tmp_path)
    assert [line["step"] for line in lines] == [4, 8]
    assert {"loss", "error", "rows_per_second", "seconds", "epoch"} <= set(lines[0])
    with (tmp_path / "metrics.jsonl").open("a") as handle:
        handle.write('{"step": 9')
    fit(method(), X, TrainConfig(epochs=2, batch_size=16, log_every=4), out=tmp_path, progress=Progress())
    assert [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()] == [4, 8]
    assert "continuing" in capsys.readouterr().err


def test_a_refused_write_is_a_storage_error(tmp_path):
    (tmp_path / "metrics.jsonl").mkdir()
    with pytest.raises((StorageError, IsADirectoryError)):
        fit(method(), X, TrainConfig(epochs=1, batch_size=16, log_every=1), out=tmp_path)
