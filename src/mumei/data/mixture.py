"""Mixtures rendered as instructions, and written: a table of records or of instructions with a manifest beside it.

A record is rendered once for each task of its corpus that is asked for, or with `every` once for each of the task's templates.
A task is one of the corpus's recipe, so that no corpus without relations teaches that there are none; a corpus of your own has
those that are named. Labels, types and databases that may be answered are those of the whole corpus that a record is from.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from mumei import __version__
from mumei.core import files
from mumei.core.errors import DataError, UsageError, unknown
from mumei.data.corpus import Corpus
from mumei.data.documents import RECORDS
from mumei.data.fields import labels_of
from mumei.data.mix import Mix
from mumei.data.prompts import Example, Template, one_of, render, templates
from mumei.data.schemas import SCHEMAS, SOURCE, TASKS

FORMS = ("parquet", "jsonl")
MANIFEST = "mix.json"


def tasks_of(corpus: Corpus, wanted: Sequence[str] = ()) -> list[str]:
    """Return the tasks that a corpus's records are rendered for: those of its recipe and schema, of them the wanted ones.

    Raises
    ------
    UsageError
        An unknown task, none that fits, or a corpus without recipe and no task wanted.
    """
    for task in wanted:
        if task not in TASKS:
            raise unknown("task", task, TASKS)
    own = [t for t in (corpus.recipe.tasks if corpus.recipe else wanted) if TASKS[t] == corpus.kind]
    found = [t for t in own if not wanted or t in wanted]
    if found:
        return found
    if not wanted:
        raise UsageError(f"{corpus.name} has no recipe that says its tasks; name one (--task).")
    has = f"its tasks are {', '.join(own)}" if corpus.recipe else f"it is under the schema {corpus.kind}"
    raise UsageError(f"{corpus.name} has none of the tasks {', '.join(wanted)}; {has}.")


@dataclass
class Instructions:
    """A mixture's records as instructions, rendered as they are iterated over.

    Parameters
    ----------
    mixture : Mix
    tasks : sequence of str
        See `tasks_of`; all where empty.
    among : sequence of Template, optional
        By default mumei's.
    every : bool
        One example for each template of a task; else its template is chosen by the mixture's seed and the record's id.
    keep_going : bool
        Leave out what cannot be rendered and keep it in `skipped`, instead of stopping there.

    Raises
    ------
    UsageError
        See `tasks_of`; or no template for a task.
    DataError
        While iterating: a record lacks a field that its template uses.
    """

    mixture: Mix
    tasks: Sequence[str] = ()
    among: Sequence[Template] | None = None
    every: bool = False
    keep_going: bool = False
    skipped: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._corpora = {corpus.name: corpus for corpus in self.mixture.parts}
        self.tasks_by_corpus = {corpus.name: tasks_of(corpus, self.tasks) for corpus in self.mixture.parts}
        every = dict.fromkeys(task for tasks in self.tasks_by_corpus.values() for task in tasks)
        self._templates = {task: templates(task, self.among) for task in every}

    def __iter__(self) -> Iterator[Example]:
        """Yield the examples in the order of the records."""
        self.skipped.clear()
        labels = {
            (name, task): labels_of(self._corpora[name], task)
            for name, tasks in self.tasks_by_corpus.items()
            for task in tasks
        }
        for record in self.mixture.records:
            name = record.metadata["corpus"]
            for task in self.tasks_by_corpus[name]:
                fitting = self._templates[task]
                for template in fitting if self.every else [one_of(fitting, record, self.mixture.seed)]:
                    try:
                        said, answer = render(record, template, labels[name, task])
                    except DataError as error:
                        if not self.keep_going:
                            raise
                        self.skipped.append(str(error))
                        continue
                    terms = record.metadata["licence"]
                    yield Example(record.id, name, task, template.full_name, said, answer, terms)


def write_mixture(
    mixture: Mix,
    path: Path | str,
    form: str = "parquet",
    *,
    instructions: Instructions | None = None,
    said: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Write a mixture into a new folder, whole or not at all: `train.parquet` or `train.jsonl`, and `mix.json`.

    Parameters
    ----------
    mixture : Mix
    path : path
        The folder. It must not exist, or be empty.
    form : str
        One of `FORMS`.
    instructions : Instructions, optional
        What is written instead of the records.
    said : dict, optional
        How the mixture was asked for, kept in the manifest.

    Returns
    -------
    dict
        The manifest: shares, licences, notes, rows, the sha256 of the table and of the corpora's own files. Equal mixtures
        have equal ones.

    Raises
    ------
    UsageError
        An unknown form, several schemas without `instructions`, or a path that holds something.
    DataError
        A record cannot be rendered.
    """
    path = Path(path)
    if form not in FORMS:
        raise unknown("format of a mixture", form, FORMS)
    if path.exists() and (path.is_file() or any(path.iterdir())):
        raise UsageError(f"{path} holds something already; it was left alone. Give a new folder.")
    rows, struct = (instructions, Example) if instructions is not None else _rows(mixture)
    with files.whole_folder(path) as folder:
        table = folder / f"train.{form}"
        number = _write(rows, struct, table, form)
        manifest = _manifest(mixture, instructions, said or {})
        manifest |= {"rows": number, "files": {table.name: files.sha256_file(table)}}
        files.write_json(folder / MANIFEST, manifest)
    return manifest


def _rows(mixture: Mix) -> tuple[Iterable[Struct], type[Struct]]:
    """Return the records under the mixture's schema."""
    from mumei.data.tables import from_table

    corpus = mixture.corpus
    struct = RECORDS[corpus.kind] if corpus.schema == SOURCE else SCHEMAS[corpus.schema]
    return from_table(corpus.table("train"), struct), struct


def _write(rows: Iterable[Struct], struct: type[Struct], path: Path, form: str) -> int:
    """Write rows as a table, as they come; return how many there were."""
    number = 0
    if form == "jsonl":
        encoder = msgspec.json.Encoder()
        with files.new_file(path) as out:
            for row in rows:
                out.write(encoder.encode(row) + b"\n")
                number += 1
        return number
    import pyarrow.parquet as pq

    from mumei.data.tables import arrow_schema, batches

    with (
        files.atomic_path(path) as temporary,
        pq.ParquetWriter(temporary, arrow_schema(struct), compression="zstd") as to,
    ):
        for batch in batches(rows, struct):
            to.write_batch(batch)
            number += batch.num_rows
    return number


def _manifest(mixture: Mix, instructions: Instructions | None, said: dict[str, Any]) -> dict[str, Any]:
    recipes = {corpus.name: corpus.recipe for corpus in mixture.parts if corpus.recipe}
    found: dict[str, Any] = {
        "kind": "mixture",
        "mumei": __version__,
        "name": mixture.name,
        "seed": mixture.seed,
        "asked": said,
        "records": len(mixture.records),
        "shares": [asdict(share) for share in mixture.shares],
        "licences": {**asdict(mixture.verdict), "may_be_shared": mixture.verdict.may_be_shared},
        "notes": mixture.notes,
        "sources": {name: {f.name: f.sha256 for f in recipe.files} for name, recipe in recipes.items()},
    }
    if instructions is not None:
        found |= {"tasks": instructions.tasks_by_corpus, "not_rendered": len(instructions.skipped)}
    else:
        found["schema"] = mixture.corpus.schema
    return found
