"""`mumei cluster`: fitted, used, compared and shown by command; what cannot be done is said, and leaves nothing half written."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

import mumei
from mumei.cli.app import main
from mumei.cli.cluster import Training
from mumei.core import registry
from mumei.core.errors import UsageError

TINY = ["--hidden", "8", "--pretrain-epochs", "2", "--epochs", "2", "--batch-size", "16", "--quiet"]
QUICK = ["--k", "3", "--seeds", "2", *TINY]


def run(capsys, *arguments):
    """Return the exit code and the JSON of `mumei cluster ... --json`."""
    code = main(["cluster", *map(str, arguments), "--json"])
    return code, json.loads(capsys.readouterr().out)


def read_csv(path):
    return list(csv.reader(path.read_text().splitlines()))


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A table with ids and names, and a model of it with its groups and its page."""
    folder = tmp_path_factory.mktemp("table")
    rng = np.random.default_rng(1)
    rows = 8 * (np.arange(60) % 3)[:, None] + rng.normal(50, 1, (60, 3))
    lines = ["id,age,dose,mass", *(f"p{i}," + ",".join(f"{v:.4f}" for v in row) for i, row in enumerate(rows))]
    (folder / "patients.csv").write_text("\n".join(lines))
    out = folder / "patients.dec"
    assert main(["cluster", "fit", str(folder / "patients.csv"), "--out", str(out), *QUICK]) == 0
    return folder / "patients.csv", out


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Flattened pictures of three kinds with labels, in an .npz."""
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    kind = np.arange(60) % 3
    pictures = rng.integers(0, 30, (60, 5, 4))
    pictures[kind == 0, 1], pictures[kind == 1, :, 2] = 200, 220
    np.savez(folder / "bars.npz", pictures=pictures.reshape(60, 20).astype(np.uint8), kind=kind)
    return folder / "bars.npz"


# ---------------------------------------------------------------------------------------------------------- fitting


def test_fit_writes_model_groups_and_page(table):
    source, out = table
    names = ["patients.csv", "patients.dec", "patients.dec.csv", "patients.dec.html"]
    assert sorted(p.name for p in source.parent.iterdir()) == names
    model = mumei.load(out)
    rows = read_csv(source.parent / "patients.dec.csv")
    assert rows[0] == ["id", "cluster", "probability"]
    assert [int(row[1]) for row in rows[1:]] == model.labels_.tolist()
    assert rows[1][0] == "p0"
    assert model.feature_names_in_.tolist() == ["age", "dose", "mass"]
    assert len(model.runs_) == 2
    page = (source.parent / "patients.dec.html").read_text()
    assert "<h2>The groups</h2>" in page
    assert "p0" in page


def test_fit_says_what_it_did(images, tmp_path, capsys):
    words = ["--method", "DEC", "--image", "5x4", "--labels", "kind", "--report", tmp_path / "page.html", *QUICK]
    code, said = run(capsys, "fit", images, "--out", tmp_path / "a", *words)
    assert code == 0
    assert (said["method"], said["rows"], said["columns"], said["n_clusters"]) == ("DEC", 60, 20, 3)
    assert sum(said["sizes"]) == 60
    assert -1 <= said["stability"] <= 1
    assert set(said["against_labels"]) == {"acc", "nmi", "ari", "purity"}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "a.csv", "page.html"]
    assert mumei.load(tmp_path / "a").image_shape_ == (5, 4)
    assert "<h2>Clusters against the labels</h2>" in (tmp_path / "page.html").read_text()


def test_the_word_fit_may_be_left_out_and_the_seed_decides(table, tmp_path, capsys):
    assert main(["cluster", str(table[0]), "--out", str(tmp_path / "again"), *QUICK]) == 0
    assert "stability: ARI" in capsys.readouterr().out
    assert (tmp_path / "again" / "weights.safetensors").read_bytes() == (table[1] / "weights.safetensors").read_bytes()


def test_settings_are_passed_on(table, tmp_path, capsys):
    words = ["--set", "alpha=2.0", "--set", "activation=tanh", "--latent", "2", "--preprocess", "standard"]
    code, said = run(capsys, "fit", table[0], "--out", tmp_path / "m", *words, *QUICK)
    assert code == 0
    settings = mumei.load(tmp_path / "m").settings_
    assert (settings["alpha"], settings["activation"], settings["n_latent"]) == (2.0, "tanh", 2)
    assert settings["hidden"] == [8] or settings["hidden"] == (8,)
    assert "columns are standardised: mean 0, variance 1" in said["notes"]


def test_training_reads_its_options():
    given = Training(hidden="500,20", latent=3, set=("tol=0", "name=a=b", "learning-rate=1e-3"))
    expected = {"hidden": (500, 20), "n_latent": 3, "tol": 0, "name": "a=b", "learning_rate": 1e-3}
    assert given.settings() == expected
    with pytest.raises(UsageError, match="NAME=VALUE"):
        Training(set=("gamma",)).settings()


def test_h5ad_counts_are_prepared_as_cells(tmp_path, capsys):
    anndata = pytest.importorskip("anndata")
    counts = np.random.default_rng(0).poisson(2, (60, 8)).astype(np.float32)
    anndata.AnnData(counts).write_h5ad(tmp_path / "cells.h5ad")
    code, said = run(capsys, "fit", tmp_path / "cells.h5ad", "--out", tmp_path / "m", *QUICK)
    assert code == 0
    assert any("library size" in note for note in said["notes"])


# ------------------------------------------------------------------------------------------------------------ using


@pytest.mark.parametrize("suffix", ["npy", "parquet", "csv"])
def test_predict_gives_the_fits_groups(table, tmp_path, capsys, suffix):
    source, out = table
    code, said = run(capsys, "predict", out, source, "--out", tmp_path / f"g.{suffix}", "--quiet")
    assert (code, said["rows"], sum(said["sizes"])) == (0, 60, 60)
    labels = mumei.load(out).labels_
    if suffix == "npy":
        found = np.load(tmp_path / "g.npy")
    elif suffix == "parquet":
        import pyarrow.parquet as pq

        found = pq.read_table(tmp_path / "g.parquet")["cluster"].to_numpy()
    else:
        found = [int(row[1]) for row in read_csv(tmp_path / "g.csv")[1:]]
    assert np.array_equal(found, labels)


def test_predict_takes_flat_pictures_for_a_model_of_images(images, tmp_path, capsys):
    assert run(capsys, "fit", images, "--image", "5x4", "--out", tmp_path / "m", *QUICK)[0] == 0
    code, said = run(capsys, "predict", tmp_path / "m", images, "--labels", "kind", "--out", tmp_path / "g.csv")
    assert (code, said["rows"]) == (0, 60)
    assert 0 <= said["against_labels"]["acc"] <= 1
    assert run(capsys, "report", tmp_path / "m", images, "--out", tmp_path / "r.html", "--quiet")[0] == 0
    assert "data:image/png" in (tmp_path / "r.html").read_text()


def test_report_of_other_rows(table, tmp_path, capsys):
    source, out = table
    code, said = run(capsys, "report", out, source, "--rows", 30, "--out", tmp_path / "r.html", "--quiet")
    assert (code, said["rows"]) == (0, 30)
    page = (tmp_path / "r.html").read_text()
    assert "30 of 60, drawn at random" in page
    assert ">dose<" in page


def test_methods_are_those_of_the_registry(capsys):
    code, said = run(capsys, "methods")
    assert code == 0
    assert {m["method"] for m in said["methods"]} == {name.partition("/")[2] for name in registry.entries("cluster")}
    assert main(["cluster", "methods"]) == 0
    printed = capsys.readouterr().out
    assert "autoencoder\n" in printed
    assert "Guo, Gao, Liu and Yin 2017" in printed


# -------------------------------------------------------------------------------------------------------- comparing


def test_compare_writes_page_and_record_and_goes_on(table, tmp_path, capsys):
    source, _ = table
    words = [source, "--methods", "dec,idec", "--out", tmp_path / "c", *QUICK]
    code, said = run(capsys, "compare", *words)
    assert code == 0
    assert [row["method"] for row in said["table"]] == ["kmeans", "pca-kmeans", "ae-kmeans", "dec", "idec"]
    assert json.loads((tmp_path / "c" / "comparison.json").read_text()) == said
    assert "<h2>Maps</h2>" in (tmp_path / "c" / "comparison.html").read_text()
    results = {p: p.stat().st_mtime_ns for p in (tmp_path / "c" / "results").iterdir()}
    assert len(results) == 10
    again = run(capsys, "compare", *words)[1]
    assert again == said
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "c" / "results").iterdir()} == results


def test_compare_with_labels_for_a_person(images, tmp_path, capsys):
    words = ["--methods", "dec", "--labels", "kind", "--out", str(tmp_path / "c"), "--no-baselines", *QUICK]
    assert main(["cluster", "compare", str(images), *words]) == 0
    printed = capsys.readouterr().out
    assert "ACC" in printed
    assert "DEC" in printed
    assert "comparison.html" in printed


# -------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--method", "idecc"], 2, "Did you mean 'idec'"),
        (["--k", "0"], 2, "n_clusters"),
        (["--k", "61"], 2, "more than the 60 rows"),
        (["--seeds", "0"], 2, "n_init"),
        (["--hidden", "wide"], 2, "--hidden"),
        (["--method", "idec", "--set", "gama=1"], 2, "Did you mean 'gamma'"),
        (["--set", "gamma"], 2, "NAME=VALUE"),
        (["--preset", "papr"], 2, "paper"),
        (["--labels", "kinds"], 2, "Did you mean 'kind'"),
        (["--image", "5x5"], 2, "25 pixels"),
        (["--rows", "0"], 2, "--rows"),
        (["--preprocess", "scaled"], 2, "scale"),
    ],
)
def test_options_that_are_not_allowed(images, tmp_path, capsys, words, code, said):
    quick = [w for i in range(0, len(QUICK) - 1, 2) if QUICK[i] not in words for w in QUICK[i : i + 2]]
    found, answer = run(capsys, "fit", images, "--out", tmp_path / "m", "--quiet", *quick, *words)
    assert found == code
    assert said in answer["error"]["message"]
    assert not any(tmp_path.iterdir())


def test_sources_and_folders_that_cannot_be_used(table, images, tmp_path, capsys):
    source, out = table
    assert run(capsys, "fit", tmp_path / "nowhere.csv", "--out", tmp_path / "m", *QUICK)[0] == 2
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    for command in (["fit", source, "--out", tmp_path / "mine"], ["compare", source, "--out", tmp_path / "mine"]):
        code, answer = run(capsys, *command, *QUICK)
        assert code in (1, 2)
        assert "left alone" in answer["error"]["message"]
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["thesis.txt"]
    code, answer = run(capsys, "predict", out, images, "--out", tmp_path / "g.csv")
    assert (code, "20 numbers a row" in answer["error"]["message"]) == (1, True)
    code, answer = run(capsys, "predict", out, source, "--out", tmp_path / "g.txt")
    assert (code, ".parquet" in answer["error"]["message"]) == (2, True)
    assert run(capsys, "predict", tmp_path / "none", source, "--out", tmp_path / "g.csv")[0] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]


def test_a_model_of_another_kind_is_refused(table, tmp_path, capsys):
    source, _ = table
    assert main(["vae", "fit", str(source), "--out", str(tmp_path / "v"), "--epochs", "1", "--quiet"]) == 0
    capsys.readouterr()
    code, answer = run(capsys, "predict", tmp_path / "v", source, "--out", tmp_path / "g.csv")
    assert code == 1
    assert "mumei cluster fit" in answer["error"]["message"]
    assert not (tmp_path / "g.csv").exists()


def test_interrupted(table, tmp_path, capsys, monkeypatch):
    from mumei.cluster.dec import DEC

    def fit(self, X, y=None):
        raise KeyboardInterrupt

    monkeypatch.setattr(DEC, "fit", fit)
    assert main(["cluster", "fit", str(table[0]), "--out", str(tmp_path / "m"), *QUICK]) == 130
    assert "--checkpoints FOLDER" in capsys.readouterr().err
    assert main(["cluster", "compare", str(table[0]), "--methods", "dec", "--out", str(tmp_path / "c"), *QUICK]) == 130
    assert "What was finished is kept" in capsys.readouterr().err
    assert not (tmp_path / "m").exists()
    assert not (tmp_path / "c" / "comparison.html").exists()
