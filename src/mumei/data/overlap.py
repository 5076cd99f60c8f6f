"""Documents that corpora share, by PubMed id and by the hash of their text: leakage between splits and between corpora.

A text's hash is of its letters and digits alone (Unicode NFKC, case folded), so that the same abstract in PubTator, BRAT and
BioC is the same whatever its blanks, line ends and dashes. Texts of fewer than `SHORTEST` letters and digits are alike by chance
("Results.") and have none. A document of several passages is also known by each of its longer ones: one corpus has title and
abstract, another the abstract alone.

A PubMed id is taken from the record's metadata (`pmid`), from a document id such as "PMID-10923035", or, for corpora whose
recipe says that they come from PubMed, from a document id that is a number.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from mumei.data.documents import Document, Entailment, LabelledText, Question, Record, TextPair, TextToText

if TYPE_CHECKING:
    from mumei.data.corpus import Corpus

SHORTEST = 40  # letters and digits of a text that has a hash
PASSAGE = 200  # and of a passage that stands for its document
_NOT_WORD = re.compile(r"[\W_]+")
_NAMED = re.compile(r"(?:pmid|pubmed|pm)[-_: ]*0*(\d{1,8})", re.IGNORECASE)
_NUMBER = re.compile(r"0*(\d{1,8})")
_PRINTS: WeakKeyDictionary[Corpus, dict[str, list[Print]]] = (
    WeakKeyDictionary()
)  # many corpora are compared, each with each


def normal(text: str) -> str:
    """Return a text's letters and digits alone, case folded.

    Examples
    --------
    >>> normal("TNF-α  (Human) ")
    'tnfαhuman'
    """
    return _NOT_WORD.sub("", unicodedata.normalize("NFKC", text).casefold())


def text_hash(text: str, shortest: int = SHORTEST) -> bytes:
    """Return a text's hash, 16 bytes, or b"" for one too short."""
    plain = normal(text)
    return blake2b(plain.encode("utf-8", "surrogatepass"), digest_size=16).digest() if len(plain) >= shortest else b""


def texts_of(record: Record) -> list[str]:
    """Return the texts that a record is about, in order; not its labels and answers."""
    if isinstance(record, Document):
        return [part for passage in record.passages for part in passage.text]
    if isinstance(record, Question):
        return [record.question, record.context, *record.choices]
    if isinstance(record, Entailment):
        return [record.premise, record.hypothesis]
    if isinstance(record, TextToText | TextPair):
        return [record.text_1, record.text_2]
    assert isinstance(record, LabelledText)
    return [record.text]


def content_hash(record: Record) -> bytes:
    """Return the hash of all that a record is about, or b"" where that is too short."""
    return text_hash(" ".join(texts_of(record)))


def pmid(record: Record, pubmed: bool = False) -> str:
    """Return a record's PubMed id, or ""; `pubmed` says that a document id that is a number is one.

    Examples
    --------
    >>> pmid(Document("1", "PMID-0010923035")), pmid(Document("1", "77")), pmid(Document("1", "77"), pubmed=True)
    ('10923035', '', '77')
    """
    said = record.metadata.get("pmid", "").strip()
    own = getattr(record, "document_id", "").strip()
    found = _NUMBER.fullmatch(said) or _NAMED.fullmatch(said) or _NAMED.fullmatch(own)
    found = found or (_NUMBER.fullmatch(own) if pubmed else None)
    return found[1] if found and int(found[1]) else ""


@dataclass(frozen=True, slots=True)
class Print:
    """What a record is known by: `pmid` ("" where unknown) and `hashes` of its text and long passages."""

    corpus: str
    split: str
    id: str
    pmid: str
    hashes: tuple[bytes, ...]

    @property
    def keys(self) -> tuple[str | bytes, ...]:
        """All that it may be found by."""
        return (self.pmid, *self.hashes) if self.pmid else self.hashes


def fingerprint(record: Record, corpus: str = "", split: str = "", pubmed: bool = False) -> Print:
    """Return what a record is known by. Only documents and texts are known by their PubMed id: questions share theirs."""
    hashes = [content_hash(record)]
    if isinstance(record, Document) and len(record.passages) > 1:
        hashes += [text_hash(text, PASSAGE) for text in texts_of(record)]
    whole = isinstance(record, Document)
    known = tuple(h for h in dict.fromkeys(hashes) if h)
    return Print(corpus, split or record.split, record.id, pmid(record, pubmed) if whole else "", known)


def fingerprints(corpus: Corpus, splits: Sequence[str] | None = None) -> Iterator[Print]:
    """Yield what each record of a corpus is known by, split by split; worked out once for as long as the corpus is held."""
    pubmed = bool(corpus.recipe and corpus.recipe.pubmed)
    had = _PRINTS.setdefault(corpus, {})
    for split in corpus.splits if splits is None else splits:
        if split not in had:
            had[split] = [fingerprint(record, corpus.name, split, pubmed) for record in corpus.records(split)]
        yield from had[split]


@dataclass(frozen=True)
class Shared:
    """A record that another place has too; `by` is "pmid", "text" or "pmid and text"."""

    one: Print
    other: Print
    by: str


def shared(ones: Iterable[Print], others: Iterable[Print]) -> Iterator[Shared]:
    """Yield the records of `ones` that are among `others`, each with the first of those that it shares most with."""
    by_key: dict[str | bytes, Print] = {}
    for other in others:
        for key in other.keys:
            by_key.setdefault(key, other)
    for one in ones:
        found = next((by_key[key] for key in one.keys if key in by_key), None)
        if found is not None:
            same = ["pmid"] if one.pmid and one.pmid == found.pmid else []
            same += ["text"] if set(one.hashes) & set(found.hashes) else []
            yield Shared(one, found, " and ".join(same))


@dataclass(frozen=True)
class Matrix:
    """How many records of each place (corpus, split) are in each other one; the diagonal has the places' sizes.

    `cells[i][j]` counts records of place i that place j has: it is not symmetric where one place repeats a record.
    """

    places: list[tuple[str, str]]
    cells: list[list[int]]

    def rows(self) -> Iterator[tuple[tuple[str, str], tuple[str, str], int]]:
        """Yield (place, other place, shared records) for each two places that share any, the first before the second."""
        for i, one in enumerate(self.places):
            for j in range(i + 1, len(self.places)):
                if self.cells[i][j]:
                    yield one, self.places[j], self.cells[i][j]


def matrix(corpora: Sequence[Corpus]) -> Matrix:
    """Return the leakage matrix of the splits of corpora."""
    prints = [p for corpus in corpora for p in fingerprints(corpus)]
    places = [(corpus.name, split) for corpus in corpora for split in corpus.splits]
    number = {place: i for i, place in enumerate(places)}
    holders: dict[str | bytes, set[int]] = {}
    for p in prints:
        for key in p.keys:
            holders.setdefault(key, set()).add(number[p.corpus, p.split])
    found: Counter[tuple[int, int]] = Counter()
    for p in prints:
        own = number[p.corpus, p.split]
        for other in {own}.union(*(holders[key] for key in p.keys)):
            found[own, other] += 1
    return Matrix(places, [[found[i, j] for j in range(len(places))] for i in range(len(places))])
