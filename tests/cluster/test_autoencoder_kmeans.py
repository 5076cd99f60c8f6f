"""The autoencoder's baseline is what DEC begins with, and ends there."""

from __future__ import annotations

import numpy as np
from cluster_toys import blobs

from mumei.cluster.autoencoder_kmeans import AutoencoderKMeans
from mumei.cluster.dec import DEC

TINY = {"n_clusters": 3, "hidden": (16,), "n_latent": 2, "pretrain_epochs": 5, "random_state": 1}


def test_it_is_what_dec_begins_with():
    X = blobs()[0]
    model = AutoencoderKMeans(**TINY).fit(X)
    assert np.array_equal(model.labels_, DEC(**TINY, epochs=1).fit(X).initial_labels_)
    assert model.n_iter_ == 0
    assert {r["phase"] for r in model.history_} == {"pretraining"}


def test_new_rows_go_to_the_nearest_centre():
    X = blobs()[0]
    model = AutoencoderKMeans(**TINY).fit(X)
    z, centres = model.transform(X[:20] + 0.1), model.net_["head"].centres.numpy()
    nearest = np.square(z[:, None] - centres).sum(-1).argmin(1)
    assert np.array_equal(model.predict(X[:20] + 0.1), nearest)
