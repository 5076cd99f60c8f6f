"""Count likelihoods against scipy.stats and against the dense textbook formulas, values and gradients."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mumei.core.errors import DataError, UsageError
from mumei.vae.counts import NegativeBinomial, Poisson, ZeroInflatedNegativeBinomial

FEATURES = 6


def counts(seed: int, n: int = 5, density: float = 0.4) -> torch.Tensor:
    draw = np.random.default_rng(seed)
    return torch.from_numpy(draw.poisson(6.0, (n, FEATURES)) * (draw.random((n, FEATURES)) < density)).double()


def output(seed: int, columns: int, *front: int) -> torch.Tensor:
    return torch.randn(*front, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def made(kind, seed: int = 0, **options):
    likelihood = kind(FEATURES, **options).double()
    if hasattr(likelihood, "log_dispersion"):
        likelihood.log_dispersion.data = output(seed + 99, FEATURES)
    return likelihood


def means_of(likelihood, out, x) -> np.ndarray:
    if not likelihood.library:
        return out[..., :FEATURES].exp().numpy()
    return (torch.softmax(out[..., :FEATURES], -1) * x.sum(-1)[:, None].clamp(min=1e-8)).numpy()


def by_scipy(likelihood, out, x) -> np.ndarray:
    mean = means_of(likelihood, out, x)
    if likelihood.name == "poisson":
        return scipy.stats.poisson.logpmf(x.numpy(), mean).sum(-1)
    theta = likelihood.log_dispersion.detach().exp().numpy()
    log_nb = scipy.stats.nbinom.logpmf(x.numpy(), theta, theta / (theta + mean))
    if likelihood.name == "nb":
        return log_nb.sum(-1)
    pi = torch.sigmoid(out[..., FEATURES:]).numpy()
    return np.log(np.where(x.numpy() == 0, pi, 0) + (1 - pi) * np.exp(log_nb)).sum(-1)


KINDS = (Poisson, NegativeBinomial, ZeroInflatedNegativeBinomial)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("library", [True, False])
@given(seed=st.integers(0, 10_000), density=st.sampled_from([0.0, 0.3, 1.0]))
@settings(max_examples=25, deadline=None)
def test_log_prob_equals_scipy(kind, library, seed, density):
    likelihood, x = made(kind, seed, library=library), counts(seed, density=density)
    out = output(seed, likelihood.outputs, 3, 5)
    with torch.no_grad():
        found = likelihood.log_prob(out, x)
    assert found.shape == (3, 5)
    np.testing.assert_allclose(found.numpy(), by_scipy(likelihood, out, x), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_equal_finite_differences(kind):
    likelihood, x = made(kind), counts(3)
    out = output(1, likelihood.outputs, 5).requires_grad_()
    parameters = list(likelihood.parameters())
    assert torch.autograd.gradcheck(lambda out, *_: likelihood.log_prob(out, x), (out, *parameters))


@pytest.mark.parametrize("kind", KINDS)
def test_samples_have_the_mean_and_spread_of_the_distribution(kind):
    likelihood, library = made(kind), torch.full((40_000,), 50.0, dtype=torch.float64)
    out = output(2, likelihood.outputs).expand(40_000, -1)
    state = torch.random.get_rng_state()
    with torch.no_grad():
        drawn = likelihood.sample(out, torch.Generator().manual_seed(0), library)
        mean = likelihood.mean(out, library)[0]
    assert torch.equal(state, torch.random.get_rng_state())
    assert bool((drawn == drawn.round()).all())
    error = drawn.std(0) / 200
    assert bool(((drawn.mean(0) - mean).abs() < 5 * error).all())
    if likelihood.name == "nb":
        theta = likelihood.log_dispersion.detach().exp()
        np.testing.assert_allclose(drawn.var(0), mean + mean**2 / theta, rtol=0.15)


@pytest.mark.parametrize(("value", "what"), [(-1.0, "negative"), (0.5, "not a whole number")])
def test_what_is_no_count_is_refused(value, what):
    rows = np.array([[0.0, 2.0, value]])
    with pytest.raises(DataError, match=f"{value:.6g}, .*{what}|{value:.6g}, {what}"):
        NegativeBinomial(3).check(rows)


def test_a_row_of_zeros_has_a_likelihood():
    with torch.no_grad():
        for kind in KINDS:
            assert torch.isfinite(
                made(kind).log_prob(output(0, made(kind).outputs, 1), torch.zeros(1, FEATURES).double())
            ).all()


def dense_nb(out, log_theta, x) -> torch.Tensor:
    """The textbook formula, every gamma term at every entry."""
    theta, mean = log_theta.exp(), torch.softmax(out, -1) * x.sum(-1, keepdim=True)
    both = torch.log(theta + mean)
    gammas = torch.lgamma(x + theta) - torch.lgamma(theta) - torch.lgamma(x + 1)
    return (theta * (log_theta - both) + x * (mean.log() - both) + gammas).sum(-1)


def dense_zinb(out, log_theta, x) -> torch.Tensor:
    """scVI's case distinction, from the dense formula for one entry at a time."""
    means, logits = out.chunk(2, -1)
    theta, mean = log_theta.exp(), torch.softmax(means, -1) * x.sum(-1, keepdim=True)
    nb = torch.distributions.NegativeBinomial(theta, logits=mean.log() - log_theta, validate_args=False).log_prob(x)
    pi = torch.sigmoid(logits)
    return torch.where(x == 0, torch.log(pi + (1 - pi) * nb.exp()), torch.log(1 - pi) + nb).sum(-1)


@pytest.mark.parametrize(("kind", "dense"), [(NegativeBinomial, dense_nb), (ZeroInflatedNegativeBinomial, dense_zinb)])
def test_gradients_equal_autograd_of_the_dense_formula_with_samples_in_front(kind, dense):
    likelihood, x = made(kind), counts(7) + 1.0 * (torch.arange(FEATURES) == 0)  # no row of zeros
    out = output(1, likelihood.outputs, 3, 5).requires_grad_()
    weight = output(2, 5, 3)  # rows that weigh unequally
    inputs = (out, likelihood.log_dispersion)
    found = torch.autograd.grad((likelihood.log_prob(out, x) * weight).sum(), inputs)
    expected = torch.autograd.grad((dense(out, likelihood.log_dispersion, x) * weight).sum(), inputs)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_without_a_library_size_equal_finite_differences(kind):
    likelihood, x = made(kind, library=False), counts(3)
    out = output(1, likelihood.outputs, 2, 5).requires_grad_()
    parameters = list(likelihood.parameters())
    assert torch.autograd.gradcheck(lambda out, *_: likelihood.log_prob(out, x), (out, *parameters))


@pytest.mark.parametrize("log_theta", [-8.0, 0.0, 6.0, 12.0])
@pytest.mark.parametrize("kind", KINDS)
def test_float32_is_exact_to_1e_5_at_any_dispersion(kind, log_theta):
    draw = np.random.default_rng(0)
    x = torch.from_numpy(draw.poisson(3.0, (8, 2000)) * (draw.random((8, 2000)) < 0.07)).float()
    likelihood = kind(2000)
    if kind is not Poisson:
        likelihood.log_dispersion.data.fill_(log_theta)
    out = 2 * torch.randn(8, likelihood.outputs, generator=torch.Generator().manual_seed(0))
    mean = (torch.softmax(out[:, :2000].double(), -1) * x.double().sum(-1, keepdim=True)).numpy()
    theta, counted = np.exp(log_theta), x.double().numpy()
    # scipy.stats.nbinom in float64 is itself good to 1e-9 at these dispersions.
    each = scipy.stats.poisson.logpmf(counted, mean) if kind is Poisson else None
    if each is None:
        each = scipy.stats.nbinom.logpmf(counted, theta, theta / (theta + mean))
    if kind is ZeroInflatedNegativeBinomial:
        pi = torch.sigmoid(out[:, 2000:].double()).numpy()
        each = np.where(counted == 0, np.log(pi + (1 - pi) * np.exp(each)), np.log1p(-pi) + each)
    with torch.no_grad():
        np.testing.assert_allclose(likelihood.log_prob(out, x).numpy(), each.sum(-1), rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_extreme_outputs_and_dispersions_stay_finite_with_their_gradients(kind):
    x = torch.tensor([[0.0, 3.0, 0.0, 1.0, 0.0, 200_000.0], [0.0] * 6])
    for size, log_theta, library in [(1e4, -90.0, True), (1e4, 90.0, True), (1e4, 90.0, False), (60.0, -90.0, False)]:
        likelihood = kind(FEATURES, library=library)
        if kind is not Poisson:
            likelihood.log_dispersion.data.fill_(log_theta)
        out = (size * output(3, likelihood.outputs, 2).float()).requires_grad_()
        value = likelihood.log_prob(out, x)
        value.sum().backward()
        assert bool(torch.isfinite(value).all()), (size, log_theta, library)
        assert all(bool(torch.isfinite(g).all()) for g in (out.grad, *(p.grad for p in likelihood.parameters())))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support:UserWarning")
def test_sparse_batches_equal_dense_ones(kind):
    likelihood, x = made(kind), counts(4)
    out = output(1, likelihood.outputs, 2, 5)
    sparse = x.to_sparse_csr()
    with torch.no_grad():
        torch.testing.assert_close(likelihood.log_prob(out, sparse), likelihood.log_prob(out, x))
    assert torch.equal(likelihood.features(sparse), torch.log1p(x))


def test_probabilities_of_all_counts_sum_to_1():
    """One feature without a library size: the sum over x = 0 .. 4000 by brute force."""
    x = torch.arange(4001, dtype=torch.float64)[:, None]
    for kind in KINDS:
        likelihood = kind(1, library=False).double()
        out = torch.full((1, likelihood.outputs), 1.5, dtype=torch.float64).expand(len(x), -1)
        with torch.no_grad():
            assert float(likelihood.log_prob(out, x).exp().sum()) == pytest.approx(1, abs=1e-9)


def test_samples_need_a_library_size_and_means_without_one_are_shares():
    for kind in KINDS:
        likelihood = made(kind)
        with pytest.raises(UsageError, match="library size"):
            likelihood.sample(output(0, likelihood.outputs, 2), torch.Generator())
    with torch.no_grad():
        torch.testing.assert_close(made(Poisson).mean(output(0, FEATURES, 2)).sum(-1), torch.ones(2).double())
