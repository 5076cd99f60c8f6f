"""Scoring proteins without labels and without designing: whole sequences, every single mutant, and perplexity.

The one number to rank by is `energy`, the design energy of Verkuil and others 2022 without or with its structure term:

    energy = 2 * E_LM + 1 * E_ngram (+ 3 * E_struct where a backbone and a head are given); lower is better

E_LM is here the mean over all positions of -log p(x_i | the rest), each position masked alone (the sampler's changes are those of
one position); a model of n-grams has no E_LM of its own, its energy is E_ngram alone. Each column of a table has a direction
(`COLUMNS`), and percentiles say which part of natural proteins scores lower.

A mutant's score is log p(mutant | the rest) - log p(wild type | the rest), "masked marginals": 0 for the wild type, below 0 for
what the model thinks worse. It takes L masked passes, all mutants of a position from one; for a Potts model it is the exact
change of log-probability of the whole sequence, and needs no pass at all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mumei.core.errors import DataError, UsageError
from mumei.protein.alphabet import AMINO_ACIDS, UNKNOWN, batch
from mumei.protein.models.base import SequenceModel, all_positions, checked
from mumei.protein.models.ngram import Ngram
from mumei.protein.natural import ngram_percentiles, percentiles
from mumei.protein.projection import StructureHead
from mumei.protein.targets import Target

WEIGHTS = {"structure": 3.0, "lm": 2.0, "ngram": 1.0}
BATCH_RESIDUES = 1 << 14
COLUMNS = {  # direction: which way is better, or "" where neither is
    "rank": "lower",
    "energy": "lower",
    "lm": "lower",
    "ngram": "lower",
    "structure": "lower",
    "perplexity": "lower",
    "energy_percentile": "lower",
    "ngram_percentile": "lower",
    "length": "",
    "longest_run": "lower",
    "entropy": "higher",
    "unknown": "lower",
    "identity": "",
}


@dataclass
class Scores:
    """A table of scored sequences: `rows` in the order given, each a dict of the columns; `notes` for the reader."""

    backend: str
    claims: str
    rows: list[dict[str, Any]]
    notes: list[str] = field(default_factory=list)

    def ranked(self) -> list[dict[str, Any]]:
        """Return the rows by rank."""
        return sorted(self.rows, key=lambda row: row["rank"])


def perplexity(model: SequenceModel, tokens: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Return exp of the mean over positions of -log p(x_i | the rest), float32 (B,): 20 for a model that knows nothing.

    Unknown residues are not asked about; a sequence of nothing else gets NaN.
    """
    return mean_loss(model, tokens, lengths).exp()


def mean_loss(model: SequenceModel, tokens: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Return the mean over known positions of -log p(x_i | the rest), each masked alone, float32 (B,)."""
    tokens, lengths = checked(model, tokens, lengths)
    logp = model.masked_logprobs(tokens, all_positions(tokens), lengths)
    inside = torch.arange(tokens.shape[1], device=model.device) < lengths[:, None]
    asked = inside & (tokens < UNKNOWN)
    own = logp.gather(-1, tokens.clamp(max=len(AMINO_ACIDS) - 1)[..., None])[..., 0]
    return -(own * asked).sum(1) / asked.sum(1)


def mutant_scores(model: SequenceModel, sequence: str | Tensor, positions: Sequence[int] | None = None) -> Tensor:
    """Return log p(mutant) - log p(wild type) of every single mutant, float32 (K, 20); 0 for the wild type.

    Parameters
    ----------
    sequence : str, or Tensor (L,) of codes
        An unknown residue has no wild type: its row is NaN.
    positions : sequence of int, optional
        Which, from 0; all where left out.
    """
    tokens = batch([sequence], unknown="keep")[0] if isinstance(sequence, str) else sequence[None]
    chosen = range(tokens.shape[1]) if positions is None else positions
    at = torch.tensor(list(chosen), dtype=torch.int64)
    if len(at) and not 0 <= int(at.min()) <= int(at.max()) < tokens.shape[1]:
        raise UsageError(
            f"positions go from 0 to {tokens.shape[1] - 1}; {int(at.min())} to {int(at.max())} were given."
        )
    logp = model.masked_logprobs(tokens, at[None])[0].cpu()
    wild = tokens[0, at].cpu()
    own = logp.gather(1, wild.clamp(max=len(AMINO_ACIDS) - 1)[:, None])
    return torch.where((wild < UNKNOWN)[:, None], logp - own, torch.nan)


def score(
    model: SequenceModel,
    sequences: Sequence[tuple[str, str]],
    *,
    ngram: Ngram | None = None,
    head: StructureHead | None = None,
    target: Target | None = None,
    background: Sequence[str] = (),
    progress: Callable[[int], Any] | None = None,
) -> Scores:
    """Score named sequences and rank them by energy.

    Parameters
    ----------
    model : SequenceModel
    sequences : sequence of (name, letters)
        Unknown residues (X, B, Z, U, O, J) are kept and counted.
    ngram : Ngram, optional
        Natural frequencies; those that come with mumei where left out.
    head, target : StructureHead and Target, optional
        A backbone, and the head that reads the model's maps: adds the structure term.
    background : sequence of str, optional
        Natural proteins that are scored alike; energies get percentiles against them.
    progress : callable, optional
        Called with the number of sequences done.

    Raises
    ------
    DataError
        No sequence, or a sign that is no residue.
    UsageError
        A sequence that the model does not take, or a head without a target.
    """
    if (head is None) != (target is None):
        raise UsageError("the structure term needs both, a backbone and a structure head; give the other one too.")
    if not len(sequences):
        raise DataError("there are no sequences to score; give at least one.")
    natural = ngram or Ngram.natural()
    values = _values(model, [s for _, s in sequences], natural, head, target, progress)
    rows = [
        {"name": name, **{key: float(column[i]) for key, column in values.items()}, **composition(letters)}
        for i, (name, letters) in enumerate(sequences)
    ]
    notes = [f"backend {model.name}: {model.claims}"]
    if ngram is None:
        found = ngram_percentiles(values["ngram"], [row["length"] for row in rows])
        for row, value in zip(rows, found, strict=True):
            row["ngram_percentile"] = float(value)
    if len(background):
        theirs = _values(model, list(background), natural, head, target, None)
        for row, value in zip(rows, percentiles(values["energy"], theirs["energy"]), strict=True):
            row["energy_percentile"] = float(value)
        notes.append(f"energy percentiles are against {len(background)} proteins of the background, scored alike")
    for place, i in enumerate(np.argsort(values["energy"], kind="stable"), start=1):
        rows[i]["rank"] = place
    return Scores(model.name, model.claims, rows, notes)


def _values(
    model: SequenceModel,
    letters: list[str],
    natural: Ngram,
    head: StructureHead | None,
    target: Target | None,
    progress: Callable[[int], Any] | None,
) -> dict[str, np.ndarray]:
    """Return the terms, the energy and the perplexity of each sequence; sequences of like length go together."""
    order = sorted(range(len(letters)), key=lambda i: len(letters[i]))
    own_lm = not isinstance(model, Ngram)
    names = ["ngram", "perplexity", *(["lm"] if own_lm else []), *(["structure"] if head else [])]
    out = {name: np.zeros(len(letters)) for name in names}
    for rows in _groups(order, letters):
        tokens, lengths = batch([letters[i] for i in rows], unknown="keep")
        loss = mean_loss(model, tokens, lengths)
        out["perplexity"][rows] = loss.exp().cpu()
        out["ngram"][rows] = (model if isinstance(model, Ngram) else natural).energy(tokens, lengths).cpu()
        if own_lm:
            out["lm"][rows] = loss.cpu()
        if head is not None and target is not None:
            out["structure"][rows] = head.energy(model, tokens, target, lengths).cpu()
        if progress is not None:
            progress(len(rows))
    out["energy"] = sum((WEIGHTS[name] * out[name] for name in names if name in WEIGHTS), np.zeros(len(letters)))
    return out


def _groups(order: list[int], letters: list[str]) -> list[list[int]]:
    groups: list[list[int]] = []
    width = 0
    for i in order:  # shortest first, so the group's width is that of its last
        if not groups or (len(groups[-1]) + 1) * len(letters[i]) > BATCH_RESIDUES or len(letters[i]) > width * 1.25 + 8:
            groups.append([])
            width = len(letters[i])
        groups[-1].append(i)
    return groups


def composition(letters: str) -> dict[str, Any]:
    """Return the length, the longest run of one residue, the entropy of the composition in bits, and unknown residues."""
    codes = batch([letters], unknown="keep")[0][0].numpy()
    changes = np.flatnonzero(np.diff(codes)) + 1
    edges = np.concatenate([[0], changes, [len(codes)]])
    part = np.bincount(codes, minlength=UNKNOWN + 1)[:UNKNOWN] / max(1, int((codes < UNKNOWN).sum()))
    seen = part[part > 0]
    return {
        "length": len(codes),
        "longest_run": int(np.diff(edges).max()),
        "entropy": float(-(seen * np.log2(seen)).sum()) + 0.0,
        "unknown": int((codes == UNKNOWN).sum()),
    }


@dataclass(frozen=True)
class Filters:
    """What a sequence must keep to; None switches a filter off.

    Parameters
    ----------
    max_run : int
        Longest run of one residue. Natural domains rarely have runs above 5.
    min_entropy : float
        Bits of the composition. Natural proteins of 100 residues have about 4.
    max_ngram_percentile : float
        Of natural proteins of the same length.
    max_unknown : int
        Residues that are none of the twenty.
    max_identity : float
        To the nearest known sequence, a part of 1; needs novelty.
    min_identity : float
    """

    max_run: int | None = 5
    min_entropy: float | None = 3.0
    max_ngram_percentile: float | None = 99.0
    max_unknown: int | None = 0
    max_identity: float | None = None
    min_identity: float | None = None

    def reasons(self, row: dict[str, Any]) -> dict[str, str]:
        """Return why a row is rejected: short names of reasons, and in words with both numbers; nothing where it passes."""
        checks = (
            ("longest run", "longest_run", self.max_run, 1, "a run of {:.0f} equal residues, {:.0f} are allowed"),
            ("low complexity", "entropy", self.min_entropy, -1, "a composition of {:.2f} bits, {:.2f} are asked for"),
            ("odd n-grams", "ngram_percentile", self.max_ngram_percentile, 1,
             "n-grams odder than {:.1f}% of natural proteins, {:.1f}% are allowed"),
            ("unknown residues", "unknown", self.max_unknown, 1, "{:.0f} unknown residues, {:.0f} are allowed"),
            ("known already", "identity", self.max_identity, 1, "{:.2f} identical to a known sequence, {:.2f} are allowed"),
            ("far from known", "identity", self.min_identity, -1,
             "{:.2f} identical to the nearest known sequence, {:.2f} are asked for"),
        )  # fmt: skip
        return {
            name: text.format(row[key], limit)
            for name, key, limit, sign, text in checks
            if limit is not None and key in row and sign * (row[key] - limit) > 0
        }

    def apply(self, scores: Scores) -> list[dict[str, Any]]:
        """Put "rejected" into each row (the reasons joined, empty where it passes); return the table of reasons with counts."""
        counts: Counter[str] = Counter()
        for row in scores.rows:
            found = self.reasons(row)
            row["rejected"] = "; ".join(found.values())
            counts.update(found.keys())
        return [{"reason": reason, "sequences": n} for reason, n in counts.most_common()]
