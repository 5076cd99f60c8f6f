"""Prompts that ask a language model for a hypothetical document.

Source: Gao, Ma, Lin and Callan 2022, "Precise Zero-Shot Dense Retrieval without Relevance Labels": eight tasks, each an
instruction, the query in a named slot, and an open slot that the model completes; zero-shot; an unknown task is an error.
Departures: the eight instructions ask for the same thing in our own words; the second group is for biomedical questions; the
consumer prompt first asks for a one-line summary, which then stands in for the question everywhere.

Users add their own in TOML, one table per prompt:

    [rare-disease]
    about = "case reports of rare diseases"
    instruction = "Write the abstract of a case report about the disease described."
    query = "Description"
    answer = "Abstract"
"""

from __future__ import annotations

import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mumei.core.errors import DataError, UsageError, unknown

LANGUAGE = "{language}"
DEFAULT = "passage"


@dataclass(frozen=True)
class Prompt:
    """What is asked of a language model.

    Parameters
    ----------
    name : str
    about : str
        When to use it, in a few words.
    instruction : str
        What to write; `{language}` is a second slot for the language's name.
    query : str
        Name of the slot that holds the query.
    answer : str
        Name of the slot that the model completes.
    summarise : str
        If not empty, this instruction is asked first and its one-line answer takes the question's place.
    source : str
        "paper", "mumei" or the file it was read from.
    """

    name: str
    about: str
    instruction: str
    query: str = "Question"
    answer: str = "Passage"
    summarise: str = ""
    source: str = "mumei"

    @property
    def needs_language(self) -> bool:
        """Whether the instruction has a slot for a language."""
        return LANGUAGE in self.instruction

    def render(self, query: str, language: str | None = None) -> str:
        """Return the text that a model is given.

        Parameters
        ----------
        query : str
            Put in as it is: nothing inside it is a slot.
        language : str, optional
            Name of the language to write in, such as "Japanese"; required where the prompt has that slot.

        Examples
        --------
        >>> print(load_prompts()["passage"].render("What is BRCA1?"))
        Write a passage that answers the question.
        Question: What is BRCA1?
        Passage:
        """
        instruction = self.instruction
        if self.needs_language:
            if not language:
                raise UsageError(f"prompt {self.name!r} needs a language; give its English name, such as 'Japanese'.")
            instruction = instruction.replace(LANGUAGE, language)
        elif language:
            instruction = f"{instruction} Write in {language}."
        return f"{instruction}\n{self.query}: {query}\n{self.answer}:"

    def render_summary(self, query: str) -> str:
        """Return the text that asks for a one-line summary of a long question."""
        return f"{self.summarise}\n{self.query}: {query}\nSummary:"


def _paper(name: str, about: str, instruction: str, query: str = "Question", answer: str = "Passage") -> Prompt:
    return Prompt(name, about, instruction, query, answer, source="paper")


PAPER = (
    _paper("web", "web search (TREC DL19, DL20)", "Write a passage that answers the question."),
    _paper(
        "scifact",
        "is a scientific claim true (SciFact)",
        "Write a passage of a scientific paper that supports or refutes the claim.",
        "Claim",
    ),
    _paper(
        "arguana",
        "find the counter-argument (ArguAna)",
        "Write an argument against the passage.",
        "Passage",
        "Counter-argument",
    ),
    _paper(
        "trec-covid",
        "questions to the scientific literature (TREC-COVID)",
        "Write a passage of a scientific paper that answers the question.",
    ),
    _paper(
        "fiqa", "questions about finance (FiQA)", "Write a passage of a financial article that answers the question."
    ),
    _paper("dbpedia-entity", "find an entity (DBPedia)", "Write a passage that answers the question."),
    _paper("trec-news", "background of a news topic (TREC-NEWS)", "Write a news passage about the topic.", "Topic"),
    _paper(
        "mr-tydi",
        "questions in another language (Mr.TyDi)",
        "Write a passage in {language} that answers the question in detail.",
    ),
)

BIOMEDICAL = (
    Prompt("passage", "any question; the default", "Write a passage that answers the question."),
    Prompt(
        "claim",
        "does the literature support a biomedical claim",
        "Write the result and conclusion sentences of a biomedical abstract whose study tested the claim, "
        "with the organism, the measure and the direction of the effect.",
        "Claim",
        "Abstract",
    ),
    Prompt(
        "clinical",
        "clinical questions: population, intervention, comparison, outcome",
        "Write an abstract of a clinical study that answers the question. Name the population, the intervention, "
        "what it was compared with, the outcome and its size.",
        "Question",
        "Abstract",
    ),
    Prompt(
        "variant",
        "genes and variants",
        "Write a passage of a genetics paper about the gene or variant: its other names, the protein and pathway, "
        "the effect of the change and the diseases it is linked to.",
        "Gene or variant",
    ),
    Prompt(
        "consumer",
        "long questions of patients: summarised first",
        "Write a passage of a patient information page that answers the question.",
        summarise="State the medical question in one short line. Leave out greetings, names and the story around it.",
    ),
    Prompt(
        "protein",
        "what a protein does",
        "Write the function paragraph of a protein database entry: activity, partners, location in the cell, "
        "pathway and phenotype of its loss.",
        "Protein",
        "Function",
    ),
)


def load_prompts(*files: str | Path) -> dict[str, Prompt]:
    """Return all prompts by name: the built-in ones, the user's own file, then `files`; a later one of a name wins.

    The user's own file is `prompts.toml` in mumei's configuration folder (or at `MUMEI_PROMPTS`), if it is there.

    Raises
    ------
    DataError
        A file is not TOML, or a table in it is not a prompt.
    UsageError
        A file is not there.
    """
    prompts = {p.name: p for p in (*PAPER, *BIOMEDICAL)}
    own = user_file()
    for path in ([own] if own.exists() else []) + [Path(f) for f in files]:
        prompts.update(read_prompts(path))
    return prompts


def user_file() -> Path:
    """Return where the user's own prompts are looked for; it need not exist."""
    if os.environ.get("MUMEI_PROMPTS"):
        return Path(os.environ["MUMEI_PROMPTS"])
    from platformdirs import user_config_path

    return user_config_path("mumei", appauthor=False) / "prompts.toml"


def read_prompts(path: Path | str) -> dict[str, Prompt]:
    """Read a TOML file of prompts; see the module's docstring for its form."""
    import tomllib

    try:
        with open(path, "rb") as handle:
            tables = tomllib.load(handle)
    except FileNotFoundError as error:
        raise UsageError(f"no file of prompts at {path}; give the path of a TOML file.") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as TOML: {error}") from error
    return {name: _prompt(name, table, path) for name, table in tables.items()}


def _prompt(name: str, table: Any, path: Path | str) -> Prompt:
    allowed = ("about", "instruction", "query", "answer", "summarise")
    if not isinstance(table, dict):
        raise DataError(f"{path}: {name!r} is not a table; write [{name}] and its keys below.")
    for key, value in table.items():
        if key not in allowed:
            raise unknown(f"key in [{name}] of {path}", key, allowed)
        if not isinstance(value, str):
            raise DataError(f"{path}: {key} in [{name}] is {type(value).__name__}; give a text in quotes.")
    if not table.get("instruction", "").strip():
        raise DataError(f"{path}: [{name}] has no instruction; say there what the model is to write.")
    slots = set(re.findall(r"\{(\w*)\}", table["instruction"])) - {"language"}
    if slots:
        raise DataError(
            f"{path}: [{name}] has the slot {{{min(slots)}}}; only {{language}} is allowed (the query goes below)."
        )
    return Prompt(name, **{"about": "", **table}, source=str(path))


def find_prompt(name: str | Prompt | None, *files: str | Path) -> Prompt:
    """Return the prompt of a name (the default for None); an unknown one raises with the closest matches."""
    if isinstance(name, Prompt):
        return name
    prompts = load_prompts(*files)
    if (name or DEFAULT) not in prompts:
        raise unknown("prompt", str(name), prompts)
    return prompts[name or DEFAULT]


def prompt_table(prompts: dict[str, Prompt]) -> list[dict[str, Any]]:
    """Return one row (a dict) per prompt, for showing."""
    return [asdict(p) for p in prompts.values()]
