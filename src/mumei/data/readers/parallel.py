"""Texts line by line, and beside each file others with something for each of its lines, by the options of `rows.py`.

Line n of `text/1.txt` belongs to piece n of `labels/1.txt`: the row has the line as `text` and the piece under the folder's
name. A file whose pieces are more or fewer than the lines is left out and told, and so is one that has no companion.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mumei.core.errors import UsageError
from mumei.data.readers.base import Problems, SourceFile, lines_of
from mumei.data.readers.rows import row_reader


def parallel_rows(
    file: SourceFile,
    problems: Problems,
    files: Mapping[str, SourceFile],
    *,
    beside: Sequence[str] = (),
    separator: str = "",
    skip: int = 0,
    encoding: str = "utf-8",
) -> Iterator[tuple[dict[str, Any], int]]:
    """Yield the records of lines and what belongs to them; empty lines at a file's end are none.

    Further options
    ---------------
    beside : sequence of str
        Folders next to that of the texts, with files of the same names.
    separator : str
        What stands between pieces of these files; ends of lines by default. Blanks around a piece are cut.
    skip : int
        How many pieces to pass over at the beginning: 1 where the separator stands before each piece.
    encoding : str
        Of all files.
    """
    if not isinstance(skip, int) or skip < 0 or isinstance(beside, str):
        raise UsageError(f"skip is a number from 0 on and beside a list of folders, not {skip!r} and {beside!r}.")
    lines = lines_of(file.text(encoding))
    while lines and not lines[-1].strip():
        lines.pop()
    rows: list[dict[str, Any]] = [{"text": line} for line in lines]
    for name in beside:
        found = _pieces(file, files, name, separator, encoding)
        if found is None:
            problems.bad(f"there is no file of this name in {name}", file.name)
            return
        if len(found) - skip != len(lines):
            problems.bad(f"has {len(lines)} lines, and {name} has {len(found) - skip} pieces for them", file.name)
            return
        for row, piece in zip(rows, found[skip:], strict=True):
            row[name] = piece
    yield from zip(rows, range(1, len(rows) + 1), strict=True)


def _pieces(
    file: SourceFile, files: Mapping[str, SourceFile], name: str, separator: str, encoding: str
) -> list[str] | None:
    """Return the pieces of a file's companion, None where there is none."""
    folder, _, own = file.name.rpartition("/")
    above = folder[: max(folder.rfind("/"), folder.rfind("!")) + 1]
    other = files.get(f"{above}{name}/{own}")
    if other is None:
        return None
    text = other.text(encoding)
    if separator:
        return [piece.strip() for piece in text.split(separator)]
    pieces = [piece.strip() for piece in lines_of(text)]
    while pieces and not pieces[-1]:
        pieces.pop()
    return pieces


read_parallel = row_reader(parallel_rows)
