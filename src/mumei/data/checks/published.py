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


@corpus_check(
    "CT02",
    "error",
    "split without any record",
    explanation="A split that the corpus names and that holds nothing: its files are empty, or the reader found nothing there.",
    example="test: 0 documents",
)
def empty_split(corpus: Corpus, check: Check) -> Iterator[Finding]:
    """Find empty splits."""
    for split in corpus.splits:
        if not corpus.source(split).num_rows:
            yield check.finding("no record", split=split)


@corpus_check(
    "CT03",
    "info",
    "no published count to compare with",
    explanation="The recipe gives no counts for a split, so that nothing shows whether all of it was read.",
    example="a recipe with counts of train alone, and a test part",
)
def uncounted(corpus: Corpus, check: Check) -> Iterator[Finding]:
    """Find splits that the recipe gives no counts of."""
    if corpus.recipe is None:
        return
    expected = corpus.recipe.subset(corpus.subset).counts
    for split in corpus.splits:
        if not expected.get(split) and not expected.get("all"):
            yield check.finding("the recipe gives no counts of it", split=split)
