"""The number of clusters of data that has one."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.mixture import GaussianMixture

from mumei.cluster.number import number_of_clusters
from mumei.core.errors import DataError


def test_separate_groups_are_counted_and_the_curve_tells_bic():
    rng = np.random.default_rng(0)
    z = np.concatenate([rng.normal(c, 0.3, (40, 2)) for c in ((0, 0), (5, 0), (0, 5), (5, 5))])
    chosen, curve = number_of_clusters(z, seed=0, candidates=(2, 3, 4, 5, 6))
    assert chosen == 4
    assert [p["n_clusters"] for p in curve] == [2, 3, 4, 5, 6]
    point = curve[2]
    assert point["stability"] == pytest.approx(1.0)
    model = GaussianMixture(4, covariance_type="diag", random_state=1, reg_covar=1e-4).fit(z)
    free = 4 * 2 + 4 * 2 + 3
    assert point["bic"] == pytest.approx(-2 * model.score(z) * len(z) + free * np.log(len(z)), rel=1e-3)


def test_too_few_rows_are_refused():
    with pytest.raises(DataError, match="too few"):
        number_of_clusters(np.zeros((12, 2)), seed=0)
