"""Sound toy generators, readers and samplers pass; each broken one is caught by the check of its fault."""

from __future__ import annotations

import random

import numpy as np
import pytest

from mumei.core.errors import UsageError
from mumei.core.seeds import child, numpy_generator
from mumei.testing import check_generator, check_reader, check_sampler, generators, readers, samplers

PROMPTS = ["what is a statin", "what is insulin"]
MADE = iter(range(10**9))


class Words:
    """Generates words that depend on prompt, seed and place."""

    name = "words"

    def generate(self, prompts, *, n=1, temperature=1.0, max_tokens=512, seed=0):
        if isinstance(prompts, str) or not all(isinstance(p, str) for p in prompts):
            raise UsageError("give a list of texts")
        if n < 1 or temperature < 0 or max_tokens < 1:
            raise UsageError("n and max_tokens are 1 or more, temperature 0 or more")
        seed = seed if temperature else 0
        return [[f"{p} {child(seed, p, i) % 997}" for i in range(n)] for p in prompts]


class NamelessWords(Words):
    name = ""


class OneWord(Words):
    def generate(self, prompts, **options):
        return [texts[:1] for texts in super().generate(prompts, **options)]


class Bytes(Words):
    def generate(self, prompts, **options):
        return [[t.encode() for t in texts] for texts in super().generate(prompts, **options)]


class Unseeded(Words):
    def generate(self, prompts, *, temperature=1.0, seed=0, **options):
        return super().generate(prompts, temperature=temperature, seed=next(MADE), **options)


class SeededByBirth(Words):
    def __init__(self):
        self.birth = next(MADE)

    def generate(self, prompts, *, temperature=1.0, seed=0, **options):
        return super().generate(prompts, temperature=temperature, seed=seed + self.birth, **options)


class NeverCold(Words):
    def generate(self, prompts, *, temperature=1.0, **options):
        return super().generate(prompts, temperature=max(temperature, 0.1) if temperature >= 0 else -1, **options)


class Sorted(Words):
    def generate(self, prompts, **options):
        return sorted(super().generate(prompts, **options))


class Eats(Words):
    def generate(self, prompts, **options):
        made = super().generate(prompts, **options)
        if isinstance(prompts, list) and len(prompts) > 1 and options.get("n", 1) == 1 and "seed" not in options:
            prompts.reverse()
        return made


class TakesAnything(Words):
    def generate(self, prompts, **options):
        return super().generate([str(p) for p in prompts], **options)


class Crashes(Words):
    def generate(self, prompts, *, max_tokens=512, **options):
        return super().generate(prompts, max_tokens=100 // max_tokens, **options)


class Draws(Words):
    def generate(self, prompts, **options):
        random.random()
        return super().generate(prompts, **options)


GENERATORS = [
    (generators.check_meets_protocol, NamelessWords),
    (generators.check_shape, OneWord),
    (generators.check_shape, Bytes),
    (generators.check_same_seed_same_bits, Unseeded),
    (generators.check_same_seed_same_bits, SeededByBirth),
    (generators.check_zero_temperature, NeverCold),
    (generators.check_order, Sorted),
    (generators.check_order, Eats),
    (generators.check_refuses_bad_arguments, TakesAnything),
    (generators.check_refuses_bad_arguments, Crashes),
    (generators.check_global_random, Draws),
]


class Rows:
    """Reads seven rows."""

    name = "rows"

    def rows(self):
        yield from ({"id": i, "text": f"row {i}"} for i in range(7))


class NamelessRows(Rows):
    name = ""


class ListOfRows(Rows):
    def rows(self):
        return list(super().rows())


class NoRows(Rows):
    def rows(self):
        return iter(())


class OncePass(Rows):
    """Its iterator is made once, so that a second pass goes on where the first stopped."""

    def __init__(self):
        self.only = super().rows()

    def rows(self):
        return self.only


class Reshuffled(Rows):
    def __init__(self):
        self.birth = next(MADE)

    def rows(self):
        yield from ({"id": i, "text": f"row {i + self.birth}"} for i in range(7))


class SharedPlace(Rows):
    """Keeps its place in the object: right one pass at a time, wrong for two at once."""

    def rows(self):
        self.place = 0
        while self.place < 7:
            self.place += 1
            yield {"id": self.place}


class SharedRows(Rows):
    """Keeps its rows and gives the very same objects to each caller."""

    def __init__(self):
        self.kept = list(super().rows())

    def rows(self):
        yield from self.kept


READERS = [
    (readers.check_meets_protocol, NamelessRows),
    (readers.check_meets_protocol, ListOfRows),
    (readers.check_meets_protocol, NoRows),
    (readers.check_repeats, OncePass),
    (readers.check_repeats, Reshuffled),
    (readers.check_passes_apart, SharedPlace),
    (readers.check_rows_not_shared, SharedRows),
]


class Normal:
    """Samples normal numbers."""

    name = "normal"

    def sample(self, n, *, seed=0):
        if n < 0:
            raise UsageError(f"n={n} is not allowed; give 0 or more")
        return numpy_generator(seed, "toy").normal(size=(n, 2))


class NamelessNormal(Normal):
    name = ""


class TooMany(Normal):
    def sample(self, n, *, seed=0):
        return super().sample(n + 1, seed=seed)


class UnseededNormal(Normal):
    def sample(self, n, *, seed=0):
        return super().sample(n, seed=next(MADE))


class NormalByBirth(Normal):
    def __init__(self):
        self.birth = next(MADE)

    def sample(self, n, *, seed=0):
        return super().sample(n, seed=seed + self.birth)


class OneSeed(Normal):
    def sample(self, n, *, seed=0):
        return super().sample(n, seed=0)


class TakesNegative(Normal):
    def sample(self, n, *, seed=0):
        return super().sample(abs(n), seed=seed)


class DrawsGlobal(Normal):
    def sample(self, n, *, seed=0):
        np.random.random()
        return super().sample(n, seed=seed)


SAMPLERS = [
    (samplers.check_meets_protocol, NamelessNormal),
    (samplers.check_count, TooMany),
    (samplers.check_same_seed_same_bits, UnseededNormal),
    (samplers.check_same_seed_same_bits, NormalByBirth),
    (samplers.check_same_seed_same_bits, OneSeed),
    (samplers.check_refuses_bad_arguments, TakesNegative),
    (samplers.check_global_random, DrawsGlobal),
]


def _generator(make):
    check_generator(make, list(PROMPTS))


@pytest.fixture(autouse=True)
def _same_global_state():
    state, numpy_state = random.getstate(), np.random.get_state()
    yield
    random.setstate(state)
    np.random.set_state(numpy_state)


@pytest.mark.parametrize(("run", "sound"), [(check_generator, Words), (check_reader, Rows), (check_sampler, Normal)])
def test_sound_ones_pass(run, sound):
    run(sound)


CASES = (
    [(_generator, *c) for c in GENERATORS]
    + [(check_reader, *c) for c in READERS]
    + [(check_sampler, *c) for c in SAMPLERS]
)


@pytest.mark.parametrize(("run", "check", "broken"), CASES, ids=lambda x: x.__name__)
def test_each_fault_is_caught_by_its_check(run, check, broken):
    """The whole kit stops at this check and no other: all checks before it pass. The sentence names check and class."""
    with pytest.raises(AssertionError, match=rf"^{check.__name__}: {broken.__name__}\b.*\.$"):
        run(broken)


def test_every_check_was_seen_to_fail():
    assert {c for c, _ in GENERATORS} == set(generators.CHECKS)
    assert {c for c, _ in READERS} == set(readers.CHECKS)
    assert {c for c, _ in SAMPLERS} == set(samplers.CHECKS)
