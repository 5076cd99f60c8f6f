"""CT: counts against those that the recipe gives of the published corpus."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from mumei.data.checks.core import Check, Finding, corpus_check

if TYPE_CHECKING:
    from mumei.data.corpus import Corpus


@corpus_check(
    "CT01",
    "error",
    "count that is not the published one",
    explanation="The recipe gives how many documents and annotations the published files hold; something was lost or added.",
    example="train: 592 documents, expected 593",
)
def published(corpus: Corpus, check: Check) -> Iterator[Finding]:
    """Compare with the recipe's counts."""
    from mumei.data.counts import differences

    for found in differences(corpus):
        yield check.finding(f"{found.found:,} {found.key}, expected {found.expected:,}", split=found.split)
