"""Checkpoints are whole or absent, the newest good one is found, and optimisers come back bit for bit."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys

import pytest
import torch
from torch import nn

from mumei.core import checkpoint, files
from mumei.core.errors import ArtifactError, NonFiniteError, StorageError, UsageError


def save(folder, step, **options):
    value = float(step)
    return checkpoint.save(
        folder, step, {"at": step}, {"w": torch.full((3,), value)}, {"m": torch.ones(2) * value}, **options
    )


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def test_round_trip_and_the_newest_two_are_kept(tmp_path):
    folder = tmp_path / "checkpoints"
    assert checkpoint.latest(folder) == (None, [])
    for step in (1, 5, 12):
        assert save(folder, step) == folder / f"step-{step:08d}"
    assert names(folder) == ["step-00000005", "step-00000012"]
    found, problems = checkpoint.latest(folder)
    assert problems == []
    assert found.path == folder / "step-00000012"
    assert found.state["at"] == 12
    assert found.weights["w"].tolist() == [12.0] * 3
    assert found.optimizer["m"].tolist() == [12.0] * 2
    save(folder, 13, keep=1)
    assert names(folder) == ["step-00000013"]


def test_a_checkpoint_that_is_there_is_kept_as_it_is(tmp_path):
    save(tmp_path, 1)
    checkpoint.save(tmp_path, 1, {"at": "other"}, {}, {})
    assert checkpoint.latest(tmp_path)[0].state["at"] == 1


def test_more_than_eight_digits_are_in_order_too(tmp_path):
    """Step 100,000,000 has nine digits: as text its name sorts before that of 99,999,999."""
    for step in (99_999_998, 99_999_999, 100_000_000):
        save(tmp_path, step)
    assert checkpoint.latest(tmp_path)[0].state["at"] == 100_000_000
    assert len(checkpoint.existing(tmp_path)) == 2


def test_tied_and_strided_weights_come_back(tmp_path):
    whole = torch.arange(6.0).reshape(2, 3)
    weights = {"a": whole, "tied": whole, "turned": whole.T, "row": whole[1], "none": torch.zeros(0)}
    checkpoint.save(tmp_path, 1, {}, weights, {})
    found = checkpoint.latest(tmp_path)[0]
    assert set(found.weights) == set(weights)
    assert all(torch.equal(found.weights[k], v) for k, v in weights.items())


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    save(tmp_path, 1)
    with pytest.raises(NonFiniteError, match="'bad' holds NaN"):
        checkpoint.save(tmp_path, 2, {}, {"n": torch.tensor([1]), "bad": torch.tensor([float("inf")])}, {})
    assert names(tmp_path) == ["step-00000001"]


@pytest.mark.parametrize("name", [checkpoint.WEIGHTS, checkpoint.OPTIMIZER, checkpoint.STATE])
@pytest.mark.parametrize("how", ["altered", "truncated", "missing"])
def test_a_damaged_checkpoint_is_passed_over_and_named(tmp_path, name, how):
    save(tmp_path, 1)
    file = save(tmp_path, 2) / name
    content = file.read_bytes()
    if how == "missing":
        file.unlink()
    else:
        file.write_bytes(content[:-2] if how == "truncated" else b"\xff" + content[1:])
    found, problems = checkpoint.latest(tmp_path)
    assert found.state["at"] == 1
    assert len(problems) == 1
    assert problems[0].startswith("step-00000002: ")
    checkpoint.discard(tmp_path / "step-00000001")
    with pytest.raises(ArtifactError, match=r"no checkpoint in .* can be read"):
        checkpoint.latest(tmp_path)


@pytest.mark.parametrize(
    "content", ["[]", "null", "{}", '{"format": 99}', '{"format": "x"}', '{"format": 1, "files": []}']
)
def test_a_state_of_another_form(tmp_path, content):
    save(tmp_path, 1)
    (save(tmp_path, 2) / checkpoint.STATE).write_text(content)
    found, problems = checkpoint.latest(tmp_path)
    assert found.state["at"] == 1
    assert len(problems) == 1


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES])
def test_a_refusal_at_any_call_leaves_the_earlier_checkpoints(tmp_path, code):
    for n in range(1, 40):
        save(tmp_path, 2 * n)
        calls, failed = [], []

        def watched(inner, at=n, calls=calls, failed=failed):
            def call(*args, **options):
                calls.append(1)
                if len(calls) == at:
                    failed.append(1)
                    raise OSError(code, os.strerror(code))
                return inner(*args, **options)

            return call

        with pytest.MonkeyPatch.context() as patch:
            for name in ("replace", "fsync"):
                patch.setattr(os, name, watched(getattr(os, name)))
            try:
                save(tmp_path, 2 * n + 1)
                allowed = {2 * n + 1}
            except StorageError as error:
                assert f"step-{2 * n + 1:08d}" in str(error)  # noqa: PT017
                assert files.TEMPORARY not in str(error)  # noqa: PT017
                allowed = {2 * n}
        found, problems = checkpoint.latest(tmp_path)
        assert found.state["at"] in allowed
        assert problems == []
        files.sweep(tmp_path)
        assert all(name.startswith("step-") for name in names(tmp_path))
        if not failed:
            break
    assert n > 6
    assert not failed


LOOP = """
import itertools, pathlib, sys
import torch
from mumei.core import checkpoint, files
folder = pathlib.Path(sys.argv[1])
files.sweep(folder)
found, problems = checkpoint.latest(folder)
assert not problems, problems
for step in itertools.count(found.state["at"] + 1 if found else 1):
    checkpoint.save(folder, step, {"at": step}, {"w": torch.full((50_000,), float(step))}, {})
    print(step, flush=True)
"""


def test_a_killed_process_leaves_a_checkpoint_that_loads(tmp_path):
    for _ in range(4):
        with subprocess.Popen(
            [sys.executable, "-c", LOOP, str(tmp_path)],
            stdout=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        ) as process:
            for _ in range(4):
                last = int(process.stdout.readline())
            os.kill(process.pid, signal.SIGKILL)
            last = max([last, *(int(line) for line in process.stdout.read().split())])
        found, problems = checkpoint.latest(tmp_path)
        assert problems == []
        assert found.state["at"] in (last, last + 1)
        assert bool((found.weights["w"] == found.state["at"]).all())


def trained(optimizer_class, **options):
    """A net whose convolution has its weights with channels last, so in another order than files have."""
    torch.manual_seed(0)
    pixels = [nn.Unflatten(1, (3, 1, 1)), nn.Conv2d(3, 4, 3, padding=1), nn.Flatten()]
    net = nn.Sequential(*pixels, nn.BatchNorm1d(4), nn.Linear(4, 1)).to(memory_format=torch.channels_last)
    return net, optimizer_class(net.parameters(), lr=0.01, **options)


def run(net, optimizer, steps):
    x = torch.randn(8, 3, generator=torch.Generator().manual_seed(1))
    for _ in range(steps):
        optimizer.zero_grad()
        (net(x) ** 2).mean().backward()
        optimizer.step()
    return torch.cat([p.detach().flatten() for p in net.state_dict().values()])


@pytest.mark.parametrize(
    ("cls", "options"),
    [
        (torch.optim.Adam, {"fused": True}),
        (torch.optim.AdamW, {"amsgrad": True}),
        (torch.optim.SGD, {"momentum": 0.9}),
        (torch.optim.SGD, {}),
        (torch.optim.Rprop, {}),
    ],
)
def test_a_restored_optimiser_goes_on_bit_for_bit(tmp_path, cls, options):
    """Expected: the same net trained without the interruption."""
    with torch.random.fork_rng():
        whole = run(*trained(cls, **options), 6)
        net, optimizer = trained(cls, **options)
        run(net, optimizer, 3)
        tensors, rest = checkpoint.optimizer_state({"all": optimizer})
        checkpoint.save(tmp_path, 3, {"optimizers": rest}, checkpoint.weights_of({"net": net}), tensors)
        net, optimizer = trained(cls, **options)
    found = checkpoint.latest(tmp_path)[0]
    checkpoint.restore_weights({"net": net}, found.weights)
    checkpoint.restore_optimizers({"all": optimizer}, found.optimizer, found.state["optimizers"])
    assert torch.equal(run(net, optimizer, 3), whole)


def test_scalars_and_tuples_of_an_optimiser_come_back():
    net, optimizer = trained(torch.optim.Adam, betas=(0.8, 0.9))
    run(net, optimizer, 1)
    first = next(iter(optimizer.state))
    optimizer.state[first]["count"] = 7
    tensors, rest = checkpoint.optimizer_state({"a": optimizer, "b": trained(torch.optim.SGD)[1]})
    _, other = trained(torch.optim.Adam)
    checkpoint.restore_optimizers({"a": other}, tensors, json.loads(json.dumps(rest)))
    assert other.param_groups[0]["betas"] == (0.8, 0.9)
    assert other.state[other.param_groups[0]["params"][0]]["count"] == 7


@pytest.mark.parametrize("value", [object(), float("nan"), {1, 2}])
def test_an_optimiser_state_that_cannot_be_saved_is_named(value):
    net, optimizer = trained(torch.optim.Adam)
    run(net, optimizer, 1)
    optimizer.state[next(iter(optimizer.state))]["odd"] = value
    with pytest.raises(UsageError, match="'odd' of optimiser 'all'"):
        checkpoint.optimizer_state({"all": optimizer})


def test_discarding_what_cannot_be_discarded_is_no_error(tmp_path):
    checkpoint.discard(tmp_path / "step-00000001")


def test_newer_checkpoints_are_discarded_by_number(tmp_path):
    for step in (3, 20, 100_000_000):
        save(tmp_path, step, keep=9)
    checkpoint.discard_after(tmp_path, tmp_path / "step-00000020")
    assert names(tmp_path) == ["step-00000003", "step-00000020"]
    checkpoint.discard_after(tmp_path, None)
    assert names(tmp_path) == []


def lines(log):
    return [json.loads(line) for line in log.path.read_text().splitlines()]


def test_the_log_is_cut_back_to_a_step(tmp_path):
    log = checkpoint.MetricsLog(tmp_path / "metrics.jsonl")
    log.cut(3)
    assert not log.path.exists()
    for step in range(1, 6):
        log.append({"step": step, "name": "é"})
    with open(log.path, "ab") as handle:
        handle.write(b'{"step": 2')
    before = log.path.stat().st_ino
    log.cut(3)
    assert [line["step"] for line in lines(log)] == [1, 2, 3]
    assert log.path.stat().st_ino != before
    log.append({"step": 4})
    assert lines(log)[-1] == {"step": 4}
    with open(log.path, "ab") as handle:
        handle.write(b'[1]\n{"a": 1}\n\xff\n')
    log.cut(10)
    assert [line.get("step") for line in lines(log)] == [1, 2, 3, 4]


def test_a_log_line_must_be_finite_json(tmp_path):
    log = checkpoint.MetricsLog(tmp_path / "metrics.jsonl")
    with pytest.raises(ValueError, match="JSON"):
        log.append({"step": 1, "loss": float("nan")})
    with pytest.raises(StorageError, match="metrics"):
        checkpoint.MetricsLog(tmp_path / "none" / "metrics.jsonl").append({"step": 1})


def test_a_short_write_is_continued(tmp_path, monkeypatch):
    """os.write may take a part only (a signal, a nearly full disk)."""
    real = os.write
    monkeypatch.setattr(os, "write", lambda d, b: real(d, bytes(b)[:5]))
    log = checkpoint.MetricsLog(tmp_path / "metrics.jsonl")
    log.append({"step": 1, "loss": 0.25})
    log.sync()
    assert lines(log) == [{"step": 1, "loss": 0.25}]
