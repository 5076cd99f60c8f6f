"""A structure as classes of pairs of residues: what the structure head predicts and a backbone asks for.

The binning is that of the public head of the 650M model, to the letter: 17 edges make 18 distance classes (below 2.5 A, 16
of 1.09375 A, beyond 20 A); 17 omega and 17 theta classes of 2 pi / 17; 7 phi classes whose edges go in even steps from
2 pi / 17 to pi; and one class more of each angle for pairs beyond 20 A. The diagonal has distance class 0, omega and theta
class 8, phi class 0. In contact are pairs nearer than 8 A, the diagonal included; of a target that has classes only, those of
distance classes 0..5 (nearer than 7.97 A). Pairs with a missing residue are -1 and never counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mumei.core.errors import DataError, unknown
from mumei.protein import geometry
from mumei.protein.structure import Structure

KINDS = ("distance", "omega", "theta", "phi")
N_CLASSES = {"distance": 18, "omega": 18, "theta": 18, "phi": 8}
SYMMETRIC = ("distance", "omega")  # the kinds that are the same for (i, j) and (j, i)
CONTACT_CLASSES = 6
DISTANCE_EDGES = np.linspace(2.5, 20.0, 17)
DIHEDRAL_EDGES = np.linspace(-np.pi + 2 * np.pi / 17, np.pi, 17)
PHI_EDGES = np.linspace(2 * np.pi / 17, np.pi, 7)
MISSING = -1


@dataclass(frozen=True)
class Target:
    """The classes of every pair of residues of one chain.

    Parameters
    ----------
    name : str
        Where it comes from.
    distance, omega, theta, phi : Tensor (L, L) int64
        Classes, -1 where unknown.
    contacts : Tensor (L, L) bool
        Pairs in contact, the diagonal included.
    """

    name: str
    distance: Tensor
    omega: Tensor
    theta: Tensor
    phi: Tensor
    contacts: Tensor

    def __len__(self) -> int:
        return len(self.distance)

    def __getitem__(self, kind: str) -> Tensor:
        if kind not in KINDS:
            raise unknown("kind of pair class", kind, KINDS)
        return getattr(self, kind)

    def take(self, places: Any) -> Target:
        """Return the target of some of the residues, given by their places from 0 (those of an alignment's columns, say)."""
        index = torch.as_tensor(np.asarray(places, dtype=np.int64))
        parts = {kind: self[kind][index][:, index] for kind in KINDS}
        return Target(self.name, contacts=self.contacts[index][:, index], **parts)

    @classmethod
    def of(cls, structure: Structure) -> Target:
        """Return the classes of a chain's geometry."""
        distance = geometry.distances(structure.cb())
        b = structure.backbone
        angles = {"omega": geometry.omega(b), "theta": geometry.theta(b), "phi": geometry.phi(b)}
        return cls._binned(f"{structure.name}:{structure.chain}", distance, angles)

    @classmethod
    def from_distances(cls, distance: Any, name: str = "distances") -> Target:
        """Return the target of C-beta distances (L, L) in Angstrom, NaN where unknown; its angles are unknown."""
        distance = np.array(distance, dtype=np.float64)
        if distance.ndim != 2 or distance.shape[0] != distance.shape[1] or not len(distance):
            raise DataError(f"distances have shape {distance.shape}; give a square matrix, residues by residues.")
        if not np.allclose(distance, distance.T, equal_nan=True):
            raise DataError("the distances of (i, j) and (j, i) differ; give a symmetric matrix.")
        return cls._binned(name, distance, {})

    @classmethod
    def from_contacts(cls, contacts: Any, name: str = "contacts") -> Target:
        """Return the target of a contact map, bool (L, L): contacts get the distance class up to 7.97 A, other pairs the
        one beyond 20 A. Only the contacts enter an energy; the map is no distogram to train on.
        """
        contacts = np.array(contacts, dtype=bool)
        if contacts.ndim != 2 or contacts.shape[0] != contacts.shape[1] or not len(contacts):
            raise DataError(f"contacts have shape {contacts.shape}; give a square matrix, residues by residues.")
        if not (contacts == contacts.T).all():
            raise DataError("the contacts of (i, j) and (j, i) differ; give a symmetric matrix.")
        distance = np.where(contacts, DISTANCE_EDGES[4] + 0.5, DISTANCE_EDGES[-1] + 1.0)
        return cls._binned(name, distance, {})

    @classmethod
    def _binned(cls, name: str, distance: np.ndarray, angles: dict[str, np.ndarray]) -> Target:
        seen = np.isfinite(distance)
        np.fill_diagonal(distance, np.where(np.diag(seen), 0.0, np.nan))
        classes = {"distance": _digitize(distance, DISTANCE_EDGES)}
        far, own = classes["distance"] == len(DISTANCE_EDGES), np.eye(len(distance), dtype=bool) & seen
        for kind, edges, diagonal in (
            ("omega", DIHEDRAL_EDGES, 8),
            ("theta", DIHEDRAL_EDGES, 8),
            ("phi", PHI_EDGES, 0),
        ):
            if kind in angles:
                found = _digitize(angles[kind], edges)
                found[far], found[own] = len(edges), diagonal
            else:
                found = np.full(distance.shape, MISSING)
            classes[kind] = found
        with np.errstate(invalid="ignore"):
            near = distance < geometry.CONTACT
        return cls(name, contacts=torch.from_numpy(near), **{kind: torch.from_numpy(classes[kind]) for kind in KINDS})


def _digitize(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Return the number of edges at or below each value, int64; -1 for NaN."""
    return np.where(np.isfinite(values), np.digitize(values, edges), MISSING)


def contacts_of(distance: Tensor) -> Tensor:
    """Return which pairs of distance classes (..., L, L) are in contact, bool."""
    return (distance >= 0) & (distance < CONTACT_CLASSES)
