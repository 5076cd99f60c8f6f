"""A searchable collection of documents that grows, changes and shrinks: documents, vectors and words under one manifest.

    collection.json    the single truth: format, encoder, rows, files of the documents, deleted rows, source notes
    documents/         Parquet parts and the index of ids       (`documents.DocumentStore`)
    vectors/           one vector a row                         (`index.VectorStore`)
    words/             BM25 over title and text                 (`lexical.LexicalIndex`)
    deleted-*.npy      one bit a row: deleted, or replaced by a later row

Row numbers are stable until `compact`. A write puts vectors and documents on the disk, then swaps the manifest: what the manifest
does not name is forgotten when the next writer comes, so that a crash at any moment leaves the collection before or after the
write. Words are derived from the documents and follow at the end of an `add`; a cut before that is made good by the next writer,
and until then `words_behind` says by how many rows.

One process writes at a time. Readers never wait: a `Collection` goes on showing the state it was opened in (`reload` shows the
present one), and files of that state are kept while it is open.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mumei.core.errors import ArtifactError, UsageError
from mumei.core.files import atomic_open, make_folder, read_json, sha256_file, sweep, write_json
from mumei.core.progress import SILENT, Progress
from mumei.retrieval.documents import COLUMNS, Document, DocumentStore
from mumei.retrieval.locks import Reader, make_locks, writing
from mumei.retrieval.views import VectorView, WordView

if TYPE_CHECKING:
    import numpy as np

    from mumei.retrieval.adding import Added
    from mumei.retrieval.upkeep import Damage

FORMAT = 1
MANIFEST = "collection.json"


class Collection:
    """A folder of documents that can be searched. `create` makes one, `open` opens one.

    Examples
    --------
    >>> import tempfile
    >>> from mumei.retrieval.documents import Document
    >>> folder = tempfile.mkdtemp() + "/notes"
    >>> notes = Collection.create(folder, "minilm")
    >>> notes.add([Document("a", "Statins", "They lower LDL."), Document("b", "Warfarin", "It thins the blood.")]).added
    2
    >>> notes.words.search("LDL", 1)[0], len(Collection.open(folder))
    ([0], 2)
    """

    def __init__(self, folder: Path, encoder: Any = None):
        self.folder = folder
        self._share = Reader(folder)
        self._adopt(read_manifest(folder))
        self._encoder = None
        if encoder is not None:
            self._encoder = _fitting(self.manifest, encoder, folder)

    @classmethod
    def create(
        cls, folder: Path | str, encoder: Any = None, *, source: dict[str, Any] | None = None, analyzer: str = "words"
    ) -> Collection:
        """Make an empty collection.

        Parameters
        ----------
        folder : path
            Made if missing; it must be empty.
        encoder : str or Encoder, optional
            A name for `text_encoder` (None is the embedded model), or an encoder, which `open` must then be given again unless
            it is one that `text_encoder` makes.
        source : dict, optional
            Notes on where the documents come from (JSON values), kept in the manifest.
        analyzer : {"words", "plain"}
            How texts become words; see `mumei.retrieval.analyzers`.
        """
        from mumei.retrieval.analyzers import analyzer as known_analyzer
        from mumei.retrieval.remake import how_to_make, make_encoder

        known_analyzer(analyzer)
        made = make_encoder(encoder) if encoder is None or isinstance(encoder, str) else encoder
        folder = make_folder(folder)
        if any(not path.name.startswith(".") for path in folder.iterdir()):
            what = "a collection already; open it" if (folder / MANIFEST).exists() else "not empty; it was left alone"
            raise UsageError(f"{folder} is {what}, or choose another folder.")
        make_locks(folder)
        with writing(folder):
            if (folder / MANIFEST).exists():
                raise UsageError(f"{folder} is a collection already; open it, or choose another folder.")
            how = encoder if isinstance(encoder, str) else how_to_make(made)
            write_json(folder / MANIFEST, _first_manifest(made, how, source or {}, analyzer))
        return cls(folder, made)

    @classmethod
    def open(cls, folder: Path | str, encoder: Any = None) -> Collection:
        """Open a collection.

        Parameters
        ----------
        folder : path
        encoder : str or Encoder, optional
            The encoder that made it; by default it is made anew from the manifest when it is first needed.

        Raises
        ------
        ArtifactError
            There is no collection, it is damaged, or it was made by another encoder.
        """
        from mumei.retrieval.remake import make_encoder

        folder = Path(folder)
        read_manifest(folder)
        return cls(folder, make_encoder(encoder) if isinstance(encoder, str) else encoder)

    def _adopt(self, manifest: dict[str, Any], documents: DocumentStore | None = None, dead: Any = None) -> None:
        """Take a manifest as the present state."""
        self.refresh()
        self.manifest = manifest
        if documents is None:
            documents = DocumentStore(self.path("documents"), manifest["documents"])
        self._documents = documents
        self._dead = dead
        if len(self._documents) != manifest["rows"]:
            raise ArtifactError(
                f"{self.folder / MANIFEST} contradicts itself; restore it, or make the collection anew."
            )

    def refresh(self) -> None:
        """Forget what is open; it is opened again when it is needed."""
        for name in ("vectors", "words", "live"):
            self.__dict__.pop(name, None)

    def reload(self) -> Collection:
        """Show the present state, with what was written since this was opened; returns itself."""
        self._adopt(read_manifest(self.folder))
        return self

    def close(self) -> None:
        """Let a writer remove the files of this state; the collection must not be used afterwards."""
        self._share.close()

    def path(self, part: str, generation: int | None = None) -> Path:
        """Return where "documents", "vectors" or "words" lie: a compacted collection has new folders."""
        generation = self.manifest["generation"] if generation is None else generation
        return self.folder / (f"{part}-{generation}" if generation else part)

    # --- reading ---

    def __len__(self) -> int:
        return self.manifest["rows"] - self.manifest["dead"]["rows"]

    @property
    def total(self) -> int:
        """How many rows there are, deleted ones included: row numbers go from 0 to here."""
        return self.manifest["rows"]

    @cached_property
    def live(self) -> np.ndarray:
        """Which rows are live, (n,) bool, read-only."""
        import numpy as np

        live = ~self._read_dead()
        live.setflags(write=False)
        return np.asarray(live)

    def _read_dead(self) -> np.ndarray:
        import numpy as np

        if self._dead is None:
            self._dead = np.zeros(self.total, dtype=bool)
            if self.manifest["dead"]["rows"]:
                path = self.folder / self.manifest["dead"]["file"]
                try:
                    bits = np.load(path, allow_pickle=False)
                except (OSError, ValueError) as error:
                    raise ArtifactError(
                        f"{path} cannot be read ({error}); restore it, or make the collection anew."
                    ) from error
                self._dead = np.unpackbits(bits, count=self.total).astype(bool)
        return self._dead

    @cached_property
    def vectors(self) -> VectorView:
        """The live rows' vectors: `len`, `rows`, `search`, `live`, `model`, `dim`."""
        return VectorView(self.open_vectors(), self.total, self.live)

    def open_vectors(self, partly: bool = False) -> Any:
        """Return the store of all vectors; one with too few rows is an error, unless it may have a part of them only."""
        from mumei.retrieval.index import VectorStore

        encoder = self.manifest["encoder"]
        store = VectorStore(self.path("vectors"), encoder["name"], encoder["dim"])
        if len(store) < self.total and not partly:
            raise ArtifactError(
                f"{store.folder} holds {len(store):,} vectors for {self.total:,} rows; compact() of the collection makes the "
                "others anew."
            )
        return store

    @cached_property
    def words(self) -> WordView:
        """The live rows' words: `search`."""
        return WordView(self._open_words(), self.total, self.live)

    def _open_words(self) -> Any:
        from mumei.retrieval.lexical import LexicalIndex

        folder = self.path("words")
        return LexicalIndex.open(folder) if (folder / "lexical.json").exists() else None

    @property
    def document_store(self) -> DocumentStore:
        """The documents of this state."""
        return self._documents

    def content_hash(self, row: int) -> bytes:
        """Return the hash of a row's content: 16 bytes of title and text, 16 of the metadata."""
        return self._documents.hash_of(row)

    @property
    def words_behind(self) -> int:
        """How many of the newest rows cannot be found by words yet; the next writer makes that good."""
        return max(self.total - self.words.indexed, 0)

    @property
    def notes(self) -> list[str]:
        """What a searcher should know: rows that cannot be found by words yet."""
        behind = self.words_behind
        return (
            [f"{behind:,} of {self.total:,} rows cannot be found by words yet; the next add completes them"]
            if behind
            else []
        )

    @property
    def encoder(self) -> Any:
        """What made the vectors."""
        from mumei.retrieval.remake import make_encoder

        if self._encoder is None:
            entry = self.manifest["encoder"]
            if entry["make"] is None:
                raise UsageError(
                    f"{self.folder} was made by the encoder {entry['name']}, which cannot be made from its name; give it: "
                    "Collection.open(folder, encoder)."
                )
            self._encoder = _fitting(self.manifest, make_encoder(entry["make"], entry["name"]), self.folder)
        return self._encoder

    @property
    def source(self) -> dict[str, Any]:
        """Notes on where the documents come from."""
        return self.manifest["source"]

    @property
    def background(self) -> tuple[float, float]:
        """Mean and deviation of the cosine of two random live rows: what "unrelated" looks like here."""
        found = self.manifest["background"]
        from mumei.retrieval.guard import background

        return tuple(found) if found else background(self.vectors, 0, self.live)

    @property
    def fields(self) -> list[str]:
        """The names that documents have in their metadata."""
        return self._documents.state["fields"]

    def rows(self, row_numbers: Sequence[int], columns: Sequence[str] = COLUMNS) -> list[dict[str, Any]]:
        """Return some rows as dicts, in the order asked: `row` and the columns (id, title, text, metadata)."""
        return self._documents.rows(row_numbers, columns)

    def documents(self) -> Iterator[tuple[int, Document]]:
        """Yield (row, document) of all live rows, a part in memory at a time."""
        import json

        for first, table in self._documents.items():
            for i, values in enumerate(table.to_pylist()):
                if self.live[first + i]:
                    yield first + i, Document(**{**values, "metadata": json.loads(values["metadata"])})

    def row_of(self, ids: Sequence[str]) -> np.ndarray:
        """Return the live row of each id, (n,) int64; -1 where there is none."""
        return self._documents.row_of(ids, self.live)

    def where(self, expression: str) -> np.ndarray:
        """Return which live rows an expression holds for, (n,) bool; see `mumei.retrieval.expression`."""
        return self._documents.where(expression) & self.live

    # --- writing ---

    def add(self, documents: Iterable[Document], *, progress: Progress = SILENT, on_conflict: str = "update") -> Added:
        """Add documents, and bring those that changed up to date; see `mumei.retrieval.adding.add`."""
        from mumei.retrieval.adding import add

        return add(self, documents, progress, on_conflict)

    def delete(self, ids: Iterable[str], *, progress: Progress = SILENT) -> int:
        """Delete documents by id; see `mumei.retrieval.upkeep.delete`."""
        from mumei.retrieval.upkeep import delete

        return delete(self, ids, progress)

    def compact(self, *, progress: Progress = SILENT) -> int:
        """Drop deleted rows, which renumbers the others; see `mumei.retrieval.upkeep.compact`."""
        from mumei.retrieval.upkeep import compact

        return compact(self, progress)

    def rebuild(self, *, progress: Progress = SILENT) -> None:
        """Make the index of ids and the words anew from the documents; see `mumei.retrieval.upkeep.rebuild`."""
        from mumei.retrieval.upkeep import rebuild

        rebuild(self, progress)

    def verify(self) -> list[Damage]:
        """Check every file; return what is damaged and how to mend it; see `mumei.retrieval.upkeep.verify`."""
        from mumei.retrieval.upkeep import verify

        return verify(self)

    @contextlib.contextmanager
    def writer(self) -> Iterator[None]:
        """Hold the collection for writing: take the present state, forget what a cut left beyond it, tidy up at the end."""
        with writing(self.folder):
            self._adopt(read_manifest(self.folder))
            self.tidy()
            yield
            self.tidy()

    def tidy(self) -> None:
        """Remove files that the manifest does not name, unless somebody else has the collection open; writers only."""
        from mumei.retrieval.lexical import LexicalIndex

        with self._share.exclusive() as alone:
            if not alone:
                return
            sweep(self.folder)
            kept = {self.path(part).name for part in ("documents", "vectors", "words")}
            for part in ("documents", "vectors", "words"):
                for path in self.folder.glob(f"{part}*"):
                    if path.name not in kept and path.is_dir():
                        shutil.rmtree(path, ignore_errors=True)
            for path in self.folder.glob("deleted-*.npy"):
                if path.name != self.manifest["dead"].get("file"):
                    path.unlink(missing_ok=True)
            self._documents.sweep()
            LexicalIndex.sweep(self.path("words"))

    def commit(self, documents: DocumentStore | None = None, dead: Any = None, **changes: Any) -> None:
        """Swap the manifest: the one moment in which a change takes place. Writers only.

        Parameters
        ----------
        documents : DocumentStore, optional
            The present one by default.
        dead : ndarray (n,), bool, optional
            Which rows are deleted; nothing changes by default.
        changes
            Other entries of the manifest.

        Raises
        ------
        StorageError
            The disk refused; the collection is as it was.
        """
        documents = self._documents if documents is None else documents
        manifest = {**self.manifest, "rows": len(documents), "documents": documents.state, **changes}
        if dead is not None:
            manifest["serial"] += 1
            manifest["dead"] = self._write_dead(dead, f"deleted-{manifest['serial']:08d}.npy")
        elif manifest["dead"]["rows"]:
            dead = self.dead_with(len(documents) - self.total, [])
        write_json(self.folder / MANIFEST, manifest)
        self._adopt(manifest, documents, dead)

    def dead_with(self, new: int, rows: Sequence[int]) -> np.ndarray:
        """Return which rows are deleted once there are `new` more rows and these are deleted too."""
        import numpy as np

        dead = np.concatenate([self._read_dead(), np.zeros(new, dtype=bool)])
        dead[list(rows)] = True
        return dead

    def _write_dead(self, dead: np.ndarray, name: str) -> dict[str, Any]:
        import numpy as np

        path = self.folder / name
        with atomic_open(path) as handle:
            np.save(handle, np.packbits(dead), allow_pickle=False)
        return {"rows": int(dead.sum()), "file": name, "bytes": path.stat().st_size, "sha256": sha256_file(path)}


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return a collection's manifest, checked for format."""
    path = folder / MANIFEST
    if not path.is_file():
        raise ArtifactError(
            f"no collection at {folder}: {MANIFEST} is not there. Make one: mumei search index SOURCE --out {folder}"
        )
    try:
        manifest = read_json(path)
        version = manifest["format"]
        if version <= FORMAT and set(manifest) < set(_first_manifest(None, None, {}, "")):
            raise KeyError(min(set(_first_manifest(None, None, {}, "")) - set(manifest)))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{path} cannot be read ({error}); restore it, or make the collection anew.") from error
    if version > FORMAT:
        raise ArtifactError(f"{folder} has format {version}, this mumei reads up to {FORMAT}; update mumei.")
    return manifest


def _first_manifest(encoder: Any, how: str | None, source: dict[str, Any], analyzer: str) -> dict[str, Any]:
    entry = {"name": encoder.name, "dim": int(encoder.dim), "make": how} if encoder is not None else {}
    return {
        **{"format": FORMAT, "generation": 0, "serial": 0, "rows": 0, "dead": {"rows": 0}, "background": None},
        **{"encoder": entry, "source": source, "analyzer": analyzer, "vectors": []},
        "documents": DocumentStore(Path()).state,
    }


def _fitting(manifest: dict[str, Any], encoder: Any, folder: Path) -> Any:
    """Return the encoder, or raise `ArtifactError` if another one made the collection."""
    entry = manifest["encoder"]
    if (encoder.name, encoder.dim) != (entry["name"], entry["dim"]):
        raise ArtifactError(
            f"{folder} was made by the encoder {entry['name']} ({entry['dim']} numbers a vector), not by {encoder.name} "
            f"({encoder.dim}); vectors of two encoders cannot be compared. Give that one, or make another collection."
        )
    return encoder
