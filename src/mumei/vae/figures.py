"""Pictures of a latent space as PNG: the manifold, samples, reconstructions. No drawing library is needed.

Source: Kingma and Welling 2013, figures 4 and 5. The manifold decodes a grid of the unit square taken through the inverse of the
normal distribution function, so that each cell holds the same share of the prior. Departures from the paper:

- Cells are taken at their middles, since the edges of the square lie at infinity.
- With more than two latents the two dimensions of the largest KL are walked and the others held at 0, their prior's mean.
- As in the paper what is shown is the decoder's mean, not a draw from p(x|z).

A PNG here is one header, one zlib stream of unfiltered rows, one end mark (ISO/IEC 15948).
"""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from mumei.core.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

GAP = 96  # the grey between pictures of a grid


def png(picture: NDArray[np.uint8]) -> bytes:
    r"""Return a picture as a PNG file.

    Parameters
    ----------
    picture : ndarray (height, width) or (height, width, 3), uint8
        Grey or red, green, blue.

    Raises
    ------
    UsageError
        Another shape or type.

    Examples
    --------
    >>> png(np.zeros((2, 3), np.uint8))[:8]
    b'\x89PNG\r\n\x1a\n'
    """
    colours = picture.ndim == 3 and picture.shape[2] == 3
    if picture.dtype != np.uint8 or not (picture.ndim == 2 or colours) or 0 in picture.shape:
        raise UsageError(
            f"a picture of shape {picture.shape} and type {picture.dtype} cannot be written; give (height, width) or (height, "
            "width, 3) of uint8."
        )
    height, width = picture.shape[:2]
    rows = np.zeros((height, 1 + picture[0].size), np.uint8)  # the first byte says how a row is filtered: 0, not at all
    rows[:, 1:] = picture.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2 if colours else 0, 0, 0, 0)
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 9)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, content) for kind, content in chunks)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def data_uri(picture: NDArray[np.uint8]) -> str:
    """Return a picture as the address of an HTML image that needs no file."""
    return "data:image/png;base64," + base64.b64encode(png(picture)).decode("ascii")


def shades(values: NDArray[Any], low: float = 0.0, high: float = 1.0) -> NDArray[np.uint8]:
    """Return values as greys: `low` and less is 0, `high` and more is 255.

    Examples
    --------
    >>> shades(np.array([-1.0, 0.0, 0.5, 2.0])).tolist()
    [0, 0, 128, 255]
    """
    scale = 255.0 / (high - low) if high > low else 0.0
    return np.rint(np.clip((np.asarray(values, np.float64) - low) * scale, 0, 255)).astype(np.uint8)


def image_shape(text: str, n_features: int) -> tuple[int, int]:
    """Return (height, width) from "28x28".

    Raises
    ------
    UsageError
        The text has another form, or another number of pixels than the data has features.

    Examples
    --------
    >>> image_shape("20x28", 560)
    (20, 28)
    """
    parts = text.lower().replace("×", "x").split("x")
    if len(parts) != 2 or not all(p.isdecimal() and 0 < int(p) < 1 << 20 for p in parts):
        raise UsageError(f"an image shape of {text!r} is not understood; give height x width, such as 28x28.")
    height, width = int(parts[0]), int(parts[1])
    if height * width != n_features:
        raise UsageError(
            f"images of {height}x{width} have {height * width} pixels and a row has {n_features} features; give a height and "
            "width whose product is that."
        )
    return height, width


def grid(pictures: NDArray[np.uint8], columns: int, gap: int = 1) -> NDArray[np.uint8]:
    """Lay pictures out row by row.

    Parameters
    ----------
    pictures : ndarray (n, height, width), uint8
    columns : int
        Pictures a row; the last row may be short.
    gap : int
        Pixels between pictures, of one grey.

    Returns
    -------
    ndarray, uint8
    """
    n, height, width = pictures.shape
    rows = -(-n // columns)
    whole = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap), GAP, np.uint8)
    for i, picture in enumerate(pictures):
        top, left = i // columns * (height + gap), i % columns * (width + gap)
        whole[top : top + height, left : left + width] = picture
    return whole


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


def plane(means: NDArray[Any], seed: int = 0) -> tuple[NDArray[np.float64], str]:
    """Return two coordinates a row for the latent map, and in words what they are.

    Parameters
    ----------
    means : ndarray (n, latent)
        Posterior means.
    seed : int
        Of the principal components of wide latent spaces.

    Returns
    -------
    ndarray (n, 2), str
        The latents themselves where there are two; one against its order of size where there is one; else the first two
        principal components.
    """
    means = np.asarray(means, np.float64)
    n, latent = means.shape
    if latent == 2:
        return means, "the two latent dimensions"
    if latent == 1:
        rank = np.empty(n)
        rank[np.argsort(means[:, 0], kind="stable")] = (np.arange(n) + 0.5) / n
        return np.c_[means[:, 0], rank], "the latent dimension, and the share of rows below it"
    if n < 2:
        return means[:, :2], "the first two latent dimensions"
    from sklearn.decomposition import PCA

    analysis = PCA(2, random_state=seed)
    spread = float(means.var(0).sum())
    xy = analysis.fit_transform(means) if spread > 0 else np.zeros((n, 2))
    share = float(analysis.explained_variance_ratio_.sum()) if spread > 0 else 1.0
    return xy, f"the first two principal components of {latent} posterior means ({100 * share:.0f} % of their variance)"
