"""Every generated text is kept: the same request gives the same texts, without a second bill.

A store is one SQLite file in a folder (write-ahead log, synchronous=FULL: what was stored survives a killed process and a
power cut; two processes may use it at once, and the first text stored for a sample is the one that both get). A text is
kept under a blake2b hash of all that shapes it (generator, its parameters, prompt, temperature, max_tokens, seed) and the
sample's number, so that asking for n=4 after n=2 asks the generator for two. n itself is not part of the hash.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any

from mumei.core import files
from mumei.core.errors import ArtifactError, StorageError
from mumei.core.seeds import child
from mumei.retrieval.generators import (
    Call,
    Generated,
    GeneratorEmpty,
    GeneratorError,
    GeneratorMalformed,
    GeneratorRefusal,
    GeneratorTimeout,
    OnText,
    check_request,
    clean,
    totals,
)

FILE = "generations.sqlite"
APPLICATION = 0x6D756D67  # "mumg": whose file this is
VERSION = 1
LOCKS = 64  # within one process
BUSY = 30.0  # seconds to wait for another process
SCHEMA = """
CREATE TABLE IF NOT EXISTS generations (
    hash TEXT NOT NULL, sample INTEGER NOT NULL, model TEXT NOT NULL, parameters TEXT NOT NULL, prompt TEXT NOT NULL,
    query TEXT, text TEXT NOT NULL, digest TEXT NOT NULL, finish TEXT NOT NULL, sample_seed INTEGER, tokens INTEGER,
    milliseconds REAL, created REAL NOT NULL, PRIMARY KEY (hash, sample)
)
"""
COLUMNS = (
    "hash, sample, model, parameters, prompt, query, text, digest, finish, sample_seed, tokens, milliseconds, created"
)
INSERT = f"INSERT OR IGNORE INTO generations ({COLUMNS}) VALUES ({', '.join('?' * 13)})"  # noqa: S608 (constants)


@dataclass(frozen=True)
class Request:
    """What a text is made from; `parameters` holds temperature, max_tokens, n, seed, top_p, stop and the generator's own."""

    model: str
    prompt: str
    parameters: Mapping[str, Any]
    query: str | None = None
    by_query: bool = False  # whether the generator looks the query up

    @property
    def hash(self) -> str:
        """The blake2b hash (32 hex digits) of all that shapes the text."""
        shaping = {k: v for k, v in self.parameters.items() if k != "n"}
        if shaping.get("temperature") == 0:
            shaping.pop("seed", None)  # a greedy text has no chance in it
        content = [self.model, self.prompt, shaping, self.query if self.by_query else None]
        text = json.dumps(content, sort_keys=True, ensure_ascii=True, default=str)
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


class GenerationStore:
    """Generated texts in one SQLite file.

    Parameters
    ----------
    folder : path
        Made where missing; the file in it is `generations.sqlite`.

    Raises
    ------
    ArtifactError
        The file is damaged, of a newer version, or something else's; the message says what to do.
    StorageError
        The disk refuses, or another process holds the file for too long.

    Examples
    --------
    >>> from tempfile import mkdtemp
    >>> store = GenerationStore(mkdtemp())
    >>> store.summary()["texts"]
    0
    """

    def __init__(self, folder: str | os.PathLike[str]):
        self.folder = files.make_folder(Path(folder))
        self.path = self.folder / FILE
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._process = 0
        with self._using():
            pass

    def _open(self) -> sqlite3.Connection:
        # One connection for all threads, guarded by the lock: a network generator hands its texts over from its own thread.
        connection = sqlite3.connect(self.path, timeout=BUSY, isolation_level=None, check_same_thread=False)
        try:
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        self._process = os.getpid()
        weakref.finalize(self, connection.close)
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        application, version = (
            connection.execute(f"PRAGMA {p}").fetchone()[0] for p in ("application_id", "user_version")
        )
        tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if tables and application != APPLICATION:
            raise ArtifactError(f"{self.path} is another program's SQLite file; choose another folder for generations.")
        if version > VERSION:
            raise ArtifactError(
                f"{self.path} has version {version}, newer than this mumei knows ({VERSION}); update mumei, or choose "
                "another folder for generations."
            )
        _persist(lambda: connection.execute("PRAGMA journal_mode = WAL"))
        connection.execute("PRAGMA synchronous = FULL")
        if not tables:
            _persist(lambda: connection.execute("BEGIN IMMEDIATE"))
            connection.execute(SCHEMA)
            connection.execute(f"PRAGMA application_id = {APPLICATION}")
            connection.execute(f"PRAGMA user_version = {VERSION}")
            connection.execute("COMMIT")
        columns = {row[1] for row in connection.execute("PRAGMA table_info(generations)")}
        if columns != set(COLUMNS.split(", ")):
            raise ArtifactError(f"{self.path} lacks the table of generations. {self._remedy()}")

    @contextlib.contextmanager
    def _using(self) -> Iterator[sqlite3.Connection]:
        """Yield the connection, one thread at a time, and turn SQLite's errors into those that say what to do."""
        with self._lock:
            try:
                if self._connection is None or self._process != os.getpid():  # a forked child needs its own
                    self._connection = self._open()
                yield self._connection
            except sqlite3.OperationalError as error:
                said = str(error)
                if "malformed" in said or "disk I/O" in said:
                    raise self._damaged(said) from error
                raise StorageError(f"cannot use {self.path}: {_reason(said)}") from error
            except sqlite3.DatabaseError as error:
                raise self._damaged(str(error)) from error

    def _damaged(self, said: str) -> ArtifactError:
        return ArtifactError(f"the store of generations {self.path} is damaged ({said}). {self._remedy()}")

    def _remedy(self) -> str:
        return (
            "Move the file and those beside it (-wal, -shm) away: a new store begins, and its texts are asked for again. "
            f"What can be read may be saved with: sqlite3 {self.path} .recover"
        )

    def put(self, request: Request, sample: int, made: Generated) -> None:
        """Store one text, durably; where the sample is there already, the stored one stays."""
        text, query = clean(made.text), None if request.query is None else clean(request.query)
        parameters = json.dumps(dict(request.parameters), sort_keys=True, default=str)
        row = (
            request.hash, sample, request.model, parameters, clean(request.prompt), query, text, _digest(text),
            made.finish, made.seed, made.tokens, made.milliseconds, time.time(),
        )  # fmt: skip
        with self._using() as connection:
            connection.execute(INSERT, row)

    def get(self, hashes: Sequence[str], first: int, n: int) -> dict[str, dict[int, str]]:
        """Return the stored texts of samples `first` to `first + n - 1`, by hash and sample number.

        Raises
        ------
        ArtifactError
            A text is not what was stored.
        """
        found: dict[str, dict[int, str]] = {}
        with self._using() as connection:
            for key in dict.fromkeys(hashes):
                rows = connection.execute(
                    "SELECT sample, text, digest FROM generations WHERE hash = ? AND sample >= ? AND sample < ?",
                    (key, first, first + n),
                )
                for sample, text, digest in rows:
                    if _digest(text) != digest:
                        raise self._damaged(f"sample {sample} of {key} is not the text that was stored")
                    found.setdefault(key, {})[sample] = text
        return found

    def __len__(self) -> int:
        """Return the number of stored texts."""
        with self._using() as connection:
            return connection.execute("SELECT count(*) FROM generations").fetchone()[0]

    def summary(self) -> dict[str, Any]:
        """Return counts: `texts`, `requests`, `models` (texts of each), `tokens`, `milliseconds`, `bytes` on the disk."""
        with self._using() as connection:
            texts, requests, tokens, milliseconds = connection.execute(
                "SELECT count(*), count(DISTINCT hash), coalesce(sum(tokens), 0), coalesce(sum(milliseconds), 0) "
                "FROM generations"
            ).fetchone()
            models = dict(connection.execute("SELECT model, count(*) FROM generations GROUP BY model ORDER BY model"))
        size = sum(p.stat().st_size for p in self.folder.glob(FILE + "*") if p.is_file())
        return {
            "path": str(self.path), "texts": texts, "requests": requests, "models": models, "tokens": tokens,
            "milliseconds": milliseconds, "bytes": size,
        }  # fmt: skip

    def check(self) -> None:
        """Read the whole file and raise `ArtifactError` at the first damage."""
        with self._using() as connection:
            if (said := connection.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
                raise self._damaged(said)
            for key, sample, text, digest in connection.execute("SELECT hash, sample, text, digest FROM generations"):
                if _digest(text) != digest:
                    raise self._damaged(f"sample {sample} of {key} is not the text that was stored")

    def export(
        self,
        path: str | os.PathLike[str],
        *,
        model: str | None = None,
        seed: int | None = None,
        temperature: float | None = None,
    ) -> int:
        """Write the texts as JSONL that `Replay` reads; return how many.

        Parameters
        ----------
        path : path
            The file; it appears whole or not at all.
        model, seed, temperature
            Write only texts made so: give them where one query was asked with several settings, whose texts would stand
            beside each other.
        """
        written = 0
        with self._using() as connection, files.atomic_open(Path(path), "w") as handle:
            order = "ORDER BY query, prompt, hash, sample"
            for row in connection.execute(f"SELECT {COLUMNS} FROM generations {order}"):  # noqa: S608 (constants)
                line = dict(zip(COLUMNS.split(", "), row, strict=True))
                parameters = json.loads(line["parameters"])
                wanted = {"seed": seed, "temperature": temperature}
                if (model is not None and line["model"] != model) or any(
                    value is not None and parameters.get(name) != value for name, value in wanted.items()
                ):
                    continue
                out = {
                    k: line[k]
                    for k in ("prompt", "text", "model", "sample", "finish", "tokens", "milliseconds", "created")
                }
                out = {"query": line["query"] or line["prompt"], **out, "parameters": parameters}
                handle.write(json.dumps(out, ensure_ascii=False) + "\n")
                written += 1
        return written

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        with self._lock:
            if self._connection is not None and self._process == os.getpid():
                self._connection.close()
            self._connection = None

    def __enter__(self) -> GenerationStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _persist(call: Callable[[], Any]) -> None:
    """Do what SQLite refuses at once, without waiting, while another process opens the same file."""
    ends = time.monotonic() + BUSY
    while True:
        try:
            call()
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > ends:
                raise
            time.sleep(0.02)


def _reason(said: str) -> str:
    if "locked" in said or "busy" in said:
        return f"another process has held it for {BUSY:g} s; end that one, or run again later."
    if "full" in said:
        return "the disk is full; free some space and run the same command again. Texts stored so far are kept."
    if "readonly" in said or "unable to open" in said:
        return "no permission to write there; choose another folder for generations."
    return f"{said}."


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


class CachedGenerator:
    """A generator whose texts are stored: what was asked before is not asked again.

    Parameters
    ----------
    generator : Generator
        Any; those of this package hand each text over as it is finished, so that a killed process loses none.
    store : GenerationStore
        Where texts are kept.

    Attributes
    ----------
    hits, misses : int
        Texts found, and texts made.
    """

    def __init__(self, generator: Any, store: GenerationStore):
        self.generator, self.store = generator, store
        self.name: str = generator.name
        self.hits = self.misses = 0
        self._locks = [threading.Lock() for _ in range(LOCKS)]
        self._takes = set(signature(generator.generate).parameters)

    @property
    def log(self) -> list[Call]:
        """The inner generator's log; a text out of the store leaves no line."""
        return getattr(self.generator, "log", [])

    @property
    def notes(self) -> list[str]:
        """The inner generator's notes."""
        return getattr(self.generator, "notes", [])

    def totals(self) -> str:
        """Return one line: what was asked, and how many texts came out of the store."""
        return f"{totals(self.log)}; {self.hits} texts from the store"

    def generate(
        self,
        prompts: Sequence[str],
        *,
        n: int = 1,
        temperature: float = 1.0,
        max_tokens: int = 512,
        seed: int = 0,
        queries: Sequence[str] | None = None,
        first: int = 0,
        on_text: OnText | None = None,
        deadline: float | None = None,
    ) -> list[list[str]]:
        """Return n texts for each prompt: those stored, and new ones for the rest, which are stored as they are finished.

        The arguments are those of the package's generators; `deadline` (seconds) goes to one that takes it.

        Raises
        ------
        GeneratorError
            As the generator raises it; `finished` holds stored texts too, and new ones made before it failed are kept.
        """
        prompts = check_request(prompts, n, temperature, max_tokens, seed, queries, first)
        asked = {"temperature": float(temperature), "max_tokens": int(max_tokens), "n": int(n), "seed": int(seed)}
        asked = {"top_p": None, "stop": None, **getattr(self.generator, "parameters", {}), **asked}
        by_query = hasattr(self.generator, "lookup")
        given = [None] * len(prompts) if queries is None else list(queries)
        requests = [Request(self.name, p, asked, q, by_query) for p, q in zip(prompts, given, strict=True)]
        hashes = [r.hash for r in requests]
        ends = None if deadline is None else time.monotonic() + deadline
        found = self.store.get(hashes, first, n)
        try:
            if any(len(found.get(key, {})) < n for key in hashes):
                with self._alone(hashes, ends):
                    self._make(requests, hashes, first, n, ends)
                found = self.store.get(hashes, first, n)
            else:
                self.hits += n * len(hashes)
        except GeneratorError as error:
            found = self.store.get(hashes, first, n)
            finished = [[texts[k] for k in sorted(texts)] for texts in (found.get(key, {}) for key in hashes)]
            raise type(error)(str(error), finished=finished, failed=error.failed) from error
        if on_text is not None:
            for place, key in enumerate(hashes):
                for k in range(first, first + n):
                    on_text(place, k, Generated(found[key][k], finish="stored"))
        return [[found[key][k] for k in range(first, first + n)] for key in hashes]

    @contextlib.contextmanager
    def _alone(self, hashes: list[str], ends: float | None) -> Iterator[None]:
        """Hold the locks of some requests: two threads that ask the same thing at once pay once."""
        held: list[threading.Lock] = []
        try:
            for i in sorted(
                {int(key[:8], 16) % len(self._locks) for key in hashes}
            ):  # sorted: nobody waits in a circle
                if not self._locks[i].acquire(timeout=-1 if ends is None else max(ends - time.monotonic(), 0.0)):
                    raise GeneratorTimeout(f"{self.name}: another thread asks the same, and the deadline has passed.")
                held.append(self._locks[i])
            yield
        finally:
            for lock in held:
                lock.release()

    def _make(self, requests: list[Request], hashes: list[str], first: int, n: int, ends: float | None) -> None:
        """Ask for what is missing: one call for all prompts that lack the same samples, the same prompt once."""
        found = self.store.get(hashes, first, n)
        self.hits += sum(len(found.get(key, {})) for key in hashes)
        groups: dict[tuple[int, int], dict[str, Request]] = {}
        for request, key in zip(requests, hashes, strict=True):
            missing = [k for k in range(first, first + n) if k not in found.get(key, {})]
            for start, count in _stretches(missing):
                groups.setdefault((start, count), {})[key] = request
        errors: list[GeneratorError] = []
        failed: dict[str, GeneratorError] = {}
        for (start, count), wanted in sorted(groups.items()):
            try:
                self._call(list(wanted.values()), start, count, ends)
            except GeneratorError as error:
                errors.append(error)
                failed.update({list(wanted)[place]: why for place, why in error.failed.items()})
                if not isinstance(error, (GeneratorRefusal, GeneratorEmpty)):
                    break  # the server's fault: the other prompts would fare no better
        if errors:
            errors[-1].failed = {place: failed[key] for place, key in enumerate(hashes) if key in failed}
            raise errors[-1]

    def _call(self, requests: list[Request], first: int, count: int, ends: float | None) -> None:
        def keep(place: int, sample: int, made: Generated) -> None:
            self.store.put(requests[place], sample, made)
            self.misses += 1

        asked = requests[0].parameters
        options: dict[str, Any] = {k: asked[k] for k in ("temperature", "max_tokens", "seed")}
        queries = [r.query for r in requests]
        if "queries" in self._takes and None not in queries:
            options["queries"] = queries
        if "deadline" in self._takes and ends is not None:
            options["deadline"] = max(ends - time.monotonic(), 0.001)
        if "first" in self._takes:
            options["first"] = first
        elif first > 0 and asked["temperature"] > 0:
            options["seed"] = child(
                options["seed"], "sample", first
            )  # another seed: the first samples are stored already
        if "on_text" in self._takes:
            options["on_text"] = keep
        began = time.perf_counter()
        made = self.generator.generate([r.prompt for r in requests], n=count, **options)
        if len(made) != len(requests) or any(len(texts) != count for texts in made):
            raise GeneratorMalformed(f"{self.name} did not return {len(requests)} lists of {count} texts.")
        share = 1000 * (time.perf_counter() - began) / (count * len(requests))
        if "on_text" not in self._takes:
            for place, texts in enumerate(made):
                for i, text in enumerate(texts):
                    keep(place, first + i, Generated(text, milliseconds=share, seed=options["seed"]))


def _stretches(numbers: list[int]) -> Iterator[tuple[int, int]]:
    """Yield (start, count) of each run of consecutive numbers.

    >>> list(_stretches([2, 3, 4, 7]))
    [(2, 3), (7, 1)]
    """
    start = 0
    for i in range(1, len(numbers) + 1):
        if i == len(numbers) or numbers[i] != numbers[i - 1] + 1:
            yield numbers[start], i - start
            start = i
