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


def test_a_small_last_batch_is_left_out_where_asked_and_where_there_is_another():
    assert not run(1000).config(seed=0).drop_last
    assert run(1000, drop_last=True, epochs=10).config(seed=0).total_steps(3) == 30
    assert run(1000, drop_last=True).config(seed=0).drop_last
    assert not run(100, drop_last=True).config(seed=0).drop_last


def test_the_optimisers_settings_are_passed_on():
    config = run(1000, weight_decay=0.25, optimizer="rmsprop").config(seed=0)
    assert (config.weight_decay, config.optimizer) == (0.25, "rmsprop")


def test_other_words_are_refused():
    with pytest.raises(UsageError, match="'auto'"):
        run(10, epochs="many").config(seed=0)
    assert run(10).folder("clustering") is None
