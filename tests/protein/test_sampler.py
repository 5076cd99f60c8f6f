"""The sampler against enumerated distributions, and against a serial one that is written out here and computes all anew."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import small
import torch
from scipy.stats import chisquare

from mumei.core.errors import UsageError
from mumei.protein import draws
from mumei.protein.energy import Energy, LanguageTerm
from mumei.protein.energy_ngram import NgramTerm
from mumei.protein.energy_structure import DrawnStructureTerm
from mumei.protein.moves import Moves, charge_rule, run_rule
from mumei.protein.sampler import PRESETS, Sampler, Settings, automatic, warm_up
from mumei.protein.schedule import Schedule, temperature_of


class Counted:
    """A model that counts the sequences it is asked for."""

    def __init__(self, model):
        self._model, self.masked, self.maps = model, 0, 0
        self.name, self.claims, self.device = model.name, model.claims, model.device
        self.length, self.max_length, self.n_maps = model.length, model.max_length, model.n_maps

    def masked_logprobs(self, tokens, positions, lengths=None):
        self.masked += positions.numel()
        return self._model.masked_logprobs(tokens, positions, lengths)

    def pair_maps(self, tokens, lengths=None):
        self.maps += len(tokens)
        return self._model.pair_maps(tokens, lengths)


def naive(model, q, head, target, schedule, steps, seed, chain=0):
    """The published loop, one chain, four forward passes a step: both sequences are judged from scratch each time."""
    length = len(target)
    moves = Moves.free(length)
    x = moves.starts(chain + 1, seed)[chain : chain + 1]
    key = draws.keys(seed, chain + 1, "chain")[chain:]
    letters = [a for a in range(20) if a != 1]  # no cysteine
    ngram = NgramTerm(small.ngram(q))

    def judged(tokens, i):
        lm = -float(model.masked_logprobs(tokens, torch.tensor([[i]]))[0, 0, tokens[0, i]].double()) / length
        return 2 * lm + 3 * float(head.energy(model, tokens, target).double()) + float(ngram.value(tokens))

    for t in range(steps):
        place, residue, u = draws.step_draws(key, np.array([t]))[0]
        i = int(place * length)
        new = x.clone()
        new[0, i] = letters[int(residue * len(letters))]
        a, b = judged(x, i), judged(new, i)
        if np.log(u) < (a - b) / float(schedule(np.array(t))):
            x = new
    return x


@pytest.mark.parametrize("backend", ["potts", "esm2"])
def test_batched_deduplicated_and_speculative_give_the_naive_serial_trajectory(backend):
    length, steps = 12, 200
    model = small.potts(length) if backend == "potts" else small.esm2()
    head, target, q = small.head(model.n_maps, backend), small.target(length), small.frequencies()
    schedule = Schedule.geometric(1.0, 0.002, steps)
    counted = Counted(model)
    serial = torch.cat([naive(counted, q, head, target, schedule, steps, 7, chain) for chain in range(2)])
    assert (counted.masked + counted.maps) / (2 * steps) == 4
    for lookahead in (1, 16):
        counted = Counted(model)
        energy = small.energy(length, counted)
        settings = Settings(steps, 2, "uniform", "last", lookahead, 0, 50)
        sampler = Sampler(energy, Moves.free(length), schedule, settings, 7).run()
        assert torch.equal(sampler.tokens, serial)
        assert int(sampler.step.min()) == steps
        if lookahead == 1:
            assert (counted.masked + counted.maps - 2) / (2 * steps) <= 2
        else:
            assert sampler.rounds < steps * (0.8 if backend == "potts" else 1)  # random attention hardly cools


@pytest.mark.parametrize("proposal", ["uniform", "informed"])
def test_the_chain_has_the_boltzmann_distribution(proposal):
    """All 81 sequences of 4 sites and 3 residues, energies from scratch; chi-square over thinned states of 128 chains."""
    length, residues, temperature = 4, [0, 3, 7], 1.5
    model = small.potts(length, strength=0.5)
    energy = small.energy(length, model)
    allowed = torch.zeros(length, 20, dtype=torch.bool)
    allowed[:, residues] = True
    moves = Moves(allowed, tuple((i,) for i in range(length)))
    space = torch.tensor(list(itertools.product(residues, repeat=length)))
    parts = energy.values(space)
    parts[:, 1] = model.energy(space).double() / length
    p = torch.softmax(-energy.total(parts) / temperature, 0).numpy()
    settings = Settings(1000, 128, proposal, "last", 4, 0, 40)
    sampler = Sampler(energy, moves, Schedule(temperature), settings, 11)
    place = {tuple(row): i for i, row in enumerate(space.tolist())}
    counts = np.zeros(len(space))
    seen = torch.zeros(128, dtype=torch.int64)

    def look(s):
        due = torch.where((s.step % 40 == 0) & (s.step > seen) & (s.step >= 200))[0]
        for c in due.tolist():
            counts[place[tuple(s.tokens[c].tolist())]] += 1
        seen[due] = s.step[due]

    sampler.run(after=look)
    often = p * counts.sum() >= 5
    observed = np.append(counts[often], counts[~often].sum())
    expected = np.append(p[often], p[~often].sum()) * counts.sum()
    assert counts.sum() == 128 * 21
    assert often.sum() > 10
    assert chisquare(observed[expected > 0], expected[expected > 0]).pvalue > 0.01


def test_informed_and_tied_chains_do_not_depend_on_the_lookahead():
    length = 12
    allowed = torch.ones(length, 20, dtype=torch.bool)
    groups = ((0, 6), (1, 7), *((i,) for i in range(2, 6)))
    start = torch.full((length,), 20)
    start[8:] = 4
    moves = Moves(allowed, groups, start, (charge_rule(-1, 1, [0.0] * 8 + [1.0] + [0.0] * 11), run_rule(4)))
    found = []
    for lookahead in (1, 16):
        settings = Settings(400, 3, "informed", "best", lookahead, 0, 100)
        found.append(Sampler(small.energy(length), moves, Schedule.geometric(1, 0.01, 400), settings, 5).run())
    assert torch.equal(found[0].tokens, found[1].tokens)
    assert torch.equal(found[0].best, found[1].best)
    assert bool((found[1].best[:, 8:] == 4).all())
    assert torch.equal(found[1].best[:, [0, 1]], found[1].best[:, [6, 7]])
    assert float(moves.violation(found[1].best).max()) == 0


def test_free_generation_does_not_depend_on_the_lookahead_and_redraws_every_third_step():
    model, q = small.potts(10), small.frequencies()
    found = []
    for lookahead in (1, 16):
        drawn = DrawnStructureTerm(model, small.head(model.n_maps), seed=2)
        energy = Energy([NgramTerm(small.ngram(q)), LanguageTerm(model), drawn])
        settings = Settings(200, 2, "uniform", "last", lookahead, 0, 100)
        found.append(Sampler(energy, Moves.free(10), Schedule.geometric(1, 0.01, 200), settings, 2).run())
        assert torch.allclose(found[-1].values[:, 2], drawn.value(found[-1].tokens), atol=1e-5)
    assert torch.equal(found[0].tokens, found[1].tokens)


def test_the_best_state_is_the_best_and_patience_ends_chains():
    energy = small.energy(12)
    settings = Settings(3000, 4, "informed", "best", 32, 200, 50)
    sampler = Sampler(energy, Moves.free(12), Schedule.geometric(0.5, 0.001, 3000), settings, 1).run()
    assert int(sampler.step.max()) < 3000
    totals = [record["total"] for record in sampler.trace if record["chain"] == 0]
    assert float(sampler.best_total[0]) <= min(totals) + 1e-9
    values = energy.values(sampler.best)
    assert torch.allclose(values[:, [0, 2]], sampler.best_values[:, [0, 2]], atol=1e-9)


def test_the_paper_preset_is_to_the_letter():
    paper = PRESETS["paper"]
    assert (paper.steps, paper.proposal, paper.keep, paper.redraw) == (170_000, "uniform", "last", 3)
    assert small.energy(12).weights.tolist() == [1.0, 2.0, 3.0]  # n-gram, language, structure
    t = Schedule.paper()(np.array([0, 9_999, 10_000, 169_999]))
    assert t.tolist() == [8.0, 8.0, 4.0, 8 * 0.5**16]
    moves = Moves.free(5)
    assert not moves.allowed[:, 1].any()
    assert int(moves.allowed.sum()) == 5 * 19


def test_temperatures_are_those_of_the_acceptance():
    changes = np.abs(np.random.default_rng(0).normal(size=500))
    t = temperature_of(changes, 0.3)
    assert np.exp(-changes / t).mean() == pytest.approx(0.3, abs=1e-6)
    energy, moves = small.energy(12), Moves.free(12)
    schedule = automatic(energy, moves, replace(PRESETS["fast"], steps=1000), 0)
    change = np.clip(warm_up(energy, moves, 0), 0, None)
    assert np.exp(-change / schedule.first).mean() == pytest.approx(0.8, abs=0.01)
    assert schedule(np.array(999)) < schedule.first / 5


def test_draws_are_even_and_not_related():
    key = draws.keys(0, 3, "chain")
    u = np.stack([draws.step_draws(np.repeat(k, 20_000), np.arange(20_000)) for k in key])
    assert u.min() >= 0
    assert u.max() < 1
    for column in u.reshape(-1, 20_000, 3).transpose(0, 2, 1).reshape(9, -1):
        assert chisquare(np.histogram(column, 50, (0, 1))[0]).pvalue > 1e-4
    flat = u.transpose(0, 2, 1).reshape(9, -1)
    assert np.abs(np.corrcoef(flat) - np.eye(9)).max() < 0.035  # 5 standard errors


def test_bad_settings_are_refused():
    with pytest.raises(UsageError, match="informed"):
        Settings(proposal="informd")
    with pytest.raises(UsageError, match="steps=0"):
        Settings(steps=0)
    with pytest.raises(UsageError, match="temperature above 0"):
        Schedule(0.0)
    with pytest.raises(UsageError, match="nothing to design"):
        Moves(torch.ones(3, 20, dtype=torch.bool), ())
    with pytest.raises(UsageError, match="no residue"):
        Moves(torch.zeros(3, 20, dtype=torch.bool), ((0,),))
    with pytest.raises(UsageError, match="one for each"):
        Sampler(small.energy(12), Moves.free(12), Schedule(1.0), Settings(chains=2), starts=torch.zeros(1, 12).long())


def test_a_language_model_alone_is_enough():
    energy = Energy([LanguageTerm(small.potts(6))])
    sampler = Sampler(energy, Moves.free(6), Schedule(0.1), Settings(50, 2, "informed", every=10), 0).run()
    assert sampler.finished
    assert len(sampler.trace) == 12
