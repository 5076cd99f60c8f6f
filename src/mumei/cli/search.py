"""`mumei search`: ask a workspace a question."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

from mumei.cli.output import Output


def search(workspace: Path, question: str, *, top: int = 10, json: bool = False, quiet: bool = False) -> int:
    """Answer a question from a workspace that `mumei discover` made.

    Parameters
    ----------
    workspace
        Folder of the workspace.
    question
        In quotes. For a workspace of sequences, words or a sequence of 20 letters or more.
    top
        How many hits to show.
    json
        Print the result as one JSON document.
    quiet
        No progress.
    """
    output = Output(json=json, quiet=quiet)
    from time import perf_counter

    from mumei.discover.answer import Searcher

    start = perf_counter()
    searcher = Searcher(workspace)
    searcher.warm_up()
    loaded = perf_counter()
    answer = searcher.ask(question, top)
    took = perf_counter() - loaded
    output.progress().say(f"loaded in {loaded - start:.1f} s, answered in {took:.2f} s")
    output.result(answer, answer_text(answer, top))
    return 0


def answer_text(answer: dict[str, Any], top: int) -> str:
    """Return an answer as lines for a terminal."""
    lines = [f"{answer['question']}"]
    lines += [f"  note: {note}" for note in answer["notes"]]
    if not answer["hits"]:
        lines.append("  nothing found")
    for hit in answer["hits"][:top]:
        lines.append(f"  {hit['rank']:>2}. {hit['label']}  [{hit['id']}]  score {hit['score']:.2f}")
        if hit["sentence"]:
            quoted = textwrap.shorten(hit["sentence"], 300, placeholder=" ...")
            lines += textwrap.wrap(quoted, 100, initial_indent=" " * 6, subsequent_indent=" " * 6)
        lines.append(f"      {hit['why']}")
    return "\n".join(lines) + "\n"
