"""`mumei vae`: a model fitted, used and shown by command; what cannot be done is said, and leaves nothing half written."""

from __future__ import annotations

import csv
import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy import sparse

import mumei
from mumei.cli import reading
from mumei.cli.app import main
from mumei.core.errors import DataError, UsageError

QUICK = ["--epochs", "2", "--hidden", "8", "--latent", "2", "--batch-size", "20", "--quiet"]
LONGER = ["--epochs", "40", "--learning-rate", "0.02", *QUICK[2:]]


def run(capsys, *arguments):
    """Return the exit code and the JSON of `mumei vae ... --json`."""
    code = main(["vae", *map(str, arguments), "--json"])
    return code, json.loads(capsys.readouterr().out)


def read_csv(path):
    return list(csv.reader(path.read_text().splitlines()))


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Two kinds of pictures, bytes, with labels, in an .npz that also holds a smaller array."""
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 2
    bars = np.zeros((60, 5, 4))
    bars[labels == 0, 1], bars[labels == 1, :, 2] = 200, 220
    pictures = (bars + rng.integers(0, 30, bars.shape)).astype(np.uint8)
    np.savez(folder / "bars.npz", pictures=pictures, small=rng.normal(size=(60, 3)), labels=labels)
    return folder / "bars.npz"


@pytest.fixture(scope="module")
def model(images):
    out = images.parent / "bars.vae"
    assert main(["vae", "fit", str(images), "--out", str(out), "--labels", "labels", *LONGER]) == 0
    return out


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A table with ids and names, and a model of it."""
    folder = tmp_path_factory.mktemp("table")
    rng = np.random.default_rng(1)
    lines = ["id,age,dose,weight", *(f"p{i}," + ",".join(f"{v:.4f}" for v in rng.normal(50, 5, 3)) for i in range(40))]
    (folder / "patients.csv").write_text("\n".join(lines))
    out = folder / "patients.vae"
    assert main(["vae", "fit", str(folder / "patients.csv"), "--out", str(out), *QUICK]) == 0
    return folder / "patients.csv", out


# ---------------------------------------------------------------------------------------------------------- fitting


def test_fit_writes_a_model_and_a_page(images, model, capsys):
    assert sorted(p.name for p in images.parent.iterdir()) == ["bars.npz", "bars.vae", "bars.vae.html"]
    loaded = mumei.load(model)
    assert loaded.latent_ == 2
    assert loaded.image_shape_ == (5, 4)
    page = (images.parent / "bars.vae.html").read_text()
    assert "<h2>Manifold</h2>" in page
    assert page.count("<i style=") == 2  # the labels' legend


def test_fit_says_what_it_chose(images, tmp_path, capsys):
    code, said = run(capsys, "fit", images, "--out", tmp_path / "a", "--report", tmp_path / "page.html", *QUICK)
    assert code == 0
    assert said["likelihood"] == {"name": "bernoulli", "grey": True}
    assert said["notes"]
    assert (said["rows"], said["columns"], said["epochs"]) == (60, 20, 2)
    assert said["collapse"]["kl"] >= 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "page.html"]


def test_the_word_fit_may_be_left_out_and_the_seed_decides(images, model, tmp_path, capsys):
    assert main(["vae", str(images), "--out", str(tmp_path / "again.vae"), *LONGER]) == 0
    assert "model:" in capsys.readouterr().out
    assert (tmp_path / "again.vae" / "weights.safetensors").read_bytes() == (model / "weights.safetensors").read_bytes()


def test_notes_and_warnings_are_said_once(images, tmp_path, capsys):
    """One epoch at a tiny rate on noise: the latent space is not used."""
    np.save(tmp_path / "noise.npy", np.random.default_rng(0).normal(size=(80, 6)))
    words = ["--learning-rate", "1e-9", "--beta", "50", *QUICK]
    assert main(["vae", "fit", str(tmp_path / "noise.npy"), "--out", str(tmp_path / "n.vae"), *words]) == 0
    printed = capsys.readouterr().out
    warnings = [line for line in printed.splitlines() if line.startswith("warning:")]
    assert len(set(warnings)) == len(warnings)
    assert "note:" in printed


def test_rows_and_checkpoints(images, tmp_path, capsys):
    words = ["--rows", "30", "--checkpoints", tmp_path / "kept", *QUICK]
    code, said = run(capsys, "fit", images, "--out", tmp_path / "a.vae", *words)
    assert (code, said["rows"]) == (0, 30)
    assert any((tmp_path / "kept").iterdir())


# ------------------------------------------------------------------------------------------------------------ using


@pytest.mark.parametrize("suffix", ["npy", "parquet", "csv"])
def test_encode_gives_the_estimators_transform(table, tmp_path, capsys, suffix):
    source, model = table
    out = tmp_path / f"z.{suffix}"
    code, said = run(capsys, "encode", model, source, "--out", out, "--quiet")
    assert (code, said["rows"], said["columns"]) == (0, 40, ["vae0", "vae1"])
    values = np.loadtxt(source, delimiter=",", skiprows=1, usecols=(1, 2, 3), dtype=np.float32)
    fitted = mumei.load(model)
    del fitted.feature_names_in_
    expected = fitted.transform(values)
    if suffix == "npy":
        found = np.load(out)
    elif suffix == "parquet":
        read = pq.read_table(out).to_pydict()
        assert read["id"][:2] == ["p0", "p1"]
        found = np.c_[read["vae0"], read["vae1"]]
    else:
        rows = read_csv(out)
        assert rows[0] == ["id", "vae0", "vae1"]
        found = np.array([row[1:] for row in rows[1:]], dtype=float)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_columns_in_another_order_are_put_right_and_missing_ones_refused(table, tmp_path, capsys):
    source, model = table
    rows = read_csv(source)
    (tmp_path / "turned.csv").write_text("\n".join(f"{r[0]},{r[3]},{r[1]},{r[2]}" for r in rows))
    for name, path in (("a", source), ("b", tmp_path / "turned.csv")):
        assert main(["vae", "encode", str(model), str(path), "--out", str(tmp_path / f"{name}.npy"), "--quiet"]) == 0
    assert np.array_equal(np.load(tmp_path / "a.npy"), np.load(tmp_path / "b.npy"))
    capsys.readouterr()
    (tmp_path / "less.csv").write_text("\n".join(f"{r[0]},{r[1]},{r[2]}" for r in rows))
    code, said = run(capsys, "encode", model, tmp_path / "less.csv", "--out", tmp_path / "c.npy")
    assert code == 1
    assert "'weight'" in said["error"]["message"]
    assert not (tmp_path / "c.npy").exists()


def test_sample_rows_and_pictures(model, table, tmp_path, capsys):
    assert run(capsys, "sample", model, "-n", 7, "--out", tmp_path / "x.npy")[0] == 0
    found = np.load(tmp_path / "x.npy")
    assert found.shape == (7, 20)
    assert set(np.unique(found.round(3))) == {0.0, 255.0}  # bits, in the units of the bytes
    assert run(capsys, "sample", model, "--count", 9, "--out", tmp_path / "x.png", "--seed", 3)[0] == 0
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
    assert run(capsys, "sample", table[1], "-n", 3, "--out", tmp_path / "x.csv", "--mean")[0] == 0
    assert (tmp_path / "x.csv").read_text().splitlines()[0] == "id,age,dose,weight"
    code, said = run(capsys, "sample", table[1], "--out", tmp_path / "y.png")
    assert code == 2
    assert "--image" in said["error"]["message"]


def test_score_lists_the_least_likely_first(images, model, tmp_path, capsys):
    with np.load(images) as arrays:
        pictures = arrays["pictures"].copy()
    pictures[17] = 255 - pictures[17]
    np.save(tmp_path / "odd.npy", pictures)
    code, said = run(capsys, "score", model, tmp_path / "odd.npy", "--quiet", "--out", tmp_path / "s.npy")
    assert code == 0
    assert said["per_row"][0]["id"] == "18"
    assert said["rows"] == len(said["per_row"]) == 60
    assert np.load(tmp_path / "s.npy").argmin() == 17
    assert main(["vae", "score", str(model), str(tmp_path / "odd.npy"), "--top", "2", "--quiet"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len([line for line in lines if line.startswith("  ")]) == 2
    assert lines[1].split()[0] == "18"


@pytest.mark.parametrize("method", ["iwae", "ais", "appendix_d"])
def test_score_by_other_methods(images, model, method, capsys):
    code, said = run(capsys, "score", model, images, "--method", method, "--rows", 3, "--quiet")
    assert code == 0
    assert said["method"] == method
    assert all(np.isfinite(row["nats"]) for row in said["per_row"])


def test_report_of_other_rows(images, model, tmp_path, capsys):
    out = tmp_path / "page.html"
    code, said = run(capsys, "report", model, images, "--out", out, "--labels", "labels", "--rows", 20, "--quiet")
    assert (code, said["rows"]) == (0, 20)
    assert "20 of 60, drawn at random" in out.read_text()


def test_flattened_images_are_shown_by_their_shape(tmp_path, capsys):
    bits = sparse.csr_matrix((np.random.default_rng(0).random((30, 12)) < 0.3).astype(np.uint8))
    sparse.save_npz(tmp_path / "bits.npz", bits)
    assert run(capsys, "fit", tmp_path / "bits.npz", "--image", "4x3", "--out", tmp_path / "m.vae", *QUICK)[0] == 0
    assert "<h2>Manifold</h2>" in (tmp_path / "m.vae.html").read_text()
    assert run(capsys, "report", tmp_path / "m.vae", tmp_path / "bits.npz", "--out", tmp_path / "r.html")[0] == 0


def test_batches_are_asked_for(images, tmp_path, capsys):
    fitted = tmp_path / "b.vae"
    assert run(capsys, "fit", images, "--out", fitted, "--batch", "labels", *QUICK)[0] == 0
    code, said = run(capsys, "encode", fitted, images, "--out", tmp_path / "z.npy")
    assert (code, "batch" in said["error"]["message"]) == (2, True)
    assert run(capsys, "encode", fitted, images, "--batch", "labels", "--out", tmp_path / "z.npy")[0] == 0
    assert run(capsys, "sample", fitted, "--batch", "1", "--out", tmp_path / "x.npy")[0] == 0
    assert run(capsys, "sample", fitted, "--batch", "7", "--out", tmp_path / "y.npy")[0] == 2
    assert run(capsys, "report", fitted, images, "--batch", "labels", "--out", tmp_path / "r.html", "--quiet")[0] == 0


# ---------------------------------------------------------------------------------------------------------- sources


def test_an_array_is_named_after_a_colon(images):
    assert reading.read_numbers(str(images)).matrix.shape == (60, 5, 4)
    small = reading.read_numbers(f"{images}:small")
    assert small.matrix.shape == (60, 3)
    assert list(small.beside) == ["labels"]
    with pytest.raises(UsageError, match="Did you mean 'small'"):
        reading.read_numbers(f"{images}:smal")


def test_python_objects_beside_the_numbers_are_left_alone(tmp_path):
    np.savez(tmp_path / "mixed.npz", x=np.ones((3, 2)), notes=np.array([{}, {}, {}], dtype=object))
    found = reading.read_numbers(str(tmp_path / "mixed.npz"))
    assert found.matrix.shape == (3, 2)
    assert "not used: notes" in found.described[-1]


def test_sparse_matrices_stay_sparse(tmp_path):
    matrix = sparse.random(20, 9, 0.2, "csr", rng=np.random.default_rng(0))
    sparse.save_npz(tmp_path / "scipy.npz", matrix)
    parts = {f"x_{part}": getattr(matrix, part) for part in ("indptr", "indices", "data", "shape")}
    np.savez(tmp_path / "parts.npz", **parts, y=np.arange(20))
    for name in ("scipy", "parts"):
        found = reading.read_numbers(str(tmp_path / f"{name}.npz")).matrix
        assert (found != matrix).nnz == 0


def test_h5ad_with_a_layer(tmp_path):
    anndata = pytest.importorskip("anndata")
    data = anndata.AnnData(np.ones((6, 3), np.float32), layers={"counts": np.full((6, 3), 2.0)})
    data.obs["donor"] = list("aabbcc")
    data.write_h5ad(tmp_path / "cells.h5ad")
    found = reading.read_numbers(f"{tmp_path / 'cells.h5ad'}:counts")
    assert (np.asarray(found.matrix) == 2).all()
    assert found.beside["donor"] == list("aabbcc")
    with pytest.raises(UsageError, match="counts"):
        reading.read_numbers(f"{tmp_path / 'cells.h5ad'}:count")


# -------------------------------------------------------------------------------------------------------- bad input


def bad_sources(folder):
    folder.mkdir()
    holed = np.ones((5, 3))
    holed[2, 1] = np.nan
    np.save(folder / "nan.npy", holed)
    np.save(folder / "one-row.npy", np.ones((1, 3)))
    np.save(folder / "flat.npy", np.ones(5))
    np.save(folder / "empty.npy", np.ones((0, 3)))
    np.save(folder / "words.npy", np.array([["a", "b"]]))
    np.savez(folder / "objects.npz", x=np.array([[{}]], dtype=object))
    (folder / "torn.npz").write_bytes(b"PK\x03\x04 torn")
    (folder / "gaps.csv").write_text("a,b\n1,2\n3,\n5,6\n")
    (folder / "notes.csv").write_text(
        "id,text\n1,the heart pumps blood through the body\n2,the kidney filters the blood\n"
    )
    return folder


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nan.npy", "row 3"),
        ("one-row.npy", "two"),
        ("flat.npy", "rows and columns"),
        ("empty.npy", "at least one of each"),
        ("words.npy", "save numbers"),
        ("objects.npz", "pickles are refused"),
        ("torn.npz", "cannot read"),
        ("gaps.csv", "not finite"),
        ("notes.csv", "mumei discover"),
        ("nowhere.npz", "no file"),
    ],
)
def test_sources_that_cannot_be_used(tmp_path, capsys, name, said):
    folder = bad_sources(tmp_path / "in")
    out = tmp_path / "out"
    out.mkdir()
    code, answer = run(capsys, "fit", folder / name, "--out", out / "m.vae", *QUICK)
    assert code in (1, 2)
    assert answer["error"]["kind"] in ("data", "usage")
    assert said in answer["error"]["message"]
    assert not any(out.iterdir())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--latent", "0"], "n_latent"),
        (["--latent", "21"], "20"),
        (["--hidden", "wide"], "--hidden"),
        (["--likelihood", "bernouli"], "Did you mean 'bernoulli'"),
        (["--likelihood", "gauss", "--scale", "none"], "gaussian"),
        (["--batch", "donor"], "labels"),
        (["--labels", "lable"], "Did you mean 'labels'"),
        (["--image", "5x5"], "25 pixels"),
        (["--epochs", "0"], "epochs"),
        (["--rows", "0"], "--rows"),
        (["--validation", "1"], "validation"),
    ],
)
def test_options_that_are_not_allowed(images, tmp_path, capsys, words, said):
    quick = [w for i in range(0, len(QUICK) - 1, 2) if QUICK[i] not in words for w in QUICK[i : i + 2]]
    code, answer = run(capsys, "fit", images, "--out", tmp_path / "m.vae", "--quiet", *quick, *words)
    assert code == 2
    assert said in answer["error"]["message"]
    assert not any(tmp_path.iterdir())


def test_a_folder_of_something_else_is_left_alone(images, tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    code, answer = run(capsys, "fit", images, "--out", tmp_path / "mine", *QUICK)
    assert code == 1
    assert "left alone" in answer["error"]["message"]
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


def test_what_is_not_a_model(images, model, tmp_path, capsys):
    altered = tmp_path / "altered.vae"
    shutil.copytree(model, altered)
    weights = altered / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    for place in (images, tmp_path / "nothing", altered):
        code, answer = run(capsys, "encode", place, images, "--out", tmp_path / "z.npy")
        assert code in (1, 2)
        assert answer["error"]["kind"] in ("artifact", "usage")
    assert not (tmp_path / "z.npy").exists()


@pytest.mark.parametrize("command", ["encode", "score", "report"])
def test_a_wrong_width(model, tmp_path, capsys, command):
    np.save(tmp_path / "wide.npy", np.zeros((4, 21), np.uint8))
    out = tmp_path / ("page.html" if command == "report" else "z.npy")
    code, answer = run(capsys, command, model, tmp_path / "wide.npy", "--out", out)
    assert code == 1
    assert "20" in answer["error"]["message"]
    assert not out.exists()


@pytest.mark.parametrize(
    "words", [["encode", "S", "--out", "z.txt"], ["score", "S", "--out", "z"], ["sample", "--out", "z.jpg"]]
)
def test_an_ending_that_is_not_written(images, model, tmp_path, monkeypatch, capsys, words):
    monkeypatch.chdir(tmp_path)
    given = [str(images) if w == "S" else w for w in words]
    code, answer = run(capsys, given[0], model, *given[1:])
    assert code == 2
    assert ".npy" in answer["error"]["message"]
    assert not any(tmp_path.iterdir())


def test_damaged_sparse_parts(tmp_path):
    np.savez(tmp_path / "bad.npz", x_indptr=[0, 9], x_indices=[0], x_data=[1.0], x_shape=[1, 3])
    with pytest.raises(DataError, match="cannot read"):
        reading.read_numbers(str(tmp_path / "bad.npz"))
