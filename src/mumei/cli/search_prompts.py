"""`mumei search prompts`: what a language model is asked to write."""

from __future__ import annotations

from pathlib import Path

from mumei.cli.output import Output


def prompts(
    name: str | None = None,
    question: str | None = None,
    *,
    file: list[Path] | None = None,
    language: str | None = None,
    json: bool = False,
    quiet: bool = False,
) -> int:
    """List the prompts for hypothetical documents, or show one of them.

    Parameters
    ----------
    name
        Show this prompt whole.
    question
        Put into the prompt's slot.
    file
        A TOML file with prompts of your own; may be repeated. Without it, prompts.toml in mumei's configuration folder is read.
    language
        Language of the documents, such as Japanese.
    json
        Print the result as one JSON document.
    quiet
        No progress.
    """
    output = Output(json=json, quiet=quiet)
    from mumei.retrieval.prompts import find_prompt, load_prompts, prompt_table, user_file

    if name is None:
        table = prompt_table(load_prompts(*(file or ())))
        width = max(len(row["name"]) for row in table)
        lines = [f"{row['name']:<{width}}  {row['about']}  [{row['source']}]" for row in table]
        lines.append(f"\nYour own are read from {user_file()}; one of them: mumei search prompts NAME")
        output.result({"prompts": table, "user_file": user_file()}, "\n".join(lines))
        return 0
    prompt = find_prompt(name, *(file or ()))
    needed = language or ("English" if prompt.needs_language else None)
    text = prompt.render(question or "...", needed)
    summary = prompt.render_summary(question or "...") if prompt.summarise else ""
    output.result(
        {
            "name": prompt.name,
            "about": prompt.about,
            "source": prompt.source,
            "summary_prompt": summary,
            "prompt": text,
        },
        (f"first:\n{summary}\n\nthen:\n" if summary else "") + text,
    )
    return 0
