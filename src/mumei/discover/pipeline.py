"""`discover`: the steps from a source to a workspace with a report, each resumable and skipped when nothing changed.

read -> encode -> index -> organise -> map -> ask -> report. A step's key is the hash of its settings, its version and the keys
it builds on; the source's key is the content of its files, so touching a file changes nothing and editing one redoes what
depends on it. Encoding, the long step, continues within itself: what was appended to the vector store stays.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mumei.core.errors import DataError, UsageError
from mumei.core.files import TEMPORARY, make_folder, read_json, sha256_file, write_json, write_table
from mumei.core.progress import SILENT, Progress, format_seconds
from mumei.discover.reading import ItemWriter, nothing_kept, problem_lines, table_items
from mumei.discover.workspace import Workspace, digest

ENCODE_ROWS = 1024  # rows appended to the store at once: what a crash can cost
STEP_VERSION = {"read": 1, "encode": 1, "index": 2, "organise": 1, "map": 1, "ask": 2, "report": 2}
PRIMER = "primer"


@dataclass(frozen=True)
class Settings:
    """What a run was asked for. `out` is the workspace; `clusters=None` chooses by stability."""

    source: str
    out: Path | None = None
    ask: tuple[str, ...] = ()
    clusters: int | None = None
    encoder: str | None = None
    id_column: str | None = None
    title_column: str | None = None
    text_column: str | None = None
    seed: int = 0

    def folder(self) -> Path:
        """Return the workspace's folder: `out`, or `<name>.mumei` in the current folder."""
        if self.out is not None:
            return Path(self.out)
        name = Path(self.source).name or Path(self.source).resolve().name
        return Path(f"{name.split('.')[0] or name}.mumei")


@dataclass
class _Run:
    settings: Settings
    progress: Progress
    workspace: Workspace
    source: Any
    keys: dict[str, str] = field(default_factory=dict)
    table: Any = None

    def step(
        self, name: str, depends: list[str], settings: Any, work: Callable[[bool], tuple[dict, int | None]]
    ) -> None:
        """Run one step unless it is done under the same key; `work(resumed)` returns (summary, units done)."""
        key = digest(name, STEP_VERSION[name], [self.keys[d] for d in depends], settings)
        self.keys[name] = key
        if self.workspace.is_done(name, key):
            self.progress.say(f"{name}: nothing changed, kept")
            return
        resumed = self.workspace.begin(name, key)
        start = time.perf_counter()
        summary, units = work(resumed)
        seconds = time.perf_counter() - start
        rate = units / seconds if units else None
        self.workspace.finish(name, key, summary, seconds, rate)
        speed = f", {rate:,.1f} per second" if rate else ""
        self.progress.say(f"{name}: {summary.get('said', 'done')} in {format_seconds(seconds)}{speed}")


def discover(
    source: str | Path,
    *,
    out: str | Path | None = None,
    ask: tuple[str, ...] | list[str] = (),
    clusters: int | None = None,
    encoder: str | None = None,
    id_column: str | None = None,
    title_column: str | None = None,
    text_column: str | None = None,
    seed: int = 0,
    progress: Progress = SILENT,
) -> Workspace:
    """Turn unlabelled material into a searchable, clustered, mapped workspace with a report.

    Parameters
    ----------
    source : str or Path
        A file or folder of documents, sequences or numbers, or "primer" for the embedded corpus.
    out : path, optional
        The workspace's folder; `<name>.mumei` in the current folder by default.
    ask : sequence of str
        Questions to answer in the report.
    clusters : int, optional
        Number of clusters; chosen by stability if not given.
    encoder : str, optional
        For text: "minilm" (embedded) or any name or folder that `text_encoder` takes, such as "minilm@openvino".
    id_column, title_column, text_column : str, optional
        Column names; guessed and echoed if not given.
    seed : int
    progress : Progress

    Returns
    -------
    Workspace

    Raises
    ------
    UsageError, DataError, StorageError
        Each says what was given, what is allowed and what to do.
    """
    settings = Settings(
        str(source),
        Path(out) if out is not None else None,
        tuple(ask),
        clusters,
        encoder,
        id_column,
        title_column,
        text_column,
        seed,
    )
    return _discover(settings, progress)


def _discover(settings: Settings, progress: Progress) -> Workspace:
    from mumei.discover.sources import open_source

    names = {name: getattr(settings, name) for name in ("id_column", "title_column", "text_column")}
    source = open_source(settings.source, **names)
    if source.kind == "table" and settings.ask:
        raise UsageError(f"--ask needs text, and {settings.source} is a numeric table; leave --ask out.")
    if any(not question.strip() for question in settings.ask):
        raise UsageError("an --ask question is empty; write it in quotes after --ask.")
    workspace = Workspace(settings.folder())
    with workspace.locked():
        _same_source(workspace, settings)
        run = _Run(settings, progress, workspace, source)
        for line in source.described:
            progress.say(line)
        _record_source(run)
        for step in (_read, _encode, _index, _organise, _map, _ask, _report):
            step(run)
    return workspace


def _same_source(workspace: Workspace, settings: Settings) -> None:
    known = workspace.manifest["source"].get("path")
    given = _place(settings)
    if known is not None and known != given:
        raise UsageError(
            f"the workspace {workspace.folder} was made from {known}, not from {given}; choose another --out."
        )


def _place(settings: Settings) -> str:
    """Return the source's full path; the embedded corpus, which a file of that name hides, has none."""
    embedded = settings.source == PRIMER and not Path(PRIMER).exists()
    return PRIMER if embedded else str(Path(settings.source).resolve())


def _record_source(run: _Run) -> None:
    run.workspace.manifest["source"] = {
        **run.workspace.manifest["source"],
        "path": _place(run.settings),
        "kind": run.source.kind,
        "name": run.source.name,
        "described": run.source.described,
        "encoder": run.settings.encoder,
    }
    files = [(f.name, sha256_file(f)) for f in run.source.files()]
    columns = (run.settings.id_column, run.settings.title_column, run.settings.text_column)
    run.keys["source"] = digest(run.source.kind, files, columns, run.source.described)
    run.workspace.write()


# --- read ---------------------------------------------------------------------------------------------------------------


def _read(run: _Run) -> None:
    def work(resumed: bool) -> tuple[dict, int | None]:
        folder = run.workspace.path("items")
        shutil.rmtree(folder, ignore_errors=True)
        temporary = make_folder(run.workspace.path(f"{TEMPORARY}items"))
        writer = ItemWriter(temporary)
        with run.progress.task("read", run.source.total_hint if run.source.kind != "table" else None, "rows") as task:
            for item in table_items(run.source) if run.source.kind == "table" else run.source.rows():
                writer.add(item)
                task.advance(1)
        summary = writer.close()
        if not summary["kept"]:
            raise DataError(nothing_kept(run.settings.source, summary))
        temporary.rename(folder)
        write_table(run.workspace.path("problems.parquet"), writer.problem_table())
        return summary, summary["rows"]

    run.step("read", ["source"], [], work)
    for line in problem_lines(run.workspace.summary("read")):
        run.progress.say("  " + line)


# --- encode and index ---------------------------------------------------------------------------------------------------


def _encode(run: _Run) -> None:
    encoder = _encoder(run)

    def work(resumed: bool) -> tuple[dict, int | None]:
        from mumei.retrieval.guard import background
        from mumei.retrieval.index import VectorStore

        folder = run.workspace.path("vectors")
        if not resumed:
            shutil.rmtree(folder, ignore_errors=True)
        store = VectorStore(folder, encoder.name, encoder.dim)
        before, total = len(store), len(run.workspace)
        if before:
            run.progress.say(f"encode: continuing at row {before:,} of {total:,}")
        with run.progress.task("encode", total - before, "rows") as task:
            for vectors in _vectors(run, encoder, before, task):
                store.append(vectors)
        mean, deviation = background(store, run.settings.seed)
        summary = {"model": encoder.name, "dim": encoder.dim, "said": f"{total:,} rows with {encoder.name}"}
        return {**summary, "background_mean": mean, "background_deviation": deviation}, total - before

    run.step("encode", ["read"], [encoder.name, run.settings.seed if run.source.kind == "table" else 0], work)


def _encoder(run: _Run) -> Any:
    source = run.workspace.manifest["source"]
    if run.source.kind == "table":
        from mumei.discover.tables import TableEncoder

        run.table = TableEncoder(run.source.blocks, run.settings.seed)
        for line in run.table.described:
            run.progress.say(line)
        source["encoding"] = run.table.described
        return run.table
    if run.source.kind == "sequence":
        from mumei.protein.kmer import KmerEncoder

        source["kmer"] = 6 if _nucleotides(run.workspace) else 3
        encoder = KmerEncoder(k=source["kmer"])
        source["encoding"] = [
            f"encoder: hashed {encoder.k}-mer profiles stand in until a protein language model is chosen"
        ]
    else:
        from mumei.retrieval.encoders import text_encoder

        encoder = text_encoder(run.settings.encoder)
        embedded = run.settings.encoder in (None, "minilm")
        note = " (embedded English default; choose another with --encoder)" if embedded else ""
        source["encoding"] = [f"encoder: {encoder.name}{note}"]
    run.progress.say(source["encoding"][0])
    return encoder


def _nucleotides(workspace: Workspace) -> bool:
    _, table = next(iter(workspace.items(columns=("text",))))
    letters = set("".join(table.column("text").slice(0, 200).to_pylist()))
    return letters <= set("ACGTUN")


def _vectors(run: _Run, encoder: Any, first: int, task: Any) -> Iterator[Any]:
    """Yield vectors from row `first` on, in the same pieces however often the step was cut off."""
    if run.source.kind == "table":
        seen = 0
        for block in run.source.blocks():
            for start in range(0, len(block), ENCODE_ROWS):
                piece = block[start : start + ENCODE_ROWS]
                if seen >= first:
                    yield encoder.encode(piece)
                    task.advance(len(piece))
                seen += len(piece)
        return
    for at, table in run.workspace.items(columns=("title", "text"), first=first):
        texts = _texts(table, run.source.kind)
        for start in range(0, len(texts), ENCODE_ROWS):
            if at + start >= first:
                yield encoder.encode(texts[start : start + ENCODE_ROWS], progress=task.advance)


def _texts(table: Any, kind: str) -> list[str]:
    """Return what is encoded or indexed for each row: title and text, or the sequence."""
    texts = table.column("text").to_pylist()
    if kind == "sequence":
        return texts
    from mumei.retrieval.documents import join_text

    titles = table.column("title").to_pylist()
    return [join_text(title, text) for title, text in zip(titles, texts, strict=True)]


def _index(run: _Run) -> None:
    def work(resumed: bool) -> tuple[dict, int | None]:
        from mumei.retrieval.lexical import LexicalIndex

        if run.source.kind == "table":
            return {"said": "a table has no words to index"}, None

        def texts() -> Iterator[str]:
            for _, table in run.workspace.items(columns=("id", "title", "text")):
                if run.source.kind == "sequence":
                    yield from map(" ".join, zip(table["id"].to_pylist(), table["title"].to_pylist(), strict=True))
                else:
                    yield from _texts(table, "text")

        with run.progress.task("index", len(run.workspace), "rows") as task:
            LexicalIndex.build(texts(), run.workspace.path("lexical"), progress=task.advance)
        return {"said": f"{len(run.workspace):,} rows"}, len(run.workspace)

    run.step("index", ["read"], [], work)


# --- organise and map ---------------------------------------------------------------------------------------------------


def _organise(run: _Run) -> None:
    def work(resumed: bool) -> tuple[dict, int | None]:
        import pyarrow as pa

        from mumei.discover.describe import describe, describe_columns
        from mumei.discover.organise import CANDIDATES, organise, reduce

        z = reduce(_store(run), run.settings.seed)
        with run.progress.task("organise", len(CANDIDATES) if run.settings.clusters is None else 1, "fits") as task:
            found = organise(z, run.settings.clusters, run.settings.seed, task.advance)
        if run.source.kind == "table":
            groups = describe_columns(run.table, run.source.blocks, run.source.columns, found.labels, found.distances)
        else:
            groups = describe(run.workspace, found.labels, found.distances, run.settings.seed)
        table = pa.table({"cluster": pa.array(found.labels), "distance": pa.array(found.distances)})
        write_table(run.workspace.path("clusters.parquet"), table)
        write_json(run.workspace.path("groups.json"), {"groups": groups, "curve": found.curve, "by": found.chosen_by})
        return {
            "clusters": len(groups),
            "by": found.chosen_by,
            "said": f"{len(groups)} clusters, by {found.chosen_by}",
        }, len(z)

    run.step("organise", ["encode"], [run.settings.clusters, run.settings.seed], work)


def _store(run: _Run) -> Any:
    from mumei.retrieval.index import VectorStore

    return VectorStore.open(run.workspace.path("vectors"))


def _map(run: _Run) -> None:
    def work(resumed: bool) -> tuple[dict, int | None]:
        import pyarrow as pa

        from mumei.core.mapping import place
        from mumei.discover.organise import reduce

        with run.progress.task("map", len(run.workspace), "rows") as task:
            xy = place(reduce(_store(run), run.settings.seed), run.settings.seed, task.advance)
        write_table(run.workspace.path("map.parquet"), pa.table({"x": pa.array(xy[:, 0]), "y": pa.array(xy[:, 1])}))
        return {"said": f"{len(xy):,} rows placed"}, len(xy)

    run.step("map", ["encode"], [run.settings.seed], work)


# --- ask and report -----------------------------------------------------------------------------------------------------


def _ask(run: _Run) -> None:
    questions = list(run.settings.ask)
    judged = run.workspace.manifest["source"]["path"] == PRIMER

    def work(resumed: bool) -> tuple[dict, int | None]:
        answers: list[dict[str, Any]] = []
        summary: dict[str, Any] = {"said": "no question asked"}
        if questions or judged:
            from mumei.discover.answer import Searcher

            searcher = Searcher(run.workspace.folder)
            answers = [searcher.ask(question) for question in questions]
            summary["said"] = f"{len(questions)} questions answered"
            if judged:
                summary["ndcg@10"] = _primer_quality(searcher, run.progress)
        write_json(run.workspace.path("answers.json"), answers)
        return summary, None

    run.step("ask", ["encode", "index", "organise"], [questions, judged], work)
    quality = run.workspace.summary("ask").get("ndcg@10")
    if quality is not None:
        run.progress.say(
            f"  nDCG@10 on the primer's own {quality['questions']} judged questions: {quality['all']:.3f}"
            f" (by meaning alone {quality['dense']:.3f}, by words alone {quality['lexical']:.3f})"
        )


def _primer_quality(searcher: Any, progress: Progress) -> dict[str, Any]:
    from mumei.discover.primer import load_questions
    from mumei.retrieval.evaluate import mean_ndcg

    questions = load_questions()
    judged = {q["id"]: q["relevant"] for q in questions}
    ids = [i for _, table in searcher.workspace.items(columns=("id",)) for i in table["id"].to_pylist()]
    encoder, store, words = searcher.material.encoder, searcher.material.vectors, searcher.material.words
    nearest, _ = store.search(encoder.encode([q["text"] for q in questions]), 10)
    dense = {q["id"]: [ids[r] for r in rows] for q, rows in zip(questions, nearest, strict=True)}
    lexical = {q["id"]: [ids[r] for r in words.search(q["text"], 10)[0]] for q in questions}
    both = {}
    with progress.task("ask", len(questions), "judged questions") as task:
        for q in questions:
            both[q["id"]] = [ids[row] for row, _ in searcher.ranked(q["text"], 10)]
            task.advance(1)
    runs = {"all": both, "dense": dense, "lexical": lexical}
    return {"questions": len(questions), **{name: round(mean_ndcg(run, judged), 4) for name, run in runs.items()}}


def _report(run: _Run) -> None:
    def work(resumed: bool) -> tuple[dict, int | None]:
        from mumei.discover.report import write_report

        write_report(run.workspace)
        return {"said": "report.html written"}, None

    run.step("report", ["read", "encode", "organise", "map", "ask"], [run.workspace.manifest["source"]], work)


def open_answers(workspace: Workspace) -> list[dict[str, Any]]:
    """Return the answers to the questions that the run was asked."""
    return read_json(workspace.path("answers.json"))
