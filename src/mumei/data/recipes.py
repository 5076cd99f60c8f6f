"""A corpus's recipe: one TOML file that says what the corpus is, which files it has and how to read them.

Fields are those of `Recipe`, checked when read: unknown names, wrong types, unknown tasks, schemas, readers or options and
splits that name no file raise `UsageError` with the recipe's name. TOML, so that listing hundreds of corpora runs no code
and a user's own recipe is as good as ours: `load("my_corpus.toml")`.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from mumei.core.errors import UsageError, unknown
from mumei.data.schemas import SCHEMAS, TASKS

NAME = re.compile(r"[a-z0-9][a-z0-9_]*")


class CorpusFile(Struct, frozen=True, forbid_unknown_fields=True):
    """A file as published: `urls` are https addresses of the same content, none where it cannot be fetched."""

    name: str
    sha256: str
    urls: tuple[str, ...] = ()
    size: int | None = None


class View(Struct, frozen=True, forbid_unknown_fields=True):
    """How a schema's records come from the files: a reader and its options, and of single splits others over these."""

    reader: str
    options: dict[str, Any] = {}
    splits: dict[str, dict[str, Any]] = {}


class Subset(Struct, frozen=True, forbid_unknown_fields=True):
    """A part of a corpus with a configuration of its own; what is left out is as in the recipe."""

    splits: dict[str, tuple[str, ...]]
    languages: tuple[str, ...] = ()
    views: dict[str, View] = {}
    counts: dict[str, dict[str, int]] = {}


class Recipe(Struct, frozen=True, forbid_unknown_fields=True):
    """What a corpus is.

    Parameters
    ----------
    name : str
        Lower case, digits, underscores; the same as BigBIO's where it has the corpus.
    title, description, homepage, citation : str
        For people; `citation` is BibTeX.
    licence : str
        An SPDX id, else a short name; "unknown" where none is stated.
    languages : tuple of str
        ISO 639-1 codes.
    tasks : tuple of str
        Keys of `TASKS`.
    views : dict of str to View
        A view for each harmonised schema; the first is the default. All have the same splits.
    splits : dict of str to tuple of str
        "train", "validation", "test" or others -> patterns of files: `name`, or `archive!pattern` for members of an
        archive. `*` matches anything, `/` included. The order of a split's files is the patterns', then the names'.
    files : tuple of CorpusFile
        Every file that the splits name.
    public : bool
        False where the user has to get the files himself, under an agreement.
    pubmed : bool
        Whether the texts come from PubMed or PMC.
    subsets : dict of str to Subset
        Parts with their own splits: configurations `<name>_<subset>_bigbio_kb`.
    counts : dict of str to dict of str to int
        What the published corpus holds, by split ("all" for all of them together); keys as in `mumei.data.counts`.
    note : str
        What a user has to know of the files.
    """

    name: str
    title: str
    description: str
    homepage: str
    citation: str
    licence: str
    languages: tuple[str, ...]
    tasks: tuple[str, ...]
    views: dict[str, View]
    files: tuple[CorpusFile, ...]
    splits: dict[str, tuple[str, ...]] = {}
    public: bool = True
    pubmed: bool = False
    subsets: dict[str, Subset] = {}
    counts: dict[str, dict[str, int]] = {}
    note: str = ""

    @property
    def schema(self) -> str:
        """The default schema."""
        return next(iter(self.views))

    def subset(self, name: str) -> Subset:
        """Return a subset by name, or for "" the recipe's own splits, views and counts."""
        if name not in self.subsets and name:
            raise unknown(f"subset of {self.name}", name, self.subsets)
        if not name and not self.splits:
            raise UsageError(f"{self.name} has subsets only; choose one: {', '.join(sorted(self.subsets))}.")
        if not name:
            return Subset(self.splits, self.languages, self.views, self.counts)
        own = self.subsets[name]
        return Subset(own.splits, own.languages or self.languages, own.views or self.views, own.counts)

    def parts(self) -> list[str]:
        """Return the names that `subset` takes."""
        return ([""] if self.splits else []) + list(self.subsets)


def read_recipe(content: bytes, where: str) -> Recipe:
    """Return a recipe from the bytes of its TOML file; `where` names it in errors.

    Raises
    ------
    UsageError
        It is no TOML, or a field is missing, unknown or not as described.
    """
    try:
        recipe = msgspec.toml.decode(content, type=Recipe)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"the recipe {where} cannot be used: {error}.") from error
    check(recipe, where)
    return recipe


def check(recipe: Recipe, where: str) -> None:
    """Raise `UsageError` where a recipe contradicts itself or names what does not exist."""
    from mumei.data import readers

    def wrong(message: str) -> UsageError:
        return UsageError(f"the recipe {where} cannot be used: {message}.")

    if not NAME.fullmatch(recipe.name):
        raise wrong(f"its name {recipe.name!r} is not lower case letters, digits and underscores")
    for task in recipe.tasks:
        if task not in TASKS:
            raise wrong(str(unknown("task", task, TASKS)).rstrip("."))
    if not recipe.views or not (recipe.splits or recipe.subsets):
        raise wrong("it needs at least one view, and splits or subsets")
    for file in recipe.files:
        if not re.fullmatch(r"[0-9a-f]{64}", file.sha256):
            raise wrong(f"the sha256 of {file.name} is not 64 lower-case hex digits")
    names = [file.name for file in recipe.files]
    for subset in map(recipe.subset, recipe.parts()):
        for schema, view in subset.views.items():
            if schema not in SCHEMAS:
                raise wrong(str(unknown("schema", schema, SCHEMAS)).rstrip("."))
            readers.check_options(view.reader, view.options)
            for split, options in view.splits.items():
                if split not in subset.splits:
                    raise wrong(str(unknown("split", split, subset.splits)).rstrip("."))
                readers.check_options(view.reader, options)
        for split, patterns in subset.splits.items():
            for pattern in patterns:
                if not any(fnmatchcase(name, pattern.partition("!")[0]) for name in names):
                    raise wrong(f"split {split} names {pattern!r}, which is none of its files")


def read_recipe_file(path: Path | str) -> Recipe:
    """Return the recipe of a TOML file."""
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise UsageError(f"the recipe {path} cannot be read ({error.strerror or error}).") from error
    return read_recipe(content, str(path))
