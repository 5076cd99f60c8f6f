"""Pictures of a latent space: the manifold, samples, reconstructions.

Source: Kingma and Welling 2013, figures 4 and 5. The manifold decodes a grid of the unit square taken through the inverse of the
normal distribution function, so that each cell holds the same share of the prior. Departures from the paper:

- Cells are taken at their middles, since the edges of the square lie at infinity.
- With more than two latents the two dimensions of the largest KL are walked and the others held at 0, their prior's mean.
- As in the paper what is shown is the decoder's mean, not a draw from p(x|z).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from mumei.core.pictures import grid

if TYPE_CHECKING:
    from numpy.typing import NDArray


def chosen_dimensions(kl_per_dimension: Sequence[float]) -> tuple[int, int] | tuple[int]:
    """Return the two dimensions of the largest KL, in their own order; the only one where there is one.

    Examples
    --------
    >>> chosen_dimensions([0.1, 3.0, 0.0, 2.5])
    (1, 3)
    """
    largest = sorted(range(len(kl_per_dimension)), key=lambda j: (-kl_per_dimension[j], j))[:2]
    return tuple(sorted(largest))  # type: ignore[return-value]


def manifold(latent: int, dimensions: Sequence[int], steps: int = 20) -> Tensor:
    """Return the z of a grid through the inverse normal distribution function.

    Parameters
    ----------
    latent : int
        Width of z.
    dimensions : one or two ints
        The first is walked from left to right, the second from the bottom up; the others are 0.
    steps : int
        Cells along each.

    Returns
    -------
    Tensor (steps ** len(dimensions), latent)
        Row by row from the top left.

    Examples
    --------
    >>> manifold(2, (0, 1), steps=2)
    tensor([[-0.6745,  0.6745],
            [ 0.6745,  0.6745],
            [-0.6745, -0.6745],
            [ 0.6745, -0.6745]])
    """
    middles = (torch.arange(steps, dtype=torch.float64) + 0.5) / steps
    across = torch.special.ndtri(middles)
    z = torch.zeros(steps ** len(dimensions), latent, dtype=torch.float64)
    if len(dimensions) == 1:
        z[:, dimensions[0]] = across
    else:
        z[:, dimensions[0]] = across.repeat(steps)
        z[:, dimensions[1]] = across.flip(0).repeat_interleave(steps)
    return z.float()


def decode_means(net: Any, z: Tensor, library: float | None = None, covariates: Tensor | None = None) -> Tensor:
    """Return E[x|z] (n, n_features) without gradients.

    Parameters
    ----------
    net : object with `likelihood` and `decode`
    z : Tensor (n, latent)
    library : float, optional
        For counts: the library size of all of them.
    covariates : Tensor (covariates,) or (n, covariates), optional
    """
    with torch.no_grad():
        out = net.decode(z) if covariates is None else net.decode(z, covariates)
        sizes = torch.full((len(z),), float(library)) if library is not None and net.likelihood.counts else None
        return net.likelihood.mean(out, sizes)


def beside(first: NDArray[np.uint8], second: NDArray[np.uint8], pairs: int) -> NDArray[np.uint8]:
    """Lay inputs and reconstructions out in pairs of columns, `pairs` a row.

    Parameters
    ----------
    first, second : ndarray (n, height, width), uint8
    pairs : int

    Returns
    -------
    ndarray, uint8
    """
    joined = np.stack([first, second], 1)  # (n, 2, height, width)
    n, _, height, width = joined.shape
    couples = np.full((n, height, 2 * width + 1), 0, np.uint8)
    couples[:, :, :width], couples[:, :, width + 1 :] = joined[:, 0], joined[:, 1]
    return grid(couples, pairs, gap=3)
