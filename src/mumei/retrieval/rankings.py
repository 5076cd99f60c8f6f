"""The rankings of a collection side by side, as runs: what an evaluation measures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from mumei.core.progress import SILENT, Progress
from mumei.retrieval.hyde import DEFAULT, Hyde
from mumei.retrieval.searcher import Searcher

Run = dict[str, dict[str, float]]


def make_runs(
    material: Any,
    queries: Mapping[str, str],
    k: int = 100,
    *,
    generator: Any = None,
    hyde: Hyde = DEFAULT,
    progress: Progress = SILENT,
    **options: Any,
) -> dict[str, Run]:
    """Rank the queries in every way that a search can use.

    Parameters
    ----------
    material : Collection or alike
    queries : mapping of query id to text
        Empty texts are left out.
    k : int
        Hits kept of each query; memory holds no more than these.
    generator, hyde, options
        As of `Searcher`; without a generator there are no hypothetical documents.

    Returns
    -------
    dict of name to run
        "words", "meaning" and "joined"; with a generator also "hyde" (its ranking alone) and "joined with hyde".
        A run is {query id: {document id: score}}.
    """
    ways: dict[str, Callable[[str], Iterator[tuple[int, float]]]] = {
        "words": lambda text: zip(*material.words.search(text, k, allow=_live(material)), strict=True)
    }
    settings: dict[str, tuple[Any, Hyde, str]] = {
        "meaning": (None, replace(hyde, fuse=False), "off"),
        "joined": (None, replace(hyde, fuse=True), "off"),
    }
    if generator is not None:
        settings["hyde"] = (generator, replace(hyde, fuse=False), "on")
        settings["joined with hyde"] = (generator, replace(hyde, fuse=True), "on")
    for name, (writer, how, mode) in settings.items():
        searcher = Searcher(material, generator=writer, hyde=how, mode=mode, **options)
        ways[name] = lambda text, searcher=searcher: iter(searcher.ranked(text, k))
    asked = {query: text for query, text in queries.items() if text.strip()}
    runs = {}
    for name, way in ways.items():
        with progress.task(name, len(asked), "queries") as task:
            runs[name] = dict(_run(material, asked, way, task))
    return runs


def _run(material: Any, queries: Mapping[str, str], way: Callable[[str], Any], task: Any) -> Iterator[tuple[str, dict]]:
    for query, text in queries.items():
        found = list(way(text))
        items = material.rows([row for row, _ in found], ["id"])
        task.advance(1)
        # Ranks decide, not scores: equal scores would else be ordered by id.
        yield query, {item["id"]: -float(place) for place, item in enumerate(items, start=1)}


def _live(material: Any) -> Any:
    live = material.live
    return None if bool(live.all()) else live
