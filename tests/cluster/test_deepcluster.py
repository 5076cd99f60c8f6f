"""DeepCluster: whitening, pseudo-labels and their weights, a classifier that starts anew, labels by a last k-means."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from cluster_toys import blobs
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score

import mumei
from mumei.cluster.augment import Tables
from mumei.cluster.augmented import Pairs
from mumei.cluster.deepcluster import DeepCluster, PseudoLabels, Relabelling, Whitening
from mumei.cluster.metrics import accuracy
from mumei.core import seeds
from mumei.core.errors import UsageError

SMALL: dict[str, Any] = {"n_clusters": 3, "hidden": (16,), "epochs": 4, "batch_size": 32, "random_state": 0}


def some(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_whitening_is_scikit_learns_to_length_one():
    features = some(50, 6) @ some(6, 6, seed=1) + 3.0
    found = Whitening(6, 4).fit(features).numpy()
    expected = PCA(4, whiten=True).fit_transform(features.double().numpy())
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(np.abs(found), np.abs(expected), atol=1e-4)
    assert np.sign(found * expected).min(0) == pytest.approx(np.sign(found * expected).max(0))


def test_directions_without_variance_are_left_out():
    features = torch.cat([some(50, 2), torch.ones(50, 3)], 1)
    whitening = Whitening(5, 5)
    found = whitening.fit(features)
    assert torch.isfinite(found).all()
    assert int((whitening.axes.norm(dim=0) > 0).sum()) == 2
    assert torch.isfinite(Whitening(3, 3).fit(torch.ones(4, 3))).all()


def test_pseudo_labels_weigh_clusters_alike():
    x, pseudo = some(6, 4), torch.tensor([0, 1, 1, 2, 0, 1])
    weight = torch.tensor([1 / 2, 1 / 3, 1 / 3, 1.0, 1 / 2, 1 / 3])
    rows = torch.tensor([5, 0, 3])
    at: Any = SimpleNamespace(rows=rows, rng=torch.Generator().manual_seed(5))
    encoder, head = torch.nn.Linear(4, 5), torch.nn.Linear(5, 3)
    nets = {"augment": Tables(), "encoder": encoder, "head": head}
    found = PseudoLabels()(Pairs(nets, (x[rows],), at, {"pseudo": pseudo, "weight": weight}))
    logits = head(encoder(Tables()(x[rows], torch.Generator().manual_seed(5)))).detach().double().numpy()
    costs = [-np.log(np.exp(row[c]) / np.exp(row).sum()) for row, c in zip(logits, (1, 0, 2), strict=True)]
    expected = (costs[0] / 3 + costs[1] / 2 + costs[2]) / (1 / 3 + 1 / 2 + 1)
    np.testing.assert_allclose(float(found.detach()), expected, rtol=1e-5)


def test_each_refresh_relabels_and_starts_the_classifier_anew(monkeypatch):
    seen = []
    refresh = Relabelling.refresh

    def spy(self, batch, at):
        done = refresh(self, batch, at)
        state = at.optimizers["all"].state
        kept = [v.abs().sum() for p in self.nets["head"].parameters() for v in state.get(p, {}).values()]
        seen.append((dict(self.memory), self.nets["head"].layers[0].weight.detach().clone(), kept))
        return done

    monkeypatch.setattr(Relabelling, "refresh", spy)
    DeepCluster(**SMALL).fit(blobs()[0])
    assert len(seen) == 4
    sizes = np.bincount(seen[0][0]["pseudo"])
    assert len(sizes) == 6  # one for ten rows, where thirty were asked for
    np.testing.assert_allclose(seen[0][0]["weight"], 1 / sizes[seen[0][0]["pseudo"]], rtol=1e-6)
    assert all(float(w.std()) < 0.02 for _, w, _ in seen)
    assert [len(kept) for _, _, kept in seen] == [0, 6, 6, 6]  # Adam's step and means, of weight and bias
    assert not any(float(v) for _, _, kept in seen for v in kept)
    assert not torch.equal(seen[0][1], seen[1][1])


def test_labels_are_k_means_of_the_last_features_under_lasting_numbers():
    X, y = blobs(120)
    model = DeepCluster(**{**SMALL, "epochs": 10}, components=2).fit(X)
    z = model.transform(X)
    np.testing.assert_allclose(np.linalg.norm(z, axis=1), 1.0, rtol=1e-5)
    again = KMeans(3, n_init=20, random_state=0).fit_predict(z)
    assert adjusted_rand_score(again, model.labels_) > 0.99
    nearest = ((z[:, None] - model.net_["centres"].centres.numpy()) ** 2).sum(-1).argmin(1)
    assert np.array_equal(nearest, model.labels_)
    assert np.array_equal(model.predict(X), model.labels_)
    assert accuracy(y, model.labels_) > 0.9
    assert min(r["changed"] for r in model.history_[1:]) < 0.1


def test_it_comes_back_from_its_folder(tmp_path):
    X, _ = blobs()
    model = DeepCluster(**SMALL, over=5).fit(X)
    loaded = mumei.load(model.save(tmp_path / "model"))
    assert np.array_equal(loaded.predict_proba(X), model.predict_proba(X))


def test_the_papers_preset_trains_on_images():
    X = np.random.default_rng(seeds.seed32(0)).integers(0, 256, (60, 8, 8), dtype=np.uint8)
    model = DeepCluster(n_clusters=3, preset="paper", epochs=2, convolutions=(4, "pool", 6), random_state=0).fit(X)
    assert (model.settings_["optimizer"], model.settings_["weight_decay"]) == ("sgd", 1e-5)
    assert np.array_equal(model.predict(X), model.labels_)


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"over": 2}, "over=2"),
        ({"over": "many"}, "over='many'"),
        ({"components": 0}, "components=0"),
        ({"components": "x"}, "components='x'"),
    ],
)
def test_arguments_that_are_refused(given, match):
    with pytest.raises(UsageError, match=match):
        DeepCluster(**{**SMALL, **given}).fit(blobs()[0])
