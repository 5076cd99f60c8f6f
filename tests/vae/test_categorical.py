"""The categorical likelihood against torch.distributions."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mumei.core.errors import DataError, UsageError
from mumei.vae.categorical import Categorical
from mumei.vae.network import VAENet
from mumei.vae.objective import bound


def test_log_prob_equals_torch_distributions():
    likelihood = Categorical(2, [3, 2])
    out = torch.randn(4, 7, 5, generator=torch.Generator().manual_seed(0))
    x = torch.stack([torch.arange(7) % 3, torch.arange(7) % 2], 1).float()
    parts = [torch.distributions.Categorical(logits=p) for p in out.split([3, 2], -1)]
    expected = sum(p.log_prob(x[:, j].long()) for j, p in enumerate(parts))
    torch.testing.assert_close(likelihood.log_prob(out, x), expected)


def test_samples_follow_their_probabilities_and_the_mean_is_the_most_probable_code():
    likelihood, logits = Categorical(1, 3), torch.tensor([0.2, 0.5, 0.3]).log()
    drawn = likelihood.sample(logits.expand(20_000, 3), torch.Generator().manual_seed(0))
    shares = np.bincount(drawn[:, 0].long().numpy(), minlength=3) / 20_000
    np.testing.assert_allclose(shares, [0.2, 0.5, 0.3], atol=0.015)
    assert likelihood.mean(logits[None]).tolist() == [[1.0]]


def test_codes_that_are_none_are_refused():
    likelihood = Categorical(2, [3, 2])
    likelihood.check(np.array([[2, 1], [0, 0]]))
    for bad in ([[3, 0]], [[0, -1]], [[0.5, 0]]):
        with pytest.raises(DataError, match="whole numbers from 0"):
            likelihood.check(np.array(bad))
    with pytest.raises(UsageError, match="2 or more"):
        Categorical(2, [3])


def test_a_network_sees_one_hot_columns():
    net = VAENet(Categorical(2, [3, 2]), 2, (4,))
    assert net.encoder.sizes[0] == 5
    assert bound(net, torch.tensor([[2.0, 1.0], [0.0, 0.0]]), torch.Generator().manual_seed(0)).shape == (2,)
