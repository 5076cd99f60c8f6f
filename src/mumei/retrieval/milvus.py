"""A collection in Milvus as an index: a server by its address, or Milvus Lite in a local file by a path that ends in ".db".

The index within Milvus is FLAT by default, an exact scan; another of its types makes the answers approximate. The model's name is
kept in a row of its own, number -1, since Milvus Lite does not keep descriptions.

An append is sent in parts: one that is cut off may leave its first rows, as `len` of the index opened again tells.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mumei.core.errors import ArtifactError, MissingExtraError, StorageError
from mumei.core.files import make_folder
from mumei.retrieval.engine import EngineIndex, listed

if TYPE_CHECKING:
    import numpy as np

SENT = 4 * 2**20  # bytes of vectors in one message
LOOKED = 16_384  # rows whose marks are asked for at once; Milvus returns no more


class MilvusIndex(EngineIndex):
    """Vectors of one model in a Milvus collection; made if it is not there.

    Parameters
    ----------
    uri : str
        "http://host:19530", or the path of a local file such as "vectors.db" (Milvus Lite).
    collection : str
    model : str
        What makes the vectors; a collection of another model is refused.
    dim : int
    index_type : str
        How Milvus indexes the vectors, when the collection is made: "FLAT" is exact, "HNSW", "IVF_FLAT" and so on are not.
    token : str, optional
        To log in with.

    Raises
    ------
    ArtifactError
        The collection holds vectors of another model or size, or was not made by mumei.
    StorageError
        Milvus cannot be reached or refuses.
    MissingExtraError
        pymilvus, or for a local file milvus-lite, is not installed.
    """

    engine = "milvus"

    def __init__(
        self,
        uri: str,
        collection: str,
        model: str,
        dim: int,
        *,
        index_type: str = "FLAT",
        token: str | None = None,
    ):
        super().__init__(model, dim, f"the collection {collection!r} at {uri}")
        self._client = _connect(str(uri), token)
        self._name = collection
        with self._said():
            if not self._client.has_collection(collection):
                self._make(index_type)
            self._check()
            self._client.load_collection(collection)
        self.refresh()

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    @contextlib.contextmanager
    def _said(self) -> Iterator[None]:
        """Turn what Milvus says into an error that names the collection."""
        from pymilvus.exceptions import MilvusException

        try:
            yield
        except MilvusException as error:
            raise StorageError(f"{self.where}: Milvus says: {error}") from error

    def _make(self, index_type: str) -> None:
        from pymilvus import DataType, MilvusClient

        schema = MilvusClient.create_schema(auto_id=False)
        schema.add_field("row", DataType.INT64, is_primary=True)
        schema.add_field("live", DataType.BOOL)
        schema.add_field("model", DataType.VARCHAR, max_length=1024)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=self.dim)
        indexes = self._client.prepare_index_params()
        indexes.add_index("vector", index_type=index_type, metric_type="IP")
        self._client.create_collection(
            self._name, schema=schema, index_params=indexes, consistency_level="Strong", num_shards=1
        )
        named = {"row": -1, "live": False, "model": self.model, "vector": [0.0] * self.dim}
        self._client.insert(self._name, [named])

    def _check(self) -> None:
        fields = {field["name"]: field for field in self._client.describe_collection(self._name)["fields"]}
        if not {"row", "live", "model", "vector"} <= fields.keys():
            raise ArtifactError(f"{self.where} was not made by mumei; choose another collection.")
        self._client.load_collection(self._name)
        about = self._client.query(self._name, filter="row == -1", output_fields=["model"])
        model = about[0]["model"] if about else None
        dim = int(fields["vector"]["params"]["dim"])
        if (model, dim) != (self.model, self.dim):
            raise ArtifactError(
                f"{self.where} holds vectors of {model} ({dim} numbers each), not of {self.model} ({self.dim}); vectors of two "
                "models cannot be mixed. Use another collection or the same model."
            )

    # --- putting and asking -------------------------------------------------------------------------------------------

    def _count(self, dead: bool) -> int:
        with self._said():
            wanted = "row >= 0 and live == false" if dead else "row >= 0"
            return int(self._client.query(self._name, filter=wanted, output_fields=["count(*)"])[0]["count(*)"])

    def _dead(self) -> np.ndarray:
        import numpy as np

        found = []
        with self._said():
            for first in range(0, self._rows, LOOKED):
                wanted = f"live == false and row >= {first} and row < {first + LOOKED}"
                part = self._client.query(self._name, filter=wanted, output_fields=["row"], limit=LOOKED)
                found += [entry["row"] for entry in part]
        return np.array(sorted(found), dtype=np.int64)

    def _put(self, first: int, vectors: np.ndarray) -> None:
        size = max(1, SENT // (4 * self.dim))
        with self._said():
            for start in range(0, len(vectors), size):
                part = vectors[start : start + size]
                self._client.insert(self._name, [self._entry(first + start + i, v) for i, v in enumerate(part)])

    def _entry(self, row: int, vector: np.ndarray, live: bool = True) -> dict[str, Any]:
        return {"row": row, "live": live, "model": "", "vector": vector}

    def _mark(self, rows: np.ndarray) -> None:
        # An upsert of whole rows: servers before 2.6 do not change single fields.
        with self._said():
            numbers, vectors = self._fetch(rows)
            entries = [self._entry(int(row), vector, live=False) for row, vector in zip(numbers, vectors, strict=True)]
            self._client.upsert(self._name, entries)

    def _fetch(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        import numpy as np

        with self._said():
            found = self._client.query(
                self._name, filter=f"row in [{listed(rows)}]", output_fields=["row", "vector"], limit=len(rows)
            )
        vectors = np.array([entry["vector"] for entry in found], dtype=np.float32).reshape(-1, self.dim)
        return np.array([entry["row"] for entry in found], dtype=np.int64), vectors

    def _nearest(
        self, queries: np.ndarray, k: int, named: np.ndarray | None
    ) -> Sequence[tuple[np.ndarray, np.ndarray]]:
        import numpy as np

        wanted = "live == true" if named is None else f"live == true and row in [{listed(named)}]"
        with self._said():
            found = self._client.search(
                self._name, data=list(queries), limit=k, filter=wanted, output_fields=["row"], anns_field="vector",
                search_params={"metric_type": "IP"},
            )  # fmt: skip
        return [
            (np.array([hit["row"] for hit in hits], np.int64), np.array([hit["distance"] for hit in hits], np.float32))
            for hits in found
        ]


def _connect(uri: str, token: str | None) -> Any:
    try:
        from pymilvus import MilvusClient
        from pymilvus.exceptions import MilvusException
    except ImportError as error:
        raise MissingExtraError("the Milvus index", "pymilvus", "milvus") from error
    local = "://" not in uri
    if local:
        make_folder(Path(uri).absolute().parent)
        try:
            import milvus_lite  # noqa: F401
        except ImportError as error:
            raise MissingExtraError("Milvus in a local file", "milvus-lite", "milvus") from error
        if not uri.endswith(".db"):
            raise StorageError(f"a local Milvus is a path that ends in .db, not {uri}; or give http://host:port.")
    login: dict[str, Any] = {"token": token} if token else {}
    try:
        return MilvusClient(uri, **login)
    except MilvusException as error:
        raise StorageError(f"cannot reach Milvus at {uri}: {error}") from error
