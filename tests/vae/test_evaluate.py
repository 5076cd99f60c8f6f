"""Estimates of log p(x) on a model whose marginal and posterior are known: x = W z + b + noise, all of it Gaussian.

Expected values are torch.distributions' multivariate normal N(b, W W^T + s^2 I). The columns of W are orthogonal, so that the
posterior is a diagonal Gaussian and the encoder can be exact, or wrong by a known amount.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import distributions as D

from mumei.core.errors import DataError, NonFiniteError, UsageError
from mumei.vae import estimate as estimates
from mumei.vae.annealing import temperatures
from mumei.vae.estimate import Estimate, log_mean
from mumei.vae.evaluate import ais, appendix_d, effective_samples, elbo, iwae, log_likelihood
from mumei.vae.likelihoods import Bernoulli, Gaussian
from mumei.vae.network import VAENet

FEATURES, VARIANCE = 6, 0.25
QUICK = {
    "elbo": {"samples": 200},
    "iwae": {"samples": 500},
    "ais": {"chains": 10, "temperatures": 40},
    "appendix_d": {"samples": 200, "burn_in": 40},
}


class LinearGaussian:
    """z ~ N(0, I), x = W z + b + noise; q is the posterior, its deviation widened by `wide`, its mean moved by `shift`."""

    def __init__(self, latent=2, wide=1.0, shift=0.0):
        draw = torch.Generator().manual_seed(5)
        orthogonal = torch.linalg.qr(torch.randn(FEATURES, latent, generator=draw))[0]
        self.weight = orthogonal * torch.linspace(1.5, 0.5, latent)
        self.bias = torch.randn(FEATURES, generator=draw)
        self.likelihood, self.latent = Gaussian(FEATURES, variance=VARIANCE), latent
        self.wide, self.shift = wide, shift

    def encode(self, x):
        precision = 1 + self.weight.square().sum(0) / VARIANCE
        deviation = precision.rsqrt()
        mean = (x - self.bias) @ self.weight / VARIANCE / precision + self.shift * deviation
        return mean, 2 * (deviation * self.wide).log().expand_as(mean)

    def decode(self, z):
        return z @ self.weight.T + self.bias

    def marginal(self):
        covariance = self.weight @ self.weight.T + VARIANCE * torch.eye(FEATURES)
        return D.MultivariateNormal(self.bias.double(), covariance.double())

    def rows(self, n=8, seed=1):
        draw = torch.Generator().manual_seed(seed)
        z = torch.randn(n, self.latent, generator=draw)
        return self.decode(z) + VARIANCE**0.5 * torch.randn(n, FEATURES, generator=draw)

    def truth(self, x):
        return self.marginal().log_prob(x.double()).numpy()


class DecoderOnly:
    """What there is when no encoder was trained."""

    def __init__(self, model):
        self.likelihood, self.latent, self.decode = model.likelihood, model.latent, model.decode


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def deviations(estimate, truth):
    return (estimate.values - truth) / estimate.standard_errors


def gap(wide, shift, latent):
    """KL(q || posterior) by torch.distributions."""
    q, p = D.Normal(float(shift), float(wide)), D.Normal(0.0, 1.0)
    return latent * D.kl_divergence(q, p).item()


# The methods against the closed form ------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", QUICK)
def test_with_the_exact_posterior_all_agree_with_the_closed_form(method):
    model = LinearGaussian()
    x = model.rows()
    found = log_likelihood(model, x, method, generator=generator(), **QUICK[method])
    assert found.method == method
    assert found.values.dtype == found.standard_errors.dtype == np.float64
    assert np.abs(found.values - model.truth(x)).max() < 0.5
    error = np.maximum(found.standard_errors, 1e-5)  # rounding, where nothing is left to chance
    assert np.abs((found.values - model.truth(x)) / error).max() < 4.5
    assert found.mean == pytest.approx(model.truth(x).mean(), abs=5 * max(found.standard_error, 1e-5))


@pytest.mark.parametrize("method", ["iwae", "ais", "appendix_d"])
def test_with_a_worse_encoder_all_but_the_bound_still_agree(method):
    model = LinearGaussian(wide=1.5, shift=0.7)
    x = model.rows()
    found = log_likelihood(model, x, method, generator=generator(3), **QUICK[method])
    assert np.abs(deviations(found, model.truth(x))).max() < 4.5
    assert (found.standard_errors < 0.4).all()


def test_the_exact_posterior_makes_estimator_a_and_importance_weights_constant():
    model = LinearGaussian()
    x = model.rows()
    for found in (elbo(model, x, generator(), estimator="A"), iwae(model, x, generator())):
        np.testing.assert_allclose(found.values, model.truth(x), atol=1e-4)
        assert found.standard_errors.max() < 1e-5


@pytest.mark.parametrize("estimator", ["A", "B"])
@pytest.mark.parametrize(("wide", "shift"), [(2.0, 0.0), (1.0, 1.0), (0.5, -0.5)])
def test_the_bound_lies_below_by_the_kl_to_the_posterior(estimator, wide, shift):
    model = LinearGaussian(wide=wide, shift=shift)
    x = model.rows(20)
    found = elbo(model, x, generator(1), samples=2000, estimator=estimator)
    expected = model.truth(x) - gap(wide, shift, 2)
    assert np.abs((found.values - expected) / found.standard_errors).max() < 4.5
    assert (found.values < model.truth(x)).all()


def test_the_importance_weighted_bound_rises_with_its_samples():
    model = LinearGaussian(wide=3.0, shift=1.0)
    x = model.rows(200)
    means = [iwae(model, x, generator(2), samples=k).mean for k in (2, 10, 1000)]
    assert elbo(model, x, generator(2)).mean < means[0] < means[1] < means[2]
    assert means[2] == pytest.approx(model.truth(x).mean(), abs=0.05)


@pytest.mark.parametrize("schedule", ["sigmoidal", "linear"])
@pytest.mark.parametrize("start", ["prior", "posterior"])
def test_annealing_from_either_start_along_either_schedule(schedule, start):
    model = LinearGaussian(wide=1.5, shift=1.0)
    x = model.rows(20)
    found = ais(model, x, generator(4), chains=20, temperatures=30, schedule=schedule, start=start)
    assert found.mean == pytest.approx(model.truth(x).mean(), abs=5 * found.standard_error)
    assert found.standard_error < 0.1


def test_annealing_between_equal_ends_has_constant_weights():
    """q(z|x) is the posterior itself: log p(x, z) - log q(z|x) = log p(x) wherever a chain stands."""
    model = LinearGaussian()
    x = model.rows()
    found = ais(model, x, generator(), chains=3, temperatures=5, start="posterior")
    np.testing.assert_allclose(found.values, model.truth(x), atol=1e-4)


def test_more_temperatures_make_the_chains_agree():
    model = LinearGaussian()
    x = model.rows(20)
    spread = [ais(model, x, generator(), temperatures=t).settings["log_weight_deviation"] for t in (4, 100)]
    assert spread[1] < 0.3 * spread[0]


def test_annealing_and_the_papers_estimator_need_no_encoder():
    model = LinearGaussian()
    x = model.rows(4)
    for method in ("ais", "appendix_d"):
        found = log_likelihood(DecoderOnly(model), x, method, generator=generator(6), **QUICK[method])
        assert np.abs(deviations(found, model.truth(x))).max() < 4.5


# Standard errors: repeated with other seeds, the spread is what was said -------------------------------------------------


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("elbo", {"samples": 50}),
        ("elbo", {"samples": 50, "estimator": "A"}),
        ("iwae", {"samples": 400}),
        ("ais", {"chains": 16, "temperatures": 40}),
    ],
)
def test_standard_errors_are_what_seeds_differ_by(method, options):
    """z scores of 240 estimates: mean near 0, deviation near 1 (Student's t on few chains has somewhat more)."""
    model = LinearGaussian(wide=1.3, shift=0.4)
    x = model.rows(1).repeat(240, 1)  # rows are independent: 240 repetitions at once
    found = log_likelihood(model, x, method, generator=generator(8), **options)
    truth = model.truth(x) - (gap(1.3, 0.4, 2) if method == "elbo" else 0.0)
    assert 0.75 < deviations(found, truth).std() < 1.35
    assert abs(deviations(found, truth).mean()) < 0.35
    spread = found.values.std(ddof=1)
    assert np.sqrt(np.mean(found.standard_errors**2)) == pytest.approx(spread, rel=0.25)


@pytest.mark.parametrize(("samples", "chains", "widest"), [(400, 10, 1.35), (50, 1, 2.5)])
def test_the_papers_estimators_errors_hold_in_the_middle_and_not_in_the_tail(samples, chains, widest):
    """Quantiles, not moments: a harmonic mean's tail is too long for those. With the paper's 50 samples the errors are half."""
    model = LinearGaussian(wide=1.3, shift=0.4)
    x = model.rows(1).repeat(400, 1)
    found = appendix_d(model, x, generator(8), samples=samples, chains=chains, burn_in=40)
    spread = np.diff(np.quantile(found.values, [0.16, 0.84]))[0] / 2
    assert 0.9 < spread / np.median(found.standard_errors) < widest
    assert np.median(found.values) == pytest.approx(model.truth(x)[0], abs=0.1)
    if chains > 1:
        assert (np.abs(deviations(found, model.truth(x))) < 2).mean() > 0.85


def test_the_means_errors():
    found = Estimate(np.array([1.0, 2.0, 6.0]), np.array([0.1, 0.2, 0.2]), "iwae", {"samples": 3})
    assert found.mean == 3.0
    assert found.standard_error == pytest.approx(0.1)
    assert found.sampling_error == pytest.approx(np.std([1, 2, 6], ddof=1) / 3**0.5)
    assert found.summary()["rows"] == 3
    assert Estimate(found.values[:1], found.standard_errors[:1], "iwae", {}).summary()["sampling_error"] is None


def test_log_mean_is_that_of_brute_force():
    values = torch.randn(30, 4, generator=generator(), dtype=torch.float64) - 800  # exp() underflows
    found, error = log_mean(values)
    weights = np.exp(values.numpy() + 800)
    np.testing.assert_allclose(found, np.log(weights.mean(0)) - 800)
    np.testing.assert_allclose(error, weights.std(0, ddof=1) / weights.mean(0) / 30**0.5)
    means = weights.reshape(6, 5, 4).mean(1)
    np.testing.assert_allclose(log_mean(values, 6)[1], means.std(0, ddof=1) / weights.mean(0) / 6**0.5)


def test_effective_samples_of_equal_and_of_one_weight():
    weights = torch.tensor([[0.0, 0.0], [0.0, -900.0], [0.0, -900.0]], dtype=torch.float64) - 500
    torch.testing.assert_close(effective_samples(weights), torch.tensor([3.0, 1.0], dtype=torch.float64))


# How it is computed ---------------------------------------------------------------------------------------------------


def test_pieces_of_memory_change_nothing_but_the_order_of_draws(monkeypatch):
    model = LinearGaussian(wide=1.5)
    x = model.rows(5)
    whole = {m: log_likelihood(model, x, m, generator=generator(), **QUICK[m]) for m in QUICK}
    done = []
    monkeypatch.setattr(estimates, "BUDGET", 7 * FEATURES)  # a row at a time, samples in pieces of 7
    for method, before in whole.items():
        found = log_likelihood(model, x, method, generator=generator(), progress=done.append, **QUICK[method])
        error = np.hypot(found.standard_errors, before.standard_errors)
        assert not np.array_equal(found.values, before.values)
        assert (np.abs(found.values - before.values) < 5 * error).all()
    assert sum(done) == 5 * len(QUICK)


@pytest.mark.parametrize("method", QUICK)
def test_equal_seeds_give_equal_bits(method):
    model = LinearGaussian(wide=1.5)
    x = model.rows(3)
    one, two = (log_likelihood(model, x, method, generator=generator(1), **QUICK[method]) for _ in range(2))
    assert np.array_equal(one.values, two.values)
    assert one.settings == two.settings


@pytest.mark.parametrize("method", QUICK)
def test_a_network_is_scored_in_evaluation_mode_and_left_as_it_was(method):
    """Closed form and automatic differentiation agree on the same draws."""
    net = VAENet(Bernoulli(9), 2, (7,), seed=1)
    net.encoder.eval()
    x = (torch.rand(4, 9, generator=generator()) < 0.5).float()
    fast = log_likelihood(net, x, method, generator=generator(2), **QUICK[method])
    assert net.training
    assert not net.encoder.training
    assert fast.settings["gradient"] == "closed form"
    assert all(p.grad is None for p in net.parameters())

    class Opaque:
        likelihood, latent, encode, decode = net.likelihood, net.latent, net.encode, net.decode

    slow = log_likelihood(Opaque, x, method, generator=generator(2), **QUICK[method])
    assert slow.settings["gradient"] == "autograd"
    np.testing.assert_allclose(slow.values, fast.values, atol=2e-3)


@pytest.mark.parametrize("hidden", [(7,), (7, 5)])
def test_covariates_go_with_their_rows(hidden, monkeypatch):
    """Against a sum over a fine grid of z; blocks of rows are smaller than the groups."""
    net = VAENet(Bernoulli(9), 2, hidden, covariates=2, seed=1)
    x = (torch.rand(6, 9, generator=generator()) < 0.5).float()
    covariates = torch.eye(2).repeat_interleave(3, 0) * 4
    axis = torch.linspace(-6, 6, 121)
    z = torch.cartesian_prod(axis, axis)[:, None]
    with torch.no_grad():
        out = net.decode(z.expand(-1, 6, -1), covariates)
        joint = net.likelihood.log_prob(out, x) + D.Normal(0.0, 1.0).log_prob(z).sum(-1)
    truth = (torch.logsumexp(joint.double(), 0) + 2 * np.log(0.1)).numpy()
    monkeypatch.setattr(estimates, "BUDGET", 9 * 400)
    for method in ("iwae", "ais", "appendix_d"):
        found = log_likelihood(net, x, method, generator=generator(), covariates=covariates, **QUICK[method])
        assert np.abs(deviations(found, truth)).max() < 5
    bound = elbo(net, x, generator(), covariates=covariates)
    assert (bound.values < truth + 3 * bound.standard_errors).all()
    with pytest.raises(UsageError, match="2 covariate columns"):
        iwae(net, x, generator())


def test_temperatures_rise_from_0_to_1_slowly_at_both_ends():
    """Against the formula of Wu and others, written with NumPy."""
    found = temperatures(50).numpy()
    grid = 1 / (1 + np.exp(-4 * (2 * np.arange(51) / 50 - 1)))
    np.testing.assert_allclose(found, (grid - grid[0]) / (grid[-1] - grid[0]), atol=1e-12)
    assert found[0] == 0.0
    assert found[-1] == 1.0
    assert (np.diff(found) > 0).all()
    np.testing.assert_allclose(temperatures(4, "linear"), [0, 0.25, 0.5, 0.75, 1])


# What is said ---------------------------------------------------------------------------------------------------------


def test_the_papers_estimator_says_what_it_is_and_where_it_stops():
    model = LinearGaussian()
    settings = appendix_d(model, model.rows(2), generator(), **QUICK["appendix_d"]).settings
    assert "infinite variance" in settings["notes"][0]
    deep = LinearGaussian(latent=6)
    with pytest.raises(UsageError, match=r"6 latent dimensions.*'iwae' or 'ais'.*force=True"):
        appendix_d(deep, deep.rows(2), generator())
    forced = appendix_d(deep, deep.rows(2), generator(), force=True, samples=400)
    assert "forced at 6" in forced.settings["notes"][-1]
    few = appendix_d(model, model.rows(2), generator(), samples=12, chains=1)
    assert few.settings["single_gaussians"] == 2
    assert "2 rows" in few.settings["notes"][1]


def test_weights_that_disagree_are_said():
    model = LinearGaussian(wide=0.05)
    x = model.rows(5)
    assert "encoder" in iwae(model, x, generator(), samples=20).settings["notes"][0]
    assert "temperatures" in ais(model, x * 20, generator(), temperatures=2).settings["notes"][0]
    assert iwae(LinearGaussian(), x, generator()).settings["notes"] == []


@pytest.mark.parametrize(
    ("method", "options", "said"),
    [
        ("iwea", {}, "Did you mean 'iwae'"),
        ("iwae", {"sample": 5}, "option of iwae 'sample'. Did you mean 'samples'"),
        ("elbo", {"samples": 1}, "samples=1"),
        ("elbo", {"estimator": "C"}, "estimator"),
        ("iwae", {"samples": 1.5}, "samples=1.5"),
        ("ais", {"chains": 1}, "chains=1"),
        ("ais", {"temperatures": 0}, "temperatures=0"),
        ("ais", {"schedule": "sigmoid"}, "Did you mean 'sigmoidal'"),
        ("ais", {"start": "encoder"}, "Allowed: posterior, prior"),
        ("ais", {"acceptance": 1.0}, "target=1.0"),
        ("ais", {"leapfrog": 0}, "leapfrog=0"),
        ("appendix_d", {"samples": 30}, "samples=30"),
        ("appendix_d", {"burn_in": 0}, "burn_in=0"),
    ],
)
def test_settings_that_are_not_allowed_are_named(method, options, said):
    model = LinearGaussian()
    with pytest.raises(UsageError, match=said):
        log_likelihood(model, model.rows(2), method, generator=generator(), **options)


def test_rows_of_another_shape_or_not_finite_are_refused():
    model = LinearGaussian()
    for x in (torch.zeros(3, 5), torch.zeros(0, FEATURES), torch.zeros(FEATURES)):
        with pytest.raises(UsageError, match=r"\(n, 6\)"):
            iwae(model, x, generator())
    x = model.rows(3)
    with pytest.raises(UsageError, match="2 rows and x has 3"):
        iwae(model, x, generator(), covariates=torch.zeros(2, 1))
    x[1, 2] = torch.nan
    with pytest.raises(DataError, match="row 1"):
        iwae(model, x, generator())


@pytest.mark.parametrize("method", ["elbo", "iwae"])
def test_a_missing_encoder_is_named(method):
    model = LinearGaussian()
    with pytest.raises(UsageError, match=f"{method} needs the network's encoder"):
        log_likelihood(DecoderOnly(model), model.rows(2), method, generator=generator())


@pytest.mark.parametrize("method", QUICK)
def test_weights_that_are_not_finite_are_an_error(method):
    model = LinearGaussian()
    model.bias = model.bias * torch.nan
    with pytest.raises(NonFiniteError, match="not finite"):
        log_likelihood(
            DecoderOnly(model) if "a" in method[0] else model,
            torch.zeros(2, FEATURES),
            method,
            generator=generator(),
            **QUICK[method],
        )
