"""Embedding a corpus on many machines: shards (`shards.py`) handed to a pool of actors by Ray Data (Moritz et al. 2018).

    plan_shards(documents, folder)   ->   embed_shards(folder, engine="ray", address="auto")   ->   collect(folder, store)

Ray moves shard numbers alone. Texts and vectors go through the folder, which **must be on storage that every machine sees
under the same path** (NFS, Lustre, a mounted bucket); this is checked before anything starts. Who is lost, machine, worker
or driver, is lost with the shards in the making: Ray gives them to others, or the next `embed_shards` finds them undone.
One driver at a time works on a folder.

Vectors are bit for bit the same for any number of workers, for the serial engine, and after any number of losses, on
processors of one kind with one `threads_per_worker`. Between kinds of processor, and against one `encode` of all texts,
batches and kernels differ, and values by rounding (about 1e-3 in bfloat16).
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import logging
import os
import secrets
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mumei.core.errors import ArtifactError, MissingExtraError, MumeiError, UsageError, unknown
from mumei.core.files import make_folder, sweep, write_text
from mumei.retrieval.documents import Document
from mumei.retrieval.shards import (
    Plan,
    finish_shard,
    load_encoder,
    pending,
    plan_parquet,
    plan_shards,
    read_shard,
    read_vectors,
)

if TYPE_CHECKING:
    import numpy as np

    from mumei.retrieval.index import VectorStore

__all__ = [
    "DistributedError",
    "Embedded",
    "collect",
    "documents",
    "embed_shards",
    "iter_segments",
    "plan_parquet",
    "plan_shards",
]

ENGINES = ("serial", "ray")
VISIBLE_WITHIN = 10.0  # seconds that a network file system may take to show one machine what another has written
OBJECT_STORE = 100 << 20  # bytes; shard numbers are small
# Ray reads these when it is imported or started: no reports to its makers, no tip about GPUs, and of its C++
# side no alarm about restarts (one line says that this was set).
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
}


class DistributedError(MumeiError, RuntimeError):
    """A worker or the cluster failed; finished shards are kept."""


@dataclasses.dataclass(frozen=True)
class Embedded:
    """What `embed_shards` did: `done` and `skipped` count shards, `rows` the documents of those done."""

    engine: str
    workers: int
    done: int
    skipped: int
    rows: int
    lost: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def embed_shards(
    folder: Path | str,
    encoder_name: str | None = None,
    *,
    engine: str = "ray",
    address: str | None = None,
    workers: int | None = None,
    threads_per_worker: int = 1,
    progress: Callable[[int], Any] | None = None,
) -> Embedded:
    """Embed the shards of a plan that are not done yet.

    Parameters
    ----------
    folder : path
        Made by `plan_shards`; for `engine="ray"` on storage that all machines see.
    encoder_name : str, optional
        What was planned, which is also the default.
    engine : {"ray", "serial"}
        "serial" works in this process, one shard after the other, and gives the same bits.
    address : str, optional
        Of a Ray cluster: "auto" or "host:port". By default Ray is started on this machine, or, if the process is connected
        already, that connection is used.
    workers : int, optional
        Actors, each with its own encoder; by default as many as the CPUs allow.
    threads_per_worker : int
        Of each worker; one is the most efficient for MiniLM. The serial engine leaves torch's setting alone.
    progress : callable, optional
        Called with the number of documents finished since the last call.

    Raises
    ------
    ArtifactError
        There is no plan, or an input shard is damaged.
    UsageError
        Another encoder than planned, no machine with so many threads, or a name that is not known.
    DistributedError
        A machine does not see the folder (named), Ray cannot be reached, or a worker failed. Finished shards are kept.
    MissingExtraError
        `engine="ray"` without Ray.
    """
    if engine not in ENGINES:
        raise unknown("engine", engine, ENGINES)
    for name, value in (("workers", workers), ("threads_per_worker", threads_per_worker)):
        if value is not None and value < 1:
            raise UsageError(f"{name}={value} is not allowed; give 1 or more.")
    plan = Plan.open(folder)
    if encoder_name is not None and encoder_name != plan.load:
        raise UsageError(f"{plan.folder} is planned for the encoder {plan.load!r}, not {encoder_name!r}.")
    make_folder(plan.folder / "vectors")
    todo = pending(plan)
    did = Embedded(engine, 0, 0, len(plan.shards) - len(todo), 0)
    if todo and engine == "serial":
        did = _serially(plan, todo, did, progress)
    elif todo:
        did = _with_ray(plan, todo, did, address, (workers, threads_per_worker), progress)
    _check_all_done(plan)
    sweep(plan.folder / "vectors")  # what killed workers left; nobody writes there now
    return did


def _serially(plan: Plan, todo: list[int], did: Embedded, progress: Callable[[int], Any] | None) -> Embedded:
    encoder = load_encoder(plan.load)
    for number in todo:
        finish_shard(plan, plan.shards[number], encoder, progress)
    rows = sum(plan.shards[number].rows for number in todo)
    return dataclasses.replace(did, workers=1, done=len(todo), rows=rows)


def _check_all_done(plan: Plan) -> None:
    missing = pending(plan)
    limit = time.monotonic() + VISIBLE_WITHIN
    while missing and time.monotonic() < limit:
        time.sleep(0.2)
        missing = pending(plan)
    if missing:
        raise DistributedError(
            f"{len(missing)} of {len(plan.shards)} shards have no valid receipt in {plan.folder}, the first is "
            f"{plan.shards[missing[0]].name}; run embed_shards() again."
        )


# --- Ray ---


def _with_ray(
    plan: Plan,
    todo: list[int],
    did: Embedded,
    address: str | None,
    pool: tuple[int | None, int],
    progress: Callable[[int], Any] | None,
) -> Embedded:
    wanted, threads = pool
    with _session(address, None if wanted is None else wanted * threads) as ray:
        nodes = _nodes(ray)
        workers, notes = _pool_size(nodes, wanted, threads, len(todo))
        _check_storage(ray, plan.folder, nodes)
        finished: set[int] = set()
        for row in _results(ray, plan, todo, workers, threads):
            if row["error"]:
                raise DistributedError(
                    f"{plan.shards[row['shard']].name} failed on {row['node']}: {row['error']} Finished shards are kept; run "
                    "embed_shards() again when this is mended."
                )
            if row["shard"] not in finished and progress is not None:
                progress(plan.shards[row["shard"]].rows)
            finished.add(row["shard"])
        alive = {node["NodeID"] for node in _nodes(ray)}
    lost = tuple(_called(node) for node in nodes if node["NodeID"] not in alive)
    if lost:
        notes += (f"lost {', '.join(lost)}; the other machines made those shards again",)
    rows = sum(plan.shards[number].rows for number in finished)
    return dataclasses.replace(did, workers=workers, done=len(finished), rows=rows, lost=lost, notes=notes)


@contextlib.contextmanager
def _session(address: str | None, cpus: int | None) -> Iterator[Any]:
    """Yield `ray`, connected; a connection that was there is used and left open."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    with warnings.catch_warnings(), contextlib.redirect_stdout(_WithoutRay(sys.stdout)):  # type: ignore[type-var]
        warnings.simplefilter("ignore")  # Ray warns of its own use of what it deprecates
        try:
            import ray
            import ray.data
            from ray.exceptions import RayError
        except ImportError as error:
            raise MissingExtraError("embedding on many machines", "ray[data]", "ray") from error
        ours = not ray.is_initialized()
        if not ours and address is not None:
            raise UsageError("this process is connected to a Ray cluster already; leave `address` out.")
        if ours:
            _connect(ray, address, cpus)
        try:
            yield ray
        except RayError as error:
            reason = str(error).strip().splitlines()
            raise DistributedError(
                f"Ray stopped: {type(error).__name__}: {reason[-1] if reason else ''} Finished shards are kept; run "
                "embed_shards() again."
            ) from error
        finally:
            if ours:
                with contextlib.redirect_stdout(io.StringIO()):  # it prints what it held back
                    ray.shutdown()


def _connect(ray: Any, address: str | None, cpus: int | None) -> None:
    local: dict[str, Any] = {
        "num_cpus": cpus or _cpus(),
        "object_store_memory": OBJECT_STORE,
        "include_dashboard": False,
    }
    options = local if address is None else {}
    try:
        ray.init(address=address or "local", logging_level=logging.ERROR, log_to_driver=False, **options)
    except (ConnectionError, ValueError, RuntimeError, OSError) as error:
        reason = str(error).strip().splitlines()
        raise DistributedError(
            f"Ray at {address or 'this machine'} cannot be reached: {reason[0] if reason else type(error).__name__}"
        ) from error


def _cpus() -> int:
    """Return the CPUs that this process may use, or where a platform cannot say, those there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _WithoutRay:
    """Standard output without what Ray's own threads print there: it belongs to results."""

    def __init__(self, stream: Any):
        self._stream = stream

    def write(self, text: str) -> int:
        return len(text) if threading.current_thread().name.startswith("ray_") else self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _nodes(ray: Any) -> list[dict[str, Any]]:
    """Return the live machines that have CPUs to give."""
    return [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]


def _called(node: dict[str, Any]) -> str:
    return f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"


def _pool_size(
    nodes: list[dict[str, Any]], wanted: int | None, threads: int, shards: int
) -> tuple[int, tuple[str, ...]]:
    """Return how many workers there will be: a pool larger than the CPUs would wait for machines that never come."""
    room = sum(int(node["Resources"]["CPU"]) // threads for node in nodes)
    if not room:
        most = max((int(node["Resources"]["CPU"]) for node in nodes), default=0)
        raise UsageError(f"threads_per_worker={threads}, but the largest machine has {most} CPUs; give at most {most}.")
    notes = ()
    if wanted is not None and wanted > room:
        notes = (f"{room} workers instead of {wanted}: the machines have no more CPUs",)
    return max(1, min(wanted or room, room, shards)), notes


def _check_storage(ray: Any, folder: Path, nodes: list[dict[str, Any]]) -> None:
    """Write a file here and have every machine look for it."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    probe = folder / f".probe-{secrets.token_hex(6)}"
    write_text(probe, probe.name)
    look = ray.remote(num_cpus=0, max_retries=0)(_sees)
    try:
        asked = [
            look.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote(
                str(probe), VISIBLE_WITHIN
            )
            for node in nodes
        ]
        _refuse_blind(folder, nodes, ray.get(asked))
    finally:
        probe.unlink(missing_ok=True)


def _sees(probe: str, patience: float) -> bool:
    """Whether this machine sees a file within some seconds."""
    limit = time.monotonic() + patience
    while True:
        with contextlib.suppress(OSError):
            os.listdir(os.path.dirname(probe))  # makes a network file system look anew
            if os.path.isfile(probe):
                return True
        if time.monotonic() >= limit:
            return False
        time.sleep(0.1)


def _refuse_blind(folder: Path, nodes: list[dict[str, Any]], seen: list[bool]) -> None:
    blind = [_called(node) for node, sees in zip(nodes, seen, strict=True) if not sees]
    if blind:
        raise DistributedError(
            f"{', '.join(blind)} cannot see {folder}, which this machine has just written to; put the folder on storage that "
            "every machine mounts under the same path, or leave that machine out of the cluster."
        )


def _results(ray: Any, plan: Plan, todo: list[int], workers: int, threads: int) -> Iterator[dict[str, Any]]:
    """Yield what the workers report, shard by shard as they finish.

    Ray Data restarts a lost actor elsewhere without limit and gives it the tasks it had, which is its default for
    `map_batches` with a class.
    """
    context = ray.data.DataContext.get_current()
    before = context.enable_progress_bars
    context.enable_progress_bars = False
    loggers = [logging.getLogger(name) for name in ("ray.data", "ray")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        shards = ray.data.from_items([{"shard": number} for number in todo], override_num_blocks=len(todo))
        # One task at a time for each actor, so that a slow worker has no queue that others cannot take from.
        compute = ray.data.ActorPoolStrategy(size=workers, max_tasks_in_flight_per_actor=1)
        arguments = (str(plan.folder), plan.digest, threads)
        done = shards.map_batches(
            _Worker, batch_size=1, compute=compute, num_cpus=threads, fn_constructor_args=arguments
        )
        yield from done.iter_rows()
    finally:
        context.enable_progress_bars = before
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


class _Worker:
    """What an actor does. It loads plan and encoder at its first shard, so that an error comes back as a result."""

    def __init__(self, folder: str, digest: str, threads: int):
        self._folder, self._digest, self._threads = folder, digest, threads
        self._plan: Plan | None = None
        self._encoder: Any = None

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, Any]:
        import platform

        import numpy as np

        errors = [self._finish(int(number)) for number in batch["shard"]]
        return {
            "shard": batch["shard"],
            "node": np.array([platform.node()] * len(errors)),
            "error": np.array(errors),
        }

    def _finish(self, number: int) -> str:
        """Embed a shard; return an empty string or what went wrong."""
        try:
            if self._plan is None:
                self._load()
            plan = self._plan
            assert plan is not None
            finish_shard(plan, plan.shards[number], self._encoder)
        except MumeiError as error:
            return str(error)
        except Exception as error:  # noqa: BLE001 - an encoder may raise anything; the driver names machine and shard
            return f"{type(error).__name__}: {error}"
        return ""

    def _load(self) -> None:
        # Both are read when the libraries start their threads.
        os.environ["RAYON_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = str(self._threads)
        import torch

        torch.set_num_threads(self._threads)
        limit = time.monotonic() + VISIBLE_WITHIN
        while not _sees(f"{self._folder}/plan.json", 0) or Plan.open(self._folder).digest != self._digest:
            if time.monotonic() > limit:
                raise ArtifactError(
                    f"this machine sees no plan in {self._folder}, or another one than the driver; the folder must be on "
                    "storage that every machine mounts under the same path."
                )
            time.sleep(0.1)
        self._encoder = load_encoder(Plan.open(self._folder).load)
        self._plan = Plan.open(self._folder)


# --- what came of it ---


def iter_segments(folder: Path | str, first: int = 0) -> Iterator[tuple[list[Document], np.ndarray]]:
    """Yield (documents, vectors (n, dim)) of each shard in order, from shard number `first` on.

    Raises
    ------
    ArtifactError
        A shard is not done, or its documents or vectors are damaged.
    """
    plan = Plan.open(folder)
    for shard in plan.shards[first:]:
        yield _documents(plan, shard), read_vectors(plan, shard)


def documents(folder: Path | str) -> Iterator[Document]:
    """Yield the planned documents in the order of the vectors."""
    plan = Plan.open(folder)
    for shard in plan.shards:
        yield from _documents(plan, shard)


def _documents(plan: Plan, shard: Any) -> list[Document]:
    import json

    return [Document(r.id, r.title, r.text, json.loads(r.metadata)) for r in read_shard(plan, shard)]


def collect(folder: Path | str, into: Path | str) -> VectorStore:
    """Put the vectors of all shards, in order, into a vector store; a call that was cut off is continued.

    Parameters
    ----------
    folder : path
        Where every shard is done.
    into : path
        The store's folder, new, or with the first shards in it.

    Raises
    ------
    ArtifactError
        A shard is not done or damaged (nothing was added then), or the store holds something else.
    """
    from mumei.retrieval.index import VectorStore

    plan = Plan.open(folder)
    missing = pending(plan)
    if missing:
        raise ArtifactError(
            f"{len(missing)} of {len(plan.shards)} shards in {plan.folder} are not embedded yet; run embed_shards() first."
        )
    store = VectorStore(into, plan.encoder, plan.dim)
    first = 0
    for shard in plan.shards:
        if first >= len(store):
            store.append(read_vectors(plan, shard))
        else:
            _check_same(plan, shard, store, first)
        first += shard.rows
    if len(store) != plan.rows:
        raise _other(store, plan)
    return store


def _check_same(plan: Plan, shard: Any, store: VectorStore, first: int) -> None:
    """Compare a shard with what the store has in its place, by its first and last row."""
    import numpy as np

    if first + shard.rows > len(store):
        raise _other(store, plan)
    vectors = np.load(plan.vectors_file(shard), mmap_mode="r", allow_pickle=False)
    if not np.array_equal(store.rows([first, first + shard.rows - 1]), vectors[[0, -1]]):
        raise _other(store, plan)


def _other(store: VectorStore, plan: Plan) -> ArtifactError:
    return ArtifactError(
        f"the store {store.folder} ({len(store):,} rows) does not begin with the vectors of {plan.folder}; choose a new folder."
    )
