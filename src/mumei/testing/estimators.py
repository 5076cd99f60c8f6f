"""What every estimator must do, on top of scikit-learn's own `check_estimator`: seeds, files, memory maps, refusals.

Each check takes an estimator that is not fitted (it is cloned, never fitted itself) and rows X (n, d).
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from mumei.core.errors import MumeiError
from mumei.testing.common import describe, fail, must_refuse, same_bits, untouched_randomness

OUTPUTS = ("predict", "transform", "predict_proba", "score_samples", "decision_function", "embed")


def example_rows() -> Any:
    """Return 60 rows of 4 numbers around three centres."""
    import numpy as np

    from mumei.core.seeds import numpy_generator

    rng = numpy_generator(0, "mumei.testing", "rows")
    centres = np.array([[0.0, 0, 0, 0], [6, 6, 0, 0], [0, 6, 6, 0]])
    return centres[np.arange(60) % 3] + rng.normal(size=(60, 4))


def _fresh(estimator: Any) -> Any:
    from sklearn.base import clone

    made: Any = clone(estimator)
    return made.set_params(random_state=0) if "random_state" in made.get_params() else made


def _fitted(estimator: Any, X: Any) -> Any:
    return _fit(_fresh(estimator), X)


def _fit(made: Any, X: Any) -> Any:
    """Fit on rows, and on labels 0, 1, 2, 0, ... (the example rows' centres) where the estimator's tags ask for a target."""
    import numpy as np
    from sklearn.utils import get_tags

    needed = hasattr(made, "__sklearn_tags__") and get_tags(made).target_tags.required
    return made.fit(X, np.arange(len(X)) % 3) if needed else made.fit(X)


def _methods(estimator: Any) -> list[str]:
    return [name for name in OUTPUTS if callable(getattr(estimator, name, None))]


def _outputs(estimator: Any, X: Any) -> dict[str, Any]:
    return {name: getattr(estimator, name)(X) for name in _methods(estimator)}


def _learned(estimator: Any) -> dict[str, Any]:
    """Return the learned values that can be compared."""
    plain = (int, float, str, bool, list, tuple, dict)
    values = {k: v for k, v in vars(estimator).items() if k.endswith("_") and not k.startswith("_")}
    return {k: v for k, v in values.items() if isinstance(v, plain) or hasattr(v, "dtype") or hasattr(v, "state_dict")}


def check_meets_protocol(estimator: Any, X: Any) -> None:
    """It has `fit`, `get_params` and `set_params`, and is not fitted yet."""
    for name in ("fit", "get_params", "set_params"):
        if not callable(getattr(estimator, name, None)):
            fail(check_meets_protocol, estimator, f"lacks {name}; inherit from sklearn.base.BaseEstimator")
    if _learned(estimator):
        fail(check_meets_protocol, estimator, f"has {sorted(_learned(estimator))} before fit; give one not fitted")


def check_sklearn(estimator: Any, X: Any) -> None:
    """It passes scikit-learn's `check_estimator`, but for what its class's `SKLEARN_EXCEPTIONS` names, with the reason."""
    import warnings

    from sklearn.base import clone
    from sklearn.utils.estimator_checks import check_estimator as sklearn_check

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # convergence on toy data is not what is tested here
        try:
            known = getattr(type(estimator), "SKLEARN_EXCEPTIONS", None)
            sklearn_check(clone(estimator), expected_failed_checks=known, on_skip=None)
        except Exception as error:
            text = str(error) or type(error).__name__
            raise AssertionError(f"check_sklearn: {describe(estimator)} fails scikit-learn's check: {text}") from error


def check_same_seed_same_bits(estimator: Any, X: Any) -> None:
    """Two fits with one seed give the same learned values and outputs, to the last bit."""
    a, b = _fitted(estimator, X), _fitted(estimator, X)
    for name, value in _learned(a).items():
        if not same_bits(value, getattr(b, name, None)):
            fail(check_same_seed_same_bits, estimator, f"learns another {name} from the same rows and seed")
    ours, theirs = _outputs(a, X), _outputs(b, X)
    for name, value in ours.items():
        if not same_bits(value, theirs[name]):
            fail(check_same_seed_same_bits, estimator, f"gives other bits from {name} with the same rows and seed")


def check_global_random(estimator: Any, X: Any) -> None:
    """Nothing is drawn from global random states."""
    with untouched_randomness(check_global_random, estimator):
        _outputs(_fitted(estimator, X), X)


def check_one_row(estimator: Any, X: Any) -> None:
    """A row alone gets what it gets among others; a fit on one row works or says why not."""
    import numpy as np

    made = _fitted(estimator, X)
    for name, value in _outputs(made, X).items():
        one = getattr(made, name)(X[:1])
        if not np.allclose(_dense(value)[:1], _dense(one), rtol=1e-4, atol=1e-6):
            fail(check_one_row, estimator, f"gives a row alone another {name} than among others")
    try:
        _fitted(estimator, X[:1])
    except (MumeiError, ValueError) as error:
        if not str(error):
            fail(check_one_row, estimator, "refuses to be fitted on one row without a message")
    except Exception as error:
        raise AssertionError(
            f"check_one_row: {describe(estimator)} answers a fit on one row with {type(error).__name__} ({error})."
        ) from error


def _dense(values: Any) -> Any:
    import numpy as np

    return values.toarray() if hasattr(values, "toarray") else np.asarray(values)


def check_duplicates(estimator: Any, X: Any) -> None:
    """Rows that occur many times are fitted, and equal rows get equal, finite outputs."""
    import numpy as np

    few = np.concatenate([X[:6]] * 10)
    for name, value in _outputs(_fitted(estimator, few), few).items():
        value = _dense(value)
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            fail(check_duplicates, estimator, f"gives NaN or infinity from {name} when rows occur many times")
        if not np.allclose(value[:6], value[6:12], rtol=1e-4, atol=1e-6):
            fail(check_duplicates, estimator, f"gives equal rows a different {name}")


def check_nan_refused(estimator: Any, X: Any) -> None:
    """NaN and infinity are refused by a `MumeiError` or `ValueError` that says so, in `fit` and in each output."""
    import numpy as np

    made = _fitted(estimator, X)
    for bad in (np.nan, np.inf):
        rows = X.copy()
        rows[3, 1] = bad
        calls = {"fit": lambda r=rows: _fitted(estimator, r)}
        calls |= {name: lambda n=name, r=rows: getattr(made, n)(r) for name in _methods(made)}
        for name, call in calls.items():
            what = f"{bad} in {name}"
            must_refuse(check_nan_refused, estimator, call, what, (MumeiError, ValueError), ("nan", "inf", "finite"))


def check_unfitted(estimator: Any, X: Any) -> None:
    """Outputs before `fit` raise `NotFittedError`."""
    from sklearn.exceptions import NotFittedError

    made = _fresh(estimator)
    for name in _methods(made):
        call = getattr(made, name)
        must_refuse(check_unfitted, estimator, lambda c=call: c(X), f"{name} before fit", (NotFittedError,))


def check_save_load(estimator: Any, X: Any) -> None:
    """Saved as an artifact and loaded, it has the same parameters, learned values and outputs, to the last bit."""
    import mumei

    made = _fitted(estimator, X)
    if not callable(getattr(made, "save", None)):
        fail(check_save_load, estimator, "has no save(path); inherit from mumei.core.artifact.Saveable")
    with tempfile.TemporaryDirectory() as folder:
        loaded = mumei.load(made.save(Path(folder) / "model"))
    if type(loaded) is not type(made):
        fail(check_save_load, estimator, f"comes back as a {type(loaded).__name__}")
    if not same_bits(made.get_params(), loaded.get_params()):
        fail(
            check_save_load, estimator, f"comes back with the parameters {loaded.get_params()}, not {made.get_params()}"
        )
    for name, value in _outputs(made, X).items():
        if not same_bits(value, getattr(loaded, name)(X)):
            fail(check_save_load, estimator, f"gives other bits from {name} after save and load")
    for name, value in _learned(made).items():
        if not same_bits(value, getattr(loaded, name, None)):
            fail(check_save_load, estimator, f"comes back with another {name}")


def check_input_not_mutated(estimator: Any, X: Any) -> None:
    """The caller's rows and the constructor's parameters are as they were."""
    rows, made = X.copy(), _fresh(estimator)
    before = made.get_params(deep=False)
    kept = {k: (v.copy() if hasattr(v, "dtype") else v) for k, v in before.items()}
    _outputs(_fit(made, rows), rows)
    if not same_bits(rows, X):
        fail(check_input_not_mutated, estimator, "changes the rows that it is given")
    for name, value in made.get_params(deep=False).items():
        if not same_bits(value, kept[name]) and value is not before[name]:
            fail(check_input_not_mutated, estimator, f"changes its parameter {name} in fit")


def check_memory_map(estimator: Any, X: Any) -> None:
    """Rows in a read-only memory map give the same bits as rows in memory."""
    import numpy as np

    from mumei.core.files import atomic_open

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.npy"
        with atomic_open(path) as handle:
            np.lib.format.write_array(handle, X, allow_pickle=False)
        mapped = np.load(path, mmap_mode="r")
        try:
            from_map = _fitted(estimator, mapped)
            outputs = _outputs(from_map, mapped)
        except Exception as error:
            raise AssertionError(
                f"check_memory_map: {describe(estimator)} cannot use a read-only memory map: {error}"
            ) from error
        made = _fitted(estimator, X)
        for name, value in _learned(made).items():
            if not same_bits(value, getattr(from_map, name, None)):
                fail(check_memory_map, estimator, f"learns another {name} from rows in a memory map")
        for name, value in _outputs(made, X).items():
            if not same_bits(np.asarray(_dense(value)), np.asarray(_dense(outputs[name]))):
                fail(check_memory_map, estimator, f"gives other bits from {name} for rows in a memory map")
        del mapped, from_map, outputs  # else the folder cannot be removed where open files are locked


def check_number_types(estimator: Any, X: Any) -> None:
    """float32 rows are fitted too, with finite outputs."""
    import numpy as np

    rows = X.astype(np.float32)
    for name, value in _outputs(_fitted(estimator, rows), rows).items():
        value = _dense(value)
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            fail(check_number_types, estimator, f"gives NaN or infinity from {name} for float32 rows")


CHECKS = (
    check_meets_protocol,
    check_input_not_mutated,  # before those that use the same input twice
    check_same_seed_same_bits,
    check_global_random,
    check_one_row,
    check_duplicates,
    check_nan_refused,
    check_unfitted,
    check_save_load,
    check_memory_map,
    check_number_types,
    check_sklearn,  # the slowest comes last
)


def check_estimator(estimator: Any, X: Any = None, *, sklearn: bool = True) -> None:
    """Run every check of an estimator.

    Parameters
    ----------
    estimator : estimator
        Not fitted, with parameters that make a fit short.
    X : ndarray (n, d), optional
        Rows that it can be fitted on, ten or more; 60 rows of 4 numbers around three centres by default.
    sklearn : bool
        Run scikit-learn's own checks too.

    Raises
    ------
    AssertionError
        The first check that fails, with the object's name and a sentence.
    """
    X = example_rows() if X is None else X
    for check in CHECKS:
        if sklearn or check is not check_sklearn:
            check(estimator, X.copy())
