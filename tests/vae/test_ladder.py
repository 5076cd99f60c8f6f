"""The ladder: one layer is the plain VAE, KL by layer against torch.distributions, bounds in order, two layers in use."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.distributions import Independent, Normal, kl_divergence

from mumei.core.config import TrainConfig
from mumei.core.errors import UsageError
from mumei.core.method import Objective
from mumei.core.train import fit
from mumei.vae import objective
from mumei.vae.ladder import LadderNet, idle_layers
from mumei.vae.likelihoods import Bernoulli, Gaussian
from mumei.vae.network import VAENet
from mumei.vae.objective import BoundConfig


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def bits(n: int = 6, d: int = 9) -> torch.Tensor:
    return torch.rand(n, d, generator=generator(1)).round()


def shaken(net: LadderNet, by: float = 0.5) -> LadderNet:
    """Return the network with weights large enough that layers matter."""
    with torch.no_grad():
        for p in net.parameters():
            p.add_(by * torch.randn(p.shape, generator=generator(9)))
    return net


@pytest.mark.parametrize("estimator", ["A", "B", "iwae"])
def test_one_layer_is_the_plain_vae(estimator):
    """Expected: `VAENet` of the same seed under `objective.bound`, with the same noise."""
    plain = VAENet(Bernoulli(9), 4, (16,), seed=5)
    ladder = LadderNet(Bernoulli(9), (4,), (16,), seed=5)
    config = BoundConfig(estimator=estimator, samples=3)
    expected = objective.bound(plain, bits(), generator(2), config)
    torch.testing.assert_close(ladder.bound(bits(), generator(2), config), expected, rtol=1e-6, atol=1e-6)
    ours, theirs = ladder.loss(bits(), generator(2), config), objective.loss(plain, bits(), generator(2), config)
    torch.testing.assert_close(ours.total, theirs.total, rtol=1e-6, atol=1e-6)


def test_kl_of_each_layer_by_torch_distributions():
    """Expected: the two-layer model written out with torch.distributions, merge as a product of precisions."""
    net, x = shaken(LadderNet(Bernoulli(9), (4, 2), (16, 8), seed=1)), bits()
    noise = net.noise(5, 6, generator(3))
    down = net.infer(x, noise)
    (m1, lv1), (m2, lv2) = net.upwards(x)
    top = Normal(m2, (lv2 / 2).exp())
    z2 = top.loc + top.scale * noise[..., 4:]
    above = Normal(net.prior(0, z2)[0], (net.prior(0, z2)[1] / 2).exp())
    precision = 1 / lv1.exp() + 1 / above.variance
    low = Normal((m1 / lv1.exp() + above.loc / above.variance) / precision, precision.rsqrt())
    z1 = low.loc + low.scale * noise[..., :4]
    for found, expected in zip(down.z, (z1, z2), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    unit = Normal(torch.zeros(2), torch.ones(2))
    torch.testing.assert_close(down.kl[0], kl_divergence(low, above), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(down.kl[1][0], kl_divergence(top, unit), rtol=1e-4, atol=1e-4)
    q = Independent(low, 1).log_prob(z1) + Independent(top, 1).log_prob(z2)
    p = Independent(above, 1).log_prob(z1) + Independent(unit, 1).log_prob(z2)
    torch.testing.assert_close(down.ratio[0] + down.ratio[1], q - p, rtol=1e-4, atol=1e-3)


def test_estimators_a_and_b_have_one_expectation():
    net, x = shaken(LadderNet(Gaussian(9, 1.0), (3, 2), (8, 8), seed=1)), bits()
    found = {
        e: torch.stack([net.bound(x, generator(s), BoundConfig(estimator=e, samples=500)) for s in range(8)])
        for e in ("A", "B")
    }
    gap = (found["A"].mean(0) - found["B"].mean(0)).abs()
    error = (found["A"].var(0) / 8 + found["B"].var(0) / 8).sqrt()
    assert bool((gap < 5 * error).all())
    assert bool((found["A"].mean(0) != found["B"].mean(0)).any())


def test_the_importance_weighted_estimate_lies_above_the_bound_and_meets_the_integral():
    """Expected: log p(x) by brute force, the mean of p(x|z) over 400,000 draws from the prior."""
    net, x = shaken(LadderNet(Bernoulli(4), (1, 1), (4, 4), seed=1), 0.2), bits(3, 4)
    with torch.no_grad():
        for head in net.posteriors:
            head.bias[1] = 1.0  # q wider than the posterior: weights of finite variance
        bound = net.bound(x, generator(1), BoundConfig(samples=20_000))
        tight = net.bound(x, generator(2), BoundConfig(estimator="iwae", samples=200_000))
        z1 = net.generate(net.noise(1, 400_000, generator(3))[0])[:, :1]
        exact = net.likelihood.log_prob(net.decode(z1)[:, None].expand(-1, 3, -1), x).double().logsumexp(0) - np.log(
            400_000
        )
    assert bool((tight > bound).all())
    torch.testing.assert_close(tight.double(), exact, rtol=0, atol=0.02)


def test_means_follow_the_way_down_without_noise():
    net = shaken(LadderNet(Bernoulli(9), (4, 3, 2), (8, 8, 8)))
    expected = torch.cat(net.infer(bits(), torch.zeros(1, 6, 9)).z, -1)[0]
    torch.testing.assert_close(net.means(bits()), expected, rtol=1e-5, atol=1e-5)


def test_loss_weighs_and_floors_each_layer():
    net, x = shaken(LadderNet(Bernoulli(9), (4, 2), (16, 8), seed=1)), bits()
    parts = net.loss(x, generator(), BoundConfig()).parts
    kl = torch.stack([parts["kl_1"], parts["kl_2"]])
    assert float(parts["kl"].detach()) == pytest.approx(float(kl.sum().detach()), rel=1e-6)
    warm = net.loss(x, generator(), BoundConfig(warmup_steps=4), step=1).total
    torch.testing.assert_close(warm, 0.5 * parts["kl"] - parts["reconstruction"])
    between = float(kl.detach().mean())
    floored = net.loss(x, generator(), BoundConfig(free_bits=between)).total
    torch.testing.assert_close(floored, kl.clamp(min=between).sum() - parts["reconstruction"])
    with pytest.raises(UsageError, match="estimator B"):
        net.loss(x, generator(), BoundConfig(estimator="A", free_bits=1.0))


def test_the_gradient_reaches_all_weights():
    net = LadderNet(Gaussian(9, "shared"), (4, 3, 2), (8, 8, 8), covariates=2)
    total = net.loss(bits(), generator(), BoundConfig(), covariates=torch.eye(2)[torch.arange(6) % 2]).total
    assert total is not None
    total.backward()
    assert [name for name, p in net.named_parameters() if p.grad is None or not bool(p.grad.any())] == []


def nested(n: int = 1000) -> torch.Tensor:
    """Return rows of 16 numbers in a nested order: one of 2 groups, in it one of 4 kinds, and noise."""
    draw = np.random.default_rng(0)
    group = draw.integers(0, 2, n)
    kind = group * 4 + draw.integers(0, 4, n)
    x = 3 * draw.normal(size=(2, 16))[group] + draw.normal(size=(8, 16))[kind] + 0.3 * draw.normal(size=(n, 16))
    return torch.from_numpy(x).float()


def test_it_trains_and_says_which_layers_it_uses():
    """A Gaussian that knows no dependence sets the mark that training must pass; the upper layer must carry at least 0.1 nats."""
    x = nested()
    independent = Normal(x.mean(0), x.std(0)).log_prob(x).sum(-1).mean()
    net = LadderNet(Gaussian(16, "shared"), (4, 2), (32, 32))
    config = BoundConfig(warmup_steps=200)
    method = Objective(net, lambda batch, at: net.loss(batch[0], at.rng, config, at.step))
    history = fit(method, x, TrainConfig(epochs=60, batch_size=100, learning_rate=5e-3))
    last = history.epochs[-1]
    with torch.no_grad():
        assert float(net.bound(x, generator(), BoundConfig(samples=8)).mean()) > float(independent) + 10
    assert last["kl_1"] + last["kl_2"] == pytest.approx(last["kl"], rel=1e-4)
    assert last["kl_2"] > 0.1
    assert idle_layers([last["kl_1"], last["kl_2"]]) == []


def test_idle_layers_are_named():
    assert idle_layers([3.0, 0.5]) == []
    (said,) = idle_layers([3.0, 0.02])
    assert "layer 2 of 2" in said
    assert "free_bits" in said
    assert len(idle_layers([0.01, 0.01])) == 1
    assert idle_layers([0.0]) == []


@pytest.mark.parametrize(
    ("latents", "hidden", "message"),
    [((), (), "latents"), ((2, 0), (4, 4), "latents"), ((2, 2), (4,), "1 widths for 2"), ((2,), (0,), "hidden")],
)
def test_what_is_refused(latents, hidden, message):
    with pytest.raises(UsageError, match=message):
        LadderNet(Bernoulli(9), latents, hidden)
