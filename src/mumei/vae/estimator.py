"""`VAE`: Auto-Encoding Variational Bayes as a scikit-learn estimator.

Source: Kingma and Welling 2013. All likelihoods, bounds and scores are in nats per row, in the units of the data as it was given:
where columns are scaled before training, the logarithm of the volume change is added back.

Departures from the paper in the defaults (each is an argument): Adam in place of Adagrad, Glorot's initial weights in place of
N(0, 0.01^2), 128 hidden units, bytes read as grey values.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, cast

import numpy as np
import torch
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from mumei.core import seeds
from mumei.core.artifact import Saveable, State
from mumei.core.config import EarlyStopping, TrainConfig, at_least
from mumei.core.errors import UsageError
from mumei.core.estimating import as_it_was, own_memory, plain, widths
from mumei.core.inputs import read_rows, unpack
from mumei.core.progress import SILENT
from mumei.core.train import fit as train
from mumei.vae.choose import make_likelihood, propose
from mumei.vae.collapse import collapse_report
from mumei.vae.inputs import Scaling, check_scaled, choose_scaling, labels_of, training_rows
from mumei.vae.network import VAENet
from mumei.vae.objective import BoundConfig
from mumei.vae.outputs import Outputs
from mumei.vae.training import Kept, Watched, check_same_run, choose_method, rows_of

LATENT = 10
_Kept, _rows_of = Kept, rows_of  # under these names `ladder_estimator` takes them from here
LEARNED = (
    "n_features_in_",
    "feature_names_in_",
    "image_shape_",
    "latent_",
    "likelihood_",
    "library_",
    "batches_",
    "seed_",
    "n_iter_",
    "history_",
    "notes_",
    "collapse_",
)


class VAE(Outputs, TransformerMixin, Saveable, BaseEstimator):
    """A latent space, samples, anomaly scores and likelihoods for rows without labels.

    Parameters
    ----------
    n_latent : int or "auto"
        Width of z; "auto" is 10, or the number of columns where that is less.
    hidden : sequence of int
        Widths of the hidden layers, from the data inwards; the decoder has them in reverse.
    activation : str
        See `mumei.nn.mlp.ACTIVATIONS`.
    likelihood : "auto", str or dict
        p(x|z): "bernoulli", "gaussian", "categorical", "poisson", "nb", "zinb", or {"name": name, option: value}; "auto" is
        proposed from the data, and said in `notes_`.
    scale : {"auto", "standard", "unit", "none"}
        What is done to the data first: see `mumei.vae.inputs.choose_scaling`. Scores stay in the data's own units.
    trainer : {"aevb", "wake-sleep"}
        Wake-sleep is for the paper's network (one tanh layer, bernoulli or gaussian) and its plain objective.
    estimator, samples, beta, free_bits
        See `mumei.vae.objective.BoundConfig`.
    warmup_epochs : int
        Epochs, or calls of `partial_fit`, over which the KL's weight rises from 0 to `beta`.
    epochs, batch_size, learning_rate, precision
        See `mumei.core.config.TrainConfig`.
    optimizer : str
        "adam", "adamw", "sgd", or the paper's "adagrad".
    weight_prior : bool
        N(0, I) on the weights, as in the paper: weight decay of one over the number of rows.
    init : {"glorot", "he", "normal"}
        "normal" is the paper's N(0, 0.01^2).
    validation : float
        Share of the rows held out; training stops when their bound has not improved for `patience` epochs, and the best weights
        are kept. 0 holds out none.
    patience : int
    layer : str, optional
        Of an AnnData, in place of its X.
    random_state : int, RandomState or None
    out : path, optional
        A folder for checkpoints: the same fit, started again after it was killed, goes on to the same weights. Other data or
        other settings in that folder are an error.
    progress : mumei.core.progress.Progress, optional

    Attributes
    ----------
    net_ : VAENet
    likelihood_ : dict
    latent_ : int
    history_ : list of dict
        For each epoch the means over rows of "reconstruction", "kl" and "bound", in nats of the scaled data.
    collapse_ : dict
        What the latent space carries: `mumei.vae.collapse.CollapseReport` as JSON values.
    notes_ : list of str
        What was chosen or done without being asked for.

    Examples
    --------
    >>> X = np.random.default_rng(0).normal(size=(40, 5))
    >>> VAE(n_latent=2, epochs=2, random_state=0).fit(X).transform(X).shape
    (40, 2)
    """

    def __init__(
        self,
        *,
        n_latent: int | str = "auto",
        hidden: Any = (128,),
        activation: str = "tanh",
        likelihood: Any = "auto",
        scale: str = "auto",
        trainer: str = "aevb",
        estimator: str = "B",
        samples: int = 1,
        beta: float = 1.0,
        free_bits: float = 0.0,
        warmup_epochs: int = 0,
        epochs: int = 50,
        batch_size: int = 100,
        learning_rate: float = 2e-3,
        optimizer: str = "adam",
        precision: str = "float32",
        weight_prior: bool = True,
        init: str = "glorot",
        validation: float = 0.0,
        patience: int = 10,
        layer: str | None = None,
        random_state: Any = None,
        out: Any = None,
        progress: Any = None,
    ):
        self.n_latent = n_latent
        self.hidden = hidden
        self.activation = activation
        self.likelihood = likelihood
        self.scale = scale
        self.trainer = trainer
        self.estimator = estimator
        self.samples = samples
        self.beta = beta
        self.free_bits = free_bits
        self.warmup_epochs = warmup_epochs
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.optimizer = optimizer
        self.precision = precision
        self.weight_prior = weight_prior
        self.init = init
        self.validation = validation
        self.patience = patience
        self.layer = layer
        self.random_state = random_state
        self.out = out
        self.progress = progress

    def __sklearn_tags__(self):
        """Return scikit-learn's tags: sparse rows are taken, outputs are float32."""
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    # Fitting.

    def fit(self, X: Any, y: Any = None, *, batch: Any = None) -> Self:
        """Train on rows.

        Parameters
        ----------
        X : ndarray, sparse matrix, data frame or AnnData (n, n_features); or images (n, h, w) or (n, h, w, c)
            Two rows or more, finite. Bytes are images unless another likelihood is named. An AnnData gets the posterior means
            in `obsm["X_vae"]`.
        y : ignored
        batch : array (n,) or str, optional
            Labels (donor, plate, ...) that both networks are told, so that the latent space need not carry them; or the name of
            a column of an AnnData's `obs`.

        Raises
        ------
        DataError, UsageError
            Data or arguments that do not fit; nothing is written then, and the estimator is as it was.
        NonFiniteError
            Training diverged; the step and the part are named.
        """
        with as_it_was(self):
            self._check_arguments()
            rows, labels = self._read(X, reset=True), labels_of(X, batch)
            self._prepare(rows, labels)
            covariates = self._covariates(labels, rows.shape[0])
            self._make_net()
            kept, held = self._split(rows.shape[0])
            check_same_run(self.out, self)
            self._train(rows, covariates, kept, held, plain(self.epochs))
            self.notes_ += self._look(rows, covariates)
        if unpack(X, self.layer)[1] is not None:
            self.transform(X, batch=batch)  # into its obsm
        return self

    def partial_fit(self, X: Any, y: Any = None, *, batch: Any = None) -> Self:
        """Train for one more pass over these rows, with the optimiser's state of the last pass.

        The first call decides likelihood, scaling, names of batches and networks from its rows; a loaded or copied model begins
        with a fresh optimiser. Learning rate, `beta` and batch size may change between calls. The prior on the weights weighs
        as if these rows were all: turn `weight_prior` off where they are few of many. Parameters and errors as for `fit`.
        """
        with as_it_was(self):
            self._check_arguments()
            first = not hasattr(self, "net_")
            rows, labels = self._read(X, reset=first), labels_of(X, batch)
            if first:
                self._prepare(rows, labels)
                self._make_net()
            else:
                self._check(rows)
            covariates = self._covariates(labels, rows.shape[0])
            before, passes = list(getattr(self, "history_", [])), getattr(self, "n_iter_", 0)
            if not passes:
                check_same_run(self.out, self)
            self._train(rows, covariates, np.arange(rows.shape[0]), None, 1, resumed=passes)
            self.history_ = before + [{**e, "epoch": passes} for e in self.history_]
            self.n_iter_ = passes + 1
            self._look(rows, covariates)
        return self

    def fit_transform(self, X: Any, y: Any = None, *, batch: Any = None) -> np.ndarray:
        """Train on rows and return their posterior means (n, latent)."""
        return self.fit(X, batch=batch).transform(X, batch=batch)

    def _read(self, X: Any, reset: bool) -> Any:
        """Return validated rows (n, n_features), an ndarray of bytes, integers or floats, or CSR."""
        return read_rows(self, X, self.layer, reset=reset)

    def _check_arguments(self) -> None:
        """Refuse what is used before, or never seen by, the parts that check their own arguments."""
        at_least("batch_size", plain(self.batch_size), 1, whole=True)
        at_least("patience", plain(self.patience), 1, whole=True)
        at_least("warmup_epochs", plain(self.warmup_epochs), 0, whole=True)
        if not isinstance(self.weight_prior, bool | np.bool_):
            raise UsageError(f"weight_prior={self.weight_prior!r} is not allowed; give True or False.")
        if not isinstance(self.likelihood, str | Mapping):
            raise UsageError(
                f"likelihood={self.likelihood!r} is not allowed; give a name, {{'name': name, option: value}} or 'auto'."
            )

    def _prepare(self, rows: Any, batch: Any) -> None:
        """Choose likelihood, scaling and width of z."""
        self.seed_ = seeds.resolve(self.random_state)
        self.notes_: list[str] = []
        config = self.likelihood
        if config == "auto":
            proposal = propose(rows)
            config = proposal.config
            self.notes_.append(proposal.reason)
        likelihood = make_likelihood(config, rows.shape[1])
        self.likelihood_ = dict(sorted(likelihood.config().items()))
        self.scaling_, said = choose_scaling(rows, likelihood, self.scale)
        self.notes_ += [said] if said else []
        self.latent_ = self._width(rows.shape[1])
        self._check(rows, likelihood)
        sums = np.asarray(rows.sum(1), dtype=np.float64).ravel() if likelihood.counts else None
        self.library_ = None if sums is None else float(np.median(sums))
        if sums is not None and not sums.all():
            self.notes_.append(
                f"{int((sums == 0).sum())} rows hold no count at all (the first: row {int(sums.argmin())})"
            )
        self.batches_ = None if batch is None else sorted(set(batch.ravel().tolist()))
        if self.batches_ is not None and len(self.batches_) > rows.shape[0] // 2:
            self.notes_.append(
                f"batch has {len(self.batches_)} labels for {rows.shape[0]} rows: the networks may learn by heart"
            )

    def _width(self, n_features: int) -> int:
        if self.n_latent == "auto":
            return min(LATENT, n_features)
        if isinstance(self.n_latent, str):
            raise UsageError(f"n_latent={self.n_latent!r} is not allowed; give a number of dimensions or 'auto'.")
        latent = plain(self.n_latent)
        at_least("n_latent", latent, 1, whole=True)
        if latent > n_features:
            raise UsageError(
                f"n_latent={latent} is more than the data's {n_features} columns, so nothing would be summed up; give "
                f"{n_features} or less."
            )
        return latent

    def _check(self, rows: Any, likelihood: Any = None) -> None:
        check_scaled(rows, self.net_.likelihood if likelihood is None else likelihood, self.scaling_)

    def _make_net(self) -> None:
        self.net_ = VAENet(
            make_likelihood(self.likelihood_, self.n_features_in_),
            self.latent_,
            widths(self.hidden),
            activation=self.activation,
            init=self.init,
            covariates=len(self.batches_ or ()),
            seed=seeds.child(self.seed_, "network"),
        )

    def _split(self, n: int) -> tuple[np.ndarray, np.ndarray | None]:
        share = plain(self.validation)
        at_least("validation", share, 0.0)
        if not share:
            return np.arange(n), None
        cut = round(n * share)
        if not 1 <= cut < n:
            raise UsageError(f"validation={share} of {n} rows leaves none to train or to hold out; give less or 0.")
        order = seeds.numpy_generator(self.seed_, "validation").permutation(n)
        return np.sort(order[cut:]), np.sort(order[:cut])

    def _train(
        self,
        rows: Any,
        covariates: Tensor | None,
        kept: np.ndarray,
        held: np.ndarray | None,
        epochs: int,
        resumed: int = 0,
    ) -> None:
        batches = -(-len(kept) // plain(self.batch_size))
        bound = BoundConfig(
            estimator=self.estimator,
            samples=plain(self.samples),
            beta=plain(self.beta),
            free_bits=plain(self.free_bits),
            warmup_steps=plain(self.warmup_epochs) * batches,
        )
        method: Any = choose_method(
            self.net_,
            len(kept),
            bound,
            weight_prior=bool(self.weight_prior),
            scaling=self.scaling_,
            precision=self.precision,
            done=resumed * batches,
            trainer=self.trainer,
        )
        everything = training_rows(rows, self.scaling_)
        arrays = tuple(a for a in (everything, covariates) if a is not None)
        stopping, used = None, arrays
        if held is not None:
            used, kept_out = ([rows_of(a, index) for a in arrays] for index in (kept, held))
            method = Watched(method, lambda: float(self._scores(*kept_out).mean()))
            stopping = EarlyStopping(patience=plain(self.patience), metric="validation", mode="max")
        history = train(
            Kept(method, self, resumed),
            tuple(used),
            self._config(epochs, stopping, resumed),
            out=self.out if not resumed else None,
            progress=self.progress or SILENT,
            label="VAE",
        )
        if held is not None:
            method.restore()
        own_memory(self.net_)
        self.history_ = [dict(sorted(e.items())) for e in history.epochs]
        self.n_iter_ = len(self.history_)

    def _config(self, epochs: int, stopping: EarlyStopping | None, resumed: int) -> TrainConfig:
        optimizer: Any = self.optimizer
        if optimizer == "adagrad":
            from mumei.vae.engine import WARM_UP, adagrad

            optimizer = adagrad(plain(self.learning_rate), WARM_UP[self.trainer])
        return TrainConfig(
            epochs=epochs,
            batch_size=plain(self.batch_size),
            optimizer=optimizer,
            learning_rate=plain(self.learning_rate),
            precision=self.precision,
            seed=seeds.child(self.seed_, "training", resumed),
            early_stopping=stopping,
            checkpoint_seconds=60.0,
        )

    def _look(self, rows: Any, covariates: Tensor | None) -> list[str]:
        """Make the collapse report from at most 2,000 rows; return its warnings."""
        index = seeds.numpy_generator(self.seed_, "collapse").permutation(rows.shape[0])[:2000]
        x = self._as_seen(rows[np.sort(index)])
        extra = None if covariates is None else covariates[torch.from_numpy(np.sort(index))]
        report = collapse_report(
            self.net_, x, seeds.torch_generator(self.seed_, "collapse"), rows=len(index), covariates=extra
        )
        self.collapse_ = dict(sorted(plain(report.to_dict()).items()))
        return list(report.warnings)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the latent dimensions' names: vae0, vae1, ..."""
        check_is_fitted(self, "net_")
        return np.asarray([f"vae{i}" for i in range(self.latent_)], dtype=object)

    # Files.

    def __getstate__(self) -> Any:
        """Leave out the optimiser, whose state follows the weights' memory."""
        state: dict[str, Any] = dict(cast("Any", super().__getstate__()))
        state.pop("_optimizers", None)
        return state

    def state(self) -> State:
        """Return what the model is made of."""
        check_is_fitted(self, "net_")
        given = {k: v for k, v in self.get_params(deep=False).items() if k not in ("random_state", "out")}
        given |= {"progress": None, "out": None if self.out is None else str(self.out), "hidden": plain(self.hidden)}
        given = {k: v if isinstance(v, tuple) else plain(v) for k, v in given.items()}  # tuples: see `KeepsTuples`
        fixed = self.random_state is None or isinstance(self.random_state, int | np.integer)
        given["random_state"] = plain(self.random_state) if fixed else self.seed_
        kind = type(self.hidden).__name__
        learned = {name: plain(getattr(self, name)) for name in LEARNED if hasattr(self, name)}
        tensors = {f"net.{k}": v.contiguous() for k, v in self.net_.state_dict().items()}
        tensors |= {"scaling.centre": self.scaling_.centre, "scaling.factor": self.scaling_.factor}
        last = self.history_[-1] if self.history_ else {}
        return State(
            {"given": given, "hidden": kind, "learned": learned},
            tensors,
            seeds={"random_state": self.seed_},
            metrics={k: v for k, v in last.items() if isinstance(v, float)},
            notes="\n".join(f"- {note}" for note in self.notes_),
        )

    @classmethod
    def from_state(cls, state: State) -> Self:
        """Make the model that `state` describes."""
        given, learned = dict(state.parameters["given"]), state.parameters["learned"]
        if state.parameters["hidden"] == "tuple":
            given["hidden"] = tuple(given["hidden"])
        made = cls(**given)
        for name, value in learned.items():
            setattr(made, name, value)
        if "feature_names_in_" in learned:
            setattr(made, "feature_names_in_", np.asarray(learned["feature_names_in_"], dtype=object))  # noqa: B010
        shape = learned["image_shape_"]
        made.image_shape_ = None if shape is None else tuple(shape)
        made.scaling_ = Scaling(state.tensors["scaling.centre"], state.tensors["scaling.factor"])
        made._make_net()
        weights = {k.removeprefix("net."): v for k, v in state.tensors.items() if k.startswith("net.")}
        made.net_.load_state_dict(weights)
        return made
