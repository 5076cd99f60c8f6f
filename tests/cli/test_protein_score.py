"""`mumei protein score`, `scan`, `fit-potts`, `fit-head`: whole runs on made families, tables, and what is refused."""

from __future__ import annotations

import csv
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from mumei.cli.app import main
from mumei.core import artifact
from mumei.protein.models.potts import Potts
from mumei.protein.models.tiny import Tiny
from mumei.protein.score import mutant_scores

FAMILY = [
    "MKTAYIAKQRQISFVKSH", "MKSAYLAKQRQISFVKAH", "MRTAFIAKQKQVSFIKSH", "LKTGYIARQRQISFVRSH", "MKTAYVSKNRQLSFVKTH",
    "IKTSYIAKQHQISYVKSH", "MKTAYIAEQRQISFLKSH", "MRSAYIAKQRKISFVKSN",
]  # fmt: skip


def run(capsys, *arguments):
    """Return the exit code and the JSON of `mumei protein ... --json`."""
    code = main(["protein", *map(str, arguments), "--json", "--quiet"])
    return code, json.loads(capsys.readouterr().out)


def helix(sequence, first=1):
    """Return PDB lines of an ideal helix: N, CA and C of each residue on a spiral."""
    three = "ALA CYS ASP GLU PHE GLY HIS ILE LYS LEU MET ASN PRO GLN ARG SER THR VAL TRP TYR".split()
    names = dict(zip("ACDEFGHIKLMNPQRSTVWY", three, strict=True))
    lines, serial = [], 0
    for i, letter in enumerate(sequence):
        for atom, (radius, turn, rise) in {
            "N": (1.55, -27.7, -0.9),
            "CA": (2.3, 0.0, 0.0),
            "C": (1.7, 26.3, 1.1),
        }.items():
            angle = np.deg2rad(100 * i + turn)
            x, y, z = radius * np.cos(angle), radius * np.sin(angle), 1.5 * i + rise
            serial += 1
            lines.append(
                f"ATOM  {serial:5d}  {atom:<3} {names[letter]} A{first + i:4d}    {x:8.3f}{y:8.3f}{z:8.3f}  1.00  0.00           "
                f"{atom[0]}"
            )
    return "\n".join([*lines, "END", ""])


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("protein")
    (folder / "family.fasta").write_text("".join(f">s{i}\n{row}\n" for i, row in enumerate(FAMILY)))
    (folder / "some.fasta").write_text(">good\nMKTAYIAKQRQISFVKSH\n>repeat\nAAAAAAAAAAAAAAAAAA\n")
    (folder / "helix.pdb").write_text(helix(FAMILY[0], first=7))
    return folder


@pytest.fixture(scope="module")
def potts(files):
    given = [
        "fit-potts",
        files / "family.fasta",
        "--structure",
        files / "helix.pdb",
        "--out",
        files / "potts",
        "--quiet",
    ]
    assert main(["protein", *map(str, given)]) == 0
    return files / "potts"


def test_fit_potts_keeps_what_its_sites_are(potts, files, capsys):
    model = artifact.load(potts)
    assert isinstance(model, Potts)
    assert model.about["numbers"] == [str(i) for i in range(7, 25)]
    assert model.about["left_out_similar"] == 0
    code, data = run(capsys, "fit-potts", files / "family.fasta", "--leave-out", "0.9", "--out", files / "left")
    assert code == 0
    assert data["left_out_similar"] > 0
    assert data["sequences"] + data["left_out_similar"] == len(FAMILY)


def test_scan_has_every_mutant_by_the_structures_numbers(potts, files, capsys):
    code, data = run(capsys, "scan", "--model", potts, "--out", files / "scan.csv")
    assert code == 0
    assert len(data["mutants"]) == 18 * 19
    expected = mutant_scores(artifact.load(potts), FAMILY[0])
    row = next(r for r in data["mutants"] if r["mutant"] == "K8R")
    assert row["score"] == pytest.approx(float(expected[1, 14]), abs=1e-6)
    written = list(csv.DictReader((files / "scan.csv").read_text().splitlines()))
    assert len(written) == 18 * 19
    assert written[0]["mutant"] == data["mutants"][0]["mutant"]
    code, some = run(capsys, "scan", files / "helix.pdb", "--model", potts, "--positions", "8-9,24")
    assert {r["position"] for r in some["mutants"]} == {"8", "9", "24"}


def test_scan_without_a_family_model(files, capsys):
    code, data = run(capsys, "scan", FAMILY[0], "--positions", "1")
    assert code == 0
    assert [r["mutant"][:2] for r in data["mutants"]] == ["M1"] * 19
    code, data = run(capsys, "scan", files / "helix.pdb")
    assert data["mutants"][0]["position"] == "7"


def test_score_ranks_and_says_why_rejected(potts, files, capsys):
    known = files / "known.fasta"
    known.write_text(f">known\n{FAMILY[0]}\n")
    code, data = run(
        capsys, "score", files / "some.fasta", "--model", potts, "--known", known, "--novelty", "kmer",
        "--background", files / "family.fasta", "--out", files / "score.parquet",
    )  # fmt: skip
    assert code == 0
    assert [row["name"] for row in data["rows"]] == ["good", "repeat"]
    assert data["rows"][0]["identity"] == 1.0
    assert data["rows"][0]["rejected"] == ""
    assert "run of 18 equal residues" in data["rows"][1]["rejected"]
    assert {"reason": "longest run", "sequences": 1} in data["why_rejected"]
    assert data["columns"]["energy"] == "lower"
    assert "one family" in data["claims"]
    table = pq.read_table(files / "score.parquet").to_pydict()
    assert table["rank"] == [1, 2]
    assert main(["protein", "score", str(files / "some.fasta"), "--quiet"]) == 0
    text = capsys.readouterr().out
    assert "rejected: 1 of 2" in text
    assert "backend ngram:natural" in text


def test_a_head_on_potts_models_adds_the_structure_term(potts, files, capsys):
    code, data = run(capsys, "fit-head", "--model", potts, "--out", files / "head")
    assert code == 0
    assert data["backend"] == "potts"
    assert data["chains"]["helix:A"]["precision"] >= 0.0
    code, scored = run(
        capsys,
        "score",
        files / "some.fasta",
        "--model",
        potts,
        "--structure",
        files / "helix.pdb",
        "--head",
        files / "head",
    )
    row = scored["rows"][0]
    assert row["energy"] == pytest.approx(3 * row["structure"] + 2 * row["lm"] + row["ngram"], abs=1e-5)


def test_heads_on_a_language_model(files, capsys):
    with torch.random.fork_rng():
        Tiny.example().save(files / "tiny")
    for kind in ("structure", "contact"):
        code, data = run(
            capsys, "fit-head", files / "helix.pdb", "--model", files / "tiny", "--kind", kind, "--out", files / kind
        )
        if kind == "contact" and code:  # an ideal helix has no contact 6 apart: refused with the reason
            assert "no contact" in data["error"]["message"]
        else:
            assert code == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["score", "{f}/absent.fasta"], "cannot be read"),
        (["score", "{f}/some.fasta", "--model", "esm9:x"], "sequence model"),
        (["score", "{f}/some.fasta", "--model", "esm2:nobody/nothing"], "downloads are not allowed"),
        (["score", "{f}/some.fasta", "--structure", "{f}/helix.pdb"], "needs both"),
        (["score", "{f}/some.fasta", "--out", "{f}/table.txt"], "is not written"),
        (["scan"], "give a sequence"),
        (["scan", "MKTA", "--positions", "9"], "no residue '9'"),
        (["scan", "MKTA", "--positions", "3-1"], "backwards"),
        (["scan", "MKTA", "--positions", "x"], "not understood"),
        (["scan", "MK7A"], "allowed are the twenty"),
        (["scan", "{f}/some.fasta"], "2 sequences"),
        (["scan", "{f}/gone.pdb"], "is not there"),
        (["scan", "MKTA", "--model", "{p}"], "18 sites"),
        (["fit-potts", "{f}/unequal.fasta", "--out", "{f}/x"], "one length"),
        (["fit-potts", "{f}/family.fasta", "--sequence", "WWWWCCCCWWWW", "--out", "{f}/x"], "does not align"),
        (["fit-head", "--model", "ngram", "--out", "{f}/x"], "needs structure files"),
        (["fit-head", "{f}/helix.pdb", "--model", "{p}", "--out", "{f}/x"], "of one family"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_said_and_leaves_nothing(arguments, said, files, potts, capsys, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (files / "unequal.fasta").write_text(">a\nMKTAYIAK\n>b\nMKT\n")
    code, data = run(capsys, *(a.format(f=files, p=potts) for a in arguments))
    assert code in (1, 2)
    assert said in data["error"]["message"]
    assert not (files / "x").exists()
    assert not (files / "table.txt").exists()
