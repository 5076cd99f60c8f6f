"""What a latent space carries, against closed forms, torch.distributions and brute-force integration."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats
from torch import distributions as D

from mumei.core.errors import DataError, NonFiniteError, UsageError
from mumei.vae.collapse import ACTIVE, CollapseReport, collapse_report, find_warnings, mutual_information
from mumei.vae.likelihoods import LOG_VARIANCE, Bernoulli, Gaussian
from mumei.vae.network import VAENet


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


class Fixed:
    """Posteriors as given, row i's at place x[i, 0]; the decoder's output is a constant."""

    def __init__(self, mean, log_variance, likelihood=None, out=None):
        self.moments = mean, log_variance
        self.latent = mean.shape[1]
        self.likelihood = likelihood or Bernoulli(3, grey=True)
        self.out = torch.zeros(self.likelihood.outputs) if out is None else out

    def encode(self, x, covariates=None):
        rows = (x[:, 0] * 1000).round().long()
        return self.moments[0][rows], self.moments[1][rows]

    def decode(self, z, covariates=None):
        return self.out.expand(*z.shape[:-1], -1)

    def rows(self):
        x = torch.zeros(len(self.moments[0]), self.likelihood.n_features)
        x[:, 0] = torch.arange(len(x)) / 1000
        return x


# ------------------------------------------------------------------------------------------- mutual information


def test_posteriors_that_are_the_prior_tell_nothing():
    value, error = mutual_information(torch.zeros(50, 3), torch.zeros(50, 3), generator())
    assert value == pytest.approx(0, abs=1e-12)
    assert error == pytest.approx(0, abs=1e-12)


def test_posteriors_far_apart_tell_the_row():
    means = 100.0 * torch.arange(40.0)[:, None]
    value, error = mutual_information(means, torch.zeros(40, 1), generator())
    assert value == pytest.approx(math.log(40), abs=1e-9)
    assert error == pytest.approx(0, abs=1e-9)


def test_pairs_far_apart_tell_the_pair_alone():
    """Each place is held by two rows: log n - log 2."""
    means = 100.0 * torch.arange(20.0).repeat_interleave(2)[:, None]
    value, _ = mutual_information(means, torch.zeros(40, 1), generator())
    assert value == pytest.approx(math.log(20), abs=1e-9)


def test_two_overlapping_posteriors_against_integration():
    """I = the mixture's entropy less the mean entropy of its parts, by quadrature."""
    parts = [stats.norm(-0.6, 0.8), stats.norm(0.9, 0.5)]

    def mixture(z):
        return sum(p.pdf(z) for p in parts) / 2

    entropy, _ = integrate.quad(lambda z: -mixture(z) * math.log(mixture(z)), -8, 8)
    expected = entropy - sum(p.entropy() for p in parts) / 2
    mean = torch.tensor([[-0.6], [0.9]])
    log_variance = torch.tensor([[0.8], [0.5]]).log() * 2
    value, _ = mutual_information(mean, log_variance, generator(), samples=60_000)
    assert value == pytest.approx(float(expected), abs=0.006)


def test_against_brute_force_with_torch_distributions():
    mean, log_variance = torch.randn(30, 2, generator=generator(1)), torch.randn(30, 2, generator=generator(2)) - 1
    value, error = mutual_information(mean, log_variance, generator(3), samples=200)
    torch.manual_seed(0)
    q = D.Independent(D.Normal(mean.double(), (0.5 * log_variance).exp().double()), 1)
    z = q.sample((2000,))
    every = q.log_prob(z[:, :, None, :])
    expected = (q.log_prob(z) - every.logsumexp(-1) + math.log(30)).mean()
    assert value == pytest.approx(float(expected), abs=0.02)
    assert 0 < error < 0.2


def test_standard_error_is_the_spread_over_seeds():
    mean = torch.randn(400, 1, generator=generator(4))
    results = [mutual_information(mean, torch.zeros(400, 1), generator(s)) for s in range(60)]
    spread = np.std([value for value, _ in results], ddof=1)
    # The error also covers the choice of rows, which the seeds leave alone: it is no smaller.
    assert 0.8 * spread < np.mean([error for _, error in results]) < 3 * spread


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 12), st.integers(1, 4), st.floats(-6, 6), st.integers(0, 99))
def test_never_above_log_n_and_blind_to_a_common_shift(n, latent, spread, seed):
    mean = math.exp(spread / 2) * torch.randn(n, latent, generator=generator(seed))
    log_variance = torch.randn(n, latent, generator=generator(seed + 1))
    value, error = mutual_information(mean, log_variance, generator(seed))
    moved, _ = mutual_information(mean.double() + 64, log_variance, generator(seed))
    assert value <= math.log(n) + 1e-9
    assert error >= 0
    assert moved == pytest.approx(value, abs=1e-6)


def test_blocks_of_pairs_give_what_one_gives(monkeypatch):
    mean, log_variance = torch.randn(23, 2, generator=generator()), torch.zeros(23, 2)
    whole = mutual_information(mean, log_variance, generator(7), samples=2)
    monkeypatch.setattr("mumei.vae.collapse.PAIRS", 100)
    assert mutual_information(mean, log_variance, generator(7), samples=2) == pytest.approx(whole, abs=1e-12)


# --------------------------------------------------------------------------------------------------- the report


def mixed(n=200):
    """Dimension 0 is used, dimension 1 is the prior, dimension 2 is off the prior but the same for every row."""
    mean = torch.stack([torch.randn(n, generator=generator(9)), torch.zeros(n), torch.full((n,), 2.0)], 1)
    log_variance = torch.tensor([-3.0, 0.0, -1.0]).expand(n, 3)
    return Fixed(mean, log_variance)


def test_report_against_torch_distributions():
    net = mixed()
    report = collapse_report(net, net.rows(), generator())
    mean, log_variance = net.moments
    kl = D.kl_divergence(D.Normal(mean, (0.5 * log_variance).exp()), D.Normal(0.0, 1.0)).mean(0)
    assert report.kl_per_dimension == pytest.approx(kl.tolist(), rel=1e-5, abs=1e-9)
    assert report.kl == pytest.approx(float(kl.sum()), rel=1e-6)
    assert report.mean_variance == pytest.approx(mean.numpy().var(0), abs=1e-6)
    assert report.active_units == 1
    assert (report.rows, report.latent) == (200, 3)
    # Logits of 0: every bit costs log 2, whatever its grey value.
    assert report.reconstruction == pytest.approx(-3 * math.log(2), abs=1e-6)
    assert report.bound == pytest.approx(report.reconstruction - report.kl)
    assert report.aggregate_kl == pytest.approx(report.kl - report.mutual_information)
    assert report.variance_at_floor is None


def test_burdas_threshold_is_on_the_variance_of_means():
    n = 1000
    spread = torch.linspace(-1, 1, n) / torch.linspace(-1, 1, n).std(correction=0)
    scales = torch.tensor([0.9, 1.1]) * math.sqrt(ACTIVE)
    net = Fixed(spread[:, None] * scales, torch.zeros(n, 2))
    assert collapse_report(net, net.rows(), generator()).active_units == 1


def test_rows_are_drawn_without_replacement_and_bound_the_information():
    net = Fixed(100.0 * torch.arange(300.0)[:, None], torch.zeros(300, 1))
    report = collapse_report(net, net.rows(), generator(), rows=64)
    assert report.rows == 64
    assert report.mutual_information == pytest.approx(math.log(64), abs=1e-9)  # no row twice
    assert report.saturated
    assert "more rows would show more" in report.text()


def test_same_generator_gives_the_same_report():
    net = mixed()
    first = collapse_report(net, net.rows(), generator(3), rows=50)
    assert first == collapse_report(net, net.rows(), generator(3), rows=50)
    assert first != collapse_report(net, net.rows(), generator(4), rows=50)


def test_a_real_network_with_covariates_is_left_in_its_mode():
    net = VAENet(Bernoulli(6, grey=True), latent=2, hidden=(5,), covariates=2)
    x, labels = torch.rand(40, 6, generator=generator()), torch.eye(2).repeat(20, 1)
    net.train()
    report = collapse_report(net, x, generator(), rows=30, covariates=labels)
    assert net.training
    assert report.rows == 30
    assert all(p.grad is None for p in net.parameters())


def test_json_and_back():
    net = mixed()
    report = collapse_report(net, net.rows(), generator())
    assert CollapseReport.from_dict(json.loads(json.dumps(report.to_dict(), allow_nan=False))) == report
    with pytest.raises(DataError, match="lacks active_units"):
        CollapseReport.from_dict({k: v for k, v in report.to_dict().items() if k != "active_units"})


def test_share_of_variances_at_the_floor():
    likelihood = Gaussian(4)
    out = torch.tensor([0.0, 0, 0, 0, LOG_VARIANCE[0] - 3, LOG_VARIANCE[0], -1, 0])
    net = Fixed(torch.zeros(10, 2), torch.zeros(10, 2), likelihood, out)
    report = collapse_report(net, net.rows(), generator())
    assert report.variance_at_floor == 0.5
    assert any("50 % of the decoder's variances" in w and "variance" in w for w in report.warnings)


# -------------------------------------------------------------------------------------------------- the warnings


FINE = {
    "rows": 500,
    "kl_per_dimension": (2.0, 1.5, 1.0, 0.5),
    "active_units": 4,
    "mutual_information": 4.0,
    "mutual_information_error": 0.05,
    "kl": 5.0,
    "variance_at_floor": 0.0,
}


def test_a_healthy_model_is_not_warned_of():
    assert find_warnings(FINE) == []


@pytest.mark.parametrize(
    ("changed", "said", "remedy"),
    [
        ({"active_units": 0}, "None of the 4", "free bits"),
        ({"active_units": 1}, "Only 1 of 4 latent dimensions is active", "smaller latent"),
        ({"kl": 0.01}, "KL is 0.01 nats", "warm up"),
        ({"mutual_information": 0.01}, "tell 0.01 nats", "Train longer"),
        ({"mutual_information": 0.3, "mutual_information_error": 0.2}, "tell 0.30 nats", "Train longer"),
        ({"kl_per_dimension": (25.0, 1.0, 1.0, 1.0)}, "dimension 0 has a KL of 25.0", "beta"),
        ({"variance_at_floor": 0.25}, "25 % of the decoder's variances", "shared"),
        ({"rows": 1}, "One row alone", "more rows"),
    ],
)
def test_each_warning_has_a_remedy(changed, said, remedy):
    (warning,) = find_warnings({**FINE, **changed})
    assert said in warning
    assert remedy in warning
    assert warning.endswith(".")


def test_a_collapsed_network_is_found():
    net = Fixed(torch.zeros(100, 5), torch.zeros(100, 5))
    report = collapse_report(net, net.rows(), generator())
    assert (report.active_units, report.kl) == (0, 0.0)
    assert len(report.warnings) == 2
    assert "warning: None of the 5" in report.text()


def test_a_small_latent_space_in_use_is_not_called_few():
    assert find_warnings({**FINE, "kl_per_dimension": (5.0,), "active_units": 1}) == []


# ------------------------------------------------------------------------------------------------------ bad input


def test_bad_input_is_said():
    net = mixed()
    with pytest.raises(UsageError, match="rows"):
        collapse_report(net, net.rows(), generator(), rows=0)
    with pytest.raises(UsageError, match="shape"):
        collapse_report(net, torch.zeros(5, 2), generator())
    with pytest.raises(DataError, match="row 2"):
        collapse_report(net, torch.full((5, 3), 0.0).index_fill(0, torch.tensor([2]), math.nan), generator())


def test_a_broken_network_is_said():
    net = VAENet(Bernoulli(3), latent=2, hidden=(4,))
    with torch.no_grad():
        net.posterior.weight.fill_(math.nan)
    with pytest.raises(NonFiniteError, match="not finite"):
        collapse_report(net, torch.ones(4, 3), generator())
