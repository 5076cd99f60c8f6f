"""What the search commands share: opening a workspace or a collection, and the generator that was asked for."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mumei.core.errors import ArtifactError, UsageError, suggest


@dataclass(frozen=True)
class Asking:
    """The options of a search as they were given on the command line."""

    generator: str | None = None
    mode: str = "auto"
    prompt: str | None = None
    prompt_files: tuple[Path, ...] = ()
    language: str | None = None
    documents: int | None = None
    paper: bool = False
    no_guard: bool = False
    budget: float = 30.0
    seed: int = 0

    def options(self) -> dict[str, Any]:
        """Return the arguments of a `Searcher`."""
        from mumei.retrieval.budget import Budget
        from mumei.retrieval.hyde import DEFAULT, PAPER

        hyde = PAPER if self.paper else DEFAULT
        if self.documents is not None:
            hyde = replace(hyde, n=self.documents)
        if self.no_guard:
            hyde = replace(hyde, guard=False)
        generator = open_kept_generator(self.generator)
        return {
            "generator": generator,
            "prompt": self.prompt,
            "prompt_files": self.prompt_files,
            "hyde": hyde,
            "mode": "on" if self.paper and generator is not None and self.mode == "auto" else self.mode,
            "language": self.language,
            "seed": self.seed,
            "budget": Budget(generate=self.budget),
        }


def open_kept_generator(spec: str | None) -> Any:
    """Return the generator of a name, its texts kept in mumei's data folder; None where none is named."""
    spec = spec or os.environ.get("MUMEI_GENERATOR")
    if not spec or spec.strip().lower() == "none":
        return None
    if spec.strip().lower() == "feedback":
        return "feedback"
    from mumei.retrieval.generators import open_generator

    generator = open_generator(spec)
    if spec.partition(":")[0].strip().lower() in ("replay", "text"):
        return generator  # nothing is paid for, so nothing is kept
    from mumei.retrieval.generation_store import CachedGenerator, GenerationStore

    return CachedGenerator(generator, GenerationStore(generations_folder()))


def generations_folder() -> Path:
    """Return where generated texts are kept: `MUMEI_GENERATIONS`, or a folder of the user's data."""
    if os.environ.get("MUMEI_GENERATIONS"):
        return Path(os.environ["MUMEI_GENERATIONS"])
    from platformdirs import user_data_path

    return user_data_path("mumei", appauthor=False) / "generations"


def open_searcher(folder: Path, asking: Asking, *, approximate: bool = False) -> Any:
    """Return a searcher over a workspace or a collection, its model loaded; `approximate` searches the collection's graph."""
    if (folder / "collection.json").exists():
        from mumei.retrieval.collection import Collection
        from mumei.retrieval.searcher import Searcher

        collection = Collection.open(folder)
        if approximate:
            _use_graph(collection)
        searcher = Searcher(collection, **asking.options())
    elif (folder / "manifest.json").exists():
        from mumei.discover.answer import Searcher as WorkspaceSearcher

        searcher = WorkspaceSearcher(folder, **asking.options())
    else:
        raise nothing_at(folder)
    searcher.material.encoder.encode(["A" * 20])  # loads the weights now rather than at the first question
    return searcher


def _use_graph(collection: Any) -> None:
    """Put the graph in the place of the vectors; one that is not there or not fresh is refused."""
    from mumei.retrieval.hnsw import HNSWIndex

    again = f"build it with: mumei search index SOURCE --out {collection.folder} --hnsw"
    store = collection.open_vectors()
    if not (store.folder / "hnsw" / "manifest.json").exists():
        raise UsageError(f"{collection.folder} has no graph; {again}")
    try:
        graph = HNSWIndex(store, stale="refuse")
    except ArtifactError as error:
        raise ArtifactError(f"{str(error).partition(';')[0]}; {again}") from error
    if len(graph) != collection.total:
        raise ArtifactError(
            f"the graph of {collection.folder} has {len(graph):,} rows of {collection.total:,}; {again}"
        )
    collection.vectors = graph


def nothing_at(folder: Path) -> UsageError:
    """Return the error for a folder that is neither a workspace nor a collection."""
    from mumei.cli.app import members

    state = "there is no such folder" if not folder.exists() else "it holds neither"
    names = [*members("search")]
    if folder.parent.is_dir():
        names += [
            f.name
            for f in folder.parent.iterdir()
            if (f / "manifest.json").exists() or (f / "collection.json").exists()
        ]
    return UsageError(
        f"no workspace or collection at {folder}: {state}.{suggest(folder.name, names)} "
        "Make one with: mumei discover SOURCE, or mumei search index SOURCE --out FOLDER"
    )
