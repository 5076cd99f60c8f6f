"""A protein as a scan takes it: letters, residue numbers and what stands behind them; and the table of its mutants."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from mumei.core.errors import DataError, UsageError, suggest
from mumei.protein.alphabet import AMINO_ACIDS, encode
from mumei.protein.fitting import sites_of
from mumei.protein.models.base import SequenceModel
from mumei.protein.models.potts import Potts
from mumei.protein.sequence import read_sequences
from mumei.protein.structure import read_structure

STRUCTURES = (".pdb", ".cif", ".bcif", ".ent", ".mmcif")
RANGE = re.compile(r"(-?\d+[A-Za-z]?)(?:-(-?\d+[A-Za-z]?))?")


@dataclass(frozen=True)
class Protein:
    """The residues that a model scores: letters, and a number for each (a structure's own, or counted from 1)."""

    letters: str
    numbers: tuple[str, ...]
    notes: list[str] = field(default_factory=list)


def protein_of(model: SequenceModel, given: str | None, chain: str | None = None) -> Protein:
    """Return the protein of letters, of a FASTA file with one record, of a structure file, or a Potts model's own.

    Raises
    ------
    UsageError
        Nothing given and none known, or a length that the model does not take.
    DataError
        A file with several sequences, or that cannot be read.
    """
    notes: list[str] = []
    letters, numbers = given, None
    if given is not None and Path(given).suffix and not Path(given).exists():
        raise DataError(f"{given} is not there; give letters, a FASTA file or a structure file.")
    if given is not None and Path(given).is_file():
        if any(end in STRUCTURES for end in Path(given).suffixes):
            found = read_structure(given, chain=chain)
            letters, numbers = found.sequence, found.numbers
            notes += found.repairs
        else:
            letters = _only_record(Path(given))
    elif chain is not None:
        raise UsageError("--chain goes with a structure file; leave it out.")
    if isinstance(model, Potts):
        whole = letters
        letters, residues = sites_of(model, letters)
        own = model.about.get("numbers")
        if numbers is not None:
            numbers = tuple(numbers[i] for i in residues)
        elif own is not None and (whole is None or len(whole) == len(str(model.about["sequence"]))):
            numbers = tuple(own)
        else:
            numbers = tuple(str(int(i) + 1) for i in residues)
        total = len(whole or str(model.about.get("sequence", letters)))
        if len(letters) < total:
            notes.append(f"{total - len(letters)} of {total} residues are no sites of {model.name} and have no scores")
    if letters is None:
        raise UsageError("give a sequence: letters, a FASTA file with one record, or a structure file.")
    encode(letters, unknown="keep")
    return Protein(letters.upper(), numbers or tuple(str(i + 1) for i in range(len(letters))), notes)


def _only_record(path: Path) -> str:
    records = list(read_sequences(path))
    if len(records) > 1:
        raise DataError(f"{path} has {len(records)} sequences; a scan is of one. Give a file with that one alone.")
    return records[0].sequence


def places_of(protein: Protein, text: str | None) -> list[int]:
    """Return places, from 0, of residue numbers such as "10-25,52A"; all where nothing is given.

    Raises
    ------
    UsageError
        Not understood, or a residue that the protein does not have.
    """
    if text is None:
        return list(range(len(protein.letters)))
    at = {number: i for i, number in enumerate(protein.numbers)}
    out: list[int] = []
    for part in text.split(","):
        match = RANGE.fullmatch(part.strip())
        if match is None:
            raise UsageError(f"--positions {part!r} is not understood; give residue numbers such as 10-25,52A.")
        ends = [match[1], match[2] or match[1]]
        for end in ends:
            if end not in at:
                raise UsageError(
                    f"there is no residue {end!r}.{suggest(end, protein.numbers)} There are {protein.numbers[0]} to "
                    f"{protein.numbers[-1]}."
                )
        if at[ends[0]] > at[ends[1]]:
            raise UsageError(f"--positions {part!r} goes backwards; give the lower residue first.")
        out += [i for i in range(at[ends[0]], at[ends[1]] + 1) if i not in out]
    return out


def mutants(protein: Protein, places: Sequence[int], scores: Tensor) -> list[dict[str, Any]]:
    """Return a row for each mutant: its name, such as "K52AR", residue number, wild type, residue and score, wild types left
    out.
    """
    rows = []
    for place, values in zip(places, scores.tolist(), strict=True):
        wild, number = protein.letters[place], protein.numbers[place]
        rows += [
            {
                "mutant": f"{wild}{number}{letter}",
                "position": number,
                "wild_type": wild,
                "residue": letter,
                "score": value,
            }
            for letter, value in zip(AMINO_ACIDS, values, strict=True)
            if letter != wild
        ]
    return rows
