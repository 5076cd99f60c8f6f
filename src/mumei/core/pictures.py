"""Pictures as PNG and as the addresses of HTML images, and the plane that a map is drawn in. No drawing library is needed.

A PNG here is one header, one zlib stream of unfiltered rows, one end mark (ISO/IEC 15948).
"""

from __future__ import annotations

import base64
import struct
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from mumei.core.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

GAP = 96  # the grey between pictures of a grid
BLUE = (11, 102, 195)


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


def tints(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Return shares in [0, 1] as red, green and blue: white for 0, the pages' blue for 1.

    Examples
    --------
    >>> tints(np.array([0.0, 1.0])).tolist()
    [[255, 255, 255], [11, 102, 195]]
    """
    share = np.clip(np.asarray(values, np.float64), 0, 1)[..., None]
    return np.rint(255 + share * (np.array(BLUE) - 255)).astype(np.uint8)


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
