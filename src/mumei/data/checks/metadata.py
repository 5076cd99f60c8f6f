"""MD: what a recipe says of its corpus (BigBIO's check 2, and drift between what two places say)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from mumei.data.checks.core import Check, Finding, corpus_check
from mumei.data.languages import LANGUAGES
from mumei.data.licences import licence

if TYPE_CHECKING:
    from mumei.data.corpus import Corpus

_BIBTEX = re.compile(r"@\w+\s*\{[^{}]+,.*\}\s*\Z", re.DOTALL)


@corpus_check(
    "MD01",
    "warning",
    "licence unknown",
    explanation="No terms are stated: nothing is known to be allowed, and the corpus may not be passed on.",
    example='licence = "unknown"',
)
def unknown_licence(corpus: Corpus, check: Check) -> Iterator[Finding]:
    """Find a recipe without a licence."""
    if corpus.recipe and licence(corpus.recipe.licence).name == "unknown":
        yield check.finding("nobody has said what may be done with it")


@corpus_check(
    "MD02",
    "info",
    "licence that is no SPDX id",
    explanation="A licence by its SPDX id can be compared with others; one with a name of its own has terms to read.",
    example='licence = "GENIA"',
)
def own_licence(corpus: Corpus, check: Check) -> Iterator[Finding]:
    """Find a licence with a name that is no SPDX id."""
    if corpus.recipe is None:
        return
    given, found = corpus.recipe.licence, licence(corpus.recipe.licence)
    if found.spdx and given != found.name:
        yield check.finding(f"{given!r} is {found.name} in SPDX")
    elif not found.spdx and found.name != "unknown":
        yield check.finding(f"{given!r}{': ' + found.caution if found.caution else ''}")


@corpus_check(
    "MD03",
    "error",
    "language that is no ISO 639-1 code",
    explanation="Languages are two-letter codes, so that corpora can be chosen by them.",
    example='languages = ["english"]',
)
def language_codes(corpus: Corpus, check: Check) -> Iterator[Finding]:
    """Find languages that are no codes, or none at all."""
    if corpus.recipe is None:
        return
    given = corpus.recipe.subset(corpus.subset).languages
    if not given:
        yield check.finding("no language is given")
    for code in given:
        if code not in LANGUAGES:
            yield check.finding(f"{code!r} is no ISO 639-1 code")


@corpus_check(
    "MD04",
    "warning",
    "citation missing or no BibTeX",
    explanation="Those who use a corpus owe its makers a citation; it is given as a BibTeX entry.",
    example='citation = "Dogan et al. 2014"',
)
def citation(corpus: Corpus, check: Check) -> Iterator[Finding]:
    """Find a citation that is no BibTeX entry."""
    if corpus.recipe is None:
        return
    given = corpus.recipe.citation.strip()
    if not _BIBTEX.match(given) or given.count("{") != given.count("}"):
        yield check.finding(f"{given[:60]!r} is no BibTeX entry" if given else "there is none")


@corpus_check(
    "MD05",
    "info",
    "no part to test on",
    explanation="Without a test or validation part users split the corpus themselves, each in another way.",
    example="a corpus with the split train alone",
)
def no_test(corpus: Corpus, check: Check) -> Iterator[Finding]:
    """Find a corpus whose recipe has only training data."""
    splits = list(corpus.recipe.subset(corpus.subset).splits) if corpus.recipe else corpus.splits
    if splits == ["train"] and corpus.recipe:
        yield check.finding("its splits are train alone")


@corpus_check(
    "MD06",
    "info",
    "file that cannot be fetched",
    explanation="A public corpus whose recipe gives no https address of a file: users have to find the file by themselves.",
    example="a file without urls, or with http:// alone",
)
def unreachable(corpus: Corpus, check: Check) -> Iterator[Finding]:
    """Find files of public corpora without a safe address."""
    for file in corpus.recipe.files if corpus.recipe and corpus.recipe.public else ():
        if not any(url.startswith("https://") for url in file.urls):
            yield check.finding("no https address", file=file.name)


@corpus_check(
    "MD07",
    "warning",
    "recipe and catalogue disagree",
    explanation="The catalogue of BigBIO's corpora and the recipe give other terms, languages or access; one of both is wrong.",
    example="Apache-2.0 in the catalogue, CC-BY-4.0 in the recipe",
)
def drift(corpus: Corpus, check: Check) -> Iterator[Finding]:
    """Find licence, languages and access that differ from the catalogue's, where that knows them."""
    from mumei.data.known import bigbio

    recipe = corpus.recipe
    listed = bigbio().get(recipe.name) if recipe else None
    if recipe is None or listed is None:
        return
    theirs, own = licence(listed.licence), licence(recipe.licence)
    if theirs.name != "unknown" and theirs.name != own.name:
        yield check.finding(f"licence {theirs.name} in the catalogue, {own.name} in the recipe")
    said = {code for part in recipe.parts() for code in recipe.subset(part).languages}
    if said != set(listed.languages):
        yield check.finding(f"languages {listed.languages} in the catalogue, {tuple(sorted(said))} in the recipe")
    if recipe.public and not listed.public:
        yield check.finding("the catalogue has it under an agreement, the recipe calls it public")
