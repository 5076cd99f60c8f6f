"""BERT's encoder at inference, without padding: all tokens of a batch lie in one (tokens, width) matrix.

Network: Devlin et al. 2019, "BERT"; weights in Hugging Face's names (`encoder.layer.0.attention.self.query.weight`, ...).
Departures from the usual implementation, none of which changes the function computed:

- No padding: the dense layers see only real tokens. Attention runs per group of texts of one length.
- Query, key and value are one product; the 1/sqrt(d) is folded into the query's weights before rounding to bfloat16.
- On CPUs the dense layers use oneDNN's linear with weights laid out once at load and GELU fused into the product (a private
  operator of torch, checked against `F.linear` at load; where it is absent or disagrees, `F.linear` is used).
- Attention is two batched products around a float32 softmax, in blocks that stay in cache: on CPUs that is faster than the
  fused attention at BERT's head width of 32 to 64, whose tiles are too narrow for the bfloat16 units.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F

from mumei.core.errors import DataError
from mumei.nn.bert_shape import BertShape

SCORE_BLOCK = 1_000_000  # attention scores computed at once: 4 MB in float32, about a core's cache


class PackedLinear:
    """A frozen linear layer, y = act(x W^T + b), with its weights laid out for oneDNN where that is possible.

    Parameters
    ----------
    weight : Tensor (out, in)
    bias : Tensor (out,)
    gelu : bool
        Apply the exact GELU to the result.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor, gelu: bool = False):
        self.weight, self.bias, self.gelu = weight.contiguous(), bias.contiguous(), gelu
        self._packed = self._pack()

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Map (tokens, in) to (tokens, out)."""
        return self._plain(x) if self._packed is None else self._fused(x, self._packed)

    def _plain(self, x: torch.Tensor) -> torch.Tensor:
        y = F.linear(x, self.weight, self.bias)
        return F.gelu(y) if self.gelu else y

    def _fused(self, x: torch.Tensor, packed: torch.Tensor) -> torch.Tensor:
        activation = ("gelu", [], "none") if self.gelu else ("none", [], "")
        return torch.ops.mkldnn._linear_pointwise(x, packed, self.bias, *activation)

    def _pack(self) -> torch.Tensor | None:
        if self.weight.device.type != "cpu":
            return None
        try:
            packed = torch.ops.mkldnn._reorder_linear_weight(self.weight, 4096)
            probe = (
                torch.linspace(-1, 1, 3 * self.weight.shape[1], dtype=torch.float32).view(3, -1).to(self.weight.dtype)
            )
            same = torch.allclose(self._fused(probe, packed).float(), self._plain(probe).float(), rtol=0.02, atol=0.02)
        except (AttributeError, RuntimeError, NotImplementedError):
            return None
        return packed if same else None


@dataclass
class _Layer:
    qkv: PackedLinear
    out: PackedLinear
    norm1: tuple[torch.Tensor, torch.Tensor]
    up: PackedLinear
    down: PackedLinear
    norm2: tuple[torch.Tensor, torch.Tensor]


class PackedBert:
    """BERT's encoder over unpadded batches.

    Parameters
    ----------
    folder : Path
        A Hugging Face folder with `config.json` and `model.safetensors`.
    dtype : torch.dtype
        float32, or bfloat16 where it is the faster one.
    device : str or torch.device
    """

    def __init__(self, folder: Path, dtype: torch.dtype = torch.float32, device: str | torch.device = "cpu"):
        from safetensors.torch import load_file

        self.shape, self.dtype, self.device = BertShape.read(folder), dtype, torch.device(device)
        raw = load_file(folder / "model.safetensors")
        weights = {k.removeprefix("bert."): v.float() for k, v in raw.items() if v.is_floating_point()}
        get = self._getter(weights, folder)
        self.words = get("embeddings.word_embeddings.weight")
        # Every text is one segment, so the segment's embedding is part of the position's.
        self.places = get("embeddings.position_embeddings.weight") + get("embeddings.token_type_embeddings.weight")[0]
        self.norm0 = (get("embeddings.LayerNorm.weight"), get("embeddings.LayerNorm.bias"))
        self.layers = [self._layer(get, f"encoder.layer.{i}.") for i in range(self.shape.layers)]

    def _getter(self, weights: dict[str, torch.Tensor], folder: Path):
        def get(name: str, scale: float = 1.0) -> torch.Tensor:
            if name not in weights:
                raise DataError(f"{folder}/model.safetensors has no {name!r}: it is not a BERT encoder's weights.")
            return (weights[name] * scale).to(self.device, self.dtype)

        return get

    def _layer(self, get, at: str) -> _Layer:
        scale = (self.shape.width // self.shape.heads) ** -0.5
        own = at + "attention.self."
        weight = torch.cat([get(own + "query.weight", scale), get(own + "key.weight"), get(own + "value.weight")])
        bias = torch.cat([get(own + "query.bias", scale), get(own + "key.bias"), get(own + "value.bias")])

        def linear(name: str, gelu: bool = False) -> PackedLinear:
            return PackedLinear(get(at + name + ".weight"), get(at + name + ".bias"), gelu)

        def norm(name: str) -> tuple[torch.Tensor, torch.Tensor]:
            return get(at + name + ".weight"), get(at + name + ".bias")

        return _Layer(
            PackedLinear(weight, bias),
            linear("attention.output.dense"),
            norm("attention.output.LayerNorm"),
            linear("intermediate.dense", gelu=True),
            linear("output.dense"),
            norm("output.LayerNorm"),
        )

    @torch.inference_mode()
    def mean_pooled(self, tokens: Sequence[Sequence[int]]) -> torch.Tensor:
        """Encode texts and average each one's token vectors.

        Parameters
        ----------
        tokens : list of token id lists
            Texts with their special tokens. Equal lengths should be neighbours: attention runs per run of one length.

        Returns
        -------
        Tensor (texts, width), float32
        """
        lengths = [len(t) for t in tokens]
        x = self._embed(tokens, lengths)
        for layer in self.layers:
            mixed = self._attention(layer.qkv(x), lengths)
            x = self._norm(x + layer.out(mixed), layer.norm1)
            x = self._norm(x + layer.down(layer.up(x)), layer.norm2)
        counts = torch.tensor(lengths, device=self.device)
        owner = torch.repeat_interleave(torch.arange(len(lengths), device=self.device), counts)
        sums = torch.zeros(len(lengths), self.shape.width, device=self.device).index_add_(0, owner, x.float())
        return sums / counts[:, None]

    def _embed(self, tokens: Sequence[Sequence[int]], lengths: list[int]) -> torch.Tensor:
        ids = torch.tensor([i for text in tokens for i in text], device=self.device)
        places = torch.cat([torch.arange(n) for n in lengths]).to(self.device)
        return self._norm(self.words[ids] + self.places[places], self.norm0)  # (tokens, width)

    def _norm(self, x: torch.Tensor, parameters: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        return F.layer_norm(x, (self.shape.width,), *parameters, self.shape.epsilon)

    def _attention(self, qkv: torch.Tensor, lengths: list[int]) -> torch.Tensor:
        mixed = torch.empty(qkv.shape[0], self.shape.width, dtype=qkv.dtype, device=qkv.device)
        start = first = 0
        while first < len(lengths):
            length = lengths[first]
            room = max(1, SCORE_BLOCK // (self.shape.heads * length * length))
            last = first
            while last < len(lengths) and lengths[last] == length and last - first < room:
                last += 1
            stop = start + (last - first) * length
            mixed[start:stop] = self._attend(qkv[start:stop], last - first, length)
            start, first = stop, last
        return mixed

    def _attend(self, qkv: torch.Tensor, texts: int, length: int) -> torch.Tensor:
        heads, size = self.shape.heads, self.shape.width // self.shape.heads
        q, k, v = qkv.view(texts, length, 3, heads, size).permute(2, 0, 3, 1, 4).reshape(3, texts * heads, length, size)
        scores = torch.bmm(q, k.transpose(1, 2))  # (texts * heads, length, length), already scaled
        weights = torch.softmax(scores, -1, dtype=torch.float32).to(qkv.dtype)
        mixed = torch.bmm(weights, v).view(texts, heads, length, size)
        return mixed.transpose(1, 2).reshape(texts * length, heads * size)
