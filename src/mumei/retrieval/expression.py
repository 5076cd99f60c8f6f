"""A small language to choose documents: `year >= 2010 and journal in ['Lancet', 'BMJ'] and not title contains 'rat'`.

    expression   "and", "or", "not", parentheses over comparisons
    comparison   == != < <= > >= (they chain: 2000 < year <= 2010), in, not in, contains, not contains
    value        a field, a number, a text in quotes, true, false, a list [1, 2] or (1, 2)
    field        a name (year), a path into a mapping (journal.name), any name in backquotes (`pub-year`)

A value that is missing (absent or null) is false in every comparison, != included; `not` turns that round. A field alone is true
where it is there and neither false, 0 nor empty. A text that reads as a number is compared as one with a number, because tables
often give years as text; otherwise values of different kinds are never in order, and are unequal. `contains` (and `in` with a
field on its right) ignores case: a part of a text, or an element of a list; elsewhere case counts. Nothing runs as Python.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from mumei.core.errors import UsageError, suggest

MAX_LENGTH, MAX_DEPTH = 10_000, 50
_TOKEN = re.compile(
    r"""\s*(?:
    (?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?![\w.]))
    | (?P<text>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")
    | (?P<quoted>`[^`]+`)
    | (?P<name>[^\W\d]\w*(?:\.\w+)*)
    | (?P<sign>==|!=|<=|>=|<|>|\(|\)|\[|\]|,|=|&&|\|\||!)
    )""",
    re.VERBOSE | re.DOTALL,
)
_ORDER = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
_WORDS = {"and", "or", "not", "in", "contains", "true", "false", "null", "none"}
_INSTEAD = {"=": "==", "&&": "and", "||": "or", "!": "not"}
_MISSING = object()

Row = Mapping[str, Any]
Test = Callable[[Row], bool]


@dataclass(frozen=True)
class Expression:
    """A parsed expression: `test(row)` for a row as a mapping, and the `fields` it reads (first names of paths)."""

    source: str
    test: Test
    fields: frozenset[str]

    def check(self, known: Collection[str]) -> None:
        """Raise `UsageError` with the closest match if a field is not among the known ones."""
        for field in sorted(self.fields):
            if field not in known:
                shown = ", ".join(sorted(known)[:30]) + (", ..." if len(known) > 30 else "")
                quotes = " A text needs quotes." if len(known) else ""
                raise UsageError(
                    f"no document has the field {field!r}.{suggest(field, known)} Fields here: {shown}.{quotes}"
                )


def parse(source: str) -> Expression:
    """Parse an expression.

    Raises
    ------
    UsageError
        The syntax is wrong; the message shows where.

    Examples
    --------
    >>> found = parse("year >= 2010 and not journal == 'Lancet'")
    >>> found.test({"year": 2012, "journal": "BMJ"}), sorted(found.fields)
    (True, ['journal', 'year'])
    """
    if len(source) > MAX_LENGTH:
        raise UsageError(f"the expression has {len(source):,} characters; at most {MAX_LENGTH:,} are allowed.")
    parser = _Parser(source)
    test = parser.either(0)
    if parser.kind != "end":
        parser.fail("nothing more here, or `and` / `or` before it")
    return Expression(source, test, frozenset(parser.fields))


class _Value:
    """One side of a comparison: a constant or a path into the row."""

    def __init__(self, get: Callable[[Row], Any], is_field: bool, is_list: bool = False):
        self.get, self.is_field, self.is_list = get, is_field, is_list


class _Parser:
    """Recursive descent over tokens, one of which is looked ahead."""

    def __init__(self, source: str):
        self.source, self.at = source, 0
        self.fields: set[str] = set()
        self.kind, self.word, self.start = "", "", 0
        self.next()

    def next(self) -> str:
        """Take the next token; return the word of the last one."""
        last = self.word
        rest = re.compile(r"\s*").match(self.source, self.at)
        self.start = rest.end() if rest else self.at
        found = _TOKEN.match(self.source, self.at)
        if found is not None:
            self.kind, self.word, self.at = str(found.lastgroup), found[str(found.lastgroup)], found.end()
            if self.kind == "name" and self.word.lower() in _WORDS:
                self.kind, self.word = "word", self.word.lower()
            if self.word in _INSTEAD and self.kind == "sign":
                self.fail(f"{_INSTEAD[self.word]!r} instead of {self.word!r}")
        elif self.start == len(self.source):
            self.kind, self.word = "end", ""
        else:
            unclosed = self.source[self.start] in "'\"`"
            self.fail("the closing quote" if unclosed else "a field, a value or an operator")
        return last

    def fail(self, expected: str) -> Any:
        """Raise the error for this place."""
        first, last = max(self.start - 40, 0), self.start + 30
        shown = self.source[first:last].replace("\n", " ")
        raise UsageError(
            f"the expression is wrong at character {self.start + 1}: expected {expected}.\n"
            f"  {shown}\n  {' ' * (self.start - first)}^"
        )

    def take(self, *words: str) -> str:
        """Take the token if it is one of these words or signs; return it, or an empty string."""
        return self.next() if self.kind in ("word", "sign") and self.word in words else ""

    def either(self, depth: int) -> Test:
        """Parse comparisons joined by "or", the loosest."""
        if depth > MAX_DEPTH:
            raise UsageError(f"the expression is nested more than {MAX_DEPTH} deep; write it flatter.")
        tests = [self.both(depth)]
        while self.take("or"):
            tests.append(self.both(depth))
        return tests[0] if len(tests) == 1 else lambda row: any(test(row) for test in tests)

    def both(self, depth: int) -> Test:
        """Parse comparisons joined by "and"."""
        tests = [self.negated(depth)]
        while self.take("and"):
            tests.append(self.negated(depth))
        return tests[0] if len(tests) == 1 else lambda row: all(test(row) for test in tests)

    def negated(self, depth: int) -> Test:
        """Parse "not" and what it negates."""
        times = 0
        while self.take("not"):
            times += 1
        test = self.comparison(depth)
        return (lambda row: not test(row)) if times % 2 else test

    def comparison(self, depth: int) -> Test:
        """Parse a group in parentheses, a chain of comparisons, or a field alone."""
        if self.word == "(" and self.kind == "sign":
            self.next()
            inner = self.either(depth + 1)
            if not self.take(")"):
                self.fail("`)`")
            return inner
        left = self.value()
        tests = []
        while compare := self.operator():
            right = self.value()
            tests.append(_pair(left, compare, right))
            left = right
        if tests:
            return tests[0] if len(tests) == 1 else lambda row: all(test(row) for test in tests)
        if not left.is_field and self.kind != "end":
            self.fail("an operator: == != < <= > >= in contains")
        if not left.is_field:
            self.fail("an operator and a field")
        return lambda row: _is_there(left.get(row)) and bool(left.get(row))

    def operator(self) -> str:
        """Take an operator; return it, or an empty string."""
        if self.take("not"):
            follows = self.take("in", "contains")
            return "not " + follows if follows else self.fail("`in` or `contains` after `not`")
        return self.take("==", "!=", "<", "<=", ">", ">=", "in", "contains")

    def value(self) -> _Value:
        """Take a field or a constant."""
        if self.kind in ("name", "quoted"):
            path = self.word.split(".") if self.kind == "name" else [self.word[1:-1]]
            self.fields.add(path[0])
            self.next()
            return _Value(_reader(path), is_field=True)
        if self.kind == "sign" and self.word in ("[", "("):
            return self.list()
        constant = self.constant()
        return _Value(lambda row: constant, is_field=False)

    def list(self) -> _Value:
        """Take a list of constants."""
        closing = {"[": "]", "(": ")"}[self.next()]
        items = []
        while not self.take(closing):
            items.append(self.constant())
            if not self.take(",") and self.word != closing:
                self.fail(f"`,` or `{closing}`")
        return _Value(lambda row: items, is_field=False, is_list=True)

    def constant(self) -> Any:
        """Take a number, a text, true or false."""
        if self.kind == "number":
            return _number(self.next())
        if self.kind == "text":
            return re.sub(r"\\(.)", r"\1", self.next()[1:-1], flags=re.DOTALL)
        if self.kind == "word" and self.word in ("true", "false"):
            return self.next() == "true"
        if self.kind == "word" and self.word in ("null", "none"):
            self.fail("a value: missing values are false in every comparison; write `not field` for them")
        return self.fail("a field, a number, or a text in quotes")


def _number(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        return float(text)


def _reader(path: list[str]) -> Callable[[Row], Any]:
    if len(path) == 1:
        name = path[0]
        return lambda row: row.get(name)

    def read(row: Any) -> Any:
        for name in path:
            row = row.get(name) if isinstance(row, Mapping) else None
        return row

    return read


def _is_there(value: Any) -> bool:
    return value is not None and value == value  # NaN is missing too


def _pair(left: _Value, compare: str, right: _Value) -> Test:
    """Return the test of one comparison."""
    negative = compare.startswith("not ")
    compare = compare.removeprefix("not ")
    if compare == "in" and right.is_field:  # 'x' in keywords: the field holds it
        left, compare, right = right, "contains", left
    hold = {"==": _equal, "!=": _unequal, "in": _within, "contains": _contains}.get(compare) or _ordered(compare)

    def test(row: Row) -> bool:
        a, b = left.get(row), right.get(row)
        return _is_there(a) and _is_there(b) and hold(a, b) is not negative

    return test


def _alike(a: Any, b: Any) -> tuple[Any, Any] | None:
    """Return both values in a form that can be compared, or None: truth values, numbers or texts with their like."""
    if isinstance(a, bool) or isinstance(b, bool):
        return (a, b) if type(a) is type(b) else None
    if isinstance(a, str) and isinstance(b, str):
        return a, b
    a, b = _as_number(a), _as_number(b)
    return None if a is None or b is None else (a, b)


def _as_number(value: Any) -> int | float | None:
    if isinstance(value, str):
        try:
            return _number(value)
        except ValueError:
            return None
    return value if isinstance(value, (int, float)) else None


def _equal(a: Any, b: Any) -> bool:
    pair = _alike(a, b)
    return a == b if pair is None and type(a) is type(b) else pair is not None and pair[0] == pair[1]


def _unequal(a: Any, b: Any) -> bool:
    return not _equal(a, b)


def _ordered(compare: str) -> Callable[[Any, Any], bool]:
    order = _ORDER[compare]

    def hold(a: Any, b: Any) -> bool:
        pair = _alike(a, b)
        return pair is not None and not isinstance(pair[0], bool) and order(*pair)

    return hold


def _within(a: Any, b: Any) -> bool:
    """Whether a value, or an element of a list, is in the list b; a text b is searched for a."""
    if isinstance(b, str):
        return _contains(b, a)
    if not isinstance(b, list):
        return _equal(a, b)
    return any(_equal(x, y) for x in (a if isinstance(a, list) else [a]) for y in b if _is_there(x))


def _contains(a: Any, b: Any) -> bool:
    """Whether a text has b as a part, or a list or mapping has it as an element; case is ignored."""
    if isinstance(a, str):
        return isinstance(b, str) and b.casefold() in a.casefold()
    if isinstance(b, str):
        b = b.casefold()
    elements = a if isinstance(a, (list, Mapping)) else [a]
    return any(_equal(x.casefold() if isinstance(x, str) else x, b) for x in elements if _is_there(x))
