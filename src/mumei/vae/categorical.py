"""Codes given z: each feature one of its own number of classes, by logits.

A row holds whole numbers 0 .. classes_j - 1, not one-hot columns; the encoder sees them as one-hot columns, and the decoder
gives one logit for each of those, feature after feature:

    log p(x|z) = sum_j [logit of x_j - logsumexp of the logits of feature j]

Kingma and Welling 2013 have no categorical data; their method needs no more than a likelihood.

Features with equal numbers of classes are worked out together: there is one step for each different number, not for each feature.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

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

    Raises
    ------
    UsageError
        Not one whole number of 2 or more for each feature.

    Examples
    --------
    >>> import torch
    >>> Categorical(2, [3, 2]).features(torch.tensor([[2.0, 0.0]])).tolist()
    [[0.0, 0.0, 1.0, 1.0, 0.0]]
    """

    name = "categorical"
    starts: Tensor

    def __init__(self, n_features: int, classes: int | Sequence[int]):
        every = _whole_numbers(classes, n_features)
        super().__init__(n_features, sum(every))
        self.classes = every
        self.encoder_features = self.outputs
        ends = torch.tensor(every).cumsum(0)
        self.register_buffer("starts", ends - torch.tensor(every), persistent=False)

    def _positions(self, x: Tensor) -> Tensor:
        return self.starts + x.long()

    def _groups(self, out: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return, for each number of classes c, the features with it (k,) and their logits (..., k, c)."""
        found = []
        for count in sorted(set(self.classes)):
            features = torch.tensor([j for j, c in enumerate(self.classes) if c == count], device=out.device)
            if len(features) == self.n_features:
                return [(features, out.unflatten(-1, (self.n_features, count)))]
            columns = self.starts[features][:, None] + torch.arange(count, device=out.device)
            found.append((features, out.index_select(-1, columns.flatten()).unflatten(-1, columns.shape)))
        return found

    def features(self, x: Tensor) -> Tensor:
        """Return one-hot columns (n, outputs), float32."""
        one_hot = torch.zeros((*x.shape[:-1], self.outputs), device=x.device)
        return one_hot.scatter_(-1, self._positions(x), 1.0)

    def log_prob(self, out: Tensor, x: Tensor) -> Tensor:
        """Return log p(x|z) (..., n)."""
        positions = self._positions(x).expand(*out.shape[:-1], self.n_features)
        totals = [torch.logsumexp(logits, -1).sum(-1) for _, logits in self._groups(out)]
        return out.gather(-1, positions).sum(-1) - torch.stack(totals).sum(0)

    def probabilities(self, out: Tensor) -> Tensor:
        """Return the probability of every class (..., n, outputs), feature after feature."""
        return torch.cat([torch.softmax(part, -1) for part in out.split(self.classes, -1)], -1)

    def mean(self, out: Tensor, library: Tensor | None = None) -> Tensor:
        """Return the most probable code of each feature (..., n, n_features): codes have no mean. See `probabilities`."""
        codes = out.new_empty((*out.shape[:-1], self.n_features))
        for features, logits in self._groups(out):
            codes[..., features] = logits.argmax(-1).to(out.dtype)
        return codes

    def sample(self, out: Tensor, generator: torch.Generator, library: Tensor | None = None) -> Tensor:
        """Draw codes (..., n, n_features)."""
        codes = out.new_empty((*out.shape[:-1], self.n_features))
        for features, logits in self._groups(out):
            chances = torch.softmax(logits, -1)
            drawn = torch.multinomial(chances.reshape(-1, chances.shape[-1]), 1, generator=generator)
            codes[..., features] = drawn.reshape(chances.shape[:-1]).to(out.dtype)
        return codes

    def check(self, x: np.ndarray) -> None:
        """Raise `DataError` for a value that is no code of its feature, with its row and column."""
        import numpy as np

        bad = (x < 0) | (x != np.floor(x)) | (x >= np.asarray(self.classes))
        if bad.any():
            row, column = (int(i) for i in np.unravel_index(int(bad.argmax()), bad.shape))
            raise DataError(
                f"row {row}, column {column} holds {float(x[row, column]):.6g}; a categorical feature of "
                f"{self.classes[column]} classes holds whole numbers from 0 to {self.classes[column] - 1}."
            )

    def config(self) -> dict[str, Any]:
        """Return its name and classes."""
        return {"name": self.name, "classes": list(self.classes)}


def _whole_numbers(classes: Any, n_features: int) -> list[int]:
    try:
        given = list(classes) if hasattr(classes, "__len__") else [classes] * n_features
        every = [int(c) for c in given]
    except (TypeError, ValueError):
        given, every = [], []
    if len(every) != n_features or every != given or min(every, default=0) < 2:
        raise UsageError(
            f"classes={classes!r} does not fit {n_features} features: give a number of 2 or more for each feature."
        )
    return every
