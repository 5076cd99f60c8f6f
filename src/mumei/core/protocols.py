"""The protocols at the borders between capabilities. Anything with these members fits; nothing needs to inherit.

`Encoder` turns items into vectors, `Generator` turns prompts into texts, `Reader` turns a source into rows, `Sampler` makes
new items. `mumei.testing` has a conformance check for each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np


@runtime_checkable
class Encoder(Protocol):
    """Turns n items into an (n, dim) float32 array. The same items give the same bits, whatever else is in the call's process."""

    name: str
    dim: int

    def encode(self, items: Sequence[Any], *, batch_size: int | None = None, progress: Any = None) -> np.ndarray:
        """Encode n items to float32 (n, dim), rows in the order of `items`; `progress` is called with finished counts."""
        ...


@runtime_checkable
class Generator(Protocol):
    """Turns each prompt into n texts."""

    name: str

    def generate(
        self, prompts: Sequence[str], *, n: int = 1, temperature: float = 1.0, max_tokens: int = 512, seed: int = 0
    ) -> list[list[str]]:
        """Return `len(prompts)` lists of `n` texts."""
        ...


@runtime_checkable
class Reader(Protocol):
    """Streams rows out of a source, never holding all of them."""

    name: str

    def rows(self) -> Iterator[Any]:
        """Yield rows one by one, in an order that depends on the source alone."""
        ...


@runtime_checkable
class Sampler(Protocol):
    """Makes n new items."""

    name: str

    def sample(self, n: int, *, seed: int = 0) -> Any:
        """Return n new items; the same seed gives the same items."""
        ...
