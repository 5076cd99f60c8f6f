"""One device in plain torch, and two processes through Fabric that end with the weights of one."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mumei.core import runtime
from mumei.core.errors import MissingExtraError, UsageError


def test_the_single_runtime_is_plain_torch():
    """Expected: the gradient of the sum of squares, 2 w, scaled to norm 1 by hand."""
    one = runtime.SingleRuntime()
    assert (one.device, one.rank, one.world_size) == (torch.device("cpu"), 0, 1)
    net = torch.nn.Linear(2, 1, bias=False)
    nets = one.wrap({"net": net})
    assert nets["net"] is net
    optimizer = torch.optim.SGD(net.parameters(), lr=1.0)
    assert one.wrap_optimizers({"o": optimizer})["o"] is optimizer
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[3.0, 4.0]]))
    one.backward((net.weight**2).sum())
    assert net.weight.grad.tolist() == [[6.0, 8.0]]
    assert float(one.clip(net.parameters(), 1.0)) == pytest.approx(10.0)
    assert torch.allclose(net.weight.grad, torch.tensor([[0.6, 0.8]]), atol=1e-5)
    values = torch.tensor([1.0, 2.0])
    assert one.all_reduce(values) is values
    assert one.barrier() is None


@pytest.mark.parametrize("name", ["gpu", "cpu:1", "cuda:x", "mps:0", "", "cuda:-1", "cpux"])
def test_an_unknown_device(name):
    with pytest.raises(UsageError, match="unknown device"):
        runtime.pick_device(name)


def machine(monkeypatch, cuda: int, mps: bool):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


@pytest.mark.parametrize(
    ("cuda", "mps", "given", "found"),
    [
        (0, False, "auto", "cpu"),
        (0, True, "auto", "mps"),
        (2, False, "auto", "cuda:0"),
        (2, False, "cuda", "cuda:0"),
        (2, False, "cuda:1", "cuda:1"),
        (2, True, "cpu", "cpu"),
    ],
)
def test_a_device_is_picked(monkeypatch, cuda, mps, given, found):
    machine(monkeypatch, cuda, mps)
    assert str(runtime.pick_device(given)) == found


@pytest.mark.parametrize(("cuda", "name"), [(0, "cuda"), (2, "cuda:2"), (0, "mps")])
def test_a_device_that_is_not_here(monkeypatch, cuda, name):
    machine(monkeypatch, cuda, False)
    with pytest.raises(UsageError, match="is not on this machine"):
        runtime.SingleRuntime(name)


@given(length=st.integers(0, 50), world=st.integers(1, 9))
def test_slices_cover_a_batch_in_order_and_evenly(length, world):
    parts = [range(*runtime.slice_of(length, rank, world)) for rank in range(world)]
    assert [i for part in parts for i in part] == list(range(length))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "lightning_fabric", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'mumei\[fabric\]'"):
        runtime.FabricRuntime()


def test_fabric_with_one_process_is_plain_torch():
    """Expected: the gradients of the same network without Fabric."""
    pytest.importorskip("lightning_fabric")
    many = runtime.FabricRuntime("cpu", devices=1, strategy="auto", forward_methods=("forward_twice", "missing"))
    assert (many.device, many.rank, many.world_size) == (torch.device("cpu"), 0, 1)

    class Net(torch.nn.Linear):
        def forward_twice(self, x):
            return self(self(x))

    net, frozen = Net(2, 2), torch.nn.Linear(2, 2).requires_grad_(False)
    nets = many.wrap({"net": net, "frozen": frozen})
    assert nets["frozen"] is frozen
    optimizers = many.wrap_optimizers({"o": torch.optim.SGD(net.parameters(), lr=0.1)})
    x = torch.ones(1, 2)
    before = net.weight.detach().clone()
    wanted = torch.autograd.grad(net(net(x)).sum(), net.weight)[0]
    many.backward(nets["net"].forward_twice(x).sum())
    assert torch.allclose(net.weight.grad, wanted)
    norm = float(many.clip(net.parameters(), 1e9))
    assert norm == pytest.approx(float(torch.cat([p.grad.flatten() for p in net.parameters()]).norm()))
    optimizers["o"].step()
    assert torch.allclose(net.weight, before - 0.1 * wanted)
    assert many.all_reduce(torch.tensor([2.0])).tolist() == [2.0]
    many.barrier()


SCRIPT = """
import json, pathlib, sys
import torch
from mumei.core.runtime import FabricRuntime, SingleRuntime
from mumei.core.train import Loss, Objective, TrainConfig, fit

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = torch.nn.Linear(5, 7), torch.nn.Linear(7, 5)
    def encode(self, x):
        return torch.tanh(self.a(x))
    def forward(self, x):
        return self.b(self.encode(x))

def train(runtime, out, epochs=3, rows=40, batch=16):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(rows, 5, generator=generator)
    with torch.random.fork_rng():
        torch.manual_seed(runtime.rank)  # rank 0's start must win
        net = Net()
        frozen = torch.nn.Linear(5, 5)
    frozen.requires_grad_(False)
    with torch.no_grad():
        for p in frozen.parameters():
            p.fill_(0.1)
    def loss(batch, at):
        (x,) = batch
        if METHOD:
            made = at.nets["net"].encode(x).pow(2).mean()
        else:
            made = (at.nets["net"](x) - at.nets["frozen"](x)).pow(2).mean()
        return Loss(made, {"error": made})
    config = TrainConfig(epochs=epochs, batch_size=batch, seed=3, learning_rate=0.01, clip=0.05)
    history = fit(Objective({"net": net, "frozen": frozen}, loss), x, config, out=out, runtime=runtime)
    return [p.detach().flatten().tolist() for p in net.parameters()], history.epochs

METHOD = False
if __name__ == "__main__":
    kind, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    options = {"accelerator": "cpu", "devices": 2, "strategy": "ddp"}
    runtime = SingleRuntime() if kind == "single" else FabricRuntime(**options)
    assert runtime.world_size == (1 if kind == "single" else 2)
    assert runtime.all_reduce(torch.tensor([1.0 + runtime.rank])).tolist() == [1.0 if kind == "single" else 3.0]
    found = {"even": train(runtime, folder / kind)}
    train(runtime, folder / (kind + "-resumed"), epochs=1)
    found["resumed"] = train(runtime, folder / (kind + "-resumed"))
    found["odd"] = train(runtime, None, rows=17, batch=8)
    (folder / f"{kind}-{runtime.rank}.json").write_text(json.dumps(found))
"""


def start(kind, folder):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, str(folder / "script.py"), kind, str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


def close(a, b):
    return all(abs(x - y) < 1e-5 for p, q in zip(a, b, strict=True) for x, y in zip(p, q, strict=True))


@pytest.mark.skipif(sys.platform != "linux", reason="needs gloo over the loopback interface 'lo'")
def test_two_processes_end_with_the_weights_of_one(tmp_path):
    """Expected: one process, whole batches. Odd batches are split unevenly and weighed by rows; a run can be resumed."""
    pytest.importorskip("lightning_fabric")
    (tmp_path / "script.py").write_text(SCRIPT)
    start("single", tmp_path)
    start("fabric", tmp_path)
    single, first, second = (
        json.loads((tmp_path / f"{name}.json").read_text()) for name in ("single-0", "fabric-0", "fabric-1")
    )
    for case in ("even", "resumed", "odd"):
        assert close(first[case][0], single[case][0]), case
        assert first[case][0] == second[case][0], case
        losses = [[epoch["loss"] for epoch in run[case][1]] for run in (single, first, second)]
        assert losses[1] == pytest.approx(losses[0], abs=1e-5)
        assert losses[1] == losses[2]
    assert first["resumed"][0] == first["even"][0]
    same = [sorted(str(p.relative_to(tmp_path / k)) for p in (tmp_path / k).rglob("*")) for k in ("single", "fabric")]
    assert same[0] == same[1]
