"""A row's noise is standard normal, its own, and the same in any company."""

from __future__ import annotations

import numpy as np
import scipy.stats
import torch

from mumei.vae.noise import row_noise


def rows(n: int, d: int = 5) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(0))


def test_it_is_standard_normal_and_independent_between_rows_places_and_dimensions():
    noise = row_noise(rows(4000), 3, 2, seed=1)
    first = noise[:3].permute(1, 0, 2).reshape(4000, 6).numpy()
    assert scipy.stats.kstest(first.ravel(), "norm").pvalue > 0.001
    np.testing.assert_allclose(np.corrcoef(first.T), np.eye(6), atol=0.06)
    assert abs(np.corrcoef(first[:-1, 0], first[1:, 0])[0, 1]) < 0.06
    assert torch.equal(noise[3:], -noise[:3])


def test_it_does_not_depend_on_other_rows():
    x = rows(7)
    everyone = row_noise(x, 2, 3, seed=0)
    for i in range(7):
        assert torch.equal(row_noise(x[i : i + 1], 2, 3, seed=0)[:, 0], everyone[:, i])


def test_a_small_change_of_a_row_or_of_the_seed_changes_all_of_it():
    x = rows(1)
    near = x.clone()
    near[0, 2] = torch.nextafter(near[0, 2], torch.tensor(10.0))
    base = row_noise(x, 4, 3, seed=0)
    assert not (base == row_noise(near, 4, 3, seed=0)).any()
    assert not (base == row_noise(x, 4, 3, seed=1)).any()
    assert torch.equal(row_noise(torch.zeros(1, 2), 2, 2, 0), row_noise(-torch.zeros(1, 2), 2, 2, 0))
