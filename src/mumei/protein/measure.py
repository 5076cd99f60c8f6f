"""What is said of each design: a column each, with what it means and which way is better. Ranked is by `total`, the energy."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from mumei.protein.alphabet import AMINO_ACIDS, decode
from mumei.protein.constraints import CHARGES
from mumei.protein.contacts import precision
from mumei.protein.models.base import SequenceModel, all_positions
from mumei.protein.targets import Target

COLUMNS = {
    "total": ("lower", "the weighted energy; the rank is by it"),
    "structure": ("lower", "mean -log p of the target's contacts, nats"),
    "language": ("lower", "mean -log p of a residue given the others, nats"),
    "ngram": ("lower", "divergence from natural n-grams, nats"),
    "ngram percentile": ("lower", "% of natural proteins of this length with a lower n-gram energy"),
    "contact precision": ("higher", "part of true contacts among the L likeliest pairs at least 6 apart"),
    "recovery": ("", "part of residues as in the given sequence"),
    "charge": ("", "K, R +1; D, E -1"),
    "longest run": ("lower", "residues of one kind in a row"),
}


def measured(
    model: SequenceModel,
    tokens: Tensor,
    values: Tensor,
    total: Tensor,
    names: Sequence[str],
    predicted: Tensor,
    target: Target | None,
    native: str,
) -> tuple[list[dict[str, Any]], Tensor]:
    """Return a row for each sequence, and p(x_i | the rest) float32 (n, L)."""
    logp = torch.cat([model.masked_logprobs(row[None], all_positions(row[None])).cpu() for row in tokens])
    confidence = logp.gather(-1, tokens[..., None])[..., 0].exp()
    rows = []
    for i, sequence in enumerate(tokens):
        text = decode(sequence)
        row: dict[str, Any] = {"rank": i + 1, "sequence": text, "total": float(total[i])}
        row |= {name: float(values[i, k]) for k, name in enumerate(names)}
        if target is not None and len(target) > 6:
            row["contact precision"] = precision(predicted[i], target)
        known = [k for k, letter in enumerate(native) if letter in AMINO_ACIDS]
        if known:
            row["recovery"] = sum(text[k] == native[k] for k in known) / len(known)
        row["charge"] = sum(CHARGES[code] for code in sequence.tolist())
        row["longest run"] = max(len(list(group)) for _, group in groupby(text))
        row["perplexity"] = float(torch.exp(-logp[i].gather(-1, sequence[:, None]).mean()))
        rows.append(row)
    return rows, confidence


def percentiles(rows: list[dict[str, Any]]) -> None:
    """Add where each n-gram energy lies among natural proteins of that length."""
    from mumei.protein.natural import ngram_percentiles

    found = ngram_percentiles([row["ngram"] for row in rows], [len(row["sequence"]) for row in rows])
    for row, value in zip(rows, found, strict=True):
        row["ngram percentile"] = float(value)
