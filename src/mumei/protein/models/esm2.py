"""ESM-2 as a sequence model: masked log-probabilities, attention as pair maps, and the contact regression it ships with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from mumei.core.errors import DataError, unknown
from mumei.core.runtime import pick_device
from mumei.protein.alphabet import AMINO_ACIDS
from mumei.protein.models.base import checked, split
from mumei.protein.models.esm2_network import CLS, EOS, MASK, PAD, VOCABULARY, Esm2, Esm2Shape
from mumei.protein.models.esm2_weights import load_weights

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
MAX_LENGTH = 1022  # residues of the longest training crop
CLAIMS = (
    "A protein language model of natural sequences. Its scores are likelihoods, not measurements; a design from it is a "
    "hypothesis until it is folded and tested. The paper's results are those of the 650M model and larger; smaller ones see "
    "less structure."
)


class Esm2Model:
    """A sequence model over an ESM-2 network.

    Parameters
    ----------
    network : Esm2
    name : str
    contact : tuple of Tensor, optional
        Weight (layers * heads,) and bias of the contact regression.
    device : str
        As torch names it, or "auto".
    dtype : {"float32", "bfloat16"}
    batch_tokens : int
        Tokens that go through the network at once.
    """

    length: int | None = None

    def __init__(
        self,
        network: Esm2,
        name: str,
        *,
        contact: tuple[Tensor, Tensor] | None = None,
        claims: str = CLAIMS,
        device: str = "cpu",
        dtype: str = "float32",
        batch_tokens: int = 8192,
    ):
        if dtype not in DTYPES:
            raise unknown("number type", dtype, DTYPES)
        self.device = pick_device(device)
        self.network = network.to(self.device, DTYPES[dtype]).eval().requires_grad_(False)
        self.name, self.claims, self.contact, self.batch_tokens = name, claims, contact, batch_tokens
        self.dtype = dtype
        self.max_length: int | None = MAX_LENGTH
        self.n_maps = network.shape.layers * network.shape.heads
        own = [VOCABULARY.index(letter) for letter in AMINO_ACIDS + "X"]
        self._own = torch.tensor(own, device=self.device)  # our codes to the network's tokens

    @classmethod
    def load(
        cls,
        source: Path | str,
        *,
        device: str = "cpu",
        dtype: str = "float32",
        allow_download: bool = False,
        batch_tokens: int = 8192,
    ) -> Self:
        """Load a Hugging Face folder or hub name, or a `.pt` file of the authors; errors are those of `load_weights`."""
        shape, weights = load_weights(source, allow_download=allow_download)
        contact = None
        if "contact.weight" in weights:
            contact = weights.pop("contact.weight").flatten(), weights.pop("contact.bias", torch.zeros(1))
            if len(contact[0]) != shape.layers * shape.heads:
                raise DataError(
                    f"{source}: the contact regression has {len(contact[0])} weights, the network "
                    f"{shape.layers * shape.heads} maps."
                )
        network = network_of(shape, weights, str(source))
        return cls(network, f"esm2:{source}", contact=contact, device=device, dtype=dtype, batch_tokens=batch_tokens)

    def masked_logprobs(self, tokens: Tensor, positions: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return log p(x_i = a | x without i), (B, K, 20); see `SequenceModel`. Equal masked rows are computed once.

        The softmax is over the twenty residues; what the network gives to its other tokens is left out.
        """
        tokens, lengths = checked(self, tokens, lengths)
        positions = positions.to(self.device)
        b, k = positions.shape
        rows = self._rows(tokens, lengths).repeat_interleave(k, 0)
        at = positions.reshape(-1, 1) + 1
        rows.scatter_(1, at, MASK)
        once, back = torch.unique(rows, dim=0, return_inverse=True)
        place = (once == MASK).int().argmax(1)  # the one mask of each row
        step = split(once.shape[1], self.batch_tokens)
        with torch.inference_mode():
            parts = [
                self.network(once[i : i + step], place[i : i + step])[:, 0, self._own[:20]].float()
                for i in range(0, len(once), step)
            ]
        logits = torch.cat(parts) if parts else torch.zeros(0, 20, device=self.device)
        return torch.log_softmax(logits.clone(), -1)[back].view(b, k, 20)

    def pair_maps(self, tokens: Tensor, lengths: Tensor | None = None) -> Iterator[Tensor]:
        """Yield the attention of each layer, (B, heads, L, L); see `SequenceModel`. Specials are cut off."""
        tokens, lengths = checked(self, tokens, lengths)
        rows, width = self._rows(tokens, lengths), tokens.shape[1]
        inside = torch.arange(width, device=self.device) < lengths[:, None]
        both = None if bool(inside.all()) else (inside[:, None, :, None] & inside[:, None, None, :])
        step = split(rows.shape[1], self.batch_tokens)
        with torch.no_grad():  # the chunks of the batch go layer by layer side by side
            chunks = [self.network.attentions(rows[i : i + step]) for i in range(0, len(rows), step)]
            for layer in zip(*chunks, strict=True):
                whole = layer[0] if len(layer) == 1 else torch.cat(layer)
                maps = whole[:, :, 1 : width + 1, 1 : width + 1].float()
                yield maps if both is None else maps * both

    def _rows(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Return the network's tokens, (B, L + 2): our residues between `<cls>` and `<eos>`, then padding."""
        b, width = tokens.shape
        rows = torch.full((b, width + 2), PAD, device=self.device)
        rows[:, 0] = CLS
        inside = torch.arange(width, device=self.device) < lengths[:, None]
        rows[:, 1:-1] = torch.where(inside, self._own[tokens], PAD)
        return rows.scatter_(1, lengths[:, None] + 1, EOS)


def network_of(shape: Esm2Shape, weights: dict[str, Tensor], source: str) -> Esm2:
    """Return the network of these weights; `DataError` where some are missing or of another size."""
    with torch.device("meta"):
        network = Esm2(shape)
    wanted = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    missing = sorted(set(wanted) - set(weights))
    wrong = [name for name in wanted if name in weights and tuple(weights[name].shape) != wanted[name]]
    if missing or wrong or set(weights) - set(wanted):
        raise DataError(
            f"{source} does not fit the network it describes: missing {missing[:3] or 'nothing'}, of another size "
            f"{wrong[:3] or 'nothing'}, too many {sorted(set(weights) - set(wanted))[:3] or 'nothing'}. Get it again."
        )
    network.load_state_dict(weights, assign=True)
    return network
