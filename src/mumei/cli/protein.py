"""`mumei protein design` and `generate`: sequences for a backbone, or for a length, by command."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cyclopts import Parameter

from mumei.cli.output import Output


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Keep:
    """What every design must keep, in residue numbers of the structure (of a generated chain: A1 to its length).

    Parameters
    ----------
    fix
        Residues that stay as they are: A10-25,B3.
    allow
        Residues that a place may have: A30=DE, or A30=-C for all but these.
    bias
        An energy added for a residue, negative favours it: A10-25=L:-0.5.
    tie
        Places that are to be alike: A1-50=B1-50.
    without
        Residues that no free place may have; "" for none. Cysteine by default, as published.
    net_charge
        Range of the net charge: -5..2.
    longest_run
        Residues of one kind in a row, at most.
    """

    fix: str = ""
    allow: str = ""
    bias: str = ""
    tie: str = ""
    without: str = "C"
    net_charge: str = ""
    longest_run: int | None = None

    def constraints(self, native_start: bool = False) -> Any:
        """Return them as the library has them."""
        from mumei.protein.constraints import Constraints

        return Constraints(
            self.fix, self.allow, self.bias, self.tie, self.without, self.net_charge, self.longest_run, native_start
        )


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Run:
    """How the chains run.

    Parameters
    ----------
    preset
        fast, or paper: 170,000 steps of one chain a design, as published.
    steps
        Of each chain.
    chains
        Run so many and return the best --designs of them.
    weights
        Of the terms, over the preset's: structure=3,language=2,ngram=1.
    seed
        Seed of everything random.
    checkpoints
        A folder that keeps the state: the same command, run again after it was killed, goes on from there.
    save_every
        Seconds between checkpoints.
    device
        cpu, cuda, mps or auto.
    dtype
        Of an ESM-2 network: bfloat16 is faster where the processor multiplies it, and rounds energies to about three digits.
    allow_download
        Let a hub name be fetched; without it nothing goes over the network.
    """

    preset: Literal["fast", "paper"] = "fast"
    steps: int | None = None
    chains: int | None = None
    weights: str = ""
    seed: int = 0
    checkpoints: Path | None = None
    save_every: float = 60.0
    device: str = "cpu"
    dtype: Literal["float32", "bfloat16"] = "float32"
    allow_download: bool = False

    def options(self, designs: int) -> Any:
        """Return them as the library has them."""
        from mumei.protein.design import Options

        settings = {} if self.chains is None else {"chains": self.chains}
        return Options(
            self.preset,
            designs,
            self.steps,
            _weights(self.weights),
            settings,
            self.seed,
            self.checkpoints,
            self.save_every,
        )


KEEP, RUN = Keep(), Run()


def design(
    backbone: Path,
    *,
    out: Path,
    model: str,
    head: Path,
    chain: str | None = None,
    designs: int = 8,
    start: Literal["random", "native"] = "random",
    keep: Keep = KEEP,
    run: Run = RUN,
    json: bool = False,
    quiet: bool = False,
) -> int:
    """Design sequences for a backbone, and write them ranked, with a page.

    Parameters
    ----------
    backbone
        PDB, mmCIF or BinaryCIF, packed by gzip or not.
    out
        Folder for designs.fasta, designs.csv, designs.parquet, manifest.json and report.html.
    model
        esm2:NAME, or the folder of a tiny or Potts model. A Potts model designs the residues of its family's columns.
    head
        The structure head's folder (mumei protein fit-head), or the authors' linear_projection_model.pt.
    chain
        Where the file has several; A,B designs both as one sequence, with the contacts between them.
    designs
        How many.
    start
        From drawn residues, or from the backbone's own sequence.
    json
        Print the result as one JSON document.
    quiet
        No progress.
    """
    output = Output(json=json, quiet=quiet)
    from mumei.cli.reading import check_folder
    from mumei.protein import backbone as structures
    from mumei.protein import design as library
    from mumei.protein.constraints import parse, render

    check_folder(out)
    options, wishes = run.options(designs), keep.constraints(start == "native")
    options.resolved()
    network, projection = _load(model, head, run)
    sites = structures.read(backbone, network, chain)
    for line in sites.notes:
        output.progress().say(f"{backbone.name}: {line}")
    parsed = parse(wishes, sites.labels, sites.native)
    output.progress().say(render(parsed))
    try:
        result = library.design(
            network, projection, sites.target, labels=sites.labels, native=sites.native, points=sites.points,
            constraints=wishes, options=options, progress=output.progress(),
        )  # fmt: skip
    except KeyboardInterrupt as stop:
        _kept(stop, run)
        raise
    _finish(output, result, out)
    return 0


def generate(
    length: int = 100,
    *,
    out: Path,
    model: str,
    head: Path,
    designs: int = 8,
    motif: str = "",
    keep: Keep = KEEP,
    run: Run = RUN,
    json: bool = False,
    quiet: bool = False,
) -> int:
    """Generate sequences of a length together with their structures, and write them ranked, with a page.

    Parameters
    ----------
    length
        Residues. A Potts model has its own.
    out
        Folder for designs.fasta, designs.csv, designs.parquet, manifest.json and report.html.
    model
        esm2:NAME, or the folder of a tiny or Potts model.
    head
        The structure head's folder (mumei protein fit-head), or the authors' linear_projection_model.pt.
    designs
        How many.
    motif
        Residues and distances to keep, FILE:RESIDUES@PLACE: enzyme.pdb:A10-25@40 puts them at residue 40 on.
    json
        Print the result as one JSON document.
    quiet
        No progress.
    """
    output = Output(json=json, quiet=quiet)
    from mumei.cli.reading import check_folder
    from mumei.protein import backbone as structures
    from mumei.protein import design as library
    from mumei.protein.constraints import Constraints, parse, render

    check_folder(out)
    options, wishes = run.options(designs), keep.constraints()
    options.resolved()
    network, projection = _load(model, head, run)
    kept = structures.read_motif(motif, length) if motif else None
    sequence = kept[1] if kept else "X" * length
    if kept:
        fixed = ",".join(f"A{i + 1}" for i, letter in enumerate(sequence) if letter != "X")
        wishes = Constraints(**{**wishes.__dict__, "fix": ",".join(part for part in (wishes.fix, fixed) if part)})
    output.progress().say(render(parse(wishes, [f"A:{i + 1}" for i in range(length)], sequence)))
    try:
        result = library.generate(
            network, projection, length, constraints=wishes, motif=kept, options=options, progress=output.progress()
        )
    except KeyboardInterrupt as stop:
        _kept(stop, run)
        raise
    _finish(output, result, out)
    return 0


def _load(model: str, head: Path, run: Run) -> tuple[Any, Any]:
    from mumei.core.errors import UsageError
    from mumei.protein.models.load import load_model
    from mumei.protein.projection import StructureHead

    network = load_model(model, device=run.device, dtype=run.dtype, allow_download=run.allow_download)
    if not head.exists():
        raise UsageError(
            f"{head} is not there; fit a structure head: mumei protein fit-head --out {head} --model {model}."
        )
    if head.suffix == ".pt":
        return network, StructureHead.from_public(head)
    return network, StructureHead.load(head)


def _weights(text: str) -> dict[str, float]:
    from mumei.core.errors import UsageError

    found = {}
    for part in filter(None, (p.strip() for p in text.split(","))):
        name, _, value = part.partition("=")
        try:
            found[name.strip()] = float(value)
        except ValueError:
            raise UsageError(f"--weights {part!r} is not understood; write structure=3,language=2,ngram=1.") from None
    return found


def _kept(stop: KeyboardInterrupt, run: Run) -> None:
    stop.add_note(
        "Checkpoints are kept." if run.checkpoints else "Nothing was written: --checkpoints FOLDER would keep it."
    )


def _finish(output: Output, result: Any, out: Path) -> None:
    from mumei.protein.outputs import write

    write(result, out)
    rows = result.rows[:10]
    columns = [c for c in ("total", "structure", "language", "ngram", "contact precision", "recovery") if c in rows[0]]
    lines = ["rank  " + "  ".join(f"{c:>9.9}" for c in columns) + "  sequence"]
    for row in rows:
        shown = row["sequence"] if len(row["sequence"]) <= 60 else row["sequence"][:57] + "..."
        lines.append(f"{row['rank']:>4}  " + "  ".join(f"{row[c]:>9.3f}" for c in columns) + f"  {shown}")
    if len(result.rows) > len(rows):
        lines.append(f"and {len(result.rows) - len(rows)} more")
    lines += [f"report: {output.path(out / 'report.html')}", f"note: {result.manifest['claims']}"]
    output.result({"out": out, "designs": result.rows, "manifest": result.manifest}, "\n".join(lines))
