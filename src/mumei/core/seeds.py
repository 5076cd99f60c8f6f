"""Randomness is passed, by name. Nothing in mumei reads or sets a global random state.

A child seed is the first 63 bits of blake2b over the parent and a path of names, so `child(seed, "kmeans", 3)` is the same
on every machine and Python version, and two names give unrelated streams.
"""

from __future__ import annotations

import hashlib
from operator import index
from typing import TYPE_CHECKING, Any

from mumei.core.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    import torch


def child(seed: int, *names: str | int) -> int:
    """Derive a seed in [0, 2**63) from a parent seed and a path of names.

    Examples
    --------
    >>> child(0, "kmeans") == child(0, "kmeans"), child(0, "kmeans") == child(0, "map")
    (True, False)
    """
    # index(): a NumPy integer names the same stream as a Python one.
    text = "/".join([str(int(seed)), *(f"str:{n}" if isinstance(n, str) else f"int:{index(n)}" for n in names)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def seed32(seed: int, *names: str | int) -> int:
    """Derive a seed in [0, 2**31) for libraries that take no larger one (scikit-learn)."""
    return child(seed, *names) & 0x7FFFFFFF


def numpy_generator(seed: int, *names: str | int) -> np.random.Generator:
    """Return a NumPy generator for this seed and path of names."""
    import numpy as np

    return np.random.Generator(np.random.PCG64(child(seed, *names)))


def sample_rows(n: int, most: int, seed: int, name: str) -> np.ndarray:
    """Return at most `most` row numbers out of n, sorted, chosen by seed and name."""
    import numpy as np

    if n <= most:
        return np.arange(n)
    return np.sort(numpy_generator(seed, name).choice(n, most, replace=False))


def torch_generator(seed: int, *names: str | int, device: Any = "cpu") -> torch.Generator:
    """Return a torch generator for this seed and path of names."""
    import torch

    return torch.Generator(device=device).manual_seed(child(seed, *names))


def resolve(random_state: Any) -> int:
    """Turn scikit-learn's `random_state` (None, int, RandomState) into one integer seed.

    None draws a fresh seed from the operating system; a RandomState is drawn from, as scikit-learn itself does.

    Raises
    ------
    UsageError
        Anything else was given.
    """
    import numbers
    import secrets

    if random_state is None:
        return secrets.randbits(31)
    if isinstance(random_state, numbers.Integral) and int(random_state) >= 0:
        return int(random_state)
    for method in ("randint", "integers"):  # RandomState's and Generator's name of the same thing
        draw = getattr(random_state, method, None)
        if draw is not None:
            return int(draw(0, 2**31 - 1))
    raise UsageError(
        f"random_state={random_state!r} is not allowed; give None, an integer of 0 or more, or a numpy RandomState."
    )
