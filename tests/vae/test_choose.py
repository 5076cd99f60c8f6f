"""Likelihoods by name, and what is proposed for which data."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse

from mumei.core.errors import DataError, UsageError
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
    assert "grey" in propose(draw.random((20, 5))).reason
    assert "some negative" in propose(np.array([[-1, 2]])).reason


def test_bytes_are_images_when_dense_and_counts_when_sparse_or_said_to_be():
    rows = np.random.default_rng(0).negative_binomial(1, 0.1, (200, 5)).clip(max=255).astype(np.uint8)
    assert propose(rows).config == {"name": "bernoulli", "grey": True}
    assert propose(scipy.sparse.csr_matrix(rows)).config["name"] == "nb"
    assert propose(rows, integers=True).config["name"] == "nb"
    assert propose((rows > 3).astype(np.uint8)).config == {"name": "bernoulli"}


@pytest.mark.parametrize(("last", "name"), [(0.5, "gaussian"), (3.0, "poisson")])
def test_all_rows_are_looked_at(last, name):
    rows = np.zeros((700_000, 2))
    rows[-1] = last
    assert propose(rows).config["name"] == name
    assert propose(rows[:-1]).config["name"] == "bernoulli"


@pytest.mark.parametrize("empty", [np.zeros((0, 3)), scipy.sparse.csr_matrix((4, 3)), np.zeros((4, 3), dtype=bool)])
def test_no_values_no_non_zeros_and_booleans_are_bits(empty):
    assert propose(empty).config == {"name": "bernoulli"}


def test_nearly_empty_features_do_not_hide_that_the_others_are_overdispersed():
    draw = np.random.default_rng(0)
    rows = np.concatenate([draw.poisson(0.01, (300, 400)), draw.negative_binomial(1, 0.1, (300, 40))], 1)
    each = rows.var(0) / np.maximum(rows.mean(0), 1e-9)
    assert np.median(each) < 1.5 < rows.var(0).sum() / rows.mean(0).sum()
    assert propose(scipy.sparse.csr_matrix(rows)).config["name"] == "nb"
    assert propose(rows[:, :400]).config["name"] == "poisson"


def test_text_is_refused():
    with pytest.raises(DataError, match="numbers"):
        propose(np.array([["a", "b"]]))


def test_what_is_proposed_takes_the_data():
    draw = np.random.default_rng(0)
    for rows in (draw.negative_binomial(2, 0.1, (500, 3)), draw.poisson(3, (500, 3)), draw.integers(0, 2, (9, 3))):
        make_likelihood(propose(rows).config, 3).check(rows)
