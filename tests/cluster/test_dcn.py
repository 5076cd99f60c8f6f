"""DCN: hard assignment, means that are kept by counting."""

from __future__ import annotations

import numpy as np
import pytest
from cluster_toys import SMALL, blobs

from mumei.cluster.dcn import DCN
from mumei.core.errors import UsageError


def test_assignment_is_to_the_nearest_mean_with_certainty():
    X, y = blobs()
    model = DCN(**SMALL).fit(X)
    z, centres = model.transform(X), model.net_["head"].centres.numpy()
    nearest = ((z[:, None] - centres) ** 2).sum(-1).argmin(1)
    assert np.array_equal(model.labels_, nearest)
    assert set(np.unique(model.predict_proba(X))) == {0.0, 1.0}
    assert model.evaluate(y)["acc"] == 1.0


def test_the_loss_is_the_papers_over_the_number_of_columns():
    model = DCN(**{**SMALL, "tol": 0.0}, lam=0.6).fit(blobs()[0])
    for record in (r for r in model.history_ if r["phase"] == "clustering"):
        assert record["loss"] == pytest.approx(record["reconstruction"] + 0.3 * record["pull"] / 4, rel=1e-5)


def test_counts_begin_with_the_sizes_of_kmeans_and_grow_by_every_row():
    model = DCN(**{**SMALL, "tol": 0.0}).fit(blobs()[0])
    assert float(model.net_["head"].counts.sum()) == 60 + 4 * 60


@pytest.mark.parametrize("given", [-1.0, "a"])
def test_a_weight_is_a_number_of_at_least_zero(given):
    with pytest.raises(UsageError, match="lam="):
        DCN(**SMALL, lam=given).fit(blobs()[0])


def test_the_papers_preset_trains():
    X, y = blobs()
    model = DCN(**{**SMALL, "pretrain_epochs": 60}, preset="paper").fit(X)
    assert (model.settings_["lam"], model.settings_["optimizer"]) == (0.05, "sgd")
    assert model.evaluate(y)["acc"] > 0.9
