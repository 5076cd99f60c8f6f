"""A check without labels: is a document found by its own title, or by its own first sentence?

Each query has one right answer by construction. It measures whether a ranking can find what is known to be there, and compares
rankings on one's own collection. It does not measure how good the answers to real questions are: titles are easier.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from mumei.core.errors import DataError, UsageError
from mumei.core.seeds import numpy_generator
from mumei.retrieval.documents import Document
from mumei.retrieval.passages import sentences

CAVEAT = "known items: each query is a document's own title or first sentence; real questions are harder"
SHORTEST = 15  # characters of a query


@dataclass(frozen=True)
class KnownItem:
    """A query made from a document, and the document's id."""

    query: str
    id: str


def known_items(documents: Iterable[Document], count: int = 200, seed: int = 0, kind: str = "title") -> list[KnownItem]:
    """Draw documents and make a query of each.

    Parameters
    ----------
    documents : iterable of Document
        Read once; a sample is held.
    count : int
        Queries at most.
    seed : int
    kind : {"title", "sentence"}
        The title, or the text's first sentence where there is more than one. A query that two documents share is left out.

    Raises
    ------
    DataError
        No document has what is asked for.
    """
    if kind not in ("title", "sentence"):
        raise UsageError(f"kind={kind!r} is not allowed; give 'title' or 'sentence'.")
    if count < 1:
        raise UsageError(f"count={count} is not allowed; give 1 or more.")
    rng = numpy_generator(seed, "known items")
    sample: list[KnownItem] = []
    seen: dict[int, int] = {}  # hashes of the queries: eight bytes each, not the texts
    number = 0
    for document in documents:
        query = _query(document, kind)
        if len(query) < SHORTEST:
            continue
        key = _key(query)
        seen[key] = seen.get(key, 0) + 1
        number += 1
        if len(sample) < count:  # reservoir sampling (Vitter 1985, algorithm R)
            sample.append(KnownItem(query, document.id))
        elif (place := int(rng.integers(0, number))) < count:
            sample[place] = KnownItem(query, document.id)
    kept = [item for item in sample if seen[_key(item.query)] == 1]
    if not kept:
        raise DataError(f"no document has a {kind} of {SHORTEST} characters or more that is its own.")
    return kept


def _key(query: str) -> int:
    return int.from_bytes(hashlib.blake2b(query.encode("utf-8", "replace"), digest_size=8).digest())


def _query(document: Document, kind: str) -> str:
    if kind == "title":
        return document.title.strip()
    parts = sentences(document.text)
    return parts[0] if len(parts) > 1 else ""
