"""Rows from what users have, remembered at a fit and compared afterwards."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from sklearn.base import BaseEstimator

from mumei.core.errors import DataError, UsageError
from mumei.core.inputs import flatten_images, read_rows, unpack


def test_a_fit_remembers_width_names_and_image_shape():
    model = BaseEstimator()
    frame = pd.DataFrame(np.arange(12.0).reshape(4, 3), columns=["a", "b", "c"])
    np.testing.assert_array_equal(read_rows(model, frame, reset=True), frame.to_numpy())
    assert list(model.feature_names_in_) == ["a", "b", "c"]
    with pytest.raises(ValueError, match="feature names"):
        read_rows(model, frame[["b", "a", "c"]], reset=False)
    images = np.zeros((4, 1, 2, 3))
    assert read_rows(model, images, reset=True).shape == (4, 6)
    assert model.image_shape_ == (1, 2, 3)
    with pytest.raises(DataError, match="fitted on images of"):
        read_rows(model, np.zeros((4, 1, 3, 2)), reset=False)


def test_what_is_not_finite_rows_is_refused():
    rows = scipy.sparse.csr_matrix(np.array([[0.0, 1.0], [np.nan, 0.0]]))
    with pytest.raises(DataError, match="NaN in row 1, column 0"):
        read_rows(BaseEstimator(), rows, reset=True)
    with pytest.raises(ValueError, match="minimum of 2"):
        read_rows(BaseEstimator(), np.ones((1, 3)), reset=True)
    with pytest.raises(UsageError, match="is for AnnData"):
        unpack(np.ones((2, 2)), "raw")


def test_bits_become_numbers_and_pictures_rows():
    assert read_rows(BaseEstimator(), np.eye(3, dtype=bool), reset=True).dtype == np.float32
    rows, shape = flatten_images(np.arange(24).reshape(2, 3, 4))
    assert rows.shape == (2, 12)
    assert shape == (3, 4)
