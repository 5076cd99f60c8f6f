"""Soft assignment and target distribution against loops over rows; running means against one row at a time."""

from __future__ import annotations

import numpy as np
import torch

from mumei.cluster.assignment import HardCentres, StudentCentres, log_soft_assignment, target_distribution


def draw(n: int = 7, k: int = 3, d: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    return torch.randn(n, d, generator=rng), torch.randn(k, d, generator=rng)


def test_soft_assignment_is_equation_1_in_loops():
    z, centres = draw()
    for alpha in (1.0, 2.5):
        expected = np.zeros((7, 3))
        for i in range(7):
            for j in range(3):
                square = sum((float(z[i, c]) - float(centres[j, c])) ** 2 for c in range(2))
                expected[i, j] = (1 + square / alpha) ** (-(alpha + 1) / 2)
            expected[i] /= expected[i].sum()
        np.testing.assert_allclose(log_soft_assignment(z, centres, alpha).exp(), expected, rtol=1e-5)


def test_the_target_is_equation_3_in_loops():
    q = log_soft_assignment(*draw()).exp()
    expected = np.zeros((7, 3))
    for i in range(7):
        for j in range(3):
            expected[i, j] = float(q[i, j]) ** 2 / sum(float(q[r, j]) for r in range(7))
        expected[i] /= expected[i].sum()
    np.testing.assert_allclose(target_distribution(q), expected, rtol=1e-5)


def test_far_rows_and_empty_columns_give_finite_numbers():
    z, centres = draw()
    assert torch.isfinite(log_soft_assignment(1e15 * z, centres)).all()
    target = target_distribution(torch.tensor([[1.0, 0.0], [1.0, 0.0]]))
    torch.testing.assert_close(target, torch.tensor([[1.0, 0.0], [1.0, 0.0]]))


def test_a_row_alone_gets_what_it_gets_among_others():
    z, centres = draw()
    assert torch.equal(log_soft_assignment(z, centres)[2:3], log_soft_assignment(z[2:3], centres))


def test_running_means_are_those_of_one_row_at_a_time():
    z, centres = draw(n=20)
    head = HardCentres(3, 2)
    head.place(centres, torch.tensor([4.0, 2.0, 0.0]))
    chosen = head(z).tolist()
    means, counts = centres.double().numpy().copy(), [4, 2, 1]  # an empty cluster counts as one row
    for row, k in zip(z.double().numpy(), chosen, strict=True):
        counts[k] += 1
        means[k] -= (means[k] - row) / counts[k]
    head.absorb(z)
    np.testing.assert_allclose(head.centres, means, rtol=1e-5)
    assert head.counts.tolist() == counts


def test_hard_assignment_is_to_the_nearest_and_sums_to_one():
    z, centres = draw()
    head = HardCentres(3, 2)
    head.place(centres, torch.ones(3))
    nearest = [int(np.argmin([float((row - c).norm()) for c in centres])) for row in z]
    assert head(z).tolist() == nearest
    assert head.proba(z).sum(1).tolist() == [1.0] * 7
    head.reseed(1, z[0])
    assert torch.equal(head.centres[1], z[0])


def test_student_centres_learn_and_are_moved():
    head = StudentCentres(3, 2)
    z, centres = draw()
    head.place(centres, torch.ones(3))
    torch.testing.assert_close(head.proba(z).sum(1), torch.ones(7))
    head.reseed(2, z[0])
    assert int(head.proba(z)[0].argmax()) == 2
