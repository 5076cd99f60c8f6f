"""Word counts of some texts, by word: what one shard of a lexical index is.

A folder of `vocabulary.json` (words by number), `starts.npy` (V + 1: where a word's rows begin), `rows.npy` and `counts.npy`
(one entry a word and row) and `lengths.npy` (words in each row). Arrays are mapped from the disk, not read.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mumei.core.errors import ArtifactError
from mumei.core.files import atomic_open, read_json, write_bytes

if TYPE_CHECKING:
    import numpy as np

ARRAYS = {"starts": "int64", "rows_of": "int32", "counts": "int32", "lengths": "int32"}


@dataclass(frozen=True)
class Postings:
    """Counts of words in n rows.

    Parameters
    ----------
    vocabulary : dict of word to number
    starts : ndarray (V + 1,), int64
        Word v's entries are `starts[v]:starts[v + 1]` of `rows_of` and `counts`.
    rows_of, counts : ndarray (entries,), int32
        In each word's entries, rows ascend.
    lengths : ndarray (n,), int32
    """

    vocabulary: dict[str, int]
    starts: np.ndarray
    rows_of: np.ndarray
    counts: np.ndarray
    lengths: np.ndarray

    @property
    def rows(self) -> int:
        """How many texts were counted."""
        return len(self.lengths)

    @property
    def tokens(self) -> int:
        """How many words the texts have, repeats included."""
        return int(self.lengths.sum(dtype="int64"))

    @classmethod
    def count(cls, texts: Iterable[list[str]]) -> Postings:
        """Count texts that were split into words."""
        import numpy as np

        vocabulary: dict[str, int] = {}
        flat, lengths = array("i"), array("i")
        for words in texts:
            flat.extend([vocabulary.setdefault(word, len(vocabulary)) for word in words])
            lengths.append(len(words))
        sizes = np.array(lengths, dtype=np.int32)
        rows = np.repeat(np.arange(len(sizes), dtype=np.int64), sizes)
        # One number for a word in a row; sorted, equal ones are neighbours.
        keys = np.array(flat, dtype=np.int64) * max(len(sizes), 1) + rows
        keys.sort()
        first = np.flatnonzero(np.diff(keys, prepend=-1))
        counts = np.diff(first, append=len(keys)).astype(np.int32)
        word, row = np.divmod(keys[first], max(len(sizes), 1))
        return cls(vocabulary, _starts(word, len(vocabulary)), row.astype(np.int32), counts, sizes)

    def joined(self, other: Postings) -> Postings:
        """Return the counts of these rows followed by another's."""
        import numpy as np

        vocabulary = dict(self.vocabulary)
        renamed = np.array([vocabulary.setdefault(w, len(vocabulary)) for w in other.vocabulary], dtype=np.int64)
        mine = np.repeat(np.arange(len(self.vocabulary), dtype=np.int64), np.diff(self.starts))
        theirs = np.repeat(renamed, np.diff(other.starts))
        word = np.concatenate([mine, theirs])
        order = np.argsort(word, kind="stable")  # rows stay in order within a word
        rows = np.concatenate([self.rows_of, other.rows_of + np.int32(self.rows)])[order]
        counts = np.concatenate([self.counts, other.counts])[order]
        lengths = np.concatenate([self.lengths, other.lengths])
        return Postings(vocabulary, _starts(word, len(vocabulary)), rows, counts, lengths)

    def document_frequency(self, word: str) -> int:
        """Return in how many rows a word stands."""
        number = self.vocabulary.get(word)
        return 0 if number is None else int(self.starts[number + 1] - self.starts[number])

    def best(
        self, weights: dict[str, float], k: int, allow: Any, k1: float, b: float, mean: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows with the k largest BM25 scores above 0, more where the last are equal, and the scores.

        `weights` are inverse document frequencies, `mean` is the index's mean length, `allow` a mask of the rows wanted.
        """
        import numpy as np

        scores = np.zeros(self.rows)
        for word, weight in weights.items():
            number = self.vocabulary.get(word)
            if number is not None:
                part = slice(self.starts[number], self.starts[number + 1])
                rows, counts = self.rows_of[part], self.counts[part].astype(np.float64)
                scores[rows] += weight * counts / (counts + k1 * (1 - b + b * self.lengths[rows] / mean))
        found = np.flatnonzero(scores > 0 if allow is None else (scores > 0) & allow)
        points = scores[found]
        if len(found) > k:
            least = np.partition(points, len(points) - k)[len(points) - k]
            found, points = found[points >= least], points[points >= least]
        return found, points

    def write(self, folder: Path) -> None:
        """Write the files into a folder."""
        import numpy as np

        words = json.dumps(list(self.vocabulary), ensure_ascii=False, separators=(",", ":"))
        write_bytes(folder / "vocabulary.json", words.encode())
        for name in ARRAYS:
            with atomic_open(folder / f"{name}.npy") as handle:
                np.save(handle, getattr(self, name), allow_pickle=False)

    @classmethod
    def open(cls, folder: Path) -> Postings:
        """Map the files of a folder; raise `ArtifactError` where they are not whole."""
        import numpy as np

        try:
            words = read_json(folder / "vocabulary.json")
            arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in ARRAYS}
        except (OSError, ValueError) as error:
            raise ArtifactError(f"the lexical shard {folder} cannot be read ({error}); make the index anew.") from error
        arrays = {name: np.asarray(values) for name, values in arrays.items()}
        fits = (
            all(values.dtype == ARRAYS[name] and values.ndim == 1 for name, values in arrays.items())
            and len(arrays["starts"]) == len(words) + 1
            and len(arrays["rows_of"]) == len(arrays["counts"]) == arrays["starts"][-1]
        )
        if not fits:
            raise ArtifactError(f"the lexical shard {folder} does not fit together; make the index anew.")
        return cls(dict(zip(words, range(len(words)), strict=True)), **arrays)

    def check(self) -> int:
        """Read everything once: return the number of rows, or raise `ArtifactError` where numbers cannot be right."""
        import numpy as np

        whole = (
            bool((np.diff(self.starts) > 0).all())
            and bool((self.counts > 0).all())
            and int(self.counts.sum(dtype="int64")) == self.tokens
            and (not len(self.rows_of) or 0 <= self.rows_of.min() <= self.rows_of.max() < self.rows)
        )
        if not whole:
            raise ArtifactError("a lexical shard holds numbers that cannot be right; make the index anew.")
        return self.rows


def _starts(words: np.ndarray, vocabulary: int) -> np.ndarray:
    """Return where each word's entries begin, from the word of each entry (sorted or not)."""
    import numpy as np

    return np.concatenate([[0], np.cumsum(np.bincount(words, minlength=vocabulary))]).astype(np.int64)
