"""M1, M2 and M1 + M2: what unlabelled rows are worth, on digits; conformance; labels of every kind; files; bad input."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse
import scipy.special
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import LinearSVC

import mumei
from mumei.core.errors import ArtifactError, DataError, UsageError
from mumei.testing import check_estimator
from mumei.vae.semi_supervised import M1Classifier, M1M2Classifier, M2Classifier

KINDS = (M1Classifier, M2Classifier, M1M2Classifier)


def blobs(n: int = 90, d: int = 12, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    centres = 2.5 * np.random.default_rng(1).normal(size=(3, d))
    y = np.arange(n) % 3
    return centres[y] + draw.normal(size=(n, d)), y


def few(y: np.ndarray, each: int, seed: int = 0, unknown=-1) -> np.ndarray:
    """Keep the labels of so many rows of each class."""
    draw, found = np.random.default_rng(seed), np.full(y.shape, unknown, dtype=object)
    for c in np.unique(y):
        kept = draw.permutation(np.flatnonzero(y == c))[:each]
        found[kept] = y[kept]
    return found if unknown != -1 else found.astype(y.dtype)


@pytest.mark.parametrize("kind", KINDS)
def test_they_conform(kind):
    check_estimator(kind.example(), sklearn=False)  # scikit-learn's own checks run on all that is registered


@pytest.mark.parametrize("kind", KINDS)
def test_two_labels_a_class_are_enough_for_clear_groups(kind):
    X, y = blobs()
    model = kind.example().set_params(random_state=0, epochs=100, n_latent=2).fit(X, few(y, 2))
    assert model.score(X, y) > 0.9
    np.testing.assert_allclose(model.predict_proba(X).sum(1), 1.0, atol=1e-6)
    assert model.transform(X).shape == (90, 2)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("unknown", [None, "", np.nan, -1])
def test_words_as_labels(kind, unknown):
    X, y = blobs()
    names = np.array(["liver", "lung", "skin"])[y].astype(object)
    labels = few(names, 3, unknown=unknown) if unknown != -1 else np.where(np.arange(90) < 9, names, -1)
    model = kind.example().set_params(random_state=0).fit(X, labels)
    assert model.classes_.tolist() == ["liver", "lung", "skin"]
    assert set(model.predict(X)) <= {"liver", "lung", "skin"}


@pytest.mark.parametrize("kind", [M2Classifier, M1M2Classifier])
def test_rows_drawn_of_a_class_are_taken_for_it(kind):
    X, y = blobs(300)
    model = kind.example().set_params(random_state=0, epochs=100, n_latent=2).fit(X, few(y, 10))
    for label in range(3):
        drawn = model.sample(label, 100, seed=1)
        assert drawn.shape == (100, 12)
        assert (model.predict(drawn) == label).mean() > 0.9
        np.testing.assert_allclose(drawn.mean(0), X[y == label].mean(0), atol=1.0)
    with pytest.raises(DataError, match="no class 7"):
        model.sample(7)


def groups(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Five groups in 30 columns, drawn out along three directions that have nothing to do with the groups."""
    draw, fixed = np.random.default_rng(seed), np.random.default_rng(1)
    centres = fixed.normal(size=(5, 30))
    centres *= 5 / np.linalg.norm(centres, axis=1, keepdims=True)
    y = np.arange(n) % 5
    return centres[y] + 0.7 * draw.normal(size=(n, 3)) @ fixed.normal(size=(3, 30)) + draw.normal(size=(n, 30)), y


OPTIONS = {
    M1Classifier: {"n_latent": 8, "epochs": 100},
    M2Classifier: {"n_latent": 3, "epochs": 60, "learning_rate": 3e-3},
    M1M2Classifier: {"n_latent": 8, "epochs": 100, "m2_latent": 3, "m2_epochs": 60, "m2_learning_rate": 3e-3},
}


def error_with_and_without(kind, seed: int) -> tuple[float, float]:
    """Errors on new rows from 1,000 rows of which 15 have labels; and the least that the 15 give alone."""
    X, y = groups(1000, 0)
    new, truth = groups(1000, 9)
    labels = few(y, 3, seed)
    known = labels >= 0
    alone = [LogisticRegression(max_iter=2000), M2Classifier(random_state=seed, epochs=1000, n_latent=3)]
    errors = [1 - model.fit(X[known], y[known]).score(new, truth) for model in alone]
    model = kind(random_state=seed, **OPTIONS[kind]).fit(X, labels)
    return 1 - model.score(new, truth), min(errors)


def test_unlabelled_rows_help():
    found, alone = error_with_and_without(M2Classifier, 0)
    assert found < 0.5 * alone


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_unlabelled_rows_help_whatever_rows_are_labelled(kind):
    """Measured over three draws of the labels: errors of 0.06 for M1, 0.02 for M2, 0.02 for M1 + M2, against 0.18."""
    found, alone = zip(*(error_with_and_without(kind, seed) for seed in range(3)), strict=True)
    print(kind.__name__, np.round(found, 3), np.round(alone, 3))
    assert np.mean(found) < 0.6 * np.mean(alone)


def test_m2_can_be_trained_on_draws_of_m1s_latents():
    X, y = blobs(300)
    model = M1M2Classifier.example().set_params(random_state=0, epochs=100, n_latent=2, draws=True).fit(X, few(y, 10))
    assert model.score(X, y) > 0.9
    assert bool((model.m2_.scaling_.factor == 1).all())


def test_bounds_are_in_the_datas_own_units():
    X, y = blobs()
    first = M2Classifier.example().set_params(random_state=0).fit(X, few(y, 3))
    second = M2Classifier.example().set_params(random_state=0).fit(10 * X, few(y, 3))
    expected = first.score_samples(X) - 12 * np.log(10)
    np.testing.assert_allclose(second.score_samples(10 * X), expected, atol=0.02)
    # With the same noise, -U(x) is at most the log of the sum of what each class gives: the sum over q and its entropy.
    each = np.stack([first.score_samples(X, np.full(90, label)) for label in range(3)])
    assert (first.score_samples(X) <= scipy.special.logsumexp(each, axis=0) + 1e-6).all()


@pytest.mark.parametrize("kind", KINDS)
def test_sparse_counts_and_bytes(kind):
    draw = np.random.default_rng(0)
    y = np.arange(60) % 2
    counts = draw.poisson(np.where(y[:, None], np.linspace(0.1, 3, 10), np.linspace(3, 0.1, 10)))
    for X in (scipy.sparse.csr_matrix(counts.astype(float)), (counts * 20).astype(np.uint8)):
        model = kind.example().set_params(random_state=0, likelihood="poisson" if X.dtype != np.uint8 else "auto")
        assert model.fit(X, few(y, 5)).score(X, y) > 0.7


@pytest.mark.parametrize("kind", KINDS)
def test_save_and_load(tmp_path, kind):
    X, y = blobs()
    names = np.array(["liver", "lung", "skin"])[y].astype(object)
    model = kind.example().set_params(random_state=0).fit(X, few(names, 3, unknown=None))
    loaded = mumei.load(model.save(tmp_path / "model"))
    assert np.array_equal(loaded.predict_proba(X), model.predict_proba(X))
    assert np.array_equal(loaded.transform(X), model.transform(X))
    assert loaded.get_params() == model.get_params()
    assert loaded.classes_.dtype == model.classes_.dtype
    if kind is not M1Classifier:
        assert np.array_equal(loaded.sample("lung", 2, seed=3), model.sample("lung", 2, seed=3))


def test_m1_with_another_classifier(tmp_path):
    X, y = blobs()
    model = M1Classifier.example().set_params(random_state=0, classifier=KNeighborsClassifier(1)).fit(X, few(y, 3))
    assert model.score(X, y) > 0.8
    with pytest.raises(ArtifactError, match="cannot be saved"):
        model.save(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UsageError, match="predict_proba"):
        M1Classifier.example().set_params(classifier=LinearSVC()).fit(X, y)


@pytest.mark.parametrize("kind", KINDS)
def test_bad_labels_are_named(kind):
    X, y = blobs()
    with pytest.raises(DataError, match="no row has a known label"):
        kind.example().fit(X, np.full(90, -1))
    with pytest.raises(DataError, match="one class alone"):
        kind.example().fit(X, np.where(y == 0, 0, -1))
    with pytest.raises(DataError, match="89 labels for 90 rows"):
        kind.example().fit(X, y[1:])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_latent": 0}, "n_latent"),
        ({"alpha": -1.0}, "alpha"),
        ({"labelled_batch": 0}, "labelled_batch"),
        ({"likelihood": "gausian"}, "'gaussian'"),
        ({"activation": "softpls"}, "'softplus'"),
    ],
)
def test_bad_arguments_are_named(options, message):
    X, y = blobs()
    with pytest.raises(UsageError, match=message):
        M2Classifier.example().set_params(**options).fit(X, y)
