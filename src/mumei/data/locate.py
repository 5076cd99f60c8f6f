"""Where a corpus's files are: a folder given, the folders of `MUMEI_CORPORA`, then verified fetching by `core.fetch`.

In a folder the file is looked for as `<folder>/<name>`, then `<folder>/<corpus>/<name>`. Every file is hashed and has to be the
one that the recipe declares. Archives are unpacked by `core.extract` into a folder that the caller owns.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from mumei.core.errors import DataError, FetchError
from mumei.core.extract import safe_extract
from mumei.core.fetch import RemoteFile, fetch
from mumei.core.progress import SILENT, Progress
from mumei.data.cache import content_hashes
from mumei.data.readers.base import SourceFile, files_below
from mumei.data.recipes import CorpusFile, Recipe

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".gz", ".bz2", ".xz")


def locate(recipe: Recipe, folder: Path | str | None = None, progress: Progress = SILENT) -> dict[str, Path]:
    """Return the path of each file of a recipe, verified.

    Raises
    ------
    DataError
        A file in a folder has another sha256 than the recipe's.
    FetchError
        A file is in no folder and cannot be fetched; says where to get it and where to put it.
    """
    given = [Path(folder)] if folder is not None else []
    searched = given or [Path(f).expanduser() for f in os.environ.get("MUMEI_CORPORA", "").split(os.pathsep) if f]
    return {file.name: _locate(file, recipe, searched, progress) for file in recipe.files}


def _locate(file: CorpusFile, recipe: Recipe, folders: list[Path], progress: Progress) -> Path:
    for path in (p for folder in folders for p in (folder / file.name, folder / recipe.name / file.name)):
        if path.is_file():
            found = content_hashes([path])[0]
            if found != file.sha256:
                raise DataError(
                    f"{path} is not the file that the recipe of {recipe.name} declares: its sha256 is {found}, expected "
                    f"{file.sha256}. Get it again from {recipe.homepage}, or write a recipe of your own for another version."
                )
            return path
    if not file.urls or not recipe.public:
        looked = ", ".join(map(str, folders)) or "no folder (MUMEI_CORPORA is not set)"
        raise FetchError(
            f"{recipe.name} needs {file.name}, which cannot be fetched by itself. Get it from {recipe.homepage} (licence: "
            f"{recipe.licence}) and give its folder (folder=..., or MUMEI_CORPORA). Looked in: {looked}."
        )
    name = file.name.rpartition("/")[2]
    return fetch(RemoteFile(name, file.urls, file.sha256, recipe.licence, file.size), progress=progress)


def unpack(paths: dict[str, Path], names: Sequence[str], folder: Path) -> list[SourceFile]:
    """Return all files that `paths` (name -> path) give, archives of `names` unpacked below `folder`.

    A member is called `archive!member`; a file that is no archive, by its ending, keeps its name.
    """
    found: list[SourceFile] = []
    for number, name in enumerate(names):
        if not name.lower().endswith(ARCHIVES):
            found.append(SourceFile(str(paths[name]), name))
            continue
        inside = safe_extract(_named(paths[name], name, folder / f"in{number}"), folder / str(number))
        found += files_below(inside, f"{name}!")
    return found


def _named(path: Path, name: str, folder: Path) -> Path:
    """Return a path that ends in the archive's own name: a single compressed file is called by it."""
    name = name.rpartition("/")[2]
    if path.name == name:
        return path
    folder.mkdir(parents=True)
    link = folder / name
    link.symlink_to(path.resolve())
    return link


def matching(files: Sequence[SourceFile], patterns: Sequence[str]) -> list[SourceFile]:
    """Return the files of a split: by the order of the patterns, then of the names, each once.

    A pattern without `!` that names an archive of one file means that file.
    """
    found: dict[str, SourceFile] = {}
    for pattern in patterns:
        fitting = [f for f in files if fnmatchcase(f.name, pattern)]
        if "!" not in pattern:
            fitting += [f for f in files if "!" in f.name and fnmatchcase(f.name.partition("!")[0], pattern)]
        if not fitting:
            raise DataError(
                f"no file fits {pattern!r}; the corpus has {len(files):,}, such as {[f.name for f in files[:3]]}."
            )
        found.update({f.name: f for f in fitting})
    return list(found.values())
