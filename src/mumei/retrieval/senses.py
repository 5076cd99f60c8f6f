"""Senses: when the hypothetical documents are about different things, search for each of them instead of their average.

The mean of two distant meanings is near neither. The paper leaves ambiguity open; here the generated texts are joined by
average linkage on their cosines for as long as two groups are nearer than unrelated documents of the corpus are. One group is
the usual case and is averaged as in the paper. Several groups are senses: each gets its own vector, its own hits and a name
made of the words that its texts have and the others have not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mumei.retrieval.guard import cosines
from mumei.retrieval.lexical import tokens

if TYPE_CHECKING:
    import numpy as np

NAME_WORDS = 3


@dataclass(frozen=True)
class Sense:
    """Some of the generated texts that are about one thing.

    Parameters
    ----------
    members : tuple of int
        Their numbers among the texts.
    name : str
        Words that tell it from the other senses; empty where there is one sense only.
    """

    members: tuple[int, ...]
    name: str = ""


def find_senses(vectors: np.ndarray, texts: Sequence[str], threshold: float, query: str = "") -> list[Sense]:
    """Group generated texts by meaning.

    Parameters
    ----------
    vectors : ndarray (n, d)
    texts : sequence of n str
    threshold : float
        Groups whose mean cosine is below this are different senses; the guard's threshold fits.
    query : str
        Its words do not name a sense: all senses share them.

    Returns
    -------
    list of Sense
        The largest first, then by their first member; one sense holds all texts if they agree. Empty for no text.
    """
    if not len(vectors):
        return []
    groups = sorted(_linked(vectors, threshold), key=lambda g: (-len(g), g[0]))
    if len(groups) == 1:
        return [Sense(groups[0])]
    names = _names(groups, texts, query)
    return [Sense(group, name) for group, name in zip(groups, names, strict=True)]


def _linked(vectors: np.ndarray, threshold: float) -> list[tuple[int, ...]]:
    if len(vectors) == 1:
        return [(0,)]
    import numpy as np
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    distance = np.clip(1.0 - cosines(vectors, vectors).astype(np.float64), 0.0, 2.0)
    np.fill_diagonal(distance, 0.0)
    tree = linkage(squareform((distance + distance.T) / 2, checks=False), method="average")
    labels = fcluster(tree, t=1.0 - threshold, criterion="distance")
    return [tuple(int(i) for i in np.flatnonzero(labels == label)) for label in np.unique(labels)]


def _names(groups: list[tuple[int, ...]], texts: Sequence[str], query: str) -> list[str]:
    """Name each group by words that most of its texts have and few others have; ties by the word's place in the alphabet."""
    shared = set(tokens(query, stem=False))
    words = [{w for w in tokens(text, stem=False) if len(w) > 2} - shared for text in texts]
    return [_name(group, words) for group in groups]


def _name(group: tuple[int, ...], words: Sequence[set[str]]) -> str:
    inside = Counter(word for i in group for word in words[i])
    outside = Counter(word for i in range(len(words)) if i not in group for word in words[i])
    others = max(len(words) - len(group), 1)
    telling = sorted(inside, key=lambda word: (outside[word] / others - inside[word] / len(group), -len(word), word))
    return ", ".join(telling[:NAME_WORDS])
