"""Layers: cli and web on discover on the capabilities on nn on core; nobody imports upwards or sideways.

Imports inside functions count too: the graph is about what a module needs, not about when it is loaded.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src" / "mumei"
CAPABILITIES = ("cluster", "data", "instruct", "protein", "retrieval", "scaling", "vae")
SIDEWAYS = {("cluster", "vae"), ("instruct", "data")}
BELOW = {
    "": {"core"},
    "core": set(),
    "nn": {"core"},
    **{name: {"core", "nn"} for name in CAPABILITIES},
    "discover": {"core", "nn", *CAPABILITIES},
    "testing": {"core", "nn", *CAPABILITIES},
    "web": {"core", "nn", "discover", *CAPABILITIES},
    "cli": {"core", "nn", "discover", "web", "testing", *CAPABILITIES},
}


def layer(parts: tuple[str, ...]) -> str:
    """Return the layer of a module given by its names below `mumei`."""
    return parts[0] if parts else ""


def imported(tree: ast.AST, package: tuple[str, ...]) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Yield the line and the names below `mumei` of everything that a module imports from mumei."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found = [tuple(alias.name.split(".")) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = ("mumei", *package)[: len(package) + 2 - node.level] if node.level else ()
            base = (*start, *(node.module or "").split(".")) if node.module else start
            found = [(*base, alias.name) for alias in node.names]
        else:
            continue
        yield from ((node.lineno, name[1:]) for name in found if name[0] == "mumei")


def modules() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def allowed(here: str, there: str) -> bool:
    return here == there or there in BELOW[here] or (here, there) in SIDEWAYS


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(SOURCE)))
def test_a_module_imports_only_from_below(path):
    package = path.relative_to(SOURCE).parent.parts
    here = layer((*package, path.stem) if path.stem != "__init__" else package)
    assert here in BELOW, f"{path}: a new layer; give it a place in BELOW"
    for line, names in imported(ast.parse(path.read_bytes()), package):
        there = names[0] if names else ""
        if there in BELOW and there:
            assert allowed(here, there), f"{path}:{line}: {here or 'mumei'} must not import {there}"


def test_the_walk_sees_every_way_of_importing():
    """Expected: read off by eye."""
    text = """
import mumei.cli.app
from mumei.discover import pipeline
from mumei import vae
def f():
    from .sources import kinds
    from ..cli import app
    from .. import web
    import numpy
    from . import here
"""
    found = [names for _, names in imported(ast.parse(text), ("discover",))]
    assert found == [
        ("cli", "app"),
        ("discover", "pipeline"),
        ("vae",),
        ("discover", "sources", "kinds"),
        ("cli", "app"),
        ("web",),
        ("discover", "here"),
    ]


def test_the_rules_are_the_designs():
    assert not allowed("core", "nn")
    assert not allowed("nn", "retrieval")
    assert not allowed("vae", "cluster")
    assert allowed("cluster", "vae")
    assert not allowed("discover", "web")
    assert not any(allowed(name, "cli") for name in BELOW if name != "cli")
    assert not any(allowed(name, "discover") for name in BELOW if name not in ("cli", "web", "discover"))
