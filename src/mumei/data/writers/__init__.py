"""Corpora written in other forms. `write(corpus, format, path)`; each is written whole or not at all.

A writer is a function `write_x(corpus, folder, notes)` that fills an empty folder and counts in `notes` what its format has no
place for, by what it is: nothing is lost without being said.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from mumei.core.errors import DataError, UsageError, unknown
from mumei.core.files import whole_folder

if TYPE_CHECKING:
    from mumei.data.corpus import Corpus

Writer = Callable[["Corpus", Path, Counter[str]], None]


@dataclass(frozen=True)
class Format:
    """A form to write in; `kinds` are the schemas it can hold, all where empty."""

    target: str
    summary: str
    kinds: tuple[str, ...] = ()

    def writer(self) -> Writer:
        """Import and return the function."""
        module, _, name = self.target.partition(":")
        return getattr(import_module(module), name)


FORMATS: dict[str, Format] = {
    "parquet": Format("mumei.data.writers.tables:write_parquet", "a Parquet file a split"),
    "jsonl": Format("mumei.data.writers.tables:write_jsonl", "a file of JSON lines a split"),
    "datasets": Format("mumei.data.writers.datasets:write_datasets", "a folder for `datasets`, with its card"),
    "croissant": Format(
        "mumei.data.writers.croissant:write_croissant", "Parquet files with croissant.json, which describes them"
    ),
    "brat": Format("mumei.data.writers.brat:write_brat", "BRAT: .txt and .ann a document", ("kb",)),
    "conll": Format("mumei.data.writers.conll:write_conll", "CoNLL: a token and its IOB2 tag a line", ("kb",)),
}


@dataclass
class Written:
    """What was written; `notes` counts what the format has no place for."""

    path: Path
    format: str
    files: list[str]
    documents: int
    notes: Counter[str] = field(default_factory=Counter)


def write(corpus: Corpus, form: str, path: Path | str) -> Written:
    """Write a corpus into a new folder.

    Parameters
    ----------
    corpus : Corpus
        Its schema says what tables are written: the harmonised one, or "source" for the lossless superset. BRAT and CoNLL are
        made from the superset in either case.
    form : str
        One of `FORMATS`.
    path : path
        The folder. It must not exist, or be empty.

    Raises
    ------
    UsageError
        Unknown format, one that cannot hold the corpus's schema, or a path that holds something.
    DataError
        The corpus has no document.
    """
    if form not in FORMATS:
        raise unknown("format", form, FORMATS)
    known, path = FORMATS[form], Path(path)
    if known.kinds and corpus.kind not in known.kinds:
        raise UsageError(f"{form} holds {', '.join(known.kinds)} only, and {corpus.name} is {corpus.kind}.")
    if path.exists() and (path.is_file() or any(path.iterdir())):
        raise UsageError(f"{path} holds something already; it was left alone. Give a new folder.")
    if not len(corpus):
        raise DataError(f"{corpus.name} has no document to write.")
    notes: Counter[str] = Counter()
    with whole_folder(path) as folder:
        known.writer()(corpus, folder, notes)
        files = sorted(str(f.relative_to(folder)) for f in folder.rglob("*") if f.is_file())
    return Written(path, form, files, len(corpus), notes)
