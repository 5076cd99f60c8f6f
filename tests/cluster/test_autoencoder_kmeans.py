"""The autoencoder's baseline is what DEC begins with, and ends there."""

from __future__ import annotations

import numpy as np
import pytest
from cluster_toys import blobs

from mumei.cluster.autoencoder_kmeans import AutoencoderKMeans
from mumei.cluster.dec import DEC
from mumei.core.errors import UsageError

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


@pytest.mark.parametrize(
    ("hidden", "given", "epochs", "small"),
    [(128, "auto", 500, True), (128, "auto", 10, False), (16, "auto", 500, False), (16, "uniform", 1, True)],
)
def test_wide_networks_that_train_for_long_begin_with_small_weights(hidden, given, epochs, small):
    """Uniform weights of 4 inputs lie within 1 / sqrt(4); of 64 or more of He's, normal with deviation 0.7, some lie beyond."""
    options = {"weights": given, "pretrain_learning_rate": 1e-9}
    model = AutoencoderKMeans(n_clusters=3, hidden=(hidden,), pretrain_epochs=epochs, options=options, random_state=0)
    weights = model.fit(blobs()[0]).net_["encoder"].layers[0].weight.detach()
    assert (float(weights.abs().max()) <= 0.5 + 1e-6) == small


def test_weights_that_are_none_are_refused():
    with pytest.raises(UsageError, match="uniform"):
        AutoencoderKMeans(n_clusters=3, options={"weights": "unifrom"}).fit(blobs()[0])
