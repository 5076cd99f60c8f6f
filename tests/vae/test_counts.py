"""Count likelihoods against scipy.stats and against the dense textbook formulas, values and gradients."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mumei.core.errors import DataError
from mumei.vae.counts import NegativeBinomial, Poisson, ZeroInflatedNegativeBinomial

FEATURES = 6


def counts(seed: int, n: int = 5, density: float = 0.4) -> torch.Tensor:
    draw = np.random.default_rng(seed)
    return torch.from_numpy(draw.poisson(6.0, (n, FEATURES)) * (draw.random((n, FEATURES)) < density)).double()


def output(seed: int, columns: int, *front: int) -> torch.Tensor:
    return torch.randn(*front, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def made(kind, seed: int = 0, **options):
    likelihood = kind(FEATURES, **options).double()
    if hasattr(likelihood, "log_dispersion"):
        likelihood.log_dispersion.data = output(seed + 99, FEATURES)
    return likelihood


def means_of(likelihood, out, x) -> np.ndarray:
    if not likelihood.library:
        return out[..., :FEATURES].exp().numpy()
    return (torch.softmax(out[..., :FEATURES], -1) * x.sum(-1)[:, None].clamp(min=1e-8)).numpy()


def by_scipy(likelihood, out, x) -> np.ndarray:
    mean = means_of(likelihood, out, x)
    if likelihood.name == "poisson":
        return scipy.stats.poisson.logpmf(x.numpy(), mean).sum(-1)
    theta = likelihood.log_dispersion.detach().exp().numpy()
    log_nb = scipy.stats.nbinom.logpmf(x.numpy(), theta, theta / (theta + mean))
    if likelihood.name == "nb":
        return log_nb.sum(-1)
    pi = torch.sigmoid(out[..., FEATURES:]).numpy()
    return np.log(np.where(x.numpy() == 0, pi, 0) + (1 - pi) * np.exp(log_nb)).sum(-1)


KINDS = (Poisson, NegativeBinomial, ZeroInflatedNegativeBinomial)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("library", [True, False])
@given(seed=st.integers(0, 10_000), density=st.sampled_from([0.0, 0.3, 1.0]))
@settings(max_examples=25, deadline=None)
def test_log_prob_equals_scipy(kind, library, seed, density):
    likelihood, x = made(kind, seed, library=library), counts(seed, density=density)
    out = output(seed, likelihood.outputs, 3, 5)
    with torch.no_grad():
        found = likelihood.log_prob(out, x)
    assert found.shape == (3, 5)
    np.testing.assert_allclose(found.numpy(), by_scipy(likelihood, out, x), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_equal_finite_differences(kind):
    likelihood, x = made(kind), counts(3)
    out = output(1, likelihood.outputs, 5).requires_grad_()
    parameters = list(likelihood.parameters())
    assert torch.autograd.gradcheck(lambda out, *_: likelihood.log_prob(out, x), (out, *parameters))


@pytest.mark.parametrize("kind", KINDS)
def test_samples_have_the_mean_and_spread_of_the_distribution(kind):
    likelihood, library = made(kind), torch.full((40_000,), 50.0, dtype=torch.float64)
    out = output(2, likelihood.outputs).expand(40_000, -1)
    state = torch.random.get_rng_state()
    with torch.no_grad():
        drawn = likelihood.sample(out, torch.Generator().manual_seed(0), library)
        mean = likelihood.mean(out, library)[0]
    assert torch.equal(state, torch.random.get_rng_state())
    assert bool((drawn == drawn.round()).all())
    error = drawn.std(0) / 200
    assert bool(((drawn.mean(0) - mean).abs() < 5 * error).all())
    if likelihood.name == "nb":
        theta = likelihood.log_dispersion.detach().exp()
        np.testing.assert_allclose(drawn.var(0), mean + mean**2 / theta, rtol=0.15)


@pytest.mark.parametrize(("value", "what"), [(-1.0, "negative"), (0.5, "not a whole number")])
def test_what_is_no_count_is_refused(value, what):
    rows = np.array([[0.0, 2.0, value]])
    with pytest.raises(DataError, match=f"{value:.6g}, .*{what}|{value:.6g}, {what}"):
        NegativeBinomial(3).check(rows)


def test_a_row_of_zeros_has_a_likelihood():
    with torch.no_grad():
        for kind in KINDS:
            assert torch.isfinite(
                made(kind).log_prob(output(0, made(kind).outputs, 1), torch.zeros(1, FEATURES).double())
            ).all()
