"""The k largest inner products, exactly, from approximate ones with a bound on their error.

Any approximation a of a score s with |s - a| <= e will do (float32 sums, 8-bit rows): the k-th largest a - e is a floor under the
k-th best score, and a row with a + e below it cannot be among the k best. What is left is scored anew from its float32
numbers. A score is the inner product summed in float64 and rounded to float32; equal scores are in order of the rows. So
the answer depends on the vectors alone, not on blocks, batches, threads or the way of the scan.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    Gather = Callable[[np.ndarray], np.ndarray]

CANDIDATES = 32_768  # of one query at once
RESCORED = 4096  # rows in float64 at once
SLACK = 2.0**-22  # of |q| |x|: rounding a score to float32, and the bounds themselves
LARGE = 1e37  # |q| |x| from here on may overflow in float32


class Candidates:
    """Rows that may be among the k best of each query.

    Parameters
    ----------
    queries : ndarray (m, dim), float32
    k : int
    gather : callable
        Rows (n,) -> float32 vectors (n, dim).

    Attributes
    ----------
    floor : ndarray (m,), float64
        No row of the answer scores less.
    crowded : ndarray (m,), bool
        Queries given up because more rows than `limit` stayed possible (`give_up=True`); their answer is not exact.
    rescored : int
        Rows scored anew so far.
    """

    def __init__(self, queries: np.ndarray, k: int, gather: Gather, *, give_up: bool = False, limit: int = CANDIDATES):
        import numpy as np

        self.queries, self.k, self._gather = queries, k, gather
        self.lengths = np.sqrt(np.einsum("md,md->m", queries, queries, dtype=np.float64)) * (1 + 1e-9)
        self.floor = np.full(len(queries), -np.inf)
        self.crowded = np.zeros(len(queries), dtype=bool)
        self.rescored = 0
        self._give_up, self._limit = give_up, max(limit, 2 * k)
        empty = (np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0), np.empty(0))
        self._kept: tuple[np.ndarray, ...] = (
            empty  # query, row, least and largest possible score; in order of the queries
        )
        self._new: list[tuple[np.ndarray, ...]] = []
        self._waiting = 0

    def add(self, products: np.ndarray, rows: Any, allowed: np.ndarray | None, unit: np.ndarray, error: np.ndarray):
        """Take what may matter from one block.

        Parameters
        ----------
        products : ndarray (m, b)
            Whole numbers or float32; times `unit` they are scores, each within `error`.
        rows : int or ndarray (b,)
            The row numbers, or the first of them. Blocks come in ascending order.
        allowed : ndarray (b,), bool, or None
            Which of them may be in the answer.
        unit, error : ndarray (m,), float64
            Per query. A unit of 0 or an infinite error makes every row a candidate.
        """
        import numpy as np

        fresh = np.isneginf(self.floor)
        if fresh.any():
            self._first_floor(products, allowed, unit, error)
        with np.errstate(divide="ignore", invalid="ignore"):
            least = (self.floor - error) / unit
        least[np.isnan(least) | (unit == 0)] = -np.inf
        least[self.crowded] = np.inf
        # Later rows lose ties, so a product must pass the floor; but not one that this very block has set.
        passing = products > _below(least, products.dtype, fresh)[:, None]
        if allowed is not None:
            passing &= allowed
        found = np.flatnonzero(passing)
        query, column = np.divmod(found, products.shape[1])
        score = products.ravel()[found] * unit[query]
        number = rows[column] if isinstance(rows, np.ndarray) else column + rows
        self._new.append((query, number, score - error[query], score + error[query]))
        self._waiting += len(found)
        if self._waiting > max(len(self._kept[0]), 2 * self.k * len(self.queries)):
            self.tighten()

    def _first_floor(
        self, products: np.ndarray, allowed: np.ndarray | None, unit: np.ndarray, error: np.ndarray
    ) -> None:
        import numpy as np

        if allowed is not None:
            products = products[:, allowed]
        width = products.shape[1]
        if width >= self.k:
            kth = np.partition(products, width - self.k, axis=1)[:, width - self.k]
            self.floor = np.maximum(self.floor, kth * unit - error)

    def tighten(self) -> None:
        """Raise the floors by what was found, and drop the rows below them."""
        import numpy as np

        parts = [self._kept, *self._new]
        query, row, low, high = (np.concatenate(column) for column in zip(*parts, strict=True))
        order = np.argsort(query.astype(np.uint16), kind="stable")  # a radix sort
        order = order[high[order] >= self.floor[query[order]]]
        query, row, low, high = query[order], row[order], low[order], high[order]
        ends = np.searchsorted(query, np.arange(len(self.queries) + 1))
        for i in range(len(self.queries)):
            mine = low[ends[i] : ends[i + 1]]
            if len(mine) >= self.k:
                self.floor[i] = max(self.floor[i], np.partition(mine, len(mine) - self.k)[len(mine) - self.k])
        keep = high >= self.floor[query]
        self._kept, self._new, self._waiting = (query[keep], row[keep], low[keep], high[keep]), [], 0
        counts = np.bincount(self._kept[0], minlength=len(self.queries))
        for i in np.flatnonzero(counts > self._limit):
            self._relieve(int(i))

    def _relieve(self, i: int) -> None:
        """Give up a query that has too many candidates, or reduce them to its k best so far."""
        import numpy as np

        query, row, *_ = self._kept
        mine = query == i
        self._kept = tuple(column[~mine] for column in self._kept)
        if self._give_up:
            self.crowded[i] = True
            return
        rows, scores = self._best(i, row[mine])
        if len(rows) == self.k:
            self.floor[i] = max(self.floor[i], float(scores[-1]))
        at = np.searchsorted(self._kept[0], i)
        exact = scores.astype(np.float64)
        new = (np.full(len(rows), i), rows, exact, exact)
        self._kept = tuple(np.insert(old, at, more) for old, more in zip(self._kept, new, strict=True))

    def finish(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows (m, k) and their scores (m, k), float32, best first; rows of -1 for a query given up."""
        import numpy as np

        self.tighten()
        rows = np.full((len(self.queries), self.k), -1, dtype=np.int64)
        scores = np.full((len(self.queries), self.k), -np.inf, dtype=np.float32)
        query, row, low, high = self._kept
        ends = np.searchsorted(query, np.arange(len(self.queries) + 1))
        for i in np.flatnonzero(~self.crowded):
            part = slice(ends[i], ends[i + 1])
            rows[i], scores[i] = self._settle(int(i), row[part], low[part], high[part])
        return rows, scores

    def _settle(self, i: int, row: np.ndarray, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Score the likeliest k first: their worst score tells which of the rest need scoring."""
        import numpy as np

        if len(row) <= self.k:
            return self._best(i, row)
        likely = np.argpartition(-low, self.k - 1)[: self.k]
        rows, scores = self._best(i, row[likely])
        rest = high >= scores[-1]
        rest[likely] = False
        if not rest.any():
            return rows, scores
        more, theirs = self._best(i, row[rest])
        return _ranked(np.concatenate([rows, more]), np.concatenate([scores, theirs]), self.k)

    def _best(self, i: int, row: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        import numpy as np

        query = self.queries[i].astype(np.float64)
        scores = np.empty(len(row), dtype=np.float32)
        for start in range(0, len(row), RESCORED):
            part = slice(start, start + RESCORED)
            scores[part] = score(self._gather(row[part]), query)
        self.rescored += len(row)
        return _ranked(row, scores, self.k)


def score(vectors: np.ndarray, query: np.ndarray) -> np.ndarray:
    """Return the inner products (n,) of float32 vectors (n, dim) with a float64 query (dim,), rounded once to float32."""
    import numpy as np

    with np.errstate(over="ignore"):  # a score beyond float32 is infinite
        return np.einsum("nd,d->n", vectors.astype(np.float64), query).astype(np.float32)


def _ranked(rows: np.ndarray, scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    import numpy as np

    order = np.lexsort((rows, -scores))[:k]
    return rows[order], scores[order]


def _below(values: np.ndarray, dtype: np.dtype, inclusive: np.ndarray) -> np.ndarray:
    """Round float64 down into the type of the products, a step further where the value itself is to pass."""
    import numpy as np

    if dtype.kind == "i":
        info = np.iinfo(dtype)
        return np.clip(np.floor(values) - inclusive, info.min, info.max).astype(np.int64).astype(dtype)
    with np.errstate(over="ignore"):
        rounded = values.astype(dtype)
    return np.where((rounded > values) | inclusive, np.nextafter(rounded, np.float32(-np.inf)), rounded)


def scan(
    candidates: Candidates, blocks: Iterable[tuple[Any, np.ndarray, float]], allow: np.ndarray | None
) -> Candidates:
    """Offer every row of the blocks to the candidates by float32 products.

    Parameters
    ----------
    candidates : Candidates
    blocks : iterable of (rows, vectors (b, dim), norm)
        Row numbers (b,) or the first of them, in ascending order; no vector is longer than `norm`.
    allow : ndarray (n,), bool, or None

    Notes
    -----
    A float32 inner product of d terms, summed in any order, is within d u / (1 - d u) |q| |x| of the true one, u = 2^-24
    (Higham 2002, section 3.1).
    """
    import numpy as np

    m, dim = candidates.queries.shape
    share = dim * 2.0**-24 / (1 - dim * 2.0**-24) + SLACK
    for rows, block, norm in blocks:
        reach = candidates.lengths * norm
        safe = reach < LARGE
        with np.errstate(over="ignore", invalid="ignore"):
            products = candidates.queries @ block.T
        if not safe.all():
            products[~safe] = 0  # every row is a candidate
        error = np.where(safe, reach * share + 1e-30 * (reach > 0), np.inf)
        candidates.add(products, rows, picked(allow, rows, len(block)), np.ones(m), error)
    return candidates


def picked(allow: np.ndarray | None, rows: Any, count: int) -> np.ndarray | None:
    """Return which of a block's rows are allowed, or None where all are."""
    import numpy as np

    if allow is None:
        return None
    here = allow[rows] if isinstance(rows, np.ndarray) else allow[rows : rows + count]
    return None if here.all() else here
