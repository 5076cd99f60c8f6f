"""What a sequence model is here: masked log-probabilities, and a stack of maps over pairs of residues.

Energies, samplers and heads are written against `SequenceModel`, never against one network. Two families fit it: protein
language models, whose maps are attention weights, and Potts models, whose maps are couplings.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from mumei.core.errors import UsageError
from mumei.protein.alphabet import AMINO_ACIDS, UNKNOWN


@runtime_checkable
class SequenceModel(Protocol):
    """A model of protein sequences. Nothing needs to inherit from it.

    Parameters
    ----------
    name : str
        Backend and weights, such as "esm2:facebook/esm2_t6_8M_UR50D".
    claims : str
        What an output that was made with it can and cannot claim.
    length : int or None
        The one length that a family model takes; None where any length goes.
    max_length : int or None
        The longest sequence it takes.
    n_maps : int
        Maps per sequence; 0 where it has none.
    device : torch.device
        Where results lie.
    """

    name: str
    claims: str
    length: int | None
    max_length: int | None
    n_maps: int
    device: torch.device

    def masked_logprobs(self, tokens: Tensor, positions: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return log p(x_i = a | x without i), each position masked alone.

        Parameters
        ----------
        tokens : Tensor (B, L) int64
            Codes of `mumei.protein.alphabet`.
        positions : Tensor (B, K) int64
            Which i, for each sequence.
        lengths : Tensor (B,) int64, optional
            Residues of each sequence where they differ.

        Returns
        -------
        Tensor (B, K, 20) float32
            Normalised over the twenty residues.
        """
        ...

    def pair_maps(self, tokens: Tensor, lengths: Tensor | None = None) -> Iterator[Tensor]:
        """Yield groups of maps, float32 (B, m, L, L), in a fixed order; their m add up to `n_maps`. Zero beyond a length."""
        ...


def all_positions(tokens: Tensor) -> Tensor:
    """Return every position of each sequence, (B, L) int64."""
    return torch.arange(tokens.shape[1], device=tokens.device).expand(tokens.shape)


def checked(model: SequenceModel, tokens: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return tokens and lengths on the model's device; `UsageError` where they do not fit it."""
    if tokens.ndim != 2 or tokens.dtype != torch.int64:
        raise UsageError(f"tokens have shape {tuple(tokens.shape)} and type {tokens.dtype}; give (B, L) int64 codes.")
    width = tokens.shape[1]
    if model.length is not None and width != model.length:
        raise UsageError(f"{model.name} takes sequences of {model.length} residues; these have {width}.")
    if model.max_length is not None and width > model.max_length:
        raise UsageError(
            f"{model.name} takes up to {model.max_length} residues; these have {width}. Cut them into domains."
        )
    if tokens.numel() and not (0 <= int(tokens.min()) and int(tokens.max()) <= UNKNOWN):
        raise UsageError(f"tokens must be 0..{len(AMINO_ACIDS) - 1}, or {UNKNOWN} for an unknown residue.")
    tokens = tokens.to(model.device)
    if lengths is None:
        return tokens, torch.full((len(tokens),), width, device=model.device)
    if lengths.shape != (len(tokens),) or (
        lengths.numel() and not 0 < int(lengths.min()) <= int(lengths.max()) <= width
    ):
        raise UsageError(f"lengths must be {len(tokens)} numbers from 1 to {width}.")
    return tokens, lengths.to(model.device)


def split(width: int, batch_tokens: int) -> int:
    """Return how many sequences of a width go through a network at once, so that a batch has about `batch_tokens` tokens."""
    return max(1, batch_tokens // max(width, 1))
