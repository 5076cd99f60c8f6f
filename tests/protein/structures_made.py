"""Small structures made by hand: an ideal helix, and its PDB lines."""

from __future__ import annotations

import numpy as np


def helix(length: int) -> np.ndarray:
    """N, CA, C of an ideal alpha helix (radii, angles and heights of the three atoms after Pauling), (length, 3, 3)."""
    radius, turn, rise = np.array([1.55, 2.28, 1.66]), np.array([-28.0, 0.0, 27.0]), np.array([-0.9, 0.0, 1.15])
    angle = np.deg2rad(turn[None] + 100.0 * np.arange(length)[:, None])
    height = rise[None] + 1.5 * np.arange(length)[:, None]
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), height], axis=-1)


def pdb_line(
    number, name, residue, chain, label, xyz, *, record="ATOM", alternate="", occupancy="  1.00", insertion=""
):
    x, y, z = xyz
    return (
        f"{record:<6}{number:>5}  {name:<3}{alternate or ' '}{residue:>3} {chain}{label:>4}{insertion or ' '}   "
        f"{x:8.3f}{y:8.3f}{z:8.3f}{occupancy} 10.00           {name[0]}"
    )


def pdb_text(residues=("ALA",) * 6, chain="A", first=1, start=0) -> list[str]:
    lines = []
    for i, (residue, points) in enumerate(zip(residues, helix(start + len(residues))[start:], strict=True)):
        for name, point in zip(("N", "CA", "C"), points, strict=True):
            record = "HETATM" if residue in ("MSE", "LIG") else "ATOM"
            lines.append(pdb_line(len(lines) + 1, name, residue, chain, first + i, point, record=record))
    return lines
