"""IDEC: its loss is a weighted sum, its decoder learns."""

from __future__ import annotations

import pytest
from cluster_toys import SMALL, blobs

from mumei.cluster.idec import IDEC
from mumei.core.errors import UsageError


def test_the_loss_is_reconstruction_and_gamma_times_kl():
    model = IDEC(**{**SMALL, "tol": 0.0}, gamma=0.3).fit(blobs()[0])
    for record in (r for r in model.history_ if r["phase"] == "clustering"):
        assert record["loss"] == pytest.approx(record["reconstruction"] + 0.3 * record["kl"], rel=1e-5)


@pytest.mark.parametrize("given", [-1.0, "a"])
def test_a_weight_is_a_number_of_at_least_zero(given):
    with pytest.raises(UsageError, match="gamma="):
        IDEC(**SMALL, gamma=given).fit(blobs()[0])


def test_the_papers_preset_trains():
    X, y = blobs()
    model = IDEC(**SMALL, preset="paper").fit(X)
    assert (model.settings_["gamma"], model.settings_["refresh"], model.settings_["steps"]) == (0.1, 140, None)
    assert model.evaluate(y)["acc"] > 0.9
