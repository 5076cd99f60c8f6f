"""Checkpoints of a training run: safetensors and JSON in a folder that appears whole or not at all. No pickle.

    checkpoints/step-00001200/weights.safetensors     modules
                              optimizer.safetensors   tensors of the optimisers and of the method's own state
                              state.json              everything else, and the sha256 of the two files

The newest two are kept. A folder whose files are not what its state says is skipped in favour of the one before.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from mumei.core.errors import ArtifactError
from mumei.core.files import (
    TEMPORARY,
    make_folder,
    read_json,
    sha256_file,
    storage_error,
    sweep,
    sync_folder,
    write_json,
    write_tensors,
)

KEEP = 2
FILES = ("weights.safetensors", "optimizer.safetensors")


def split_state(value: Any, tensors: dict[str, torch.Tensor], at: str = "") -> Any:
    """Move the tensors of nested dicts and lists into `tensors`, keyed by their place; return the JSON rest."""
    if isinstance(value, torch.Tensor):
        tensors[at] = value.detach().clone()
        return {"tensor": at}
    if isinstance(value, Mapping):
        return {"dict": [[k, split_state(v, tensors, f"{at}/{k}")] for k, v in value.items()]}
    if isinstance(value, (list, tuple)):
        return {"list": [split_state(v, tensors, f"{at}/{i}") for i, v in enumerate(value)]}
    if value is None or isinstance(value, (bool, int, float, str)):
        return {"value": value}
    raise ArtifactError(f"a {type(value).__name__} at {at or 'the top'} cannot be put in a checkpoint; use tensors and JSON values.")


def join_state(value: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> Any:
    """Undo `split_state` (tuples come back as lists; number keys stay numbers)."""
    if "tensor" in value:
        return tensors[value["tensor"]].clone()
    if "dict" in value:
        return {k: join_state(v, tensors) for k, v in value["dict"]}
    return [join_state(v, tensors) for v in value["list"]] if "list" in value else value["value"]


class Checkpoints:
    """The checkpoints of one run, in `folder`."""

    def __init__(self, folder: Path | str):
        self.folder = make_folder(folder)
        sweep(self.folder)

    def save(
        self, step: int, modules: Mapping[str, torch.nn.Module], optimizers: Mapping[str, Any], state: dict[str, Any]
    ) -> Path:
        """Write a checkpoint; it is on the disk, whole, when this returns.

        Parameters
        ----------
        step : int
        modules : mapping of name to Module
        optimizers : mapping of name to Optimizer
        state : dict
            Nested dicts and lists of JSON values and tensors.

        Raises
        ------
        StorageError
            The disk refused; older checkpoints are untouched.
        """
        target = self.folder / f"step-{step:08d}"
        temporary = self.folder / f"{TEMPORARY}{target.name}"
        shutil.rmtree(temporary, ignore_errors=True)
        try:
            make_folder(temporary)
            self._write(temporary, modules, optimizers, state)
            shutil.rmtree(target, ignore_errors=True)
            os.replace(temporary, target)
            sync_folder(self.folder)
        except OSError as error:
            raise error if type(error) is not OSError else storage_error(error, target) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        for old in self.all()[:-KEEP]:
            shutil.rmtree(old, ignore_errors=True)
        return target

    def _write(self, folder: Path, modules: Any, optimizers: Any, state: dict[str, Any]) -> None:
        weights = {f"{n}.{k}": v.clone() for n, m in modules.items() for k, v in m.state_dict().items()}
        tensors: dict[str, torch.Tensor] = {}
        rest = split_state({"run": state, "optimizers": {n: o.state_dict() for n, o in optimizers.items()}}, tensors)
        write_tensors(folder / FILES[0], weights)
        write_tensors(folder / FILES[1], tensors)
        write_json(folder / "state.json", {"state": rest, "files": {f: sha256_file(folder / f) for f in FILES}})

    def all(self) -> list[Path]:
        """Return the checkpoint folders, oldest first."""
        return sorted(p for p in self.folder.glob("step-*") if (p / "state.json").is_file())

    def newest(self) -> Path | None:
        """Return the newest checkpoint whose files are whole, or None."""
        for path in reversed(self.all()):
            try:
                files = read_json(path / "state.json")["files"]
                if all(sha256_file(path / name) == digest for name, digest in files.items()):
                    return path
            except (OSError, ValueError, KeyError, TypeError):
                continue
        return None

    def peek(self, path: Path) -> dict[str, Any]:
        """Return a checkpoint's `state` without touching modules or optimisers."""
        from safetensors.torch import load_file

        return join_state(read_json(path / "state.json")["state"], load_file(path / FILES[1]))["run"]

    def restore(
        self, path: Path, modules: Mapping[str, torch.nn.Module], optimizers: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Load a checkpoint into modules and optimisers; return the `state` that was saved with it.

        Raises
        ------
        ArtifactError
            The checkpoint does not fit these modules.
        """
        from safetensors.torch import load_file

        weights = load_file(path / FILES[0])
        for name, module in modules.items():
            own = {k.removeprefix(f"{name}."): v for k, v in weights.items() if k.startswith(f"{name}.")}
            try:
                module.load_state_dict(own)
            except RuntimeError as error:
                raise ArtifactError(f"{path} does not fit the network {name!r}: {error}") from error
        whole = join_state(read_json(path / "state.json")["state"], load_file(path / FILES[1]))
        for name, optimizer in optimizers.items():
            optimizer.load_state_dict(whole["optimizers"][name])
        return whole["run"]
