"""A model trained from scratch: it learns what is to be learned, repeats itself, and is saved and loaded."""

from __future__ import annotations

import pytest
import torch

from mumei.core.errors import DataError, UsageError
from mumei.protein.alphabet import batch
from mumei.protein.models.esm2_network import CLS, EOS, MASK, PAD
from mumei.protein.models.load import load_model
from mumei.protein.models.tiny import Tiny, corrupted, pieces
from mumei.protein.score import perplexity
from mumei.testing.sequence_models import check_artifact, check_sequence_model

SMALL = {"layers": 2, "dim": 32, "heads": 2, "crop": 24, "batch_size": 16}


def test_it_learns_a_period_that_frequencies_do_not_show():
    """Sequences of one repeated word: each residue follows from its neighbours; without them the perplexity is about 5."""
    word = "ACDEF" * 6
    texts = [word[i % 5 :][:24] for i in range(64)]
    model = Tiny.fit(texts, epochs=120, learning_rate=5e-3, held_out=0.1, **SMALL)
    assert float(perplexity(model, batch(texts[:2])[0]).max()) < 1.5
    assert model.about["held_out_perplexity"] < 1.5
    assert model.about["sequences"] == 58
    assert "58 of the user's own" in model.claims


def test_the_same_seed_gives_the_same_bits_and_a_saved_one_is_the_same(tmp_path):
    texts = ["MKTAYIAKQRQISFVKSHFSRQ", "MNIFEMLRIDEGLRLKIYKDTE"] * 3
    one, two = (Tiny.fit(texts, epochs=2, seed=3, **SMALL) for _ in range(2))
    tokens = batch(texts[:2])[0]
    positions = torch.tensor([[0, 5]] * 2)
    assert torch.equal(one.masked_logprobs(tokens, positions), two.masked_logprobs(tokens, positions))
    one.save(tmp_path / "model")
    for name in (tmp_path / "model", f"tiny:{tmp_path / 'model'}"):
        assert torch.equal(load_model(name).masked_logprobs(tokens, positions), one.masked_logprobs(tokens, positions))


def test_conformance():
    model = Tiny.example()
    check_sequence_model(lambda: model)
    check_artifact(lambda: model)


def test_rows_have_ends_only_where_the_sequence_has_them():
    rows = pieces(["A" * 30, "C" * 12], 16)
    assert rows.shape == (3, 18)
    assert (rows[:, 0] == CLS).tolist() == [True, False, True]
    assert [(row == EOS).sum().item() for row in rows] == [0, 1, 1]
    assert (rows[2] == PAD).sum() == 4


def test_masking_takes_residues_alone_at_the_rates_of_esm2():
    rows = pieces(["ACDEFGHIKLMNPQRSTVWYX" * 20] * 20, 400)
    given, chosen = corrupted(rows, torch.Generator().manual_seed(0))
    special = (rows == CLS) | (rows == EOS) | (rows == PAD) | (rows == 24)
    assert not (chosen & special).any()
    assert torch.equal(given[~chosen], rows[~chosen])
    n = int((~special).sum())
    assert float(chosen.sum()) / n == pytest.approx(0.15, abs=0.02)
    assert float((given == MASK).sum()) / float(chosen.sum()) == pytest.approx(0.8, abs=0.04)


def test_bad_input():
    with pytest.raises(DataError, match="a model needs two"):
        Tiny.fit(["MKT", "MKTAYIAKQRQI"], **SMALL)
    with pytest.raises(UsageError, match="held_out"):
        Tiny.fit(["MKTAYIAKQRQI"] * 4, held_out=1.0, **SMALL)
