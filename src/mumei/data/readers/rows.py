"""Readers of rows: files of lines, objects or elements, each of which is one record of QA, TE, T2T, PAIRS or TEXT.

A format gives a function `x_rows(file, problems, **its options)` that yields (row, line): a dictionary and where it begins.
One that also takes `files` is given all files of the split by their names.
`row_reader` makes a reader of it with these options beside the format's own:

schema
    "qa", "te", "t2t", "pairs" or "text".
fields
    What each of the schema's fields is, in the language of `fields.py`; `metadata` is a table of more of them. A field that is
    left out is the row's own of the same name, with what the schema allows where it has none: `id` then is
    `<file>_<number>`, `document_id` and `question_id` are `id`, choices are none, the context is empty, names of texts are
    missing.
prefix
    Stands before every id, for ids that are unique in their file only.
main
    Pattern of the names of those files whose rows are records; the others are for lookups. By default those with an ending of
    the format, or all where none has one.
lookups
    Rows of other files that belong to a row: `<name> = { files = pattern, by = path in the row, key = path in the other row
    ("#key") }`, and any of the format's own options. The row then has the other one, or nothing, under the name.
keep, drop
    Rows that are records, and rows that are none, by values: `{ path = [values] }`, `["*"]` for any value at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from inspect import Parameter, signature
from itertools import chain
from typing import Any

from mumei.core.errors import UsageError, unknown
from mumei.data.documents import RECORDS, Record
from mumei.data.readers.base import Problems, ReadError, SourceFile
from mumei.data.readers.fields import Field, FieldError, conditions, field_of, one_of, resolve, text_of
from mumei.data.schemas import NULL, SCHEMAS, schema_name

SHARED = ("schema", "fields", "prefix", "main", "lookups", "keep", "drop")
Rows = Callable[..., Iterator[tuple[dict[str, Any], int]]]  # gives a file's rows and the lines where they begin
LISTS = ("choices", "answer", "labels")  # fields that are lists of texts
DEFAULTS: dict[str, Any] = {  # where a field is not given and the row has none
    "id": {"first": ["id", {"format": "{#file}_{#row}"}]},
    "question_id": {"first": ["question_id", "id", {"format": "{#file}_{#row}"}]},
    "document_id": {"first": ["document_id", "id", {"format": "{#file}_{#row}"}]},
    "choices": {"path": "choices", "default": []},
    "context": {"path": "context", "default": ""},
    "text_1_name": {"path": "text_1_name", "default": NULL},
    "text_2_name": {"path": "text_2_name", "default": NULL},
}


@dataclass
class Lookup:
    """Rows of other files by their key, read when first asked for."""

    rows: Rows
    files: Sequence[SourceFile]
    by: str
    key: str
    options: dict[str, Any]
    found: dict[str, dict[str, Any]] | None = None

    def get(self, row: dict[str, Any], problems: Problems) -> dict[str, Any] | None:
        """Return what belongs to a row."""
        if self.found is None:
            self.found = self._read(problems)
        wanted = resolve(row, self.by)
        return None if wanted is None or isinstance(wanted, (list, dict)) else self.found.get(text_of(wanted))

    def _read(self, problems: Problems) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        for file in self.files:
            for row, line in _rows_of(file, self.rows, problems, self.options):
                key = resolve(row, self.key)
                if key is None or isinstance(key, (list, dict)):
                    problems.note(f"a row without {self.key}, by which others refer to it", file.name, line)
                elif (name := text_of(key)) in found:
                    problems.note(f"{self.key} {name} is given again; the first counts", file.name, line)
                else:
                    found[name] = row
        return found


@dataclass
class Mapping:
    """How rows become records of a schema."""

    schema: str
    fields: dict[str, Field]
    metadata: dict[str, Field]
    keep: dict[str, list[str]]
    drop: dict[str, list[str]]
    prefix: str = ""
    given: tuple[str, ...] = ()  # names of fields that the options give
    lookups: dict[str, Lookup] = field(default_factory=dict)

    def record(self, row: dict[str, Any], file: SourceFile, line: int) -> Record:
        """Return the record of a row; raise `FieldError` that begins with the field's name."""
        values: dict[str, Any] = {}
        for name, one in self.fields.items():
            try:
                values[name] = one.texts(row) if name in LISTS else one.text(row)
            except FieldError as error:
                raise FieldError(f"{name} {error}") from error
        values["id"] = self.prefix + values["id"]
        for name in ("document_id", "question_id"):
            if name in values and name not in self.given and resolve(row, name) is None:
                values[name] = values["id"]
        notes: dict[str, str] = {}
        for name, one in self.metadata.items():
            try:
                note = one.note(row)
            except FieldError as error:
                raise FieldError(f"{name} {error}") from error
            if note is not None:
                notes[name] = note
        return RECORDS[self.schema](**values, metadata=notes, file=file.name, line=line)

    def wants(self, row: dict[str, Any]) -> bool:
        """Return whether a row is to be a record."""
        return one_of(row, self.keep) and not any(one_of(row, {k: v}) for k, v in self.drop.items())

    def needs(self) -> list[str]:
        """Return the paths in a row itself without which there is no record."""
        found = chain.from_iterable(f.needs for f in self.fields.values())
        return [path for path in dict.fromkeys(found) if not path.startswith("#") and path not in self.lookups]


def mapping_of(schema: str, fields: dict[str, Any] | None, keep: Any, drop: Any, prefix: str) -> Mapping:
    """Return the mapping that options describe; raise `UsageError` where they describe none."""
    if not schema:
        raise UsageError("rows need a schema: qa, te, t2t, pairs or text.")
    name = schema_name(schema)
    if name not in SCHEMAS or name == "kb":
        raise UsageError(f"rows are records of {', '.join(s for s in SCHEMAS if s != 'kb')}, not of {schema!r}.")
    given = dict(fields or {})
    notes = given.pop("metadata", {})
    if not isinstance(notes, dict):
        raise UsageError(f"fields.metadata has to be a table, not {notes!r}.")
    targets = SCHEMAS[name].__struct_fields__
    for target in given:
        if target not in targets:
            raise unknown(f"field of {name}", target, [*targets, "metadata"])
    made = {t: field_of(given.get(t, DEFAULTS.get(t, t)), f"fields.{t}") for t in targets}
    if not isinstance(prefix, str):
        raise UsageError(f"prefix has to be a text, not {prefix!r}.")
    return Mapping(
        name,
        made,
        {str(k): field_of(v, f"fields.metadata.{k}") for k, v in notes.items()},
        conditions(keep or {}, "keep"),
        conditions(drop or {}, "drop"),
        prefix,
        tuple(given),
    )


def row_reader(rows: Rows, endings: tuple[str, ...] = (), *, table: bool = False) -> Callable[..., Iterator[Record]]:
    """Return the reader of a format whose rows a function gives.

    Parameters
    ----------
    rows : Rows
        The function.
    endings : tuple of str
        Of the format's files, in lower case.
    table : bool
        Whether every row of a file has the same keys.
    """
    parameters = signature(rows).parameters
    own = {n: p for n, p in parameters.items() if p.kind is Parameter.KEYWORD_ONLY}

    def read(
        files: Sequence[SourceFile],
        problems: Problems,
        *,
        schema: str = "",
        fields: dict[str, Any] | None = None,
        prefix: str = "",
        main: str = "",
        lookups: dict[str, dict[str, Any]] | None = None,
        keep: dict[str, Any] | None = None,
        drop: dict[str, Any] | None = None,
        **options: Any,
    ) -> Iterator[Record]:
        for option in options:
            if option not in own:
                raise unknown("option", option, [*SHARED, *own])
        for option, parameter in own.items():
            if parameter.default is Parameter.empty and option not in options:
                raise UsageError(f"this reader needs the option {option}.")
        mapping = mapping_of(schema, fields, keep, drop, prefix)
        for name, given in (lookups or {}).items():
            mapping.lookups[name] = _lookup(name, given, rows, files, options, own)
        if main:
            chosen = [file for file in files if fnmatchcase(file.name, main)]
        else:
            chosen = [file for file in files if file.name.lower().endswith(endings)] or files
        if files and not chosen:
            raise UsageError(f"no file fits main={main!r}; there are {[f.name for f in files[:3]]}.")
        if "files" in parameters:
            options["files"] = {file.name: file for file in files}
        for file in chosen:
            yield from _records(file, rows, problems, options, mapping, table)

    read.__doc__ = rows.__doc__
    shared = [p for p in signature(read).parameters.values() if p.kind is not Parameter.VAR_KEYWORD]
    setattr(read, "__signature__", signature(read).replace(parameters=[*shared, *own.values()]))  # noqa: B010
    return read


def _lookup(
    name: str, given: Any, rows: Rows, files: Sequence[SourceFile], options: dict[str, Any], own: dict[str, Any]
) -> Lookup:
    if not isinstance(given, dict) or not {"files", "by"} <= set(given):
        raise UsageError(f"lookups.{name} has to be a table with files and by, not {given!r}.")
    for part in given:
        if part not in ("files", "by", "key", *own):
            raise unknown(f"part of lookups.{name}", part, ["files", "by", "key", *own])
    fitting = [file for file in files if fnmatchcase(file.name, given["files"])]
    if not fitting:
        raise UsageError(f"no file fits {given['files']!r} of lookups.{name}; there are {[f.name for f in files[:3]]}.")
    changed = {**options, **{k: v for k, v in given.items() if k in own}}
    return Lookup(rows, fitting, given["by"], given.get("key", "#key"), changed)


def _rows_of(
    file: SourceFile, rows: Rows, problems: Problems, options: dict[str, Any]
) -> Iterator[tuple[dict[str, Any], int]]:
    """Yield a file's rows, numbered; what ends the reading of the file is a problem of it."""
    try:
        for number, (row, line) in enumerate(rows(file, problems, **options), 1):
            row.update({"#row": number, "#file": file.stem})
            yield row, line
    except ReadError as error:
        problems.bad(error.message, error.file, error.line, error.document)


def _records(
    file: SourceFile, rows: Rows, problems: Problems, options: dict[str, Any], mapping: Mapping, table: bool
) -> Iterator[Record]:
    for number, (row, line) in enumerate(_rows_of(file, rows, problems, options)):
        if table and not number:
            missing = [n for n in mapping.needs() if n not in row and n.partition(".")[0] not in mapping.lookups]
            if missing:
                problems.bad(
                    f"no column {', '.join(missing)}; there are {', '.join(k for k in row if k[:1] != '#')}",
                    file.name,
                    line,
                )
                return
        try:
            for name, lookup in mapping.lookups.items():
                row[name] = lookup.get(row, problems)
            if not mapping.wants(row):
                continue
            record = mapping.record(row, file, line)
        except FieldError as error:
            problems.bad(f"row {row['#row']}: {error}", file.name, line)
            continue
        yield record
