"""TX: what texts themselves show: nothing at all, damage by wrong encodings, other languages, remains of mark-up."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import TYPE_CHECKING

from mumei.data.checks.answers import is_missing
from mumei.data.checks.core import Check, Finding, corpus_check, document_check
from mumei.data.documents import Document, Entailment, Record, TextPair, TextToText
from mumei.data.languages import guess
from mumei.data.overlap import normal, texts_of
from mumei.data.schemas import SCHEMAS

if TYPE_CHECKING:
    from mumei.data.corpus import Corpus

_ALL = tuple(SCHEMAS)
_DAMAGE = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\ufffd\ufeff]")
_ENDS = re.compile("[\r\x0b\x0c\x85\u2028\u2029]")
# UTF-8 read as Windows-1252, Latin-1 or Mac Roman: a lead byte's letter, then one to three characters of the bytes that follow.
_FOLLOW = "\u0080-\u00bf\u0152\u0153\u0160\u0161\u0178\u017d\u017e\u0192\u02c6\u02dc\u2013-\u203a\u20ac\u2122"
_MAC = "[\u221a\u00ac\u201a][\u0080-\u2fff]{1,2}|[\u0152\u0153][\u00a1-\u00bf\u2200-\u22ff]"
_LEADS = re.compile(f"[\u00c2-\u00d6\u00d8-\u00f4][{_FOLLOW}]{{1,3}}|{_MAC}")
_MARKUP = re.compile(
    r"&(?:[a-z]{2,8}|#\d{2,6}|#x[0-9a-f]{2,5});|</?(?:sub|sup|i|b|em|p|br|div|span|italic|bold)\s*/?>", re.I
)
_LEFT, _RIGHT = 15, 25  # characters shown around what was found


def _shown(text: str, place: int) -> str:
    return repr(text[max(place - _LEFT, 0) : place + _RIGHT])


@document_check(
    "TX01",
    "error",
    "record without text",
    explanation="A document, or one side of a pair, holds no text at all.",
    example="a document whose only passage is ''",
    kinds=("kb", "te", "t2t", "pairs", "text"),
)
def empty(record: Record) -> Iterator[tuple[str, str]]:
    """Find documents without text, and pairs with an empty side."""
    texts = texts_of(record)
    if isinstance(record, Document):
        texts = [" ".join(texts)]
    for number, text in enumerate(texts, 1):
        if is_missing(text):
            yield "text", "there is no text" if len(texts) == 1 else f"its text {number} is empty"


@document_check(
    "TX02",
    "warning",
    "replacement or control character",
    explanation="U+FFFD stands for a byte that could not be read; control characters and a byte order mark within a text are "
    "damage too.",
    example="'na\ufffdve T cells'",
    kinds=_ALL,
)
def damaged(record: Record) -> Iterator[tuple[str, str]]:
    """Find texts with such characters, each once."""
    for text in texts_of(record):
        if found := _DAMAGE.search(text):
            yield "text", f"U+{ord(found[0]):04X} in {_shown(text, found.start())}"


@corpus_check(
    "TX03",
    "warning",
    "text in another language than said",
    explanation="The commonest words of a text are those of a language that the recipe does not name.",
    example="a Spanish case report in a corpus that is said to be English",
    kinds=("kb", "qa", "te", "pairs", "text"),
)
def other_language(corpus: Corpus, check: Check) -> Iterator[Finding]:
    """Find records that are clearly in another language; short ones are not judged."""
    said = corpus.recipe.subset(corpus.subset).languages if corpus.recipe else ()
    for record in corpus.records() if said else ():
        found = guess(" ".join(texts_of(record)))
        if found and found not in said:
            yield check.finding(
                f"it looks like {found}, and the recipe says {', '.join(said)}",
                split=record.split,
                document=record.id,
                file=record.file,
                line=record.line,
            )


@document_check(
    "TX04",
    "warning",
    "UTF-8 that was read as another encoding",
    explanation="Two or three odd characters stand where one was meant: UTF-8 decoded as Windows-1252, Latin-1 or Mac Roman.",
    example="'BehÃ§et' for 'Behçet', 'â€“' for a dash",
    kinds=_ALL,
)
def mojibake(record: Record) -> Iterator[tuple[str, str]]:
    """Find texts with such a sequence, each once."""
    for text in texts_of(record):
        for found in _LEADS.finditer(text) if not text.isascii() else ():
            if meant := repaired(found[0]):
                yield "text", f"{_shown(text, found.start())}: {found[0]!r} was {meant!r}"
                break


def repaired(text: str) -> str:
    """Return what a piece of text was before UTF-8 was read as an 8-bit encoding, or "" where it was not.

    Examples
    --------
    >>> repaired("Ã§"), repaired("Âµ"), repaired("‚Ä¶"), repaired("é ")
    ('ç', 'µ', '…', '')
    """
    for encoding in ("cp1252", "latin-1", "mac_roman"):
        for end in range(len(text), 1, -1):
            try:
                meant = text[:end].encode(encoding).decode("utf-8")
            except UnicodeError:
                continue
            if len(meant) == 1 and meant.isprintable():
                return meant
    return ""


@document_check(
    "TX05",
    "warning",
    "two sides that are the same",
    explanation="Both texts of a pair are equal but for case, blanks and punctuation: nothing is to be learnt from it.",
    example="premise and hypothesis both 'The trial was stopped.'",
    kinds=("te", "t2t", "pairs"),
)
def equal_sides(record: Record) -> Iterator[tuple[str, str]]:
    """Find pairs of equal texts."""
    assert isinstance(record, Entailment | TextPair | TextToText)
    one, other = map(normal, texts_of(record))
    if one == other != "":
        yield "text", f"both are {texts_of(record)[0][:60]!r}"


@document_check(
    "TX06",
    "info",
    "line end that many readers split at",
    explanation="A carriage return, U+2028, U+0085 or form feed within a text: readers that split lines there shift all offsets "
    "that follow.",
    example="'Results\\r\\nWe found'",
    kinds=_ALL,
)
def odd_line_ends(record: Record) -> Iterator[tuple[str, str]]:
    """Find texts with such characters, each once."""
    for text in texts_of(record):
        if found := _ENDS.search(text):
            yield "text", f"U+{ord(found[0]):04X} in {_shown(text, found.start())}"


@document_check(
    "TX07",
    "info",
    "remains of mark-up",
    explanation="Entities or tags of HTML and XML in what should be plain text.",
    example="'IFN-&gamma;' or 'CD4<sup>+</sup>'",
    kinds=_ALL,
)
def markup(record: Record) -> Iterator[tuple[str, str]]:
    """Find texts with an entity or a common tag, each once."""
    for text in texts_of(record):
        if found := _MARKUP.search(text):
            yield "text", f"{found[0]!r} in {_shown(text, found.start())}"


@document_check(
    "TX08",
    "info",
    "text in decomposed form",
    explanation="A letter and its accent are two characters (Unicode form NFC is not met): offsets count both, and the same word "
    "in another corpus is another string.",
    example="'e' + U+0301 for 'é'",
    kinds=_ALL,
)
def decomposed(record: Record) -> Iterator[tuple[str, str]]:
    """Find texts with combining characters that NFC would join, each once."""
    for text in texts_of(record):
        if not text.isascii() and not unicodedata.is_normalized("NFC", text):
            place = next((i for i, c in enumerate(unicodedata.normalize("NFC", text)) if text[i : i + 1] != c), 0)
            yield "text", f"in {_shown(text, place)}"
