"""Class labels as codes, some of them unknown.

An unknown label is -1, as in `sklearn.semi_supervised`; NaN in an array of numbers; and None, NaN, "" or -1 among objects and
words. So -1 cannot be the name of a class where unknown labels are allowed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils import column_or_1d
from sklearn.utils.multiclass import check_classification_targets

from mumei.core.errors import DataError

UNKNOWN = -1


def read_labels(y: Any, n: int, *, unknown: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Return the classes, sorted, and each row's place among them.

    Parameters
    ----------
    y : array (n,)
        Numbers, words or objects.
    n : int
        Rows that they belong to.
    unknown : bool
        Allow unknown labels.

    Returns
    -------
    classes : ndarray (k,)
    codes : int64 ndarray (n,)
        -1 where the label is unknown.

    Raises
    ------
    DataError
        Another number of labels than rows, no known label, one class alone, or targets that are not classes.

    Examples
    --------
    >>> read_labels(["b", "", "a", "b"], 4, unknown=True)
    (array(['a', 'b'], dtype='<U1'), array([ 1, -1,  0,  1]))
    """
    given = _as_array(y, n)
    missing = _missing(given) if unknown else np.zeros(n, dtype=bool)
    known = given[~missing]
    if not len(known):
        raise DataError("no row has a known label; give at least one of each class (-1, NaN, None or '' is unknown).")
    if known.dtype.kind == "f" and not np.isfinite(known).all():
        kind = "NaN" if np.isnan(known).any() else f"infinity or a value too large for {known.dtype!r}"
        raise DataError(f"Input y contains {kind}.")
    if known.dtype.kind == "O" and len({isinstance(v, str) for v in known.tolist()}) > 1:
        raise DataError("y mixes words with other labels; give all known labels as words, or none.")
    if known.dtype.kind == "O" and not isinstance(known[0], str):
        known = np.asarray(known.tolist())  # numbers among which something was unknown
    try:
        check_classification_targets(known)
    except ValueError as error:
        raise DataError(str(error)) from error
    classes, places = np.unique(known, return_inverse=True)
    if len(classes) < 2:
        raise DataError(f"y holds one class alone, {classes[0]!r}; a classifier needs at least two classes.")
    codes = np.full(n, UNKNOWN, dtype=np.int64)
    codes[~missing] = places
    return classes, codes


def _as_array(y: Any, n: int) -> np.ndarray:
    if y is None:
        raise DataError("this estimator requires y to be passed, but the target y is None; give one label a row.")
    given = column_or_1d(y if hasattr(y, "dtype") else np.asarray(y, dtype=_kind(y)), warn=True)
    if len(given) != n:
        raise DataError(
            f"y has {len(given)} labels for {n} rows; inconsistent numbers of samples: give one label a row."
        )
    return given


def _kind(y: Any) -> Any:
    """Return `object` for a list of words and other things, which NumPy would turn into words."""
    if not isinstance(y, list | tuple):
        return None
    words = {isinstance(v, str) for v in y}
    return object if len(words) > 1 or any(v is None for v in y) else None


def _missing(y: np.ndarray) -> np.ndarray:
    if y.dtype.kind == "f":
        return np.isnan(y) | (y == UNKNOWN)
    if y.dtype.kind == "O":
        return np.fromiter((_unknown(v) for v in y.tolist()), bool, len(y))
    return y == "" if y.dtype.kind == "U" else y == UNKNOWN


def _unknown(value: Any) -> bool:
    if value is None or (isinstance(value, str) and value == ""):
        return True
    if isinstance(value, str):
        return False
    return bool(value != value) or (not isinstance(value, bool) and value == UNKNOWN)


def to_json(classes: np.ndarray) -> dict[str, Any]:
    """Return classes as JSON values that `from_json` reads back to the last bit."""
    return {"dtype": classes.dtype.str, "values": classes.tolist()}


def from_json(value: dict[str, Any]) -> np.ndarray:
    """Return the classes that `to_json` wrote."""
    return np.asarray(value["values"], dtype=np.dtype(value["dtype"]))
