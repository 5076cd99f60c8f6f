"""What users have as training rows: scaling, its volume, sparse and byte matrices."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse
import torch

from mumei.core.errors import DataError, UsageError
from mumei.core.inputs import check_finite, flatten_images, unpack
from mumei.vae.choose import make_likelihood
from mumei.vae.inputs import check_scaled, choose_scaling, no_scaling, one_hot, training_rows


def rows(n: int = 50, d: int = 4) -> np.ndarray:
    return np.random.default_rng(0).normal(5.0, 3.0, (n, d))


def test_columns_are_standardised_for_a_gaussian_and_back():
    X = rows()
    X[:, 2] = 7.0
    scaling, said = choose_scaling(X, make_likelihood("gaussian", 4), "auto")
    scaled = training_rows(X, scaling)
    np.testing.assert_allclose(scaled[:, [0, 1, 3]].std(0, correction=0), 1.0, rtol=1e-5)
    np.testing.assert_allclose(scaled.mean(0), 0.0, atol=1e-5)
    np.testing.assert_allclose(scaling.undo(scaled), X, rtol=1e-4)
    assert "1 of them never change" in said
    assert scaling.log_volume(4) == pytest.approx(-np.log(X[:, [0, 1, 3]].std(0)).sum(), rel=1e-5)


def test_a_sparse_matrix_is_scaled_as_a_dense_one():
    X = scipy.sparse.random(60, 5, density=0.5, format="csr", random_state=0)
    likelihood = make_likelihood("gaussian", 5)
    sparse, dense = (choose_scaling(m, likelihood, "auto")[0] for m in (X, X.toarray()))
    torch.testing.assert_close(sparse.factor, dense.factor)
    torch.testing.assert_close(training_rows(X, sparse), training_rows(X.toarray(), dense))


def test_bytes_stay_bytes_and_thin_counts_stay_sparse():
    images = np.random.default_rng(0).integers(0, 256, (10, 6), dtype=np.uint8)
    scaling, _ = choose_scaling(images, make_likelihood({"name": "bernoulli", "grey": True}, 6), "auto")
    assert training_rows(images, scaling).dtype is torch.uint8
    torch.testing.assert_close(scaling.apply(torch.from_numpy(images)), torch.from_numpy(images / 255).float())
    thin = scipy.sparse.random(30, 20, density=0.05, format="csr", random_state=0)
    assert hasattr(training_rows(thin, no_scaling()), "toarray")
    thick = scipy.sparse.random(30, 20, density=0.9, format="csr", random_state=0)
    assert isinstance(training_rows(thick, no_scaling()), torch.Tensor)


def test_unit_scale_and_what_is_refused():
    scaling, said = choose_scaling(rows(), make_likelihood({"name": "gaussian", "bounded": True}, 4), "unit")
    scaled = training_rows(rows(), scaling)
    assert float(scaled.min()) == pytest.approx(0.0, abs=1e-6)
    assert float(scaled.max()) == pytest.approx(1.0, abs=1e-6)
    assert "0..1" in said
    with pytest.raises(UsageError, match="bernoulli"):
        choose_scaling(rows(), make_likelihood("bernoulli", 4), "standard")


def test_images_are_flattened_and_layers_need_annotated_data():
    flat, shape = flatten_images(np.zeros((3, 4, 5, 2)))
    assert flat.shape == (3, 40)
    assert shape == (4, 5, 2)
    with pytest.raises(UsageError, match="AnnData"):
        unpack(np.zeros((2, 2)), "counts")


def test_labels_become_columns():
    found = one_hot(np.array(["b", "a"]), ["a", "b"], 2, "batch")
    assert found.tolist() == [[0, 1], [1, 0]]
    with pytest.raises(DataError, match=r"shape \(2,\)"):
        one_hot(["a", "b"], ["a", "b"], 3, "batch")
    with pytest.raises(DataError, match="'c'"):
        one_hot(["c"], ["a"], 1, "batch")


@pytest.mark.parametrize("kind", [np.float64, np.int64])
def test_a_large_offset_costs_no_digits(kind):
    """Times in seconds: a deviation of a billionth of the mean is no constant column, and the scaled values are exact."""
    X = (rows() * 100).round().astype(kind)
    plain, moved = (choose_scaling(m, make_likelihood("gaussian", 4), "auto")[0] for m in (X, X + 2_000_000_000))
    torch.testing.assert_close(plain.factor, moved.factor)
    torch.testing.assert_close(training_rows(X + 2_000_000_000, moved), training_rows(X, plain), rtol=0, atol=1e-6)


def test_float32_means_are_summed_in_float64():
    X = np.full((300_000, 1), 1000.1, dtype=np.float32)
    X[0] = 1000.0
    scaling, _ = choose_scaling(X, make_likelihood("gaussian", 1), "auto")
    assert float(scaling.centre) == pytest.approx(float(X.mean(dtype=np.float64)), rel=1e-9)


def test_the_first_bad_value_is_named_wherever_it_is():
    X = np.zeros((5000, 3))
    X[4321, 2] = np.nan
    for given in (X, scipy.sparse.csr_matrix(X)):
        with pytest.raises(DataError, match="NaN in row 4321, column 2"):
            check_finite(given)
    check_finite(np.full((2, 2), 255, dtype=np.uint8))


def test_rows_that_leave_the_unit_scale_are_refused():
    """Left in, a Bernoulli would call them usual: its log p(x) grows without end with x."""
    X, grey = rows(), make_likelihood({"name": "bernoulli", "grey": True}, 4)
    scaling, _ = choose_scaling(X, grey, "unit")
    check_scaled(X, grey, scaling)
    with pytest.raises(DataError, match=r"scale='unit'.*the data goes from"):
        check_scaled(2 * X, grey, scaling)
    two = np.array([[3.0, 7.3], [7.3, 3.0]])
    check_scaled(two, make_likelihood("bernoulli", 2), choose_scaling(two, make_likelihood("bernoulli", 2), "unit")[0])
