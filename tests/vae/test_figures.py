"""Pictures of a latent space: the grid by scipy's normal distribution."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from mumei.core import pictures
from mumei.vae import figures
from mumei.vae.counts import Poisson
from mumei.vae.likelihoods import Bernoulli
from mumei.vae.network import VAENet


def test_beside_puts_each_reconstruction_right_of_its_input():
    first, second = np.full((2, 1, 2), 10, np.uint8), np.full((2, 1, 2), 20, np.uint8)
    row = figures.beside(first, second, pairs=2)[0].tolist()
    assert row == [10, 10, 0, 20, 20, *[pictures.GAP] * 3, 10, 10, 0, 20, 20]


# ----------------------------------------------------------------------------------------------------- manifold


def test_manifold_through_scipys_inverse_normal():
    z = figures.manifold(2, (0, 1), steps=7).numpy().reshape(7, 7, 2)
    expected = stats.norm.ppf((np.arange(7) + 0.5) / 7)
    for row in range(7):
        np.testing.assert_allclose(z[row, :, 0], expected, atol=1e-6)
        np.testing.assert_allclose(z[:, row, 1], expected[::-1], atol=1e-6)


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 6), st.integers(2, 9), st.data())
def test_manifold_leaves_the_other_dimensions_at_zero(latent, steps, data):
    pair = data.draw(st.lists(st.integers(0, latent - 1), min_size=2, max_size=2, unique=True))
    z = figures.manifold(latent, pair, steps)
    rest = [j for j in range(latent) if j not in pair]
    assert z.shape == (steps**2, latent)
    assert not z[:, rest].any()
    assert len(z[:, pair].unique(dim=0)) == steps**2
    assert z.mean(0).abs().max() < 1e-6  # as the prior's


def test_one_latent_dimension_is_a_line():
    z = figures.manifold(1, (0,), steps=5)
    assert z.shape == (5, 1)
    assert (z.diff(dim=0) > 0).all()


@pytest.mark.parametrize(
    ("kl", "expected"), [([0.5], (0,)), ([0.5, 0.1], (0, 1)), ([1, 5, 2, 5], (1, 3)), ([0, 0, 0], (0, 1))]
)
def test_the_two_dimensions_of_most_kl(kl, expected):
    assert figures.chosen_dimensions(kl) == expected


def test_decoded_means_are_the_networks():
    net = VAENet(Bernoulli(4), latent=2, hidden=(3,))
    z = figures.manifold(2, (0, 1), 3)
    means = figures.decode_means(net, z)
    assert not means.requires_grad
    assert torch.equal(means, torch.sigmoid(net.decode(z)).detach())


def test_decoded_counts_sum_to_the_library():
    net = VAENet(Poisson(4), latent=2, hidden=(3,), covariates=2)
    means = figures.decode_means(net, torch.zeros(5, 2), library=120.0, covariates=torch.tensor([1.0, 0.0]))
    np.testing.assert_allclose(means.sum(1), 120.0, rtol=1e-5)
