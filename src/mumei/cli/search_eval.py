"""`mumei search eval` and `compare`: rankings measured against judgements, or without any."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from mumei.cli.output import Output


def evaluate(
    folder: Path,
    *,
    beir: Path | None = None,
    split: str | None = None,
    queries: Path | None = None,
    qrels: Path | None = None,
    field: str | None = None,
    known_item: int | None = None,
    measures: list[str] | None = None,
    generator: str | None = None,
    prompt: str | None = None,
    prompt_file: list[Path] | None = None,
    language: str | None = None,
    documents: int | None = None,
    paper: bool = False,
    no_guard: bool = False,
    budget: float = 30.0,
    seed: int = 0,
    top: int = 100,
    out: Path | None = None,
    json: bool = False,
    quiet: bool = False,
) -> int:
    """Measure a collection's rankings: words, meaning, both joined, and, with a generator, hypothetical documents.

    Judgements come from a BEIR folder or from TREC files. Without any, --known-item asks whether documents are found by their own
    titles, which needs no label.

    Parameters
    ----------
    folder
        A collection or a workspace.
    beir
        A BEIR folder with queries.jsonl and qrels.
    split
        Which of its qrels.
    queries
        TREC topics, or lines of id, tab, text.
    qrels
        TREC judgements.
    field
        A name in the BEIR queries' metadata to ask instead of their text, such as summary.
    known_item
        Without judgements: so many documents are looked for by their titles.
    measures
        Such as nDCG@10, AP, R@100, MRR@10, P@5, success@1; may be repeated.
    generator
        Who writes the hypothetical documents; see mumei search query --help.
    prompt
        What the generator is asked.
    prompt_file
        A TOML file with prompts of your own; may be repeated.
    language
        Language of the documents.
    documents
        How many hypothetical documents.
    paper
        The published setting of HyDE.
    no_guard
        Use every hypothetical document.
    budget
        Seconds that generating may take for a query.
    seed
        Seed of the generator, the sample and the resampling.
    top
        Hits kept of each query.
    out
        Write the runs here as TREC files.
    json
        Print the result as one JSON document.
    quiet
        No progress.
    """
    output = Output(json=json, quiet=quiet)
    from mumei.cli.material import Asking, open_searcher
    from mumei.core.errors import UsageError
    from mumei.core.files import make_folder
    from mumei.retrieval.evaluate import DEFAULT_MEASURES
    from mumei.retrieval.evaluate import evaluate as measure
    from mumei.retrieval.rankings import make_runs
    from mumei.retrieval.trec import write_run

    if sum(given is not None for given in (beir, qrels, known_item)) != 1 or (qrels is None) != (queries is None):
        raise UsageError(
            "give judgements by --beir FOLDER, or by --queries FILE with --qrels FILE; or --known-item 200."
        )
    asking = Asking(
        generator, "auto", prompt, tuple(prompt_file or ()), language, documents, paper, no_guard, budget, seed
    )
    searcher = open_searcher(folder, asking)
    asked, judged, notes, kinds = _questions(searcher.material, beir, split, queries, qrels, field, known_item, seed)
    options = {name: value for name, value in asking.options().items() if name not in ("generator", "hyde", "mode")}
    progress = output.progress()
    if searcher.generator is not None:
        progress.say(f"hypothetical documents by {getattr(searcher.generator, 'name', searcher.generator)}")
    made = make_runs(
        searcher.material, asked, top, generator=searcher.generator, hyde=searcher.hyde, progress=progress, **options
    )
    runs = made.runs
    names = list(measures or DEFAULT_MEASURES)
    found = {name: measure(run, judged, names) for name, run in runs.items()}
    notes += _failures(made.failed, len(asked))
    verdict = (
        _verdict(runs, judged, names[0], kinds, seed) if len(made.failed) < len(asked) / 2 else {"data": {}, "text": ""}
    )
    means = {name: e.mean for name, e in found.items()}
    data = {"means": means, "queries": len(judged), "notes": notes, "failed": made.failed, **verdict["data"]}
    output.result(data, "\n".join([_table(found), f"over {len(judged):,} queries", *notes, verdict["text"]]).rstrip())
    if out is not None:
        make_folder(out)
        for name, run in runs.items():
            write_run(out / f"{name.replace(' ', '-')}.run", run, name.replace(" ", "-"))
    return 0


def _questions(
    material: Any, beir: Any, split: Any, queries: Any, qrels: Any, field: str | None, known: int | None, seed: int
) -> tuple[dict[str, str], dict[str, dict[str, int]], list[str], dict[str, str]]:
    """Return texts and judgements by query id, notes, and a property of the queries to slice by."""
    from mumei.core.errors import unknown
    from mumei.retrieval.beir import BeirFolder
    from mumei.retrieval.trec import read_qrels, read_topics

    if known is not None:
        from mumei.retrieval.known_item import CAVEAT, known_items

        items = known_items(_documents(material), known, seed)
        texts = {str(i): item.query for i, item in enumerate(items)}
        return texts, {str(i): {item.id: 1} for i, item in enumerate(items)}, [CAVEAT], {}
    if qrels is not None:
        texts, judged, kinds = read_topics(queries), read_qrels(qrels), {}
    else:
        folder = BeirFolder(beir, split)
        found, judged = folder.queries(), folder.judgements()
        fields = {name for query in found.values() for name in query.metadata}
        if field is not None and field not in fields:
            raise unknown("field of the queries", field, sorted(fields))
        texts = {q: str(x.metadata.get(field) or x.text) if field else x.text for q, x in found.items()}
        kinds = {q: str(x.metadata["type"]) for q, x in found.items() if "type" in x.metadata}
    notes = _mismatch(material, texts, judged)
    judged = {query: grades for query, grades in judged.items() if query in texts}
    return {query: texts[query] for query in judged}, judged, notes, kinds


def _mismatch(material: Any, texts: dict[str, str], judged: dict[str, dict[str, int]]) -> list[str]:
    """Say which judgements meet no query, no text and no document; raise where none meets a document."""
    from mumei.core.errors import DataError

    notes = []
    if lost := len(set(judged) - set(texts)):
        notes.append(f"{lost} judged queries have no text and were left out")
    if lost := len(set(texts) - set(judged)):
        notes.append(f"{lost} queries have no judgement and were left out")
    wanted = sorted({document for grades in judged.values() for document in grades})
    if wanted and hasattr(material, "row_of"):
        there = int((material.row_of(wanted) >= 0).sum())
        if not there:
            raise DataError("none of the judged documents is in this collection; were they made for another one?")
        if there < len(wanted):
            notes.append(f"{len(wanted) - there:,} of {len(wanted):,} judged documents are not in the collection")
    return notes


def _failures(failed: dict[str, str], asked: int) -> list[str]:
    """Say how many queries had no hypothetical documents, and the first reason."""
    if not failed:
        return []
    return [f"{len(failed)} of {asked} queries had no hypothetical documents: {next(iter(failed.values()))}"]


def _documents(material: Any) -> Any:
    from mumei.retrieval.documents import Document

    if hasattr(material, "documents"):
        return (document for _, document in material.documents())
    return (
        Document(row["id"], row["title"], row["text"])
        for _, table in material.workspace.items()
        for row in table.to_pylist()
    )


def _table(found: dict[str, Any]) -> str:
    names = list(next(iter(found.values())).mean)
    width = max(map(len, found)) + 2
    lines = [" " * width + "".join(f"{name:>10}" for name in names)]
    lines += [f"{way:<{width}}" + "".join(f"{value:>10.4f}" for value in e.mean.values()) for way, e in found.items()]
    return "\n".join(lines)


def _verdict(runs: Any, judged: Any, measure: str, kinds: dict[str, str], seed: int) -> dict[str, Any]:
    """Compare with and without hypothetical documents, and say whether they are worth it here."""
    from mumei.retrieval.compare import compare as compare_runs

    if "joined with hyde" not in runs:
        return {"data": {}, "text": ""}
    found = compare_runs(runs["joined"], runs["joined with hyde"], judged, measure, slices=kinds, seed=seed)
    total = found.total
    if total.low > 0:
        advice = "hypothetical documents help here"
    elif total.high < 0:
        advice = "hypothetical documents do harm here: search with --mode off"
    else:
        advice = "no difference that these queries can show: --mode off saves the time"
    text = f"\n{found.to_table(('joined', 'with hyde'))}\n{advice}"
    return {"data": {"comparison": asdict(found), "advice": advice}, "text": text}


def compare(
    first: Path,
    second: Path,
    *,
    qrels: Path,
    measure: str = "nDCG@10",
    seed: int = 0,
    json: bool = False,
    quiet: bool = False,
) -> int:
    """Compare two runs query by query: the difference with its interval, wins and losses, the queries that differ most.

    Parameters
    ----------
    first
        A TREC run file.
    second
        Another one.
    qrels
        TREC or BEIR judgements.
    measure
        Such as nDCG@10, AP, R@100, MRR@10.
    seed
        Seed of the resampling.
    json
        Print the result as one JSON document.
    quiet
        No progress.
    """
    output = Output(json=json, quiet=quiet)
    from mumei.retrieval.compare import compare as compare_runs
    from mumei.retrieval.trec import read_qrels, read_run

    found = compare_runs(read_run(first), read_run(second), read_qrels(qrels), measure, seed=seed)
    output.result(asdict(found), found.to_table((first.stem[:10], second.stem[:10])))
    return 0
