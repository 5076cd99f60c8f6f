"""Likelihoods by name, and what is proposed for which data."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse

from mumei.core.errors import UsageError
from mumei.vae.choose import LIKELIHOODS, make_likelihood, propose


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_a_likelihood_is_made_again_from_its_config(name):
    config = {"name": name, "classes": [2, 3, 2]} if name == "categorical" else name
    first = make_likelihood(config, 3)
    again = make_likelihood(first.config(), 3)
    assert type(again) is type(first)
    assert again.config() == first.config()
    assert again.outputs == first.outputs


def test_typos_get_the_closest_match():
    with pytest.raises(UsageError, match="'gaussian'"):
        make_likelihood("gausian", 3)
    with pytest.raises(UsageError, match="'variance'"):
        make_likelihood({"name": "gaussian", "varianse": 1}, 3)
    with pytest.raises(UsageError, match="classes"):
        make_likelihood("categorical", 3)


def test_proposals_follow_the_data():
    draw = np.random.default_rng(0)
    spread = draw.negative_binomial(1, 0.1, (200, 5))
    cases = {
        "bernoulli": draw.integers(0, 2, (20, 5)),
        "gaussian": draw.normal(size=(20, 5)),
        "poisson": draw.poisson(4.0, (200, 5)),
        "nb": spread,
    }
    for name, rows in cases.items():
        assert propose(rows).config["name"] == name, name
        assert propose(scipy.sparse.csr_matrix(rows)).config["name"] == name, name
    assert propose(draw.integers(0, 256, (20, 5), dtype=np.uint8)).config == {"name": "bernoulli", "grey": True}
    assert "variance / mean" in propose(spread).reason
