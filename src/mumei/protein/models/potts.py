"""A Potts model of one protein family: fields and couplings of an alignment, as a sequence model that needs no network.

Its conditionals p(x_i | the rest) are exact masked log-probabilities, and its couplings are pair maps. What is learned is one
family: the model takes sequences of the alignment's kept columns and says nothing beyond them.

The maps, all in units of the family's mean coupling norm: the couplings J_ij(x_i, x_j) of this very sequence; the same with
means of row and column taken off; the latter times the family's norm; the family's APC-corrected norm |J_ij| (the same for
every sequence); and indicators of the separation along the chain, which an attention map knows by its positions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from mumei.core.artifact import Saveable, State
from mumei.core.errors import DataError, UsageError, suggest, unknown
from mumei.core.runtime import pick_device
from mumei.protein.alphabet import AMINO_ACIDS, CODES, UNKNOWN
from mumei.protein.models import potts_fit
from mumei.protein.models.base import checked
from mumei.protein.sequence import Alignment, read_alignment

METHODS = ("pseudo", "mean-field")
BANDS = ((0, 0), (1, 1), (2, 2), (3, 3), (4, 4), (5, 7), (8, 11), (12, 23))
COUPLING_MAPS = 4
GATHER = 1 << 24  # numbers gathered at once


class Potts(Saveable):
    """Fields and couplings of a family; make one by `Potts.fit`.

    Parameters
    ----------
    h : Tensor (L, 21)
    couplings : Tensor (L, L, 21, 21)
        J_ij(a, b) in the zero-sum gauge, J_ij(a, b) = J_ji(b, a), zero for i = j.
    columns : sequence of int
        Which columns of the alignment the L sites are.
    name : str
    about : dict
        Of the fit: sequences, effective sequences, method, losses.
    """

    max_length: int | None = None

    def __init__(
        self,
        h: Tensor,
        couplings: Tensor,
        columns: Sequence[int] | np.ndarray,
        name: str = "potts",
        about: dict[str, Any] | None = None,
    ):
        self.h, self.J, self.name = h.float(), couplings.float(), name
        self.columns, self.about = np.asarray(columns, dtype=np.int64), dict(about or {})
        n, neff = self.about.get("sequences", "?"), self.about.get("effective", "?")
        self.claims = (
            f"A Potts model of one family ({n} sequences, {neff} effective). Its scores and designs hold within that family "
            "and its alignment's columns; it claims no new fold, no stability and no function."
        )
        self.length: int | None = len(h)
        self.device = self.h.device
        self.n_maps = COUPLING_MAPS + len(BANDS)
        # J_ij(a, b) with a last: what all residues a at i get from x_j = b is one row.
        self._by_other = self.J.transpose(-1, -2).contiguous()
        norms = self.couplings_norm(corrected=False)
        self._scale = float(norms.sum() / max(1, len(h) * (len(h) - 1))) or 1.0
        self._norms = self.couplings_norm() / self._scale
        self._bands = _bands(len(h), self.device)

    @classmethod
    def example(cls) -> Self:
        """Return one of six random aligned sequences, for the conformance checks."""
        rows = ["MKTAYIAKQR", "MKSAYLAKQR", "MRTAFIAKQK", "LKTGYIARQR", "MKTAYVSKNR", "IKTSYIAKQH"]
        return cls.fit(rows, max_iter=5, name="example")

    @classmethod
    def fit(
        cls,
        alignment: Path | str | Sequence[str] | Alignment,
        *,
        method: str = "pseudo",
        query: str | None = None,
        max_gaps: float = 0.8,
        most: int = 3000,
        max_iter: int = 40,
        seed: int = 0,
        device: str = "cpu",
        name: str = "",
        progress: Callable[[int], Any] | None = None,
    ) -> Self:
        """Fit a family.

        Parameters
        ----------
        alignment : path, list of aligned rows, or Alignment
        method : {"pseudo", "mean-field"}
            Pseudo-likelihood has the better conditionals, mean field is the faster one.
        query : str, optional
            A record's name, or a row aligned to the others: its residues are the sites. The first record where left out.
        max_gaps : float
            Sequences with a larger part of gaps in the kept columns are left out.
        most : int
            Fit on at most so many sequences, drawn by weight.
        progress : callable, optional
            Called with 1 after each step of the pseudo-likelihood.

        Raises
        ------
        DataError
            Too few sequences or columns.
        """
        if method not in METHODS:
            raise unknown("method of fitting a Potts model", method, METHODS)
        given = alignment if isinstance(alignment, Alignment) else _alignment(alignment)
        columns = _columns(given, query)
        codes = _codes(given)[:, columns]
        kept = (codes == UNKNOWN).mean(1) <= max_gaps
        if kept.sum() < 2:
            raise DataError(
                f"{given.path or 'the alignment'} has {int(kept.sum())} sequences with at most {max_gaps:.0%} gaps in the "
                f"{len(columns)} columns of the query; a Potts model needs at least 2, better some hundred."
            )
        tokens = torch.from_numpy(codes[kept]).to(pick_device(device))
        weights = potts_fit.sequence_weights(tokens)
        rows = potts_fit.sample(weights, most, seed).to(tokens.device)
        sampled = len(rows) < len(weights)
        used = torch.ones(len(rows), device=tokens.device) * (weights.sum() / len(rows)) if sampled else weights
        losses: list[float] = []
        if method == "pseudo":
            h, couplings, losses = potts_fit.pseudo_likelihood(tokens[rows], used, max_iter=max_iter, progress=progress)
        else:
            h, couplings = potts_fit.mean_field(tokens[rows], used)
        about = {
            "method": method, "sequences": len(weights), "effective": round(float(weights.sum()), 1), "fitted": len(rows),
            "left_out": int((~kept).sum()), "seed": seed, "loss": losses[-1] if losses else None, "steps": len(losses) - 1,
        }  # fmt: skip
        stem = Path(given.path).name.split(".")[0] if given.path else "alignment"
        return cls(h, couplings, columns, f"potts:{name or stem}", about)

    def fields(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """Return h_i(a) + sum_j J_ij(a, x_j) for the asked positions (B, K), float32 (B, K, 21)."""
        others = torch.arange(len(self.h), device=self.device)
        out = self.h[positions]
        step = max(1, GATHER // (positions.shape[1] * len(self.h) * potts_fit.STATES))
        for start in range(0, len(tokens), step):
            rows = slice(start, start + step)
            out[rows] += self._by_other[positions[rows, :, None], others, tokens[rows, None]].sum(2)
        return out

    def masked_logprobs(self, tokens: Tensor, positions: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return log p(x_i = a | the other sites), (B, K, 20); see `SequenceModel`."""
        tokens, _ = checked(self, tokens, lengths)
        fields = self.fields(tokens, positions.to(self.device))
        return torch.log_softmax(fields[..., : len(AMINO_ACIDS)], -1)

    def energy(self, tokens: Tensor) -> Tensor:
        """Return -sum h - sum of J over pairs, (B,); lower is likelier."""
        tokens, _ = checked(self, tokens, None)
        own = self.h.gather(1, tokens.T).sum(0)
        return -own - 0.5 * self._couplings_of(tokens).sum((1, 2))

    def delta(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """Return the change of energy of every single substitution at the asked positions, (B, K, 20)."""
        tokens, _ = checked(self, tokens, None)
        positions = positions.to(self.device)
        fields = self.fields(tokens, positions)
        now = fields.gather(-1, tokens.gather(1, positions)[..., None])
        return (now - fields)[..., : len(AMINO_ACIDS)]

    def pair_maps(self, tokens: Tensor, lengths: Tensor | None = None) -> Iterator[Tensor]:
        """Yield the maps of couplings (B, 4, L, L), then those of separation (B, 8, L, L); see `SequenceModel`."""
        tokens, _ = checked(self, tokens, lengths)
        raw = self._couplings_of(tokens) / self._scale
        rows = raw.sum(-1, keepdim=True) / max(1, raw.shape[-1] - 1)
        everything = rows.mean(1, keepdim=True)
        centred = (raw - rows - rows.transpose(1, 2) + everything) * (1.0 - self._bands[0])  # no coupling with itself
        family = self._norms.expand_as(raw)
        yield torch.stack([raw, centred, centred * self._norms, family], 1)
        yield self._bands.expand(len(tokens), -1, -1, -1)

    def couplings_norm(self, corrected: bool = True) -> Tensor:
        """Return the Frobenius norms of the couplings between residues, gaps left out, (L, L), APC-corrected or not."""
        residues = len(AMINO_ACIDS)
        norms = self.J[..., :residues, :residues].square().sum((-1, -2)).sqrt()
        if not corrected or not norms.any():
            return norms
        n = len(norms)
        mean = norms.sum(0) / max(1, n - 1)
        out = norms - mean[:, None] * mean / mean.mean()
        return out.fill_diagonal_(0.0)

    def _couplings_of(self, tokens: Tensor) -> Tensor:
        """Return J_ij(x_i, x_j) for each sequence, (B, L, L). Flat places are selected seven times as fast as by four indices."""
        n, q = len(self.h), potts_fit.STATES
        pairs = torch.arange(n * n, device=self.device).view(n, n) * (q * q)
        flat = pairs + tokens[:, :, None] * q + tokens[:, None, :]
        return self.J.reshape(-1).index_select(0, flat.flatten()).view(flat.shape)

    def state(self) -> State:
        """Return what it is made of; of J the pairs i < j."""
        i, j = torch.triu_indices(len(self.h), len(self.h), 1)
        tensors = {"h": self.h.cpu(), "couplings": self.J[i, j].cpu().contiguous()}
        parameters = {"columns": self.columns.tolist(), "name": self.name, "about": self.about}
        return State(parameters=parameters, tensors=tensors, notes=self.claims)

    @classmethod
    def from_state(cls, state: State) -> Self:
        """Make it again."""
        h, upper = state.tensors["h"], state.tensors["couplings"]
        n = len(h)
        couplings = torch.zeros(n, n, potts_fit.STATES, potts_fit.STATES)
        i, j = torch.triu_indices(n, n, 1)
        couplings[i, j] = upper
        couplings[j, i] = upper.transpose(-1, -2)
        return cls(h, couplings, state.parameters["columns"], state.parameters["name"], state.parameters["about"])


def _alignment(given: Path | str | Sequence[str]) -> Alignment:
    if isinstance(given, (str, Path)):
        return read_alignment(given)
    rows = tuple(row.upper().replace(".", "-") for row in given)
    if not rows or not rows[0] or any(len(row) != len(rows[0]) for row in rows):
        raise DataError("the aligned rows must be there and of one length; align the sequences first.")
    return Alignment(tuple(str(i + 1) for i in range(len(rows))), rows)


def _columns(alignment: Alignment, query: str | None) -> np.ndarray:
    """Return the columns where the query has a residue."""
    if query is None:
        row = alignment.rows[0]
    elif query in alignment.names:
        row = alignment.rows[alignment.names.index(query)]
    elif len(query) == alignment.width:
        row = query.upper().replace(".", "-")
    else:
        raise UsageError(
            f"the query {query[:60]!r} is neither a record of the alignment nor a row of its {alignment.width} columns."
            f"{suggest(query, alignment.names)}"
        )
    columns = np.array([i for i, letter in enumerate(row) if letter != "-"], dtype=np.int64)
    if len(columns) < 2:
        raise DataError("the query has fewer than 2 residues in the alignment; give another one.")
    return columns


def _codes(alignment: Alignment) -> np.ndarray:
    """Return the codes of all rows, (n, width) int64; what is none of the twenty is a gap."""
    table = np.full(256, UNKNOWN, dtype=np.int64)
    for letter, code in CODES.items():
        table[ord(letter)] = code
    joined = "".join(alignment.rows).encode("ascii", "replace")
    return table[np.frombuffer(joined, dtype=np.uint8)].reshape(len(alignment), -1)


def _bands(n: int, device: torch.device) -> Tensor:
    """Return indicators of the separation |i - j|, (8, n, n)."""
    sites = torch.arange(n, device=device)
    apart = (sites[:, None] - sites).abs()
    return torch.stack([((apart >= low) & (apart <= high)).float() for low, high in BANDS])
