"""A sampler's whole state on disk, so that a run that was killed goes on to the same sequences, to the bit.

Written are the sequences, what the energy's terms know of them, counts, the best states and the trace; random numbers are
functions of the step. A checkpoint names the run it belongs to; one of another run is refused.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch

from mumei.core import checkpoint
from mumei.core.errors import UsageError
from mumei.protein.sampler import Sampler

TENSORS = (
    "tokens", "values", "violation", "step", "moved", "proposed", "done", "best", "best_values", "best_total", "best_step",
    "marked_total", "marked_step",
)  # fmt: skip


def identity(about: dict[str, Any]) -> str:
    """Return a name for a run from all that its sequences depend on (JSON values)."""
    return hashlib.sha256(json.dumps(about, sort_keys=True, default=str).encode()).hexdigest()[:16]


def save(sampler: Sampler, folder: Path, run: str) -> Path:
    """Write the state, whole or not at all; the last two are kept."""
    tensors = {name: getattr(sampler, name) for name in TENSORS}
    tensors |= {f"energy/{key}": value for key, value in sampler.energy.state().items()}
    state = {"run": run, "acceptance": sampler.acceptance, "rounds": sampler.rounds, "trace": sampler.trace}
    # What is not known yet is NaN, which a checkpoint's "weights" may not hold; its other half may.
    return checkpoint.save(folder, sampler.rounds, state, {}, tensors)


def restore(sampler: Sampler, folder: Path, run: str) -> bool:
    """Bring a new sampler to the last state in a folder; return whether there was one.

    Raises
    ------
    UsageError
        The folder holds another run.
    """
    if not folder.is_dir() or not checkpoint.existing(folder):
        return False
    found, _ = checkpoint.latest(folder)
    if found is None:
        return False
    if found.state["run"] != run:
        raise UsageError(
            f"{folder} holds checkpoints of another run (other options, model, target or seed). Give another folder, or "
            "remove it to begin anew."
        )
    for name in TENSORS:
        setattr(sampler, name, found.optimizer[name].clone())
    start = "energy/"
    known = {k.removeprefix(start): v for k, v in found.optimizer.items() if k.startswith(start)}
    sampler.energy.restore(sampler.tokens, known)
    sampler.acceptance, sampler.rounds = found.state["acceptance"], found.state["rounds"]
    sampler.trace = found.state["trace"]
    checkpoint.discard_after(folder, found.path)
    return True


def same(first: Sampler, second: Sampler) -> bool:
    """Return whether two samplers are in the same state, to the bit."""
    return (
        all(torch.equal(getattr(first, name), getattr(second, name)) for name in TENSORS)
        and first.trace == second.trace
    )
