"""Any masked language model of proteins that transformers loads (ESM-1b, ProtBERT and others), as a sequence model.

Attention is read only from the eager implementation: the fused ones return none. The tokenizer must know the twenty letters each
as one token, and a mask. Where it has a start and an end token they go around the sequence, as it puts them itself; no special
token has a probability here, so none can be in a design. What is fetched is decided by `allow_download`, and no code of a
repository is run.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mumei.core.errors import DataError, MissingExtraError, UsageError
from mumei.core.runtime import pick_device
from mumei.protein.alphabet import AMINO_ACIDS
from mumei.protein.models.base import checked, split

CLAIMS = (
    "A protein language model of natural sequences, of another kind than the paper's. Its scores are likelihoods, not "
    "measurements; a design from it is a hypothesis until it is folded and tested."
)
BATCH_TOKENS = 4096
COUNTED_FROM_PADDING = ("esm", "roberta", "xlm-roberta")  # their first place is the padding's id plus 1


class MaskedLM:
    """A masked language model of transformers.

    Parameters
    ----------
    source : path or str
        A folder with configuration, tokenizer and safetensors weights, or a hub name.
    device : str
        As torch names it, or "auto".
    allow_download : bool
        Let a hub name that is not in the hub's cache be fetched.
    batch_tokens : int
        Tokens that go through the network at once.

    Raises
    ------
    MissingExtraError
        transformers is not installed.
    UsageError
        It is not on this machine and may not be fetched, or is no masked language model.
    DataError
        A tokenizer that is not one of single residues with a mask.
    """

    length: int | None = None

    def __init__(
        self,
        source: Path | str,
        *,
        device: str = "cpu",
        allow_download: bool = False,
        batch_tokens: int = BATCH_TOKENS,
    ):
        network, tokenizer = _load(str(source), allow_download)
        self.device = pick_device(device)
        self.network = network.to(self.device).eval().requires_grad_(False)
        self.name, self.claims, self.batch_tokens = f"hf:{source}", CLAIMS, batch_tokens
        config = self.network.config
        self.n_maps = int(config.num_hidden_layers) * int(config.num_attention_heads)
        self._read_tokens(tokenizer, str(source))
        places = getattr(config, "max_position_embeddings", None)
        absolute = getattr(config, "position_embedding_type", "absolute") == "absolute"
        before = int(config.pad_token_id) + 1 if config.model_type in COUNTED_FROM_PADDING else 0
        self.max_length: int | None = int(places) - self._ends - before if absolute and places else None

    def _read_tokens(self, tokenizer: Any, source: str) -> None:
        """Keep the ids of residues, mask, padding, and of what stands around a sequence."""
        vocabulary = tokenizer.get_vocab()
        missing = [letter for letter in AMINO_ACIDS if letter not in vocabulary]
        if missing or tokenizer.mask_token_id is None:
            raise DataError(
                f"the tokenizer of {source} has no token for {', '.join(missing) or 'the mask'}; this is no masked language "
                "model of single residues."
            )
        unknown = vocabulary.get(
            "X", tokenizer.unk_token_id if tokenizer.unk_token_id is not None else tokenizer.mask_token_id
        )
        own = [*(vocabulary[letter] for letter in AMINO_ACIDS), unknown]
        self._own = torch.tensor(own, device=self.device)
        first = tokenizer.cls_token_id if tokenizer.cls_token_id is not None else tokenizer.bos_token_id
        last = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else tokenizer.sep_token_id
        self._first, self._last, self._mask = first, last, int(tokenizer.mask_token_id)
        self._pad = int(tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.mask_token_id)
        self._start = int(first is not None)
        self._ends = self._start + int(last is not None)

    def masked_logprobs(self, tokens: Tensor, positions: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return log p(x_i = a | x without i), (B, K, 20), over the twenty residues; see `SequenceModel`."""
        tokens, lengths = checked(self, tokens, lengths)
        positions = positions.to(self.device)
        b, k = positions.shape
        rows, real = self._rows(tokens, lengths)
        rows, real = rows.repeat_interleave(k, 0), real.repeat_interleave(k, 0)
        at = positions.reshape(-1) + self._start
        rows[torch.arange(len(rows), device=self.device), at] = self._mask
        out = torch.zeros(len(rows), len(AMINO_ACIDS), device=self.device)
        step = split(rows.shape[1], self.batch_tokens)
        with torch.inference_mode():
            for i in range(0, len(rows), step):
                part = slice(i, i + step)
                logits = self.network(input_ids=rows[part], attention_mask=real[part].long()).logits
                here = torch.arange(len(logits), device=self.device)
                out[part] = torch.log_softmax(logits[here, at[part]][:, self._own[:20]].float(), -1)
        return out.clone().view(b, k, len(AMINO_ACIDS))

    def pair_maps(self, tokens: Tensor, lengths: Tensor | None = None) -> Iterator[Tensor]:
        """Yield the attention of each layer, (B, heads, L, L); see `SequenceModel`. Specials are cut off."""
        tokens, lengths = checked(self, tokens, lengths)
        rows, real = self._rows(tokens, lengths)
        width = tokens.shape[1]
        inside = torch.arange(width, device=self.device) < lengths[:, None]
        both = inside[:, None, :, None] & inside[:, None, None, :]
        step, cut = split(rows.shape[1], self.batch_tokens), slice(self._start, self._start + width)
        with torch.no_grad():
            found = [
                self.network(
                    input_ids=rows[i : i + step], attention_mask=real[i : i + step].long(), output_attentions=True
                ).attentions
                for i in range(0, len(rows), step)
            ]
        if not found or not found[0] or found[0][0] is None:
            raise UsageError(f"{self.name} returns no attention maps; take a model with an eager implementation.")
        for layer in zip(*found, strict=True):
            yield torch.cat(layer)[:, :, cut, cut].float() * both

    def _rows(self, tokens: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Return the network's tokens (B, L + ends), and which of them are real."""
        b, width = tokens.shape
        rows = torch.full((b, width + self._ends), self._pad, device=self.device)
        inside = torch.arange(width, device=self.device) < lengths[:, None]
        rows[:, self._start : self._start + width] = torch.where(inside, self._own[tokens], self._pad)
        if self._first is not None:
            rows[:, 0] = self._first
        if self._last is not None:
            rows.scatter_(1, (lengths + self._start)[:, None], int(self._last))
        real = torch.arange(rows.shape[1], device=self.device) < (lengths + self._ends)[:, None]
        return rows, real


def _load(source: str, allow_download: bool) -> tuple[Any, Any]:
    try:
        from transformers import AutoModelForMaskedLM, AutoTokenizer
    except ImportError as error:
        raise MissingExtraError("a masked language model of the hub", "transformers", "protein") from error
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, local_files_only=not allow_download, trust_remote_code=False)
        network = AutoModelForMaskedLM.from_pretrained(
            source, attn_implementation="eager", use_safetensors=True, local_files_only=not allow_download,
            dtype=torch.float32, trust_remote_code=False,
        )  # fmt: skip
    except (OSError, ValueError, KeyError, ImportError) as error:
        said = str(error).strip().splitlines() or [type(error).__name__]
        how = "" if allow_download else " Downloads are not allowed (allow_download=True lets it)."
        raise UsageError(
            f"no masked language model at {source!r}: {said[0]:.200} Give a folder with config.json, a tokenizer and safetensors "
            f"weights, or a hub name.{how}"
        ) from error
    return network, tokenizer
