"""House rules that no linter checks: sizes, banned calls, one place that writes, docstrings, light imports."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src" / "mumei"
FILES = sorted(SOURCE.rglob("*.py"))
BANNED = re.compile(
    r"torch\.(save|load)|_?c?[pP]ickle\.\w+|dill\.\w+|cloudpickle\.\w+|joblib\.(dump|load)|(.*\.)?extractall|eval|exec|marshal\.\w+"
)
BANNED_OPTIONS = {"allow_pickle", "trust_remote_code"}
BANNED_MODULES = {"pickle", "dill", "cloudpickle", "marshal", "shelve"}
# core/files.py opens files for writing; the workspace's lock is a file that must exist before anything is written.
WRITERS = {"core/files.py"}
LOCKS = {("discover/workspace.py", "lock")}
LIGHT = ("errors", "files", "seeds", "registry", "artifact", "progress", "protocols")

each_file = pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(SOURCE).as_posix())


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_bytes())


def calls(root: ast.AST) -> list[tuple[ast.Call, str]]:
    return [(node, ast.unparse(node.func)) for node in ast.walk(root) if isinstance(node, ast.Call)]


def long_functions(root: ast.AST, limit: int) -> list[str]:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    found = [node for node in ast.walk(root) if isinstance(node, kinds)]
    return [f"{n.name}: {n.end_lineno - n.lineno + 1}" for n in found if n.end_lineno - n.lineno + 1 > limit]


def banned(root: ast.AST) -> list[str]:
    found = [f"{node.lineno}: {name}" for node, name in calls(root) if BANNED.fullmatch(name)]
    for node, _ in calls(root):
        for option in node.keywords:
            off = isinstance(option.value, ast.Constant) and option.value.value is False
            if option.arg in BANNED_OPTIONS and not off:
                found.append(f"{node.lineno}: {option.arg}")
    for node in ast.walk(root):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        found += [f"{node.lineno}: import {name}" for name in names if name.split(".")[0] in BANNED_MODULES]
    return found


def writes(root: ast.AST) -> list[str]:
    """Return the calls that open a path for writing."""
    found = []
    for node, name in calls(root):
        last = name.rpartition(".")[2]
        if last in ("write_text", "write_bytes") and isinstance(node.func, ast.Attribute) and name != f"files.{last}":
            found.append(f"{node.lineno}: {name}")
        if last == "open" and name != "os.open":
            # Path.open takes the mode first, the open of a module (gzip, io) or of Python takes it second.
            modes = [a for a in node.args[:2] if isinstance(a, ast.Constant)]
            modes += [k.value for k in node.keywords if k.arg == "mode" and isinstance(k.value, ast.Constant)]
            if any(re.fullmatch(r"[wax][bt+]*|r[bt]*\+[bt]*", str(m.value)) for m in modes):
                found.append(f"{node.lineno}: {ast.unparse(node)}")
    return found


def undocumented(root: ast.Module) -> list[str]:
    found = [] if ast.get_docstring(root) else ["the module"]
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    rows: list[ast.AST] = [root]
    while rows:
        for node in rows.pop().body:
            if isinstance(node, kinds) and not node.name.startswith("_"):
                found += [] if ast.get_docstring(node) else [node.name]
                rows += [node] if isinstance(node, ast.ClassDef) else []
    return found


@each_file
def test_files_and_functions_are_short(path):
    assert len(path.read_text("utf-8").splitlines()) <= 600
    assert long_functions(tree(path), 70) == []


@each_file
def test_nothing_runs_or_unpickles_what_it_reads(path):
    assert banned(tree(path)) == []


@each_file
def test_one_place_writes_files(path):
    name = path.relative_to(SOURCE).as_posix()
    locks = [word for file, word in LOCKS if file == name]
    found = [w for w in writes(tree(path)) if not any(word in w.lower() for word in locks)]
    assert found == [] or name in WRITERS, "write through mumei.core.files"


@each_file
def test_every_public_name_has_a_docstring(path):
    assert undocumented(tree(path)) == []


def test_the_rules_catch_what_they_are_for():
    """Expected: each line of the first text is one finding, no line of the second is."""
    bad = "torch.save(x, p)\npickle.loads(b)\njoblib.dump(a, b)\nz.extractall(p)\neval(s)\nexec(s)\n"
    bad += "np.load(p, allow_pickle=True)\nload(trust_remote_code=yes)\nimport pickle\nfrom pickle import loads"
    assert len(banned(ast.parse(bad))) == bad.count("\n") + 1
    assert banned(ast.parse("net.eval()\nnp.load(p, allow_pickle=False)\nz.extract(p)")) == []
    bad = "open(p, 'w')\nopen(p, mode='ab')\np.open('wb')\ngzip.open(p, 'wt')\np.write_text('x')\np.write_bytes(b)\n"
    bad += "open(p, 'r+b')\nopen(p, 'xb')"
    assert len(writes(ast.parse(bad))) == bad.count("\n") + 1
    good = "open(p)\nopen(p, 'rb')\ngzip.open(p, 'rt')\nfiles.write_text(p, 'x')\nwrite_bytes(p, b)\nos.open(p, flags)"
    assert writes(ast.parse(good)) == []
    assert undocumented(ast.parse("class A:\n  def b(self): pass\n  def _c(self): pass")) == ["the module", "A", "b"]
    assert long_functions(ast.parse("def f():\n" + "  x\n" * 5), 5) == ["f: 6"]


@pytest.mark.parametrize("module", ["mumei", *(f"mumei.core.{name}" for name in LIGHT)])
def test_light_modules_load_nothing_heavy(module):
    heavy = ("numpy", "torch", "pyarrow", "sklearn", "scipy", "pandas")
    script = f"import sys, {module}; print([m for m in {heavy} if m in sys.modules])"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE")}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == "[]"
