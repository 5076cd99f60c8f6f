"""The geometry of pairs of residues that trRosetta uses (Yang and others 2020): one distance, two dihedrals, one angle.

C-beta is rebuilt from N, C-alpha and C for every residue, glycine too, so all angles are defined alike. Missing atoms are
NaN, and so is everything that hangs on them. Distances are Angstrom, angles radians. For residues i and j:
distance = CB_i CB_j; omega = dihedral CA_i CB_i CB_j CA_j (symmetric); theta = dihedral N_i CA_i CB_i CB_j;
phi = angle CA_i CB_i CB_j (both not symmetric). The angles of a residue with itself are NaN.
"""

from __future__ import annotations

import numpy as np

CB_FROM = (-0.58273431, 0.56802827, -0.54067466)  # of b x c, b, c with b = CA - N, c = C - CA
CONTACT = 8.0


def virtual_cb(backbone: np.ndarray) -> np.ndarray:
    """Return the rebuilt C-beta atoms (L, 3) of backbones (L, 3 atoms N CA C, 3)."""
    n, ca, c = np.moveaxis(np.asarray(backbone, dtype=np.float64), 1, 0)
    first, second = ca - n, c - ca
    a, b, g = CB_FROM
    return a * np.cross(first, second) + b * first + g * second + ca


def distances(points: np.ndarray) -> np.ndarray:
    """Return the distances (L, L) between points (L, 3); exactly 0 on the diagonal, NaN where a point is missing."""
    return np.linalg.norm(points[:, None] - points[None], axis=-1)


def omega(backbone: np.ndarray) -> np.ndarray:
    """Return the dihedrals CA CB CB CA (L, L), in (-pi, pi], symmetric."""
    ca, cb = backbone[:, 1], virtual_cb(backbone)
    return _without_self(dihedral(ca[:, None], cb[:, None], cb[None], ca[None]))


def theta(backbone: np.ndarray) -> np.ndarray:
    """Return the dihedrals N CA CB CB (L, L), in (-pi, pi]."""
    n, ca, cb = backbone[:, 0], backbone[:, 1], virtual_cb(backbone)
    return _without_self(dihedral(n[:, None], ca[:, None], cb[:, None], cb[None]))


def phi(backbone: np.ndarray) -> np.ndarray:
    """Return the angles CA CB CB (L, L), in [0, pi]."""
    ca, cb = backbone[:, 1], virtual_cb(backbone)
    first, second = ca[:, None] - cb[:, None], cb[None] - cb[:, None]
    size = np.linalg.norm(first, axis=-1) * np.linalg.norm(second, axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        cosine = (first * second).sum(-1) / size
    return _without_self(np.arccos(np.clip(cosine, -1.0, 1.0)))


def dihedral(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> np.ndarray:
    """Return the dihedral angle of four points (..., 3), positive where d is clockwise of a seen along b to c (IUPAC)."""
    first, axis, last = b - a, c - b, d - c
    left, right = np.cross(first, axis), np.cross(axis, last)
    sine = (first * right).sum(-1) * np.linalg.norm(axis, axis=-1)
    return np.arctan2(sine, (left * right).sum(-1))


def contacts(points: np.ndarray, cutoff: float = CONTACT) -> np.ndarray:
    """Return which pairs of points (L, 3) are closer than the cutoff, bool (L, L); the diagonal is, missing ones are not."""
    with np.errstate(invalid="ignore"):
        return distances(points) < cutoff


def _without_self(angles: np.ndarray) -> np.ndarray:
    np.fill_diagonal(angles, np.nan)
    return angles
