"""Imports point down only: cli, web -> discover -> capabilities -> nn -> core, but for three named exceptions."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src"
CAPABILITIES = {"data", "retrieval", "vae", "cluster", "instruct", "scaling", "protein"}
BELOW = {
    "": {"core"},  # mumei/__init__.py
    "core": {"core"},
    "nn": {"core", "nn"},
    **{name: {"core", "nn", name} for name in CAPABILITIES},
    "discover": {"core", "nn", "discover"} | CAPABILITIES,
    "cli": {"core", "nn", "discover", "cli"} | CAPABILITIES,
    "web": {"core", "nn", "discover", "web"} | CAPABILITIES,
    "testing": {"core", "testing"},
}
BELOW["cluster"] |= {"vae"}
BELOW["instruct"] |= {"data"}
LAZILY = {"testing": {"nn"} | CAPABILITIES}  # allowed within functions


def part(module: str) -> str:
    """Return the part of mumei that a module belongs to, "" for the package itself."""
    name = [*module.split("."), ""][1]
    return "cli" if name == "__main__" else name


def imports(module: str, source: str, is_package: bool = False) -> Iterator[tuple[str, int, bool]]:
    """Yield (target, line, whether within a function) of each import of mumei, `import_module("...")` included."""
    inside: set[ast.AST] = set()
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            inside.update(n for n in ast.walk(node) if n is not node)
    for node in ast.walk(tree):
        for target in targets(node, module, is_package):
            if target.split(".")[0] == "mumei":
                yield target, getattr(node, "lineno", 0), node in inside


def targets(node: ast.AST, module: str, is_package: bool) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            package = module.split(".") if is_package else module.split(".")[:-1]
            base = ".".join(package[: len(package) - node.level + 1] + ([base] if base else []))
        # `from mumei import core` imports a part, `from mumei import __version__` the package itself.
        return [f"mumei.{a.name}" if a.name in BELOW else "mumei" for a in node.names] if base == "mumei" else [base]
    if (
        isinstance(node, ast.Call)
        and node.args
        and getattr(node.func, "attr", getattr(node.func, "id", "")) == "import_module"
    ):
        name = node.args[0].values[0] if isinstance(node.args[0], ast.JoinedStr) else node.args[0]
        return [name.value] if isinstance(name, ast.Constant) and isinstance(name.value, str) else []
    return []


def violations(module: str, source: str, is_package: bool = False) -> list[str]:
    """Return what a module imports that is not below it."""
    own = part(module)
    if own not in BELOW:
        return [f"{module} belongs to no part that the design knows"]
    found = []
    for target, line, lazily in imports(module, source, is_package):
        allowed = BELOW[own] | {""} | (LAZILY.get(own, set()) if lazily else set())
        if part(target) not in allowed:
            found.append(f"{module}:{line} imports {target}")
    return found


FILES = sorted((SOURCE / "mumei").rglob("*.py"))


def test_every_import_points_down():
    found = []
    for file in FILES:
        names = file.relative_to(SOURCE).with_suffix("").parts
        package = names[-1] == "__init__"
        found += violations(".".join(names[:-1] if package else names), file.read_text(encoding="utf-8"), package)
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("mumei.core.a", "import mumei.nn.mlp"),
        ("mumei.core.a", "from mumei import nn"),
        ("mumei.core.a", "def f():\n    from mumei.discover.workspace import Workspace"),
        ("mumei.core.a", "from ..vae import bound"),
        ("mumei.core.a", "from .. import cli"),
        ("mumei.nn.a", "from mumei.retrieval import encoders"),
        ("mumei.vae.a", "from mumei.cluster.dec import DEC"),
        ("mumei.retrieval.a", "from mumei.instruct.model import Model"),
        ("mumei.discover.a", "import mumei.cli.app"),
        ("mumei.discover.a", "from importlib import import_module\nimport_module('mumei.cli.app')"),
        ("mumei.core.a", "import importlib\nimportlib.import_module(f'mumei.nn.{x}')"),
        ("mumei.web.a", "from mumei.cli.output import Output"),
        ("mumei.cli.a", "from mumei.testing import check_encoder"),
        ("mumei.testing.a", "from mumei.retrieval.encoders import MiniLMEncoder"),
        ("mumei.testing.a", "def f():\n    from mumei.discover import discover"),
        ("mumei.elsewhere.a", ""),
    ],
)
def test_an_arrow_that_points_up_or_aside_is_found(module, source):
    assert len(violations(module, source)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("mumei", "def load():\n    from mumei.core.artifact import load"),
        (
            "mumei.core.a",
            "from mumei.core import files\nfrom . import seeds\nfrom .errors import MumeiError\nimport numpy",
        ),
        ("mumei.core.a", "from mumei import __version__"),
        ("mumei.cluster.a", "from mumei.vae.bound import elbo\nfrom mumei.nn.mlp import MLP"),
        ("mumei.instruct.a", "from mumei.data.prompts import Prompt"),
        (
            "mumei.cli.a",
            "def f():\n    from mumei.discover.pipeline import discover\n    from mumei.nn.bert import PackedBert",
        ),
        ("mumei.testing.a", "def f():\n    from mumei.retrieval.encoders import MiniLMEncoder"),
        ("mumei.discover.a", "from importlib import import_module\nimport_module(name)"),
    ],
)
def test_arrows_that_the_design_allows(module, source):
    assert violations(module, source) == []


def test_relative_imports_of_a_package_start_at_itself():
    assert violations("mumei.core", "from . import files", is_package=True) == []
    assert len(violations("mumei.core", "from ..nn import mlp", is_package=True)) == 1
