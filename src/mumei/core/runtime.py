"""Where training runs: plain torch on one device, or Lightning Fabric on many. The loop sees only this seam.

Each rank takes its slice of every batch, so the order of the data is a function of the seed and the epoch whatever the number
of devices; rank 0 alone writes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from mumei.core.errors import MissingExtraError, UsageError


def pick_device(device: str | torch.device = "auto") -> torch.device:
    """Return a device: "auto" takes a GPU if there is one. A device that is not there raises `UsageError`."""
    if str(device) != "auto":
        chosen = torch.device(device)
        if chosen.type == "cuda" and not torch.cuda.is_available():
            raise UsageError(f"device {str(device)!r} is not available here; give 'cpu' or 'auto'.")
        return chosen
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


class SingleRuntime:
    """One device, plain torch."""

    rank = 0
    world_size = 1

    def __init__(self, device: str | torch.device = "cpu"):
        self.device = pick_device(device)

    def wrap(self, module: torch.nn.Module) -> torch.nn.Module:
        """Put a module on the device."""
        return module.to(self.device)

    def wrap_optimizer(self, optimizer: torch.optim.Optimizer) -> Any:
        """Return the optimiser to step with."""
        return optimizer

    def backward(self, loss: torch.Tensor) -> None:
        """Run the backward pass."""
        loss.backward()

    def clip(self, parameters: Iterable[torch.nn.Parameter], limit: float) -> torch.Tensor:
        """Scale gradients to a norm of at most `limit`; return the norm before."""
        return torch.nn.utils.clip_grad_norm_(parameters, limit)

    def mean(self, values: torch.Tensor) -> torch.Tensor:
        """Average a tensor over the ranks."""
        return values

    def barrier(self) -> None:
        """Wait for all ranks."""


class FabricRuntime(SingleRuntime):
    """Many devices, by Lightning Fabric (extra `fabric`); the arguments are those of `lightning_fabric.Fabric`.

    Make it at the top of a script: on several devices it starts the other processes, which run the script again.
    """

    def __init__(self, **options: Any):
        try:
            from lightning_fabric import Fabric
        except ImportError as error:
            raise MissingExtraError("training on many devices", "lightning-fabric", "fabric") from error
        self.fabric = Fabric(**options)
        self.fabric.launch()
        self.device = self.fabric.device
        self.rank, self.world_size = self.fabric.global_rank, self.fabric.world_size

    def wrap(self, module: torch.nn.Module) -> torch.nn.Module:
        """Put a module on the device and, on several, under data-parallel training."""
        return self.fabric.setup_module(module)

    def wrap_optimizer(self, optimizer: torch.optim.Optimizer) -> Any:
        """Return the optimiser to step with."""
        return self.fabric.setup_optimizers(optimizer)

    def backward(self, loss: torch.Tensor) -> None:
        """Run the backward pass, averaging gradients over the ranks."""
        self.fabric.backward(loss)

    def mean(self, values: torch.Tensor) -> torch.Tensor:
        """Average a tensor over the ranks."""
        return self.fabric.all_reduce(values, reduce_op="mean")  # type: ignore[return-value]

    def barrier(self) -> None:
        """Wait for all ranks."""
        self.fabric.barrier()
