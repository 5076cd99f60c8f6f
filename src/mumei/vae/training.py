"""The bound as a method of the training loop, for any network; early stopping on rows held out, with the best weights kept; and
what ties a run to its estimator: its settings, the optimiser of its last pass.

Where a network is the paper's (`engine.written_out`) and the objective plain, the gradients written out by hand are used; else
automatic differentiation.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mumei.core import checkpoint
from mumei.core.config import TrainConfig, one_of
from mumei.core.errors import UsageError
from mumei.core.estimating import plain, same_settings
from mumei.core.method import At, Loss, make_optimizer
from mumei.vae.engine import AEVB, WakeSleep, written_out
from mumei.vae.inputs import Scaling
from mumei.vae.network import VAENet
from mumei.vae.objective import BoundConfig, loss

TRAINERS: dict[str, Any] = {"aevb": AEVB, "wake-sleep": WakeSleep}


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
    done : int
        Steps of earlier passes: where the KL's warm-up is.
    """

    def __init__(
        self,
        net: VAENet,
        rows: int,
        bound: BoundConfig,
        *,
        weight_prior: bool = True,
        scaling: Scaling | None = None,
        done: int = 0,
    ):
        self.net, self.bound, self.scaling, self.done = net, bound, scaling, done
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
        return loss(self.net, x, at.rng, self.bound, self.done + at.step, batch[1] if len(batch) > 1 else None)


def choose_method(
    net: VAENet,
    rows: int,
    bound: BoundConfig,
    *,
    weight_prior: bool,
    scaling: Scaling,
    precision: str,
    done: int = 0,
    trainer: str = "aevb",
) -> Any:
    """Return the faster method that trains this network on this bound: written out, or `BoundMethod`.

    Raises
    ------
    UsageError
        Wake-sleep with a network or an objective for which it is not written.
    """
    one_of("trainer", trainer, tuple(TRAINERS))
    if bound == BoundConfig() and written_out(net):
        # Bytes are the only rows that come unscaled, and their scaling is one factor.
        made = TRAINERS[trainer]
        return made(net, rows, weight_prior=weight_prior, precision=precision, scale=float(scaling.factor[0]))
    if trainer != "aevb":
        raise UsageError(
            f"trainer={trainer!r} is for one hidden layer of tanh units, a bernoulli or gaussian likelihood of learned variance, "
            "no batch labels, and the plain objective (estimator 'B', one sample, beta 1, no free bits, no warm-up); use 'aevb'."
        )
    return BoundMethod(net, rows, bound, weight_prior=weight_prior, scaling=scaling, done=done)


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


class Kept:
    """A method of an estimator: it goes on with the optimisers of the last pass, and its checkpoints hold its settings.

    Parameters
    ----------
    method : Method
    owner : VAE
        Keeps the optimisers between passes.
    resumed : int
        Passes before this one; 0 begins with fresh optimisers.
    """

    def __init__(self, method: Any, owner: Any, resumed: int):
        self.method, self.owner, self.resumed = method, owner, resumed
        if hasattr(method, "end_epoch"):
            self.end_epoch = method.end_epoch

    def modules(self) -> Any:
        """Return the method's networks."""
        return self.method.modules()

    def optimizers(self, config: TrainConfig) -> Any:
        """Return the method's optimisers, with the averages of the last pass and the settings of this one."""
        made, before = self.method.optimizers(config), getattr(self.owner, "_optimizers", None)
        if self.resumed and before is not None:
            for name, optimizer in made.items():
                if not _take_averages(optimizer, before[name]):
                    said = "the optimiser began afresh: it or the bound was changed between passes"
                    self.owner.notes_ = [
                        *self.owner.notes_,
                        said,
                    ]  # a new list: the old one returns where training fails
        self.owner._optimizers = made
        return made

    def step(self, batch: Any, at: Any) -> Any:
        """Make the method's step."""
        return self.method.step(batch, at)

    def state_dict(self) -> dict[str, Any]:
        """Return the method's state and the estimator's settings."""
        inner = self.method.state_dict() if hasattr(self.method, "state_dict") else {}
        return {**inner, "settings": settings_of(self.owner)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the method's state back."""
        if hasattr(self.method, "load_state_dict"):
            self.method.load_state_dict({k: v for k, v in state.items() if k != "settings"})


def _take_averages(optimizer: torch.optim.Optimizer, before: torch.optim.Optimizer) -> bool:
    """Give an optimiser the state of an earlier one, not its rates; return False where it is of another kind or shape."""
    shapes = [[[p.shape for p in g["params"]] for g in o.param_groups] for o in (optimizer, before)]
    if type(optimizer) is not type(before) or shapes[0] != shapes[1]:
        return False
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": copy.deepcopy(before.state_dict()["state"]), "param_groups": groups})
    return True


# Shapes, data, seed and the loop's own settings are compared by the loop.
_NOT_COMPARED = ("n_latent", "latents", "hidden", "likelihood", "layer", "epochs", "random_state", "out", "progress")


def settings_of(model: Any) -> dict[str, Any]:
    """Return as JSON values the arguments that a resumed fit must share with the one that was killed."""
    given = {k: v for k, v in model.get_params(deep=False).items() if k not in _NOT_COMPARED}
    return plain({**given, "likelihood": model.likelihood_})


def check_same_run(out: Any, model: Any) -> None:
    """Raise `UsageError` where a folder holds checkpoints of an estimator with other settings."""
    same_settings(out, settings_of(model))


def rows_of(array: Any, index: np.ndarray) -> Any:
    """Return the rows of an index (n,) of a tensor, array or CSR matrix."""
    return array[torch.from_numpy(index)] if isinstance(array, Tensor) else array[index]
