"""DEC: what learns, what the paper's preset is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from cluster_toys import SMALL, blobs
from sklearn.datasets import load_digits

from mumei.cluster.dec import DEC
from mumei.cluster.pretraining import Cache
from mumei.cluster.terms import KlRunning, KlTarget
from mumei.core.errors import UsageError


def test_the_decoder_is_left_behind_and_the_rest_learns():
    X, _ = blobs()
    cache = Cache()
    model = DEC(**{**SMALL, "tol": 0.0}, cache=cache).fit(X)
    (pretrained,) = cache.kept.values()
    for name, value in model.net_.state_dict().items():
        if not name.startswith("head"):
            assert torch.equal(value, pretrained[name.replace(".", "/", 1)]) == name.startswith("decoder")


def test_the_loss_is_kl_alone_and_it_sharpens():
    model = DEC(**{**SMALL, "epochs": 10, "tol": 0.0}).fit(blobs()[0])
    clustering = [r for r in model.history_ if r["phase"] == "clustering"]
    assert all(r["loss"] == r["kl"] for r in clustering)
    assert [type(t) for t in model.terms(model.settings_)] == [KlRunning]
    assert [type(t) for t in DEC().terms(DEC.presets()["paper"])] == [KlTarget]
    assert model.predict_proba(blobs()[0]).max(1).mean() > 0.7


def test_the_papers_preset_trains():
    X, y = blobs()
    model = DEC(**{**SMALL, "pretrain_epochs": 40}, preset="paper").fit(X)
    assert (model.settings_["optimizer"], model.settings_["noise"]) == ("sgd", 0.2)
    assert model.evaluate(y)["acc"] > 0.9


def test_a_target_that_is_none_is_refused_before_anything_is_trained(monkeypatch):
    monkeypatch.setattr(DEC, "pretrain", lambda *given: pytest.fail("it was trained"))
    with pytest.raises(UsageError, match="Did you mean 'running'"):
        DEC(**SMALL, target="runing").fit(blobs()[0])


@pytest.mark.parametrize(("passes", "together"), [(1, True), (60, False)])
def test_groups_that_run_together_are_spoken_of(passes, together):
    X = load_digits().data[:600].astype(np.float32)
    rate = {"learning_rate": 1e-3, "schedule": "constant", "weights": "uniform", "tol": 0.0}
    shape = {"hidden": (128, 128, 256), "pretrain_epochs": passes, "epochs": 3, "batch_size": 64}
    model = DEC(n_clusters=10, **shape, options=rate, random_state=0).fit(X)
    largest = np.bincount(model.labels_).max() / len(X)
    assert (largest > 0.5) == together
    assert any(f"holds {largest:.0%} of the rows" in note for note in model.notes_) == together
