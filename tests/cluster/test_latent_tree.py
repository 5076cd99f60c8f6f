"""The latent tree against enumeration of all states; EM climbs; what structures it takes."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from scipy.stats import norm

from mumei.cluster.latent_tree import LatentTree, Tree

FACET, PARENT, STATES = np.array([0, 1, 2, 0, 3]), np.array([0, 0, 0, 1]), np.array([3, 2, 3, 1])


def tree(rate: float = 1.0) -> LatentTree:
    """Return a tree of four facets on five dimensions, with random statistics."""
    rng = np.random.default_rng(0)
    pairs = np.zeros((4, 3, 3))
    pairs[0] = np.diag(rng.dirichlet(np.ones(3)))
    for f in (1, 2, 3):
        for i, j in itertools.product(range(STATES[PARENT[f]]), range(STATES[f])):
            pairs[f, i, j] = rng.uniform(0.2, 1)
        pairs[f] /= pairs[f].sum()
    counts, means = rng.uniform(0.2, 0.5, (3, 5)), rng.normal(0, 2, (3, 5))
    squares = counts * (means**2 + rng.uniform(0.3, 1.0, (3, 5)))
    head = LatentTree(3, 5, rate)
    head.place(Tree(FACET, PARENT, STATES, pairs, counts, counts * means, squares))
    return head


def enumerated(head: LatentTree, z: np.ndarray) -> dict[tuple[int, ...], np.ndarray]:
    """Return p(z, y) (n,) for all states y of all facets, in plain products."""
    means, variances = head.means().double().numpy(), head.log_variances().double().exp().numpy()
    pairs = head.pairs.double().numpy()
    found = {}
    for y in itertools.product(*(range(s) for s in STATES)):
        p = pairs[0, y[0], y[0]] / np.trace(pairs[0])
        for f in (1, 2, 3):
            row = pairs[f, y[PARENT[f]]]
            p = p * row[y[f]] / row.sum()
        density = [norm.pdf(z[:, d], means[y[FACET[d]], d], np.sqrt(variances[y[FACET[d]], d])) for d in range(5)]
        found[y] = p * np.prod(density, axis=0)
    return found


def test_messages_give_what_enumeration_gives():
    head = tree()
    z = np.random.default_rng(1).normal(0, 2, (6, 5))
    joint = enumerated(head, z)
    everything = sum(joint.values())
    rows = torch.from_numpy(z).float()
    np.testing.assert_allclose(head.log_prob(rows), np.log(everything), rtol=1e-4)
    alone, pairs = head.posteriors(rows)
    for f in range(4):
        for j in range(3):
            expected = sum((p for y, p in joint.items() if y[f] == j), np.zeros(6)) / everything
            np.testing.assert_allclose(alone[f][:, j], expected, atol=1e-5)
            for i in range(3):
                both = (p for y, p in joint.items() if y[f] == j and y[PARENT[f] if f else 0] == i)
                np.testing.assert_allclose(pairs[f][:, i, j], sum(both, np.zeros(6)) / everything, atol=1e-5)
    np.testing.assert_allclose(head.proba(rows), alone[0], rtol=1e-5)


def test_the_statistics_are_expectations_under_the_enumerated_posterior():
    head = tree()
    z = np.random.default_rng(2).normal(0, 2, (6, 5))
    joint = enumerated(head, z)
    everything = sum(joint.values())
    found = head.statistics(torch.from_numpy(z).float())
    for d, j in itertools.product(range(5), range(3)):
        weight = sum((p for y, p in joint.items() if y[FACET[d]] == j), np.zeros(6)) / everything
        np.testing.assert_allclose(found["counts"][j, d], weight.mean(), atol=1e-5)
        np.testing.assert_allclose(found["sums"][j, d], (weight * z[:, d]).mean(), atol=1e-4)
        np.testing.assert_allclose(found["squares"][j, d], (weight * z[:, d] ** 2).mean(), atol=1e-4)


def test_whole_steps_of_em_never_lower_the_likelihood():
    head = tree(rate=1.0)
    z = torch.from_numpy(np.random.default_rng(3).normal(0, 2, (200, 5))).float()
    values = [float(head.log_prob(z).mean())]
    for _ in range(20):
        head.absorb(z)
        values.append(float(head.log_prob(z).mean()))
    assert (np.diff(values) > -1e-5).all()
    assert values[-1] > values[0] + 0.1


def test_a_step_moves_statistics_by_its_rate():
    head, z = tree(rate=0.25), torch.ones(4, 5)
    before, batch = head.sums.clone(), head.statistics(z)["sums"]
    head.absorb(z)
    torch.testing.assert_close(head.sums, before + 0.25 * (batch - before))


def test_gradients_of_codes_are_finite_far_away():
    z = torch.full((1, 5), 1e4, requires_grad=True)
    tree().log_prob(z).sum().backward()
    assert torch.isfinite(z.grad).all()


def test_a_new_tree_and_one_of_a_file_are_alike():
    head, other = tree(), LatentTree(3, 5)
    torch.testing.assert_close(other.proba(torch.zeros(1, 5)), torch.full((1, 3), 1 / 3))
    other.load_state_dict(head.state_dict())
    z = torch.ones(2, 5)
    assert torch.equal(head.log_prob(z), other.log_prob(z))
    assert other.facets() == 4
    head.reseed(1, torch.full((5,), 7.0))
    torch.testing.assert_close(head.means()[1, [0, 3]], torch.full((2,), 7.0))
    assert (head.means()[1, [1, 2, 4]] == other.means()[1, [1, 2, 4]]).all()
