"""An encoder that needs no model, and a process that dies at the n-th rename or flush, for tests of collections."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from pathlib import Path

import numpy as np

from mumei.retrieval.collection import Collection
from mumei.retrieval.documents import Document


class HashEncoder:
    """A unit vector drawn from each text's hash; remembers what it was asked."""

    name, dim = "hash/16", 16

    def __init__(self):
        self.seen: list[str] = []

    def encode(self, items, *, batch_size=None, progress=None):
        self.seen.extend(items)
        out = np.empty((len(items), self.dim), dtype=np.float32)
        for i, text in enumerate(items):
            digest = hashlib.blake2b(text.encode(), digest_size=self.dim).digest()
            out[i] = np.frombuffer(digest, np.uint8).astype(np.float32) - 127.5
            out[i] /= np.linalg.norm(out[i])
        return out


def document(number, version=0):
    """A document whose words tell its number and version."""
    return Document(
        f"id{number}",
        f"title {number}",
        f"word{number} version{version} common",
        {"number": number, "version": version},
    )


def contents(collection):
    """What a collection holds, as {id: (title, text, metadata)}; an id that is there twice fails."""
    found = [d for _, d in collection.documents()]
    assert len({d.id for d in found}) == len(found) == len(collection)
    return {d.id: (d.title, d.text, dict(d.metadata)) for d in found}


def expected(documents):
    """What a collection of some documents must hold."""
    return {d.id: (d.title, d.text, dict(d.metadata)) for d in documents}


def answers(collection, queries, k=10):
    """The ids and scores found by vectors and by words for each query."""
    ids = {row: d.id for row, d in collection.documents()}
    rows, scores = collection.vectors.search(HashEncoder().encode(queries), k)
    dense = [
        [(ids[r], float(s)) for r, s in zip(*pair, strict=True)] for pair in zip(rows.tolist(), scores, strict=True)
    ]
    words = [[(ids[r], s) for r, s in zip(*collection.words.search(q, k), strict=True)] for q in queries]
    return dense, words


def check(collection, documents):
    """A collection is whole, and each document is found by its id, by its words and by its vector."""
    assert contents(collection) == expected(documents)
    assert [str(d) for d in collection.verify()] == []
    ids = [d.id for d in documents]
    rows = collection.row_of(ids)
    assert [r["id"] for r in collection.rows(rows)] == ids
    assert collection.live.sum() == len(documents)
    if documents:
        texts = [f"{d.title}. {d.text}" for d in documents]
        assert collection.vectors.search(HashEncoder().encode(texts), 1)[0][:, 0].tolist() == rows.tolist()
        if not collection.words_behind:
            assert [collection.words.search(d.text.split()[0], 1)[0] for d in documents] == [[r] for r in rows]


class Killed(BaseException):
    """The process is dead."""


class Power:
    """Dies at the n-th rename, flush or removal: that one and all later ones do nothing but raise, so nothing is tidied up."""

    NAMES = ((os, "replace"), (os, "fsync"), (os, "unlink"), (shutil, "rmtree"), (Path, "unlink"))

    def __init__(self, n: int | None = None):
        self.left, self.calls = n, 0

    @contextlib.contextmanager
    def on(self, monkeypatch):
        with monkeypatch.context() as patch:
            for owner, name in self.NAMES:
                patch.setattr(owner, name, self._counted(getattr(owner, name)))
            yield self

    def _counted(self, inner):
        def call(*args, **options):
            self.calls += 1
            if self.left is not None and self.calls > self.left:
                raise Killed
            return inner(*args, **options)

        return call


def make(folder, documents=()):
    """Make a collection of the hash encoder."""
    collection = Collection.create(folder, HashEncoder())
    if documents:
        collection.add(documents)
    return collection
