"""The lossy step: a table of the lossless superset as one of BigBIO's harmonised schemas.

Fields that BigBIO lacks are dropped. A relation between two concepts becomes one relation for each pair of mentions that
carry them, as in BigBIO's loaders (BioRED's 1,162 become 22,200), with ids `<relation id>_<running number>` and mentions in
the order of the document; concepts that no mention carries give none. Relations and coreference whose ends are no entities
(events, triggers) are left out, since the schema allows entities only. Everything dropped stays in the superset.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
import pyarrow as pa

from mumei.data import documents, schemas
from mumei.data.columns import ends_of, joined, lists, numbered, pc, strings, structs, within
from mumei.data.documents import Document
from mumei.data.schemas import KB, SCHEMAS
from mumei.data.tables import BATCH, arrow_schema


def expanded(document: Document) -> Iterator[schemas.Relation]:
    """Yield a relation between mentions for each pair of mentions of each relation between concepts."""
    mentions: dict[str, list[str]] = {}
    for entity in document.entities:
        for link in {n.db_id: None for n in entity.normalized}:
            mentions.setdefault(link, []).append(entity.id)
    for relation in document.concept_relations:
        pairs = product(mentions.get(relation.arg1_id, ()), mentions.get(relation.arg2_id, ()))
        for number, (first, second) in enumerate(pairs):
            yield schemas.Relation(f"{relation.id}_{number}", relation.type, first, second)


def relations_of(document: Document) -> list[schemas.Relation]:
    """Return a document's relations between entities, those of concepts expanded."""
    entities = {e.id for e in document.entities}
    between = (r for r in document.relations if r.arg1_id in entities and r.arg2_id in entities)
    own = [schemas.Relation(r.id, r.type, r.arg1_id, r.arg2_id, r.normalized) for r in between]
    return [*own, *expanded(document)]


def coreferences_of(document: Document) -> list[schemas.Coreference]:
    """Return a document's coreferences between entities."""
    entities = {e.id for e in document.entities}
    return [schemas.Coreference(c.id, c.entity_ids) for c in document.coreferences if entities.issuperset(c.entity_ids)]


def document_to_kb(document: Document) -> KB:
    """Return BigBIO's row of a document."""
    return KB(
        document.id,
        document.document_id,
        document.passages,
        document.entities,
        [_event(event) for event in document.events],
        coreferences_of(document),
        relations_of(document),
    )


def _event(event: documents.Event) -> schemas.Event:
    trigger = schemas.Trigger(event.trigger.text, event.trigger.offsets)
    arguments = [schemas.Argument(a.role, a.ref_id) for a in event.arguments]
    return schemas.Event(event.id, event.type, trigger, arguments)


def to_bigbio(table: pa.Table, schema: str) -> pa.Table:
    """Return a superset table (`source`) as a table of a harmonised schema.

    Parameters
    ----------
    table : pyarrow.Table
        Rows of `RECORDS[schema]`.
    schema : str
        "kb", "qa", "te", "t2t", "pairs" or "text".

    Returns
    -------
    pyarrow.Table
        Rows of `SCHEMAS[schema]`: the columns of BigBIO's features, in order.
    """
    schema = schemas.schema_name(schema)
    target = arrow_schema(SCHEMAS[schema])
    chunks = [_batch(batch, schema, target) for batch in table.to_batches(max_chunksize=BATCH)]
    return pa.Table.from_batches(chunks, schema=target)


def _batch(batch: pa.RecordBatch, schema: str, target: pa.Schema) -> pa.RecordBatch:
    columns = {field.name: _project(batch.column(field.name), field.type) for field in target}
    if schema == "kb" and any(
        len(batch.column(n).flatten()) for n in ("relations", "concept_relations", "coreferences")
    ):
        keys = _keys(_owners(batch.column("entities")), batch.column("entities").flatten().field("id"))
        columns["relations"] = _relations(batch, keys, columns["relations"])
        columns["coreferences"] = _coreferences(batch, keys, columns["coreferences"])
    return pa.RecordBatch.from_arrays(list(columns.values()), schema=target)


def _owners(array: Any) -> Any:
    """Return the row of each item of lists."""
    return np.repeat(np.arange(len(array)), np.diff(array.offsets.to_numpy()))


def _keys(owners: Any, ids: pa.Array) -> pa.Array:
    """Return ids, each with the number of its row: they are compared within documents."""
    rows = strings([str(n) for n in range(int(np.max(owners, initial=-1)) + 1)])
    return joined(rows.take(pa.array(owners)), " ", ids)


def _relations(batch: pa.RecordBatch, entities: pa.Array, shown: Any) -> pa.Array:
    """Return relations between entities, those of concepts expanded; `relations_of` for all rows at once."""
    whole = batch.column("relations")
    rows, kept = _owners(whole), np.ones(len(whole.flatten()), np.bool_)
    for name in ("arg1_id", "arg2_id"):
        kept &= pc.is_in(_keys(rows, whole.flatten().field(name)), value_set=entities).to_numpy(zero_copy_only=False)
    own, owners = shown.flatten().filter(pa.array(kept)), rows[kept]
    between, of = _expanded(batch)
    order = np.argsort(np.concatenate([owners, of]), kind="stable")
    items = pa.concat_arrays([own, between]).take(pa.array(order))
    return lists(np.bincount(np.concatenate([owners, of]), minlength=len(batch)), items)


def _expanded(batch: pa.RecordBatch) -> tuple[pa.Array, Any]:
    """Return relations between mentions for those between concepts, and their rows."""
    concepts, entities = batch.column("concept_relations"), batch.column("entities")
    stated, mentions = concepts.flatten(), entities.flatten()
    owners = _owners(concepts)
    carriers, (at1, count1), (at2, count2) = _carriers(entities, owners, stated)
    source = np.repeat(np.arange(len(stated)), count1 * count2)
    place = within(count1 * count2)
    first, second = np.divmod(place, count2[source])
    items = structs(
        schemas.Relation,
        id=numbered(joined(stated.field("id"), "_"), source, place),
        type=stated.field("type").take(pa.array(source)),
        arg1_id=mentions.field("id").take(pa.array(carriers[at1[source] + first])),
        arg2_id=mentions.field("id").take(pa.array(carriers[at2[source] + second])),
    )
    return items, owners[source]


def _carriers(entities: Any, owners: Any, stated: Any) -> tuple[Any, tuple[Any, Any], tuple[Any, Any]]:
    """Return numbers of the entities that carry a concept, and where those of each relation's two begin, and how many."""
    links = entities.flatten().field("normalized")
    named = links.flatten().field("db_id")
    coded = pa.concat_arrays([named, stated.field("arg1_id"), stated.field("arg2_id")]).dictionary_encode("encode")
    # A concept within its row is one number, as concepts are compared within documents.
    codes, many = coded.indices.to_numpy().astype(np.int64), max(1, len(coded.dictionary))
    of, n = _owners(links), len(stated)
    keys = _owners(entities)[of] * many + codes[: len(named)]
    order = np.lexsort((of, keys))
    keys, carriers = keys[order], of[order]
    first = np.append(True, (np.diff(keys) != 0) | (np.diff(carriers) != 0))[: len(keys)]
    keys, carriers = keys[first], carriers[first]
    places = []
    for own in (codes[len(named) : len(named) + n], codes[len(named) + n :]):
        asked = owners * many + own
        begin = np.searchsorted(keys, asked)
        places.append((begin, np.searchsorted(keys, asked, side="right") - begin))
    return carriers, places[0], places[1]


def _coreferences(batch: pa.RecordBatch, entities: pa.Array, shown: Any) -> pa.Array:
    """Return coreferences between entities; `coreferences_of` for all rows at once."""
    whole = batch.column("coreferences")
    members, owners = whole.flatten().field("entity_ids"), _owners(whole)
    keys = _keys(owners[_owners(members)], members.flatten())
    unknown = ends_of(~pc.is_in(keys, value_set=entities).to_numpy(zero_copy_only=False))
    edges = ends_of(np.diff(members.offsets.to_numpy()))
    kept = np.diff(unknown[edges]) == 0
    return lists(np.bincount(owners[kept], minlength=len(batch)), shown.flatten().filter(pa.array(kept)))


def _project(array: Any, kind: pa.DataType) -> Any:
    """Return an array with only those struct fields, at any depth, that `kind` has."""
    if array.type.equals(kind):
        return array
    if pa.types.is_struct(kind):
        parts = [_project(array.field(array.type.get_field_index(f.name)), f.type) for f in kind]
        return pa.StructArray.from_arrays(parts, fields=list(kind))
    return pa.ListArray.from_arrays(array.offsets, _project(array.values, kind.value_type), type=kind)
