"""What a comparison of methods found: results, the table, and in plain words whether a baseline wins."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from mumei.cluster import metrics
from mumei.cluster.catalogue import BASELINES
from mumei.cluster.stability import agreement
from mumei.core import files, registry
from mumei.core.errors import ArtifactError

TITLES = {"kmeans": "k-means", "pca-kmeans": "PCA + k-means", "ae-kmeans": "autoencoder + k-means"}
PRINCIPAL = "nmi"  # of the scores with labels: the one that a winner is named by


@dataclass(frozen=True)
class Result:
    """One method from one seed.

    Parameters
    ----------
    method : str
    seed : int
    labels : ndarray (n,) int64
    code : ndarray (s, d) float32
        Embedding of the rows that are shown.
    seconds : float
        CPU time, with that of pre-trained weights that came from a cache.
    silhouette : float or None
        In the principal components of the prepared rows, the same for all methods.
    own_silhouette : float or None
        In the method's own embedding.
    epochs : int
    notes : list of str
    """

    method: str
    seed: int
    labels: np.ndarray
    code: np.ndarray
    seconds: float
    silhouette: float | None = None
    own_silhouette: float | None = None
    epochs: int = 0
    notes: list[str] = field(default_factory=list)

    def write(self, path: Path) -> None:
        """Write one file, whole or not at all."""
        told = {k: v for k, v in vars(self).items() if k not in ("labels", "code")}
        tensors = {"labels": torch.from_numpy(self.labels.astype(np.int64)), "code": torch.from_numpy(self.code)}
        files.write_tensors(path, tensors, {"result": json.dumps(told)})

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read it back.

        Raises
        ------
        ArtifactError
            The file is not one of these.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="numpy") as held:
                told = json.loads((held.metadata() or {})["result"])
                return cls(labels=held.get_tensor("labels"), code=held.get_tensor("code"), **told)
        except (SafetensorError, OSError, KeyError, ValueError, TypeError) as error:
            raise ArtifactError(f"{path} cannot be read ({error}); remove it, and it is made again.") from error


@dataclass(frozen=True)
class Comparison:
    """Results of several methods on one data set.

    Parameters
    ----------
    results : list of Result
    order : sequence of str
        The methods, baselines first.
    n_clusters : int
    shown : ndarray (s,)
        Rows that each result's `code` is of.
    failures : mapping of str to str
        Methods that gave no result, and why.
    y : ndarray (n,), optional
        True labels.
    notes : list of str
        How the rows were prepared.
    versions : mapping
    """

    results: Sequence[Result]
    order: Sequence[str]
    n_clusters: int
    shown: np.ndarray
    failures: Mapping[str, str] = field(default_factory=dict)
    y: np.ndarray | None = None
    notes: Sequence[str] = ()
    versions: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def by_method(self) -> dict[str, list[Result]]:
        """The results of each method that has some, in the order of the methods."""
        found = {name: [r for r in self.results if r.method == name] for name in self.order}
        return {name: results for name, results in found.items() if results}

    @cached_property
    def _between_seeds(self) -> dict[str, np.ndarray]:
        return {name: agreement([r.labels for r in runs]) for name, runs in self.by_method.items()}

    def chosen(self, method: str) -> Result:
        """Return the run that stands for a method: the one that agrees most with its others."""
        return self.by_method[method][int(self._between_seeds[method].sum(1).argmax())]

    def agreement(self) -> np.ndarray:
        """Return the ARI between the chosen runs of all pairs of methods (m, m)."""
        return agreement([self.chosen(name).labels for name in self.by_method])

    def table(self) -> list[dict[str, Any]]:
        """Return one row a method: scores that need no labels first, then, where labels were given, ACC, NMI and ARI.

        "stability" is the mean ARI between pairs of seeds (None for one seed) and "stability_least" the least. "silhouette" is a
        mean over seeds in the space that all share, "own_silhouette" in the method's own. "clusters" hold rows, "smallest" is the
        smallest one's share. "acc", "nmi" and "ari" are means over seeds, "acc_spread" and so on their standard deviations.
        """
        return [self._row(name, runs) for name, runs in self.by_method.items()]

    def _row(self, name: str, runs: list[Result]) -> dict[str, Any]:
        pairs = self._between_seeds[name][np.triu_indices(len(runs), 1)]
        sizes = [np.unique(r.labels, return_counts=True)[1] for r in runs]
        row = {
            "method": name,
            "baseline": name in BASELINES,
            "seeds": len(runs),
            "stability": float(pairs.mean()) if len(pairs) else None,
            "stability_least": float(pairs.min()) if len(pairs) else None,
            "silhouette": _mean(r.silhouette for r in runs),
            "own_silhouette": _mean(r.own_silhouette for r in runs),
            "clusters": float(np.mean([len(s) for s in sizes])),
            "smallest": float(np.mean([s.min() / s.sum() for s in sizes])),
            "seconds": float(np.mean([r.seconds for r in runs])),
            "chosen_seed": self.chosen(name).seed,
        }
        if self.y is not None:
            for score, function in (("acc", metrics.accuracy), ("nmi", metrics.nmi), ("ari", metrics.ari)):
                values = [function(self.y, r.labels) for r in runs]
                row[score] = float(np.mean(values))
                row[f"{score}_spread"] = float(np.std(values, ddof=1)) if len(values) > 1 else None
        return row

    def verdict(self) -> list[str]:
        """Return in plain words what the table says of the methods against the baselines."""
        rows = self.table()
        plain, deep = [r for r in rows if r["baseline"]], [r for r in rows if not r["baseline"]]
        if not plain or not deep:
            return ["Without both methods and baselines nothing can be said of one against the other."]
        said = [_on_stability(plain, deep), _on_silhouette(plain, deep)]
        if self.y is not None:
            said.insert(0, _on_labels(plain, deep))
        else:
            said.append("Neither tells which groups are right: that takes labels, or a look at the groups.")
        return [sentence for sentence in said if sentence]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values: table, verdict, agreement between methods, failures, notes."""
        return {
            "rows": len(self.results[0].labels),
            "n_clusters": self.n_clusters,
            "table": self.table(),
            "verdict": self.verdict(),
            "agreement": {"methods": list(self.by_method), "ari": self.agreement().tolist()},
            "failures": dict(self.failures),
            "notes": list(self.notes),
            "versions": dict(self.versions),
        }

    def text(self) -> str:
        """Return the table and the verdict as lines for a terminal."""
        head, body = cells(self)
        widths = [max(len(row[i]) for row in (head, *body)) for i in range(len(head))]
        lines = [
            "  ".join(
                text.ljust(width) if not i else text.rjust(width)
                for i, (text, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in (head, *body)
        ]
        failed = [f"failed: {name}: {why}" for name, why in self.failures.items()]
        return "\n".join([*lines, "", *self.verdict(), *failed])


def title(method: str) -> str:
    """Return what a method is called in a table: its class's name, or the words for a baseline."""
    entry = registry.entries("cluster").get(f"cluster/{method}")
    return TITLES.get(method) or (entry.target.rpartition(":")[2] if entry else method)


def cells(found: Comparison) -> tuple[list[str], list[list[str]]]:
    """Return the table's head and its cells as texts."""
    scores = ("acc", "nmi", "ari") if found.y is not None else ()
    head = ["method", "seeds", "stability", "silhouette", "in own code", "clusters", "smallest", "CPU s"]
    head += [score.upper() for score in scores]
    body = []
    for row in found.table():
        cell = [title(row["method"]) + ("*" if row["baseline"] else ""), str(row["seeds"]), number(row["stability"])]
        cell += [number(row["silhouette"]), number(row["own_silhouette"]), f"{row['clusters']:g}"]
        cell += [f"{100 * row['smallest']:.1f} %", f"{row['seconds']:.1f}"]
        cell += [percent(row[score], row[f"{score}_spread"]) for score in scores]
        body.append(cell)
    return head, body


def number(value: float | None) -> str:
    """Return a score of two decimals, or a dash for none."""
    return "-" if value is None else f"{value:.2f}"


def percent(value: float, spread: float | None) -> str:
    """Return a share in percent with its spread."""
    return f"{100 * value:.1f}" + ("" if spread is None else f" ± {100 * spread:.1f}")


def _mean(values: Any) -> float | None:
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if known else None


def _best(rows: list[dict[str, Any]], score: str) -> dict[str, Any] | None:
    known = [r for r in rows if r[score] is not None]
    return max(known, key=lambda r: r[score]) if known else None


def _on_labels(plain: list[dict[str, Any]], deep: list[dict[str, Any]]) -> str:
    """Say who is nearer to the labels, and whether that is more than the seeds' spread."""
    base, method = max(plain, key=lambda r: r[PRINCIPAL]), max(deep, key=lambda r: r[PRINCIPAL])
    gap = method[PRINCIPAL] - base[PRINCIPAL]
    spread = float(np.hypot(base[f"{PRINCIPAL}_spread"] or 0.0, method[f"{PRINCIPAL}_spread"] or 0.0))
    named = f"{title(base['method'])} ({PRINCIPAL.upper()} {percent(base[PRINCIPAL], base[f'{PRINCIPAL}_spread'])})"
    best = f"{title(method['method'])} ({percent(method[PRINCIPAL], method[f'{PRINCIPAL}_spread'])})"
    if gap <= 0:
        return f"A baseline wins: by the labels {named} is at least as good as the best method, {best}."
    if method["seeds"] < 2:
        return f"By the labels {best} is ahead of the best baseline, {named}; one seed does not tell whether by chance."
    if gap <= spread:
        return f"By the labels {best} is ahead of the best baseline, {named}, by no more than seeds differ."
    return f"By the labels {best} is ahead of the best baseline, {named}, by more than seeds differ."


def _on_stability(plain: list[dict[str, Any]], deep: list[dict[str, Any]]) -> str:
    base, method = _best(plain, "stability"), _best(deep, "stability")
    if base is None or method is None:
        return ""
    named = f"{title(base['method'])} ({number(base['stability'])})"
    best = f"{title(method['method'])} ({number(method['stability'])})"
    if base["stability"] >= method["stability"]:
        return f"A baseline is the steadiest between seeds: {named}; of the methods it is {best}."
    return f"The steadiest between seeds is {best}; of the baselines it is {named}."


def _on_silhouette(plain: list[dict[str, Any]], deep: list[dict[str, Any]]) -> str:
    base, method = _best(plain, "silhouette"), _best(deep, "silhouette")
    if base is None or method is None:
        return ""
    named = f"{title(base['method'])} ({number(base['silhouette'])})"
    best = f"{title(method['method'])} ({number(method['silhouette'])})"
    if base["silhouette"] >= method["silhouette"]:
        return (
            f"The groups of a baseline are the best apart in the rows' principal components: {named} against {best}; k-means "
            "makes groups that are tight there, so this alone counts little."
        )
    return (
        f"The groups of {best} are the best apart in the rows' principal components; of the baselines those of {named}."
    )
