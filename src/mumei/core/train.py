"""One training loop for everything that mumei trains, readable from top to bottom.

A method brings networks, optimisers and a step that returns `Loss(total, parts)`. The loop owns the rest: batches gathered from
data that lies in memory as tensors (or on the disk as a memory map), epochs, mixed precision, clipping, finite checks that name
step and part, progress, `metrics.jsonl`, checkpoints, bit-exact resume, early stopping.

Two rules make a resumed run equal, bit for bit, to an undisturbed one. The order of an epoch is a function of (seed, epoch)
alone, and random numbers within a step are a function of (seed, step) alone: torch's own generator is seeded for each step and
given back to the caller, as it was, at the end. Whatever else a method keeps between steps goes into its `state`.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mumei.core.checkpoint import Checkpoints
from mumei.core.errors import ArtifactError, DataError, NonFiniteError, UsageError, unknown
from mumei.core.files import make_folder, storage_error, write_bytes
from mumei.core.progress import SILENT, Progress
from mumei.core.runtime import SingleRuntime
from mumei.core.seeds import child, torch_generator

Nets = dict[str, torch.nn.Module]
OPTIMIZERS = ("adam", "adamw", "sgd")


@dataclass
class Loss:
    """What a step returns: the `total` to descend on, named `parts` for the record, and which optimiser takes it."""

    total: torch.Tensor
    parts: Mapping[str, Any] = field(default_factory=dict)
    optimizer: str | None = None  # None: all of them


@dataclass
class Batch:
    """One batch: `data`, a tuple of tensors (m, ...); `rows` (m,), their numbers; a generator for this step alone."""

    data: tuple[torch.Tensor, ...]
    rows: torch.Tensor
    step: int
    epoch: int
    seed: int

    @property
    def rng(self) -> torch.Generator:
        """A generator that depends on the run's seed and this step."""
        return torch_generator(self.seed, "step", self.step, device=self.data[0].device)


class Method:
    """A way of training: networks, optimisers and a step.

    Parameters
    ----------
    modules : dict of name to Module
    optimizers : dict of name to Optimizer
    step : callable
        `step(batch, nets)` returns a `Loss`, or yields several in turn (each is descended on before the next is asked for,
        which is how adversaries alternate). `nets` are the modules as the runtime wrapped them: call those.
    begin_epoch : callable, optional
        `begin_epoch(epoch, nets)` before each epoch: refreshes of targets and the like. What it changes belongs in `state`.
    state, load_state : callables, optional
        Return and take back what is kept between steps: nested dicts and lists of JSON values and tensors.
    """

    def __init__(
        self,
        modules: Nets,
        optimizers: dict[str, torch.optim.Optimizer],
        step: Callable[[Batch, Nets], Loss | Iterator[Loss]],
        begin_epoch: Callable[[int, Nets], None] | None = None,
        state: Callable[[], dict[str, Any]] | None = None,
        load_state: Callable[[dict[str, Any]], None] | None = None,
    ):
        self.modules, self.optimizers, self.step = modules, optimizers, step
        self.begin_epoch, self.state, self.load_state = begin_epoch, state, load_state


def simple(
    module: torch.nn.Module,
    loss: Callable[[torch.nn.Module, Batch], Loss],
    optimizer: str = "adam",
    lr: float = 1e-3,
    **options: Any,
) -> Method:
    """Return a method of one network and one optimiser; `loss(net, batch)` returns a `Loss`."""
    chosen = make_optimizer(optimizer, module.parameters(), lr=lr, **options)
    return Method({"net": module}, {"net": chosen}, lambda batch, nets: loss(nets["net"], batch))


def make_optimizer(name: str, parameters: Any, *, lr: float, **options: Any) -> torch.optim.Optimizer:
    """Return torch's optimiser of a name, fused (its rounding differs from the plain one, so it is so everywhere)."""
    classes = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}
    if name not in classes:
        raise unknown("optimizer", name, OPTIMIZERS)
    return classes[name](parameters, lr=lr, fused=True, **options)


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How to run; a value out of range raises `UsageError`.

    Parameters
    ----------
    epochs : int
        Passes over the data, 0 or more.
    batch_size : int
        Rows a step, over all devices; more than there are rows means all of them.
    seed : int
        Of the order and of everything random in a step.
    max_steps : int, optional
        Stop there even within an epoch.
    shuffle, drop_last : bool
        Order rows anew each epoch; leave out a last batch that is not full.
    precision : {"float32", "bf16"}
        "bf16" computes under autocast and keeps weights in float32.
    clip : float, optional
        Largest norm of the gradient.
    patience, min_delta : int, float
        Stop after `patience` epochs in which the mean loss did not fall by `min_delta`; 0 never stops.
    log_every, checkpoint_every : int
        Steps between lines of `metrics.jsonl` and between checkpoints (0: only at the end of each epoch).
    """

    epochs: int
    batch_size: int = 256
    seed: int = 0
    max_steps: int | None = None
    shuffle: bool = True
    drop_last: bool = False
    precision: str = "float32"
    clip: float | None = None
    patience: int = 0
    min_delta: float = 0.0
    log_every: int = 50
    checkpoint_every: int = 0

    def __post_init__(self) -> None:
        least = {"epochs": 0, "batch_size": 1, "seed": 0, "patience": 0, "log_every": 1, "checkpoint_every": 0}
        for name, limit in least.items():
            if getattr(self, name) < limit:
                raise UsageError(f"{name}={getattr(self, name)!r} is not allowed; give {limit} or more.")
        if self.precision not in ("float32", "bf16"):
            raise unknown("precision", self.precision, ("float32", "bf16"))
        if self.clip is not None and not self.clip > 0:
            raise UsageError(f"clip={self.clip!r} is not allowed; give a number above 0, or None for no clipping.")


class Rows:
    """Data of n rows, all in one place: torch tensors, numpy arrays or memory maps with a common first dimension."""

    def __init__(self, data: Any, device: torch.device | str = "cpu"):
        columns = tuple(data) if isinstance(data, (tuple, list)) else (data,)
        if not columns or any(not hasattr(c, "shape") or len(c.shape) < 1 for c in columns):
            raise DataError("training data must be an array or tensor, or a tuple of them, with rows first.")
        sizes = {len(c) for c in columns}
        if len(sizes) != 1 or 0 in sizes:
            raise DataError(f"training data must have one number of rows, above 0; given: {[tuple(c.shape) for c in columns]}.")
        self.n = sizes.pop()
        self.columns = tuple(_resident(c, device) for c in columns)
        self.device = torch.device(device)

    def take(self, rows: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return a tuple of tensors (m, ...) on the device, in the order of `rows` (m,)."""
        return tuple(self._gather(column, rows) for column in self.columns)

    def _gather(self, column: Any, rows: torch.Tensor) -> torch.Tensor:
        if isinstance(column, torch.Tensor):
            return column.index_select(0, rows.to(column.device))
        return torch.from_numpy(np.ascontiguousarray(column[rows.cpu().numpy()])).to(self.device)

    def fingerprint(self) -> str:
        """Return a hash of shapes, types and values (of about 16 million bytes, evenly spread, where there are more)."""
        digest = hashlib.blake2b(digest_size=16)
        for column in self.columns:
            digest.update(f"{tuple(column.shape)} {str(column.dtype).removeprefix('torch.')}".encode())
            size = max(1, math.prod(column.shape[1:]) * column.dtype.itemsize)
            stride = max(1, self.n * size // (1 << 24))
            part = column[::stride]
            digest.update(np.ascontiguousarray(part.cpu().view(torch.uint8) if isinstance(part, torch.Tensor) else part))
        return digest.hexdigest()


def _resident(column: Any, device: torch.device | str) -> Any:
    """Keep memory maps where they are; put everything else on the device, once, in its own type."""
    if isinstance(column, np.memmap):
        return column
    if isinstance(column, torch.Tensor):
        return column.detach().contiguous().to(device)
    array = np.ascontiguousarray(column)
    return torch.from_numpy(array if array.flags.writeable else array.copy()).to(device)


@dataclass
class History:
    """What happened: one dict per epoch (`epoch`, `loss` and the parts, as means), the steps done, why it ended."""

    epochs: list[dict[str, float]] = field(default_factory=list)
    steps: int = 0
    stopped: str = "epochs"

    @property
    def losses(self) -> list[float]:
        """The mean total loss of each epoch."""
        return [epoch["loss"] for epoch in self.epochs]


def fit(
    method: Method,
    data: Any,
    config: TrainConfig,
    *,
    out: Path | str | None = None,
    resume: bool = True,
    runtime: SingleRuntime | None = None,
    progress: Progress = SILENT,
    on_epoch: Callable[[History], None] | None = None,
) -> History:
    """Train.

    Parameters
    ----------
    method : Method
    data : array, tensor or tuple of them
        Rows first; kept in its type (bytes stay bytes).
    config : TrainConfig
    out : path, optional
        A folder for `metrics.jsonl` and checkpoints. A run that was cut off there continues, bit for bit.
    resume : bool
        False refuses a folder that holds checkpoints.
    runtime : SingleRuntime, optional
        The CPU by default; `FabricRuntime` for many devices.
    progress : Progress
    on_epoch : callable, optional
        Called with the history after each epoch; raising `StopIteration` ends the training.

    Returns
    -------
    History

    Raises
    ------
    NonFiniteError
        A loss, a part or a gradient became NaN or infinite: names step, part and rows.
    ArtifactError
        The folder holds a run with other settings or data.
    """
    loop = _Loop(method, data, config, out, runtime or SingleRuntime(), progress, on_epoch)
    cuda = [loop.runtime.device] if loop.runtime.device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        loop.restore(resume)
        return loop.run()


@contextmanager
def _interrupt_after_step() -> Iterator[list[int]]:
    """Let the first Ctrl-C wait for the end of the step, whose half would be no state to save; a second one acts at once."""
    seen: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield seen
        return

    def note(signum: int, frame: Any) -> None:
        if seen:
            raise KeyboardInterrupt
        seen.append(signum)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield seen
    finally:
        signal.signal(signal.SIGINT, before)


class _Loop:
    """The state of one run and its steps, in the order in which they happen."""

    def __init__(self, method, data, config, out, runtime, progress, on_epoch):
        self.method, self.config, self.runtime = method, config, runtime
        self.progress, self.on_epoch = progress, on_epoch
        self.rows = Rows(data, runtime.device)
        self.nets: Nets = {name: runtime.wrap(module) for name, module in method.modules.items()}
        self.optimizers = {name: runtime.wrap_optimizer(o) for name, o in method.optimizers.items()}
        self.parameters = {n: [p for g in o.param_groups for p in g["params"]] for n, o in method.optimizers.items()}
        self.out = make_folder(out) if out is not None else None
        self.checkpoints = Checkpoints(self.out / "checkpoints") if self.out is not None else None
        self.batch_size = min(config.batch_size, self.rows.n)
        if self.batch_size < runtime.world_size:
            raise UsageError(f"batch_size={config.batch_size} is smaller than the number of devices, {runtime.world_size}.")
        count = self.rows.n / self.batch_size
        self.per_epoch = max(1, math.floor(count) if config.drop_last else math.ceil(count))
        self.history = History()
        self.step = self.epoch = self.position = 0  # position: batches done within the epoch
        self.sums: dict[str, float] = {}
        self.best, self.waited = math.inf, 0
        self.saved: Path | None = None
        self.start = self.logged = time.perf_counter()

    # --- checkpoints --------------------------------------------------------------------------------------------------

    def identity(self) -> dict[str, Any]:
        """What must not change between the parts of one run (its length may)."""
        free = ("epochs", "max_steps", "log_every", "checkpoint_every", "patience", "min_delta")
        settings = {k: v for k, v in asdict(self.config).items() if k not in free}
        shapes = {n: [list(p.shape) for p in m.parameters()] for n, m in self.method.modules.items()}
        return {**settings, "data": self.rows.fingerprint(), "networks": shapes}

    def restore(self, resume: bool) -> None:
        if self.checkpoints is None:
            return
        self.mine = self.identity()
        newest = self.checkpoints.newest()
        if newest is not None:
            if not resume:
                raise ArtifactError(f"{self.out} holds a run already; give another folder, or resume=True to continue it.")
            self._check_same(newest)
            self._load(self.checkpoints.restore(newest, self.method.modules, self.method.optimizers))
            self.saved = newest
            self.progress.say(f"continuing {self.out} at step {self.step:,}")
        if self.runtime.rank == 0:
            self._cut_metrics()

    def _check_same(self, path: Path) -> None:
        assert self.checkpoints is not None
        other = self.checkpoints.peek(path)["identity"]
        changed = [k for k in self.mine if json.dumps(other.get(k)) != json.dumps(self.mine[k])]
        if changed:
            short = ", ".join(f"{k} was {str(other.get(k))[:60]}, is {str(self.mine[k])[:60]}" for k in changed)
            raise ArtifactError(f"{self.out} holds a run of other settings or data ({short}); give another folder.")

    def _load(self, state: dict[str, Any]) -> None:
        self.step, self.epoch, self.position = state["step"], state["epoch"], state["position"]
        self.sums, self.waited = state["sums"], state["waited"]
        self.best = math.inf if state["best"] is None else state["best"]
        ended = "epochs" if state["stopped"] == "max_steps" else state["stopped"]  # a longer run may be asked for now
        self.history = History(state["history"], self.step, ended)
        if self.method.load_state is not None:
            self.method.load_state(state["method"])

    def save(self) -> None:
        if self.checkpoints is None or (self.saved is not None and self.saved.name == f"step-{self.step:08d}"):
            return
        state = {
            "identity": self.mine,
            "step": self.step,
            "epoch": self.epoch,
            "position": self.position,
            "sums": self.sums,
            "best": self.best if math.isfinite(self.best) else None,
            "waited": self.waited,
            "history": self.history.epochs,
            "stopped": self.history.stopped,
            "method": self.method.state() if self.method.state is not None else {},
        }
        if self.runtime.rank == 0:
            self.saved = self.checkpoints.save(self.step, self.method.modules, self.method.optimizers, state)
        self.runtime.barrier()

    # --- the loop -----------------------------------------------------------------------------------------------------

    def run(self) -> History:
        total = self.config.epochs * self.per_epoch
        if self.config.max_steps is not None:
            total = min(total, self.config.max_steps)
        with _interrupt_after_step() as interrupted, self.progress.task("train", max(total - self.step, 0), "steps") as task:
            while self.step < total and self.history.stopped == "epochs":
                self._epoch(total, task, interrupted)
                if interrupted:
                    self._leave()
        self.save()
        return self.history

    def _leave(self) -> None:
        self.save()
        stop = KeyboardInterrupt()
        stop.add_note(f"The state at step {self.step:,} is saved in {self.out}." if self.out else "Nothing was saved.")
        raise stop

    def _epoch(self, total: int, task: Any, interrupted: list[int]) -> None:
        if self.position == 0:
            self._seed("epoch", self.epoch)
            if self.method.begin_epoch is not None:
                self.method.begin_epoch(self.epoch, self.nets)
        order = self._order()
        while self.position < self.per_epoch and self.step < total and not interrupted:
            first = self.position * self.batch_size
            self._step(order[first : first + self.batch_size])
            task.advance(1, f"loss {self.sums['loss'] / self.position:.4g}")
            # The checkpoint at an epoch's end is written below, when the epoch is closed.
            if self.config.checkpoint_every and self.step % self.config.checkpoint_every == 0 and self.position < self.per_epoch:
                self.save()
        if self.position == self.per_epoch:
            self._close_epoch()
        elif self.step >= total:
            self.history.stopped = "max_steps" if self.config.max_steps is not None else "epochs"

    def _order(self) -> torch.Tensor:
        if not self.config.shuffle:
            return torch.arange(self.rows.n)
        return torch.randperm(self.rows.n, generator=torch_generator(self.config.seed, "order", self.epoch))

    def _seed(self, *names: str | int) -> None:
        """Seed torch's own generators (dropout draws from them) by what is being done; the caller's are put back later."""
        seed = child(self.config.seed, *names)
        torch.default_generator.manual_seed(seed)
        if self.runtime.device.type == "cuda":
            torch.cuda.manual_seed_all(seed)

    def _step(self, rows: torch.Tensor) -> None:
        whole = len(rows) - len(rows) % self.runtime.world_size or len(rows)
        mine = rows[self.runtime.rank : whole : self.runtime.world_size]
        self._seed("step", self.step)
        batch = Batch(self.rows.take(mine), mine, self.step, self.epoch, self.config.seed)
        values: dict[str, float] = {}
        for loss in self._losses(batch):
            found = self._descend(loss, batch)
            values = {**values, **found, "loss": values.get("loss", 0.0) + found.pop("total")}
            values.pop("total", None)
        self.step += 1
        self.position += 1
        self.history.steps = self.step
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        if self.step % self.config.log_every == 0:
            self._log(values)

    def _losses(self, batch: Batch) -> Iterator[Loss]:
        low = self.config.precision == "bf16"
        context = torch.autocast(self.runtime.device.type, torch.bfloat16) if low else nullcontext()
        with context:
            made = self.method.step(batch, self.nets)
            if isinstance(made, Loss):
                yield made
            else:
                yield from made

    def _descend(self, loss: Loss, batch: Batch) -> dict[str, float]:
        chosen = [loss.optimizer] if loss.optimizer is not None else list(self.optimizers)
        values = self._finite(loss, batch)
        for name in chosen:
            self.optimizers[name].zero_grad(set_to_none=True)
        self.runtime.backward(loss.total)
        if self.config.clip is not None:
            norm = self.runtime.clip([p for n in chosen for p in self.parameters[n]], self.config.clip)
            if not math.isfinite(float(norm)):
                raise self._not_finite("the gradient's norm", float(norm), batch)
            values["gradient_norm"] = float(norm)
        for name in chosen:
            self.optimizers[name].step()
        return values

    def _finite(self, loss: Loss, batch: Batch) -> dict[str, float]:
        names = ["total", *loss.parts]
        if "total" in loss.parts or "loss" in loss.parts:
            raise UsageError("a loss part may not be called 'total' or 'loss'; these names are the loop's own.")
        parts = [torch.as_tensor(v, dtype=torch.float32, device=loss.total.device) for v in loss.parts.values()]
        stacked = torch.stack([loss.total.detach().float(), *(p.detach() for p in parts)])
        values = dict(zip(names, self.runtime.mean(stacked).tolist(), strict=True))
        # Parts first: the total is not finite because a part is not, and the part is what helps.
        for name in [*loss.parts, "total"]:
            if not math.isfinite(values[name]):
                raise self._not_finite(f"loss part {name!r}" if name != "total" else "the loss", values[name], batch)
        return values

    def _not_finite(self, what: str, value: float, batch: Batch) -> NonFiniteError:
        rows = ", ".join(str(int(r)) for r in batch.rows[:8])
        last = f"The last good checkpoint is {self.saved}." if self.saved else "No checkpoint was written."
        return NonFiniteError(
            f"{what} is {value} at step {batch.step} (epoch {batch.epoch}), batch rows {rows}, ... {last} "
            "Try a smaller learning rate, clip=1.0, or look at those rows."
        )

    def _close_epoch(self) -> None:
        means = {name: value / self.position for name, value in self.sums.items()}
        self.history.epochs.append({"epoch": self.epoch, **means})
        self.epoch, self.position, self.sums = self.epoch + 1, 0, {}
        if means["loss"] < self.best - self.config.min_delta:
            self.best, self.waited = means["loss"], 0
        else:
            self.waited += 1
            if self.config.patience and self.waited >= self.config.patience:
                self.history.stopped = "patience"
        if self.on_epoch is not None:
            try:
                self.on_epoch(self.history)
            except StopIteration:
                self.history.stopped = "on_epoch"
        self.save()

    # --- metrics ------------------------------------------------------------------------------------------------------

    def _log(self, values: Mapping[str, float]) -> None:
        if self.out is None or self.runtime.rank != 0:
            return
        now = time.perf_counter()
        rate = self.config.log_every * self.batch_size / max(now - self.logged, 1e-9)
        self.logged = now
        line = {"step": self.step, "epoch": self.epoch, **values}
        line |= {"rows_per_second": round(rate, 1), "seconds": round(now - self.start, 3)}
        path = self.out / "metrics.jsonl"
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            try:
                os.write(descriptor, (json.dumps(line) + "\n").encode())
            finally:
                os.close(descriptor)
        except OSError as error:
            raise storage_error(error, path) from error

    def _cut_metrics(self) -> None:
        """Drop lines written after the checkpoint that the run continues from: those steps happen again."""
        assert self.out is not None
        path = self.out / "metrics.jsonl"
        if path.exists():
            kept = [line for line in path.read_bytes().splitlines() if _step_of(line) <= self.step]
            write_bytes(path, b"".join(line + b"\n" for line in kept))


def _step_of(line: bytes) -> float:
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError, TypeError):
        return math.inf  # a line torn by a crash


def read_metrics(out: Path | str) -> Sequence[dict[str, Any]]:
    """Return the lines of a run's `metrics.jsonl`."""
    path = Path(out) / "metrics.jsonl"
    return [json.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []
