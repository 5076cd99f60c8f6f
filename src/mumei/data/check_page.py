"""The page of checks: what was found in each corpus by code, what it means, and where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mumei.core import page
from mumei.core.files import write_text
from mumei.data.checks.core import SEVERITIES
from mumei.data.checks.report import Report, place
from mumei.data.counts import ALL

SHOWN = 10  # findings of a code


def write_page(reports: Sequence[Report], failed: Mapping[str, str], path: Path | str) -> Path:
    """Write the page of reports, and of corpora that could not be loaded (name -> why); return its path."""
    path = Path(path)
    name = reports[0].corpus if len(reports) == 1 and not failed else f"{len(reports) + len(failed)} corpora"
    context = {
        "name": name,
        "reports": [_context(r) for r in reports],
        "failed": dict(failed),
        "severities": SEVERITIES,
    }
    write_text(path, page.render("mumei.data", "checks.html.j2", **context))
    return path


def _context(report: Report) -> dict[str, Any]:
    failed = sorted(
        (c for c in report.checks if report.found[c.code]), key=lambda c: (SEVERITIES.index(c.severity), c.code)
    )
    return {
        "corpus": report.corpus,
        "documents": report.counts[ALL]["documents"],
        "skipped": report.skipped,
        "sound": report.is_sound,
        "totals": {s: report.total(s) for s in SEVERITIES},
        "checks": [
            {
                "code": c.code,
                "severity": c.severity,
                "title": c.title,
                "explanation": c.explanation,
                "found": report.found[c.code],
                "findings": [(place(f), f.message) for f in report.findings if f.code == c.code][:SHOWN],
            }
            for c in failed
        ],
        "passed": [c.code for c in report.checks if not report.found[c.code]],
    }
