"""ADEC: who minimises what, what the encoder is spared, what is altered."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from cluster_toys import SMALL, blobs

from mumei.cluster.adec import ADEC, Altered, Decoded, Disputed, Fooling, Real
from mumei.cluster.augment import Images
from mumei.cluster.images import Shape
from mumei.cluster.pretraining import Cache
from mumei.core.errors import UsageError
from mumei.nn.mlp import MLP

FEW: dict[str, Any] = {**SMALL, "tol": 0.0}


def test_the_discriminators_terms_are_cross_entropies():
    nets = {
        "augment": Altered(),
        "encoder": MLP((4, 2), seed=1),
        "decoder": MLP((2, 4), seed=2),
        "discriminator": MLP((4, 8, 1), seed=3),
    }
    at: Any = SimpleNamespace(rng=torch.Generator().manual_seed(0), rows=torch.arange(6))
    seen = Disputed(nets, (torch.randn(6, 4, generator=torch.Generator().manual_seed(9)),), at, {})
    with torch.no_grad():
        logits = [nets["discriminator"](x).double().numpy() for x in (seen.x, nets["decoder"](nets["encoder"](seen.x)))]
    real, made = (1 / (1 + np.exp(-v)) for v in logits)
    assert Real()(seen).item() == pytest.approx(-np.log(real).mean(), rel=1e-5)
    assert Decoded()(seen).item() == pytest.approx(-np.log(1 - made).mean(), rel=1e-5)
    assert Fooling()(seen).item() == pytest.approx(-np.log(made).mean(), rel=1e-5)


def test_who_minimises_what():
    model = ADEC(**FEW, adversarial=0.3).fit(blobs()[0])
    found = {n: (p.nets, {t.name: t.weight for t in p.terms}) for n, p in model.players(model.settings_).items()}
    assert found == {
        "discriminator": (("discriminator",), {"real": 1.0, "decoded": 1.0}),
        "encoder": (("encoder", "head"), {"kl": 1.0, "fooling": 0.3}),
        "decoder": (("decoder",), {"reconstruction": 1.0, "fooling": 0.3}),
    }
    last = model.history_[-1]
    assert last["encoder"] == pytest.approx(last["encoder.kl"] + 0.3 * last["encoder.fooling"], rel=1e-4)
    assert -1 <= last["feature_drift"] <= 1


def test_without_a_discriminator_the_encoder_learns_what_it_learns_in_dec():
    """The discriminator and the decoder draw nothing and touch no other network: at weight 0 encoder and centres are DEC's."""
    from mumei.cluster.dec import DEC

    X, _ = blobs()
    given = {**FEW, "pretrain_epochs": 6}
    ours = ADEC(**given, adversarial=0.0, interpolation=0.0).fit(X)
    theirs = DEC(**given, target="held", learning_rate=1e-3).fit(X)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-5)


def test_pictures_are_altered_and_tables_are_not_unless_asked_for():
    X, _ = blobs()
    plain = ADEC(**FEW).fit(X)
    assert plain.net_["augment"].augment is None
    altered = ADEC(**FEW, augmentation=True).fit(X)
    assert any("altered copies" in note for note in altered.notes_)
    assert not np.array_equal(plain.transform(X), altered.transform(X))
    pictures = np.random.default_rng(0).normal(size=(60, 8, 8))
    assert isinstance(ADEC(**FEW).fit(pictures).net_["augment"].augment, Images)
    assert ADEC(**FEW, augmentation=False).fit(pictures).net_["augment"].augment is None


@pytest.mark.parametrize("came", [(6, 8), (6, 8, 3), (3, 6, 8)])
def test_an_altered_picture_has_its_row_back_where_nothing_is_changed(came):
    still = Images(came, rotation=0.0, zoom=0.0, shift=0.0)
    x = torch.randn(5, int(np.prod(came)), generator=torch.Generator().manual_seed(0))
    made = Altered(still, Shape(came))(x, torch.Generator().manual_seed(1))
    torch.testing.assert_close(made, x, rtol=1e-4, atol=1e-5)


def test_pre_training_is_shared_where_all_of_it_is_the_same():
    X, cache = blobs()[0], Cache()
    ADEC(**FEW, cache=cache).fit(X)
    ADEC(**FEW, cache=cache, adversarial=1.0).fit(X)
    assert len(cache.kept) == 1
    ADEC(**FEW, cache=cache, interpolation=0.5).fit(X)
    ADEC(**FEW, cache=cache, augmentation=True, pretrain_augmentation=True).fit(X)
    assert len(cache.kept) == 3


def test_the_papers_preset_trains():
    X, y = blobs()
    model = ADEC(**{**FEW, "pretrain_epochs": 40}, preset="paper").fit(X)
    assert model.settings_["batch_size"] == 32
    assert model.evaluate(y)["acc"] > 0.9


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"augmentation": "some"}, "augmentation='some'"),
        ({"adversarial": -1.0}, "adversarial=-1.0"),
        ({"options": {"noise": 0.1}}, "noise"),
        ({"reconstruction": "zinb"}, "reconstruction='zinb'"),
    ],
)
def test_settings_that_are_refused(given, match):
    with pytest.raises(UsageError, match=match):
        ADEC(**FEW, **given).fit(blobs()[0])


def test_pictures_of_another_size_are_refused():
    with pytest.raises(UsageError, match="side="):
        ADEC(**FEW, options={"side": 0.5}).fit(np.random.default_rng(0).normal(size=(60, 8, 8)))


def test_the_plain_pre_training_of_the_robust_default_is_said():
    X, _ = blobs()
    said = "pre-trained as a plain autoencoder"
    assert any(said in note for note in ADEC(**FEW).fit(X).notes_)
    assert not any(said in note for note in ADEC(**FEW, interpolation=0.5).fit(X).notes_)
    with pytest.raises(UsageError, match="give True or False"):
        ADEC(**FEW, pretrain_augmentation="sometimes").fit(X)
