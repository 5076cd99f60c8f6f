"""How new sequences are against a FASTA file: the nearest known sequence and the identity to it.

With pyhmmer (the extra of that name) phmmer searches in this process and gives E-values; the identity is that of the best
domain's alignment. Without it candidates are found by shared words of `WORD` residues and aligned by Needleman and Wunsch with
free ends; there is no E-value then, and remote relatives that share no word are missed. Which of the two was used is told.

The words of the known sequences are read once, in blocks, and only those are kept that some asked sequence has: time and memory
grow with the file's residues, whatever is asked. A sequence's candidates are aligned side by side.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import util
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from mumei.core.errors import DataError, MissingExtraError, unknown
from mumei.protein.alphabet import CODES
from mumei.protein.sequence import Record, read_sequences

METHODS = ("auto", "phmmer", "kmer")
WORD = 5
CANDIDATES = 10  # of each sequence, by shared words
SIGNIFICANT = 1.0  # E-value of a domain; the paper's own limit
MATCH, MISMATCH, GAP = 1, -1, -2
BLOCK = 1 << 20  # residues whose words are looked up at once
SIEVE = 22  # bits of the places of the table that turns most words away
MIXER = np.uint64(0x9E3779B97F4A7C15)  # of Knuth's multiplicative hashing: 2^64 over the golden ratio
FIELD = 20  # bits of a length; score, equal and aligned residues of an alignment lie in one number


@dataclass(frozen=True)
class Nearest:
    """The nearest known sequence: its name ("" where none was found), identity as a part of the aligned columns, and E-value."""

    name: str
    identity: float
    e_value: float | None = None


def nearest(
    sequences: Sequence[tuple[str, str]], known: Path | str | Sequence[tuple[str, str]], *, method: str = "auto"
) -> tuple[list[Nearest], str]:
    """Return each sequence's nearest known one, and which method found it.

    Parameters
    ----------
    sequences : sequence of (name, letters)
    known : path of a FASTA file, or sequence of (name, letters)
    method : {"auto", "phmmer", "kmer"}
        "auto" takes phmmer where pyhmmer is installed.

    Raises
    ------
    MissingExtraError
        "phmmer" without pyhmmer.
    DataError
        The file cannot be read or holds no sequence.
    """
    if method not in METHODS:
        raise unknown("method of novelty", method, METHODS)
    if isinstance(known, (str, Path)):
        records = list(read_sequences(known))
    else:
        records = [Record(name, "", letters.upper()) for name, letters in known]
    if not records:
        raise DataError("there are no known sequences to compare with; give a FASTA file with some.")
    there = util.find_spec("pyhmmer") is not None
    if method == "phmmer" and not there:
        raise MissingExtraError("phmmer", "pyhmmer", "pyhmmer")
    if there and method != "kmer":
        return _phmmer(sequences, records), "phmmer"
    return _kmer(sequences, records), f"shared words of {WORD}"


def _phmmer(sequences: Sequence[tuple[str, str]], records: list[Record]) -> list[Nearest]:
    from pyhmmer import easel, hmmer, plan7  # type: ignore[import-not-found]

    letters = easel.Alphabet.amino()

    def digital(number: int, text: str) -> Any:
        return easel.TextSequence(name=str(number).encode(), sequence=text).digitize(letters)

    block = easel.DigitalSequenceBlock(letters, [digital(i, r.sequence) for i, r in enumerate(records)])
    queries = [digital(i, text.upper()) for i, (_, text) in enumerate(sequences)]
    out = []
    for found in hmmer.phmmer(queries, block, cpus=1, builder=plan7.Builder(letters), E=SIGNIFICANT * 10):
        best = next((hit for hit in found if hit.best_domain.i_evalue < SIGNIFICANT), None)
        if best is None:
            out.append(Nearest("", 0.0))
            continue
        domain = best.best_domain.alignment
        pairs = [(a, b) for a, b in zip(domain.hmm_sequence.upper(), domain.target_sequence.upper(), strict=True)
                 if a not in ".-" and b not in ".-"]  # fmt: skip
        same = sum(a == b for a, b in pairs) / max(1, len(pairs))
        name = best.name.decode() if isinstance(best.name, bytes) else str(best.name)
        out.append(Nearest(records[int(name)].name, same, float(best.best_domain.i_evalue)))
    return out


def _kmer(sequences: Sequence[tuple[str, str]], records: list[Record]) -> list[Nearest]:
    index, texts, out = _Words([text for _, text in sequences], records), [text for _, text in sequences], []
    for i, text in enumerate(texts):
        candidates = index.candidates(i)
        found = identities(text, [records[c].sequence for c in candidates])
        best = max(range(len(found)), key=found.__getitem__, default=-1)
        out.append(Nearest(records[candidates[best]].name, found[best]) if best >= 0 else Nearest("", 0.0))
    return out


class _Words:
    """Which known sequences have which of the asked words: for each word a list of records, one after the other."""

    def __init__(self, texts: Sequence[str], records: Sequence[Record]):
        own = [_word_codes(_letters(text)) for text in texts]
        wanted, place = np.unique(np.concatenate(own), return_inverse=True)
        ends = np.cumsum([0, *(len(codes) for codes in own)])
        self._of = [np.unique(place[a:z]) for a, z in pairwise(ends.tolist())]  # a word counts once in a sequence
        sieve = np.zeros(1 << SIEVE, dtype=bool)
        sieve[_sieved(wanted)] = True
        pairs = [np.zeros(0, dtype=np.int64)]
        for numbers, codes in _blocks(records):
            maybe = np.flatnonzero(sieve[_sieved(codes)])
            codes, numbers = codes[maybe], numbers[maybe]
            at = np.searchsorted(wanted, codes)
            good = wanted[np.minimum(at, len(wanted) - 1)] == codes if len(wanted) else np.zeros(0, dtype=bool)
            pairs.append(np.unique(at[good] * len(records) + numbers[good]))
        merged = np.unique(np.concatenate(pairs))
        self._records = merged % len(records)
        self._starts = np.searchsorted(merged, np.arange(len(wanted) + 1) * len(records))

    def candidates(self, i: int) -> list[int]:
        """Return the records that share most words with the asked sequence i, the file's earlier ones first among equals."""
        parts = [self._records[self._starts[word] : self._starts[word + 1]] for word in self._of[i]]
        if not parts:
            return []
        shared, counts = np.unique(np.concatenate(parts), return_counts=True)
        return shared[np.argsort(-counts, kind="stable")[:CANDIDATES]].tolist()


def _letters(text: str) -> np.ndarray:
    """Return a text's signs as numbers from 1 to 128; 0 ends a sequence."""
    return np.frombuffer(text.upper().encode("ascii", "replace"), dtype=np.uint8).astype(np.int64) + 1


def _word_codes(letters: np.ndarray) -> np.ndarray:
    """Return the words that begin at each place but the last `WORD` - 1, seven bits and one for each sign, int64."""
    codes = np.zeros(max(0, len(letters) - WORD + 1), dtype=np.int64)
    for k in range(WORD):
        codes = (codes << 8) | letters[k : k + len(codes)]
    return codes


def _sieved(codes: np.ndarray) -> np.ndarray:
    """Return the words' places in the sieve."""
    return ((codes.astype(np.uint64) * MIXER) >> np.uint64(64 - SIEVE)).astype(np.int64)


def _blocks(records: Sequence[Record]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield which record each word is of, and the words, for some records at a time; none goes over a record's end."""
    first = held = 0
    for last, record in enumerate(records):
        held += len(record.sequence) + 1
        if held < BLOCK and last + 1 < len(records):
            continue
        some = records[first : last + 1]
        joined = _letters("\0".join(r.sequence for r in some))
        number = np.repeat(np.arange(first, last + 1), [len(r.sequence) + 1 for r in some])
        codes = _word_codes(joined)
        # A sign 1 is the end between two records: words with one are of neither.
        inside = np.ones(len(codes), dtype=bool)
        for k in range(WORD):
            inside &= joined[k : k + len(codes)] > 1
        yield number[: len(codes)][inside], codes[inside]
        first, held = last + 1, 0


def identity(first: str, second: str) -> float:
    """Return the part of equal residues among the aligned pairs of two sequences, ends free, over at least half of the shorter.

    Examples
    --------
    >>> identity("MKTAYIAKQR", "MKTAYIAKQR"), identity("GGMKTAYIAKQRGG", "MKTGYIAKQR")
    (1.0, 0.9)
    """
    return identities(first, [second])[0]


def identities(first: str, others: Sequence[str]) -> list[float]:
    """Return `identity` of a sequence with each of some others, which are aligned side by side."""
    if not others:
        return []
    a = np.array([CODES.get(c, 20) for c in first.upper()], dtype=np.int64)
    lengths = np.array([len(text) for text in others])
    b = np.full(
        (len(others), int(lengths.max())), 21
    )  # an unknown residue equals nothing, nor does what fills a row up
    for row, text in zip(b, others, strict=True):
        row[: len(text)] = [CODES.get(c, 21) for c in text.upper()]
    places, rows = np.arange(b.shape[1] + 1), np.arange(len(b))
    score, counts = np.zeros(
        (2, len(b), b.shape[1] + 1), dtype=np.int64
    )  # counts: equal residues and pairs in one number
    best = np.zeros(len(b), dtype=np.int64)
    for residue in a:
        same = b == residue
        diagonal, up = score[:, :-1] + np.where(same, MATCH, MISMATCH), score[:, 1:] + GAP
        level, carried = np.zeros_like(score), np.zeros_like(counts)
        np.maximum(diagonal, up, out=level[:, 1:])
        carried[:, 1:] = np.where(diagonal >= up, counts[:, :-1] + (same.astype(np.int64) << FIELD) + 1, counts[:, 1:])
        level -= GAP * places  # a gap in the other sequence follows from any cell before, the nearest of equals
        highest = np.maximum.accumulate(level, 1)
        origin = np.maximum.accumulate(np.where(level == highest, places, 0), 1)
        score, counts = highest + GAP * places, np.take_along_axis(carried, origin, 1)
        best = np.maximum(best, (score[rows, lengths] << 2 * FIELD) + counts[rows, lengths])
    j = np.where(places <= lengths[:, None], score, np.iinfo(np.int64).min).argmax(1)
    best = np.maximum(best, (score[rows, j] << 2 * FIELD) + counts[rows, j])
    equal, aligned = (best >> FIELD) & ((1 << FIELD) - 1), best & ((1 << FIELD) - 1)
    return (equal / np.maximum(np.maximum(aligned, np.minimum(len(a), lengths) / 2), 1.0)).tolist()
