"""One run of a method, from one seed: what its hooks get, and what comes out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from mumei.cluster.pretraining import Cache
from mumei.core.batches import Order, Rows
from mumei.core.config import TrainConfig
from mumei.core.errors import UsageError
from mumei.core.progress import SILENT, Progress

CHECKPOINT_SECONDS = 60.0
# Steps that "auto" epochs aim at, and the least and most epochs, by phase.
LENGTHS = {"pretrain_": (2000, 12, 200), "": (1000, 10, 100)}


@dataclass
class Run:
    """What the hooks of a method get.

    Parameters
    ----------
    settings : mapping
        All of them: the preset's, with what the user gave in their place. "width" is `width`.
    seed : int
        Of this run; draw children by name (`mumei.core.seeds`).
    n_clusters, width : int
        k, and columns of the prepared rows.
    image_shape : tuple or None
        (h, w), (h, w, c) or (c, h, w), as the images came; rows are written out in that order.
    arrays : Tensor or CSR
        Prepared rows (n, width); None where networks are only rebuilt.
    cache, out, progress
        For pre-training, checkpoints (a folder of this run) and whoever looks on.
    """

    settings: Mapping[str, Any]
    seed: int
    n_clusters: int
    width: int
    image_shape: tuple[int, ...] | None = None
    arrays: Any = None
    cache: Cache | None = None
    out: Path | None = None
    progress: Progress = SILENT

    @property
    def rows(self) -> Rows:
        """The prepared rows, as the training loop takes them."""
        return Rows(self.arrays)

    def folder(self, name: str) -> Path | None:
        """Return the folder of one phase's checkpoints, or None."""
        return None if self.out is None else self.out / name

    def config(self, phase: str = "", *, seed: int) -> TrainConfig:
        """Return the training configuration of a phase: "pretrain_" or "" for the clustering.

        It is read from the settings `epochs`, `steps`, `learning_rate`, `optimizer`, `schedule` of that phase's prefix, and
        from `batch_size`, `momentum`, `clip`, `precision`. "auto" epochs aim at a number of steps: see `LENGTHS`.
        """
        s, batches = self.settings, self._batches()
        epochs = s[f"{phase}epochs"]
        if epochs == "auto":
            aim, least, most = LENGTHS[phase]
            epochs = int(np.clip(-(-aim // batches), least, most))
        elif isinstance(epochs, str):
            raise UsageError(f"{phase}epochs={epochs!r} is not allowed; give a number of passes or 'auto'.")
        config = TrainConfig(
            epochs=epochs,
            max_steps=s[f"{phase}steps"],
            batch_size=s["batch_size"],
            optimizer=s[f"{phase}optimizer"],
            learning_rate=s[f"{phase}learning_rate"],
            momentum=s["momentum"],
            weight_decay=s["weight_decay"],
            schedule=s[f"{phase}schedule"],
            clip=s["clip"],
            precision=s["precision"],
            drop_last=self._drops(),
            seed=seed,
            checkpoint_seconds=CHECKPOINT_SECONDS,
        )
        if config.schedule == "constant":
            return config
        return replace(config, warmup_steps=max(1, config.total_steps(batches) // 10))

    def steps(self, phase: str = "") -> int:
        """Return the most steps that a phase may take."""
        return self.config(phase, seed=0).total_steps(self._batches())

    def _drops(self) -> bool:
        return self.settings["drop_last"] and self.arrays.shape[0] >= self.settings["batch_size"]

    def _batches(self) -> int:
        return Order(self.arrays.shape[0], self.settings["batch_size"], 0, drop_last=self._drops()).batches


@dataclass
class Outcome:
    """What one run gives: networks, labels (n,), labels of the initial clustering, the last loss, records, counts."""

    nets: dict[str, nn.Module]
    labels: np.ndarray
    first: np.ndarray | None
    loss: float
    history: list[dict[str, Any]]
    counts: dict[str, int] = field(default_factory=dict)
    stopped: str = ""
