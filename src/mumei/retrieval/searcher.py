"""Search: words, meaning and hypothetical documents over one collection, joined, with evidence.

The order of a search: the query alone, by words and by meaning; then, where the mode asks for it and a generator is at hand,
hypothetical documents (`hyde.py`), the guard, the senses and the search with their vectors; then the rankings are joined.
Whatever fails or takes too long is left out, the rest is still the answer, and the answer says what was left out and why.

Ranks are joined by weighted reciprocal ranks: words count half of meaning for a question, the less the more words it has beyond
30 (a long story is a poor BM25 query), and as much as meaning for a name or identifier. With hypothetical documents, meaning's
weight moves to them by half.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from mumei.core.errors import UsageError, unknown
from mumei.retrieval.answers import Answer, Clock, Generation, why
from mumei.retrieval.auto import is_name, worth_it
from mumei.retrieval.budget import Budget, OverBudget, within
from mumei.retrieval.evidence import ground, near, nearest_sentences
from mumei.retrieval.feedback import feedback_vector
from mumei.retrieval.fusion import reciprocal_rank_fusion
from mumei.retrieval.guard import LEAST, Guard, cosines
from mumei.retrieval.hyde import DEFAULT, Hyde, hyde_vector
from mumei.retrieval.hypotheses import Writer
from mumei.retrieval.lexical import overlap
from mumei.retrieval.passages import label
from mumei.retrieval.prompts import Prompt, find_prompt
from mumei.retrieval.senses import Sense, find_senses

if TYPE_CHECKING:
    import numpy as np

DEPTH = 100  # rows taken from each ranking before they are joined
EVIDENCE_FOR = 10  # hits whose sentences are looked at
LONGEST = 10_000  # characters of a query that are searched
QUERY_TIMES = 5  # the query's words count this often beside the words of the hypothetical documents
LONG = 30  # words of a question; beyond, they count less
MODES = ("off", "auto", "on")
FEEDBACK = "feedback"
OWN_TEXT = "your own text"


@dataclass
class Found:
    """One query on its way to an answer."""

    question: str
    text: str
    allow: Any = None
    notes: list[str] = field(default_factory=list)
    clock: Clock = field(default_factory=Clock)
    vector: Any = None
    dense: list[int] = field(default_factory=list)
    words: list[int] = field(default_factory=list)
    hyde: list[int] = field(default_factory=list)
    generator: str = ""
    generations: list[Generation] = field(default_factory=list)
    senses: list[tuple[Sense, list[int]]] = field(default_factory=list)


class Searcher:
    """Search over a collection or a workspace.

    Parameters
    ----------
    material : Collection or alike
        Has `encoder`, `vectors`, `words`, `background`, `live` and `rows`; `where` if conditions are to be used.
    generator : Generator, "feedback" or None
        Who writes the hypothetical documents; "feedback" moves the query towards its first hits instead, without a language
        model; None leaves both out.
    prompt : str or Prompt, optional
        What the generator is asked; see `prompts.py`.
    hyde : Hyde
        `DEFAULT`, `PAPER` or your own.
    mode : {"auto", "on", "off"}
        "auto" generates only where the first search is weak, and never for names and identifiers.
    language : str, optional
        Language of the documents, by its English name.
    seed : int
    budget : Budget
    prompt_files : sequence of path
        TOML files with more prompts.
    """

    def __init__(
        self,
        material: Any,
        *,
        generator: Any = None,
        prompt: str | Prompt | None = None,
        hyde: Hyde = DEFAULT,
        mode: str = "auto",
        language: str | None = None,
        seed: int = 0,
        budget: Budget | None = None,
        prompt_files: Sequence[Any] = (),
    ):
        if mode not in MODES:
            raise unknown("mode", mode, MODES)
        self.material, self.generator, self.hyde, self.mode = material, generator, hyde, mode
        self.prompt = find_prompt(prompt, *prompt_files)
        if self.prompt.needs_language and not language:
            self.prompt.render("", language)  # raises what is missing before any query is asked
        self.language, self.seed, self.budget = language, seed, budget or Budget()
        self.guard = Guard.of(material)
        self.last_fall_back = ""
        self.writer = None
        if generator is not None and generator != FEEDBACK:
            self.writer = Writer(generator, self.prompt, hyde, self.budget, language, seed)

    # --- asking -------------------------------------------------------------------------------------------------------

    def search(
        self, query: str, k: int = 10, *, where: str | None = None, hypotheses: Sequence[str] | None = None
    ) -> Answer:
        """Answer one query; see `stream`."""
        *_, last = self.stream(query, k, where=where, hypotheses=hypotheses)
        return last

    def stream(
        self, query: str, k: int = 10, *, where: str | None = None, hypotheses: Sequence[str] | None = None
    ) -> Iterator[Answer]:
        """Yield the answer of the query alone at once, then, if hypothetical documents are made, the whole answer.

        Parameters
        ----------
        query : str
        k : int
            Hits.
        where : str, optional
            A condition on the documents' metadata, such as `"year >= 2015"`.
        hypotheses : sequence of str, optional
            Hypothetical documents of your own, instead of a generator's.

        Raises
        ------
        UsageError
            The query is empty, k is below 1, or the condition is wrong.
        """
        found = self._begin(query, k, where)
        self._first(found, max(DEPTH, k))
        if self._wanted(found, hypotheses):
            yield self._answer(found, k, complete=False)
            self._expand(found, hypotheses, max(DEPTH, k))
        yield self._answer(found, k, complete=True)

    def ranked(self, query: str, k: int = 10, *, hypotheses: Sequence[str] | None = None) -> list[tuple[int, float]]:
        """Return (row, score) of the best hits alone, without reading any text: for evaluation.

        `last_fall_back` says afterwards why hypothetical documents failed, if they were wanted and did.
        """
        found = self._begin(query, k, None)
        self._first(found, max(DEPTH, k))
        if self._wanted(found, hypotheses):
            self._expand(found, hypotheses, max(DEPTH, k))
        self.last_fall_back = next((s.fell_back for s in found.clock.stages if s.fell_back), "")
        return self._joined(found, k)

    def _begin(self, query: str, k: int, where: str | None) -> Found:
        if not isinstance(query, str) or not query.strip():
            raise UsageError("the question is empty; ask something, for example: 'statins and muscle pain'")
        if k < 1:
            raise UsageError(f"--top {k} is not allowed; give 1 or more.")
        found = Found(query, query.strip(), notes=list(getattr(self.material, "notes", [])))
        if len(found.text) > LONGEST:
            found.text = found.text[:LONGEST]
            found.notes.append(
                f"the question has {len(query):,} characters; its first {LONGEST:,} were searched by words, and the encoder "
                "reads fewer still. A shorter question finds more."
            )
        found.allow = self._allowed(where)
        return found

    def _allowed(self, where: str | None) -> np.ndarray | None:
        live = self.material.live
        if where is None:
            return None if bool(live.all()) else live
        return live & self.material.where(where)

    # --- the query alone ----------------------------------------------------------------------------------------------

    def _first(self, found: Found, depth: int) -> None:
        text, note = self._readable(found.text)
        if note:
            found.notes.append(note)
        if text is not None:
            with found.clock.stage("encode the question"):
                encode = getattr(self.material.encoder, "encode_queries", None) or self.material.encoder.encode
                found.vector = encode([text])[0]
            with found.clock.stage("search by meaning"):
                found.dense = self._by_vector(found, found.vector, depth)
        if self._uses_words(text):
            with found.clock.stage("search by words"):
                found.words = self._by_words(found, found.text, depth)

    def _readable(self, query: str) -> tuple[str | None, str]:
        """Return what the encoder is given (None: it cannot read this query) and a note on it."""
        reader = getattr(self.material, "read_query", None)
        if reader is not None:
            return reader(query)
        return read_query(query, self.material.encoder)

    def _uses_words(self, text: str | None) -> bool:
        return self.material.words is not None and (text is None or getattr(self.material, "kind", "text") == "text")

    def _by_vector(self, found: Found, vector: np.ndarray, depth: int) -> list[int]:
        rows, _ = self.material.vectors.search(vector[None], depth, allow=found.allow)
        return [int(row) for row in rows[0]]

    def _by_words(self, found: Found, text: str, depth: int) -> list[int]:
        return [int(row) for row in self.material.words.search(text, depth, allow=found.allow)[0]]

    # --- hypothetical documents ---------------------------------------------------------------------------------------

    def _wanted(self, found: Found, hypotheses: Sequence[str] | None) -> bool:
        if found.vector is None:
            if hypotheses:
                found.notes.append("the hypothetical documents were not used: the encoder cannot read the question")
            return False
        if hypotheses:
            return True
        if self.generator is None or self.mode == "off":
            return False
        if self.mode == "on":
            return True
        best = self._similarity(found, found.dense[:1])
        wanted, reason = worth_it(found.text, best, self.material.background, found.dense, found.words)
        if not wanted:
            found.notes.append(f"no hypothetical documents: {reason}")
        return wanted

    def _similarity(self, found: Found, rows: Sequence[int]) -> float | None:
        return float(cosines(self.material.vectors.rows(rows), found.vector)[0]) if rows else None

    def _expand(self, found: Found, hypotheses: Sequence[str] | None, depth: int) -> None:
        if not hypotheses and self.generator == FEEDBACK:
            with found.clock.stage("search by feedback"):
                found.hyde = self._by_vector(
                    found, feedback_vector(found.vector, self.material.vectors, found.dense), depth
                )
            found.generator = FEEDBACK
            found.notes.append("vector feedback stands in for hypothetical documents: no language model took part")
            return
        texts = [str(text) for text in hypotheses] if hypotheses else self._generate(found, depth)
        found.generator = OWN_TEXT if hypotheses else getattr(self.generator, "name", "")
        found.generations = [Generation(text) for text in texts]
        if not texts:
            return
        with found.clock.stage("encode the documents"):
            vectors = self.material.encoder.encode(texts)
        kept = self._guarded(found, vectors)
        if not kept:
            found.notes.append("no hypothetical document could be used; the answer is that of the question alone")
            return
        self._search_documents(found, kept, vectors, depth)

    def _generate(self, found: Found, depth: int) -> list[str]:
        with found.clock.stage("generate") as stage:
            assert self.writer is not None
            written = self.writer.write(found.question, found.text)
            stage.fell_back = written.fell_back
        if written.fell_back and written.texts:
            found.notes.append(f"{len(written.texts)} of {self.hyde.n} hypothetical documents: {written.fell_back}")
        elif written.fell_back:
            found.notes.append(
                f"no hypothetical documents, the answer is that of the question alone: {written.fell_back}"
            )
        if written.summary:
            self._use_summary(found, written.summary, depth)
        found.notes += getattr(self.generator, "notes", [])
        return written.texts

    def _use_summary(self, found: Found, summary: str, depth: int) -> None:
        """Search the summary of a long question in its place, if it is about the same thing."""
        text, _ = self._readable(summary) if summary else (None, "")
        encode = getattr(self.material.encoder, "encode_queries", None) or self.material.encoder.encode
        vector = None if text is None else encode([text])[0]
        if vector is None or (self.guard is not None and not self.guard.keeps(found.vector, vector[None])[0][0]):
            found.notes.append("the question's summary was not about the question and was not used")
            return
        found.text = summary
        self._first(found, depth)

    def _guarded(self, found: Found, vectors: np.ndarray) -> list[int]:
        """Mark which documents are kept and return their numbers."""
        guard = self.guard if self.hyde.guard else None
        if self.hyde.guard and guard is None:
            found.notes.append(f"no guard: fewer than {LEAST} documents do not tell what unrelated looks like")
        similarity = cosines(vectors, found.vector)
        near_enough = similarity >= (-1.0 if guard is None else guard.threshold)
        plain = " ".join(found.question.lower().split())
        for generation, fine, cosine in zip(found.generations, near_enough, similarity, strict=True):
            generation.similarity = round(float(cosine), 4)
            if not generation.text.strip():
                generation.kept, generation.note = False, "empty"
            elif self.hyde.guard and " ".join(generation.text.lower().split()) == plain:
                generation.kept, generation.note = False, "repeats the question"
            elif guard is not None and not fine:
                generation.kept = False
                generation.note = f"not about the question: cosine {cosine:.2f}, below {guard.threshold:.2f}"
        dropped = [g.note for g in found.generations if not g.kept]
        if dropped:
            found.notes.append(
                f"{len(dropped)} of {len(found.generations)} hypothetical documents dropped ({dropped[0]})"
            )
        return [i for i, generation in enumerate(found.generations) if generation.kept]

    def _search_documents(self, found: Found, kept: list[int], vectors: np.ndarray, depth: int) -> None:
        texts = [found.generations[i].text for i in kept]
        senses = [Sense(tuple(range(len(kept))))]
        if self.hyde.senses and self.guard is not None:
            senses = find_senses(vectors[kept], texts, self.guard.threshold, found.text)
        with found.clock.stage("search by hypothetical documents"):
            for sense in senses:
                members = vectors[[kept[i] for i in sense.members]]
                searched = hyde_vector(found.vector, members, self.hyde.weight(len(members)))
                numbers = tuple(kept[i] for i in sense.members)
                found.senses.append((Sense(numbers, sense.name), self._by_vector(found, searched, depth)))
        shares = [len(sense.members) for sense, _ in found.senses]
        found.hyde = found.senses[0][1]
        if len(senses) > 1:
            found.notes.append(f"the question has {len(senses)} senses here; each was searched apart")
            joined = reciprocal_rank_fusion([rows for _, rows in found.senses], depth, weights=shares)
            found.hyde = [row for row, _ in joined]
        if self.hyde.fuse and self._uses_words("text"):
            with found.clock.stage("search by words"):
                found.words = self._by_words(found, " ".join([found.text] * QUERY_TIMES + texts), depth)

    # --- the answer ---------------------------------------------------------------------------------------------------

    def _joined(self, found: Found, k: int) -> list[tuple[int, float]]:
        if not self.hyde.fuse:
            alone = found.hyde or found.dense or found.words
            return reciprocal_rank_fusion([alone], k) if alone else []
        words = weight_of_words(found.text)
        meaning = 0.5 if found.hyde else 1.0
        weighted = [(found.words, words), (found.dense, meaning), (found.hyde, 1.0)]
        used = [(ranking, weight) for ranking, weight in weighted if ranking]
        return reciprocal_rank_fusion([r for r, _ in used], k, weights=[w for _, w in used]) if used else []

    def _answer(self, found: Found, k: int, *, complete: bool) -> Answer:
        joined = self._joined(found, k)
        notes = list(found.notes)
        with found.clock.stage("read the hits"):
            hits = self._hits(found, joined)
        if complete:
            self._evidence(found, hits, notes)
        self._judge(found, hits, notes)
        return Answer(
            question=found.question,
            hits=hits,
            notes=notes,
            generator=found.generator,
            generations=found.generations,
            senses=self._groups(found, k) if len(found.senses) > 1 else [],
            searched=found.text,
            stages=list(found.clock.stages),
            complete=complete,
        )

    def _hits(self, found: Found, joined: list[tuple[int, float]]) -> list[dict[str, Any]]:
        rows = [row for row, _ in joined]
        close = cosines(self.material.vectors.rows(rows), found.vector) if found.vector is not None and rows else None
        place = {name: _places(getattr(found, name)) for name in ("dense", "words", "hyde")}
        hits = []
        for i, ((row, score), item) in enumerate(zip(joined, self.material.rows(rows), strict=True)):
            hit = {
                "rank": i + 1,
                **item,
                "label": label(item, getattr(self.material, "kind", "text")),
                "score": round(score, 4),
                "similarity": None if close is None else round(float(close[i]), 4),
                "dense_rank": place["dense"].get(row),
                "lexical_rank": place["words"].get(row),
                "hyde_rank": place["hyde"].get(row),
                "words": overlap(found.text, f"{item['id']} {item['title']} {item['text']}") if found.words else [],
                "sentence": "",
                "support": [],
            }
            hits.append({**hit, "words": list(hit["words"]), "why": why(hit, found.generator)})
        return hits

    def _evidence(self, found: Found, hits: list[dict[str, Any]], notes: list[str]) -> None:
        if getattr(self.material, "kind", "text") != "text":
            return
        # Copies: work that is given up goes on in the background and must not change what was returned.
        first = [dict(hit) for hit in hits[:EVIDENCE_FOR]]
        generations = [replace(generation, sentences=[]) for generation in found.generations]

        def work() -> None:
            nearest_sentences(first, self.material.encoder, found.vector)
            threshold = near(self.material.background)
            ground(generations, first, self.material.encoder, self.material.vectors, threshold, found.allow)

        with found.clock.stage("evidence") as stage:
            try:
                within(self.budget.evidence, "finding the evidence", work)
            except OverBudget as error:
                stage.fell_back = str(error)
                notes.append(f"hits without sentences: {error}")
                return
        hits[:EVIDENCE_FOR], found.generations = first, generations

    def _judge(self, found: Found, hits: list[dict[str, Any]], notes: list[str]) -> None:
        if not hits:
            notes.append(self._nothing(found))
        elif found.vector is not None and self.guard is not None and getattr(self.material, "kind", "text") == "text":
            mean, deviation = self.material.background
            best = max(hit["similarity"] for hit in hits)
            if best < near((mean, deviation)):
                notes.append(
                    f"weak: the nearest text has similarity {best:.2f}, and unrelated texts here have {mean:.2f} on average "
                    f"(standard deviation {deviation:.2f}); the collection may not hold an answer"
                )

    def _nothing(self, found: Found) -> str:
        """Say why there is no hit."""
        if not int(self.material.live.sum()):
            return "the collection is empty; add documents with: mumei search index SOURCE --out FOLDER"
        if found.allow is not None and not found.allow.any():
            return f"no document meets the condition, of {int(self.material.live.sum()):,}"
        only = "" if found.allow is None else " among the documents that meet the condition"
        return f"nothing matches{only}: no word of the question is in the collection"

    def _groups(self, found: Found, k: int) -> list[dict[str, Any]]:
        total = sum(len(sense.members) for sense, _ in found.senses)
        groups = []
        for sense, rows in found.senses:
            items = self.material.rows(rows[:k])
            hits = [{"row": item["row"], "id": item["id"], "label": label(item)} for item in items]
            share = round(len(sense.members) / total, 4)
            groups.append({"name": sense.name, "share": share, "generations": list(sense.members), "hits": hits})
        return groups


def _places(ranking: Sequence[int]) -> Mapping[int, int]:
    return {row: rank for rank, row in enumerate(ranking, start=1)}


def read_query(query: str, encoder: Any) -> tuple[str | None, str]:
    """Return what an encoder is given for a query, or None and a note where it cannot read the query's script."""
    if encoder.name.startswith("all-MiniLM-L6-v2") and not _mostly_latin(query):
        return None, (
            "searched by words alone: the embedded encoder knows English; "
            "a multilingual one is chosen by --encoder when the collection is made"
        )
    return query, ""


def _mostly_latin(text: str) -> bool:
    letters = [c for c in text if c.isalpha()]
    return not letters or sum(c.isascii() or "\u00c0" <= c <= "\u024f" for c in letters) >= len(letters) / 2


def weight_of_words(query: str) -> float:
    """Return what the ranking by words counts beside that by meaning, which counts 1.

    Examples
    --------
    >>> weight_of_words("BRCA1"), weight_of_words("does aspirin thin blood"), weight_of_words("my mother has pain " * 15)
    (1.0, 0.5, 0.25)
    """
    return 1.0 if is_name(query) else 0.5 * min(1.0, LONG / max(1, len(query.split())))
