"""The structure head: its energy and probabilities written out, its fit at a minimum, the public file's layout, bad input."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mumei.core.errors import DataError, UsageError
from mumei.protein import projection
from mumei.protein.models.esm2 import Esm2Model
from mumei.protein.models.esm2_network import Esm2, Esm2Shape
from mumei.protein.projection import FLOOR, StructureHead
from mumei.protein.targets import KINDS, N_CLASSES, Target
from mumei.testing.sequence_models import check_artifact


@pytest.fixture(scope="module")
def model():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Esm2Model(Esm2(Esm2Shape(2, 24, 3, 48)), "esm2:made")


@pytest.fixture(scope="module")
def head(model):
    g = torch.Generator().manual_seed(1)
    weights = {kind: 3 * torch.randn(N_CLASSES[kind], model.n_maps, generator=g) for kind in KINDS}
    return StructureHead(weights, {kind: torch.randn(N_CLASSES[kind], generator=g) for kind in KINDS}, "esm2")


def target_of(n, seed=0):
    points = 6 * torch.randn(n, 3, generator=torch.Generator().manual_seed(seed)).numpy()
    return Target.from_distances(np.linalg.norm(points[:, None] - points[None], axis=-1))


def test_probabilities_written_out(model, head):
    """Expected: one matrix product over all maps at once; distance and omega from A + A^T, the others from A."""
    tokens = torch.randint(0, 20, (2, 9), generator=torch.Generator().manual_seed(2))
    maps = torch.cat(list(model.pair_maps(tokens)), 1)
    found = head.logprobs(model, tokens)
    for kind in KINDS:
        source = maps + maps.transpose(-1, -2) if kind in ("distance", "omega") else maps
        logits = torch.einsum("cm,bmij->bcij", head.weights[kind], source) + head.biases[kind][:, None, None]
        torch.testing.assert_close(found[kind], logits.log_softmax(1), atol=1e-4, rtol=0)


def test_the_energy_written_out_with_lengths(model, head):
    """Expected: the mean over the contacts, the diagonal included, of -log(p + 1e-8), pair by pair."""
    tokens = torch.randint(0, 20, (2, 9), generator=torch.Generator().manual_seed(3))
    target = target_of(9)
    for lengths in (None, torch.tensor([9, 6])):
        p = head.logprobs(model, tokens, lengths, ("distance",))["distance"].exp()
        found = head.energy(model, tokens, target, lengths)
        for b in range(2):
            n = 9 if lengths is None else int(lengths[b])
            lost = [
                -np.log(float(p[b, target.distance[i, j], i, j]) + FLOOR)
                for i in range(n)
                for j in range(n)
                if target.contacts[i, j]
            ]
            assert float(found[b]) == pytest.approx(float(np.mean(lost)), abs=1e-4)


def test_a_target_for_each_sequence_that_is_not_symmetric(model, head):
    tokens = torch.randint(0, 20, (2, 7), generator=torch.Generator().manual_seed(4))
    classes = torch.randint(-1, 18, (2, 7, 7), generator=torch.Generator().manual_seed(5))
    p = head.logprobs(model, tokens, None, ("distance",))["distance"].exp()
    found = head.energy(model, tokens, classes)
    for b in range(2):
        pairs = [(i, j) for i in range(7) for j in range(7) if 0 <= classes[b, i, j] < 6]
        lost = [-np.log(float(p[b, classes[b, i, j], i, j]) + FLOOR) for i, j in pairs]
        assert float(found[b]) == pytest.approx(float(np.mean(lost)), abs=1e-4)


def test_the_fit_is_at_the_minimum_of_the_written_loss(model):
    """Expected: the cross-entropy over all pairs plus the penalty has no slope at the fitted weights, by autograd."""
    tokens = torch.randint(0, 20, (12,), generator=torch.Generator().manual_seed(6))
    target, l2 = target_of(12, seed=3), 1e-3
    head = StructureHead.fit([(model, tokens, target)], l2=l2, max_iter=2000)
    maps = torch.cat(list(model.pair_maps(tokens[None])), 1)[0]
    x = (maps + maps.transpose(-1, -2)).flatten(1).T
    spread = x.std(0, unbiased=False)
    weight, bias = (
        head.weights["distance"].clone().requires_grad_(True),
        head.biases["distance"].clone().requires_grad_(True),
    )
    logp = torch.log_softmax(x @ weight.T + bias, 1)
    loss = -logp.gather(1, target.distance.flatten()[:, None]).mean() + l2 / 2 * (weight * spread).square().sum()
    slopes = torch.autograd.grad(loss, [weight, bias])
    assert float((slopes[0] / spread).abs().max()) < 5e-3
    assert float(slopes[1].abs().max()) < 5e-3
    assert head.about["chains"] == 1
    assert head.about["loss_phi"] == 0.0  # distances alone: the angles are unknown, and get no weights


def test_the_public_files_layout_is_read(tmp_path, model):
    """conv1 is distance then omega, conv2 theta then phi, as 1x1 convolutions over all maps."""
    g = torch.Generator().manual_seed(7)
    state = {
        "conv1.weight": torch.randn(36, model.n_maps, 1, 1, generator=g), "conv1.bias": torch.randn(36, generator=g),
        "conv2.weight": torch.randn(26, model.n_maps, 1, 1, generator=g), "conv2.bias": torch.randn(26, generator=g),
    }  # fmt: skip
    torch.save({"model": state, "args": {"layers": 33}}, tmp_path / "head.pt")
    head = StructureHead.from_public(tmp_path / "head.pt")
    assert torch.equal(head.weights["omega"], state["conv1.weight"][18:, :, 0, 0])
    assert torch.equal(head.biases["phi"], state["conv2.bias"][18:])
    assert head.contact_probability(model, torch.zeros((1, 5), dtype=torch.int64)).shape == (1, 5, 5)
    torch.save({"model": {"other": state["conv1.bias"]}}, tmp_path / "other.pt")
    with pytest.raises(DataError, match="not the public structure head"):
        StructureHead.from_public(tmp_path / "other.pt")


def test_bad_input(model, head):
    tokens = torch.zeros((1, 5), dtype=torch.int64)
    with pytest.raises(DataError, match="no chain"):
        StructureHead.fit([])
    with pytest.raises(DataError, match="the same chain"):
        StructureHead.fit([(model, tokens[0], target_of(4))])
    with pytest.raises(UsageError, match="the target has shape"):
        head.energy(model, tokens, target_of(4))
    with pytest.raises(UsageError, match="Fit a head on this model"):
        StructureHead.example().energy(model, tokens, target_of(5))
    with pytest.raises(UsageError, match="kind of pair class"):
        head.logprobs(model, tokens, kinds=("angle",))
    check_artifact(lambda: head)


def test_places_are_picked_inside_larger_maps_and_of_any_layout():
    whole = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(2))
    for maps in (whole, whole[:, :, 1:5, 1:5], whole[:, :, 1:5, 1:5].transpose(-1, -2)):
        n = maps.shape[-1]
        pairs = torch.tensor([[0, 1, n * n - 1, n + 2]])
        wanted = (maps + maps.transpose(-1, -2)).flatten(2)[:, :, pairs[0]]
        assert torch.equal(projection._pick(maps, pairs), wanted)
        assert torch.equal(projection._pick(maps, pairs.expand(2, -1)), wanted)
