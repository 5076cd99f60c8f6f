"""CSV and TSV, each line a record, by the options of `rows.py`.

RFC 4180: a cell in quotes may hold delimiters, ends of lines and, doubled, quotes. Lines end at LF or CR LF only. A quote
within a cell that does not begin with one stands for itself. A line with too few or too many cells, or with text behind a
closing quote, is no record, and reading goes on at the next line; a quote that is never closed ends the file, and is told with
the line where it opens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from mumei.core.errors import UsageError
from mumei.data.readers.base import Problems, ReadError, SourceFile
from mumei.data.readers.rows import row_reader

TABS = (".tsv", ".tab")


def delimited_rows(
    file: SourceFile,
    problems: Problems,
    *,
    encoding: str = "utf-8",
    delimiter: str = "",
    quote: str = '"',
    columns: Sequence[str] = (),
) -> Iterator[tuple[dict[str, Any], int]]:
    """Yield the records of tables in text files; empty lines are passed over.

    Further options
    ---------------
    encoding : str
        Of all files.
    delimiter : str
        Between cells; by default a tab in files that end in .tsv or .tab, else a comma.
    quote : str
        Around cells; "" where quotes stand for themselves.
    columns : sequence of str
        Names of the columns where the first line does not give them.
    """
    mark = delimiter or ("\t" if file.name.lower().endswith(TABS) else ",")
    if len(mark) != 1 or len(quote) > 1 or mark == quote or {mark, quote} & {"\n", "\r"}:
        raise UsageError(f"delimiter and quote have to be one character each, not {mark!r} and {quote!r}.")
    yield from with_columns(cells(file, encoding, mark, quote, problems), columns, file, problems)


def with_columns(
    lines: Iterator[tuple[list[str], int]], columns: Sequence[str], file: SourceFile, problems: Problems
) -> Iterator[tuple[dict[str, Any], int]]:
    """Yield rows of lines of cells; the first line names the columns unless `columns` does."""
    names = named(columns)
    for found, line in lines:
        if not names:
            names = found
            twice = [n for i, n in enumerate(names) if n in names[:i]]
            if twice:
                raise ReadError(f"the column {twice[0]!r} occurs twice", file.name, line)
        elif len(found) != len(names):
            problems.bad(f"has {len(found)} cells, expected {len(names)} ({', '.join(names)[:200]})", file.name, line)
        else:
            yield dict(zip(names, found, strict=True)), line


def named(columns: Any) -> list[str]:
    """Return names of columns; raise `UsageError` where they are none."""
    if isinstance(columns, str) or not all(isinstance(c, str) for c in columns):
        raise UsageError(f"columns has to be a list of names, not {columns!r}.")
    if len(set(columns)) != len(columns):
        raise UsageError(f"columns has a name twice: {list(columns)}.")
    return list(columns)


def cells(
    file: SourceFile, encoding: str, delimiter: str, quote: str, problems: Problems
) -> Iterator[tuple[list[str], int]]:
    """Yield (cells, line) of each line that is not empty."""
    text = file.text(encoding)
    at, line = 0, 1
    while at < len(text):
        end = text.find("\n", at)
        end = len(text) if end < 0 else end
        first = line
        if quote and text.find(quote, at, end) >= 0:
            try:
                found, end = _quoted(text, at, delimiter, quote)
            except _Wrong as wrong:
                message, where, ends = wrong.args
                if ends:
                    raise ReadError(message, file.name, line + text.count("\n", at, where)) from wrong
                problems.bad(message, file.name, line + text.count("\n", at, where))
                end = text.find("\n", where)
                end = len(text) if end < 0 else end
                found = []
        else:
            found = text[at : end - 1 if text[at:end].endswith("\r") else end].split(delimiter)
        line += text.count("\n", at, end + 1)
        at = end + 1
        if found and found != [""]:
            yield found, first


class _Wrong(Exception):
    """What is wrong, at which position, and whether the file cannot be read on."""


def _quoted(text: str, at: int, delimiter: str, quote: str) -> tuple[list[str], int]:
    """Return the cells of the line that begins at a position, and where its LF is."""
    found: list[str] = []
    while True:
        if text[at : at + 1] == quote:
            start, at = at, at + 1
            while True:
                close = text.find(quote, at)
                if close < 0:
                    raise _Wrong(
                        "a quote opens here that is never closed (quote= names another, or '' for none)", start, True
                    )
                if text[close + 1 : close + 2] != quote:
                    break
                at = close + 2
            found.append(text[start + 1 : close].replace(quote * 2, quote))
            at = close + 1
            if text[at : at + 2] == "\r\n" or (text[at : at + 1] == "\r" and at + 1 == len(text)):
                at += 1
            if at < len(text) and text[at] not in (delimiter, "\n"):
                raise _Wrong(
                    f"text behind a closing quote: {text[start:at][-30:]!r}, {text[at : at + 20]!r}", at, False
                )
        else:
            end = text.find("\n", at)
            end = len(text) if end < 0 else end
            stop = text.find(delimiter, at, end)
            start, at = at, end if stop < 0 else stop
            found.append(text[start : at - 1 if stop < 0 and text[start:at].endswith("\r") else at])
        if at >= len(text) or text[at] == "\n":
            return found, at
        at += 1


read_delimited = row_reader(delimited_rows, (".csv", *TABS), table=True)
