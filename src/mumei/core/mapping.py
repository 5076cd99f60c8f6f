"""A map in two dimensions: t-SNE of at most `LANDMARKS` rows; other rows are placed among their nearest landmarks.

Source: van der Maaten 2014, "Accelerating t-SNE using tree-based algorithms", in scikit-learn's form.
Departure: rows beyond the landmarks are put at the mean of their five nearest landmarks' places, weighted by a Gaussian whose
width is the distance to the fifth. That is linear in the number of rows, and their distances on the map are smoothed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from mumei.core.seeds import sample_rows, seed32
from mumei.core.threads import one_thread

if TYPE_CHECKING:
    import numpy as np

LANDMARKS = 3000
NEIGHBOURS = 5


def place(z: np.ndarray, seed: int, progress: Any = None) -> np.ndarray:
    """Return map coordinates (n, 2), float32, centred and scaled into [-1, 1].

    Parameters
    ----------
    z : ndarray (n, d)
        Reduced vectors.
    seed : int
    progress : callable, optional
        Called with the number of rows placed since the last call.
    """
    import numpy as np

    chosen = sample_rows(len(z), LANDMARKS, seed, "landmarks")
    with one_thread():
        landmarks = z[chosen]
        drawn = _draw(landmarks, seed)
        out = np.empty((len(z), 2), dtype=np.float32)
        for start in range(0, len(z), 2048):
            part = slice(start, start + 2048)
            out[part] = _among(z[part], landmarks, drawn)
            if progress is not None:
                progress(len(out[part]))
        out[chosen] = drawn
    out -= (out.max(axis=0) + out.min(axis=0)) / 2
    return (out / max(float(np.abs(out).max()), 1e-9)).astype(np.float32)


def _draw(z: np.ndarray, seed: int) -> np.ndarray:
    import numpy as np
    from sklearn.manifold import TSNE

    flat = float(z.std()) < 1e-9
    if len(z) < 5 or flat:  # too few, or all alike: a line or a point says as much as a map
        return np.c_[np.arange(len(z)), np.zeros(len(z))].astype(np.float32) * (not flat)
    start = z[:, :2] if z.shape[1] >= 2 else np.c_[z, np.zeros(len(z))]
    start = (start / max(float(start[:, 0].std()), 1e-9) * 1e-4).astype(np.float32)
    perplexity = min(30.0, (len(z) - 1) / 3)
    model = TSNE(
        perplexity=perplexity, init=cast("Any", start), max_iter=500, random_state=seed32(seed, "map"), n_jobs=1
    )
    return model.fit_transform(np.ascontiguousarray(z))


def _among(z: np.ndarray, landmarks: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    import numpy as np

    squared = (z**2).sum(1)[:, None] - 2 * (z @ landmarks.T) + (landmarks**2).sum(1)
    k = min(NEIGHBOURS, len(landmarks))
    near = np.argpartition(squared, k - 1, axis=1)[:, :k]
    distance = np.take_along_axis(squared, near, 1).clip(min=0)
    weight = np.exp(-2 * distance / np.maximum(distance.max(axis=1, keepdims=True), 1e-12))
    return np.einsum("nk,nkd->nd", weight / weight.sum(axis=1, keepdims=True), drawn[near])
