"""LK: what is in two places: the same text in two splits, a document of another corpus, and near copies.

LK03 finds near copies by MinHash (Broder 1997) over 5-grams of words: 64 hash functions in 16 bands of 4 give candidates
(at a Jaccard similarity of 0.8 a pair is missed once in about 4,600), whose similarity is then computed exactly.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from mumei.data.checks.core import Check, Finding, beside_check, corpus_check
from mumei.data.overlap import content_hash, fingerprints, shared, texts_of

if TYPE_CHECKING:
    import numpy as np

    from mumei.data.corpus import Corpus
    from mumei.data.documents import Record

NEAR = 0.8  # Jaccard similarity of the sets of 5-grams
GRAM, BANDS, ROWS = 5, 16, 4
SHORTEST = 25  # words of a text that is compared
_WORD = re.compile(r"\w+")


@corpus_check(
    "LK01",
    "warning",
    "same text in two splits",
    explanation="A record's content, but for case, blanks and punctuation, is in another split too: the test was trained on.",
    example="an abstract in train and, under another id, in test",
)
def across_splits(corpus: Corpus, check: Check) -> Iterator[Finding]:
    """Find records whose content was met in an earlier split."""
    seen: dict[bytes, tuple[str, str]] = {}
    for split in corpus.splits:
        for record in corpus.records(split):
            content = content_hash(record)
            before, name = seen.setdefault(content, (split, record.id)) if content else (split, "")
            if before != split:
                yield _found(check, record, split, f"its content is {name}'s in {before}")


def _found(check: Check, record: Record, split: str, message: str) -> Finding:
    return check.finding(message, split=split, document=record.id, file=record.file, line=record.line)


@beside_check(
    "LK02",
    "warning",
    "document of another corpus",
    explanation="A document is in another of the corpora given, by its PubMed id or its text: whoever trains on one and tests on "
    "the other tests on what was trained on.",
    example="PMID 10491763 in biored and in bc5cdr",
)
def across_corpora(corpus: Corpus, beside: Sequence[Corpus], check: Check) -> Iterator[Finding]:
    """Find documents that others have too, once for each other corpus."""
    own = list(fingerprints(corpus))
    for other in beside:
        for found in shared(own, fingerprints(other)):
            there = f"{found.other.id} in {found.other.corpus} {found.other.split}"
            yield check.finding(f"it is {there} (by {found.by})", split=found.one.split, document=found.one.id)


@corpus_check(
    "LK03",
    "warning",
    "near copy",
    explanation="Two documents share four fifths of their runs of five words: a corrected version, or one text twice.",
    example="two abstracts that differ in one sentence",
    kinds=("kb", "text"),
)
def near_copies(corpus: Corpus, check: Check) -> Iterator[Finding]:
    """Find documents like an earlier one; equal ones are LK01's and ID03's."""
    buckets: dict[tuple[int, bytes], int] = {}
    kept: list[tuple[str, str, bytes, np.ndarray]] = []
    for record in corpus.records():
        grams = _grams(" ".join(texts_of(record)))
        if grams is None:
            continue
        here = (record.split, record.id, content_hash(record), grams)
        keys = [(band, key) for band, key in enumerate(_bands(grams))]
        for other in sorted({buckets[key] for key in keys if key in buckets}):
            split, name, content, theirs = kept[other]
            alike = similarity(grams, theirs)
            if content != here[2] and alike >= NEAR:
                yield _found(check, record, record.split, f"{alike:.0%} of it is {name}'s in {split}")
                break
        for key in keys:
            buckets.setdefault(key, len(kept))
        kept.append(here)


def _grams(text: str) -> np.ndarray | None:
    """Return the sorted set of a text's 5-grams of words, as numbers of 64 bits, or None for a short text."""
    import numpy as np

    words = np.array(
        [zlib.crc32(w.encode("utf-8", "surrogatepass")) for w in _WORD.findall(text.casefold())], np.uint64
    )
    if len(words) < SHORTEST:
        return None
    n = len(words) - GRAM + 1
    mixed = np.zeros(n, np.uint64)
    for i in range(GRAM):
        mixed = (mixed ^ words[i : i + n]) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(29)
    return np.unique(mixed)


def _bands(grams: np.ndarray) -> Iterator[bytes]:
    """Yield the bytes of each band of a MinHash signature: row j is the least of (a_j g + b_j) mod 2^64, a_j odd."""
    import numpy as np

    steps = np.arange(1, BANDS * ROWS + 1, dtype=np.uint64)
    odd = (steps * np.uint64(0xD1342543DE82EF95)) | np.uint64(1)
    mixed = grams[:, None] * odd + steps * np.uint64(0xA0761D6478BD642F)
    mixed = (mixed ^ (mixed >> np.uint64(32))) * np.uint64(0xE7037ED1A0B428DB)
    least = (mixed ^ (mixed >> np.uint64(29))).min(0)
    for band in range(BANDS):
        yield least[band * ROWS : (band + 1) * ROWS].tobytes()


def similarity(one: np.ndarray, other: np.ndarray) -> float:
    """Return the Jaccard similarity of two sorted sets of numbers."""
    import numpy as np

    both = len(np.intersect1d(one, other, assume_unique=True))
    return both / (len(one) + len(other) - both)
