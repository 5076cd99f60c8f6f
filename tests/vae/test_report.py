"""The page: whole, without outside requests, with the numbers of the report and nothing of the data taken for markup."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from mumei.core.errors import UsageError
from mumei.vae.collapse import collapse_report
from mumei.vae.counts import Poisson
from mumei.vae.estimator import VAE
from mumei.vae.likelihoods import Bernoulli, Gaussian
from mumei.vae.network import VAENet
from mumei.vae.report import Subject, context, render, subject_of, write_report


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def subject(likelihood, n=60, latent=2, **options):
    net = VAENet(likelihood, latent, hidden=(6,), covariates=options.pop("columns_beside", 0))
    x = torch.rand(n, likelihood.n_features, generator=generator(1))
    x = (9 * x).floor() if likelihood.counts else x
    if net.covariates:
        options["covariates"] = torch.eye(net.covariates)[torch.arange(n) % net.covariates]
    collapse = collapse_report(net, x, generator(), covariates=options.get("covariates"))
    scores = options.pop("scores", np.linspace(-1, -9, n))
    return Subject(net=net, x=x, scores=scores, collapse=collapse, **options)


def images(**options):
    return subject(Bernoulli(12, grey=True), image=(3, 4), **options)


def test_a_page_of_images_is_whole_and_asks_for_nothing():
    page = render(images(name="digits", history=[{"epoch": e, "bound": -9.0 + e} for e in range(4)]))
    assert page.rstrip().endswith("</html>")
    for heading in ("Latent map", "Manifold", "Samples", "Reconstructions", "Training", "Most unusual rows"):
        assert f"<h2>{heading}</h2>" in page
    sources = re.findall(r"""(?:src|href)=["']([^"']*)""", page)
    assert sources
    assert all(s.startswith("data:image/png;base64,") for s in sources)
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page


@pytest.mark.parametrize(
    ("latent", "said"), [(1, "the one dimension"), (2, "dimension 0 from left"), (5, "other 3 are held at 0")]
)
def test_what_the_manifold_walks_is_said(latent, said):
    assert said in context(images(latent=latent))["manifold"]["about"]


def test_most_unusual_rows_are_the_lowest_scores():
    scores = np.zeros(60)
    scores[[7, 31]] = -50.0, -80.0
    found = context(images(scores=scores, ids=[f"id{i}" for i in range(60)]))["unusual"]
    assert [row["id"] for row in found[:2]] == ["id31", "id7"]
    assert len(found) == 24


def test_units_of_the_data_shift_bound_and_reconstruction_alone():
    plain, moved = context(images())["facts"], context(images(shift=100.0))["facts"]
    change = [float(m["value"]) - float(p["value"]) for p, m in zip(plain[:3], moved[:3], strict=True)]
    assert change == pytest.approx([100, 100, 0], abs=0.011)


def test_a_table_names_features_in_place_of_pictures():
    made = subject(Gaussian(5, variance=1.0), columns=["age", "dose", "<b>x</b>", "y", "z"], restore=lambda v: 10 * v)
    x = made.x
    x[3, 1] = 40.0
    scores = np.zeros(60)
    scores[3] = -1000.0
    made = Subject(net=made.net, x=x, scores=scores, collapse=made.collapse, columns=made.columns, restore=made.restore)
    page, shown = render(made), context(made)
    assert shown["unusual"][0]["features"][0]["name"] == "dose"
    assert shown["unusual"][0]["features"][0]["value"] == "400"
    assert "<h2>Manifold</h2>" not in page
    assert "<b>x</b>" not in page
    assert "&lt;b&gt;x&lt;/b&gt;" in page


def test_what_moves_along_a_dimension():
    """A decoder that adds z_0 to the first column and takes z_1 from the second."""
    made = subject(Gaussian(3, variance=1.0), columns=["first", "second", "third"])

    class Known:
        likelihood, latent = made.net.likelihood, 2

        def encode(self, x, covariates=None):
            return x[:, :2] * 3, torch.zeros(len(x), 2)

        def decode(self, z, covariates=None):
            return torch.stack([z[..., 0], -z[..., 1], 0 * z[..., 0]], -1)

    collapse = collapse_report(Known(), made.x, generator())
    found = context(Subject(net=Known(), x=made.x, scores=made.scores, collapse=collapse, columns=made.columns))[
        "moves"
    ]
    by_dimension = {m["dimension"]: m for m in found}
    assert (by_dimension[0]["up"], by_dimension[0]["down"]) == (["first"], [])
    assert (by_dimension[1]["up"], by_dimension[1]["down"]) == ([], ["second"])


def test_counts_with_covariates_and_labels():
    page = render(subject(Poisson(6), columns_beside=2, labels=["<i>", "b"] * 30))
    assert "large totals" in page
    assert "&lt;i&gt;" in page
    assert "<i>" not in page


def test_more_rows_than_can_be_drawn(monkeypatch):
    monkeypatch.setattr("mumei.vae.report.POINTS", 20)
    made = images()
    shown = context(made)["map"]
    assert 20 <= shown["drawn"] < 60
    assert shown["svg"].count("dot ring") == 24
    assert "of 60 rows are drawn" in render(made)


def test_warnings_are_on_the_page():
    made = images()
    with torch.no_grad():
        made.net.posterior.weight.zero_()
        made.net.posterior.bias.zero_()
    collapse = collapse_report(made.net, made.x, generator())
    page = render(Subject(net=made.net, x=made.x, scores=made.scores, collapse=collapse, image=(3, 4)))
    assert "None of the 2 latent dimensions is active" in page
    assert "No sign of collapse" not in page


def test_same_subject_gives_the_same_page_and_the_network_keeps_its_mode():
    made = images()
    made.net.train()
    assert render(made) == render(made)
    assert made.net.training


def test_few_rows_and_rows_alike():
    for n in (1, 2):
        assert "</html>" in render(images(n=n))
    made = subject(Gaussian(3), n=4, latent=4)
    made.x.zero_()
    assert "</html>" in render(made)


# ---------------------------------------------------------------------------------------------- a fitted estimator


def test_the_bound_is_the_estimators_score_in_the_units_of_the_data():
    """Columns of different scales: the page shifts the network's nats by the log of the volume change."""
    X = np.random.default_rng(0).normal(size=(300, 4)) * [0.001, 1, 50, 3] + 7
    model = VAE(
        n_latent=2, hidden=(8,), epochs=3, likelihood={"name": "gaussian", "variance": 1.0}, random_state=0
    ).fit(X)
    made = subject_of(model, X)
    bound = float(context(made)["facts"][0]["value"])
    assert bound == pytest.approx(model.score(X), abs=0.25)
    np.testing.assert_allclose(made.values(slice(0, 9)), X[:9], rtol=1e-4)
    again = render(made)
    assert "4 columns, 8 hidden units, 2 latent dimensions, gaussian likelihood (variance 1.0), 3 epochs" in again
    assert "Training" in again


def test_images_are_shown_in_their_shape_and_batches_are_used():
    images = np.random.default_rng(0).integers(0, 255, (40, 4, 3), dtype=np.uint8)
    batch = ["a", "b"] * 20
    model = VAE(n_latent=3, hidden=(8,), epochs=1, random_state=0).fit(images, batch=batch)
    made = subject_of(model, images, batch=batch, ids=[f"im{i}" for i in range(40)])
    assert made.image == (4, 3)
    assert np.allclose(made.values(slice(0, 5)), images[:5].reshape(5, -1), atol=1e-3)
    assert "im" in context(made)["unusual"][0]["id"]


def test_a_large_source_is_sampled_and_said(monkeypatch):
    monkeypatch.setattr("mumei.vae.report.ROWS", 25)
    X = np.random.default_rng(0).normal(size=(60, 3))
    model = VAE(n_latent=2, hidden=(4,), epochs=1, random_state=0).fit(X)
    made = subject_of(model, X, labels=list(range(60)))
    assert len(made.x) == 25
    assert "25 of 60 rows, drawn at random" in render(made)
    assert [f"row {int(label) + 1}" for label in made.labels] == list(made.ids)


def test_written_whole(tmp_path):
    path = write_report(images(), tmp_path / "report.html")
    assert path.read_text(encoding="utf-8").endswith("</html>")
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


@pytest.mark.parametrize("what", ["ids", "columns", "labels", "scores"])
def test_a_wrong_length_is_said(what):
    wrong = np.zeros(3) if what == "scores" else ["a", "b", "c"]
    with pytest.raises(UsageError, match=what):
        images(**{what: wrong})
    with pytest.raises(UsageError, match="pixels"):
        subject(Bernoulli(12, grey=True), image=(5, 4))
