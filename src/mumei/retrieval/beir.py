"""A folder in BEIR's layout: corpus.jsonl, queries.jsonl and qrels, each packed or not.

Source: Thakur et al. 2021, "BEIR: a heterogeneous benchmark for zero-shot evaluation of information retrieval models".
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mumei.core.errors import DataError, UsageError
from mumei.retrieval.documents import Document
from mumei.retrieval.trec import lines_of, read_qrels

PACKED = ("", ".gz", ".bz2", ".xz")


@dataclass(frozen=True)
class Query:
    """A query: its id, text and metadata."""

    id: str
    text: str
    metadata: dict[str, Any] = field(default_factory=dict)


class BeirFolder:
    """A test collection on the disk.

    Parameters
    ----------
    folder : path
    split : str, optional
        Which of qrels/SPLIT.tsv; by default qrels.tsv, else test, dev or train, the first that is there.

    Raises
    ------
    UsageError
        The folder, a file or the split is not there; the message says what is.
    """

    def __init__(self, folder: Path | str, split: str | None = None):
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise UsageError(f"there is no folder {folder}; give one with corpus.jsonl, queries.jsonl and qrels.")
        self.corpus = self._find("corpus.jsonl")
        self.query_file = self._find("queries.jsonl")
        names = [f"qrels/{split}.tsv"] if split else ["qrels.tsv", "qrels/test.tsv", "qrels/dev.tsv", "qrels/train.tsv"]
        self.qrels = self._find(*names)

    def _find(self, *names: str) -> Path:
        for name in names:
            for ending in PACKED:
                if (self.folder / (name + ending)).is_file():
                    return self.folder / (name + ending)
        here = sorted(p.relative_to(self.folder).as_posix() for p in self.folder.rglob("*") if p.is_file())[:20]
        raise UsageError(
            f"{self.folder} has no {' or '.join(names)} (also .gz, .bz2, .xz). It has: {', '.join(here) or 'nothing'}."
        )

    def documents(self) -> Iterator[Document]:
        """Stream the corpus; a line that is no document, or an id that came before, raises `DataError` with its number."""
        seen: set[str] = set()
        for number, row in self._rows(self.corpus):
            if row["_id"] in seen:
                raise DataError(f"{self.corpus}:{number}: the id {row['_id']!r} came before; ids must be unique.")
            seen.add(row["_id"])
            yield Document(row["_id"], row.get("title") or "", row["text"], row.get("metadata") or {})

    def queries(self) -> dict[str, Query]:
        """Return the queries by id, in the file's order."""
        found: dict[str, Query] = {}
        for number, row in self._rows(self.query_file):
            if row["_id"] in found:
                raise DataError(f"{self.query_file}:{number}: the id {row['_id']!r} came before; ids must be unique.")
            found[row["_id"]] = Query(row["_id"], row["text"], row.get("metadata") or {})
        return found

    def judgements(self) -> dict[str, dict[str, int]]:
        """Return {query id: {document id: grade}} of the split."""
        return read_qrels(self.qrels)

    def unresolved(self) -> dict[str, int]:
        """Count judged ids that the corpus or the queries lack: {"documents": n, "queries": m}."""
        judged = self.judgements()
        documents = {d for grades in judged.values() for d in grades}
        for document in self.documents():
            documents.discard(document.id)
        return {"documents": len(documents), "queries": len(set(judged) - set(self.queries()))}

    @staticmethod
    def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
        for number, line in lines_of(path):
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise DataError(f"{path}:{number}: not JSON ({error}).") from error
            yield number, _checked(row, f"{path}:{number}")


def _checked(row: Any, where: str) -> dict[str, Any]:
    """Return a line's object with its id as text, or raise `DataError`: a field is missing or of another type."""
    if not isinstance(row, dict) or not isinstance(row.get("text"), str):
        raise DataError(f"{where}: a line needs '_id' and 'text' (a text).")
    name = row.get("_id")
    if isinstance(name, bool) or not isinstance(name, str | int) or name == "":
        raise DataError(f"{where}: a line needs '_id' (a text that is not empty, or a whole number); it has {name!r}.")
    for key, kind, what in (("title", str, "a text"), ("metadata", dict, "an object")):
        if row.get(key) is not None and not isinstance(row[key], kind):
            raise DataError(f"{where}: {key!r} is {type(row[key]).__name__}; it must be {what}, null or left out.")
    return {**row, "_id": str(name)}
