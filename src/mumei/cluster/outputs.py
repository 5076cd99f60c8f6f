"""What a fitted `Clusterer` gives: labels, probabilities, embeddings, scores, files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self, cast

import numpy as np
import torch
from sklearn.base import ClusterMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted
from torch import nn

from mumei.cluster import metrics
from mumei.cluster.drivers import in_blocks
from mumei.cluster.inputs import Preparation
from mumei.cluster.run import Run
from mumei.core.artifact import Saveable, State
from mumei.core.batches import Rows
from mumei.core.estimating import plain
from mumei.core.inputs import read_rows, unpack

LEARNED = (
    "n_features_in_",
    "feature_names_in_",
    "image_shape_",
    "n_clusters_",
    "number_curve_",
    "settings_",
    "seed_",
    "run_seed_",
    "n_iter_",
    "history_",
    "counts_",
    "stability_",
    "notes_",
)
ARRAYS = ("labels_", "initial_labels_", "runs_")


class Outputs(TransformerMixin, ClusterMixin, Saveable):
    """The part of `Clusterer` that needs no training."""

    SKLEARN_EXCEPTIONS: ClassVar[dict[str, str]] = dict.fromkeys(
        ("check_estimator_sparse_matrix", "check_estimator_sparse_array"),
        "the check asks what has predict_proba for a classifier's tags; a clusterer has none",
    )
    net_: nn.ModuleDict
    preparation_: Preparation
    settings_: dict[str, Any]
    labels_: np.ndarray
    initial_labels_: np.ndarray | None
    n_clusters_: int
    n_features_in_: int
    image_shape_: tuple[int, ...] | None
    run_seed_: int
    seed_: int
    notes_: list[str]
    history_: list[dict[str, Any]]
    layer: str | None
    assign: Any
    encode: Any
    make_networks: Any
    fit: Any
    get_params: Any
    random_state: Any

    def __sklearn_tags__(self) -> Any:
        """Return scikit-learn's tags: sparse rows are taken, outputs are float32."""
        tags = cast("Any", super()).__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    def _seen(self, X: Any) -> Rows:
        check_is_fitted(self, "net_")
        return Rows(self.preparation_.apply(read_rows(self, X, self.layer, reset=False)))

    def fit_predict(self, X: Any, y: Any = None) -> np.ndarray:
        """Find the clusters and return the labels (n,)."""
        return self.fit(X).labels_

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the method's assignment to each cluster, float32 (n, k); rows sum to 1.

        Parameters
        ----------
        X : as for `fit`
            With the columns of the fit, under the names that they had then, if any.

        Raises
        ------
        DataError, ValueError
            Another width or other names, or values that are missing.
        """
        rows = self._seen(X)
        return in_blocks(self.assign, cast("Any", self.net_), rows).numpy()

    def predict(self, X: Any) -> np.ndarray:
        """Return the likeliest cluster of each row, int64 (n,); those of an AnnData also go to its `obs`."""
        labels = self.predict_proba(X).argmax(1)
        _, annotated = unpack(X, self.layer)
        if annotated is not None:
            annotated.obs[self._name()] = _categories(labels)
        return labels

    def transform(self, X: Any) -> np.ndarray:
        """Return the embedding of rows, float32 (n, latent); that of an AnnData also goes to its `obsm`."""
        rows = self._seen(X)
        z = in_blocks(self.encode, cast("Any", self.net_), rows).numpy()
        _, annotated = unpack(X, self.layer)
        if annotated is not None:
            annotated.obsm[f"X_{self._name()}"] = z
        return z

    def _name(self) -> str:
        return type(self).__name__.lower()

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the embedding's names: dec0, dec1, ..."""
        check_is_fitted(self, "net_")
        latent = self.encode(self.net_, torch.zeros(1, self.settings_["width"])).shape[1]
        return np.asarray([f"{self._name()}{i}" for i in range(latent)], dtype=object)

    def evaluate(self, y: Any, X: Any = None) -> dict[str, float]:
        """Return ACC, NMI, ARI and purity against true labels y (n,), of the training rows or of other rows X."""
        check_is_fitted(self, "net_")
        return metrics.with_labels(y, self.labels_ if X is None else self.predict(X))

    def quality(self, X: Any) -> dict[str, float | None]:
        """Return scores of rows that need no labels, in the embedding: see `mumei.cluster.metrics.without_labels`."""
        return metrics.without_labels(self.transform(X), self.predict(X), seed=self.seed_)

    # Files.

    def state(self) -> State:
        """Return what the model is made of."""
        check_is_fitted(self, "net_")
        left_out = {"random_state": None, "progress": None, "out": None, "cache": None}
        given = {**self.get_params(deep=False), **left_out}
        out, cache = (getattr(self, name, None) for name in ("out", "cache"))
        given["out"] = None if out is None else str(out)
        given["cache"] = str(cache) if isinstance(cache, str | Path) else None
        tuples = sorted(k for k, v in given.items() if isinstance(v, tuple))
        fixed = self.random_state is None or isinstance(self.random_state, int | np.integer)
        given["random_state"] = self.random_state if fixed else self.seed_
        learned = {name: getattr(self, name) for name in LEARNED if hasattr(self, name)}
        prepared = self.preparation_
        learned["preparation"] = {"kind": prepared.kind, "factor": prepared.factor, "library": prepared.library}
        tensors = {f"net.{k}": v for k, v in self.net_.state_dict().items()}
        tensors |= {f"preparation.{k}": v for k, v in prepared.tensors.items()}
        tensors |= {k: torch.from_numpy(getattr(self, k)) for k in ARRAYS if getattr(self, k) is not None}
        last = self.history_[-1] if self.history_ else {}
        return State(
            {"given": plain(given), "learned": plain(learned), "tuples": tuples},
            tensors,
            seeds={"random_state": self.seed_},
            metrics={k: v for k, v in last.items() if isinstance(v, float)},
            notes="\n".join(f"- {note}" for note in self.notes_),
        )

    @classmethod
    def from_state(cls, state: State) -> Self:
        """Make the model that `state` describes."""
        given, learned = dict(state.parameters["given"]), dict(state.parameters["learned"])
        given |= {name: tuple(given[name]) for name in state.parameters["tuples"]}
        made: Any = cast("Any", cls)(**given)
        prepared = learned.pop("preparation")
        for name, value in learned.items():
            setattr(made, name, value)
        if "feature_names_in_" in learned:
            made.feature_names_in_ = np.asarray(learned["feature_names_in_"], dtype=object)
        made.image_shape_ = None if made.image_shape_ is None else tuple(made.image_shape_)
        parts = {k.removeprefix("preparation."): v for k, v in state.tensors.items() if k.startswith("preparation.")}
        made.preparation_ = Preparation(tensors=parts, **prepared)
        for name in ARRAYS:
            setattr(made, name, state.tensors[name].numpy() if name in state.tensors else None)
        run = Run(made.settings_, made.run_seed_, made.n_clusters_, made.settings_["width"], made.image_shape_)
        made.net_ = nn.ModuleDict(made.make_networks(run))
        made.net_.load_state_dict({k.removeprefix("net."): v for k, v in state.tensors.items() if k.startswith("net.")})
        made.net_.eval().requires_grad_(False)
        return made


def _categories(labels: np.ndarray) -> Any:
    """Return labels as a column of categories, which plots of annotated data colour by."""
    import pandas as pd

    names = [str(i) for i in np.unique(labels)]
    return pd.Categorical([str(i) for i in labels], categories=names)


def tidy(value: Any) -> Any:
    """Return JSON values with the keys of dicts in order, as they come back from a file."""
    value = plain(value)
    if isinstance(value, Mapping):
        return {k: tidy(value[k]) for k in sorted(value)}
    return [tidy(v) for v in value] if isinstance(value, list) else value
