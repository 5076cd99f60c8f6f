"""A family's alignment made fit for one protein: the protein put into its columns, and near relatives left out.

`aligned_query` aligns a sequence to the alignment's profile by dynamic programming: match scores are the logarithm of the
column's frequency over the background's, gaps are affine, and the best local path is taken (a domain in a longer chain, or a part
of the family). No residue of the sequence is ever put between columns: what matches none is an insertion and no site of a model.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mumei.core.errors import DataError, UsageError
from mumei.protein.alphabet import AMINO_ACIDS, CODES
from mumei.protein.sequence import Alignment

GAP_OPEN, GAP_EXTEND = 6.0, 0.4  # nats
PSEUDOCOUNT = 5.0
CONSERVED = 0.5  # a column with residues in less than this part of the rows costs little to skip
MATCH, DELETE, INSERT = 0, 1, 2


@dataclass(frozen=True)
class Query:
    """A sequence in the columns of an alignment.

    Parameters
    ----------
    row : str
        One letter or "-" for each column.
    residues : ndarray (n,) int64
        Which residue of the sequence, from 0, each letter of `row` is, in order.
    identity : float
        To the nearest row, over the columns where both have a residue.
    score : float
        Of the alignment, in nats; what is no relative is near 0.
    """

    row: str
    residues: np.ndarray
    identity: float
    score: float


def aligned_query(sequence: str, alignment: Alignment) -> Query:
    """Align a sequence to the columns of an alignment.

    Raises
    ------
    DataError
        Fewer than 10 residues, or a tenth of them, match: it is no member of this family.
    """
    sequence = sequence.upper()
    codes = _codes(alignment)
    column, residue, score = _best_path(_profile(codes), sequence, (codes < 20).mean(0))
    if len(column) < max(2, min(10, len(sequence) // 10)) or score <= 0:
        raise DataError(
            f"the sequence does not align to {alignment.path or 'the alignment'} ({len(column)} residues match, score "
            f"{score:.1f} nats); give the alignment of its family."
        )
    row = np.full(alignment.width, "-", dtype="<U1")
    row[column] = [sequence[i] for i in residue]
    text = "".join(row)
    return Query(text, residue, float(identities(alignment, text).max()), score)


def identities(alignment: Alignment, row: str) -> np.ndarray:
    """Return each row's identity to a query in the same columns, over those where both have a residue, float64 (n,).

    A row that shares less than a third of the query's columns with it has identity over that third: fragments are no relatives.
    """
    codes = _codes(alignment)
    query = np.array([CODES.get(c, 20) for c in row.upper()])
    if len(query) != codes.shape[1]:
        raise UsageError(
            f"the query has {len(query)} columns, the alignment {codes.shape[1]}; align it first: aligned_query."
        )
    both = (codes < 20) & (query < 20)
    same = (codes == query) & both
    return same.sum(1) / np.maximum(both.sum(1), max(1, (query < 20).sum() // 3))


def leave_out(alignment: Alignment, row: str, identity: float = 0.5) -> tuple[Alignment, int]:
    """Return the alignment without the rows more than `identity` identical to a query, and how many those were.

    The query itself is among them, so that a model of what is left has not seen it.
    """
    if not 0 < identity <= 1:
        raise UsageError(f"identity={identity} is not allowed; give a part above 0, up to 1.")
    near = identities(alignment, row) > identity
    if near.all():
        raise DataError(
            f"all {len(alignment)} sequences are more than {identity:.0%} identical to the query; none is left."
        )
    keep = np.flatnonzero(~near)
    names, rows = tuple(alignment.names[i] for i in keep), tuple(alignment.rows[i] for i in keep)
    return replace(alignment, names=names, rows=rows), int(near.sum())


def _codes(alignment: Alignment) -> np.ndarray:
    """Return the codes of all rows, (n, width); 20 for what is none of the twenty."""
    table = np.full(256, len(AMINO_ACIDS), dtype=np.int64)
    for letter, code in CODES.items():
        table[ord(letter)] = code
    joined = "".join(alignment.rows).encode("ascii", "replace")
    return table[np.frombuffer(joined, dtype=np.uint8)].reshape(len(alignment), -1)


def _profile(codes: np.ndarray) -> np.ndarray:
    """Return log(frequency in the column / frequency in the family), (width, 21); an unknown residue scores 0."""
    counts = np.stack([np.bincount(column, minlength=21)[:20] for column in codes.T]).astype(np.float64)
    background = (counts.sum(0) + 1.0) / (counts.sum() + 20.0)
    total = counts.sum(1, keepdims=True)
    frequency = (counts + PSEUDOCOUNT * background) / (total + PSEUDOCOUNT)
    return np.concatenate([np.log(frequency / background), np.zeros((len(counts), 1))], 1)


def _best_path(profile: np.ndarray, sequence: str, filled: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Return matched columns, the residues they match, and the score of the best local path with affine gaps (Gotoh 1982)."""
    match = profile[:, [CODES.get(c, 20) for c in sequence]]  # (columns, residues)
    width, length = match.shape
    best = np.full((3, width + 1, length + 1), -np.inf)
    best[MATCH, 0, :] = best[MATCH, :, 0] = 0.0
    back = np.zeros((3, width + 1, length + 1), dtype=np.int8)
    skip = np.where(filled < CONSERVED, 0.2, 1.0)  # of what a skipped column costs
    for i in range(1, width + 1):
        cost = skip[i - 1]
        opened, gone_on = best[MATCH, i - 1] - GAP_OPEN * cost, best[DELETE, i - 1] - GAP_EXTEND * cost
        best[DELETE, i] = np.maximum(opened, gone_on)
        back[DELETE, i] = np.where(opened >= gone_on, MATCH, DELETE)
        for j in range(1, length + 1):
            before = best[:, i - 1, j - 1]
            state = int(before.argmax())
            best[MATCH, i, j], back[MATCH, i, j] = max(before[state], 0.0) + match[i - 1, j - 1], state
            if before[state] <= 0.0:
                back[MATCH, i, j] = -1  # a new beginning
            opened, gone_on = best[MATCH, i, j - 1] - GAP_OPEN, best[INSERT, i, j - 1] - GAP_EXTEND
            best[INSERT, i, j], back[INSERT, i, j] = max(opened, gone_on), MATCH if opened >= gone_on else INSERT
    i, j = np.unravel_index(best[MATCH].argmax(), best[MATCH].shape)
    score, state, pairs = float(best[MATCH, i, j]), MATCH, []
    while i > 0 and j > 0 and state != -1:
        origin = int(back[state, i, j])
        if state == MATCH:
            pairs.append((i - 1, j - 1))
            i, j = i - 1, j - 1
        elif state == DELETE:
            i -= 1
        else:
            j -= 1
        state = origin
    pairs.reverse()
    columns, residues = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    return columns, residues, score
