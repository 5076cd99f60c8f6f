"""How long, how fast and how carefully to train: frozen, validated, free of torch, so that a command line can show
it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from mumei.core.errors import UsageError, unknown

OPTIMIZERS = ("adam", "adamw", "rmsprop", "sgd")
PRECISIONS = ("float32", "bf16")
SCHEDULES = ("constant", "linear", "cosine")
FREE = ("checkpoint_steps", "checkpoint_seconds", "keep")  # may differ between a run and its resumption
LENGTH = ("epochs", "max_steps")  # may differ too, unless the learning rate's schedule depends on them


@dataclass(frozen=True, kw_only=True)
class EarlyStopping:
    """Stop when an epoch's mean has not improved for a while.

    Parameters
    ----------
    patience : int
        Epochs without improvement before stopping.
    min_delta : float
        A smaller change than this is no improvement.
    metric : str
        "loss", the name of a loss part, or a metric that the `on_epoch` hook returns.
    mode : {"min", "max"}
        Which direction is better.

    Raises
    ------
    UsageError
        A value is out of its range.
    """

    patience: int = 10
    min_delta: float = 0.0
    metric: str = "loss"
    mode: str = "min"

    def __post_init__(self) -> None:
        at_least("patience", self.patience, 1, whole=True)
        at_least("min_delta", self.min_delta, 0.0)
        one_of("mode", self.mode, ("min", "max"))

    def improved(self, value: float, best: float | None) -> bool:
        """Whether `value` is better than `best` by more than `min_delta`."""
        if best is None:
            return True
        return value < best - self.min_delta if self.mode == "min" else value > best + self.min_delta


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """One training run.

    Parameters
    ----------
    epochs : int or None
        Passes over the data. None trains until `max_steps`.
    max_steps : int or None
        Optimiser steps in all, also in the middle of an epoch.
    batch_size : int
        Rows in a step, over all devices.
    optimizer : {"adam", "adamw", "rmsprop", "sgd"} or callable
        A callable takes a list of parameters and returns an optimiser. The named ones are torch's fused ones on every
        device (but for "rmsprop", which has none; its mean forgets by 0.9): their rounding differs from the unfused ones,
        so the choice must not hang on the machine.
    learning_rate, weight_decay, momentum : float
        For named optimisers; `momentum` is SGD's.
    schedule : {"constant", "linear", "cosine"}
        How the learning rate falls after the warm-up to `final_rate` of it at the last step.
    warmup_steps : int
        Steps over which the learning rate rises in a straight line.
    final_rate : float
        In [0, 1].
    clip : float or None
        Largest global gradient norm.
    precision : {"float32", "bf16"}
        "bf16" runs the step under torch's autocast; weights stay float32.
    shuffle, drop_last : bool
        A new order each epoch; leave out a last, smaller batch.
    seed : int
        Order, dropout and the step's generator derive from it.
    early_stopping : EarlyStopping or None
    log_steps : int
        Steps between lines of `metrics.jsonl`.
    checkpoint_steps : int or None
        Steps between checkpoints.
    checkpoint_seconds : float or None
        Seconds between checkpoints; whichever is due first.
    keep : int
        Checkpoints kept on the disk.

    Raises
    ------
    UsageError
        A value is out of its range, or neither `epochs` nor `max_steps` is given.
    """

    epochs: int | None = 10
    max_steps: int | None = None
    batch_size: int = 256
    optimizer: str | Callable[[list[Any]], Any] = "adam"
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    momentum: float = 0.9
    schedule: str = "constant"
    warmup_steps: int = 0
    final_rate: float = 0.0
    clip: float | None = None
    precision: str = "float32"
    shuffle: bool = True
    drop_last: bool = False
    seed: int = 0
    early_stopping: EarlyStopping | None = None
    log_steps: int = 50
    checkpoint_steps: int | None = None
    checkpoint_seconds: float | None = 300.0
    keep: int = 2

    def __post_init__(self) -> None:
        if self.epochs is None and self.max_steps is None:
            raise UsageError("epochs=None and max_steps=None would train forever; give at least one of them.")
        for name in ("epochs", "max_steps", "checkpoint_steps"):
            if getattr(self, name) is not None:
                at_least(name, getattr(self, name), 1, whole=True)
        for name, low in (("batch_size", 1), ("log_steps", 1), ("keep", 1), ("warmup_steps", 0), ("seed", 0)):
            at_least(name, getattr(self, name), low, whole=True)
        for name in ("learning_rate", "weight_decay", "momentum", "final_rate"):
            at_least(name, getattr(self, name), 0.0)
        at_most("momentum", self.momentum, 1.0)
        at_most("final_rate", self.final_rate, 1.0)
        for name in ("clip", "checkpoint_seconds"):
            if getattr(self, name) is not None:
                at_least(name, getattr(self, name), 0.0, strictly=True)
        if not callable(self.optimizer):
            one_of("optimizer", self.optimizer, OPTIMIZERS)
        one_of("precision", self.precision, PRECISIONS)
        one_of("schedule", self.schedule, SCHEDULES)

    def total_steps(self, batches: int) -> int:
        """Return the number of steps for an epoch of `batches`."""
        by_epochs = math.inf if self.epochs is None else self.epochs * batches
        return int(min(by_epochs, math.inf if self.max_steps is None else self.max_steps))

    def rate(self, step: int, total: int) -> float:
        """Return the factor on the learning rate at a step (counted from 0) of `total`."""
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        if self.schedule == "constant":
            return 1.0
        done = (step - self.warmup_steps) / max(total - 1 - self.warmup_steps, 1)
        falling = 1.0 - done if self.schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * done))
        return self.final_rate + (1.0 - self.final_rate) * falling

    def identity(self) -> dict[str, Any]:
        """Return as JSON values what a resumed run must have in common with the run it continues."""
        free = (*FREE, *LENGTH) if self.schedule == "constant" else FREE
        values = {k: v for k, v in asdict(self).items() if k not in free}
        if callable(self.optimizer):
            values["optimizer"] = f"{self.optimizer.__module__}.{self.optimizer.__qualname__}"
        return values


def at_least(name: str, value: Any, low: float, *, whole: bool = False, strictly: bool = False) -> None:
    """Raise `UsageError` unless `value` is a finite number (an integer if `whole`) of at least `low`, or above it."""
    kind = int if whole else int | float
    number = isinstance(value, kind) and not isinstance(value, bool) and math.isfinite(value)
    if not number or value < low or (strictly and value == low):
        bound = f"greater than {low}" if strictly else f"of at least {low}"
        raise UsageError(f"{name}={value!r} is not allowed; give {'an integer' if whole else 'a number'} {bound}.")


def at_most(name: str, value: float, high: float) -> None:
    """Raise `UsageError` if `value` is above `high`."""
    if value > high:
        raise UsageError(f"{name}={value!r} is not allowed; give a number of at most {high}.")


def one_of(name: str, value: Any, allowed: tuple[str, ...]) -> None:
    """Raise `UsageError`, with the closest match, unless `value` is an allowed word."""
    if value not in allowed:
        raise unknown(name, str(value), allowed)
