"""How new sequences are against a FASTA file: the nearest known sequence and the identity to it.

With pyhmmer (the extra of that name) phmmer searches in this process and gives E-values; the identity is that of the best
domain's alignment. Without it candidates are found by shared words of `WORD` residues and aligned by Needleman and Wunsch with
free ends; there is no E-value then, and remote relatives that share no word are missed. Which of the two was used is told.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import util
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
MATCH, MISMATCH, GAP = 1.0, -1.0, -2.0


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
    wanted = {word for _, text in sequences for word in _words(text.upper())}
    places: dict[str, list[int]] = defaultdict(list)
    for i, record in enumerate(records):
        for word in _words(record.sequence) & wanted:
            places[word].append(i)
    out = []
    for _, text in sequences:
        shared = Counter(i for word in _words(text.upper()) for i in places.get(word, ()))
        found = [(identity(text, records[i].sequence), i) for i, _ in shared.most_common(CANDIDATES)]
        best = max(found, default=(0.0, -1), key=lambda pair: pair[0])
        out.append(Nearest(records[best[1]].name if best[1] >= 0 else "", best[0]))
    return out


def _words(text: str) -> set[str]:
    return {text[i : i + WORD] for i in range(len(text) - WORD + 1)}


def identity(first: str, second: str) -> float:
    """Return the part of equal residues among the aligned pairs of two sequences, ends free, over at least half of the shorter.

    Examples
    --------
    >>> identity("MKTAYIAKQR", "MKTAYIAKQR"), identity("GGMKTAYIAKQRGG", "MKTGYIAKQR")
    (1.0, 0.9)
    """
    a = np.array([CODES.get(c, 20) for c in first.upper()])
    b = np.array([CODES.get(c, 21) for c in second.upper()])  # an unknown residue equals nothing
    score, same, pairs = (np.zeros(len(b) + 1) for _ in range(3))
    best, places = (0.0, 0.0, 0.0), np.arange(len(b) + 1)
    for i in range(len(a)):
        reward = np.where(b == a[i], MATCH, MISMATCH)
        options = np.stack([score[:-1] + reward, score[1:] + GAP])
        pick = options.argmax(0)
        new_score, new_same, new_pairs = np.zeros_like(score), np.zeros_like(same), np.zeros_like(pairs)
        new_score[1:] = options.max(0)
        new_same[1:] = np.where(pick == 0, same[:-1] + (b == a[i]), same[1:])
        new_pairs[1:] = np.where(pick == 0, pairs[:-1] + 1, pairs[1:])
        level = (
            new_score - GAP * places
        )  # a gap in the other sequence follows from any cell before, the nearest of equals
        highest = np.maximum.accumulate(level)
        origin = np.maximum.accumulate(np.where(level == highest, places, 0))
        new_score, new_same, new_pairs = highest + GAP * places, new_same[origin], new_pairs[origin]
        score, same, pairs = new_score, new_same, new_pairs
        best = max(best, (score[-1], same[-1], pairs[-1]))
    j = int(score.argmax())
    _, equal, aligned = max(best, (score[j], same[j], pairs[j]))
    return float(equal / max(aligned, min(len(a), len(b)) / 2, 1.0))
