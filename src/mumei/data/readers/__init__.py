"""Readers by format. `READERS` names them without importing any; `reader(name)` imports one.

A reader that is not in the table is named by its import string, `"package.module:function"`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from inspect import Parameter, signature
from typing import TYPE_CHECKING, Any

from mumei.core.errors import UsageError, unknown
from mumei.data.schemas import SCHEMAS

if TYPE_CHECKING:
    from mumei.data.readers.base import Reader, SourceFile


@dataclass(frozen=True)
class ReaderEntry:
    """A reader: where it is, which schema its records have, and by what its files are known.

    `schema` is "" where the reader's option of that name says which. `extensions` are endings of file names; where `head` is
    given, the first 64 kB of one of them must match it too. `columns` is the reader's twin for tables: it yields record
    batches, and records between them where a document is not plain; the tables are the same to the byte.
    """

    target: str
    schema: str
    summary: str
    extensions: tuple[str, ...] = ()
    head: bytes = b""
    columns: str = ""


READERS: dict[str, ReaderEntry] = {
    "brat": ReaderEntry(
        "mumei.data.readers.brat:read_brat",
        "kb",
        "BRAT standoff: .txt with .ann, or .a1 and .a2",
        (".ann", ".a1", ".a2"),
        columns="mumei.data.readers.brat_columns:brat_columns",
    ),
    "pubtator": ReaderEntry(
        "mumei.data.readers.pubtator:read_pubtator",
        "kb",
        "PubTator: id|t|title, id|a|abstract, mentions and relations between concepts",
        (".txt", ".pubtator", ".tsv"),
        rb"\A(\xef\xbb\xbf)?\s*[^\s|]+\|t\|",
        "mumei.data.readers.pubtator_columns:pubtator_columns",
    ),
    "bioc_json": ReaderEntry(
        "mumei.data.readers.bioc_json:read_bioc_json",
        "kb",
        "BioC JSON: passages, annotations and relations",
        (".json", ".jsonl"),
        rb"\"passages\"\s*:",
    ),
    "bioc_xml": ReaderEntry(
        "mumei.data.readers.bioc_xml:read_bioc_xml",
        "kb",
        "BioC XML: passages, annotations and relations",
        (".xml",),
        rb"<collection[\s>](?s:.)*<document[\s>]",
        "mumei.data.readers.bioc_columns:bioc_xml_columns",
    ),
    "conll": ReaderEntry(
        "mumei.data.readers.conll:read_conll",
        "kb",
        "CoNLL: a token and a tag (IOB1, IOB2, IOBES) a line",
        (".conll", ".iob", ".iob2", ".bio", ".tsv", ".txt"),
        rb"(?:\A|\n)[^\t\n]+\t(?:[^\n]*\t)?(?:O|[BIESLU]-[^\s]+)\r?\n",
        "mumei.data.readers.conll_columns:conll_columns",
    ),
    "ddi": ReaderEntry(
        "mumei.data.readers.ddi:read_ddi",
        "kb",
        "DDI XML: drugs in sentences and their interactions",
        (".xml",),
        rb"<pair\s[^>]*\bddi=",
    ),
    "inline": ReaderEntry(
        "mumei.data.readers.inline:read_inline", "kb", "Marks in the text, a line a document: [ mention ] or <tag>", ()
    ),
    "jats": ReaderEntry(
        "mumei.data.readers.jats:read_jats",
        "kb",
        "JATS: full articles of journals and PubMed Central",
        (".nxml", ".xml"),
        rb"<article[\s>]",
    ),
    "medline": ReaderEntry(
        "mumei.data.readers.medline:read_medline",
        "kb",
        "MEDLINE and PubMed XML: citations",
        (".xml",),
        rb"<(?:PubmedArticle|MedlineCitation)[\s>]",
    ),
    "ppi": ReaderEntry(
        "mumei.data.readers.ppi:read_ppi",
        "kb",
        "PPI XML: proteins in sentences and their interactions",
        (".xml",),
        rb"<sentence\s[^>]*\bcharOffset=",
    ),
    "tac": ReaderEntry(
        "mumei.data.readers.tac:read_tac", "kb", "TAC XML: drug labels with reactions", (".xml",), rb"<Label[\s>]"
    ),
}
READERS |= {  # of any format, and so the last to be recognised; their option `schema` says what the rows are
    name: ReaderEntry(f"mumei.data.readers.{target}", "", summary, extensions)
    for name, target, summary, extensions in (
        ("csv", "delimited:read_delimited", "CSV and TSV: a record a line", (".csv", ".tsv", ".tab")),
        ("docx", "docx:read_docx", "DOCX: a record a row of a table", (".docx",)),
        ("json", "json:read_json", "JSON: a list or object of records", (".json",)),
        ("jsonl", "json:read_jsonl", "JSON lines: a record a line", (".jsonl", ".ndjson")),
        ("parallel", "parallel:read_parallel", "lines of text, and files with something for each of them", ()),
        ("xlsx", "xlsx:read_xlsx", "XLSX: a record a row of a sheet", (".xlsx",)),
        ("xml", "elements:read_xml", "XML: a record an element of a name", ()),
    )
}
HEAD = 1 << 16  # bytes


def entry(name: str) -> ReaderEntry:
    """Return a reader's entry, or raise `UsageError` with the closest names."""
    if name not in READERS:
        raise unknown("reader", name, READERS)
    return READERS[name]


def reader(name: str) -> Reader:
    """Import and return a reader by its name, or by `"package.module:function"`."""
    return _imported(name if ":" in name else entry(name).target)


def columns_reader(name: str) -> Any:
    """Import and return a reader's twin that gives columns, or None where it has none."""
    target = READERS[name].columns if name in READERS else ""
    return _imported(target) if target else None


def _imported(target: str) -> Any:
    module, _, function = target.partition(":")
    try:
        return getattr(import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"the reader {target!r} cannot be imported: {error}.") from error


def schema_of(name: str, wanted: str) -> str:
    """Return the harmonised schema of a reader's records; `wanted` is that of readers which make any.

    Raises
    ------
    UsageError
        The reader makes records of any schema, and `wanted` is none.
    """
    own = READERS[name].schema if name in READERS else ""
    if own or "schema" not in signature(reader(name)).parameters:
        return own or "kb"
    if wanted not in SCHEMAS or wanted == "kb":
        raise UsageError(f"the reader {name} needs a schema: {', '.join(s for s in SCHEMAS if s != 'kb')}.")
    return wanted


def schema_option(name: str, kind: str) -> dict[str, str]:
    """Return the option that tells a reader which schema its records have, {} for one that makes records of one only."""
    return {"schema": kind} if "schema" in signature(reader(name)).parameters else {}


def check_options(name: str, options: dict[str, Any]) -> None:
    """Raise `UsageError` with the closest names for an option that the reader does not have."""
    parameters = signature(reader(name)).parameters.values()
    allowed = [p.name for p in parameters if p.kind is Parameter.KEYWORD_ONLY]
    for option in options:
        if option not in allowed:
            raise unknown(f"option of the reader {name}", option, allowed)


def recognise(files: Sequence[SourceFile]) -> str:
    """Return the name of the reader for files, or raise `UsageError` that says what is known."""
    for name, known in READERS.items():
        fitting = [f for f in files if f.name.lower().endswith(known.extensions)]
        if fitting and (not known.head or any(_matches(f, known.head) for f in fitting[:20])):
            return name
    shown = ", ".join(f.name for f in files[:3]) or "no file at all"
    raise UsageError(f"no reader fits these files ({shown}, ...); name one with reader=: {', '.join(sorted(READERS))}.")


def _matches(file: SourceFile, head: bytes) -> bool:
    try:
        with open(file.path, "rb") as handle:
            return re.search(head, handle.read(HEAD)) is not None
    except OSError:
        return False
