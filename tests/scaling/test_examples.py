"""The examples in the docstrings are true."""

from __future__ import annotations

import doctest
from importlib import import_module
from pathlib import Path

import pytest

import mumei.scaling

MODULES = sorted(p.stem for p in Path(mumei.scaling.__file__).parent.glob("*.py") if p.stem != "__init__")


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module(name):
    assert doctest.testmod(import_module(f"mumei.scaling.{name}")).failed == 0


def test_there_are_examples():
    assert sum(doctest.testmod(import_module(f"mumei.scaling.{name}")).attempted for name in MODULES) > 15
