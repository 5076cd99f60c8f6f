"""Hamiltonian Monte Carlo: reversibility, energy, moments of known distributions, and the tuner's resting point."""

from __future__ import annotations

import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mumei.core.errors import NonFiniteError, UsageError
from mumei.vae import hmc
from mumei.vae.hmc import StepSize, hmc_step, leapfrog, move, place, prior

MEAN = torch.tensor([1.0, -2.0], dtype=torch.float64)
COVARIANCE = torch.tensor([[1.0, 0.6], [0.6, 0.5]], dtype=torch.float64)
PRECISION = torch.linalg.inv(COVARIANCE)


def correlated(z):
    """The unnormalised log density of N(MEAN, COVARIANCE) and its gradient."""
    pull = (MEAN - z) @ PRECISION
    return -0.5 * ((MEAN - z) * pull).sum(-1), pull


def quartic(z):
    return -(z**4).sum(-1) / 4, -(z**3)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def energy(z, momentum, target):
    return -target(z)[0] + 0.5 * momentum.square().sum(-1)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.01, 0.3), st.integers(1, 20))
def test_leapfrog_run_backwards_returns_to_its_start(seed, step, steps):
    draw = generator(seed)
    z = torch.randn(5, 2, generator=draw, dtype=torch.float64)
    momentum = torch.randn(5, 2, generator=draw, dtype=torch.float64)
    there = leapfrog(z, momentum, quartic, step, steps)
    back = leapfrog(there[0], -there[1], quartic, step, steps)
    torch.testing.assert_close(back[0], z, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(-back[1], momentum, rtol=1e-8, atol=1e-8)


def test_leapfrog_keeps_volume():
    """The determinant of the map's Jacobian, by automatic differentiation, is 1."""
    start = torch.tensor([0.3, -0.7, 0.2, 1.1], dtype=torch.float64)

    def through(both):
        return torch.cat(leapfrog(both[None, :2], both[None, 2:], quartic, 0.2, 7), -1)[0]

    jacobian = torch.autograd.functional.jacobian(through, start)
    assert torch.linalg.det(jacobian) == pytest.approx(1.0, abs=1e-10)


@pytest.mark.parametrize("target", [correlated, quartic])
def test_energy_is_kept_to_second_order(target):
    """At a fixed length of path, halving the step divides the energy's error by four."""
    draw = generator(3)
    z = torch.randn(200, 2, generator=draw, dtype=torch.float64)
    momentum = torch.randn(200, 2, generator=draw, dtype=torch.float64)
    errors = []
    for step, steps in ((0.04, 20), (0.02, 40), (0.01, 80)):
        end = leapfrog(z, momentum, target, step, steps)
        errors.append((energy(*end, target) - energy(z, momentum, target)).abs().mean().item())
    assert errors[0] / errors[1] == pytest.approx(4.0, rel=0.1)
    assert errors[1] / errors[2] == pytest.approx(4.0, rel=0.1)


def run(target, z, step, steps, transitions, draw, burn=50, **options):
    kept, accepted = [], []
    for i in range(transitions + burn):
        z, taken = hmc_step(z, target, step, steps, draw, **options)
        if i >= burn:
            kept.append(z)
            accepted.append(taken)
    return torch.stack(kept), torch.stack(accepted)


@pytest.mark.parametrize("step", [0.4, torch.linspace(0.2, 0.6, 500)], ids=["one size", "a size a chain"])
def test_moments_of_a_correlated_gaussian(step):
    samples, accepted = run(correlated, torch.zeros(500, 2, dtype=torch.float64), step, 5, 60, generator(1), jitter=0.2)
    flat = samples.reshape(-1, 2)
    assert 0.6 < accepted.double().mean() < 0.999  # rejections take part
    torch.testing.assert_close(flat.mean(0), MEAN, atol=0.04, rtol=0)
    torch.testing.assert_close(torch.cov(flat.T), COVARIANCE, atol=0.05, rtol=0)


def test_rejection_is_needed_and_done():
    """E z^4 = 1 for exp(-z^4 / 4), by parts. Without rejection a step this large would be far off."""
    samples, accepted = run(quartic, torch.zeros(2000, 1, dtype=torch.float64), 0.9, 3, 60, generator(2))
    assert 0.3 < accepted.double().mean() < 0.95
    assert (samples**4).mean().item() == pytest.approx(1.0, abs=0.03)


def test_chains_in_front_of_rows_are_chains_too():
    z = torch.zeros(4, 300, 2, dtype=torch.float64)
    samples, accepted = run(correlated, z, torch.full((300,), 0.4), 5, 20, generator(5), burn=30)
    assert samples.shape == (20, 4, 300, 2)
    assert accepted.shape == (20, 4, 300)
    torch.testing.assert_close(samples.mean((0, 1, 2)), MEAN, atol=0.05, rtol=0)


@pytest.mark.parametrize("temperature", [0.0, 0.3, 1.0])
def test_a_tempered_move_leaves_the_mixture_of_base_and_target_as_it_is(temperature):
    """prior^(1-t) target^t of two Gaussians is Gaussian with the precisions mixed."""
    draw = generator(7)
    precision = temperature * PRECISION + (1 - temperature) * torch.eye(2, dtype=torch.float64)
    mean = torch.linalg.solve(precision, temperature * PRECISION @ MEAN)
    position = place(torch.zeros(1000, 2, dtype=torch.float64), correlated)
    kept = []
    for i in range(80):
        position = move(position, correlated, 0.4, 5, draw, temperature=temperature).position
        value, gradient = correlated(position.z)
        torch.testing.assert_close(position.value, value)
        torch.testing.assert_close(position.gradient, gradient)
        if i >= 30:
            kept.append(position.z)
    flat = torch.cat(kept)
    torch.testing.assert_close(flat.mean(0), mean, atol=0.04, rtol=0)
    torch.testing.assert_close(torch.cov(flat.T), torch.linalg.inv(precision), atol=0.05, rtol=0)


def test_equal_generators_give_equal_chains_and_the_global_state_is_left():
    before = torch.get_rng_state()
    one = hmc_step(torch.zeros(6, 2), prior, 0.5, 4, generator(9), jitter=0.1)[0]
    two = hmc_step(torch.zeros(6, 2), prior, 0.5, 4, generator(9), jitter=0.1)[0]
    assert torch.equal(one, two)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_trajectory_that_runs_off_is_rejected():
    z = torch.ones(50, 1)
    moved, accepted = hmc_step(z, quartic, 1e6, 10, generator())
    assert not accepted.any()
    assert torch.equal(moved, z)


def test_a_start_without_a_density_is_an_error():
    def log(z):
        return z.log().sum(-1), 1 / z

    with pytest.raises(NonFiniteError, match="1 of 3 chains"):
        hmc_step(torch.tensor([[1.0], [-1.0], [2.0]]), log, 0.1, 5, generator())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"step": 0.0}, "step=0.0"),
        ({"leapfrog": 0}, "leapfrog=0"),
        ({"jitter": 1.0}, "jitter=1.0"),
        ({"jitter": -0.1}, "jitter=-0.1"),
    ],
)
def test_numbers_out_of_range_are_refused(options, said):
    given = {"step": 0.1, "leapfrog": 5, **options}
    with pytest.raises(UsageError, match=said):
        hmc_step(torch.zeros(2, 2), prior, generator=generator(), **given)


@pytest.mark.parametrize("initial", [0.001, 0.3, 30.0])
@pytest.mark.parametrize("chains", [None, 60])
def test_the_acceptance_comes_to_what_was_wanted(initial, chains):
    draw, tuner = generator(11), StepSize(initial, 0.9, chains)
    position, rates = place(torch.zeros(60, 2, dtype=torch.float64), correlated), []
    for i in range(700 if chains else 300):
        done = move(position, correlated, tuner.value, 5, draw)
        tuner.update(done.accepted)
        position = done.position
        if i >= 150:
            rates.append(done.accepted.double().mean().item())
    assert sum(rates) / len(rates) == pytest.approx(0.9, abs=0.04)


def test_the_tuners_factors_are_the_first_authors():
    """By hand, for 3 chains 1.02^3, for 12 and more 1.25; up at exactly the wanted share."""
    tuner = StepSize(1.0, 2 / 3, settle=False)
    tuner.update(torch.tensor([True, True, False]))
    assert tuner.value == pytest.approx(1.02**3)
    tuner.update(torch.tensor([True, False, False]))
    assert tuner.value == pytest.approx(1.0)
    tuner.update(torch.ones(500))
    assert tuner.value == pytest.approx(1.25)


def test_a_settling_tuner_takes_smaller_steps_at_each_turn():
    tuner = StepSize(1.0, 0.9)
    expected = 0.0
    for taken, factor in ((1, 1.25), (1, 1.25), (0, 1.25**0.5), (0, 1.25**0.5), (1, 1.25 ** (1 / 3))):
        tuner.update(torch.full((200,), float(taken)))
        expected += (1 if taken else -1) * math.log(factor)
    assert tuner.value == pytest.approx(math.exp(expected))


@pytest.mark.parametrize("chains", [None, 3])
def test_the_tuner_goes_on_from_its_state(chains):
    tuner, rows = StepSize(0.2, 0.8, chains), torch.tensor([True, False, True])
    for _ in range(20):
        tuner.update(rows)
    again = StepSize.from_state(json.loads(json.dumps(tuner.state())))
    for one in (tuner, again):
        one.update(~rows)
    assert again.state() == tuner.state()
    assert torch.equal(torch.as_tensor(again.value), torch.as_tensor(tuner.value))


@pytest.mark.parametrize("options", [{"initial": 0.0}, {"target": 1.0}, {"target": 0.0}, {"chains": 0}])
def test_a_tuner_out_of_range_is_refused(options):
    with pytest.raises(UsageError, match=next(iter(options))):
        StepSize(**options)


def test_a_tuner_for_other_chains_is_refused():
    with pytest.raises(UsageError, match=r"shape \(2,\).* 3 chains"):
        StepSize(chains=3).update(torch.tensor([True, False]))


def test_targets_are_found_here_too():
    assert {"autograd_target", "mlp_target", "fast_target", "Target"} <= set(dir(hmc))
