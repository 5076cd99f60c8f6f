"""What each cluster is about: distinctive terms, or columns, and exemplars.

Terms are ranked by the z-score of the log-odds ratio with an informative Dirichlet prior (Monroe, Colaresi and Quinn 2008,
"Fightin' words", eq. 22), over document counts of words and of pairs of neighbouring words. Departures: a document counts a
term once, the prior is the whole collection scaled to `PRIOR` documents, and a term must occur in two documents of its cluster.
"""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

from mumei.core.seeds import sample_rows
from mumei.retrieval.lexical import tokens

if TYPE_CHECKING:
    import numpy as np

    from mumei.discover.workspace import Workspace

TERMS = 8
EXEMPLARS = 3
ROWS = 20_000  # documents that terms are counted on
PRIOR = 100.0
# Words that mark a way of writing, not a subject.
PLAIN = frozenset(
    "about after all also although among any another because become before being between both common due each either even"
    " every few first found further here high however large less like low made make many much new no often one only other over"
    " same several should show shown since small so some still such than through thus two under until up used using usually"
    " very well within without".split()
)
_KANA = re.compile("[\u3040-\u309f]+")  # hiragana alone: endings and particles


def describe(workspace: Workspace, labels: np.ndarray, distances: np.ndarray, seed: int) -> list[dict[str, Any]]:
    """Return one dict per cluster: `cluster`, `size`, `name`, `terms`, `exemplars` (row numbers nearest to the centre)."""
    import numpy as np

    clusters = int(labels.max()) + 1
    # A sequence's letters are no words; its name and description line have them.
    field = "id" if workspace.kind == "sequence" else "text"
    counts, sizes = count_terms(workspace, labels, clusters, field, seed)
    composition = _composition(workspace, labels, clusters) if workspace.kind == "sequence" else []
    out = []
    for cluster in range(clusters):
        rows = np.flatnonzero(labels == cluster)
        nearest = rows[np.argsort(distances[rows], kind="stable")[:EXEMPLARS]]
        terms = distinctive(counts, sizes, cluster)
        if workspace.kind == "sequence":
            terms = [*terms[: TERMS - 2], *composition[cluster]]
        out.append(
            {
                "cluster": cluster,
                "size": len(rows),
                "name": ", ".join(terms[:3]) or f"group {cluster + 1}",
                "terms": terms,
                "exemplars": [int(r) for r in nearest],
            }
        )
    return out


def count_terms(
    workspace: Workspace, labels: np.ndarray, clusters: int, field: str, seed: int
) -> tuple[list[Counter[str]], list[int]]:
    """Count, per cluster, the documents that have each term, and the documents, on a sample of rows."""
    import numpy as np

    wanted = sample_rows(len(workspace), ROWS, seed, "terms")
    counts: list[Counter[str]] = [Counter() for _ in range(clusters)]
    sizes = [0] * clusters
    for first, table in workspace.items(columns=("title", field)):
        here = wanted[np.searchsorted(wanted, first) : np.searchsorted(wanted, first + len(table))] - first
        columns = [table.column(c).take(here).to_pylist() for c in table.column_names]
        for row, texts in zip(here, zip(*columns, strict=True), strict=True):
            label = int(labels[first + row])
            sizes[label] += 1
            counts[label].update(_terms(". ".join(texts)))
    return counts, sizes


def _terms(text: str) -> set[str]:
    """Words and pairs of neighbouring words, without numbers and single letters."""
    words = [w for w in tokens(text, stem=False) if _is_term(w)]
    pairs = {f"{a} {b}" for a, b in itertools.pairwise(words) if a.isascii() and b.isascii() and a != b}
    return set(words) | pairs


def _composition(workspace: Workspace, labels: np.ndarray, clusters: int) -> list[list[str]]:
    """Say of each cluster of sequences how long they are and which letters they have more of than the rest."""
    import numpy as np

    letters, lengths = np.zeros((clusters, 128)), [[] for _ in range(clusters)]
    for first, table in workspace.items(columns=("text",)):
        for i, text in enumerate(table["text"].to_pylist()):
            cluster = int(labels[first + i])
            letters[cluster] += np.bincount(np.frombuffer(text.encode("ascii", "replace"), np.uint8), minlength=128)[
                :128
            ]
            lengths[cluster].append(len(text))
    share = (letters + 1) / (letters + 1).sum(axis=1, keepdims=True)
    total = (letters.sum(axis=0) + 1) / (letters.sum() + 128)
    out = []
    for cluster in range(clusters):
        gain = np.where(total > 0.005, share[cluster] / total, 0)
        rich = [f"{chr(c)} x{gain[c]:.1f}" for c in np.argsort(-gain, kind="stable")[:3] if gain[c] > 1.05]
        said = f"median length {int(np.median(lengths[cluster]))}"
        out.append([*(["rich in " + " ".join(rich)] if rich else []), said])
    return out


def _is_term(word: str) -> bool:
    return (
        len(word) > 1
        and word not in PLAIN
        and not word.replace(".", "").replace("-", "").isdigit()
        and not _KANA.fullmatch(word)
    )


def distinctive(counts: list[Counter[str]], sizes: list[int], cluster: int, most: int = TERMS) -> list[str]:
    """Return the terms that mark one cluster against the others, most distinctive first; none repeats another's words."""
    total: Counter[str] = Counter()
    for count in counts:
        total.update(count)
    here, n_here, n = counts[cluster], sizes[cluster], sum(sizes)
    n_else = n - n_here
    scored = []
    for term, count in here.items():
        if count < 2:
            continue
        prior = PRIOR * total[term] / n
        elsewhere = total[term] - count
        odds_here = (count + prior) / max(n_here + PRIOR - count - prior, 0.5)
        odds_else = (elsewhere + prior) / max(n_else + PRIOR - elsewhere - prior, 0.5)
        z = (math.log(odds_here) - math.log(odds_else)) / math.sqrt(1 / (count + prior) + 1 / (elsewhere + prior))
        scored.append((-z, term))
    chosen: list[str] = []
    for negative, term in sorted(scored):
        if negative >= 0 or len(chosen) == most:
            break
        if not any(set(tokens(term)) & set(tokens(other)) for other in chosen):
            chosen.append(term)
    return chosen


def describe_columns(
    encoder: Any, blocks: Any, columns: list[str], labels: np.ndarray, distances: np.ndarray
) -> list[dict[str, Any]]:
    """Describe clusters of a table by the columns whose mean lies furthest from the whole's, in standard deviations."""
    import numpy as np

    clusters = int(labels.max()) + 1
    sums = np.zeros((clusters, len(encoder.columns)))
    first = 0
    for block in blocks():
        here = labels[first : first + len(block)]
        np.add.at(sums, here, encoder.scale(block))
        first += len(block)
    sizes = np.bincount(labels, minlength=clusters)
    means = sums / np.maximum(sizes, 1)[:, None]
    out = []
    for cluster in range(clusters):
        strongest = np.argsort(-np.abs(means[cluster]), kind="stable")[:TERMS]
        terms = [f"{columns[encoder.columns[j]]} {means[cluster, j]:+.1f} sd" for j in strongest]
        rows = np.flatnonzero(labels == cluster)
        nearest = rows[np.argsort(distances[rows], kind="stable")[:EXEMPLARS]]
        out.append(
            {
                "cluster": cluster,
                "size": int(sizes[cluster]),
                "name": ", ".join(terms[:2]),
                "terms": terms,
                "exemplars": [int(r) for r in nearest],
            }
        )
    return out
