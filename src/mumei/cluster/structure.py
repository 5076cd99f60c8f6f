"""The structure of a latent tree: which dimensions share a facet, how many states it has, which facets are neighbours.

A climb by BIC from the structure that is there (all dimensions in one facet, at first): of all moves of one dimension to another
facet, or to a new one, the best is made, until none improves. The score of a facet is the BIC of a mixture with diagonal
Gaussians on its dimensions, with n_clusters states for facet 0, and for others as many of 1, 2, 4, ... as score best. Then the
facets are joined by the tree with the largest sum of mutual informations between neighbours (Chow and Liu 1968), rooted at
facet 0.

This is a part of what Li and others 2019 do with a search over pouch latent trees: they also score the tree's edges during the
climb, introduce facets between facets, give leaves full covariances, and search for states one by one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mumei.cluster.initial import initial_clustering
from mumei.cluster.latent_tree import LEAST_VARIANCE, Tree

ITERATIONS = 30  # of EM, for a facet
GAIN = 1e-4  # of the log-likelihood per row, below which EM has settled
LOG_2PI = np.log(2 * np.pi)


@dataclass(frozen=True)
class Facet:
    """A mixture on some of the dimensions: p(y|z) (n, states) and its BIC, in nats; a higher one is better."""

    columns: tuple[int, ...]
    weights: np.ndarray
    score: float


def fit_facet(z: np.ndarray, columns: tuple[int, ...], weights: np.ndarray, iterations: int = ITERATIONS) -> Facet:
    """Fit a mixture with diagonal Gaussians by EM.

    Parameters
    ----------
    z : ndarray (n, d)
    columns : tuple of int
        Dimensions that it is fitted to.
    weights : ndarray (n, s)
        What p(y|z) begins with.
    iterations : int

    Returns
    -------
    Facet
        Its score is log p(z) - parameters / 2 log n.

    Examples
    --------
    >>> z = np.array([[-3.0], [-3.1], [3.0], [3.1]])
    >>> found = fit_facet(z, (0,), np.array([[0.9, 0.1], [0.9, 0.1], [0.1, 0.9], [0.1, 0.9]]))
    >>> found.weights.round(3).argmax(1).tolist()
    [0, 0, 1, 1]
    """
    x = z[:, list(columns)].astype(np.float64)
    n, d, states = len(x), len(columns), weights.shape[1]
    before = -np.inf
    for _ in range(iterations):
        log_joint = _log_joint(x, weights)
        top = log_joint.max(1, keepdims=True)
        log_p = top[:, 0] + np.log(np.exp(log_joint - top).sum(1))
        weights = np.exp(log_joint - log_p[:, None])
        if log_p.mean() - before < GAIN:
            break
        before = log_p.mean()
    free = states - 1 + 2 * states * d
    return Facet(columns, weights, float(log_p.sum() - 0.5 * free * np.log(n)))


def _log_joint(x: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return log p(y) + log p(x|y) (n, s) for the parameters that weights (n, s) give."""
    total = weights.sum(0) + 1e-10
    means = weights.T @ x / total[:, None]
    variances = np.maximum(weights.T @ x**2 / total[:, None] - means**2, LEAST_VARIANCE)
    each = (
        (x**2) @ (1 / variances).T - 2 * x @ (means / variances).T + (means**2 / variances + np.log(variances)).sum(1)
    )
    return np.log(total / len(x)) - 0.5 * (each + LOG_2PI * x.shape[1])


def best_facet(z: np.ndarray, columns: tuple[int, ...], most: int, seed: int) -> Facet:
    """Return the mixture on some columns with 1, 2, 4, ... up to `most` states that scores best; k-means starts each."""
    found = fit_facet(z, columns, np.ones((len(z), 1)))
    states = 2
    while states <= most:
        labels = initial_clustering(z[:, list(columns)], states, "kmeans", seed, starts=2).labels
        other = fit_facet(z, columns, np.eye(states)[labels])
        if other.score <= found.score:
            break
        found, states = other, 2 * states
    return found


def climb(z: np.ndarray, facets: list[Facet], most: int, seed: int) -> list[Facet]:
    """Move one dimension at a time to the facet where BIC gains most, until none gains; facet 0 keeps its states.

    Parameters
    ----------
    z : ndarray (n, d)
    facets : list of Facet
        The first has the clusters' states.
    most : int
        States of other facets, at most.
    seed : int
    """
    known: dict[tuple[int, tuple[int, ...]], Facet] = {}

    def scored(place: int, columns: tuple[int, ...]) -> Facet:
        key = (min(place, 1), columns)
        if key not in known:
            if place == 0:
                known[key] = fit_facet(z, columns, facets[0].weights)
            else:
                known[key] = best_facet(z, columns, most, seed)
        return known[key]

    while True:
        best, move = 1e-6, None
        for start, own in enumerate(facets):
            if len(own.columns) == 1 and start == 0:
                continue  # the clusters need a dimension
            for column in own.columns:
                rest = tuple(c for c in own.columns if c != column)
                for end in range(len(facets) + (len(own.columns) > 1)):
                    if end == start:
                        continue
                    there = facets[end].columns if end < len(facets) else ()
                    made = scored(end, tuple(sorted((*there, column))))
                    left = scored(start, rest) if rest else None
                    was = own.score + (facets[end].score if end < len(facets) else 0.0)
                    gain = made.score + (left.score if left else 0.0) - was
                    if gain > best:
                        best, move = gain, (start, end, left, made)
        if move is None:
            return facets
        start, end, left, made = move
        changed: list[Facet | None] = [*facets, None]
        changed[start], changed[end] = left, made
        facets = [facet for facet in changed if facet is not None]


def chow_liu(weights: list[np.ndarray]) -> np.ndarray:
    """Return each facet's parent (F,), the order of facets being that in which they join the tree; facet 0 is the root.

    Parameters
    ----------
    weights : list of ndarray (n, s_f)
        p(y_f|z) of the same rows.

    Returns
    -------
    ndarray (F, 2) int64
        Rows (facet, parent) by the numbers in `weights`, in the order of joining; the first is (0, 0).
    """
    joined, found = [0], [(0, 0)]
    information = {
        (i, j): mutual_information(weights[i], weights[j])
        for i in range(len(weights))
        for j in range(len(weights))
        if i != j
    }
    while len(joined) < len(weights):
        outside = [f for f in range(len(weights)) if f not in joined]
        parent, facet = max(((p, f) for p in joined for f in outside), key=lambda pair: information[pair])
        joined.append(facet)
        found.append((facet, parent))
    return np.array(found, dtype=np.int64)


def mutual_information(one: np.ndarray, other: np.ndarray) -> float:
    """Return the mutual information in nats of two facets with p(y|z) (n, s) and (n, t)."""
    joint = one.T @ other / len(one)
    apart = joint.sum(1, keepdims=True) * joint.sum(0)
    held = joint > 0
    return float((joint[held] * np.log(joint[held] / apart[held])).sum())


def make_tree(z: np.ndarray, facets: list[Facet], k: int) -> Tree:
    """Join facets in a tree, with the statistics of rows z (n, d); k is the states' number that arrays are made for."""
    n, d = z.shape
    order = chow_liu([f.weights for f in facets])
    place = {int(f): i for i, (f, _) in enumerate(order)}
    parent = np.array([place[int(p)] for _, p in order], dtype=np.int64)
    padded = [np.pad(facets[f].weights, ((0, 0), (0, k - facets[f].weights.shape[1]))) for f, _ in order]
    facet, pairs = np.zeros(d, dtype=np.int64), np.zeros((len(order), k, k))
    counts, sums, squares = np.zeros((k, d)), np.zeros((k, d)), np.zeros((k, d))
    for i, (f, _) in enumerate(order):
        columns, weights = list(facets[f].columns), padded[i]
        facet[columns] = i
        pairs[i] = np.diag(weights.mean(0)) if i == 0 else padded[parent[i]].T @ weights / n
        counts[:, columns] = weights.mean(0)[:, None]
        sums[:, columns] = weights.T @ z[:, columns] / n
        squares[:, columns] = weights.T @ z[:, columns] ** 2 / n
    states = np.array([facets[f].weights.shape[1] for f, _ in order], dtype=np.int64)
    return Tree(facet, parent, states, pairs, counts, sums, squares)
