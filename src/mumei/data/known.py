"""What is known of corpora without loading them: the 152 of BigBIO (`bigbio.tsv`), and those that mumei has recipes for.

The table was read off BigBIO's loaders as of 2024-12: tasks, licence (SPDX ids where there is one, "unknown" where none is
stated), languages, whether the files come under an agreement ("local"), and in which generation of loaders the corpus is ("hub",
"old" or "both"). Flags: "blurb" (part of the BLURB benchmark), "large", "resource" (made by machines), "broken" (BigBIO marks its
download as gone). Departure: Chinese in traditional letters counts as "zh".
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources

from mumei.data.licences import licence
from mumei.data.recipes import Recipe
from mumei.data.schemas import TASKS

COLUMNS = ("name", "tasks", "licence", "languages", "access", "generation", "flags")


@dataclass(frozen=True)
class Known:
    """A corpus of the catalogue.

    Parameters
    ----------
    name : str
        BigBIO's.
    tasks, languages : tuple of str
        Keys of `TASKS`; ISO 639-1 codes.
    licence : str
        An SPDX id, a short name, or "unknown".
    public : bool
        False where the files come under an agreement, or from their makers only.
    generation : str
        "hub", "old" or "both"; "" for a corpus that BigBIO does not have.
    flags : tuple of str
        See above.
    has_recipe : bool
        Whether `load(name)` works.
    """

    name: str
    tasks: tuple[str, ...]
    licence: str
    languages: tuple[str, ...]
    public: bool = True
    generation: str = ""
    flags: tuple[str, ...] = ()
    has_recipe: bool = False

    @property
    def schemas(self) -> tuple[str, ...]:
        """The harmonised schemas of its tasks."""
        return tuple(dict.fromkeys(TASKS[task] for task in self.tasks))


@cache
def bigbio() -> dict[str, Known]:
    """Return BigBIO's corpora by name."""
    head, *rows = (resources.files("mumei.data") / "bigbio.tsv").read_text("utf-8").splitlines()
    assert tuple(head.split("\t")) == COLUMNS
    found = {}
    for row in rows:
        name, tasks, terms, languages, access, generation, flags = row.split("\t")
        split = (tuple(filter(None, given.split("+"))) for given in (tasks, languages, flags))
        has, spoken, marks = split
        found[name] = Known(name, has, terms, spoken, access == "public", generation, marks)
    return found


def from_recipe(recipe: Recipe) -> Known:
    """Return what the catalogue says of a corpus with a recipe: the recipe's word counts, BigBIO's completes it."""
    listed = bigbio().get(recipe.name)
    languages = dict.fromkeys(code for part in recipe.parts() for code in recipe.subset(part).languages)
    return Known(
        recipe.name,
        recipe.tasks,
        licence(recipe.licence).name,
        tuple(languages),
        recipe.public,
        listed.generation if listed else "",
        listed.flags if listed else (),
        has_recipe=True,
    )
