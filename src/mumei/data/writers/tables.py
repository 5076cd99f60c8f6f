"""Tables as they are: Parquet and JSON lines, a file a split, under the corpus's schema.

Equal corpora give equal bytes: row groups and lines in the order of the records, no dates.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from mumei.core.files import atomic_path, new_file
from mumei.data.documents import RECORDS
from mumei.data.schemas import SCHEMAS, SOURCE
from mumei.data.tables import BATCH, from_table

if TYPE_CHECKING:
    import pyarrow as pa

    from mumei.data.corpus import Corpus


def write_parquet(corpus: Corpus, folder: Path, notes: Counter[str]) -> None:
    """Write `<split>.parquet`."""
    for split in corpus.splits:
        write_table(corpus.table(split), folder / f"{split}.parquet")


def write_table(table: pa.Table, path: Path) -> None:
    """Write a table with zstd and row groups of `BATCH` records."""
    import pyarrow.parquet as pq

    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, compression="zstd", row_group_size=BATCH)


def write_jsonl(corpus: Corpus, folder: Path, notes: Counter[str]) -> None:
    """Write `<split>.jsonl`: UTF-8, a record a line, fields in the schema's order."""
    struct = RECORDS[corpus.kind] if corpus.schema == SOURCE else SCHEMAS[corpus.schema]
    encoder = msgspec.json.Encoder()
    for split in corpus.splits:
        with new_file(folder / f"{split}.jsonl") as out:
            for record in from_table(corpus.table(split), struct):
                out.write(encoder.encode(record) + b"\n")
