"""Ranges and schedules of a training configuration."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mumei.core.config import EarlyStopping, TrainConfig
from mumei.core.errors import UsageError


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"epochs": None}, "would train forever"),
        ({"epochs": 0}, "epochs=0 .*at least 1"),
        ({"epochs": True}, "an integer"),
        ({"max_steps": 1.5}, "max_steps=1.5 .*an integer"),
        ({"batch_size": 0}, "batch_size=0 .*at least 1"),
        ({"batch_size": "64"}, "batch_size='64'"),
        ({"seed": -1}, "seed=-1 .*at least 0"),
        ({"learning_rate": -0.1}, "learning_rate=-0.1 .*at least 0"),
        ({"learning_rate": math.nan}, "learning_rate=nan"),
        ({"momentum": 1.5}, "at most 1"),
        ({"clip": 0.0}, "clip=0.0 .*greater than 0"),
        ({"optimizer": "adm"}, "Did you mean 'adam'"),
        ({"precision": "fp16"}, "Allowed: bf16, float32"),
        ({"schedule": "cosin"}, "Did you mean 'cosine'"),
        ({"checkpoint_seconds": -1.0}, "greater than 0"),
        ({"keep": 0}, "keep=0"),
    ],
)
def test_out_of_range(options, said):
    with pytest.raises(UsageError, match=said):
        TrainConfig(**options)


def test_early_stopping_ranges():
    with pytest.raises(UsageError, match=r"patience=0 .*at least 1"):
        EarlyStopping(patience=0)
    with pytest.raises(UsageError, match="Allowed: max, min"):
        EarlyStopping(mode="lowest")


@given(st.integers(1, 500), st.integers(0, 20), st.sampled_from(["linear", "cosine", "constant"]), st.floats(0, 1))
def test_rates_rise_then_fall_to_the_final_one(total, warmup, schedule, final):
    config = TrainConfig(schedule=schedule, warmup_steps=warmup, final_rate=final)
    rates = [config.rate(step, total) for step in range(max(total, warmup + 2))]
    assert rates[:warmup] == pytest.approx([(i + 1) / warmup for i in range(warmup)])
    after = rates[warmup:total]
    assert all(a >= b - 1e-12 for a, b in pairwise(after))
    assert all(final - 1e-12 <= r <= 1 + 1e-12 for r in after)
    if schedule != "constant" and len(after) > 1:
        assert (after[0], after[-1]) == pytest.approx((1.0, final))


def test_cosine_by_hand():
    """Expected: (1 + cos(pi t)) / 2 at t = 0, 1/4, 1/2, 3/4, 1."""
    config = TrainConfig(schedule="cosine")
    assert [config.rate(s, 5) for s in range(5)] == pytest.approx(
        [1, (1 + 0.5**0.5) / 2, 0.5, (1 - 0.5**0.5) / 2, 0], abs=1e-9
    )


def test_total_steps_and_identity():
    assert TrainConfig(epochs=3).total_steps(7) == 21
    assert TrainConfig(epochs=3, max_steps=5).total_steps(7) == 5
    assert TrainConfig(epochs=None, max_steps=50).total_steps(7) == 50
    assert TrainConfig(epochs=3).identity() == TrainConfig(epochs=4, keep=3, checkpoint_steps=1).identity()
    assert TrainConfig(schedule="linear", epochs=3).identity() != TrainConfig(schedule="linear", epochs=4).identity()
