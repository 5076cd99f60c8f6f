"""CatGAN: entropies by SciPy, who minimises what."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from cluster_toys import blobs
from scipy.special import softmax
from scipy.stats import entropy as scipy_entropy

from mumei.cluster.adversarial import Code
from mumei.cluster.catgan import (
    CatGAN,
    Judged,
    Noise,
    SureOfFake,
    Uneven,
    UnevenFake,
    Unsure,
    UnsureOfFake,
    entropy,
    entropy_of_mean,
)
from mumei.core.errors import UsageError
from mumei.nn.mlp import MLP

SMALL: dict[str, Any] = {"n_clusters": 3, "hidden": (16,), "batch_size": 32, "random_state": 0}


def test_the_entropies_are_scipys():
    logits = 3 * torch.randn(7, 4, generator=torch.Generator().manual_seed(0))
    p = softmax(logits.double().numpy(), axis=1)
    log_p = logits.log_softmax(1)
    assert float(entropy(log_p)) == pytest.approx(scipy_entropy(p, axis=1).mean(), rel=1e-5)
    assert float(entropy_of_mean(log_p)) == pytest.approx(scipy_entropy(p.mean(0)), rel=1e-5)


def test_entropies_of_certain_rows_have_a_finite_gradient():
    logits = (1e4 * torch.eye(3)).requires_grad_()
    log_p = logits.log_softmax(1)
    (entropy(log_p) - entropy_of_mean(log_p)).backward()
    assert np.isfinite(np.asarray(logits.grad)).all()
    assert float(entropy_of_mean(log_p.detach())) == pytest.approx(np.log(3), rel=1e-5)


def test_terms_are_the_papers_of_rows_and_of_generated_rows():
    nets = {
        "code": Code(2),
        "generator": MLP((2, 8, 4), seed=1),
        "input": Noise(0.0),
        "discriminator": MLP((4, 8, 3), seed=2),
    }
    at: Any = SimpleNamespace(rng=torch.Generator().manual_seed(0))
    seen = Judged(nets, (torch.randn(6, 4, generator=torch.Generator().manual_seed(9)),), at, {})
    with torch.no_grad():
        real, fake = (softmax(nets["discriminator"](x).double().numpy(), axis=1) for x in (seen.x, seen.fake))
    expected = {
        Unsure: scipy_entropy(real, axis=1).mean(),
        Uneven: -scipy_entropy(real.mean(0)),
        SureOfFake: -scipy_entropy(fake, axis=1).mean(),
        UnsureOfFake: scipy_entropy(fake, axis=1).mean(),
        UnevenFake: -scipy_entropy(fake.mean(0)),
    }
    for term, value in expected.items():
        assert term()(seen).item() == pytest.approx(value, rel=1e-4)


def test_the_discriminator_sees_rows_with_noise():
    nets = {
        "code": Code(2),
        "generator": MLP((2, 4), seed=1),
        "input": Noise(0.5),
        "discriminator": torch.nn.Identity(),
    }
    at: Any = SimpleNamespace(rng=torch.Generator().manual_seed(0))
    seen = Judged(nets, (torch.zeros(5000, 4),), at, {})
    noise = seen.both[
        :5000
    ].detach()  # the softmax takes away what four columns have in common: a quarter of the variance
    noise = noise - noise.mean(1, keepdim=True)
    assert float(noise.std()) == pytest.approx(0.5 * np.sqrt(3 / 4), rel=0.05)


def test_who_minimises_what():
    model = CatGAN(**SMALL, epochs=3).fit(blobs()[0])
    players = model.players(model.settings_)
    found = {name: {t.name: t.weight for t in p.terms} for name, p in players.items()}
    assert found == {
        "discriminator": {"unsure": 1.0, "uneven": 1.0, "sure_of_fake": 1.0},
        "generator": {"unsure_of_fake": 1.0, "uneven_fake": 1.0},
    }
    last = model.history_[-1]
    assert last["generator"] == pytest.approx(
        last["generator.unsure_of_fake"] + last["generator.uneven_fake"], abs=1e-5
    )


def test_the_groups_of_plain_data_are_found():
    X, y = blobs(300)
    best = max(CatGAN(**SMALL, epochs=60).set_params(random_state=s).fit(X).evaluate(y)["acc"] for s in range(3))
    assert best > 0.9


def test_the_papers_preset_trains():
    X, _ = blobs(200)
    model = CatGAN(n_clusters=3, preset="paper", epochs=2, random_state=0).fit(X)
    assert (model.settings_["dropout"], model.settings_["batch_size"]) == (0.5, 100)
    assert model.predict_proba(X).sum(1) == pytest.approx(1.0, abs=1e-5)


def test_a_share_dropped_is_below_one():
    with pytest.raises(UsageError, match=r"dropout=1\.0"):
        CatGAN(**SMALL, dropout=1.0).fit(blobs()[0])
