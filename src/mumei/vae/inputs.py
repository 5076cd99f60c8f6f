"""What a user has (arrays, images, sparse matrices, frames, AnnData) as what training reads: one matrix, and how it is scaled.

Bytes stay bytes (a quarter of float32's memory) and are scaled a batch at a time; sparse counts stay sparse, and a batch's rows
are made dense; everything else becomes one float32 tensor. `Scaling` is x' = (x - centre) * factor; a density of x' becomes one
of x by adding the sum of log factor. Centres are float64: a column of times around 1e9 keeps its seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mumei.core.errors import DataError, UsageError, suggest
from mumei.core.inputs import CHUNK, LARGEST, dense

SCALES = ("auto", "standard", "unit", "none")
SPARSE = 0.25  # density above which a sparse matrix is made dense


@dataclass(frozen=True)
class Scaling:
    """x' = (x - centre) * factor, each a Tensor (n_features,) or of one number; the factor is float32."""

    centre: Tensor
    factor: Tensor

    def apply(self, x: Tensor) -> Tensor:
        """Return scaled rows (n, n_features), float32."""
        return ((x.to(self.centre.dtype) - self.centre) * self.factor).float()

    def undo(self, x: Tensor) -> Tensor:
        """Return rows in the user's units, float32."""
        return (x / self.factor + self.centre).float()

    @property
    def single(self) -> bool:
        """Whether all columns share one centre and one factor."""
        return self.centre.numel() == 1 and self.factor.numel() == 1

    def log_volume(self, n_features: int) -> float:
        """Return log |dx'/dx|, in nats per row."""
        return float(self.factor.double().log().expand(n_features).sum())

    @property
    def plain(self) -> bool:
        """Whether nothing changes."""
        return bool((self.centre == 0).all()) and bool((self.factor == 1).all())


def no_scaling(factor: float = 1.0) -> Scaling:
    """Return a scaling by one factor, without a centre."""
    return Scaling(torch.zeros(1), torch.tensor([factor], dtype=torch.float32))


def labels_of(X: Any, batch: Any) -> Any:
    """Return batch labels: those given, or, for a name, that column of an AnnData's `obs`.

    Raises
    ------
    UsageError
        A name without an AnnData, or one that its `obs` does not have.
    DataError
        Missing labels.
    """
    if isinstance(batch, str):
        if not hasattr(X, "obs"):
            raise UsageError(
                f"batch={batch!r} names a column of an AnnData's obs; a {type(X).__name__} was given. Give a label a row."
            )
        if batch not in X.obs:
            raise UsageError(f"no column {batch!r} in obs.{suggest(batch, X.obs)} It has: {sorted(map(str, X.obs))}.")
        batch = X.obs[batch]
    if batch is None:
        return None
    labels = np.asarray(batch)
    missing = np.fromiter((v is None or bool(v != v) for v in labels.ravel().tolist()), dtype=bool)
    if missing.any():
        raise DataError(f"{int(missing.sum())} batch labels are missing (the first: row {int(missing.argmax())}).")
    return labels


def check_scaled(X: Any, likelihood: Any, scaling: Scaling) -> None:
    """Raise `DataError` where rows (dense or CSR, validated), once scaled, cannot come from the likelihood."""
    if not scaling.single:
        return  # standardised, for a likelihood of any real numbers
    centre, factor = float(scaling.centre), float(scaling.factor)
    if not centre:
        check_values(X, likelihood, factor)
        return
    for start in range(0, X.shape[0], CHUNK):
        part = ((dense(X[start : start + CHUNK]).astype(np.float64) - centre) * factor).astype(np.float32)
        try:
            likelihood.check(np.where(np.abs(part - part.round()) < 1e-6, part.round(), part))
        except DataError as error:
            raise DataError(f"after scale='unit', which takes the fitted rows' range to 0..1: {error}") from None


def check_values(X: Any, likelihood: Any, factor: float) -> None:
    """Raise `DataError` where rows (dense or CSR, validated) cannot come from the likelihood; `factor` scales them first."""
    for start in range(0, X.shape[0], CHUNK):
        part = X[start : start + CHUNK]
        likelihood.check(dense(part) * np.float32(factor) if factor != 1.0 else dense(part))


def choose_scaling(X: Any, likelihood: Any, scale: str) -> tuple[Scaling, str]:
    """Return the scaling of rows and, in a sentence, what it is ("" for none).

    Parameters
    ----------
    X : ndarray or CSR (n, n_features)
    likelihood : Likelihood
    scale : {"auto", "standard", "unit", "none"}
        "auto": bytes / 255 for grey values; standardised columns for a Gaussian of unbounded mean; else nothing. "unit": from the
        least and largest value of all to 0 and 1.
    """
    if scale not in SCALES:
        raise UsageError(f"scale={scale!r} is not allowed.{suggest(scale, SCALES)} Allowed: {', '.join(SCALES)}.")
    continuous = likelihood.name in ("gaussian", "bernoulli")
    if scale in ("standard", "unit") and (not continuous or (scale == "standard" and likelihood.name == "bernoulli")):
        raise UsageError(
            f"scale={scale!r} would change what the {likelihood.name} likelihood is of; leave scale='auto'."
        )
    if X.dtype == np.uint8 and continuous and scale == "auto" and X.shape[0] and X.max() > 1:
        return no_scaling(1 / 255), "bytes are divided by 255"
    if scale == "unit":
        low, high = float(X.min()), float(X.max())
        factor = 1.0 / (high - low) if high > low else 1.0
        return Scaling(
            torch.tensor([low], dtype=torch.float64), torch.tensor([factor]).float()
        ), f"values from {low:.6g} to {high:.6g} go to 0..1"
    if likelihood.name == "gaussian" and not likelihood.bounded and scale in ("auto", "standard"):
        return _standard(X)
    return no_scaling(), ""


def _standard(X: Any) -> tuple[Scaling, str]:
    mean = np.asarray(X.mean(0, dtype=np.float64)).ravel()
    square, changes = np.zeros_like(mean), np.zeros(len(mean), dtype=bool)
    first = dense(X[:1])
    for start in range(0, X.shape[0], CHUNK):
        part = dense(X[start : start + CHUNK])
        changes |= (part != first).any(0)
        square += np.square(part.astype(np.float64) - mean).sum(0)
    deviation = np.sqrt(square / X.shape[0])
    # A column of one value, up to rounding in the data's own type, is centred and left at its scale.
    rounding = np.finfo(X.dtype).eps if X.dtype.kind == "f" else 0.0
    still = ~changes | (deviation <= np.maximum(rounding * np.abs(mean), 1 / LARGEST))
    deviation[still] = 1.0
    scaling = Scaling(torch.from_numpy(mean), torch.from_numpy(1.0 / deviation).float())
    constant = f"; {int(still.sum())} of them never change" if still.any() else ""
    return scaling, f"columns are standardised (the likelihood is told in the data's own units){constant}"


def training_rows(X: Any, scaling: Scaling) -> Any:
    """Return rows for training: bytes, CSR with float32 values, or one scaled float32 tensor."""
    if hasattr(X, "toarray"):
        full = X.nnz / max(1, X.shape[0] * X.shape[1])
        if scaling.plain and full <= SPARSE:
            return X.astype(np.float32)
        X = X.toarray()
    if X.dtype == np.uint8 and not bool((scaling.centre != 0).any()) and scaling.factor.numel() == 1:
        return torch.from_numpy(np.array(X, order="C"))
    return scaled_rows(X, scaling)


def scaled_rows(X: Any, scaling: Scaling) -> Tensor:
    """Return rows (dense or CSR) as one scaled float32 tensor.

    Raises
    ------
    DataError
        A row so far from those of the fit that its scaled values are not finite.
    """
    found = torch.empty(X.shape, dtype=torch.float32)
    for start in range(0, X.shape[0], CHUNK):
        values = dense(X[start : start + CHUNK])
        if scaling.plain:
            found[start : start + CHUNK] = torch.from_numpy(np.array(values, dtype=np.float32))
            continue
        part = torch.from_numpy(np.array(values, dtype=np.float64))
        found[start : start + CHUNK] = (part - scaling.centre.double()) * scaling.factor.double()
    far = ~torch.isfinite(found).all(1)
    if bool(far.any()):
        raise DataError(
            f"{int(far.sum())} rows (the first: row {int(far.int().argmax())}) are too far from those that the model was fitted "
            "on for float32; leave them out, or look at their units."
        )
    return found


def one_hot(labels: Any, categories: list[Any], n: int, name: str) -> Tensor:
    """Return labels (n,) as columns (n, categories), float32.

    Raises
    ------
    DataError
        Another number of labels than rows, or a label that training did not see.
    """
    given = np.asarray(labels)
    if given.shape != (n,):
        raise DataError(f"{name} has shape {given.shape}; give one label a row, ({n},).")
    places = {c: i for i, c in enumerate(categories)}
    unseen = sorted({str(v) for v in given.tolist() if v not in places})
    if unseen:
        raise DataError(f"{name} holds {unseen[:3]}, which training did not see; it saw {categories[:10]}.")
    index = torch.tensor([places[v] for v in given.tolist()], dtype=torch.int64)
    return torch.nn.functional.one_hot(index, len(categories)).float()
