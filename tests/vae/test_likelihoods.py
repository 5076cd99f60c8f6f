"""Bernoulli and Gaussian against torch.distributions; what they refuse."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mumei.core.errors import DataError, UsageError
from mumei.vae.likelihoods import Bernoulli, Gaussian, gaussian_log_prob, standard_log_prob


def normal(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@settings(deadline=None)
@given(st.integers(0, 1000), st.floats(0.1, 60))
def test_bernoulli_equals_torch_distributions_also_at_extreme_logits(seed, scale):
    out, x = scale * normal(seed, 3, 4, 6), (normal(seed + 1, 4, 6) > 0).float()
    expected = torch.distributions.Bernoulli(logits=out).log_prob(x.expand_as(out)).sum(-1)
    torch.testing.assert_close(Bernoulli(6).log_prob(out, x), expected, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("bounded", [False, True])
@pytest.mark.parametrize("variance", ["learned", "shared", 0.3])
def test_gaussian_equals_torch_distributions(variance, bounded):
    likelihood, x = Gaussian(6, variance, bounded), torch.rand(4, 6, generator=torch.Generator().manual_seed(0))
    out = normal(1, 3, 4, likelihood.outputs)
    mean = torch.sigmoid(out[..., :6]) if bounded else out[..., :6]
    deviation = {"learned": torch.exp(0.5 * out[..., 6:]), "shared": torch.ones(6)}.get(
        str(variance), torch.tensor(0.3**0.5)
    )
    expected = torch.distributions.Normal(mean, deviation).log_prob(x).sum(-1)
    torch.testing.assert_close(likelihood.log_prob(out, x), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(likelihood.mean(out), mean)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 1000), st.floats(0.01, 100))
def test_rescaled_gaussian_data_change_the_density_by_the_jacobian(seed, scale):
    """log p(s x; s m, s^2 v) = log p(x; m, v) - d log s, the change of variables."""
    mean, log_variance, x = (a.double() for a in (normal(seed, 4, 6), normal(seed + 1, 4, 6), normal(seed + 2, 4, 6)))
    step = 2 * np.log(scale)
    likelihood = Gaussian(6)
    here = likelihood.log_prob(torch.cat([mean, log_variance], -1), x)
    there = likelihood.log_prob(torch.cat([scale * mean, log_variance + step], -1), scale * x)
    assert (log_variance + step).abs().max() < 14  # beyond, the variance is held
    torch.testing.assert_close(there, here - 6 * np.log(scale), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    "likelihood", [Bernoulli(3), Gaussian(3), Gaussian(3, "shared"), Gaussian(3, 0.5, bounded=True)]
)
def test_gradients_equal_finite_differences_and_drawing_leaves_the_global_generator(likelihood):
    likelihood = likelihood.double()
    out, x = (
        normal(0, 2, 4, likelihood.outputs).double().requires_grad_(),
        torch.rand(4, 3, generator=torch.Generator().manual_seed(1)).double(),
    )
    parameters = list(likelihood.parameters())
    assert torch.autograd.gradcheck(lambda out, *_: likelihood.log_prob(out, x), (out, *parameters))
    state = torch.random.get_rng_state()
    drawn = likelihood.sample(out, torch.Generator().manual_seed(3))
    assert torch.equal(drawn, likelihood.sample(out, torch.Generator().manual_seed(3)))
    assert torch.equal(state, torch.random.get_rng_state())


def test_a_pixel_that_never_changes_has_a_finite_density():
    out = torch.tensor([[0.3, -1000.0]])
    assert float(Gaussian(1).log_prob(out, torch.tensor([[0.3]]))) == pytest.approx(
        7 - 0.5 * np.log(2 * np.pi), abs=1e-4
    )


def test_samples_have_the_moments_of_the_distribution():
    out = normal(0, 4).expand(20_000, 4)
    drawn = Gaussian(2).sample(out, torch.Generator().manual_seed(0))
    np.testing.assert_allclose(drawn.mean(0), out[0, :2], atol=0.05)
    np.testing.assert_allclose(drawn.var(0), out[0, 2:].exp(), rtol=0.05)
    bits = Bernoulli(4).sample(out, torch.Generator().manual_seed(0))
    np.testing.assert_allclose(bits.mean(0), torch.sigmoid(out[0]), atol=0.015)


def test_normal_densities_equal_torch_distributions():
    z, mean, log_variance = normal(0, 5, 3), normal(1, 5, 3), normal(2, 5, 3)
    expected = torch.distributions.Normal(mean, torch.exp(0.5 * log_variance)).log_prob(z).sum(-1)
    torch.testing.assert_close(gaussian_log_prob(z, mean, log_variance), expected)
    torch.testing.assert_close(standard_log_prob(z), torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(-1))


def test_data_that_does_not_fit_is_refused():
    with pytest.raises(DataError, match=r"0 and 1 alone; the data holds 0\.5"):
        Bernoulli(2).check(np.array([[0.0, 0.5]]))
    Bernoulli(2, grey=True).check(np.array([[0.0, 0.5]]))
    with pytest.raises(DataError, match="from 0 to 1; the data goes from -1 to 3"):
        Bernoulli(2, grey=True).check(np.array([[-1.0, 3.0]]))
    with pytest.raises(DataError, match="bounded"):
        Gaussian(2, bounded=True).check(np.array([[0.0, 2.0]]))
    with pytest.raises(UsageError, match="'learned'"):
        Gaussian(2, "lerned")
    with pytest.raises(UsageError, match="positive"):
        Gaussian(2, 0.0)
