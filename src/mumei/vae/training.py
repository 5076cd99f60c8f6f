"""The bound as a method of the training loop, for any network; and early stopping on rows held out, with the best weights kept.

Where a network is the paper's (`engine.written_out`) and the objective plain, the gradients written out by hand are used; else
automatic differentiation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mumei.core import checkpoint
from mumei.core.config import TrainConfig
from mumei.core.method import At, Loss, make_optimizer
from mumei.vae.engine import AEVB, written_out
from mumei.vae.inputs import Scaling
from mumei.vae.network import VAENet
from mumei.vae.objective import BoundConfig, loss


class BoundMethod:
    """Climbs a bound by automatic differentiation.

    Parameters
    ----------
    net : VAENet
    rows : int
        N, for the weights' prior.
    bound : BoundConfig
    weight_prior : bool
        N(0, I) on the weights, not on biases: weight decay 1/N.
    scaling : Scaling
        What rows of bytes are scaled by; other rows come scaled.
    """

    def __init__(
        self, net: VAENet, rows: int, bound: BoundConfig, *, weight_prior: bool = True, scaling: Scaling | None = None
    ):
        self.net, self.bound, self.scaling = net, bound, scaling
        self.decay = 1.0 / rows if weight_prior else 0.0

    def modules(self) -> dict[str, nn.Module]:
        """Return the network."""
        return {"net": self.net}

    def optimizers(self, config: TrainConfig) -> dict[str, torch.optim.Optimizer]:
        """Return one optimiser, the prior being weight decay."""
        named = list(self.net.named_parameters())
        weights = [p for name, p in named if name.endswith("weight")]
        others = [p for name, p in named if not name.endswith("weight")]
        groups: list[Any] = [{"params": weights, "weight_decay": self.decay + config.weight_decay}]
        return {"all": make_optimizer(config, [*groups, {"params": others}] if others else groups)}

    def step(self, batch: tuple[Tensor, ...], at: At) -> Loss:
        """Return the negative bound of one batch in nats per row."""
        x = batch[0]
        x = self.scaling.apply(x) if x.dtype is torch.uint8 and self.scaling is not None else x.float()
        return loss(self.net, x, at.rng, self.bound, at.step, batch[1] if len(batch) > 1 else None)


def choose_method(
    net: VAENet, rows: int, bound: BoundConfig, *, weight_prior: bool, scaling: Scaling, precision: str
) -> Any:
    """Return the faster method that trains this network on this bound: AEVB written out, or `BoundMethod`."""
    if bound == BoundConfig() and written_out(net):
        # Bytes are the only rows that come unscaled, and their scaling is one factor.
        return AEVB(net, rows, weight_prior=weight_prior, precision=precision, scale=float(scaling.factor[0]))
    return BoundMethod(net, rows, bound, weight_prior=weight_prior, scaling=scaling)


class Watched:
    """A method that looks at held-out rows after each epoch and remembers the weights that did best there.

    Parameters
    ----------
    method : Method
        With one network, "net".
    judge : callable
        Returns the network's bound on the held-out rows, nats per row.
    """

    def __init__(self, method: Any, judge: Callable[[], float]):
        self.method, self.judge = method, judge
        self.best: dict[str, Tensor] = {}
        self.value = float("-inf")

    def modules(self) -> dict[str, nn.Module]:
        """Return the method's networks."""
        return self.method.modules()

    def optimizers(self, config: TrainConfig) -> dict[str, torch.optim.Optimizer]:
        """Return the method's optimisers."""
        return self.method.optimizers(config)

    def step(self, batch: tuple[Tensor, ...], at: At) -> Loss:
        """Make the method's step."""
        return self.method.step(batch, at)

    def end_epoch(self, at: At, means: Mapping[str, float]) -> dict[str, float]:
        """Judge the network; keep its weights if they are the best so far."""
        value = self.judge()
        if value > self.value:
            self.value = value
            self.best = {k: v.detach().clone() for k, v in self.modules()["net"].state_dict().items()}
        return {"validation": value}

    def restore(self) -> None:
        """Give the network its best weights."""
        if self.best:
            checkpoint.restore_weights(self.modules(), {f"net/{k}": v for k, v in self.best.items()})

    def state_dict(self) -> dict[str, Any]:
        """Return the best weights and their value."""
        return {**{f"best.{k}": v for k, v in self.best.items()}, "value": repr(self.value)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take them back."""
        self.value = float(state["value"])
        self.best = {k.removeprefix("best."): v.clone() for k, v in state.items() if k.startswith("best.")}
