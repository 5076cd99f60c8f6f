"""A Potts model as a sequence model: conditionals and changes against whole energies, maps, gaps, queries, and a saved one."""

from __future__ import annotations

import pytest
import torch

from mumei.core.errors import DataError, UsageError
from mumei.protein.alphabet import batch
from mumei.protein.models.potts import BANDS, Potts
from mumei.protein.sequence import read_alignment
from mumei.testing.sequence_models import check_artifact, check_sequence_model

ROWS = ["MKTAYIAKQR", "MKSAYLAKQR", "MRTAFIAKQK", "LKTGYIARQR", "MKTAYVSKNR", "IKTSYIAKQH", "MKTA-IAKQR", "MK--YLAKQR"]


@pytest.fixture(scope="module", params=["pseudo", "mean-field"])
def model(request):
    return Potts.fit(ROWS, method=request.param, max_iter=30)


def test_conditionals_are_those_of_the_energy(model):
    """Expected: exp(-energy) of all twenty sequences that differ at the place, normalised."""
    tokens, _ = batch(["MKTAYIAKQR"])
    found = model.masked_logprobs(tokens, torch.arange(10)[None])[0]
    for place in range(10):
        others = tokens.repeat(20, 1)
        others[:, place] = torch.arange(20)
        torch.testing.assert_close(found[place], torch.log_softmax(-model.energy(others), 0), atol=1e-4, rtol=0)


def test_changes_are_differences_of_energies(model):
    tokens, _ = batch(["MKTAYIAKQR", "WWWWWCCCCC"])
    found = model.delta(tokens, torch.tensor([[3, 0], [9, 1]]))
    for row, places in enumerate(([3, 0], [9, 1])):
        for k, place in enumerate(places):
            mutant = tokens[row : row + 1].repeat(20, 1)
            mutant[:, place] = torch.arange(20)
            expected = model.energy(mutant) - model.energy(tokens[row : row + 1])
            torch.testing.assert_close(found[row, k], expected, atol=1e-4, rtol=0)


def test_maps(model):
    tokens, _ = batch(["MKTAYIAKQR"])
    couplings, bands = model.pair_maps(tokens)
    assert couplings.shape == (1, 4, 10, 10)
    torch.testing.assert_close(couplings, couplings.transpose(-1, -2), atol=1e-4, rtol=0)
    assert bands.shape == (1, len(BANDS), 10, 10)
    assert float(bands[0, 1].sum()) == 18.0  # neighbours, both ways
    assert float(bands[0].sum(0).max()) == 1.0


def test_sites_are_the_querys_columns():
    model = Potts.fit(ROWS, query="MK--YLAKQR", max_iter=2)
    assert model.columns.tolist() == [0, 1, 4, 5, 6, 7, 8, 9]
    assert model.length == 8
    with pytest.raises(UsageError, match="8 residues"):
        model.masked_logprobs(torch.zeros((1, 10), dtype=torch.int64), torch.tensor([[0]]))
    with pytest.raises(UsageError, match="neither"):
        Potts.fit(ROWS, query="nobody")


def test_conformance(model):
    check_sequence_model(lambda: model)
    check_artifact(lambda: model)


def test_bad_alignments():
    with pytest.raises(DataError, match="one length"):
        Potts.fit(["MKT", "MK"])
    with pytest.raises(DataError, match="one length"):
        Potts.fit([])
    with pytest.raises(DataError, match="at least 2"):
        Potts.fit(["MKTAYIAKQR", "---------R", "M---------"])
    with pytest.raises(UsageError, match="method"):
        Potts.fit(ROWS, method="exact")


def test_contacts_of_a_family_are_found(data):
    """The precision of the likeliest L pairs of a real family, by the couplings' norms alone, is far above chance (0.07)."""
    from mumei.protein.contacts import precision
    from mumei.protein.family import aligned_query
    from mumei.protein.structure import read_structure
    from mumei.protein.targets import Target

    alignment = read_alignment(data / "msa" / "PF00018_2O9S_A.fasta.gz")
    structure = read_structure(data / "structures" / "2o9s_A.pdb.gz")
    query = aligned_query(structure.sequence, alignment)
    model = Potts.fit(alignment, query=query.row, method="mean-field")
    assert precision(model.couplings_norm(), Target.of(structure).take(query.residues)) > 0.35
