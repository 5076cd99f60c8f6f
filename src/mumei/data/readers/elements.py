"""XML whose elements of one name are records, by the options of `rows.py`.

An element is a row: its attributes by their names after `@`, its children by theirs, its own text as `#text`. A child with
neither attributes nor children is a text, any other a row in turn; several of one name are a list. The text of mixed content
is all of it, in order, and its children are not looked at (`mixed`). Names lose their namespaces.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from mumei.core.errors import UsageError
from mumei.data.readers.base import Problems, SourceFile
from mumei.data.readers.rows import row_reader
from mumei.data.readers.xml import documents, local


def xml_rows(
    file: SourceFile, problems: Problems, *, record: str, encoding: str = "", mixed: Sequence[str] = ()
) -> Iterator[tuple[dict[str, Any], int]]:
    """Yield the records of XML files.

    Further options
    ---------------
    record : str
        Name of the elements that are records.
    encoding : str
        Of all files; by default what each declares.
    mixed : sequence of str
        Names of elements whose whole text is their value.
    """
    if not isinstance(record, str) or not record:
        raise UsageError(f"record has to be the name of an element, not {record!r}.")
    for element, line in documents(file, record, problems, encoding):
        yield _row(element, frozenset(mixed)), line


def _row(element: Any, mixed: frozenset[str]) -> dict[str, Any]:
    row: dict[str, Any] = {f"@{name.rpartition('}')[2]}": value for name, value in element.attrib.items()}
    if local(element) in mixed:
        row["#text"] = "".join(element.itertext())
        return row
    for child in element:
        if not isinstance(child.tag, str):
            continue
        name, value = local(child), _child(child, mixed)
        if name not in row:
            row[name] = value
        elif isinstance(row[name], list):
            row[name].append(value)
        else:
            row[name] = [row[name], value]
    row["#text"] = element.text or ""
    return row


def _child(element: Any, mixed: frozenset[str]) -> Any:
    if local(element) in mixed and not element.attrib:
        return "".join(element.itertext())
    return _row(element, mixed) if element.attrib or len(element) else element.text or ""


read_xml = row_reader(xml_rows, (".xml",))
