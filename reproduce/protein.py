"""Scoring proteins without labels: the experiments of the documents, each printed as one JSON object.

    python reproduce/protein.py solubility --data DIR
    python reproduce/protein.py stability --data DIR [--most 1000]
    python reproduce/protein.py natural --data DIR [--out FILE]

"solubility": the 276 proteins that Verkuil and others 2022 made in the laboratory (228 of them designed by the language model)
are ranked by the n-gram energy alone, with the tables of the paper's code and with mumei's own; the area under the ROC curve
against "soluble" and "success", over all rows and within each pool of designs: the whole mixes pools that differ in both.

"stability": measured changes of stability by single mutations (positive = destabilising), scored by the difference of
log-probabilities of a Potts model of the protein's family, by that of the n-gram model's conditionals and by the change of the
n-gram energy; Spearman by protein, with the wild type and every sequence more than 50% identical to it left out of the Potts fit.
Only proteins with at least 10 mutations; for Potts those with a family in the folder, and mutations in its aligned columns.

"natural": makes src/mumei/protein/natural.safetensors.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import time
from collections import defaultdict
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from mumei.protein.alphabet import CODES, batch
from mumei.protein.family import aligned_query, leave_out
from mumei.protein.models import potts_fit
from mumei.protein.models.ngram import NATURAL, Ngram
from mumei.protein.models.potts import Potts
from mumei.protein.natural import build
from mumei.protein.score import mutant_scores
from mumei.protein.sequence import Alignment, read_alignment, read_sequences
from mumei.protein.structure import read_structure

PUBLIC_DOMAIN = ("ecoli_k12", "enterococcus", "mycoplasma_genitalium", "mycoplasma_agalactiae", "mycoplasma_gallisepticum",
                 "mycoplasma_hyopneumoniae")  # fmt: skip
SOURCES = "proteomes of E. coli K-12, Enterococcus and four Mycoplasma (NCBI RefSeq and GenBank, public domain)"
FAMILIES = {  # structures with measured mutations and the alignment of their family
    "1SHF": "PF00018_2O9S_A.fasta.gz", "3CHY": "PF00072_1MVO_A.fasta.gz", "1FXA": "PF00111_1CZP_A.fasta.gz",
    "1FKJ": "PF00254_2PPN_A.fasta.gz", "1CSP": "PF00313_3I2Z_A.fasta.gz", "1UBQ": "PF00240_2BWF_A.fasta.gz",
    "1BVC": "1a00_A_uniref90.a3m.gz", "1LVE": "PF07686_2PND_A.fasta.gz",
}  # fmt: skip
FEWEST = 10  # mutations of a protein


def auroc(truth: np.ndarray, score: np.ndarray) -> float | None:
    """Return the area under the ROC curve, None where all rows are alike."""
    return round(float(roc_auc_score(truth, score)), 4) if 0 < truth.sum() < len(truth) else None


def solubility(data: Path) -> dict[str, Any]:
    """Return areas under the curve by table, outcome and pool."""
    with (data / "designs" / "lm_design_2022.csv").open(encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    tokens, lengths = batch([row["Sequence"] for row in rows])
    truth = {name: np.array([row[column] == "True" for row in rows]) for name, column in
             (("soluble", "Soluble"), ("success", "Success"))}  # fmt: skip
    pools = {"all": np.ones(len(rows), dtype=bool)}
    for pool in ("LM", "AlphaFold", "AlphaFold+ngram", "ground truth"):
        pools[pool] = np.array([row["Design Model"] == pool for row in rows])
    for task in ("Fixed", "Generation"):
        pools[f"LM {task.lower()}"] = pools["LM"] & np.array([row["Experiment Name"].startswith(task) for row in rows])
    out: dict[str, Any] = {}
    for name, model in (("paper", Ngram.from_tables(data / "designs" / "ngram")), ("own", Ngram.natural())):
        energy = model.energy(tokens, lengths).numpy()
        out[name] = {}
        for pool, member in pools.items():
            areas = {what: auroc(values[member], -energy[member]) for what, values in truth.items()}
            out[name][pool] = {"n": int(member.sum()), "energy": round(float(energy[member].mean()), 2), **areas}
    plddt = np.array([float(row["AlphaFold pLDDT"] or "nan") for row in rows])
    seen = np.isfinite(plddt)
    out["pLDDT"] = {"n": int(seen.sum()), "soluble": auroc(truth["soluble"][seen], plddt[seen])}
    return out


def mutations(data: Path) -> dict[str, list[tuple[str, str, str, float]]]:
    """Return the single mutations of each structure: wild type, author number, mutant, change of stability (kcal/mol)."""
    found = defaultdict(list)
    with (data / "ddg" / "curated_protherm.csv").open(encoding="utf-8") as handle:
        for row in csv.DictReader(handle):
            _, wild, number, mutant = row["Mutations"].split()
            found[row["PDBFileID"]].append((wild, number, mutant, float(row["DDG"])))
    return found


def stability(data: Path, most: int) -> dict[str, Any]:
    """Return Spearman's correlations by protein and model."""
    files = {path.name.split("_")[0].upper(): path for path in (data / "structures").glob("*.pdb.gz")}
    ngram, out = Ngram.natural(), {}
    for name, rows in mutations(data).items():
        if len(rows) < FEWEST or name not in files:
            continue
        structure = read_structure(files[name])
        at = dict(zip(structure.numbers, range(len(structure)), strict=True))
        found = [row for row in rows if row[1] in at and structure.sequence[at[row[1]]] == row[0]]
        places, mutants = [at[row[1]] for row in found], [CODES[row[2]] for row in found]
        measured = np.array([row[3] for row in found])
        tokens, _ = batch([structure.sequence], unknown="keep")
        result: dict[str, Any] = {"mutations": len(found), "not_in_chain": len(rows) - len(found)}
        scores = mutant_scores(ngram, tokens[0]).numpy()[places, mutants]
        change = ngram.start(tokens).scan(torch.tensor(places)[None])[0].numpy()[np.arange(len(found)), mutants]
        result["ngram"] = rho(-scores, measured)
        result["ngram_energy"] = rho(change, measured)
        if name in FAMILIES:
            result |= family(data, name, structure.sequence, places, mutants, measured, most)
        out[name] = result
        print(f"{name} {result}", file=sys.stderr)
    return {"proteins": out, "mean": means(out)}


def family(
    data: Path, name: str, sequence: str, places: list[int], mutants: list[int], measured: np.ndarray, most: int
) -> dict[str, Any]:
    """Return what a Potts model of the family says of one protein, and how it was fitted."""
    started = time.monotonic()
    alignment = read_alignment(data / "msa" / FAMILIES[name])
    query = aligned_query(sequence, alignment)
    kept, dropped = leave_out(alignment, query.row, 0.5)
    model = Potts.fit(kept, query=query.row, most=most)
    site = {int(residue): i for i, residue in enumerate(query.residues)}
    inside = np.array([place in site for place in places])
    own = torch.tensor([CODES.get(sequence[i], 20) for i in query.residues])
    scores = mutant_scores(model, own).numpy()
    chosen = [scores[site[p], m] for p, m, good in zip(places, mutants, inside, strict=True) if good]
    alone = column_logs(kept, model.columns)
    profile = (alone - alone.gather(1, own[:, None])).numpy()
    by_profile = [profile[site[p], m] for p, m, good in zip(places, mutants, inside, strict=True) if good]
    return {
        "potts": rho(-np.array(chosen), measured[inside]), "profile": rho(-np.array(by_profile), measured[inside]),
        "potts_mutations": int(inside.sum()), "family": FAMILIES[name].split(".")[0],
        "sequences": len(kept), "left_out": dropped, "effective": model.about["effective"], "sites": len(model.h),
        "seconds": round(time.monotonic() - started, 1),
    }  # fmt: skip


def column_logs(alignment: Alignment, columns: np.ndarray) -> torch.Tensor:
    """Return log frequencies of residues by column, (sites, 20), sequences weighted, one pseudocount: what each site says
    alone.
    """
    rows = ["".join(row[i] for i in columns) for row in alignment.rows]
    codes = torch.tensor([[CODES.get(letter, 20) for letter in row] for row in rows])
    codes = codes[(codes == 20).float().mean(1) <= 0.8]
    weights = potts_fit.sequence_weights(codes)
    counts = (potts_fit.one_hot(codes) * weights[:, None]).sum(0).reshape(-1, potts_fit.STATES)[:, :20]
    return ((counts + 0.05) / (counts + 0.05).sum(1, keepdim=True)).log()


def rho(score: np.ndarray, measured: np.ndarray) -> float | None:
    """Return Spearman's correlation; None for fewer than 10 mutations."""
    return round(float(spearmanr(score, measured)[0]), 3) if len(score) >= FEWEST else None


def means(out: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the mean over proteins of each correlation, and over how many."""
    found: dict[str, Any] = {}
    for key in ("ngram", "ngram_energy", "potts", "profile"):
        values = [protein[key] for protein in out.values() if protein.get(key) is not None]
        found[key], found[f"{key}_proteins"] = round(float(np.mean(values)), 3), len(values)
    return found


def natural(data: Path, out: Path) -> dict[str, Any]:
    """Make the file of natural numbers and say what it holds."""
    paths = [data / "sequences" / f"{name}.fasta.gz" for name in PUBLIC_DOMAIN]
    texts = chain.from_iterable((record.sequence for record in read_sequences(path)) for path in paths)
    model = build(texts, SOURCES, out)
    return {**model.about, "out": str(out)}


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", choices=("solubility", "stability", "natural"))
    parser.add_argument(
        "--data", type=Path, required=True, help="the folder with msa, designs, ddg, structures and sequences"
    )
    parser.add_argument("--most", type=int, default=1000, help="sequences of a family that are fitted")
    parser.add_argument("--out", type=Path, default=NATURAL)
    given = parser.parse_args()
    if given.experiment == "solubility":
        result = solubility(given.data)
    elif given.experiment == "stability":
        result = stability(given.data, given.most)
    else:
        result = natural(given.data, given.out)
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
