"""A folder as one source: text files, or the parts of one format in the order of their paths."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from mumei.core.errors import DataError
from mumei.discover.sources.columns import listed
from mumei.discover.sources.compression import Blob, peel
from mumei.discover.sources.kinds import ACCEPTED, Note, Reader, Record
from mumei.discover.sources.text_folder import SUFFIXES as TEXT_SUFFIXES

GROUPS = {
    "text files": TEXT_SUFFIXES,
    "JSON": (".jsonl", ".ndjson", ".jsonlines", ".json"),
    "CSV or TSV": (".csv", ".tsv", ".tab"),
    "Parquet": (".parquet", ".pq"),
    "XML": (".xml", ".nxml"),
    "FASTA": (".fasta", ".fa", ".faa", ".fna", ".ffn", ".fas"),
}
_COMPRESSED = (".gz", ".bz2", ".xz", ".zst", ".zip")
_ASIDE = (
    "readme license licence copying notice sources citation changelog requirements".split()
)  # files about a collection, not of it


def scan(folder: Path) -> list[Path]:
    """Return the files below a folder, sorted by path, without hidden ones; links to folders are not followed."""
    found = []
    for base, folders, names in os.walk(folder):
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        found.extend(Path(base, name) for name in names if not name.startswith("."))
    return sorted((path for path in found if path.is_file()), key=lambda p: p.relative_to(folder).parts)


def group_of(path: Path) -> str | None:
    """Return the group that a file's name puts it in, None for none."""
    name = path.name.lower()
    while name.endswith(_COMPRESSED):
        name = name[: name.rindex(".")]
    return next((group for group, suffixes in GROUPS.items() if name.endswith(suffixes)), None)


def choose(folder: Path) -> tuple[str, list[Path], list[Path]]:
    """Return (group, its files, files left out). READMEs and the like never decide.

    Raises
    ------
    DataError
        Nothing in the folder can be read, or it holds several formats.
    """
    files = scan(folder)
    by_group: dict[str, list[Path]] = {}
    for path in files:
        group = group_of(path)
        if group is not None and not path.name.lower().startswith(tuple(_ASIDE)):
            by_group.setdefault(group, []).append(path)
    if not by_group and files and all(group_of(p) == "text files" for p in files):
        by_group = {"text files": files}
    if not by_group:
        shown = listed([p.relative_to(folder).as_posix() for p in files], 5)
        raise DataError(f"the folder {folder} holds nothing that can be read (files: {shown}). Accepted: {ACCEPTED}.")
    if len(by_group) > 1:
        counts = ", ".join(f"{len(paths)} {group}" for group, paths in sorted(by_group.items()))
        raise DataError(f"the folder {folder} holds several formats ({counts}); give one file, or one format a folder.")
    group, chosen = next(iter(by_group.items()))
    taken = set(chosen)
    return group, chosen, [p for p in files if p not in taken]


class Part:
    """One file of a folder, opened when its turn comes. An empty or unreadable part is noted, not fatal.

    Damage found while a part is being read still raises: then rows are missing, and nobody can say how many.
    """

    def __init__(self, path: Path, open_reader: Callable[[Blob], Reader], format: str):
        self._path, self._open, self.format = path, open_reader, format

    def files(self) -> list[Path]:
        """Return the file."""
        return [self._path]

    def records(self, columns: Sequence[str] | None = None) -> Iterator[Record]:
        """Stream the part's records."""
        try:
            reader = self._open(peel(self._path))
        except DataError as error:
            kind = "empty" if "is empty" in str(error) else "malformed"
            yield Record(None, 1, (Note(kind, str(error)),), self._path.name)
            return
        yield from reader.records(columns)
