"""Structure files into atoms: PDB and mmCIF through gemmi, BinaryCIF by `bcif`, and a tolerant reader of PDB lines.

gemmi is strict where a file breaks the format's rules (a MODEL without its end, say). Such a file is read line by line
instead, and what could not be read, and that it was so read, is told in the notes. The format is found by content, not by
the file's name, and gzip by its first bytes.
"""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path
from typing import Any, NamedTuple

from mumei.core.errors import DataError, MissingExtraError
from mumei.protein import bcif

LIMIT = 1 << 30  # bytes of a file, unpacked
SHOWN = 3  # dropped lines that a note names


class Atom(NamedTuple):
    """One atom, by author numbering. `alternate` is "" where there is one place only; `model` counts from 1."""

    model: int
    chain: str
    number: str
    residue: str
    name: str
    alternate: str
    hetero: bool
    occupancy: float
    b_factor: float
    x: float
    y: float
    z: float


def read_atoms(path: Path | str) -> tuple[list[Atom], list[str]]:
    """Return the atoms of a structure file in the file's order, and notes on all that was dropped or read otherwise.

    Raises
    ------
    DataError
        Not there, damaged, too large, or no structure file.
    MissingExtraError
        mmCIF without gemmi.
    """
    path = Path(path)
    content = _content(path)
    if content[:1] and content[0] & 0xF0 == 0x80 and b"dataBlocks" in content[:4096]:  # a MessagePack map
        return _from_bcif(content, path.name), []
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    first = next((line for line in text.splitlines() if line.strip() and not line.startswith("#")), "")
    if first.lower().startswith("data_"):
        return _from_mmcif(text, path.name), []
    if any(line.startswith(("ATOM", "HETATM")) for line in text.splitlines()):
        return _from_pdb(text)
    raise DataError(
        f"{path} holds no atoms that PDB, mmCIF or BinaryCIF would have (it begins with {first[:40]!r}). "
        "Give a structure file, packed by gzip or not."
    )


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as handle:
            packed = handle.read(2) == b"\x1f\x8b"
        with gzip.open(path) if packed else path.open("rb") as handle:
            content = handle.read(LIMIT + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read ({getattr(error, 'strerror', None) or error}).") from error
    if len(content) > LIMIT:
        raise DataError(f"{path} has more than {LIMIT >> 20} MiB; split it, or take one model of it.")
    if not content.strip():
        raise DataError(f"{path} is empty; give a structure file.")
    return content


def _from_pdb(text: str) -> tuple[list[Atom], list[str]]:
    try:
        import gemmi
    except ImportError:
        atoms, notes = read_lines(text)
        return atoms, ["gemmi is not installed (pip install 'mumei[protein]'): read line by line", *notes]
    try:
        return _of_gemmi(gemmi.read_pdb_string(text)), []
    except (RuntimeError, ValueError) as error:
        atoms, notes = read_lines(text)
        return atoms, [f"gemmi refuses the file ({error}): read line by line", *notes]


def _from_mmcif(text: str, name: str) -> list[Atom]:
    try:
        import gemmi
    except ImportError as error:
        raise MissingExtraError("reading mmCIF", "gemmi", "protein") from error
    try:
        document = gemmi.cif.read_string(text)
        blocks = [block for block in document if block.find_values("_atom_site.id")]
        if not blocks:
            raise DataError(f"{name} has no atom_site table; it holds no coordinates.")
        return _of_gemmi(gemmi.make_structure_from_block(blocks[0]))
    except (RuntimeError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{name} is no sound mmCIF ({error}); get it again.") from error


def _of_gemmi(structure: Any) -> list[Atom]:
    atoms = []
    for number, model in enumerate(structure, start=1):
        for chain in model:
            for residue in chain:
                label, hetero = str(residue.seqid), residue.het_flag == "H"
                for atom in residue:
                    alternate = "" if atom.altloc == "\0" else atom.altloc
                    place = atom.pos
                    fields = (number, chain.name, label, residue.name, atom.name, alternate, hetero)
                    atoms.append(Atom(*fields, atom.occ, atom.b_iso, place.x, place.y, place.z))
    return atoms


def read_lines(text: str) -> tuple[list[Atom], list[str]]:
    """Read the ATOM and HETATM lines of a PDB file, dropping those without readable coordinates.

    Every MODEL line begins another model. A blank occupancy is 1, a blank B-factor 0. The notes tell what was dropped.
    """
    atoms: list[Atom] = []
    dropped: list[str] = []
    model, begun = 1, False
    for number, line in enumerate(text.splitlines(), start=1):
        if line.startswith("MODEL"):
            model += begun
            begun = True
        elif line.startswith(("ATOM  ", "HETATM")):
            atom = _line(line, model)
            if atom is None:
                dropped.append(f"line {number} {line[:30].rstrip()!r}")
            else:
                atoms.append(atom)
    shown = ", ".join(dropped[:SHOWN]) + (", ..." if len(dropped) > SHOWN else "")
    return atoms, [f"{len(dropped)} atoms without readable fields were dropped: {shown}"] if dropped else []


def _line(line: str, model: int) -> Atom | None:
    try:
        x, y, z = float(line[30:38]), float(line[38:46]), float(line[46:54])
        occupancy = float(line[54:60]) if line[54:60].strip() else 1.0
        b_factor = float(line[60:66]) if line[60:66].strip() else 0.0
        label = str(int(line[22:26])) + line[26:27].strip()
    except ValueError:
        return None
    name, residue = line[12:16].strip(), line[17:20].strip()
    if not (name and residue and math.isfinite(x + y + z)):
        return None
    chain, alternate = line[21:22].strip(), line[16:17].strip()
    hetero = line.startswith("HETATM")
    return Atom(model, chain, label, residue, name, alternate, hetero, occupancy, b_factor, x, y, z)


def _from_bcif(content: bytes, name: str) -> list[Atom]:
    wanted = (
        "group_PDB", "auth_asym_id", "label_asym_id", "auth_seq_id", "label_seq_id", "pdbx_PDB_ins_code", "auth_comp_id",
        "label_comp_id", "auth_atom_id", "label_atom_id", "label_alt_id", "occupancy", "B_iso_or_equiv", "Cartn_x", "Cartn_y",
        "Cartn_z", "pdbx_PDB_model_num",
    )  # fmt: skip
    found = bcif.columns(content, "atom_site", wanted, name)

    def column(*keys: str, default: Any = None) -> list[Any]:
        for key in keys:
            if key in found:
                return found[key].tolist()
        if default is None:
            raise DataError(f"{name} has no column {keys[0]!r} in its table of atoms; get it again.")
        return [default] * len(found["Cartn_x"])

    models = column("pdbx_PDB_model_num", default=1)
    order = {model: i for i, model in enumerate(dict.fromkeys(models), start=1)}
    rows = zip(
        models, column("auth_asym_id", "label_asym_id"), column("auth_seq_id", "label_seq_id"),
        column("pdbx_PDB_ins_code", default=""), column("auth_comp_id", "label_comp_id"),
        column("auth_atom_id", "label_atom_id"), column("label_alt_id", default=""), column("group_PDB", default="ATOM"),
        column("occupancy", default=1.0), column("B_iso_or_equiv", default=0.0),
        column("Cartn_x"), column("Cartn_y"), column("Cartn_z"), strict=True,
    )  # fmt: skip
    return [
        Atom(order[m], chain, f"{_whole(number)}{ins}", res, atom, alt, group == "HETATM", occ, b, x, y, z)
        for m, chain, number, ins, res, atom, alt, group, occ, b, x, y, z in rows
    ]


def _whole(number: Any) -> Any:
    """Return a residue's number as an integer where a column with absent values made it a float."""
    return int(number) if isinstance(number, float) and math.isfinite(number) else number
