"""A training run killed at random moments ends with the bits of the undisturbed run."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mumei.core import checkpoint, files
from mumei.core.errors import StorageError
from mumei.core.train import Loss, Objective, TrainConfig, fit
from mumei.nn.mlp import MLP

SCRIPT = """
import sys, time, torch
from mumei.core.train import Loss, Objective, TrainConfig, fit
from mumei.nn.mlp import MLP

out, pause = sys.argv[1], float(sys.argv[2])
torch.set_num_threads(1)
rows = torch.randn(200, 12, generator=torch.Generator().manual_seed(1))
net = MLP((12, 32, 12), dropout=0.2, seed=3)

def loss(batch, at):
    noise = torch.randn(batch[0].shape, generator=at.rng)
    error = (at.nets["net"](batch[0] + 0.1 * noise) - batch[0]).square()
    return Loss(error.mean(), {"largest": error.max()})

steps = int(sys.argv[3])
config = TrainConfig(epochs=None, max_steps=steps, batch_size=32, checkpoint_steps=7, log_steps=5, clip=5.0, seed=9)
seen = []

def on_step(at, values):
    if not seen:
        print("training", flush=True)
    seen.append(at.step)
    time.sleep(pause)

print("start", flush=True)
fit(Objective(net, loss), rows, config, out=out, on_step=on_step)
print("done", flush=True)
"""


def start(out: Path, steps: int, pause: float = 0.0) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SCRIPT, str(out), str(pause), str(steps)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def finish(process: subprocess.Popen[str]) -> None:
    text, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    assert "done" in text


def kill_once(out: Path, steps: int, draw: random.Random, before_training: bool) -> bool:
    """Start the run and kill it at a random moment of its start or of its training; say whether it was training."""
    process = start(out, steps, pause=0.004)
    assert process.stdout is not None
    assert process.stdout.readline() == "start\n"
    training = not before_training and process.stdout.readline() == "training\n"
    time.sleep(draw.uniform(0.0, 0.4))
    running = process.poll() is None
    process.send_signal(signal.SIGKILL)
    rest, _ = process.communicate()
    return training and running and "done" not in rest


def final(out: Path, steps: int) -> dict[str, bytes]:
    """The bytes of all weights and optimiser entries of the last checkpoint."""
    folder = checkpoint.existing(out / "checkpoints")[-1]
    assert folder.name == f"step-{steps:08d}"
    return {
        f"{name}/{key}": value.numpy().tobytes()
        for name in (checkpoint.WEIGHTS, checkpoint.OPTIMIZER)
        for key, value in load_file(folder / name).items()
    }


def lines(out: Path) -> list[dict[str, float]]:
    """The log without its timing fields."""
    records = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in r.items() if k not in ("seconds", "rows_per_second")} for r in records]


def killed_equals_undisturbed(folder: Path, kills: int, steps: int) -> tuple[int, int]:
    """Return how many kills hit the training, and how many starts found a checkpoint to go on from."""
    finish(start(folder / "calm", steps))
    draw, hits, resumed = random.Random(5), 0, 0
    for n in range(kills):
        hits += kill_once(folder / "killed", steps, draw, before_training=n % 5 == 3)
        resumed += bool(checkpoint.existing(folder / "killed" / "checkpoints"))
    finish(start(folder / "killed", steps))
    assert final(folder / "killed", steps) == final(folder / "calm", steps)
    assert lines(folder / "killed") == lines(folder / "calm")
    assert len(lines(folder / "calm")) == steps // 5
    assert not list((folder / "killed").rglob(files.TEMPORARY + "*"))
    return hits, resumed


def test_killed_run_ends_with_the_same_bits(tmp_path: Path) -> None:
    """Expected values: the undisturbed run's own."""
    hits, resumed = killed_equals_undisturbed(tmp_path, kills=5, steps=300)
    assert hits >= 2
    assert resumed >= 1


@pytest.mark.slow
def test_killed_twenty_times(tmp_path: Path) -> None:
    hits, resumed = killed_equals_undisturbed(tmp_path, kills=20, steps=1200)
    print(f"{hits} of 20 kills hit the training; {resumed} starts left a checkpoint to go on from")
    assert hits >= 10
    assert resumed >= 10


def small_run(out: Path) -> torch.Tensor:
    rows = torch.randn(40, 4, generator=torch.Generator().manual_seed(1))
    net = MLP((4, 6, 4), dropout=0.2, seed=3)

    def loss(batch: tuple[torch.Tensor, ...], at: object) -> Loss:
        return Loss((net(batch[0]) - batch[0]).square().mean())

    fit(Objective(net, loss), rows, TrainConfig(epochs=2, batch_size=8, checkpoint_steps=3, log_steps=2), out=out)
    return torch.cat([p.detach().flatten() for p in net.parameters()])


def outcome(out: Path) -> StorageError | None:
    try:
        small_run(out)
    except StorageError as error:
        return error
    return None


@pytest.mark.parametrize("call", ["replace", "fsync"])
def test_every_failing_call_leaves_a_run_that_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """Fail the n-th os.replace or os.fsync, for every n that the run makes; the next start ends with the same bits."""
    expected = small_run(tmp_path / "calm")
    real = getattr(os, call)
    for n in range(1, 200):
        out, count = tmp_path / f"{call}{n}", [0]

        def failing(*arguments: object, n: int = n, count: list[int] = count) -> object:
            count[0] += 1
            if count[0] == n:
                raise OSError(28, "No space left on device")
            return real(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(os, call, failing)
            error = outcome(out)
        assert error is None or "disk is full" in str(error)
        assert checkpoint.latest(out / "checkpoints")[1] == []
        assert torch.equal(small_run(out), expected)
        if count[0] < n:
            assert n > 10
            assert error is None
            return
    pytest.fail("the run made 200 calls or more")
