"""A structure file as what a design needs: target, labels, own residues and points of the sites that a model has.

Several chains, "A,B", are one after the other in one sequence: the model sees no gap between them, the target knows their
distances. A Potts model takes the residues of its family's columns and leaves the others out. A motif, "file.pdb:A10-25@40",
keeps residues and the distances among them in a chain that is generated.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mumei.core.errors import UsageError, suggest
from mumei.protein.constraints import Places
from mumei.protein.fitting import sites_of
from mumei.protein.models.base import SequenceModel
from mumei.protein.models.potts import Potts
from mumei.protein.structure import Structure, read_chains, read_structure
from mumei.protein.targets import MISSING, Target

MOTIF = re.compile(r"(?P<file>.+):(?P<residues>[^:@]+)@(?P<place>\d+)")


@dataclass(frozen=True)
class Backbone:
    """What is designed to.

    Parameters
    ----------
    target : Target (L, L)
    labels : list of str
    native : str
        L letters, X where unknown.
    points : ndarray (L, 3)
        C-alpha atoms.
    notes : list of str
        What was repaired or left out.
    """

    target: Target
    labels: list[str]
    native: str
    points: np.ndarray
    notes: list[str] = field(default_factory=list)


def read(path: Path | str, model: SequenceModel | None = None, chain: str | None = None) -> Backbone:
    """Read one chain, or several named "A,B".

    Raises
    ------
    UsageError
        Chains that are not there or not named, or a family model of another protein.
    DataError
        As `read_structure`.
    """
    structure = _joined(path, chain) if chain is not None and "," in chain else read_structure(path, chain=chain)
    target, notes = Target.of(structure), list(structure.repairs)
    places: Any = np.arange(len(structure))
    if isinstance(model, Potts) and model.length != len(structure):
        _, places = sites_of(model, structure.sequence)
        notes.append(
            f"{len(places)} of {len(structure)} residues are sites of {model.name}; the others are not designed"
        )
    return Backbone(
        target.take(places),
        [structure.labels[i] for i in places],
        "".join(structure.sequence[i] for i in places),
        structure.backbone[places, 1],
        notes,
    )


class _Complex(Structure):
    """Chains one after the other, with labels of their own."""

    own_labels: tuple[str, ...] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        return self.own_labels


def _joined(path: Path | str, chains: str) -> Structure:
    there = {s.chain: s for s in read_chains(path)}
    wanted = [name.strip() for name in chains.split(",") if name.strip()]
    for name in wanted:
        if name not in there:
            known = ", ".join(map(repr, there))
            raise UsageError(f"{path} has no protein chain {name!r}.{suggest(name, there)} It has: {known}.")
    if len(set(wanted)) < len(wanted):
        raise UsageError(f"chain {chains!r} names one twice; name each once.")
    parts = [there[name] for name in wanted]
    made = _Complex(
        parts[0].name,
        "+".join(wanted),
        "".join(s.sequence for s in parts),
        tuple(number for s in parts for number in s.numbers),
        np.concatenate([s.backbone for s in parts]),
        np.concatenate([s.b_factors for s in parts]),
        (
            *(repair for s in parts for repair in s.repairs),
            "the chains are one sequence to the model, without a linker",
        ),
    )
    object.__setattr__(made, "own_labels", tuple(label for s in parts for label in s.labels))
    return made


def read_motif(text: str, length: int) -> tuple[Tensor, str]:
    """Return the distance classes to keep (length, length) int64, -1 where free, and the sequence with X where free."""
    found = MOTIF.fullmatch(text.strip())
    if found is None:
        raise UsageError(
            f"--motif {text!r} is not understood; write FILE:RESIDUES@PLACE, such as enzyme.pdb:A10-25@40."
        )
    residues = found["residues"].split("+")
    named = re.match(r"[A-Za-z]+", residues[0])
    chains = {s.chain: s for s in read_chains(found["file"])}
    name = named[0] if named and named[0] in chains else None
    structure = read_structure(found["file"], chain=name)
    places = Places(structure.labels)
    sites = [i for part in residues for i in places.of(part.strip(), "--motif")]
    first = int(found["place"]) - 1
    if first < 0 or first + len(sites) > length:
        raise UsageError(
            f"--motif {text!r}: {len(sites)} residues from place {first + 1} on do not fit into {length}; move them."
        )
    if any(structure.sequence[i] == "X" for i in sites):
        raise UsageError(f"--motif {text!r} has a residue that is none of the twenty; leave it out.")
    keep = torch.full((length, length), MISSING)
    where = slice(first, first + len(sites))
    keep[where, where] = Target.of(structure).take(sites).distance
    sequence = "X" * first + "".join(structure.sequence[i] for i in sites) + "X" * (length - first - len(sites))
    return keep, sequence
