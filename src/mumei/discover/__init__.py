"""All of it: a pile of unlabelled material in, a searchable, clustered, mapped workspace and a report out.

`discover(source, ...)` makes or continues a workspace, `search(workspace, question)` asks it, `Searcher` keeps it open for many
questions, `Workspace` reads its tables. Everything heavy is imported on use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mumei.discover.answer import Searcher, search
    from mumei.discover.pipeline import discover
    from mumei.discover.workspace import Workspace

__all__ = ["Searcher", "Workspace", "discover", "search"]

_HOMES = {"discover": "pipeline", "search": "answer", "Searcher": "answer", "Workspace": "workspace"}


def __getattr__(name: str) -> Any:
    """Import a public name from its home when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module 'mumei.discover' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"mumei.discover.{_HOMES[name]}"), name)
