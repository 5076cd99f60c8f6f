"""Shapes of models by size: the 50 configurations of Hoffmann's Table A9, and the one nearest to a wanted size."""

from __future__ import annotations

import math

from mumei.scaling.flops import Shape
from mumei.scaling.laws import positive

# Parameters in millions as published, d_model, ffw_size, kv_size, heads, layers (Hoffmann and others 2022, Table A9).
TABLE_A9 = (
    (44, 512, 2048, 64, 8, 8),
    (57, 576, 2304, 64, 9, 9),
    (74, 640, 2560, 64, 10, 10),
    (90, 640, 2560, 64, 10, 13),
    (106, 640, 2560, 64, 10, 16),
    (117, 768, 3072, 64, 12, 12),
    (140, 768, 3072, 64, 12, 15),
    (163, 768, 3072, 64, 12, 18),
    (175, 896, 3584, 64, 14, 14),
    (196, 896, 3584, 64, 14, 16),
    (217, 896, 3584, 64, 14, 18),
    (251, 1024, 4096, 64, 16, 16),
    (278, 1024, 4096, 64, 16, 18),
    (306, 1024, 4096, 64, 16, 20),
    (425, 1280, 5120, 128, 10, 18),
    (489, 1280, 5120, 128, 10, 21),
    (509, 1408, 5632, 128, 11, 18),
    (552, 1280, 5120, 128, 10, 24),
    (587, 1408, 5632, 128, 11, 21),
    (632, 1536, 6144, 128, 12, 19),
    (664, 1408, 5632, 128, 11, 24),
    (724, 1536, 6144, 128, 12, 22),
    (816, 1536, 6144, 128, 12, 25),
    (893, 1792, 7168, 128, 14, 20),
    (1018, 1792, 7168, 128, 14, 23),
    (1143, 1792, 7168, 128, 14, 26),
    (1266, 2048, 8192, 128, 16, 22),
    (1424, 2176, 8704, 128, 17, 22),
    (1429, 2048, 8192, 128, 16, 25),
    (1593, 2048, 8192, 128, 16, 28),
    (1609, 2176, 8704, 128, 17, 25),
    (1731, 2304, 9216, 128, 18, 24),
    (1794, 2176, 8704, 128, 17, 28),
    (2007, 2304, 9216, 128, 18, 28),
    (2283, 2304, 9216, 128, 18, 32),
    (2298, 2560, 10240, 128, 20, 26),
    (2639, 2560, 10240, 128, 20, 30),
    (2980, 2560, 10240, 128, 20, 34),
    (3530, 2688, 10752, 128, 22, 36),
    (3802, 2816, 11264, 128, 22, 36),
    (4084, 2944, 11776, 128, 22, 36),
    (4516, 3072, 12288, 128, 24, 36),
    (6796, 3584, 14336, 128, 28, 40),
    (9293, 4096, 16384, 128, 32, 42),
    (11452, 4352, 17408, 128, 32, 47),
    (12295, 4608, 18432, 128, 36, 44),
    (12569, 4608, 18432, 128, 32, 47),
    (13735, 4864, 19456, 128, 32, 47),
    (14940, 4992, 19968, 128, 32, 49),
    (16183, 5120, 20480, 128, 40, 47),
)


def nearest(params: float) -> tuple[float, Shape, bool]:
    """Return (published size, shape, whether the size lies within the table) of the configuration nearest by ratio.

    Beyond the table's largest size the shape is scaled: width and depth grow alike, at 128 a head.

    Examples
    --------
    >>> size, shape, inside = nearest(1.0e9)
    >>> size / 1e6, shape.d_model, shape.n_layers, inside
    (1018.0, 1792, 23, True)
    """
    positive(params=params)
    largest = TABLE_A9[-1]
    if params > 1.1e6 * largest[0]:
        return _scaled(params)
    row = min(TABLE_A9, key=lambda r: abs(math.log(1e6 * r[0] / params)))
    return 1e6 * row[0], Shape(*row[1:]), params >= 0.9e6 * TABLE_A9[0][0]


def _scaled(params: float) -> tuple[float, Shape, bool]:
    """Return a shape of 12 l d^2 parameters with 8192 wide at 80 layers (Chinchilla's own) as its proportion."""
    found = []
    for heads in range(40, 1025, 8):
        width = 128 * heads
        layers = max(1, round((params - 32_000 * width) / (12 * width * width)))
        shape = Shape(width, 4 * width, 128, heads, layers)
        off = abs(math.log(shape.params() / params)) + 0.3 * abs(math.log(width / layers / (8192 / 80)))
        found.append((off, shape))
    shape = min(found, key=lambda pair: pair[0])[1]
    return float(shape.params()), shape, False
