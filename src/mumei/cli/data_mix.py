"""`mumei data mix`: corpora chosen, put together without shared documents, sampled, rendered and written, by command."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from mumei.cli.data import problem_lines, table
from mumei.cli.output import Output

if TYPE_CHECKING:
    from mumei.core.progress import Progress
    from mumei.data.corpus import Corpus
    from mumei.data.mix import Mix
    from mumei.data.mixture import Instructions


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which corpora.

    Parameters
    ----------
    task
        NER, NED, RE, EE, COREF, QA, TE, STS, TXT2CLASS, PARA, TRANSL, SUM or TXTCLASS. May be given many times.
    language
        Of corpora that are not named: code or English name.
    licence
        Of corpora that are not named: CC-BY-4.0; open for those that may be used for anything and passed on.
    schema
        kb, qa, te, t2t, pairs or text.
    smallest
        Of corpora that are not named: documents that they have at least.
    largest
        Of corpora that are not named: documents that they have at most.
    folder
        Where the files of named corpora lie. By default the folders of MUMEI_CORPORA, then their public addresses.
    keep_going
        Leave out corpora and documents that cannot be read, and records that cannot be rendered; they are counted and told.
    """

    task: tuple[str, ...] = ()
    language: str | None = None
    licence: str | None = None
    schema: str | None = None
    smallest: int | None = None
    largest: int | None = None
    folder: Path | None = None
    keep_going: bool = False

    def names(self, given: Sequence[str], split: str) -> list[str]:
        """Return the corpora that are named, or those of the catalogue that fit and have the split."""
        from mumei.core.errors import UsageError

        filters = {
            "--language": self.language,
            "--licence": self.licence,
            "--smallest": self.smallest,
            "--largest": self.largest,
        }
        used = [name for name, value in filters.items() if value is not None]
        if given and used:
            raise UsageError(f"{', '.join(used)} choose among the corpora of the catalogue; name no corpora then.")
        if given:
            return list(given)
        if not used and not self.task and not self.schema:
            raise UsageError("no corpus was given. Name some, or choose by --task, --schema, --language or --licence.")
        found = self._chosen(split)
        if not found:
            raise UsageError(
                f"no corpus with a recipe and a split {split} fits all of that; see: mumei data list --recipes"
            )
        return found

    def _chosen(self, split: str) -> list[str]:
        from mumei.data.catalogue import find
        from mumei.data.mix import select

        found: dict[tuple[str, str], str] = {}  # a corpus of several schemas is taken under the first that fits
        for task in self.task or (None,):
            limits = {"schema": self.schema, "smallest": self.smallest, "largest": self.largest}
            for name in select(task, self.language, self.licence, **limits):  # type: ignore[arg-type]
                config = find(name)
                if split in config.recipe.subset(config.subset).splits:
                    found.setdefault((config.recipe.name, config.subset), name)
        return sorted(found.values())

    def schema_of(self, name: str) -> str | None:
        """Return the schema to load a corpus under: that asked for, or the first of a task asked for that it has."""
        from mumei.data.catalogue import find, names
        from mumei.data.schemas import TASKS

        if self.schema or not self.task or "_bigbio_" in name:
            return None if "_bigbio_" in name else self.schema
        config = find(name) if name in names() else None
        views = config.recipe.subset(config.subset).views if config else ()
        return next((TASKS[t] for t in self.task if TASKS.get(t) in views), None)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How much of each.

    Parameters
    ----------
    size
        Records of the mixture. By default all, or with a cap as many of each corpus as it allows.
    cap
        A corpus counts as no larger than this in the rates.
    temperature
        1: rates in proportion to size; more: nearer to equal ones; inf: equal.
    repeat
        Take a corpus several times where its rate asks for more than it has.
    split
        The split that is mixed.
    protect
        Splits whose documents, in any of the corpora, are left out; none for no split.
    keep_shared
        Keep documents that an earlier corpus has too.
    licences
        refuse licences that contradict each other, or flag them.
    seed
        Of the choice, the order and the templates.
    """

    size: int | None = None
    cap: int | None = None
    temperature: float = 1.0
    repeat: bool = False
    split: str = "train"
    protect: str = "validation,test"
    keep_shared: bool = False
    licences: Literal["refuse", "flag"] = "refuse"
    seed: int = 0

    def mix(self, corpora: list[Corpus], several_schemas: bool, progress: Progress) -> Mix:
        """Return the mixture of corpora."""
        from mumei.data.mix import mix

        kept = [word.strip() for word in self.protect.split(",") if word.strip()]
        return mix(
            corpora,
            size=self.size,
            cap=self.cap,
            temperature=self.temperature,
            repeat=self.repeat,
            split=self.split,
            protect=() if kept == ["none"] else kept,
            dedupe=not self.keep_shared,
            licences=self.licences,
            seed=self.seed,
            several_schemas=several_schemas,
            progress=progress,
        )


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Rendering:
    """Whether as instructions.

    Parameters
    ----------
    prompts
        Write instructions and answers instead of records; the corpora may then be of several schemas.
    templates
        A file of templates of your own, .toml.
    every
        One instruction for each template of a task, instead of one by chance.
    """

    prompts: bool = False
    templates: Path | None = None
    every: bool = False

    def of(self, mixture: Mix, choice: Choice) -> Instructions | None:
        """Return the instructions of a mixture, None where none are asked for."""
        from mumei.core.errors import UsageError
        from mumei.data.mixture import Instructions
        from mumei.data.prompts import load_templates

        if not self.prompts:
            if self.templates is not None or self.every:
                raise UsageError("--templates and --every are of instructions; add --prompts.")
            return None
        tasks = [task.upper() for task in choice.task]
        return Instructions(mixture, tasks, load_templates(self.templates), self.every, choice.keep_going)


DEFAULT_CHOICE, DEFAULT_SAMPLING, DEFAULT_RENDERING = Choice(), Sampling(), Rendering()


def mix(
    corpora: Annotated[list[str] | None, Parameter(negative=())] = None,
    /,
    *,
    out: Path | None = None,
    form: Annotated[Literal["parquet", "jsonl"], Parameter(name=["--format", "-f"])] = "parquet",
    dry_run: bool = False,
    choice: Choice = DEFAULT_CHOICE,
    sampling: Sampling = DEFAULT_SAMPLING,
    rendering: Rendering = DEFAULT_RENDERING,
    json: bool = False,
    quiet: bool = False,
) -> int:
    """Mix corpora into one training table: chosen, without shared documents, sampled by size, as records or instructions.

    Parameters
    ----------
    corpora
        Names, configurations, recipes of your own, or paths; by default all of the catalogue that fit. A document that two
        of them have is taken from the first.
    out
        A new folder: train.parquet or train.jsonl, and mix.json, which says what came from where under which licence.
    form
        parquet or jsonl.
    dry_run
        Read the corpora and say what would be taken; write nothing.
    json
        Print the result as one JSON document.
    quiet
        No progress.
    """
    output = Output(json=json, quiet=quiet)
    from mumei.core.errors import UsageError

    if out is None and not dry_run:
        raise UsageError("say where to write, --out FOLDER, or look first with --dry-run.")
    names = choice.names(corpora or (), sampling.split)
    loaded, failed = _load(names, choice, output.progress())
    mixture = sampling.mix(loaded, rendering.prompts, output.progress())
    instructions = rendering.of(mixture, choice)
    written: dict[str, Any] = {}
    if out is not None and not dry_run:
        from mumei.data.mixture import write_mixture

        said = _asked(names, choice, sampling, rendering)
        written = write_mixture(mixture, out, form, instructions=instructions, said=said)
    _tell(output, mixture, instructions, written, out, failed)
    return 0


def _load(names: list[str], choice: Choice, progress: Progress) -> tuple[list[Corpus], dict[str, str]]:
    """Return the corpora, and why those that are left out could not be loaded."""
    from mumei.core.errors import DataError, MumeiError, UsageError
    from mumei.data.loading import load

    loaded, failed = [], {}
    for name in names:
        schema = choice.schema_of(name)
        try:
            loaded.append(
                load(name, schema=schema, folder=choice.folder, keep_going=choice.keep_going, progress=progress)
            )
        except MumeiError as error:
            if isinstance(error, UsageError) or not choice.keep_going:
                raise
            failed[name] = str(error)
    if not loaded:
        raise DataError(f"none of the {len(names):,} corpora could be loaded; the first: {next(iter(failed.values()))}")
    return loaded, failed


def _asked(names: list[str], choice: Choice, sampling: Sampling, rendering: Rendering) -> dict[str, Any]:
    """Return what was asked for, without the paths of this machine."""
    from dataclasses import asdict

    said = {**asdict(choice), **asdict(sampling), "prompts": rendering.prompts, "every": rendering.every}
    del said["folder"]
    said["temperature"] = str(said["temperature"])  # JSON has no infinity
    return {"corpora": names, **{key: list(v) if isinstance(v, tuple) else v for key, v in said.items()}}


def _tell(
    output: Output,
    mixture: Mix,
    instructions: Instructions | None,
    written: dict[str, Any],
    out: Path | None,
    failed: dict[str, str],
) -> None:
    from dataclasses import asdict

    head = ("corpus", "schema", "licence", "records", "shared", "kept back", "rate", "taken")
    kinds = {corpus.name: corpus.kind for corpus in mixture.parts}
    rows = [
        (
            s.corpus,
            kinds[s.corpus],
            s.licence,
            *(f"{n:,}" for n in (s.records, s.repeated, s.protected)),
            f"{s.rate:.4f}",
            f"{s.taken:,}",
        )
        for s in mixture.shares
    ]
    lines = [table(head, rows), f"{len(mixture.records):,} records of {len(rows):,} corpora, seed {mixture.seed}"]
    lines += [f"  {note}" for note in mixture.notes]
    lines += [f"not loaded: {name}: {why}" for name, why in failed.items()]
    lines += [line for corpus in mixture.parts for line in problem_lines(corpus, 3)]
    data: dict[str, Any] = {
        "out": out if written else None,
        "written": bool(written),
        "records": len(mixture.records),
        "rows": written.get("rows"),
        "shares": [{**asdict(s), "schema": kinds[s.corpus]} for s in mixture.shares],
        "licences": {**asdict(mixture.verdict), "may_be_shared": mixture.verdict.may_be_shared},
        "notes": mixture.notes,
        "failed": failed,
        "tasks": instructions.tasks_by_corpus if instructions is not None else None,
        "not_rendered": instructions.skipped if instructions is not None else [],
    }
    if instructions is not None:
        lines += [f"tasks of {name}: {', '.join(tasks)}" for name, tasks in instructions.tasks_by_corpus.items()]
        skipped = instructions.skipped
        lines += [f"{len(skipped):,} could not be rendered, the first: {skipped[0]}"] if skipped else []
    if written and out is not None:
        what = "instructions" if instructions is not None else "records"
        lines += [f"{output.path(out)}: {written['rows']:,} {what} in {next(iter(written['files']))}, and mix.json"]
    elif not written:
        lines += ["nothing was written (--dry-run)"]
    output.result(data, "\n".join(lines))
