"""Counting: Hoffmann's Tables A4 and A9, Gopher, the converter."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mumei.core.errors import UsageError
from mumei.scaling.flops import CONVENTIONS, Shape, check_convention, convert, with_embeddings, without_embeddings
from mumei.scaling.shapes import TABLE_A9, nearest

BY_SIZE = {row[0]: Shape(*row[1:]) for row in TABLE_A9}


@pytest.mark.parametrize(
    ("millions", "ratio"), [(74, 1.025), (306, 1.101), (552, 1.083), (1143, 1.044), (1593, 1.033), (6796, 0.994)]
)
def test_table_a4(millions, ratio):
    """Ratios as nanoGPT's notebook computes them; the paper prints two digits: 1.03 1.10 1.08 1.04 1.03 0.99."""
    assert BY_SIZE[millions].table_a4() == pytest.approx(ratio, abs=0.002)


@pytest.mark.parametrize("row", TABLE_A9, ids=str)
def test_table_a9_sizes_within_one_percent(row):
    assert Shape(*row[1:]).params(relative=True) / 1e6 == pytest.approx(row[0], rel=0.01)


def test_table_a9_is_the_shared_one(rows):
    shared = [tuple(float(r[k]) for k in r) for r in rows("chinchilla_tableA9_models.csv")]
    assert sorted((1e6 * a, *b) for a, *b in TABLE_A9) == sorted(shared)


def test_a_count_by_hand():
    """d 2, f 3, one head of 2, one layer, 5 words, 4 positions."""
    shape = Shape(2, 3, 2, 1, 1, vocabulary=5, sequence=4)
    body = 4 * 2 * 2 + 2 * 2 * 3
    assert shape.params(embeddings=False) == body
    assert shape.params() == body + 10
    assert shape.params(tied=False) == body + 20
    assert shape.flops_per_token("6nd") == 6 * (body + 10)
    assert shape.flops_per_token("6nd_noembed") == 6 * body
    assert shape.flops_per_token("kaplan") == 6 * body + 6 * 4 * 2
    assert shape.flops_per_token("with_attention") == 6 * (body + 10) + 12 * 4 * 2
    attention = 2 * 3 * 4 * 2 * 2 + 2 * 16 * 2 + 3 * 16 + 2 * 16 * 2 + 2 * 4 * 2 * 2
    dense = 2 * 4 * (2 * 3 + 2 * 3)
    embedding_and_logits = 2 * (2 * 4 * 5 * 2)
    assert shape.flops_per_token("chinchilla_F") == 3 * (attention + dense + embedding_and_logits) / 4


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_convert(convention):
    shape = BY_SIZE[1018]
    found = convert(shape, 2e10, convention)
    assert found.flops == shape.flops_per_token(convention) * 2e10
    assert found.params == shape.size(convention)


@given(st.floats(1e6, 1e12))
def test_embeddings_taken_off_and_put_on_again(params):
    body = without_embeddings(params)
    assert 0 < body < params
    assert with_embeddings(body) == pytest.approx(params, rel=1e-9)


def test_counting_without_embeddings_raises_the_exponent_of_small_models():
    """Pearce and Song: N ~ C^.5 over small models, C = 6 N D with embeddings, looks like .74 to .78 without them in N and C."""
    flops = np.geomspace(1e14, 1e17, 50)  # models of some 0.5 to 50 million parameters
    params = 0.1 * flops**0.5 / 6**0.5 * 2
    tokens = flops / (6 * params)
    body = without_embeddings(params)
    slope = np.polyfit(np.log(6 * body * tokens), np.log(body), 1)[0]
    assert 0.6 < slope < 0.8


def test_mixed_conventions_are_seen():
    n, d = np.array([1e8, 1e9, 1e10]), np.array([1e10, 1e10, 1e10])
    assert check_convention(n, d, 6 * n * d) == ("6nd", pytest.approx(1))
    assert check_convention(n, d, 7.2 * n * d) == ("other", pytest.approx(1.2))
    assert check_convention(n, d, n * d * [6, 9, 6])[0] == "mixed"
    with pytest.raises(UsageError, match="give as many of each"):
        check_convention(n, d, n[:2])


def test_nearest_shape():
    assert nearest(1.0e9)[0] == 1018e6
    size, shape, inside = nearest(70e9)
    assert not inside
    assert size == pytest.approx(70e9, rel=0.05)
    assert shape.d_model / shape.n_layers == pytest.approx(8192 / 80, rel=0.4)
    assert not nearest(1e6)[2]


def test_refusals():
    with pytest.raises(UsageError, match="unknown FLOP convention '7nd'"):
        BY_SIZE[74].flops_per_token("7nd")
    with pytest.raises(UsageError, match="unknown FLOP convention"):
        BY_SIZE[74].size("7nd")
    with pytest.raises(UsageError, match="n_layers is 0"):
        Shape(1, 1, 1, 1, 0)
