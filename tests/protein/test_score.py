"""Scores against brute force: mutants by energies of whole Potts sequences, perplexity by single masks, filters by hand."""

from __future__ import annotations

import math

import pytest
import torch

from mumei.core.errors import DataError, UsageError
from mumei.protein.alphabet import batch
from mumei.protein.models.esm2 import Esm2Model
from mumei.protein.models.esm2_network import Esm2, Esm2Shape
from mumei.protein.models.ngram import Ngram
from mumei.protein.models.potts import Potts
from mumei.protein.projection import StructureHead
from mumei.protein.score import COLUMNS, WEIGHTS, Filters, composition, mean_loss, mutant_scores, perplexity, score
from mumei.protein.targets import Target

TEXTS = [("one", "MKTAYIAKQR"), ("two", "WKTGYIAHQR"), ("three", "AAAAAAAAAA")]


@pytest.fixture(scope="module")
def potts():
    return Potts.example()


@pytest.fixture(scope="module")
def esm():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Esm2Model(Esm2(Esm2Shape(2, 24, 3, 48)), "esm2:made")


def test_a_potts_mutant_is_the_change_of_the_whole_energy(potts):
    """Expected: minus the difference of the energies of mutant and wild type, whole sequences."""
    tokens, _ = batch([TEXTS[0][1]])
    found = mutant_scores(potts, TEXTS[0][1])
    for place in (0, 4, 9):
        for residue in range(20):
            mutant = tokens.clone()
            mutant[0, place] = residue
            expected = float(potts.energy(tokens) - potts.energy(mutant))
            assert float(found[place, residue]) == pytest.approx(expected, abs=1e-4)


def test_mutants_of_a_network_come_from_one_pass_a_position(esm, monkeypatch):
    calls = []
    forward = type(esm.network).forward
    monkeypatch.setattr(
        type(esm.network), "forward", lambda self, t, o=None: calls.append(len(t)) or forward(self, t, o)
    )
    found = mutant_scores(esm, TEXTS[0][1])
    assert sum(calls) == 10
    assert found.shape == (10, 20)
    wild = batch([TEXTS[0][1]])[0][0]
    assert float(found.gather(1, wild[:, None]).abs().max()) == 0.0
    torch.testing.assert_close(mutant_scores(esm, TEXTS[0][1], [3, 7]), found[[3, 7]], atol=1e-5, rtol=0)
    with pytest.raises(UsageError, match="positions"):
        mutant_scores(esm, TEXTS[0][1], [10])


def test_an_unknown_wild_type_has_no_scores(esm):
    found = mutant_scores(esm, "MKXAY")
    assert torch.isnan(found[2]).all()
    assert torch.isfinite(found[[0, 1, 3, 4]]).all()


def test_perplexity_is_by_single_masks_and_padding_changes_nothing(esm):
    tokens, lengths = batch(["MKTAY", "MKTAYIAKQR"])
    found = perplexity(esm, tokens, lengths)
    for row, text in enumerate(["MKTAY", "MKTAYIAKQR"]):
        own = batch([text])[0]
        losses = [-float(esm.masked_logprobs(own, torch.tensor([[i]]))[0, 0, own[0, i]]) for i in range(len(text))]
        assert float(found[row]) == pytest.approx(math.exp(sum(losses) / len(losses)), rel=1e-5)
    flat = Ngram({1: torch.ones(20)})
    assert float(perplexity(flat, tokens[:, :5])[0]) == pytest.approx(20.0, rel=1e-6)


def test_the_energy_is_the_weighted_sum_and_ranks(potts):
    target = Target.from_contacts(torch.ones(10, 10).bool().numpy())
    kinds = {"distance": 18, "omega": 18, "theta": 18, "phi": 8}
    weights = {
        kind: torch.randn(n, potts.n_maps, generator=torch.Generator().manual_seed(n)) for kind, n in kinds.items()
    }
    head = StructureHead(weights, {kind: torch.zeros(n) for kind, n in kinds.items()}, "potts")
    table = score(potts, TEXTS, head=head, target=target)
    tokens, _ = batch([text for _, text in TEXTS])
    expected = 3 * head.energy(potts, tokens, target) + 2 * mean_loss(potts, tokens) + Ngram.natural().energy(tokens)
    assert WEIGHTS == {"structure": 3.0, "lm": 2.0, "ngram": 1.0}
    assert [row["energy"] for row in table.rows] == pytest.approx(expected.tolist(), abs=1e-5)
    assert [row["rank"] for row in table.ranked()] == [1, 2, 3]
    assert [row["energy"] for row in table.ranked()] == sorted(row["energy"] for row in table.rows)
    assert set(table.rows[0]) - {"name"} <= set(COLUMNS)
    assert table.notes[0].startswith("backend potts:example: A Potts model of one family")


def test_many_lengths_go_in_groups_and_keep_their_order(esm):
    texts = [(str(n), ("MKTAYIAKQRQISFVKSHF" * 8)[:n]) for n in (50, 3, 120, 1, 49, 7)]
    table = score(esm, texts)
    for (name, text), row in zip(texts, table.rows, strict=True):
        alone = score(esm, [(name, text)]).rows[0]
        assert row["energy"] == pytest.approx(alone["energy"], abs=1e-5)
        assert row["length"] == len(text)


def test_the_background_gives_percentiles(potts):
    table = score(potts, TEXTS[:2], background=["MKTAYIAKQR", "LKTGYIARQR", "GGGGGGGGGG", "WWWWWWWWWW"])
    assert all(0 <= row["energy_percentile"] <= 100 for row in table.rows)
    assert table.rows[0]["energy_percentile"] < 50


def test_an_ngram_model_has_no_language_term_of_its_own():
    table = score(Ngram.natural(), TEXTS)
    assert "lm" not in table.rows[0]
    assert all(row["energy"] == row["ngram"] for row in table.rows)


def test_composition_by_hand():
    assert composition("AAAACC") == {
        "length": 6,
        "longest_run": 4,
        "entropy": pytest.approx(0.9183, abs=1e-4),
        "unknown": 0,
    }
    assert composition("X") == {"length": 1, "longest_run": 1, "entropy": 0.0, "unknown": 1}


def test_filters_say_why(potts):
    table = score(potts, TEXTS)
    reasons = Filters(max_run=4, min_entropy=1.0, max_ngram_percentile=None).apply(table)
    assert table.rows[2]["rejected"].startswith("a run of 10 equal residues, 4 are allowed; a composition of 0.00 bits")
    assert table.rows[0]["rejected"] == ""
    assert {"reason": "longest run", "sequences": 1} in reasons
    nothing = Filters(None, None, None, None).apply(table)
    assert nothing == []
    assert all(row["rejected"] == "" for row in table.rows)


def test_bad_input(potts):
    with pytest.raises(DataError, match="no sequences"):
        score(potts, [])
    with pytest.raises(DataError, match="empty"):
        score(potts, [("a", "")])
    with pytest.raises(DataError, match="allowed are the twenty"):
        score(potts, [("a", "MKT7YIAKQR")])
    with pytest.raises(UsageError, match="10 residues"):
        score(potts, [("a", "MKT")])
    with pytest.raises(UsageError, match="both"):
        score(potts, TEXTS, target=Target.from_contacts(torch.eye(10).bool().numpy()))
    too_long = Esm2Model(Esm2(Esm2Shape(1, 8, 2, 8)), "esm2:made")
    with pytest.raises(UsageError, match="1022"):
        score(too_long, [("a", "M" * 1023)])
