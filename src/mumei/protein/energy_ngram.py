"""The n-gram term: the sum over orders n of KL(p_n(x) | q_n), p_n a sequence's own frequencies and q_n natural ones.

The energy and its changes are those of `Ngram` and `NgramState` (`models/ngram.py`, `models/ngram_state.py`); here they meet the
sampler's proposals. Tied sites, which change together, are counted anew when judged and substituted one by one when accepted.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from mumei.protein.energy import Proposals
from mumei.protein.models.ngram import SIDE, Ngram
from mumei.protein.models.ngram_state import NgramState


class NgramTerm:
    """The term of natural frequencies.

    Parameters
    ----------
    model : Ngram
    """

    cheap = True
    name = "ngram"
    _state: NgramState

    def __init__(self, model: Ngram):
        self.model = model

    def value(self, tokens: Tensor) -> Tensor:
        """Return the sums of divergences, float64 (B,)."""
        return self.model.energy(tokens).cpu()

    def start(self, tokens: Tensor) -> Tensor:
        """Count, and return the values."""
        self._state = self.model.start(tokens)
        return self._state.energy.cpu()

    def change(self, proposals: Proposals) -> Tensor:
        """Return the changes; 0, to the bit, where nothing changes."""
        single, site = _single(proposals)
        made = torch.zeros(len(proposals), dtype=torch.float64)
        if bool(single.any()):
            made[single] = self._judge(proposals.row[single], site[single], proposals.residue[single])
        if not bool(single.all()):
            made[~single] = self.value(proposals.after[~single])
        return made - self._state.energy.cpu()[proposals.row]

    def accept(self, proposals: Proposals) -> None:
        """Move the counts, site by site."""
        for k in range(proposals.sites.shape[1]):
            there = proposals.sites[:, k] >= 0
            moved = proposals.row[there], proposals.sites[there, k], proposals.residue[there]
            self._state.accept(*(part.to(self.model.device) for part in moved))

    def conditional(self, tokens: Tensor, rows: Tensor, sites: Tensor) -> Tensor:
        """Return the change that each residue at a site would make, float64 (n, 20)."""
        residues = torch.arange(SIDE).repeat(len(rows))
        made = self._judge(rows.repeat_interleave(SIDE), sites.repeat_interleave(SIDE), residues).view(-1, SIDE)
        return made - self._state.energy.cpu()[rows][:, None]

    def state(self) -> dict[str, Tensor]:
        """Nothing that the sequences do not tell."""
        return {}

    def restore(self, tokens: Tensor, state: Mapping[str, Tensor]) -> None:
        """Count again: counts are whole numbers."""
        self.start(tokens)

    def _judge(self, *changes: Tensor) -> Tensor:
        return self._state.judge(*(part.to(self.model.device) for part in changes)).cpu()


def _single(proposals: Proposals) -> tuple[Tensor, Tensor]:
    """Return which proposals are of one site, and that site, each (P,)."""
    return (proposals.sites >= 0).sum(1) == 1, proposals.sites.max(1).values
