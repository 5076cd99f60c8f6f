"""Answers from a workspace: `mumei.retrieval.searcher` over what `discover` made, each hit with its cluster.

A workspace of sequences is searched by sequence (20 letters or more) or by the words of its descriptions.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mumei.core.errors import UsageError
from mumei.discover.workspace import Workspace
from mumei.protein.kmer import KmerEncoder
from mumei.retrieval.encoders import text_encoder
from mumei.retrieval.index import VectorStore
from mumei.retrieval.lexical import LexicalIndex
from mumei.retrieval.searcher import Searcher as _Searcher
from mumei.retrieval.searcher import read_query

if TYPE_CHECKING:
    import numpy as np

_SEQUENCE = re.compile(r"[A-Za-z*-]{20,}")


class Material:
    """What a searcher reads of a workspace: encoder, vectors, words and rows."""

    def __init__(self, folder: Path | str):
        self.workspace = Workspace.open(folder)
        self.kind = self.workspace.kind
        if self.kind == "table":
            raise UsageError(
                f"{folder} was made from a numeric table, which has no text to search; open its report.html."
            )
        summary = self.workspace.summary("encode")
        self.background = (summary["background_mean"], summary["background_deviation"])
        self.encoder = encoder_of(self.workspace)
        self.vectors = VectorStore(self.workspace.path("vectors"), self.encoder.name, self.encoder.dim)
        self.words = LexicalIndex.open(self.workspace.path("lexical"))

    @property
    def live(self) -> np.ndarray:
        """Which rows may be found, bool (n,): all of them."""
        import numpy as np

        return np.ones(len(self.vectors), dtype=bool)

    def rows(
        self, wanted: Sequence[int], columns: Sequence[str] = ("id", "title", "text", "metadata")
    ) -> list[dict[str, Any]]:
        """Return some rows as dicts, in the order asked; a workspace keeps no metadata."""
        found = self.workspace.rows(wanted, [c for c in columns if c != "metadata"])
        return [{**item, "metadata": {}} for item in found] if "metadata" in columns else found

    def where(self, expression: str) -> np.ndarray:
        """Refuse: a workspace keeps no metadata to choose by."""
        raise UsageError(
            f"--where {expression!r} needs a collection with metadata, and {self.workspace.folder} is a workspace of discover, "
            "which keeps id, title and text alone. Make a collection with: mumei search index SOURCE --out FOLDER"
        )

    def read_query(self, query: str) -> tuple[str | None, str]:
        """Return what the encoder is given for a query, or None and why it gets nothing."""
        if self.kind != "sequence":
            return read_query(query, self.encoder)
        letters = re.sub(r"\s", "", query)
        if _SEQUENCE.fullmatch(letters) and " " not in query.strip():
            return letters.upper(), ""
        return None, "searched in names and descriptions; to search by sequence, give 20 letters or more"


class Searcher(_Searcher):
    """Search over a finished workspace. Making one loads the model and maps the indexes; a search is then quick.

    Parameters
    ----------
    folder : path
        A workspace made by `discover`.
    options
        As of `mumei.retrieval.searcher.Searcher`.

    Raises
    ------
    ArtifactError
        There is no finished workspace.
    UsageError
        The workspace holds a numeric table, which has no text to search.
    """

    def __init__(self, folder: Path | str, **options: Any):
        super().__init__(Material(folder), **options)
        self.workspace: Workspace = self.material.workspace
        clusters = self.workspace.path("clusters.parquet")
        self.labels = self.workspace.column("clusters", "cluster") if clusters.exists() else None

    def ask(self, question: str, top: int = 10) -> dict[str, Any]:
        """Answer one question: the fields of `mumei.retrieval.answers.Answer` as JSON values.

        Parameters
        ----------
        question : str
            Words, or for a workspace of sequences a sequence of 20 letters or more.
        top : int
            How many hits.
        """
        answer = self.search(question, top).to_dict()
        # Times live in the log alone: what is written to a workspace must not depend on the clock.
        for stage in answer["stages"]:
            del stage["seconds"]
        return answer

    def _hits(self, found: Any, joined: Any) -> list[dict[str, Any]]:
        hits = super()._hits(found, joined)
        for hit in hits:
            hit["cluster"] = None if self.labels is None else int(self.labels[hit["row"]])
        return hits


def encoder_of(workspace: Workspace) -> Any:
    """Return the encoder that a workspace's vectors were made with."""
    source = workspace.manifest["source"]
    if workspace.kind == "sequence":
        return KmerEncoder(k=source["kmer"])
    return text_encoder(source.get("encoder"))


def search(folder: Path | str, question: str, top: int = 10) -> dict[str, Any]:
    """Answer one question from a workspace; see `Searcher.ask`. For several questions keep a `Searcher`."""
    return Searcher(folder).ask(question, top)
