"""Laws of the optimum alone: N = k C^a and D = C / (6 N), or each with its own constants. They say where, not how good.

Text, proteins, genomes and health records are here side by side, because published exponents disagree by much more than their
intervals: from .27 to .78 for protein models alone. `comparison` shows that instead of choosing for you.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

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


def through(low: tuple[float, float], high: tuple[float, float]) -> tuple[float, float]:
    """Return (factor, exponent) of the power law through two (C, N)."""
    exponent = math.log(high[1] / low[1]) / math.log(high[0] / low[0])
    return low[1] / low[0] ** exponent, exponent


# Hoffmann's Tables 3 and A3 give sizes and their budgets; the laws run through their first and last rows, which hits the sizes
# of the other seven within 4 % (3 % but for the 67B row, whose three numbers disagree). The exponents of the text, .50 and .49,
# are these, rounded. Approach 3's own columns do not follow from its published constants: at 10T these give a size 7 % smaller.
_A1 = through((1.92e19, 400e6), (1.30e28, 10e12))
_A2 = through((1.84e19, 400e6), (1.75e28, 10e12))
_A3 = through((2.21e19, 400e6), (8.55e28, 10e12))

FRONTIERS: dict[str, Frontier] = {
    "hoffmann-1": Frontier(
        _A1[1],
        1 - _A1[1],
        _A1[0],
        interval=(0.488, 0.502),
        source="Hoffmann and others 2022, approach 1, through Table 3",
    ),
    "hoffmann-2": Frontier(
        _A2[1],
        1 - _A2[1],
        _A2[0],
        interval=(0.462, 0.534),
        source="Hoffmann and others 2022, approach 2, through Table A3",
    ),
    "hoffmann-3": Frontier(
        _A3[1],
        1 - _A3[1],
        _A3[0],
        interval=(0.454, 0.455),
        source="Hoffmann and others 2022, approach 3, through Table A3",
    ),
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
