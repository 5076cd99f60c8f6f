"""The ESM-2 network (Lin and others 2023), in plain torch: logits of the masked language model and attention maps by layer.

Layer norm before each block, rotary positions, exact GELU, a language head that shares the embedding. Token dropout: where
trained with it, embeddings of mask tokens are zeros and all others are scaled by (1 - 0.12) / (1 - the part that is masked),
which the network needs at inference too.

Attention of the logits goes through torch's fused kernel; maps are the softmax itself, layer by layer, and of the last layer
no more than queries and keys is computed. `only` reduces the last layer and the head to one place a row, which is all that a
masked log-probability needs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mumei.core.errors import DataError
from mumei.core.linear import FastLinear

VOCABULARY = ("<cls>", "<pad>", "<eos>", "<unk>", *"LAGVSERTIDPKQNFYMHWC", *"XBUZO", ".", "-", "<null_1>", "<mask>")
CLS, PAD, EOS, MASK = 0, 1, 2, 32
WHOLE = 1 << 24  # attention weights that are held at once
TRAINED_MASKED = 0.15 * 0.8  # 15% of the tokens were chosen, 80% of those masked


@dataclass(frozen=True)
class Esm2Shape:
    """Sizes of a network: layers, width, heads, the hidden width of the feed-forward part, and what else differs."""

    layers: int = 6
    dim: int = 320
    heads: int = 20
    ffn: int = 1280
    eps: float = 1e-5
    token_dropout: bool = True
    vocabulary: int = len(VOCABULARY)

    def __post_init__(self) -> None:
        if min(self.layers, self.dim, self.heads, self.ffn) < 1 or self.dim % (2 * self.heads):
            raise DataError(
                f"an ESM-2 network of {self.layers} layers, width {self.dim} and {self.heads} heads cannot be: all are at least "
                "1, and the width is an even multiple of the heads."
            )


class Esm2Layer(nn.Module):
    """One block: attention and feed-forward, each added to what came in."""

    def __init__(self, shape: Esm2Shape):
        super().__init__()
        self.heads = shape.heads
        self.attention_norm = nn.LayerNorm(shape.dim, eps=shape.eps)
        self.query, self.key, self.value, self.out = (FastLinear(shape.dim, shape.dim) for _ in range(4))
        self.ffn_norm = nn.LayerNorm(shape.dim, eps=shape.eps)
        self.up, self.down = FastLinear(shape.dim, shape.ffn), FastLinear(shape.ffn, shape.dim)

    def queries_keys(self, normed: Tensor, rotary: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Return rotated queries, scaled, and keys, each (B, H, T, d)."""
        query = rotate(self._split(self.query(normed)) * (normed.shape[-1] // self.heads) ** -0.5, rotary)
        return query, rotate(self._split(self.key(normed)), rotary)

    def forward(
        self, x: Tensor, bias: Tensor | None, rotary: tuple[Tensor, Tensor], only: Tensor | None = None
    ) -> Tensor:
        """Return the block's output (B, T, D), or (B, 1, D) at the places `only` (B,).

        `bias` (B, 1, 1, T) is added to attention scores.
        """
        normed = self.attention_norm(x)
        query, key = self.queries_keys(normed, rotary)
        if only is not None:
            rows = torch.arange(len(x), device=x.device)
            x, query = x[rows, only][:, None], query[rows, :, only][:, :, None]
        return self._rest(x, attend(query, key, self._split(self.value(normed)), bias))

    def with_map(self, x: Tensor, bias: Tensor | None, rotary: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the block's output (B, T, D) and its attention (B, H, T, T)."""
        normed = self.attention_norm(x)
        attention = attention_map(*self.queries_keys(normed, rotary), bias)
        return self._rest(x, attention @ self._split(self.value(normed))), attention

    def _rest(self, x: Tensor, mixed: Tensor) -> Tensor:
        x = added(self.out(mixed.transpose(1, 2).flatten(2)), x)
        return added(self.down(F.gelu(self.up(self.ffn_norm(x)))), x)

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class Esm2(nn.Module):
    """The whole network over tokens (B, T): `<cls>`, residues, `<eos>`, then `<pad>`."""

    def __init__(self, shape: Esm2Shape):
        super().__init__()
        self.shape = shape
        self.embedding = nn.Embedding(shape.vocabulary, shape.dim, padding_idx=PAD)
        self.layers = nn.ModuleList(Esm2Layer(shape) for _ in range(shape.layers))
        self.norm = nn.LayerNorm(shape.dim, eps=shape.eps)
        self.head_dense = FastLinear(shape.dim, shape.dim)
        self.head_norm = nn.LayerNorm(shape.dim, eps=shape.eps)
        self.head_bias = nn.Parameter(torch.zeros(shape.vocabulary))

    def forward(self, tokens: Tensor, only: Tensor | None = None) -> Tensor:
        """Return logits (B, T, vocabulary), or (B, 1, vocabulary) at the places `only` (B,)."""
        x, bias, rotary = self._begin(tokens)
        for layer in self.layers[:-1]:
            x = layer(x, bias, rotary)
        return self.head(self.norm(self.layers[-1](x, bias, rotary, only)))

    def head(self, x: Tensor) -> Tensor:
        """Return the logits of hidden vectors."""
        return F.linear(self.head_norm(F.gelu(self.head_dense(x))), self.embedding.weight, self.head_bias)

    def attentions(self, tokens: Tensor) -> Iterator[Tensor]:
        """Yield each layer's attention (B, H, T, T); rows of padding are not zeroed."""
        x, bias, rotary = self._begin(tokens)
        for layer in self.layers[:-1]:
            x, attention = layer.with_map(x, bias, rotary)  # type: ignore[operator]
            yield attention
        last: Esm2Layer = self.layers[-1]  # type: ignore[assignment]
        yield attention_map(*last.queries_keys(last.attention_norm(x), rotary), bias)

    def _begin(self, tokens: Tensor) -> tuple[Tensor, Tensor | None, tuple[Tensor, Tensor]]:
        """Return embeddings (B, T, D), the bias that hides padding (None where there is none), and the rotary tables."""
        real = tokens != PAD
        x = self.embedding(tokens)
        if self.shape.token_dropout:
            masked = tokens == MASK
            observed = masked.sum(-1) / real.sum(-1)
            scale = (1 - TRAINED_MASKED) / (1 - observed)
            x = (x * scale[:, None, None]).to(x.dtype).masked_fill(masked[..., None], 0.0)
        x = x * real[..., None]
        bias = None
        if not bool(real.all()):
            bias = torch.zeros_like(real, dtype=x.dtype).masked_fill(~real, float("-inf"))[:, None, None]
        return x, bias, rotary_tables(tokens.shape[1], self.shape.dim // self.shape.heads, x)


def attention_map(query: Tensor, key: Tensor, bias: Tensor | None) -> Tensor:
    """Return softmax(query key^T + bias), (B, H, T, T)."""
    scores = query @ key.transpose(-1, -2)
    return torch.softmax(scores if bias is None else scores + bias, -1)


def attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
    """Return the values mixed by attention, (B, H, S, d): by torch's fused kernel, but for bfloat16 on a CPU.

    There its block-wise kernel takes 1.7 times as long as the softmax written out (320 heads of 69 places, width 16, Zen 5).
    """
    size = query.shape[0] * query.shape[1] * query.shape[2] * key.shape[2]
    if query.dtype == torch.bfloat16 and query.device.type == "cpu" and size <= WHOLE and not torch.is_grad_enabled():
        return attention_map(query, key, bias) @ value
    return F.scaled_dot_product_attention(query, key, value, bias, scale=1.0)


def added(made: Tensor, x: Tensor) -> Tensor:
    """Return made + x, in the memory of what was just made where no gradient is wanted."""
    return made + x if torch.is_grad_enabled() else made.add_(x)


def rotary_tables(length: int, width: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Return cosines and sines (T, d) of the rotary positions, in the number type of `like`, computed in float32."""
    inverse = 1.0 / (10000 ** (torch.arange(0, width, 2, device=like.device).float() / width))
    angles = torch.outer(torch.arange(length, device=like.device).float(), inverse).repeat(1, 2)
    return angles.cos().to(like.dtype), angles.sin().to(like.dtype)


def rotate(x: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
    """Return vectors (B, H, T, d), the first half of which is turned into the second by each place's angles."""
    first, second = x.chunk(2, -1)
    if torch.is_grad_enabled():
        return x * rotary[0] + torch.cat([-second, first], -1) * rotary[1]
    turned, width = x * rotary[0], first.shape[-1]
    turned[..., :width].addcmul_(second, rotary[1][:, :width], value=-1)
    turned[..., width:].addcmul_(first, rotary[1][:, width:])
    return turned
