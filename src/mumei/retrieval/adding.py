"""Adding documents to a collection: what is new or changed is encoded, a batch at a time, and each batch is saved for good.

An id that is there with the same content is left alone, so that adding the same source again after a cut adds exactly what is
missing. A changed document becomes a new row and its old row is deleted in the same swap of the manifest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from mumei.core.errors import ArtifactError, DataError, unknown
from mumei.core.progress import Progress
from mumei.retrieval import lexical
from mumei.retrieval.documents import PART, Document, Prepared, prepare

if TYPE_CHECKING:
    import numpy as np

    from mumei.retrieval.collection import Collection

BATCH = 1024  # rows encoded and saved at once: what a cut can cost
LISTED = 10_000  # repeated ids that are listed; all are counted
CONFLICTS = ("update", "skip", "error")


@dataclass(frozen=True)
class Added:
    """What an `add` did, in documents of the source.

    Parameters
    ----------
    added, updated, unchanged : int
        New ids; ids whose content changed; ids that were there with the same content.
    duplicates_in_source : int
        Ids that the source has again, whatever their content: the first one counts.
    dropped_empty : int
        Neither title nor text.
    skipped : int
        Ids with other content that were left as they were, by `on_conflict="skip"`.
    cleaned : int
        Documents kept in which control characters or half surrogate pairs were replaced.
    duplicate_ids : tuple of str
        The repeated ids, at most 10,000 of them.
    """

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    duplicates_in_source: int = 0
    dropped_empty: int = 0
    skipped: int = 0
    cleaned: int = 0
    duplicate_ids: tuple[str, ...] = ()

    def __str__(self) -> str:
        """What happened, in one line."""
        parts = [f"{self.added:,} added", f"{self.updated:,} updated", f"{self.unchanged:,} unchanged"]
        others = {
            "repeated in the source (the first counts)": self.duplicates_in_source,
            "empty, left out": self.dropped_empty,
            "there with other content, left as they were": self.skipped,
            "with characters that are no text, replaced": self.cleaned,
        }
        return ", ".join(parts + [f"{count:,} {what}" for what, count in others.items() if count])


def add(collection: Collection, documents: Iterable[Document], progress: Progress, on_conflict: str) -> Added:
    """Add documents, and bring those that changed up to date.

    Parameters
    ----------
    collection : Collection
    documents : iterable of Document
        Streamed; memory holds two batches and one byte for each row that was there before.
    progress : Progress
        Says how many rows are saved.
    on_conflict : {"update", "skip", "error"}
        What to do with an id that is there with other content.

    Returns
    -------
    Added

    Raises
    ------
    DataError
        A document cannot be used, or there is a conflict and `on_conflict="error"`; batches before it are saved.
    BusyError
        Another process is writing.
    """
    if on_conflict not in CONFLICTS:
        raise unknown("on_conflict", on_conflict, CONFLICTS)
    total = len(documents) if hasattr(documents, "__len__") else None  # type: ignore[arg-type]
    with collection.writer():
        with progress.task("add", total, "documents") as task:

            def advance(count: int) -> None:
                task.advance(count, note=f"{collection.total:,} rows saved")

            run = _Adding(collection, on_conflict, advance)
            stream = (prepare(document, place) for place, document in enumerate(documents))
            while chunk := list(islice(stream, BATCH)):
                run.take(chunk)
            run.flush(1)
        complete_words(collection, progress)
        if collection.manifest["background"] is None and len(collection) > 1:
            collection.commit(background=list(collection.background))
    found = run.summary()
    progress.say(f"add: {found}; {len(collection):,} documents in {collection.folder}")
    return found


class _Adding:
    """One run of `add`: `pending` documents wait for their batch, with the row that each replaces or -1.

    `advance` is told of documents as they are done with: encoded, or found to need nothing.
    """

    def __init__(self, collection: Collection, on_conflict: str, advance: Callable[[int], Any]):
        import numpy as np

        self.collection, self.on_conflict, self.advance = collection, on_conflict, advance
        self.store = open_for_writing(collection)
        self.start = collection.total
        self.named = np.zeros(self.start, dtype=bool)  # rows of before whose id the source has had
        self.pending: dict[str, tuple[Prepared, int]] = {}
        self.counts = dict.fromkeys(
            ("added", "updated", "unchanged", "duplicates_in_source", "dropped_empty", "skipped", "cleaned"), 0
        )
        self.duplicates: list[str] = []

    def take(self, chunk: list[Prepared]) -> None:
        """Sort documents into new, changed, unchanged and repeated ones, and save full batches."""
        before = len(self.pending)
        kept = [document for document in chunk if not document.empty]
        self.counts["dropped_empty"] += len(chunk) - len(kept)
        for document, row in zip(kept, self.collection.row_of([d.id for d in kept]).tolist(), strict=True):
            if document.id in self.pending or row >= self.start or (row >= 0 and self.named[row]):
                self.counts["duplicates_in_source"] += 1
                if len(self.duplicates) < LISTED:
                    self.duplicates.append(document.id)
                continue
            self.counts["cleaned"] += document.cleaned
            if row >= 0:
                self.named[row] = True
            if row >= 0 and (self._same(document, row) or self._refused(document)):
                continue
            self.pending[document.id] = (document, row)
        self.advance(len(chunk) - (len(self.pending) - before))
        self.flush(BATCH)

    def _same(self, document: Prepared, row: int) -> bool:
        same = self.collection.content_hash(row) == document.hash
        self.counts["unchanged"] += same
        return same

    def _refused(self, document: Prepared) -> bool:
        if self.on_conflict == "error":
            raise DataError(
                f"the document {document.id!r} is in the collection with other content; {self.collection.total:,} rows are "
                "saved. Choose on_conflict='update' to replace such documents or 'skip' to keep them."
            )
        self.counts["skipped"] += self.on_conflict == "skip"
        return self.on_conflict == "skip"

    def flush(self, least: int) -> None:
        """Encode and save what is pending, in batches, while there are at least so many."""
        while len(self.pending) >= least:
            chosen = list(islice(self.pending.values(), BATCH))
            self._save([document for document, _ in chosen], [row for _, row in chosen])
            self.pending = dict(islice(self.pending.items(), len(chosen), None))
            if self.collection.total - indexed_rows(self.collection) >= lexical.SHARD:
                complete_words(self.collection, None)

    def _save(self, documents: list[Prepared], replaced: list[int]) -> None:
        """Vectors, then documents, then the manifest: a batch is there when the manifest says so."""
        old = [row for row in replaced if row >= 0]
        dead = self.collection.dead_with(len(documents), old) if old else None
        vectors = self._vectors(documents, replaced)
        self.store.append(vectors)
        store = self.collection.document_store.extended(documents).settled()
        hashes = vector_hashes(self.store, len(store), self.collection.manifest["vectors"], self.collection.total)
        self.collection.commit(store, dead, vectors=hashes, background=None)
        self.counts["updated"] += len(old)
        self.counts["added"] += len(documents) - len(old)

    def _vectors(self, documents: list[Prepared], replaced: list[int]) -> np.ndarray:
        """Encode documents; one whose metadata alone changed keeps its vector."""
        import numpy as np

        kept = [
            i
            for i, (document, row) in enumerate(zip(documents, replaced, strict=True))
            if row >= 0 and self.collection.content_hash(row)[:16] == document.hash[:16]
        ]
        new = sorted(set(range(len(documents))) - set(kept))
        vectors = np.empty((len(documents), self.store.dim), dtype=np.float32)
        vectors[kept] = self.store.rows([replaced[i] for i in kept])
        self.advance(len(kept))
        vectors[new] = encoded(self.collection, [documents[i].joined for i in new], self.advance)
        return vectors

    def summary(self) -> Added:
        """Return what was done."""
        return Added(**self.counts, duplicate_ids=tuple(self.duplicates))


def encoded(collection: Collection, texts: list[str], progress: Callable[[int], Any] | None = None) -> np.ndarray:
    """Encode texts, and check that there is a vector for each."""
    import numpy as np

    told = 0

    def tell(count: int) -> None:
        nonlocal told
        told += count
        if progress is not None:
            progress(count)

    shape = (len(texts), collection.manifest["encoder"]["dim"])
    vectors = np.asarray(
        collection.encoder.encode(texts, progress=tell) if texts else np.empty(shape), dtype=np.float32
    )
    tell(len(texts) - told)  # not every encoder says how far it is
    if vectors.shape != shape:
        raise DataError(
            f"the encoder {collection.encoder.name} returned {vectors.shape} for {len(texts)} texts, not {shape}."
        )
    return vectors


def open_for_writing(collection: Collection) -> Any:
    """Return the vector store, without rows that a cut left beyond the manifest."""
    store = collection.open_vectors()
    if len(store) > collection.total:
        store.truncate(collection.total)
    return store


def vector_hashes(store: Any, rows: int, known: list[str], complete: int) -> list[str]:
    """Return a hash of the vectors of each `PART` rows; those of parts that were full before `complete` are known."""
    hashes = known[: complete // PART]
    for first in range(len(hashes) * PART, rows, PART):
        hashes.append(hash_vectors(store.rows(range(first, min(first + PART, rows)))))
    return hashes


def hash_vectors(vectors: np.ndarray) -> str:
    """Return a hash of vectors, whatever files they lie in."""
    return hashlib.blake2b(vectors.astype("<f4", copy=False).tobytes(), digest_size=16).hexdigest()


def indexed_rows(collection: Collection) -> int:
    """Return how many rows the words on the disk have."""
    return lexical.LexicalIndex.rows_in(collection.path("words"))


def complete_words(collection: Collection, progress: Progress | None) -> None:
    """Index the rows that cannot be found by words yet."""
    folder, total = collection.path("words"), collection.total
    behind = total - indexed_rows(collection)
    if behind < 0:
        raise ArtifactError(f"{folder} has more rows than the collection; rebuild() of the collection makes it anew.")
    if not behind:
        return
    exists = (folder / lexical.MANIFEST).exists()
    analyzer = collection.manifest["analyzer"]
    index = lexical.LexicalIndex.open(folder) if exists else lexical.LexicalIndex.create(folder, analyzer=analyzer)
    texts = collection.document_store.texts(len(index))
    if progress is None:
        index.append(texts)
    else:
        with progress.task("words", behind, "rows") as task:
            index.append(texts, progress=task.advance)
    collection.refresh()
