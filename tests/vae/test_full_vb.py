"""Full variational Bayes against a model whose evidence is a formula, and its scale, estimators and limits."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import torch

from mumei.core.errors import UsageError
from mumei.core.train import TrainConfig, fit
from mumei.vae.full_vb import FullVB, WeightPosterior, fit_full_vb, full_bound
from mumei.vae.likelihoods import Bernoulli, Gaussian
from mumei.vae.network import VAENet
from mumei.vae.objective import BoundConfig, bound

N, K, D, NOISE, PRIOR = 40, 3, 4, 0.5, 0.8


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def regression(seed: int = 0, orthogonal: bool = True) -> tuple[VAENet, torch.Tensor, torch.Tensor]:
    """Rows x = C W + b + noise, with the decoder reading covariates C alone: linear regression, whatever z is.

    With the columns of C orthogonal to one another and to ones, the posterior of W and b is diagonal.
    """
    draw = np.random.default_rng(seed)
    design = draw.normal(size=(N, K))
    if orthogonal:
        basis, _ = np.linalg.qr(np.column_stack([np.ones(N), design]))
        design = basis[:, 1:] * 6
    c = torch.from_numpy(design).float()
    x = (
        c @ torch.from_numpy(draw.normal(size=(K, D))).float()
        + NOISE * torch.from_numpy(draw.normal(size=(N, D))).float()
    )
    net = VAENet(Gaussian(D, NOISE**2), 1, (K,), activation="identity", covariates=K)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.zero_()  # q(z|x) = p(z)
        net.decoder.layers[0].weight[:, 1:] = torch.eye(K)
    net.decoder.requires_grad_(False)  # the design is no parameter
    return net, x, c


def evidence(x: torch.Tensor, c: torch.Tensor) -> float:
    """log p(D) in closed form: each column is normal with covariance noise^2 I + prior^2 (C C' + 1 1')."""
    full = np.column_stack([np.ones(len(c)), c.numpy().astype(float)])
    covariance = NOISE**2 * np.eye(len(c)) + PRIOR**2 * full @ full.T
    return float(scipy.stats.multivariate_normal(np.zeros(len(c)), covariance).logpdf(x.numpy().T.astype(float)).sum())


CONFIG = TrainConfig(epochs=400, batch_size=N, learning_rate=0.03, schedule="cosine")


def test_it_reaches_the_evidence_where_the_posterior_is_diagonal():
    net, x, c = regression()
    found = fit_full_vb(net, x, CONFIG, covariates=c, random=("output",), prior_std=PRIOR, samples=4, draws=500)
    exact = evidence(x, c) / N
    # An estimate by 500 draws of weights: the rest is its error, far below the nat per row that a wrong scale would cost.
    assert found.bound == pytest.approx(exact, abs=0.02)
    precision = 36.0 / NOISE**2 + 1 / PRIOR**2  # each column of the design has length 6
    mean = (c.T @ x / NOISE**2 / precision).T
    torch.testing.assert_close(found.means["output.weight"], mean, rtol=0, atol=0.03)
    torch.testing.assert_close(found.net.output.weight.detach(), found.means["output.weight"])
    deviation = torch.full((D, K), precision**-0.5)
    torch.testing.assert_close(found.deviations["output.weight"], deviation, rtol=0.1, atol=0)


def test_it_stays_below_the_evidence_where_the_posterior_is_not_diagonal():
    net, x, c = regression(orthogonal=False)
    c = c + c.mean(1, keepdim=True) * 2  # columns that resemble one another
    found = fit_full_vb(net, x, CONFIG, covariates=c, random=("output",), prior_std=PRIOR, samples=4, draws=500)
    exact = evidence(x, c) / N
    assert exact - 1.0 < found.bound < exact - 0.02


@pytest.mark.parametrize("estimator", ["closed", "samples"])
def test_batches_sum_to_the_data_set(estimator):
    """N/M times each batch's rows plus the weights' part once: the mean over the batches is the whole set's bound."""
    net, x, c = regression()
    weights = WeightPosterior(net, prior_std=PRIOR, initial_std=1e-6)

    def estimate(part: slice):
        return full_bound(net, weights, x[part], rng(), estimator=estimator, covariates=c[part])

    parts = [estimate(slice(s, s + 10)) for s in range(0, N, 10)]
    whole = estimate(slice(None))
    by_hand = torch.cat([p.rows for p in parts]).sum() + whole.weights
    if estimator == "closed":  # the rows' part does not depend on the noise here
        torch.testing.assert_close(whole.total(N), by_hand, rtol=1e-3, atol=0)
        torch.testing.assert_close(torch.stack([p.total(N) for p in parts]).mean(), by_hand, rtol=1e-3, atol=0)
        torch.testing.assert_close(parts[0].total(N), N / 10 * parts[0].rows.sum() - weights.kl(), rtol=1e-5, atol=0)
    torch.testing.assert_close(whole.per_row(N) * N, whole.rows.sum() + whole.weights, rtol=1e-5, atol=0)


def test_the_weights_kl_equals_torch_distributions():
    net = VAENet(Bernoulli(6), 2, (5,), seed=1)
    weights = WeightPosterior(net, prior_std=0.7, initial_std=0.2)
    q = torch.distributions.Normal(weights.mean, weights.log_std.exp())
    p = torch.distributions.Normal(torch.zeros_like(weights.mean), 0.7)
    torch.testing.assert_close(weights.kl(), torch.distributions.kl_divergence(q, p).sum())
    theta = weights.draw(rng())
    torch.testing.assert_close(weights.log_ratio(theta), (p.log_prob(theta) - q.log_prob(theta)).sum())


def test_samples_and_closed_form_have_one_mean():
    net = VAENet(Bernoulli(6), 2, (5,), init="normal", init_std=0.5, seed=3)
    weights, x = WeightPosterior(net, initial_std=0.3), torch.bernoulli(torch.full((8, 6), 0.4), generator=rng(7))
    with torch.no_grad():
        found = {
            name: torch.stack(
                [full_bound(net, weights, x, rng(s), estimator=name, samples=20).per_row(8) for s in range(200)]
            )
            for name in ("closed", "samples")
        }
    error = sum(f.var() / 200 for f in found.values()) ** 0.5
    assert abs(float(found["closed"].mean() - found["samples"].mean())) < 4 * float(error)
    assert float(error) < 0.2
    assert found["samples"].var() > found["closed"].var()


def test_without_deviations_it_is_the_plain_bound():
    net = VAENet(Bernoulli(6), 2, (5,), init="normal", init_std=0.5, seed=3)
    weights, x = WeightPosterior(net, initial_std=1e-9), torch.bernoulli(torch.full((8, 6), 0.4), generator=rng(7))
    plain = bound(net, x, rng(1), BoundConfig(samples=1))
    torch.testing.assert_close(full_bound(net, weights, x, rng(1)).rows, plain, rtol=1e-5, atol=1e-5)


def test_a_cut_run_goes_on_to_the_same_posterior(tmp_path):
    def run(steps: int, out) -> torch.Tensor:
        method = FullVB(VAENet(Bernoulli(6), 2, (5,), seed=3), 20)
        config = TrainConfig(epochs=None, max_steps=steps, batch_size=10, checkpoint_steps=3)
        fit(method, torch.bernoulli(torch.full((20, 6), 0.4), generator=rng(7)), config, out=out)
        return torch.cat([p.detach().flatten() for m in method.modules().values() for p in m.parameters()])

    run(4, tmp_path)
    assert torch.equal(run(9, tmp_path), run(9, None))


def test_training_leaves_the_point_estimates_of_random_weights_alone_and_raises_the_bound():
    net = VAENet(Bernoulli(6), 2, (5,), seed=3)
    before = net.output.weight.detach().clone()
    x = torch.bernoulli(torch.tensor([0.9, 0.9, 0.9, 0.1, 0.1, 0.1]).expand(60, 6), generator=rng(7))
    found = fit_full_vb(net, x, TrainConfig(epochs=60, batch_size=20, learning_rate=0.02))
    assert torch.equal(net.output.weight, before)
    assert not torch.equal(found.net.output.weight, before)
    history = found.history.epochs
    assert history[-1]["bound"] > history[0]["bound"] + 1.0
    assert found.bound == pytest.approx(history[-1]["bound"], abs=0.5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"random": ("decodr",)}, "names no parameters; the network has decoder, encoder"),
        ({"prior_std": 0}, "prior_std"),
        ({"initial_std": -1.0}, "initial_std"),
        ({"estimator": "close"}, "'closed'"),
        ({"samples": 0}, "samples"),
    ],
)
def test_bad_arguments_are_named(options, message):
    with pytest.raises(UsageError, match=message):
        FullVB(VAENet(Bernoulli(6), 2, (5,)), 20, **options)
