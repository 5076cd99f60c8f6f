"""Vectors that were made once: an encoder that looks a text up before it encodes it.

The folder of a model (named by a hash of the encoder's name) has two append-only files:

- `vectors.f32`: the vectors, one after another.
- `keys.bin`: a record of 24 bytes for each: the text's blake2b (16 bytes), the vector's CRC-32, and zeros.

Vectors are appended first, then their keys, under a lock on `keys.bin`. A process that is killed leaves vectors without keys, or
a key's first bytes; the next writer cuts both files to what is whole, and readers never look past it. A vector whose CRC does
not match (a power cut, a damaged disk) is encoded and appended again. Nothing is flushed to the disk at each call: the cache
can always be made again.

Memory: 24 bytes for each kept text (its hash and row), and about three times that while new ones are sorted in; vectors stay
on the disk. `limit` bounds both: 4 million texts are 96 MB of memory and, at 384 dimensions, 6 GB of disk.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
import weakref
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from mumei.core.errors import ArtifactError, UsageError
from mumei.core.fetch import cache_folder
from mumei.core.files import make_folder, read_json, storage_error, write_json
from mumei.retrieval.batching import check_texts

if TYPE_CHECKING:
    import numpy as np

RECORD = 24  # bytes of a key
LIMIT = 4_000_000  # texts
RECENT = 65_536  # new keys that are looked up in a dict before they are sorted in with the others


class CachedEncoder:
    """An encoder that keeps what it has encoded.

    Parameters
    ----------
    encoder : Encoder
        Of texts. Its `name` says what made the vectors: another name has another folder.
    folder : path, optional
        Where vectors are kept; `vectors` in `MUMEI_CACHE` or the user's cache folder by default.
    limit : int
        Texts kept at most. Beyond it, new texts are encoded and not kept, and `full` is True.

    Attributes
    ----------
    hits, misses : int
        Texts answered from the cache (or from the same call), and texts encoded.

    Raises
    ------
    ArtifactError
        The folder is of another encoder.
    UsageError
        `limit` is negative.

    Notes
    -----
    Several processes, and threads, may use one folder. Queries have records of their own where the encoder encodes them in
    another way. A vector that was encoded beside other texts is returned as it was: encoders differ by rounding there.
    """

    def __init__(self, encoder: Any, folder: str | os.PathLike[str] | None = None, *, limit: int = LIMIT):
        if limit < 0:
            raise UsageError(f"limit={limit} is not allowed; give 0 or more.")
        self.encoder = encoder
        root = cache_folder() / "vectors" if folder is None else Path(folder)
        self.folder = root / hashlib.blake2b(encoder.name.encode(), digest_size=8).hexdigest()
        self._kept = _Kept(self.folder, encoder.name, encoder.dim, limit)
        self._lock = threading.Lock()
        self.hits = self.misses = 0

    @property
    def name(self) -> str:
        """The encoder's name: the vectors are the same."""
        return self.encoder.name

    @property
    def dim(self) -> int:
        """The encoder's dimension."""
        return self.encoder.dim

    @property
    def normalized(self) -> bool:
        """Whether the encoder's rows have unit length; False where it does not say."""
        return getattr(self.encoder, "normalized", False)

    @property
    def full(self) -> bool:
        """Whether `limit` is reached, so that new vectors are not kept."""
        return len(self._kept) >= self._kept.limit

    def encode(
        self, items: Sequence[str], *, batch_size: int | None = None, progress: Callable[[int], Any] | None = None
    ) -> np.ndarray:
        """Return the vectors of n texts, float32 (n, dim): those that are kept, and the others encoded and kept."""
        return self._look_up(self.encoder.encode, b"d", items, batch_size, progress)

    def encode_queries(
        self, items: Sequence[str], *, batch_size: int | None = None, progress: Callable[[int], Any] | None = None
    ) -> np.ndarray:
        """Return the vectors of n questions as `encode` does, by the encoder's own way for them if it has one."""
        own = getattr(self.encoder, "encode_queries", None)
        return self._look_up(own or self.encoder.encode, b"q" if own else b"d", items, batch_size, progress)

    def _look_up(
        self,
        encode: Callable[..., np.ndarray],
        kind: bytes,
        items: Sequence[str],
        batch_size: int | None,
        progress: Callable[[int], Any] | None,
    ) -> np.ndarray:
        import numpy as np

        texts = check_texts(items)
        keys = [text_key(kind, text) for text in texts]
        vectors = np.empty((len(texts), self.dim), dtype=np.float32)
        with self._lock:
            missing = self._kept.read(keys, vectors)
        first: dict[bytes, int] = {}  # an item that occurs twice is encoded once
        for i in missing:
            first.setdefault(keys[i], i)
        self.misses += len(first)
        self.hits += len(texts) - len(first)
        if progress is not None and len(texts) > len(first):
            progress(len(texts) - len(first))
        if first:
            made = encode([texts[i] for i in first.values()], batch_size=batch_size, progress=progress)
            place = {key: j for j, key in enumerate(first)}
            vectors[missing] = made[[place[keys[i]] for i in missing]]
            with self._lock:
                self._kept.append(list(first), np.ascontiguousarray(made, dtype=np.float32))
        return vectors

    def close(self) -> None:
        """Close the files; they are opened again when they are needed."""
        with self._lock:
            self._kept.close()


def text_key(kind: bytes, text: str) -> bytes:
    """Return the 16 bytes that stand for a text: its blake2b, with the kind of encoding as the person."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16, person=kind).digest()


class _Kept:
    """The two files and where each key's vector lies in them."""

    def __init__(self, folder: Path, name: str, dim: int, limit: int):
        import numpy as np

        self.folder, self.dim, self.limit = folder, dim, limit
        self.row_bytes = 4 * dim
        make_folder(folder)
        self._check_owner(name)
        self._files: dict[str, IO[bytes]] = {}
        weakref.finalize(self, _close, self._files)
        self._sorted = np.empty(0, dtype="S16")
        self._rows = np.empty(0, dtype=np.int64)
        self._recent: dict[bytes, int] = {}
        self._seen = 0  # records looked at

    def __len__(self) -> int:
        return self._seen

    def _check_owner(self, name: str) -> None:
        owner, path = {"encoder": name, "dim": self.dim}, self.folder / "owner.json"
        if not path.exists():
            write_json(path, owner)
        elif (found := read_json(path)) != owner:
            raise ArtifactError(
                f"{self.folder} keeps vectors of {found.get('encoder')!r} with {found.get('dim')} dimensions, and these are of "
                f"{name!r} with {self.dim}; choose another folder, or remove that one."
            )

    def _file(self, name: str) -> IO[bytes]:
        if name not in self._files:
            try:
                self._files[name] = open(self.folder / name, "a+b", buffering=0)
            except OSError as error:
                raise storage_error(error, self.folder / name) from error
        return self._files[name]

    @property
    def _keys_file(self) -> IO[bytes]:
        return self._file("keys.bin")

    @property
    def _vectors_file(self) -> IO[bytes]:
        return self._file("vectors.f32")

    def close(self) -> None:
        _close(self._files)

    def _whole(self) -> int:
        """Return how many records are complete in both files."""
        keys = os.fstat(self._keys_file.fileno()).st_size // RECORD
        return min(keys, os.fstat(self._vectors_file.fileno()).st_size // self.row_bytes)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            import fcntl
        except ImportError:  # a platform without flock: two writers at once are the user's to avoid there
            yield
            return
        fcntl.flock(self._keys_file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._keys_file, fcntl.LOCK_UN)

    def refresh(self) -> None:
        """Take in the keys that this or another process has appended."""
        import numpy as np

        whole = min(self._whole(), self.limit)
        if whole < self._seen:  # another process cut a damaged file: what was beyond the cut is gone
            self._sorted, self._rows, self._recent, self._seen = self._sorted[:0], self._rows[:0], {}, 0
        if whole == self._seen:
            return
        content = _read_at(self._keys_file, (whole - self._seen) * RECORD, self._seen * RECORD)
        new = np.frombuffer(content, dtype=[("key", "S16"), ("rest", "V8")])["key"]
        start, self._seen = self._seen, self._seen + len(new)
        if len(self._recent) + len(new) <= RECENT:
            self._recent.update(
                zip((key.ljust(16, b"\0") for key in new.tolist()), range(start, self._seen), strict=True)
            )
            return
        recent = np.array(list(self._recent), dtype="S16")
        places = np.fromiter(self._recent.values(), dtype=np.int64, count=len(self._recent))
        keys = np.concatenate([self._sorted, recent, new])
        rows = np.concatenate([self._rows, places, np.arange(start, self._seen)])
        # A text that was appended again (its first vector was damaged) is found at its last row.
        order = np.lexsort((rows, keys))
        last = np.append(keys[order][1:] != keys[order][:-1], True)
        self._sorted, self._rows, self._recent = keys[order][last], rows[order][last], {}

    def _places(self, keys: list[bytes]) -> np.ndarray:
        """Return each key's row, -1 where it is not kept."""
        import numpy as np

        wanted = np.array(keys, dtype="S16")
        rows = np.full(len(keys), -1, dtype=np.int64)
        if len(self._sorted):
            at = np.minimum(np.searchsorted(self._sorted, wanted), len(self._sorted) - 1)
            rows = np.where(self._sorted[at] == wanted, self._rows[at], -1)
        for i, key in enumerate(keys):
            rows[i] = self._recent.get(key, int(rows[i]))
        return rows

    def read(self, keys: list[bytes], out: np.ndarray) -> list[int]:
        """Fill `out` with the vectors that are kept; return the places of those that are not."""
        import numpy as np

        if not keys:
            return []
        self.refresh()
        rows = self._places(keys)
        missing = np.flatnonzero(rows < 0).tolist()
        for i in np.flatnonzero(rows >= 0).tolist():
            if not self._read_row(int(rows[i]), keys[i], out[i]):
                missing.append(i)
        return sorted(missing)

    def _read_row(self, row: int, key: bytes, out: np.ndarray) -> bool:
        """Fill `out` with a row's vector; False where it is damaged, or is another text's since somebody cut the files."""
        import numpy as np

        vector = _read_at(self._vectors_file, self.row_bytes, row * self.row_bytes)
        record = _read_at(self._keys_file, 20, row * RECORD)
        if len(vector) != self.row_bytes or record != key + zlib.crc32(vector).to_bytes(4, "little"):
            return False
        out[:] = np.frombuffer(vector, dtype=np.float32)
        return True

    def append(self, keys: list[bytes], vectors: np.ndarray) -> None:
        """Keep new vectors, as many as the limit allows."""
        with self._writing():
            whole = self._whole()
            for file, size in ((self._vectors_file, self.row_bytes), (self._keys_file, RECORD)):
                if os.fstat(file.fileno()).st_size != whole * size:
                    os.ftruncate(file.fileno(), whole * size)  # what a killed writer left incomplete
            room = max(0, self.limit - whole)
            vectors, keys = vectors[:room], keys[:room]
            records = [
                key + zlib.crc32(row.tobytes()).to_bytes(4, "little") + bytes(RECORD - 20)
                for key, row in zip(keys, vectors, strict=True)
            ]
            try:
                _write_all(self._vectors_file, vectors.tobytes())
                _write_all(self._keys_file, b"".join(records))
            except OSError as error:
                raise storage_error(error, self.folder) from error
        self.refresh()


def _close(files: dict[str, IO[bytes]]) -> None:
    while files:
        files.popitem()[1].close()


def _read_at(file: IO[bytes], size: int, offset: int) -> bytes:
    file.seek(offset)
    return file.read(size)


def _write_all(file: IO[bytes], content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[file.write(view) :]
