"""Fits as a user asks for them: a family's Potts model for one protein, and heads over models of known structures.

A Potts model that was fitted for a protein keeps which residues its sites are (`about["residues"]`), the protein's sequence, and
the file of its structure where there was one. So a head can be fitted on Potts models alone: each brings its own example.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mumei.core.errors import DataError, UsageError
from mumei.protein.alphabet import encode
from mumei.protein.contacts import ContactHead, precision
from mumei.protein.family import aligned_query, leave_out
from mumei.protein.models.base import SequenceModel
from mumei.protein.models.potts import Potts
from mumei.protein.projection import Example, StructureHead
from mumei.protein.sequence import read_alignment
from mumei.protein.structure import Structure, read_structure
from mumei.protein.targets import Target

Progress = Callable[[int], Any]


def fit_potts(
    alignment: Path | str,
    *,
    sequence: str | None = None,
    structure: Path | str | None = None,
    chain: str | None = None,
    identity: float | None = None,
    method: str = "pseudo",
    max_gaps: float = 0.8,
    most: int = 3000,
    max_iter: int = 40,
    seed: int = 0,
    device: str = "cpu",
    name: str = "",
    progress: Progress | None = None,
) -> Potts:
    """Fit a family for one protein, given as letters, by its structure, or else as the alignment's first record.

    Parameters
    ----------
    alignment : path
        Aligned FASTA, A3M or Stockholm. The protein need not be in it: it is aligned to the columns.
    sequence : str, optional
        The protein, unaligned.
    structure, chain : path and str, optional
        Its structure; residues that no column matches are no sites.
    identity : float, optional
        Leave the protein and every sequence more identical to it than this part out of the fit.
    method, max_gaps, most, max_iter, seed, device, name, progress
        As `Potts.fit` has them.

    Raises
    ------
    UsageError
        Both a sequence and a structure.
    DataError
        Rows of unequal length, a protein of another family, or too few sequences left.
    """
    if sequence is not None and structure is not None:
        raise UsageError("give the protein by its sequence or by its structure, not by both.")
    started = time.monotonic()
    family = read_alignment(alignment)
    found: Structure | None = None
    if structure is not None:
        found = read_structure(structure, chain=chain)
        sequence = found.sequence
    if sequence is None:
        sequence = family.rows[0].replace("-", "")
        row, residues, score = family.rows[0], np.arange(len(sequence)), None
    else:
        query = aligned_query(sequence, family)
        row, residues, score = query.row, query.residues, round(query.score, 1)
    kept, dropped = leave_out(family, row, identity) if identity is not None else (family, 0)
    model = Potts.fit(
        kept, method=method, query=row, max_gaps=max_gaps, most=most, max_iter=max_iter, seed=seed, device=device, name=name,
        progress=progress,
    )  # fmt: skip
    model.about |= {
        "sequence": sequence, "residues": residues.tolist(), "alignment_score": score, "identity_limit": identity,
        "left_out_similar": dropped, "seconds": round(time.monotonic() - started, 1),
    }  # fmt: skip
    if found is not None:
        model.about |= {
            "structure": str(structure),
            "chain": found.chain,
            "numbers": [found.numbers[i] for i in residues],
        }
    return model


def sites_of(model: Potts, sequence: str | None = None) -> tuple[str, np.ndarray]:
    """Return the letters of a Potts model's sites, and which residues they are, for the protein it was fitted for.

    Parameters
    ----------
    sequence : str, optional
        Another form of that protein, of the same length (a mutant or a design), or of the sites alone.
    """
    own, residues = model.about.get("sequence"), np.asarray(model.about.get("residues", []), dtype=np.int64)
    if sequence is None:
        if own is None:
            raise UsageError(
                f"{model.name} does not say for which protein it was fitted; give a sequence of {model.length} residues."
            )
        sequence = str(own)
    if own is not None and len(sequence) == len(str(own)) and len(residues) == model.length:
        return "".join(sequence[i] for i in residues), residues
    if len(sequence) == model.length:
        return sequence, np.arange(len(sequence))
    whole = f", or of the {len(str(own))} of the whole protein" if own is not None else ""
    raise UsageError(
        f"{model.name} takes sequences of its {model.length} sites{whole}; this one has {len(sequence)} residues."
    )


def example_of(model: Potts) -> Example:
    """Return a Potts model with its own protein's sites and their target, to fit a head on."""
    path = model.about.get("structure")
    if path is None:
        raise UsageError(
            f"{model.name} was fitted without a structure, so it is no example for a head; fit it with one."
        )
    structure = read_structure(path, chain=model.about.get("chain"))
    letters, residues = sites_of(model, structure.sequence)
    return (
        model,
        torch.from_numpy(encode(letters, unknown="keep")).to(model.device),
        Target.of(structure).take(residues),
    )


def examples_of(model: SequenceModel, paths: Sequence[Path | str]) -> Iterator[Example]:
    """Yield the chains of structure files that a language model takes, with their targets; a file may have several chains."""
    from mumei.protein.structure import read_chains

    if model.length is not None:
        raise UsageError(
            f"{model.name} is of one family; fit a head on Potts models with structures of their own instead."
        )
    for path in paths:
        for structure in read_chains(path):
            if model.max_length is None or len(structure) <= model.max_length:
                tokens: Tensor = torch.from_numpy(encode(structure.sequence, unknown="keep")).to(model.device)
                yield model, tokens, Target.of(structure)


def fit_head(
    examples: Sequence[Example], *, kind: str = "structure", held_out: int = 0, progress: Progress | None = None
) -> tuple[StructureHead | ContactHead, dict[str, Any]]:
    """Fit a head, and measure it on examples that it has not seen.

    Parameters
    ----------
    examples : sequence of (model, tokens, Target)
    kind : {"structure", "contact"}
        The paper's head of distances and angles, or logistic regression on APC-corrected maps.
    held_out : int
        So many of the last examples only measure.

    Returns
    -------
    head, dict
        The head, and by example its precision of the L likeliest contacts at least 6 apart ("seen" or "held out").
    """
    if kind not in ("structure", "contact"):
        raise UsageError(f"kind={kind!r} is not allowed; give 'structure' or 'contact'.")
    if held_out >= len(examples):
        raise DataError(f"{held_out} of {len(examples)} chains cannot be held out; at least one is needed to fit on.")
    seen = examples[: len(examples) - held_out]
    head = (
        StructureHead.fit(seen, progress=progress) if kind == "structure" else ContactHead.fit(seen, progress=progress)
    )
    measured = {}
    for place, (model, tokens, target) in enumerate(examples):
        if isinstance(head, StructureHead):
            found = head.contact_probability(model, tokens[None])[0]
        else:
            found = head.probability(model, tokens[None])[0]
        chance = float(target.contacts.float().mean())
        measured[target.name] = {
            "precision": round(precision(found, target), 3), "contacts": round(chance, 3), "held_out": place >= len(seen)
        }  # fmt: skip
    return head, measured
