"""The page of a fitted clusterer: whole, without outside requests, with the model's numbers, nothing of the data as markup."""

from __future__ import annotations

import re

import numpy as np
import pytest
from cluster_toys import SMALL, blobs

from mumei.cluster.dcn import DCN
from mumei.cluster.idec import IDEC
from mumei.cluster.report import context, subject_of, write_report
from mumei.core.errors import DataError


@pytest.fixture(scope="module")
def tables():
    X, y = blobs(90)
    return X, y, IDEC(**SMALL, n_init=3).fit(X)


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    kind = np.arange(60) % 3
    pictures = rng.integers(0, 40, (60, 5, 4))
    pictures[kind == 0, 1], pictures[kind == 1, :, 2] = 200, 220
    X = pictures.astype(np.uint8)
    return X, IDEC(**SMALL).fit(X)


def page_of(subject, tmp_path):
    return write_report(subject, tmp_path / "page.html").read_text()


def test_a_page_of_a_table(tables, tmp_path):
    X, y, model = tables
    subject = subject_of(
        model, X, name="<b>mice", columns=["<i>age", "dose", "mass", "noise"], ids=[f"m{i}" for i in y]
    )
    page = page_of(subject, tmp_path)
    assert page.rstrip().endswith("</html>")
    for heading in ("Map", "Sizes", "What is beside it", "The groups", "Stability", "What was run"):
        assert f"<h2>{heading}</h2>" in page
    assert "&lt;b&gt;mice" in page
    assert "<b>mice" not in page
    assert "<i>age" not in page
    assert page.count("<h3><span") == 3
    sources = re.findall(r"""(?:src|href)=["']([^"']*)""", page)
    assert sources  # the consensus matrix
    assert all(s.startswith("data:image/png;base64,") for s in sources)
    assert "http" not in page.replace("http-equiv", "")
    assert "Clusters against the labels" not in page
    assert "accuracy" not in page


def test_markers_are_the_columns_that_differ_most(tables):
    """Against the difference of means in pooled deviations, worked out column by column."""
    X, _, model = tables
    names = ["a", "b", "c", "d"]
    for group in context(subject_of(model, X, columns=names))["groups"]:
        inside, outside = X[model.labels_ == group["number"]], X[model.labels_ != group["number"]]
        scatter = (len(inside) - 1) * inside.var(0, ddof=1) + (len(outside) - 1) * outside.var(0, ddof=1)
        d = (inside.mean(0) - outside.mean(0)) / np.sqrt(scatter / (len(X) - 2))
        expected = [names[j] for j in np.argsort(-np.abs(d)) if abs(d[j]) >= 0.5]
        assert [m["name"] for m in group["markers"]] == expected
        assert [m["d"] for m in group["markers"]] == pytest.approx(
            sorted(d[np.abs(d) >= 0.5], key=lambda v: -abs(v)), rel=1e-4
        )


def test_exemplars_lie_nearest_to_the_middle_of_the_code(tables):
    X, _, model = tables
    z = model.transform(X)
    for group in context(subject_of(model, X))["groups"]:
        rows = np.flatnonzero(model.labels_ == group["number"])
        nearest = rows[np.linalg.norm(z[rows] - z[rows].mean(0), axis=1).argmin()]
        assert group["exemplars"][0]["id"] == f"row {nearest + 1}"


def test_stability_is_that_of_the_runs(tables):
    X, _, model = tables
    found = context(subject_of(model, X))["stability"]
    assert found["ari"] == model.stability_["ari"]
    for number, value in found["by_cluster"].items():  # of all pairs, since all 90 rows are in the sample
        rows = np.flatnonzero(model.labels_ == number)
        pairs = [(model.runs_[:, a] == model.runs_[:, b]).mean() for i, a in enumerate(rows) for b in rows[:i]]
        assert value == pytest.approx(np.mean(pairs))


def test_labels_are_compared_with(tables, tmp_path):
    X, y, model = tables
    subject = subject_of(model, X, labels=[f"kind {i}" for i in y])
    shown = context(subject)
    assert shown["baselines"][0]["scores"] == model.evaluate(y)
    counts = [[cell["count"] for cell in row["cells"]] for row in shown["crossed"]["rows"]]
    assert np.sum(counts) == 90
    assert counts[0] == [
        int(((model.labels_ == shown["crossed"]["rows"][0]["number"]) & (y == j)).sum()) for j in range(3)
    ]
    assert "kind 2" in page_of(subject, tmp_path)


def test_a_baseline_that_wins_is_named(tables):
    """Labels that are k-means' own: no method can do better."""
    X, _, model = tables
    first = context(subject_of(model, X))["baselines"][1]
    from mumei.cluster.baselines import baselines

    wins = context(subject_of(model, X, labels=baselines(model, X)["kmeans"]))["beaten"]
    assert first["name"] in wins
    own = context(subject_of(model, X, labels=model.labels_))
    alike = any(b["agrees"] == 1.0 for b in own["baselines"][1:])
    assert bool(own["beaten"]) == alike


def test_images_are_shown_as_images(images, tmp_path):
    X, model = images
    subject = subject_of(model, X)
    shown = context(subject)
    group = max(shown["groups"], key=lambda g: g["size"])
    assert all(e["uri"].startswith("data:image/png") for e in group["exemplars"])
    assert group["mean"].startswith("data:image/png")
    page = page_of(subject, tmp_path)
    assert "<th>Feature</th>" not in page
    assert "One seed was run" in page


def test_channels_come_first_or_last():
    for shape in ((3, 6, 5), (6, 5, 3)):
        X = np.random.default_rng(0).integers(0, 255, (30, *shape)).astype(np.uint8)
        model = IDEC(**SMALL).fit(X)
        subject = subject_of(model, X)
        from mumei.cluster.report import _pictures

        (picture,) = _pictures(subject, subject.X[:1])
        assert picture.shape == (6, 5, 3)
        assert np.array_equal(picture, X[0] if shape[-1] == 3 else X[0].transpose(1, 2, 0))


def test_hard_assignments_have_no_close_calls(tables):
    X, _, _ = tables
    model = DCN(**SMALL).fit(X)
    shown = context(subject_of(model, X))
    assert shown["between"] == []
    assert shown["stability"] is None
    assert next(f["value"] for f in shown["facts"] if f["name"] == "close calls") == "0.0 %"


def test_other_rows_than_those_of_the_training(tables, tmp_path):
    """What training began with is of the training's rows, and left out then."""
    X, _, model = tables
    subject = subject_of(model, X[:30] + 0.5)
    assert len(context(subject)["baselines"]) == 3
    assert "<h2>Map</h2>" in page_of(subject, tmp_path)


def test_many_rows_are_drawn_from(tables, monkeypatch):
    X, y, model = tables
    monkeypatch.setattr("mumei.cluster.report.ROWS", 40)
    subject = subject_of(model, X, labels=y, ids=[f"m{i}" for i in range(90)])
    assert len(subject.z) == len(subject.ids) == len(subject.labels) == 40
    assert "40 of 90 rows" in subject.described[-1]


def test_lengths_that_do_not_fit_are_refused(tables):
    with pytest.raises(DataError, match="ids has 2 entries"):
        subject_of(tables[2], tables[0], ids=["a", "b"])
