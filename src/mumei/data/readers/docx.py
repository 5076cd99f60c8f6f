"""DOCX, each row of a table a record, by the options of `rows.py`.

A cell's text is its paragraphs, an LF between them, with tabs and breaks as such, white space around it cut; text that tracked
changes delete, field codes and tables within the cell are left out. A cell over several columns stands in the first of them,
the others are empty; one that goes on from the row above has that one's text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from mumei.core.errors import UsageError
from mumei.data.readers.base import Problems, ReadError, SourceFile
from mumei.data.readers.delimited import with_columns
from mumei.data.readers.office import children, opened
from mumei.data.readers.rows import row_reader
from mumei.data.readers.xml import local

WIDEST = 1_000  # columns; Word has 63
_LEFT_OUT = ("tbl", "del", "moveFrom", "Fallback", "instrText", "delText", "pPr", "rPr", "tcPr")
_AS = {"tab": "\t", "br": "\n", "cr": "\n", "noBreakHyphen": "\u2011"}


def docx_rows(
    file: SourceFile, problems: Problems, *, table: int = 1, columns: Sequence[str] = ()
) -> Iterator[tuple[dict[str, Any], int]]:
    """Yield the records of tables in texts.

    Further options
    ---------------
    table : int
        Which of the document's tables: 1 is the first.
    columns : sequence of str
        Names of the columns where the first row does not give them.
    """
    if not isinstance(table, int) or table < 1:
        raise UsageError(f"table has to be a number from 1 on, not {table!r}.")
    with opened(file) as package:
        main = next(
            (part for kind, part in package.related("").values() if kind == "officeDocument"), "word/document.xml"
        )
        tables = [e for e in package.root(main).iter() if local(e) == "tbl" and not _within_table(e)]
        if len(tables) < table:
            raise ReadError(f"it has {len(tables)} tables, and table {table} is asked for", file.name)
        yield from with_columns(_cells(tables[table - 1], file), columns, file, problems)


def _within_table(element: Any) -> bool:
    return any(local(parent) == "tbl" for parent in element.iterancestors())


def _cells(table: Any, file: SourceFile) -> Iterator[tuple[list[str], int]]:
    """Yield (cells, number) of each row that is not empty."""
    above: list[str] = []
    for number, row in enumerate(_through(table, "tr"), 1):
        found: list[str] = []
        for cell in _through(row, "tc"):
            span, goes_on = _properties(cell, file, number)
            text = above[len(found)] if goes_on and len(found) < len(above) else cell_text(cell)
            found += [text] + [""] * (span - 1)
            if len(found) > WIDEST:
                raise ReadError(f"row {number} has more than {WIDEST} columns", file.name, number)
        above = found
        if any(found):
            yield found, number


def _through(element: Any, name: str) -> Iterator[Any]:
    """Yield an element's children of a name, also those within content controls and tracked insertions."""
    for child in element:
        if local(child) == name:
            yield child
        elif local(child) in ("sdt", "sdtContent", "ins", "moveTo", "customXml"):
            yield from _through(child, name)


def _properties(cell: Any, file: SourceFile, number: int) -> tuple[int, bool]:
    """Return over how many columns a cell goes, and whether it goes on from the row above."""
    span, goes_on = 1, False
    for properties in children(cell, "tcPr"):
        for one in properties:
            value = next((v for k, v in one.attrib.items() if k.rpartition("}")[2] == "val"), "")
            if local(one) == "gridSpan":
                if not (value.isascii() and value.isdigit() and 0 < int(value[:9]) <= WIDEST):
                    raise ReadError(f"row {number} has a cell over {value!r} columns", file.name, number)
                span = int(value)
            elif local(one) == "vMerge":
                goes_on = value != "restart"
    return span, goes_on


def cell_text(cell: Any) -> str:
    """Return a cell's text."""
    return "\n".join("".join(_pieces(p)) for p in _through(cell, "p")).strip()


def _pieces(element: Any) -> Iterator[str]:
    for child in element:
        name = local(child)
        if name == "t":
            yield child.text or ""
        elif name in _AS:
            yield _AS[name]
        elif name not in _LEFT_OUT:
            yield from _pieces(child)


read_docx = row_reader(docx_rows, (".docx",), table=True)
