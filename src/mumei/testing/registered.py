"""Runs the checks on what is registered, chosen by tags, so that a new entry is tested without a line of test.

An entry's tag says what it is (encoder, estimator, generator, reader, sampler, network, sequence-model, artifact; "image" and
"series" are estimators of images and of time series, which scikit-learn's own checks do not know) and an encoder's what it takes
(text, sequence, table). An object is made without arguments, by the class's own `example()` where it has one, or by
`MAKERS`. `checks_for(name)` gives what runs the checks, or None and the reason why they cannot be run here.
"""

from __future__ import annotations

import unittest
from collections.abc import Callable
from functools import partial
from inspect import Parameter, signature
from typing import Any

from mumei.core import registry
from mumei.core.registry import Entry
from mumei.testing.encoders import check_encoder
from mumei.testing.estimators import check_estimator, example_rows
from mumei.testing.generators import check_generator
from mumei.testing.readers import check_reader
from mumei.testing.samplers import check_sampler
from mumei.testing.sequence_models import check_artifact, check_sequence_model
from mumei.testing.training import check_network

Make = Callable[[], Any]
FREE = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)  # *args and **options need not be given
TEXTS = (
    "Statins lower LDL cholesterol.",
    "Insulin is made by the beta cells of the pancreas; it lowers the concentration of glucose in blood.",
    "肺炎の治療",
    "",
    "IL-6 ↑ in COVID-19 (p < 0.05)",
)
SEQUENCES = ("MKTAYIAKQRQISFVKSHFSRQ", "MKV", "ACDEFGHIKLMNPQRSTVWY" * 4, "mkvlaax*", "GGGGSGGGGS")


def example_items(entry: Entry) -> Any:
    """Return items that an encoder with this entry's tags can encode."""
    if "table" in entry.tags:
        return example_rows()
    return list(SEQUENCES if "sequence" in entry.tags else TEXTS)


def _embedded_sentence_transformer(cls: Any) -> Any:
    from mumei.retrieval.encoders import embedded_model

    return cls(str(embedded_model()), device="cpu")


def _cached(cls: Any) -> Any:
    """Return a cache of a folder that is removed with it."""
    import tempfile
    import weakref

    from mumei.retrieval.encoders import MiniLMEncoder

    folder = tempfile.TemporaryDirectory(prefix="mumei-", ignore_cleanup_errors=True)
    made = cls(MiniLMEncoder(), folder.name)
    weakref.finalize(made, folder.cleanup)
    return made


MAKERS: dict[str, Callable[[Any], Any]] = {
    "encoder/sentence-transformers": _embedded_sentence_transformer,
    "encoder/huggingface": _embedded_sentence_transformer,
    "encoder/cached": _cached,
    "network/mlp": lambda cls: cls((4, 8, 3)),
    "network/autoencoder": lambda cls: cls((4, 8, 2)),
}


def maker(name: str) -> Make:
    """Return what makes a small object of a registered name."""
    target = registry.resolve(name)
    if name in MAKERS:
        return partial(MAKERS[name], target)
    return getattr(target, "example", target)


def missing_extra(entry: Entry) -> str:
    """Return which package of an entry's `extra:NAME` tag is not installed, as a sentence, or an empty string."""
    from importlib import metadata

    for extra in (tag.removeprefix("extra:") for tag in entry.tags if tag.startswith("extra:")):
        wanted = [r for r in metadata.requires("mumei") or () if f'extra == "{extra}"' in r.replace("'", '"')]
        for requirement in wanted:
            package = _package(requirement)
            try:
                metadata.version(package)
            except metadata.PackageNotFoundError:
                return f"{entry.target} needs {package}, of mumei[{extra}], which is not installed"
    return ""


def _package(requirement: str) -> str:
    import re

    return re.split(r"[^A-Za-z0-9._-]", requirement.strip(), maxsplit=1)[0]


def check_entry(name: str) -> None:
    """The entry says what it is, its target can be imported, and the target's class is found under this name."""
    entry = registry.get(name)
    if not entry.summary or "\n" in entry.summary:
        raise AssertionError(f"check_entry: {name} needs a summary of one line.")
    try:
        target = registry.resolve(name)
    except (ImportError, AttributeError) as error:
        raise AssertionError(
            f"check_entry: {name} has the target {entry.target}, which is not there: {error}"
        ) from error
    if isinstance(target, type) and registry.name_of(target) != name:
        raise AssertionError(
            f"check_entry: {entry.target} is registered as {registry.name_of(target)} too, before {name}."
        )


def checks_by_tag(entry: Entry) -> dict[str, Callable[[Make], None]]:
    """Return the checks that an entry's tags ask for, by name; each takes a maker."""
    known: dict[str, Callable[[Make], None]] = {
        "encoder": lambda make: check_encoder(make, example_items(entry)),
        "estimator": lambda make: check_estimator(make()),
        "image": lambda make: check_estimator(make(), example_images(), sklearn=False),
        "series": lambda make: check_estimator(make(), example_series(), sklearn=False),
        "generator": check_generator,
        "reader": check_reader,
        "sampler": check_sampler,
        "network": lambda make: check_network(make, example_batch()),
        "sequence-model": check_sequence_model,
        "artifact": check_artifact,
    }
    return {f"check_{tag}": check for tag, check in known.items() if tag in entry.tags}


def example_images() -> Any:
    """Return 30 grey images (30, 9, 8) of numbers in [0, 1]: a bright column each, and noise."""
    import numpy as np

    from mumei.core.seeds import numpy_generator

    rng, columns = numpy_generator(0, "mumei.testing", "images"), np.arange(30)[:, None, None] % 8
    return 0.9 * (np.arange(8) == columns) + rng.uniform(0, 0.1, (30, 9, 8))


def example_series() -> Any:
    """Return 20 series (20, 8 steps, 2 columns): oscillations of unequal phase, and noise."""
    import numpy as np

    from mumei.core.seeds import numpy_generator

    rng, phase = numpy_generator(0, "mumei.testing", "series"), np.arange(20)[:, None, None]
    return np.sin(0.5 * np.arange(8)[:, None] + phase + np.array([0.0, 1.5])) + 0.1 * rng.normal(size=(20, 8, 2))


def example_batch() -> Any:
    """Return a float32 tensor (5, 4) of normal numbers."""
    import torch

    from mumei.core.seeds import torch_generator

    return torch.randn((5, 4), generator=torch_generator(0, "mumei.testing", "batch"))


def checks_for(name: str, make: Make | None = None) -> tuple[Callable[[], list[str]] | None, str]:
    """Return what runs every check on a registered name, or why it cannot be run here.

    Parameters
    ----------
    name : str
        As in the registry.
    make : callable, optional
        Makes a small object, without arguments; `maker(name)` by default.

    Returns
    -------
    check : callable or None
        Runs the checks with built-in example items, raises `AssertionError` at the first that fails, and returns the
        names of those that ran. None where an optional entry (tag `extra:NAME`) lacks a package or an argument.
    reason : str
        Why there is no check, as a sentence; else empty.

    Raises
    ------
    UsageError
        The name is not registered.
    """
    entry = registry.get(name)
    optional = any(tag.startswith("extra:") for tag in entry.tags)
    reason = missing_extra(entry)
    if optional and not reason and make is None:
        reason = missing_argument(name)
    return (None, reason) if reason else (partial(_run, name, make), "")


def _run(name: str, make: Make | None) -> list[str]:
    check_entry(name)
    if make is None and (reason := missing_argument(name)):
        raise AssertionError(f"check_entry: {reason}; give the class a classmethod example() that makes a small one.")
    checks = checks_by_tag(registry.get(name))
    for check in checks.values():
        check(make or maker(name))
    return ["check_entry", *checks]


def missing_argument(name: str) -> str:
    """Return which constructor argument nothing here can fill in, as a sentence, or an empty string."""
    try:
        made_by = maker(name)
    except (ImportError, AttributeError) as error:
        return f"{name} cannot be imported: {error}"
    needed = [p.name for p in signature(made_by).parameters.values() if p.default is p.empty and p.kind not in FREE]
    return f"{name} needs the argument {', '.join(needed)}" if needed else ""


def run_registered(name: str, make: Make | None = None) -> list[str]:
    """Run every check on a registered name; parameters and errors as in `checks_for`.

    Returns
    -------
    list of str
        The names of the checks that ran.

    Raises
    ------
    AssertionError
        A check failed.
    unittest.SkipTest
        The entry cannot be run here; test runners show a skip with the reason.
    """
    check, reason = checks_for(name, make)
    if check is None:
        raise unittest.SkipTest(reason)
    return check()
