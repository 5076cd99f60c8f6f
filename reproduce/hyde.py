"""HyDE's figures on five public collections, through the same code that users run; prints one JSON object.

    python reproduce/hyde.py --data FOLDER [--work FOLDER] [--only medline ...]

FOLDER holds BEIR folders: medline, bioasq12b-dev (with generations.jsonl), pubmedqa, liveqa-medquad, jaquad-dev. Collections are
made once in the work folder. nDCG@10 over all queries; a query without a relevant document counts 0.

- `bm25`: the plain analyzer of published baselines; `words`: mumei's own analyzer.
- `dense`: the query's vector alone. `default`: what `mumei search` answers. Where texts are stored, on the queries that have one:
- `hyde`: the paper's mean of query and text, ranked by that alone. `hyde guarded`: the same behind the guard.
- `swap ...`: each query is given the text of another query, mean of five permutations without fixed points.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from mumei.core.progress import Progress
from mumei.core.seeds import numpy_generator
from mumei.discover.sources import open_source
from mumei.retrieval.collection import Collection
from mumei.retrieval.documents import Document
from mumei.retrieval.evaluate import mean_ndcg
from mumei.retrieval.generators import OwnText
from mumei.retrieval.hyde import DEFAULT, PAPER
from mumei.retrieval.lexical import LexicalIndex
from mumei.retrieval.searcher import Searcher

SETS = ("medline", "bioasq12b-dev", "pubmedqa", "liveqa-medquad", "jaquad-dev")
PERMUTATIONS = 5


def read_lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def judgements(folder: Path, queries: list[dict]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {q["_id"]: {} for q in queries}
    for line in (folder / "qrels.tsv").read_text().splitlines()[1:]:
        query, document, grade = line.split("\t")
        found[query][document] = int(grade)
    return found


class Bench:
    """One collection with its queries, judgements and rankings."""

    def __init__(self, folder: Path, work: Path, encoder: str | None):
        self.queries = {q["_id"]: q for q in read_lines(folder / "queries.jsonl")}
        self.judged = judgements(folder, list(self.queries.values()))
        place = work / f"{folder.name}.search"
        known = (place / "collection.json").exists()
        self.collection = Collection.open(place) if known else Collection.create(place, encoder)
        items = open_source(folder / "corpus.jsonl").rows(metadata=True)
        self.collection.add((Document(i.id, i.title, i.text) for i in items if hasattr(i, "text")), progress=Progress())
        self.ids = [item["id"] for item in self.collection.rows(range(self.collection.total), ["id"])]
        self.plain = LexicalIndex.build(
            self.collection.document_store.texts(), work / f"{folder.name}.plain", analyzer="plain"
        )

    def score(self, ranking, texts: dict[str, str]) -> float:
        """Mean nDCG@10 of `ranking(query) -> rows` over some queries."""
        run = {q: [self.ids[row] for row in ranking(text)] for q, text in texts.items()}
        return round(mean_ndcg(run, {q: self.judged[q] for q in texts}), 4)

    def baselines(self, texts: dict[str, str]) -> dict[str, float]:
        alone = Searcher(self.collection, mode="off", hyde=replace(DEFAULT, fuse=False))
        joined = Searcher(self.collection, mode="off")
        return {
            "bm25": self.score(lambda text: self.plain.search(text, 10)[0], texts),
            "words": self.score(lambda text: self.collection.words.search(text, 10)[0], texts),
            "dense": self.score(lambda text: [row for row, _ in alone.ranked(text, 10)], texts),
            "default": self.score(lambda text: [row for row, _ in joined.ranked(text, 10)], texts),
        }

    def spaced(self) -> float:
        """The query's vector alone, over documents whose title and text are joined by a space, not by a full stop."""
        encoder = self.collection.encoder
        rows = self.collection.rows(range(self.collection.total), ["title", "text"])
        documents = encoder.encode([f"{row['title']} {row['text']}".strip() for row in rows])
        texts = {q: query["text"] for q, query in self.queries.items()}
        scores = dict(zip(texts.values(), encoder.encode(list(texts.values())) @ documents.T, strict=True))
        return self.score(lambda text: np.argsort(-scores[text], kind="stable")[:10], texts)

    def with_texts(self, texts: dict[str, str], written: dict[str, str], hyde) -> float:
        generator = OwnText({texts[q]: text for q, text in written.items()})
        searcher = Searcher(self.collection, generator=generator, hyde=hyde, mode="on")
        return self.score(lambda text: [row for row, _ in searcher.ranked(text, 10)], {q: texts[q] for q in written})


def hyde_figures(bench: Bench, folder: Path) -> dict[str, float]:
    written = {line["query_id"]: line["text"] for line in read_lines(folder / "generations.jsonl")}
    texts = {q: bench.queries[q]["text"] for q in written}
    one = {"n": 1}
    guarded, paper, default = (replace(PAPER, guard=True, **one), replace(PAPER, **one), replace(DEFAULT, **one))
    figures = {f"{name} (84)": value for name, value in bench.baselines(texts).items()}
    figures["hyde"] = bench.with_texts(texts, written, paper)
    figures["hyde guarded"] = bench.with_texts(texts, written, guarded)
    figures["default with texts"] = bench.with_texts(texts, written, default)
    swapped: dict[str, list[float]] = {"swap": [], "swap guarded": [], "swap default": []}
    for number in range(PERMUTATIONS):
        wrong = swap(written, number)
        for name, hyde in zip(swapped, (paper, guarded, default), strict=True):
            swapped[name].append(bench.with_texts(texts, wrong, hyde))
    return {**figures, **{name: round(float(np.mean(values)), 4) for name, values in swapped.items()}}


def swap(written: dict[str, str], number: int) -> dict[str, str]:
    """Give each query the text of another one."""
    rng = numpy_generator(number, "swap")
    while True:
        order = rng.permutation(len(written))
        if not (order == np.arange(len(written))).any():
            texts = list(written.values())
            return {query: texts[i] for query, i in zip(written, order, strict=True)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("hyde-work"))
    parser.add_argument("--encoder", default=None)
    parser.add_argument("--only", nargs="*", choices=SETS, default=SETS)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    figures: dict[str, dict[str, float]] = {}
    for name in options.only:
        folder = options.data / name
        bench = Bench(folder, options.work, options.encoder)
        figures[name] = bench.baselines({q: query["text"] for q, query in bench.queries.items()})
        if name == "liveqa-medquad":
            summaries = {q: x["metadata"]["summary"] or x["text"] for q, x in bench.queries.items()}
            figures[name] |= {f"{key} (summary)": value for key, value in bench.baselines(summaries).items()}
            figures[name]["dense, title and text joined by a space"] = bench.spaced()
        if (folder / "generations.jsonl").exists():
            figures[name] |= hyde_figures(bench, folder)
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
