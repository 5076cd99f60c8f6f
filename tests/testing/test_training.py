"""Sound toy networks and trainings pass; each broken one is caught by the check of its fault."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from mumei.core import registry
from mumei.core.artifact import Saveable, State
from mumei.core.errors import UsageError
from mumei.core.files import write_tensors
from mumei.core.seeds import torch_generator
from mumei.testing import check_network, check_resume
from mumei.testing import training as kit

BATCH = torch.arange(20.0).reshape(5, 4) / 20
MADE = iter(range(1, 10**9))


class Sound(nn.Module):
    def __init__(self, seed=0):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 3, generator=torch_generator(seed, "toy")))

    def forward(self, x):
        return x @ self.weight


class Several(Sound):
    """Outputs may be nested in dicts, tuples and plain objects; a whole-batch value is no row."""

    def forward(self, x):
        result = SimpleNamespace()
        result.codes = super().forward(x)
        return {"all": (result, x.mean()), "n": [torch.tensor(3)]}


class NotFinite(Sound):
    def forward(self, x):
        return super().forward(x) / 0


class Empty(Sound):
    def forward(self, x):
        return None


class Noisy(Sound):
    def forward(self, x):
        return super().forward(x) + 1e-6 * next(MADE)


class Centred(Sound):
    def forward(self, x):
        return super().forward(x) - super().forward(x).mean(dim=0)


class Unused(Sound):
    def __init__(self):
        super().__init__()
        self.unused = nn.Parameter(torch.ones(2))


class Detached(Sound):
    def forward(self, x):
        return super().forward(x).detach()


class Unseeded(Sound):
    def __init__(self):
        super().__init__(seed=next(MADE))


class GlobalRandom(Sound):
    def __init__(self):
        super().__init__()
        torch.rand(1)


class DrawsInForward(Sound):
    def forward(self, x):
        torch.rand(1)
        return super().forward(x)


class ForgetsBuffer(Sound):
    """Its running mean is no part of its state."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(4), persistent=False)

    def forward(self, x):
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * x.detach().mean(dim=0)
        return super().forward(x - self.mean)


class Saved(Sound, Saveable):
    def state(self):
        return State({}, dict(self.state_dict()))

    @classmethod
    def from_state(cls, state):
        made = cls()
        made.load_state_dict(state.tensors)
        return made


class SavesInitial(Saved):
    @classmethod
    def from_state(cls, state):
        return cls()


class ComesBackAsAnother(Saved):
    @classmethod
    def from_state(cls, state):
        return Saved.from_state(state)


class NoModule:
    """A function in a class."""


class NoParameters(nn.Module):
    def forward(self, x):
        return x


class LosesBits(Sound):
    def state_dict(self, *args, **options):
        return {k: v.bfloat16() for k, v in super().state_dict(*args, **options).items()}


BROKEN = [
    (kit.check_meets_protocol, NoModule),
    (kit.check_meets_protocol, NoParameters),
    (kit.check_output, NotFinite),
    (kit.check_output, Empty),
    (kit.check_output, Noisy),
    (kit.check_rows_apart, Centred),
    (kit.check_gradients, Unused),
    (kit.check_gradients, Detached),
    (kit.check_same_seed_same_bits, Unseeded),
    (kit.check_same_seed_same_bits, GlobalRandom),
    (kit.check_global_random, DrawsInForward),
    (kit.check_save_load, LosesBits),
    (kit.check_save_load, ForgetsBuffer),
    (kit.check_artifact, SavesInitial),
    (kit.check_artifact, ComesBackAsAnother),
]


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    """The toys that can be saved are registered for the time of a test."""
    monkeypatch.setattr(registry, "_ENTRIES", dict(registry._ENTRIES))
    for cls in (Saved, SavesInitial, ComesBackAsAnother):
        registry.register(f"test/{cls.__name__.lower()}", f"{cls.__module__}:{cls.__qualname__}", "a toy")


@pytest.mark.parametrize("sound", [Sound, Several, Saved])
def test_a_sound_network_passes(sound):
    check_network(sound, BATCH)


@pytest.mark.parametrize(("check", "broken"), BROKEN, ids=lambda x: x.__name__)
def test_each_fault_is_caught_by_its_check(check, broken):
    """The whole kit stops at this check and no other: all checks before it pass. The sentence names check and class."""
    with pytest.raises(AssertionError, match=rf"^{check.__name__}: {broken.__name__}\b.*\.$"):
        check_network(broken, BATCH)


def test_every_check_was_seen_to_fail():
    assert {check for check, _ in BROKEN} == set(kit.CHECKS)


# --- resume -----------------------------------------------------------------------------------------------------------


class Descent:
    """Momentum descent on a quadratic, with what it keeps between steps in a file; the faults are switches."""

    def __init__(
        self, *, momentum=True, order=True, frozen=False, seeded=True, overrun=False, draws=False, returns="weights"
    ):
        self.draws = draws
        self.momentum, self.order, self.frozen = momentum, order, frozen
        self.seeded, self.overrun, self.returns = seeded, overrun, returns

    def __call__(self, folder, steps):
        from safetensors.torch import load_file

        if self.draws:
            torch.rand(1)

        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "state.safetensors"
        kept = load_file(file) if file.exists() else {}
        w = kept.get("w", torch.ones(3, dtype=torch.float64))
        v = kept.get("v", torch.zeros(3, dtype=torch.float64)) if self.momentum else torch.zeros(3, dtype=torch.float64)
        done = int(kept.get("done", torch.tensor(0)))
        if not self.seeded and not done:
            w = w + 1e-9 * next(MADE)
        last = steps + 1 if self.overrun and done else steps
        for step in range(done, last):
            place = step if self.order else step - done
            v = 0.9 * v + w * torch.rand(3, dtype=torch.float64, generator=torch_generator(0, "step", place))
            w = w if self.frozen else w - 0.1 * v
        write_tensors(file, {"w": w.clone(), "v": v.clone(), "done": torch.tensor(max(last, done))})
        return {"weights": {"w": w}, "tensor": w, "list": [w], "nothing": {}, "numbers": [1.0]}[self.returns]


def test_a_training_that_resumes_passes_and_may_return_a_network():
    check_resume(Descent())
    check_resume(Descent(returns="tensor"))
    check_resume(Descent(returns="list"))

    def train(folder, steps):
        network = Sound()
        with torch.no_grad():
            network.weight[:, :] = float(Descent()(folder, steps)["w"].sum())
        return network

    check_resume(train, steps=4)


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ({"momentum": False}, "when it is cut after 2 of 6 steps"),
        ({"order": False}, "when it is cut after 2 of 6 steps"),
        ({"frozen": True}, "does not learn"),
        ({"seeded": False}, "when the same run is made twice"),
        ({"overrun": True}, "when a finished run is continued"),
        ({"returns": "nothing"}, "not weights"),
        ({"returns": "numbers"}, "not weights"),
        ({"draws": True}, "global random state of torch"),
    ],
    ids=lambda x: "-".join(x) if isinstance(x, dict) else "",
)
def test_each_fault_of_a_resumed_training_is_caught(fault, sentence):
    with pytest.raises(AssertionError, match=rf"^check_resume: .*{sentence}"):
        check_resume(Descent(**fault))


def test_a_resume_needs_something_to_cut():
    with pytest.raises(UsageError, match="three or more"):
        check_resume(Descent(), steps=2)


def test_the_training_loop_of_the_core_resumes(tmp_path):
    """`core.train.fit`, with momentum, dropout and a shuffled order, goes on to the same bits."""
    from mumei.core.train import Objective, TrainConfig, fit
    from mumei.nn.mlp import MLP

    rows = torch.randn(20, 4, generator=torch_generator(0, "rows"))

    def train(folder, steps):
        net = MLP((4, 6, 4), dropout=0.2)
        method = Objective(net, lambda batch, at: (at.nets["net"](batch[0]) - batch[0]).square().mean())
        fit(method, rows, TrainConfig(max_steps=steps, batch_size=8, learning_rate=0.01), out=folder)
        return net

    check_resume(train)
