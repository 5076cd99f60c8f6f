"""The runner of the published figures, on a made-up file."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def runner():
    specification = importlib.util.spec_from_file_location("reproduce_run", ROOT / "reproduce" / "run.py")
    assert specification is not None
    module = importlib.util.module_from_spec(specification)
    assert specification.loader is not None
    specification.loader.exec_module(module)
    return module


def write(path, measured):
    command = f'{sys.executable} -c "print(\'{{{{\\"a\\": {{{{\\"b\\": {measured}}}}}}}}}\')"'
    entries = [
        {"claim": "a number", "run": command, "expect": {"a.b": {"published": 0.9, "tolerance": 0.01}}},
        {"claim": "needs data", "run": "false", "needs": ["no such folder"], "expect": {}},
        {"claim": "out of reach", "cannot": "no such model", "published": {"x": 1}},
    ]
    path.write_text(yaml.safe_dump(entries))


@pytest.mark.parametrize(("measured", "state", "code"), [(0.905, "ok", 0), (0.915, "near", 0), (0.7, "fail", 1)])
def test_figures_are_run_judged_and_written_back(runner, tmp_path, capsys, measured, state, code):
    path = tmp_path / "figures.yaml"
    write(path, measured)
    assert runner.main([str(path), "--update"]) == code
    printed = capsys.readouterr().out
    assert f"{state:<5} a.b: {measured}" in printed
    assert "needs data (skipped: no " in printed
    assert "out of reach (skipped: no such model)" in printed
    assert yaml.safe_load(path.read_text())[0]["expect"]["a.b"]["measured"] == measured
    table = runner.table([path])
    assert f"| a number: a.b | 0.9 | {measured} | {state} |" in table
    assert "not here: no such model" in table


def test_a_key_that_is_not_printed_is_said(runner):
    with pytest.raises(SystemExit, match=r"no 'a\.c'"):
        runner.dig({"a": {"b": 1}}, "a.c")


@pytest.mark.parametrize("path", sorted((ROOT / "reproduce").glob("*.yaml")), ids=lambda p: p.name)
def test_every_file_of_figures_is_complete(path):
    for entry in yaml.safe_load(path.read_text(encoding="utf-8")):
        assert entry["claim"]
        assert {"run", "measured", "cannot"} & set(entry)
        assert all({"published", "tolerance"} <= set(wanted) for wanted in entry.get("expect", {}).values())


def test_the_page_of_figures_is_made_from_the_files(runner):
    files = sorted((ROOT / "reproduce").glob("*.yaml"))
    assert (ROOT / "docs" / "reproduce.md").read_text(encoding="utf-8") == runner.table(files)
