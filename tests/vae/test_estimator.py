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
from mumei.testing import check_estimator
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
    """A change of units by a factor c changes a density of d columns by -d log c."""
    X = normal()
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


def test_batch_labels_are_told_to_the_networks():
    X, labels = counts(), np.array(["a", "b"] * 40)
    model = small(epochs=20).fit(X, batch=labels)
    assert not np.array_equal(model.transform(X, batch=labels), model.transform(X, batch=labels[::-1]))
    assert model.sample(4, batch=["a"] * 4).shape == (4, 12)
    with pytest.raises(UsageError, match="give batch="):
        model.transform(X)
    with pytest.raises(DataError, match="did not see"):
        model.transform(X, batch=["c"] * 80)


def test_partial_fit_goes_on_with_the_same_model():
    X = normal(200)
    model = small()
    bounds = [model.partial_fit(X).history_[-1]["bound"] for _ in range(30)]
    assert bounds[-1] > bounds[0] + 1.0
    assert [e["epoch"] for e in model.history_] == list(range(30))


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
from mumei.vae.estimator import VAE
torch.set_num_threads(1)
X = np.random.default_rng(0).integers(0, 2, (2000, 30)).astype(float)
import mumei.vae.estimator as e
plain = e.TrainConfig
e.TrainConfig = lambda **k: plain(**{**k, "checkpoint_seconds": 0.05})
model = VAE(n_latent=2, hidden=(16,), epochs=100, random_state=0, out=sys.argv[1] if sys.argv[1] != "-" else None).fit(X)
print(model.transform(X).tobytes().hex()[-64:], sum(float(p.sum()) for p in model.net_.parameters()))
"""


def run(out: str) -> str:
    done = subprocess.run([sys.executable, "-c", SCRIPT, out], stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout


def kill_in_training(folder, after: float) -> bool:
    """Start the script, kill it some time after a new checkpoint; return whether it was still at work."""
    before = set(folder.glob("checkpoints/*"))
    started = subprocess.Popen([sys.executable, "-c", SCRIPT, str(folder)], stdout=subprocess.DEVNULL)
    while started.poll() is None and set(folder.glob("checkpoints/*")) <= before:
        time.sleep(0.01)
    time.sleep(after)
    working = started.poll() is None
    started.send_signal(signal.SIGKILL)
    started.wait()
    return working


@pytest.mark.parametrize("kills", [2, pytest.param(10, marks=pytest.mark.slow)])
def test_killed_and_started_again_it_ends_with_the_same_weights(tmp_path, kills):
    folder = tmp_path / "run"
    assert all(kill_in_training(folder, 0.03 * i) for i in range(kills))
    assert run(str(folder)) == run("-")


@pytest.mark.parametrize(
    ("X", "options", "error", "message"),
    [
        (np.zeros((0, 3)), {}, ValueError, "0 sample"),
        (np.ones((1, 3)), {}, ValueError, "1 sample|minimum of 2"),
        (np.array([[1.0, np.nan], [2.0, 3.0]]), {}, ValueError, "NaN"),
        (np.array([[1.0, np.inf], [2.0, 3.0]]), {}, ValueError, "infinity"),
        (np.array([[0.0, 0.5], [1.0, 1.0]]), {"likelihood": "bernoulli"}, DataError, r"the data holds 0\.5"),
        (np.array([[0.0, -1.0], [1.0, 1.0]]), {"likelihood": "nb"}, DataError, "-1"),
        (np.array([[0.0, 1.5], [1.0, 1.0]]), {"likelihood": "poisson"}, DataError, "1.5"),
        (normal(), {"n_latent": 0}, UsageError, "n_latent"),
        (normal(), {"n_latent": 6}, UsageError, "more than the data's 5 columns"),
        (normal(), {"likelihood": "gausian"}, UsageError, "'gaussian'"),
        (normal(), {"scale": "standart"}, UsageError, "'standard'"),
        (normal(), {"validation": 1.0}, UsageError, "leaves none"),
        (counts(), {"likelihood": "nb", "scale": "standard"}, UsageError, "nb likelihood"),
    ],
)
def test_bad_input_is_named_and_nothing_is_written(tmp_path, X, options, error, message):
    with pytest.raises(error, match=message):
        small(**options, out=tmp_path / "run").fit(X)
    assert not (tmp_path / "run").exists()


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
