"""Mixtures of experts against published runs; low precision by its formula."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mumei.core.errors import UsageError
from mumei.scaling.laws import BESIROGLU
from mumei.scaling.variants import CLARK, FineGrained, Precision, Routed


@pytest.mark.parametrize(("router", "name"), [("S-Base", "s-base"), ("RL-R", "rl-r"), ("Hash", "hash")])
def test_clarks_constants_fit_the_authors_own_runs(rows, router, name):
    kept = [
        r
        for r in rows("routed_moe_final.csv")
        if r["router_type"] in (router, "Dense") and r["k"] == "1" and r["flop_increase"] == "1"
    ]
    n, e, loss = (
        np.array([float(r[k]) for r in kept]) for k in ("dense_parameter_count", "num_experts", "loss_validation")
    )
    error = np.log(CLARK[name].loss(n, e) / loss)
    assert len(kept) > 60
    assert np.sqrt(np.mean(error**2)) < 0.022
    assert abs(np.median(error)) < 0.015


def test_experts_saturate():
    law = CLARK["s-base"]
    assert law.saturated(1) == pytest.approx(law.start)
    assert law.saturated(1e9) == pytest.approx(law.most, rel=1e-4)
    assert law.dense_equivalent(1e8, 1) == pytest.approx(1e8)
    many = law.dense_equivalent(1e8, 64)
    assert law.loss(many, 1) == pytest.approx(law.loss(1e8, 64), rel=1e-12)
    assert law.optimal(6 * 130e9 * 1e8).params == pytest.approx(1e8)
    with pytest.raises(UsageError, match="1 \\(dense\\) or more"):
        law.loss(1e8, 0)
    with pytest.raises(UsageError, match="start has to be the smaller"):
        Routed(-0.1, -0.1, 0.01, 1, 10, 5)


def test_granularity():
    law = FineGrained(0.47, 2.1, 0.58, 18.1, 30.8, 0.115, 0.147, granularity=8)
    assert law.loss(1e9, 1e10) == pytest.approx(0.47 + (2.1 / 8**0.58 + 18.1) / 1e9**0.115 + 30.8 / 1e10**0.147)
    assert law.optimal(1e20).loss < FineGrained(0.47, 2.1, 0.58, 18.1, 30.8, 0.115, 0.147).optimal(1e20).loss


def test_precision():
    law = Precision(BESIROGLU, (8, 4), (2.7, 2.2), after=(0.06, 0.5, 0.34, 0.6))
    share = (1 - math.exp(-8 / 2.7)) * (1 - math.exp(-4 / 2.2))
    assert law.loss(1e9, 1e11) == pytest.approx(BESIROGLU.loss(1e9 * share, 1e11))
    added = 0.06 * 1e11**0.5 / 1e9**0.34 * math.exp(-4 / 0.6)
    assert law.loss(1e9, 1e11, bits_after=4) == pytest.approx(BESIROGLU.loss(1e9 * share, 1e11) + added)
    best = law.optimal(1e21)
    sizes = best.params * np.geomspace(0.3, 3, 501)
    assert best.params == pytest.approx(sizes[law.loss(sizes, 1e21 / 6 / sizes).argmin()], rel=0.01)
    with pytest.raises(UsageError, match="give one gamma for each"):
        Precision(BESIROGLU, (8,), ())
    with pytest.raises(UsageError, match="quantising afterwards"):
        Precision(BESIROGLU, (8,), (2.7,)).loss(1e9, 1e9, bits_after=4)
