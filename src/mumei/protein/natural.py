"""How natural proteins score: the numbers that come with mumei, and percentiles against them.

`natural.safetensors` beside this file holds counts of n-grams of orders 1 to 3 in public-domain bacterial proteomes, and the
quantiles of the n-gram energy of random cuts of those proteins to a grid of lengths (a short sequence has a high energy whatever
it is, so only equal lengths compare). `reproduce/protein.py natural` makes it again; its own metadata name the proteins.

Other scores have no numbers here, since they depend on the model: `percentiles` takes a background that was scored alike.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch

from mumei.core import seeds
from mumei.core.errors import DataError
from mumei.core.files import write_tensors
from mumei.protein.alphabet import encode
from mumei.protein.models.ngram import NATURAL, Ngram

LENGTHS = (10, 20, 30, 50, 75, 100, 150, 200, 300, 500, 800)
QUANTILES = 101
DRAWS = 2000  # cuts of a length


def percentiles(values: Sequence[float] | np.ndarray, background: Sequence[float] | np.ndarray) -> np.ndarray:
    """Return the percentage of the background that is lower than each value (ties count half), float64 (n,)."""
    ordered = np.sort(np.asarray(background, dtype=np.float64))
    if not len(ordered) or not np.isfinite(ordered).all():
        raise DataError(
            f"the background has {len(ordered)} scores, all of which must be finite numbers; give some proteins."
        )
    low, high = (np.searchsorted(ordered, values, side=side) for side in ("left", "right"))
    return (low + high) * 50.0 / len(ordered)


def ngram_percentiles(energies: Sequence[float] | np.ndarray, lengths: Sequence[int] | np.ndarray) -> np.ndarray:
    """Return the percentage of natural proteins, cut to each sequence's length, with a lower n-gram energy by `Ngram.natural`.

    Between the lengths of the grid quantiles are interpolated by the logarithm of the length; beyond it the end is taken.
    """
    from safetensors import safe_open

    with safe_open(NATURAL, "pt") as file:
        table = file.get_tensor("energy_quantiles").double().numpy()
    place = np.interp(np.log(np.asarray(lengths, dtype=np.float64)), np.log(LENGTHS), np.arange(len(LENGTHS)))
    out = np.empty(len(place))
    for i, (value, at) in enumerate(zip(energies, place, strict=True)):
        low, part = int(at), at - int(at)
        row = (1 - part) * table[low] + part * table[min(low + 1, len(table) - 1)]
        out[i] = np.interp(value, row, np.linspace(0.0, 100.0, QUANTILES))
    return out


def cuts(sequences: Iterable[str], length: int, draws: int, seed: int = 0) -> list[str]:
    """Return random cuts of sequences to a length, each sequence at most once; those that are shorter or hold an X are left
    out.
    """
    from mumei.protein.alphabet import AMINO_ACIDS

    letters = set(AMINO_ACIDS)
    fit = [s for s in sequences if len(s) >= length and set(s) <= letters]
    rng = seeds.numpy_generator(seed, "cuts", length)
    chosen = rng.permutation(len(fit))[:draws]
    starts = [int(rng.integers(len(fit[i]) - length + 1)) for i in chosen]
    return [fit[i][start : start + length] for i, start in zip(chosen, starts, strict=True)]


def build(
    sequences: Iterable[str], sources: str, out: Path | str = NATURAL, *, draws: int = DRAWS, seed: int = 0
) -> Ngram:
    """Count n-grams and measure the energies of natural cuts, and write them; returns the counts.

    Parameters
    ----------
    sequences : iterable of str
    sources : str
        Which proteins these are and under which terms, for the file's metadata.
    out : path
        A safetensors file.
    """
    texts = list(sequences)
    model = Ngram.fit(texts, name="natural")
    rows = []
    for length in LENGTHS:
        tokens = torch.stack([torch.from_numpy(encode(cut)) for cut in cuts(texts, length, draws, seed)])
        rows.append(np.quantile(model.energy(tokens).numpy(), np.linspace(0, 1, QUANTILES)))
    tensors = {f"order{n}": table.to(torch.int32) for n, table in model.frequencies.items()}
    tensors["energy_quantiles"] = torch.from_numpy(np.array(rows)).float()
    about = {"sources": sources, "sequences": len(texts), "residues": model.about["residues"], "draws": draws}
    write_tensors(out, tensors, {"about": json.dumps(about)})  # one entry: the order of several would be left to chance
    return model
