"""Vectors in LanceDB: a folder, or object storage ("s3://bucket/path"), in the Lance format.

Searched flat, which is exact. See `served.py` for what is kept and how conditions work. Scores are one minus LanceDB's distance,
and so rounded to its float32.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from mumei.core.errors import ArtifactError, MissingExtraError
from mumei.retrieval.served import ServedIndex

if TYPE_CHECKING:
    import numpy as np

MODEL = b"mumei.model"


class LanceIndex(ServedIndex):
    """An `Index` in a LanceDB table, made if it is not there.

    Parameters
    ----------
    uri : str
        A folder or the address of object storage.
    table : str
    model : str
        What makes the vectors; a table of another one is refused.
    dim : int

    Raises
    ------
    MissingExtraError
        lancedb is not installed.
    ArtifactError
        The table holds vectors of another model or size, or is not one of mumei's.
    """

    name = "LanceDB"

    def __init__(self, uri: str | os.PathLike[str], table: str, model: str, dim: int):
        super().__init__(model, dim)
        os.environ.setdefault("LANCE_LOG", "error")  # it warns of every table that it is asked to make
        try:
            import lancedb
        except ImportError as error:
            raise MissingExtraError("an index in LanceDB", "lancedb", "lance") from error
        database = lancedb.connect(os.fspath(uri))
        if table in _tables(database):
            self._table = database.open_table(table)
            self._check(f"{uri}, table {table!r},")
        else:
            self._table = database.create_table(table, schema=self._schema())

    def _schema(self) -> Any:
        import pyarrow as pa

        vector = pa.list_(pa.float32(), self.dim)
        fields = [("row", pa.int64()), ("alive", pa.bool_()), ("vector", vector)]
        return pa.schema(fields, metadata={MODEL: self.model.encode()})

    def _check(self, where: str) -> None:
        schema = self._table.schema
        if schema.names != ["row", "alive", "vector"]:
            raise ArtifactError(
                f"{where} has the fields {', '.join(schema.names)}: it is not one of mumei's. Choose another name."
            )
        model = (schema.metadata or {}).get(MODEL)
        self._check_same(model.decode() if model else None, schema.field("vector").type.list_size, where)

    def _count(self) -> int:
        return int(self._table.count_rows())

    def _dead(self) -> list[int]:
        return self._table.search().where("alive = false").select(["row"]).to_arrow()["row"].to_pylist()

    def _put(self, first: int, vectors: np.ndarray) -> None:
        import pyarrow as pa

        rows = pa.array(range(first, first + len(vectors)), pa.int64())
        values = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), self.dim)
        alive = pa.array([True] * len(vectors))
        self._table.add(pa.Table.from_arrays([rows, alive, values], schema=self._schema()))

    def _mark(self, rows: list[int]) -> None:
        self._table.update(where=f"row in ({_listed(rows)})", values={"alive": False})

    def _drop(self, first: int) -> None:
        self._table.delete(f"row >= {first}")

    def _get(self, rows: list[int]) -> dict[int, Any]:
        import numpy as np

        found = self._table.search().where(f"row in ({_listed(rows)})").select(["row", "vector"]).to_arrow()
        vectors = np.asarray(found["vector"].combine_chunks().flatten(), dtype=np.float32).reshape(-1, self.dim)
        return dict(zip(found["row"].to_pylist(), vectors, strict=True))

    def _nearest(
        self, queries: np.ndarray, k: int, only: list[int] | None
    ) -> Iterator[tuple[Sequence[int], Sequence[float]]]:
        condition = "alive = true" if only is None else f"alive = true and row in ({_listed(only)})"
        for query in queries:
            asked = self._table.search(query).distance_type("dot").where(condition, prefilter=True).limit(k)
            found = asked.select(["row", "_distance"]).to_arrow()
            yield found["row"].to_pylist(), [1.0 - distance for distance in found["_distance"].to_pylist()]


def _listed(rows: list[int]) -> str:
    return ", ".join(map(str, rows))


def _tables(database: Any) -> list[str]:
    names: list[str] = []
    page = database.list_tables()
    while True:
        names += list(page.tables)
        if not page.page_token:
            return names
        page = database.list_tables(page_token=page.page_token)
