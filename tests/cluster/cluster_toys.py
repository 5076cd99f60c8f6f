"""Rows around three centres, and small settings: what the tests of this folder share."""

from __future__ import annotations

from typing import Any

import numpy as np

SMALL: dict[str, Any] = {"n_clusters": 3, "hidden": (16,), "n_latent": 2, "pretrain_epochs": 12, "epochs": 4}
SMALL |= {"batch_size": 32, "random_state": 0}


def blobs(n: int = 60, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return rows (n, 4) and the number of their centre (n,)."""
    centres = np.array([[0.0, 0, 0, 0], [6, 6, 0, 0], [0, 6, 6, 0]])
    y = np.arange(n) % 3
    return centres[y] + np.random.default_rng(seed).normal(size=(n, 4)), y
