"""What every `Generator`, `Reader` and `Sampler` must do. Each check takes a maker, called for a fresh object."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from mumei.core.protocols import Generator, Reader, Sampler
from mumei.testing.common import fail, must_refuse, same_bits, untouched_randomness

Make = Callable[[], Any]

# --- generators -------------------------------------------------------------------------------------------------------


def check_generator_shape(make: Make, prompts: list[str]) -> None:
    """There are m lists of n texts for m prompts, also for none."""
    generator = make()
    if not isinstance(generator, Generator) or not isinstance(generator.name, str) or not generator.name:
        fail(check_generator_shape, generator, "lacks generate or a name that is not empty")
    for given, n in ((prompts, 1), (prompts, 3), (prompts[:1], 2), ([], 2)):
        made = generator.generate(list(given), n=n, max_tokens=8, seed=0)
        if not isinstance(made, list) or len(made) != len(given) or any(len(texts) != n for texts in made):
            fail(check_generator_shape, generator, f"does not return {len(given)} lists of {n} texts for n={n}")
        if not all(isinstance(text, str) for texts in made for text in texts):
            fail(check_generator_shape, generator, "returns something that is not a text")


def check_generator_same_seed(make: Make, prompts: list[str]) -> None:
    """The same seed gives the same texts, at the second call and from another object."""
    generator = make()
    options: dict[str, Any] = {"n": 2, "temperature": 1.0, "max_tokens": 8, "seed": 5}
    first = generator.generate(prompts, **options)
    if generator.generate(prompts, **options) != first:
        fail(check_generator_same_seed, generator, "gives other texts for the same seed at the second call")
    if make().generate(prompts, **options) != first:
        fail(check_generator_same_seed, generator, "gives other texts for the same seed when it is made again")


def check_generator_zero_temperature(make: Make, prompts: list[str]) -> None:
    """At temperature 0 the seed makes no difference."""
    generator = make()
    a, b = (generator.generate(prompts, temperature=0.0, max_tokens=8, seed=seed) for seed in (0, 1))
    if a != b:
        fail(check_generator_zero_temperature, generator, "gives other texts for another seed at temperature 0")


def check_generator_order(make: Make, prompts: list[str]) -> None:
    """Lists stand in the order of the prompts, which are left as they were."""
    generator, given = make(), list(prompts)
    forward = generator.generate(given, temperature=0.0, max_tokens=8)
    if given != list(prompts):
        fail(check_generator_order, generator, "changes the prompts that it is given")
    if generator.generate(given[::-1], temperature=0.0, max_tokens=8) != forward[::-1]:
        fail(check_generator_order, generator, "does not return texts in the order of the prompts")


def check_generator_bad_input(make: Make, prompts: list[str]) -> None:
    """A lone str, a prompt that is no text, n=0 and a negative temperature are refused by a `MumeiError`."""
    generator = make()
    text: Any = prompts[0]
    calls: dict[str, Callable[[], Any]] = {
        "a single str for a list": lambda: generator.generate(text),
        "the prompt None": lambda: generator.generate([text, None]),
        "n=0": lambda: generator.generate(prompts, n=0),
        "temperature=-1": lambda: generator.generate(prompts, temperature=-1.0),
        "max_tokens=0": lambda: generator.generate(prompts, max_tokens=0),
    }
    for what, call in calls.items():
        must_refuse(check_generator_bad_input, generator, call, what)


def check_generator_global_random(make: Make, prompts: list[str]) -> None:
    """Nothing is drawn from global random states."""
    generator = make()
    with untouched_randomness(check_generator_global_random, generator):
        make().generate(prompts, max_tokens=8)


GENERATOR_CHECKS = (
    check_generator_shape,
    check_generator_same_seed,
    check_generator_zero_temperature,
    check_generator_order,
    check_generator_bad_input,
    check_generator_global_random,
)


def check_generator(make_generator: Make, prompts: list[str] | None = None) -> None:
    """Run every check of a generator; `prompts` are two or more different texts. Raises `AssertionError`."""
    prompts = ["What lowers LDL cholesterol?", "What does insulin do?"] if prompts is None else prompts
    for check in GENERATOR_CHECKS:
        check(make_generator, prompts)


# --- readers ----------------------------------------------------------------------------------------------------------


def check_reader_members(make: Make) -> None:
    """It has a name and `rows`, which gives an iterator (not a list) of at least one row."""
    reader = make()
    if not isinstance(reader, Reader) or not isinstance(reader.name, str) or not reader.name:
        fail(check_reader_members, reader, "lacks rows or a name that is not empty")
    rows = reader.rows()
    if not isinstance(rows, Iterator):
        fail(check_reader_members, reader, f"returns a {type(rows).__name__} from rows(), not an iterator")
    if next(rows, None) is None:
        fail(check_reader_members, reader, "has no rows; give an example with some")


def check_reader_repeats(make: Make) -> None:
    """Every pass gives the same rows in the same order, also after one that was left early."""
    reader = make()
    next(reader.rows(), None)
    first = list(reader.rows())
    if not same_bits(first, list(reader.rows())):
        fail(check_reader_repeats, reader, "gives other rows at the second pass")
    if not same_bits(first, list(make().rows())):
        fail(check_reader_repeats, reader, "gives other rows when it is made again")


def check_reader_passes_apart(make: Make) -> None:
    """Two passes at once do not disturb each other."""
    reader = make()
    expected = list(islice(make().rows(), 4))
    a, b = reader.rows(), reader.rows()
    pairs = [(next(a, None), next(b, None)) for _ in expected]
    if not same_bits([x for x, _ in pairs], expected) or not same_bits([y for _, y in pairs], expected):
        fail(check_reader_passes_apart, reader, "mixes up two passes that run at once")


READER_CHECKS = (check_reader_members, check_reader_repeats, check_reader_passes_apart)


def check_reader(make_reader: Make) -> None:
    """Run every check of a reader of a source with a few rows. Raises `AssertionError`."""
    for check in READER_CHECKS:
        check(make_reader)


# --- samplers ---------------------------------------------------------------------------------------------------------


def check_sampler_count(make: Make) -> None:
    """`sample(n)` gives n items, for 1 and for more."""
    sampler = make()
    if not isinstance(sampler, Sampler) or not isinstance(sampler.name, str) or not sampler.name:
        fail(check_sampler_count, sampler, "lacks sample or a name that is not empty")
    for n in (1, 5):
        if (found := len(sampler.sample(n, seed=0))) != n:
            fail(check_sampler_count, sampler, f"makes {found} items when {n} are asked for")


def check_sampler_same_seed(make: Make) -> None:
    """The same seed gives the same bits, another seed other items."""
    sampler = make()
    first = sampler.sample(5, seed=3)
    if not same_bits(first, sampler.sample(5, seed=3)):
        fail(check_sampler_same_seed, sampler, "gives other items for the same seed at the second call")
    if not same_bits(first, make().sample(5, seed=3)):
        fail(check_sampler_same_seed, sampler, "gives other items for the same seed when it is made again")
    if same_bits(first, sampler.sample(5, seed=4)):
        fail(check_sampler_same_seed, sampler, "gives the same items for another seed")


def check_sampler_bad_input(make: Make) -> None:
    """A negative number of items is refused by a `MumeiError`."""
    sampler = make()
    must_refuse(check_sampler_bad_input, sampler, lambda: sampler.sample(-1), "n=-1")


def check_sampler_global_random(make: Make) -> None:
    """Nothing is drawn from global random states."""
    sampler = make()
    with untouched_randomness(check_sampler_global_random, sampler):
        make().sample(3, seed=0)


SAMPLER_CHECKS = (check_sampler_count, check_sampler_same_seed, check_sampler_bad_input, check_sampler_global_random)


def check_sampler(make_sampler: Make) -> None:
    """Run every check of a sampler. Raises `AssertionError`."""
    for check in SAMPLER_CHECKS:
        check(make_sampler)
