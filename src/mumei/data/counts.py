"""What a corpus holds, counted, and compared with what its recipe says that the published corpus holds.

Keys, by kind: kb `documents`, `unique_documents` (different `document_id`), `passages`, `sentences`, `entities`,
`normalized` (links), `events`, `arguments`, `coreferences`, `relations`, `concept_relations`, `attributes`, and by type
`entities.<type>`, `events.<type>`, `relations.<type>`, `concept_relations.<type>`, `attributes.<type>`; text `documents`,
`labels` and `labels.<label>`; te and pairs `documents` and `labels.<label>`; qa `documents`, `answers`, `choices` and
`types.<type>`; t2t `documents`. A key by type that does not occur counts 0. `files` are those that gave records.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

    from mumei.data.corpus import Corpus

ALL = "all"
_LISTS = {
    "kb": (
        "passages",
        "sentences",
        "entities",
        "events",
        "coreferences",
        "relations",
        "concept_relations",
        "attributes",
    ),
    "qa": ("choices", "answer"),
    "text": ("labels",),
}
_TYPED = ("entities", "events", "relations", "concept_relations", "attributes")


def count(table: pa.Table, kind: str) -> Counter[str]:
    """Return the counts of a superset table of one kind."""
    found = Counter({"documents": table.num_rows})
    for batch in table.to_batches():
        for name in _LISTS.get(kind, ()):
            values = batch.column(name).flatten()
            found["answers" if name == "answer" else name] += len(values)
            if name in _TYPED:
                _by_value(found, name, values.field("type"))
            elif name == "labels":
                _by_value(found, name, values)
        if kind == "kb":
            found["normalized"] += _inner(batch.column("entities").flatten(), "normalized")
            found["arguments"] += _inner(batch.column("events").flatten(), "arguments")
        elif kind in ("te", "pairs"):
            _by_value(found, "labels", batch.column("label"))
        elif kind == "qa":
            _by_value(found, "types", batch.column("type"))
    found["files"] = len(table.column("file").unique())
    if kind == "kb":
        found["unique_documents"] = len(table.column("document_id").unique())
    return found


def _inner(structs: Any, name: str) -> int:
    return len(structs.field(name).flatten()) if len(structs) else 0


def _by_value(found: Counter[str], name: str, values: Any) -> None:
    for pair in values.value_counts():
        found[f"{name}.{pair['values'].as_py()}"] += pair["counts"].as_py()


def counts(corpus: Corpus) -> dict[str, Counter[str]]:
    """Return the counts of each split, and of "all": their sum, but `unique_documents`, counted over all."""
    found = {split: count(corpus.source(split), corpus.kind) for split in corpus.splits}
    whole = Counter()
    for one in found.values():
        whole.update(one)
    if corpus.kind == "kb":
        whole["unique_documents"] = len(
            {i for split in corpus.splits for i in corpus.source(split).column("document_id").to_pylist()}
        )
    return {**found, ALL: whole}


@dataclass(frozen=True)
class Difference:
    """A count that is not the published one."""

    split: str
    key: str
    expected: int
    found: int


def differences(corpus: Corpus, expected: dict[str, dict[str, int]] | None = None) -> list[Difference]:
    """Return where a corpus's counts differ from `expected`, by default its recipe's.

    Splits that are not loaded are left out, and "all" too where any split of the recipe is.
    """
    if expected is None:
        expected = corpus.recipe.subset(corpus.subset).counts if corpus.recipe else {}
    own = corpus.recipe.subset(corpus.subset).splits if corpus.recipe else {}
    found = counts(corpus)
    return [
        Difference(split, key, number, found[split][key])
        for split, keys in expected.items()
        if split in found and not (split == ALL and set(own) - set(corpus.splits))
        for key, number in keys.items()
        if found[split][key] != number
    ]
