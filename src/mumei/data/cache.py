"""The cache of harmonised tables: Parquet, one file a split, in a folder named by the hash of all that decides its content.

The key covers the content of the corpus's files, the splits, reader and options, and the source code of the reader and of what
turns records into tables, so that nothing old is ever read. Equal input gives equal bytes: row groups of `ROWS` records, lz4,
no dates. Beside each Parquet file, which is for other programs, lies the same table as an Arrow file, which is mapped into memory
as it is: Parquet's nested columns take about as long to decode as a text format to parse. The cache lies in `data` within
`core.fetch.cache_folder()` (`MUMEI_CACHE`).

Hashing thousands of files again at each use would cost more than reading the cache; the hashes are remembered by path, size,
time of change and inode (`content_hashes`).
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Iterator, Sequence
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mumei.core.errors import DataError
from mumei.core.fetch import cache_folder
from mumei.core.files import make_folder, read_json, sha256_file, whole_folder, write_json

if TYPE_CHECKING:
    import pyarrow as pa

VERSION = 2  # of the layout
ROWS = 10_000  # in a row group: half the time of reading 2,000, which is what records are turned into at once
SETTLED = 2.0  # seconds: a file changed later than that ago may change again within the clock's resolution
MANIFEST = "manifest.json"
_CODE = tuple(f"mumei.data.{name}" for name in ("schemas", "documents", "tables", "columns", "bigbio", "loading"))


def data_folder() -> Path:
    """Return the folder of cached tables."""
    return cache_folder() / "data"


def digest(content: Any) -> str:
    """Return the sha256 of JSON-able content, the same in every process."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def code_hash(reader: str) -> str:
    """Return the hash of the modules that decide what a reader's records and tables look like.

    Of our own readers all are hashed: they are built on each other.
    """
    found = hashlib.sha256()
    folder = resources.files("mumei.data.readers")
    for module in sorted(f.name for f in folder.iterdir() if f.name.endswith(".py")):
        found.update((folder / module).read_bytes())
    for name in (*_CODE, reader.partition(":")[0]):
        spec = find_spec(name)
        if spec is not None and spec.origin:
            found.update(Path(spec.origin).read_bytes())
    return found.hexdigest()


def content_hashes(paths: Sequence[str | Path]) -> list[str]:
    """Return the sha256 of each file's content, remembered while path, size, time of change and inode are the same."""
    stamps = []
    for path in paths:
        state = Path(path).stat()
        stamps.append([str(Path(path).absolute()), state.st_size, state.st_mtime_ns, state.st_ino])
    memory = data_folder() / "hashes" / f"{digest(stamps)}.json"
    if memory.is_file():
        found = read_json(memory)
        if isinstance(found, list) and len(found) == len(stamps):
            return found
    hashes = [sha256_file(path) for path in paths]
    newest = max((stamp[2] for stamp in stamps), default=0)
    if time.time() - newest / 1e9 > SETTLED:
        make_folder(memory.parent)
        write_json(memory, hashes)
    return hashes


def write(target: Path, splits: Iterable[tuple[str, Iterable[pa.RecordBatch], pa.Schema]], manifest: dict) -> None:
    """Write splits as `<split>.parquet` and `<split>.arrow`, and `manifest` when all of them are done: whole or not at all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with whole_folder(target) as folder:
        for name, parts, schema in splits:
            with (
                pq.ParquetWriter(folder / f"{name}.parquet", schema, compression="lz4") as packed,
                pa.OSFile(str(folder / f"{name}.arrow"), "wb") as sink,
                pa.ipc.new_file(sink, schema) as mapped,
            ):
                for table in _groups(parts, schema):
                    packed.write_table(table)
                    mapped.write_table(table)
        write_json(folder / MANIFEST, {**manifest, "version": VERSION})


def _groups(parts: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.Table]:
    """Yield batches as tables of at least `ROWS` records each but the last."""
    import pyarrow as pa

    held: list[pa.RecordBatch] = []
    for part in parts:
        held.append(part)
        if sum(batch.num_rows for batch in held) >= ROWS:
            yield pa.Table.from_batches(held, schema=schema)
            held = []
    if held:
        yield pa.Table.from_batches(held, schema=schema)


def read_manifest(folder: Path) -> dict | None:
    """Return a cached corpus's manifest, or None where there is no such corpus in the cache."""
    if not (folder / MANIFEST).is_file():
        return None
    found = read_json(folder / MANIFEST)
    return found if isinstance(found, dict) and found.get("version") == VERSION else None


def read_split(folder: Path, split: str) -> pa.Table:
    """Return a split's table, memory-mapped; where someone has removed its Arrow file to save space, that of Parquet."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = folder / f"{split}.arrow"
    try:
        if not path.is_file():
            path = path.with_suffix(".parquet")
            return pq.read_table(path)
        with pa.memory_map(str(path)) as file:
            return pa.ipc.open_file(file).read_all()
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path} cannot be read ({error}); remove {folder} and load again.") from error
