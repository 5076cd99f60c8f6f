"""Statistics of a corpus, from the lossless superset: counts, lengths, types, shapes of mentions, the most frequent concepts.

Lengths are of a record's whole text: in characters, and in words (runs of what is no white space). A mention is nested where
another mention of its document covers it (its first start and last end) and is not equal to it; discontinuous where it has
more than one fragment. Quantiles are those of numpy, interpolated between two values.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mumei.data.counts import ALL, counts
from mumei.data.documents import Document, Entailment, LabelledText, Question, Record

if TYPE_CHECKING:
    from mumei.data.corpus import Corpus

MOST = 15  # of the most frequent mentions and concepts
GROUPS = ("entities", "events", "relations", "concept_relations", "attributes", "labels", "types")
QUANTILES = {"min": 0.0, "p25": 0.25, "median": 0.5, "p75": 0.75, "p95": 0.95, "max": 1.0}


@dataclass
class Statistics:
    """What a corpus holds.

    Parameters
    ----------
    corpus, kind, title, licence : str
    counts : dict of str to dict of str to int
        As in `mumei.data.counts`: split, then key.
    words, characters : dict of str to list of int
        Length of each record's text, by split.
    shapes : dict of str to int
        Of mentions: "mentions", "nested", "discontinuous", "normalized" (with a link at least), "different" texts.
    mentions, concepts : Counter
        Texts in lower case by how often they occur; links `database:id`.
    """

    corpus: str
    kind: str
    title: str
    licence: str
    counts: dict[str, dict[str, int]]
    words: dict[str, list[int]] = field(default_factory=dict)
    characters: dict[str, list[int]] = field(default_factory=dict)
    shapes: dict[str, int] = field(default_factory=dict)
    mentions: Counter[str] = field(default_factory=Counter)
    concepts: Counter[str] = field(default_factory=Counter)

    def types(self) -> dict[str, dict[str, int]]:
        """Return {group: {type: number}} over all splits, the most frequent first; groups without any are left out."""
        found = {}
        for group in GROUPS:
            own = {k.partition(".")[2]: n for k, n in self.counts[ALL].items() if k.startswith(group + ".") and n}
            if own:
                found[group] = dict(sorted(own.items(), key=lambda pair: (-pair[1], pair[0])))
        return found

    def lengths(self, what: str = "words") -> dict[str, dict[str, float]]:
        """Return quantiles and mean of the lengths by split, and of "all"."""
        import numpy as np

        given = self.words if what == "words" else self.characters
        every = {**given, ALL: [n for own in given.values() for n in own]}
        return {
            split: {
                **{name: float(np.quantile(own, q)) for name, q in QUANTILES.items()},
                "mean": float(np.mean(own)),
                "sum": float(sum(own)),
            }
            for split, own in every.items()
            if own
        }

    def to_json(self) -> dict[str, Any]:
        """Return JSON-able content; the same corpus gives the same."""
        return {
            "corpus": self.corpus,
            "kind": self.kind,
            "licence": self.licence,
            "counts": self.counts,
            "types": self.types(),
            "words": self.lengths("words"),
            "characters": self.lengths("characters"),
            "shapes": self.shapes,
            "mentions": dict(top(self.mentions)),
            "concepts": dict(top(self.concepts)),
        }

    def lines(self) -> Iterator[str]:
        """Yield lines for a terminal."""
        yield f"{self.corpus}: schema {self.kind}, licence {self.licence}"
        lengths = self.lengths()
        for split, own in self.counts.items():
            said = ", ".join(f"{n:,} {key.replace('_', ' ')}" for key, n in own.items() if n and "." not in key)
            length = f"; words: median {lengths[split]['median']:,.0f}, most {lengths[split]['max']:,.0f}"
            yield f"  {split}: {said}{length if split in lengths else ''}"
        for group, own in self.types().items():
            yield f"  {group.replace('_', ' ')}: {', '.join(f'{name} {n:,}' for name, n in list(own.items())[:MOST])}"
        if self.shapes:
            yield f"  mentions: {', '.join(f'{name} {n:,}' for name, n in self.shapes.items() if name != 'mentions')}"


def top(found: Counter[str], most: int = MOST) -> list[tuple[str, int]]:
    """Return the most frequent, equal ones by name."""
    return sorted(found.items(), key=lambda pair: (-pair[1], pair[0]))[:most]


def text_of(record: Record) -> str:
    """Return all the running text of a record, its parts apart by a newline (a document's by one blank)."""
    if isinstance(record, Document):
        return record.text()
    if isinstance(record, Question):
        return "\n".join(filter(None, (record.question, record.context)))
    if isinstance(record, Entailment):
        return f"{record.premise}\n{record.hypothesis}"
    return record.text if isinstance(record, LabelledText) else f"{record.text_1}\n{record.text_2}"


def statistics(corpus: Corpus) -> Statistics:
    """Return the statistics of a corpus, whatever the schema of its tables."""
    recipe = corpus.recipe
    numbers = {split: dict(sorted(own.items())) for split, own in counts(corpus).items()}
    title, terms = (recipe.title, recipe.licence) if recipe else (corpus.name, "unknown")
    found = Statistics(corpus.name, corpus.kind, title, terms, numbers)
    shapes: Counter[str] = Counter(dict.fromkeys(("mentions", "nested", "discontinuous", "normalized"), 0))
    for split in corpus.splits:
        words, characters = found.words.setdefault(split, []), found.characters.setdefault(split, [])
        for record in corpus.records(split):
            text = text_of(record)
            words.append(len(text.split()))
            characters.append(len(text))
            if isinstance(record, Document):
                _mentions(record, found, shapes)
    if corpus.kind == "kb":
        found.shapes = {**shapes, "different": len(found.mentions)}
    return found


def _mentions(document: Document, found: Statistics, shapes: Counter[str]) -> None:
    spans = []
    for entity in document.entities:
        shapes["mentions"] += 1
        shapes["discontinuous"] += len(entity.offsets) > 1
        shapes["normalized"] += bool(entity.normalized)
        found.mentions[" ".join(entity.text).lower()] += 1
        found.concepts.update({f"{n.db_name}:{n.db_id}" for n in entity.normalized})
        if entity.offsets:
            spans.append((min(start for start, _ in entity.offsets), max(end for _, end in entity.offsets)))
    shapes["nested"] += nested(spans)


def nested(spans: list[tuple[int, int]]) -> int:
    """Return how many spans lie within another one that is not equal to them.

    Examples
    --------
    >>> nested([(0, 10), (0, 4), (5, 10), (8, 12), (8, 12)])
    2
    """
    count, furthest, before = 0, -1, -1
    # By start, the longest first: of what begins no later, only the furthest end matters. Equal spans are looked at together.
    ordered = sorted(spans, key=lambda span: (span[0], -span[1]))
    for place, (start, end) in enumerate(ordered):
        if place and ordered[place - 1] == (start, end):
            count += end <= before
            continue
        count += end <= furthest
        before = furthest
        furthest = max(furthest, end)
    return count
