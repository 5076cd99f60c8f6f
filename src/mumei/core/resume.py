"""What a run must remember: its place in the data and its tallies, and the folder they are kept in.

A resumed run must be the run that was killed: configuration, data, method and shapes are compared, and a difference is
an error that names it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mumei.core import checkpoint, files
from mumei.core.batches import Rows
from mumei.core.config import EarlyStopping, TrainConfig
from mumei.core.errors import UsageError
from mumei.core.method import Method, Objective
from mumei.core.progress import Progress
from mumei.core.runtime import Runtime


@dataclass
class Means:
    """Means over rows of named values, as plain numbers, which JSON keeps exactly."""

    rows: int = 0
    sums: dict[str, float] = field(default_factory=dict)

    def add(self, values: Mapping[str, float], rows: int) -> None:
        """Take in a batch's means over its rows."""
        self.rows += rows
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value * rows

    def means(self) -> dict[str, float]:
        """Return the means so far."""
        return {name: total / self.rows for name, total in self.sums.items()}


@dataclass
class Place:
    """Where a run is between two steps.

    Parameters
    ----------
    step, epoch, position : int
        Steps done, epochs done, batches done in the running epoch.
    history : list of dict
        One record for each finished epoch.
    best, stale
        Early stopping: the best value and the epochs since.
    stopped : str
        Why the run is over; empty while it is not.
    seconds : float
        Training time.
    epoch_means, log_means : Means
        Since the epoch began; since the last line of the log.
    """

    step: int = 0
    epoch: int = 0
    position: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    best: float | None = None
    stale: int = 0
    stopped: str = ""
    seconds: float = 0.0
    epoch_means: Means = field(default_factory=Means)
    log_means: Means = field(default_factory=Means)

    def state(self) -> dict[str, Any]:
        """Return JSON values."""
        return {**vars(self), "epoch_means": vars(self.epoch_means), "log_means": vars(self.log_means)}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Place:
        """Return the place that `state` describes."""
        return cls(**{**state, "epoch_means": Means(**state["epoch_means"]), "log_means": Means(**state["log_means"])})

    def judge(self, rule: EarlyStopping, record: Mapping[str, float]) -> None:
        """Set `stopped` if an epoch's record says that nothing has improved for long enough."""
        if rule.metric not in record:
            known = sorted(set(record) - {"epoch"})
            raise UsageError(f"early_stopping watches {rule.metric!r}, which this run does not have; it has {known}.")
        if rule.improved(record[rule.metric], self.best):
            self.best, self.stale = record[rule.metric], 0
        else:
            self.stale += 1
        if self.stale >= rule.patience:
            self.stopped = "early"


class RunFolder:
    """The folder of a run: `metrics.jsonl` and `checkpoints/`. Without a path nothing is read or written.

    Parameters
    ----------
    out : Path or None
    method : Method
    modules, optimizers : dict
        The method's own, not the runtime's wrapped ones.
    config : TrainConfig
    data : Rows
    runtime : Runtime
        Only rank 0 writes.
    """

    def __init__(
        self,
        out: Path | None,
        method: Method,
        modules: dict[str, nn.Module],
        optimizers: dict[str, torch.optim.Optimizer],
        config: TrainConfig,
        data: Rows,
        runtime: Runtime,
    ):
        self.out, self.method, self.modules, self.optimizers = out, method, modules, optimizers
        self.config, self.runtime = config, runtime
        self.last: Path | None = None
        if out is not None:
            self.checkpoints = out / "checkpoints"
            self.log = checkpoint.MetricsLog(out / "metrics.jsonl")
            self.identity = _identity(method, modules, config, data)
            for name in (*modules, *optimizers):
                if "/" in name:
                    raise UsageError(f"a module or optimiser is named {name!r}; names may not hold '/'.")

    def write_line(self, record: dict[str, Any]) -> None:
        """Append a line to the log."""
        if self.out is not None and self.runtime.rank == 0:
            self.log.append(record)

    def save(self, place: Place) -> None:
        """Write a checkpoint."""
        if self.out is None or self.runtime.rank != 0:
            return
        self.log.sync()
        tensors, rest = checkpoint.optimizer_state(self.optimizers)
        weights = checkpoint.weights_of(self.modules)
        extra = _extra(self.method)
        # No module's name is empty, so a method's own tensors cannot meet a weight.
        weights.update({f"/{k}": v for k, v in extra.items() if isinstance(v, Tensor)})
        values = {k: v for k, v in extra.items() if not isinstance(v, Tensor)}
        state = {"identity": self.identity, "place": place.state(), "optimizers": rest, "method": values}
        self.last = checkpoint.save(self.checkpoints, place.step, state, weights, tensors, self.config.keep)

    def restore(self, resume: bool, progress: Progress) -> Place | None:
        """Bring everything back to the newest checkpoint and tidy up; return its place, None where there is none.

        Raises
        ------
        UsageError
            The checkpoint is of another configuration, data, method or network.
        ArtifactError
            All checkpoints are damaged.
        """
        if self.out is None:
            return None
        files.make_folder(self.checkpoints)
        found, problems = checkpoint.latest(self.checkpoints) if resume else (None, [])
        place = None
        if found is not None:
            _compare(found.state["identity"], self.identity, self.out)
            place = self._load(found)
        self.runtime.barrier()  # nobody removes files before everybody has read
        if self.runtime.rank == 0:
            for problem in problems:
                progress.say(f"a damaged checkpoint was passed over: {problem}")
            files.sweep(self.checkpoints)
            files.sweep(self.out)
            checkpoint.discard_after(self.checkpoints, self.last)
            self.log.cut(place.step if place else 0)
        self.runtime.barrier()
        return place

    def _load(self, found: checkpoint.Checkpoint) -> Place:
        checkpoint.restore_weights(self.modules, found.weights)
        checkpoint.restore_optimizers(self.optimizers, found.optimizer, found.state["optimizers"])
        tensors = {k[1:]: v for k, v in found.weights.items() if k.startswith("/")}
        load = getattr(self.method, "load_state_dict", None)
        if load is not None:
            load({**tensors, **found.state["method"]})
        self.last = found.path
        return Place.from_state(found.state["place"])


def _extra(method: Method) -> dict[str, Any]:
    state = getattr(method, "state_dict", None)
    return dict(state()) if state is not None else {}


def _identity(method: Method, modules: dict[str, nn.Module], config: TrainConfig, data: Rows) -> dict[str, Any]:
    """Return what a resumed run must have in common with the run it continues."""
    target: Any = method.loss if isinstance(method, Objective) else type(method)
    shapes = {f"shape of {k}": list(v.shape) for k, v in checkpoint.weights_of(modules).items()}
    name = f"{target.__module__}.{getattr(target, '__qualname__', type(target).__qualname__)}"
    return {**config.identity(), "method": name, "rows": len(data), "data sha256": data.fingerprint(), **shapes}


def _compare(then: dict[str, Any], now: dict[str, Any], out: Path) -> None:
    differing = [k for k in {**then, **now} if then.get(k) != now.get(k)]
    if differing:
        shown = "; ".join(f"{k}: {then.get(k)!r} then, {now.get(k)!r} now" for k in differing[:5])
        more = f" and {len(differing) - 5} more" if len(differing) > 5 else ""
        raise UsageError(
            f"{out} holds a run that differs from this one ({shown}{more}). Give a new folder, or resume=False to "
            f"start over."
        )
