"""Parquet, batch by batch."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mumei.core.errors import DataError, MumeiError
from mumei.discover.sources.compression import Blob
from mumei.discover.sources.kinds import Record

_BATCH = 4096


class ParquetRows:
    """A Parquet file. `rows` is its number of rows, `columns` its column names."""

    format = "Parquet"

    def __init__(self, blob: Blob):
        self._blob = blob
        with self._open() as file:
            self.rows = int(file.metadata.num_rows)
            self.columns = list(file.schema_arrow.names)

    def files(self) -> list[Path]:
        """Return the file."""
        return [self._blob.path]

    @contextlib.contextmanager
    def _open(self) -> Iterator[Any]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            with self._blob.seekable() as handle, pq.ParquetFile(handle) as file:
                yield file
        except MumeiError:
            raise
        except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
            raise DataError(f"cannot read {self._blob.path} as Parquet: {error}. It is cut off or damaged.") from error

    def records(self, columns: Sequence[str] | None = None) -> Iterator[Record]:
        """Stream the records, of the given columns only if any are given."""
        import pyarrow as pa

        wanted = None if columns is None else [c for c in self.columns if c in columns]
        number = 0
        with self._open() as file:
            for batch in file.iter_batches(batch_size=_BATCH, columns=wanted):
                values = [_values(column, pa) for column in batch.columns]
                names = batch.schema.names
                for i in range(batch.num_rows):
                    number += 1
                    yield Record({name: column[i] for name, column in zip(names, values, strict=True)}, number)


def _values(column: Any, pa: Any) -> list[Any]:
    """Return a column as Python values; strings that are not UTF-8 keep their bad bytes as lone surrogates."""
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        column = column.cast(pa.large_binary())
    values = column.to_pylist()
    return [v.decode("utf-8", "surrogateescape") if isinstance(v, bytes) else v for v in values]
