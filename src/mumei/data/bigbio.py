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

import pyarrow as pa

from mumei.data import documents, schemas
from mumei.data.documents import Document
from mumei.data.schemas import KB, SCHEMAS
from mumei.data.tables import BATCH, arrow_schema, column, fields_of, from_table


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
        rows = list(from_table(pa.Table.from_batches([batch]), Document))
        hints = fields_of(KB)
        columns["relations"] = column([relations_of(d) for d in rows], hints["relations"])
        columns["coreferences"] = column([coreferences_of(d) for d in rows], hints["coreferences"])
    return pa.RecordBatch.from_arrays(list(columns.values()), schema=target)


def _project(array: Any, kind: pa.DataType) -> Any:
    """Return an array with only those struct fields, at any depth, that `kind` has."""
    if array.type.equals(kind):
        return array
    if pa.types.is_struct(kind):
        parts = [_project(array.field(array.type.get_field_index(f.name)), f.type) for f in kind]
        return pa.StructArray.from_arrays(parts, fields=list(kind))
    return pa.ListArray.from_arrays(array.offsets, _project(array.values, kind.value_type), type=kind)
