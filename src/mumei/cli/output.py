"""What a command prints: one result on standard output, as text or as one JSON document.

Everything else (progress, warnings, errors) goes to standard error. Text that came from data is cleaned of terminal
escapes first, so a title cannot move the cursor, recolour the screen or reverse the direction of the line.
"""

from __future__ import annotations

import json as jsonlib
import math
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from mumei.core.progress import Progress

# Whole escape sequences first (OSC and its like up to their terminator, CSI, two-byte), so that no "[31m" is left over.
_SEQUENCES = re.compile(
    r"(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c\n]*(?:\x07|\x1b\\|\x9c)?"
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"
    r"|\x1b[ -/]*[0-~]?"
)
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_NOT_IN_JSON = re.compile(r"[\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def clean(text: str) -> str:
    r"""Return text with terminal escapes, control characters and direction overrides removed; tabs and newlines stay.

    Examples
    --------
    >>> clean("a\x1b[31mred\x1b[0m title\x07")
    'ared title'
    """
    return _CONTROLS.sub("", _SEQUENCES.sub("", text.replace("\r\n", "\n").replace("\r", "\n")))


def plain(value: Any) -> Any:
    """Return a value made of what JSON knows: NaN and infinities become null, paths text, arrays lists, keys text."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "tolist"):  # numpy and torch, scalars and arrays, without importing either
        return plain(value.tolist())
    if isinstance(value, (Sequence, set, frozenset)) and not isinstance(value, (bytes, bytearray)):
        return [plain(item) for item in (sorted(value) if isinstance(value, (set, frozenset)) else value)]
    raise TypeError(f"a command's result holds a {type(value).__name__}, which has no JSON form")


def to_json(value: Any, *, ascii_only: bool = False) -> str:
    """Return one indented JSON document; characters that act on a terminal are written as JSON escapes."""
    text = jsonlib.dumps(plain(value), indent=2, ensure_ascii=ascii_only, allow_nan=False)
    return _NOT_IN_JSON.sub(lambda match: f"\\u{ord(match.group()):04x}", text)


def to_json_line(value: Any) -> str:
    """Return a JSON document on one line, for output that is read as it comes."""
    text = jsonlib.dumps(plain(value), ensure_ascii=False, allow_nan=False)
    return _NOT_IN_JSON.sub(lambda match: f"\\u{ord(match.group()):04x}", text)


def write_line(text: str, stream: TextIO) -> None:
    """Write a line; what the stream's encoding cannot say is escaped instead of raising."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")


def write_json(value: Any) -> None:
    """Write one JSON document to standard output. A lone surrogate of a file name is written as its escape."""
    encoding = (getattr(sys.stdout, "encoding", None) or "utf-8").lower().replace("-", "")
    write_line(to_json(value, ascii_only=not encoding.startswith("utf")), sys.stdout)


@dataclass(frozen=True)
class Output:
    """How a command speaks; every command takes `--json` and `--quiet` and makes one of these.

    Parameters
    ----------
    json : bool
        The result is one JSON document on standard output and nothing else is printed there.
    quiet : bool
        No progress and no notes on standard error. The result is still printed.

    Examples
    --------
    >>> Output(json=True).result({"n": 3}, "three items")
    {
      "n": 3
    }
    """

    json: bool = False
    quiet: bool = False

    @property
    def terminal(self) -> bool:
        """Whether a person reads the result on a terminal."""
        return not self.json and sys.stdout.isatty()

    def progress(self) -> Progress:
        """Return the progress reporter of this command, on standard error."""
        return Progress(quiet=self.quiet)

    def result(self, data: Mapping[str, Any], text: Any) -> None:
        """Print the result: `data` with `--json`, else `text`.

        Parameters
        ----------
        data : mapping
            The whole result, of values that have a JSON form.
        text : str or rich renderable
            What a person reads. A str is cleaned of terminal escapes; whoever makes a renderable cleans its parts.
        """
        if self.json:
            write_json(data)
        elif isinstance(text, str):
            write_line(clean(text), sys.stdout)
        else:
            from rich.console import Console

            Console(file=sys.stdout, markup=False, highlight=False, emoji=False).print(text)

    def path(self, path: Path | str) -> str:
        """Return a path for a person: relative to the working directory where that is shorter, cleaned."""
        text = os.fspath(path)
        try:
            relative = os.path.relpath(text)
        except ValueError:  # another drive
            relative = text
        return clean(min(text, relative, key=len))
