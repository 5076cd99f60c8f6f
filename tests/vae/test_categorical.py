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


@pytest.mark.parametrize("classes", [[3, 3, 3], [2, 4, 2], [5, 2, 3]])
def test_groups_of_classes_keep_the_order_of_the_features(classes):
    likelihood, draw = Categorical(3, classes), np.random.default_rng(0)
    x = torch.from_numpy(np.stack([draw.integers(0, c, 6) for c in classes], 1)).float()
    out = torch.randn(2, 6, sum(classes), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    parts = [torch.distributions.Categorical(logits=p) for p in out.split(classes, -1)]
    expected = sum(p.log_prob(x[:, j].long()) for j, p in enumerate(parts))
    torch.testing.assert_close(likelihood.log_prob(out, x), expected)
    torch.testing.assert_close(likelihood.probabilities(out), torch.cat([p.probs for p in parts], -1))
    assert torch.equal(likelihood.mean(out), torch.stack([p.probs.argmax(-1) for p in parts], -1).double())
    one_hot = torch.cat([torch.nn.functional.one_hot(x[:, j].long(), c) for j, c in enumerate(classes)], -1)
    assert torch.equal(likelihood.features(x), one_hot.float())
    certain = 200.0 * one_hot - 100.0
    state = torch.random.get_rng_state()
    assert torch.equal(likelihood.sample(certain, torch.Generator().manual_seed(0)), x)
    assert torch.equal(state, torch.random.get_rng_state())


def test_gradients_equal_finite_differences():
    likelihood, x = Categorical(3, [3, 2, 3]), torch.tensor([[2.0, 0.0, 1.0], [0.0, 1.0, 2.0]])
    out = torch.randn(2, 2, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda out: likelihood.log_prob(out, x), (out,))


def test_codes_that_are_none_are_refused():
    likelihood = Categorical(2, [3, 2])
    likelihood.check(np.array([[2, 1], [0, 0]]))
    for bad in ([[3, 0]], [[0, -1]], [[0.5, 0]]):
        with pytest.raises(DataError, match="whole numbers from 0"):
            likelihood.check(np.array(bad))
    with pytest.raises(DataError, match=r"row 1, column 1 holds 2; .* of 2 classes"):
        likelihood.check(np.array([[2, 1], [0, 2]]))
    for classes in ([3], [3, 1], [3, 2.5], "ab", None, 1):
        with pytest.raises(UsageError, match="2 or more"):
            Categorical(2, classes)


def test_a_network_sees_one_hot_columns():
    net = VAENet(Categorical(2, [3, 2]), 2, (4,))
    assert net.encoder.sizes[0] == 5
    assert bound(net, torch.tensor([[2.0, 1.0], [0.0, 0.0]]), torch.Generator().manual_seed(0)).shape == (2,)
