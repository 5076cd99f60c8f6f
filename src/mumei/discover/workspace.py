"""A workspace folder: what `discover` makes and `search` reads.

    manifest.json      source, settings, which step is done and under which key; always written last
    items/             id, title and text of the rows kept, in Parquet parts of `PART` rows
    problems.parquet   rows left out or changed, and why
    vectors/           the vector store        lexical/       the BM25 index
    clusters.parquet   cluster and distance of each row        map.parquet   x, y of each row
    groups.json        each cluster's size, terms, exemplars   answers.json  answers to --ask
    report.html        all of it, self-contained               log.jsonl     when each step ran and how fast

A step is skipped when the manifest says it is done under the same key; a key is the hash of the step's settings and of the
keys it builds on. Nothing in the workspace but `log.jsonl` depends on the clock.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mumei.core.errors import ArtifactError, UsageError
from mumei.core.files import make_folder, read_json, storage_error, sweep, write_json
from mumei.retrieval.locks import BusyError

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT = 1
PART = 4096  # rows in one Parquet part: small enough that fetching ten scattered rows stays quick


def digest(*parts: Any) -> str:
    """Return a short stable hash of JSON values."""
    return hashlib.blake2b(json.dumps(parts, sort_keys=True, default=str).encode(), digest_size=12).hexdigest()


class Workspace:
    """A workspace folder, opened for reading or (inside `locked`) for writing."""

    def __init__(self, folder: Path | str):
        self.folder = Path(folder)
        self.manifest: dict[str, Any] = {"format": FORMAT, "source": {}, "steps": {}}
        if (self.folder / "manifest.json").exists():
            self.manifest = self._read_manifest()

    @classmethod
    def open(cls, folder: Path | str) -> Workspace:
        """Open a finished workspace; a folder without one, or with an unfinished one, raises `ArtifactError`."""
        folder = Path(folder)
        if not (folder / "manifest.json").is_file():
            raise ArtifactError(
                f"no workspace at {folder}: manifest.json is not there. Make one with: mumei discover SOURCE"
            )
        workspace = cls(folder)
        for step in ("read", "encode", "index"):
            if not workspace.is_done(step):
                raise ArtifactError(
                    f"the workspace {folder} is not finished (step {step!r} is missing); run the same discover command again, "
                    "it continues where it stopped."
                )
        return workspace

    def _read_manifest(self) -> dict[str, Any]:
        path = self.folder / "manifest.json"
        try:
            manifest = read_json(path)
            version = manifest["format"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ArtifactError(
                f"{path} cannot be read ({error}); remove the folder and run discover again."
            ) from error
        if version > FORMAT:
            raise ArtifactError(f"{self.folder} has format {version}, this mumei reads up to {FORMAT}; update mumei.")
        return manifest

    def path(self, name: str) -> Path:
        """Return the path of something in the workspace."""
        return self.folder / name

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the workspace for writing; a second writer gets `BusyError`, the lock of a dead process is free."""
        make_folder(self.folder)
        foreign = not (self.folder / "manifest.json").exists() and any(
            not f.name.startswith(".") and f.name != "log.jsonl" for f in self.folder.iterdir()
        )
        if foreign:
            raise UsageError(
                f"{self.folder} is not empty and not a mumei workspace; it was left alone. Choose another --out."
            )
        lock = self.folder / ".lock"
        try:
            handle = open(lock, "a")
        except OSError as error:
            raise storage_error(error, lock) from error
        with handle:
            _take(handle, self.folder)
            sweep(self.folder)
            yield

    def is_done(self, step: str, key: str | None = None) -> bool:
        """Whether a step has finished (under this key, if one is given)."""
        entry = self.manifest["steps"].get(step)
        return entry is not None and entry["done"] and (key is None or entry["key"] == key)

    def begin(self, step: str, key: str) -> bool:
        """Note that a step starts; return True if the same step was cut off under the same key and may continue."""
        entry = self.manifest["steps"].get(step)
        if entry is not None and entry["key"] == key and not entry["done"]:
            return True
        self.manifest["steps"][step] = {"key": key, "done": False, "summary": {}}
        self.write()
        return False

    def finish(self, step: str, key: str, summary: dict[str, Any], seconds: float, rate: float | None) -> None:
        """Note that a step is done, with what it found (`summary`, JSON values), and log its time."""
        self.manifest["steps"][step] = {"key": key, "done": True, "summary": summary}
        self.write()
        self.log({"step": step, "seconds": round(seconds, 3), "per_second": rate and round(rate, 1)})

    def summary(self, step: str) -> dict[str, Any]:
        """Return what a finished step found."""
        return self.manifest["steps"].get(step, {}).get("summary", {})

    def write(self) -> None:
        """Write the manifest, whole or not at all."""
        write_json(self.folder / "manifest.json", self.manifest)

    def log(self, entry: dict[str, Any]) -> None:
        """Append a line to `log.jsonl` (times live here and nowhere else)."""
        line = json.dumps({"at": time.strftime("%Y-%m-%dT%H:%M:%S%z"), **entry}) + "\n"
        try:
            # One write call of one line: a crash leaves at worst a torn last line in a file that only people read.
            descriptor = os.open(self.folder / "log.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            try:
                os.write(descriptor, line.encode())
            finally:
                os.close(descriptor)
        except OSError as error:
            raise storage_error(error, self.folder / "log.jsonl") from error

    @property
    def kind(self) -> str:
        """What the source is: "text", "sequence" or "table"."""
        return self.manifest["source"].get("kind", "")

    def __len__(self) -> int:
        return int(self.summary("read").get("kept", 0))

    def items(self, columns: Sequence[str] = ("id", "title", "text"), first: int = 0) -> Iterator[tuple[int, pa.Table]]:
        """Yield (first row, table) parts in order, starting with the part that holds row `first`."""
        import pyarrow.parquet as pq

        for part in range(first // PART, -(-len(self) // PART)):
            yield part * PART, pq.read_table(self._part(part), columns=list(columns))

    def rows(self, wanted: Sequence[int], columns: Sequence[str] = ("id", "title", "text")) -> list[dict[str, Any]]:
        """Return some rows as dicts, in the order asked; only the parts that hold them are read."""
        import pyarrow.parquet as pq

        by_part: dict[int, list[int]] = {}
        for row in wanted:
            by_part.setdefault(int(row) // PART, []).append(int(row))
        found: dict[int, dict[str, Any]] = {}
        for part, rows in by_part.items():
            table = pq.read_table(self._part(part), columns=list(columns))
            picked = table.take([row % PART for row in rows]).to_pylist()
            found.update({row: {"row": row, **values} for row, values in zip(rows, picked, strict=True)})
        return [found[int(row)] for row in wanted]

    def _part(self, part: int) -> Path:
        return self.folder / "items" / f"part-{part:06d}.parquet"

    def column(self, table: str, name: str) -> Any:
        """Return one column of `clusters.parquet` or `map.parquet` as a numpy array (n,)."""
        import pyarrow.parquet as pq

        return pq.read_table(self.folder / f"{table}.parquet", columns=[name])[name].to_numpy()


def _take(handle: Any, folder: Path) -> None:
    try:
        import fcntl
    except ImportError:  # a platform without flock: two writers are the user's to avoid there
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise BusyError(f"another mumei is writing to {folder}; wait for it or choose another --out.") from error
