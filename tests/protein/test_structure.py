from __future__ import annotations

import gzip
import shutil

import numpy as np
import pytest
from structures_made import helix, pdb_line, pdb_text

from mumei.core.errors import DataError, UsageError
from mumei.protein.structure import read_chains, read_structure

gemmi = pytest.importorskip("gemmi")


def test_a_plain_chain(write_pdb):
    s = read_structure(write_pdb(pdb_text(("GLY", "TRP", "LYS"), first=-1)))
    assert (s.name, s.chain, s.sequence, s.numbers, s.labels[0]) == ("made", "A", "GWK", ("-1", "0", "1"), "A:-1")
    assert s.repairs == ()
    assert s.breaks == ()
    np.testing.assert_allclose(s.backbone, helix(3), atol=6e-4)
    assert s.b_factors.tolist() == [10.0] * 3
    assert s.index("0") == s.index(0) == 1
    with pytest.raises(UsageError, match="no residue '7'"):
        s.index(7)


def test_several_chains_need_a_name_and_unknown_ones_are_told(write_pdb):
    path = write_pdb(pdb_text(chain="A") + pdb_text(chain="b", first=10))
    assert [s.chain for s in read_chains(path)] == ["A", "b"]
    assert read_structure(path, chain="b").numbers[0] == "10"
    with pytest.raises(UsageError, match=r"A \(6 residues\), b \(6 residues\). Name one"):
        read_structure(path)
    with pytest.raises(UsageError, match=r"no protein chain 'B'\. Did you mean 'b'"):
        read_structure(path, chain="B")


def test_models_are_chosen_and_told(write_pdb):
    path = write_pdb(["MODEL        1", *pdb_text(), "ENDMDL", "MODEL        2", *pdb_text(("GLY",) * 6), "ENDMDL"])
    first = read_structure(path)
    assert first.sequence == "AAAAAA"
    assert "model 1 of 2" in first.repairs[0]
    assert read_structure(path, model=2).sequence == "GGGGGG"
    with pytest.raises(UsageError, match="no model 3; it has 1 to 2"):
        read_structure(path, model=3)


def test_models_without_an_end_are_read_line_by_line(write_pdb):
    lines = ["MODEL        1", *pdb_text(), "MODEL        2", *pdb_text(("GLY",) * 6)]
    lines.insert(2, "ATOM      9  CB  ALA A   1       rubbish")
    s = read_structure(write_pdb(lines), model=2)
    assert s.sequence == "GGGGGG"
    assert "gemmi refuses" in s.repairs[0]
    assert "1 atoms without readable fields were dropped: line 3" in s.repairs[1]


def test_insertion_codes_keep_the_order_of_the_file(write_pdb):
    points = helix(3)
    lines = [pdb_line(3 * i + k, name, "ALA", "A", 52, points[i, k], insertion=code)
             for i, code in enumerate(("", "A", "B")) for k, name in enumerate(("N", "CA", "C"))]  # fmt: skip
    s = read_structure(write_pdb(lines))
    assert s.numbers == ("52", "52A", "52B")
    assert s.index("52B") == 2


def test_alternate_places_are_taken_whole_by_occupancy(write_pdb):
    lines = pdb_text(("ALA",))
    other = [pdb_line(9, n, "ALA", "A", 1, (9.0, k, 0.0), alternate="B", occupancy="  0.60")
             for k, n in enumerate(("N", "CA", "C"))]  # fmt: skip
    first = [line[:16] + "A" + line[17:54] + "  0.40" + line[60:] for line in lines]
    s = read_structure(write_pdb(first + other))
    assert s.backbone[0, :, 0].tolist() == [9.0] * 3
    assert "alternate places" in s.repairs[0]


def test_of_two_residues_at_one_place_the_likelier_is_read(write_pdb):
    serine = [line[:16] + "A" + line[17:54] + "  0.30" + line[60:] for line in pdb_text(("SER",))]
    proline = [line[:16] + "B" + line[17:54] + "  0.70" + line[60:] for line in pdb_text(("PRO",))]
    assert read_structure(write_pdb(serine + proline)).sequence == "P"


def test_modified_and_unknown_residues_and_ligands(write_pdb):
    lines = pdb_text(("MSE", "ALA", "UNK"))
    far = [
        pdb_line(90 + k, n, "GLY", "A", 300, (50.0 + k, 50, 50), record="HETATM")
        for k, n in enumerate(("N", "CA", "C"))
    ]
    ligand = pdb_line(99, "C1", "HEM", "A", 400, (1, 1, 1), record="HETATM")
    water = pdb_line(99, "O", "HOH", "A", 401, (1, 1, 1), record="HETATM")
    s = read_structure(write_pdb([*lines, *far, ligand, water]))
    assert s.sequence == "MAX"
    told = " ".join(s.repairs)
    for part in ("MSE 1 as M", "UNK 3", "not bonded to the chain: GLY 300", "no amino acids: HEM 400"):
        assert part in told


def test_missing_atoms_are_nan_and_told(write_pdb):
    s = read_structure(
        write_pdb([line for line in pdb_text() if not (line[12:16].strip() == "C" and line[22:26].strip() == "3")])
    )
    assert np.isnan(s.backbone[2, 2]).all()
    assert np.isfinite(s.backbone[2, :2]).all()
    assert np.isnan(s.cb()[2]).all()
    assert "ALA 3 C" in " ".join(s.repairs)
    assert s.breaks == (2,)


def test_gaps_are_told_or_filled(write_pdb):
    path = write_pdb(pdb_text(("ALA",) * 2) + pdb_text(("GLY",) * 2, first=5, start=4))
    s = read_structure(path)
    assert s.sequence == "AAGG"
    assert "2-5" in " ".join(s.repairs)
    filled = read_structure(path, gaps="fill")
    assert (filled.sequence, filled.numbers) == ("AAXXGG", ("1", "2", "3", "4", "5", "6"))
    assert np.isnan(filled.backbone[2:4]).all()
    with pytest.raises(UsageError, match="'report' or 'fill'"):
        read_structure(path, gaps="x")


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "is empty"), (b"hello", "holds no atoms"), (b"data_x\n_cell.a 1\n", "no atom_site"),
     (b"\x81\xaadataBlocks\x01", "no sound BinaryCIF"), (b"\x1f\x8bxx", "cannot be read")],
)  # fmt: skip
def test_files_that_are_no_structures(tmp_path, content, message):
    path = tmp_path / "x.pdb"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_structure(path)
    with pytest.raises(DataError, match="No such file"):
        read_structure(tmp_path / "absent")


def test_a_trace_of_ca_alone_is_refused(write_pdb):
    with pytest.raises(DataError, match="no protein chain with a backbone"):
        read_structure(write_pdb([line for line in pdb_text() if " CA " in line]))


def test_formats_agree_on_one_entry(data, tmp_path):
    by_ending = {e: read_structure(data / "formats" / f"1aki.{e}") for e in ("pdb", "cif", "bcif")}
    with gzip.open(tmp_path / "renamed.dat", "wb") as out, (data / "formats/1aki.bcif").open("rb") as source:
        shutil.copyfileobj(source, out)
    by_ending["gz"] = read_structure(tmp_path / "renamed.dat")
    for s in by_ending.values():
        assert (s.sequence, s.numbers) == (by_ending["pdb"].sequence, by_ending["pdb"].numbers)
        np.testing.assert_allclose(s.backbone, by_ending["pdb"].backbone, atol=1e-3)
        np.testing.assert_allclose(s.b_factors, by_ending["pdb"].b_factors, atol=1e-2)


def test_all_awkward_files_are_read_or_refused_for_a_reason(data):
    """Residues of each chain, counted by eye in the files (SEQRES, or the CA atoms)."""
    expected = {
        "1A8O.cif": {"A": 70}, "1A8O.pdb": {"A": 70}, "1YCR.pdb": {"A": 85, "B": 13}, "1aki.bcif": {"A": 129},
        "1aki.cif": {"A": 129}, "1aki.pdb": {"A": 129}, "1qys.pdb": {"A": 92}, "1tim.pdb.gz": {"A": 247, "B": 247},
        "2BEG.pdb": dict.fromkeys("ABCDE", 26), "2N2U.pdb": {"A": 67}, "5L33.pdb": {"A": 106}, "altloc.cif": {"A": 1},
        "broken_model.pdb": {"A": 172, "B": 34}, "disordered.pdb": {"A": 6}, "gappy_3GQS_A.pdb": {"A": 100},
        "nickel_symmetric_motif.pdb": {"A": 20}, "occupancy.pdb": {"A": 1}, "pdb1ejg.pdb": {"A": 46}, "res_ids.cif": {"A": 3},
    }  # fmt: skip
    files = sorted(p.name for p in (data / "formats").iterdir())
    assert files == sorted([*expected, "hetatm.pdb"], key=str)
    for name, chains in expected.items():
        assert {s.chain: len(s) for s in read_chains(data / "formats" / name)} == chains, name
    with pytest.raises(DataError, match="no protein chain with a backbone"):
        read_chains(data / "formats/hetatm.pdb")


def test_every_structure_of_the_folder_has_its_recorded_sequence(data):
    rows = [line.split("\t") for line in (data / "structures/index.tsv").read_text().splitlines()[1:]]
    for row in rows:
        s = read_structure(data / "structures" / f"{row[0]}.pdb.gz")
        assert s.sequence == row[-1], row[0]
