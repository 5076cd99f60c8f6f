"""The rankings of a collection side by side, as runs: what an evaluation measures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from mumei.core.errors import DataError
from mumei.core.progress import SILENT, Progress
from mumei.retrieval.hyde import DEFAULT, Hyde
from mumei.retrieval.searcher import Searcher

Run = dict[str, dict[str, float]]
GIVE_UP = 3  # queries in a row, from the first on, whose documents fail


@dataclass
class Runs:
    """What `make_runs` made.

    Parameters
    ----------
    runs : dict of name to {query id: {document id: score}}
    failed : dict of query id to str
        Why a query had no hypothetical documents although they were wanted: its ranking is that of the question alone.
    """

    runs: dict[str, Run] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


def make_runs(
    material: Any,
    queries: Mapping[str, str],
    k: int = 100,
    *,
    generator: Any = None,
    hyde: Hyde = DEFAULT,
    progress: Progress = SILENT,
    **options: Any,
) -> Runs:
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
    Runs
        "words", "meaning" and "joined"; with a generator also "hyde" (its ranking alone) and "joined with hyde".

    Raises
    ------
    DataError
        The generator failed for each of the first three queries.
    """
    made = Runs()
    asked = {query: text for query, text in queries.items() if text.strip()}
    live = None if bool(material.live.all()) else material.live

    def words(text: str) -> Iterator[tuple[int, float]]:
        return zip(*material.words.search(text, k, allow=live), strict=True)

    def collect(name: str, way: Any, searcher: Searcher | None = None) -> None:
        run: Run = {}
        with progress.task(name, len(asked), "queries") as task:
            for query, text in asked.items():
                items = material.rows([row for row, _ in way(text)], ["id"])
                # Ranks decide, not scores: equal scores would else be ordered by id.
                run[query] = {item["id"]: -float(place) for place, item in enumerate(items, start=1)}
                if searcher is not None and searcher.last_fall_back:
                    _note(made.failed, query, searcher.last_fall_back, len(run))
                task.advance(1)
        made.runs[name] = run

    collect("words", words)
    ways = {"meaning": (None, False, "off"), "joined": (None, True, "off")}
    if generator is not None:
        ways |= {"hyde": (generator, False, "on"), "joined with hyde": (generator, True, "on")}
    for name, (writer, fuse, mode) in ways.items():
        searcher = Searcher(material, generator=writer, hyde=replace(hyde, fuse=fuse), mode=mode, **options)
        collect(
            name, lambda text, searcher=searcher: searcher.ranked(text, k), searcher if writer is not None else None
        )
    return made


def _note(failed: dict[str, str], query: str, reason: str, place: int) -> None:
    failed[query] = reason
    if len(failed) == place == GIVE_UP:
        raise DataError(f"the generator failed for the first {GIVE_UP} queries, so nothing can be measured: {reason}")
