"""The written-out gradients against autograd on the same networks, noise and rows; the training methods against plain loops."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from mumei.core import seeds
from mumei.core.errors import UsageError
from mumei.core.train import TrainConfig, fit
from mumei.vae.engine import AEVB, Engine, WakeSleep, adagrad, written_out
from mumei.vae.likelihoods import Bernoulli, Gaussian, gaussian_log_prob
from mumei.vae.network import VAENet
from mumei.vae.objective import BoundConfig, loss

LIKELIHOODS = {
    "bernoulli": lambda: Bernoulli(30, grey=True),
    "gaussian": lambda: Gaussian(30),
    "bounded gaussian": lambda: Gaussian(30, bounded=True),
}


class At:
    """What a step reads of the loop."""

    def __init__(self, seed: int):
        self.rng = torch.Generator().manual_seed(seed)


def make(name: str, std: float = 0.3) -> VAENet:
    return VAENet(LIKELIHOODS[name](), 4, (20,), init="normal", init_std=std, seed=3)


def rows(n: int = 9) -> torch.Tensor:
    return torch.rand(n, 30, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_gradients_of_the_bound_equal_autograd(name):
    net = make(name)
    peer, x = copy.deepcopy(net), rows()
    expected = loss(peer, x, torch.Generator().manual_seed(5), BoundConfig())
    expected.total.backward()
    method = AEVB(net, 9)
    with torch.no_grad():
        parts = method.gradients(x, At(5))
    for part in ("reconstruction", "kl", "bound"):
        assert float(parts[part]) == pytest.approx(expected.parts[part].item(), rel=1e-5)
    for (layer, (weight, bias)), other in zip(
        method.engine.views.items(),
        (peer.encoder.layers[0], peer.posterior, peer.decoder.layers[0], peer.output),
        strict=True,
    ):
        torch.testing.assert_close(weight, other.weight.grad, rtol=1e-4, atol=1e-5, msg=layer)
        torch.testing.assert_close(bias, other.bias.grad, rtol=1e-4, atol=1e-5, msg=layer)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_gradients_of_wake_and_sleep_equal_autograd(name):
    net = make(name)
    peer, x = copy.deepcopy(net), rows()
    rng = torch.Generator().manual_seed(5)
    mean, log_variance = peer.encode(x)
    z = (mean + torch.randn(mean.shape, generator=rng) * torch.exp(0.5 * log_variance)).detach()
    wake = peer.likelihood.log_prob(peer.decode(z), x).mean()
    dreamt = torch.randn(mean.shape, generator=rng)
    with torch.no_grad():
        dream = peer.likelihood.sample(peer.decode(dreamt), rng)
    sleep = gaussian_log_prob(dreamt, *peer.encode(dream)).mean()
    (wake + sleep).backward()
    method = WakeSleep(net, 9)
    with torch.no_grad():
        parts = method.gradients(x, At(5))
    assert float(parts["sleep"]) == pytest.approx(sleep.item(), rel=1e-4)
    assert float(parts["reconstruction"]) == pytest.approx(wake.item(), rel=1e-4)
    for name_, other in zip(
        method.engine.layers, (peer.encoder.layers[0], peer.posterior, peer.decoder.layers[0], peer.output), strict=True
    ):
        torch.testing.assert_close(method.engine.views[name_][0], -other.weight.grad, rtol=2e-3, atol=1e-4, msg=name_)


def test_bytes_are_scaled_as_values_are():
    data = torch.randint(0, 256, (16, 30), generator=torch.Generator().manual_seed(2), dtype=torch.uint8)
    found = []
    for batch, scale in ((data, 1 / 255), (data.float() / 255, 1.0)):
        method = AEVB(make("bernoulli"), 16, scale=scale)
        with torch.no_grad():
            method.gradients(batch, At(0))
        found.append(method.engine.gradient.clone())
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-6)


def test_bfloat16_products_point_the_same_way():
    data = torch.randint(0, 256, (64, 30), generator=torch.Generator().manual_seed(2), dtype=torch.uint8)
    found = []
    for precision in ("float32", "bf16"):
        method = AEVB(make("bernoulli", 0.1), 64, scale=1 / 255, precision=precision)
        with torch.no_grad():
            method.gradients(data, At(0))
        found.append(method.engine.gradient.clone())
    assert float(torch.cosine_similarity(found[0], found[1], dim=0)) > 0.999


def test_training_equals_a_plain_loop_with_autograd_and_adagrad():
    data, config = rows(40), TrainConfig(epochs=5, batch_size=8, optimizer=adagrad(0.05), seed=4)
    ours = make("bernoulli")
    fit(AEVB(ours, 40), data, config)
    peer = make("bernoulli")
    weights = [p for n, p in peer.named_parameters() if n.endswith("weight")]
    optimizer = torch.optim.Adagrad(peer.parameters(), lr=0.05, eps=1e-8)
    step = 0
    for epoch in range(5):
        order = torch.randperm(40, generator=seeds.torch_generator(4, "order", epoch))
        for index in order.split(8):
            rng = torch.Generator().manual_seed(seeds.child(4, "rng", "step", step))
            optimizer.zero_grad()
            value = loss(peer, data[index], rng, BoundConfig()).total + sum(w.square().sum() for w in weights) / 2 / 40
            value.backward()
            optimizer.step()
            step += 1
    for (name, a), b in zip(ours.named_parameters(), peer.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.parametrize("method", [AEVB, WakeSleep])
def test_a_run_that_was_cut_goes_on_to_the_same_weights(tmp_path, method):
    data = rows(40)

    def run(steps: int, out) -> torch.Tensor:
        net = make("bernoulli")
        config = TrainConfig(epochs=None, max_steps=steps, batch_size=8, optimizer=adagrad(0.05), checkpoint_steps=3)
        fit(method(net, 40, precision="bf16"), data, config, out=out)
        return torch.cat([p.detach().flatten() for p in net.parameters()])

    run(7, tmp_path)
    assert torch.equal(run(12, tmp_path), run(12, None))


def test_the_bound_rises():
    data = (rows(200) > 0.7).float()
    net = make("bernoulli", 0.01)
    history = fit(AEVB(net, 200), data, TrainConfig(epochs=60, batch_size=20, optimizer=adagrad(0.1)))
    bounds = [e["bound"] for e in history.epochs]
    # Independent bits of mean .3 have entropy 18.3 nats in 30 columns: the best without any latent structure.
    entropy = -30 * (0.3 * np.log(0.3) + 0.7 * np.log(0.7))
    assert bounds[0] < bounds[-1]
    assert bounds[-1] > -entropy - 0.5


def test_other_networks_are_refused():
    for net in (
        VAENet(Bernoulli(5), 2, (4, 4)),
        VAENet(Bernoulli(5), 2, (4,), activation="relu"),
        VAENet(Gaussian(5, 1.0), 2, (4,)),
    ):
        assert not written_out(net)
        with pytest.raises(UsageError, match="one tanh layer"):
            Engine(net)
    with pytest.raises(UsageError, match="precision"):
        Engine(make("bernoulli"), precision="half")


def test_the_warm_up_of_adagrad_only_adds_up():
    """Expected: the rule by hand. The sums are those of all steps, and weights move from the third step on."""
    start = torch.tensor([1.0, -2.0])
    weight = torch.nn.Parameter(start.clone())
    optimizer = adagrad(0.5, warm_up=2)([{"params": [weight], "weight_decay": 0.1}])
    gradients = [torch.tensor([3.0, 1.0]), torch.tensor([-1.0, 2.0]), torch.tensor([0.5, 0.5])]
    for i, gradient in enumerate(gradients):
        weight.grad = gradient.clone()
        optimizer.step()
        assert torch.equal(weight.detach(), start) == (i < 2)
    decayed = [g + 0.1 * start for g in gradients]
    sums = sum(g.square() for g in decayed)
    torch.testing.assert_close(weight.detach(), start - 0.5 * decayed[2] / sums.sqrt())
    assert float(optimizer.state[weight]["step"]) == 3
