"""The k best from approximate scores: against a stable sort of scores summed by Python's fsum."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mumei.retrieval.exact import Candidates, scan, score


def brute(rows: np.ndarray, queries: np.ndarray, k: int, allow: np.ndarray | None = None):
    """Expected: each product exact in float64, summed exactly (fsum), rounded to float32; a stable sort."""
    exact = np.array([[math.fsum(a * b) for a in rows.astype(np.float64)] for b in queries.astype(np.float64)])
    with np.errstate(over="ignore"):
        exact = exact.astype(np.float32)
    if allow is not None:
        exact[:, ~allow] = -np.inf
        k = min(k, int(allow.sum()))
    order = np.argsort(-exact, axis=1, kind="stable")[:, :k]
    return order, np.take_along_axis(exact, order, 1)


def scanned(rows, queries, k, block=16, allow=None, limit=32_768):
    longest = float(np.sqrt((rows.astype(np.float64) ** 2).sum(1)).max()) * (1 + 1e-9)
    candidates = Candidates(queries, k, lambda wanted: rows[wanted], limit=limit)
    parts = ((i, rows[i : i + block], longest) for i in range(0, len(rows), block))
    return scan(candidates, parts, allow)


@given(
    seed=st.integers(0, 2**20), n=st.integers(1, 120), dim=st.integers(1, 40), k=st.integers(1, 130),
    block=st.integers(1, 70), kind=st.sampled_from(["normal", "ties", "equal", "zero", "tiny", "near"]),
    some=st.booleans(), limit=st.sampled_from([1, 32_768]),
)  # fmt: skip
@settings(max_examples=300, deadline=None)
def test_scan_equals_a_stable_sort_of_exact_scores(seed, n, dim, k, block, kind, some, limit):
    rng = np.random.default_rng(seed)
    rows, queries = rng.normal(size=(n, dim)).astype(np.float32), rng.normal(size=(3, dim)).astype(np.float32)
    if kind == "ties":
        rows, queries = np.rint(rows), np.rint(queries)
    elif kind == "equal":
        rows[:] = rows[0]
    elif kind == "zero":
        queries[:] = 0
    elif kind == "tiny":
        rows *= np.float32(1e-42)
    elif kind == "near":  # closer to each other than float32 sums can tell
        rows = (rows[0] + rng.normal(size=rows.shape) * 1e-7).astype(np.float32)
    allow = rng.random(n) < 0.5 if some else None
    if some:
        allow[rng.integers(n)] = True
    k = min(k, n if allow is None else int(allow.sum()))
    found, scores = scanned(rows, queries, k, block, allow, limit).finish()
    expected, values = brute(rows, queries, k, allow)
    assert (found == expected).all()
    assert (scores == values).all()


def test_scores_beyond_float32_come_out_infinite_and_in_order():
    """Expected by hand: 9e76 and 4e76 are infinite in float32, so they tie; 1e30 * 1e8 is 1e38, finite."""
    rows = np.array([[1e30], [2e38], [-3e38], [3e38]], dtype=np.float32)
    found, scores = scanned(rows, np.array([[3e38], [1e8]], dtype=np.float32), 4).finish()
    assert found.tolist() == [[0, 1, 3, 2], [1, 3, 0, 2]]
    assert np.isposinf(scores[0, :3]).all()
    assert np.isneginf(scores[0, 3])
    assert scores[1, 2] == pytest.approx(1e38)


def test_few_rows_are_scored_anew():
    """10,000 rows, k = 10: the float32 error leaves hardly more than the ten."""
    rng = np.random.default_rng(0)
    rows, queries = rng.normal(size=(10_000, 32)).astype(np.float32), rng.normal(size=(4, 32)).astype(np.float32)
    candidates = scanned(rows, queries, 10, block=1000)
    candidates.finish()
    assert 40 <= candidates.rescored <= 48


def test_a_query_with_too_many_candidates_is_given_up_only_when_asked():
    rows, queries = np.ones((500, 4), np.float32), np.array([[1, 1, 1, 1], [0, 0, 0, 0]], np.float32)
    given_up = Candidates(queries, 3, lambda wanted: rows[wanted], give_up=True, limit=50)
    scan(given_up, [(0, rows, 2.0)], None)
    assert given_up.finish()[0].tolist() == [[-1] * 3] * 2
    assert given_up.crowded.all()
    assert scanned(rows, queries, 3, 50, limit=50).finish()[0].tolist() == [[0, 1, 2]] * 2


def test_a_score_is_rounded_once():
    """1 + 2^-25 + 2^-25: summed in float32 it is 1, in float64 it rounds to 1 + 2^-24's neighbour by ties to even."""
    vectors = np.array([[1, 2.0**-24, 2.0**-24], [1, 2.0**-24, 2.0**-25]], dtype=np.float32)
    assert score(vectors, np.ones(3)).tolist() == [1 + 2.0**-23, 1 + 2.0**-23]
