"""The report of checks as one self-contained page: what was found by corpus and code, counts, documents that corpora share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mumei.core import page
from mumei.core.artifact import library_versions
from mumei.core.files import write_text
from mumei.data.checks.core import SEVERITIES, Check
from mumei.data.checks.report import Report, place
from mumei.data.counts import ALL
from mumei.data.overlap import Matrix

EXAMPLES = 5  # findings of a code that the page shows
KEYS = ("documents", "passages", "entities", "normalized", "events", "coreferences", "relations", "concept_relations")
OTHER_KEYS = ("answers", "choices", "labels", "attributes")
PAIRS = 200  # pairs of places that the table of shared documents lists


def write_page(
    reports: Sequence[Report],
    path: Path | str,
    *,
    name: str = "",
    shared: Matrix | None = None,
    failed: Sequence[tuple[str, str]] = (),
    described: Sequence[str] = (),
) -> Path:
    """Write the page, whole or not at all; return its path.

    Parameters
    ----------
    reports : sequence of Report
        One for each corpus.
    path : path
    name : str
        The page's title; by default the corpus's name.
    shared : Matrix, optional
        Of `mumei.data.overlap.matrix`: documents in two places.
    failed : sequence of (str, str)
        Corpora that could not be loaded, and why.
    described : sequence of str
        How the corpora were read.

    Raises
    ------
    StorageError
        The disk refused.
    """
    path = Path(path)
    write_text(
        path, page.render("mumei.data.checks", "report.html.j2", **context(reports, name, shared, failed, described))
    )
    return path


def context(
    reports: Sequence[Report],
    name: str = "",
    shared: Matrix | None = None,
    failed: Sequence[tuple[str, str]] = (),
    described: Sequence[str] = (),
) -> dict[str, Any]:
    """Return what the template shows."""
    title = name or (reports[0].corpus if len(reports) == 1 else f"{len(reports)} corpora")
    rows = list(shared.rows()) if shared else []
    rows.sort(key=lambda row: -row[2])
    return {
        "name": title,
        "facts": _facts(reports, failed),
        "corpora": [_corpus(report) for report in reports],
        "failed": [{"name": corpus, "why": why} for corpus, why in failed],
        "shared": [{"one": " ".join(one), "other": " ".join(other), "number": n} for one, other, n in rows[:PAIRS]],
        "unlisted": max(0, len(rows) - PAIRS),
        "compared": shared is not None,
        "checks": _explained(reports),
        "described": described,
        "versions": library_versions(),
    }


def _facts(reports: Sequence[Report], failed: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    checks = {check.code for report in reports for check in report.checks}
    found = [(f"{sum(r.counts[ALL].get('documents', 0) for r in reports):,}", "documents")]
    found += [(f"{sum(r.total(s) for r in reports):,}", {"info": "to know"}.get(s, f"{s}s")) for s in SEVERITIES]
    found.append((str(len(checks)), "checks"))
    if len(reports) > 1:
        found.insert(
            0, (f"{sum(r.is_sound for r in reports)} of {len(reports) + len(failed)}", "corpora without an error")
        )
    return found


def _corpus(report: Report) -> dict[str, Any]:
    failed = sorted(
        (c for c in report.checks if report.found[c.code]), key=lambda c: (SEVERITIES.index(c.severity), c.code)
    )
    keys = [key for key in (*KEYS, *OTHER_KEYS) if any(numbers.get(key) for numbers in report.counts.values())]
    splits = [split for split in report.counts if split != ALL or len(report.counts) > 2]
    return {
        "name": report.corpus,
        "kind": report.kind,
        "documents": report.counts[ALL].get("documents", 0),
        "totals": [report.total(severity) for severity in SEVERITIES],
        "skipped": report.skipped,
        "checks": len(report.checks),
        "keys": [key.replace("_", " ") for key in keys],
        "splits": [{"name": split, "numbers": [report.counts[split].get(key, 0) for key in keys]} for split in splits],
        "failed": [_check(report, check) for check in failed],
    }


def _check(report: Report, check: Check) -> dict[str, Any]:
    shown = [f for f in report.findings if f.code == check.code][:EXAMPLES]
    return {
        "code": check.code,
        "severity": check.severity,
        "title": check.title,
        "explanation": check.explanation,
        "found": report.found[check.code],
        "examples": [{"place": place(f).removesuffix(": "), "message": f.message} for f in shown],
    }


def _explained(reports: Sequence[Report]) -> list[Check]:
    known = {check.code: check for report in reports for check in report.checks}
    return [known[code] for code in sorted(known)]
