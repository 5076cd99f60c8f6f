"""`mumei data check`: corpora checked by command, several at once."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mumei.cli.data import DEFAULT_SOURCE, PAGES, Source, table
from mumei.cli.output import Output

if TYPE_CHECKING:
    from mumei.data.checks import Report
    from mumei.data.overlap import Matrix


def check(
    corpora: list[str] | None = None,
    /,
    *,
    given: Source = DEFAULT_SOURCE,
    only: str = "",
    skip: str = "",
    together: bool = False,
    examples: int = 3,
    out: Path | None = None,
    codes: bool = False,
    json: bool = False,
    quiet: bool = False,
) -> int:
    """Check corpora, and report every fault by its code. The exit code is 1 where there is an error.

    Parameters
    ----------
    corpora
        Names, configurations, recipes of your own, or paths. A corpus that is subsets only stands for all of them.
    only
        Codes, or their beginnings, with commas between: SP,RF01.
    skip
        The same, of checks to leave out.
    together
        Also compare the corpora with each other: documents that occur in more than one.
    examples
        Findings shown of each code. With --json up to 1,000 are listed.
    out
        Also write the report: .json, or .html for a page.
    codes
        List the checks instead of running them.
    json
        Print the report as one JSON document.
    quiet
        No progress.
    """
    output = Output(json=json, quiet=quiet)
    from mumei.cli.reading import check_suffix
    from mumei.core.errors import MumeiError, UsageError
    from mumei.data.catalogue import whole
    from mumei.data.checks import chosen, run_checks
    from mumei.data.overlap import matrix

    checks = chosen(_words(only), _words(skip))
    if codes:
        return _codes(output, checks)
    if not corpora:
        raise UsageError("no corpus was given. Give names or paths: mumei data check ncbi_disease my/folder")
    if out is not None:
        check_suffix(out, (".json", *PAGES))
    progress = output.progress()
    loaded, failed = [], {}
    for name in chain.from_iterable(map(whole, corpora)):
        try:
            loaded.append(given.load(name, progress))
        except MumeiError as error:
            if isinstance(error, UsageError) or not given.keep_going:
                raise
            failed[name] = str(error)
    reports = [
        run_checks(c, only=_words(only), skip=_words(skip), beside=loaded if together else (), progress=progress)
        for c in loaded
    ]
    shared = matrix(loaded) if together else None
    _tell(output, reports, failed, examples, out, shared)
    return 0 if all(r.is_sound for r in reports) and not failed else 1


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip().upper() for word in text.split(",") if word.strip())


def _codes(output: Output, checks: list[Any]) -> int:
    keys = ("code", "severity", "title", "explanation", "example", "kinds", "scope")
    rows = [(c.code, c.severity, " ".join(c.kinds) if len(c.kinds) < 6 else "all", c.title) for c in checks]
    data = {"checks": [{key: getattr(c, key) for key in keys} for c in checks]}
    output.result(data, table(("code", "severity", "schemas", "finds"), rows))
    return 0


def _tell(
    output: Output,
    reports: list[Report],
    failed: dict[str, str],
    examples: int,
    out: Path | None,
    shared: Matrix | None,
) -> None:
    from mumei.core import files
    from mumei.data.checks.core import SEVERITIES

    data: dict[str, Any] = {
        "sound": all(r.is_sound for r in reports) and not failed,
        "reports": [r.to_json() for r in reports],
        "failed": failed,
    }
    if shared is not None:
        data["shared"] = [{"one": one, "other": other, "documents": n} for one, other, n in shared.rows()]
    lines = [line for report in reports for line in report.lines(examples)]
    lines += [f"{name}: could not be loaded: {why}" for name, why in failed.items()]
    if len(reports) + len(failed) > 1:
        rows = [(r.corpus, f"{len(r.checks):,}", *(f"{r.total(s):,}" for s in SEVERITIES)) for r in reports]
        rows += [(name, "0", "not loaded", "", "") for name in failed]
        lines += ["", table(("corpus", "checks", "errors", "warnings", "info"), rows)]
    if out is not None and out.suffix.lower() == ".json":
        files.write_json(out, data)
    elif out is not None:
        from mumei.data.checks.page import write_page

        write_page(reports, out, shared=shared, failed=list(failed.items()))
    lines += [f"report: {output.path(out)}"] if out is not None else []
    output.result({**data, "report": out}, "\n".join(lines))
