"""The mixture prior against scipy's densities; far codes; what a mixture and k-means hand over."""

from __future__ import annotations

import numpy as np
import torch
from scipy.stats import norm

from mumei.cluster.initial import initial_clustering
from mumei.cluster.mixture import MixturePrior


def prior(k: int = 3, d: int = 2) -> MixturePrior:
    head, rng = MixturePrior(k, d), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in head.parameters():
            p.normal_(generator=rng)
    return head


def test_gamma_is_bayes_rule():
    head = prior()
    z = np.random.default_rng(0).normal(size=(5, 2))
    weights = np.exp(head.logits.detach().numpy())
    weights /= weights.sum()
    means, deviations = head.means.detach().numpy(), np.exp(0.5 * head.log_variances.detach().numpy())
    joint = np.array([[weights[c] * norm.pdf(row, means[c], deviations[c]).prod() for c in range(3)] for row in z])
    rows = torch.from_numpy(z).float()
    np.testing.assert_allclose(head.log_joint(rows).detach().exp(), joint, rtol=1e-4)
    np.testing.assert_allclose(head.proba(rows).detach(), joint / joint.sum(1, keepdims=True), rtol=1e-4)


def test_far_codes_and_thin_components_give_no_nan():
    head = prior()
    with torch.no_grad():
        head.log_variances[0] = -1e4
    z = torch.full((1, 2), 1e6, requires_grad=True)
    log_gamma = head(z)
    assert torch.isfinite(log_gamma.exp()).all()
    log_gamma.max().backward()
    assert torch.isfinite(z.grad).all()


def test_it_takes_over_what_was_fitted():
    z = np.concatenate([np.random.default_rng(0).normal(m, s, (n, 1)) for m, s, n in ((-5, 0.5, 30), (5, 1.0, 90))])
    z = z.astype(np.float32)
    for init in ("gmm", "kmeans"):
        start = initial_clustering(z, 2, init, 0)
        head = MixturePrior(2, 1)
        head.place(start)
        assert np.array_equal(head(torch.from_numpy(z)).argmax(1), start.labels)
        np.testing.assert_allclose(sorted(head.log_weights.exp().tolist()), [0.25, 0.75], rtol=1e-3)
    head.reseed(0, torch.tensor([9.0]))
    assert head.means[0].item() == 9.0
