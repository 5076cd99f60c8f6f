"""The small language in which options say how a field of a record comes from a row of a file.

A row is a dictionary: a line of a table, an object of JSON, an element of XML. A field's value is a path in it (`"question"`,
`"passages.text"`), or a table with one source and steps that are done to what it gives:

sources
    `path`; `value` (a constant); `first` (the first of several fields that is there); `all` (several fields as one list);
    `case` with `of` (a value chooses the field); `at` with `of` and `base` (a number or letter chooses one of several
    fields: 0, 1 or "A" is the first); `mean` (of several fields); `format` (`"{trial}: {section}"`, in braces paths or names of
    fields in `of`).
steps, in this order
    `where` and `take` (of objects in a list, those whose path has one of the values, and of these a path), `split` (a text
    at a separator), `cut` (what stands before a separator), `trim`, `squeeze` (white space to one blank), `lower`, `map`
    (every value to another; a value that is not in the map is an error), `drop` (values), `unique`, `join` (a list to a
    text). `default` is what a field is whose source gives nothing or an empty text or list; steps are not done to it.

A path goes through objects by their keys and through lists by all their items; `{x}` in it stands for what the row has at
`x`. A key that is the whole path is taken as it is, dots included. Rows have `#row` (1, 2, ... in the file), `#file` (the
file's name without folders and suffix) and, in objects of objects, `#key`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mumei.core.errors import UsageError, unknown

Row = Mapping[str, Any]
SOURCES = ("path", "value", "first", "all", "case", "at", "mean", "format")
STEPS = ("where", "take", "split", "cut", "trim", "squeeze", "lower", "map", "drop", "unique", "join")
_EXTRA = {"case": ("of",), "at": ("of", "base"), "format": ("of",)}
_BRACES = re.compile(r"\{([^{}]*)\}")


class FieldError(ValueError):
    """A row that does not give a field's value."""


@dataclass(frozen=True)
class Field:
    """A field, ready to be read from rows. `needs` are the paths without which it has no value."""

    source: Callable[[Row], Any]
    steps: tuple[Callable[[Any], Any], ...] = ()
    default: Any = None
    needs: tuple[str, ...] = ()

    def value(self, row: Row) -> Any:
        """Return the value in a row as its file has it; None where it is missing."""
        found = self.source(row)
        if found is None or (self.default is not None and found in ("", [])):
            return self.default
        for step in self.steps:
            found = step(found)
            if found is None:
                return self.default
        return found

    def text(self, row: Row) -> str:
        """Return the value as a text; raise `FieldError` where it is missing or several."""
        found = self.value(row)
        if isinstance(found, list):
            if len(found) != 1:
                raise FieldError(f"is a list of {len(found)}, expected one text (join= makes one of it)")
            found = found[0]
        if found is None:
            raise FieldError("is missing")
        return text_of(found)

    def texts(self, row: Row) -> list[str]:
        """Return the value as a list of texts; raise `FieldError` where it is missing."""
        found = self.value(row)
        if found is None:
            raise FieldError("is missing")
        return [text_of(v) for v in _flat(found)]

    def note(self, row: Row) -> str | None:
        """Return the value as a text, lists and objects as JSON, or None where it is missing."""
        found = self.value(row)
        if isinstance(found, (list, dict)):
            return text_of(json.dumps(found, ensure_ascii=False))
        return None if found is None else text_of(found)


def text_of(value: Any) -> str:
    """Return a single value as text: numbers as Python writes them, true and false as JSON does."""
    if isinstance(value, str):
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError as error:
                raise FieldError("holds half a surrogate pair, which is no character") from error
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    kind = {dict: "an object", list: "a list"}.get(type(value), "nothing")
    raise FieldError(f"is {kind}, expected a text")


def _empty(value: Any) -> bool:
    return value is None or value in ("", [])


def _flat(value: Any) -> list[Any]:
    if not isinstance(value, list):
        return [value]
    return [inner for item in value if item is not None for inner in _flat(item)]


def resolve(row: Row, path: str) -> Any:
    """Return what a row has at a path, None where it has nothing; of lists what all their items have."""
    if path in row:
        return row[path]
    parts = [_BRACES.sub(lambda found: text_of(resolve(row, found[1]) or ""), part) for part in path.split(".")]
    value: Any = row
    for part in parts:
        if isinstance(value, list):
            steps = [v[part] for v in _flat(value) if isinstance(v, Mapping) and part in v]
            value = [v for v in steps if v is not None]
        elif isinstance(value, Mapping):
            value = value.get(part)
        else:
            return None
    return value


def field_of(given: Any, name: str = "a field") -> Field:
    """Return a field from how an option gives it; `name` is said in errors.

    Raises
    ------
    UsageError
        It is not in the language above.

    Examples
    --------
    >>> field_of({"at": "answer", "of": ["a", "b"], "base": "A"}).text({"a": "yes", "b": "no", "answer": "B"})
    'no'
    """
    if isinstance(given, str):
        return Field(lambda row: resolve(row, given), needs=(given,))
    if isinstance(given, list):
        given = {"all": given}
    if not isinstance(given, dict):
        raise UsageError(f"{name} has to be a path or a table, not {given!r}.")
    chosen = [key for key in SOURCES if key in given]
    if len(chosen) != 1:
        raise UsageError(f"{name} needs one of {', '.join(SOURCES)}; it has {', '.join(chosen) or 'none'}.")
    for key in given:
        allowed = (chosen[0], *_EXTRA.get(chosen[0], ()), *STEPS, "default")
        if key not in allowed:
            raise unknown(f"part of {name}", key, allowed)
    try:
        source, needs = _MAKERS[chosen[0]](given, name)
        steps = tuple(_STEPS[key](given[key]) for key in STEPS if key in given and given[key] is not False)
    except (TypeError, KeyError, AttributeError) as error:
        raise UsageError(f"{name} cannot be used: {given!r} ({type(error).__name__}: {error}).") from error
    return Field(source, steps, given.get("default"), needs if "default" not in given else ())


Made = tuple[Callable[[Row], Any], tuple[str, ...]]


def _path(given: dict[str, Any], name: str) -> Made:
    path = _string(given["path"])
    return (lambda row: resolve(row, path)), (path,)


def _value(given: dict[str, Any], name: str) -> Made:
    constant = given["value"]
    return (lambda row: constant), ()


def _first(given: dict[str, Any], name: str) -> Made:
    fields = _fields(given["first"], name)

    def found(row: Row) -> Any:
        return next((v for v in (f.value(row) for f in fields) if not _empty(v)), None)

    return found, ()


def _all(given: dict[str, Any], name: str) -> Made:
    fields = _fields(given["all"], name)

    def found(row: Row) -> Any:
        values = [f.value(row) for f in fields]
        missing = next((n for f, v in zip(fields, values, strict=True) for n in f.needs if v is None), None)
        if missing is not None:
            raise FieldError(f"needs {missing}, which is missing")
        return [v for v in values if v is not None]

    return found, tuple(n for f in fields for n in f.needs)


def _case(given: dict[str, Any], name: str) -> Made:
    key, cases = field_of(given["case"], name), {k: field_of(v, name) for k, v in given["of"].items()}

    def found(row: Row) -> Any:
        chosen = cases.get(key.text(row))
        return None if chosen is None else chosen.value(row)

    return found, key.needs


def _at(given: dict[str, Any], name: str) -> Made:
    key, items, base = field_of(given["at"], name), _fields(given["of"], name), given.get("base", 0)
    if not (isinstance(base, int) or (isinstance(base, str) and len(base) == 1)):
        raise TypeError("base is a number or a letter")

    def found(row: Row) -> Any:
        said = key.text(row).strip()
        try:
            number = int(said) - base if isinstance(base, int) else ord(said) - ord(base)
        except (ValueError, TypeError) as error:
            raise FieldError(
                f"is chosen by {said!r}, expected a {'number' if isinstance(base, int) else 'letter'}"
            ) from error
        choices = [choice for item in items for choice in _flat(item.value(row)) if choice is not None]
        if not 0 <= number < len(choices):
            raise FieldError(f"is chosen by {said!r}, but there are {len(choices)} to choose from")
        return choices[number]

    return found, (*key.needs, *(n for item in items for n in item.needs))


def _mean(given: dict[str, Any], name: str) -> Made:
    fields = _fields(given["mean"], name)

    def found(row: Row) -> Any:
        numbers = []
        for text in (text for f in fields for text in f.texts(row)):
            try:
                numbers.append(float(text))
            except ValueError as error:
                raise FieldError(f"is a mean of numbers, and {text!r} is none") from error
        if not numbers or not all(map(math.isfinite, numbers)):
            raise FieldError(f"is a mean of numbers, not of {numbers}")
        return math.fsum(numbers) / len(numbers)

    return found, tuple(n for f in fields for n in f.needs)


def _format(given: dict[str, Any], name: str) -> Made:
    form = _string(given["format"])
    own = given.get("of", {})
    parts = {part: field_of(own.get(part, part), name) for part in _BRACES.findall(form)}

    def found(row: Row) -> Any:
        texts = {}
        for part, one in parts.items():
            try:
                texts[part] = one.text(row)
            except FieldError as error:
                raise FieldError(f"is put together from {part}, which {error}") from error
        return _BRACES.sub(lambda part: texts[part[1]], form)

    return found, tuple(n for part in parts.values() for n in part.needs)


_MAKERS: dict[str, Callable[[dict[str, Any], str], Made]] = {
    "path": _path,
    "value": _value,
    "first": _first,
    "all": _all,
    "case": _case,
    "at": _at,
    "mean": _mean,
    "format": _format,
}


def _fields(given: Any, name: str) -> list[Field]:
    if not isinstance(given, list) or not given:
        raise TypeError("expected a list of fields")
    return [field_of(one, name) for one in given]


def _string(given: Any) -> str:
    if not isinstance(given, str):
        raise TypeError(f"expected a text, not {given!r}")
    return given


def _each(change: Callable[[str], Any]) -> Callable[[Any], Any]:
    """Return a step that changes a text, or every text of a list."""

    def step(value: Any) -> Any:
        if not isinstance(value, list):
            return change(text_of(value))
        return [change(text_of(v)) for v in _flat(value)]

    return step


def one_of(row: Row, wanted: Mapping[str, list[str]]) -> bool:
    """Return whether a row has at each path one of the values; `["*"]` is any value."""
    for path, values in wanted.items():
        found = resolve(row, path)
        has = [text_of(v) for v in _flat(found) if not isinstance(v, dict)] if found is not None else []
        if not (found is not None if values == ["*"] else any(v in values for v in has)):
            return False
    return True


def conditions(given: Any, name: str) -> dict[str, list[str]]:
    """Return paths with lists of values as an option gives them; raise `UsageError` for another form."""
    if not isinstance(given, dict):
        raise UsageError(f"{name} has to be a table of paths and values, not {given!r}.")
    return {
        str(path): [str(v) for v in (values if isinstance(values, list) else [values])]
        for path, values in given.items()
    }


def _where(given: Any) -> Callable[[Any], Any]:
    wanted = conditions(given, "where")
    return lambda value: [v for v in _flat(value) if isinstance(v, dict) and one_of(v, wanted)]


def _take(given: Any) -> Callable[[Any], Any]:
    path = _string(given)
    return lambda value: [
        found for v in _flat(value) if isinstance(v, dict) and (found := resolve(v, path)) is not None
    ]


def _split(given: Any) -> Callable[[Any], Any]:
    mark = _mark(given)
    return lambda value: [piece for v in _flat(value) for piece in text_of(v).split(mark)]


def _cut(given: Any) -> Callable[[Any], Any]:
    mark = _mark(given)
    return _each(lambda text: text.partition(mark)[0])


def _map(given: Any) -> Callable[[Any], Any]:
    table = {str(k): v for k, v in given.items()}

    def change(text: str) -> Any:
        if text not in table:
            raise FieldError(f"is {text[:80]!r}, expected one of {', '.join(table)}")
        return table[text]

    return _each(change)


def _drop(given: Any) -> Callable[[Any], Any]:
    values = frozenset(map(_string, given if isinstance(given, list) else [given]))

    def step(value: Any) -> Any:
        kept = [v for v in _flat(value) if text_of(v) not in values]
        return kept if isinstance(value, list) else (kept[0] if kept else None)

    return step


def _unique(_: Any) -> Callable[[Any], Any]:
    return lambda value: list(dict.fromkeys(map(text_of, _flat(value))))


def _join(given: Any) -> Callable[[Any], Any]:
    mark = _string(given)
    return lambda value: mark.join(text_of(v) for v in _flat(value))


_STEPS: dict[str, Callable[[Any], Callable[[Any], Any]]] = {
    "where": _where,
    "take": _take,
    "split": _split,
    "cut": _cut,
    "trim": lambda _: _each(str.strip),
    "squeeze": lambda _: _each(lambda text: " ".join(text.split())),
    "lower": lambda _: _each(str.lower),
    "map": _map,
    "drop": _drop,
    "unique": _unique,
    "join": _join,
}


def _mark(given: Any) -> str:
    if not isinstance(given, str) or not given:
        raise TypeError(f"a separator is a text that is not empty, not {given!r}")
    return given
