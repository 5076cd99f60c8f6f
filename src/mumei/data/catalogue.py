"""The corpora that mumei has recipes for, by name: `corpora/<name>.toml`, read when asked for.

A configuration's name is BigBIO's: `<corpus>[_<subset>]_source` or `<corpus>[_<subset>]_bigbio_<schema>`; a bare corpus name is
its default schema.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

from mumei.core.errors import unknown
from mumei.data.recipes import Recipe, read_recipe, read_recipe_file
from mumei.data.schemas import SCHEMAS, SOURCE


@dataclass(frozen=True)
class Config:
    """A configuration: which recipe, subset ("" for none) and schema ("" for the default)."""

    recipe: Recipe
    subset: str = ""
    schema: str = ""

    @property
    def name(self) -> str:
        """BigBIO's name of it."""
        schema = self.schema or self.recipe.schema
        tail = SOURCE if schema == SOURCE else f"bigbio_{schema}"
        return "_".join(part for part in (self.recipe.name, self.subset, tail) if part)


@cache
def names() -> tuple[str, ...]:
    """Return the names of all corpora that have a recipe, sorted."""
    folder = resources.files("mumei.data") / "corpora"
    return tuple(sorted(f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith(".toml")))


@cache
def recipe(name: str) -> Recipe:
    """Return a corpus's recipe.

    Raises
    ------
    UsageError
        There is none of that name; the closest names are given.

    Examples
    --------
    >>> recipe("ncbi_disease").languages
    ('en',)
    """
    if name not in names():
        raise unknown("corpus", name, names())
    content = (resources.files("mumei.data") / "corpora" / f"{name}.toml").read_bytes()
    return read_recipe(content, f"{name}.toml")


def find(name: str) -> Config:
    """Return the configuration that a name means: a corpus, a configuration, or the path of a recipe.

    Raises
    ------
    UsageError
        No corpus, subset or schema of that name.

    Examples
    --------
    >>> found = find("ncbi_disease_bigbio_kb")
    >>> found.recipe.name, found.schema
    ('ncbi_disease', 'kb')
    """
    if name.endswith(".toml"):
        return Config(read_recipe_file(Path(name)))
    rest, schema = _without_schema(name)
    if rest in names():
        return Config(recipe(rest), "", schema)
    for corpus in sorted(names(), key=len, reverse=True):
        if rest.startswith(corpus + "_"):
            found, subset = recipe(corpus), rest[len(corpus) + 1 :]
            found.subset(subset)
            return Config(found, subset, schema)
    raise unknown("corpus", rest, names())


def _without_schema(name: str) -> tuple[str, str]:
    for ending, schema in [(f"_bigbio_{s}", s) for s in SCHEMAS] + [(f"_{SOURCE}", SOURCE)]:
        if name.endswith(ending):
            return name.removesuffix(ending), schema
    return name, ""


def configs() -> list[Config]:
    """Return every configuration: each corpus, subset and schema, `source` first."""
    found = []
    for corpus in map(recipe, names()):
        for subset in corpus.parts():
            found += [Config(corpus, subset, schema) for schema in (SOURCE, *corpus.subset(subset).views)]
    return found
