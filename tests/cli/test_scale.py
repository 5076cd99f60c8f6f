"""`mumei scale`: runs fitted, budgets spent, grids proposed by command; what cannot be done leaves nothing behind."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from mumei.cli.app import main
from mumei.scaling.laws import BESIROGLU


def run(capsys, *arguments):
    """Return the exit code and the JSON of `mumei scale ... --json`."""
    code = main(["scale", *map(str, arguments), "--json"])
    return code, json.loads(capsys.readouterr().out)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Runs of a known law at five budgets."""
    rng, rows = np.random.default_rng(0), ["Params,Train Tokens,val_loss"]
    for c in (1e18, 3e18, 1e19, 3e19, 1e20):
        for n in BESIROGLU.optimal(c).params * np.geomspace(1 / 4, 4, 9):
            rows.append(f"{n:.6g},{c / 6 / n:.6g},{BESIROGLU.loss(n, c / 6 / n) * np.exp(rng.normal(0, 0.002)):.6f}")
    path = tmp_path_factory.mktemp("runs") / "runs.csv"
    path.write_text("\n".join(rows))
    return path


def test_fit_says_what_it_matched_and_found(table, tmp_path, capsys):
    code, said = run(
        capsys, "fit", table, "--resamples", 100, "--out", tmp_path / "page.html", "--plots", tmp_path / "pictures"
    )
    assert code == 0
    (one,) = said["experiments"]
    assert one["columns"] == {"params": "Params", "tokens": "Train Tokens", "loss": "val_loss"}
    assert one["basis"] == "surface"
    low, high = one["consensus"]["interval"]
    assert low < BESIROGLU.a < high
    assert one["surface"]["objective"] == "huber(delta=0.001)"
    assert sorted(p.name for p in (tmp_path / "pictures").iterdir()) == [
        f"runs-{k}.png" for k in ("cloud", "frontier", "profiles", "surface")
    ]
    page = (tmp_path / "page.html").read_text()
    assert page.count("data:image/png;base64,") == 4
    assert "http" not in page.replace("http-equiv", "")
    last = page[page.index("<h2>In short</h2>") :]
    assert "parameters" in last
    assert "95 % interval" in last


def test_fit_in_words_and_the_word_may_be_left_out(table, capsys):
    assert main(["scale", str(table), "--resamples", "50", "--objective", "lad"]) == 0
    said = capsys.readouterr().out
    assert "columns: params = 'Params', tokens = 'Train Tokens', loss = 'val_loss'" in said
    assert "lad, 45 runs" in said
    assert "consensus: N ~ C^0.5" in said


def test_columns_can_be_named(tmp_path, capsys, table):
    path = tmp_path / "odd.csv"
    path.write_text(table.read_text().replace("Params", "wide").replace("val_loss", "x"))
    code, said = run(capsys, "fit", path, "--columns", "params=wide", "--loss", "x", "--resamples", 20)
    assert code == 0
    assert said["experiments"][0]["columns"]["params"] == "wide"


@pytest.mark.parametrize(
    ("text", "arguments", "kind", "message"),
    [
        ("N,D\n1,2", [], "data", "lacks the loss"),
        ("N,D,loss\n1e8,1e9,-3", [], "data", "loss is -3 in row 1"),
        ("N,D,loss\n1e8,1e9,3", [], "data", "too few"),
        ("N,D,loss\n1e8,1e9,3", ["--columns", "params"], "usage", "give MEANING=NAME"),
        ("N,D,loss\n1e8,1e9,3", ["--resamples", "-1"], "usage", "0 to 100,000"),
        ("N,D,loss\n1e8,1e9,3", ["--half-width", "0.5"], "usage", "above 1"),
        ("N,D,loss\n1e8,1e9,3", ["--flops", "-1"], "usage", "above zero"),
        ("N,D,loss\n1e8,1e9,3", ["--objective", "huber", "--q", "0.1"], "usage", "has no q"),
        (None, [], "usage", "does not exist"),
    ],
)
def test_errors_leave_nothing_behind(tmp_path, capsys, text, arguments, kind, message):
    path = tmp_path / "runs.csv"
    if text is not None:
        path.write_text(text)
    before = sorted(tmp_path.iterdir())
    code, said = run(capsys, "fit", path, "--out", tmp_path / "page.html", "--plots", tmp_path / "pictures", *arguments)
    assert code in (1, 2)
    assert said["error"]["kind"] == kind
    assert message in said["error"]["message"]
    assert sorted(tmp_path.iterdir()) == before


def test_a_page_needs_its_ending(table, tmp_path, capsys):
    code, said = run(capsys, "fit", table, "--out", tmp_path / "page.pdf")
    assert code == 2
    assert ".html" in said["error"]["message"]


def test_plan(capsys):
    code, said = run(capsys, "plan", "--flops", "5.76e23")
    assert code == 0
    assert said["params"] == pytest.approx(72.4e9, rel=0.01)
    assert said["tokens_per_param"] == pytest.approx(18.3, abs=0.1)
    assert said["band"]["params"] == pytest.approx([49.9e9, 104.7e9], rel=0.01)
    assert said["intervals"]["loss"][0] < said["loss"] < said["intervals"]["loss"][1]
    by_hours = run(capsys, "plan", "--gpu", "h100", "--hours", 1000, "--mfu", 0.4)[1]
    assert by_hours["flops"] == pytest.approx(1.424e21, rel=1e-3)
    assert by_hours["gpu_hours"] == pytest.approx(1000)
    limited = run(capsys, "plan", "--flops", "5.76e23", "--unique-tokens", "2.5e10")[1]
    assert limited["epochs"] > 40
    assert limited["params"] < said["params"]
    served = run(capsys, "plan", "--flops", "5.76e23", "--serve-tokens", "1e13")[1]
    assert served["saving"] == pytest.approx(0.286, abs=0.003)
    assert served["loss"] == pytest.approx(said["loss"])


def test_plan_in_words(capsys):
    assert main(["scale", "plan", "--flops", "5.76e23"]) == 0
    said = capsys.readouterr().out
    for text in (
        "parameters N: 72.4 billion, 95 %",
        "tokens D: 1.33 trillion",
        "D/N: 18.3",
        "predicted loss: 1.974",
        "within 5 % of optimal",
    ):
        assert text in said


def test_plan_by_ones_own_runs(table, capsys):
    code, said = run(capsys, "plan", "--flops", "1e21", "--runs", table, "--resamples", 100)
    assert code == 0
    assert any("planned by the surface fit of 45 runs" in note for note in said["notes"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "none was given"),
        (["--flops", "1e21", "--law", "hofman"], "Did you mean 'hoffmann'"),
        (["--flops", "nan"], "above zero"),
        (["--hours", "5"], "need an accelerator"),
    ],
)
def test_plans_that_cannot_be(capsys, arguments, message):
    code, said = run(capsys, "plan", *arguments)
    assert code == 2
    assert message in said["error"]["message"]


def test_sweep_and_its_next_round(tmp_path, capsys):
    code, said = run(capsys, "sweep", "--flops", "1e22", "--out", tmp_path / "grid.csv")
    assert code == 0
    assert len(said["next"]) == 35
    rows = list(csv.DictReader((tmp_path / "grid.csv").read_text().splitlines()))
    assert len(rows) == 35
    finished = ["N,D,loss"]
    for row in rows[:7]:
        n, d = float(row["params"]), float(row["tokens"])
        finished.append(f"{n},{d},{BESIROGLU.loss(n, d)}")
    (tmp_path / "done.csv").write_text("\n".join(finished))
    again = run(capsys, "sweep", "--flops", "1e22", "--runs", tmp_path / "done.csv")[1]
    assert len(again["next"]) == 28
    assert "minimum" in again["done"][0]["says"]
    assert main(["scale", "sweep", "--flops", "1e22"]) == 0
    assert "35 runs to train, 1.00e+21 FLOPs, 10.0 % of the target" in capsys.readouterr().out


def test_a_sweep_that_cannot_be(tmp_path, capsys):
    code, said = run(capsys, "sweep", "--flops", "1e22", "--points", 2, "--out", tmp_path / "grid.csv")
    assert code == 2
    assert "2 points" in said["error"]["message"]
    assert list(tmp_path.iterdir()) == []
