"""`mumei discover`: a source in, a workspace and a report out."""

from __future__ import annotations

from pathlib import Path

from mumei.cli.output import Output


def discover(
    source: str,
    *,
    ask: list[str] | None = None,
    out: Path | None = None,
    clusters: int | None = None,
    encoder: str | None = None,
    id_column: str | None = None,
    title_column: str | None = None,
    text_column: str | None = None,
    seed: int = 0,
    json: bool = False,
    quiet: bool = False,
) -> int:
    """Turn a pile of unlabelled material into a searchable, clustered, mapped workspace with a report.

    Run the same command again after an interruption or a change: finished steps are kept.

    Parameters
    ----------
    source
        A file or folder: JSONL, CSV, TSV, Parquet (also .gz .bz2 .xz .zst), text files, MEDLINE XML, FASTA, a numeric table,
        .npz or .h5ad; or the word primer for the embedded corpus.
    ask
        A question to answer in the report, in quotes; repeat --ask for more.
    out
        Folder of the workspace. By default NAME.mumei in the current folder.
    clusters
        Number of clusters. By default chosen by stability.
    encoder
        For text: minilm (embedded, English) or any sentence-transformers or Hugging Face name or folder. With @openvino or
        @openvino:int8 at its end it runs there, which is quicker.
    id_column
        Column of the ids. By default guessed and echoed.
    title_column
        Column of the titles. By default guessed and echoed.
    text_column
        Column of the texts. By default guessed and echoed.
    seed
        Seed of everything random.
    json
        Print the result as one JSON document.
    quiet
        No progress.
    """
    output = Output(json=json, quiet=quiet)
    from mumei.discover.pipeline import discover as run
    from mumei.discover.pipeline import open_answers

    try:
        workspace = run(
            source,
            out=out,
            ask=tuple(ask or ()),
            clusters=clusters,
            encoder=encoder,
            id_column=id_column,
            title_column=title_column,
            text_column=text_column,
            seed=seed,
            progress=output.progress(),
        )
    except KeyboardInterrupt as stop:
        stop.add_note("Finished steps and encoded rows are kept in the workspace.")
        raise
    answers = open_answers(workspace)
    steps = {name: step["summary"] for name, step in workspace.manifest["steps"].items()}
    data = {"workspace": workspace.folder, "report": workspace.path("report.html"), "steps": steps, "answers": answers}
    output.result(data, _text(workspace, answers))
    return 0


def _text(workspace, answers: list[dict]) -> str:
    from mumei.cli.search import answer_text

    lines = [answer_text(answer, top=3) for answer in answers]
    lines.append(f"report: {workspace.path('report.html')}")
    if workspace.kind != "table":
        lines.append(f'search: mumei search {workspace.folder} "your question"')
    return "\n".join(lines)
