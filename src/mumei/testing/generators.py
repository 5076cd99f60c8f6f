"""What every `Generator` must do. Each check takes a maker, called for a fresh generator, and two or more prompts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mumei.core.protocols import Generator
from mumei.testing.common import fail, must_refuse, untouched_randomness

Make = Callable[[], Any]


def check_meets_protocol(make: Make, prompts: list[str]) -> None:
    """It has `generate` and a `name` that is not empty."""
    generator = make()
    if not isinstance(generator, Generator) or not isinstance(generator.name, str) or not generator.name:
        fail(check_meets_protocol, generator, "lacks generate or a name that is not empty")


def check_shape(make: Make, prompts: list[str]) -> None:
    """There are m lists of n texts for m prompts, also for none."""
    generator = make()
    for given, n in ((prompts, 1), (prompts, 3), (prompts[:1], 2), ([], 2)):
        made = generator.generate(list(given), n=n, max_tokens=8, seed=0)
        if not isinstance(made, list) or len(made) != len(given) or any(len(texts) != n for texts in made):
            fail(check_shape, generator, f"does not return {len(given)} lists of {n} texts for n={n}")
        if not all(isinstance(text, str) for texts in made for text in texts):
            fail(check_shape, generator, "returns something that is not a text")


def check_same_seed_same_bits(make: Make, prompts: list[str]) -> None:
    """The same seed gives the same texts, at the second call and from another object."""
    generator = make()
    options: dict[str, Any] = {"n": 2, "temperature": 1.0, "max_tokens": 8, "seed": 5}
    first = generator.generate(prompts, **options)
    if generator.generate(prompts, **options) != first:
        fail(check_same_seed_same_bits, generator, "gives other texts for the same seed at the second call")
    if make().generate(prompts, **options) != first:
        fail(check_same_seed_same_bits, generator, "gives other texts for the same seed when it is made again")


def check_zero_temperature(make: Make, prompts: list[str]) -> None:
    """At temperature 0 the seed makes no difference."""
    generator = make()
    a, b = (generator.generate(prompts, temperature=0.0, max_tokens=8, seed=seed) for seed in (0, 1))
    if a != b:
        fail(check_zero_temperature, generator, "gives other texts for another seed at temperature 0")


def check_order(make: Make, prompts: list[str]) -> None:
    """Lists stand in the order of the prompts, which are left as they were."""
    generator, given = make(), list(prompts)
    forward = generator.generate(given, temperature=0.0, max_tokens=8)
    if given != list(prompts):
        fail(check_order, generator, "changes the prompts that it is given")
    if generator.generate(given[::-1], temperature=0.0, max_tokens=8) != forward[::-1]:
        fail(check_order, generator, "does not return texts in the order of the prompts")


def check_refuses_bad_arguments(make: Make, prompts: list[str]) -> None:
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
        must_refuse(check_refuses_bad_arguments, generator, call, what)


def check_global_random(make: Make, prompts: list[str]) -> None:
    """Nothing is drawn from global random states."""
    generator = make()
    with untouched_randomness(check_global_random, generator):
        make().generate(prompts, max_tokens=8)


CHECKS = (
    check_meets_protocol,
    check_shape,
    check_same_seed_same_bits,
    check_zero_temperature,
    check_order,
    check_refuses_bad_arguments,
    check_global_random,
)


def check_generator(make_generator: Make, prompts: list[str] | None = None) -> None:
    """Run every check of a generator; `prompts` are two or more different texts. Raises `AssertionError`."""
    prompts = ["What lowers LDL cholesterol?", "What does insulin do?"] if prompts is None else prompts
    for check in CHECKS:
        check(make_generator, prompts)
