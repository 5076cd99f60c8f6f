"""M2's bounds against sums by hand, importance sampling and exact densities; its scale; its training."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from mumei.core.train import TrainConfig, fit
from mumei.vae.likelihoods import Bernoulli, Gaussian
from mumei.vae.objective import gaussian_kl
from mumei.vae.semi_bound import M2Method, M2Net, each_bound, labelled_bound, unlabelled_bound

N, D, K = 12, 6, 3


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def made(likelihood=None, hidden=(7, 5), seed: int = 2) -> M2Net:
    net = M2Net(likelihood or Bernoulli(D), K, 2, hidden, classifier_hidden=(6,), init="glorot", seed=seed)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=rng(seed)))
    return net


def rows(n: int = N) -> torch.Tensor:
    return torch.bernoulli(torch.full((n, D), 0.4), generator=rng(7))


@pytest.mark.parametrize("likelihood", [Bernoulli(D), Gaussian(D)])
def test_encoding_for_each_class_equals_one_class_at_a_time(likelihood):
    net, x = made(likelihood), rows()
    means, log_variances = net.encode_each(x)
    for k in range(K):
        mean, log_variance = net.vae.encode(x, net.one_hot(torch.full((N,), k)))
        torch.testing.assert_close(means[k], mean)
        torch.testing.assert_close(log_variances[k], log_variance)


def test_the_unlabelled_bound_is_the_sum_over_classes_and_the_entropy():
    """-U(x) = sum_y q(y|x) (-L(x, y)) + H(q(y|x)), class by class and row by row, with the noise that all classes share."""
    net, x = made(), rows()
    found = unlabelled_bound(net, x, rng(5), samples=3)
    noise = torch.randn(3, 1, N, 2, generator=rng(5))[:, 0]
    log_q = torch.log_softmax(net.classifier(x), -1)
    expected = torch.zeros(N)
    for k in range(K):
        y = torch.zeros(N, K)
        y[:, k] = 1.0
        mean, log_variance = net.vae.encode(x, y)
        z = mean + torch.exp(0.5 * log_variance) * noise
        fit_ = torch.stack([torch.distributions.Bernoulli(logits=net.vae.decode(v, y)).log_prob(x).sum(-1) for v in z])
        bound = fit_.mean(0) - gaussian_kl(mean, log_variance).sum(-1) - math.log(K)
        expected += log_q[:, k].exp() * (bound - log_q[:, k])
    torch.testing.assert_close(found, expected)


def test_each_class_has_the_labelled_bounds_mean():
    net, x = made(), rows(3)
    with torch.no_grad():
        each = each_bound(net, x, rng(1), samples=20_000)
        for k in range(K):
            one = labelled_bound(net, x, torch.full((3,), k), rng(2), samples=20_000)
            torch.testing.assert_close(each[k], one, rtol=0, atol=0.05)


def test_both_bounds_lie_below_the_density_by_importance_sampling():
    net, x, draws = made(), rows(5), 50_000
    exact = torch.zeros(K, 5)
    with torch.no_grad():
        z = torch.randn(draws, 5, 2, generator=rng(3))  # from the prior: two dimensions are few
        for k in range(K):
            y = net.one_hot(torch.full((5,), k))
            density = torch.distributions.Bernoulli(logits=net.vae.decode(z, y)).log_prob(x).sum(-1)
            exact[k] = density.logsumexp(0) - math.log(draws) - math.log(K)
            below = labelled_bound(net, x, torch.full((5,), k), rng(4), samples=20_000)
            assert (below < exact[k] + 0.02).all()
            assert (below > exact[k] - 20).all()
        assert (unlabelled_bound(net, x, rng(4), samples=20_000) < exact.logsumexp(0) + 0.02).all()


def test_the_unlabelled_bound_is_tight_where_all_posteriors_are_right():
    """Where x and z do not depend on one another and q(y|x) = p(y), -U is log p(x) itself."""
    net, x = made(), rows()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.zero_()
        net.vae.output.bias.copy_(torch.linspace(-1, 1, D))
    expected = torch.distributions.Bernoulli(logits=torch.linspace(-1, 1, D)).log_prob(x).sum(-1)
    torch.testing.assert_close(unlabelled_bound(net, x, rng()), expected, rtol=1e-5, atol=1e-5)


class At:
    """What a step reads of the loop."""

    def __init__(self, index: torch.Tensor, seed: int = 0):
        self.rows, self.rng, self.step = index, rng(seed), 0


def test_the_objective_is_the_papers_over_the_data_set():
    """Sum of L over labelled and of U over unlabelled rows, and 0.1 N times the labelled rows' mean surprise, over N."""
    net, x = made(), rows()
    with torch.no_grad():  # z tells nothing and q(z) is the prior: no noise in either bound
        net.vae.decoder.layers[0].weight[:, :2] = 0
    codes = torch.tensor([0, 1, 2, 1] + [-1] * 8)
    method = M2Method(net, x, codes, alpha=0.1)
    with torch.no_grad():
        labelled = labelled_bound(net, x[:4], codes[:4], rng()).sum()
        unlabelled = unlabelled_bound(net, x[4:], rng()).sum()
        surprise = -net.log_classes(x[:4]).gather(1, codes[:4, None]).sum()
        expected = -(labelled + unlabelled) / N + 0.1 * surprise / 4
        whole = method.step((x, codes), At(torch.arange(N))).total
        torch.testing.assert_close(whole, expected, rtol=1e-4, atol=0)
        parts = [method.step((x[p], codes[p]), At(p)).total for p in torch.arange(N).split(3)]
        torch.testing.assert_close(torch.stack(parts).mean(), expected, rtol=1e-4, atol=0)


def test_training_raises_the_bound_and_a_cut_run_goes_on(tmp_path):
    x, codes = rows(40), torch.tensor([0, 1, 2] + [-1] * 37)

    def run(steps: int, out) -> tuple[torch.Tensor, list]:
        net = M2Net(Bernoulli(D), K, 2, (7,), classifier_hidden=(6,), seed=2)
        config = TrainConfig(epochs=None, max_steps=steps, batch_size=10, learning_rate=0.02, checkpoint_steps=5)
        history = fit(M2Method(net, x, codes), (x, codes), config, out=out).epochs
        return torch.cat([p.detach().flatten() for p in net.parameters()]), history

    run(7, tmp_path)
    weights, history = run(80, tmp_path)
    assert torch.equal(weights, run(80, None)[0])
    assert history[-1]["bound"] > history[0]["bound"] + 0.2


def test_in_the_warm_up_the_classifier_learns_from_labelled_rows_alone():
    net, x = made(), rows()
    codes = torch.tensor([0, 1, 2, 1] + [-1] * 8)

    def gradient(step: int) -> torch.Tensor:
        net.zero_grad()
        at = At(torch.arange(N))
        at.step = step
        method.step((x, codes), at).total.backward()
        return torch.cat([p.grad.flatten() for p in net.classifier.parameters()])

    method = M2Method(net, x, codes, alpha=0.7, warmup_steps=3)
    found, later = gradient(2), gradient(3)
    net.zero_grad()
    (0.7 * torch.nn.functional.cross_entropy(net.classifier(x[:4]), codes[:4])).backward()
    torch.testing.assert_close(found, torch.cat([p.grad.flatten() for p in net.classifier.parameters()]))
    assert not torch.allclose(found, later)


def test_latents_are_drawn_anew_each_step():
    net, x = made(Gaussian(D)), torch.zeros(N, D)
    method = M2Method(net, x, torch.tensor([0, 1] * 6), deviations=torch.full((N, D), 2.0))
    drawn = torch.cat([method._seen(x, torch.arange(N), rng(s)) for s in range(500)])
    assert float(drawn.std()) == pytest.approx(2.0, rel=0.02)
    assert np.isfinite(method.step((x, method.codes), At(torch.arange(N))).total.item())
