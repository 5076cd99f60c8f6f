"""XLSX, each row of a sheet a record, by the options of `rows.py`.

Cells are texts as stored: shared and inline strings without their fonts and phonetic hints, `_x000D_` decoded, numbers with the
digits of the file, truth as true and false, formulas by their last result. A number whose format is one of dates is the date
in ISO 8601 (1900 and 1904 systems; times as HH:MM:SS). Cells that are not there are empty; rows that are empty are passed over.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from mumei.core.errors import UsageError, unknown
from mumei.data.readers.base import Problems, ReadError, SourceFile
from mumei.data.readers.delimited import with_columns
from mumei.data.readers.office import RELATIONS, Package, children, opened
from mumei.data.readers.rows import row_reader
from mumei.data.readers.xml import local

LAST_COLUMN = 16_384  # XFD
_REFERENCE = re.compile(r"([A-Z]{1,3})[0-9]+")
_ESCAPED = re.compile(r"_x([0-9A-Fa-f]{4})_")
_DATES = frozenset(map(str, (*range(14, 23), *range(27, 37), *range(45, 48), *range(50, 59))))  # built-in formats
_NOT_LETTERS = re.compile(r'"[^"]*"|\\.|\[(?!h|m|s)[^\[\]]*\]', re.I)
_LETTERS = re.compile(r"[ymdhs]", re.I)


def xlsx_rows(
    file: SourceFile, problems: Problems, *, sheet: str = "", columns: Sequence[str] = ()
) -> Iterator[tuple[dict[str, Any], int]]:
    """Yield the records of spreadsheets.

    Further options
    ---------------
    sheet : str
        Its name; the first by default.
    columns : sequence of str
        Names of the columns where the first row does not give them.
    """
    if not isinstance(sheet, str):
        raise UsageError(f"sheet has to be a name, not {sheet!r}.")
    with opened(file) as package:
        yield from with_columns(_evened(_cells(package, sheet), len(columns)), columns, file, problems)


def _evened(lines: Iterator[tuple[list[str], int]], width: int) -> Iterator[tuple[list[str], int]]:
    """Yield rows with as many cells as the first, empty ones added or cut at their ends."""
    for found, line in lines:
        while found and not found[-1]:
            found.pop()
        if not found:
            continue
        width = width or len(found)
        yield found + [""] * (width - len(found)), line


def _cells(package: Package, sheet: str) -> Iterator[tuple[list[str], int]]:
    """Yield (cells, number) of each row of a sheet."""
    parts = package.related("xl/workbook.xml")
    book = package.root("xl/workbook.xml")
    sheets = {
        s.get("name", ""): s.get(RELATIONS, "") for part in children(book, "sheets") for s in children(part, "sheet")
    }
    if sheet and sheet not in sheets:
        raise unknown(f"sheet of {package.name}", sheet, sheets)
    chosen = parts.get(sheets[sheet] if sheet else next(iter(sheets.values()), ""))
    if chosen is None:
        raise ReadError("it has no sheet", package.name)
    by_kind = {kind: part for kind, part in parts.values() if kind in ("sharedStrings", "styles")}
    texts = (
        [_text(si) for si in children(package.root(by_kind["sharedStrings"]), "si")]
        if "sharedStrings" in by_kind
        else []
    )
    dates = _date_styles(package.root(by_kind["styles"])) if "styles" in by_kind else frozenset()
    old = any(p.get("date1904") in ("1", "true") for p in children(book, "workbookPr"))
    number = 0
    for data in children(package.root(chosen[1]), "sheetData"):
        for row in children(data, "row"):
            try:
                number = int(row.get("r", number + 1))
                found: list[str] = []
                for cell in children(row, "c"):
                    _place(found, cell.get("r"), _value(cell, texts, dates, old))
            except ValueError as error:
                raise ReadError(f"row {number}: {error}", package.name, number) from error
            yield found, number


def _place(found: list[str], reference: str | None, value: str) -> None:
    """Put a cell's value where its reference (`AB12`) says, or behind the last."""
    at = len(found)
    if reference is not None:
        letters = _REFERENCE.fullmatch(reference)
        at = -1
        for letter in letters[1] if letters else "":
            at = (at + 1) * 26 + ord(letter) - ord("A")
    if not len(found) <= at < LAST_COLUMN:
        raise ValueError(f"a cell has the reference {reference!r}, which is none or out of order")
    found += [""] * (at - len(found)) + [value]


def _value(cell: Any, texts: list[str], dates: frozenset[int], old: bool) -> str:
    kind = cell.get("t", "n")
    if kind == "inlineStr":
        return "".join(_text(part) for part in children(cell, "is"))
    stored = "".join(part.text or "" for part in children(cell, "v"))
    if kind == "s" and stored:
        index = int(stored)
        if not 0 <= index < len(texts):
            raise ValueError(f"a cell refers to the shared text {index} of {len(texts)}")
        return texts[index]
    if kind == "b":
        return "true" if stored == "1" else "false"
    if kind in ("str", "e", "d", "s"):
        return _decoded(stored)
    style = cell.get("s")
    return _date(stored, old) if stored and style is not None and int(style) in dates else stored


def _text(element: Any) -> str:
    """Return the text of a string item: its runs, not its phonetic ones."""
    found = []
    for child in element:
        if local(child) == "t":
            found.append(child.text or "")
        elif local(child) == "r":
            found += [part.text or "" for part in children(child, "t")]
    return _decoded("".join(found))


def _decoded(text: str) -> str:
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), text) if "_x" in text else text


def _date_styles(root: Any) -> frozenset[int]:
    """Return the numbers of the cell styles that show a number as a date or time."""
    own = {}
    for part in children(root, "numFmts"):
        for form in children(part, "numFmt"):
            code = _NOT_LETTERS.sub("", form.get("formatCode", ""))
            own[form.get("numFmtId")] = bool(_LETTERS.search(code)) and "general" not in code.lower()
    formats = [xf.get("numFmtId", "0") for part in children(root, "cellXfs") for xf in children(part, "xf")]
    return frozenset(n for n, form in enumerate(formats) if own.get(form, form in _DATES))


def _date(stored: str, old: bool) -> str:
    """Return days since the system's first as ISO date, time or both."""
    days = float(stored)
    if not math.isfinite(days) or not 0 <= days < 2_958_466:
        raise ValueError(f"a cell has the date {stored}, which is none")
    # The 1900 system counts a 29 February 1900 that never was: days before it are one later.
    first = datetime(1904, 1, 1) if old else datetime(1899, 12, 31 if days < 60 else 30)
    at = first + timedelta(seconds=round(days * 86_400))
    if days < 1 and not old:
        return at.strftime("%H:%M:%S")
    return at.strftime("%Y-%m-%d") if days == int(days) else at.isoformat()


read_xlsx = row_reader(xlsx_rows, (".xlsx",), table=True)
