"""`mumei data export` and `view`: a corpus in another form, and as a page, by command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from mumei.cli.data import DEFAULT_SOURCE, PAGES, Source, problem_lines
from mumei.cli.output import Output


def export(
    corpus: str,
    *,
    out: Path,
    form: Annotated[str, Parameter(name=["--format", "-f", "--to"])] = "parquet",
    given: Source = DEFAULT_SOURCE,
    json: bool = False,
    quiet: bool = False,
) -> int:
    """Write a corpus in another form: whole, or not at all.

    Parameters
    ----------
    corpus
        Name, configuration, recipe of your own (my.toml), or path of a folder, file or archive.
    out
        A new folder.
    form
        parquet, jsonl, datasets (with its card), croissant (Parquet described by JSON-LD), brat or conll.
    json
        Print the result as one JSON document.
    quiet
        No progress.
    """
    output = Output(json=json, quiet=quiet)
    from mumei.core.errors import unknown
    from mumei.data.licences import licence
    from mumei.data.writers import FORMATS, write

    if form not in FORMATS:
        raise unknown("format", form, FORMATS)
    loaded = given.load(corpus, output.progress())
    written = write(loaded, form, out)
    terms = loaded.recipe.licence if loaded.recipe else "unknown"
    caution = licence(terms).caution
    data = {
        "out": out,
        "format": form,
        "documents": written.documents,
        "files": len(written.files),
        "licence": terms,
        "caution": caution,
        "not_written": dict(sorted(written.notes.items())),
        "skipped_documents": sum(p.skipped for p in loaded.problems),
    }
    lines = [f"{output.path(out)}: {written.documents:,} documents in {len(written.files):,} files"]
    lines += [f"not in {form}: {n:,} {what}" for what, n in sorted(written.notes.items())]
    lines += [f"licence: {terms}{f'; {caution}' if caution else ''}"]
    output.result(data, "\n".join([*lines, *problem_lines(loaded)]))
    return 0


def view(
    corpus: str,
    *,
    out: Path = Path("view.html"),
    document: tuple[str, ...] = (),
    limit: int = 20,
    given: Source = DEFAULT_SOURCE,
    json: bool = False,
    quiet: bool = False,
) -> int:
    """Write a page of documents with their annotations drawn over the text, as in BRAT.

    Parameters
    ----------
    corpus
        Name, configuration, recipe of your own (my.toml), or path of a folder, file or archive.
    out
        The page.
    document
        Id of a document. May be given many times.
    limit
        Documents shown where none is asked for by its id.
    json
        Print the result as one JSON document.
    quiet
        No progress.
    """
    output = Output(json=json, quiet=quiet)
    from mumei.cli.reading import check_suffix
    from mumei.data.view import chosen, write_page

    check_suffix(out, PAGES)
    loaded = given.load(corpus, output.progress())
    records = chosen(loaded, document, limit)
    write_page(loaded, records, out)
    lines = [f"page: {output.path(out)}, {len(records):,} of {len(loaded):,} documents", *problem_lines(loaded)]
    data = {"page": out, "documents": [record.id for record in records], "of": len(loaded)}
    output.result(data, "\n".join(lines))
    return 0
