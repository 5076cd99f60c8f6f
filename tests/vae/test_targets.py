"""Closed-form gradients against automatic differentiation and against torch.distributions."""

from __future__ import annotations

import pytest
import torch
from torch import distributions as D

from mumei.core.errors import UsageError
from mumei.vae.likelihoods import Bernoulli, Gaussian
from mumei.vae.network import VAENet
from mumei.vae.targets import GaussianTarget, autograd_target, fast_target, mlp_target


def rows(n=7, d=30, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return torch.rand(n, d, generator=draw), torch.randn(n, 3, generator=draw), draw


def net(hidden=(12,), activation="tanh", likelihood=None, covariates=0):
    likelihood = likelihood or Bernoulli(30, grey=True)
    return VAENet(likelihood, 3, hidden, activation=activation, covariates=covariates, seed=4)


def test_the_closed_form_is_that_of_torch_distributions():
    x, z, _ = rows()
    model = net()
    z = z.requires_grad_()
    fit = -torch.nn.functional.binary_cross_entropy_with_logits(model.decode(z), x, reduction="none").sum(-1)
    expected = fit + D.Normal(0.0, 1.0).log_prob(z).sum(-1)
    (slope,) = torch.autograd.grad(expected.sum(), z)
    target = mlp_target(model, x)
    value, gradient = target(z.detach())
    torch.testing.assert_close(value, expected.detach(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(gradient, slope, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(target.value(z.detach()), value)
    torch.testing.assert_close(target.gradient(z.detach()), gradient)


@pytest.mark.parametrize("chains", [(), (5,), (2, 3)])
@pytest.mark.parametrize("covariates", [0, 2])
def test_the_closed_form_equals_automatic_differentiation(chains, covariates):
    x, _, draw = rows()
    z = torch.randn(*chains, 7, 3, generator=draw)
    extra = (torch.eye(2)[torch.arange(7) % 2],) if covariates else ()
    model = net(covariates=covariates)
    fast, slow = fast_target(model, x, *extra), autograd_target(model, x, *extra)
    assert (fast.kind, slow.kind) == ("closed form", "autograd")
    for a, b in zip(fast(z), slow(z), strict=True):
        assert not a.requires_grad
        assert not b.requires_grad
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


def test_at_the_papers_size_too():
    """784 inputs, 500 hidden units: products large enough for the fast linear path."""
    draw = torch.Generator().manual_seed(1)
    model = VAENet(Bernoulli(784, grey=True), 20, (500,), init="normal", init_std=0.1, seed=2)
    x, z = torch.rand(40, 784, generator=draw), torch.randn(40, 20, generator=draw)
    (value, gradient), (value2, gradient2) = fast_target(model, x)(z), autograd_target(model, x)(z)
    torch.testing.assert_close(value, value2, rtol=1e-5, atol=1e-5)
    assert (gradient - gradient2).norm() / gradient2.norm() < 1e-5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_extreme_logits_stay_finite(dtype):
    x, z, _ = rows()
    model = net().to(dtype)
    with torch.no_grad():
        model.output.weight.mul_(1e4)
    value, gradient = fast_target(model, x.to(dtype))(z.to(dtype) * 100)
    assert value.dtype == gradient.dtype == dtype
    assert torch.isfinite(value).all()
    assert torch.isfinite(gradient).all()


def test_a_target_keeps_the_weights_it_was_made_with():
    x, z, _ = rows()
    model = net()
    target = mlp_target(model, x)
    before = target(z)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    assert all(torch.equal(a, b) for a, b in zip(before, target(z), strict=True))
    assert not torch.equal(mlp_target(model, x)(z)[0], before[0])


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (net((12, 5)), "'FastLinear', 'Tanh', 'FastLinear', 'Tanh'"),
        (net(activation="relu"), "ReLU"),
        (net(likelihood=Gaussian(30)), "Gaussian, not Bernoulli"),
        (object(), "NoneType, not Bernoulli"),
    ],
)
def test_another_form_is_refused_by_name(model, said):
    with pytest.raises(UsageError, match=said):
        mlp_target(model, rows()[0])
    assert fast_target(model, rows()[0]).kind == "autograd"


def test_missing_covariates_are_named():
    with pytest.raises(UsageError, match="2 covariate columns"):
        mlp_target(net(covariates=2), rows()[0])


def test_the_gaussian_target_is_that_of_torch_distributions():
    _, z, draw = rows()
    mean, log_variance = torch.randn(7, 3, generator=draw), torch.randn(7, 3, generator=draw)
    z = z.requires_grad_()
    expected = D.Normal(mean, (0.5 * log_variance).exp()).log_prob(z).sum(-1)
    (slope,) = torch.autograd.grad(expected.sum(), z)
    value, gradient = GaussianTarget(mean, log_variance)(z.detach())
    torch.testing.assert_close(value, expected.detach())
    torch.testing.assert_close(gradient, slope)
