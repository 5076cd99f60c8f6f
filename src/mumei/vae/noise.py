"""Noise that belongs to a row: a function of the row's values and a seed, not of the rows beside it.

A score by sampling should not change with the company a row is in, and rows should not share their noise, or the error of their
mean would not shrink with their number. So a row's bits are mixed into a number (sums of products of integers, which are exact
in any order), and that number with the place of the noise is put through SplitMix64 (Steele, Lea and Flood 2014) and the normal
distribution's inverse.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mumei.core import seeds

GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def row_noise(x: Tensor, pairs: int, latent: int, seed: int) -> Tensor:
    """Return standard normal noise for each row, in opposite pairs.

    Parameters
    ----------
    x : Tensor (n, n_features), float32
    pairs, latent : int
    seed : int

    Returns
    -------
    Tensor (2 pairs, n, latent), float32
        The second half is the first's negative. Equal rows have equal noise.

    Examples
    --------
    >>> noise = row_noise(torch.tensor([[1.0, 2.0], [1.0, 2.0], [2.0, 1.0]]), 3, 4, 0)
    >>> noise.shape, bool((noise[:, 0] == noise[:, 1]).all()), bool((noise[:, 0] == noise[:, 2]).any())
    (torch.Size([6, 3, 4]), True, False)
    """
    from scipy.special import ndtri

    bits = (x + 0.0).contiguous().numpy().view(np.uint32).astype(np.uint64)  # + 0.0: a negative zero is a zero
    factors = seeds.numpy_generator(seed, "row noise").integers(0, 2**64, bits.shape[1], dtype=np.uint64) | np.uint64(1)
    keys = _mixed((bits * factors).sum(1, dtype=np.uint64))  # (n,), modulo 2^64
    places = _mixed(np.arange(1, pairs * latent + 1, dtype=np.uint64) * GOLDEN)
    words = _mixed(keys[None, :, None] + places.reshape(pairs, 1, latent))
    uniform = ((words >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
    noise = torch.from_numpy(ndtri(uniform).astype(np.float32))
    return torch.cat([noise, -noise])


def _mixed(words: np.ndarray) -> np.ndarray:
    """Return SplitMix64's finaliser of uint64 words."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))
