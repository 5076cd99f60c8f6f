"""LTVAE: its bound with the tree's exact prior, facets, what stepwise EM and the search do in a fit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from cluster_toys import SMALL, blobs
from scipy.stats import norm
from variational_toys import NOISE, SHIFT, SLOPE, make_view, straight_net, total

import mumei
from mumei.cluster.latent_tree import LatentTree, Tree
from mumei.cluster.ltvae import LTVAE, TreePrior, chosen_rows, sampled_codes, search
from mumei.cluster.variational import LatentView, start_variances
from mumei.core.batches import Rows
from mumei.core.errors import UsageError
from mumei.vae.likelihoods import Gaussian
from mumei.vae.network import VAENet


def one_facet(weights, means, variances) -> LatentTree:
    w, m, v = (np.array(part)[:, None] for part in (weights, means, variances))
    head = LatentTree(len(weights), 1)
    zero = np.zeros(1, dtype=np.int64)
    head.place(Tree(zero, zero, np.array([len(weights)]), np.diag(weights)[None], w, w * m, w * (m**2 + v)))
    return head


def test_the_bound_is_below_the_exact_log_likelihood_and_touches_it():
    """One facet of one dimension is a mixture: as for VaDE, p(x) is exact for a straight decoder."""
    x, n = 1.7, 40_000
    terms = LTVAE(**SMALL).terms({})
    for pi, mu, s2 in (([1.0], [0.5], [0.8]), ([0.3, 0.7], [-1.0, 1.5], [0.5, 0.9])):
        parts = zip(pi, mu, s2, strict=True)
        exact = np.log(sum(p * norm.pdf(x, SLOPE * m + SHIFT, np.sqrt(SLOPE**2 * v + NOISE)) for p, m, v in parts))
        variance = 1 / (1 / s2[-1] + SLOPE**2 / NOISE)
        mean = variance * (mu[-1] / s2[-1] + SLOPE * (x - SHIFT) / NOISE)
        nets = {"vae": straight_net(), "head": one_facet(pi, mu, s2)}
        moments = torch.full((n, 1), mean), torch.full((n, 1), variance).log()
        bound = -total(terms, make_view(LatentView, nets, torch.full((n, 1), x), moments))
        assert bound == pytest.approx(exact, abs=0.01) if len(pi) == 1 else exact - 0.2 < bound < exact


def test_the_tree_learns_by_em_alone():
    model = LTVAE(**{**SMALL, "tol": 0.0}).fit(blobs()[0])
    assert not list(model.net_["head"].parameters())
    head = LatentTree(3, 2, 0.5)
    moments = torch.ones(4, 2), torch.zeros(4, 2)
    view = make_view(LatentView, {"head": head}, torch.zeros(4, 1), moments)
    before = head.sums.clone()
    TreePrior()(view)
    assert torch.equal(head.sums, before)
    TreePrior().after(view)
    torch.testing.assert_close(head.sums, before + 0.5 * (view.z.mean(0) / 3 - before))


def two_clusterings(n: int = 240):
    """Return rows (n, 6) that have three groups by half of their columns and two by the others."""
    rng = np.random.default_rng(0)
    one, other = rng.integers(0, 3, n), rng.integers(0, 2, n)
    centres, more = rng.normal(0, 4, (3, 3)), rng.normal(0, 4, (2, 3))
    return np.hstack([centres[one], more[other]]) + 0.5 * rng.normal(size=(n, 6)), one, other


def test_a_search_splits_facets_and_leaves_what_it_cannot_better():
    rng = np.random.default_rng(0)
    one, other = rng.integers(0, 3, 400), rng.integers(0, 2, 400)
    z = rng.normal(size=(400, 4)).astype(np.float32)
    z[:, 0] += 6 * one
    z[:, 1] += 6 * (one == 1)
    z[:, 2:] += 6 * other[:, None]
    head = LatentTree(3, 4)
    assert search(head, z, 3, 0, np.eye(3)[one])
    assert (head.facet.tolist(), head.states[:2].tolist()) == ([0, 0, 1, 1], [3, 2])
    assert np.mean(head(torch.from_numpy(z)).argmax(1).numpy() == one) > 0.97
    before = {name: value.clone() for name, value in head.state_dict().items()}
    assert not search(head, z, 3, 1)
    assert all(torch.equal(value, before[name]) for name, value in head.state_dict().items())


def test_codes_of_a_search_are_samples_of_the_posterior():
    net = VAENet(Gaussian(4), 2, (8,), seed=0)
    start_variances(net, torch.tensor([0.25, 4.0]))
    x = torch.zeros(4000, 4)
    z = sampled_codes({"vae": net}, Rows(x), np.arange(4000), 0)
    np.testing.assert_allclose(z.std(0), [0.5, 2.0], rtol=0.05)
    assert len(chosen_rows(4000, {"structure_share": 0.1, "structure_least": 50}, 0)) == 400


def test_facets_are_told_and_come_back_from_a_folder(tmp_path):
    X, _, _ = two_clusterings()
    given = {**SMALL, "n_latent": 3, "pretrain_epochs": 40, "structure_every": 1, "tol": 0.0, "learning_rate": 1e-4}
    model = LTVAE(**given).fit(X)
    assert sorted(d for f in model.facets_ for d in f["dimensions"]) == [0, 1, 2]
    assert (model.facets_[0]["parent"], model.facets_[0]["states"]) == (None, 3)
    every = model.predict_facets(X)
    assert every.shape == (240, len(model.facets_))
    assert np.array_equal(every[:, 0], model.labels_)
    loaded = mumei.load(model.save(tmp_path / "model"))
    assert loaded.facets_ == model.facets_
    assert np.array_equal(loaded.predict_facets(X), every)


@pytest.mark.parametrize("given", [{"em_rate": 0.0}, {"em_rate": 1.5}, {"structure_every": 0}])
def test_settings_that_are_refused(given):
    with pytest.raises(UsageError, match=next(iter(given))):
        LTVAE(**SMALL, **given).fit(blobs()[0])


def test_the_papers_preset_trains():
    X, y = blobs()
    model = LTVAE(**{**SMALL, "pretrain_epochs": 60}, preset="paper").fit(X)
    assert model.settings_["em_rate"] == 0.01
    assert model.evaluate(y)["acc"] > 0.9
