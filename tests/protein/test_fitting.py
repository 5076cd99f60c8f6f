"""Fits for one protein: its sites, relatives left out, an example for a head; and the proteins and places of a scan."""

from __future__ import annotations

import pytest
import torch

from mumei.core.errors import DataError, UsageError
from mumei.protein.fitting import example_of, examples_of, fit_head, fit_potts, sites_of
from mumei.protein.models.ngram import Ngram
from mumei.protein.models.potts import Potts
from mumei.protein.models.tiny import Tiny
from mumei.protein.scan import Protein, mutants, places_of, protein_of

ROWS = ["MKTAYIAKQRQISFVKSH", "MKSAYLAKQRQISFVKAH", "MRTAFIAKQKQVSFIKSH", "LKTGYIARQRQISFVRSH", "MKTAYVSKNRQLSFVKTH"]


@pytest.fixture
def family(tmp_path):
    path = tmp_path / "family.fasta"
    path.write_text("".join(f">{i}\n{row}\n" for i, row in enumerate(ROWS)))
    return path


def test_the_protein_may_be_longer_than_its_family(family):
    model = fit_potts(family, sequence="GGG" + ROWS[0] + "WW", max_iter=3)
    assert model.about["residues"] == list(range(3, 21))
    letters = sites_of(model)[0]
    assert letters == ROWS[0]
    mutant = "GGG" + "A" + ROWS[0][1:] + "WW"
    assert sites_of(model, mutant)[0] == "A" + ROWS[0][1:]
    assert sites_of(model, ROWS[1])[0] == ROWS[1]
    with pytest.raises(UsageError, match="18 sites, or of the 23"):
        sites_of(model, "MKT")
    protein = protein_of(model, None)
    assert protein.numbers[0] == "4"  # of the whole protein, from 1
    assert "5 of 23 residues are no sites" in protein.notes[0]


def test_relatives_are_left_out_of_the_fit(family):
    with pytest.raises(DataError, match="none is left"):
        fit_potts(family, identity=0.1)
    model = fit_potts(family, identity=0.9, max_iter=3)
    assert model.about["left_out_similar"] == 1
    assert model.about["sequences"] == 4


def test_one_protein_not_two(family):
    with pytest.raises(UsageError, match="not by both"):
        fit_potts(family, sequence=ROWS[0], structure="x.pdb")
    with pytest.raises(UsageError, match="without a structure"):
        example_of(fit_potts(family, max_iter=2))
    with pytest.raises(UsageError, match="does not say for which protein"):
        sites_of(Potts.example())


def test_a_head_on_real_families(data):
    """The head of three families sees contacts of a fourth that it was not fitted on, far above chance."""
    examples = []
    for stem in ("PF00240_2BWF_A", "PF00313_3I2Z_A", "PF00018_2O9S_A", "PF00013_1WVN_A"):
        name = stem.split("_")[1].lower()
        model = fit_potts(
            data / "msa" / f"{stem}.fasta.gz",
            structure=data / "structures" / f"{name}_A.pdb.gz",
            method="mean-field",
            identity=0.5,
        )
        examples.append(example_of(model))
    head, measured = fit_head(examples, held_out=1)
    assert head.backend == "potts"
    unseen = measured["1wvn_A:A"]
    assert unseen["held_out"]
    assert unseen["precision"] > 0.2  # all pairs at least 6 apart: about 0.07
    contact, _ = fit_head(examples, kind="contact", held_out=1)
    assert contact.about["chains"] == 3
    with pytest.raises(DataError, match="cannot be held out"):
        fit_head(examples, held_out=4)


def test_chains_of_files_for_a_language_model(data):
    model = Tiny.example()
    found = list(examples_of(model, [data / "formats" / "1YCR.pdb", data / "formats" / "1qys.pdb"]))
    assert [len(tokens) for _, tokens, _ in found] == [85, 13, 92]
    with pytest.raises(UsageError, match="of one family"):
        next(iter(examples_of(Potts.example(), [data / "formats" / "1YCR.pdb"])))


def test_places_and_mutants():
    protein = Protein("MKT", ("9", "10", "10A"))
    assert places_of(protein, None) == [0, 1, 2]
    assert places_of(protein, "10-10A,9") == [1, 2, 0]
    rows = mutants(protein, [2], torch.arange(20.0)[None])
    assert len(rows) == 19
    assert rows[0] == {"mutant": "T10AA", "position": "10A", "wild_type": "T", "residue": "A", "score": 0.0}
    with pytest.raises(UsageError, match="no residue '11'"):
        places_of(protein, "11")


def test_proteins_that_are_none(tmp_path):
    model = Ngram.natural()
    with pytest.raises(UsageError, match="give a sequence"):
        protein_of(model, None)
    with pytest.raises(UsageError, match="goes with a structure"):
        protein_of(model, "MKT", "A")
    two = tmp_path / "two.fasta"
    two.write_text(">a\nMKT\n>b\nMKT\n")
    with pytest.raises(DataError, match="2 sequences"):
        protein_of(model, str(two))
    with pytest.raises(DataError, match="empty"):
        protein_of(model, "")
