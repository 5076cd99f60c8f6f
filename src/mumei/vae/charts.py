"""The KL of each latent dimension as inline SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence

from mumei.core.charts import WIDTH, frame, label, ticks

BARS = 60  # most bars drawn


def bars(values: Sequence[float], active: Sequence[bool], most: int = BARS) -> str:
    """Draw the KL of each dimension, largest first, inactive ones pale.

    Parameters
    ----------
    values : sequence of float
        Nats a row.
    active : sequence of bool
    most : int
        Dimensions drawn.
    """
    order = sorted(range(len(values)), key=lambda j: (-values[j], j))[:most]
    top = max([values[j] for j in order] + [1e-9])
    left, base, height = 56, 196, 176
    step = min(46.0, (WIDTH - left - 8) / max(len(order), 1))
    parts = [frame("KL of each latent dimension, in nats", base + 54)]
    for mark in ticks(0, top, 4):
        y = base - mark / top * height
        parts.append(f'<path class="rule" d="M{left},{y:.1f}H{WIDTH - 8}"/>')
        parts.append(f'<text x="{left - 6}" y="{y + 5:.1f}" class="end">{label(mark)}</text>')
    every = max(1, math.ceil(26 / step))
    for place, j in enumerate(order):
        x, tall = left + place * step, max(values[j], 0) / top * height
        kind = "bar" if active[j] else "bar off"
        parts.append(
            f'<rect class="{kind}" x="{x + 0.1 * step:.1f}" y="{base - tall:.1f}" width="{0.8 * step:.1f}" height="{tall:.1f}">'
            f"<title>dimension {j}: {values[j]:.3f} nats{'' if active[j] else ', not active'}</title></rect>"
        )
        if place % every == 0:
            parts.append(f'<text x="{x + step / 2:.1f}" y="{base + 22}" class="mid">{j}</text>')
    parts.append(f'<text x="{left}" y="{base + 46}">latent dimension, the largest KL first</text></svg>')
    return "".join(parts)
