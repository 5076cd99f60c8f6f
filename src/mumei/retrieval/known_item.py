"""A check without labels: is a document found by its own title, or by its own first sentence?

Each query has one right answer by construction. It measures whether a ranking can find what is known to be there, and compares
rankings on one's own collection. It does not measure how good the answers to real questions are: titles are easier, and easiest
of all where the title is in the index. `without_query` takes it out of a document, for a collection made for this check.

Queries that come from elsewhere (an author's conclusion with its article, a question with its answer) are `KnownItem`s too.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from mumei.core.errors import DataError, UsageError, unknown
from mumei.core.seeds import child
from mumei.retrieval.documents import Document
from mumei.retrieval.evaluate import Evaluation, evaluate
from mumei.retrieval.passages import sentences

CAVEAT = "known items: each query is a document's own title or first sentence; real questions are harder"
SHORTEST = 15  # characters of a query
KINDS = ("title", "sentence")
MEASURES = ("MRR@10", "success@1", "success@10")
SPARE = 2  # queries held for each one wanted: some will turn out to be shared by several documents

Search = Callable[[list[str], int], Sequence[Sequence[str]]]


@dataclass(frozen=True)
class KnownItem:
    """A query made from a document, and the document's id."""

    query: str
    id: str


def known_items(documents: Iterable[Document], count: int = 200, seed: int = 0, kind: str = "title") -> list[KnownItem]:
    """Draw documents and make a query of each.

    Each query has a number made from its words and the seed; those with the smallest are drawn. So the sample does not depend on
    the documents' order, memory holds `SPARE * count` queries whatever the number of documents, and all documents that share a
    drawn query are seen.

    Parameters
    ----------
    documents : iterable of Document
        Read once.
    count : int
        Queries at most.
    seed : int
    kind : {"title", "sentence"}
        The title, or the text's first sentence where there is more than one. A query that two documents share is left out.

    Returns
    -------
    list of KnownItem
        In the documents' order.

    Raises
    ------
    DataError
        No document has what is asked for.
    """
    _check_kind(kind)
    if count < 1:
        raise UsageError(f"count={count} is not allowed; give 1 or more.")
    key = child(seed, "known items").to_bytes(8)
    held: dict[int, tuple[int, KnownItem]] = {}  # number of the query: place of its document, item
    shared: set[int] = set()
    largest: list[int] = []  # a heap of the held numbers, negated
    for place, document in enumerate(documents):
        query = query_of(document, kind)
        if len(query) < SHORTEST:
            continue
        number = _number(query, key)
        if number in held:
            shared.add(number)
        elif len(largest) < SPARE * count or number < -largest[0]:
            held[number] = (place, KnownItem(query, document.id))
            heapq.heappush(largest, -number)
            if len(largest) > SPARE * count:
                out = -heapq.heappop(largest)
                del held[out]
                shared.discard(out)
    drawn = sorted(held.keys() - shared)[:count]
    if not drawn:
        raise DataError(f"no document has a {kind} of {SHORTEST} characters or more that is its own.")
    return [item for _, item in sorted((held[number] for number in drawn), key=lambda pair: pair[0])]


def query_of(document: Document, kind: str = "title") -> str:
    """Return the query that a document gives: its title, or the first of several sentences; empty where there is none."""
    if kind == "title":
        return document.title.strip()
    parts = sentences(document.text)
    return parts[0] if len(parts) > 1 else ""


def without_query(document: Document, kind: str = "title") -> Document:
    """Return the document without what `query_of` takes from it.

    Examples
    --------
    >>> without_query(Document("1", "A title", "One is here. Two is not."), "sentence").text
    'Two is not.'
    """
    _check_kind(kind)
    if kind == "title":
        text = document.text
        title = document.title.strip()
        return replace(
            document, title="", text=text[len(title) :].lstrip(" .:") if title and text.startswith(title) else text
        )
    parts = sentences(document.text)
    return replace(document, text=" ".join(parts[1:])) if len(parts) > 1 else document


def find_known_items(
    rankers: Mapping[str, Search], items: Sequence[KnownItem], measures: Sequence[str] = MEASURES, *, k: int = 10
) -> dict[str, Evaluation]:
    """Measure how high each ranker puts the document that a query is known to have.

    Parameters
    ----------
    rankers : mapping of name to function
        Each takes (queries, k) and returns ids, best first, for each query.
    items : sequence of KnownItem
    measures : sequence of str
        As in `evaluate`.
    k : int
        Hits asked for; no measure may look deeper.

    Returns
    -------
    dict of name to Evaluation
        Queries are called "0", "1", ... in the order of `items`. `CAVEAT` says what the figures do not mean: show it with them.

    Raises
    ------
    DataError
        A ranker returned another number of rankings than there are queries.

    Examples
    --------
    >>> items = [KnownItem("a title of a document", "d1")]
    >>> find_known_items({"mine": lambda queries, k: [["d2", "d1"]]}, items)["mine"].mean
    {'MRR@10': 0.5, 'success@1': 0.0, 'success@10': 1.0}
    """
    if not items:
        raise UsageError("no known items were given; `known_items` draws some.")
    judged = {str(i): {item.id: 1} for i, item in enumerate(items)}
    found = {}
    for name, search in rankers.items():
        rankings = search([item.query for item in items], k)
        if len(rankings) != len(items):
            raise DataError(f"ranker {name!r} returned {len(rankings)} rankings for {len(items)} queries.")
        found[name] = evaluate({str(i): list(ranking)[:k] for i, ranking in enumerate(rankings)}, judged, measures)
    return found


def _number(query: str, key: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(query.encode("utf-8", "replace"), digest_size=16, key=key).digest())


def _check_kind(kind: str) -> None:
    if kind not in KINDS:
        raise unknown("kind of known item", kind, KINDS)
