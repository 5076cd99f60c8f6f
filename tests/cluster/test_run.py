"""What a run's settings say to the training loop."""

from __future__ import annotations

import pytest
import torch

from mumei.cluster.autoencoder import AutoencoderClusterer
from mumei.cluster.run import Run
from mumei.core.errors import UsageError


def run(n: int, **settings) -> Run:
    return Run({**AutoencoderClusterer.COMMON, "batch_size": 256, **settings}, 0, 3, 2, arrays=torch.zeros(n, 2))


def test_auto_epochs_aim_at_steps_within_bounds():
    assert run(1000).config("pretrain_", seed=0).epochs == 200  # 4 steps an epoch
    assert run(70_000).config("pretrain_", seed=0).epochs == 12  # 274 steps an epoch
    assert run(10_000).config(seed=0).epochs == 25  # 40 steps an epoch
    assert run(1000, epochs=7).config(seed=0).epochs == 7


def test_a_falling_rate_begins_with_a_tenth_of_the_steps():
    assert run(2560, epochs=10).config(seed=0).warmup_steps == 10
    assert run(2560, epochs=10, schedule="constant").config(seed=0).warmup_steps == 0


def test_other_words_are_refused():
    with pytest.raises(UsageError, match="'auto'"):
        run(10, epochs="many").config(seed=0)
    assert run(10).folder("clustering") is None
