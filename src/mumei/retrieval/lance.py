"""A Lance table as an index: in a folder, or in object storage by its address ("s3://bucket/path").

Search is Lance's own exact scan, filtered before it is ranked; if you make one of Lance's vector indexes on the table, answers
become approximate. The model's name is kept in the table's schema. An append or a deletion is one version of the table: it is
there whole or not at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mumei.core.errors import ArtifactError, MissingExtraError
from mumei.retrieval.engine import EngineIndex, listed

if TYPE_CHECKING:
    import numpy as np

MODEL = b"mumei.model"


class LanceIndex(EngineIndex):
    """Vectors of one model in a Lance table; made if it is not there.

    Parameters
    ----------
    uri : str
        A folder or an address of object storage.
    table : str
    model : str
        What makes the vectors; a table of another model is refused.
    dim : int
    storage_options : dict, optional
        Handed to Lance: keys and region of object storage.

    Raises
    ------
    ArtifactError
        The table holds vectors of another model or size, or was not made by mumei.
    MissingExtraError
        lancedb is not installed.
    """

    engine = "lance"
    most = 2**31 - 1

    def __init__(self, uri: str, table: str, model: str, dim: int, *, storage_options: dict[str, str] | None = None):
        super().__init__(model, dim, f"the table {table!r} at {uri}")
        try:
            import lancedb
        except ImportError as error:
            raise MissingExtraError("the Lance index", "lancedb", "lance") from error
        import pyarrow as pa

        self._schema = pa.schema(
            [
                pa.field("row", pa.int64()),
                pa.field("live", pa.bool_()),
                pa.field("vector", pa.list_(pa.float32(), dim)),
            ],
            metadata={MODEL: model.encode()},
        )
        database = lancedb.connect(str(uri), storage_options=storage_options)
        # `exist_ok` opens a table that is there, but refuses one of another schema in words of its own.
        try:
            self._table = database.open_table(table)
        except (ValueError, FileNotFoundError):
            self._table = database.create_table(table, schema=self._schema)
        self._check()
        self.refresh()

    def _check(self) -> None:
        schema = self._table.schema
        if schema.names != self._schema.names or MODEL not in (schema.metadata or {}):
            raise ArtifactError(f"{self.where} was not made by mumei; choose another table.")
        model, dim = schema.metadata[MODEL].decode(), schema.field("vector").type.list_size
        if (model, dim) != (self.model, self.dim):
            raise ArtifactError(
                f"{self.where} holds vectors of {model} ({dim} numbers each), not of {self.model} ({self.dim}); vectors of two "
                "models cannot be mixed. Use another table or the same model."
            )

    def compact(self) -> None:
        """Join the files of many small appends and drop old versions that nobody reads (Lance's `optimize`)."""
        self._table.optimize()

    # --- putting and asking -------------------------------------------------------------------------------------------

    def _count(self, dead: bool) -> int:
        self._table.checkout_latest()
        return int(self._table.count_rows("not live" if dead else None))

    def _dead(self) -> np.ndarray:
        found = self._table.search().where("not live").select(["row"]).limit(max(1, self._rows)).to_arrow()
        return found["row"].to_numpy()

    def _put(self, first: int, vectors: np.ndarray) -> None:
        import numpy as np
        import pyarrow as pa

        columns: list[Any] = [
            pa.array(np.arange(first, first + len(vectors))),
            pa.array(np.ones(len(vectors), dtype=bool)),
            pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), self.dim),
        ]
        self._table.add(pa.Table.from_arrays(columns, schema=self._schema))

    def _mark(self, rows: np.ndarray) -> None:
        self._table.update(where=f"row in ({listed(rows)})", values={"live": False})

    def _fetch(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        query = self._table.search().where(f"row in ({listed(rows)})").select(["row", "vector"])
        found = query.limit(len(rows)).to_arrow().combine_chunks()
        vectors = found["vector"].combine_chunks().flatten().to_numpy()
        return found["row"].to_numpy(), vectors.reshape(-1, self.dim)

    def _nearest(
        self, queries: np.ndarray, k: int, named: np.ndarray | None
    ) -> Sequence[tuple[np.ndarray, np.ndarray]]:
        wanted = "live" if named is None else f"live and row in ({listed(named)})"
        found = []
        for query in queries:
            asked: Any = self._table.search(query, vector_column_name="vector")
            asked = asked.distance_type("dot")
            table = asked.where(wanted, prefilter=True).limit(k).select(["row", "_distance"]).to_arrow()
            # Lance's distance is 1 - q.x.
            found.append((table["row"].to_numpy(), 1 - table["_distance"].to_numpy()))
        return found
