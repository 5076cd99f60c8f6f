"""`mumei protein score`, `scan`, `fit-potts` and `fit-head`: sequences scored, mutants scanned, models fitted, by command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from mumei.cli.output import Output

TABLES = (".csv", ".parquet")
LISTED = 20
SHOWN = (
    "rank",
    "energy",
    "lm",
    "ngram",
    "structure",
    "perplexity",
    "energy_percentile",
    "ngram_percentile",
    "length",
    "identity",
)


def score(
    sequences: Path,
    *,
    model: str = "ngram",
    structure: Path | None = None,
    chain: str | None = None,
    head: Path | None = None,
    background: Path | None = None,
    known: Path | None = None,
    novelty: Literal["auto", "phmmer", "kmer"] = "auto",
    max_run: int = 5,
    min_entropy: float = 3.0,
    max_ngram_percentile: float = 99.0,
    max_identity: float | None = None,
    out: Path | None = None,
    top: int = LISTED,
    device: str = "cpu",
    allow_download: bool = False,
    json: bool = False,
    quiet: bool = False,
) -> int:
    """Score sequences, rank them by one energy, and say which are rejected and why.

    The energy is 2 E_LM + 1 E_ngram (+ 3 E_struct with --structure and --head); lower is better.

    Parameters
    ----------
    sequences
        A FASTA file, packed by gzip or not.
    model
        ngram; esm2: or hf: with a hub name or folder; or the folder of a Potts or tiny model.
    structure
        A backbone the sequences should fold into, for the structure term.
    chain
        Its chain, where there are several.
    head
        Folder of a structure head that fits the model.
    background
        Natural proteins in FASTA, scored alike: gives energies percentiles.
    known
        A FASTA file: the nearest known sequence and the identity to it are told.
    novelty
        How the nearest is found: phmmer needs pyhmmer, kmer needs nothing.
    max_run
        Longest run of one residue.
    min_entropy
        Bits of the composition.
    max_ngram_percentile
        Of natural proteins of the same length.
    max_identity
        To a known sequence, a part of 1.
    out
        A .csv or .parquet file with every column.
    top
        How many rows are shown.
    device
        cpu, cuda, mps or auto.
    allow_download
        Let a hub name be fetched; without it nothing goes over the network.
    json
        Print the result as one JSON document.
    quiet
        No progress.
    """
    output = Output(json=json, quiet=quiet)
    from mumei.cli.reading import check_suffix
    from mumei.core.errors import UsageError
    from mumei.protein import score as scoring
    from mumei.protein.models.load import load_model

    if out is not None:
        check_suffix(out, TABLES)
    if (structure is None) != (head is None):
        raise UsageError("the structure term needs both --structure and --head; give the other one too.")
    chosen = load_model(model, device=device, allow_download=allow_download)
    named = _fitted_to(chosen, _read(sequences))
    natural = [letters for _, letters in _fitted_to(chosen, _read(background))] if background else []
    with output.progress().task("scoring", len(named), "sequences") as task:
        table = scoring.score(
            chosen, named, background=natural, progress=task, **_structure_of(chosen, structure, chain, head)
        )
    if known is not None:
        _add_novelty(table, _read(sequences), known, novelty)
    reasons = scoring.Filters(max_run, min_entropy, max_ngram_percentile, 0, max_identity).apply(table)
    if out is not None:
        _write(out, table.ranked())
    data = {
        "backend": table.backend,
        "claims": table.claims,
        "columns": scoring.COLUMNS,
        "rows": table.ranked(),
        "why_rejected": reasons,
    }
    output.result(data, _score_text(table, reasons, top))
    return 0


def _read(path: Path) -> list[tuple[str, str]]:
    from mumei.protein.sequence import read_sequences

    return [(record.name, record.sequence) for record in read_sequences(path)]


def _fitted_to(model: Any, named: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the sites of a family model for each sequence; the sequences themselves for other models."""
    from mumei.core.errors import UsageError
    from mumei.protein.fitting import sites_of
    from mumei.protein.models.potts import Potts

    if not isinstance(model, Potts):
        return named
    out = []
    for name, letters in named:
        try:
            out.append((name, sites_of(model, letters)[0]))
        except UsageError as error:
            raise UsageError(f"{name}: {error}") from error
    return out


def _structure_of(model: Any, structure: Path | None, chain: str | None, head: Path | None) -> dict[str, Any]:
    from mumei.core.errors import UsageError
    from mumei.protein.fitting import sites_of
    from mumei.protein.models.potts import Potts
    from mumei.protein.projection import StructureHead
    from mumei.protein.structure import read_structure
    from mumei.protein.targets import Target

    if structure is None or head is None:
        return {}
    found = read_structure(structure, chain=chain)
    loaded = StructureHead.from_public(head) if head.suffix == ".pt" else StructureHead.load(head)
    target = Target.of(found)
    if isinstance(model, Potts):
        if len(found) != model.length:
            target = target.take(sites_of(model, found.sequence)[1])
    elif model.length is None and len(found) < 1:
        raise UsageError(f"{structure} has no residues.")
    return {"head": loaded, "target": target}


def _add_novelty(table: Any, named: list[tuple[str, str]], known: Path, method: str) -> None:
    from mumei.protein.novelty import nearest

    found, how = nearest(named, known, method=method)
    for row, near in zip(table.rows, found, strict=True):
        row |= {"nearest": near.name, "identity": near.identity}
        if near.e_value is not None:
            row["e_value"] = near.e_value
    table.notes.append(f"nearest known sequences by {how}")


def _score_text(table: Any, reasons: list[dict[str, Any]], top: int) -> str:
    shown = [column for column in SHOWN if column in table.rows[0]]
    wide = max(4, *(min(40, len(row["name"])) for row in table.rows))
    lines = [
        f"{len(table.rows):,} sequences by energy, the lowest (best) first",
        f"  {'name':<{wide}} " + " ".join(f"{c:>17}" for c in shown),
    ]
    for row in table.ranked()[:top]:
        cells = " ".join(f"{row[c]:>17.3f}" if isinstance(row[c], float) else f"{row[c]:>17}" for c in shown)
        lines.append(
            f"  {row['name'][:40]:<{wide}} {cells}" + (f"  rejected: {row['rejected']}" if row["rejected"] else "")
        )
    rejected = sum(bool(row["rejected"]) for row in table.rows)
    lines.append(
        f"rejected: {rejected:,} of {len(table.rows):,}"
        + "".join(f"; {r['reason']}: {r['sequences']:,}" for r in reasons)
    )
    return "\n".join([*lines, *(f"note: {note}" for note in table.notes)])


def scan(
    sequence: str | None = None,
    *,
    model: str = "ngram",
    chain: str | None = None,
    positions: str | None = None,
    out: Path | None = None,
    top: int = LISTED,
    device: str = "cpu",
    allow_download: bool = False,
    json: bool = False,
    quiet: bool = False,
) -> int:
    """Score every single mutant of a protein: log p(mutant) - log p(wild type), each position masked alone.

    Parameters
    ----------
    sequence
        Letters, a FASTA file with one record, or a structure file (its residue numbers are used then). For a Potts model that was
        fitted for a protein it may be left out.
    model
        ngram; esm2: or hf: with a hub name or folder; or the folder of a Potts or tiny model.
    chain
        Of a structure, where there are several.
    positions
        Only these residue numbers: 10-25,52A.
    out
        A .csv or .parquet file with every mutant.
    top
        How many of the best and of the worst mutants are shown.
    device
        cpu, cuda, mps or auto.
    allow_download
        Let a hub name be fetched; without it nothing goes over the network.
    json
        Print the result as one JSON document.
    quiet
        No progress.
    """
    output = Output(json=json, quiet=quiet)
    from mumei.cli.reading import check_suffix
    from mumei.protein.models.load import load_model
    from mumei.protein.scan import mutants, places_of, protein_of
    from mumei.protein.score import mutant_scores

    if out is not None:
        check_suffix(out, TABLES)
    chosen = load_model(model, device=device, allow_download=allow_download)
    protein = protein_of(chosen, sequence, chain)
    wanted = places_of(protein, positions)
    rows = mutants(protein, wanted, mutant_scores(chosen, protein.letters, wanted))
    if out is not None:
        _write(out, rows)
    ordered = sorted((row for row in rows if row["score"] == row["score"]), key=lambda row: -row["score"])
    data = {
        "backend": chosen.name,
        "claims": chosen.claims,
        "sequence": protein.letters,
        "mutants": rows,
        "notes": protein.notes,
    }
    lines = [
        f"{len(rows):,} mutants of {len(wanted):,} residues; score = log p(mutant) - log p(wild type), higher is better"
    ]
    lines += [f"  {row['mutant']:<10} {row['score']:8.3f}" for row in ordered[:top]]
    if len(ordered) > 2 * top:
        lines += ["  ...", *(f"  {row['mutant']:<10} {row['score']:8.3f}" for row in ordered[-top:])]
    lines += [f"note: {note}" for note in [*protein.notes, f"backend {chosen.name}: {chosen.claims}"]]
    output.result(data, "\n".join(lines))
    return 0


def fit_potts(
    alignment: Path,
    *,
    out: Path,
    sequence: str | None = None,
    structure: Path | None = None,
    chain: str | None = None,
    leave_out: float | None = None,
    method: Literal["pseudo", "mean-field"] = "pseudo",
    max_gaps: float = 0.8,
    most: int = 3000,
    max_iter: int = 40,
    seed: int = 0,
    device: str = "cpu",
    json: bool = False,
    quiet: bool = False,
) -> int:
    """Fit a Potts model of a protein's family from its alignment, and write it.

    Parameters
    ----------
    alignment
        Aligned FASTA, A3M or Stockholm.
    out
        Folder for the model.
    sequence
        The protein, unaligned; by default the alignment's first record.
    structure
        Or its structure.
    chain
        Of the structure, where there are several.
    leave_out
        Leave the protein and every sequence more identical to it than this part (0.5) out of the fit.
    method
        pseudo has the better probabilities, mean-field is the faster one.
    max_gaps
        Sequences with a larger part of gaps are left out.
    most
        Fit on at most so many sequences.
    max_iter
        Steps of the pseudo-likelihood.
    seed
        Of the sample of sequences.
    device
        cpu, cuda, mps or auto.
    json
        Print the result as one JSON document.
    quiet
        No progress.
    """
    output = Output(json=json, quiet=quiet)
    from mumei.cli.reading import check_folder
    from mumei.protein import fitting

    check_folder(out)
    with output.progress().task("fitting", max_iter, "steps") as task:
        model = fitting.fit_potts(
            alignment, sequence=sequence, structure=structure, chain=chain, identity=leave_out, method=method, max_gaps=max_gaps,
            most=most, max_iter=max_iter, seed=seed, device=device, progress=task,
        )  # fmt: skip
    model.save(out)
    about = {key: value for key, value in model.about.items() if key not in ("residues", "numbers")}
    text = (
        f"{model.name}: {model.length} sites, {about['sequences']:,} sequences ({about['effective']} effective), "
        f"{about['left_out_similar']:,} relatives left out, {about['seconds']} s\nmodel: {output.path(out)}\nnote: {model.claims}"
    )
    output.result({"model": out, "name": model.name, "sites": model.length, **about}, text)
    return 0


def fit_head(
    structures: Annotated[list[Path] | None, Parameter(negative=())] = None,
    *,
    out: Path,
    model: Annotated[list[str], Parameter(negative=())],
    kind: Literal["structure", "contact"] = "structure",
    held_out: int = 0,
    device: str = "cpu",
    allow_download: bool = False,
    json: bool = False,
    quiet: bool = False,
) -> int:
    """Fit the map from a model's pair maps to structure, on chains of known structure.

    Parameters
    ----------
    structures
        Structure files; every protein chain is used. Not for Potts models, which bring their own (fit-potts --structure).
    out
        Folder for the head.
    model
        The language model; or Potts models, one --model for each.
    kind
        structure: distances and angles, as the design energy needs. contact: contacts alone.
    held_out
        So many of the last chains only measure.
    device
        cpu, cuda, mps or auto.
    allow_download
        Let a hub name be fetched; without it nothing goes over the network.
    json
        Print the result as one JSON document.
    quiet
        No progress.
    """
    output = Output(json=json, quiet=quiet)
    from mumei.cli.reading import check_folder
    from mumei.core.errors import UsageError
    from mumei.protein import fitting
    from mumei.protein.models.load import load_model
    from mumei.protein.models.potts import Potts

    check_folder(out)
    models = [load_model(name, device=device, allow_download=allow_download) for name in model]
    if structures:
        if len(models) > 1:
            raise UsageError(
                f"{len(models)} models and structure files were given; give one language model, or Potts models alone."
            )
        examples = list(fitting.examples_of(models[0], structures))
    else:
        wrong = [m.name for m in models if not isinstance(m, Potts)]
        if wrong:
            raise UsageError(f"{wrong[0]} needs structure files to fit a head on; give some chains of known structure.")
        examples = [fitting.example_of(m) for m in models if isinstance(m, Potts)]
    with output.progress().task("fitting", None, "steps") as task:
        head, measured = fitting.fit_head(examples, kind=kind, held_out=held_out, progress=task)
    head.save(out)
    lines = [
        f"{kind} head for {head.backend!r} models, {len(measured)} chains; precision of the L likeliest contacts, 6 or more "
        "apart:"
    ]
    lines += [
        f"  {name:<20} {m['precision']:.3f}{' (held out)' if m['held_out'] else ''}" for name, m in measured.items()
    ]
    output.result(
        {"head": out, "backend": head.backend, "about": head.about, "chains": measured},
        "\n".join([*lines, f"head: {output.path(out)}"]),
    )
    return 0


def _write(out: Path, rows: list[dict[str, Any]]) -> None:
    """Write rows as a table, whole or not at all; a column that some rows lack is empty there."""
    from mumei.core import files

    keys = list(dict.fromkeys(key for row in rows for key in row))
    if out.suffix.lower() == ".parquet":
        import pyarrow as pa

        files.write_table(out, pa.table({key: [row.get(key) for row in rows] for key in keys}))
        return
    import csv

    with files.atomic_open(out, "w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, keys, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
