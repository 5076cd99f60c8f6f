"""LB: types, labels and ids of concepts (BigBIO's check 10, and what it lacks)."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from mumei.data.checks.answers import is_missing
from mumei.data.checks.core import Check, Finding, corpus_check, document_check
from mumei.data.documents import Document, Entailment, LabelledText, Question, Record, TextPair
from mumei.data.overlap import content_hash
from mumei.data.schemas import NULL

if TYPE_CHECKING:
    from mumei.data.corpus import Corpus

JOINERS = "+,|;"
_LABELLED = ("kb", "te", "pairs", "text")
_TYPED = ("passages", "entities", "events", "relations", "concept_relations", "attributes")
RARE, ENOUGH = 0.005, 200  # share of a type's relations below which a signature is rare, of at least so many
FEW = 30  # records that a corpus needs for a label of one of them to be odd

# Forms of ids, by the database's name in lower case without signs.
_MESH = r"(?:MESH:)?[CD]\d{6,9}"
FORMS = {
    "mesh": _MESH,
    "omim": r"(?:OMIM:)?\d{6}",
    "ncbigene": r"\d+",
    "entrezgene": r"\d+",
    "ncbitaxon": r"(?:NCBITaxon:)?\d+",
    "ncbitaxonomy": r"\d+",
    "chebi": r"(?:CHEBI:)?\d+",
    "go": r"(?:GO:)?\d{7}",
    "hp": r"(?:HP:)?\d{7}",
    "hpo": r"(?:HP:)?\d{7}",
    "cl": r"(?:CL:)?\d{7}",
    "doid": r"(?:DOID:)?\d+",
    "umls": r"(?:UMLS:)?C\d{7}",
    "dbsnp": r"rs\d+",
    "cellosaurus": r"CVCL_[A-Z0-9]{4}",
    "uniprot": r"[OPQ]\d[A-Z0-9]{3}\d|[A-NR-Z]\d(?:[A-Z][A-Z0-9]{2}\d){1,2}",
    "meddra": r"\d{8}",
}
_FORMS = {name: re.compile(form) for name, form in FORMS.items()}


def labels(corpus: Corpus, split: str) -> Iterator[tuple[str, Counter[str]]]:
    """Yield (what, label -> number) of each kind of label in a split: "entities", "relations", "label", ..."""
    table = corpus.source(split)
    if corpus.kind == "kb":
        for part in _TYPED:
            yield part, _values(_inner(table, part, "type"))
        yield "roles", _values(_inner(table, "events", "arguments", "role"))
    elif corpus.kind == "text":
        yield "labels", _values(_inner(table, "labels"))
    elif corpus.kind in ("te", "pairs") and not _scored(corpus):
        yield "label", _values([table.column("label")])


def _scored(corpus: Corpus) -> bool:
    """Whether the labels are numbers: similarity is no class."""
    return corpus.kind == "pairs" and all(
        is_missing(value) or _number(value)
        for split in corpus.splits
        for value in corpus.source(split)["label"].to_pylist()
    )


def _number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _inner(table: Any, name: str, *fields: str) -> list[Any]:
    """Return the arrays of a list column's items, or of a field of theirs."""
    found = []
    for batch in table.to_batches():
        array = batch.column(name).flatten()
        for field in fields:
            array = array.field(field) if len(array) else array
            array = array.flatten() if str(array.type).startswith("list") else array
        if len(array) and not str(array.type).startswith("struct"):
            found.append(array)
    return found


def _values(arrays: Iterable[Any]) -> Counter[str]:
    found: Counter[str] = Counter()
    for array in arrays:
        for pair in array.value_counts():
            found[pair["values"].as_py()] += pair["counts"].as_py()
    return found


def totals(corpus: Corpus) -> dict[str, Counter[str]]:
    """Return all labels of a corpus by what they are of."""
    found: dict[str, Counter[str]] = {}
    for split in corpus.splits:
        for what, numbers in labels(corpus, split):
            found.setdefault(what, Counter()).update(numbers)
    return found


def links(corpus: Corpus) -> Counter[tuple[str, str]]:
    """Return how often each concept, (db_name, db_id), is linked to."""
    found: Counter[tuple[str, str]] = Counter()
    for split in corpus.splits:
        for batch in corpus.source(split).to_batches():
            entities = batch.column("entities").flatten()
            linked = entities.field("normalized").flatten() if len(entities) else None
            if linked is not None and len(linked):
                found.update(zip(linked.field(0).to_pylist(), linked.field(1).to_pylist(), strict=True))
    return found


@corpus_check(
    "LB01",
    "warning",
    "type that joins two",
    explanation="A type with one of + , | ; in it is mostly two types in one field.",
    example="entity type 'Gene|Protein'",
    kinds=_LABELLED,
)
def joined_types(corpus: Corpus, check: Check) -> Iterator[Finding]:
    """Find types and labels with a joiner, each once."""
    for what, found in totals(corpus).items():
        for name in sorted(found):
            if any(joiner in name for joiner in JOINERS):
                yield check.finding(f"{name[:80]!r}, {found[name]:,} {what}", item=what)


@corpus_check(
    "LB02",
    "warning",
    "link that joins two",
    explanation="A db_name or db_id with one of + , | ; in it is mostly several concepts, and equal to none of them.",
    example="db_id 'D001943|D010051'",
    kinds=("kb",),
)
def joined_links(corpus: Corpus, check: Check) -> Iterator[Finding]:
    """Find joiners in names of databases and ids of concepts, once a joiner and field."""
    found = links(corpus)
    for place, field in enumerate(("db_name", "db_id")):
        for joiner in JOINERS:
            holding = {link: n for link, n in found.items() if joiner in link[place]}
            if holding:
                shown = min(holding)[place]
                yield check.finding(
                    f"{joiner!r} in {sum(holding.values()):,} links, such as {shown[:60]!r}", item=field
                )


@corpus_check(
    "LB03",
    "warning",
    "label in several spellings",
    explanation="Labels that differ only in case, blanks or signs are one class; as they stand they are several.",
    example="'Positive_Correlation' and 'positive correlation'",
    kinds=_LABELLED,
)
def spellings(corpus: Corpus, check: Check) -> Iterator[Finding]:
    """Find labels of one kind that are equal but for that."""
    for what, found in totals(corpus).items():
        alike: dict[str, list[str]] = {}
        for name in sorted(found):
            alike.setdefault(re.sub(r"[\W_]+", "", name.casefold()) or name, []).append(name)
        for names in alike.values():
            if len(names) > 1:
                yield check.finding(", ".join(f"{n!r} ({found[n]:,})" for n in names), item=what)


@corpus_check(
    "LB04",
    "info",
    "label that occurs once",
    explanation="A class with a single example can be neither learnt nor tested; often it is a slip of the pen.",
    example="one entity of type 'Gnee' among 4,000 'Gene'",
    kinds=_LABELLED,
)
def single_labels(corpus: Corpus, check: Check) -> Iterator[Finding]:
    """Find labels of one annotation or record, where there are many others."""
    for what, found in totals(corpus).items():
        if what not in ("passages", "attributes") and found.total() >= FEW:
            for name in sorted(n for n, number in found.items() if number == 1):
                yield check.finding(f"{name[:80]!r} once in {found.total():,}", item=what)


@document_check(
    "LB05",
    "error",
    "empty type or label",
    explanation="An annotation without a type, or a record without its label, belongs to no class.",
    example="an entity with the type ''",
    kinds=_LABELLED,
)
def empty_labels(record: Record) -> Iterator[tuple[str, str]]:
    """Find blank types, roles and labels; a missing label that says so (a test part kept back) is no fault."""
    if isinstance(record, Document):
        for part in ("passages", "entities", "events", "relations", "concept_relations"):
            for annotation in getattr(record, part):
                if not annotation.type.strip():
                    yield annotation.id, f"one of its {part} has no type"
        for event in record.events:
            if any(not argument.role.strip() for argument in event.arguments):
                yield event.id, "an argument has no role"
    elif isinstance(record, LabelledText):
        if any(not label.strip() for label in record.labels):
            yield "labels", "a label is empty"
    elif isinstance(record, Entailment | TextPair) and not record.label.strip():
        yield "label", "its label is empty"


@corpus_check(
    "LB06",
    "error",
    "similarity that is no number",
    explanation="Labels of semantic similarity (STS) are numbers, so that they can be correlated.",
    example="label 'very similar' in a corpus whose task is STS",
    kinds=("pairs",),
)
def no_number(corpus: Corpus, check: Check) -> Iterator[Finding]:
    """Find labels that are no finite number where the task is similarity alone."""
    tasks = corpus.recipe.tasks if corpus.recipe else ()
    if "STS" not in tasks or "TXT2CLASS" in tasks:
        return
    for record in corpus.records():
        assert isinstance(record, TextPair)
        if record.label != NULL and record.label.strip() and not _number(record.label):
            where = {"split": record.split, "file": record.file, "line": record.line}
            yield check.finding(f"{record.label[:60]!r} is no number", document=record.id, item="label", **where)


@corpus_check(
    "LB07",
    "info",
    "relation between types that it seldom joins",
    explanation="A type of relation joins certain types of entities; a combination in less than one of two hundred of its "
    "relations is often a slip.",
    example="'treats' from Disease to Drug twice, from Drug to Disease 4,000 times",
    kinds=("kb",),
)
def signatures(corpus: Corpus, check: Check) -> Iterator[Finding]:
    """Find rare combinations of types, of relations and of events' arguments."""
    found: dict[str, Counter[str]] = {}
    for document in corpus.records():
        assert isinstance(document, Document)
        for name, joined in _joined(document):
            found.setdefault(name, Counter())[joined] += 1
    for name in sorted(found):
        whole = found[name].total()
        for joined, number in sorted(found[name].items()) if whole >= ENOUGH else ():
            if number < RARE * whole:
                yield check.finding(f"{joined} in {number:,} of {whole:,}", item=name)


def _joined(document: Document) -> Iterator[tuple[str, str]]:
    types = {e.id: e.type for e in document.entities} | {e.id: e.type for e in document.events}
    for relation in document.relations:
        one, other = types.get(relation.arg1_id), types.get(relation.arg2_id)
        if one and other:
            yield relation.type, f"from {one} to {other}"
    for event in document.events:
        for argument in event.arguments:
            if argument.ref_id in types:
                yield f"{event.type}.{argument.role}", f"of {types[argument.ref_id]}"


@corpus_check(
    "LB08",
    "warning",
    "id that its database does not have the form of",
    explanation="Ids of well-known databases have a form (MeSH: C or D and digits; GO: seven digits); another one leads nowhere.",
    example="MESH 'D0019' or GO '45'",
    kinds=("kb",),
)
def id_forms(corpus: Corpus, check: Check) -> Iterator[Finding]:
    """Find ids of known databases in another form, each once; those with joiners are LB02's."""
    for (name, given), number in sorted(links(corpus).items()):
        form = _FORMS.get(re.sub(r"[\W_]", "", name.lower()))
        if form and given != NULL and not any(j in given for j in JOINERS) and not form.fullmatch(given):
            yield check.finding(f"{given[:60]!r} is no id of {name} ({number:,} links)", item=name)


@corpus_check(
    "LB09",
    "warning",
    "label that the training part lacks",
    explanation="A class of the validation or test part without any example in the training part cannot be learnt.",
    example="the label 'method' in test alone",
    kinds=_LABELLED,
)
def unlearnable(corpus: Corpus, check: Check) -> Iterator[Finding]:
    """Find labels of other splits that train does not have, though it has that kind of label."""
    if "train" not in corpus.splits:
        return
    train = dict(labels(corpus, "train"))
    for split in corpus.splits:
        for what, found in labels(corpus, split) if split != "train" else ():
            for name in sorted(set(found) - set(train[what])) if train.get(what) else ():
                yield check.finding(f"{name[:80]!r} ({found[name]:,} {what})", split=split, item=what)


@corpus_check(
    "LB10",
    "warning",
    "same content with another label",
    explanation="Two records have the same content and other labels or answers: at least one is wrong.",
    example="the same pair of sentences as entailment and as contradiction",
    kinds=("qa", "te", "pairs", "text"),
)
def contradictions(corpus: Corpus, check: Check) -> Iterator[Finding]:
    """Find records whose content was met with other labels; short ones are left out."""
    seen: dict[bytes, tuple[str, tuple[str, ...]]] = {}
    for record in corpus.records():
        content, said = content_hash(record), _said(record)
        if not content or not said:
            continue
        first, before = seen.setdefault(content, (record.id, said))
        if before != said:
            where = {"split": record.split, "file": record.file, "line": record.line}
            yield check.finding(f"{said} where {first} has {before}", document=record.id, **where)


def _said(record: Record) -> tuple[str, ...]:
    if isinstance(record, Question):
        return tuple(sorted(record.answer))
    if isinstance(record, LabelledText):
        return tuple(sorted(record.labels))
    return (record.label,) if isinstance(record, Entailment | TextPair) and not is_missing(record.label) else ()
