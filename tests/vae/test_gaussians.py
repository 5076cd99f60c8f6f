"""Products and KLs of Gaussians, against densities on a grid and torch.distributions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Normal, kl_divergence

from mumei.vae.gaussians import kl_between, merged

numbers = st.floats(-3, 3)


@settings(deadline=None, max_examples=30)
@given(numbers, numbers, numbers, numbers)
def test_merged_is_the_normalised_product_of_two_densities(m, lv, n, lw):
    """Expected: the product of the two densities on a grid, normalised numerically."""
    z = np.linspace(-40, 40, 160_001)
    product = np.exp(-((z - m) ** 2) / (2 * np.exp(lv)) - (z - n) ** 2 / (2 * np.exp(lw)))
    product /= product.sum()
    mean, log_variance = merged(*(torch.tensor(v, dtype=torch.float64) for v in (m, lv, n, lw)))
    assert float(mean) == pytest.approx((product * z).sum(), abs=1e-6)
    assert float(log_variance.exp()) == pytest.approx((product * (z - float(mean)) ** 2).sum(), rel=1e-5)


def test_merged_stays_finite_where_precisions_do_not():
    wide, narrow = torch.tensor(200.0), torch.tensor(-200.0)
    mean, log_variance = merged(torch.tensor(1.0), narrow, torch.tensor(2.0), wide)
    assert (float(mean), float(log_variance)) == (1.0, -200.0)
    mean, log_variance = merged(torch.tensor(1.0), wide, torch.tensor(2.0), wide)
    assert float(mean) == 1.5
    assert float(log_variance) == pytest.approx(200 - np.log(2))


def test_kl_against_torch_distributions():
    draw = torch.Generator().manual_seed(0)
    m, lv, n, lw = torch.randn(4, 5, 3, generator=draw, dtype=torch.float64)
    expected = kl_divergence(Normal(m, (lv / 2).exp()), Normal(n, (lw / 2).exp()))
    torch.testing.assert_close(kl_between(m, lv, n, lw), expected)
