"""The n-gram term: the sum over orders n of KL(p_n(x) | q_n), p_n a sequence's own frequencies and q_n natural ones.

With c the count of an n-gram among N = L - n + 1, the divergence is the sum over those present of c / N (log(c / N) - log q).
A substitution touches at most n n-grams of an order before and n after, so the change is had from 2 n counts. q has a floor of
1e-5, which is also that of n-grams never seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from mumei.core.errors import DataError, UsageError
from mumei.protein.energy import Proposals
from mumei.protein.models.ngram import Ngram

RESIDUES = 20
FLOOR = 1e-5


class NgramTerm:
    """The term of natural frequencies by order. Counts of all orders lie in one table, in numpy: its arrays are small.

    Parameters
    ----------
    frequencies : mapping of int to array (20,) * n
        q_n of each order n, summing to 1 (or nearly, where it was given its floor).
    """

    cheap = True
    name = "ngram"

    def __init__(self, frequencies: Mapping[int, np.ndarray | Tensor]):
        self.orders = sorted(int(n) for n in frequencies)
        if not self.orders or self.orders[0] < 1:
            raise UsageError(f"n-gram orders {self.orders} are not allowed; give 1 or more, such as 1, 2, 3.")
        parts = []
        for n in self.orders:
            q = np.asarray(frequencies[n], dtype=np.float64).ravel()
            if len(q) != RESIDUES**n or not np.isfinite(q).all() or (q < 0).any():
                raise DataError(
                    f"the frequencies of order {n} must be {RESIDUES}^{n} numbers of 0 or more; found {len(q)}."
                )
            parts.append(np.log(np.maximum(q, FLOOR)))
        self._log_q = np.concatenate(parts)
        self._offset = np.cumsum([0, *(len(part) for part in parts)])[:-1]
        self._counts = np.zeros((0, len(self._log_q)))

    @classmethod
    def of(cls, model: Ngram) -> NgramTerm:
        """Return the term of a model's frequencies."""
        return cls({n: (f / f.sum()).cpu() for n, f in model.frequencies.items()})

    def value(self, tokens: Tensor) -> Tensor:
        """Return the sums of divergences, float64 (B,)."""
        return torch.from_numpy(self._value(self._count(tokens.numpy()), tokens.shape[1]))

    def start(self, tokens: Tensor) -> Tensor:
        """Count, and return the values."""
        self._counts = self._count(tokens.numpy())
        return torch.from_numpy(self._value(self._counts, tokens.shape[1]))

    def change(self, proposals: Proposals) -> Tensor:
        """Return the change, from the counts of the n-grams at the sites."""
        codes, signs, sizes = self._touched(proposals.before.numpy(), proposals.after.numpy(), proposals.sites.numpy())
        same = codes[:, :, None] == codes[:, None, :]
        net = (same * signs[:, None, :]).sum(2)  # of all entries with this n-gram
        first = ~(same & _earlier(codes.shape[1])).any(2)
        old = self._counts[proposals.row.numpy()[:, None], codes]
        log_q = self._log_q[codes]
        change = (_loss(old + net, log_q, sizes) - _loss(old, log_q, sizes)) * first
        return torch.from_numpy(change.sum(1))

    def accept(self, proposals: Proposals) -> None:
        """Move the counts."""
        codes, signs, _ = self._touched(proposals.before.numpy(), proposals.after.numpy(), proposals.sites.numpy())
        np.add.at(self._counts, (proposals.row.numpy()[:, None], codes), signs)

    def conditional(self, tokens: Tensor, rows: Tensor, sites: Tensor) -> Tensor:
        """Return the change that each residue at a site would make, float64 (n, 20)."""
        before = tokens[rows].repeat_interleave(RESIDUES, 0)
        residue = torch.arange(RESIDUES).repeat(len(rows))
        site = sites.repeat_interleave(RESIDUES)
        after = before.scatter(1, site[:, None], residue[:, None])
        made = Proposals(rows.repeat_interleave(RESIDUES), site, site[:, None], residue, before, after)
        return self.change(made).view(len(rows), RESIDUES)

    def state(self) -> dict[str, Tensor]:
        """Nothing that the sequences do not tell."""
        return {}

    def restore(self, tokens: Tensor, state: Mapping[str, Tensor]) -> None:
        """Count again: counts are whole numbers."""
        self.start(tokens)

    def _value(self, counts: np.ndarray, length: int) -> np.ndarray:
        sizes = np.concatenate([np.full(RESIDUES**n, max(1, length - n + 1), dtype=np.float64) for n in self.orders])
        return _loss(counts, self._log_q, sizes).sum(1)

    def _count(self, tokens: np.ndarray) -> np.ndarray:
        counts = np.zeros((len(tokens), len(self._log_q)))
        rows = np.arange(len(tokens))[:, None]
        for n, offset in zip(self.orders, self._offset, strict=True):
            width = tokens.shape[1] - n + 1
            if width > 0:
                codes = np.zeros((len(tokens), width), dtype=np.int64)
                for k in range(n):
                    codes = codes * RESIDUES + tokens[:, k : k + width]
                np.add.at(counts, (rows, codes + offset), 1.0)
        return counts

    def _touched(
        self, before: np.ndarray, after: np.ndarray, sites: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the n-grams that the sites are part of (P, m), before (sign -1) and after (+1), and N by n-gram (m,).

        The sign is 0 where a site is at an end; what tied sites share is counted once.
        """
        length, codes, signs, sizes = before.shape[1], [], [], []
        for n, offset in zip(self.orders, self._offset, strict=True):
            width = length - n + 1
            if width < 1:
                continue
            begin = sites[:, :, None] - np.arange(n)
            valid = ((sites[:, :, None] >= 0) & (begin >= 0) & (begin < width)).reshape(len(sites), -1)
            begin = begin.reshape(len(sites), -1)
            if sites.shape[1] > 1:
                marked = np.where(valid, begin, -1 - np.arange(begin.shape[1]))
                valid &= ~((marked[:, :, None] == marked[:, None, :]) & _earlier(begin.shape[1])).any(2)
            begin = np.clip(begin, 0, width - 1)
            rows = np.arange(len(sites))[:, None]
            old = np.full(begin.shape, 0)
            new = old.copy()
            for k in range(n):
                old = old * RESIDUES + before[rows, begin + k]
                new = new * RESIDUES + after[rows, begin + k]
            codes += [old + offset, new + offset]
            signs += [-valid.astype(np.float64), valid.astype(np.float64)]
            sizes.append(np.full(2 * begin.shape[1], float(width)))
        return np.concatenate(codes, 1), np.concatenate(signs, 1), np.concatenate(sizes)


@lru_cache(maxsize=64)
def _earlier(size: int) -> np.ndarray:
    """Return which of two places comes before the other, bool (size, size)."""
    return np.tril(np.ones((size, size), dtype=bool), -1)


def _loss(counts: np.ndarray, log_q: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    p = counts / sizes
    return p * (np.log(np.maximum(p, 1e-300)) - log_q)  # exactly 0 where the count is
