"""`mumei reproduce` on a made-up checkout: its runner, verdicts, exit codes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from mumei.cli.app import main

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def checkout(tmp_path):
    (tmp_path / "reproduce").mkdir()
    shutil.copy(ROOT / "reproduce" / "run.py", tmp_path / "reproduce")

    def write(value: int) -> None:
        entry = {
            "claim": "a figure",
            "run": f"echo '{{\"a\": {value}}}'",
            "expect": {"a": {"published": 1, "tolerance": 0}},
        }
        (tmp_path / "reproduce" / "paper.yaml").write_text(yaml.safe_dump([entry]))

    write(1)
    return tmp_path, write


def test_verdicts_and_exit_codes(checkout, capfd):
    folder, write = checkout
    assert main(["reproduce", "paper", "--checkout", str(folder)]) == 0
    assert "ok    a: 1 (published 1)" in capfd.readouterr().out
    write(2)
    assert main(["reproduce", "paper", "--checkout", str(folder), "--json", "--update"]) == 1
    assert json.loads(capfd.readouterr().out)["figures"][0]["verdict"] == "fail"
    assert yaml.safe_load((folder / "reproduce" / "paper.yaml").read_text())[0]["expect"]["a"]["measured"] == 2


def test_an_unknown_name_gets_the_closest(checkout, capfd):
    assert main(["reproduce", "papr", "--checkout", str(checkout[0])]) == 2
    assert "Did you mean 'paper'?" in capfd.readouterr().err


def test_outside_a_checkout_it_says_so(tmp_path, capfd):
    assert main(["reproduce", "aevb", "--checkout", str(tmp_path)]) == 2
    assert "Clone it" in capfd.readouterr().err
