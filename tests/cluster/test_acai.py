"""ACAI: both losses by another way, who moves, what a cache shares."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from mumei.cluster.acai import GAMMA, Interpolate, found_share, not_mixed
from mumei.core.train import TrainConfig, fit
from mumei.nn.mlp import MLP


class AsItIs(nn.Module):
    def forward(self, x, rng):
        return x


def networks():
    return {
        "encoder": MLP((4, 8, 2), seed=1),
        "decoder": MLP((2, 8, 4), seed=2),
        "interpolation_critic": MLP((4, 8, 1), activation="tanh", seed=3),
        "augment": AsItIs(),
    }


def rows():
    return torch.randn(32, 4, generator=torch.Generator().manual_seed(0))


def test_the_critics_losses_are_means_over_rows():
    critic, x = networks()["interpolation_critic"], rows()
    share = torch.rand(32, 1, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        said = critic(x).numpy().ravel()
    np.testing.assert_allclose(
        found_share(critic, x, share).item(), np.mean((said - share.numpy().ravel()) ** 2), rtol=1e-5
    )
    np.testing.assert_allclose(not_mixed(critic, x).item(), np.mean(said**2), rtol=1e-5)


def test_a_step_is_the_papers_by_hand():
    """Expected: gradients by hand for one step of plain gradient descent, with the step's own random shares."""
    nets, hand, x = networks(), networks(), rows()
    shares = []
    draw = torch.rand

    def rand(*size, **more):
        shares.append(draw(*size, **more))
        return shares[-1]

    torch.rand = rand
    try:
        config = TrainConfig(epochs=1, batch_size=32, optimizer="sgd", momentum=0.0, learning_rate=0.1, shuffle=False)
        found = fit(Interpolate(nets, 0.5, {}), x, config).epochs[0]
    finally:
        torch.rand = draw
    share = 0.5 * next(s for s in shares if s.shape == (32, 1))
    z = hand["encoder"](x)
    made = hand["decoder"](z)
    partner = z[[31, *range(31)]]
    mixed = hand["decoder"](share * z + (1 - share) * partner)
    regulariser = (hand["interpolation_critic"](mixed) ** 2).mean()
    loss = ((made - x) ** 2).mean() + 0.5 * regulariser
    parameters = [p for n in ("encoder", "decoder") for p in hand[n].parameters()]
    moved = [p - 0.1 * g for p, g in zip(parameters, torch.autograd.grad(loss, parameters), strict=True)]
    told = GAMMA * x + (1 - GAMMA) * made.detach()
    critic = hand["interpolation_critic"]
    other = ((critic(mixed.detach()) - share) ** 2).mean() + (critic(told) ** 2).mean()
    own = list(critic.parameters())
    moved += [p - 0.1 * g for p, g in zip(own, torch.autograd.grad(other, own), strict=True)]
    names = ("encoder", "decoder", "interpolation_critic")
    for now, expected in zip([p for n in names for p in nets[n].parameters()], moved, strict=True):
        torch.testing.assert_close(now, expected, rtol=1e-4, atol=1e-6)
    assert abs(found["loss"] - loss.item()) < 1e-5
    assert abs(found["critic"] - other.item()) < 1e-5
    assert abs(found["interpolation"] - regulariser.item()) < 1e-5


def test_without_a_weight_the_critic_stays_where_it_is():
    nets, before = networks(), networks()
    found = fit(Interpolate(nets, 0.0, {}), rows(), TrainConfig(epochs=2, batch_size=16)).epochs
    assert found[1]["loss"] < found[0]["loss"]
    for now, then in zip(*(n["interpolation_critic"].parameters() for n in (nets, before)), strict=True):
        assert torch.equal(now, then)
    assert not torch.equal(next(nets["encoder"].parameters()), next(before["encoder"].parameters()))
