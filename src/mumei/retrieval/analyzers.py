"""How a text becomes tokens for lexical search: mumei's own way, and the plain way that published baselines use.

`words` (the default) keeps biomedical names whole and in parts, cuts nothing but a plural's s, and takes character bigrams in
scripts without spaces. `plain` takes words of two letters or more, leaves out 33 English stop words (those of Lucene) and
stems by Snowball: it reproduces baselines, and has no answer to scripts without spaces.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise
from typing import Any

from mumei.core.errors import unknown

# Han with its marks, hiragana, katakana, hangul, Thai: no spaces between words (or, in Korean, long agglutinated ones).
_UNSPACED = (
    "\u0e00-\u0e7f\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
    "\uff66-\uff9f"
)
_TOKEN = re.compile(rf"[{_UNSPACED}]+|[^\W{_UNSPACED}]+(?:[-'’.][^\W{_UNSPACED}]+)*")
_UNSPACED_RUN = re.compile(rf"[{_UNSPACED}]")
_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
_JOINT = re.compile(r"[-'’.]")
_PLAIN = re.compile(r"\b\w\w+\b")
STOP_WORDS = frozenset(
    "a an and are as at be been but by can did do does for from had has have how if in into is it its may more most not of on"
    " or our than that the their them then there these they this those to was we were what when where which while who whom"
    " whose why will with would you your".split()
)
PLAIN_STOP_WORDS = frozenset(
    "a an and are as at be but by for if in into is it no not of on or such that the their then there these they this to was"
    " will with".split()
)


def tokens(text: str, stem: bool = True) -> list[str]:
    """Split a text for lexical search: lower-case words without stop words; character bigrams in unspaced scripts.

    Compounds are kept whole and in parts ("beta-blocker" gives "beta-blocker", "beta", "blocker"). Where a word touches an
    unspaced script, the two characters at the border are a token too ("8世紀" gives "8", "8世", "世紀"). A Han character has a
    meaning of its own and is a token beside its bigrams. `stem=False` leaves plurals and compounds as they are written and
    single Han characters out, for showing.

    Examples
    --------
    >>> tokens("The BRCA1 gene"), tokens("肺炎治療")
    (['brca1', 'gene'], ['肺炎', '炎治', '治療', '肺', '炎', '治', '療'])
    """
    found: list[str] = []
    text = text.lower()
    matches = list(_TOKEN.finditer(text)) if _UNSPACED_RUN.search(text) else None
    if matches is None:  # most texts: no such script
        for word in _TOKEN.findall(text):
            _add_word(word, stem, found)
        return found
    for i, match in enumerate(matches):
        word = match.group()
        if i and stem and matches[i - 1].end() == match.start():
            found.append(text[match.start() - 1 : match.start() + 1])
        if _UNSPACED_RUN.match(word):
            found.extend(map("".join, pairwise(word)) if len(word) > 1 else word)
            if stem and len(word) > 1:
                found.extend(_HAN.findall(word))
        else:
            _add_word(word, stem, found)
    return found


def _add_word(word: str, stem: bool, found: list[str]) -> None:
    if word in STOP_WORDS:
        return
    if not stem:
        found.append(word)
        return
    found.append(_singular(word))
    if not word.isalnum() and len(parts := _JOINT.split(word)) > 1:
        found.extend(_singular(p) for p in parts if len(p) > 1 and p not in STOP_WORDS)


def _singular(word: str) -> str:
    """Cut a plural's s and nothing else: biomedical names do not survive more."""
    if len(word) > 4 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-3] + "y" if word.endswith("ies") else word[:-1]
    return word


def plain(text: str) -> list[str]:
    """Split a text the way of published baselines: words of two letters or more, 33 stop words out, stems by Snowball.

    Examples
    --------
    >>> plain("The patients of beta-blockers")
    ['patient', 'beta', 'blocker']
    """
    return [_stemmed(word) for word in _PLAIN.findall(text.lower()) if word not in PLAIN_STOP_WORDS]


ANALYZERS: dict[str, Callable[[str], list[str]]] = {"words": tokens, "plain": plain}


def analyzer(name: str) -> Callable[[str], list[str]]:
    """Return an analyzer by name; an unknown one raises `UsageError`."""
    if name not in ANALYZERS:
        raise unknown("analyzer", name, ANALYZERS)
    return ANALYZERS[name]


@lru_cache(65_536)
def _stemmed(word: str) -> str:
    return _stemmer().stemWord(word)


@lru_cache(1)
def _stemmer() -> Any:
    from snowballstemmer import stemmer

    return stemmer("english")
