"""DCN: deep clustering network, k-means and an autoencoder trained in turns.

Source: Yang, Fu, Sidiropoulos and Hong 2017, "Towards K-means-friendly Spaces: Simultaneous Deep Learning and Clustering":

    L = |x_i - x^_i|^2 + (lam / 2) |z_i - M s_i|^2

For each mini-batch the network takes a gradient step with s_i the nearest centre; then the centres are moved towards the
batch's rows, m_k <- m_k - (m_k - z_i) / c_k, with c_k the number of rows that the cluster has had. Assignment is hard, so
`predict_proba` gives 0 and 1.

Departures, `preset="paper"`: one learning rate of Adam 1e-3 in pre-training, SGD 0.05 afterwards, both on the sum of squares
over the columns divided by their number (so lam is divided too); assignments and centres take the codes of the batch from
before the network's step, which spares a second pass; c_k starts at the size of the k-means cluster, so that the first rows do
not throw the centres about. The robust default is Adam with a falling rate and lam = 1: the centres' pull is felt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from mumei.cluster.assignment import HardCentres
from mumei.cluster.autoencoder import AutoencoderClusterer
from mumei.cluster.run import Run
from mumei.cluster.terms import Pull, Reconstruction, Term


@dataclass(kw_only=True, eq=False, repr=False)
class DCN(AutoencoderClusterer):
    """k-means and an autoencoder in turns.

    Parameters
    ----------
    lam : float, optional
        Weight of half the squared distance to the nearest centre, beside the squared error of a row summed over its columns.
    others
        Those of `mumei.cluster.estimator.Clusterer`; `DCN.presets()` shows what a preset sets.

    Examples
    --------
    >>> X = np.concatenate([np.zeros((20, 4)), np.ones((20, 4))]) + np.random.default_rng(0).normal(0, 0.1, (40, 4))
    >>> model = DCN(n_clusters=2, hidden=(16,), n_latent=2, pretrain_epochs=60, epochs=2, random_state=0)
    >>> np.bincount(model.fit_predict(X)).tolist()
    [20, 20]
    """

    lam: float | None = None

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "robust": {"lam": 1.0},
        "paper": {
            "hidden": (2000, 1000, 500, 500, 250),
            "n_latent": 50,
            "lam": 0.05,
            "batch_size": 128,
            "pretrain_epochs": 50,
            "pretrain_schedule": "constant",
            "epochs": 50,
            "optimizer": "sgd",
            "learning_rate": 0.05,
            "momentum": 0.9,
            "schedule": "constant",
            "tol": 0.0,
            "empty": "keep",
        },
    }

    LEAST: ClassVar[dict[str, float]] = {**AutoencoderClusterer.LEAST, "lam": 0.0}

    def make_head(self, run: Run, latent: int) -> nn.Module:
        """Return centres that are running means."""
        return HardCentres(run.n_clusters, latent)

    def terms(self, settings: Mapping[str, Any]) -> Sequence[Term]:
        """Return the squared error and (lam / 2) |z - M s|^2, both divided by the number of columns."""
        return [Reconstruction(), Pull(0.5 * settings["lam"] / settings["width"])]
