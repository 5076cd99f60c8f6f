"""Keeping a collection in order: delete, compact, rebuild, verify."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mumei.core.errors import ArtifactError, UsageError
from mumei.core.progress import Progress
from mumei.retrieval.adding import complete_words, encoded, hash_vectors, indexed_rows, vector_hashes
from mumei.retrieval.documents import COLUMNS, PART, DocumentStore, differs, join_text
from mumei.retrieval.lexical import LexicalIndex

if TYPE_CHECKING:
    import numpy as np

    from mumei.retrieval.collection import Collection

SHOWN = 5  # unknown ids in a message


class Deleted(int):
    """How many documents were deleted; `unknown` are the ids that the collection does not have."""

    unknown: tuple[str, ...] = ()


@dataclass(frozen=True)
class Damage:
    """A file that is not what was written, what is wrong with it, and how to mend it."""

    file: str
    what: str
    mend: str

    def __str__(self) -> str:
        """All of it in one line."""
        return f"{self.file}: {self.what}; {self.mend}"


def delete(collection: Collection, ids: Iterable[str], progress: Progress) -> Deleted:
    """Delete documents by id, all in one step.

    Parameters
    ----------
    collection : Collection
    ids : iterable of str
        Ids that are not there are said, and named in the result's `unknown`.
    progress : Progress

    Returns
    -------
    Deleted
        An int, the number of documents deleted, with `unknown`.
    """
    if isinstance(ids, str):
        raise UsageError(f"delete() takes a list of ids; a single text was given ({ids!r:.40}). Put it in a list.")
    names = list(dict.fromkeys(ids))
    with collection.writer():
        rows = collection.row_of(names).tolist()
        known = [row for row in rows if row >= 0]
        if known:
            collection.commit(dead=collection.dead_with(0, known), background=None)
            if len(collection) > 1:
                collection.commit(background=list(collection.background))
        complete_words(collection, progress)
    deleted = Deleted(len(known))
    deleted.unknown = tuple(name for name, row in zip(names, rows, strict=True) if row < 0)
    if deleted.unknown:
        shown = ", ".join(deleted.unknown[:SHOWN]) + (", ..." if len(deleted.unknown) > SHOWN else "")
        progress.say(f"delete: {len(deleted.unknown):,} ids are not in {collection.folder}: {shown}")
    progress.say(f"delete: {deleted:,} documents deleted, {len(collection):,} left")
    return deleted


def compact(collection: Collection, progress: Progress) -> int:
    """Write the collection without its deleted rows, beside the old one, and swap the manifest.

    Rows get new numbers. Vectors that are damaged or missing are encoded anew, and that is said.

    Returns
    -------
    int
        How many rows were dropped.
    """
    import numpy as np

    from mumei.retrieval.index import VectorStore

    with collection.writer():
        generation, encoder = collection.manifest["generation"] + 1, collection.manifest["encoder"]
        for part in ("documents", "vectors", "words"):  # of an attempt that was cut: nobody has ever read them
            shutil.rmtree(collection.path(part, generation), ignore_errors=True)
        store = DocumentStore(collection.path("documents", generation))
        vectors = VectorStore(collection.path("vectors", generation), encoder["name"], encoder["dim"])
        anew, dropped = 0, collection.total - len(collection)
        old = _old_vectors(collection, progress)
        with progress.task("compact", collection.total, "rows") as task:
            for first, table in collection.document_store.items((*COLUMNS, "hash")):
                keep = collection.live[first : first + len(table)]
                kept = table.filter(keep)
                if len(kept):
                    found, encoded_anew = _vectors_of(collection, old, first, table, keep)
                    vectors.append(found)
                    fields = {name for text in kept["metadata"].to_pylist() for name in json.loads(text)}
                    store = store.with_table(kept, fields).settled()
                    anew += encoded_anew
                task.advance(len(table))
        words = collection.path("words", generation)
        LexicalIndex.build(store.texts(), words, analyzer=collection.manifest["analyzer"])
        hashes = vector_hashes(vectors, len(store), [], 0)
        collection.commit(store, np.zeros(len(store), dtype=bool), generation=generation, vectors=hashes)
    if anew:
        progress.say(f"compact: {anew:,} vectors were damaged or missing and were encoded anew")
    progress.say(f"compact: {dropped:,} deleted rows dropped, {len(collection):,} documents left")
    return dropped


def _old_vectors(collection: Collection, progress: Progress) -> Any:
    try:
        return collection.open_vectors(partly=True)
    except ArtifactError as error:
        progress.say(f"compact: the vectors cannot be read ({error}); all are encoded anew")
        return None


def _vectors_of(collection: Collection, old: Any, first: int, table: Any, keep: np.ndarray) -> tuple[np.ndarray, int]:
    """Return the vectors of a part's rows that are kept, and how many of them had to be encoded anew."""
    if old is not None and not _part_damage(collection, old, first // PART):
        return old.rows(range(first, first + len(table)))[keep], 0
    kept = table.filter(keep)
    texts = [join_text(a, b) for a, b in zip(kept["title"].to_pylist(), kept["text"].to_pylist(), strict=True)]
    return encoded(collection, texts), len(texts)


def _part_damage(collection: Collection, store: Any, part: int) -> str:
    """Return what is wrong with the vectors of a part, or an empty string."""
    first, last = part * PART, min((part + 1) * PART, collection.total)
    if last > len(store):
        return "are missing"
    right = hash_vectors(store.rows(range(first, last))) == collection.manifest["vectors"][part]
    return "" if right else "are not what was written"


def rebuild(collection: Collection, progress: Progress) -> None:
    """Make the index of ids and the words anew from the documents."""
    with collection.writer():
        store = collection.document_store.reindexed()
        collection.commit(store)
        with progress.task("words", collection.total, "rows") as task:
            analyzer = collection.manifest["analyzer"]
            LexicalIndex.build(store.texts(), collection.path("words"), progress=task.advance, analyzer=analyzer)
        collection.refresh()
    progress.say(f"rebuild: ids and words of {collection.total:,} rows made anew")


def verify(collection: Collection) -> list[Damage]:
    """Check every file of the collection against its size and hash.

    Returns
    -------
    list of Damage
        Empty if all is well. Each says what is wrong and how to mend it.
    """
    again = "restore the file from a copy, or make the collection anew from its source"
    documents = collection.path("documents").name
    found = [
        Damage(f"{documents}/{name}", what, "rebuild() makes it anew" if name.startswith("ids-") else again)
        for name, what in collection.document_store.verify()
    ]
    dead = collection.manifest["dead"]
    if dead["rows"] and (what := differs(collection.folder / dead["file"], dead)):
        found.append(Damage(dead["file"], what, again))
    return found + _verify_vectors(collection) + _verify_words(collection)


def _verify_vectors(collection: Collection) -> list[Damage]:
    name = collection.path("vectors").name
    try:
        store = collection.open_vectors(partly=True)
    except ArtifactError as error:
        return (
            [Damage(name, str(error).rstrip("."), "compact() encodes all documents anew")] if collection.total else []
        )
    found = []
    for part in range(-(-collection.total // PART)):
        if what := _part_damage(collection, store, part):
            last = min((part + 1) * PART, collection.total)
            what = f"the vectors of rows {part * PART:,} to {last - 1:,} {what}"
            found.append(Damage(name, what, "compact() encodes them anew"))
    return found


def _verify_words(collection: Collection) -> list[Damage]:
    folder, mend = collection.path("words"), "rebuild() makes the words anew"
    try:
        if not indexed_rows(collection):
            return []
        problems = LexicalIndex.open(folder).verify()
    except ArtifactError as error:
        problems = [str(error).rstrip(".")]
    return [Damage(folder.name, what, mend) for what in problems]
