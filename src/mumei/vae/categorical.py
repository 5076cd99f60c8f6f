"""Codes given z: each feature one of its own number of classes, by logits.

A row holds whole numbers 0 .. classes_j - 1; the encoder sees them as one-hot columns. Kingma and Welling 2013 have no
categorical data; their method needs no more than a likelihood.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from mumei.core.errors import DataError, UsageError
from mumei.vae.likelihoods import Likelihood

if TYPE_CHECKING:
    import numpy as np


class Categorical(Likelihood):
    """Independent features, feature j with `classes[j]` classes.

    Parameters
    ----------
    n_features : int
    classes : sequence of int, or one int for all
        At least 2 each.
    """

    name = "categorical"

    def __init__(self, n_features: int, classes: int | Sequence[int]):
        every = [classes] * n_features if isinstance(classes, int) else [int(c) for c in classes]
        if len(every) != n_features or min(every, default=0) < 2:
            raise UsageError(
                f"classes={classes!r} does not fit {n_features} features: give a number of 2 or more for each feature."
            )
        super().__init__(n_features, sum(every))
        self.classes = every
        self.encoder_features = self.outputs

    def features(self, x: Tensor) -> Tensor:
        """Return one-hot columns (n, outputs)."""
        return torch.cat([F.one_hot(x[..., j].long(), c) for j, c in enumerate(self.classes)], -1).float()

    def _blocks(self, out: Tensor) -> list[Tensor]:
        return [torch.log_softmax(part, -1) for part in out.split(self.classes, -1)]

    def log_prob(self, out: Tensor, x: Tensor) -> Tensor:
        """Return log p(x|z) (..., n)."""
        logs = torch.cat(self._blocks(out), -1)
        return (logs * self.features(x)).sum(-1)

    def mean(self, out: Tensor, library: Tensor | None = None) -> Tensor:
        """Return the most probable code of each feature: codes have no mean."""
        return torch.stack([part.argmax(-1) for part in self._blocks(out)], -1).float()

    def sample(self, out: Tensor, generator: torch.Generator, library: Tensor | None = None) -> Tensor:
        """Draw codes."""
        drawn = []
        for part in self._blocks(out):
            flat = torch.multinomial(part.exp().reshape(-1, part.shape[-1]), 1, generator=generator)
            drawn.append(flat.reshape(part.shape[:-1]))
        return torch.stack(drawn, -1).float()

    def check(self, x: np.ndarray) -> None:
        """Raise `DataError` for a value that is no code of its feature."""
        import numpy as np

        bad = (x < 0) | (x != np.floor(x)) | (x >= np.asarray(self.classes))
        if bad.any():
            row, column = (int(i[0]) for i in np.nonzero(bad))
            raise DataError(
                f"row {row}, column {column} holds {float(x[row, column]):.6g}; a categorical feature of "
                f"{self.classes[column]} classes holds whole numbers from 0 to {self.classes[column] - 1}."
            )

    def config(self) -> dict[str, Any]:
        """Return its name and classes."""
        return {"name": self.name, "classes": self.classes}
