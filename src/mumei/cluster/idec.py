"""IDEC: improved deep embedded clustering, which keeps the decoder.

Source: Guo, Gao, Liu and Yin 2017, "Improved Deep Embedded Clustering with Local Structure Preservation". DEC's loss beside the
reconstruction's, so that the code keeps what tells rows apart:

    L = L_rec + gamma KL(P || Q),   gamma = 0.1

Departures, `preset="paper"`: the autoencoder is trained end to end, as for DEC; P is refreshed every 140 iterations, the
authors' number for MNIST (30 for USPS, 3 for Reuters-10k: give `refresh=`). The robust default refreshes once an epoch,
lets the rate fall, and starts an emptied cluster anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from mumei.cluster.assignment import target_distribution
from mumei.cluster.autoencoder import AutoencoderClusterer
from mumei.cluster.terms import KlTarget, Reconstruction, Term


@dataclass(kw_only=True, eq=False, repr=False)
class IDEC(AutoencoderClusterer):
    """Deep embedded clustering with the reconstruction kept.

    Parameters
    ----------
    gamma : float, optional
        Weight of the clustering loss beside the mean squared error over rows and columns.
    others
        Those of `mumei.cluster.estimator.Clusterer`; `IDEC.presets()` shows what a preset sets.

    Examples
    --------
    >>> X = np.concatenate([np.zeros((20, 4)), np.ones((20, 4))]) + np.random.default_rng(0).normal(0, 0.1, (40, 4))
    >>> model = IDEC(n_clusters=2, hidden=(16,), n_latent=2, pretrain_epochs=60, epochs=2, random_state=0)
    >>> np.bincount(model.fit_predict(X)).tolist()
    [20, 20]
    """

    gamma: float | None = None

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "robust": {"gamma": 0.1},
        "paper": {
            "batch_size": 256,
            "gamma": 0.1,
            "pretrain_epochs": None,
            "pretrain_steps": 100_000,
            "pretrain_schedule": "constant",
            "schedule": "constant",
            "epochs": None,
            "steps": 20_000,
            "refresh": 140,
            "tol": 0.001,
            "empty": "keep",
        },
    }

    LEAST: ClassVar[dict[str, float]] = {**AutoencoderClusterer.LEAST, "gamma": 0.0}

    def terms(self, settings: Mapping[str, Any]) -> Sequence[Term]:
        """Return L_rec and gamma KL(P || Q)."""
        return [Reconstruction(), KlTarget(settings["gamma"])]

    def remember(self, q: Tensor, settings: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return P."""
        return {"target": target_distribution(q)}
