"""The spine: one label set, files, resumption, choices without labels, inputs of every kind, refusals that change nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from cluster_toys import SMALL, blobs
from sklearn.base import clone
from sklearn.metrics import adjusted_rand_score

import mumei
from mumei.cluster.dcn import DCN
from mumei.cluster.dec import DEC
from mumei.cluster.estimator import Clusterer
from mumei.cluster.idec import IDEC
from mumei.cluster.pretraining import Cache
from mumei.cluster.vade import VaDE
from mumei.core.errors import DataError, UsageError


def test_labels_are_predictions_and_sure_ones():
    X, y = blobs()
    model = DEC(**SMALL)
    labels = model.fit_predict(X)
    assert np.array_equal(model.predict(X), labels)
    assert labels.dtype == np.int64
    proba = model.predict_proba(X)
    assert np.array_equal(proba.argmax(1), labels)
    np.testing.assert_allclose(proba.sum(1), 1.0, rtol=1e-5)
    assert model.transform(X).shape == (60, 2)
    assert model.get_feature_names_out().tolist() == ["dec0", "dec1"]
    assert model.evaluate(y) == {"acc": 1.0, "nmi": 1.0, "ari": 1.0, "purity": 1.0}
    new, truth = blobs(seed=1)
    assert model.evaluate(truth, new)["acc"] == 1.0
    assert model.quality(X)["silhouette"] > 0.5


def test_what_happened_is_told():
    model = IDEC(**{**SMALL, "tol": 0.0}).fit(blobs()[0])
    phases = [r["phase"] for r in model.history_]
    assert phases == ["pretraining"] * 12 + ["clustering"] * 4
    assert {"loss", "kl", "reconstruction", "changed", "empty", "smallest", "feature_drift"} <= set(model.history_[-1])
    assert model.n_iter_ == 4
    assert model.counts_ == {"emptied": 0, "refreshes": 4, "reseeded": 0}
    assert "mean |x|^2 / d = 1" in model.notes_[0]
    assert model.stability_["mean_ari"] is None
    assert sorted(np.unique(model.initial_labels_)) == [0, 1, 2]


def test_every_kind_of_input_gives_the_same_labels():
    X, _ = blobs()
    X[X < 0.5] = 0.0
    plain = DEC(**SMALL).fit(X)
    frame = pd.DataFrame(X, columns=list("abcd"))
    sparse = scipy.sparse.csr_matrix(X), scipy.sparse.csr_array(X)
    for form in (*sparse, frame, X[:, None, None, :]):
        model = DEC(**SMALL).fit(form)
        assert np.array_equal(model.labels_, plain.labels_)
        assert np.array_equal(model.predict(form), plain.labels_)
    assert DEC(**SMALL).fit(frame).feature_names_in_.tolist() == list("abcd")
    with pytest.raises(DataError, match="fitted on images"):
        model.predict(X.reshape(60, 2, 2))


def test_an_annotated_matrix_gets_labels_and_embedding():
    data = anndata.AnnData(np.random.default_rng(0).poisson(3.0, (40, 6)).astype(np.float32))
    model = DEC(**SMALL).fit(data)
    assert model.settings_["width"] == 6
    assert "library size" in model.notes_[0]
    assert data.obs["dec"].tolist() == [str(v) for v in model.labels_]
    assert np.array_equal(data.obsm["X_dec"], model.transform(data))
    with pytest.raises(DataError, match="feature names"):
        model.predict(data[:, ::-1].copy())


def test_a_model_comes_back_from_its_folder(tmp_path):
    X, _ = blobs()
    model = DEC(**{**SMALL, "hidden": (16, 8)}, n_init=2, cache=Cache(), options={"starts": 3}).fit(X)
    loaded = mumei.load(model.save(tmp_path / "model"))
    assert loaded.get_params() == {**model.get_params(), "cache": None}
    for name in ("labels_", "initial_labels_", "runs_"):
        assert np.array_equal(getattr(loaded, name), getattr(model, name))
    assert (loaded.settings_, loaded.history_, loaded.stability_) == (model.settings_, model.history_, model.stability_)
    assert np.array_equal(loaded.predict_proba(X), model.predict_proba(X))
    assert np.array_equal(clone(loaded).fit(X).labels_, model.labels_)


def test_settings_are_the_presets_unless_given():
    paper = DEC(preset="paper")._settings()
    assert (paper["optimizer"], paper["learning_rate"], paper["pretrain_steps"]) == ("sgd", 0.01, 100_000)
    given = DEC(preset="paper", pretrain_epochs=3, options={"momentum": 0.5}, learning_rate=np.float64(0.2))._settings()
    assert (given["pretrain_epochs"], given["pretrain_steps"], given["momentum"]) == (3, None, 0.5)
    assert given["learning_rate"] == 0.2
    assert DEC.presets()["robust"]["optimizer"] == "adam"


@pytest.mark.parametrize(("n", "expected"), [(60, 16), (400, 50)])
def test_batches_are_an_eighth_of_few_rows(n, expected):
    assert DEC(**{**SMALL, "batch_size": "auto", "epochs": 1}).fit(blobs(n)[0]).settings_["batch_size"] == expected


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"n_clusters": 0}, "n_clusters=0"),
        ({"n_clusters": 2.5}, r"n_clusters=2\.5"),
        ({"n_clusters": 61}, "more than the 60 rows"),
        ({"n_init": 0}, "n_init=0"),
        ({"preset": "papr"}, "Did you mean 'paper'"),
        ({"preprocess": "scal"}, "Did you mean 'scale'"),
        ({"select": "best"}, "select"),
        ({"options": {"momentun": 1}}, "Did you mean 'momentum'"),
        ({"options": 3}, "dict of settings"),
        ({"options": {"empty": "fill"}}, "empty"),
        ({"options": {"noise": 1.0}}, r"noise=1\.0"),
        ({"options": {"starts": 0}}, "starts=0"),
        ({"options": {"genes": 0.5}}, r"genes=0\.5"),
        ({"options": {"alpha": 0}}, "alpha=0"),
        ({"options": {"init": "random"}}, "init"),
        ({"refresh": 0}, "refresh=0"),
        ({"refresh": "step"}, "refresh='step'"),
        ({"tol": -1}, "tol=-1"),
        ({"epochs": 0}, "epochs=0"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"hidden": "16"}, "hidden='16'"),
        ({"n_latent": 0}, "n_latent=0"),
        ({"n_latent": "all"}, "n_latent='all'"),
        ({"cache": 3}, "cache=3"),
        ({"random_state": -1}, "random_state=-1"),
    ],
)
def test_arguments_that_are_refused(given, match):
    with pytest.raises(UsageError, match=match):
        DEC(**{**SMALL, **given}).fit(blobs()[0])


def test_bad_rows_are_refused_and_change_nothing():
    X, _ = blobs()
    model = DEC(**SMALL).fit(X)
    before = dict(vars(model))
    weight = model.net_["encoder"].layers[0].weight.clone()
    bad = X.copy()
    bad[2, 1] = np.nan
    for rows, match in [
        (bad, "NaN in row 2, column 1"),
        (X[:1], "1 sample"),
        (X[:2], "more than the 2 rows"),
        (np.concatenate([X[:2]] * 9), "2 distinct rows, too few for 3"),
        (np.zeros((9, 3)), "1 distinct rows"),
        (np.zeros((9, 0)), "0 feature"),
    ]:
        with pytest.raises(ValueError, match=match):
            model.fit(rows)
        assert vars(model) == before
    assert np.array_equal(model.net_["encoder"].layers[0].weight, weight)
    with pytest.raises(DataError, match="is for counts"):
        DEC(**SMALL, preprocess="cells").fit(X)


def test_what_looks_wrong_is_said():
    X, y = blobs()
    with pytest.warns(UserWarning, match="column 4 looks like labels"):
        model = DEC(**SMALL).fit(np.column_stack([X, y]))
    assert "looks like labels" in " ".join(model.notes_)
    X[:, 1] = 5.0
    assert "1 of 4 columns never change" in " ".join(DEC(**SMALL).fit(X).notes_)


def test_runs_are_chosen_without_labels_and_their_spread_is_shown():
    X, _ = blobs()
    model = DEC(**SMALL, n_init=3).fit(X)
    assert model.runs_.shape == (3, 60)
    assert model.stability_["select"] == "consensus"
    assert np.array_equal(model.labels_, model.runs_[model.stability_["chosen"]])
    pairs = [adjusted_rand_score(model.runs_[i], model.runs_[j]) for i, j in ((0, 1), (0, 2), (1, 2))]
    assert model.stability_["mean_ari"] == pytest.approx(np.mean(pairs))
    assert np.array_equal(DEC(**SMALL).fit(X).labels_, model.runs_[0])


def test_the_number_of_clusters_is_found():
    X, y = blobs(90)
    model = DEC(**{**SMALL, "n_clusters": None}).fit(X)
    assert model.n_clusters_ == 3
    assert [p["n_clusters"] for p in model.number_curve_][:2] == [2, 3]
    assert "was chosen by stability and BIC" in " ".join(model.notes_)
    assert model.evaluate(y)["acc"] > 0.95


def test_clusters_are_counted_in_principal_components_where_nothing_is_pre_trained():
    X, _ = blobs(90)
    model = DEC(**SMALL).fit(X)
    run = model._plan(model.preparation_.apply(X), 0, None)
    centred = X - X.mean(0)
    values = np.linalg.svd(centred, compute_uv=False) * model.preparation_.factor
    np.testing.assert_allclose(np.linalg.norm(Clusterer.space(model, run), axis=0), values, rtol=1e-3)


def test_methods_share_pre_training_through_a_cache():
    X, _ = blobs()
    cache = Cache()
    first = DEC(**SMALL, cache=cache).fit(X)
    second = IDEC(**SMALL, cache=cache).fit(X)
    assert len(cache.kept) == 1
    assert np.array_equal(first.initial_labels_, second.initial_labels_)
    assert all(r["phase"] == "clustering" for r in second.history_)
    assert np.array_equal(second.labels_, IDEC(**SMALL).fit(X).labels_)


def test_the_cache_tells_networks_apart_that_begin_with_the_same_weights():
    X, _ = blobs()
    cache = Cache()
    for slope in ("relu", "leaky_relu", "leaky_relu_0.2"):
        given = {**SMALL, "cache": cache, "options": {"activation": slope}}
        shared = DEC(**given).fit(X)
        assert np.array_equal(shared.transform(X), DEC(**{**given, "cache": None}).fit(X).transform(X))
    assert len(cache.kept) == 3
    for variance in (1.0, 2.0):
        VaDE(**SMALL, cache=cache, likelihood={"name": "gaussian", "variance": variance}).fit(X)
    assert len(cache.kept) == 5


@pytest.mark.parametrize("method", [DEC, IDEC, DCN])
def test_a_thousand_steps_at_ten_times_the_learning_rate_give_no_nan(method):
    X, _ = blobs()
    given = {**SMALL, "epochs": 250, "tol": 0.0, "learning_rate": 1e-2, "batch_size": 16, "refresh": 40}
    model = method(**given, options={"schedule": "constant"}).fit(X)
    assert np.isfinite(model.predict_proba(X)).all()
    assert np.isfinite(model.transform(X)).all()
    assert model.history_[-1]["epoch"] == 249


SCRIPT = """
import sys, time
import numpy as np, torch
torch.set_num_threads(1)
from mumei.cluster import run
from mumei.cluster.dec import DEC
from mumei.cluster.idec import IDEC
from mumei.core import train
from cluster_toys import SMALL, blobs
run.CHECKPOINT_SECONDS = 1e-6
pause = float(sys.argv[2])
count = train._Loop._count
def slow(self, values, rows):
    count(self, values, rows)
    print("step", flush=True)
    time.sleep(pause)
train._Loop._count = slow
X, _ = blobs()
method = {"dec": DEC, "idec": IDEC}[sys.argv[3]]
print("labels", method(**{**SMALL, "tol": 0.0}, out=sys.argv[1]).fit(X).transform(X).tobytes().hex())
"""


@pytest.mark.parametrize("method", [DEC, IDEC])
def test_a_killed_fit_goes_on_to_the_same_bits(method, tmp_path):
    X, _ = blobs()
    calm = method(**{**SMALL, "tol": 0.0}).fit(X)
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "out")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parent)}
    killed = subprocess.Popen(
        [*command, "0.02", method.__name__.lower()], stdout=subprocess.PIPE, text=True, env=environment
    )
    for _ in range(27):  # 24 of them are the pre-training's
        assert killed.stdout.readline() == "step\n"
    time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    assert "labels" not in killed.communicate()[0]
    done = subprocess.run(
        [*command, "0", method.__name__.lower()], capture_output=True, text=True, env=environment, check=True
    )
    lines = done.stdout.split("\n")
    assert lines[-2] == f"labels {calm.transform(X).tobytes().hex()}"
    assert 1 <= lines.count("step") < 8


def test_a_folder_of_another_fit_is_refused(tmp_path):
    X, _ = blobs()
    first = IDEC(**SMALL, out=tmp_path).fit(X)
    assert np.array_equal(IDEC(**SMALL, out=tmp_path).fit(X).labels_, first.labels_)
    for change in ({"gamma": 0.5}, {"tol": 0.5}):
        with pytest.raises(UsageError, match="differs from this one"):
            IDEC(**{**SMALL, **change}, out=tmp_path).fit(X)
    with pytest.raises(UsageError, match="differs from this one"):
        IDEC(**SMALL, out=tmp_path).fit(X + 1.0)
