"""The runner of the published figures, on a made-up file."""

from __future__ import annotations

import importlib.util
import json
import shlex
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


def shell(printed):
    """A command that prints a text."""
    return shlex.join([sys.executable, "-c", f"print({printed!r})"])


def write(path, measured):
    command = shell(json.dumps({"a": {"b": measured}}))
    entries = [
        {"claim": "a number", "run": command, "expect": {"a.b": {"published": 0.9, "tolerance": 0.01}}},
        {"claim": "needs data", "run": "false", "needs": ["no such folder"], "expect": {}},
        {"claim": "out of reach", "cannot": "no such model", "published": {"x": 1}},
    ]
    path.write_text("# What it is.\n# By whom.\n" + yaml.safe_dump(entries))


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
    assert path.read_text().startswith("# What it is.\n# By whom.\n- claim:")
    table = runner.table([path])
    assert f"| a number: a.b | 0.9 | {measured} | {state} |" in table
    assert "not here: no such model" in table


def test_a_key_that_is_not_printed_is_said(runner):
    with pytest.raises(runner.CannotRun, match=r"no 'a\.c'"):
        runner.dig({"a": {"b": 1}}, "a.c")
    with pytest.raises(runner.CannotRun, match="'x' for 'a', not a number"):
        runner.dig({"a": "x"}, "a")


def test_a_command_that_fails_keeps_no_other_from_running(runner, tmp_path, capsys):
    path = tmp_path / "figures.yaml"
    expect = {"a": {"published": 1, "tolerance": 0}}
    commands = ["exit 3", shell("no JSON"), shell('{"b": 1}'), shell('{"a": 1}')]
    path.write_text(
        yaml.safe_dump([{"claim": f"number {i}", "run": c, "expect": expect} for i, c in enumerate(commands)])
    )
    assert runner.main([str(path)]) == 1
    printed = capsys.readouterr().out
    assert "ended with exit code 3" in printed
    assert "printed no JSON" in printed
    assert "printed no 'a': 'a' is not among ['b']" in printed
    assert "ok    a: 1 (published 1)" in printed


def test_without_a_published_figure_the_last_measured_one_counts(runner, tmp_path, capsys):
    path = tmp_path / "figures.yaml"
    entry = {"claim": "ours", "run": shell('{"a": 0.52}'), "expect": {"a": {"measured": 0.5, "tolerance": 0.01}}}
    path.write_text(yaml.safe_dump([entry]))
    assert runner.main([str(path), "--update"]) == 0
    assert "near  a: 0.52 (before 0.5)" in capsys.readouterr().out
    assert yaml.safe_load(path.read_text())[0]["expect"]["a"]["measured"] == 0.52
    assert "| ours: a | - | 0.52 | measured |" in runner.table([path])


def test_a_file_in_which_nothing_ran_stays_as_it_is(runner, tmp_path):
    path = tmp_path / "figures.yaml"
    path.write_text("- {claim: by hand, measured: 3} # a comment\n")
    assert runner.main([str(path), "--update"]) == 0
    assert path.read_text() == "- {claim: by hand, measured: 3} # a comment\n"


@pytest.mark.parametrize("path", sorted((ROOT / "reproduce").glob("*.yaml")), ids=lambda p: p.name)
def test_every_file_of_figures_is_complete(path):
    for entry in yaml.safe_load(path.read_text(encoding="utf-8")):
        assert entry["claim"]
        assert {"run", "measured", "cannot"} & set(entry)
        for wanted in entry.get("expect", {}).values():
            assert "tolerance" in wanted
            assert {"published", "measured"} & set(wanted)


def test_the_page_of_figures_is_made_from_the_files(runner):
    files = sorted((ROOT / "reproduce").glob("*.yaml"))
    assert (ROOT / "docs" / "reproduce.md").read_text(encoding="utf-8") == runner.table(files)


def test_long_entries_run_when_asked_for(runner, tmp_path, capsys):
    path = tmp_path / "figures.yaml"
    expect = {"a": {"published": 1, "tolerance": 0, "better": "higher"}}
    path.write_text(yaml.safe_dump([{"claim": "long", "size": "full", "run": shell('{"a": 2}'), "expect": expect}]))
    assert runner.main([str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["verdict"] == "skipped"
    assert runner.main([str(path), "--json", "--full"]) == 0
    assert json.loads(capsys.readouterr().out)[0] == {
        "file": "figures",
        "claim": "long",
        "key": "a",
        "verdict": "ok",
        "measured": 2,
        "published": 1,
    }
