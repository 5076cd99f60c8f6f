"""The corpora by name: those that mumei has recipes for (`corpora/<name>.toml`, read when asked for), and all that are known.

A configuration's name is BigBIO's: `<corpus>[_<subset>]_source` or `<corpus>[_<subset>]_bigbio_<schema>`; a bare corpus name is
its default schema.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

from mumei.core.errors import UsageError, unknown
from mumei.data.known import Known, bigbio, from_recipe
from mumei.data.languages import NAMES
from mumei.data.licences import LICENCES, OPEN, is_open, licence
from mumei.data.recipes import Recipe, read_recipe, read_recipe_file
from mumei.data.schemas import SCHEMAS, SOURCE, TASKS


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
        raise no_corpus(name)
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
    raise no_corpus(rest)


def whole(name: str) -> list[str]:
    """Return the names that a corpus is loaded by: its own, or those of all its subsets where it has nothing else.

    Examples
    --------
    >>> whole("ncbi_disease"), len(whole("mantra_gsc"))
    (['ncbi_disease'], 13)
    """
    if name not in names() or recipe(name).splits:
        return [name]
    return [f"{name}_{subset}" for subset in recipe(name).subsets]


def no_corpus(name: str) -> UsageError:
    """Return the error for a name that has no recipe: one that is known says what it is, another gets the closest names."""
    listed = bigbio().get(name)
    if listed is None:
        return unknown("corpus", name, names())
    access = "is public" if listed.public else "comes under an agreement"
    return UsageError(
        f"{name} is in the catalogue ({', '.join(listed.tasks)}; licence {listed.licence}; it {access}), and mumei has no recipe "
        f"for it. Load its files by their path, or write a recipe of your own ({name}.toml)."
    )


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


def catalogue(
    task: str | None = None,
    language: str | None = None,
    licence: str | None = None,
    *,
    schema: str | None = None,
    public: bool | None = None,
    has_recipe: bool | None = None,
) -> list[Known]:
    """Return the corpora known, those that fit all that is given, by name.

    Parameters
    ----------
    task : str, optional
        A task: "NER", "QA", ...
    language : str, optional
        ISO 639-1 code, or English name.
    licence : str, optional
        A licence of that name (SPDX id or short name, other spellings too); "open" for all that may be used for anything,
        trade included, and passed on.
    schema : str, optional
        One of the harmonised schemas.
    public, has_recipe : bool, optional
        As in `Known`.

    Raises
    ------
    UsageError
        No corpus has such a task, language, licence or schema at all; the closest ones are given.

    Examples
    --------
    >>> [known.name for known in catalogue(task="SUM")]
    ['medparasimp', 'meqsum', 'multi_xscience']
    >>> catalogue(language="vi")[0].name
    'pho_ner'
    """
    every = {**bigbio(), **{name: from_recipe(recipe(name)) for name in names()}}
    found = [every[name] for name in sorted(every)]
    if task is not None:
        given = _one_of("task", task.upper(), TASKS, task)
        found = [known for known in found if given in known.tasks]
    if language is not None:
        spoken = {code for known in every.values() for code in known.languages}
        by_name = {name.lower(): code for code, name in NAMES.items()}
        given = _one_of("language", by_name.get(language.lower(), language.lower()), spoken, language)
        found = [known for known in found if given in known.languages]
    if licence is not None:
        found = _under(found, licence, every.values())
    if schema is not None:
        given = _one_of("schema", schema.lower().removeprefix("bigbio_"), SCHEMAS, schema)
        found = [known for known in found if given in known.schemas]
    found = [known for known in found if public is None or known.public == public]
    return [known for known in found if has_recipe is None or known.has_recipe == has_recipe]


def _one_of(what: str, plain: str, allowed: Iterable[str], given: str) -> str:
    allowed = list(allowed)
    if plain not in allowed:
        raise unknown(what, given, allowed)
    return plain


def _under(found: list[Known], name: str, every: Iterable[Known]) -> list[Known]:
    """Return the corpora under a licence, or under open terms."""
    if name.lower() == OPEN:
        return [known for known in found if is_open(known.licence)]
    asked = licence(name).name
    held = {OPEN, *(known.licence for known in every)}
    if asked not in LICENCES and asked not in held:
        raise unknown("licence", name, held)
    return [known for known in found if licence(known.licence).name == asked]
