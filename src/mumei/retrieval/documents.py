"""Documents on the disk: Parquet parts of `PART` rows with an index from id to row.

Columns: id, title, text, metadata (a JSON object as text) and hash (of title and text, then of the metadata). Each part is
written in groups of `GROUP` rows, so that fetching a row reads one group. The last part is rewritten when rows are added, under
a new name: a store that is open goes on reading the old one.

A store's `state` (JSON values) names its files. Whoever owns the store writes the state into its own manifest; a file that no
state names is worth nothing, so that a crash leaves what the last manifest says.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import re
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mumei.core.errors import ArtifactError, DataError, UsageError, unknown
from mumei.core.files import atomic_path, make_folder, sha256_file, sweep
from mumei.retrieval.expression import parse
from mumei.retrieval.ids import RUN, IdIndex, hash_ids

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

PART = 4096
GROUP = 256
MAX_FIELDS = 1000  # metadata keys that are remembered; with more, a key nobody has is not recognised as wrong
CACHED = 64  # parts whose ids and hashes are kept in memory
COLUMNS = ("id", "title", "text", "metadata")
EMPTY = {"serial": 0, "parts": [], "runs": [], "fields": []}
_BAD = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff]")


@dataclass(frozen=True)
class Document:
    """What is found: an id of its own, a title, a text, and JSON values to choose by (`year`, `journal`, ...)."""

    id: str
    title: str = ""
    text: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)


def join_text(title: str, text: str) -> str:
    """Return what is encoded and indexed: title and text, or the text alone where it begins with the title.

    Examples
    --------
    >>> join_text("Statins", "They lower LDL."), join_text("Statins", "Statins lower LDL.")
    ('Statins. They lower LDL.', 'Statins lower LDL.')
    """
    return f"{title}. {text}" if title and not text.startswith(title) else text


@dataclass(frozen=True, slots=True)
class Prepared:
    """A document that was checked, in the form that is stored. `cleaned`: characters that are no text were replaced."""

    id: str
    title: str
    text: str
    metadata: str
    fields: tuple[str, ...]
    hash: bytes
    cleaned: bool

    @property
    def joined(self) -> str:
        """What is encoded and indexed."""
        return join_text(self.title, self.text)

    @property
    def empty(self) -> bool:
        """Whether there is nothing to encode."""
        return not self.title.strip() and not self.text.strip()


def prepare(document: Document, place: int) -> Prepared:
    """Check a document and clean its texts: control characters become spaces, half surrogate pairs become U+FFFD.

    Parameters
    ----------
    document : Document
    place : int
        Its number in the source, for messages.

    Raises
    ------
    DataError
        The id is empty or has such characters (an id is never altered), a part is not text, or the metadata has no JSON form.
    """
    for name in ("id", "title", "text"):
        value = getattr(document, name)
        if not isinstance(value, str):
            raise DataError(f"document {place}: its {name} is {type(value).__name__} ({value!r:.40}), not text.")
    if not document.id.strip() or _BAD.search(document.id):
        raise DataError(
            f"document {place}: the id {document.id!r:.80} is empty or has control characters or half surrogate pairs; "
            "give each document an id of its own."
        )
    title, text = _clean(document.title), _clean(document.text)
    metadata = _metadata(document, place)
    stored = _clean(metadata)
    content = json.dumps([title, text]).encode()
    digest = (
        hashlib.blake2b(content, digest_size=16).digest() + hashlib.blake2b(stored.encode(), digest_size=16).digest()
    )
    cleaned = (title, text, stored) != (document.title, document.text, metadata)
    fields = tuple(_clean(str(name)) for name in document.metadata or {})
    return Prepared(document.id, title, text, stored, fields, digest, cleaned)


def _clean(text: str) -> str:
    if text.isprintable():  # the quick way for most texts
        return text
    return _BAD.sub(lambda found: "\ufffd" if found.group() >= "\ud800" else " ", text)


def _metadata(document: Document, place: int) -> str:
    """Return the metadata as JSON text; dates become ISO texts, NumPy numbers plain ones."""
    metadata = document.metadata or {}
    if not isinstance(metadata, Mapping):
        raise DataError(
            f"document {place}: its metadata is {type(metadata).__name__}, not a mapping of names to values."
        )
    if not all(isinstance(name, str) for name in metadata):
        raise DataError(f"document {place} ({document.id!r}): a name in its metadata is not text.")
    try:
        return json.dumps(dict(metadata), default=_plain, ensure_ascii=False, allow_nan=False, sort_keys=True)
    except (TypeError, ValueError, RecursionError) as error:
        raise DataError(
            f"document {place} ({document.id!r}): its metadata has no JSON form ({error}); give texts, numbers, truth values, "
            "lists and mappings, and leave out what is missing."
        ) from error


def _plain(value: Any) -> Any:
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, Mapping):
        return dict(value)
    if hasattr(value, "tolist"):  # NumPy's numbers and arrays
        return value.tolist()
    raise TypeError(f"{type(value).__name__} {value!r:.40}")


class DocumentStore:
    """Documents in rows. A store does not change: `extended` and `settled` write files and return a new one.

    Parameters
    ----------
    folder : path
    state : dict, optional
        What `state` of an earlier store was; an empty store by default.
    """

    def __init__(self, folder: Path | str, state: dict[str, Any] | None = None):
        self.folder = Path(folder)
        self.state: dict[str, Any] = EMPTY if state is None else state
        self._rows = sum(part["rows"] for part in self.state["parts"])
        self._ids: IdIndex | None = None
        self._cache: OrderedDict[str, tuple[list[str], list[bytes]]] = OrderedDict()

    def __len__(self) -> int:
        return self._rows

    # --- reading ---

    def _file(self, part: dict[str, Any]) -> Any:
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = self.folder / part["file"]
        try:
            file = pq.ParquetFile(path)
            if file.metadata.num_rows == part["rows"]:
                return file
            reason = f"{file.metadata.num_rows} rows instead of {part['rows']}"
        except (OSError, pa.ArrowException) as error:
            reason = str(error).splitlines()[0]
        raise ArtifactError(f"{path} cannot be read ({reason:.200}); restore it, or make the collection anew.")

    def _read(self, part: dict[str, Any], columns: Sequence[str], groups: Sequence[int] | None = None) -> pa.Table:
        import pyarrow as pa

        file = self._file(part)
        try:
            with file:
                every = range(file.num_row_groups)
                return file.read_row_groups(list(every if groups is None else groups), columns=list(columns))
        except (OSError, pa.ArrowException) as error:
            raise ArtifactError(
                f"{self.folder / part['file']} is damaged ({str(error).splitlines()[0]:.200}); restore it, or make the "
                "collection anew."
            ) from error

    def items(self, columns: Sequence[str] = COLUMNS, first: int = 0) -> Iterator[tuple[int, pa.Table]]:
        """Yield (first row, table) in order from row `first` on, a part at a time."""
        for i in range(first // PART, len(self.state["parts"])):
            table = self._read(self.state["parts"][i], columns)
            skipped = max(first - i * PART, 0)
            yield i * PART + skipped, table.slice(skipped)

    def rows(self, wanted: Any, columns: Sequence[str] = COLUMNS) -> list[dict[str, Any]]:
        """Return some rows as dicts in the order asked (`row` and the columns); only the groups that hold them are read."""
        import numpy as np

        for name in columns:
            if name not in (*COLUMNS, "hash"):
                raise unknown("column", name, COLUMNS)
        wanted = np.asarray(wanted, dtype=np.int64)
        if wanted.size and (wanted.min() < 0 or wanted.max() >= len(self)):
            raise UsageError(f"row numbers from {wanted.min()} to {wanted.max()} were asked of {len(self)} rows.")
        found: dict[int, dict[str, Any]] = {}
        for part in np.unique(wanted // PART).tolist():
            here = np.unique(wanted[wanted // PART == part] % PART)
            groups = np.unique(here // GROUP)
            table = self._read(self.state["parts"][part], columns, groups.tolist())
            picked = table.take(here % GROUP + np.searchsorted(groups, here // GROUP) * GROUP).to_pylist()
            for row, values in zip((part * PART + here).tolist(), picked, strict=True):
                if "metadata" in values:
                    values["metadata"] = json.loads(values["metadata"])
                found[row] = {"row": row, **values}
        return [found[row] for row in wanted.tolist()]

    def texts(self, first: int = 0) -> Iterator[str]:
        """Yield what is indexed of each row: title and text."""
        for _, table in self.items(("title", "text"), first):
            yield from map(join_text, table["title"].to_pylist(), table["text"].to_pylist())

    def _names(self, part: int) -> tuple[list[str], list[bytes]]:
        """Return the ids and hashes of a part."""
        entry = self.state["parts"][part]
        if entry["file"] not in self._cache:
            table = self._read(entry, ("id", "hash"))
            self._cache[entry["file"]] = table["id"].to_pylist(), table["hash"].to_pylist()
            while len(self._cache) > CACHED:
                self._cache.popitem(last=False)
        self._cache.move_to_end(entry["file"])
        return self._cache[entry["file"]]

    def hash_of(self, row: int) -> bytes:
        """Return the hash of a row's content."""
        return self._names(row // PART)[1][row % PART]

    @property
    def ids(self) -> IdIndex:
        """The index from ids to rows."""
        import numpy as np

        if self._ids is None:
            index = IdIndex(self.folder, self.state["runs"])
            behind = [hash_ids(t["id"].to_pylist()) for _, t in self.items(("id",), index.covered)]
            self._ids = index.extended(np.concatenate(behind)) if behind else index
        return self._ids

    def row_of(self, ids: Sequence[str], live: np.ndarray | None = None) -> np.ndarray:
        """Return the row of each id, (n,) int64, -1 where there is none; `live` is a mask of the rows that count."""
        import numpy as np

        rows = np.full(len(ids), -1, dtype=np.int64)
        which, candidates = self.ids.candidates(hash_ids(ids))
        order = np.argsort(candidates, kind="stable")
        for i, row in zip(which[order].tolist(), candidates[order].tolist(), strict=True):
            if (live is None or live[row]) and self._names(row // PART)[0][row % PART] == ids[i]:
                rows[i] = row
        return rows

    def where(self, expression: str) -> np.ndarray:
        """Return which rows an expression holds for, (n,) bool; see `mumei.retrieval.expression`.

        Raises
        ------
        UsageError
            The syntax is wrong, or no document has such a field.
        """
        import numpy as np

        parsed = parse(expression)
        if len(self.state["fields"]) < MAX_FIELDS:
            parsed.check({"id", "title", "text", *self.state["fields"]})
        own = [name for name in ("id", "title", "text") if name in parsed.fields]
        needs_metadata = bool(parsed.fields - set(own))
        columns = own + (["metadata"] if needs_metadata or not own else [])
        mask = np.zeros(len(self), dtype=bool)
        for first, table in self.items(columns):
            lists = [table[name].to_pylist() for name in columns]
            for i, values in enumerate(zip(*lists, strict=True)):
                row = dict(zip(own, values, strict=False))
                mask[first + i] = parsed.test({**json.loads(values[-1]), **row} if needs_metadata else row)
        return mask

    # --- writing ---

    def extended(self, documents: Sequence[Prepared]) -> DocumentStore:
        """Write documents as the rows after the last; return the store that has them."""
        return self.with_table(_table(documents), {name for d in documents for name in d.fields})

    def with_table(self, table: pa.Table, fields: set[str]) -> DocumentStore:
        """Write rows of another store (all columns, hash included) as the rows after the last."""
        import pyarrow as pa

        make_folder(self.folder)
        state = {**self.state, "parts": list(self.state["parts"])}
        ids = self.ids.extended(hash_ids(table["id"].to_pylist()))
        if self._rows % PART:
            table = pa.concat_tables([self._read(state["parts"].pop(), table.column_names).cast(table.schema), table])
        for start in range(0, len(table), PART):
            state["serial"] += 1
            path = self.folder / f"part-{state['serial']:08d}.parquet"
            state["parts"].append(_write_part(path, table.slice(start, PART)))
        state["fields"] = sorted({*state["fields"], *fields})[:MAX_FIELDS]
        return self._with(state, ids)

    def _with(self, state: dict[str, Any], ids: IdIndex) -> DocumentStore:
        store = DocumentStore(self.folder, state)
        store._cache, store._ids = self._cache, ids
        return store

    def settled(self, least: int | None = None) -> DocumentStore:
        """Return the store with its index of ids on the disk, but for fewer than `least` (`RUN`) rows at the end."""
        state = dict(self.state)

        def name() -> str:
            state["serial"] += 1
            return f"ids-{state['serial']:08d}.npy"

        ids = self.ids.written(name, RUN if least is None else least)
        state["runs"] = ids.runs
        return self._with(state, ids)

    def reindexed(self) -> DocumentStore:
        """Return the store with its index of ids made anew from the documents."""
        return DocumentStore(self.folder, {**self.state, "runs": []}).settled(least=1)

    def sweep(self) -> None:
        """Remove files that the state does not name; for the writer, when nobody reads an earlier state."""
        sweep(self.folder)
        named = {entry["file"] for entry in (*self.state["parts"], *self.state["runs"])}
        for path in [*self.folder.glob("part-*.parquet"), *self.folder.glob("ids-*.npy")]:
            if path.name not in named:
                path.unlink(missing_ok=True)

    def verify(self) -> list[tuple[str, str]]:
        """Return (file, what is wrong) for each file that is not what was written."""
        found = []
        for entry in (*self.state["parts"], *self.state["runs"]):
            if reason := differs(self.folder / entry["file"], entry):
                found.append((entry["file"], reason))
        return found


def differs(path: Path, entry: dict[str, Any]) -> str:
    """Return how a file differs from what its entry (`bytes`, `sha256`) says, or an empty string."""
    try:
        size = path.stat().st_size
        if size != entry["bytes"]:
            return f"has {size:,} bytes instead of {entry['bytes']:,}"
        return "" if sha256_file(path) == entry["sha256"] else "its content was altered"
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read ({error.strerror})"


def _table(documents: Sequence[Prepared]) -> pa.Table:
    import pyarrow as pa

    # Large strings: the texts of a part may pass 2 GB together.
    kinds = {**dict.fromkeys(COLUMNS, pa.large_string()), "hash": pa.binary(32)}
    return pa.table({name: pa.array([getattr(d, name) for d in documents], kind) for name, kind in kinds.items()})


def _write_part(path: Path, table: pa.Table) -> dict[str, Any]:
    import pyarrow.parquet as pq

    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, compression="zstd", row_group_size=GROUP)
    return {"file": path.name, "rows": len(table), "bytes": path.stat().st_size, "sha256": sha256_file(path)}
