"""Densities against scipy.stats: gaussian_kde with the same factor, and multivariate_normal where there is one Gaussian."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from mumei.core.errors import UsageError
from mumei.vae import kde


def correlated(n, count, latent, seed=0):
    draw = np.random.default_rng(seed)
    mix = draw.normal(size=(n, latent, latent)) + 2 * np.eye(latent)
    return torch.from_numpy(draw.normal(size=(n, count, latent)) @ mix + draw.normal(size=(n, 1, latent)))


def scipy_factor(z):
    """The first author's choice, written with SciPy: which of ten factors makes the first half likeliest."""
    count, latent = z.shape
    factors = count ** (-1.0 / (latent + 4)) * np.exp((np.arange(10) - 5) / 2)
    half = count // 2
    scores = [stats.gaussian_kde(z[half:].T, f).logpdf(z[:half].T).sum() for f in factors]
    return factors[np.argmax(scores)]


@pytest.mark.parametrize(("count", "latent"), [(25, 1), (25, 3), (60, 2), (61, 5)])
def test_it_is_scipys(count, latent):
    samples, points = correlated(6, count, latent), correlated(6, 9, latent, seed=1)
    density = kde.fit(samples)
    assert not density.single.any()
    for row in range(6):
        z = samples[row].numpy()
        factor = scipy_factor(z)
        assert density.factor[row].item() == pytest.approx(factor)
        expected = stats.gaussian_kde(z.T, factor).logpdf(points[row].numpy().T)
        np.testing.assert_allclose(density.log_prob(points)[row], expected, rtol=1e-8, atol=1e-8)


def test_rows_differ_in_their_factor():
    """Two far clumps want narrower kernels than one clump."""
    one = correlated(1, 100, 1)
    two = torch.cat([one[:, ::2] * 0.01, one[:, 1::2] * 0.01 + 50], 1)[
        :, torch.randperm(100, generator=torch.Generator())
    ]
    factor = kde.fit(torch.cat([one, two])).factor
    assert factor[1] < factor[0]


def test_few_samples_a_dimension_give_one_gaussian():
    samples, points = correlated(4, 11, 3), correlated(4, 5, 3, seed=2)
    density = kde.fit(samples)
    assert density.single.all()
    for row in range(4):
        z = samples[row].numpy()
        expected = stats.multivariate_normal(z.mean(0), np.cov(z.T)).logpdf(points[row].numpy())
        np.testing.assert_allclose(density.log_prob(points)[row], expected, rtol=1e-8)


def test_singular_samples_give_variances_alone_and_leave_other_rows():
    samples = correlated(4, 40, 2)
    usual = kde.fit(samples)
    samples[1, :, 1] = 3.0  # never moved along one axis
    samples[2] = torch.tensor([1.0, 2.0])  # never moved
    samples[3, :, 1] = 2 * samples[3, :, 0]  # on a line
    density = kde.fit(samples)
    assert density.single.tolist() == [False, True, True, True]
    points = correlated(4, 5, 2, seed=3)
    found = density.log_prob(points)
    torch.testing.assert_close(found[0], usual.log_prob(points)[0])
    first, last = samples[1].numpy(), samples[3].numpy()
    deviations = {1: [first[:, 0].std(ddof=1)] * 2, 2: [1.0, 1.0], 3: last.std(0, ddof=1)}
    for row, deviation in deviations.items():
        expected = stats.norm(samples[row].numpy().mean(0), deviation).logpdf(points[row].numpy()).sum(-1)
        np.testing.assert_allclose(found[row], expected, rtol=1e-8)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(2, 40), st.integers(0, 30))
def test_it_integrates_to_one(seed, count, repeated):
    """By the trapezium rule in one dimension, degenerate rows included."""
    samples = correlated(1, count, 1, seed)
    samples[:, :repeated] = samples[:, :1]
    middle, spread = samples.mean().item(), 60 * max(samples.std().item(), 1.0)
    grid = torch.linspace(middle - spread, middle + spread, 200_001, dtype=torch.float64)
    total = torch.trapezoid(kde.fit(samples).log_prob(grid[None, :, None])[0].exp(), grid)
    assert total.item() == pytest.approx(1.0, abs=1e-4)


def test_scale_and_place_of_the_samples_go_through():
    """z -> a z + b shifts the log density by -latent log a, and picks the same factor."""
    samples, points = correlated(3, 50, 2), correlated(3, 4, 2, seed=5)
    one, other = kde.fit(samples), kde.fit(samples * 1e-3 + 7)
    torch.testing.assert_close(one.factor, other.factor)
    expected = one.log_prob(points) - 2 * np.log(1e-3)
    torch.testing.assert_close(other.log_prob(points * 1e-3 + 7), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("shape", [(3, 1, 2), (5, 2), (4,)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(UsageError, match="at least 2 samples"):
        kde.fit(torch.zeros(shape))
