"""Deep Kalman filter: exact likelihoods and filters of a linear-Gaussian model, padding, KL by step, forecasts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Normal, kl_divergence

from mumei.core.config import TrainConfig
from mumei.core.errors import DataError, UsageError
from mumei.core.method import Objective
from mumei.core.train import fit
from mumei.vae.counts import Poisson
from mumei.vae.likelihoods import Bernoulli, Gaussian
from mumei.vae.objective import BoundConfig
from mumei.vae.sequence import SequenceNet, pack


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def walks(n: int, seed: int = 0, longest: int = 16) -> list[np.ndarray]:
    """Return series (T_i, 2) of a hidden damped rotation seen through noise; half as long and more."""
    draw = np.random.default_rng(seed)
    turn = 0.95 * np.array([[np.cos(0.4), -np.sin(0.4)], [np.sin(0.4), np.cos(0.4)]])
    found = []
    for _ in range(n):
        z, steps = draw.normal(size=2), []
        for _ in range(int(draw.integers(longest // 2, longest + 1))):
            steps.append(z @ np.array([[1.0, 0.5], [-0.3, 1.0]]) + 0.5 * draw.normal(size=2))
            z = turn @ z + 0.3 * draw.normal(size=2)
        found.append(np.array(steps))
    return found


def linear(direction: str = "backward", seed: int = 0) -> SequenceNet:
    likelihood = Gaussian(2, "shared")
    return SequenceNet(likelihood, 2, 24, (), transition="linear", direction=direction, seed=seed)


def small(likelihood=None, **options) -> SequenceNet:
    net = SequenceNet(likelihood or Gaussian(2, "shared"), 3, 8, (8,), **options)
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.3 * torch.randn(p.shape, generator=generator(9)))
    return net


def trained(net: SequenceNet, series: list[np.ndarray], epochs: int = 40) -> SequenceNet:
    def loss(batch, at):
        return net.loss(batch[0], batch[1].bool(), at.rng, BoundConfig(), at.step)

    config = TrainConfig(epochs=epochs, batch_size=50, learning_rate=2e-2, schedule="cosine", clip=1000.0)
    fit(Objective(net, loss), pack(series), config)
    return net


def kalman(net: SequenceNet, series: list[np.ndarray]) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return the exact log p(x) of each series under a linear network's own parameters, and the means of z_t given x_{1..t}."""
    values = {k: v.double().numpy() for k, v in net.state_dict().items()}
    a, b = values["transition.linear.weight"], values["transition.linear.bias"]
    c, d = values["emission.layers.0.weight"], values["emission.layers.0.bias"]
    q, r = (np.diag(np.exp(values[k])) for k in ("transition.log_variance", "likelihood.log_variance"))
    found, means = [], []
    for x in series:
        mean, cov = values["transition.first_mean"], np.diag(np.exp(values["transition.first_log_variance"]))
        total, states = 0.0, []
        for step, value in enumerate(x):
            if step:
                mean, cov = a @ mean + b, a @ cov @ a.T + q
            gap, spread = value - (c @ mean + d), c @ cov @ c.T + r
            total -= 0.5 * (gap @ np.linalg.solve(spread, gap) + np.linalg.slogdet(2 * np.pi * spread)[1])
            gain = cov @ c.T @ np.linalg.inv(spread)
            mean, cov = mean + gain @ gap, cov - gain @ c @ cov
            states.append(mean)
        found.append(total)
        means.append(np.array(states))
    return np.array(found), means


@pytest.fixture(scope="module")
def backward() -> SequenceNet:
    return trained(linear(), walks(300))


def test_the_bound_lies_below_a_kalman_filters_likelihood_and_comes_near(backward):
    """Expected: the exact log p(x) of each new series by a Kalman filter. The gap after training is below 0.25 nats a series."""
    fresh = walks(100, seed=1)
    x, mask = pack(fresh)
    for net, least, most in ((linear(seed=3), 3.0, np.inf), (backward, 0.0, 0.25)):
        exact = kalman(net, fresh)[0]
        with torch.no_grad():
            draws = torch.stack([net.bound(x, mask, generator(s), BoundConfig(samples=50)) for s in range(8)]).double()
        gap, error = exact - draws.mean(0).numpy(), draws.std(0).numpy() / 8**0.5
        assert (gap > -5 * error - 1e-3).all()
        assert least < gap.mean() < most


def test_training_finds_a_model_as_likely_as_the_true_one(backward):
    """Expected: log p of new series under the parameters that made them, by the same Kalman filter, up to 0.5 nats a series."""
    truth, turn = linear(), 0.95 * np.array([[np.cos(0.4), -np.sin(0.4)], [np.sin(0.4), np.cos(0.4)]])
    with torch.no_grad():
        truth.transition.linear.weight.copy_(torch.from_numpy(turn))
        truth.transition.log_variance.fill_(2 * np.log(0.3))
        truth.emission.layers[0].weight.copy_(torch.tensor([[1.0, -0.3], [0.5, 1.0]]))
        truth.likelihood.log_variance.fill_(2 * np.log(0.5))
    fresh = walks(300, seed=1)
    assert kalman(backward, fresh)[0].mean() == pytest.approx(kalman(truth, fresh)[0].mean(), abs=0.5)


def test_the_importance_weighted_bound_is_tighter(backward):
    fresh = walks(50, seed=2)
    x, mask = pack(fresh)
    with torch.no_grad():
        plain, tight = (
            backward.bound(x, mask, generator(1), BoundConfig(estimator=e, samples=200)).mean() for e in ("B", "iwae")
        )
    assert float(plain) < float(tight) < kalman(backward, fresh)[0].mean() + 0.02


@pytest.mark.parametrize("direction", ["backward", "forward"])
def test_filter_means_follow_the_kalman_filters(direction, backward):
    """Expected: the exact filter under the network's own parameters; errors are a small part of the states' spread."""
    net = backward if direction == "backward" else trained(linear("forward"), walks(200), 25)
    fresh = walks(40, seed=3)
    x, mask = pack(fresh)
    with torch.no_grad():
        found = net.filter(x, mask, generator(), samples=64)
    exact = np.concatenate(kalman(net, fresh)[1])
    error = np.sqrt(np.square(found[mask].numpy() - exact).mean()) / exact.std()
    assert error < 0.2


def test_the_filter_does_not_see_what_comes_later():
    x, mask = pack(walks(5))
    for direction in ("backward", "forward"):
        net = small(direction=direction)
        noise = net.noise(4, 5, x.shape[1], generator())
        other = x.clone()
        other[:, 5:] += 1.0
        a, b = (net.filter(v, mask, None, noise=noise) for v in (x, other))
        torch.testing.assert_close(a[:, :5], b[:, :5])
        assert not torch.allclose(a[:, 5:], b[:, 5:])
        seen = [net.smooth(v, mask, None, noise=noise)[:, :5] for v in (x, other)]
        assert torch.allclose(*seen, atol=1e-6) == (direction == "forward")


# Padding.


@pytest.mark.parametrize("direction", ["backward", "forward"])
@pytest.mark.parametrize("estimator", ["A", "B", "iwae"])
def test_padding_changes_nothing(direction, estimator):
    """Neither its length nor what it holds."""
    net, config = small(direction=direction), BoundConfig(estimator=estimator, samples=3)
    x, mask = pack(walks(6))
    noise = net.noise(3, 6, x.shape[1] + 7, generator())
    longer = torch.cat([x, torch.zeros(6, 7, 2)], 1)
    hidden = torch.cat([mask, torch.zeros(6, 7, dtype=torch.bool)], 1)
    longer[~hidden] = 1e3
    plain = net.bound(x, mask, None, config, noise=noise[: x.shape[1]])
    torch.testing.assert_close(net.bound(longer, hidden, None, config, noise=noise), plain, rtol=1e-6, atol=1e-5)


@settings(deadline=None, max_examples=15)
@given(st.lists(st.integers(1, 12), min_size=1, max_size=6), st.sampled_from(["backward", "forward"]))
def test_an_irregular_batch_equals_one_by_one(lengths, direction):
    net, draw = small(direction=direction), np.random.default_rng(0)
    series = [draw.normal(size=(length, 2)) for length in lengths]
    x, mask = pack(series)
    noise = net.noise(2, len(series), x.shape[1], generator())
    together = net.bound(x, mask, None, noise=noise)
    for i, one in enumerate(series):
        alone = net.bound(*pack([one]), None, noise=noise[: len(one), :, i : i + 1])
        torch.testing.assert_close(together[i], alone[0], rtol=1e-5, atol=1e-5)


def test_gradients_do_not_see_the_padding_either():
    net = small()
    x, mask = pack(walks(6))
    noise = net.noise(1, 6, x.shape[1], generator())
    found = []
    for filler in (0.0, 50.0):
        filled = torch.where(mask[..., None], x, filler)
        net.zero_grad()
        net.bound(filled, mask, None, noise=noise).sum().backward()
        found.append([p.grad.clone() for p in net.parameters()])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_pack():
    x, mask = pack([[1, 2, 3], np.ones((1, 1))])
    assert x.dtype == torch.float32
    assert x[..., 0].tolist() == [[1, 2, 3], [1, 0, 0]]
    assert mask.tolist() == [[True] * 3, [True, False, False]]


# The parts of the bound.


def test_kl_of_each_step_by_torch_distributions():
    """Expected: transitions, products and KLs written out with torch.distributions."""
    net, (x, mask) = small(), pack(walks(4))
    noise = net.noise(5, 4, x.shape[1], generator())
    path, (m, lv) = net.infer(x, mask, noise), net.messages(x, mask)
    prior = Normal(net.transition.first_mean, (net.transition.first_log_variance / 2).exp())
    for t in range(x.shape[1]):
        if t:
            mean, log_variance = net.transition(path.z[t - 1])
            prior = Normal(mean, (log_variance / 2).exp())
        precision = (-lv[:, t]).exp() + 1 / prior.variance
        q = Normal((m[:, t] * (-lv[:, t]).exp() + prior.loc / prior.variance) / precision, precision.rsqrt())
        torch.testing.assert_close(path.z[t], q.loc + q.scale * noise[t], rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(path.kl[t], kl_divergence(q, prior).sum(-1).expand(5, 4), rtol=1e-3, atol=1e-4)
        ratio = (q.log_prob(path.z[t]) - prior.log_prob(path.z[t])).sum(-1)
        torch.testing.assert_close(path.ratio[t], ratio, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("likelihood", [Gaussian(2), Bernoulli(2), Poisson(2, library=False)])
def test_the_fit_is_the_sum_over_steps(likelihood):
    net = small(likelihood)
    x, mask = pack([np.abs(s.round()).clip(0, 1) for s in walks(4)])
    z = net.noise(3, 4, x.shape[1], generator())
    expected = torch.zeros(3, 4)
    for i, t in mask.nonzero().tolist():
        expected[:, i] += likelihood.log_prob(net.emission(z[t, :, i : i + 1]), x[i : i + 1, t])[:, 0].detach()
    torch.testing.assert_close(net.fit(x, mask, z).detach(), expected, rtol=1e-4, atol=1e-4)


def test_loss_and_its_parts():
    net, (x, mask) = small(), pack(walks(6))
    loss = net.loss(x, mask, generator(), BoundConfig())
    parts = {k: float(v.detach()) for k, v in loss.parts.items()}
    assert parts["bound"] == pytest.approx(parts["reconstruction"] - parts["kl"], rel=1e-5)
    assert float(loss.total.detach()) == pytest.approx(-parts["bound"], rel=1e-5)
    assert parts["bound"] == pytest.approx(float(net.bound(x, mask, generator()).mean().detach()), rel=1e-5)
    steps = net.kl_per_step(x, mask, generator(), samples=1).detach()
    assert float((steps * mask.sum(0)).sum() / 6) == pytest.approx(parts["kl"], rel=1e-4)
    floored = net.loss(x, mask, generator(), BoundConfig(free_bits=1e3)).total.detach()
    assert float(floored) == pytest.approx(1e3 * float(mask.sum()) / 6 - parts["reconstruction"], rel=1e-4)
    with pytest.raises(UsageError, match="estimator B"):
        net.loss(x, mask, generator(), BoundConfig(estimator="A", free_bits=1.0))


@pytest.mark.parametrize("transition", ["gated", "linear"])
def test_the_gradient_reaches_all_weights(transition):
    net = SequenceNet(Gaussian(2, "shared"), 3, 8, (8,), transition=transition)
    x, mask = pack(walks(6))
    net.loss(x, mask, generator(), BoundConfig()).total.backward()
    assert [name for name, p in net.named_parameters() if p.grad is None or not bool(p.grad.any())] == []


def test_same_seed_same_bits_and_global_randomness_untouched():
    before = torch.get_rng_state()
    a, b = (SequenceNet(Gaussian(2), 3, 8, seed=4).state_dict() for _ in range(2))
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert torch.equal(before, torch.get_rng_state())


# What it draws.


def test_forecasts_of_a_linear_model_have_the_exact_moments(backward):
    """Expected: the Kalman filter's state at the end, moved on by A; spread by the network's own noise."""
    series = walks(3, seed=4)
    x, mask = pack(series)
    with torch.no_grad():
        drawn = backward.forecast(x, mask, 3, 20_000, generator())
    assert drawn.shape == (20_000, 3, 3, 2)
    values = {k: v.double().numpy() for k, v in backward.state_dict().items()}
    a, c = values["transition.linear.weight"], values["emission.layers.0.weight"]
    for i, states in enumerate(kalman(backward, series)[1]):
        mean = states[-1]
        for step in range(3):
            mean = a @ mean + values["transition.linear.bias"]
            expected = c @ mean + values["emission.layers.0.bias"]
            np.testing.assert_allclose(drawn[:, i, step].mean(0), expected, atol=0.2)


def test_generated_series_have_the_datas_covariance(backward):
    data = np.concatenate([s[:8] for s in walks(400)])
    with torch.no_grad():
        drawn = backward.generate(2000, 8, generator())
    assert drawn.shape == (2000, 8, 2)
    np.testing.assert_allclose(np.cov(drawn.reshape(-1, 2).numpy().T), np.cov(data.T), atol=0.15)
    assert backward.generate(2, 1, generator()).shape == (2, 1, 2)


# What is refused.


@pytest.mark.parametrize(
    ("series", "message"),
    [
        ([], "no sequence"),
        ([np.ones((2, 2)), np.ones((2, 3))], r"\[2, 3\] columns"),
        ([np.ones((2, 2)), np.ones((0, 2))], "sequence 1 has shape"),
        ([np.ones((2, 2, 2))], "sequence 0"),
        ([["a", "b"]], "sequence 0"),
        ([[1.0, np.nan]], "sequence 0 is NaN or infinite at step 1"),
    ],
)
def test_pack_refuses(series, message):
    with pytest.raises(DataError, match=message):
        pack(series)


def test_what_is_refused():
    with pytest.raises(UsageError, match="library"):
        SequenceNet(Poisson(2), 2)
    with pytest.raises(UsageError, match="gated"):
        SequenceNet(Gaussian(2), 2, transition="gatd")
    with pytest.raises(UsageError, match="backward"):
        SequenceNet(Gaussian(2), 2, direction="backwards")
    with pytest.raises(UsageError, match="latent"):
        SequenceNet(Gaussian(2), 0)
    with pytest.raises(UsageError, match="generator"):
        small().bound(*pack(walks(2)), None)
    with pytest.raises(UsageError, match="steps"):
        small().forecast(*pack(walks(2)), 0, 1, generator())
