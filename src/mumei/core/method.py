"""What a method gives the training loop, and what it gets: `Method`, `Loss`, `At`; `Objective` for the plain case.

A step with its own ways (two optimisers, alternating updates) calls `at.backward` and its optimisers itself, and
returns a `Loss` whose total is None. On several devices a step must call the networks through `at.nets`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from mumei.core.batches import Rows
from mumei.core.config import TrainConfig
from mumei.core.errors import UsageError
from mumei.core.runtime import Runtime


@dataclass
class Loss:
    """What a step returns: a scalar to minimise (None if the step made its own updates), and named parts to watch."""

    total: Tensor | None
    parts: Mapping[str, Tensor | float] = field(default_factory=dict)


@dataclass
class At:
    """Where the loop is, and what a step may use.

    Parameters
    ----------
    step, epoch : int
        Counted from 0.
    rows : Tensor (b,) int64
        The batch's row numbers.
    rng : torch.Generator
        For everything random in the step, on the runtime's device. Dropout needs nothing: the global generators are
        seeded for each step, and given back after training.
    nets, optimizers : dict
        The method's, made ready for the runtime.
    data : Rows
        All training rows, for a refresh over the whole set.
    """

    step: int
    epoch: int
    rows: Tensor
    rng: torch.Generator
    nets: dict[str, nn.Module]
    optimizers: dict[str, torch.optim.Optimizer]
    data: Rows
    runtime: Runtime
    share: float = 1.0
    stopping: bool = False

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of a scalar; for steps that make their own updates."""
        with torch.autocast(self.runtime.device.type, enabled=False):
            # `share` makes the ranks' mean a mean over rows where a batch does not divide evenly.
            self.runtime.backward(loss if self.share == 1.0 else loss * self.share)

    def stop(self) -> None:
        """Finish training at the end of the running step."""
        self.stopping = True


class Method(Protocol):
    """What the loop trains. Three members are needed; the loop also calls these, where they are:

    `start_epoch(at)` before an epoch's first step (k-means, targets); `end_epoch(at, means) -> dict or None` after its
    last, which may return more metrics; `state_dict()` and `load_state_dict(state)` for a flat dict of tensors and JSON
    values that a resumed run needs beside the weights.
    """

    def modules(self) -> dict[str, nn.Module]:
        """Return the networks by name."""
        ...

    def optimizers(self, config: TrainConfig) -> dict[str, torch.optim.Optimizer]:
        """Return the optimisers by name."""
        ...

    def step(self, batch: tuple[Tensor, ...], at: At) -> Loss:
        """Return the loss of one batch, a tuple with the rows of each training array."""
        ...


class Objective:
    """The plain case: networks, and a function `loss(batch, at)` that returns a `Loss` or a scalar tensor."""

    def __init__(self, nets: nn.Module | dict[str, nn.Module], loss: Callable[[tuple[Tensor, ...], At], Loss | Tensor]):
        self.nets = {"net": nets} if isinstance(nets, nn.Module) else dict(nets)
        self.loss = loss

    def modules(self) -> dict[str, nn.Module]:
        """Return the networks; a single one is called "net"."""
        return self.nets

    def optimizers(self, config: TrainConfig) -> dict[str, torch.optim.Optimizer]:
        """Return one optimiser over everything that learns."""
        return {"all": make_optimizer(config, [p for net in self.nets.values() for p in net.parameters()])}

    def step(self, batch: tuple[Tensor, ...], at: At) -> Loss:
        """Return the loss of one batch."""
        loss = self.loss(batch, at)
        return Loss(loss) if isinstance(loss, Tensor) else loss


def make_optimizer(config: TrainConfig, parameters: list[Any]) -> torch.optim.Optimizer:
    """Return the optimiser that a configuration names, over the parameters that learn, or over groups of them (torch's dicts)."""
    learning = [p for p in parameters if isinstance(p, dict) or p.requires_grad]
    if not learning:
        raise UsageError("there is nothing to train: no parameter requires a gradient.")
    if callable(config.optimizer):
        return config.optimizer(learning)
    if config.optimizer == "rmsprop":
        return torch.optim.RMSprop(learning, config.learning_rate, alpha=0.9, weight_decay=config.weight_decay)
    rates = {"lr": config.learning_rate, "weight_decay": config.weight_decay, "fused": True}
    if config.optimizer == "sgd":
        return torch.optim.SGD(learning, momentum=config.momentum, **rates)
    return {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[config.optimizer](learning, **rates)
