"""What is done to rows, against the formulas; what is said; what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse
import torch

from mumei.cluster import inputs
from mumei.cluster.inputs import distinct, look, prepare
from mumei.core.errors import DataError, UsageError

COUNTS = np.random.default_rng(0).poisson(1.0, (30, 12)).astype(float)


def test_scale_brings_the_mean_square_to_one():
    X = np.random.default_rng(0).integers(0, 256, (20, 6), dtype=np.uint8)
    made, said = prepare(X, "auto")
    assert float(made.apply(X).square().mean()) == pytest.approx(1.0, rel=1e-5)
    assert "mean |x|^2 / d = 1" in said[0]
    torch.testing.assert_close(made.apply(X[:3]), made.apply(X)[:3])


@pytest.mark.parametrize("kind", ["scale", "standard", "tfidf", "cells", "none"])
def test_sparse_rows_are_prepared_as_dense_ones(kind, monkeypatch):
    sparse = scipy.sparse.csr_matrix(COUNTS)
    dense_made, sparse_made = prepare(COUNTS, kind)[0], prepare(sparse, kind)[0]
    expected = dense_made.apply(COUNTS)
    torch.testing.assert_close(sparse_made.apply(sparse), expected)
    torch.testing.assert_close(sparse_made.apply(COUNTS[:5]), expected[:5])
    monkeypatch.setattr(inputs, "RESIDENT", 0)
    kept = sparse_made.apply(sparse)
    torch.testing.assert_close(torch.as_tensor(kept.toarray() if kind != "standard" else kept), expected)


def test_tfidf_is_its_formula():
    made, _ = prepare(COUNTS, "tfidf")
    idf = 1 + np.log(31 / (1 + (COUNTS > 0).sum(0)))
    weighted = np.log1p(COUNTS) * idf
    weighted /= np.linalg.norm(weighted, axis=1, keepdims=True)
    expected = weighted / np.sqrt((weighted**2).mean())
    np.testing.assert_allclose(made.apply(COUNTS), expected, rtol=1e-5)


def test_cells_are_library_size_log_and_variable_genes():
    counts = COUNTS.copy()
    counts[4] = 0
    made, said = prepare(counts, "cells", genes=5)
    sums = counts.sum(1, keepdims=True)
    library = np.median(sums[sums > 0])
    logged = np.log1p(counts / np.where(sums > 0, sums, 1) * library)
    chosen = np.sort(np.argsort(-logged.std(0))[:5])
    expected = logged[:, chosen] / np.sqrt((logged[:, chosen] ** 2).mean())
    np.testing.assert_allclose(made.apply(counts), expected, rtol=1e-5)
    assert "5 most variable of 12" in " ".join(said)
    assert "1 rows hold no count" in " ".join(said)


def test_an_annotated_matrix_of_counts_is_cells_and_nothing_else_is():
    assert prepare(COUNTS, "auto", annotated=True)[0].kind == "cells"
    assert prepare(COUNTS + 0.5, "auto", annotated=True)[0].kind == "scale"
    assert prepare(COUNTS, "auto")[0].kind == "scale"


def test_standard_columns_and_constant_ones():
    X = np.random.default_rng(0).normal(1e6, 2.0, (50, 3))
    X[:, 1] = 7.0
    found = prepare(X, "standard")[0].apply(X)
    np.testing.assert_allclose(found.std(0, correction=0), [1.0, 0.0, 1.0], atol=1e-4)


def test_what_is_refused():
    with pytest.raises(DataError, match="holds -1"):
        prepare(COUNTS - 1, "cells")
    made, _ = prepare(COUNTS, "tfidf")
    with pytest.raises(DataError, match="is for counts"):
        made.apply(-COUNTS)
    with pytest.raises(UsageError, match="Did you mean 'scale'"):
        prepare(COUNTS, "scal")
    with pytest.raises(DataError, match="too far"):
        prepare(np.full((4, 2), 1e-30), "scale")[0].apply(np.full((1, 2), 1e30))


def test_columns_are_looked_at():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 4))
    assert look(X) == ([], [])
    X[:, 0] = 3.0
    assert "1 of 4 columns never change" in look(X)[0][0]
    X[:, 0], X[:, 3] = 1000 * X[:, 1], rng.integers(0, 3, 60)
    said, warned = look(X)
    assert "preprocess='standard'" in said[0]
    assert "column 3 looks like labels" in warned[0]
    assert "column Label looks" in look(X[:, 1:3], ["gene", "Label"])[1][0]
    assert look(rng.integers(0, 3, (60, 4)).astype(float))[1] == []


def test_distinct_rows_are_counted_up_to_what_is_needed():
    x = torch.tensor([[1.0, 2.0], [1.0, 2.0], [3.0, 4.0]])
    assert distinct(x, 5) == 2
    assert distinct(x, 1) == 1
    assert distinct(scipy.sparse.csr_matrix(x.numpy()), 5) == 2
