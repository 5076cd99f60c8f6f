"""Images among rows: pixels in a row (b, pixels), as they came, to images (b, channels, h, w) and back."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from mumei.cluster.augment import channels_first


class Shape:
    """How images came: (h, w), (h, w, c) or (c, h, w).

    Examples
    --------
    >>> import torch
    >>> shape, x = Shape((4, 5, 3)), torch.arange(120.0).view(2, 60)
    >>> shape.images(x).shape, shape.rows(shape.images(x)).equal(x)
    (torch.Size([2, 3, 4, 5]), True)
    """

    def __init__(self, came: Sequence[int]):
        self.came, self.first = tuple(came), channels_first(came)
        self.last = len(self.came) == 3 and self.first != self.came

    def images(self, x: Tensor) -> Tensor:
        """Return rows (b, pixels) as images (b, channels, h, w)."""
        found = x.reshape(len(x), *self.came)
        if len(self.came) == 2:
            return found[:, None]
        return found.permute(0, 3, 1, 2) if self.last else found

    def rows(self, images: Tensor) -> Tensor:
        """Return images (b, channels, h, w) as rows (b, pixels)."""
        return (images.permute(0, 2, 3, 1) if self.last else images).reshape(len(images), -1)
