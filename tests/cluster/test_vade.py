"""VaDE: its terms against the paper's equation 12 written out, and against the exact log p(x) of a straight decoder."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from cluster_toys import SMALL, blobs
from scipy.stats import norm
from variational_toys import NOISE, SHIFT, SLOPE, make_view, straight_net, total

from mumei.cluster.mixture import MixturePrior
from mumei.cluster.vade import MixtureView, VaDE
from mumei.cluster.variational import NegativeLogLikelihood


def mixture(weights, means, variances):
    head = MixturePrior(len(weights), len(means[0]))
    with torch.no_grad():
        head.logits.copy_(torch.tensor(weights).log())
        head.means.copy_(torch.tensor(means))
        head.log_variances.copy_(torch.tensor(variances).log())
    return head


def test_the_terms_are_equation_12():
    """Its five terms, gamma by Bayes' rule at the same sample of z, in loops."""
    pi, mu, s2 = [0.2, 0.5, 0.3], [[0.0, 1.0], [2.0, -1.0], [-1.0, 0.5]], [[1.0, 0.5], [0.3, 2.0], [1.5, 0.8]]
    mean, log_variance = torch.tensor([[0.3, -0.2], [1.0, 0.4]]), torch.tensor([[-1.0, 0.2], [0.1, -2.0]])
    view = make_view(MixtureView, {"head": mixture(pi, mu, s2)}, torch.zeros(2, 1), (mean, log_variance))
    z = view.z.double().numpy()
    values = []
    for i in range(2):
        joint = [pi[c] * np.prod(norm.pdf(z[i], mu[c], np.sqrt(s2[c]))) for c in range(3)]
        gamma = np.array(joint) / sum(joint)
        m, v = mean[i].double().numpy(), log_variance[i].double().exp().numpy()
        bound = sum(
            -0.5 * gamma[c] * sum(np.log(s2[c][j]) + (v[j] + (m[j] - mu[c][j]) ** 2) / s2[c][j] for j in range(2))
            for c in range(3)
        )
        bound += sum(gamma[c] * np.log(pi[c] / gamma[c]) for c in range(3)) + 0.5 * sum(1 + np.log(v))
        values.append(-bound)
    terms = VaDE(**SMALL).terms({})[1:]
    assert total(terms, view) == pytest.approx(np.mean(values), rel=1e-5)


def test_the_bound_is_below_the_exact_log_likelihood_and_touches_it():
    """With x = a z + b + noise, p(x) is a mixture of normal distributions; one component and its posterior make it equal."""
    x, n = 1.7, 40_000
    terms = VaDE(**SMALL).terms({})
    for pi, mu, s2 in (([1.0], [0.5], [0.8]), ([0.3, 0.7], [-1.0, 1.5], [0.5, 0.9])):
        deviations = [np.sqrt(SLOPE**2 * v + NOISE) for v in s2]
        exact = np.log(sum(p * norm.pdf(x, SLOPE * m + SHIFT, d) for p, m, d in zip(pi, mu, deviations, strict=True)))
        variance = 1 / (1 / s2[-1] + SLOPE**2 / NOISE)
        mean = variance * (mu[-1] / s2[-1] + SLOPE * (x - SHIFT) / NOISE)
        nets = {"vae": straight_net(), "head": mixture(pi, [[m] for m in mu], [[v] for v in s2])}
        moments = torch.full((n, 1), mean), torch.full((n, 1), variance).log()
        bound = -total(terms, make_view(MixtureView, nets, torch.full((n, 1), x), moments))
        if len(pi) == 1:
            assert bound == pytest.approx(exact, abs=0.01)
        else:
            assert exact - 0.2 < bound < exact


def test_the_three_parts_make_the_loss_and_it_falls():
    model = VaDE(**{**SMALL, "epochs": 12, "tol": 0.0}).fit(blobs()[0])
    done = [r for r in model.history_ if r["phase"] == "clustering"]
    for record in done:
        assert record["loss"] == pytest.approx(record["reconstruction"] + record["code"] + record["cluster"], rel=1e-4)
    assert done[-1]["loss"] < done[0]["loss"]
    assert isinstance(model.terms({})[0], NegativeLogLikelihood)


def test_the_papers_preset_trains():
    X, y = blobs()
    model = VaDE(**{**SMALL, "pretrain_epochs": 60}, preset="paper", likelihood="gaussian").fit(X)
    assert model.settings_["learning_rate"] == 2e-3
    assert VaDE(preset="paper")._settings()["likelihood"] == {"name": "bernoulli", "grey": True}
    assert model.evaluate(y)["acc"] > 0.9
