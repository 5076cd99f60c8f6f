"""The non-zeros of a batch against NumPy, and the row of zeros against scipy.stats."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mumei.vae.nonzeros import Nonzeros, ZeroTerm


def batch(seed: int, n: int, width: int, density: float) -> np.ndarray:
    draw = np.random.default_rng(seed)
    return draw.integers(1, 9, (n, width)) * (draw.random((n, width)) < density)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 999), st.integers(1, 6), st.integers(1, 6), st.sampled_from([0.0, 0.2, 1.0]))
@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support:UserWarning")
def test_positions_and_sums_equal_numpys_for_dense_and_sparse_batches(seed, n, width, density):
    x = batch(seed, n, width, density)
    rows, columns = np.nonzero(x)
    dense = torch.from_numpy(x).float()
    for found in (Nonzeros.of(dense), Nonzeros.of(dense.to_sparse_csr()), Nonzeros.of(dense.T.contiguous().T)):
        np.testing.assert_array_equal(found.rows, rows)
        np.testing.assert_array_equal(found.columns, columns)
        np.testing.assert_array_equal(found.values, x[rows, columns])
        np.testing.assert_array_equal(found.sums, x.sum(1))
        front = torch.randn(2, n, width, generator=torch.Generator().manual_seed(0))
        assert torch.equal(found.take(front), front[:, rows, columns])
        torch.testing.assert_close(found.per_row(found.take(front)), (front * (dense != 0)).sum(-1))


def test_gamma_terms_equal_scipy_s():
    x, log_theta = batch(1, 4, 5, 0.5), np.linspace(-3, 3, 5)
    found = Nonzeros.of(torch.from_numpy(x).float())
    theta = np.exp(log_theta)
    expected = scipy.special.gammaln(x + theta) - scipy.special.gammaln(theta) - scipy.special.gammaln(x + 1)
    np.testing.assert_allclose(found.gammas(torch.from_numpy(log_theta)), expected.sum(1), rtol=1e-12)
    np.testing.assert_allclose(found.log_factorials(), scipy.special.gammaln(x + 1).sum(1), rtol=1e-12)


def test_a_row_of_zeros_equals_scipy_s_and_log_means_are_those_of_the_non_zeros():
    x = batch(2, 3, 4, 0.6)
    out, library = np.random.default_rng(0).normal(size=(3, 4)), np.array([5.0, 70.0, 900.0])
    theta = np.array([0.1, 1.0, 9.0, 200.0])
    mean = scipy.special.softmax(out, -1) * library[:, None]
    found = Nonzeros.of(torch.from_numpy(x).double())
    terms, log_means, logits = ZeroTerm.apply(
        found, *(torch.from_numpy(a) for a in (out, np.log(library), np.log(theta))), None
    )
    assert logits is None
    np.testing.assert_allclose(terms, scipy.stats.nbinom.logpmf(0, theta, theta / (theta + mean)).sum(1), rtol=1e-10)
    np.testing.assert_allclose(log_means, np.log(mean[np.nonzero(x)]), rtol=1e-10)
