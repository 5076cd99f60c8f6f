"""Where training runs: one device in plain torch, or many through Lightning Fabric.

The training loop meets a machine only through `Runtime`. `SingleRuntime` is plain torch on one device. `FabricRuntime`
is data parallel (DDP) over processes; Lightning is imported only when one is made. Each rank takes its slice of every
global batch, so the order of the data stays a function of (seed, epoch) for any number of ranks. Only rank 0 writes.

Departure from Fabric's own habit: mixed precision is the loop's `torch.autocast` for both runtimes, so Fabric always
runs at "32-true". Sharded weights (FSDP) are not supported: a checkpoint holds each rank's full weights.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol, TypeVar, cast

import torch
from torch import Tensor, nn

from mumei.core.errors import MissingExtraError, UsageError, unknown

DEVICES = ("auto", "cpu", "cuda", "mps")
Named = TypeVar("Named", nn.Module, torch.optim.Optimizer)


class Runtime(Protocol):
    """What the training loop asks of a machine."""

    device: torch.device
    rank: int
    world_size: int

    def wrap(self, modules: dict[str, nn.Module]) -> dict[str, nn.Module]:
        """Move modules to the device in place and return them ready for training; call the returned ones."""
        ...

    def wrap_optimizers(self, optimizers: dict[str, torch.optim.Optimizer]) -> dict[str, torch.optim.Optimizer]:
        """Return optimisers ready for training."""
        ...

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of a scalar, averaged over ranks."""
        ...

    def clip(self, parameters: Iterable[Tensor], max_norm: float) -> Tensor:
        """Scale gradients so that their global norm is at most `max_norm`; return the norm before."""
        ...

    def all_reduce(self, values: Tensor) -> Tensor:
        """Return the sum over ranks of a small tensor."""
        ...

    def barrier(self) -> None:
        """Wait until every rank is here."""
        ...


class SingleRuntime:
    """One process, one device, plain torch.

    Parameters
    ----------
    device : {"auto", "cpu", "cuda", "cuda:N", "mps"}
        "auto" takes a CUDA device, else an Apple GPU, else the CPU.

    Raises
    ------
    UsageError
        The device is unknown or not on this machine.
    """

    rank = 0
    world_size = 1

    def __init__(self, device: str = "cpu"):
        self.device = pick_device(device)

    def wrap(self, modules: dict[str, nn.Module]) -> dict[str, nn.Module]:
        """Move modules to the device in place."""
        return {name: module.to(self.device) for name, module in modules.items()}

    def wrap_optimizers(self, optimizers: dict[str, torch.optim.Optimizer]) -> dict[str, torch.optim.Optimizer]:
        """Return the optimisers as they are."""
        return dict(optimizers)

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of a scalar."""
        loss.backward()

    def clip(self, parameters: Iterable[Tensor], max_norm: float) -> Tensor:
        """Scale gradients to a global norm of at most `max_norm`; return the norm before."""
        return nn.utils.clip_grad_norm_(parameters, max_norm)

    def all_reduce(self, values: Tensor) -> Tensor:
        """Return the values: there is one rank."""
        return values

    def barrier(self) -> None:
        """Return at once: there is one rank."""


class FabricRuntime:
    """Many processes through Lightning Fabric, data parallel.

    Start a script once and let Fabric start the other processes, or start all of them with `torchrun`. Networks must be
    called through the modules that `wrap` returns. A network called by another method than `forward` (say `encode`) is
    made ready by naming the method in `forward_methods`.

    Parameters
    ----------
    accelerator, devices, strategy, num_nodes
        As in `lightning_fabric.Fabric`.
    forward_methods : tuple of str
        Methods of the networks that a training step calls beside `forward`.

    Raises
    ------
    MissingExtraError
        The package `lightning-fabric` is not installed.
    """

    def __init__(
        self,
        accelerator: str = "auto",
        devices: int | str = "auto",
        strategy: str = "ddp",
        num_nodes: int = 1,
        forward_methods: tuple[str, ...] = (),
    ):
        try:
            from lightning_fabric import Fabric
        except ImportError as error:
            raise MissingExtraError("training on several devices", "lightning-fabric", "fabric") from error
        self.forward_methods = forward_methods
        self.fabric: Any = Fabric(
            accelerator=accelerator, devices=devices, strategy=strategy, num_nodes=num_nodes, precision="32-true"
        )
        self.fabric.launch()
        self.device: torch.device = self.fabric.device
        self.rank: int = self.fabric.global_rank
        self.world_size: int = self.fabric.world_size

    def wrap(self, modules: dict[str, nn.Module]) -> dict[str, nn.Module]:
        """Move modules to the device in place; those with something to learn are made data parallel, from rank 0's
        weights.
        """
        return {name: self._wrap(module) for name, module in modules.items()}

    def _wrap(self, module: nn.Module) -> nn.Module:
        if not any(p.requires_grad for p in module.parameters()):
            return module.to(self.device)
        wrapped = self.fabric.setup_module(module)
        for method in self.forward_methods:
            if hasattr(module, method):
                wrapped.mark_forward_method(method)
        return wrapped

    def wrap_optimizers(self, optimizers: dict[str, torch.optim.Optimizer]) -> dict[str, torch.optim.Optimizer]:
        """Return the optimisers as Fabric's."""
        return {name: cast("Any", self.fabric.setup_optimizers(o)) for name, o in optimizers.items()}

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of a scalar, averaged over ranks."""
        self.fabric.backward(loss)

    def clip(self, parameters: Iterable[Tensor], max_norm: float) -> Tensor:
        """Scale gradients to a global norm of at most `max_norm`; return the norm before. Gradients are equal on all
        ranks.
        """
        return nn.utils.clip_grad_norm_(parameters, max_norm)

    def all_reduce(self, values: Tensor) -> Tensor:
        """Return the sum over ranks."""
        return cast("Tensor", self.fabric.all_reduce(values, reduce_op="sum"))

    def barrier(self) -> None:
        """Wait until every rank is here."""
        self.fabric.barrier()


def pick_device(device: str = "auto") -> torch.device:
    """Turn a device's name into one that this machine has.

    Raises
    ------
    UsageError
        The name is unknown, or names a device that is not here.
    """
    kind, _, number = str(device).partition(":")
    if kind not in DEVICES or (number and not (kind == "cuda" and number.isdigit())):
        raise unknown("device", str(device), DEVICES)
    if kind == "auto":
        kind = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    found = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}[kind]
    if int(number or 0) >= found:
        raise UsageError(
            f"device {device!r} is not on this machine ({found} of kind {kind!r} found); use 'auto' or 'cpu'."
        )
    return torch.device(f"cuda:{number or 0}" if kind == "cuda" else kind)


def slice_of(length: int, rank: int, world_size: int) -> tuple[int, int]:
    """Return the first and last+1 position of a rank's part of a batch: parts differ by at most one row.

    Examples
    --------
    >>> [slice_of(5, rank, 2) for rank in range(2)]
    [(0, 3), (3, 5)]
    """
    size, extra = divmod(length, world_size)
    start = rank * size + min(rank, extra)
    return start, start + size + (rank < extra)
