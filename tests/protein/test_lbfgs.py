"""L-BFGS on functions whose minimum is known."""

from __future__ import annotations

import pytest
import torch

from mumei.core.errors import NonFiniteError
from mumei.protein.lbfgs import minimise


def test_a_quadratic_is_solved():
    """Expected: the solution of the linear system."""
    g = torch.Generator().manual_seed(0)
    root = torch.randn(12, 12, generator=g, dtype=torch.float64)
    matrix, right = root @ root.T + torch.eye(12), torch.randn(12, generator=g, dtype=torch.float64)
    losses: list[float] = []
    found = minimise(
        lambda x: (float(0.5 * x @ matrix @ x - right @ x), matrix @ x - right),
        torch.zeros(12, dtype=torch.float64), max_iter=200, tolerance=1e-14, losses=losses,
    )  # fmt: skip
    torch.testing.assert_close(found, torch.linalg.solve(matrix, right), atol=1e-5, rtol=0)
    assert losses == sorted(losses, reverse=True)


def test_steps_are_counted_and_bounded():
    calls: list[int] = []
    losses: list[float] = []

    def value(x):
        return float((x**4).sum()), 4 * x**3

    minimise(value, torch.full((3,), 5.0), max_iter=7, tolerance=0.0, losses=losses, progress=calls.append)
    assert sum(calls) == 7
    assert len(losses) == 8


def test_what_is_not_finite_is_told():
    with pytest.raises(NonFiniteError, match="non-finite"):
        minimise(lambda x: (-float("inf"), torch.ones(2)) if float(x[0]) else (0.0, torch.ones(2)), torch.zeros(2),
                 max_iter=3, tolerance=0.0, losses=[])  # fmt: skip
