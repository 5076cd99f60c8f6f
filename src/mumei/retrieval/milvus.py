"""Vectors in Milvus, for those who outgrow one machine. A path that ends in .db is milvus-lite, in this process.

The collection has a flat index on the inner product: exact, scanned by the server. See `served.py` for what is kept and how
conditions work.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from mumei.core.errors import ArtifactError, MissingExtraError, StorageError, UsageError
from mumei.retrieval.served import ServedIndex

if TYPE_CHECKING:
    import numpy as np

AT_ONCE = 256  # queries in one request
MODEL = "mumei.model"


class MilvusIndex(ServedIndex):
    """An `Index` in a Milvus collection, made if it is not there.

    Parameters
    ----------
    uri : str
        "http://host:19530", or a file "vectors.db" for milvus-lite.
    collection : str
    model : str
        What makes the vectors; a collection of another one is refused.
    dim : int
    token : str, optional
        "user:password" or an API key.

    Raises
    ------
    MissingExtraError
        pymilvus is not installed.
    StorageError
        The server cannot be reached.
    ArtifactError
        The collection holds vectors of another model or size, or is not one of mumei's.
    """

    name = "Milvus"

    def __init__(self, uri: str, collection: str, model: str, dim: int, *, token: str = ""):
        super().__init__(model, dim)
        try:
            from pymilvus import MilvusClient
            from pymilvus.exceptions import MilvusException
        except ImportError as error:
            raise MissingExtraError("an index in Milvus", "pymilvus", "milvus") from error
        if not collection.isidentifier():
            raise UsageError(f"collection={collection!r} is not allowed; use letters, digits and underscores.")
        self.collection = collection
        try:
            self._client: Any = MilvusClient(uri, token=token)
            if self._client.has_collection(collection):
                self._check(uri)
            else:
                self._make()
        except MilvusException as error:
            raise StorageError(f"Milvus at {uri}: {error}. Is the server up, and the address right?") from error

    def _make(self) -> None:
        from pymilvus import DataType

        schema = self._client.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("row", DataType.INT64, is_primary=True)
        schema.add_field("alive", DataType.BOOL)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=self.dim)
        index = self._client.prepare_index_params()
        index.add_index("vector", index_type="FLAT", metric_type="IP")
        self._client.create_collection(
            self.collection,
            schema=schema,
            index_params=index,
            properties={MODEL: self.model},
            consistency_level="Strong",
        )

    def _check(self, uri: str) -> None:
        described = self._client.describe_collection(self.collection)
        fields = {field["name"]: field for field in described["fields"]}
        if set(fields) != {"row", "alive", "vector"}:
            raise ArtifactError(
                f"the collection {self.collection!r} at {uri} has the fields {', '.join(fields)}: it is not one of mumei's. "
                "Choose another name."
            )
        dim = int(fields["vector"]["params"]["dim"])
        self._check_same(described.get("properties", {}).get(MODEL), dim, f"{uri}, collection {self.collection!r},")

    def close(self) -> None:
        """Close the connection; milvus-lite gives its file free."""
        self._client.close()

    def _count(self) -> int:
        return int(self._client.query(self.collection, filter="", output_fields=["count(*)"])[0]["count(*)"])

    def _dead(self) -> list[int]:
        pages = self._client.query_iterator(
            self.collection, filter="alive == false", output_fields=["row"], batch_size=10_000
        )
        found: list[int] = []
        while page := pages.next():
            found += [item["row"] for item in page]
        pages.close()
        return found

    def _put(self, first: int, vectors: np.ndarray) -> None:
        self._write({first + i: vector for i, vector in enumerate(vectors)}, alive=True)

    def _write(self, vectors: dict[int, Any], alive: bool) -> None:
        rows = [{"row": row, "alive": alive, "vector": vector} for row, vector in vectors.items()]
        self._client.upsert(self.collection, rows)

    def _mark(self, rows: list[int]) -> None:
        self._write(self._get(rows), alive=False)

    def _drop(self, first: int) -> None:
        self._client.delete(self.collection, filter=f"row >= {first}")

    def _get(self, rows: list[int]) -> dict[int, Any]:
        import numpy as np

        found = self._client.query(self.collection, filter=f"row in {rows}", output_fields=["row", "vector"])
        return {item["row"]: np.asarray(item["vector"], dtype=np.float32) for item in found}

    def _nearest(
        self, queries: np.ndarray, k: int, only: list[int] | None
    ) -> Iterator[tuple[Sequence[int], Sequence[float]]]:
        condition = "alive == true" if only is None else f"alive == true and row in {only}"
        for start in range(0, len(queries), AT_ONCE):
            found = self._client.search(
                self.collection,
                data=queries[start : start + AT_ONCE].tolist(),
                limit=k,
                filter=condition,
                output_fields=["row"],
                search_params={"metric_type": "IP"},
                consistency_level="Strong",
            )
            for hits in found:
                yield [int(hit["row"]) for hit in hits], [float(hit["distance"]) for hit in hits]
