"""Sound toy networks and trainings pass; each broken one is caught by the check of its fault."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mumei.core.files import write_tensors
from mumei.core.seeds import torch_generator
from mumei.testing import check_network, check_resume
from mumei.testing import networks as kit

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
        result = type("Result", (), {})()
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


class LosesBits(Sound):
    def state_dict(self, *args, **options):
        return {k: v.bfloat16() for k, v in super().state_dict(*args, **options).items()}


BROKEN = [
    (kit.check_network_output, NotFinite),
    (kit.check_network_output, Empty),
    (kit.check_network_output, Noisy),
    (kit.check_network_rows_apart, Centred),
    (kit.check_network_gradients, Unused),
    (kit.check_network_gradients, Detached),
    (kit.check_network_same_seed, Unseeded),
    (kit.check_network_same_seed, GlobalRandom),
    (kit.check_network_save_load, LosesBits),
]


@pytest.mark.parametrize("sound", [Sound, Several])
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

    def __init__(self, *, momentum=True, order=True, frozen=False, seeded=True, overrun=False, returns="weights"):
        self.momentum, self.order, self.frozen = momentum, order, frozen
        self.seeded, self.overrun, self.returns = seeded, overrun, returns

    def __call__(self, steps, folder):
        from safetensors.torch import load_file

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
        return {"weights": {"w": w}, "nothing": {}, "list": [w]}[self.returns]


def test_a_training_that_resumes_passes_and_may_return_a_network():
    check_resume(Descent())

    def train(steps, folder):
        network = Sound()
        with torch.no_grad():
            network.weight[:, :] = float(Descent()(steps, folder)["w"].sum())
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
        ({"returns": "nothing"}, "not a mapping of weights"),
        ({"returns": "list"}, "not a mapping of weights"),
    ],
    ids=lambda x: "-".join(x) if isinstance(x, dict) else "",
)
def test_each_fault_of_a_resumed_training_is_caught(fault, sentence):
    with pytest.raises(AssertionError, match=rf"^check_resume: .*{sentence}"):
        check_resume(Descent(**fault))
