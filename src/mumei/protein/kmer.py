"""A hashed k-mer profile of sequences: what stands in until a protein language model is chosen.

Each overlapping k-mer adds +1 or -1 to one of `dim` places (signed feature hashing, Weinberger et al. 2009, "Feature hashing
for large scale multitask learning"); counts are damped by a signed square root and the row is scaled to unit length, so an
inner product estimates the similarity of two k-mer profiles. It knows no evolution: use it to group near relatives.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from mumei.core.errors import DataError, UsageError

if TYPE_CHECKING:
    import numpy as np

LETTERS = 27  # A to Z, and everything else
SEED = 20_220_616  # fixed: the hash is part of the encoder's definition


class KmerEncoder:
    """Signed hashed k-mer profiles.

    Parameters
    ----------
    k : int
        Length of a word: 3 suits proteins, 6 nucleotides.
    dim : int
        Number of places, a vector's length.
    """

    def __init__(self, k: int = 3, dim: int = 512):
        if not 1 <= k <= 8:
            raise UsageError(f"k={k} is not allowed; give a word length from 1 to 8.")
        if dim < 2:
            raise UsageError(f"dim={dim} is not allowed; give 2 or more places.")
        self.k, self.dim = k, dim
        self.name = f"kmer/{k}/{dim}"

    def encode(
        self, items: Sequence[str], *, batch_size: int | None = None, progress: Callable[[int], Any] | None = None
    ) -> np.ndarray:
        """Encode n sequences to float32 (n, dim), rows of unit length (a sequence shorter than k gives a row of zeros)."""
        import numpy as np

        if isinstance(items, str):
            raise DataError("encode() takes a list of sequences; a single str was given. Put it in a list.")
        out = np.zeros((len(items), self.dim), dtype=np.float32)
        for i, sequence in enumerate(items):
            if not isinstance(sequence, str):
                raise DataError(
                    f"item {i} is {type(sequence).__name__}, not a sequence; drop it or turn it into a str."
                )
            out[i] = self._profile(sequence)
            if progress is not None:
                progress(1)
        return out

    def _profile(self, sequence: str) -> np.ndarray:
        import numpy as np

        letters = np.frombuffer(sequence.upper().encode("ascii", "replace"), dtype=np.uint8).astype(np.int64) - ord("A")
        letters = np.where((letters >= 0) & (letters < 26), letters, 26)
        if len(letters) < self.k:
            return np.zeros(self.dim)
        words = np.zeros(len(letters) - self.k + 1, dtype=np.int64)
        for i in range(self.k):
            words = words * LETTERS + letters[i : i + len(words)]
        place, sign = _hash(words, self.dim)
        counts = np.bincount(place, weights=sign, minlength=self.dim)
        counts = np.sign(counts) * np.sqrt(np.abs(counts))
        norm = np.linalg.norm(counts)
        return counts / norm if norm else counts


def _hash(words: np.ndarray, dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Map word numbers to a place in [0, dim) and a sign, by two rounds of a 64-bit mixing function (splitmix64's)."""
    import numpy as np

    x = words.astype(np.uint64) + np.uint64(SEED)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        x = (x ^ (x >> np.uint64(shift))) * np.uint64(factor)
    x ^= x >> np.uint64(31)
    return (x % np.uint64(dim)).astype(np.int64), np.where(x >> np.uint64(63), 1.0, -1.0)
