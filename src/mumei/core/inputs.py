"""Rows as users have them (arrays, images, sparse matrices, frames, AnnData) as one checked matrix, for every estimator.

An estimator calls `read_rows` in `fit` (which remembers width, names and image shape on it) and in each output (which compares
them). What is done with the values then (likelihoods, scaling, tf-idf) is the capability's own.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from torch import Tensor

from mumei.core.errors import DataError, UsageError, suggest

CHUNK = 2048  # rows looked at, scaled or encoded at a time
LARGEST = 1e37  # of what float32 outputs can still hold


def read_rows(model: Any, X: Any, layer: str | None = None, *, reset: bool, least: int = 2) -> Any:
    """Return validated rows (n, n_features), an ndarray of bytes, integers or floats, or CSR.

    Parameters
    ----------
    model : scikit-learn estimator
        Gets `n_features_in_`, `image_shape_` and, where the columns have names, `feature_names_in_`.
    X : ndarray, sparse matrix, data frame or AnnData (n, n_features); or images (n, h, w), (n, h, w, c) or (n, c, h, w)
    layer : str, optional
        Of an AnnData, in place of its X.
    reset : bool
        Whether this is a fit; else the rows must have the width, names and image shape of the fit.
    least : int
        Rows that a fit needs.

    Raises
    ------
    DataError, UsageError, ValueError
        Not rows of finite numbers, or not those of the fit.
    """
    from sklearn.utils.validation import check_array, validate_data

    matrix, annotated = unpack(X, layer)
    matrix, shape = flatten_images(matrix)
    if reset:
        model.image_shape_ = shape
    elif shape is not None and getattr(model, "image_shape_", None) not in (None, shape):
        raise DataError(f"images of {shape} were given; the model was fitted on images of {model.image_shape_}.")
    options: Any = {"accept_sparse": "csr", "dtype": "numeric", "ensure_all_finite": False}
    options["ensure_min_samples"] = least if reset else 1
    if annotated is None:
        rows = cast("Any", validate_data)(model, matrix, reset=reset, **options)
    else:
        rows = check_array(matrix, estimator=model, **options)
        _take_names(model, rows, annotated.var_names, reset)
    check_finite(rows)
    return rows.astype(np.float32) if rows.dtype.kind == "b" else rows


def _take_names(model: Any, rows: Any, names: Any, reset: bool) -> None:
    """Keep or compare the names of an AnnData's columns, as scikit-learn does with those of a data frame."""
    if reset:
        model.n_features_in_, model.feature_names_in_ = rows.shape[1], np.asarray(names, dtype=object)
    elif hasattr(model, "feature_names_in_"):
        check_names(model.feature_names_in_, names)
    elif rows.shape[1] != model.n_features_in_:
        raise DataError(f"X has {rows.shape[1]} features; the model was fitted on {model.n_features_in_} features.")


def unpack(X: Any, layer: str | None) -> tuple[Any, Any]:
    """Return the matrix in X (in memory, where its file is open) and, where X is an AnnData, X itself (else None).

    Raises
    ------
    UsageError
        A layer that is not there, or a layer asked of something that has none.
    """
    if hasattr(X, "obsm") and hasattr(X, "layers"):
        if layer is None:
            return _in_memory(X.X), X
        if layer not in X.layers:
            raise UsageError(
                f"no layer {layer!r} in the AnnData.{suggest(layer, X.layers)} It has: {sorted(X.layers)}."
            )
        return _in_memory(X.layers[layer]), X
    if layer is not None:
        raise UsageError(f"layer={layer!r} is for AnnData; a {type(X).__name__} was given.")
    return X, None


def _in_memory(matrix: Any) -> Any:
    """Read the matrix of an AnnData that was opened with `backed`."""
    if matrix is None:
        raise DataError("the AnnData has no X; name one of its layers with layer=.")
    if hasattr(matrix, "to_memory"):
        return matrix.to_memory()
    return matrix if isinstance(matrix, np.ndarray) or hasattr(matrix, "tocsr") else matrix[()]


def check_names(fitted: Any, given: Any) -> None:
    """Raise `DataError` unless the columns' names are those of the fit, in that order.

    Parameters
    ----------
    fitted, given : sequence of str
    """
    fitted, given = [str(name) for name in fitted], [str(name) for name in given]
    if fitted == given:
        return
    lacking = [name for name in fitted if name not in set(given)]
    if lacking:
        raise DataError(f"{len(lacking)} of the {len(fitted)} feature names of the fit are missing: {lacking[:3]} ...")
    raise DataError(
        f"the feature names are not those of the fit, in its order ({len(given)} given, {len(fitted)} then); give "
        "data[:, model.feature_names_in_]."
    )


def flatten_images(X: Any) -> tuple[Any, tuple[int, ...] | None]:
    """Return images (n, h, w), (n, h, w, c) or (n, c, h, w) as rows, and their shape; rows as they are, and None."""
    if isinstance(X, Tensor):
        X = X.detach().cpu().numpy()
    if isinstance(X, np.ndarray) and X.ndim in (3, 4):
        return X.reshape(len(X), -1), X.shape[1:]
    return X, None


def check_finite(X: Any) -> None:
    """Raise `DataError` for values of rows (dense or CSR) that are missing, infinite or beyond float32, naming the first."""
    if X.dtype.kind != "f":
        return
    for start in range(0, X.shape[0], CHUNK):
        part = X[start : start + CHUNK]
        values = part.data if hasattr(part, "toarray") else part
        with np.errstate(invalid="ignore"):
            good = np.abs(values) <= LARGEST
        if good.all():
            continue
        row, column = (int(i[0]) for i in np.nonzero(~(np.abs(dense(part)) <= LARGEST)))
        value = float(dense(part)[row, column])
        what = "NaN" if value != value else "inf (infinity)" if np.isinf(value) else f"{value:.3g}"
        remedy = "fill in or leave out" if value != value else "leave out or scale down"
        raise DataError(
            f"the data holds {what} in row {start + row}, column {column}; finite numbers up to {LARGEST:.0e} are needed: "
            f"{remedy} such values."
        )


def dense(X: Any) -> np.ndarray:
    """Return a dense array of rows."""
    return X.toarray() if hasattr(X, "toarray") else np.asarray(X)
