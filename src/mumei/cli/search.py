"""`mumei search query`: ask a workspace or a collection a question."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

from mumei.cli.output import Output


def query(
    folder: Path,
    question: str,
    *,
    top: int = 10,
    where: str | None = None,
    generator: str | None = None,
    mode: str = "auto",
    prompt: str | None = None,
    prompt_file: list[Path] | None = None,
    language: str | None = None,
    hypothesis: list[str] | None = None,
    documents: int | None = None,
    paper: bool = False,
    no_guard: bool = False,
    budget: float = 30.0,
    approximate: bool = False,
    seed: int = 0,
    stream: bool = False,
    json: bool = False,
    quiet: bool = False,
) -> int:
    """Answer a question from a workspace that `mumei discover` made, or a collection that `mumei search index` made.

    With a generator, hypothetical documents are written and searched for beside the question (HyDE). They are shown, checked
    against the question and kept, so that the same question costs nothing the second time.

    Parameters
    ----------
    folder
        Folder of the workspace or collection.
    question
        In quotes. For a workspace of sequences, words or a sequence of 20 letters or more.
    top
        How many hits to show.
    where
        A condition on the documents' metadata: "year >= 2015 and journal == 'Lancet'".
    generator
        Who writes the hypothetical documents: openai:MODEL@BASE_URL, local:FOLDER_OR_NAME, replay:FILE, text:THE TEXT, or
        feedback (no language model). By default what the environment variable MUMEI_GENERATOR says.
    mode
        When to generate: auto (where the first search is weak, never for names), on, off.
    prompt
        What the generator is asked; see mumei search prompts.
    prompt_file
        A TOML file with prompts of your own; may be repeated.
    language
        Language of the documents, such as Japanese.
    hypothesis
        A hypothetical document of your own, instead of a generator's; may be repeated.
    documents
        How many hypothetical documents. By default 2, with --paper 8.
    paper
        The published setting: 8 documents, their mean with the question, no guard, ranked by that alone.
    no_guard
        Use hypothetical documents even where they do not seem to be about the question.
    budget
        Seconds that generating may take; then the question alone is the answer.
    approximate
        Search the graph that mumei search index --hnsw built, not every vector: quicker on millions, and not exact.
    seed
        Seed of the generator.
    stream
        Show the first results at once and the final ones when the documents are there. With --json one document a line.
    json
        Print the result as one JSON document.
    quiet
        No progress.
    """
    output = Output(json=json, quiet=quiet)
    from time import perf_counter

    from mumei.cli.material import Asking, open_searcher

    asking = Asking(
        generator, mode, prompt, tuple(prompt_file or ()), language, documents, paper, no_guard, budget, seed
    )
    _check(question, top, mode, generator, hypothesis)
    start = perf_counter()
    searcher = open_searcher(folder, asking, approximate=approximate)
    progress = output.progress()
    progress.say(f"loaded in {perf_counter() - start:.1f} s")
    answer = None
    for answer in searcher.stream(question, top, where=where, hypotheses=hypothesis):
        if answer.complete:
            break
        if stream:
            _show(output, answer.to_dict(), top, line=True)
        else:
            progress.say("first search done; writing hypothetical documents")
    assert answer is not None
    if hasattr(searcher.generator, "totals"):
        progress.say(searcher.generator.totals())
    _show(output, answer.to_dict(), top, line=stream)
    return 0


def _check(question: str, top: int, mode: str, generator: str | None, hypothesis: list[str] | None) -> None:
    """Refuse what can be refused before a model is loaded."""
    from mumei.core.errors import UsageError

    if not question.strip():
        raise UsageError("the question is empty; ask something, for example: 'statins and muscle pain'")
    if top < 1:
        raise UsageError(f"--top {top} is not allowed; give 1 or more.")
    if hypothesis and mode == "off":
        raise UsageError("--hypothesis with --mode off contradicts itself; leave one of them out.")
    if hypothesis and generator:
        raise UsageError("give --hypothesis or --generator, not both.")


def _show(output: Output, answer: dict[str, Any], top: int, line: bool) -> None:
    if line and output.json:
        import sys

        from mumei.cli.output import to_json_line, write_line

        write_line(to_json_line(answer), sys.stdout)
        sys.stdout.flush()
        return
    output.result(answer, answer_text(answer, top))


def answer_text(answer: dict[str, Any], top: int) -> str:
    """Return an answer as lines for a terminal."""
    lines = [
        textwrap.shorten(answer["question"], 300, placeholder=" ...")
        + ("" if answer.get("complete", True) else "  (first results)")
    ]
    if answer.get("searched") not in (None, "", answer["question"].strip()) and len(answer["searched"]) < 500:
        lines.append(f"  searched as: {answer['searched']}")
    lines += [f"  note: {note}" for note in answer["notes"]]
    if not answer["hits"]:
        lines.append("  nothing found")
    for hit in answer["hits"][:top]:
        lines += _hit_lines(hit)
    lines += _sense_lines(answer)
    lines += _generation_lines(answer)
    lines += _stage_line(answer.get("stages", []))
    return "\n".join(lines) + "\n"


def _hit_lines(hit: dict[str, Any]) -> list[str]:
    lines = [f"  {hit['rank']:>2}. {hit['label']}  [{hit['id']}]  score {hit['score']:.2f}"]
    if hit["sentence"]:
        lines += _quoted(hit["sentence"])
    return [*lines, f"      {hit['why']}"]


def _quoted(text: str, indent: int = 6) -> list[str]:
    quoted = textwrap.shorten(text, 300, placeholder=" ...")
    return textwrap.wrap(quoted, 100, initial_indent=" " * indent, subsequent_indent=" " * indent)


def _sense_lines(answer: dict[str, Any]) -> list[str]:
    lines = []
    for sense in answer.get("senses", []):
        lines.append(f"  sense: {sense['name']} ({sense['share']:.0%} of the documents)")
        lines += [f"      {hit['label']}  [{hit['id']}]" for hit in sense["hits"][:3]]
    return lines


def _generation_lines(answer: dict[str, Any]) -> list[str]:
    lines = []
    for i, generation in enumerate(answer.get("generations", []), start=1):
        near = (
            "" if generation["similarity"] is None else f", similarity {generation['similarity']:.2f} to the question"
        )
        state = "" if generation["kept"] else f", not used: {generation['note']}"
        lines.append(f"  hypothetical document {i} by {answer['generator']}{near}{state}")
        lines += _quoted(generation["text"])
        doubtful = [s["text"] for s in generation["sentences"] if not s["supported"]]
        lines += [f"      no passage near: {textwrap.shorten(text, 120, placeholder=' ...')}" for text in doubtful]
    return lines


def _stage_line(stages: list[dict[str, Any]]) -> list[str]:
    timed = [f"{s['name']} {s['seconds'] * 1000:.0f} ms" for s in stages if "seconds" in s]
    return [f"  took: {', '.join(timed)}"] if timed else []
