"""Which changes a sampler may propose: groups of tied sites, the residues each may have, and rules that no design may break.

A rule has a violation of 0 or more. From a sequence that breaks one only steps that mend it are taken, from one that keeps all
only those that keep them: among the sequences that keep them, the chain's law is the energy's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from mumei.core import seeds
from mumei.core.errors import UsageError
from mumei.protein.alphabet import AMINO_ACIDS

Rule = Callable[[Tensor], Tensor]  # sequences (P, L) to violations (P,)
RESIDUES = len(AMINO_ACIDS)


@dataclass(frozen=True)
class Moves:
    """What may change.

    Parameters
    ----------
    allowed : Tensor (L, 20) bool
        Residues that each site may have.
    groups : sequence of sequence of int
        Sites that change together; every site that may change is in one of them, and those left out stay as they start.
    start : Tensor (L,) int64, optional
        Codes to start with, 20 where they are drawn; drawn everywhere where left out.
    rules : sequence of functions
    """

    allowed: Tensor
    groups: tuple[tuple[int, ...], ...]
    start: Tensor | None = None
    rules: tuple[Rule, ...] = ()
    sites: Tensor = field(init=False)
    lists: Tensor = field(init=False)
    sizes: Tensor = field(init=False)

    def __post_init__(self) -> None:
        if not self.groups:
            raise UsageError("every residue is fixed; there is nothing to design. Fix fewer.")
        widest = max(map(len, self.groups))
        sites = torch.tensor([[*group, *[-1] * (widest - len(group))] for group in self.groups])
        both = torch.stack([self.allowed[list(group)].all(0) for group in self.groups])
        if not bool(both.any(1).all()):
            where = [i + 1 for i in self.groups[int(both.any(1).int().argmin())]]
            raise UsageError(f"the sites {where} have no residue that is allowed at all of them; allow one.")
        object.__setattr__(self, "sites", sites)
        object.__setattr__(self, "sizes", both.sum(1))
        object.__setattr__(
            self, "lists", both.int().argsort(dim=1, descending=True, stable=True)
        )  # the allowed ones first

    @classmethod
    def free(cls, length: int, without: str = "C") -> Moves:
        """Return the moves of a sequence without any constraint but residues left out (cysteine, as published)."""
        allowed = torch.ones(length, RESIDUES, dtype=torch.bool)
        allowed[:, [AMINO_ACIDS.index(letter) for letter in without]] = False
        return cls(allowed, tuple((i,) for i in range(length)))

    def starts(self, n: int, seed: int) -> Tensor:
        """Return n sequences to start with: uniform over what is allowed, groups alike, (n, L) int64."""
        rows = []
        for chain in range(n):
            draw = seeds.numpy_generator(seed, "start", chain).random(len(self.groups))
            row = self.start.clone() if self.start is not None else torch.full((len(self.allowed),), RESIDUES)
            for group, u in enumerate(draw):
                where = list(self.groups[group])
                if bool((row[where] == RESIDUES).any()):
                    row[where] = self.lists[group, int(u * int(self.sizes[group]))]
            rows.append(row)
        found = torch.stack(rows)
        if bool((found >= RESIDUES).any()):
            raise UsageError(
                "a fixed site has no known residue to start with; give one by allowing a single residue there."
            )
        return found

    def violation(self, tokens: Tensor) -> Tensor:
        """Return the sum of all rules' violations, float64 (P,)."""
        total = torch.zeros(len(tokens), dtype=torch.float64)
        for rule in self.rules:
            total += rule(tokens).double()
        return total

    def uniform(self, group: Tensor, u: np.ndarray) -> Tensor:
        """Return an allowed residue of each group by a number in [0, 1)."""
        sizes = self.sizes[group]
        place = (torch.from_numpy(u) * sizes).long().clamp(max=sizes - 1)
        return self.lists[group, place]


def charge_rule(low: float, high: float, charges: Sequence[float]) -> Rule:
    """Return how far the net charge is out of a range; `charges` (20,) is each residue's."""
    table = torch.tensor(charges, dtype=torch.float64)

    def rule(tokens: Tensor) -> Tensor:
        net = table[tokens].sum(1)
        return (low - net).clamp(min=0) + (net - high).clamp(min=0)

    return rule


def run_rule(longest: int) -> Rule:
    """Return by how many residues runs of one residue are longer than `longest`, summed over places where they are."""

    def rule(tokens: Tensor) -> Tensor:
        same = tokens[:, 1:] == tokens[:, :-1]
        if longest > tokens.shape[1] - 1:
            return torch.zeros(len(tokens))
        return same.unfold(1, longest, 1).all(-1).sum(1)  # windows of longest + 1 equal residues

    return rule
