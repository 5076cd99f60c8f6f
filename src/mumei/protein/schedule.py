"""Temperatures by step: the paper's halving, a geometric fall, and a constant one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mumei.core.errors import UsageError


@dataclass(frozen=True)
class Schedule:
    """T(step) = first * factor^floor(step / every), which is all three kinds.

    Parameters
    ----------
    first : float
        Temperature of step 0, above 0.
    factor : float
        By which it falls, in (0, 1].
    every : int
        Steps between falls.
    """

    first: float
    factor: float = 1.0
    every: int = 1

    def __post_init__(self) -> None:
        if not (self.first > 0 and 0 < self.factor <= 1 and self.every >= 1):
            raise UsageError(
                f"a schedule from {self.first} by {self.factor} every {self.every} steps cannot be; "
                "give a temperature above 0, a factor in (0, 1] and at least 1 step."
            )

    def __call__(self, step: np.ndarray) -> np.ndarray:
        """Return the temperature of each step, float64."""
        return self.first * self.factor ** (np.asarray(step) // self.every)

    @classmethod
    def paper(cls) -> Schedule:
        """Return the published one: 8, halved every 10,000 steps."""
        return cls(8.0, 0.5, 10_000)

    @classmethod
    def geometric(cls, first: float, last: float, steps: int) -> Schedule:
        """Return an even fall on the logarithm from `first` to `last` over so many steps."""
        last = min(first, last)
        return cls(first, float((last / first) ** (1.0 / max(1, steps - 1))))

    @classmethod
    def scaled_paper(cls, steps: int) -> Schedule:
        """Return the published one squeezed into other than its 170,000 steps, by the length of its stages."""
        return cls(8.0, 0.5, max(1, round(steps * 10_000 / 170_000)))


def temperature_of(changes: np.ndarray, acceptance: float) -> float:
    """Return the temperature at which these energy changes are accepted at a rate: mean min(1, exp(-change / T)).

    It rises with T, so bisection on log T finds it; changes that are never accepted or always limit what can be reached, and
    then an end of the range, 1e-6 or 1e3, comes back.
    """
    changes = np.clip(changes[np.isfinite(changes)], 0.0, None)
    if not len(changes):
        return 1.0
    low, high = np.log(1e-6), np.log(1e3)
    for _ in range(60):
        middle = (low + high) / 2
        if np.exp(-changes / np.exp(middle)).mean() < acceptance:
            low = middle
        else:
            high = middle
    return float(np.exp(high))
