"""What the semi-supervised classifiers share: reading rows and labels, predicting a class, files."""

from __future__ import annotations

from typing import Any, Self, cast

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from mumei.core import seeds
from mumei.core.artifact import Saveable
from mumei.core.errors import DataError, suggest
from mumei.vae.labels import from_json, read_labels, to_json

ARRAYS = ("classes_", "feature_names_in_")


class SemiSupervised(ClassifierMixin, TransformerMixin, Saveable, BaseEstimator):
    """A classifier with an encoder: `_begin` reads rows and labels, `_parameters` and `_remade` are for files."""

    SKLEARN_EXCEPTIONS = {"check_classifiers_classes": "it uses -1 as a class, and -1 is an unknown label here"}  # noqa: RUF012
    _learned: tuple[str, ...] = ("n_features_in_", "feature_names_in_", "classes_", "seed_", "notes_", "n_iter_")
    n_features_in_: int
    random_state: Any
    progress: Any

    def __sklearn_tags__(self):
        """Return scikit-learn's tags: sparse rows are taken, latents are float32."""
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    def _begin(self, X: Any, y: Any) -> tuple[Any, np.ndarray]:
        rows = self._read(X, reset=True)
        self.classes_, codes = read_labels(y, rows.shape[0], unknown=True)
        self.seed_ = seeds.resolve(self.random_state)
        return rows, codes

    def _read(self, X: Any, reset: bool = False) -> Any:
        if not reset:
            check_is_fitted(self, "classes_")
        rows = cast("Any", validate_data)(self, X, accept_sparse="csr", dtype="numeric", reset=reset)
        return rows.astype(np.float32) if rows.dtype.kind == "b" else rows

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the classes' probabilities (n, k)."""
        raise NotImplementedError

    def predict(self, X: Any) -> np.ndarray:
        """Return each row's most probable class (n,)."""
        best = self.predict_proba(X).argmax(1)
        return self.classes_[best]

    def _code(self, label: Any) -> int:
        check_is_fitted(self, "classes_")
        found = [i for i, c in enumerate(self.classes_.tolist()) if c == label]
        if not found:
            names = [str(c) for c in self.classes_.tolist()]
            raise DataError(f"no class {label!r}.{suggest(str(label), names)} The classes are {', '.join(names[:10])}.")
        return found[0]

    def _parameters(self) -> dict[str, Any]:
        """Return arguments and learned values as JSON values."""
        check_is_fitted(self, "classes_")
        given = self.get_params(deep=False)
        seed = given["random_state"]
        given["random_state"] = (
            None if seed is None else int(seed) if isinstance(seed, int | np.integer) else self.seed_
        )
        given["progress"] = None
        tuples = sorted(k for k, v in given.items() if isinstance(v, tuple))
        given = {k: list(v) if isinstance(v, tuple) else v for k, v in given.items()}
        learned = {name: getattr(self, name) for name in self._learned if hasattr(self, name)}
        learned = {k: to_json(v) if k in ARRAYS else v for k, v in learned.items()}
        return {"given": given, "tuples": tuples, "learned": learned}

    @classmethod
    def _remade(cls, parameters: dict[str, Any]) -> Self:
        given = {k: tuple(v) if k in parameters["tuples"] else v for k, v in parameters["given"].items()}
        made = cls(**given)
        for name, value in parameters["learned"].items():
            setattr(made, name, from_json(value) if name in ARRAYS else value)
        return made


def widths(hidden: Any) -> tuple[int, ...]:
    """Return widths of hidden layers, given as one number or several."""
    return (hidden,) if isinstance(hidden, int) else tuple(hidden)


def under(prefix: str, tensors: dict[str, Any]) -> dict[str, Any]:
    """Return the tensors whose names begin with a prefix, without it."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
