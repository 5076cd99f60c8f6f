"""The documents are true: their Python runs, their commands parse, what they name exists.

Every ```python block of the README and of `docs/` runs in an empty folder; the blocks of a page share a namespace, top
to bottom. A block marked ```python no-run (a network or a large file is needed) is compiled only.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
from importlib import metadata
from pathlib import Path

import pytest

from mumei import __version__
from mumei.cli.app import COMMANDS, build, check_command, hoist
from mumei.core import registry

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SOURCES = [*(ROOT / "src").rglob("*.py"), ROOT / "run", *(ROOT / "tests").rglob("conftest.py")]


def blocks(page: Path, language: str) -> list[tuple[int, str, str]]:
    """Return (first line number, info, code) of a page's fenced blocks in a language."""
    text = page.read_text(encoding="utf-8")
    found = [m for m in FENCE.finditer(text) if m[1] == language]
    return [(text.count("\n", 0, m.start()) + 2, m[2].strip(), m[3]) for m in found]


def console_lines() -> list[tuple[str, str]]:
    """Return (page, command) for every `$ ...` line of the console blocks."""
    found = []
    for page in PAGES:
        for _, _, code in blocks(page, "console"):
            found += [(page.name, line[2:]) for line in code.splitlines() if line.startswith("$ ")]
    return found


@pytest.fixture
def untouched(monkeypatch, tmp_path):
    """An empty working folder; what a page adds to `sys.modules`, the registry and torch's generator is taken back."""
    import torch

    monkeypatch.chdir(tmp_path)
    modules, entries = set(sys.modules), dict(registry._ENTRIES)
    with torch.random.fork_rng(devices=[]):
        yield
    registry._ENTRIES.clear()
    registry._ENTRIES.update(entries)
    for name in set(sys.modules) - modules:
        if name.startswith("my_"):
            del sys.modules[name]


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "python")], ids=lambda p: p.name)
def test_the_python_blocks_run(page, untouched):
    namespace = {"__name__": f"docs_{page.stem}"}
    for line, info, code in blocks(page, "python"):
        assert info in ("", "no-run"), f"{page.name}:{line}: unknown mark {info!r}"
        compiled = compile("\n" * (line - 1) + code, str(page), "exec")  # so that a traceback names the page's own line
        if not info:
            exec(compiled, namespace)


@pytest.mark.parametrize(("page", "command"), console_lines(), ids=lambda value: value)
def test_the_commands_parse(page, command):
    """mumei's own lines are parsed by the real command line, `./run` lines are looked up in the script."""
    words = shlex.split(command, comments=True)
    if words[0] == "mumei":
        tokens = hoist(words[1:])
        check_command(tokens)
        build().parse_args(tokens)
    elif words[0] == "./run":
        assert f"\n{words[1]})\n" in (ROOT / "run").read_text()
    elif words[0] == "python":
        assert (ROOT / words[1]).is_file()
    else:
        assert words[0] in ("pip", "uv"), f"{page}: {command}: no test knows how to check this"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_json_blocks_are_json(page):
    for _, _, code in blocks(page, "json"):
        json.loads(code)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_relative_links_lead_somewhere(page):
    prose = FENCE.sub("", page.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\((?!https?://)([^)#]+)", prose):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_environment_variables_are_read_somewhere(page):
    """A variable that a page names is read by the package, the run script or the tests' set-up."""
    code = "\n".join(p.read_text(encoding="utf-8") for p in SOURCES)
    assert [name for name in re.findall(r"MUMEI_[A-Z_]+", page.read_text(encoding="utf-8")) if name not in code] == []


def test_every_command_has_its_part():
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert all(f"\n## mumei {name}\n" in page and f"$ mumei {name} --help" in page for name in COMMANDS)


def test_extras_that_the_readme_names_exist():
    named = re.findall(r"pip install '\.\[([a-z,]+)\]'", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert named
    allowed = metadata.metadata("mumei").get_all("Provides-Extra") or []
    assert all(extra in allowed for group in named for extra in group.split(","))


def test_the_version_is_the_same_everywhere():
    assert f"\nversion: {__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\n## [{__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_readme_opens_with_the_two_commands():
    """The first block is the demo and the test suite, before anything else."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    first = FENCE.search(text)
    assert text.startswith("# mumei\n")
    assert first is not None
    assert first[3] == "$ ./run demo\n$ ./run test\n"


def test_every_page_is_in_the_navigation():
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert [p.name for p in PAGES[1:] if f": {p.name}\n" not in navigation] == []
