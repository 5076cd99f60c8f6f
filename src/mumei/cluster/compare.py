"""Several methods and the baselines on one data set: the same rows, preparation and seeds for all, chosen by no label.

For each method and seed: labels, CPU seconds, and scores that need no labels. The stability of a method is the mean adjusted Rand
index between its seeds. Silhouettes are worked out in one space for all, the first principal components of the prepared rows,
since those of different codes cannot be compared; that space favours k-means, which minimises distances in it. The run that
stands for a method is the one that agrees most with its others. True labels, where they are given, are looked at after everything
was run.

With a folder each result is one file that is written whole, named by all that decides it; a comparison that was killed goes on
after the last of them, and one with more methods or seeds does only what is new. Methods that begin with the
same autoencoder share its pre-training by a cache; its seconds are counted for each of them.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mumei.cluster import catalogue, metrics
from mumei.cluster.autoencoder_kmeans import AutoencoderKMeans
from mumei.cluster.baselines import COMPONENTS, kmeans, principal_components
from mumei.cluster.comparison import Comparison, Result
from mumei.cluster.inputs import look, prepare
from mumei.cluster.number import number_of_clusters
from mumei.cluster.pretraining import Cache
from mumei.core import files, seeds
from mumei.core.artifact import library_versions
from mumei.core.batches import Rows
from mumei.core.config import at_least
from mumei.core.errors import DataError, MumeiError, UsageError
from mumei.core.inputs import read_rows, unpack
from mumei.core.progress import SILENT, Progress, format_seconds

DEFAULT = ("dec", "idec", "dcn")
SHOWN = 1000  # rows whose embedding is kept for the map
SPACE = "space"  # the seed's name for what all are measured in


class TimedCache(Cache):
    """A cache of pre-trained weights that knows what they cost.

    `spared` holds the CPU seconds of all that was taken from it in place of a training.
    """

    def __init__(self, folder: Path | str | None = None):
        super().__init__(folder)
        self.spared, self.begun, self.costs = 0.0, {}, {}

    def get(self, key: str) -> dict[str, torch.Tensor] | None:
        """Return the weights of a key, or None, from when on the clock runs."""
        found = super().get(key)
        if found is None:
            self.begun[key] = time.process_time()
        else:
            self.spared += self._cost(key)
        return found

    def put(self, key: str, weights: Mapping[str, torch.Tensor]) -> None:
        """Keep weights under a key, and what they cost."""
        now = time.process_time()
        self.costs[key] = now - self.begun.pop(key, now)
        if self.folder is not None:
            files.make_folder(self.folder)
            files.write_json(self.folder / f"{key}.json", {"seconds": self.costs[key]})
        super().put(key, weights)

    def _cost(self, key: str) -> float:
        if key not in self.costs and self.folder is not None and (path := self.folder / f"{key}.json").exists():
            self.costs[key] = float(files.read_json(path)["seconds"])
        return self.costs.get(key, 0.0)


@dataclass
class Material:
    """What all are compared on.

    Parameters
    ----------
    X
        The matrix as it was given, for the methods.
    kind : str
        How they prepare it.
    x : Tensor or CSR (n, d)
        Prepared rows, for the baselines.
    space : ndarray (n, c)
        The first principal components of x.
    n_clusters : int
    shown : ndarray (s,)
        Rows whose embedding is kept.
    notes : list of str
    """

    X: Any
    kind: str
    x: Any
    space: np.ndarray
    n_clusters: int
    shown: np.ndarray
    notes: list[str] = field(default_factory=list)


def compare(
    X: Any,
    methods: Sequence[str] | Mapping[str, Mapping[str, Any]] = DEFAULT,
    *,
    n_clusters: int | None = None,
    seeds: int | Sequence[int] = 3,
    y: Any = None,
    baselines: bool = True,
    settings: Mapping[str, Any] | None = None,
    preset: str = "robust",
    preprocess: str = "auto",
    layer: str | None = None,
    out: Path | str | None = None,
    progress: Progress = SILENT,
) -> Comparison:
    """Run methods and baselines on one data set and compare them.

    Parameters
    ----------
    X : as for `Clusterer.fit`
    methods : sequence of str, or mapping of str to dict
        Names of `mumei.cluster.catalogue.names()`; a mapping has settings of each method's own.
    n_clusters : int, optional
        k for all; None chooses it once, on the principal components, by stability and BIC.
    seeds : int or sequence of int
        How many, from 0, or which. Each is the `random_state` of a fit.
    y : array (n,), optional
        True labels: ACC, NMI and ARI are then shown beside the scores without labels. Nothing is chosen by them.
    baselines : bool
        k-means on the rows, on their principal components and on an autoencoder's code, with the same seeds.
    settings : mapping, optional
        Settings for all methods that have them: `{"epochs": 5}`.
    preset, preprocess, layer
        See `Clusterer`.
    out : path, optional
        A folder that keeps each result. The same call, after it was killed, goes on there.
    progress : Progress, optional

    Returns
    -------
    Comparison

    Raises
    ------
    DataError, UsageError
        Data or arguments that do not fit. A method that refuses the data or diverges is listed under `failures` as long as
        another one gives a result.

    Examples
    --------
    >>> X = np.random.default_rng(0).normal(size=(60, 4)) + 6 * (np.arange(60) % 2)[:, None]
    >>> tiny = {"hidden": (8,), "pretrain_epochs": 2, "epochs": 2}
    >>> found = compare(X, ["dec"], n_clusters=2, seeds=2, settings=tiny)
    >>> [(row["method"], row["seeds"]) for row in found.table()]
    [('kmeans', 2), ('pca-kmeans', 2), ('ae-kmeans', 2), ('dec', 2)]
    """
    numbers = _seeds(seeds)
    given = {catalogue.check_name(name): {} for name in methods}
    if isinstance(methods, Mapping):
        given = {catalogue.check_name(name): dict(own) for name, own in methods.items()}
    if not given:
        raise UsageError("methods is empty; give one or more of: " + ", ".join(catalogue.names()) + ".")
    wanted = [*(b for b in catalogue.BASELINES if baselines and b not in given), *given]
    common = catalogue.shared([n for n in wanted if n not in ("kmeans", "pca-kmeans")], settings or {})
    material = prepared(X, preprocess, n_clusters, layer)
    y = _labels(y, len(material.space))
    base = None if out is None else files.make_folder(Path(out))
    shared = {"preset": preset, "preprocess": material.kind, "n_clusters": material.n_clusters}
    runner = Runner(material, shared, base, progress)
    jobs = [(name, seed, {**common.get(name, {}), **given.get(name, {})}) for seed in numbers for name in wanted]
    results, failures = runner.all(jobs)
    if not results:
        raise next(iter(failures.values()))
    return Comparison(
        results=results,
        order=wanted,
        failures={name: str(error) for name, error in failures.items()},
        n_clusters=material.n_clusters,
        shown=material.shown,
        y=y,
        notes=material.notes,
        versions=library_versions(),
    )


def _seeds(given: int | Sequence[int]) -> list[int]:
    if isinstance(given, int | np.integer):
        at_least("seeds", given, 1, whole=True)
        return list(range(int(given)))
    found = [int(s) for s in given]
    if not found or len(set(found)) < len(found):
        raise UsageError(f"seeds={found} is not allowed; give a number of seeds, or different ones.")
    return found


def _labels(y: Any, n: int) -> np.ndarray | None:
    if y is None:
        return None
    y = np.asarray(y)
    if y.shape != (n,):
        raise DataError(f"y has shape {y.shape} and X has {n} rows; give one label a row.")
    return y


def prepared(X: Any, preprocess: str, n_clusters: int | None, layer: str | None) -> Material:
    """Return what all are compared on."""
    reader = AutoencoderKMeans(layer=layer)
    rows = read_rows(reader, X, layer, reset=True)
    matrix, annotated = unpack(X, layer)
    said, warned = look(rows, getattr(reader, "feature_names_in_", None))
    genes = reader.presets()["robust"]["genes"]
    made, done = prepare(rows, preprocess, annotated=annotated is not None, genes=genes)
    x, notes = made.apply(rows), [*done, *said, *warned]
    space = principal_components(x, COMPONENTS, seed=seeds.child(0, SPACE))
    if n_clusters is None:
        n_clusters, _ = number_of_clusters(space[:, :20], seed=seeds.child(0, "number"))
        notes.append(f"n_clusters={n_clusters} was chosen by stability and BIC on the first principal components")
    at_least("n_clusters", n_clusters, 1, whole=True)
    if n_clusters > len(space):
        raise UsageError(f"n_clusters={n_clusters} is more than the {len(space)} rows of X; give fewer.")
    shown = seeds.sample_rows(len(space), SHOWN, 0, "comparison")
    return Material(matrix, made.kind, x, space, int(n_clusters), shown, notes)


@dataclass
class Runner:
    """Runs what has no result yet."""

    material: Material
    shared: dict[str, Any]
    out: Path | None
    progress: Progress

    def __post_init__(self) -> None:
        self.cache = TimedCache(None if self.out is None else self.out / "pretrained")
        self.data = Rows(self.material.x).fingerprint() if self.out is not None else ""

    def all(self, jobs: list[tuple[str, int, dict[str, Any]]]) -> tuple[list[Result], dict[str, MumeiError]]:
        """Return the results in the jobs' order, and the error of each method that failed."""
        found, failures, took = [], {}, {}
        kept = {i: r for i, job in enumerate(jobs) if (r := self._kept(*job)) is not None}
        if kept:
            self.progress.say(f"{len(kept)} of {len(jobs)} results are there already")
        for i, (name, seed, settings) in enumerate(jobs):
            if name in failures:
                continue
            if i not in kept:
                left = [job[0] for j, job in enumerate(jobs[i:], i) if j not in kept and job[0] not in failures]
                self.progress.say(f"{name}, seed {seed}: {i + 1} of {len(jobs)}{_left(left, took)}")
                start = time.monotonic()
                try:
                    kept[i] = self._run(name, seed, settings)
                except MumeiError as error:
                    failures[name] = error
                    self.progress.say(f"{name} failed: {error}")
                    continue
                took.setdefault(name, []).append(time.monotonic() - start)
            found.append(kept[i])
        return [r for r in found if r.method not in failures], failures

    def _key(self, name: str, seed: int, settings: Mapping[str, Any]) -> str:
        decides = {"method": name, "seed": seed, "settings": settings, **self.shared, "data": self.data}
        text = json.dumps(decides, sort_keys=True, default=str)
        return f"{name}-{seed}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"

    def _path(self, name: str, seed: int, settings: Mapping[str, Any]) -> Path | None:
        return None if self.out is None else self.out / "results" / f"{self._key(name, seed, settings)}.safetensors"

    def _kept(self, name: str, seed: int, settings: Mapping[str, Any]) -> Result | None:
        path = self._path(name, seed, settings)
        return None if path is None or not path.exists() else Result.read(path)

    def _run(self, name: str, seed: int, settings: dict[str, Any]) -> Result:
        """Fit one method from one seed, and keep the result."""
        before, start = self.cache.spared, time.process_time()
        fit = self._simple if name in ("kmeans", "pca-kmeans") else self._method
        labels, code, told = fit(name, seed, settings)
        seconds = time.process_time() - start + self.cache.spared - before
        rows = self.material.shown
        result = Result(
            method=name,
            seed=seed,
            labels=labels,
            code=code[rows].astype(np.float32),
            seconds=seconds,
            silhouette=metrics.silhouette(self.material.space, labels),
            own_silhouette=metrics.silhouette(code, labels),
            **told,
        )
        path = self._path(name, seed, settings)
        if path is not None:
            files.make_folder(path.parent)
            result.write(path)
        return result

    def _simple(self, name: str, seed: int, settings: Any) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
        m = self.material
        labels = kmeans(m.x if name == "kmeans" else m.space, m.n_clusters, seed=seed)
        return labels, m.space, {"notes": [], "epochs": 0}

    def _method(self, name: str, seed: int, settings: Any) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
        model = catalogue.make(
            name, settings, random_state=seed, cache=self.cache, progress=self.progress, **self.shared
        )
        model.fit(self.material.X)
        return model.labels_, model.transform(self.material.X), {"notes": model.notes_, "epochs": model.n_iter_}


def _left(names: list[str], took: Mapping[str, list[float]]) -> str:
    """Say how long the fits that are left may take: as long as those of the same method, or of all."""
    if not took:
        return ""
    usual = float(np.mean([s for values in took.values() for s in values]))
    return f", about {format_seconds(sum(float(np.mean(took.get(name, [usual]))) for name in names))} left"
