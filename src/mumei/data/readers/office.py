"""Files of office programs (OOXML, ECMA-376): a zip archive of XML parts, unpacked by `core.extract` under its limits.

So bombs, names with `..`, links and names given twice are refused before any part is parsed, and parts are parsed as all XML
here (`xml.py`): no DTD, no entity, no address is ever opened.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from mumei.core.errors import DataError
from mumei.core.extract import safe_extract
from mumei.data.readers.base import ReadError, SourceFile
from mumei.data.readers.xml import local, whole

LARGEST = 2 << 30  # bytes of all parts
PARTS = 10_000
RELATIONS = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"


class Package:
    """The parts of one file, by their names in it."""

    def __init__(self, folder: Path, name: str):
        self.folder, self.name = folder, name

    def has(self, part: str) -> bool:
        """Return whether there is such a part."""
        try:
            return ".." not in PurePosixPath(part).parts and (self.folder / part).is_file()
        except OSError:  # longer than a name can be
            return False

    def root(self, part: str) -> Any:
        """Return the root element of a part.

        Raises
        ------
        ReadError
            There is no such part, or it is no XML.
        """
        shown = f"{self.name}!{part}"
        if not self.has(part):
            raise ReadError(f"there is no part {part} in it; it is no file of that kind, or a broken one", self.name)
        return whole(SourceFile(str(self.folder / part), shown))

    def related(self, part: str) -> dict[str, tuple[str, str]]:
        """Return {id: (kind, part)} of what a part refers to within the file."""
        where = PurePosixPath(part)
        listed = str(where.parent / "_rels" / f"{where.name}.rels")
        if not self.has(listed):
            return {}
        found = {}
        for element in self.root(listed):
            target, own = element.get("Target", ""), element.get("Id", "")
            if element.get("TargetMode") != "External" and target:
                full = target.lstrip("/") if target.startswith("/") else str(where.parent / target)
                found[own] = (element.get("Type", "").rpartition("/")[2], full)
        return found


@contextlib.contextmanager
def opened(file: SourceFile) -> Iterator[Package]:
    """Give the parts of a file, unpacked into a folder of its own that is removed at the end.

    Raises
    ------
    ReadError
        It is no zip archive, a broken one or one that breaks the limits.
    """
    with tempfile.TemporaryDirectory(prefix="mumei-") as temporary:
        try:
            with open(file.path, "rb") as handle:
                start = handle.read(4)
        except OSError as error:
            raise ReadError(f"cannot be read ({error.strerror or error})", file.name) from error
        if start != b"PK\x03\x04":
            raise ReadError("it is no file of a current office program, which begins as a zip archive does", file.name)
        try:
            folder = safe_extract(file.path, Path(temporary) / "parts", max_bytes=LARGEST, max_files=PARTS)
        except DataError as error:
            raise ReadError(f"it cannot be unpacked: {error.__cause__ or error}", file.name) from error
        yield Package(folder, file.name)


def children(element: Any, name: str) -> Iterator[Any]:
    """Yield an element's children of a name, whatever its namespace."""
    return (child for child in element if local(child) == name)
