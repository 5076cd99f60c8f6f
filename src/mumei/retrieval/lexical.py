"""Lexical search by BM25 (Lucene's form, k1 = 0.9, b = 0.4) over shards on the disk that grow by appending.

Source: Robertson and Zaragoza 2009, "The probabilistic relevance framework: BM25 and beyond"; k1 and b as in Anserini.
A shard holds word counts, not scores: inverse document frequencies and the mean length are those of the whole index at the
time of a search, so that scores do not depend on how rows came into shards. Departure: rows deleted from a collection count in
these statistics until it is compacted (`allow` keeps them out of the results alone).

A full shard (`SHARD` rows) never changes. An append rewrites the last partial one under a new name, then swaps `lexical.json`;
a crash leaves the index as it was, and a folder that nothing names (`sweep` removes it).
"""

from __future__ import annotations

import math
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mumei.core.errors import ArtifactError, DataError, UsageError
from mumei.core.files import make_folder, read_json, whole_folder, write_json
from mumei.core.files import sweep as sweep_files
from mumei.retrieval.analyzers import STOP_WORDS, analyzer, tokens
from mumei.retrieval.postings import Postings

if TYPE_CHECKING:
    import numpy as np

__all__ = ["LexicalIndex", "STOP_WORDS", "overlap", "tokens"]

SHARD = 131_072
K1, B = 0.9, 0.4
FORMAT = 2
MANIFEST = "lexical.json"


class LexicalIndex:
    """A BM25 index in a folder: `build` makes it from a stream of texts, `open` maps it, `append` adds rows at its end."""

    def __init__(self, folder: Path, manifest: dict[str, Any]):
        self.folder, self._manifest = folder, manifest
        self.analyzer: str = manifest["analyzer"]
        self._tokens = analyzer(self.analyzer)
        self._shards = [Postings.open(folder / shard["folder"]) for shard in manifest["shards"]]
        self._rows = sum(shard["rows"] for shard in manifest["shards"])

    def __len__(self) -> int:
        return self._rows

    @classmethod
    def build(
        cls,
        texts: Iterable[str],
        folder: Path | str,
        *,
        progress: Any = None,
        shard: int = SHARD,
        analyzer: str = "words",
    ) -> LexicalIndex:
        """Index a stream of texts into a folder, which appears whole or not at all.

        Parameters
        ----------
        texts : iterable of str
            One per row, in order.
        folder : path
            Replaced if it exists.
        progress : callable, optional
            Called with the number of texts read since the last call.
        shard : int
            Rows of a full shard: what building holds in memory at once.
        analyzer : {"words", "plain"}
            How texts and queries become tokens; see `mumei.retrieval.analyzers`.
        """
        folder = Path(folder)
        with whole_folder(folder) as temporary:
            cls.create(temporary, shard=shard, analyzer=analyzer).append(texts, progress=progress)
        return cls.open(folder)

    @classmethod
    def create(cls, folder: Path | str, *, shard: int = SHARD, analyzer: str = "words") -> LexicalIndex:
        """Make an empty index, to append to; the folder must hold none."""
        _check(analyzer, shard)
        folder = make_folder(folder)
        if (folder / MANIFEST).exists():
            raise ArtifactError(f"{folder} holds a lexical index already; open it, or choose another folder.")
        manifest = {"format": FORMAT, "analyzer": analyzer, "shard": shard, "serial": 0, "shards": []}
        write_json(folder / MANIFEST, manifest)
        return cls(folder, manifest)

    @classmethod
    def open(cls, folder: Path | str) -> LexicalIndex:
        """Open an index; raise `ArtifactError` where there is none."""
        folder = Path(folder)
        try:
            manifest = read_json(folder / MANIFEST)
            version = manifest["format"]
            if version == FORMAT:
                return cls(folder, manifest)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ArtifactError(f"no lexical index at {folder} ({error}); make it anew.") from error
        advice = "make it anew" if version < FORMAT else "update mumei"
        raise ArtifactError(f"the lexical index {folder} has format {version}, this mumei reads {FORMAT}; {advice}.")

    def append(self, texts: Iterable[str], *, progress: Any = None) -> None:
        """Add rows at the end; those in full shards are on the disk shard by shard, the rest when this returns.

        Parameters
        ----------
        texts : iterable of str
            One per row, in order.
        progress : callable, optional
            Called with the number of texts read since the last call.
        """
        stream = iter(texts)
        while True:
            partial = bool(self._shards) and self._manifest["shards"][-1]["rows"] < self._manifest["shard"]
            room = self._manifest["shard"] - (self._manifest["shards"][-1]["rows"] if partial else 0)
            new = Postings.count(self._split(islice(stream, room), progress))
            if not new.rows:
                return
            if partial:
                new = self._shards[-1].joined(new)
            self._put(new, replace=partial)

    def _split(self, texts: Iterable[str], progress: Any) -> Iterator[list[str]]:
        for text in texts:
            yield self._tokens(text)
            if progress is not None:
                progress(1)

    def _put(self, postings: Postings, replace: bool) -> None:
        """Write a shard and swap the manifest."""
        serial = self._manifest["serial"] + 1
        name = f"shard-{serial:06d}"
        with whole_folder(self.folder / name) as temporary:
            postings.write(temporary)
        kept = self._manifest["shards"][: -1 if replace else None]
        shards = [*kept, {"folder": name, "rows": postings.rows}]
        manifest = {**self._manifest, "serial": serial, "shards": shards}
        write_json(self.folder / MANIFEST, manifest)
        self._manifest = manifest
        self._shards = [*self._shards[: len(kept)], Postings.open(self.folder / name)]
        self._rows = sum(shard["rows"] for shard in shards)

    @staticmethod
    def rows_in(folder: Path) -> int:
        """Return how many rows the index in a folder has, without opening it; 0 where there is none."""
        if not (folder / MANIFEST).exists():
            return 0
        try:
            return sum(shard["rows"] for shard in read_json(folder / MANIFEST)["shards"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ArtifactError(f"{folder / MANIFEST} cannot be read ({error}); make it anew.") from error

    @staticmethod
    def sweep(folder: Path) -> None:
        """Remove shards that were replaced, and what a killed writer left; for the writer, when nobody reads."""
        sweep_files(folder)
        if (folder / MANIFEST).exists():
            try:
                named = {shard["folder"] for shard in read_json(folder / MANIFEST)["shards"]}
            except (OSError, ValueError, KeyError, TypeError):  # damaged: whoever opens it says so
                return
            for path in folder.glob("shard-*"):
                if path.name not in named:
                    shutil.rmtree(path, ignore_errors=True)

    def verify(self) -> list[str]:
        """Return what is wrong with the shards' files, one line each; nothing if all is well."""
        found = []
        for shard in self._manifest["shards"]:
            try:
                if (rows := Postings.open(self.folder / shard["folder"]).check()) != shard["rows"]:
                    found.append(f"{shard['folder']} has {rows} rows, not {shard['rows']}")
            except ArtifactError as error:
                found.append(str(error))
        return found

    def search(
        self, query: str, k: int, *, allow: np.ndarray | None = None, k1: float = K1, b: float = B
    ) -> tuple[list[int], list[float]]:
        """Return the row numbers and BM25 scores of at most k rows that share a token with the query, best first.

        Parameters
        ----------
        query : str
        k : int
        allow : ndarray (n,), bool, optional
            Rows that may be returned; all by default.
        k1, b : float
            BM25's saturation and length normalisation.

        Returns
        -------
        rows : list of int
            Equal scores by row number.
        scores : list of float
        """
        import numpy as np

        if k < 1:
            raise UsageError(f"k={k} is not allowed; give 1 or more.")
        if allow is not None:
            allow = np.asarray(allow)
            if allow.shape != (self._rows,) or allow.dtype != bool:
                raise DataError(f"allow is {allow.dtype} {allow.shape}; give one bool a row ({self._rows},).")
        weights = self._weights(query)
        if not weights:
            return [], []
        mean = sum(shard.tokens for shard in self._shards) / self._rows
        rows, scores, first = [], [], 0
        for shard in self._shards:
            here = None if allow is None else allow[first : first + shard.rows]
            found, points = shard.best(weights, k, here, k1, b, mean)
            rows.append(found + first)
            scores.append(points)
            first += shard.rows
        every, points = np.concatenate(rows), np.concatenate(scores)
        order = np.lexsort((every, -points))[:k]
        return every[order].tolist(), points[order].tolist()

    def _weights(self, query: str) -> dict[str, float]:
        """Return each known token's inverse document frequency times its count in the query."""
        weights = {}
        for word, count in Counter(self._tokens(query)).items():
            df = sum(shard.document_frequency(word) for shard in self._shards)
            if df:
                weights[word] = count * math.log(1 + (self._rows - df + 0.5) / (df + 0.5))
        return weights


def _check(name: str, shard: int) -> None:
    analyzer(name)
    if shard < 1:
        raise UsageError(f"shard={shard} is not allowed; give 1 row or more.")


def overlap(query: str, text: str) -> Sequence[str]:
    """Return the query's tokens that a text has too, in the query's order, each once."""
    here = set(tokens(text))
    # A single Han character is too little to be shown as a reason.
    return list(dict.fromkeys(word for word in tokens(query) if word in here and (len(word) > 1 or word.isascii())))
