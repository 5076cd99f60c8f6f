"""Laws of the optimum alone: N = k C^a and D = C / (6 N), or each with its own constants. They say where, not how good.

Text, proteins, genomes and health records are here side by side, because published exponents disagree by much more than their
intervals: from .27 to .78 for protein models alone. `comparison` shows that instead of choosing for you.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from mumei.core.errors import UsageError
from mumei.scaling.laws import Allocation, positive


@dataclass(frozen=True)
class Frontier:
    """Optimal size and data by power laws of compute.

    Parameters
    ----------
    a, b : float
        Exponents of size and of data.
    size, data : float or None
        Their factors. With `size` alone D is C / (6 N); with none the law has exponents only.
    interval : (float, float) or None
        Of `a`, as published.
    unit : str
        What N counts: "parameters", or "non-embedding FLOPs per token".
    domain, source : str
    """

    a: float
    b: float
    size: float | None = None
    data: float | None = None
    interval: tuple[float, float] | None = None
    unit: str = "parameters"
    domain: str = "text"
    source: str = "given"

    def loss(self, params: float, tokens: float) -> float:
        """Refuse: only optima were measured."""
        raise UsageError(
            f"this law ({self.source}) has no loss: only optima were measured. Use a surface such as besiroglu."
        )

    def optimal(self, flops: float) -> Allocation:
        """Return size and data; `UsageError` where only exponents were published."""
        positive(flops=flops)
        if self.size is None and self.data is None:
            raise UsageError(f"{self.source} gives exponents alone (N ~ C^{self.a:g}), no sizes.")
        tokens = self.data * flops**self.b if self.data is not None else None
        params = self.size * flops**self.a if self.size is not None else None
        if self.unit != "parameters":  # M FLOPs per token: C = M D
            assert params is not None
            return Allocation(flops, params / 6, tokens or flops / params)
        if params is None:
            assert tokens is not None
            params = flops / (6 * tokens)
        return Allocation(flops, params, tokens or flops / (6 * params))


def balanced(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return (factor, exponent) of the power law through (C, value) whose greatest difference in logs is least.

    Such a line is parallel to one through two of the points (Chebyshev), so all pairs are tried.

    Examples
    --------
    >>> [round(x, 9) for x in balanced([(1, 2), (100, 20), (1e4, 200)])]
    [2.0, 0.5]
    """
    logs = [(math.log(c), math.log(value)) for c, value in points]
    best = (math.inf, 0.0, 0.0)
    for (u, v), (x, y) in combinations(logs, 2):
        exponent = (y - v) / (x - u)
        rest = [value - exponent * c for c, value in logs]
        best = min(best, (max(rest) - min(rest), (min(rest) + max(rest)) / 2, exponent))
    return math.exp(best[1]), best[2]


# Hoffmann and others 2022, Tables 3 and A3: size, then FLOPs and tokens by approaches 1, 2, 3. In the row of 67 billion 6ND is up
# to 5 % off C (its size is a rounded name), so size and tokens have laws of their own, which meet every number within 3.1 %.
TABLES = (
    (400e6, 1.92e19, 8.0e9, 1.84e19, 7.7e9, 2.21e19, 9.2e9),
    (1e9, 1.21e20, 20.2e9, 1.20e20, 20.0e9, 1.62e20, 27.1e9),
    (10e9, 1.23e22, 205.1e9, 1.32e22, 219.5e9, 2.46e22, 410.1e9),
    (67e9, 5.76e23, 1.5e12, 6.88e23, 1.7e12, 1.71e24, 4.1e12),
    (175e9, 3.85e24, 3.7e12, 4.54e24, 4.3e12, 1.26e25, 12.0e12),
    (280e9, 9.90e24, 5.9e12, 1.18e25, 7.1e12, 3.52e25, 20.1e12),
    (520e9, 3.43e25, 11.0e12, 4.19e25, 13.4e12, 1.36e26, 43.5e12),
    (1e12, 1.27e26, 21.2e12, 1.59e26, 26.5e12, 5.65e26, 94.1e12),
    (10e12, 1.30e28, 216.2e12, 1.75e28, 292.0e12, 8.55e28, 1425.5e12),
)


def _hoffmann(approach: int, interval: tuple[float, float], table: str) -> Frontier:
    column = 2 * approach - 1
    size, a = balanced([(row[column], row[0]) for row in TABLES])
    data, b = balanced([(row[column], row[column + 1]) for row in TABLES])
    source = f"Hoffmann and others 2022, approach {approach}, the rows of Table {table}"
    return Frontier(a, b, size, data, interval=interval, source=source)


FRONTIERS: dict[str, Frontier] = {
    "hoffmann-1": _hoffmann(1, (0.488, 0.502), "3"),
    "hoffmann-2": _hoffmann(2, (0.462, 0.534), "A3"),
    "hoffmann-3": _hoffmann(3, (0.454, 0.455), "A3"),
    "deepseek": Frontier(
        0.5243,
        0.4757,
        0.1715,
        5.8316,
        unit="non-embedding FLOPs per token",
        source="DeepSeek LLM 2024, quoted from memory",
    ),
    "protein-clm": Frontier(
        0.578,
        0.422,
        1.26e-3,
        1.23e2,
        domain="protein",
        source="Cheng and others 2024, causal; factors quoted from memory",
    ),
    "protein-mlm": Frontier(
        0.776,
        0.230,
        6.19e-8,
        2.02e6,
        domain="protein",
        source="Cheng and others 2024, masked; factors quoted from memory",
    ),
    "protein-mlm-serrano": Frontier(0.27, 0.71, domain="protein", source="Serrano and others 2024, masked"),
    "genome-transformer": Frontier(
        0.5518832,
        0.5506258,
        5.50893e-4,
        0.843526,
        domain="genome",
        source="Evo 2024, Transformer++: power laws through the optima of figure S5",
    ),
    "genome-hyena": Frontier(
        0.504035,
        0.4986813,
        2.062348e-2,
        6.756312,
        domain="genome",
        source="Evo 2024, Hyena: power laws through the optima of figure S5",
    ),
    "genome-stripedhyena": Frontier(
        0.4833688,
        0.5387061,
        4.64126e-2,
        1.099173,
        domain="genome",
        source="Evo 2024, StripedHyena: power laws through the optima of figure S5",
    ),
    "genome-mamba": Frontier(
        0.387705,
        0.4868711,
        1.844566,
        13.35575,
        domain="genome",
        source="Evo 2024, Mamba: power laws through the optima of figure S5",
    ),
    "health-records": Frontier(0.58, 0.44, domain="health records", source="arXiv 2505.22964"),
}


@dataclass(frozen=True)
class Settings:
    """Peak learning rate and batch size in tokens at a budget."""

    learning_rate: float
    batch_tokens: float


def deepseek_settings(flops: float) -> Settings:
    """Return DeepSeek's optimal peak learning rate .3118 C^-.1250 and batch of .2920 C^.3271 tokens.

    Examples
    --------
    >>> found = deepseek_settings(1e21)
    >>> round(found.learning_rate * 1e4, 2), round(found.batch_tokens / 1e6, 2)
    (7.39, 2.16)
    """
    positive(flops=flops)
    return Settings(0.3118 * flops**-0.1250, 0.2920 * flops**0.3271)


def comparison(flops: float, domain: str | None = None) -> list[dict[str, object]]:
    """Return what each frontier says of a budget, those without sizes by their exponents alone."""
    rows: list[dict[str, object]] = []
    for name, one in FRONTIERS.items():
        if domain is not None and one.domain != domain:
            continue
        known = one.size is not None or one.data is not None
        best = one.optimal(flops) if known else None
        rows.append(
            {
                "law": name,
                "domain": one.domain,
                "a": one.a,
                "b": one.b,
                "params": best.params if best else None,
                "tokens": best.tokens if best else None,
                "source": one.source,
            }
        )
    return rows
