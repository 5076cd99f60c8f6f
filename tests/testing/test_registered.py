"""Everything that is registered passes the checks that its tags ask for; the runner itself can fail and skip."""

from __future__ import annotations

import unittest
from importlib import metadata

import numpy as np
import pytest

from mumei.core import registry
from mumei.core.errors import DataError, UsageError
from mumei.testing import checks_for, run_registered
from mumei.testing import registered as kit


@pytest.fixture
def entries(monkeypatch):
    """A copy of the registry, dropped after the test."""
    monkeypatch.setattr(registry, "_ENTRIES", dict(registry._ENTRIES))


@pytest.mark.filterwarnings("ignore")  # libraries of other people, of which an optional entry may consist, warn freely
@pytest.mark.parametrize("name", registry.entries())
def test_every_registered_name(name, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    ran = run_registered(name)
    assert len(ran) > 1, f"{name} has no tag that asks for a check; give it one"


class TableEncoder:
    """Encodes rows by themselves; made by `example()`, since it needs an argument."""

    def __init__(self, dim):
        self.name, self.dim = "toy-table", dim

    @classmethod
    def example(cls):
        return cls(4)

    def encode(self, items, *, batch_size=None, progress=None):
        items = np.asarray(items, dtype=np.float32)
        if not np.isfinite(items).all():
            raise DataError("NaN")
        if progress is not None:
            progress(len(items))
        return items


def test_a_class_may_bring_its_example(entries):
    registry.register("encoder/toy-table", f"{__name__}:TableEncoder", "a toy", tags=("encoder", "table"))
    assert run_registered("encoder/toy-table") == ["check_entry", "check_encoder"]
    assert run_registered("encoder/toy-table", make=lambda: TableEncoder(4)) == ["check_entry", "check_encoder"]
    with pytest.raises(AssertionError, match="check_encoder_shape: TableEncoder"):
        run_registered("encoder/toy-table", make=lambda: TableEncoder(5))


def test_tags_choose_checks_and_items():
    tags = ("encoder", "estimator", "generator", "reader", "sampler", "network")
    for tag in tags:
        assert list(checks_for(registry.Entry("a:B", "x", tags=(tag,)))) == [f"check_{tag}"]
    assert checks_for(registry.Entry("a:B", "x", tags=("offline",))) == {}
    kinds = {
        t: kit.example_items(registry.Entry("a:B", "x", tags=("encoder", t))) for t in ("text", "sequence", "table")
    }
    assert kinds["text"] != kinds["sequence"]
    assert kinds["table"].shape == (60, 4)


@pytest.mark.parametrize("tag", ["estimator", "generator", "reader", "sampler"])
def test_the_checks_are_run_on_what_is_made(tag):
    """An object without any member fails whatever its tag."""
    check = checks_for(registry.Entry("a:B", "x", tags=(tag,)))[f"check_{tag}"]
    with pytest.raises((AssertionError, TypeError)):
        check(object)


@pytest.mark.parametrize("target", ["mumei.nowhere:Thing", "mumei.core.seeds:Nothing"])
def test_a_target_that_is_not_there_fails(entries, target):
    registry.register("encoder/lost", target, "a toy", tags=("encoder",))
    with pytest.raises((AssertionError, UsageError), match=r"encoder/lost|nowhere|Nothing"):
        run_registered("encoder/lost")


def test_an_entry_says_what_it_is_and_is_registered_once(entries):
    registry.register("encoder/mute", f"{__name__}:TableEncoder", "", tags=("encoder",))
    with pytest.raises(AssertionError, match="check_entry: encoder/mute needs a summary"):
        run_registered("encoder/mute")
    registry.register("encoder/twice", f"{__name__}:TableEncoder", "a toy", tags=("encoder",))
    with pytest.raises(
        AssertionError, match=r"check_entry: .* is registered as encoder/mute too, before encoder/twice"
    ):
        run_registered("encoder/twice")
    with pytest.raises(UsageError, match="unknown name"):
        run_registered("encoder/nothing")


def test_an_entry_whose_package_is_missing_is_skipped_with_the_reason(entries, monkeypatch):
    requires = ["numpy>=2", 'not-a-package>=1 ; extra == "exotic"', "numpy ; extra == 'plain'"]
    monkeypatch.setattr(metadata, "requires", lambda name: requires)
    registry.register("encoder/x", "mumei.nowhere:X", "a toy", tags=("encoder", "extra:exotic"))
    with pytest.raises(unittest.SkipTest, match=r"mumei.nowhere:X needs not-a-package, of mumei\[exotic\]"):
        run_registered("encoder/x")
    assert kit.missing_extra(registry.Entry("a:B", "x", tags=("extra:plain",))) == ""
