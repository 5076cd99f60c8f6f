"""Random weights: moments and KL against formulas, and what local reparameterisation saves, measured."""

from __future__ import annotations

import pytest
import torch

from mumei.core.errors import UsageError
from mumei.vae.bayes_linear import BayesLinear, BayesNet


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def layer(inputs: int = 5, outputs: int = 3) -> BayesLinear:
    made = BayesLinear(inputs, outputs, prior_std=0.7, bias_prior_std=1.3, initial_std=0.4, generator=rng(9))
    with torch.no_grad():
        made.bias.normal_(generator=rng(10))
    return made


@pytest.mark.parametrize("options", [{}, {"local": False}, {"common": True}])
def test_draws_have_the_moments_of_random_weights(options):
    made, x = layer(), torch.randn(4, 5, generator=rng(1))
    with torch.no_grad():
        drawn = made.sample(x, rng(2), samples=40_000, **options)
        mean, variance = made.moments(x)
    # By the definition: mean x m + b, variance x^2 s^2 + s_b^2.
    torch.testing.assert_close(mean, x @ made.weight.T.detach() + made.bias.detach())
    expected = x.square() @ made.weight_log_std.exp().square().T.detach() + made.bias_log_std.exp().square().detach()
    torch.testing.assert_close(variance, expected)
    torch.testing.assert_close(drawn.mean(0), mean, rtol=0, atol=5 * float(variance.max() / 40_000) ** 0.5)
    torch.testing.assert_close(drawn.var(0), variance, rtol=0.05, atol=0)


def test_kl_equals_torch_distributions():
    made, expected = layer(), 0.0
    for mean, log_std, prior in (
        (made.weight, made.weight_log_std, 0.7),
        (made.bias, made.bias_log_std, 1.3),
    ):
        q, p = (
            torch.distributions.Normal(mean, log_std.exp()),
            torch.distributions.Normal(torch.zeros_like(mean), prior),
        )
        expected = expected + torch.distributions.kl_divergence(q, p).sum()
    torch.testing.assert_close(made.kl(), expected)


def test_local_reparameterisation_has_the_same_gradient_with_less_variance():
    """Gradients of a mean square loss over 100 rows: equal means, and a variance many times lower (Kingma 2015, section 2.2)."""
    net = BayesNet((5, 16, 1), initial_std=0.5, seed=1)
    x, y = torch.randn(100, 5, generator=rng(1)), torch.randn(100, 1, generator=rng(2))
    gradients = {}
    for local in (True, False):
        found = []
        for seed in range(600):
            net.zero_grad()
            (net.sample(x, rng(seed), local=local) - y).square().mean().backward()
            found.append(torch.cat([p.grad.flatten() for p in net.parameters()]))
        gradients[local] = torch.stack(found)
    error = ((gradients[True].var(0) + gradients[False].var(0)) / 600).sqrt()
    apart = (gradients[True].mean(0) - gradients[False].mean(0)) / error
    assert float(apart.square().mean()) < 1.5  # 1 in expectation
    assert float(gradients[False].var(0).sum() / gradients[True].var(0).sum()) > 5  # measured: see the module's tests


def test_a_row_alone_gets_what_it_gets_among_others_with_common_noise():
    net, x = BayesNet((5, 8, 2), seed=1).double(), torch.randn(6, 5, generator=rng(1)).double()
    together = net.sample(x, rng(3), 10, common=True)
    torch.testing.assert_close(net.sample(x[2:3], rng(3), 10, common=True), together[:, 2:3])
    assert not torch.allclose(net.sample(x[2:3], rng(3), 10), net.sample(x, rng(3), 10)[:, 2:3])


def test_last_layer_moments_agree_with_draws_and_need_none_without_hidden_layers():
    net, x = BayesNet((5, 8, 2), initial_std=0.5, seed=1), torch.randn(3, 5, generator=rng(1))
    with torch.no_grad():
        mean, variance = net.moments(x, rng(2), 40_000)
        drawn = net.sample(x, rng(3), 40_000)
    torch.testing.assert_close(mean.mean(0), drawn.mean(0), rtol=0, atol=0.05)
    torch.testing.assert_close(variance.mean(0) + mean.var(0), drawn.var(0), rtol=0.05, atol=0)
    linear = BayesNet((5, 2), seed=1)
    assert linear.moments(x, rng(2), 7)[0].shape == (1, 3, 2)
    torch.testing.assert_close(linear.moments(x, rng(2))[0][0], linear.mean(x))


def test_the_prior_over_functions_does_not_grow_with_the_width():
    x = torch.ones(1, 4)
    spread = {}
    for width in (10, 1000):
        net = BayesNet((4, width, 1), initial_std=1.0, seed=0)
        with torch.no_grad():
            for module in net.layers:
                module.weight.zero_()
            spread[width] = float(net.sample(x, rng(0), 4000).std())
    assert spread[1000] == pytest.approx(spread[10], rel=0.1)


@pytest.mark.parametrize(
    ("sizes", "options", "message"),
    [
        ((4,), {}, "widths of input and output"),
        ((4, 0, 1), {}, "sizes=0"),
        ((4, 1), {"prior_std": 0.0}, "prior_std"),
        ((4, 1), {"initial_std": 0.0}, "initial_std"),
        ((4, 3, 1), {"activation": "tahn"}, "'tanh'"),
    ],
)
def test_bad_arguments_are_named(sizes, options, message):
    with pytest.raises(UsageError, match=message):
        BayesNet(sizes, **options)
