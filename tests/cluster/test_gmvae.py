"""GMVAE: its four terms in loops and by Monte Carlo, the bound below log p(x) by quadrature, the floor."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from cluster_toys import SMALL, blobs
from scipy.stats import norm
from torch.distributions import Normal, kl_divergence
from variational_toys import NOISE, SHIFT, SLOPE, make_view, straight_net, total

from mumei.cluster.gmvae import (
    GMVAE,
    BendingPrior,
    BentMixture,
    BentView,
    ClusterPrior,
    ConditionalPrior,
    TwoCodes,
)
from mumei.cluster.initial import Start
from mumei.vae.likelihoods import Gaussian

MOMENTS = torch.tensor([[0.3, -0.2], [1.0, 0.4]]), torch.tensor([[-1.0, 0.2], [0.1, -2.0]])
W = torch.tensor([[0.5, -1.0, 0.2], [0.0, 0.7, 1.0]]), torch.tensor([[-0.5, 0.3, -1.0], [0.2, -0.1, 0.0]])


def bent(k: int = 3, latent: int = 2, n_w: int = 3) -> BentMixture:
    return BentMixture(k, latent, n_w, hidden=8, seed=1)


def view() -> BentView:
    return make_view(BentView, {"head": bent()}, torch.zeros(2, 1), MOMENTS, both=(MOMENTS, W))


def chosen(seen: BentView) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return p(c|z, w) by Bayes' rule with scipy's densities, and the components."""
    means, variances = (part.detach().double().numpy() for part in seen.components)
    variances = np.exp(variances)
    z = seen.z.double().numpy()
    density = np.array(
        [[norm.pdf(z[i], means[i, c], np.sqrt(variances[i, c])).prod() for c in range(3)] for i in range(2)]
    )
    return density / density.sum(1, keepdims=True), means, variances


def test_the_conditional_prior_is_a_sum_of_divergences():
    seen = view()
    p, means, variances = chosen(seen)
    q = Normal(MOMENTS[0].double(), (0.5 * MOMENTS[1].double()).exp())
    expected = 0.0
    for c in range(3):
        other = Normal(torch.from_numpy(means[:, c]), torch.from_numpy(np.sqrt(variances[:, c])))
        expected += p[:, c] * kl_divergence(q, other).sum(1).numpy()
    assert ConditionalPrior()(seen).item() == pytest.approx(expected.mean(), rel=1e-4)


def test_the_clusters_prior_is_minus_the_entropy_and_has_a_floor():
    p, _, _ = chosen(seen := view())
    expected = np.mean([sum(row * np.log(row / (1 / 3))) for row in p])
    assert ClusterPrior()(seen).item() == pytest.approx(expected, rel=1e-4)
    held = ClusterPrior(floor=expected + 0.1)(seen)
    assert held.item() == pytest.approx(expected + 0.1)
    held.backward()
    assert all(v.grad is None or not v.grad.any() for v in seen.nets["head"].parameters())


def test_the_prior_of_w_by_monte_carlo():
    rng = np.random.default_rng(0)
    mean, deviation = W[0].double().numpy(), np.exp(0.5 * W[1].double().numpy())
    w = mean + deviation * rng.normal(size=(200_000, 2, 3))
    sampled = (norm.logpdf(w, mean, deviation) - norm.logpdf(w)).sum(-1).mean()
    assert BendingPrior()(view()).item() == pytest.approx(sampled, abs=0.01)


def test_the_bound_is_below_the_log_likelihood_by_quadrature():
    """x = a z + b + noise: given w, p(x) is a mixture of normal distributions; w is summed over a fine grid."""
    head, x, n = bent(2, 1, 1), 0.8, 40_000
    grid = torch.linspace(-6, 6, 2001)[:, None]
    means, variances = (part.detach().double().numpy()[..., 0] for part in head.components(grid))
    spread = np.sqrt(SLOPE**2 * np.exp(variances) + NOISE)
    given = norm.pdf(x, SLOPE * means + SHIFT, spread).mean(1)
    w = grid.double().numpy()[:, 0]
    exact = np.log((given * norm.pdf(w)).sum() * (w[1] - w[0]))
    moments = torch.full((n, 1), 0.3), torch.full((n, 1), -1.6)
    both = moments, (torch.zeros(n, 1), torch.zeros(n, 1))
    nets = {"vae": straight_net(), "head": head}
    seen = make_view(BentView, nets, torch.full((n, 1), x), moments, both=both)
    bound = -total(GMVAE(**SMALL).terms({"floor": 0.0}), seen)
    assert exact - 0.5 < bound < exact


def test_the_encoder_has_two_heads_and_the_first_is_encodes():
    net = TwoCodes(Gaussian(4), 2, (8,), n_w=3, init="he", activation="relu", seed=0)
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    (mean, log_variance), (mean_w, _) = net.encode_both(x)
    assert torch.equal(mean, net.encode(x)[0])
    assert torch.equal(log_variance, net.encode(x)[1])
    assert mean_w.shape == (5, 3)


def test_components_begin_at_the_mixture_whatever_w_is():
    head = bent()
    centres = np.array([[0.0, 5.0], [5.0, 0.0], [-5.0, -5.0]], dtype=np.float32)
    start = Start(centres, np.arange(3), 0.0, np.full(3, 1 / 3, np.float32), np.full((3, 2), 0.5, np.float32))
    head.place(start)
    w = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    means, log_variances = head.components(w)
    assert (means - torch.from_numpy(centres)).abs().max() < 0.5
    assert (log_variances - np.log(0.5)).abs().max() < 0.5
    z = torch.from_numpy(centres)
    assert head(z, w[:3]).argmax(1).tolist() == [0, 1, 2]
    head.reseed(1, torch.tensor([9.0, 9.0]))
    assert (head.components(torch.zeros(1, 3))[0][0, 1] == 9.0).all()


def test_the_papers_preset_begins_from_random_weights():
    X, _ = blobs()
    model = GMVAE(n_clusters=3, preset="paper", hidden=(16,), epochs=2, random_state=0, likelihood="gaussian").fit(X)
    assert model.initial_labels_ is None
    assert {r["phase"] for r in model.history_} == {"clustering"}
    assert (model.settings_["n_latent"], model.settings_["n_w"], model.settings_["floor"]) == (200, 150, 0.5)
    assert GMVAE(**{**SMALL, "n_clusters": None}, options={"init": "none"}).fit(blobs(90)[0]).n_clusters_ == 3
    for record in model.history_:
        assert record["loss"] == pytest.approx(
            sum(record[name] for name in ("reconstruction", "code", "w", "cluster")), rel=1e-4
        )
