"""Approximate search on request: a navigable small-world graph (Malkov and Yashunin 2018) over a vector store, by FAISS.

The exact scan is the default; a graph is for some millions of rows and answers in well under a millisecond. It is a copy of
what the store holds: saved beside it with the store's fingerprint and never used for other vectors. How many of the true
neighbours it finds is measured against the exact scan at every build and kept with it.

Departures: candidates are scored anew from the store, so scores and ties are those of the exact search; deleted rows and rows
that are not allowed are passed over within the graph; where few rows are allowed the exact search answers, since a graph walk
that may land almost nowhere finds little.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mumei.core.errors import ArtifactError, MissingExtraError, UsageError
from mumei.core.files import atomic_path, make_folder, read_json, write_json
from mumei.retrieval.checks import allowed_rows, check_queries
from mumei.retrieval.exact import score
from mumei.retrieval.index import SearchStats, VectorStore

if TYPE_CHECKING:
    import numpy as np

FORMAT = 1
SPARSE = 20  # with fewer than 1 row in so many allowed, the exact search answers


@dataclass(frozen=True)
class Recall:
    """How a graph compares with the exact scan.

    Attributes
    ----------
    recall : float
        Share of the true k nearest rows that the graph found, mean over the sample.
    k, sample, ef : int
    ms, exact_ms : float
        Milliseconds a query, asked one by one, by the graph and by the exact scan.
    """

    recall: float
    k: int
    sample: int
    ef: int
    ms: float
    exact_ms: float

    def __str__(self) -> str:
        return (
            f"recall {self.recall:.3f} at {self.k} (ef {self.ef}, {self.sample} queries), "
            f"{self.ms:.2f} ms a query against {self.exact_ms:.2f} ms exact"
        )


def _faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise MissingExtraError("the HNSW index", "faiss-cpu", "hnsw") from error
    return faiss


class HNSWIndex:
    """A graph over a `VectorStore`; opened if it is there and fresh, else built, measured and saved.

    Parameters
    ----------
    store : VectorStore
    folder : path, optional
        Where the graph lies; `hnsw` within the store's folder by default.
    m : int
        Links of a row.
    ef_build, ef : int
        Rows looked at for each row built in, and for each search: larger finds more and takes longer.
    stale : {"build", "refuse"}
        What to do if the graph that is there was built over other vectors or with another `m`.
    seed : int
        Of the sample that recall is measured on.

    Attributes
    ----------
    measured : Recall
        As measured at the build.
    built : bool
        Whether it was built just now.

    Raises
    ------
    ArtifactError
        The saved graph is stale and `stale` is "refuse", or it cannot be read.
    MissingExtraError
        faiss is not installed.

    Notes
    -----
    The graph holds its vectors in memory: 4 (dim + 2 m) bytes a row.
    """

    def __init__(
        self,
        store: VectorStore,
        folder: Path | str | None = None,
        *,
        m: int = 32,
        ef_build: int = 200,
        ef: int = 256,
        stale: str = "build",
        seed: int = 0,
    ):
        if stale not in ("build", "refuse"):
            raise UsageError(f"stale={stale!r} is not allowed; give 'build' or 'refuse'.")
        for name, value in (("m", m), ("ef_build", ef_build), ("ef", ef)):
            if value < 2:
                raise UsageError(f"{name}={value} is too small; give 2 or more.")
        self._faiss = _faiss()
        self.store, self.model, self.dim, self.ef = store, store.model, store.dim, ef
        self.folder = make_folder(folder if folder is not None else store.folder / "hnsw")
        self._m, self._ef_build, self._seed = m, ef_build, seed
        self.last_search: SearchStats | None = None
        self._graph = self._load(refuse=stale == "refuse")
        self.built = self._graph is None
        if self._graph is None:
            self.build()

    # --- the graph ----------------------------------------------------------------------------------------------------

    def _identity(self) -> dict[str, Any]:
        return {"format": FORMAT, "store": self.store.fingerprint, "m": self._m, "ef_build": self._ef_build}

    def _load(self, refuse: bool) -> Any:
        path = self.folder / "manifest.json"
        if not path.exists():
            return None
        try:
            manifest = read_json(path)
            identity, file = manifest["identity"], self.folder / manifest["file"]
            self.measured = Recall(**manifest["measured"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ArtifactError(
                f"{path} is damaged ({error}); remove {self.folder}, it will be built again."
            ) from error
        if identity != self._identity():
            if refuse:
                raise ArtifactError(
                    f"the graph in {self.folder} was built over {identity.get('store')} with m={identity.get('m')}, "
                    f"ef_build={identity.get('ef_build')}; the store is {self.store.fingerprint} now. Build it again: "
                    "HNSWIndex(store, stale='build')."
                )
            return None
        try:
            graph = self._faiss.read_index(str(file))
        except RuntimeError as error:
            raise ArtifactError(f"{file} is damaged; remove {self.folder}, it will be built again.") from error
        if graph.ntotal != len(self.store):
            raise ArtifactError(f"{file} has {graph.ntotal} rows, not {len(self.store)}; remove {self.folder}.")
        return graph

    def build(self) -> Recall:
        """Build the graph over all rows, measure it, save it; return what was measured."""
        graph = self._faiss.IndexHNSWFlat(self.dim, self._m, self._faiss.METRIC_INNER_PRODUCT)
        graph.hnsw.efConstruction = self._ef_build
        for _, block in self.store.blocks():
            graph.add(block)
        self._graph, self.built = graph, True
        return self.save()

    def save(self) -> Recall:
        """Measure the graph as it is and save it, so that it opens again; return what was measured."""
        self.measured = self.recall()
        manifest = read_json(self.folder / "manifest.json") if (self.folder / "manifest.json").exists() else {}
        before = str(manifest.get("file", ""))
        file = "graph-1.faiss" if before == "graph-0.faiss" else "graph-0.faiss"
        with atomic_path(self.folder / file) as temporary:
            self._faiss.write_index(self._graph, str(temporary))
        manifest = {"identity": self._identity(), "measured": asdict(self.measured), "file": file}
        write_json(self.folder / "manifest.json", manifest)
        if before and before != file:
            (self.folder / before).unlink(missing_ok=True)
        return self.measured

    def recall(self, sample: int = 200, k: int = 10) -> Recall:
        """Compare with the exact scan on queries near the store's own rows.

        Parameters
        ----------
        sample : int
            Queries: each is the mean of two live rows drawn at random, of which one weighs twice.
        k : int

        Returns
        -------
        Recall
        """
        import numpy as np

        live = np.flatnonzero(self.store.live)
        if not len(live):
            return Recall(1.0, k, 0, self.ef, 0.0, 0.0)
        rng = np.random.default_rng(self._seed)
        one, two = (self.store.rows(rng.choice(live, sample)) for _ in range(2))
        queries = ((2 * one + two) / 3).astype(np.float32)
        exact, exact_seconds = _one_by_one(self.store, queries, k)
        found, seconds = _one_by_one(self, queries, k)
        hits = [len(np.intersect1d(a, b)) / len(a) for a, b in zip(exact, found, strict=True)]
        per = 1000 / sample
        return Recall(float(np.mean(hits)), k, sample, self.ef, seconds * per, exact_seconds * per)

    # --- the index ----------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.store)

    @property
    def live(self) -> np.ndarray:
        """Which rows are not deleted, bool (n,)."""
        return self.store.live

    def rows(self, wanted: Any) -> np.ndarray:
        """Return the vectors (n, dim) of some row numbers."""
        return self.store.rows(wanted)

    def append(self, vectors: np.ndarray) -> None:
        """Add rows to the store and to the graph in memory; `save` keeps the graph, else it is built anew when opened."""
        first = len(self.store)
        self._check_fresh()
        self.store.append(vectors)
        for start in range(first, len(self.store), 16_384):
            self._graph.add(self.store.rows(range(start, min(start + 16_384, len(self.store)))))

    def delete(self, wanted: Any) -> None:
        """Mark rows as deleted in the store; the graph passes them over."""
        self.store.delete(wanted)

    def _check_fresh(self) -> None:
        if self._graph.ntotal != len(self.store):
            raise ArtifactError(
                f"the store has {len(self.store)} rows and the graph {self._graph.ntotal}: rows were added or taken past the "
                "graph. Call build(), or append through the HNSWIndex."
            )

    def search(self, queries: np.ndarray, k: int, *, allow: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Find about the k rows with the largest inner product with each query.

        Parameters and returns are those of `VectorStore.search`. Where the walk finds fewer than min(k, possible) rows for a
        query, that query is searched exactly, and `last_search.redone` counts it.
        """
        import numpy as np

        self._check_fresh()
        total = len(self.store)
        queries = check_queries(queries, k, self.dim)
        mask = allowed_rows(~self.store.live, allow, total)
        possible = total if mask is None else int(mask.sum())
        k = min(k, possible)
        if possible * SPARSE < total or k == 0:
            answer = self.store.search(queries, max(k, 1), allow=mask)
            self.last_search = self.store.last_search
            return answer
        found = self._walk(queries, k, mask)
        rows, scores = np.empty((len(queries), k), np.int64), np.empty((len(queries), k), np.float32)
        short = np.flatnonzero((found < 0).any(axis=1))
        for i in np.flatnonzero((found >= 0).all(axis=1)):
            exact = score(self.store.rows(found[i]), queries[i].astype(np.float64))
            order = np.lexsort((found[i], -exact))
            rows[i], scores[i] = found[i][order], exact[order]
        if len(short):
            rows[short], scores[short] = self.store.search(queries[short], k, allow=mask)
        self.last_search = SearchStats("hnsw", len(queries), rescored=len(queries) * k, redone=len(short))
        return rows, scores

    def _walk(self, queries: np.ndarray, k: int, mask: np.ndarray | None) -> np.ndarray:
        import numpy as np

        options = self._faiss.SearchParametersHNSW(efSearch=max(self.ef, 2 * k))
        if mask is not None:
            bits = np.packbits(mask, bitorder="little")
            options.sel = self._faiss.IDSelectorBitmap(bits)
        return self._graph.search(queries, k, params=options)[1]


def _one_by_one(index: Any, queries: np.ndarray, k: int) -> tuple[list[np.ndarray], float]:
    index.search(queries[:1], k)
    begin = time.perf_counter()
    found = [index.search(query[None], k)[0][0] for query in queries]
    return found, time.perf_counter() - begin
