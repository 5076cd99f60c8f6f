"""Evidence: which sentence of a hit answers the question, and what the corpus says to each generated sentence.

"Supported" means that some passage of the corpus lies near to the sentence: nearer than unrelated documents are to each other
by `DEVIATIONS` deviations. It is nearness of subject, not entailment, and is called so where it is shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mumei.retrieval.answers import Generation
from mumei.retrieval.guard import cosines
from mumei.retrieval.lexical import overlap
from mumei.retrieval.passages import sentences

if TYPE_CHECKING:
    import numpy as np

SENTENCES_EACH = 12  # sentences of a hit that are looked at
SENTENCES_OF_A_GENERATION = 24
DEVIATIONS = 4.0


def near(background: tuple[float, float]) -> float:
    """Return the cosine from which two texts are about the same thing in this corpus."""
    mean, deviation = background
    return min(mean + DEVIATIONS * deviation, (mean + 1) / 2)


def nearest_sentences(hits: Sequence[dict[str, Any]], encoder: Any, vector: np.ndarray | None) -> None:
    """Set each hit's `sentence`: near to the question by its vector, with its words."""
    split = [sentences(hit["text"])[:SENTENCES_EACH] for hit in hits]
    flat = [s for part in split for s in part]
    found = cosines(encoder.encode(flat), vector) if vector is not None and flat else None
    start = 0
    for hit, part in zip(hits, split, strict=True):
        if part:
            known = max(len(hit["words"]), 1)
            words = [len(overlap(" ".join(hit["words"]), sentence)) / known for sentence in part]
            close = [0.0] * len(part) if found is None else found[start : start + len(part)]
            # A sentence with the question's own words is the better evidence among sentences about as near.
            hit["sentence"] = max(zip(close, words, part, strict=True), key=lambda s: s[0] + 0.1 * s[1])[2]
        start += len(part)


def ground(
    generations: Sequence[Generation],
    hits: Sequence[dict[str, Any]],
    encoder: Any,
    index: Any,
    threshold: float,
    allow: np.ndarray | None = None,
) -> None:
    """Set each kept generation's `sentences` and each hit's `support`.

    Parameters
    ----------
    generations : sequence of Generation
    hits : sequence of dict
        With `row`.
    encoder, index
        Of the corpus.
    threshold : float
        Cosine from which a passage supports a sentence (`near`).
    allow : ndarray (n,) of bool, optional
        Rows that may support.
    """
    import numpy as np

    split = [sentences(g.text)[:SENTENCES_OF_A_GENERATION] if g.kept else [] for g in generations]
    flat = [s for part in split for s in part]
    owner = [i for i, part in enumerate(split) for _ in part]
    if not flat:
        return
    vectors = encoder.encode(flat)
    rows, _ = index.search(vectors, 1, allow=allow)
    for i, (number, text) in enumerate(zip(owner, flat, strict=True)):
        best = float(cosines(index.rows(rows[i]), vectors[i])[0]) if rows.shape[1] else 0.0
        generations[number].sentences.append(
            {
                "text": text,
                "similarity": round(best, 4),
                "row": int(rows[i][0]) if rows.shape[1] else None,
                "supported": best >= threshold,
            }
        )
    if not hits:
        return
    table = cosines(index.rows([hit["row"] for hit in hits]), vectors)  # (hits, sentences)
    owners = np.asarray(owner)
    for hit, line in zip(hits, table, strict=True):
        hit["support"] = []
        for number in sorted(set(owner)):
            mine = np.flatnonzero(owners == number)
            best = int(mine[line[mine].argmax()])
            hit["support"].append(
                {"generation": number, "sentence": flat[best], "similarity": round(float(line[best]), 4)}
            )
