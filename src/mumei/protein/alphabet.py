"""The twenty amino acids as codes 0..19, in the alphabetic order of their letters, and one code for all else.

Code 20 stands for what is no known residue: X, a letter of no single amino acid (B, J, Z), the two rare ones (U, O), a gap of
an alignment, and the padding of a batch. No model of this package gives it a probability, so no design can hold it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from mumei.core.errors import DataError, UsageError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

AMINO_ACIDS = "ACDEFGHIKLMNPQRSTVWY"
UNKNOWN = 20
CODES = {letter: code for code, letter in enumerate(AMINO_ACIDS)}
OTHER = {"B": "D or N", "J": "I or L", "O": "pyrrolysine", "U": "selenocysteine", "X": "unknown", "Z": "E or Q"}


def encode(sequence: str, *, unknown: str = "refuse", name: str = "") -> np.ndarray:
    """Return the codes of a sequence, int64 (L,).

    Parameters
    ----------
    sequence : str
        One-letter residues; lower case is read as upper case.
    unknown : {"refuse", "keep"}
        What to do with a letter that is none of the twenty: raise, or code it as `UNKNOWN`.
    name : str
        How errors call the sequence.

    Raises
    ------
    DataError
        An empty sequence, a sign that is no letter of proteins at all, or an unknown residue under "refuse".

    Examples
    --------
    >>> encode("ACdY").tolist()
    [0, 1, 2, 19]
    """
    import numpy as np

    if unknown not in ("refuse", "keep"):
        raise UsageError(f"unknown={unknown!r} is not allowed; give 'refuse' or 'keep'.")
    called = f"the sequence {name!r}" if name else "the sequence"
    if not sequence:
        raise DataError(f"{called} is empty; give at least one residue.")
    codes = np.empty(len(sequence), dtype=np.int64)
    for i, letter in enumerate(sequence.upper()):
        code = CODES.get(letter, UNKNOWN)
        if code == UNKNOWN and (unknown == "refuse" or (letter not in OTHER and letter not in "-.")):
            meaning = f" ({OTHER[letter]})" if letter in OTHER else ""
            raise DataError(
                f"{called} has {sequence[i]!r}{meaning} at position {i + 1}; allowed are the twenty letters {AMINO_ACIDS}."
                " Replace it by one of them, or leave the sequence out."
            )
        codes[i] = code
    return codes


def decode(codes: Iterable[Any]) -> str:
    """Return the letters of codes; `UNKNOWN` becomes X.

    Examples
    --------
    >>> decode([0, 1, 20])
    'ACX'
    """
    letters = AMINO_ACIDS + "X"
    return "".join(letters[int(code)] for code in codes)


def batch(sequences: Sequence[Any], *, unknown: str = "refuse") -> tuple[Tensor, Tensor]:
    """Return sequences (texts or arrays of codes) as tokens (B, L) int64, padded by `UNKNOWN`, and their lengths (B,) int64."""
    import torch

    if isinstance(sequences, str):
        raise UsageError("batch() takes a list of sequences; a single str was given. Put it in a list.")
    if not len(sequences):
        raise DataError("there are no sequences; give at least one.")
    rows = [torch.as_tensor(encode(s, unknown=unknown, name=str(i)) if isinstance(s, str) else s)
            for i, s in enumerate(sequences)]  # fmt: skip
    lengths = torch.tensor([len(row) for row in rows])
    tokens = torch.full((len(rows), int(lengths.max())), UNKNOWN)
    for i, row in enumerate(rows):
        tokens[i, : len(row)] = row
    return tokens, lengths
