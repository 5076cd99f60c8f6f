"""What a check is, the registry of checks, and running them over a corpus.

A check has a code that never changes its meaning, a severity ("error": the data break a rule of the schema; "warning": the data
are probably wrong; "info": worth knowing), an explanation and an example of what it finds. It is a function over one record
(`@document_check`), over the whole corpus (`@corpus_check`), or over a corpus and others beside it (`@beside_check`). Checks
read the lossless superset, not the harmonised view.

Modules of this package register their checks when imported; `registry()` imports all of them, so that a new file is a new
group of checks and nothing else needs to change.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

from mumei.core.errors import unknown
from mumei.core.progress import SILENT, Progress
from mumei.data.documents import Record
from mumei.data.readers.base import collector_paused
from mumei.data.schemas import SCHEMAS

if TYPE_CHECKING:
    from mumei.data.checks.report import Report
    from mumei.data.corpus import Corpus

Severity = Literal["error", "warning", "info"]
SEVERITIES = ("error", "warning", "info")
LISTED = 1_000  # findings of one code that a report lists; all are counted


@dataclass(frozen=True)
class Finding:
    """One thing that a check found; `item` is the annotation's or field's id within the document."""

    code: str
    severity: Severity
    message: str
    split: str = ""
    document: str = ""
    item: str = ""
    file: str = ""
    line: int = 0


# What a check yields: over a record (item, message); over a corpus a Finding made by `check.finding(...)`.
DocumentFunction = Callable[[Any], Iterable[tuple[str, str]]]
CorpusFunction = Callable[["Corpus", "Check"], Iterable[Finding]]
BesideFunction = Callable[["Corpus", Sequence["Corpus"], "Check"], Iterable[Finding]]


@dataclass(frozen=True)
class Check:
    """A check; `kinds` are the harmonised schemas that it applies to."""

    code: str
    severity: Severity
    title: str
    explanation: str
    example: str
    kinds: tuple[str, ...]
    scope: Literal["document", "corpus", "beside"]
    function: Callable[..., Any] = field(repr=False)

    def finding(self, message: str, **where: Any) -> Finding:
        """Return a finding of this check; `where` are fields of `Finding`."""
        return Finding(self.code, self.severity, message, **where)

    def of_record(self, record: Record) -> Iterator[Finding]:
        """Yield what a check over records finds in one."""
        for item, message in self.function(record):
            yield self.finding(
                message, split=record.split, document=record.id, item=item, file=record.file, line=record.line
            )


_CHECKS: dict[str, Check] = {}


def _register(check: Check) -> None:
    if check.code in _CHECKS and _CHECKS[check.code].function.__qualname__ != check.function.__qualname__:
        raise AssertionError(f"two checks have the code {check.code}")
    if check.severity not in SEVERITIES or not set(check.kinds) <= set(SCHEMAS):
        raise AssertionError(f"{check.code} has an unknown severity or schema")
    _CHECKS[check.code] = check


def document_check(
    code: str, severity: Severity, title: str, *, explanation: str, example: str, kinds: tuple[str, ...] = ("kb",)
) -> Callable[[DocumentFunction], DocumentFunction]:
    """Register a function over one record; it yields (item, message) for each fault."""

    def add(function: DocumentFunction) -> DocumentFunction:
        _register(Check(code, severity, title, explanation, example, kinds, "document", function))
        return function

    return add


def corpus_check(
    code: str,
    severity: Severity,
    title: str,
    *,
    explanation: str,
    example: str,
    kinds: tuple[str, ...] = tuple(SCHEMAS),
) -> Callable[[CorpusFunction], CorpusFunction]:
    """Register a function over a corpus and its own `Check`; it yields findings made by `check.finding`."""

    def add(function: CorpusFunction) -> CorpusFunction:
        _register(Check(code, severity, title, explanation, example, kinds, "corpus", function))
        return function

    return add


def beside_check(
    code: str,
    severity: Severity,
    title: str,
    *,
    explanation: str,
    example: str,
    kinds: tuple[str, ...] = tuple(SCHEMAS),
) -> Callable[[BesideFunction], BesideFunction]:
    """Register a function over a corpus, the corpora beside it and its own `Check`; it runs only where there are such."""

    def add(function: BesideFunction) -> BesideFunction:
        _register(Check(code, severity, title, explanation, example, kinds, "beside", function))
        return function

    return add


def registry() -> dict[str, Check]:
    """Return all checks by code, sorted."""
    import mumei.data.checks as package

    for module in pkgutil.iter_modules(package.__path__):
        import_module(f"{package.__name__}.{module.name}")
    return dict(sorted(_CHECKS.items()))


def chosen(only: Iterable[str] = (), skip: Iterable[str] = ()) -> list[Check]:
    """Return the checks whose codes begin with one of `only` (all by default) and with none of `skip`."""
    known = registry()
    only, skip = tuple(only), tuple(skip)
    for start in (*only, *skip):
        if not any(code.startswith(start) for code in known):
            raise unknown("check", start, known)
    return [
        c for code, c in known.items() if (not only or code.startswith(only)) and not (skip and code.startswith(skip))
    ]


def run_checks(
    corpus: Corpus,
    *,
    only: Iterable[str] = (),
    skip: Iterable[str] = (),
    beside: Sequence[Corpus] = (),
    listed: int = LISTED,
    progress: Progress = SILENT,
) -> Report:
    """Run checks over a corpus.

    Parameters
    ----------
    corpus : Corpus
        Under any schema: the superset behind it is checked.
    only, skip : iterable of str
        Codes, or their beginnings ("SP").
    beside : sequence of Corpus
        Other corpora, for the checks of leakage between corpora.
    listed : int
        At most this many findings of a code are listed; all are counted.
    progress : Progress
        Where to show progress.

    Returns
    -------
    Report
        Every finding by code, with counts.
    """
    from mumei.data.checks.report import Report

    checks = [c for c in chosen(only, skip) if corpus.kind in c.kinds and (beside or c.scope != "beside")]
    report = Report.of(corpus, checks, listed)
    each = [c for c in checks if c.scope == "document"]
    with collector_paused():
        if each:
            with progress.task(f"Checking {corpus.name}", len(corpus), "documents") as task:
                for record in corpus.records():
                    for check in each:
                        report.add(check.of_record(record))
                    task.advance()
        for check in checks:
            if check.scope == "corpus":
                report.add(check.function(corpus, check))
            elif check.scope == "beside":
                report.add(check.function(corpus, [other for other in beside if other is not corpus], check))
    return report
