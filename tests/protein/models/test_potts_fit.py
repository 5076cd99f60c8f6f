"""The fits of a Potts model: against brute force over all sequences, autograd, loops, and the model that made the data."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from mumei.protein.models import potts_fit
from mumei.protein.models.potts_fit import STATES


@pytest.fixture
def codes():
    g = torch.Generator().manual_seed(0)
    return torch.randint(0, STATES, (30, 6), generator=g)


def test_weights_count_neighbours(codes):
    """Expected: two loops over all pairs."""
    rows = torch.cat([codes, codes[:5], codes[:3].clone()])
    rows[-1, 0] = (rows[-1, 0] + 1) % STATES
    found = potts_fit.sequence_weights(rows, identity=0.8)
    for i in range(len(rows)):
        near = sum(float((rows[i] == rows[j]).float().mean()) >= 0.8 for j in range(len(rows)))
        assert float(found[i]) == pytest.approx(1 / near)


def test_weights_do_not_depend_on_blocks(codes, monkeypatch):
    whole = potts_fit.sequence_weights(codes % 3)
    monkeypatch.setattr(potts_fit, "BLOCK", 7)
    assert torch.equal(potts_fit.sequence_weights(codes % 3), whole)


def test_sums_of_rows_are_the_product_with_indicators(codes):
    g = torch.Generator().manual_seed(1)
    side = 6 * STATES
    matrix, slope = torch.randn(side, side, generator=g), torch.randn(30, side, generator=g)
    hot = potts_fit.one_hot(codes)
    sums, back = potts_fit.gathered(matrix, codes + STATES * torch.arange(6))
    torch.testing.assert_close(sums, hot @ matrix, atol=1e-4, rtol=0)
    torch.testing.assert_close(back(slope), hot.T @ slope, atol=1e-4, rtol=0)


def loss_of(h, couplings, codes, weights):
    """The penalised pseudo-likelihood in words: each site's conditional by itself, each pair's J penalised once."""
    n, width = codes.shape
    total = 0.0
    for i in range(width):
        logits = h[i] + sum(couplings[i, j][:, codes[:, j]].T for j in range(width) if j != i)
        total = total - (torch.log_softmax(logits, -1)[torch.arange(n), codes[:, i]] * weights).sum()
    pairs = sum(couplings[i, j].square().sum() for i in range(width) for j in range(i + 1, width))
    return (total + potts_fit.PENALTY_H * h.square().sum() + potts_fit.PENALTY_J * (width - 1) * pairs) / weights.sum()


def test_the_pseudo_likelihood_is_at_its_minimum(codes):
    """Expected: the loss written out pair by pair has no slope there, by autograd."""
    small = codes[:, :4]
    weights = torch.linspace(0.5, 1.0, 30)
    kept = {}

    def keep(value, start, **options):
        kept["point"] = real(value, start, **options)
        return kept["point"]

    real = potts_fit.minimise
    potts_fit.minimise = keep
    try:
        _, _, losses = potts_fit.pseudo_likelihood(small, weights, max_iter=400, tolerance=1e-9)
    finally:
        potts_fit.minimise = real
    side = 4 * STATES
    h = kept["point"][:side].view(4, STATES).clone().requires_grad_(True)
    free = kept["point"][side:].view(side, side)
    full = ((free + free.T) / 2).view(4, STATES, 4, STATES).permute(0, 2, 1, 3).clone()
    full[torch.arange(4), torch.arange(4)] = 0.0
    upper = {(i, j): full[i, j].clone().requires_grad_(True) for i in range(4) for j in range(i + 1, 4)}
    couplings = {**upper, **{(j, i): t.T for (i, j), t in upper.items()}}
    loss = loss_of(h, couplings, small, weights)
    assert float(loss.detach()) == pytest.approx(losses[-1], abs=1e-4)
    slopes = torch.autograd.grad(loss, [h, *upper.values()])
    assert max(float(s.abs().max()) for s in slopes) < 2e-3
    assert losses == sorted(losses, reverse=True)


def test_the_gauge_changes_no_probability():
    g = torch.Generator().manual_seed(2)
    h, half = torch.randn(3, STATES, generator=g), torch.randn(3, 3, STATES, STATES, generator=g)
    couplings = half + half.permute(1, 0, 3, 2)
    couplings[torch.arange(3), torch.arange(3)] = 0.0
    new_h, new_j = potts_fit.gauge(h, couplings)

    def log_weight(h, j, x):
        return float(
            sum(h[i, x[i]] for i in range(3)) + sum(j[a, b, x[a], x[b]] for a, b in itertools.combinations(range(3), 2))
        )

    sequences = [(0, 0, 0), (4, 20, 7), (9, 9, 1), (20, 3, 15)]
    shift = [log_weight(new_h, new_j, x) - log_weight(h, couplings, x) for x in sequences]
    np.testing.assert_allclose(shift, shift[0], atol=1e-4)
    assert float(new_j.sum(-1).abs().max()) < 1e-3
    assert float(new_h.sum(-1).abs().max()) < 1e-3


@pytest.mark.parametrize("method", ["pseudo", "mean-field"])
def test_the_coupled_pair_of_a_known_model_is_found(method):
    """Sequences where sites 1 and 4 agree and all else is chance: theirs is the largest coupling by far."""
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 4, (400, 6))
    rows[:, 4] = np.where(rng.random(400) < 0.85, rows[:, 1], rows[:, 4])
    codes, weights = torch.from_numpy(rows), torch.ones(400)
    fit = potts_fit.pseudo_likelihood if method == "pseudo" else potts_fit.mean_field
    couplings = fit(codes, weights)[1]
    norms = couplings[..., :20, :20].square().sum((-1, -2)).sqrt()
    pairs = sorted(((float(norms[i, j]), i, j) for i in range(6) for j in range(i + 1, 6)), reverse=True)
    assert pairs[0][1:] == (1, 4)
    assert pairs[0][0] > 2.0 * pairs[1][0]
    assert float(couplings[1, 4, 2, 2]) > 0 > float(couplings[1, 4, 2, 1])


def test_a_sample_is_drawn_by_weight_without_repeats():
    weights = torch.tensor([0.001] * 50 + [1.0] * 10)
    rows = potts_fit.sample(weights, 10, seed=1)
    assert len(set(rows.tolist())) == 10
    assert (rows >= 50).sum() >= 8
    assert torch.equal(rows, potts_fit.sample(weights, 10, seed=1))
    assert torch.equal(potts_fit.sample(weights, 60, seed=1), torch.arange(60))
