"""The structure term: against a backbone, or against structures that are drawn from the head as free generation does.

Against a backbone the energy of a proposal is remembered until its row changes, so what is proposed again costs nothing. Drawn:
every ordered pair's distance class is drawn on its own from p(class | x); pairs of classes 0..5 are the contacts, as in the
paper's code. It draws angles too, which its energy does not use, so they are left out here. The distances of the current
sequence are known from the pass that judged it, and a draw costs no pass.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from mumei.core.errors import UsageError
from mumei.protein import draws
from mumei.protein.energy import Proposals
from mumei.protein.models.base import SequenceModel
from mumei.protein.projection import FLOOR, StructureHead
from mumei.protein.targets import Target, contacts_of

ROWS = 64  # sequences that are projected at once


class StructureTerm:
    """E_struct against a backbone.

    Parameters
    ----------
    model : SequenceModel
    head : StructureHead
    target : Target
    """

    cheap = False
    name = "structure"

    def __init__(self, model: SequenceModel, head: StructureHead, target: Target):
        if not bool(target.contacts.any()):
            raise UsageError(
                f"{target.name} has no residue pair with coordinates in contact; there is nothing to design to."
            )
        self.model, self.head, self.target = model, head, target
        self.asked = 0  # sequences that the head has seen
        self._current = torch.zeros(0, dtype=torch.float64)
        self._known = torch.zeros(0)

    def value(self, tokens: Tensor) -> Tensor:
        """Return E_struct, float64 (B,)."""
        self.asked += len(tokens)
        parts = [self.head.energy(self.model, part, self.target).double().cpu() for part in tokens.split(ROWS)]
        return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.float64)

    def start(self, tokens: Tensor) -> Tensor:
        """Return E_struct."""
        self._current = self.value(tokens)
        self._known = torch.full((*tokens.shape, 20), torch.nan, dtype=torch.float64)
        return self._current.clone()

    def change(self, proposals: Proposals) -> Tensor:
        """Return the change; each different proposal of a row is computed once."""
        where = (proposals.row, proposals.group, proposals.residue)
        missing = torch.where(torch.isnan(self._known[where]))[0]
        if len(missing):
            some = proposals.take(missing)
            place = (some.row * self._known.shape[1] + some.group) * 20 + some.residue
            _, back = torch.unique(place, return_inverse=True)
            first = torch.full((int(back.max()) + 1,), len(back)).scatter_reduce_(
                0, back, torch.arange(len(back)), "amin"
            )
            values = self.value(some.after[first])
            self._known[some.row[first], some.group[first], some.residue[first]] = values
        return self._known[where] - self._current[proposals.row]

    def accept(self, proposals: Proposals) -> None:
        """Take the values of the accepted ones and forget what was known of their rows."""
        self._current[proposals.row] = self._known[proposals.row, proposals.group, proposals.residue]
        self._known[proposals.row] = torch.nan

    def state(self) -> dict[str, Tensor]:
        """Return the current values and those of proposals."""
        return {"current": self._current, "known": self._known}

    def restore(self, tokens: Tensor, state: Mapping[str, Tensor]) -> None:
        """Take them back."""
        self._current, self._known = state["current"].clone(), state["known"].clone()


class DrawnStructureTerm:
    """E_struct against distance classes drawn from the head: the y of blocked Gibbs on p(x, y).

    Parameters
    ----------
    temperature : float
        Of the draw; the paper's is 1.
    seed : int
    keep : Tensor (L, L) int64, optional
        Classes that are not drawn, a motif's; -1 where they are.
    """

    cheap = False
    name = "structure"

    def __init__(
        self,
        model: SequenceModel,
        head: StructureHead,
        seed: int = 0,
        temperature: float = 1.0,
        keep: Tensor | None = None,
    ):
        if temperature <= 0:
            raise UsageError(f"the temperature of drawing structures is {temperature}; give one above 0.")
        self.model, self.head, self.seed, self.temperature, self.keep = model, head, seed, temperature, keep
        self.asked = 0
        self._logp = self._after = torch.zeros(0)  # (B, 18, L, L) of the current and of the last judged sequences
        self._classes = torch.zeros(0, dtype=torch.int8)  # (B, L, L) drawn
        self._judged: dict[tuple[int, int, int], int] = {}

    def value(self, tokens: Tensor) -> Tensor:
        """Return E_struct of rows against their drawn structures; a sequence judged alone must be a current row."""
        return self._against(self._project(tokens), torch.arange(len(tokens)))

    def start(self, tokens: Tensor) -> Tensor:
        """Draw the first structures and return E_struct."""
        self._logp = self._project(tokens)
        self._classes = torch.zeros(len(tokens), tokens.shape[1], tokens.shape[1], dtype=torch.int8)
        return self.redraw(torch.arange(len(tokens)), torch.zeros(len(tokens), dtype=torch.int64))

    def redraw(self, rows: Tensor, rounds: Tensor) -> Tensor:
        """Draw the structures of rows anew, by the number of their round; return their E_struct, float64."""
        size = self._classes.shape[1] ** 2
        key = draws.keys(self.seed, len(self._classes), "structure")[rows.numpy()]
        counter = rounds.numpy()[:, None] * size + np.arange(size)
        u = torch.from_numpy(draws.uniform(key[:, None], counter)).view(len(rows), 1, *self._classes.shape[1:])
        logp = self._logp[rows]
        if self.temperature != 1.0:
            logp = torch.log_softmax(logp / self.temperature, 1)
        cumulated = logp.exp().cumsum(1)
        classes = (cumulated[:, :-1] <= u).sum(1)
        if self.keep is not None:
            classes = torch.where(self.keep >= 0, self.keep, classes)
        self._classes[rows] = classes.to(torch.int8)
        return self._against(self._logp[rows], rows)

    def change(self, proposals: Proposals) -> Tensor:
        """Return the change against the row's drawn structure."""
        self._after = self._project(proposals.after)
        place = zip(proposals.row.tolist(), proposals.group.tolist(), proposals.residue.tolist(), strict=True)
        self._judged = {where: i for i, where in enumerate(place)}
        return self._against(self._after, proposals.row) - self._against(self._logp[proposals.row], proposals.row)

    def accept(self, proposals: Proposals) -> None:
        """Keep the distances of the accepted ones."""
        place = zip(proposals.row.tolist(), proposals.group.tolist(), proposals.residue.tolist(), strict=True)
        self._logp[proposals.row] = self._after[[self._judged[where] for where in place]]

    def state(self) -> dict[str, Tensor]:
        """Return the distances of the current sequences and what was drawn."""
        return {"logp": self._logp, "classes": self._classes}

    def restore(self, tokens: Tensor, state: Mapping[str, Tensor]) -> None:
        """Take them back."""
        self._logp, self._classes = state["logp"].clone(), state["classes"].clone()

    def drawn(self) -> Tensor:
        """Return the distance classes of the rows, int64 (B, L, L)."""
        return self._classes.long()

    def _project(self, tokens: Tensor) -> Tensor:
        self.asked += len(tokens)
        parts = [
            self.head.logprobs(self.model, part, kinds=("distance",))["distance"].cpu() for part in tokens.split(ROWS)
        ]
        return torch.cat(parts)

    def _against(self, logp: Tensor, rows: Tensor) -> Tensor:
        classes = self._classes[rows].long()
        contacts = contacts_of(classes)
        lost = -torch.log(logp.gather(1, classes[:, None])[:, 0].double().exp() + FLOOR)
        return (lost * contacts).sum((1, 2)) / contacts.sum((1, 2)).clamp(min=1)
