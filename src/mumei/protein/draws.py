"""Random numbers by address: what step 1,234 of chain 5 draws is a function of (seed, chain, step), whoever asks and when.

A sampler that looks ahead, evaluates chains together, or goes on after a crash then draws what a serial one would have drawn.
Each chain has a key from `mumei.core.seeds`; the number at a counter is SplitMix64's finaliser (Steele and others 2014) of
key + counter * gamma, its upper 53 bits as a float64 in [0, 1).
"""

from __future__ import annotations

import numpy as np

from mumei.core import seeds

GAMMA = np.uint64(0x9E3779B97F4A7C15)
ROUNDS = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))
PURPOSES = 4  # numbers of one step: place, residue, acceptance, and one that is free


def keys(seed: int, n: int, name: str) -> np.ndarray:
    """Return a key for each of n chains, uint64 (n,)."""
    return np.array([seeds.child(seed, name, chain) for chain in range(n)], dtype=np.uint64)


def uniform(key: np.ndarray, counter: np.ndarray) -> np.ndarray:
    """Return float64 in [0, 1) at counters (any shape) under keys that broadcast with them."""
    x = key + (counter.astype(np.uint64) + np.uint64(1)) * GAMMA
    for shift, factor in ROUNDS:
        x = (x ^ (x >> np.uint64(shift))) * np.uint64(factor)
    x ^= x >> np.uint64(31)
    return (x >> np.uint64(11)) * 2.0**-53


def step_draws(key: np.ndarray, step: np.ndarray) -> np.ndarray:
    """Return the three numbers of steps, for place, residue and acceptance: float64 (n, 3) for keys and steps (n,)."""
    counters = step[:, None].astype(np.uint64) * np.uint64(PURPOSES) + np.arange(3, dtype=np.uint64)
    return uniform(key[:, None], counters)
