"""Checkpoints of a training run: a folder each, whole or not at all, in safetensors and JSON.

`checkpoints/step-00001234/` holds `weights.safetensors`, `optimizer.safetensors` and, written last, `state.json` with
the sha256 of both. The folder is made under a temporary name, flushed and renamed; a crash at any moment leaves the
earlier checkpoints untouched and perhaps a temporary folder, which the next start sweeps. Reading takes the newest
checkpoint whose files are what was saved.

`MetricsLog` is the run's `metrics.jsonl`, cut back to the checkpoint's step when a run resumes.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mumei.core import files
from mumei.core.errors import ArtifactError, NonFiniteError, UsageError

FORMAT = 1
WEIGHTS, OPTIMIZER, STATE = "weights.safetensors", "optimizer.safetensors", "state.json"


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint read from the disk: JSON state, and tensors by name."""

    path: Path
    state: dict[str, Any]
    weights: dict[str, Tensor]
    optimizer: dict[str, Tensor]


def save(
    folder: Path,
    step: int,
    state: dict[str, Any],
    weights: dict[str, Tensor],
    optimizer: dict[str, Tensor],
    keep: int = 2,
) -> Path:
    """Write one checkpoint into `folder` and remove the oldest beyond `keep`; return its path.

    Parameters
    ----------
    folder : Path
        Holds all checkpoints of a run; made if missing.
    step : int
        Names the checkpoint. One of this step that is already there is kept as it is.
    state : dict
        JSON values.
    weights, optimizer : dict of name to Tensor
        On any device; written from the CPU.
    keep : int
        At least 1.

    Raises
    ------
    NonFiniteError
        A weight is NaN or infinite: nothing was written.
    StorageError
        The disk refused; the earlier checkpoints are untouched.
    """
    _check_finite(weights, step)
    files.make_folder(folder)
    target = folder / f"step-{step:08d}"
    if not target.exists():
        temporary = folder / f"{files.TEMPORARY}{secrets.token_hex(6)}-{target.name}"
        try:
            _write(temporary, state, weights, optimizer)
            os.replace(temporary, target)
            files.sync_folder(folder)
        except OSError as error:
            raise files.about(error, target) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    for old in existing(folder)[:-keep]:
        discard(old)
    return target


def _write(folder: Path, state: dict[str, Any], weights: dict[str, Tensor], optimizer: dict[str, Tensor]) -> None:
    files.make_folder(folder)
    files.write_tensors(folder / WEIGHTS, _own_storage(weights))
    files.write_tensors(folder / OPTIMIZER, _own_storage(optimizer))
    digests = {name: files.sha256_file(folder / name) for name in (WEIGHTS, OPTIMIZER)}
    files.write_json(folder / STATE, {**state, "format": FORMAT, "files": digests})


def _own_storage(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Bring tensors to the CPU and copy those that share memory (tied weights), which safetensors refuses."""
    seen: set[int] = set()
    out = {}
    for name, tensor in tensors.items():
        tensor = tensor.detach().cpu()
        address = tensor.untyped_storage().data_ptr()
        out[name] = tensor.clone() if address in seen else tensor
        seen.add(address)
    return out


def _check_finite(weights: dict[str, Tensor], step: int) -> None:
    for name, tensor in weights.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise NonFiniteError(
                f"the weight {name!r} holds NaN or infinite values after step {step}, though every loss was finite; "
                f"this checkpoint was not written, the earlier ones are good. Lower the learning rate or set clip."
            )


def _number(path: Path) -> int:
    return int(path.name[5:])


def existing(folder: Path) -> list[Path]:
    """Return the checkpoints' folders, oldest first."""
    return sorted((p for p in folder.glob("step-*") if p.is_dir() and p.name[5:].isdigit()), key=_number)


def discard_after(folder: Path, path: Path | None) -> None:
    """Remove the checkpoints newer than `path` (all of them for None): damaged ones, or those of a run to start
    over.
    """
    for other in existing(folder):
        if path is None or _number(other) > _number(path):
            discard(other)


def discard(path: Path) -> None:
    """Remove a checkpoint: first its name, in one step, then its content."""
    aside = path.with_name(f"{files.TEMPORARY}{secrets.token_hex(6)}-{path.name}")
    with contextlib.suppress(OSError):  # an old checkpoint that stays is no harm to the run
        os.replace(path, aside)
        shutil.rmtree(aside)


def latest(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """Return the newest checkpoint that is what was saved (None if there is none yet), and what was wrong with newer
    ones.

    Raises
    ------
    ArtifactError
        Checkpoints are there and all of them are damaged.
    """
    problems: list[str] = []
    for path in reversed(existing(folder)):
        try:
            return _read(path), problems
        except (ArtifactError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            problems.append(f"{path.name}: {error}")
    if problems:
        raise ArtifactError(
            f"no checkpoint in {folder} can be read ({'; '.join(problems)}). Copy them again, or train with "
            f"resume=False."
        )
    return None, problems


def _read(path: Path) -> Checkpoint:
    from safetensors.torch import load_file

    state = files.read_json(path / STATE)
    if state["format"] > FORMAT:
        raise ArtifactError(f"its format is {state['format']}, this mumei reads up to {FORMAT}; update mumei")
    for name, digest in state["files"].items():
        if files.sha256_file(path / name) != digest:
            raise ArtifactError(f"{name} is not what was saved (its sha256 differs)")
    return Checkpoint(path, state, load_file(path / WEIGHTS), load_file(path / OPTIMIZER))


def weights_of(modules: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """Return the tensors of several modules as `module/parameter`."""
    return {f"{name}/{key}": value for name, module in modules.items() for key, value in module.state_dict().items()}


def restore_weights(modules: Mapping[str, nn.Module], weights: Mapping[str, Tensor]) -> None:
    """Load what `weights_of` returned."""
    for name, module in modules.items():
        start = name + "/"
        module.load_state_dict({k.removeprefix(start): v for k, v in weights.items() if k.startswith(start)})


def optimizer_state(optimizers: Mapping[str, torch.optim.Optimizer]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the state of several optimisers as tensors named `optimizer/parameter/entry`, and as JSON values the rest.

    Raises
    ------
    UsageError
        A state or a setting is neither a tensor nor a JSON value.
    """
    tensors: dict[str, Tensor] = {}
    rest: dict[str, Any] = {}
    for name, optimizer in optimizers.items():
        content = optimizer.state_dict()
        scalars: dict[str, Any] = {}
        for index, entries in content["state"].items():
            for key, value in entries.items():
                if isinstance(value, Tensor):
                    tensors[f"{name}/{index}/{key}"] = value
                else:
                    scalars[f"{index}/{key}"] = _json(value, name, key)
        groups = [{k: _json(v, name, k) for k, v in group.items()} for group in content["param_groups"]]
        rest[name] = {"scalars": scalars, "groups": groups}
    return tensors, rest


def _json(value: Any, optimizer: str, key: str) -> Any:
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"the entry {key!r} of optimiser {optimizer!r} is a {type(value).__name__}: not to be saved."
        ) from error


def restore_optimizers(
    optimizers: Mapping[str, torch.optim.Optimizer], tensors: Mapping[str, Tensor], rest: Mapping[str, Any]
) -> None:
    """Load what `optimizer_state` returned."""
    for name, optimizer in optimizers.items():
        state: dict[int, dict[str, Any]] = {}
        for path, value in tensors.items():
            owner, index, key = path.split("/", 2)
            if owner == name:
                state.setdefault(int(index), {})[key] = value
        for path, value in rest[name]["scalars"].items():
            index, key = path.split("/", 1)
            state.setdefault(int(index), {})[key] = value
        groups = [
            # JSON has no tuples: the optimiser's own settings tell which lists were tuples (Adam's betas).
            {k: tuple(v) if isinstance(own.get(k), tuple) else v for k, v in group.items()}
            for group, own in zip(rest[name]["groups"], optimizer.param_groups, strict=True)
        ]
        optimizer.load_state_dict({"state": state, "param_groups": groups})
        _lay_out(optimizer)


def _lay_out(optimizer: torch.optim.Optimizer) -> None:
    """Give each entry of a parameter's shape the parameter's strides.

    Files have all tensors in rows; a convolution's weights may lie with channels last, and fused optimisers pair elements by
    their places in memory: moments in another order would be other elements' moments.
    """
    for parameter, entries in optimizer.state.items():
        for key, value in entries.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape and value.stride() != parameter.stride():
                laid = torch.empty_strided(value.shape, parameter.stride(), dtype=value.dtype, device=value.device)
                entries[key] = laid.copy_(value)


class MetricsLog:
    """One JSON line per logging interval, in order of steps.

    Appending is the one kind of write that need not be whole: a line torn by a crash is cut off when the run resumes.
    """

    def __init__(self, path: Path):
        self.path = path

    def cut(self, step: int) -> None:
        """Drop the lines after `step`, and torn ones, in one atomic replacement."""
        content = self.path.read_bytes() if self.path.exists() else b""
        kept = b"".join(line for line in content.splitlines(keepends=True) if _step_of(line) <= step)
        if kept != content:
            files.write_bytes(self.path, kept)

    def append(self, record: dict[str, Any]) -> None:
        """Add one line; `sync` flushes it to the disk."""
        self._write((json.dumps(record, allow_nan=False, ensure_ascii=False) + "\n").encode(), flush=False)

    def sync(self) -> None:
        """Flush the lines to the disk, before the checkpoint that counts on them."""
        self._write(b"", flush=True)

    def _write(self, content: bytes, flush: bool) -> None:
        try:
            descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
            try:
                while content:  # a write may take a part only
                    content = content[os.write(descriptor, content) :]
                if flush:
                    os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise files.storage_error(error, self.path) from error


def _step_of(line: bytes) -> float:
    """Return a line's step, or infinity for a line that is not whole."""
    try:
        return float(json.loads(line)["step"]) if line.endswith(b"\n") else float("inf")
    except (ValueError, KeyError, TypeError):
        return float("inf")
