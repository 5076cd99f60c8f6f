"""An encoder that hands out vectors which were made elsewhere, for filling a collection with them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from mumei.core.errors import DataError

if TYPE_CHECKING:
    import numpy as np


class Precomputed:
    """Gives each text the vector that a stream of (texts, vectors) has for it.

    Texts must be asked for in the order of the stream; some may be left out. That is how a collection encodes a source.

    Parameters
    ----------
    encoder : Encoder
        What made the vectors: its `name` and `dim` are taken over, and queries go to it.
    segments : iterable of (sequence of n str, ndarray (n, dim))
        Read as far as is needed; one segment is in memory.
    """

    def __init__(self, encoder: Any, segments: Iterable[tuple[Sequence[str], np.ndarray]]):
        self.name, self.dim = encoder.name, encoder.dim
        self.normalized = getattr(encoder, "normalized", True)
        self._stream = self._flat(segments)

    @staticmethod
    def _flat(segments: Iterable[tuple[Sequence[str], np.ndarray]]) -> Iterator[tuple[str, np.ndarray]]:
        for texts, vectors in segments:
            yield from zip(texts, vectors, strict=True)

    def encode(self, items: Sequence[str], *, batch_size: int | None = None, progress: Any = None) -> np.ndarray:
        """Return the vectors (n, dim) of the next texts; raise `DataError` for one that the stream does not have ahead."""
        import numpy as np

        out = np.empty((len(items), self.dim), dtype=np.float32)
        for i, text in enumerate(items):
            for known, vector in self._stream:
                if known == text:
                    out[i] = vector
                    break
            else:
                raise DataError(
                    f"no vector was made for the text {text[:60]!r}: the source changed while it was embedded; run again."
                )
            if progress is not None:
                progress(1)
        return out
