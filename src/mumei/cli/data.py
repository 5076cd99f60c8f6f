"""`mumei data list`, `show`, `load` and `stats`: which corpora there are, and what is in one, by command."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from mumei.cli.output import Output, clean

if TYPE_CHECKING:
    from mumei.core.progress import Progress
    from mumei.data.corpus import Corpus

SHOWN_PROBLEMS = 10
PAGES = (".html", ".htm")


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Source:
    """How a corpus is found and read.

    Parameters
    ----------
    schema
        kb, qa, te, t2t, pairs or text where a corpus has more than one, or source for the lossless superset.
    split
        Only this split: train, validation, test.
    folder
        Where the files of a named corpus lie. By default the folders of MUMEI_CORPORA, then its public addresses.
    reader
        Format of a path, where it is not recognised: brat, pubtator, conll and others.
    option
        An option of the reader, NAME=VALUE: encoding=windows-1252. May be given many times.
    keep_going
        Skip documents that cannot be read, count them and say which, instead of stopping at the first.
    """

    schema: str | None = None
    split: str | None = None
    folder: Path | None = None
    reader: str | None = None
    option: tuple[str, ...] = ()
    keep_going: bool = False

    def load(self, name: str, progress: Progress) -> Corpus:
        """Return the corpus of a name or path."""
        from mumei.data.loading import load as load_corpus

        return load_corpus(
            name,
            schema=self.schema,
            split=self.split,
            folder=self.folder,
            reader=self.reader,
            options=options_of(self.option),
            keep_going=self.keep_going,
            progress=progress,
        )


DEFAULT_SOURCE = Source()


def options_of(given: tuple[str, ...]) -> dict[str, Any]:
    """Return a reader's options from NAME=VALUE; a value that is JSON is taken as that, any other as text."""
    import json

    from mumei.core.errors import UsageError

    found: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UsageError(f"--option {text!r} is not understood; give NAME=VALUE, such as encoding=windows-1252.")
        try:
            found[name.strip().replace("-", "_")] = json.loads(value)
        except ValueError:
            found[name.strip().replace("-", "_")] = value
    return found


def problem_lines(corpus: Corpus, most: int = SHOWN_PROBLEMS) -> list[str]:
    """Return what was wrong with a corpus's files, lines for a person: how many documents are missing comes first."""
    skipped = [p for p in corpus.problems if p.skipped]
    noted = len(corpus.problems) - len(skipped)
    lines = [f"{len(skipped):,} documents could not be read and are missing:"] if skipped else []
    for problem in skipped[:most]:
        place = f"{problem.file}:{problem.line}" if problem.line else problem.file
        lines.append(f"  {place}{f', document {problem.document}' if problem.document else ''}: {problem.message}")
    lines += [f"  and {len(skipped) - most:,} more"] if len(skipped) > most else []
    lines += [f"{noted:,} oddities were noted; see: mumei data check {corpus.name} --only RD"] if noted else []
    return lines


def catalogue(
    *,
    task: str | None = None,
    language: str | None = None,
    licence: str | None = None,
    schema: str | None = None,
    public: bool = False,
    recipes: bool = False,
    json: bool = False,
    quiet: bool = False,
) -> int:
    """List the corpora that are known, those that fit everything given.

    Parameters
    ----------
    task
        NER, NED, RE, EE, COREF, QA, TE, STS, TXT2CLASS, PARA, TRANSL, SUM or TXTCLASS.
    language
        Code or English name: de, German.
    licence
        Name, such as CC-BY-4.0; open for those that may be used for anything and passed on.
    schema
        kb, qa, te, t2t, pairs or text.
    public
        Leave out corpora that come under an agreement.
    recipes
        Only those that can be loaded by name.
    json
        Print the list as one JSON document.
    quiet
        No progress.
    """
    output = Output(json=json, quiet=quiet)
    from mumei.data.catalogue import catalogue as find

    found = find(task, language, licence, schema=schema, public=public or None, has_recipe=recipes or None)
    rows = [
        {
            "name": known.name,
            "tasks": known.tasks,
            "schemas": known.schemas,
            "licence": known.licence,
            "languages": known.languages,
            "public": known.public,
            "recipe": known.has_recipe,
        }
        for known in found
    ]
    cells = [
        (
            k.name,
            " ".join(k.tasks),
            k.licence,
            " ".join(k.languages),
            "" if k.public else "agreement",
            "yes" * k.has_recipe,
        )
        for k in found
    ]
    loadable = sum(k.has_recipe for k in found)
    said = f"{len(found):,} corpora, {loadable:,} of them can be loaded by name"
    text = table(("corpus", "tasks", "licence", "languages", "access", "recipe"), cells)
    output.result({"corpora": rows, "loadable": loadable}, f"{text}\n{said}" if cells else said)
    return 0


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Return columns of text under a head, two blanks apart; a number is set to the right."""
    lines = [tuple(clean(cell).replace("\n", " ") for cell in row) for row in (head, *rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]

    def number(cell: str) -> bool:
        return cell.replace(",", "").replace(".", "").isdigit()

    return "\n".join(
        "  ".join(c.rjust(w) if number(c) else c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def show(
    corpus: str,
    *,
    json: bool = False,
    quiet: bool = False,
) -> int:
    """Say what is known of a corpus without reading it: tasks, licence, files, splits, published counts, citation.

    Parameters
    ----------
    corpus
        Name, configuration, recipe of your own (my.toml), or path of a folder, file or archive.
    json
        Print the result as one JSON document.
    quiet
        No progress.
    """
    output = Output(json=json, quiet=quiet)
    from mumei.data import catalogue as names
    from mumei.data.known import bigbio

    listed = corpus in bigbio() or corpus in names.names()
    if not listed and not corpus.endswith(".toml") and (os.sep in corpus or Path(corpus).exists()):
        data = _of_path(Path(corpus))
    elif corpus in bigbio() and corpus not in names.names():
        known = bigbio()[corpus]
        data = {
            "name": known.name,
            "tasks": known.tasks,
            "languages": known.languages,
            "licence": known.licence,
            "public": known.public,
            "recipe": False,
        }
    else:
        data = _of_recipe(names.find(corpus))
    output.result(data, "\n".join(_lines(data)))
    return 0


def _of_path(path: Path) -> dict[str, Any]:
    from mumei.data.loading import plan_path

    plan = plan_path(path, None, {})
    return {"name": plan.name, "reader": plan.reader, "schema": plan.kind, "splits": plan.splits, "recipe": False}


def _of_recipe(config: Any) -> dict[str, Any]:
    from mumei.data.licences import licence

    recipe = config.recipe
    parts = {part: recipe.subset(part) for part in ([config.subset] if config.subset else recipe.parts())}
    return {
        "name": recipe.name,
        "title": recipe.title,
        "description": recipe.description,
        "homepage": recipe.homepage,
        "tasks": recipe.tasks,
        "languages": recipe.languages,
        "licence": recipe.licence,
        "caution": licence(recipe.licence).caution,
        "public": recipe.public,
        "pubmed": recipe.pubmed,
        "recipe": True,
        "configurations": [
            "_".join(filter(None, (recipe.name, part, tail)))
            for part, subset in parts.items()
            for tail in ("source", *(f"bigbio_{schema}" for schema in subset.views))
        ],
        "splits": {part or recipe.name: list(subset.splits) for part, subset in parts.items()},
        "counts": {part or recipe.name: subset.counts for part, subset in parts.items()},
        "files": [{"name": f.name, "size": f.size, "sha256": f.sha256, "addresses": f.urls} for f in recipe.files],
        "note": recipe.note,
        "citation": recipe.citation.strip(),
    }


def _lines(data: dict[str, Any]) -> list[str]:
    """Return what `show` says to a person."""
    lines = [f"{data['name']}: {data['title']}" if data.get("title") else data["name"]]
    lines += [data["description"], ""] if data.get("description") else []
    for key in ("homepage", "tasks", "languages", "licence", "caution", "reader", "schema", "configurations"):
        value = data.get(key)
        if value:
            lines.append(f"{key}: {value if isinstance(value, str) else ', '.join(value)}")
    if "public" in data:
        lines.append(f"access: {'public' if data['public'] else 'under an agreement, or from its makers'}")
    if not data["recipe"] and "reader" not in data:
        lines.append("mumei has no recipe for it: load its files by their path.")
    for file in data.get("files", ()):
        size = f" ({file['size']:,} bytes)" if file["size"] else ""
        where = file["addresses"][0] if file["addresses"] else "from its homepage, by hand"
        lines.append(f"file: {file['name']}{size}, {where}")
    if isinstance(data.get("splits"), list):
        lines.append(f"splits: {', '.join(data['splits'])}")
    for part, counts in data.get("counts", {}).items():
        lines.append(f"{part}: {', '.join(data['splits'][part])}")
        for split, numbers in counts.items():
            said = ", ".join(f"{n:,} {key.replace('_', ' ')}" for key, n in numbers.items() if "." not in key)
            lines.append(f"  {split}: {said}")
    lines += [f"note: {data['note']}"] if data.get("note") else []
    lines += ["", data["citation"]] if data.get("citation") else []
    return lines


def load(
    corpus: str,
    *,
    given: Source = DEFAULT_SOURCE,
    json: bool = False,
    quiet: bool = False,
) -> int:
    """Read a corpus into the cache, and say what it holds.

    Parameters
    ----------
    corpus
        Name, configuration, recipe of your own (my.toml), or path of a folder, file or archive.
    json
        Print the result as one JSON document.
    quiet
        No progress.
    """
    output = Output(json=json, quiet=quiet)
    from dataclasses import asdict

    from mumei.data.counts import ALL, counts, differences

    loaded = given.load(corpus, output.progress())
    found = counts(loaded)
    apart = differences(loaded)
    data = {
        "corpus": loaded.name,
        "schema": loaded.schema,
        "columns": loaded.table(loaded.splits[0]).column_names,
        "counts": {split: dict(sorted(numbers.items())) for split, numbers in found.items()},
        "differences": [asdict(d) for d in apart],
        "skipped_documents": sum(p.skipped for p in loaded.problems),
        "problems": [asdict(p) for p in loaded.problems],
    }
    keys = [key for key, n in found[ALL].items() if "." not in key and n]
    rows = [(split, *(f"{found[split][key]:,}" for key in keys)) for split in found]
    lines = [f"{loaded.name}, schema {loaded.schema}", table(("split", *(k.replace("_", " ") for k in keys)), rows)]
    lines += [f"{d.split}: {d.found:,} {d.key}, and {d.expected:,} were published" for d in apart]
    output.result(data, "\n".join([*lines, *problem_lines(loaded)]))
    return 0


def stats(
    corpora: Annotated[list[str], Parameter(negative=())],
    /,
    *,
    given: Source = DEFAULT_SOURCE,
    out: Path | None = None,
    json: bool = False,
    quiet: bool = False,
) -> int:
    """Count what corpora hold: documents, lengths, annotations by type, nested and discontinuous mentions, concepts.

    Parameters
    ----------
    corpora
        Names, configurations, recipes of your own, or paths.
    out
        Also write a page, .html.
    json
        Print the result as one JSON document.
    quiet
        No progress.
    """
    output = Output(json=json, quiet=quiet)
    from mumei.cli.reading import check_suffix
    from mumei.data.stats import statistics
    from mumei.data.stats_page import write_page

    if out is not None:
        check_suffix(out, PAGES)
    found = [statistics(given.load(name, output.progress())) for name in corpora]
    if out is not None:
        write_page(found, out)
    lines = [line for one in found for line in one.lines()]
    lines += [f"page: {output.path(out)}"] if out is not None else []
    output.result({"corpora": [one.to_json() for one in found], "page": out}, "\n".join(lines))
    return 0
