"""What a search gives back: hits with their reasons, the generated texts, the stages with their times, what fell back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from time import perf_counter
from typing import Any


@dataclass
class Generation:
    """A hypothetical document and what became of it.

    Parameters
    ----------
    text : str
    kept : bool
        Whether its vector took part.
    similarity : float or None
        Cosine to the query.
    note : str
        Why it was dropped, if it was.
    sentences : list of dict
        `text`, `similarity` to the nearest passage, that passage's `row`, and `supported`: whether the passage is near enough
        to be about the same thing. It says nothing about truth.
    """

    text: str
    kept: bool = True
    similarity: float | None = None
    note: str = ""
    sentences: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class Stage:
    """One step of a search: how long it took, and what was done instead where it failed."""

    name: str
    seconds: float = 0.0
    fell_back: str = ""


@dataclass
class Answer:
    """The answer to one query.

    Parameters
    ----------
    question : str
        As it was asked.
    hits : list of dict
        Best first: `rank`, `row`, `id`, `title`, `text`, `metadata`, `label`, `score` (1 = first in every ranking),
        `similarity` (cosine to the question), `dense_rank`, `lexical_rank`, `hyde_rank`, `words`, `sentence`, `support` (for each
        generated text its sentence nearest to the hit) and `why`.
    notes : list of str
        What was done differently from what was asked, and what a reader should doubt.
    generator : str
        Who wrote the hypothetical documents; empty where there are none.
    generations : list of Generation
    senses : list of dict
        Where the texts fall into several senses: `name`, `share`, `generations` (their numbers) and `hits` (row, id, label).
    searched : str
        The question as it was searched: its summary, if it was summarised first.
    stages : list of Stage
    complete : bool
        False for the first part of a streamed answer, before the hypothetical documents.
    """

    question: str
    hits: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    generator: str = ""
    generations: list[Generation] = field(default_factory=list)
    senses: list[dict[str, Any]] = field(default_factory=list)
    searched: str = ""
    stages: list[Stage] = field(default_factory=list)
    complete: bool = True

    def to_dict(self) -> dict[str, Any]:
        """Return the answer as JSON values."""
        return asdict(self)


class Clock:
    """Collects the stages of one search."""

    def __init__(self) -> None:
        self.stages: list[Stage] = []

    @contextmanager
    def stage(self, name: str) -> Iterator[Stage]:
        """Time a stage; a stage of a name that was there before adds to it."""
        found = next((s for s in self.stages if s.name == name), None)
        if found is None:
            found = Stage(name)
            self.stages.append(found)
        start = perf_counter()
        try:
            yield found
        finally:
            found.seconds = round(found.seconds + perf_counter() - start, 4)


def why(hit: Mapping[str, Any], generator: str = "") -> str:
    """Return in one line why a hit is where it is."""
    parts = []
    if hit.get("similarity") is not None:
        place = f", number {hit['dense_rank']} by meaning" if hit["dense_rank"] else ""
        parts.append(f"similarity {hit['similarity']:.2f}{place}")
    if hit.get("hyde_rank"):
        by = "feedback" if generator == "feedback" else "the hypothetical documents"
        parts.append(f"number {hit['hyde_rank']} by {by}")
    if hit.get("words"):
        place = f", number {hit['lexical_rank']} by words" if hit["lexical_rank"] else ""
        parts.append(f"words: {', '.join(hit['words'][:8])}{place}")
    elif hit.get("lexical_rank"):
        parts.append(f"number {hit['lexical_rank']} by words")
    return "; ".join(parts)
