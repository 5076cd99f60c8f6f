"""N-gram energies: against a count with dictionaries, incremental against anew, conditionals against all 20 chains."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
import torch

from mumei.core.errors import DataError, UsageError
from mumei.protein.alphabet import AMINO_ACIDS, UNKNOWN, batch
from mumei.protein.models.ngram import FLOOR, Ngram
from mumei.testing.sequence_models import check_artifact, check_sequence_model

TEXTS = ["MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQ", "AAAAAAAAAAAAGGGGGGGGAAAAAAA", "MNIFEMLRIDEGLRLKIYKDTEGYYTIGIG"]


@pytest.fixture(scope="module")
def model():
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(20))
    return Ngram.fit(["".join(rng.choice(list(AMINO_ACIDS), 200, p=p)) for _ in range(40)], orders=(1, 2, 3))


def by_dictionaries(text, model):
    """The paper's formula with a Counter of tuples: an independent count."""
    total = 0.0
    for n in model.orders:
        q = (model.frequencies[n] / model.frequencies[n].sum()).tolist()
        grams = Counter(text[i : i + n] for i in range(len(text) - n + 1))
        for gram, count in grams.items():
            code = 0
            for letter in gram:
                code = 20 * code + AMINO_ACIDS.index(letter)
            p = count / sum(grams.values())
            total += p * math.log(p / max(q[code], FLOOR))
    return total


def test_energy_is_the_papers_formula(model):
    tokens, lengths = batch(TEXTS)
    for text, found in zip(TEXTS, model.energy(tokens, lengths).tolist(), strict=True):
        assert found == pytest.approx(by_dictionaries(text, model), abs=1e-9)


def test_padding_changes_no_bit(model):
    tokens, lengths = batch(TEXTS)
    together = model.energy(tokens, lengths)
    for i, text in enumerate(TEXTS):
        assert float(model.energy(*batch([text]))[0]) == float(together[i])


@pytest.mark.parametrize("orders", [(1,), (1, 2), (1, 2, 3), (2, 4)])
@pytest.mark.parametrize("length", [1, 2, 3, 5, 30])
def test_incremental_is_counted_anew_to_the_bit(orders, length):
    model = Ngram.fit(TEXTS, orders=orders)
    g = torch.Generator().manual_seed(length)
    state = model.start(
        torch.randint(0, 3, (4, length), generator=g)
    )  # three letters: the same n-gram comes again and again
    for _ in range(60):
        positions = torch.randint(0, length, (4, 7), generator=g)
        residues = torch.randint(0, 3, (4, 7), generator=g)
        changed = state.tokens[:, None].repeat(1, 7, 1).scatter_(2, positions[..., None], residues[..., None])
        anew = model.energy(changed.flatten(0, 1)).view(4, 7)
        assert torch.equal(state.propose(positions, residues), anew)
        rows = torch.tensor([3, 1])
        state.accept(rows, positions[rows, 0], residues[rows, 0])
        assert torch.equal(state.energy, model.energy(state.tokens))
        assert torch.equal(state.tokens[rows], changed[rows, 0])


def test_scan_and_tied_positions(model):
    tokens, lengths = batch(TEXTS)
    state = model.start(tokens, lengths)
    scan = state.scan(torch.tensor([[4], [5], [6]]))
    assert scan.shape == (3, 1, 20)
    for row, place in enumerate((4, 5, 6)):
        for residue in (0, 19):
            text = TEXTS[row][:place] + AMINO_ACIDS[residue] + TEXTS[row][place + 1 :]
            assert float(scan[row, 0, residue]) == pytest.approx(by_dictionaries(text, model), abs=1e-9)
    tied = state.propose(torch.tensor([[[1, 8]]] * 3), torch.tensor([[[5, 5]]] * 3))
    text = TEXTS[0][0] + "G" + TEXTS[0][2:8] + "G" + TEXTS[0][9:]
    assert float(tied[0, 0]) == pytest.approx(by_dictionaries(text, model), abs=1e-9)
    with pytest.raises(UsageError, match="beyond"):
        state.propose(torch.tensor([[31]] * 3), torch.zeros((3, 1), dtype=torch.int64))


def test_conditionals_are_those_of_the_markov_chain(model):
    """p(x) of a chain of order 2, by its definition, for all 20 residues at a place; normalised they are the conditionals."""
    text = "MKTAY"
    tokens, _ = batch([text])
    found = model.masked_logprobs(tokens, torch.arange(5)[None])[0]
    q2, q3 = model.log_q[2], model.log_q[3]
    for place in range(5):
        logp = []
        for residue in range(20):
            x = tokens[0].tolist()
            x[place] = residue
            triples = [q3[400 * x[i] + 20 * x[i + 1] + x[i + 2]] for i in range(3)]
            pairs = [q2[20 * x[i] + x[i + 1]] for i in (1, 2)]
            logp.append(float(sum(triples) - sum(pairs)))
        expected = torch.tensor(logp).log_softmax(0)
        torch.testing.assert_close(found[place], expected, atol=1e-5, rtol=0)


def test_unknown_residues_and_short_sequences(model):
    tokens = torch.tensor([[0, UNKNOWN, 3, 4, 5]])
    assert torch.isfinite(model.energy(tokens)).all()
    logp = model.masked_logprobs(tokens, torch.tensor([[0, 2]]))
    torch.testing.assert_close(
        logp[0, 0], model.log_q[1].log_softmax(0).float(), atol=1e-5, rtol=0
    )  # alone: by frequency
    assert float(model.energy(torch.tensor([[7]]))[0]) == pytest.approx(-float(model.log_q[1][7]), abs=1e-9)


def test_conformance(model, tmp_path):
    check_sequence_model(lambda: model)
    check_artifact(lambda: Ngram.example())


def test_tables_are_read_and_renormalised(data):
    model = Ngram.from_tables(data / "designs" / "ngram")
    for n in model.orders:
        assert float(model.log_q[n].exp().min()) >= FLOOR * (1 - 1e-9)
    assert float((model.frequencies[1] / model.frequencies[1].sum()).sum()) == pytest.approx(1.0)


def test_bad_input(tmp_path):
    with pytest.raises(DataError, match="no sequences"):
        Ngram.fit([])
    with pytest.raises(UsageError, match="orders"):
        Ngram.fit(TEXTS, orders=(5,))
    with pytest.raises(DataError, match="monogram"):
        Ngram.from_tables(tmp_path)
    (tmp_path / "monogram.tsv").write_text("A\tmany\n")
    with pytest.raises(DataError, match="line 1"):
        Ngram.from_tables(tmp_path, orders=(1,))


def test_rows_are_judged_in_any_order_and_more_than_once():
    model = Ngram.natural()
    tokens = torch.randint(0, 20, (3, 30), generator=torch.Generator().manual_seed(6))
    state = model.start(tokens)
    rows, positions, residues = torch.tensor([2, 0, 2]), torch.tensor([0, 29, 14]), torch.tensor([3, 4, 5])
    after = tokens[rows].scatter(1, positions[:, None], residues[:, None])
    assert torch.equal(state.judge(rows, positions, residues), model.energy(after))
