"""JSON and JSON lines, each object a record, by the options of `rows.py`.

Whole files are walked value by value, so that a record knows its line, one that stands before a broken place is still read,
and no key that occurs twice is lost. Numbers stay as Python reads them; `NaN` and `Infinity`, which are not JSON, are errors.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from mumei.core.errors import UsageError
from mumei.data.readers.base import Problems, ReadError, SourceFile, lines_of
from mumei.data.readers.rows import row_reader

_SPACE = re.compile(r"[ \t\r\n]*")


def json_rows(
    file: SourceFile, problems: Problems, *, encoding: str = "utf-8", records: str = ""
) -> Iterator[tuple[dict[str, Any], int]]:
    """Yield the records of JSON files.

    Further options
    ---------------
    encoding : str
        Of all files.
    records : str
        Where the records are. "": the file is a list of them, or one. "*": the file is an object of them, whose keys are
        `#key`. "questions": the list there, and so on at "a.b". "questions.*": an object there.
    """
    if not isinstance(records, str):
        raise UsageError(f"records has to be a path such as 'questions', not {records!r}.")
    walk = _Walk(file, encoding)
    for key, value, line in walk.records([part for part in records.split(".") if part]):
        row = dict(value) if isinstance(value, dict) else {"value": value}
        if key is not None:
            row["#key"] = key
        yield row, line


def jsonl_rows(
    file: SourceFile, problems: Problems, *, encoding: str = "utf-8"
) -> Iterator[tuple[dict[str, Any], int]]:
    """Yield the records of JSON lines; empty lines are passed over.

    Further options
    ---------------
    encoding : str
        Of all files.
    """
    import orjson

    for number, line in enumerate(lines_of(file.text(encoding)), 1):
        if not line.strip():
            continue
        try:
            value = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            problems.bad(f"the line is no JSON ({error.msg} at column {error.colno})", file.name, number)
            continue
        if isinstance(value, dict):
            yield value, number
        else:
            problems.bad(f"expected an object, got {line[:80]!r}", file.name, number)


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no JSON")


class _Walk:
    """Goes through a JSON text and decodes what is asked for, one value at a time."""

    def __init__(self, file: SourceFile, encoding: str):
        self.file, self.text = file, file.text(encoding)
        self.decoder = json.JSONDecoder(parse_constant=_no_number)
        self.line, self.counted, self.end = 1, 0, 0

    def records(self, path: list[str]) -> Iterator[tuple[str | None, Any, int]]:
        """Yield (key or None, value, line) of the records at a path, and see that the rest of the file is JSON too."""
        at = self.space(0)
        shown = ".".join(path)
        if path and self.text[at : at + 1] != "{":
            raise self.wrong(at, f"expected an object with {shown}")
        if not path and self.text[at : at + 1] != "[":
            value, end = self.value(at)
            if not isinstance(value, dict):
                raise self.wrong(at, "expected a list of records or one")
            self.finish(end)
            yield None, value, self.line_at(at)
            return
        yield from self.inside(at, path, shown)

    def inside(self, at: int, path: list[str], shown: str) -> Iterator[tuple[str | None, Any, int]]:
        """Yield the records below the object or list that begins at `at`, and see that the text ends well."""
        depth, ends = 0, list[str]()
        while path and path[0] != "*":  # down to the container, past what stands before it
            start, at = at, self.member(at, path[0])
            if at < 0:
                raise self.wrong(start, f"there is no {shown} in it")
            path, depth = path[1:], depth + 1
            ends.append("}")
            if path and self.text[at : at + 1] != "{":
                raise self.wrong(at, f"expected an object with {path[0]}")
        if not path and self.text[at : at + 1] != "[":
            raise self.wrong(at, f"expected a list at {shown}")
        for key, start in self.members(at):
            value, self.end = self.value(start)
            yield key, value, self.line_at(start)
        at = self.end
        for _ in ends:  # past what stands after it
            for _, start in self.members(at, entered=True):
                _, self.end = self.value(start)
            at = self.end
        self.finish(at)

    def members(self, at: int, *, entered: bool = False) -> Iterator[tuple[str | None, int]]:
        """Yield (key or None, position of the value); the caller sets `end` behind each value before it goes on."""
        text = self.text
        is_object = entered or text[at] == "{"
        close, first = ("}" if is_object else "]"), not entered
        at = at if entered else self.space(at + 1)
        while True:
            at = self.space(at)
            mark = text[at : at + 1]
            if mark == close:
                self.end = at + 1
                return
            if not first:
                if mark != ",":
                    raise self.wrong(at, f"expected ',' or '{close}'")
                at = self.space(at + 1)
            first = False
            key = None
            if is_object:
                if text[at : at + 1] != '"':
                    raise self.wrong(at, "expected a key")
                key, at = self.value(at)
                at = self.space(at)
                if text[at : at + 1] != ":":
                    raise self.wrong(at, "expected ':'")
                at = self.space(at + 1)
            self.end = -1
            yield key, at
            assert self.end > at
            at = self.end

    def member(self, at: int, name: str) -> int:
        """Return where the value of an object's member begins, -1 where it has none."""
        for key, start in self.members(at):
            if key == name:
                self.end = start + 1
                return start
            _, self.end = self.value(start)
        return -1

    def value(self, at: int) -> tuple[Any, int]:
        """Return the value that begins at a position, and where it ends."""
        try:
            return self.decoder.raw_decode(self.text, at)
        except json.JSONDecodeError as error:
            raise self.wrong(error.pos, error.msg) from error
        except (ValueError, RecursionError) as error:
            raise self.wrong(at, str(error) or "too deep") from error

    def finish(self, at: int) -> None:
        at = self.space(at)
        if at < len(self.text):
            raise self.wrong(at, "expected the end of the file")

    def space(self, at: int) -> int:
        found = _SPACE.match(self.text, at)
        return found.end() if found else at

    def line_at(self, at: int) -> int:
        """Return the number of the line; positions mostly grow."""
        if at < self.counted:
            self.line, self.counted = 1, 0
        self.line += self.text.count("\n", self.counted, at)
        self.counted = at
        return self.line

    def wrong(self, at: int, message: str) -> ReadError:
        seen = repr(self.text[at : at + 30]) if at < len(self.text) else "the end of the file"
        return ReadError(f"the JSON is broken: {message}, at {seen}", self.file.name, self.line_at(at))


read_json = row_reader(json_rows, (".json",))
read_jsonl = row_reader(jsonl_rows, (".jsonl", ".ndjson"))
