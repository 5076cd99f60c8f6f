"""Answers: dense and lexical search over a workspace, joined by reciprocal rank fusion, each hit with its reasons.

Three things are said rather than hidden: how close the vectors are beside how close unrelated ones are, which words matched,
and which sentence of the hit lies nearest to the question. A question in a script that the encoder was not trained on is
answered by words alone, and says so.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mumei.core.errors import UsageError
from mumei.discover.workspace import Workspace
from mumei.protein.kmer import KmerEncoder
from mumei.retrieval.encoders import MiniLMEncoder, text_encoder
from mumei.retrieval.fusion import reciprocal_rank_fusion
from mumei.retrieval.index import VectorStore
from mumei.retrieval.lexical import LexicalIndex, overlap

if TYPE_CHECKING:
    import numpy as np

DEPTH = 100  # rows taken from each ranking before they are joined
SENTENCES_FOR = 10  # hits whose nearest sentence is looked for
SENTENCES_EACH = 12
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z0-9(\"'])|(?<=[。！？])")
_SEQUENCE = re.compile(r"[A-Za-z*-]{20,}")
_LATIN = re.compile(r"[A-Za-z\u00c0-\u024f]")
_LETTER = re.compile(r"[^\W\d_]")


class Searcher:
    """Search over a finished workspace. Making one loads the model and maps the indexes; `ask` is then quick.

    Parameters
    ----------
    folder : path
        A workspace made by `discover`.

    Raises
    ------
    ArtifactError
        There is no finished workspace.
    UsageError
        The workspace holds a numeric table, which has no text to search.
    """

    def __init__(self, folder: Path | str):
        self.workspace = Workspace.open(folder)
        if self.workspace.kind == "table":
            raise UsageError(
                f"{folder} was made from a numeric table, which has no text to search; open its report.html."
            )
        summary = self.workspace.summary("encode")
        self.background = (summary["background_mean"], summary["background_deviation"])
        self.encoder = encoder_of(self.workspace)
        self.store = VectorStore(self.workspace.path("vectors"), self.encoder.name, self.encoder.dim)
        self.words = LexicalIndex.open(self.workspace.path("lexical"))
        clusters = self.workspace.path("clusters.parquet")
        self.labels = self.workspace.column("clusters", "cluster") if clusters.exists() else None

    def warm_up(self) -> None:
        """Load the model's weights now rather than at the first question."""
        self.encoder.encode(["A" * 20])

    def ranked(self, question: str, top: int = 10) -> list[int]:
        """Return the row numbers of the best hits alone, without reading their texts."""
        _, fused, *_ = self._rank(question, top)
        return [row for row, _ in fused]

    def ask(self, question: str, top: int = 10) -> dict[str, Any]:
        """Answer one question.

        Parameters
        ----------
        question : str
            Words, or for a workspace of sequences a sequence of 20 letters or more.
        top : int
            How many hits.

        Returns
        -------
        dict
            `question`, `notes` (what was done differently, if anything) and `hits`: `rank`, `row`, `id`, `title`, `text`,
            `label` (the title, or how the text begins), `score` (1 = first in every ranking), `similarity` (cosine)
            with `dense_rank`, `lexical_rank`, `words`,
            `sentence`, `cluster`, `why`.
        """
        if not question.strip():
            raise UsageError(
                "the question is empty; ask something, for example: mumei search WORKSPACE 'statins and muscle pain'"
            )
        if top < 1:
            raise UsageError(f"--top {top} is not allowed; give 1 or more.")
        notes, fused, dense, lexical, vector = self._rank(question, top)
        hits = self._hits(question, fused, dense, lexical, vector)
        if not hits:
            notes.append("nothing matches: no word of the question is in the collection")
        elif vector is not None and self.workspace.kind == "text":
            self._judge(hits, notes)
        return {"question": question, "notes": notes, "hits": hits}

    def _rank(
        self, question: str, top: int
    ) -> tuple[list[str], list[tuple[int, float]], list[int], list[int], np.ndarray | None]:
        """Return notes, the joined ranking, the two it was joined from and the question's vector."""
        notes: list[str] = []
        dense, vector = self._dense(question, max(DEPTH, top), notes)
        # A sequence has no words; leave the words out of a search by sequence.
        lexical = [] if self.workspace.kind == "sequence" and dense else self.words.search(question, max(DEPTH, top))[0]
        rankings = [ranking for ranking in (dense, lexical) if ranking]
        return notes, reciprocal_rank_fusion(rankings, top) if rankings else [], dense, lexical, vector

    def _dense(self, question: str, k: int, notes: list[str]) -> tuple[list[int], np.ndarray | None]:
        if self.workspace.kind == "sequence":
            if not _SEQUENCE.fullmatch(re.sub(r"\s", "", question)) or " " in question.strip():
                notes.append("searched in names and descriptions; to search by sequence, give 20 letters or more")
                return [], None
            question = re.sub(r"\s", "", question).upper()
        elif isinstance(self.encoder, MiniLMEncoder) and not _mostly_latin(question):
            notes.append(
                "searched by words alone: the embedded encoder knows English; a multilingual one can be chosen with --encoder"
            )
            return [], None
        vector = self.encoder.encode([question])
        return [int(r) for r in self.store.search(vector, k)[0][0]], vector[0]

    def _hits(
        self, question: str, fused: list[tuple[int, float]], dense: list[int], lexical: list[int], vector: Any
    ) -> list[dict[str, Any]]:
        rows = self.workspace.rows([row for row, _ in fused])
        cosines = self.store.rows([row for row, _ in fused]) @ vector if vector is not None and fused else None
        hits = []
        for i, ((row, score), item) in enumerate(zip(fused, rows, strict=True)):
            hit = {
                "rank": i + 1,
                **item,
                "label": label(item, self.workspace.kind),
                "score": round(score, 4),
                "similarity": None if cosines is None else round(float(cosines[i]), 4),
                "dense_rank": dense.index(row) + 1 if row in dense else None,
                "lexical_rank": lexical.index(row) + 1 if row in lexical else None,
                "words": list(overlap(question, f"{item['id']} {item['title']} {item['text']}")) if lexical else [],
                "cluster": None if self.labels is None else int(self.labels[row]),
                "sentence": "",
            }
            hit["why"] = _why(hit)
            hits.append(hit)
        if self.workspace.kind == "text":
            self._nearest_sentences(hits[:SENTENCES_FOR], vector)
        return hits

    def _nearest_sentences(self, hits: list[dict[str, Any]], vector: np.ndarray | None) -> None:
        """Set each hit's `sentence`: near to the question by its vector, with its words."""
        split = [sentences(hit["text"])[:SENTENCES_EACH] for hit in hits]
        flat = [s for part in split for s in part]
        cosines = self.encoder.encode(flat) @ vector if vector is not None and flat else None
        start = 0
        for hit, part in zip(hits, split, strict=True):
            if part:
                known = max(len(hit["words"]), 1)
                words = [len(overlap(" ".join(hit["words"]), sentence)) / known for sentence in part]
                near = [0.0] * len(part) if cosines is None else cosines[start : start + len(part)]
                # A sentence with the question's own words is the better evidence among sentences about as near.
                hit["sentence"] = max(zip(near, words, part, strict=True), key=lambda s: s[0] + 0.1 * s[1])[2]
            start += len(part)

    def _judge(self, hits: list[dict[str, Any]], notes: list[str]) -> None:
        mean, deviation = self.background
        best = max(hit["similarity"] for hit in hits)
        if best < mean + 4 * deviation:
            notes.append(
                f"weak: the nearest text has similarity {best:.2f}, and unrelated texts here have {mean:.2f} on average "
                f"(standard deviation {deviation:.2f}); the collection may not hold an answer"
            )


def _why(hit: dict[str, Any]) -> str:
    parts = []
    if hit["similarity"] is not None:
        place = f", number {hit['dense_rank']} by meaning" if hit["dense_rank"] else ""
        parts.append(f"similarity {hit['similarity']:.2f}{place}")
    if hit["words"]:
        place = f", number {hit['lexical_rank']} by words" if hit["lexical_rank"] else ""
        parts.append(f"words: {', '.join(hit['words'][:8])}{place}")
    return "; ".join(parts)


def _mostly_latin(text: str) -> bool:
    letters = _LETTER.findall(text)
    return not letters or sum(bool(_LATIN.match(c)) for c in letters) >= len(letters) / 2


def sentences(text: str) -> list[str]:
    """Split a text into sentences at ends that a capital, digit or bracket follows, and at Japanese full stops.

    Examples
    --------
    >>> sentences("One is here. Two is, e.g. this one.")
    ['One is here.', 'Two is, e.g. this one.']
    """
    return [s.strip() for s in _SENTENCE.split(text) if s and s.strip()]


def label(item: dict[str, Any], kind: str) -> str:
    """Return what a row is called: its title, else how its text begins; a sequence or a table's row by its id."""
    return item["title"] or (shorten(item["text"], 80) if kind == "text" else "") or item["id"]


def shorten(text: str, length: int) -> str:
    """Return the beginning of a text on one line, with an ellipsis where it was cut."""
    text = " ".join(text[: 4 * length].split())
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def encoder_of(workspace: Workspace) -> Any:
    """Return the encoder that a workspace's vectors were made with."""
    source = workspace.manifest["source"]
    if workspace.kind == "sequence":
        return KmerEncoder(k=source["kmer"])
    return text_encoder(source.get("encoder"))


def search(folder: Path | str, question: str, top: int = 10) -> dict[str, Any]:
    """Answer one question from a workspace; see `Searcher.ask`. For several questions keep a `Searcher`."""
    return Searcher(folder).ask(question, top)
