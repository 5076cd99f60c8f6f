"""What a model costs to train, by five conventions, and what it counts as its size.

Published exponents differ by convention alone (.37, .54 and .70 have come out of the same runs), so runs are converted to one
before they are fitted.

| convention | training FLOPs per token | N |
|---|---|---|
| `6nd` | 6 N | all parameters |
| `6nd_noembed` | 6 N | without input and output embeddings |
| `kaplan` | 6 N + 6 l S d | without embeddings; 2 l S d of attention forward (Kaplan and others 2020, table 1) |
| `chinchilla_F` | three times the forward pass of Hoffmann's appendix F over S tokens, embeddings counted as products | all |
| `with_attention` | 6 N + 12 l S d | without input embeddings (PaLM, model FLOPs utilisation) |

Departures: Hoffmann's Table A4 says that its detailed count is 3 % above 6ND at 73M parameters and 10 % at 305M. Those figures
come out when embedding and final logits are left out of the detailed count alone: `table_a4`. N there has one embedding table
and the weights of relative positions; counted so, all 50 sizes of Table A9 come out within 1 %.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mumei.core.errors import UsageError, unknown
from mumei.scaling.laws import positive

CONVENTIONS = ("6nd", "6nd_noembed", "kaplan", "chinchilla_F", "with_attention")


@dataclass(frozen=True)
class Shape:
    """A decoder: width, feed-forward width, width of a key, heads, layers, vocabulary, sequence length.

    Examples
    --------
    >>> gopher = Shape(16384, 4 * 16384, 128, 128, 80)
    >>> round(gopher.params() / 1e9), round(gopher.params(embeddings=False) / 1e9)
    (258, 258)
    """

    d_model: int
    ffw_size: int
    kv_size: int
    n_heads: int
    n_layers: int
    vocabulary: int = 32_000
    sequence: int = 2_048

    def __post_init__(self) -> None:
        positive(**{name: getattr(self, name) for name in self.__dataclass_fields__})

    @property
    def embedding(self) -> int:
        """Parameters of one embedding table."""
        return self.vocabulary * self.d_model

    def params(self, *, embeddings: bool = True, relative: bool = False, tied: bool = True) -> int:
        """Return the parameters: attention and feed-forward weights, with one or two embedding tables.

        Parameters
        ----------
        embeddings : bool
            Count the embedding tables.
        relative : bool
            Count Transformer-XL's projection of relative positions, a fifth matrix of attention.
        tied : bool
            Input and output share one table.
        """
        attention = (5 if relative else 4) * self.d_model * self.kv_size * self.n_heads
        body = self.n_layers * (attention + 2 * self.d_model * self.ffw_size)
        return body + (self.embedding * (1 if tied else 2) if embeddings else 0)

    def forward_F(self, *, embeddings: bool = True) -> float:
        """Return forward FLOPs per token by appendix F of Hoffmann and others."""
        s, d, heads = self.sequence, self.d_model, self.n_heads
        inner = self.kv_size * heads
        attention = (
            2 * 3 * s * d * inner + 2 * s * s * inner + 3 * heads * s * s + 2 * s * s * inner + 2 * s * inner * d
        )
        dense = 2 * s * 2 * d * self.ffw_size
        ends = 2 * 2 * s * self.vocabulary * d if embeddings else 0
        return (self.n_layers * (attention + dense) + ends) / s

    def flops_per_token(self, convention: str = "6nd") -> float:
        """Return training FLOPs per token."""
        body, width = self.params(embeddings=False), self.n_layers * self.sequence * self.d_model
        counts = {
            "6nd": 6.0 * self.params(),
            "6nd_noembed": 6.0 * body,
            "kaplan": 6.0 * body + 6.0 * width,
            "chinchilla_F": 3.0 * self.forward_F(),
            "with_attention": 6.0 * (body + self.embedding) + 12.0 * width,
        }
        if convention not in counts:
            raise unknown("FLOP convention", convention, counts)
        return counts[convention]

    def size(self, convention: str = "6nd") -> int:
        """Return what the convention counts as N."""
        if convention not in CONVENTIONS:
            raise unknown("FLOP convention", convention, CONVENTIONS)
        return self.params(embeddings=convention in ("6nd", "chinchilla_F", "with_attention"))

    def table_a4(self) -> float:
        """Return detailed FLOPs / 6ND as Hoffmann's Table A4 has it."""
        return 3 * self.forward_F(embeddings=False) / (6 * self.params(relative=True))


@dataclass(frozen=True)
class Converted:
    """N and C of the same runs under another convention."""

    params: Any
    flops: Any


def convert(shape: Shape, tokens: float, to: str) -> Converted:
    """Return what a run of a known shape counts as under a convention."""
    positive(tokens=tokens)
    return Converted(float(shape.size(to)), shape.flops_per_token(to) * tokens)


def without_embeddings(params: Any, vocabulary: int = 32_000, aspect: float = 64.0) -> Any:
    """Return N without embeddings from N with them, where the shape is not known.

    A model of width d and depth d / aspect has 12 d^2 of each layer and V d of embedding: N = 12 d^3 / aspect + V d. With this,
    a true exponent of .50 looks like .74 to .78 over small models (Pearce and Song 2024): that is Kaplan's .73.

    Parameters
    ----------
    params : array or number
        N with one embedding table.
    vocabulary : int
    aspect : float
        Width over depth.
    """
    positive(params=params, vocabulary=vocabulary, aspect=aspect)
    n = np.asarray(params, float)
    width = _width(n, vocabulary, aspect)
    found = n - vocabulary * width
    return float(found) if found.ndim == 0 else found


def with_embeddings(params: Any, vocabulary: int = 32_000, aspect: float = 64.0) -> Any:
    """Return N with one embedding table from N without; the inverse of `without_embeddings`."""
    positive(params=params, vocabulary=vocabulary, aspect=aspect)
    n = np.asarray(params, float)
    found = n + vocabulary * (n * aspect / 12) ** (1 / 3)
    return float(found) if found.ndim == 0 else found


def _width(params: Any, vocabulary: float, aspect: float) -> Any:
    """Solve 12 d^3 / aspect + V d = N by Newton's method; the left side is convex and rises, so it cannot fail from above."""
    width = (params * aspect / 12) ** (1 / 3)
    for _ in range(60):
        width = width - (12 * width**3 / aspect + vocabulary * width - params) / (36 * width**2 / aspect + vocabulary)
    return width


def check_convention(params: Any, tokens: Any, flops: Any, tolerance: float = 0.02) -> tuple[str, float]:
    """Say how C stands to 6ND: "6nd", "other" for another constant or "mixed" where it varies, and the median ratio.

    Raises
    ------
    UsageError
        The columns differ in length.
    """
    n, d, c = (np.asarray(x, float) for x in (params, tokens, flops))
    if not len(n) == len(d) == len(c):
        raise UsageError(f"{len(n)} sizes, {len(d)} tokens and {len(c)} FLOPs were given; give as many of each.")
    ratio = c / (6 * n * d)
    middle = float(np.median(ratio))
    spread = float(np.max(np.abs(np.log(ratio / middle))))
    if spread > max(10 * tolerance, 0.1):
        return "mixed", middle
    return ("6nd", middle) if abs(middle - 1) <= tolerance else ("other", middle)
