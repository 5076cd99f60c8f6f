"""Plain text: a folder with one document a file, or one file with one document a line."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from mumei.core.errors import DataError
from mumei.discover.sources.compression import Blob, peel
from mumei.discover.sources.kinds import MAX_TEXT, Note, Record
from mumei.discover.sources.lines import blob_encoding, detect_encoding, lines, utf8

SUFFIXES = (".txt", ".md", ".text")
_LONGEST = 4 * MAX_TEXT  # bytes read of one file: UTF-8 needs at most four a character
_TITLE = 200  # a first line of more characters is a paragraph, not a title
_MARKDOWN = re.compile(r"^#{1,6}\s+")


class TextFolder:
    """A folder's text files in the order of their paths; ids are the paths inside the folder.

    Parameters
    ----------
    folder : Path
        The folder.
    paths : sequence of Path
        The files in it.
    encoding : str or None
        For all of them; found out file by file if None.
    """

    format = "text files"

    def __init__(self, folder: Path, paths: Sequence[Path], encoding: str | None = None):
        self._folder, self._paths, self._encoding = folder, list(paths), encoding

    def files(self) -> list[Path]:
        """Return the files."""
        return list(self._paths)

    def records(self, columns: Sequence[str] | None = None) -> Iterator[Record]:
        """Stream the files as records."""
        for path in self._paths:
            name = path.relative_to(self._folder).as_posix()
            try:
                yield self._record(path, name)
            except DataError as error:
                yield Record({"id": name}, 1, (Note("malformed", str(error)),), name)

    def _record(self, path: Path, name: str) -> Record:
        blob = peel(path)
        encoding = blob_encoding(blob, self._encoding)
        with blob.open() as stream:
            source, pieces, size = utf8(stream, encoding), [], 0
            while size <= _LONGEST and (piece := source.read(1 << 16)):
                pieces.append(piece)
                size += len(piece)
        content = b"".join(pieces)
        if is_binary(content[: 1 << 16]):
            return Record({"id": name}, 1, (Note("malformed", "not a text file"),), name)
        text = content.decode("utf-8", "surrogateescape").strip().lstrip("\ufeff")
        title, text = title_of(text, path.name)
        return Record({"id": name, "title": title, "text": text}, 1, (), name)


def is_binary(content: bytes) -> bool:
    """Tell whether bytes are no text: over a tenth control characters (UTF-16 is text)."""
    if detect_encoding(content[:1000]) not in ("utf-8", "utf-8-sig"):
        return False
    control = sum(content.count(bytes([c])) for c in (*range(9), *range(14, 27), *range(28, 32), 127))
    return control > 0.1 * len(content)


def title_of(text: str, file_name: str) -> tuple[str, str]:
    r"""Return (title, text): the first line if more follows and it is short, else the file's name without suffix.

    Examples
    --------
    >>> title_of("# Statins\n\nThey lower cholesterol.", "a.md")
    ('Statins', 'Statins\n\nThey lower cholesterol.')
    >>> title_of("They lower cholesterol.", "statins.txt")
    ('statins', 'They lower cholesterol.')
    """
    if not text:
        return "", ""  # an empty file has no text for which its name could stand
    text = _MARKDOWN.sub("", text)
    first, _, rest = text.partition("\n")
    if rest.strip() and 0 < len(first.strip()) <= _TITLE:
        return first.strip(), text
    return file_name.split(".")[0] or file_name, text


class TextLines:
    """One document a line of a plain text file; blank lines are skipped."""

    format = "plain text, one document a line"

    def __init__(self, blob: Blob, encoding: str | None = None):
        self._blob, self._encoding = blob, encoding

    def files(self) -> list[Path]:
        """Return the file."""
        return [self._blob.path]

    def records(self, columns: Sequence[str] | None = None) -> Iterator[Record]:
        """Stream the lines as records."""
        for number, line, _ in lines(self._blob, self._encoding, _LONGEST):
            text = line.decode("utf-8", "surrogateescape")
            if text.strip():
                yield Record({"text": text}, number)
