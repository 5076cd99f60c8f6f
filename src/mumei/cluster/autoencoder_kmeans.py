"""k-means on an autoencoder's code: the baseline of the autoencoder family, as a clusterer of its own.

It is what DEC, IDEC and DCN begin with: the same networks, pre-training, seeds and k-means, and nothing after them. With a shared
cache it costs no second pre-training. Rows are assigned to the nearest centre in the code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from mumei.cluster.assignment import HardCentres
from mumei.cluster.autoencoder import AutoencoderClusterer
from mumei.cluster.drivers import in_blocks
from mumei.cluster.run import Outcome, Run


@dataclass(kw_only=True, eq=False, repr=False)
class AutoencoderKMeans(AutoencoderClusterer):
    """k-means on the code of a pre-trained autoencoder.

    Parameters and attributes are those of `mumei.cluster.autoencoder.AutoencoderClusterer`; settings of the clustering phase
    (`epochs`, `learning_rate`, `refresh`, `tol`) have nothing to act on.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.concatenate([np.zeros((20, 4)), np.ones((20, 4))]) + np.random.default_rng(0).normal(0, 0.1, (40, 4))
    >>> model = AutoencoderKMeans(n_clusters=2, hidden=(16,), n_latent=2, pretrain_epochs=60, random_state=0)
    >>> np.bincount(model.fit_predict(X)).tolist()
    [20, 20]
    """

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "robust": {},
        "paper": {  # DEC's pre-training
            "batch_size": 256,
            "noise": 0.2,
            "pretrain_epochs": None,
            "pretrain_steps": 100_000,
            "pretrain_schedule": "constant",
        },
    }

    def make_head(self, run: Run, latent: int) -> nn.Module:
        """Return centres that are means."""
        return HardCentres(run.n_clusters, latent)

    def drift_terms(self, settings: Any) -> None:
        """Nothing is trained after the autoencoder."""

    def _run(self, run: Run) -> Outcome:
        """Pre-train and cluster from one seed; the loss that runs are compared by is k-means' own."""
        nets = self.make_networks(run)
        history = [{"phase": "pretraining", **record} for record in self.pretrain(nets, run)]
        first = self.initialise(nets, run)
        labels = in_blocks(self.assign, nets, run.rows).argmax(1).numpy()
        z = in_blocks(self.encode, nets, run.rows)
        loss = float((z - nets["head"].centres[labels]).square().sum())  # type: ignore[index]
        return Outcome(nets, labels, first, loss, history, stopped="settled")
