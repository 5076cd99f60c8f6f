"""The embedded corpus: passages written for this project and judged questions, so that a demonstration is measurable offline."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mumei.discover.sources.rows import Checker, Item, Problem

FOLDER = Path(__file__).parent


def load_passages() -> list[dict[str, Any]]:
    """Return the passages: dicts of `id`, `title`, `text`, `theme`, `lang`."""
    return _lines("passages.jsonl")


def load_questions() -> list[dict[str, Any]]:
    """Return the questions: dicts of `id`, `text`, `lang` and `relevant` (passage id to grade 1 or 2)."""
    return _lines("questions.jsonl")


def _lines(name: str) -> list[dict[str, Any]]:
    import orjson

    return [orjson.loads(line) for line in (FOLDER / name).read_bytes().splitlines() if line]


class PrimerSource:
    """The passages as a source; the themes are left out, as everywhere labels are."""

    kind = "text"
    name = "primer"

    def __init__(self) -> None:
        self.total_hint = len(load_passages())
        self.described = ["format: the embedded corpus, a small stand-in written for demonstration"]

    def files(self) -> list[Path]:
        """Return the files read."""
        return [FOLDER / "passages.jsonl"]

    def rows(self) -> Iterator[Item | Problem]:
        """Stream the passages."""
        items = (Item(p["id"], p["title"], p["text"], i, "primer") for i, p in enumerate(load_passages()))
        return Checker().check(items)


def open_primer() -> PrimerSource:
    """Open the embedded corpus as a source."""
    return PrimerSource()
