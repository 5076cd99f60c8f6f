"""The estimator: conformance, units, files, resumption after kill -9, every kind of input, bad input."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import scipy.sparse
import torch

import mumei
from mumei.core import seeds
from mumei.core.errors import ArtifactError, DataError, NonFiniteError, UsageError
from mumei.core.train import fit as train
from mumei.testing import check_estimator
from mumei.vae.engine import WakeSleep
from mumei.vae.estimator import VAE
from mumei.vae.training import BoundMethod, choose_method


def normal(n: int = 60, d: int = 5, seed: int = 0) -> np.ndarray:
    draw = np.random.default_rng(seed)
    return draw.normal(size=(n, 2)) @ draw.normal(size=(2, d)) + 0.1 * draw.normal(size=(n, d)) + 3.0


def counts(n: int = 80, d: int = 12, seed: int = 0) -> np.ndarray:
    draw = np.random.default_rng(seed)
    rates = np.where(np.arange(n)[:, None] % 2, np.linspace(0.2, 6, d), np.linspace(6, 0.2, d))
    return draw.negative_binomial(2, 2 / (2 + rates)).astype(np.float64)


def small(**options) -> VAE:
    return VAE(**{"n_latent": 2, "hidden": (8,), "epochs": 4, "random_state": 0, **options})


def weights(model: VAE) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.net_.parameters()])


def test_it_conforms():
    check_estimator(VAE(epochs=3, hidden=(8,)))


def test_scores_are_in_the_datas_own_units():
    """A change of units by a factor c changes a density of d columns by -d log c; a power of two changes no bit beside that."""
    X = normal()
    assert small().fit(8 * X).score(8 * X) == pytest.approx(small().fit(X).score(X) - 5 * np.log(8), abs=1e-5)
    first, second = small().fit(X), small().fit(10 * X)
    assert second.score(10 * X) == pytest.approx(first.score(X) - 5 * np.log(10), abs=0.1)
    found = second.log_likelihood(10 * X, "iwae", samples=200).mean - first.log_likelihood(X, "iwae", samples=200).mean
    assert found == pytest.approx(-5 * np.log(10), abs=1e-3)
    np.testing.assert_allclose(
        second.inverse_transform(np.zeros((1, 2))), 10 * first.inverse_transform(np.zeros((1, 2))), rtol=1e-3
    )


def test_training_raises_the_bound_above_a_gaussian_that_knows_no_dependence():
    X = normal(400)
    model = small(epochs=300, hidden=(32,), learning_rate=5e-3).fit(X)
    apart = -0.5 * (np.log(2 * np.pi * X.var(0)) + 1).sum()  # the best diagonal Gaussian, in closed form
    assert model.score(X) > apart + 1.0
    assert model.score(X) <= model.log_likelihood(X, "iwae", samples=200).mean + 0.05
    assert model.collapse_["active_units"] == 2


def test_save_and_load_are_bit_equal(tmp_path):
    X = counts()
    model = small().fit(X)
    loaded = mumei.load(model.save(tmp_path / "model"))
    assert np.array_equal(model.transform(X), loaded.transform(X))
    assert np.array_equal(model.sample(3, seed=1), loaded.sample(3, seed=1))
    assert loaded.get_params() == model.get_params()
    with pytest.raises(ArtifactError):
        VAE.load(tmp_path)


@pytest.mark.parametrize("likelihood", ["auto", "poisson", "zinb"])
def test_counts(likelihood):
    X = counts()
    model = small(likelihood=likelihood, epochs=60, learning_rate=1e-2).fit(X)
    assert model.history_[-1]["bound"] > model.history_[0]["bound"]
    assert model.likelihood_["name"] == {"auto": "nb"}.get(likelihood, likelihood)
    sparse = small(likelihood=likelihood, epochs=60, learning_rate=1e-2).fit(scipy.sparse.csr_matrix(X))
    np.testing.assert_allclose(sparse.transform(X), model.transform(X), rtol=1e-4, atol=1e-4)
    drawn = model.sample(200, seed=0)
    assert np.array_equal(drawn, np.floor(drawn))
    assert drawn.sum(1).mean() == pytest.approx(model.library_, rel=0.2)


def test_sparse_rows_stay_sparse_in_training():
    X = scipy.sparse.random(300, 40, density=0.05, format="csr", random_state=0, data_rvs=lambda n: np.ones(n) * 3.0)
    model = small(likelihood="nb").fit(X)
    dense = small(likelihood="nb").fit(X.toarray())
    torch.testing.assert_close(weights(model), weights(dense), rtol=1e-4, atol=1e-5)


def test_bytes_are_images():
    images = np.random.default_rng(0).integers(0, 256, (50, 6, 4), dtype=np.uint8)
    model = small().fit(images)
    assert model.image_shape_ == (6, 4)
    assert model.likelihood_ == {"grey": True, "name": "bernoulli"}
    assert any("grey" in note for note in model.notes_)
    scaled = small(likelihood={"name": "bernoulli", "grey": True}).fit(images.reshape(50, 24) / 255.0)
    np.testing.assert_allclose(
        model.transform(images), scaled.transform(images.reshape(50, 24) / 255.0), rtol=1e-3, atol=1e-4
    )
    assert 0 <= model.sample(3, mean=True).min() <= model.sample(3, mean=True).max() <= 255
    assert model.bits_per_dim(images) == pytest.approx(-model.score(images) / 24 / np.log(2))
    with pytest.raises(DataError, match="images of"):
        model.transform(images.reshape(50, 4, 6))


def test_frames_and_annotated_data():
    anndata = pytest.importorskip("anndata")
    pandas = pytest.importorskip("pandas")
    X = counts()
    table = anndata.AnnData(np.log1p(X), layers={"counts": X})
    model = small(layer="counts").fit(table)
    assert table.obsm["X_vae"].shape == (80, 2)
    del table.obsm["X_vae"]
    found = model.transform(table)
    assert np.array_equal(table.obsm["X_vae"], found)
    assert model.likelihood_["name"] == "nb"
    frame = pandas.DataFrame(normal(), columns=list("abcde"))
    framed = small().fit(frame)
    assert list(framed.feature_names_in_) == list("abcde")
    with pytest.raises(ValueError, match="feature names"):
        framed.transform(frame[list("edcba")])
    with pytest.raises(UsageError, match="'counts'"):
        small(layer="count").fit(table)


def test_annotated_data_has_names_and_columns_of_labels_and_may_lie_in_a_file(tmp_path):
    anndata = pytest.importorskip("anndata")
    X, donors = counts(), np.array(["a", "b"] * 40)
    table = anndata.AnnData(scipy.sparse.csr_matrix(X.astype(np.float32)))
    table.var_names, table.obs["donor"] = [f"gene{i}" for i in range(12)], donors
    model = small().fit(table, batch="donor")
    plain = small().fit(scipy.sparse.csr_matrix(X.astype(np.float32)), batch=donors)
    assert torch.equal(weights(model), weights(plain))
    assert list(model.feature_names_in_) == list(table.var_names)
    with pytest.raises(DataError, match="not those of the fit, in its order"):
        model.transform(table[:, ::-1].copy(), batch="donor")
    with pytest.raises(DataError, match="1 of the 12 feature names"):
        model.transform(table[:, 1:].copy(), batch="donor")
    with pytest.raises(UsageError, match=r"no column 'doner' in obs\. Did you mean 'donor'"):
        model.transform(table, batch="doner")
    with pytest.raises(UsageError, match="names a column"):
        plain.transform(X, batch="donor")
    loaded = mumei.load(model.save(tmp_path / "model"))
    table.write_h5ad(tmp_path / "table.h5ad")
    backed = anndata.read_h5ad(tmp_path / "table.h5ad", backed="r")
    assert np.array_equal(loaded.transform(backed, batch="donor"), model.transform(table, batch="donor"))
    backed.file.close()


def test_batch_labels_are_told_to_the_networks():
    X, labels = counts(), np.array(["a", "b"] * 40)
    model = small(epochs=20).fit(X, batch=labels)
    assert not np.array_equal(model.transform(X, batch=labels), model.transform(X, batch=labels[::-1]))
    assert model.sample(4, batch=["a"] * 4).shape == (4, 12)
    with pytest.raises(UsageError, match="give batch="):
        model.transform(X)
    with pytest.raises(DataError, match="did not see"):
        model.transform(X, batch=["c"] * 80)
    with pytest.raises(DataError, match=r"1 batch labels are missing \(the first: row 1\)"):
        small().fit(X[:3], batch=[1.0, np.nan, 2.0])
    assert any("learn by heart" in note for note in small().fit(X, batch=range(80)).notes_)


def test_partial_fit_goes_on_with_the_same_model():
    X = normal(200)
    model = small()
    bounds = [model.partial_fit(X).history_[-1]["bound"] for _ in range(30)]
    assert bounds[-1] > bounds[0] + 1.0
    assert [e["epoch"] for e in model.history_] == list(range(30))


def test_passes_of_partial_fit_take_new_settings_and_finish_the_warm_up():
    X = (normal() > 3).astype(float)
    model = small(warmup_epochs=2)
    for passes in range(3):
        last = model.partial_fit(X).history_[-1]
        weight = min(1.0, (passes + 1) / 2)  # one batch a pass
        assert last["loss"] == pytest.approx(weight * last["kl"] - last["reconstruction"], abs=1e-5)
    model.set_params(learning_rate=0.0, weight_prior=False)
    before = weights(model).clone()
    assert torch.equal(weights(model.partial_fit(X)), before)
    model.set_params(optimizer="sgd", learning_rate=0.1)
    assert not torch.equal(weights(model.partial_fit(X)), before)
    assert any("began afresh" in note for note in model.notes_)


def test_rows_held_out_stop_training_and_the_best_weights_are_kept():
    X = normal(40, 5)
    model = small(epochs=400, hidden=(64,), learning_rate=0.02, validation=0.5, patience=5).fit(X)
    best = max(e["validation"] for e in model.history_)
    assert model.n_iter_ < 400
    order = seeds.numpy_generator(model.seed_, "validation").permutation(40)
    assert model.score(X[np.sort(order[:20])]) - model._volume() == pytest.approx(best, abs=1e-3)


def test_the_papers_network_gets_written_out_gradients_and_others_do_not():
    X = (normal() > 3).astype(float)
    names = {}
    for options in ({}, {"beta": 2.0}, {"hidden": (8, 8)}, {"activation": "relu"}):
        model = small(epochs=1, **options).fit(X)
        from mumei.vae.inputs import no_scaling
        from mumei.vae.objective import BoundConfig

        bound = BoundConfig(beta=options.get("beta", 1.0))
        method = choose_method(model.net_, 60, bound, weight_prior=True, scaling=no_scaling(), precision="float32")
        names[str(options)] = type(method) is not BoundMethod
    assert list(names.values()) == [True, False, False, False]


def test_both_ways_of_training_agree():
    """Estimator B with 2 samples has no written-out form; with K = 1 the two forms must give the same weights."""
    X = (normal() > 3).astype(float)
    written = small(epochs=3).fit(X)
    from mumei.core.train import TrainConfig, fit
    from mumei.vae.inputs import no_scaling
    from mumei.vae.objective import BoundConfig

    fresh = small(epochs=3)
    rows = fresh._read(X, reset=True)
    fresh._prepare(rows, None)
    fresh._make_net()
    method = BoundMethod(fresh.net_, 60, BoundConfig(), scaling=no_scaling())
    fit(method, torch.from_numpy(X).float(), fresh._config(3, None, 0))
    assert isinstance(fresh._config(3, None, 0), TrainConfig)
    torch.testing.assert_close(weights(written), weights(fresh), rtol=1e-3, atol=1e-4)


SCRIPT = """
import sys, numpy as np, torch
import mumei.vae.estimator as e
torch.set_num_threads(1)
plain = e.TrainConfig
e.TrainConfig = lambda **k: plain(**{**k, "checkpoint_seconds": 0.05})
X = np.random.default_rng(0).integers(0, 2, (2000, 30)).astype(float)
options = {"n_latent": 2, "hidden": (16,), "validation": 0.1, "patience": 1000, "random_state": 0}
e.VAE(**options, epochs=int(sys.argv[2]), out=sys.argv[1]).fit(X)
"""


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def steps_kept(folder) -> set[int]:
    return {int(path.name[5:]) for path in folder.glob("checkpoints/step-*")}


def kill_in_training(folder, epochs: int, after: float) -> bool:
    """Start the script, kill it some time after a new checkpoint; return whether it was at work, beyond what was there."""
    before = steps_kept(folder)
    started = subprocess.Popen([sys.executable, "-c", SCRIPT, str(folder), str(epochs)], stdout=subprocess.DEVNULL)
    while started.poll() is None and steps_kept(folder) <= before:
        time.sleep(0.01)
    new = steps_kept(folder) - before
    time.sleep(after)
    working = started.poll() is None
    started.send_signal(signal.SIGKILL)
    started.wait()
    return working and min(new) > max(before, default=0)


@pytest.mark.parametrize("kills", [2, pytest.param(10, marks=pytest.mark.slow)])
def test_killed_and_started_again_it_ends_with_the_same_weights(tmp_path, kills, one_thread):
    folder, epochs = tmp_path / "run", 60 * kills
    assert all(kill_in_training(folder, epochs, 0.02 * (i % 5)) for i in range(kills))
    X = np.random.default_rng(0).integers(0, 2, (2000, 30)).astype(float)
    options = {"hidden": (16,), "validation": 0.1, "patience": 1000, "epochs": epochs}
    resumed, undisturbed = small(**options, out=folder).fit(X), small(**options).fit(X)
    assert torch.equal(weights(resumed), weights(undisturbed))
    assert resumed.history_ == undisturbed.history_


@pytest.mark.parametrize(
    "other", [{"beta": 4.0}, {"activation": "relu"}, {"estimator": "A"}, {"likelihood": "poisson"}]
)
def test_a_folder_of_a_fit_with_other_settings_is_refused(tmp_path, other):
    """Shapes and data are the same: without a look at the settings the earlier fit's weights would be given back."""
    X = (normal() > 3).astype(float)
    small(out=tmp_path / "run", beta=2.0).fit(X)
    with pytest.raises(UsageError, match=f"{next(iter(other))}.* then, .* now"):
        small(**{"beta": 2.0, **other}, out=tmp_path / "run").fit(X)


@pytest.mark.parametrize(
    ("X", "options", "error", "message"),
    [
        (np.zeros((0, 3)), {}, ValueError, "0 sample"),
        (np.ones((1, 3)), {}, ValueError, "1 sample|minimum of 2"),
        (np.array([[1.0, np.nan], [2.0, 3.0]]), {}, DataError, "NaN in row 0, column 1"),
        (np.array([[1.0, 2.0], [2.0, np.inf]]), {}, DataError, "infinity. in row 1, column 1"),
        (scipy.sparse.csr_matrix([[0.0, 1.0], [np.nan, 2.0]]), {}, DataError, "NaN in row 1, column 0"),
        (np.array([[0.0, 0.5], [1.0, 1.0]]), {"likelihood": "bernoulli"}, DataError, r"the data holds 0\.5"),
        (np.array([[0.0, -1.0], [1.0, 1.0]]), {"likelihood": "nb"}, DataError, "-1"),
        (np.array([[0.0, 1.5], [1.0, 1.0]]), {"likelihood": "poisson"}, DataError, "1.5"),
        (np.array([[0, 7], [255, 9]], dtype=np.uint8), {"likelihood": "bernoulli"}, DataError, "needs 0 and 1 alone"),
        (np.array([[1.0, 2.0], [1e38, 3.0]]), {}, DataError, r"1e\+38 in row 1, column 0"),
        (normal(), {"n_latent": 0}, UsageError, "n_latent"),
        (normal(), {"n_latent": 6}, UsageError, "more than the data's 5 columns"),
        (normal(), {"likelihood": "gausian"}, UsageError, "'gaussian'"),
        (normal(), {"scale": "standart"}, UsageError, "'standard'"),
        (normal(), {"validation": 1.0}, UsageError, "leaves none"),
        (counts(), {"likelihood": "nb", "scale": "standard"}, UsageError, "nb likelihood"),
        (normal(), {"likelihood": None}, UsageError, "likelihood=None"),
        (normal(), {"batch_size": 0}, UsageError, "batch_size=0"),
        (normal(), {"patience": 0}, UsageError, "patience=0"),
        (normal(), {"hidden": "wide"}, UsageError, "hidden='wide'"),
        (normal(), {"weight_prior": "no"}, UsageError, "weight_prior='no'"),
        (normal(), {"activation": "tahn"}, UsageError, "'tanh'"),
    ],
)
def test_bad_input_is_named_and_nothing_is_written(tmp_path, X, options, error, message):
    with pytest.raises(error, match=message):
        small(**options, out=tmp_path / "run").fit(X)
    assert not (tmp_path / "run").exists()


def test_a_fit_that_fails_leaves_the_model_as_it_was():
    X = normal()
    model = small().fit(X)
    before, notes = model.transform(X), list(model.notes_)
    for call in (
        lambda: model.fit(X[:, :3], batch=["a"]),
        lambda: model.set_params(likelihood="nb").fit(X[:, :3]),
        lambda: model.partial_fit(X[:, :3]),
        lambda: model.set_params(learning_rate=1e30, optimizer="sgd", likelihood="auto").partial_fit(X * 1e8),
    ):
        with pytest.raises((DataError, NonFiniteError, ValueError)):
            call()
        assert np.array_equal(model.transform(X), before)
    assert model.notes_ == notes


def test_a_data_frame_comes_out_of_transform_where_it_is_asked_for():
    pytest.importorskip("pandas")
    model = small().set_output(transform="pandas").fit(normal())
    for found in (model.transform(normal()), model.fit_transform(normal())):
        assert list(found.columns) == ["vae0", "vae1"]


def test_numpy_numbers_are_numbers(tmp_path):
    options = {"n_latent": np.int64(2), "epochs": np.int64(4), "batch_size": np.int32(100), "beta": np.float64(1.0)}
    model = small(**options, hidden=np.array([8])).fit(normal())
    assert torch.equal(weights(model), weights(small().fit(normal())))
    assert np.array_equal(mumei.load(model.save(tmp_path / "model")).transform(normal()), model.transform(normal()))


def test_rows_far_from_the_fit_are_scored_low_or_refused():
    model = small().fit(normal() * 1e-3)
    assert model.score_samples(np.full((1, 5), 1e6))[0] < -1e15
    with pytest.raises(DataError, match="row 1"):
        model.score_samples(np.array([[0.0] * 5, [1e37] * 5]))
    with pytest.raises(DataError, match="library"):
        small(likelihood="nb").fit(counts()).inverse_transform(np.zeros((2, 2)), library=[1.0, 2.0, 3.0])


def test_one_column_and_a_wrong_width():
    model = small(n_latent=1).fit(normal()[:, :1])
    assert model.transform(normal()[:, :1]).shape == (60, 1)
    with pytest.raises(ValueError, match="2 features"):
        model.transform(normal()[:, :2])
    with pytest.raises(DataError, match=r"give finite numbers of shape \(n, 1\)"):
        model.inverse_transform(np.zeros((2, 3)))


def test_divergence_is_an_error_that_names_the_step():
    with pytest.raises(NonFiniteError, match="step"):
        small(learning_rate=1e30, epochs=50, optimizer="sgd").fit(normal())


def test_wake_sleep_trains_the_same_network():
    """Expected: the weights of the method itself, on the same rows in the same order."""
    X = (np.random.default_rng(0).random((60, 6)) < 0.3).astype(np.float32)
    options = {
        "n_latent": 2,
        "hidden": (5,),
        "likelihood": "bernoulli",
        "epochs": 3,
        "batch_size": 20,
        "random_state": 0,
    }
    model = VAE(trainer="wake-sleep", **options).fit(X)
    other = VAE(**options).fit(X)
    begun = VAE(**options)
    begun.fit(X)
    begun._make_net()
    method = WakeSleep(begun.net_, 60)
    train(method, torch.from_numpy(X), model._config(3, None, 0))
    for name, value in model.net_.state_dict().items():
        assert torch.equal(value, begun.net_.state_dict()[name])
    assert not torch.equal(model.net_.encoder.layers[0].weight, other.net_.encoder.layers[0].weight)
    assert "sleep" in model.history_[0]


@pytest.mark.parametrize(
    "options", [{"hidden": (5, 5)}, {"beta": 2.0}, {"likelihood": "poisson"}, {"trainer": "wakesleep"}]
)
def test_wake_sleep_refuses_what_it_is_not_written_for(options):
    X = (np.random.default_rng(0).random((20, 6)) < 0.3).astype(np.float32)
    given = {"trainer": "wake-sleep", "n_latent": 2, "hidden": (5,), "likelihood": "bernoulli", "epochs": 1, **options}
    with pytest.raises(UsageError, match="trainer"):
        VAE(**given).fit(X)
