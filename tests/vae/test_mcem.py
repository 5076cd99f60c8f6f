"""Monte Carlo EM: its M step against autograd, its E step against the posterior, and whether it learns and resumes."""

from __future__ import annotations

import copy

import pytest
import torch

from mumei.core.errors import UsageError
from mumei.core.train import TrainConfig, fit
from mumei.vae import mcem
from mumei.vae.engine import adagrad
from mumei.vae.likelihoods import Bernoulli, Gaussian, standard_log_prob
from mumei.vae.mcem import MCEM
from mumei.vae.network import VAENet


class At:
    """What a step reads of the loop."""

    def __init__(self, rows: int):
        self.rows, self.rng = torch.arange(rows), torch.Generator().manual_seed(0)


def rows(n: int, d: int = 12) -> torch.Tensor:
    """Rows of two kinds."""
    draw = torch.Generator().manual_seed(1)
    base = torch.tensor([[0.9] * (d // 2) + [0.1] * (d - d // 2), [0.1] * (d // 2) + [0.9] * (d - d // 2)])
    return torch.bernoulli(base[torch.arange(n) % 2], generator=draw)


@pytest.mark.parametrize("kind", [Bernoulli, Gaussian])
@pytest.mark.parametrize("chunk", [4, 1000])
def test_the_m_step_is_the_gradient_of_the_joint_density(kind, chunk, monkeypatch):
    monkeypatch.setattr(mcem, "CHUNK", chunk)
    net = VAENet(kind(12), 3, (7,), init="normal", init_std=0.3)
    peer, x = copy.deepcopy(net), rows(10)
    method = MCEM(net, 10)
    z = method.chains
    joint = (peer.likelihood.log_prob(peer.decode(z), x) + standard_log_prob(z)).mean()
    joint.backward()
    with torch.no_grad():
        parts = method.gradients(x, At(10))
    assert float(parts["joint"]) == pytest.approx(joint.item(), rel=1e-5)
    for name, layer in (("decoder", peer.decoder.layers[0]), ("output", peer.output)):
        for found, parameter in zip(method.engine.views[name], (layer.weight, layer.bias), strict=True):
            torch.testing.assert_close(found, -parameter.grad, rtol=1e-4, atol=1e-6)
    assert not method.engine.views["encoder"][0].any()


def test_chains_come_to_the_posterior():
    """With one latent dimension the posterior is known by summing over a grid."""
    net = VAENet(Bernoulli(12), 1, (7,), init="normal", init_std=0.7)
    x = rows(1).expand(4000, -1).contiguous()
    method, at = MCEM(net, 4000), At(4000)
    with torch.no_grad():
        for _ in range(60):
            method._sample(x, at)
        grid = torch.linspace(-6, 6, 4001)[:, None]
        density = (net.likelihood.log_prob(net.decode(grid[:, None]), x[:1])[:, 0] + standard_log_prob(grid)).softmax(0)
    mean = (density * grid[:, 0]).sum()
    deviation = ((density * grid[:, 0].square()).sum() - mean**2).sqrt()
    # 4,000 chains: a standard error of a 63rd of the deviation.
    assert float(method.chains.mean()) == pytest.approx(float(mean), abs=4 * float(deviation) / 63)
    assert float(method.chains.std()) == pytest.approx(float(deviation), rel=0.06)


def test_it_learns_and_its_acceptance_is_tuned():
    x, net = rows(60), VAENet(Bernoulli(12), 2, (8,), init="normal")
    config = TrainConfig(epochs=150, batch_size=60, optimizer=adagrad(0.1))
    history = fit(MCEM(net, 60), x, config).epochs
    assert history[-1]["joint"] > history[0]["joint"] + 1.0
    assert sum(e["acceptance"] for e in history[-50:]) / 50 == pytest.approx(0.9, abs=0.07)


def test_a_run_that_was_cut_goes_on_to_the_same_weights_and_chains(tmp_path):
    x = rows(20)

    def run(steps: int, out) -> tuple[torch.Tensor, torch.Tensor]:
        method = MCEM(VAENet(Bernoulli(12), 2, (5,), init="normal"), 20)
        config = TrainConfig(epochs=None, max_steps=steps, batch_size=10, optimizer=adagrad(0.1), checkpoint_steps=4)
        fit(method, x, config, out=out)
        return method.engine.master.clone(), method.chains

    run(6, tmp_path)
    for found, expected in zip(run(11, tmp_path), run(11, None), strict=True):
        assert torch.equal(found, expected)


def test_counts_below_one_are_refused():
    net = VAENet(Bernoulli(4), 1, (3,))
    with pytest.raises(UsageError, match="leapfrog"):
        MCEM(net, 5, leapfrog=0)
    with pytest.raises(UsageError, match="updates"):
        MCEM(net, 5, updates=0)
