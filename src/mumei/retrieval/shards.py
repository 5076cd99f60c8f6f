"""A corpus cut into shards, so that each can be embedded anywhere, any number of times, with the same result.

    plan.json                     which shards there are: rows, content hash, input; and what makes the vectors
    input/shard-000000.parquet    id, title, text and metadata (as JSON) of one shard's documents
    vectors/shard-000000.npy      its vectors
    vectors/shard-000000.json     the receipt: what the vectors were made of, by what, and their own hash

A shard is done when its receipt fits the plan. The vectors are renamed into place before the receipt is, so that a crash at
any moment leaves a shard that is done or one that is done again. A shard is encoded in one call and texts are batched
within it alone, so its vectors do not depend on which process computes it, beside how many others, or how often.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mumei.core.errors import ArtifactError, DataError, UsageError
from mumei.core.files import atomic_open, make_folder, read_json, write_json, write_table
from mumei.retrieval.documents import Document, Prepared, prepare

if TYPE_CHECKING:
    import numpy as np

ROWS_PER_SHARD = 8192  # 12 MB of 384 float32 numbers, some five minutes of one core with MiniLM
LARGEST_GROUP = 8  # times rows_per_shard: the largest row group of foreign Parquet that is taken as one shard
FORMAT = 1
COLUMNS = ("id", "title", "text", "metadata")
_IMPORT = re.compile(r"[A-Za-z_]\w*(\.\w+)+:[A-Za-z_]\w*")


@dataclasses.dataclass(frozen=True)
class Shard:
    """One shard of a plan: `sha256` is of its documents' content, `groups` the row groups of a file that is not ours."""

    name: str
    rows: int
    sha256: str
    file: str
    groups: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class Plan:
    """What there is to embed. `load` is the name the encoder is loaded by, `encoder` what it calls itself."""

    folder: Path
    load: str
    encoder: str
    dim: int
    rows_per_shard: int
    shards: tuple[Shard, ...]

    @property
    def rows(self) -> int:
        """The number of documents."""
        return sum(shard.rows for shard in self.shards)

    @property
    def digest(self) -> str:
        """A hash of the plan: two machines that see the same digest see the same plan."""
        return hashlib.sha256(json.dumps(self._json(), sort_keys=True).encode()).hexdigest()

    def _json(self) -> dict[str, Any]:
        names = ("load", "encoder", "dim", "rows_per_shard")
        shards = [dataclasses.asdict(shard) for shard in self.shards]
        return {"format": FORMAT, **{name: getattr(self, name) for name in names}, "shards": shards}

    def write(self) -> None:
        """Write `plan.json`, whole or not at all."""
        write_json(self.folder / "plan.json", self._json())

    @classmethod
    def open(cls, folder: Path | str) -> Plan:
        """Read the plan of a folder; `ArtifactError` where there is none or it is damaged."""
        path = Path(folder).absolute() / "plan.json"
        if not path.is_file():
            raise ArtifactError(f"there is no plan at {path}; make one with plan_shards() first.")
        try:
            content = read_json(path)
            version = content.pop("format")
            shards = tuple(Shard(**{**s, "groups": tuple(s["groups"])}) for s in content.pop("shards"))
            plan = cls(folder=path.parent, shards=shards, **content) if version <= FORMAT else None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ArtifactError(f"{path} cannot be read ({error}); plan again with restart=True.") from error
        if plan is None:
            raise ArtifactError(f"{path} has format {version}, this mumei reads up to {FORMAT}; update mumei.")
        return plan

    def vectors_file(self, shard: Shard) -> Path:
        """Where a shard's vectors are."""
        return self.folder / "vectors" / f"{shard.name}.npy"

    def receipt_file(self, shard: Shard) -> Path:
        """Where a shard's receipt is."""
        return self.folder / "vectors" / f"{shard.name}.json"


def load_encoder(name: str | None) -> Any:
    """Return an encoder by its name as in `text_encoder`, or by an import string "package.module:Class"."""
    if name is None or not _IMPORT.fullmatch(name):
        from mumei.retrieval.encoders import text_encoder

        return text_encoder(name)
    module, _, attribute = name.partition(":")
    try:
        return getattr(import_module(module), attribute)()
    except (ImportError, AttributeError) as error:
        raise UsageError(f"no encoder {name!r}: {error}. The module must be installed on every machine.") from error


# --- planning ---


def plan_shards(
    documents: Iterable[Any],
    folder: Path | str,
    encoder_name: str | None = None,
    *,
    rows_per_shard: int = ROWS_PER_SHARD,
    restart: bool = False,
) -> Plan:
    """Copy documents into Parquet shards and write the plan. Planning the same again changes nothing.

    Parameters
    ----------
    documents : iterable of Document
        Anything with `id`, `title`, `text` and `metadata`; it is streamed, one shard is in memory. Ids are not compared
        with each other here.
    folder : path
        On storage that all machines see under this path.
    encoder_name : str, optional
        As in `load_encoder`; the embedded MiniLM by default.
    rows_per_shard : int
        What is lost when a machine is lost: a shard in the making is made again.
    restart : bool
        Replace a plan of other content or another encoder. Shards that are the same in both keep their vectors.

    Raises
    ------
    UsageError
        The folder holds the plan of another content, encoder or shard size, and `restart` is False; or there is no such
        encoder.
    DataError
        There are no documents, or one has no id, no text or metadata without a JSON form.

    Examples
    --------
    >>> from mumei.retrieval.documents import Document
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     plan = plan_shards([Document(str(i), "", f"text {i}") for i in range(5)], folder, rows_per_shard=2)
    >>> [shard.rows for shard in plan.shards]
    [2, 2, 1]
    """
    plan, old = _begin(folder, encoder_name, rows_per_shard, restart)
    make_folder(plan.folder / "input")
    shards = []
    for number, rows in enumerate(_parts(documents, plan.rows_per_shard)):
        name = f"shard-{number:06d}"
        shard = Shard(name, len(rows), _content_hash(rows), f"input/{name}.parquet")
        _refuse_change(old, number, shard)
        if old is None or not (plan.folder / shard.file).is_file():
            write_table(plan.folder / shard.file, _as_table(rows))
        shards.append(shard)
    return _finish(plan, old, shards)


def plan_parquet(
    files: Sequence[Path | str],
    folder: Path | str,
    encoder_name: str | None = None,
    *,
    rows_per_shard: int = ROWS_PER_SHARD,
    restart: bool = False,
) -> Plan:
    """Plan over Parquet files that stay where they are: a shard is some row groups of one file.

    Parameters
    ----------
    files : sequence of path
        Parquet with the columns id and text, and perhaps title and metadata (JSON text or a struct), on storage that all
        machines see under these paths. They are read once here, for their hashes, and must not change afterwards.
    folder, encoder_name, rows_per_shard, restart
        As in `plan_shards`. A shard has at least one row group, so it may have up to 8 times `rows_per_shard` rows.

    Raises
    ------
    UsageError, DataError
        As in `plan_shards`; or a row group is larger than that, or a column is missing.
    """
    plan, old = _begin(folder, encoder_name, rows_per_shard, restart)
    shards: list[Shard] = []
    seen = 0
    for file in files:
        path = Path(file).absolute()
        for groups in _row_groups(path, rows_per_shard):
            rows = [prepare(document, seen + i) for i, document in enumerate(_records(path, groups))]
            shard = Shard(f"shard-{len(shards):06d}", len(rows), _content_hash(rows), str(path), groups)
            _refuse_change(old, len(shards), shard)
            shards.append(shard)
            seen += len(rows)
    return _finish(plan, old, shards)


def _begin(
    folder: Path | str, encoder_name: str | None, rows_per_shard: int, restart: bool
) -> tuple[Plan, Plan | None]:
    """Return the new plan, empty, and the one it must agree with, if any."""
    if rows_per_shard < 1:
        raise UsageError(f"rows_per_shard={rows_per_shard} is not allowed; give 1 or more.")
    encoder = load_encoder(encoder_name)
    folder = make_folder(folder).absolute()
    plan = Plan(folder, encoder_name or "minilm", encoder.name, int(encoder.dim), rows_per_shard, ())
    if restart or not (folder / "plan.json").exists():
        return plan, None
    old = Plan.open(folder)
    for name, what in (("encoder", "the encoder"), ("dim", "vectors of length"), ("rows_per_shard", "rows_per_shard")):
        if getattr(old, name) != getattr(plan, name):
            raise UsageError(
                f"{folder} is planned for {what} {getattr(old, name)}, not {getattr(plan, name)}; give the same, use another "
                "folder, or plan anew with restart=True."
            )
    return plan, old


def _refuse_change(old: Plan | None, number: int, shard: Shard) -> None:
    if old is None:
        return
    if number >= len(old.shards) or dataclasses.replace(old.shards[number], file=shard.file) != shard:
        what = f"has no {shard.name}" if number >= len(old.shards) else f"has other documents in {shard.name}"
        raise UsageError(
            f"the plan in {old.folder} {what}: the input is not the one that was planned. Give the same documents in the "
            "same order, use another folder, or plan anew with restart=True (unchanged shards keep their vectors)."
        )


def _finish(plan: Plan, old: Plan | None, shards: list[Shard]) -> Plan:
    if not shards:
        raise DataError("there are no documents to plan; give at least one.")
    plan = dataclasses.replace(plan, shards=tuple(shards))
    if old is None:
        plan.write()
        _drop_strays(plan)
    elif len(old.shards) != len(shards):
        raise UsageError(
            f"the plan in {plan.folder} has {len(old.shards)} shards ({old.rows:,} documents), the input only {len(shards)} "
            f"({plan.rows:,}); give all of it, use another folder, or plan anew with restart=True."
        )
    elif old.shards != plan.shards or old.load != plan.load:
        plan.write()  # the same content by another path
    return plan


def _drop_strays(plan: Plan) -> None:
    """Remove shards of an earlier plan that the new one has not; what changed is found out by its receipt."""
    inputs = {shard.file for shard in plan.shards}
    names = {shard.name for shard in plan.shards}
    for path in plan.folder.glob("input/shard-*.parquet"):
        if f"input/{path.name}" not in inputs:
            path.unlink(missing_ok=True)
    for path in plan.folder.glob("vectors/shard-*"):
        if path.stem not in names:
            path.unlink(missing_ok=True)


def _parts(documents: Iterable[Any], size: int) -> Iterator[list[Prepared]]:
    part: list[Prepared] = []
    for place, document in enumerate(documents):
        part.append(prepare(document, place))
        if len(part) == size:
            yield part
            part = []
    if part:
        yield part


def _content_hash(rows: Sequence[Prepared]) -> str:
    """Hash what the documents say; Parquet's own bytes would depend on the version that writes them."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(json.dumps([row.id, row.title, row.text, row.metadata]).encode() + b"\n")
    return digest.hexdigest()


def _as_table(rows: Sequence[Prepared]) -> Any:
    import pyarrow as pa

    # large_string: a shard's texts may pass the 2 GB that a string column can hold.
    return pa.table({name: pa.array([getattr(r, name) for r in rows], pa.large_string()) for name in COLUMNS})


# --- reading ---


def _row_groups(path: Path, limit: int) -> Iterator[tuple[int, ...]]:
    """Yield consecutive row groups of a file, together at most `limit` rows or one group."""
    with _parquet(path) as file:
        missing = [name for name in ("id", "text") if name not in file.schema_arrow.names]
        sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
    if missing:
        raise DataError(f"{path} has no column {missing[0]!r}; rename a column, or copy it with plan_shards().")
    if max(sizes, default=0) > LARGEST_GROUP * limit:
        raise UsageError(
            f"{path} has a row group of {max(sizes):,} rows, too many for shards of {limit:,}: a shard could not be read by "
            "itself. Copy the documents with plan_shards(), or raise rows_per_shard."
        )
    groups: list[int] = []
    rows = 0
    for i, size in enumerate(sizes):
        if groups and rows + size > limit:
            yield tuple(groups)
            groups, rows = [], 0
        if size:
            groups.append(i)
            rows += size
    if groups:
        yield tuple(groups)


def _parquet(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise ArtifactError(
            f"{path} cannot be read ({reason:.200}); is it on storage that every machine sees? If it is lost, plan again."
        ) from error


def _records(path: Path, groups: Sequence[int] = ()) -> list[Document]:
    """Read documents from Parquet: ours, or somebody else's with the same columns."""
    import pyarrow as pa

    with _parquet(path) as file:
        columns = [name for name in COLUMNS if name in file.schema_arrow.names]
        try:
            every = range(file.num_row_groups)
            rows = file.read_row_groups(list(groups or every), columns=columns).to_pylist()
        except (OSError, pa.ArrowException) as error:
            raise ArtifactError(f"{path} is damaged ({str(error).splitlines()[0]:.200}); plan again.") from error
    return [Document(r["id"], r.get("title") or "", r["text"], _metadata(r.get("metadata"), path)) for r in rows]


def _metadata(value: Any, path: Path) -> Any:
    try:
        return json.loads(value) if isinstance(value, str) else value or {}
    except ValueError as error:
        raise DataError(f"{path}: the metadata {value!r:.60} is not JSON ({error}).") from error


def read_shard(plan: Plan, shard: Shard) -> list[Prepared]:
    """Return the documents of a shard, having checked that they are the planned ones.

    Raises
    ------
    ArtifactError
        The file is missing, damaged or changed.
    """
    path = plan.folder / shard.file
    rows = [prepare(document, place) for place, document in enumerate(_records(path, shard.groups))]
    if len(rows) != shard.rows or _content_hash(rows) != shard.sha256:
        raise ArtifactError(f"{path} is not what was planned as {shard.name}; plan again.")
    return rows


# --- receipts ---


def receipt(plan: Plan, shard: Shard) -> dict[str, Any] | None:
    """Return the receipt of a shard, or None where it is not done: no receipt, one of other content, or no vectors."""
    import numpy as np

    try:
        found = read_json(plan.receipt_file(shard))
        vectors = np.load(plan.vectors_file(shard), mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError):
        return None
    wanted = {"rows": shard.rows, "input": shard.sha256, "encoder": plan.encoder, "dim": plan.dim}
    fits = isinstance(found, dict) and all(found.get(key) == value for key, value in wanted.items())
    return found if fits and vectors.shape == (shard.rows, plan.dim) and vectors.dtype == np.float32 else None


def pending(plan: Plan) -> list[int]:
    """Return the numbers of the shards that are not done."""
    return [number for number, shard in enumerate(plan.shards) if receipt(plan, shard) is None]


def finish_shard(plan: Plan, shard: Shard, encoder: Any, progress: Callable[[int], Any] | None = None) -> bool:
    """Embed one shard and write its receipt; return False where that was done already.

    Raises
    ------
    UsageError
        The encoder is not the one that was planned.
    DataError
        The encoder returned something else than finite vectors of the planned size.
    """
    import numpy as np

    if encoder.name != plan.encoder:
        raise UsageError(
            f"the encoder {plan.load!r} calls itself {encoder.name} here, the plan says {plan.encoder}; vectors of the two "
            "cannot be mixed. Plan with an encoder that is the same on every machine."
        )
    if receipt(plan, shard) is not None:
        return False
    rows = read_shard(plan, shard)
    vectors = np.ascontiguousarray(encoder.encode([row.joined for row in rows], progress=progress), dtype=np.float32)
    if vectors.shape != (shard.rows, plan.dim):
        raise DataError(f"{encoder.name} returned {vectors.shape} for {shard.name}, not {(shard.rows, plan.dim)}.")
    wrong = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(wrong):
        raise DataError(f"{encoder.name} returned NaN or infinity for document {rows[wrong[0]].id!r} of {shard.name}.")
    make_folder(plan.folder / "vectors")
    with atomic_open(plan.vectors_file(shard)) as handle:
        np.save(handle, vectors, allow_pickle=False)
    content = {"rows": shard.rows, "input": shard.sha256, "encoder": plan.encoder, "dim": plan.dim}
    write_json(plan.receipt_file(shard), {**content, "vectors": hash_vectors(vectors)})
    return True


def hash_vectors(vectors: np.ndarray) -> str:
    """Return the sha256 of an array's numbers."""
    import numpy as np

    return hashlib.sha256(np.ascontiguousarray(vectors).data).hexdigest()


def read_vectors(plan: Plan, shard: Shard) -> np.ndarray:
    """Return the vectors (rows, dim) of a shard, having checked them against its receipt.

    Raises
    ------
    ArtifactError
        The shard is not done, or its vectors are damaged.
    """
    import numpy as np

    found = receipt(plan, shard)
    if found is None:
        raise ArtifactError(f"{shard.name} of {plan.folder} is not embedded yet; run embed_shards() first.")
    vectors = np.load(plan.vectors_file(shard), allow_pickle=False)
    if hash_vectors(vectors) != found.get("vectors"):
        file = plan.receipt_file(shard)
        raise ArtifactError(f"{plan.vectors_file(shard)} is damaged; remove {file} and run embed_shards() again.")
    return vectors
