"""No `--help` and no `import mumei` loads a heavy module; `benchmarks/import_budget.py` has the time half."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from mumei.cli.app import COMMANDS

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "import_budget.py"
spec = importlib.util.spec_from_file_location("import_budget", SCRIPT)
assert spec is not None
assert spec.loader is not None
budget = importlib.util.module_from_spec(spec)
spec.loader.exec_module(budget)


@pytest.mark.parametrize("arguments", budget.commands(), ids=lambda a: " ".join(a) or "import")
def test_nothing_heavy_is_loaded(arguments):
    assert budget.heavy_modules(arguments) == (0, [])


def test_the_probe_sees_a_heavy_module(monkeypatch):
    """The check itself can fail: what `--help` does load is found when it is called heavy."""
    monkeypatch.setattr(budget, "HEAVY", ("cyclopts", "numpy"))
    assert budget.heavy_modules(["--help"]) == (0, ["cyclopts"])


def test_every_command_is_under_the_budget():
    assert [c[0] for c in budget.commands() if len(c) == 2] == list(COMMANDS)
