"""What is done to rows before they are clustered, and said aloud: `prepare` chooses and fits it, `Preparation.apply` does it.

"scale"     one factor for all values, so that mean |x|^2 / d = 1: DEC's bytes * 0.02 for any data. Soft assignments compare
            distances with 1, so the scale of the data is a setting of the method.
"standard"  each column to mean 0 and variance 1, for tables whose columns have units of their own
"tfidf"     counts of words: log(1 + tf) (1 + ln((1 + n) / (1 + df))), rows to length 1, then "scale"
"cells"     counts of genes: rows to the median library size, log(1 + x), the most variable genes, then "scale"
"unit"      values of at least 0, divided by the largest, for likelihoods of bits and grey values
"counts"    raw counts of the most variable genes (as "cells" finds them), for likelihoods of counts
"none"      nothing
"auto"      "cells" for an AnnData of counts, else "scale"
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

from mumei.core.config import one_of
from mumei.core.errors import DataError, UsageError
from mumei.core.inputs import CHUNK, dense

KINDS = ("auto", "scale", "standard", "tfidf", "cells", "unit", "counts", "none")
GENES = 2000  # most variable ones that "cells" keeps
RESIDENT = 1 << 28  # values: up to here (1 GiB) sparse rows are made one dense tensor
LABELS = ("label", "labels", "class", "classes", "target", "y", "cluster", "clusters", "cell_type", "celltype")


@dataclass(frozen=True)
class Preparation:
    """A fitted preparation.

    Parameters
    ----------
    kind : str
    factor : float
        What all values are multiplied by at the end.
    tensors : dict of name to Tensor
        "centre" and "spread" (d,) of "standard", "idf" (d,) of "tfidf", "columns" (d',) of "cells" and "counts"; float64, int64.
    library : float
        "cells": what rows are brought to.
    """

    kind: str
    factor: float = 1.0
    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    library: float = 1.0

    def apply(self, rows: Any) -> Any:
        """Return prepared rows: one float32 tensor (n, d'), or, for sparse rows beyond `RESIDENT` values, CSR.

        Parameters
        ----------
        rows : ndarray or CSR (n, d)
            Finite.

        Raises
        ------
        DataError
            Negative counts, or values so far from those of the fit that float32 cannot hold them.
        """
        width = len(self.tensors["columns"]) if "columns" in self.tensors else rows.shape[1]
        sparse = scipy.sparse.issparse(rows) and self.kind != "standard" and rows.shape[0] * width > RESIDENT
        if sparse:
            return scipy.sparse.csr_matrix(self._transformed(rows) * self.factor, dtype=np.float32)
        found = torch.empty((rows.shape[0], width), dtype=torch.float32)
        for start in range(0, rows.shape[0], CHUNK):
            part = dense(self._transformed(rows[start : start + CHUNK])) * self.factor
            found[start : start + CHUNK] = torch.from_numpy(np.asarray(part, dtype=np.float64))
        if not bool(torch.isfinite(found).all()):
            row = int((~torch.isfinite(found).all(1)).int().argmax())
            raise DataError(f"row {row} is too far from the rows of the fit for float32; look at its units.")
        return found

    def _transformed(self, rows: Any) -> Any:
        """Return rows (dense or CSR, float64) before the last factor."""
        rows = rows.astype(np.float64)
        if self.kind == "standard":
            return (dense(rows) - self.tensors["centre"].numpy()) / self.tensors["spread"].numpy()
        if self.kind == "tfidf":
            check_counts(rows, self.kind)
            weighted = scipy.sparse.csr_matrix(_log1p(rows)).multiply(self.tensors["idf"].numpy()[None]).tocsr()
            lengths = np.sqrt(np.asarray(weighted.multiply(weighted).sum(1)).ravel())
            return _scaled_rows(weighted, lengths)
        if self.kind == "cells":
            check_counts(rows, self.kind)
            sums = np.asarray(rows.sum(1)).ravel() / self.library
            return _log1p(_scaled_rows(rows, sums))[:, self.tensors["columns"].numpy()]
        if self.kind in ("counts", "unit"):
            check_counts(rows, self.kind)
        return rows[:, self.tensors["columns"].numpy()] if self.kind == "counts" else rows


def check_counts(rows: Any, kind: str) -> None:
    """Raise `DataError` where rows hold a negative value."""
    values = rows.data if scipy.sparse.issparse(rows) else rows
    wanted = "values of at least 0" if kind == "unit" else "counts"
    if values.size and values.min() < 0:
        raise DataError(
            f"preprocess={kind!r} is for {wanted}; the data holds {float(values.min()):.6g}. Give raw {wanted}, or another "
            f"preprocessing: {', '.join(KINDS)}."
        )


def _log1p(rows: Any) -> Any:
    return rows.log1p() if scipy.sparse.issparse(rows) else np.log1p(rows)


def _scaled_rows(rows: Any, lengths: np.ndarray) -> Any:
    """Divide each row by its length; rows of zeros stay so."""
    factors = 1.0 / np.where(lengths > 0, lengths, 1.0)
    return scipy.sparse.diags(factors).dot(rows).tocsr() if scipy.sparse.issparse(rows) else rows * factors[:, None]


def prepare(rows: Any, kind: str, *, annotated: bool = False, genes: int = GENES) -> tuple[Preparation, list[str]]:
    """Choose and fit what is done to rows; return it with sentences that say so.

    Parameters
    ----------
    rows : ndarray or CSR (n, d)
        Validated, finite.
    kind : str
        One of `KINDS`.
    annotated : bool
        The rows came as an AnnData.
    genes : int
        Columns that "cells" keeps, at most.

    Raises
    ------
    UsageError, DataError
        An unknown kind; negative counts.

    Examples
    --------
    >>> made, said = prepare(np.full((2, 3), 4.0), "scale")
    >>> made.apply(np.full((1, 3), 4.0)), said[0]
    (tensor([[1., 1., 1.]]), 'all values are multiplied by 0.25, so that mean |x|^2 / d = 1')
    """
    if not isinstance(kind, str):
        raise UsageError(f"preprocess={kind!r} is not allowed; give one of {', '.join(KINDS)}.")
    one_of("preprocess", kind, KINDS)
    if kind == "auto":
        kind = "cells" if annotated and _whole_counts(rows) else "scale"
    makers = {"tfidf": _tfidf, "cells": _cells, "counts": _counts, "standard": _standard, "unit": _unit}
    made, said = makers.get(kind, _as_it_is)(rows, kind, genes)
    if kind in ("counts", "none", "standard", "unit"):
        return made, said
    factor = 1.0 / (root if (root := _root_mean_square(made, rows)) > 0 else 1.0)
    said.append(f"all values are multiplied by {factor:.4g}, so that mean |x|^2 / d = 1")
    return Preparation(made.kind, factor, made.tensors, made.library), said


def _whole_counts(rows: Any) -> bool:
    values = rows.data if scipy.sparse.issparse(rows) else rows[:CHUNK]
    return bool((values >= 0).all() and (values == np.floor(values)).all())


def _as_it_is(rows: Any, kind: str, genes: int) -> tuple[Preparation, list[str]]:
    return Preparation(kind), []


def _standard(rows: Any, kind: str, genes: int) -> tuple[Preparation, list[str]]:
    centre, spread = _moments(rows)
    still = spread <= 1e-7 * np.abs(centre)
    spread = np.where(still, 1.0, spread)
    tensors = {"centre": torch.from_numpy(centre), "spread": torch.from_numpy(spread)}
    return Preparation(kind, tensors=tensors), ["columns are standardised: mean 0, variance 1"]


def _tfidf(rows: Any, kind: str, genes: int) -> tuple[Preparation, list[str]]:
    check_counts(rows, kind)
    present = np.asarray((rows != 0).sum(0), dtype=np.float64).ravel()
    idf = 1.0 + np.log((1.0 + rows.shape[0]) / (1.0 + present))
    said = ["words are weighted by tf-idf, rows have length 1"]
    return Preparation(kind, tensors={"idf": torch.from_numpy(idf)}), said


def _cells(rows: Any, kind: str, genes: int) -> tuple[Preparation, list[str]]:
    check_counts(rows, kind)
    sums = np.asarray(rows.sum(1), dtype=np.float64).ravel()
    library = float(np.median(sums[sums > 0])) if (sums > 0).any() else 1.0
    everything = {"columns": torch.arange(rows.shape[1])}
    logged = Preparation(kind, tensors=everything, library=library)
    _, spread = _moments(logged, rows)
    chosen = np.sort(np.argsort(-spread, kind="stable")[:genes])
    said = [f"rows are brought to a library size of {library:.6g}, then log(1 + x)"]
    if len(chosen) < rows.shape[1]:
        said.append(f"the {len(chosen)} most variable of {rows.shape[1]} columns are used")
    if not sums.all():
        said.append(f"{int((sums == 0).sum())} rows hold no count at all (the first: row {int(sums.argmin())})")
    return Preparation(kind, tensors={"columns": torch.from_numpy(chosen.copy())}, library=library), said


def _counts(rows: Any, kind: str, genes: int) -> tuple[Preparation, list[str]]:
    chosen, said = _cells(rows, "cells", genes)
    said[0] = "counts go in as they are"
    return Preparation(kind, tensors=chosen.tensors), said


def _unit(rows: Any, kind: str, genes: int) -> tuple[Preparation, list[str]]:
    check_counts(rows, kind)
    largest = float(rows.max()) or 1.0
    return Preparation(kind, 1.0 / largest), [f"all values are divided by {largest:.6g}, the largest"]


def _moments(made: Any, rows: Any = None) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean and the deviation of each column, of rows as they are or as a preparation has them."""
    made, rows = (Preparation("none"), made) if rows is None else (made, rows)
    blocks = [range(start, min(start + CHUNK, rows.shape[0])) for start in range(0, rows.shape[0], CHUNK)]
    total = sum(dense(made._transformed(rows[b.start : b.stop])).sum(0) for b in blocks)
    centre = np.asarray(total, dtype=np.float64) / rows.shape[0]
    square = sum(np.square(dense(made._transformed(rows[b.start : b.stop])) - centre).sum(0) for b in blocks)
    return centre, np.sqrt(np.asarray(square, dtype=np.float64) / rows.shape[0])


def _root_mean_square(made: Preparation, rows: Any) -> float:
    """Return the root of mean x^2 over all values, as `made` has them."""
    total, count = 0.0, 0
    for start in range(0, rows.shape[0], CHUNK):
        part = made._transformed(rows[start : start + CHUNK])
        values = part.data if scipy.sparse.issparse(part) else part
        total, count = total + float(np.square(values).sum()), count + part.shape[0] * part.shape[1]
    return float(np.sqrt(total / max(count, 1)))


def look(rows: Any, names: Any = None) -> tuple[list[str], list[str]]:
    """Return what is to be said of rows (constant columns, unequal spreads), and warned of (labels among the columns).

    Parameters
    ----------
    rows : ndarray or CSR (n, d)
    names : sequence of str, optional
        Of the columns.
    """
    centre, spread = _moments(rows)
    still = spread <= 1e-7 * np.abs(centre)
    said, warned = [], []
    if still.any():
        said.append(f"{int(still.sum())} of {len(still)} columns never change and tell nothing")
    moving = spread[~still]
    if 1 < len(moving) <= 1000 and moving.max() > 100 * moving.min() and rows.dtype != np.uint8:
        said.append(
            f"columns' deviations go from {moving.min():.3g} to {moving.max():.3g}: those with the largest decide; "
            "preprocess='standard' gives each the same weight"
        )
    suspects = _label_columns(rows, names)
    if suspects:
        warned.append(f"column {', '.join(suspects)} looks like labels; leave it out, or the groups will be its own")
    return said, warned


def _label_columns(rows: Any, names: Any) -> list[str]:
    """Return the columns that have a label's name, or alone hold few whole numbers beside columns of any numbers."""
    found = [str(n) for n in (() if names is None else names) if str(n).lower() in LABELS]
    if found or scipy.sparse.issparse(rows) or rows.dtype.kind != "f" or not 1 < rows.shape[1] <= 1000:
        return found
    part = rows[:CHUNK]
    whole = np.flatnonzero((part == np.floor(part)).all(0))
    if len(whole) != 1 or len(part) < 20:
        return []
    kinds = len(np.unique(part[:, whole[0]]))
    return [str(int(whole[0]))] if 1 < kinds <= len(part) ** 0.5 else []


def distinct(x: Any, enough: int) -> int:
    """Return the number of distinct rows (n, d) of prepared data; the count ends at `enough`."""
    seen: set[bytes] = set()
    for start in range(0, x.shape[0], CHUNK):
        part = x[start : start + CHUNK]
        for row in part.numpy() if isinstance(part, Tensor) else dense(part):
            seen.add(row.tobytes())
            if len(seen) >= enough:
                return len(seen)
    return len(seen)
