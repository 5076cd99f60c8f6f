"""`load`: a corpus by name, or any folder, file or archive in a known format, as checked tables under a schema."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mumei.core.errors import DataError, UsageError, suggest, unknown
from mumei.core.files import make_folder, sweep
from mumei.core.progress import SILENT, Progress
from mumei.data import cache, catalogue, readers
from mumei.data.corpus import Corpus
from mumei.data.documents import RECORDS, Record, with_id
from mumei.data.locate import ARCHIVES, locate, matching, unpack
from mumei.data.readers.base import Problem, Problems, SourceFile, collector_paused, files_below
from mumei.data.schemas import SOURCE, schema_name

if TYPE_CHECKING:
    import pyarrow as pa

    from mumei.data.columns import Part
    from mumei.data.recipes import Recipe

SPLITS = {  # words in names of folders and files that mean a split
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev", "devel", "development"),
    "test": ("test", "testing"),
}


@dataclass
class Plan:
    """What is read: by which reader, from which files. `key` is what decides the content."""

    name: str
    kind: str
    reader: str
    options: dict[str, Any]
    open: Callable[[Path], dict[str, list[SourceFile]]]  # gives the files of each split; may unpack into the folder
    splits: list[str]
    content: list[Any]  # names and hashes of the files
    recipe: Recipe | None = None
    subset: str = ""
    of_split: dict[str, dict[str, Any]] = field(default_factory=dict)  # options of single splits, over `options`

    def key(self, keep_going: bool) -> str:
        """Return the hash that names the cached tables."""
        code = cache.code_hash(self.reader if ":" in self.reader else readers.entry(self.reader).target)
        said = [
            self.kind,
            self.reader,
            self.options,
            self.of_split,
            self.splits,
            self.content,
            keep_going,
            code,
            cache.VERSION,
        ]
        return cache.digest(said)[:32]


def load(
    name_or_path: str | Path,
    *,
    schema: str | None = None,
    split: str | None = None,
    folder: str | Path | None = None,
    reader: str | None = None,
    options: dict[str, Any] | None = None,
    keep_going: bool = False,
    progress: Progress = SILENT,
) -> Corpus:
    """Load a corpus.

    Parameters
    ----------
    name_or_path : str or Path
        A corpus ("ncbi_disease"), a configuration ("ncbi_disease_bigbio_kb", "ncbi_disease_source"), a recipe of your own
        ("my.toml"), or the path of a folder, file or archive. A `Path`, or a string with a separator, is always a path.
    schema : str, optional
        A harmonised schema, or "source" for the lossless superset; by default what the name says, else the recipe's first
        or the reader's.
    split : str, optional
        Only this split.
    folder : path, optional
        Where a named corpus's files are; else `MUMEI_CORPORA`, then verified fetching.
    reader : str, optional
        The reader for a path; recognised from the files by default.
    options : dict, optional
        The reader's options, over the recipe's.
    keep_going : bool
        Skip documents that cannot be read, and list them in `problems`, instead of stopping at the first.
    progress : Progress
        Where to show progress.

    Returns
    -------
    Corpus
        `corpus["train"]` is an Arrow table, read from the cache.

    Raises
    ------
    UsageError
        No such corpus, configuration, schema, split, reader or option; the closest names are given.
    DataError
        A file is not the declared one, or a document cannot be read (`ReadError`, with file and line).
    FetchError
        A file is nowhere and cannot be fetched.

    Examples
    --------
    >>> load("ncbi_disease", split="test")  # doctest: +SKIP
    Corpus('ncbi_disease', 'kb', test: 100)
    """
    wanted = schema_name(schema) if schema else ""
    if _is_path(name_or_path):
        plan = plan_path(Path(name_or_path), reader, options or {}, wanted)
    else:
        config = catalogue.find(str(name_or_path))
        wanted = wanted or config.schema
        plan = plan_recipe(config, wanted, folder, options or {}, progress)
    wanted = wanted or plan.kind
    if wanted not in (plan.kind, SOURCE):
        raise UsageError(f"{plan.name} has no schema {wanted!r}; it has {plan.kind} and {SOURCE}.")
    if split is not None and split not in plan.splits:
        raise unknown(f"split of {plan.name}", split, plan.splits)
    return _corpus(plan, wanted, split, keep_going, progress)


def _is_path(given: str | Path) -> bool:
    text = str(given)
    if isinstance(given, Path) or os.sep in text or (os.altsep and os.altsep in text):
        return not text.endswith(".toml")
    if text.endswith(".toml"):
        return False
    try:
        catalogue.find(text)
    except UsageError:
        return Path(text).exists()
    return False


def plan_recipe(
    config: catalogue.Config, schema: str, folder: str | Path | None, options: dict[str, Any], progress: Progress
) -> Plan:
    """Return what to read for a recipe's configuration; its files are found and verified."""
    recipe, subset = config.recipe, config.recipe.subset(config.subset)
    kind = next(iter(subset.views)) if schema in ("", SOURCE) else schema
    if kind not in subset.views:
        raise unknown(f"schema of {recipe.name}", kind, [*subset.views, SOURCE])
    view = subset.views[kind]
    readers.check_options(view.reader, options)
    options = {**readers.schema_option(view.reader, kind), **options}
    of_split = {split: {**given, **options} for split, given in view.splits.items()}
    paths = locate(recipe, folder, progress)
    patterns = {split: list(given) for split, given in subset.splits.items()}
    heads = {p.partition("!")[0] for given in patterns.values() for p in given}
    names = [f.name for f in recipe.files if any(fnmatchcase(f.name, head) for head in heads)]

    def files(folder: Path) -> dict[str, list[SourceFile]]:
        found = unpack(paths, names, folder)
        return {split: matching(found, given) for split, given in patterns.items()}

    content = [patterns, sorted((f.name, f.sha256) for f in recipe.files)]
    full = "_".join(filter(None, (recipe.name, config.subset)))
    options = {**view.options, **options}
    return Plan(full, kind, view.reader, options, files, list(patterns), content, recipe, config.subset, of_split)


def plan_path(path: Path, reader: str | None, options: dict[str, Any], schema: str = "") -> Plan:
    """Return what to read for a folder, file or archive; splits come from names such as `train` and `dev`.

    `schema` is that of readers which make records of any (rows of tables and JSON).
    """
    if not path.exists():
        raise UsageError(f"there is no file or folder {path}.{suggest(str(path), catalogue.names())}")
    archive = path.is_file() and path.name.lower().endswith(ARCHIVES)
    with tempfile.TemporaryDirectory(prefix="mumei-") as temporary:
        found = _files(path, archive, Path(temporary))
        if not found:
            raise DataError(f"{path} has no files.")
        name = reader or readers.recognise(found)
        readers.check_options(name, options)
        kind = readers.schema_of(name, options.get("schema", schema))
        options = {**readers.schema_option(name, kind), **options}
        splits = _splits(found)
        hashes = cache.content_hashes([path] if archive else [f.path for f in found])
    order = [split for split in SPLITS if split in splits]
    names = {split: [f.name for f in splits[split]] for split in order}

    def files(folder: Path) -> dict[str, list[SourceFile]]:
        again = {f.name: f for f in _files(path, archive, folder)}
        return {split: [again[n] for n in names[split]] for split in order}

    return Plan(path.resolve().name, kind, name, options, files, order, [names, hashes])


def _files(path: Path, archive: bool, folder: Path) -> list[SourceFile]:
    if archive:
        return unpack({path.name: path}, [path.name], folder)
    return files_below(path) if path.is_dir() else [SourceFile(str(path), path.name)]


def _splits(files: list[SourceFile]) -> dict[str, list[SourceFile]]:
    """Return files by split: a folder or file name with the word of a split says which, else it is train."""
    words = {word: split for split, names in SPLITS.items() for word in names}
    found: dict[str, list[SourceFile]] = {}
    for file in files:
        parts = re.split(r"[^a-z]+", file.name.partition("!")[2].lower() or file.name.lower())
        split = next((words[part] for part in parts if part in words), "train")
        found.setdefault(split, []).append(file)
    return found


def _corpus(plan: Plan, wanted: str, split: str | None, keep_going: bool, progress: Progress) -> Corpus:
    base = re.sub(r"[^A-Za-z0-9._-]", "_", plan.name)[:60]
    folder = cache.data_folder() / f"{base}-{plan.key(keep_going)}"
    manifest = cache.read_manifest(folder)
    if manifest is None:
        manifest = _read(plan, folder, keep_going, progress)
    view: dict[str, Callable[[], pa.Table]] = {}
    splits = [split] if split is not None else plan.splits
    if wanted != SOURCE:
        shown = folder.with_name(f"{folder.name}-{wanted}")
        if cache.read_manifest(shown) is None:
            _harmonise(folder, shown, wanted, plan.splits)
        view = {s: partial(cache.read_split, shown, s) for s in splits}
    source = {s: partial(cache.read_split, folder, s) for s in splits}
    problems = [Problem(**p) for p in manifest["problems"]]
    return Corpus(plan.name, plan.kind, wanted, source, view, plan.recipe, plan.subset, problems)


@dataclass
class _Reading:
    """Reads splits one after the other; ids have to be unique over all of them."""

    plan: Plan
    problems: Problems
    progress: Progress
    seen: dict[str, int] = field(default_factory=dict)

    def parts(self, split: str, files: list[SourceFile]) -> Iterator[Part]:
        """Yield a split's records with their split, under unique ids, as batches of rows where the reader gives them."""
        import pyarrow as pa

        read: Any = readers.columns_reader(self.plan.reader) or readers.reader(self.plan.reader)
        options = {**self.plan.options, **self.plan.of_split.get(split, {})}
        with self.progress.task(f"Reading {self.plan.name} {split}", None, "documents") as task:
            for part in read(files, self.problems, **options):
                if isinstance(part, pa.RecordBatch):
                    task.advance(part.num_rows)
                    same = pa.repeat(pa.scalar(split), part.num_rows)
                    yield from self._unique_rows(part.set_column(part.schema.names.index("split"), "split", same))
                else:
                    part.split = split
                    task.advance()
                    yield self._unique(part)

    def _unique_rows(self, batch: pa.RecordBatch) -> Iterator[Part]:
        """Yield rows under unique ids; one whose id occurs again becomes a record between slices of the batch."""
        import pyarrow as pa

        from mumei.data.tables import from_table

        names = batch.column("id").to_pylist()
        start = 0
        for row, name in enumerate(names):
            if name not in self.seen:
                self.seen[name] = 1
                continue
            if row > start:
                yield batch.slice(start, row - start)
            yield self._unique(next(from_table(pa.Table.from_batches([batch.slice(row, 1)]), RECORDS[self.plan.kind])))
            start = row + 1
        if start < len(names):
            yield batch.slice(start)

    def _unique(self, record: Record) -> Record:
        count = self.seen[record.id] = self.seen.get(record.id, 0) + 1
        if count == 1:
            return record
        new = f"{record.id}.{count}"
        while new in self.seen:
            count += 1
            new = f"{record.id}.{count}"
        self.seen[new] = 1
        self.problems.note(
            f"the id {record.id} occurs again; this record's is {new}", record.file, record.line, record.id
        )
        return with_id(record, new)


def _read(plan: Plan, target: Path, keep_going: bool, progress: Progress) -> dict[str, Any]:
    """Read the files into the cache's superset tables; return the manifest."""
    from mumei.data.columns import regrouped
    from mumei.data.tables import arrow_schema

    sweep(make_folder(target.parent))
    reading = _Reading(plan, Problems(keep_going), progress)
    struct, manifest = RECORDS[plan.kind], {}
    with tempfile.TemporaryDirectory(prefix="mumei-") as temporary, collector_paused():
        files = plan.open(Path(temporary))

        def splits() -> Iterator[tuple[str, Iterator[pa.RecordBatch], pa.Schema]]:
            for split in plan.splits:
                yield split, regrouped(reading.parts(split, files[split]), struct), arrow_schema(struct)
            if not reading.seen:
                raise DataError(f"{plan.name} has no document that the reader {plan.reader} can read.")
            manifest["problems"] = [asdict(p) for p in reading.problems.found]

        cache.write(target, splits(), manifest)
    return cache.read_manifest(target) or manifest


def _harmonise(source: Path, target: Path, schema: str, splits: list[str]) -> None:
    from mumei.data.bigbio import to_bigbio

    with collector_paused():
        tables = ((split, to_bigbio(cache.read_split(source, split), schema)) for split in splits)
        cache.write(target, ((split, t.to_batches(), t.schema) for split, t in tables), {"problems": []})
