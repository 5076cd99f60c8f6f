"""`Clusterer`: the spine that every deep clustering method stands on. How to add a method is told at the end.

What happens in `fit`, the same for all methods:

    read      arrays, CSR, frames, AnnData, images -> checked rows                    core.inputs.read_rows
    prepare   scaling, tf-idf, library size, said in `notes_`                         inputs.prepare
    number    n_clusters=None: a curve of stability and BIC                           number.number_of_clusters
    for each of `n_init` seeds:
      networks   make_networks(run) -> {"encoder": ..., "head": ...}
      pretrain   pretrain(nets, run), cached by content                               pretraining.pretrain
      initialise initialise(nets, run): k-means or a mixture by scikit-learn          initial.initial_clustering
      cluster    driver(nets, run) on the core training loop: step = sum of terms;    drivers.OneOptimizer, TakingTurns
                 refresh every T steps; stop when fewer than `tol` labels change
      finish     finish(nets, run): what comes after the last step
    choose    the run to keep, without labels; the spread in `stability_`             stability.choose_run

With `out=` every phase has checkpoints: a fit that was killed and is started again gives the same labels, bit for bit.
`predict` goes through the same code, blocks and weights as `labels_`, so `predict(X)` equals `labels_` on the training rows.
There is one set of labels.

How to add a method
-------------------
A method is one file: a docstring that names the paper, its equations and every departure, and a dataclass. Decorate it with
`@dataclass(kw_only=True, eq=False, repr=False)`: the fields are the constructor's keyword arguments, and no `__init__` is
written. A field of None means "what the preset says"; a setting without a field can be given in `options`.

1. Choose a base. `autoencoder.AutoencoderClusterer` pre-trains an autoencoder, places centres by k-means, embeds by the encoder
   and assigns by `head.proba(z)`: `terms` and perhaps `remember` are all there is to write (see `dec.py`, `idec.py`, `dcn.py`).
   Else take `Clusterer` and write `make_networks`, `assign` and `encode`, and `pretrain`, `initialise` where there is such a
   thing (tests/cluster/test_new_method.py has two whole methods of 25 lines).
2. `PRESETS = {"robust": {...}, "paper": {...}}`, over the base's `COMMON`; a new setting goes into both, gets a
   field, and, if it is a number, its least value in `LEAST`.
3. `terms(settings)` returns the loss: small objects of `terms.py` (`name`, `weight`, a call from a `View` to a scalar). A
   term's `after(view)` does what has no gradient, `due(at)` says whether it is its turn. What a `View` lacks goes into a
   subclass of it, given by the driver's `view`.
4. `learns` names the networks that the optimiser moves. For a game, set `driver_class = TakingTurns` and write
   `players(settings)`: who moves which networks, minimising which terms, how often, by which optimiser.
5. `remember(q, settings)` is called at each refresh with Q (n, k) of all rows; what it returns (a tensor with one row for each
   training row) is at `view.remembered(name)`. Where a refresh needs more (k-means on features, thresholds, an M step),
   subclass the driver and extend `refresh`; what it keeps goes into `memory` or `state_dict`, so that a killed fit resumes.
   Where nothing is kept by row, `seen_in_training` may say so, which spares the looks.
6. `assign(nets, x)` (b, k) must not depend on the rest of the block: networks are in evaluation mode then. All randomness
   comes from `run.seed` by name, or from `at.rng` within a step.
7. Register it ("cluster/name", tags "estimator", "table", "offline"): the conformance kit and scikit-learn's checks then run on
   `example()`. Test each term against a formula written another way.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator
from torch import Tensor, nn

from mumei.cluster.baselines import principal_components
from mumei.cluster.drivers import Driver, OneOptimizer, Player, in_blocks
from mumei.cluster.inputs import distinct, look, prepare
from mumei.cluster.number import number_of_clusters
from mumei.cluster.outputs import Outputs, tidy
from mumei.cluster.pretraining import Cache, as_cache
from mumei.cluster.run import Outcome, Run
from mumei.cluster.stability import SELECT, choose_run
from mumei.cluster.terms import Term
from mumei.core import seeds
from mumei.core.config import at_least, one_of
from mumei.core.errors import DataError, UsageError, unknown
from mumei.core.estimating import as_it_was, plain, same_settings
from mumei.core.inputs import read_rows, unpack
from mumei.core.progress import SILENT
from mumei.core.train import fit as train

RUN_TOGETHER = 0.5  # share of the rows from which on a cluster that doubled is spoken of
SPACE = 20  # principal components in which clusters are counted
LENGTH = ("epochs", "steps", "pretrain_epochs", "pretrain_steps")  # may differ between a run and its resumption


@dataclass(kw_only=True, eq=False, repr=False)
class Clusterer(Outputs, BaseEstimator):
    """A deep clustering method as a scikit-learn clusterer.

    Parameters
    ----------
    n_clusters : int or None
        k; None chooses it by stability and BIC: see `mumei.cluster.number`.
    preset : str
        Where the settings below come from that are None: "robust" (the default), or "paper", the paper's own.
    preprocess : {"auto", "scale", "standard", "tfidf", "cells", "none"}
        See `mumei.cluster.inputs`; what was done is said in `notes_`.
    epochs : int or "auto", optional
        Passes over the data in the clustering phase, at most.
    batch_size : int or "auto", optional
        Rows in a step; "auto" is an eighth of the rows, within 16 and 256.
    learning_rate : float, optional
        Of the clustering phase.
    refresh : int or "epoch", optional
        Steps between two looks at all rows; "epoch" has one before each epoch, or takes the labels that the last epoch's steps
        gave where a method needs no more than those (DEC by default).
    tol : float, optional
        Training stops when a smaller share of the labels changed between two of these looks; 0 never stops.
    n_init : int
        Runs from different seeds, pre-training included.
    select : {"auto", "consensus", "loss"}
        Which of them is kept: see `mumei.cluster.stability`.
    options : dict, optional
        Any other setting by name: `presets()` shows them.
    cache : Cache or path, optional
        Pre-trained weights by content: see `mumei.cluster.pretraining`.
    layer : str, optional
        Of an AnnData, in place of its X.
    random_state : int, RandomState or None
    out : path, optional
        A folder for checkpoints: the same fit, started again after it was killed, goes on to the same labels. Other data or
        other settings in that folder are an error.
    progress : mumei.core.progress.Progress, optional

    Attributes
    ----------
    labels_ : ndarray (n,) int64
        Equal to `predict(X)` on the training rows.
    initial_labels_ : ndarray (n,) int64 or None
        Of the clustering that training began with (k-means on the pre-trained code, say): the baseline to beat.
    n_clusters_ : int
    number_curve_ : list of dict or None
        For `n_clusters=None`: what k was chosen from.
    history_ : list of dict
        For each epoch its "phase", the mean "loss" and terms, and of the last refresh "changed" (share of labels), "empty",
        "smallest" (rows), "feature_drift" (cosine of the clustering's and the reconstruction's gradient).
    n_iter_ : int
        Epochs of the clustering phase, a last one that was cut short included.
    runs_ : ndarray (n_init, n) int64
        The labels of each run.
    stability_ : dict
        "ari" between runs, its mean and least value, which run was "chosen" and how.
    counts_ : dict
        "refreshes", clusters "emptied" (counted at each refresh) and "reseeded".
    notes_ : list of str
        What was chosen or done without being asked for.
    net_ : ModuleDict
        The networks by name.
    settings_ : dict
        All settings that were used.
    """

    n_clusters: int | None = 8
    preset: str = "robust"
    preprocess: str = "auto"
    epochs: Any = None
    batch_size: Any = None
    learning_rate: float | None = None
    refresh: Any = None
    tol: float | None = None
    n_init: int = 1
    select: str = "auto"
    options: Any = None
    cache: Any = None
    layer: str | None = None
    random_state: Any = None
    out: Any = None
    progress: Any = None

    COMMON: ClassVar[dict[str, Any]] = {
        "batch_size": "auto",
        "clip": None,
        "drop_last": False,
        "empty": "reseed",
        "epochs": "auto",
        "genes": 2000,
        "learning_rate": 1e-3,
        "momentum": 0.9,
        "optimizer": "adam",
        "precision": "float32",
        "refresh": "epoch",
        "schedule": "cosine",
        "steps": None,
        "tol": 0.001,
        "weight_decay": 0.0,
    }
    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {"robust": {}}
    LEAST: ClassVar[dict[str, float]] = {"genes": 1, "tol": 0.0}  # of settings; an integer asks for integers
    learns: ClassVar[tuple[str, ...]] = ("encoder", "head")
    driver_class: ClassVar[type[Driver]] = OneOptimizer

    @classmethod
    def presets(cls) -> dict[str, dict[str, Any]]:
        """Return all settings of each preset."""
        return {name: {**cls.COMMON, **own} for name, own in cls.PRESETS.items()}

    @classmethod
    def example(cls) -> Self:
        """Return a small one for tests."""
        short = {"hidden": (16,), "n_latent": 2, "pretrain_epochs": 12}
        known = cls.__dataclass_fields__
        options = {k: v for k, v in short.items() if k in known}
        return cls(n_clusters=3, epochs=4, batch_size=32, **options)

    # What a method writes.

    def make_networks(self, run: Run) -> dict[str, nn.Module]:
        """Return the networks by name, weights drawn from `run.seed`; called again, without rows, when a model is loaded."""
        raise NotImplementedError

    def pretrain(self, nets: dict[str, nn.Module], run: Run) -> list[dict[str, Any]]:
        """Train what comes before the clustering, in place; return the epochs' records. Nothing by default."""
        return []

    def initialise(self, nets: dict[str, nn.Module], run: Run) -> np.ndarray | None:
        """Give the networks an initial clustering and return its labels; nothing by default."""
        return None

    def preprocess_as(self, settings: Mapping[str, Any]) -> str:
        """Return what `preprocess="auto"` is for the method with its settings: a kind of `inputs.prepare`."""
        return "auto"

    def space(self, run: Run) -> np.ndarray:
        """Return what `n_clusters=None` counts clusters in (n, d'): the first principal components, by default."""
        return principal_components(run.arrays, SPACE, seed=run.seed)

    def terms(self, settings: Mapping[str, Any]) -> Sequence[Term]:
        """Return the loss's terms, for `OneOptimizer`."""
        raise NotImplementedError

    def players(self, settings: Mapping[str, Any]) -> Mapping[str, Player]:
        """Return who takes turns, for `TakingTurns`."""
        raise NotImplementedError

    def encode(self, nets: Mapping[str, Any], x: Tensor) -> Tensor:
        """Return the embedding (b, latent) of prepared rows (b, d)."""
        raise NotImplementedError

    def assign(self, nets: Mapping[str, Any], x: Tensor) -> Tensor:
        """Return the probabilities (b, k) of prepared rows (b, d)."""
        raise NotImplementedError

    def remember(self, q: Tensor, settings: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return what the terms need until the next refresh, from Q (n, k) of all rows; nothing by default."""
        return {}

    def reseed(self, nets: Mapping[str, Any], cluster: int, z: Tensor) -> None:
        """Give an emptied cluster an embedded row (latent,) to start from; nothing by default."""

    def finish(self, nets: dict[str, nn.Module], run: Run) -> None:
        """Do what comes after the last step, in place (a last k-means, say); nothing by default."""

    def seen_in_training(self, settings: Mapping[str, Any]) -> bool:
        """Return whether an epoch's steps see all that a refresh of all rows would: nothing is remembered by row."""
        return False

    def drift_terms(self, settings: Mapping[str, Any]) -> tuple[Sequence[Term], Sequence[Term]] | None:
        """Return the two losses whose gradients in "encoder" are compared at each refresh; none by default."""
        return None

    # The spine.

    def fit(self, X: Any, y: Any = None) -> Self:
        """Find the clusters.

        Parameters
        ----------
        X : ndarray, sparse matrix, data frame or AnnData (n, d); or images (n, h, w), (n, c, h, w) or (n, h, w, c)
            At least as many distinct rows as clusters, finite. An AnnData gets the labels in `obs` under the method's name in
            small letters, and the embedding in `obsm["X_<name>"]`.
        y : ignored
            True labels are never seen; `evaluate(y)` compares with them.

        Raises
        ------
        DataError, UsageError
            Data or arguments that do not fit; the estimator is as it was then.
        NonFiniteError
            Training diverged; the step and the part are named.

        Warns
        -----
        UserWarning
            A column looks like labels.
        """
        with as_it_was(self):
            self._fit(X)
        if unpack(X, self.layer)[1] is not None:
            self.predict(X)  # into its obs
            self.transform(X)  # and its obsm
        return self

    def _fit(self, X: Any) -> None:
        settings, cache = self._settings(), as_cache(self.cache)
        self.seed_ = seeds.resolve(self.random_state)
        rows = read_rows(self, X, self.layer, reset=True)
        self.notes_: list[str] = []
        if self.n_clusters is not None and self.n_clusters > rows.shape[0]:
            raise UsageError(f"n_clusters={self.n_clusters} is more than the {rows.shape[0]} rows of X; give fewer.")
        x = self._prepared(rows, settings, annotated=unpack(X, self.layer)[1] is not None)
        if settings["batch_size"] == "auto":
            settings["batch_size"] = min(256, max(16, x.shape[0] // 8))
        settings = tidy({**settings, "width": int(x.shape[1])})
        needed = 2 if self.n_clusters is None else plain(self.n_clusters)
        if (found := distinct(x, needed)) < needed:
            raise DataError(f"X has {found} distinct rows, too few for {needed} clusters; give fewer clusters.")
        self.settings_, self.number_curve_, self.n_clusters_ = settings, None, needed
        if self.n_clusters is None:
            cache = cache or Cache()
            self._choose_number(x, cache)
        self._keep_best([self._run(self._plan(x, i, cache)) for i in range(plain(self.n_init))])

    def _settings(self) -> dict[str, Any]:
        """Return the preset's settings with what was given in their place."""
        for name, low in (("n_init", 1), ("n_clusters", 1)):
            if getattr(self, name) is not None or name == "n_init":
                at_least(name, plain(getattr(self, name)), low, whole=True)
        one_of("preset", self.preset, tuple(self.PRESETS))
        one_of("select", self.select, SELECT)
        settings, options = self.presets()[self.preset], {} if self.options is None else self.options
        if not isinstance(options, Mapping):
            raise UsageError(f"options={options!r} is not allowed; give a dict of settings by name.")
        for name in options:
            if name not in settings:
                raise unknown("setting", str(name), settings)
        for name in sorted({f.name for f in fields(self)} - {f.name for f in fields(Clusterer)} - set(settings)):
            if getattr(self, name) is not None:  # of a base, whose setting the method does not have
                raise UsageError(
                    f"{name}={getattr(self, name)!r} is not allowed: {type(self).__name__} has no such setting."
                )
        own = {f.name: plain(getattr(self, f.name)) for f in fields(self) if f.name in settings}
        given = {**{k: v for k, v in own.items() if v is not None}, **plain(options)}
        for name in ("epochs", "pretrain_epochs"):
            steps = name.replace("epochs", "steps")
            if name in given and steps not in given and steps in settings:
                settings[steps] = None
        settings.update(given)
        if settings["refresh"] != "epoch":
            at_least("refresh", settings["refresh"], 1, whole=True)
        if settings["batch_size"] != "auto":
            at_least("batch_size", settings["batch_size"], 1, whole=True)
        for name, low in self.LEAST.items():
            at_least(name, settings[name], low, whole=isinstance(low, int))
        one_of("empty", settings["empty"], ("reseed", "keep"))
        return settings

    def _prepared(self, rows: Any, settings: Mapping[str, Any], annotated: bool) -> Any:
        """Fit the preparation, say what was done, warn of labels among the columns; return prepared rows."""
        said, warned = look(rows, getattr(self, "feature_names_in_", None))
        kind = self.preprocess_as(settings) if self.preprocess == "auto" else self.preprocess
        self.preparation_, done = prepare(rows, kind, annotated=annotated, genes=settings["genes"])
        self.notes_ += done + said + warned
        for sentence in warned:
            warnings.warn(sentence, UserWarning, stacklevel=4)
        return self.preparation_.apply(rows)

    def _plan(self, x: Any, number: int, cache: Cache | None) -> Run:
        out = None if self.out is None else Path(self.out) / f"run-{number}"
        seed, progress = seeds.child(self.seed_, "run", number), self.progress or SILENT
        width = self.settings_["width"]
        return Run(self.settings_, seed, self.n_clusters_, width, self.image_shape_, x, cache, out, progress)

    def _choose_number(self, x: Any, cache: Cache) -> None:
        """Choose k on what the first run's clustering would begin with."""
        run = self._plan(x, 0, cache)
        chosen, curve = number_of_clusters(self.space(run), seed=seeds.child(run.seed, "number"))
        self.n_clusters_, self.number_curve_ = chosen, curve
        self.notes_.append(
            f"n_clusters={chosen} was chosen by stability and BIC; number_curve_ shows how clear that is"
        )

    def _run(self, run: Run) -> Outcome:
        """Train from one seed."""
        nets = self.make_networks(run)
        identity = {"method": type(self).__name__, "n_clusters": run.n_clusters}
        identity |= {k: v for k, v in run.settings.items() if k not in LENGTH}
        # Made before the pre-training, so that a setting which its terms refuse is refused at once.
        driver = self.driver_class(self, nets, run.settings, run.seed, identity)
        history = [{"phase": "pretraining", **record} for record in self.pretrain(nets, run)]
        first = self.initialise(nets, run)
        same_settings(run.folder("clustering"), identity)
        config = run.config(seed=seeds.child(run.seed, "clustering"))
        found = train(
            driver, run.arrays, config, out=run.folder("clustering"), progress=run.progress, label=type(self).__name__
        )
        done = [{"phase": "clustering", **record} for record in found.epochs]
        if done and done[-1].get("partial"):
            done[-1] |= driver.watched  # else told at the epoch's end
        self.finish(nets, run)
        labels = in_blocks(self.assign, nets, run.rows).argmax(1).numpy()
        loss = next((r["loss"] for r in reversed(done) if "loss" in r), 0.0)
        return Outcome(nets, labels, first, loss, history + done, driver.counts, found.stopped)

    def _keep_best(self, outcomes: list[Outcome]) -> None:
        """Choose a run without labels, and keep what it learned."""
        self.runs_ = np.stack([o.labels for o in outcomes])
        chosen, report = choose_run(self.runs_, [o.loss for o in outcomes], self.select)
        best = outcomes[chosen]
        for net in best.nets.values():
            net.eval().requires_grad_(False)
        self.net_ = nn.ModuleDict(best.nets)
        self.labels_, self.initial_labels_ = best.labels, best.first
        self.history_, self.counts_, self.stability_ = tidy(best.history), tidy(best.counts), tidy(report)
        self.n_iter_ = sum(r["phase"] == "clustering" for r in best.history)
        self.run_seed_ = seeds.child(self.seed_, "run", chosen)
        self._say(best)

    def _say(self, best: Outcome) -> None:
        held = len(np.unique(best.labels))
        if held < self.n_clusters_:
            self.notes_.append(f"{held} of {self.n_clusters_} clusters hold rows")
        if best.counts.get("emptied"):
            done = f"{best.counts['reseeded']} began anew" if best.counts["reseeded"] else "they were left alone"
            self.notes_.append(f"clusters were empty at a refresh {best.counts['emptied']} times; {done}")
        if best.first is not None:
            began, ended = (
                np.unique(found, return_counts=True)[1].max() / len(found) for found in (best.first, best.labels)
            )
            if ended >= RUN_TOGETHER and ended >= 2 * began:
                self.notes_.append(
                    f"the largest cluster holds {ended:.0%} of the rows, {began:.0%} where the clustering began: groups "
                    "have run together; pre-train longer, or give a lower learning_rate"
                )
        if best.stopped == "finished" and self.settings_["tol"] > 0:
            self.notes_.append(f"training ended after {self.n_iter_} epochs, before the labels had settled")
        if len(self.runs_) == 1:
            self.notes_.append("one seed was run; n_init=5 or more shows how stable the groups are")
