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
    with pytest.raises(AssertionError, match="check_shape: TableEncoder"):
        run_registered("encoder/toy-table", make=lambda: TableEncoder(5))


class Plain:
    """Has no member of any protocol."""


class NeedsModel:
    """Needs an argument that nothing can fill in."""

    def __init__(self, model, *args, device=None, **options):
        self.model = model


TAGS = ("encoder", "estimator", "generator", "reader", "sampler", "network", "sequence-model", "artifact")


def test_tags_choose_checks_and_items():
    for tag in TAGS:
        assert list(kit.checks_by_tag(registry.Entry("a:B", "x", tags=(tag,)))) == [f"check_{tag}"]
    assert kit.checks_by_tag(registry.Entry("a:B", "x", tags=("offline",))) == {}
    kinds = {
        t: kit.example_items(registry.Entry("a:B", "x", tags=("encoder", t))) for t in ("text", "sequence", "table")
    }
    assert kinds["text"] != kinds["sequence"]
    assert kinds["table"].shape == (60, 4)
    assert kit.example_batch().shape == (5, 4)


@pytest.mark.parametrize("tag", ["encoder", "generator", "reader", "sampler"])
def test_the_checks_are_run_on_what_is_made(entries, tag):
    """An object without any member fails its protocol, whatever its tag."""
    registry.register("test/plain", f"{__name__}:Plain", "a toy", tags=(tag,))
    check, reason = checks_for("test/plain")
    assert check is not None
    assert reason == ""
    with pytest.raises(AssertionError, match=r"^check_meets_protocol: Plain lacks"):
        check()


@pytest.mark.parametrize("tag", ["estimator", "network"])
def test_plain_objects_are_no_estimators_or_networks(entries, tag):
    registry.register("test/plain", f"{__name__}:Plain", "a toy", tags=(tag,))
    with pytest.raises(AssertionError, match=r"^check_meets_protocol: Plain "):
        run_registered("test/plain")


def test_an_argument_that_nothing_fills_in(entries):
    """It is a reason to skip an optional entry, and a failure of any other: nothing goes untested in silence."""
    target = f"{__name__}:NeedsModel"
    registry.register("encoder/optional", target, "a toy", tags=("encoder", "extra:plain"))
    assert checks_for("encoder/optional") == (None, "encoder/optional needs the argument model")
    with pytest.raises(unittest.SkipTest, match="encoder/optional needs the argument model"):
        run_registered("encoder/optional")
    check, reason = checks_for("encoder/optional", make=lambda: NeedsModel("x"))
    assert check is not None
    assert reason == ""
    registry._ENTRIES.pop("encoder/optional")
    registry.register("encoder/plain", target, "a toy", tags=("encoder",))
    with pytest.raises(AssertionError, match=r"check_entry: encoder/plain needs the argument model; give .* example"):
        run_registered("encoder/plain")


def test_the_optional_encoder_of_the_registry_is_skipped_without_its_package(monkeypatch):
    real = metadata.version

    def version(name):
        if name == "sentence-transformers":
            raise metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(metadata, "version", version)
    check, reason = checks_for("encoder/sentence-transformers")
    assert check is None
    assert "needs sentence-transformers, of mumei[text], which is not installed" in reason


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
    registry.register("encoder/y", "mumei.nowhere:Y", "a toy", tags=("encoder", "extra:unknown"))
    assert checks_for("encoder/y")[1].startswith("encoder/y cannot be imported: No module named")
    with pytest.raises(unittest.SkipTest, match=r"mumei.nowhere:X needs not-a-package, of mumei\[exotic\]"):
        run_registered("encoder/x")
    assert kit.missing_extra(registry.Entry("a:B", "x", tags=("extra:plain",))) == ""
