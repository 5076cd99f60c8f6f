"""The training loop: rows in, a trained method out, and a run that can be killed at any moment.

A method (`core/method.py`) hands the loop its networks, its optimisers and a `step` that turns a batch into a `Loss`;
the loop owns the rest: the order of the rows, epochs, mixed precision, clipping, finite checks that name the step and
the part, progress, `metrics.jsonl`, checkpoints, resumption and early stopping.

Everything random is a function of names, not of history: the order derives from (seed, epoch); dropout and the step's
generator from (seed, step, rank). So there is no generator state to save, a resumed run repeats the killed one bit for
bit (same machine, same thread count), and the caller's global random state is never changed.
"""

from __future__ import annotations

import contextlib
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mumei.core import seeds
from mumei.core.batches import Order, Rows
from mumei.core.config import EarlyStopping, TrainConfig
from mumei.core.errors import NonFiniteError, UsageError
from mumei.core.memory import freed_memory_kept
from mumei.core.method import At, Loss, Method, Objective, make_optimizer
from mumei.core.progress import SILENT, Progress, Task
from mumei.core.resume import Means, Place, RunFolder
from mumei.core.runtime import Runtime, SingleRuntime, slice_of

__all__ = ["At", "EarlyStopping", "History", "Loss", "Method", "Objective", "TrainConfig", "fit", "make_optimizer"]

OnStep = Callable[[At, dict[str, float]], None]
OnEpoch = Callable[[At, dict[str, float]], Mapping[str, float] | None]


@dataclass
class History:
    """What a run did.

    Parameters
    ----------
    epochs : list of dict
        For each epoch: "epoch", the means over rows of "loss" and each part, and the hooks' metrics. A last epoch that
        was cut short (`max_steps`, `at.stop()`) is there with "partial": True.
    steps : int
        Steps in all, those before a resumption included.
    stopped : {"finished", "early", "method"}
        All steps done, no more improvement, or the method's own `at.stop()`.
    resumed_from : int or None
        The step of the checkpoint that this run started from.
    seconds : float
        Training time in all.
    """

    epochs: list[dict[str, Any]]
    steps: int
    stopped: str
    resumed_from: int | None
    seconds: float


def fit(
    method: Method,
    data: Any,
    config: TrainConfig | None = None,
    *,
    out: Path | str | None = None,
    resume: bool = True,
    runtime: Runtime | None = None,
    progress: Progress = SILENT,
    label: str = "training",
    on_step: OnStep | None = None,
    on_epoch: OnEpoch | None = None,
) -> History:
    """Train a method in place.

    Parameters
    ----------
    method : Method
        For one network and one loss function: `Objective(net, loss)`.
    data : Tensor, ndarray, memmap, or a tuple of them
        Arrays of equal length, rows first.
    config : TrainConfig, optional
        Its defaults where it is not given.
    out : path, optional
        A folder for `metrics.jsonl` and `checkpoints/`. Without it nothing is written.
    resume : bool
        Continue from the newest checkpoint in `out`; a finished run may so be made longer, unless its learning rate
        has a schedule. False starts over and removes the checkpoints there.
    runtime : Runtime, optional
        One CPU device by default.
    progress, label
        Where and under which name progress is shown.
    on_step, on_epoch : callable, optional
        Called after each step with its values and after each epoch with the means; what `on_epoch` returns joins the
        history and may steer early stopping.

    Raises
    ------
    NonFiniteError
        A loss, a part or a gradient norm became NaN or infinite.
    UsageError
        `out` holds the run of another configuration, data or network.
    KeyboardInterrupt
        Ctrl-C: where there is an `out`, after a final checkpoint.

    Examples
    --------
    >>> net = torch.nn.Linear(3, 3)
    >>> autoencode = Objective(net, lambda batch, at: (at.nets["net"](batch[0]) - batch[0]).square().mean())
    >>> fit(autoencode, torch.zeros(8, 3), TrainConfig(epochs=2)).steps
    2
    """
    loop = _Loop(method, Rows(data), config or TrainConfig(), runtime or SingleRuntime(), Path(out) if out else None)
    loop.on_step, loop.on_epoch = on_step, on_epoch
    training = {name: module.training for name, module in method.modules().items()}
    with _global_rng_kept(loop.runtime.device), _interrupts(loop, progress), freed_memory_kept():
        try:
            found = loop.folder.restore(resume, progress)
            loop.place = found or Place()
            if loop.place.stopped == "finished" and loop.place.step < loop.total:
                loop.place.stopped = ""  # a finished run that is now made longer
            with progress.task(label, loop.rows_left(), "rows") as task:
                resumed = loop.place.step if found else None
                loop.run(task if loop.runtime.rank == 0 else None)
        finally:
            for name, module in method.modules().items():
                module.train(training[name])
    place = loop.place
    cut = [{"epoch": place.epoch, **place.epoch_means.means(), "partial": True}] if place.position else []
    return History(place.history + cut, place.step, place.stopped, resumed, place.seconds)


@contextlib.contextmanager
def _global_rng_kept(device: torch.device) -> Iterator[None]:
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield


@contextlib.contextmanager
def _interrupts(loop: _Loop, progress: Progress) -> Iterator[None]:
    """Let the first Ctrl-C finish the running step and save, the second stop at once. Only where there is a place to
    save.
    """
    if loop.folder.out is None or threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(*_: Any) -> None:
        if loop.interrupted:
            raise KeyboardInterrupt
        loop.interrupted = True
        progress.say("interrupted: finishing this step and saving; press Ctrl-C again to stop at once")

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class _Loop:
    """One run. Between two steps all that changes is in `place`, the weights and the optimisers: any boundary can be
    saved.
    """

    def __init__(self, method: Method, data: Rows, config: TrainConfig, runtime: Runtime, out: Path | None):
        self.method, self.data, self.config, self.runtime = method, data, config, runtime
        modules = method.modules()
        nets = runtime.wrap(modules)
        # The method's own optimisers are what is saved; the runtime's wrapped ones are what steps.
        self.plain_optimizers = method.optimizers(config)
        self.optimizers = runtime.wrap_optimizers(self.plain_optimizers)
        self.base_rates = {k: [g["lr"] for g in o.param_groups] for k, o in self.plain_optimizers.items()}
        self.order = Order(len(data), config.batch_size, config.seed, config.shuffle, config.drop_last)
        self.total = config.total_steps(self.order.batches)
        self.folder = RunFolder(out, method, modules, self.plain_optimizers, config, data, runtime)
        self.place = Place()
        self.interrupted = False
        self.on_step: OnStep | None = None
        self.on_epoch: OnEpoch | None = None
        self.clock = self.saved_at = time.monotonic()
        nothing, rng = torch.zeros(0, dtype=torch.int64), torch.Generator(runtime.device)
        self.at = At(0, 0, nothing, rng, nets, self.optimizers, data, runtime)

    def run(self, task: Task | None) -> None:
        """Train from the place where the run is to its end."""
        place = self.place
        self.clock = self.saved_at = time.monotonic()
        while not place.stopped:
            for net in self.at.nets.values():
                net.train()
            if place.position == 0:
                self._start_epoch()
            for index in self.order.epoch(place.epoch)[place.position :]:
                values = self._train_on(index)
                self._count(values, len(index))
                self._boundary(task, values, len(index))
                if place.stopped:
                    break

    # One step.

    def _seed(self, *names: str | int) -> None:
        """Seed the step's generator and the global ones (dropout); ranks beyond the first draw their own."""
        rank = ("rank", self.runtime.rank) if self.runtime.rank else ()
        self.at.rng.manual_seed(seeds.child(self.config.seed, "rng", *names, *rank))
        seed = seeds.child(self.config.seed, "global", *names, *rank)
        torch.default_generator.manual_seed(seed)
        if self.runtime.device.type == "cuda":
            torch.cuda.manual_seed(seed)

    def _start_epoch(self) -> None:
        hook = getattr(self.method, "start_epoch", None)
        if hook is not None:
            self.at.step, self.at.epoch = self.place.step, self.place.epoch
            self._seed("epoch", self.place.epoch)
            hook(self.at)

    def _train_on(self, index: Tensor) -> dict[str, float]:
        """Make one step on the rows of `index` (b,); return the batch's values over all ranks."""
        at, world = self.at, self.runtime.world_size
        start, end = slice_of(len(index), self.runtime.rank, world)
        # A rank without rows of its own (a tiny last batch) takes part with one row that counts nothing.
        at.rows = index[start:end] if end > start else index[:1]
        at.share = (end - start) * world / len(index)
        at.step, at.epoch = self.place.step, self.place.epoch
        self._seed("step", at.step)
        self._set_rates()
        batch = self.data.gather(at.rows, self.runtime.device)
        with torch.autocast(self.runtime.device.type, torch.bfloat16, enabled=self.config.precision == "bf16"):
            loss = self.method.step(batch, at)
        values = self._reduce(loss, end - start, len(index))
        self._check(values)
        if loss.total is not None:
            self._update(loss.total)
        return values

    def _set_rates(self) -> None:
        if self.config.schedule == "constant" and not self.config.warmup_steps:
            return
        factor = self.config.rate(self.place.step, self.total)
        for name, optimizer in self.plain_optimizers.items():
            for group, rate in zip(optimizer.param_groups, self.base_rates[name], strict=True):
                group["lr"] = rate * factor

    def _update(self, total: Tensor) -> None:
        if not total.requires_grad:
            raise UsageError(
                "the step's total loss has no gradient: it does not depend on a parameter that learns, or was "
                "detached. For a step that makes its own updates return Loss(None, parts)."
            )
        for optimizer in self.optimizers.values():
            optimizer.zero_grad(set_to_none=True)
        self.at.backward(total)
        if self.config.clip is not None:
            groups = [g for o in self.plain_optimizers.values() for g in o.param_groups]
            norm = self.runtime.clip([p for g in groups for p in g["params"]], self.config.clip)
            self._check({"gradient norm": float(norm)})
        for optimizer in self.optimizers.values():
            optimizer.step()

    def _reduce(self, loss: Loss, mine: int, rows: int) -> dict[str, float]:
        """Return the loss and its parts as numbers: the means over the batch's rows on all ranks."""
        named = {**({} if loss.total is None else {"loss": loss.total}), **loss.parts}
        if not named:
            return {}
        stacked = torch.stack([_scalar(name, value).to(self.runtime.device) for name, value in named.items()])
        if self.runtime.world_size == 1:
            return dict(zip(named, stacked.tolist(), strict=True))
        # A Ctrl-C travels with the values, so that all ranks stop at the same step.
        flag = stacked.new_tensor([float(self.interrupted)])
        *sums, interrupted = self.runtime.all_reduce(torch.cat([stacked * mine, flag])).tolist()
        self.interrupted = interrupted > 0
        return {name: total / rows for name, total in zip(named, sums, strict=True)}

    def _check(self, values: Mapping[str, float]) -> None:
        bad = [f"{name} = {value}" for name, value in values.items() if not math.isfinite(value)]
        if not bad:
            return
        rows = self.at.rows
        shown = ", ".join(map(str, rows[:8].tolist())) + (", ..." if len(rows) > 8 else "")
        good = self.folder.last or "none was made"
        raise NonFiniteError(
            f"training became non-finite at step {self.at.step} of epoch {self.at.epoch}: {', '.join(bad)}; the "
            f"batch's {len(rows)} rows are {shown}. Last good checkpoint: {good}. Look at these rows for extreme "
            f"values, lower the learning rate ({self.config.learning_rate}), or set clip."
        )

    # Between two steps.

    def _count(self, values: dict[str, float], rows: int) -> None:
        place = self.place
        place.step += 1
        place.position += 1
        place.epoch_means.add(values, rows)
        place.log_means.add(values, rows)
        if self.on_step is not None:
            self.on_step(self.at, values)
        if place.position == self.order.batches:
            self._end_epoch()
        if self.at.stopping:
            place.stopped = "method"
        elif place.step >= self.total and not place.stopped:
            place.stopped = "finished"

    def _end_epoch(self) -> None:
        place = self.place
        record: dict[str, Any] = {"epoch": place.epoch, **place.epoch_means.means()}
        for hook in (getattr(self.method, "end_epoch", None), self.on_epoch):
            if hook is not None:
                self._seed("end", place.epoch)
                record.update({k: float(v) for k, v in (hook(self.at, dict(record)) or {}).items()})
        place.history.append(record)
        place.epoch, place.position, place.epoch_means = place.epoch + 1, 0, Means()
        if self.config.early_stopping is not None:
            place.judge(self.config.early_stopping, record)

    def _boundary(self, task: Task | None, values: dict[str, float], rows: int) -> None:
        place, now = self.place, time.monotonic()
        place.seconds, self.clock = place.seconds + now - self.clock, now
        if task is not None:
            loss = f", loss {values['loss']:.4g}" if "loss" in values else ""
            task.advance(rows, f"epoch {self.at.epoch + 1}{loss}")
        if place.stopped or place.step % self.config.log_steps == 0:
            self._write_line()
        every, seconds = self.config.checkpoint_steps, self.config.checkpoint_seconds
        due = (every and place.step % every == 0) or (seconds is not None and now - self.saved_at >= seconds)
        if place.stopped or due or self.interrupted:
            self.saved_at = now
            self.folder.save(place)
        if self.interrupted and not place.stopped:
            raise KeyboardInterrupt

    def _write_line(self) -> None:
        place = self.place
        record = {"step": place.step, "epoch": self.at.epoch, **place.log_means.means(), "rows": place.log_means.rows}
        place.log_means = Means()
        speed = round(self._rows_at(place.step) / max(place.seconds, 1e-9), 1)
        self.folder.write_line({**record, "seconds": round(place.seconds, 3), "rows_per_second": speed})

    def _rows_at(self, step: int) -> int:
        """Return how many rows the first `step` steps see."""
        epochs, rest = divmod(step, self.order.batches)
        size = self.config.batch_size
        return epochs * min(len(self.data), self.order.batches * size) + rest * size

    def rows_left(self) -> int:
        """Return how many rows are still to be seen."""
        return 0 if self.place.stopped else self._rows_at(self.total) - self._rows_at(self.place.step)


def _scalar(name: str, value: Tensor | float) -> Tensor:
    if not isinstance(value, Tensor):
        return torch.tensor(float(value))
    if value.numel() != 1:
        raise UsageError(
            f"the step's {name!r} has shape {tuple(value.shape)}; give a scalar, such as its mean over rows."
        )
    return value.detach().float().reshape(())
