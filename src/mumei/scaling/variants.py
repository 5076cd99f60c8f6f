"""Laws of other kinds of model: mixtures of experts (Clark 2022, Krajewski 2024) and low precision (Kumar 2024).

The constants of Clark's law were checked against the runs that the authors published (`tests/scaling/test_variants.py`); those
of the other two were not measured here, so they are arguments.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mumei.core.errors import UsageError
from mumei.scaling.laws import Allocation, Chinchilla, positive


@dataclass(frozen=True)
class Routed:
    """log10 L = a log10 N + b log10 E^ + c log10 N log10 E^ + d, E^ a saturated number of experts (Clark and others 2022).

    1/E^ = 1/(E - 1 + 1/(1/start - 1/most)) + 1/most. N counts the dense part of the model. All runs saw the same number of
    tokens, so the law says nothing of how data should grow.

    Parameters
    ----------
    a, b, c, d, start, most : float
    tokens : float
        That all runs saw: 130 billion.
    """

    a: float
    b: float
    c: float
    d: float
    start: float
    most: float
    tokens: float = 130e9
    source: str = "given"

    def __post_init__(self) -> None:
        positive(start=self.start, most=self.most)
        if self.start >= self.most:
            raise UsageError(f"start is {self.start:g} and most is {self.most:g}; start has to be the smaller.")

    def saturated(self, experts: Any) -> Any:
        """Return E^."""
        experts = np.asarray(experts, float)
        if (experts < 1).any() or not np.isfinite(experts).all():
            raise UsageError(f"experts are {experts}; give 1 (dense) or more.")
        return 1 / (1 / (experts - 1 + 1 / (1 / self.start - 1 / self.most)) + 1 / self.most)

    def loss(self, params: Any, experts: Any = 1) -> Any:
        """Return the loss of a model with a dense part of `params` and so many experts."""
        positive(params=params)
        n, e = np.log10(np.asarray(params, float)), np.log10(self.saturated(experts))
        return 10 ** (self.a * n + self.b * e + self.c * n * e + self.d)

    def dense_equivalent(self, params: float, experts: float) -> float:
        """Return the dense size of the same loss."""
        positive(params=params)
        n, e, one = math.log10(params), math.log10(float(self.saturated(experts))), math.log10(float(self.saturated(1)))
        return 10 ** ((self.a * n + self.b * (e - one) + self.c * n * e) / (self.a + self.c * one))

    def optimal(self, flops: float, experts: float = 1) -> Allocation:
        """Return the dense part that a budget pays for at the runs' own number of tokens; nothing else was varied."""
        positive(flops=flops)
        params = flops / (6 * self.tokens)
        return Allocation(flops, params, self.tokens, float(self.loss(params, experts)))


CLARK = {
    "s-base": Routed(-0.082, -0.108, 0.009, 1.104, 1.847, 314.478, source="Clark and others 2022, S-BASE"),
    "rl-r": Routed(-0.083, -0.126, 0.012, 1.111, 1.880, 469.982, source="Clark and others 2022, RL-R"),
    "hash": Routed(-0.087, -0.136, 0.012, 1.157, 4.175, 477.741, source="Clark and others 2022, HASH"),
}


@dataclass(frozen=True)
class FineGrained:
    """L = c + (g/G^gamma + a)/N^alpha + b/D^beta, G the granularity of the experts (Krajewski and others 2024)."""

    c: float
    g: float
    gamma: float
    a: float
    b: float
    alpha: float
    beta: float
    granularity: float = 1.0
    source: str = "given"

    def __post_init__(self) -> None:
        positive(granularity=self.granularity, gamma=self.gamma, a=self.a)

    @property
    def surface(self) -> Chinchilla:
        """The surface at this granularity."""
        factor = self.g / self.granularity**self.gamma + self.a
        return Chinchilla(self.c, factor, self.b, self.alpha, self.beta, source=self.source)

    def loss(self, params: Any, tokens: Any) -> Any:
        """Return the loss at this granularity."""
        return self.surface.loss(params, tokens)

    def optimal(self, flops: float) -> Allocation:
        """Return the best allocation at this granularity; routing's own cost is not counted."""
        return self.surface.optimal(flops)


@dataclass(frozen=True)
class Precision:
    """Chinchilla's surface on N_eff = N prod(1 - exp(-P/gamma)) over weights, activations and cache (Kumar and others 2024).

    Parameters
    ----------
    surface : Chinchilla
    bits, gammas : tuple of float
        Bits of training and their scales, in the same order.
    after : (C_T, gamma_D, gamma_N, gamma_post) or None
        Of the loss that quantising afterwards adds: C_T D^gamma_D / N^gamma_N exp(-P_post / gamma_post).
    """

    surface: Chinchilla
    bits: tuple[float, ...]
    gammas: tuple[float, ...]
    after: tuple[float, float, float, float] | None = None
    source: str = "Kumar and others 2024 (form)"

    def __post_init__(self) -> None:
        if len(self.bits) != len(self.gammas) or not self.bits:
            raise UsageError(
                f"{len(self.bits)} numbers of bits and {len(self.gammas)} gammas were given; give one gamma for each."
            )
        positive(bits=self.bits, gammas=self.gammas)

    @property
    def share(self) -> float:
        """N_eff / N."""
        return math.prod(-math.expm1(-p / g) for p, g in zip(self.bits, self.gammas, strict=True))

    def loss(self, params: Any, tokens: Any, bits_after: float | None = None) -> Any:
        """Return the loss, with that of quantising to `bits_after` where it is given."""
        found = self.surface.loss(np.asarray(params, float) * self.share, tokens)
        if bits_after is None:
            return found
        if self.after is None:
            raise UsageError(
                "this law has no constants for quantising afterwards; give after=(C_T, gamma_D, gamma_N, gamma_post)."
            )
        positive(bits_after=bits_after)
        scale, by_data, by_size, by_bits = self.after
        added = scale * np.asarray(tokens, float) ** by_data / np.asarray(params, float) ** by_size
        return found + added * math.exp(-bits_after / by_bits)

    def optimal(self, flops: float) -> Allocation:
        """Return the best allocation for the same number of operations, whatever each costs at these bits."""
        effective = replace(self.surface, A=self.surface.A * self.share**-self.surface.alpha)
        return effective.optimal(flops)
