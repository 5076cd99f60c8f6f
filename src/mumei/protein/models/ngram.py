"""Frequencies of one to four neighbouring residues in natural proteins: an energy, and the smallest sequence model there is.

The energy is the n-gram term of Verkuil and others 2022: the sum over orders n (1, 2 and 3) of KL(p_n || q_n), where p_n are the
frequencies of n-grams in the sequence and q_n those of natural proteins, never below 1e-5, renormalised over the twenty residues
before that floor. It is low for what looks natural and high for repeats. The paper's shipped order 4 is its order 3 twice; here
order 4 is counted like the others where it is asked for.

Sums are kept in whole numbers (units of 2^-38 nats), so a sum that was kept up to date by single substitutions is the sum that is
counted anew, to the last bit: `NgramState` (`ngram_state.py`) and `Ngram.energy` agree exactly.

As a `SequenceModel` it is the Markov chain of its highest order: p(x_i | the rest) from the windows that cover i. It has no maps.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor

from mumei.core.artifact import Saveable, State
from mumei.core.errors import DataError, UsageError
from mumei.protein.alphabet import AMINO_ACIDS, CODES, UNKNOWN
from mumei.protein.models.base import checked

if TYPE_CHECKING:
    from mumei.protein.models.ngram_state import NgramState

ORDERS = (1, 2, 3)
MOST_ORDER = 4
FLOOR = 1e-5
UNIT = 2.0**38  # whole numbers in a nat: a sum over a million windows stays below 2^63
SIDE = len(AMINO_ACIDS)
BLOCK = 1 << 21  # residues at once
FILES = {1: "monogram.tsv", 2: "bigram.tsv", 3: "trigram.tsv", 4: "quadgram.tsv"}
NATURAL = Path(__file__).resolve().parents[1] / "natural.safetensors"
CLAIMS = (
    "Frequencies of neighbouring residues in natural proteins. It tells repeats and odd compositions from natural-looking "
    "sequences; it knows no structure, no family, no stability and no function."
)


class Ngram(Saveable):
    """Natural frequencies of n-grams; make one by `natural`, `fit` or `from_tables`.

    Parameters
    ----------
    frequencies : dict of int to Tensor
        Of order n (1 to 4), float (20 ** n,): the first residue is the highest digit. Each is renormalised.
    name : str
    about : dict
        Where the counts come from.
    """

    length: int | None = None
    max_length: int | None = None
    n_maps = 0

    def __init__(
        self,
        frequencies: dict[int, Tensor],
        name: str = "ngram",
        about: dict[str, Any] | None = None,
        *,
        device: str = "cpu",
    ):
        if not frequencies or not all(1 <= n <= MOST_ORDER for n in frequencies):
            raise UsageError(f"n-gram orders {sorted(frequencies)} are not allowed; give some of 1 to {MOST_ORDER}.")
        for n, table in frequencies.items():
            if table.shape != (SIDE**n,) or not bool((table >= 0).all()) or not float(table.sum()) > 0:
                raise DataError(
                    f"frequencies of order {n} must be {SIDE**n} numbers from 0 upwards with a sum above 0."
                )
        self.name, self.about, self.claims = name, dict(about or {}), CLAIMS
        self.orders = tuple(sorted(frequencies))
        self.device = torch.device(device)
        self.frequencies = {n: frequencies[n].double().to(self.device) for n in self.orders}
        self.log_q = {n: (f / f.sum()).clamp(min=FLOOR).log() for n, f in self.frequencies.items()}
        sizes = [SIDE**n for n in self.orders]
        self.offsets = [sum(sizes[:k]) for k in range(len(sizes))]
        self.n_codes = sum(sizes)  # one code more stands for a window that does not count
        whole = torch.cat([*self.log_q.values(), torch.zeros(1, dtype=torch.float64, device=self.device)])
        self.whole_log_q = (whole * UNIT).round().long()

    @classmethod
    def example(cls) -> Self:
        """Return one of two short sequences, for the conformance checks."""
        return cls.fit(["MKTAYIAKQRQISFVKSHFSRQLEERLG", "MNIFEMLRIDEGLRLKIYKDTEGYYTIG"], name="example")

    @classmethod
    def natural(cls, orders: Iterable[int] = ORDERS, *, device: str = "cpu") -> Self:
        """Return the counts that come with mumei, of orders 1 to 3; `about` says of which proteins."""
        from safetensors import safe_open

        with safe_open(NATURAL, "pt") as file:
            there, about = (
                {int(key[5:]) for key in file.keys() if key.startswith("order")},
                json.loads(file.metadata()["about"]),
            )
            missing = sorted(set(orders) - there)
            if missing:
                raise UsageError(f"order {missing[0]} does not come with mumei; count it on a FASTA: Ngram.fit.")
            return cls({n: file.get_tensor(f"order{n}") for n in orders}, "ngram:natural", about, device=device)

    @classmethod
    def fit(
        cls,
        sequences: Path | str | Iterable[str],
        *,
        orders: Iterable[int] = ORDERS,
        name: str = "",
        device: str = "cpu",
    ) -> Self:
        """Count the n-grams of a FASTA file, or of sequences; windows with a letter that is none of the twenty are left out."""
        stem = Path(sequences).name.split(".")[0] if isinstance(sequences, (str, Path)) else "sequences"
        orders = tuple(sorted(set(orders)))
        counts = {n: torch.zeros(SIDE**n, dtype=torch.float64) for n in orders}
        number = residues = 0
        for codes in _blocks(sequences):
            number, residues = number + int((codes < 0).sum()), residues + int((codes >= 0).sum())
            for n in orders:
                windows = codes.unfold(0, n, 1)
                good = ((windows >= 0) & (windows < UNKNOWN)).all(1)
                counts[n] += torch.bincount(windows[good] @ digits(n), minlength=SIDE**n)
        if not number or not all(float(c.sum()) for c in counts.values()):
            raise DataError(f"{stem}: there are no sequences of {max(orders)} residues to count n-grams in; give some.")
        about = {"sequences": number, "residues": residues, "source": stem}
        return cls(counts, f"ngram:{name or stem}", about, device=device)

    @classmethod
    def from_tables(cls, folder: Path | str, orders: Iterable[int] = ORDERS) -> Self:
        """Read frequencies from a folder with monogram.tsv, bigram.tsv and so on: lines of an n-gram, a tab and a number."""
        found = {}
        for n in orders:
            path, number = Path(folder) / FILES[n], 0
            table = torch.zeros(SIDE**n, dtype=torch.float64)
            try:
                for line in path.read_text(encoding="utf-8").splitlines():
                    number += 1
                    gram, _, value = line.partition("\t")
                    if len(gram) == n and all(letter in CODES for letter in gram):
                        table[sum(CODES[c] * SIDE ** (n - 1 - k) for k, c in enumerate(gram))] = float(value)
            except OSError as error:
                raise DataError(f"{path} cannot be read ({error.strerror}); give a folder with {FILES[n]}.") from error
            except ValueError as error:
                raise DataError(f"{path}, line {number}: not an n-gram, a tab and a number.") from error
            found[n] = table
        return cls(found, f"ngram:{Path(folder).name}", {"source": str(folder)})

    def energy(self, tokens: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return the sum over orders of KL(sequence || natural) in nats, float64 (B,); lower is more natural.

        Windows with an unknown residue are left out; an order without any window adds 0.
        """
        return self.by_order(tokens, lengths).sum(1)

    def by_order(self, tokens: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return KL(sequence || natural) of each order, float64 (B, orders)."""
        tokens, lengths = checked(self, tokens, lengths)
        out = []
        step = max(1, BLOCK // tokens.shape[1])
        for start in range(0, len(tokens), step):
            rows = slice(start, start + step)
            out.append(kl(*self.sums(self.padded(tokens[rows], lengths[rows]))))
        return torch.cat(out) if out else torch.zeros(0, len(self.orders), dtype=torch.float64, device=self.device)

    def start(self, tokens: Tensor, lengths: Tensor | None = None) -> NgramState:
        """Return the state of B chains that begin at these sequences: energies of substitutions without counting anew."""
        from mumei.protein.models.ngram_state import NgramState

        return NgramState(self, *checked(self, tokens, lengths))

    def padded(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Return tokens with what is beyond a length, and n - 1 places at both ends, unknown: (B, L + 2 (n - 1))."""
        inside = torch.arange(tokens.shape[1], device=self.device) < lengths[:, None]
        edge = self.orders[-1] - 1
        return torch.nn.functional.pad(torch.where(inside, tokens, UNKNOWN), (edge, edge), value=UNKNOWN)

    def codes(self, padded: Tensor) -> Iterator[Tensor]:
        """Yield the codes of each order's windows, (B, windows) int64; `n_codes` for a window that does not count."""
        for k, n in enumerate(self.orders):
            grams = padded.unfold(1, n, 1)
            good = (grams < UNKNOWN).all(-1)
            yield torch.where(good, (grams * digits(n, self.device)).sum(-1) + self.offsets[k], self.n_codes)

    def sums(self, padded: Tensor) -> tuple[Tensor, Tensor]:
        """Return the sums of c log c - c log q in whole numbers, c the count of an n-gram, and the numbers of windows, each
        (B, orders).
        """
        table = c_log_c(padded.shape[1], self.device)
        sums, windows = [], []
        for codes in self.codes(padded):
            ordered = codes.sort(1).values
            run = torch.zeros_like(ordered)
            run[:, 1:] = (ordered[:, 1:] != ordered[:, :-1]).cumsum(1)  # which of the row's different n-grams it is
            counts = torch.zeros_like(ordered).scatter_add_(1, run, (ordered < self.n_codes).long())
            sums.append(table[counts].sum(1) - self.whole_log_q[codes].sum(1))
            windows.append((codes < self.n_codes).sum(1))
        return torch.stack(sums, 1), torch.stack(windows, 1)

    def masked_logprobs(self, tokens: Tensor, positions: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return log p(x_i = a | its neighbours), (B, K, 20), by the windows of the highest order; see `SequenceModel`.

        Beside an unknown residue or in a sequence shorter than a window the windows that are left are taken, if there is none
        those of the order below.
        """
        tokens, lengths = checked(self, tokens, lengths)
        padded, positions = self.padded(tokens, lengths), positions.to(self.device)
        out = torch.zeros(*positions.shape, SIDE, dtype=torch.float64, device=self.device)
        done = torch.zeros_like(positions, dtype=torch.bool)
        for n in reversed(range(1, self.orders[-1] + 1)):
            if n not in self.log_q:
                continue
            logits, some = self._chain(padded, positions, n)
            out = torch.where((some & ~done)[..., None], logits, out)
            done |= some
        return torch.log_softmax(out, -1).float()

    def _chain(self, padded: Tensor, positions: Tensor, n: int) -> tuple[Tensor, Tensor]:
        """Return the logits of the chain of order n - 1, and where any window of n covers the place (B, K)."""
        edge = self.orders[-1] - 1
        reach = torch.arange(-n + 1, n, device=self.device)
        rows = torch.arange(len(padded), device=self.device)[:, None, None]
        near = padded[
            rows, positions[..., None] + edge + reach
        ].clone()  # (B, K, 2n - 1), the place itself in the middle
        near[..., n - 1] = 0
        good = (near.unfold(-1, n, 1) < UNKNOWN).all(-1)  # (B, K, n): the window that begins n - 1 - o before
        logits = torch.zeros(*positions.shape, SIDE, dtype=torch.float64, device=self.device)
        residues = torch.arange(SIDE, device=self.device)
        for start in range(n):
            code = (near[..., start : start + n].clamp(max=SIDE - 1) * digits(n, self.device)).sum(-1)
            found = self.log_q[n][code[..., None] + residues * SIDE**start]
            logits += torch.where(good[..., start, None], found, 0.0)
            if start and n - 1 in self.log_q:  # what this window shares with the one before it is counted once
                shared = (near[..., start : start + n - 1].clamp(max=SIDE - 1) * digits(n - 1, self.device)).sum(-1)
                found = self.log_q[n - 1][shared[..., None] + residues * SIDE ** (start - 1)]
                logits -= torch.where((good[..., start] & good[..., start - 1])[..., None], found, 0.0)
        return logits, good.any(-1)

    def pair_maps(self, tokens: Tensor, lengths: Tensor | None = None) -> Iterator[Tensor]:
        """Yield nothing: neighbours alone have no maps."""
        checked(self, tokens, lengths)
        yield from ()

    def state(self) -> State:
        """Return what it is made of."""
        tensors = {f"order{n}": table.cpu() for n, table in self.frequencies.items()}
        return State(parameters={"name": self.name, "about": self.about}, tensors=tensors, notes=self.claims)

    @classmethod
    def from_state(cls, state: State) -> Self:
        """Make it again."""
        tables = {int(key[5:]): tensor for key, tensor in state.tensors.items()}
        return cls(tables, state.parameters["name"], state.parameters["about"])


def digits(n: int, device: torch.device | str = "cpu") -> Tensor:
    """Return what each residue of an n-gram counts in its code, int64 (n,)."""
    return SIDE ** torch.arange(n - 1, -1, -1, device=device)


def c_log_c(most: int, device: torch.device) -> Tensor:
    """Return c log c of c = 0..most in whole numbers, int64 (most + 1,)."""
    c = torch.arange(most + 1, dtype=torch.float64, device=device)
    return (torch.xlogy(c, c) * UNIT).round().long()


def kl(sums: Tensor, windows: Tensor) -> Tensor:
    """Return the divergences from sums of c log(c / q) in whole numbers and numbers of windows."""
    n = windows.clamp(min=1).double()
    return torch.where(windows > 0, sums.double() / UNIT / n - n.log(), 0.0)


def _blocks(sequences: Path | str | Iterable[str], size: int = 1 << 20) -> Iterator[Tensor]:
    """Yield codes of many sequences at once, int64, each ended by -1."""
    import numpy as np

    from mumei.protein.sequence import read_sequences

    table = np.full(256, UNKNOWN, dtype=np.int64)
    for letter, code in CODES.items():
        table[[ord(letter), ord(letter.lower())]] = code
    table[ord("\n")] = -1
    texts = (r.sequence for r in read_sequences(sequences)) if isinstance(sequences, (str, Path)) else sequences
    parts, held = [], 0
    for text in texts:
        parts.append(text)
        held += len(text)
        if held >= size:
            yield torch.from_numpy(table[np.frombuffer(_joined(parts), dtype=np.uint8)])
            parts, held = [], 0
    if parts:
        yield torch.from_numpy(table[np.frombuffer(_joined(parts), dtype=np.uint8)])


def _joined(parts: list[str]) -> bytes:
    return ("\n".join(parts) + "\n").encode("ascii", "replace")
