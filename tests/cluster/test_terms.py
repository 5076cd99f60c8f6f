"""Each term against its formula written another way."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import nn

from mumei.cluster.assignment import HardCentres, StudentCentres, target_distribution
from mumei.cluster.terms import MOVED, KlRunning, KlTarget, Pull, Reconstruction, View

ROWS = torch.tensor([4, 1, 0])


def view(head: nn.Module) -> View:
    rng = torch.Generator().manual_seed(1)
    encoder, decoder = nn.Linear(4, 2), nn.Linear(2, 4)
    with torch.no_grad():
        for p in (*encoder.parameters(), *decoder.parameters(), *head.parameters()):
            p.normal_(generator=rng)
    target = torch.softmax(torch.randn(5, 3, generator=rng), 1)
    at: Any = SimpleNamespace(rows=ROWS)
    nets = {"encoder": encoder, "decoder": decoder, "head": head}
    return View(nets, (torch.randn(3, 4, generator=rng),), at, {"target": target})


def test_reconstruction_is_the_mean_square():
    seen = view(StudentCentres(3, 2))
    error = (seen.nets["decoder"](seen.nets["encoder"](seen.x)) - seen.x).detach().double().numpy() ** 2
    np.testing.assert_allclose(Reconstruction()(seen).detach(), error.mean(), rtol=1e-5)
    np.testing.assert_allclose(Reconstruction(per_row=True)(seen).detach(), error.sum(1).mean(), rtol=1e-5)


def test_kl_is_its_sum_over_the_batchs_rows_of_the_whole_target():
    seen = view(StudentCentres(3, 2))
    p, q = seen.memory["target"][ROWS].double().numpy(), seen.log_q.detach().double().exp().numpy()
    expected = sum(p[i, j] * np.log(p[i, j] / q[i, j]) for i in range(3) for j in range(3)) / 3
    np.testing.assert_allclose(KlTarget()(seen).detach(), expected, rtol=1e-5)


def test_a_running_target_is_that_of_all_rows_where_the_frequencies_are():
    seen = view(StudentCentres(3, 2))
    everywhere = torch.rand(50, 3, generator=torch.Generator().manual_seed(1)).softmax(1)
    q = seen.log_q.detach().exp()
    seen.memory = {"frequencies": torch.cat([everywhere, q]).mean(0)}
    p = target_distribution(torch.cat([everywhere, q]))[-len(q) :]
    expected = (p * (p.log() - seen.log_q.detach())).sum(1).mean()
    torch.testing.assert_close(KlRunning()(seen).detach(), expected)
    before = seen.memory["frequencies"].clone()
    KlRunning().after(seen)
    torch.testing.assert_close(seen.memory["frequencies"], before + MOVED * (q.mean(0) - before))


def test_the_gradient_of_kl_is_the_papers():
    """DEC's equations 4 and 5, alpha = 1: dL/dz = 2 sum_j (p - q)(z - mu) / (1 + |z - mu|^2), dL/dmu its negative over rows."""
    head = StudentCentres(3, 2)
    seen = view(head)
    seen.z.retain_grad()
    (3 * KlTarget()(seen)).backward()
    z, mu, p = seen.z.detach(), head.centres.detach(), seen.remembered("target")
    difference = z[:, None] - mu
    pulls = ((p - seen.log_q.detach().exp()) / (1 + difference.square().sum(-1)))[..., None] * difference
    torch.testing.assert_close(seen.z.grad, 2 * pulls.sum(1), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(head.centres.grad, -2 * pulls.sum(0), rtol=1e-4, atol=1e-6)


def test_the_pull_is_to_the_nearest_mean_which_then_moves():
    head = HardCentres(3, 2)
    head.place(torch.tensor([[0.0, 0.0], [1.0, 1.0], [-2.0, 1.0]]), torch.ones(3))
    seen = view(head)
    z = seen.z.detach()
    expected = np.mean([min(float((row - c).square().sum()) for c in head.centres) for row in z])
    np.testing.assert_allclose(Pull()(seen).detach(), expected, rtol=1e-5)
    before = head.counts.clone()
    Pull().after(seen)
    assert float((head.counts - before).sum()) == 3
