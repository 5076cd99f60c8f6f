"""The n-gram energies of chains under single substitutions, without counting anew.

A substitution at i changes the n windows of each order that cover i: six of them for orders 1 to 3, however long the sequence is.
Their old and new n-grams are taken off and put on one after the other, each seeing the counts that those before it have left, so
n-grams that occur twice among them come out right. Sums are whole numbers: no drift, and the same bits as `Ngram.energy`.

    state = ngram.start(tokens)                      # tokens (B, L) int64, one row a chain
    state.energy                                     # (B,) float64, of the sequences as they are
    state.propose(positions, residues)               # (B, K), (B, K) -> (B, K): each substitution by itself, nothing changes
    state.propose(positions, residues)               # (B, K, T), (B, K, T) -> (B, K): T substitutions at once (tied positions)
    state.judge(rows, positions, residues)           # (P,) each -> (P,): substitutions of whichever chains
    state.scan(positions)                            # (B, K) -> (B, K, 20): every residue there
    state.accept(rows, positions, residues)          # (R,) each, rows all different: these chains take the substitution
    state.tokens                                     # (B, L), kept up to date

A proposal that changes nothing has the energy of the state itself, to the bit.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from mumei.core.errors import UsageError
from mumei.protein.alphabet import AMINO_ACIDS, UNKNOWN
from mumei.protein.models.ngram import Ngram, c_log_c, digits, kl

SIDE = len(AMINO_ACIDS)
BLOCK = 1 << 15  # proposals at once: each compares the old and new windows with each other


class NgramState:
    """Counts and sums of B chains; made by `Ngram.start`.

    Parameters
    ----------
    model : Ngram
    tokens : Tensor (B, L) int64
        Copied. Positions that are substituted must hold one of the twenty.
    lengths : Tensor (B,) int64
    """

    def __init__(self, model: Ngram, tokens: Tensor, lengths: Tensor):
        self.model, self.tokens, self.lengths = model, tokens.clone(), lengths
        self._edge = model.orders[-1] - 1
        self._padded = model.padded(self.tokens, lengths)
        self._sums, self._windows = model.sums(self._padded)
        self._counts = torch.zeros(len(tokens), model.n_codes + 1, dtype=torch.int64, device=model.device)
        for codes in model.codes(self._padded):
            self._counts.scatter_add_(1, codes, torch.ones_like(codes))
        self._f = c_log_c(self._padded.shape[1] + 1, model.device)
        self._layout(model)

    def _layout(self, model: Ngram) -> None:
        """Lay out the windows that cover a place: for each the digits over the 2n - 1 residues around it."""
        span, device = 2 * self._edge + 1, model.device
        rows, value, offset, order = [], [], [], []
        for k, n in enumerate(model.orders):
            for first in range(self._edge - n + 1, self._edge + 1):
                row = torch.zeros(span, dtype=torch.int64, device=device)
                row[first : first + n] = digits(n, device)
                rows.append(row)
                value.append(int(row[self._edge]))
                offset.append(model.offsets[k])
                order.append(k)
        self._digits = torch.stack(rows)  # (W, 2n - 1)
        self._value = torch.tensor(value, device=device)  # of the place itself, (W,)
        self._offset = torch.tensor(offset, device=device)
        ends = [order.index(k) for k in range(len(model.orders))] + [len(order)]
        self._slices = [slice(a, z) for a, z in pairwise(ends)]
        w = len(order)
        self._sign = torch.cat([-torch.ones(w, dtype=torch.int64), torch.ones(w, dtype=torch.int64)]).to(device)
        self._before = torch.tril(torch.ones(2 * w, 2 * w, dtype=torch.int64, device=device), -1) * self._sign
        self._reach = torch.arange(-self._edge, self._edge + 1, device=device)

    @property
    def energy(self) -> Tensor:
        """Return the energies of the sequences as they are, float64 (B,)."""
        return kl(self._sums, self._windows).sum(1)

    def propose(self, positions: Tensor, residues: Tensor) -> Tensor:
        """Return the energies after each substitution, float64 (B, K); the state stays as it is.

        Parameters
        ----------
        positions, residues : Tensor (B, K) int64, or (B, K, T) for T substitutions at once
        """
        if positions.ndim == 3:
            return self._together(positions, residues)
        b, k = positions.shape
        out = torch.empty(b, k, dtype=torch.float64, device=self._counts.device)
        rows = torch.arange(b, device=out.device)
        step = max(1, BLOCK // max(1, b))
        for start in range(0, k, step):
            part = slice(start, start + step)
            change, _ = self._change(rows, positions[:, part], residues[:, part])
            out[:, part] = kl(self._sums[:, None] + change, self._windows[:, None]).sum(-1)
        return out

    def judge(self, rows: Tensor, positions: Tensor, residues: Tensor) -> Tensor:
        """Return the energies after single substitutions, float64 (P,), each of its own row; the state stays as it is.

        Parameters
        ----------
        rows, positions, residues : Tensor (P,) int64
            A row may be named more than once.
        """
        out = torch.empty(len(rows), dtype=torch.float64, device=self._counts.device)
        for start in range(0, len(rows), BLOCK):
            part = slice(start, start + BLOCK)
            change, _ = self._change(rows[part], positions[part, None], residues[part, None])
            out[part] = kl(self._sums[rows[part]] + change[:, 0], self._windows[rows[part]]).sum(1)
        return out

    def scan(self, positions: Tensor) -> Tensor:
        """Return the energies of every residue at each position, float64 (B, K, 20)."""
        b, k = positions.shape
        all_residues = torch.arange(SIDE, device=positions.device).repeat(b, k)
        return self.propose(positions.repeat_interleave(SIDE, 1), all_residues).view(b, k, SIDE)

    def accept(self, rows: Tensor, positions: Tensor, residues: Tensor) -> None:
        """Substitute in some chains, each named once: rows, positions and residues (R,) int64."""
        change, codes = self._change(rows, positions[:, None], residues[:, None])
        self._sums[rows] += change[:, 0]
        sign = self._sign.expand(len(rows), -1)
        self._counts.index_put_((rows[:, None], codes[:, 0]), sign, accumulate=True)
        self.tokens[rows, positions] = residues
        self._padded[rows, positions + self._edge] = residues

    def _change(self, rows: Tensor, positions: Tensor, residues: Tensor) -> tuple[Tensor, Tensor]:
        """Return the changes of the sums (R, K, orders) and the codes taken off and put on (R, K, 2W)."""
        near = self._padded[rows[:, None, None], positions[..., None] + self._edge + self._reach]
        now = near[..., self._edge]
        if bool((now == UNKNOWN).any()):
            raise UsageError("an unknown residue, or a place beyond the sequence's length, cannot be substituted.")
        hidden = ((near == UNKNOWN)[..., None, :] & (self._digits > 0)).any(-1)  # (R, K, W)
        old = (near[..., None, :] * self._digits).sum(-1) + self._offset
        new = old + (residues - now)[..., None] * self._value
        codes = torch.cat([old, new], -1).masked_fill_(torch.cat([hidden, hidden], -1), self.model.n_codes)
        same = codes[..., :, None] == codes[..., None, :]
        count = self._counts[rows[:, None, None], codes] + (same * self._before).sum(-1)
        count.masked_fill_(codes == self.model.n_codes, 1)  # windows that do not count are taken off and put on alike
        change = self._f[count + self._sign] - self._f[count] - self._sign * self.model.whole_log_q[codes]
        w = len(self._value)
        change = torch.where(hidden, 0, change[..., :w] + change[..., w:])
        return torch.stack([change[..., part].sum(-1) for part in self._slices], -1), codes

    def _together(self, positions: Tensor, residues: Tensor) -> Tensor:
        """Return the energies after several substitutions at once, by counting anew."""
        b, k, _ = positions.shape
        if bool((self._padded.gather(1, positions.flatten(1) + self._edge) == UNKNOWN).any()):
            raise UsageError("an unknown residue, or a place beyond the sequence's length, cannot be substituted.")
        tokens = self.tokens[:, None].repeat(1, k, 1).scatter_(2, positions, residues)
        return self.model.energy(tokens.flatten(0, 1), self.lengths.repeat_interleave(k)).view(b, k)
