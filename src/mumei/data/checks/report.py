"""The report of checks: as JSON for machines, as lines for a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from mumei.data.checks.core import SEVERITIES, Check, Finding

if TYPE_CHECKING:
    from mumei.data.corpus import Corpus


@dataclass
class Report:
    """What checks found in a corpus: `found` counts all findings by code, `findings` lists the first of each code."""

    corpus: str
    kind: str
    checks: list[Check]
    counts: dict[str, dict[str, int]]  # split -> key -> number, as in mumei.data.counts
    listed: int
    skipped: int = 0  # documents that could not be read
    found: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)

    @classmethod
    def of(cls, corpus: Corpus, checks: list[Check], listed: int) -> Report:
        """Return an empty report for a corpus."""
        from mumei.data.counts import counts

        numbers = {split: dict(sorted(c.items())) for split, c in counts(corpus).items()}
        skipped = sum(p.skipped for p in corpus.problems)
        return cls(corpus.name, corpus.kind, checks, numbers, listed, skipped)

    def add(self, findings: Iterable[Finding]) -> None:
        """Take findings."""
        for finding in findings:
            self.found[finding.code] += 1
            if self.found[finding.code] <= self.listed:
                self.findings.append(finding)

    def total(self, severity: str) -> int:
        """Return how many findings have a severity."""
        return sum(self.found[c.code] for c in self.checks if c.severity == severity)

    @property
    def is_sound(self) -> bool:
        """Whether there is no error."""
        return self.total("error") == 0

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON-able content; the same corpus gives the same."""
        return {
            "corpus": self.corpus,
            "kind": self.kind,
            "sound": self.is_sound,
            "totals": {severity: self.total(severity) for severity in SEVERITIES},
            "skipped_documents": self.skipped,
            "counts": self.counts,
            "checks": [
                {
                    **{k: getattr(c, k) for k in ("code", "severity", "title", "explanation", "example")},
                    "found": self.found[c.code],
                }
                for c in self.checks
            ],
            "findings": [asdict(f) for f in self.findings],
        }

    def lines(self, examples: int = 3) -> Iterator[str]:
        """Yield the report's lines for a terminal: checks that found something, worst first, `examples` of each."""
        totals = ", ".join(f"{self.total(s):,} {s}{'' if s == 'info' else 's'}" for s in SEVERITIES)
        yield f"{self.corpus}: {self.counts['all']['documents']:,} documents, {len(self.checks)} checks: {totals}"
        if self.skipped:
            yield f"  {self.skipped:,} documents could not be read and are missing"
        failed = [c for c in self.checks if self.found[c.code]]
        for check in sorted(failed, key=lambda c: (SEVERITIES.index(c.severity), c.code)):
            yield f"  {check.code} {check.severity}: {check.title} ({self.found[check.code]:,})"
            for finding in [f for f in self.findings if f.code == check.code][:examples]:
                yield f"    {place(finding)}{finding.message}"


def place(finding: Finding) -> str:
    """Return where a finding is, ending in ": ", or "" where it is of the whole corpus."""
    file = f"{finding.file}:{finding.line}" if finding.line else finding.file
    said = [file, f"document {finding.document}" if finding.document else "", finding.item]
    if not finding.file and finding.split:
        said.insert(0, finding.split)
    text = ", ".join(part for part in said if part)
    return f"{text}: " if text else ""
