"""Records as instructions: what a model is given and what it should write, by templates of each task, for instruction tuning.

Templates are in `prompts.toml`, at least three for each task; users bring their own file of the same form:

    [[template]]
    name = "mine"
    task = "TE"
    input = "{{ premise }} So: {{ hypothesis }}?"
    target = "{{ label }}"

They are written in a small part of jinja: fields, `if`, `for` over a field (two deep at most), comparisons, and the filters of
`FILTERS`. Anything else (calls, assignments, macros, includes) is refused when the file is read, and so is a field that the
task does not have; rendering runs in jinja's sandbox with no functions and bounded output. A field that a record lacks is an
error unless the template asks `{% if context is defined %}`: no instruction is ever rendered with a hole in it.

Fields by task are in `FIELDS`. Lists of annotations may be empty; texts, labels and languages that are missing are not defined.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from mumei.core import seeds
from mumei.core.errors import DataError, UsageError, unknown
from mumei.data.fields import FIELDS, Labels, fields, labels_of
from mumei.data.schemas import TASKS

if TYPE_CHECKING:
    from mumei.data.corpus import Corpus
    from mumei.data.documents import Record

LONGEST = 1_000_000  # characters of a rendered text
SOURCE_LIMIT = 20_000  # characters of a template
DEPTH = 2  # of loops
FILTERS = ("join", "lower", "upper", "capitalize", "trim", "length")
_NODES = (  # of jinja's syntax tree
    "Template Output TemplateData Name Getattr Getitem Const If CondExpr For Filter Test Compare Operand And Or Not Keyword Tuple"
).split()


class Template(Struct, frozen=True, forbid_unknown_fields=True):
    """A template of a task: `input` and `target` are jinja."""

    name: str
    task: str
    input: str
    target: str

    @property
    def full_name(self) -> str:
        """Task and name: "NER/list"."""
        return f"{self.task}/{self.name}"


class _File(Struct, forbid_unknown_fields=True):
    template: list[Template]


class Example(Struct, frozen=True):
    """An instruction and its answer; `target` is "" where none was asked for."""

    id: str
    corpus: str
    task: str
    template: str
    input: str
    target: str
    licence: str = "unknown"


@cache
def ours() -> tuple[Template, ...]:
    """Return mumei's templates."""
    content = (resources.files("mumei.data") / "prompts.toml").read_bytes()
    return tuple(read_templates(content, "prompts.toml"))


def read_templates(content: bytes, where: str) -> list[Template]:
    """Return the templates of a TOML file; `where` names it in errors.

    Raises
    ------
    UsageError
        It is no TOML of that form, a task or field is unknown, a name occurs twice, or a template uses what is not allowed.
    """
    try:
        found = msgspec.toml.decode(content, type=_File).template
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"the templates {where} cannot be used: {error}.") from error
    seen: set[str] = set()
    for template in found:
        if template.task not in TASKS:
            raise unknown(f"task in {where}", template.task, TASKS)
        if template.full_name in seen:
            raise UsageError(f"{where} has two templates {template.full_name}.")
        seen.add(template.full_name)
        for part in ("input", "target"):
            _check(getattr(template, part), template.task, f"the {part} of {template.full_name} in {where}")
    return found


def load_templates(path: Path | str | None = None) -> list[Template]:
    """Return the templates of a file, by default mumei's."""
    if path is None:
        return list(ours())
    try:
        return read_templates(Path(path).read_bytes(), str(path))
    except OSError as error:
        raise UsageError(f"the templates {path} cannot be read ({error.strerror or error}).") from error


def templates(task: str, among: Sequence[Template] | None = None) -> list[Template]:
    """Return the templates of a task, of mumei's or of those given."""
    if task not in TASKS:
        raise unknown("task", task, TASKS)
    found = [template for template in (ours() if among is None else among) if template.task == task]
    if not found:
        raise UsageError(f"there is no template for {task} among those given.")
    return found


def render(record: Record, template: Template, labels: Labels, *, target: bool = True) -> tuple[str, str]:
    """Return a record's input and target by a template.

    Parameters
    ----------
    record : Record
        Of the task's schema.
    template : Template
    labels : Labels
        Of the corpus: `labels_of(corpus, task)`.
    target : bool
        Whether to render the target; without, it is "".

    Raises
    ------
    DataError
        The record lacks a field that the template uses; both are named.
    """
    given = fields(record, template.task, labels)
    said = _rendered(template.input, given, record, template)
    return said, _rendered(template.target, given, record, template) if target else ""


def prompts(
    corpus: Corpus,
    task: str,
    *,
    split: str | None = None,
    among: Sequence[Template] | None = None,
    every: bool = False,
    target: bool = True,
    seed: int = 0,
) -> Iterator[Example]:
    """Yield a corpus's records as instructions.

    Parameters
    ----------
    corpus : Corpus
        Of the task's schema.
    task : str
        A key of `TASKS`.
    split : str, optional
        By default all.
    among : sequence of Template, optional
        By default mumei's.
    every : bool
        One example for each record and template; else one for each record, its template chosen by the seed and its id.
    target : bool
        Whether to render targets, which records of a test part without labels do not have.
    seed : int
        See `every`.

    Raises
    ------
    UsageError
        An unknown task, or one of another schema than the corpus's.
    DataError
        A record lacks a field.
    """
    chosen = templates(task, among)
    if TASKS[task] != corpus.kind:
        raise UsageError(f"{task} needs a corpus under the schema {TASKS[task]}; {corpus.name} is under {corpus.kind}.")
    labels = labels_of(corpus, task)
    terms = corpus.recipe.licence if corpus.recipe else "unknown"
    for record in corpus.records(split):
        for template in chosen if every else [one_of(chosen, record, seed)]:
            said, answer = render(record, template, labels, target=target)
            yield Example(record.id, corpus.name, task, template.full_name, said, answer, terms)


def one_of(among: Sequence[Template], record: Record, seed: int) -> Template:
    """Return the template that a seed and a record's id choose."""
    return among[seeds.child(seed, "prompt", record.id) % len(among)]


@cache
def _environment() -> Any:
    import jinja2
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Closed(ImmutableSandboxedEnvironment):
        """No calls, no attributes of Python objects."""

        def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
            """Refuse: fields are keys of dictionaries; `loop` is jinja's own."""
            return type(obj).__name__ == "LoopContext" and attr in ("last", "first", "index")

        def is_safe_callable(self, obj: Any) -> bool:
            """Refuse."""
            return False

    # The texts are no HTML: nothing is to be escaped.
    closed = Closed(undefined=jinja2.StrictUndefined, autoescape=False)
    closed.globals.clear()
    closed.filters = {name: closed.filters[name] for name in FILTERS}
    closed.filters["join"] = _join
    closed.tests = {name: closed.tests[name] for name in ("defined", "undefined")}
    return closed


def _join(values: Any, between: str = ", ") -> str:
    """Join a list of texts; not a text's characters, whose number would multiply."""
    if isinstance(values, str) or not isinstance(between, str):
        raise TypeError("join needs a list and a text")
    return between.join(values)


def _check(source: str, task: str, where: str) -> None:
    """Raise `UsageError` for a template that is no jinja, or uses what is not allowed or what the task does not have."""
    import jinja2
    from jinja2 import meta, nodes

    if len(source) > SOURCE_LIMIT:
        raise UsageError(f"{where} has {len(source):,} characters; at most {SOURCE_LIMIT:,} are allowed.")
    try:
        tree = _environment().parse(source)
    except jinja2.TemplateSyntaxError as error:
        raise UsageError(f"{where} is no jinja (line {error.lineno}): {error.message}.") from error
    for node in tree.find_all(nodes.Node):
        kind = type(node).__name__
        if kind not in _NODES:
            raise UsageError(f"{where} uses {kind.lower()}, which is not allowed in templates.")
        if isinstance(node, nodes.Filter) and node.name not in FILTERS:
            raise unknown(f"filter in {where}", str(node.name), FILTERS)
        if isinstance(node, nodes.Test) and node.name not in _environment().tests:
            raise unknown(f"test in {where}", str(node.name), _environment().tests)
        if isinstance(node, nodes.For) and not isinstance(node.iter, nodes.Name | nodes.Getattr):
            raise UsageError(f"{where} loops over something that is no field.")
    if _depth(tree) > DEPTH:
        raise UsageError(f"{where} has loops more than {DEPTH} deep.")
    for name in sorted(meta.find_undeclared_variables(tree)):
        if name not in FIELDS[task]:
            raise unknown(f"field in {where}", name, FIELDS[task])


def _depth(node: Any) -> int:
    from jinja2 import nodes

    return max((_depth(child) for child in node.iter_child_nodes()), default=0) + isinstance(node, nodes.For)


@cache
def _compiled(source: str) -> Any:
    return _environment().from_string(source.removeprefix("\n"))


def _rendered(source: str, given: dict[str, Any], record: Record, template: Template) -> str:
    import jinja2

    parts, length = [], 0
    try:
        for part in _compiled(source).generate(given):
            parts.append(part)
            length += len(part)
            if length > LONGEST:
                break
    except (jinja2.TemplateError, TypeError, AttributeError) as error:
        place = f"{record.file}:{record.line}: " if record.file else ""
        raise DataError(
            f"{place}record {record.id}: the template {template.full_name} cannot be used: {error}."
        ) from error
    if length > LONGEST:
        raise DataError(
            f"record {record.id}: the template {template.full_name} gives more than {LONGEST:,} characters."
        )
    return "".join(parts)
