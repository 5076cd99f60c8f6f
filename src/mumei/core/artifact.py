"""Everything trained is a folder: `artifact.json`, `*.safetensors`, Parquet tables and a `CARD.md`. No pickle.

The folder is written under a temporary name beside its target and renamed when complete, with `artifact.json` written
last, so a reader sees all of it or none. Each file's sha256 is in `artifact.json` and is checked at load: an altered or
truncated file is an error, never a wrong model.

A class takes part by being registered (`core.registry`) and having `state() -> State` and `from_state(state)`; it gets
`save` and `load` from `Saveable`, or calls `save` here itself.
"""

from __future__ import annotations

import json
import os
import platform
import secrets
import shutil
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol, Self

from mumei.core import registry
from mumei.core.errors import ArtifactError, MumeiError
from mumei.core.files import (
    TEMPORARY,
    about,
    make_folder,
    read_json,
    replace_folder,
    restore,
    sha256_file,
    storage_error,
    write_json,
    write_table,
    write_tensors,
    write_text,
)

FORMAT = 1
ATTEMPTS = 10  # to read an artifact that another process is replacing
MANIFEST, WEIGHTS = "artifact.json", "weights.safetensors"
KEYS = ("kind", "files", "parameters", "seeds", "data", "metrics")


@dataclass
class State:
    """What an object is made of.

    Parameters
    ----------
    parameters : dict
        JSON values: the constructor's arguments and learned scalars.
    tensors : dict of name to torch.Tensor
        Weights and learned arrays, written to `weights.safetensors`.
    tables : dict of name to pyarrow.Table
        Written to `<name>.parquet`.
    seeds, data, metrics : dict
        JSON values for the record: seeds used, hashes of the data, what was measured.
    notes : str
        Markdown for the card: intended use, known limits.
    """

    parameters: dict[str, Any] = field(default_factory=dict)
    tensors: dict[str, Any] = field(default_factory=dict)
    tables: dict[str, Any] = field(default_factory=dict)
    seeds: dict[str, int] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    notes: str = ""


class HasState(Protocol):
    """An object that can be saved."""

    def state(self) -> State:
        """Return what the object is made of."""
        ...


class Saveable:
    """Gives a registered class with `state` and `from_state` its `save` and `load`."""

    def save(self, path: Path | str) -> Path:
        """Save to a folder; an artifact already there is replaced in one step. Returns the folder."""
        return save(self, path)  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Load from a folder; an artifact of another class raises `ArtifactError`."""
        loaded = load(path)
        if not isinstance(loaded, cls):
            raise ArtifactError(f"{path} holds a {type(loaded).__name__}, not a {cls.__name__}; use mumei.load(path).")
        return loaded


def library_versions() -> dict[str, str]:
    """Return the versions of mumei and of the libraries whose numbers depend on their version."""
    versions = {"python": platform.python_version()}
    for name in ("mumei", "numpy", "scikit-learn", "scipy", "torch"):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return versions


def save(obj: HasState, path: Path | str) -> Path:
    """Save an object's state as an artifact folder, whole or not at all.

    Raises
    ------
    ArtifactError
        The path exists and is not an artifact (it is left alone), or a parameter or metric has no JSON form.
    StorageError
        The disk is full, read-only or forbidden; what was there before is still there.
    """
    path = Path(path)
    target = Path(os.path.realpath(path))  # where a link leads; "." has a name then
    _check_target(target)
    state, kind = obj.state(), registry.name_of(type(obj))
    _check_json(state, kind)
    make_folder(target.parent)
    temporary = target.parent / f"{TEMPORARY}{secrets.token_hex(6)}-{target.name[-40:]}"
    try:
        make_folder(temporary)
        _write(temporary, kind, state)
        replace_folder(temporary, target)
    except OSError as error:
        raise about(error, path) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return path


def _check_target(path: Path) -> None:
    """Refuse a path that holds something else than an artifact."""
    try:
        other = path.exists() and not (path / MANIFEST).exists() and (path.is_file() or any(path.iterdir()))
    except OSError as error:
        raise storage_error(error, path) from error
    if other:
        raise ArtifactError(f"{path} exists and is not a mumei artifact; it was left alone. Give a new path.")


def _check_json(state: State, kind: str) -> None:
    """Refuse what JSON cannot hold before anything is written: a NumPy number, NaN, an object."""
    for part in ("parameters", "seeds", "data", "metrics", "notes"):
        value = getattr(state, part)
        for name, item in value.items() if isinstance(value, dict) else [("", value)]:
            try:
                json.dumps({name: item}, allow_nan=False, sort_keys=True)
            except (TypeError, ValueError) as error:
                raise ArtifactError(
                    f"{kind} cannot be saved: its {part} {name!r} has no JSON form ({error}). "
                    "Put plain numbers, texts, lists and dicts there, arrays into tensors."
                ) from error


def _write(folder: Path, kind: str, state: State) -> None:
    if state.tensors:
        write_tensors(folder / WEIGHTS, state.tensors)
    for name, table in state.tables.items():
        write_table(folder / f"{name}.parquet", table)
    write_text(folder / "CARD.md", card(kind, state))
    content = {
        "format": FORMAT,
        "kind": kind,
        "parameters": state.parameters,
        "seeds": state.seeds,
        "data": state.data,
        "metrics": state.metrics,
        "notes": state.notes,
        "versions": library_versions(),
        "files": {f.name: sha256_file(f) for f in sorted(folder.iterdir())},
    }
    write_json(folder / MANIFEST, content)


def card(kind: str, state: State) -> str:
    """Return the model card: what it is, what made it, what it scored, what to know."""
    entry = registry.get(kind)
    parts = [f"# {kind}\n\n{entry.summary}.\n"]
    if entry.paper:
        parts.append(f"Paper: {entry.paper}\n")
    for title, content in (("Parameters", state.parameters), ("Data", state.data), ("Metrics", state.metrics)):
        if content:
            rows = "\n".join(f"- {k}: {json.dumps(v, ensure_ascii=False)}" for k, v in sorted(content.items()))
            parts.append(f"## {title}\n\n{rows}\n")
    if state.notes:
        parts.append(f"## Notes\n\n{state.notes}\n")
    return "\n".join(parts)


def load(path: Path | str) -> Any:
    """Load an artifact folder: check every file, then build the object that its kind names.

    Raises
    ------
    ArtifactError
        Missing, incomplete, altered, of a newer format or of an unknown kind.
    """
    path = Path(path)
    for _ in range(ATTEMPTS):
        before = _stamp(path)
        try:
            kind, state = _read(path)
        except ArtifactError:
            if _stamp(path) == before:
                raise
        else:
            if _stamp(path) == before:
                return _rebuild(path, kind, state)
    raise ArtifactError(f"{path} was replaced again and again while it was read; try again when its writer is done.")


def _stamp(path: Path) -> tuple[int, ...]:
    """What changes when an artifact is replaced, which another process may do while it is read file by file."""
    try:
        found = os.stat(path / MANIFEST)
    except OSError:
        return ()
    return found.st_ino, found.st_mtime_ns, found.st_size


def _read(path: Path) -> tuple[str, State]:
    restore(path)
    manifest = read_manifest(path)
    _check_files(path, manifest["files"])
    if manifest["kind"] not in registry.entries():
        raise ArtifactError(
            f"{path} is a {manifest['kind']!r}, which this mumei does not know; install its package first."
        )
    state = State(
        parameters=manifest["parameters"],
        tensors=_read_tensors(path, manifest["files"]),
        tables=_read_tables(path, manifest["files"]),
        seeds=manifest["seeds"],
        data=manifest["data"],
        metrics=manifest["metrics"],
        notes=str(manifest.get("notes", "")),
    )
    return manifest["kind"], state


def _rebuild(path: Path, kind: str, state: State) -> Any:
    try:
        return registry.resolve(kind).from_state(state)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, MumeiError):
            raise
        raise ArtifactError(
            f"{path} has not the content that {kind} is made of ({type(error).__name__}: {error}); "
            "it may be of another version of it. Make it anew."
        ) from error


def _check_files(path: Path, digests: dict[str, str]) -> None:
    """Check each file of an artifact against its sha256."""
    for name, digest in digests.items():
        if name != os.path.basename(name) or name in ("", ".", ".."):
            raise ArtifactError(f"{path} names a file outside its folder ({name!r}); do not use it.")
        file = path / name
        if not file.is_file():
            raise ArtifactError(f"{path} is incomplete: {name} is missing. Save or copy it again.")
        try:
            actual = sha256_file(file)
        except OSError as error:
            raise ArtifactError(
                f"{file} cannot be read ({error.strerror}); save or copy the artifact again."
            ) from error
        if actual != digest:
            raise ArtifactError(f"{file} is not what was saved (its sha256 differs). Save or copy it again.")


def read_manifest(path: Path | str) -> dict[str, Any]:
    """Return the content of `artifact.json`, checked for format."""
    file = Path(path) / MANIFEST
    if not file.is_file():
        raise ArtifactError(f"no artifact at {path}: {MANIFEST} is not there. Give a folder made by save(path).")
    try:
        manifest = read_json(file)
        version = int(manifest["format"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{file} cannot be read ({error}); save or copy the artifact again.") from error
    if version > FORMAT:
        raise ArtifactError(f"{path} has format {version}, this mumei reads up to {FORMAT}; update mumei.")
    missing = [key for key in KEYS if not isinstance(manifest.get(key), str if key == "kind" else dict)]
    if missing:
        raise ArtifactError(f"{file} is incomplete: {', '.join(missing)} missing. Save or copy the artifact again.")
    return manifest


def _read_tensors(path: Path, files: dict[str, str]) -> dict[str, Any]:
    if WEIGHTS not in files:  # a file that the manifest does not name was not checked
        return {}
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path / WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise ArtifactError(f"{path / WEIGHTS} cannot be read ({error}); save or copy it again.") from error


def _read_tables(path: Path, files: dict[str, str]) -> dict[str, Any]:
    names = [f for f in files if f.endswith(".parquet")]
    if not names:
        return {}
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return {name.removesuffix(".parquet"): pq.read_table(path / name) for name in names}
    except (OSError, pa.ArrowException) as error:
        raise ArtifactError(f"a table of {path} cannot be read ({error}); save or copy it again.") from error
