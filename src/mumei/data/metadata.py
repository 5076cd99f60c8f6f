"""BigBIO's statistics of a corpus: `metadata(corpus)["train"]["entities_type_counter"]`.

Names and meanings are those of BigBIO's metadata classes; they are of the harmonised view, so that relations between concepts
count as often as they are expanded. Counters have the `MOST` commonest entries. Departure: of equally common entries those
first in the alphabet stay, not those met first; characters are code points.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

    from mumei.data.corpus import Corpus

MOST = 50


def metadata(corpus: Corpus, *, most: int = MOST) -> dict[str, dict[str, Any]]:
    """Return the statistics of each split.

    Parameters
    ----------
    corpus : Corpus
        Under any schema; its harmonised view is counted.
    most : int
        Entries of a counter.

    Returns
    -------
    dict of str to dict
        Split -> statistic -> int, or dict of str to int, commonest first.

    Examples
    --------
    >>> from mumei.data.corpus import corpus_of
    >>> from mumei.data.documents import Entailment
    >>> metadata(corpus_of({"test": [Entailment("1", "All ill.", "Some ill.", "yes")]}, "te"))["test"]
    {'samples_count': 1, 'premise_char_count': 8, 'hypothesis_char_count': 9, 'label_counter': {'yes': 1}}
    """
    view = corpus.to_bigbio()
    return {split: _of_table(view.table(split), corpus.kind, most) for split in corpus.splits}


def _of_table(table: pa.Table, kind: str, most: int) -> dict[str, Any]:
    own = {"kb": _kb, "qa": _qa, "te": _te, "t2t": _t2t, "pairs": _pairs, "text": _text}[kind]
    return {
        name: dict(sorted(value.items(), key=lambda item: (-item[1], item[0]))[:most])
        if isinstance(value, dict)
        else value
        for name, value in {"samples_count": table.num_rows, **own(table)}.items()
    }


def _lists(table: pa.Table, name: str) -> list[Any]:
    """Return the items of a list column, an array a batch."""
    return [items for batch in table.to_batches() if len(items := batch.column(name).flatten())]


def _inner(arrays: Iterable[Any], *names: str) -> list[Any]:
    """Return a field of structs, its own lists opened, for each array."""
    found = list(arrays)
    for name in names:
        found = [array.field(name) for array in found]
        found = [
            array.flatten() if hasattr(array, "flatten") and str(array.type).startswith("list") else array
            for array in found
        ]
    return [array for array in found if len(array)]


def _count(arrays: Iterable[Any]) -> Counter[str]:
    found: Counter[str] = Counter()
    for array in arrays:
        for pair in array.value_counts():
            found[pair["values"].as_py()] += pair["counts"].as_py()
    return found


def _size(arrays: Iterable[Any]) -> int:
    return sum(map(len, arrays))


def _characters(arrays: Iterable[Any]) -> int:
    from pyarrow.compute import call_function

    return sum(call_function("sum", [call_function("utf8_length", [array])]).as_py() or 0 for array in arrays)


def _columns(table: pa.Table, *names: str) -> list[list[Any]]:
    return [table.column(name).chunks for name in names]


def _kb(table: pa.Table) -> dict[str, Any]:
    passages, entities, events, coreferences, relations = (
        _lists(table, name) for name in ("passages", "entities", "events", "coreferences", "relations")
    )
    of_entities, of_relations = _inner(entities, "normalized"), _inner(relations, "normalized")
    arguments = _inner(events, "arguments")
    return {
        "passages_count": _size(passages),
        "passages_char_count": _characters(_inner(passages, "text")),
        "passages_type_counter": _count(_inner(passages, "type")),
        "entities_count": _size(entities),
        "entities_normalized_count": _size(of_entities),
        "entities_type_counter": _count(_inner(entities, "type")),
        "entities_db_name_counter": _count(_inner(of_entities, "db_name")),
        "entities_unique_db_ids_count": len(_count(_inner(of_entities, "db_id"))),
        "events_count": _size(events),
        "events_type_counter": _count(_inner(events, "type")),
        "events_arguments_count": _size(arguments),
        "events_arguments_role_counter": _count(_inner(arguments, "role")),
        "coreferences_count": _size(coreferences),
        "relations_count": _size(relations),
        "relations_type_counter": _count(_inner(relations, "type")),
        "relations_db_name_counter": _count(_inner(of_relations, "db_name")),
        "relations_unique_db_ids_count": len(_count(_inner(of_relations, "db_id"))),
    }


def _qa(table: pa.Table) -> dict[str, Any]:
    question, context, kinds = _columns(table, "question", "context", "type")
    answers = _lists(table, "answer")
    return {
        "question_char_count": _characters(question),
        "context_char_count": _characters(context),
        "answer_count": _size(answers),
        "answer_char_count": _characters(answers),
        "type_counter": _count(kinds),
        "choices_counter": _count(_lists(table, "choices")),
    }


def _te(table: pa.Table) -> dict[str, Any]:
    premise, hypothesis, label = _columns(table, "premise", "hypothesis", "label")
    return {
        "premise_char_count": _characters(premise),
        "hypothesis_char_count": _characters(hypothesis),
        "label_counter": _count(label),
    }


def _t2t(table: pa.Table) -> dict[str, Any]:
    one, other, name_1, name_2 = _columns(table, "text_1", "text_2", "text_1_name", "text_2_name")
    return {
        "text_1_char_count": _characters(one),
        "text_2_char_count": _characters(other),
        "text_1_name_counter": _count(name_1),
        "text_2_name_counter": _count(name_2),
    }


def _pairs(table: pa.Table) -> dict[str, Any]:
    one, other, label = _columns(table, "text_1", "text_2", "label")
    return {
        "text_1_char_count": _characters(one),
        "text_2_char_count": _characters(other),
        "label_counter": _count(label),
    }


def _text(table: pa.Table) -> dict[str, Any]:
    labels = _lists(table, "labels")
    return {
        "text_char_count": _characters(_columns(table, "text")[0]),
        "labels_count": _size(labels),
        "labels_counter": _count(labels),
    }
