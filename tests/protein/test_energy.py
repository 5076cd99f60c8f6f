"""The energy's terms against formulas written out here, and their changes against values from scratch."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import small
import torch

from mumei.core.errors import DataError, NonFiniteError, UsageError
from mumei.protein.energy import BiasTerm, Energy, FunctionTerm, LanguageTerm, Proposals
from mumei.protein.energy_ngram import NgramTerm
from mumei.protein.energy_structure import DrawnStructureTerm, StructureTerm
from mumei.protein.models.ngram import Ngram


def proposals(tokens, groups, seed=0):
    """Random changes of tied sites, one a row."""
    rng = np.random.default_rng(seed)
    rows = torch.arange(len(tokens))
    group = torch.from_numpy(rng.integers(0, len(groups), len(tokens)))
    sites = groups[group]
    residue = torch.from_numpy(rng.integers(0, 20, len(tokens)))
    after = tokens.clone()
    for k in range(sites.shape[1]):
        there = sites[:, k] >= 0
        after[rows[there], sites[there, k]] = residue[there]
    return Proposals(rows, group, sites, residue, tokens.clone(), after)


def naive_ngram(sequence, q, floor=1e-5):
    """KL(p || q) over orders, counted by hand."""
    total = 0.0
    for n, frequencies in q.items():
        grams = Counter(tuple(sequence[i : i + n]) for i in range(len(sequence) - n + 1))
        size = sum(grams.values())
        for gram, count in grams.items():
            place = int(np.ravel_multi_index(gram, (20,) * n))
            total += count / size * np.log(count / size / max(frequencies[place], floor))
    return total


SINGLE = torch.arange(12)[:, None]
TIED = torch.tensor([[0, 1, 2], [3, 5, -1], [4, -1, -1], [10, 11, 9], [6, 7, 8]])


def test_ngram_is_the_divergence_from_natural_frequencies():
    q = small.frequencies()
    tokens = torch.from_numpy(np.random.default_rng(1).integers(0, 4, (5, 12)))
    found = NgramTerm(small.ngram(q)).value(tokens)
    assert np.allclose(found, [naive_ngram(row.tolist(), q) for row in tokens], atol=1e-12)


def test_ngram_agrees_with_the_model_of_natural_frequencies():
    model = Ngram.natural()
    tokens = torch.randint(0, 20, (4, 50), generator=torch.Generator().manual_seed(5))
    assert torch.allclose(NgramTerm(model).value(tokens), model.energy(tokens), atol=1e-9, rtol=0)


@pytest.mark.parametrize("groups", [SINGLE, TIED], ids=["single", "tied"])
def test_changes_equal_values_from_scratch_to_1e9(groups):
    """Potts: the language term's changes are those of -log p(x) / L of the model itself (its own energy / L)."""
    model = small.potts(12)
    energy = small.energy(12, model)
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, 3, (6, 12), generator=generator)
    values = energy.start(tokens)
    start = energy.values(tokens)
    begin = model.energy(tokens).double() / 12
    for turn in range(40):
        made = proposals(tokens, groups, turn)
        change = energy.changes(made)
        values += change
        energy.accept(made)
        tokens = made.after
        now = energy.values(tokens)
        assert torch.allclose(values[:, 0], now[:, 0], atol=1e-9, rtol=0)
        assert torch.allclose(values[:, 2], now[:, 2], atol=1e-9, rtol=0)
        assert torch.allclose(
            values[:, 1], model.energy(tokens).double() / 12 - begin, atol=1e-5, rtol=0
        )  # float32 sums
    assert not torch.allclose(start, now)


def test_a_random_esm2_gives_the_same_changes_from_the_cache_as_from_scratch():
    model = small.esm2()
    term = LanguageTerm(model)
    tokens = torch.randint(0, 20, (4, 12), generator=torch.Generator().manual_seed(1))
    term.start(tokens)
    made = proposals(tokens, SINGLE)
    site = made.sites
    logp = model.masked_logprobs(tokens, site)[:, 0]
    expected = -(logp.gather(1, made.residue[:, None]) - logp.gather(1, tokens.gather(1, site)))[:, 0] / 12
    assert torch.allclose(term.change(made), expected.double(), atol=1e-6)
    assert torch.equal(term.change(made), term.change(made))


def test_conditionals_are_the_changes_of_every_residue():
    energy = small.energy(12)
    tokens = torch.randint(0, 20, (2, 12), generator=torch.Generator().manual_seed(2))
    energy.start(tokens)
    rows, sites = torch.tensor([0, 1]), torch.tensor([4, 11])
    found = energy.conditional(tokens, rows, sites)
    for a in range(20):
        after = tokens.clone()
        after[rows, sites] = a
        made = Proposals(rows, sites, sites[:, None], torch.tensor([a, a]), tokens, after)
        cheap = energy.changes(made)[:, :2] @ energy.weights[:2]
        old = found.gather(1, tokens[rows, sites][:, None])[:, 0]
        assert torch.allclose(found[:, a] - old, cheap, atol=1e-9)


def test_user_terms_and_biases_count():
    bias = torch.zeros(12, 20)
    bias[3, 7] = -2.0
    terms = [BiasTerm(bias), FunctionTerm("tryptophans", lambda tokens: (tokens == 18).sum(1))]
    energy = Energy(terms, {"tryptophans": 0.5})
    tokens = torch.zeros(1, 12, dtype=torch.int64)
    energy.start(tokens)
    after = tokens.clone()
    after[0, 3] = 7
    made = Proposals(torch.tensor([0]), torch.tensor([3]), torch.tensor([[3]]), torch.tensor([7]), tokens, after)
    assert energy.total(energy.changes(made)).tolist() == [-2.0]
    after[0, 3] = 18
    made = Proposals(torch.tensor([0]), torch.tensor([3]), torch.tensor([[3]]), torch.tensor([18]), tokens, after)
    assert energy.total(energy.changes(made)).tolist() == [0.5]
    energy.accept(made)
    assert energy.total(energy.values(after)).tolist() == [0.5]


def test_drawn_structures_follow_the_heads_probabilities():
    """Each ordered pair's class is drawn from p(class | x): shares of 4,000 draws within 5 standard errors."""
    model = small.potts(4)
    head = small.head(model.n_maps)
    term = DrawnStructureTerm(model, head, seed=3)
    tokens = torch.tensor([[0, 5, 9, 3]])
    term.start(tokens)
    p = head.logprobs(model, tokens, kinds=("distance",))["distance"][0].exp()
    counts = torch.zeros_like(p)
    for turn in range(4000):
        term.redraw(torch.tensor([0]), torch.tensor([turn]))
        counts.scatter_add_(0, term.drawn(), torch.ones(1, 4, 4))
    error = (p * (1 - p) / 4000).sqrt()
    assert bool(((counts / 4000 - p).abs() <= 5 * error + 1e-3).all())


def test_bad_terms_are_refused():
    model = small.potts(12)
    with pytest.raises(UsageError, match="different names"):
        Energy([])
    with pytest.raises(UsageError, match="no term of this energy"):
        Energy([NgramTerm(small.ngram())], {"structur": 1.0})
    with pytest.raises(DataError, match="order 2"):
        Ngram({2: torch.ones(20)})
    with pytest.raises(UsageError, match="gave shape"):
        FunctionTerm("bad", lambda tokens: tokens).start(torch.zeros(1, 3, dtype=torch.int64))
    nan = FunctionTerm("nan", lambda tokens: torch.full((len(tokens),), torch.nan))
    energy = Energy([nan])
    tokens = torch.zeros(1, 3, dtype=torch.int64)
    energy.start(tokens)
    made = Proposals(torch.tensor([0]), torch.tensor([0]), torch.tensor([[0]]), torch.tensor([1]), tokens, tokens)
    with pytest.raises(NonFiniteError, match="'nan'"):
        energy.changes(made)
    empty = small.target(12)
    empty.contacts.zero_()
    with pytest.raises(UsageError, match="nothing to design to"):
        StructureTerm(model, small.head(model.n_maps), empty)
