"""Protein chains out of structure files: sequence, author numbering, backbone, and a list of all that was repaired.

What is done with the oddities of real files, each told in `Structure.repairs`: of alternate places the one of the highest
occupancy is taken, for a whole residue (the first of equals), and so is one of several residues at one place; a modified
residue is read as its parent; a residue without a letter is X; backbone atoms that are missing are NaN; ligands and water
are left out; of several models the first is read. Residues that were not seen are left out, or kept as X by `gaps="fill"`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mumei.core.errors import DataError, UsageError, suggest
from mumei.protein import geometry
from mumei.protein.atoms import Atom, read_atoms
from mumei.protein.residues import BACKBONE, FORCE_FIELD, LETTERS, MODIFIED, STANDARD, WATER, WITHOUT_LETTER

BOND = 2.0  # Angstrom; a peptide bond has 1.33
SHOWN = 8  # residues that a repair names
NUMBER = re.compile(r"(-?\d+)(\D*)")


@dataclass(frozen=True)
class Structure:
    """One protein chain.

    Parameters
    ----------
    name : str
        The file's name without its endings.
    chain : str
        The author's name of the chain; "" where the file gives none.
    sequence : str
        L letters, "X" for a residue that is none of the twenty or was not seen.
    numbers : tuple of str
        Author number and insertion code of each residue, such as "52A".
    backbone : ndarray (L, 3, 3) float64
        N, CA and C in Angstrom, NaN where missing.
    b_factors : ndarray (L,) float64
        Of the CA atoms (a predicted structure's pLDDT), NaN where missing.
    repairs : tuple of str
        All that was dropped, changed or chosen.
    model : int
        Which model of the file, counted from 1.
    """

    name: str
    chain: str
    sequence: str
    numbers: tuple[str, ...]
    backbone: np.ndarray
    b_factors: np.ndarray
    repairs: tuple[str, ...] = ()
    model: int = 1

    def __len__(self) -> int:
        return len(self.sequence)

    @property
    def labels(self) -> tuple[str, ...]:
        """Return chain and number of each residue, such as "A:52A"."""
        return tuple(f"{self.chain}:{number}" for number in self.numbers)

    @property
    def breaks(self) -> tuple[int, ...]:
        """Return every i where residues i and i + 1 are not joined by a peptide bond (or it cannot be seen)."""
        lengths = np.linalg.norm(self.backbone[1:, 0] - self.backbone[:-1, 2], axis=-1)
        return tuple(np.flatnonzero(~(lengths <= BOND)).tolist())

    def index(self, number: str | int) -> int:
        """Return the place, from 0, of an author number; `UsageError` with the closest where there is none."""
        wanted = str(number).strip()
        if wanted not in self.numbers:
            raise UsageError(
                f"chain {self.chain!r} of {self.name} has no residue {wanted!r}.{suggest(wanted, self.numbers)} "
                f"It has {self.numbers[0]} to {self.numbers[-1]}."
            )
        return self.numbers.index(wanted)

    def cb(self) -> np.ndarray:
        """Return the rebuilt C-beta atoms (L, 3)."""
        return geometry.virtual_cb(self.backbone)


def read_structure(
    path: Path | str, *, chain: str | None = None, model: int | None = None, gaps: str = "report"
) -> Structure:
    """Read one protein chain of a PDB, mmCIF or BinaryCIF file, packed by gzip or not.

    Parameters
    ----------
    chain : str, optional
        The author's name; needed where there are several.
    model : int, optional
        Counted from 1; the first where left out.
    gaps : {"report", "fill"}
        Leave out what the numbering skips, or put an X without coordinates for each number skipped.

    Raises
    ------
    UsageError
        Several chains and none named, or a chain or model that the file does not have.
    DataError
        A file without a protein chain that has a backbone.
    """
    if gaps not in ("report", "fill"):
        raise UsageError(f"gaps={gaps!r} is not allowed; give 'report' or 'fill'.")
    found = {s.chain: s for s in read_chains(path, model=model)}
    if chain is None and len(found) > 1:
        sizes = ", ".join(f"{name} ({len(s)} residues)" for name, s in found.items())
        raise UsageError(f"{path} has several protein chains: {sizes}. Name one.")
    if chain is not None and chain not in found:
        raise UsageError(
            f"{path} has no protein chain {chain!r}.{suggest(chain, found)} It has: {', '.join(map(repr, found))}."
        )
    structure = found[chain] if chain is not None else next(iter(found.values()))
    return fill_gaps(structure) if gaps == "fill" else structure


def read_chains(path: Path | str, *, model: int | None = None) -> list[Structure]:
    """Read every protein chain of a structure file, in the file's order. Errors are those of `read_structure`."""
    path = Path(path)
    atoms, notes = read_atoms(path)
    models = sorted({atom.model for atom in atoms})
    if not models:
        raise DataError(f"{path} has no readable atom. {' '.join(notes)}")
    if model is not None and model not in models:
        raise UsageError(f"{path} has no model {model}; it has 1 to {models[-1]}.")
    chosen = models[0] if model is None else model
    if model is None and len(models) > 1:
        notes.append(f"model {chosen} of {len(models)} was read; name another by model=")
    chains: dict[str, list[Atom]] = defaultdict(list)
    for atom in atoms:
        if atom.model == chosen:
            chains[atom.chain].append(atom)
    name = path.name.split(".")[0]
    found = [assemble(name, chain, members, notes, chosen) for chain, members in chains.items()]
    proteins = [s for s in found if len(s) and np.isfinite(s.backbone).all(axis=(1, 2)).any()]
    if not proteins:
        raise DataError(
            f"{path} has no protein chain with a backbone: no residue has its atoms N, CA and C. "
            "Give a structure with at least these three atoms a residue."
        )
    return proteins


@dataclass
class _Residue:
    """The atoms at one place of a chain, before one of its alternatives is chosen."""

    number: str
    atoms: list[Atom]

    def choose(self) -> tuple[str, dict[str, Atom], int]:
        """Return the name and the atoms of the alternative of the highest occupancy, and between how many it was chosen:
        side chains that are seen in several places count for one.
        """
        weights: dict[tuple[str, str], float] = defaultdict(float)
        for atom in self.atoms:
            weights[atom.residue, atom.alternate] += atom.occupancy if atom.name in BACKBONE else 0.0
        choices = [key for key in weights if key[1]] or list(weights)
        name, alternate = max(choices, key=lambda key: weights[key])  # the first of equals
        order = sorted(self.atoms, key=lambda atom: (atom.residue != name, atom.alternate not in ("", alternate)))
        atoms: dict[str, Atom] = {}
        for atom in order:
            if atom.residue == name:
                atoms.setdefault(atom.name, atom)
        several = {key for key in choices if weights[key]} if len({key[0] for key in weights}) == 1 else set(weights)
        return name, atoms, len(several)


def assemble(name: str, chain: str, atoms: Iterable[Atom], notes: Iterable[str] = (), model: int = 1) -> Structure:
    """Return the protein residues of one chain's atoms; length 0 where there are none. `notes` go before its own repairs."""
    places: dict[str, _Residue] = {}
    for atom in atoms:
        if atom.residue not in WATER:
            places.setdefault(atom.number, _Residue(atom.number, [])).atoms.append(atom)
    rows, told = [], defaultdict(list)
    for place in places.values():
        residue, chosen, choices = place.choose()
        if "CA" not in chosen and not {"N", "C"} <= set(chosen):
            told["left out, no amino acids"].append(f"{residue} {place.number}")
            continue
        points = np.array([_place(chosen.get(a)) for a in BACKBONE])
        rows.append((place.number, residue, points, chosen.get("CA"), chosen[next(iter(chosen))].hetero))
        if choices > 1:
            told["alternate places, that of the highest occupancy was taken"].append(f"{residue} {place.number}")
    kept = [row for i, row in enumerate(rows) if _belongs(rows, i, told)]
    for number, residue, points, _, _ in kept:
        _tell(number, residue, points, told)
    structure = Structure(
        name,
        chain,
        "".join(LETTERS.get(row[1], "X") for row in kept),
        tuple(row[0] for row in kept),
        np.array([row[2] for row in kept]).reshape(-1, 3, 3),
        np.array([np.nan if row[3] is None else row[3].b_factor for row in kept]),
        (),
        model,
    )
    repairs = [*notes, *(f"{what}: {_some(which)}" for what, which in told.items())]
    if structure.breaks:
        where = [f"{structure.numbers[i]}-{structure.numbers[i + 1]}" for i in structure.breaks]
        repairs.append(f"no peptide bond is seen (residues missing?) between: {_some(where)}")
    return Structure(**{**structure.__dict__, "repairs": tuple(repairs)})


def _place(atom: Atom | None) -> tuple[float, float, float]:
    return (np.nan, np.nan, np.nan) if atom is None else (atom.x, atom.y, atom.z)


def _belongs(rows: list[tuple], i: int, told: dict[str, list[str]]) -> bool:
    """Whether a residue is part of the chain: a HETATM of another name than a modified residue's must be bonded to it."""
    number, residue, points, _, hetero = rows[i]
    known = residue in LETTERS or residue in WITHOUT_LETTER
    if known and not (hetero and residue in STANDARD):
        return True
    before = i > 0 and np.linalg.norm(points[0] - rows[i - 1][2][2]) <= BOND
    after = i + 1 < len(rows) and np.linalg.norm(rows[i + 1][2][0] - points[2]) <= BOND
    if before or after:
        return True
    told["left out, not bonded to the chain"].append(f"{residue} {number}")
    return False


def _tell(number: str, residue: str, points: np.ndarray, told: dict[str, list[str]]) -> None:
    if residue in MODIFIED:
        told["modified residues, read as the one they are made from"].append(
            f"{residue} {number} as {MODIFIED[residue]}"
        )
    elif residue not in STANDARD and residue not in FORCE_FIELD:
        told["residues that are none of the twenty, read as X"].append(f"{residue} {number}")
    missing = [a for a, point in zip(BACKBONE, points, strict=True) if np.isnan(point).any()]
    if missing:
        told["missing backbone atoms, distances to them are not used"].append(f"{residue} {number} {'+'.join(missing)}")


def _some(items: list[str]) -> str:
    return ", ".join(items[:SHOWN]) + (f" and {len(items) - SHOWN} more" if len(items) > SHOWN else "")


def fill_gaps(structure: Structure) -> Structure:
    """Return the chain with an X without coordinates for each author number that is skipped between two residues."""
    letters, numbers, rows, b_factors, added = [], [], [], [], 0
    for i, number in enumerate(structure.numbers):
        here = int(NUMBER.fullmatch(number)[1])  # type: ignore[index]
        if numbers and i - 1 in structure.breaks:
            last = int(NUMBER.fullmatch(numbers[-1])[1])  # type: ignore[index]
            for skipped in range(last + 1, here):
                letters.append("X")
                numbers.append(str(skipped))
                rows.append(np.full((3, 3), np.nan))
                b_factors.append(np.nan)
                added += 1
        letters.append(structure.sequence[i])
        numbers.append(number)
        rows.append(structure.backbone[i])
        b_factors.append(structure.b_factors[i])
    told = (f"{added} residues that the numbering skips were put in as X without coordinates",) if added else ()
    return Structure(
        structure.name, structure.chain, "".join(letters), tuple(numbers), np.array(rows), np.array(b_factors),
        structure.repairs + told, structure.model,
    )  # fmt: skip
