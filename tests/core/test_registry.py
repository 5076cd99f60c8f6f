"""The registry: every entry can be imported, names and classes find each other, mistakes are answered."""

from __future__ import annotations

import sys
import types

import pytest

from mumei.core import registry
from mumei.core.errors import MissingExtraError, UsageError


@pytest.fixture(autouse=True)
def _own_entries(monkeypatch):
    monkeypatch.setattr(registry, "_ENTRIES", dict(registry._ENTRIES))


@pytest.mark.parametrize("name", list(registry.entries()))
def test_every_entry_resolves_to_what_is_named_so(name):
    entry = registry.get(name)
    try:
        target = registry.resolve(name)
    except MissingExtraError:
        pytest.skip(f"{name} needs an extra")
    assert entry.summary
    assert target.__name__ == entry.target.rpartition(":")[2]
    if isinstance(target, type):
        assert registry.name_of(target) == name


def test_entries_are_sorted_and_chosen_by_group_and_tag():
    everything = registry.entries()
    assert list(everything) == sorted(everything)
    assert set(registry.entries("encoder")) == {n for n in everything if n.startswith("encoder/")}
    assert all("offline" in e.tags for e in registry.entries(tag="offline").values())
    assert registry.entries("encode") == {}


def test_a_third_party_class_is_registered_also_a_nested_one(monkeypatch):
    class Outer:
        class Inner:
            pass

    Outer.Inner.__module__, Outer.Inner.__qualname__ = "mumei_test_plugin", "Outer.Inner"
    module = types.ModuleType("mumei_test_plugin")
    module.Outer = Outer
    monkeypatch.setitem(sys.modules, "mumei_test_plugin", module)
    for _ in range(2):  # the same again is no mistake: a module may be imported anew
        registry.register("encoder/mine", "mumei_test_plugin:Outer.Inner", "mine", "A. Author 2020", ("encoder",))
    assert registry.resolve("encoder/mine") is Outer.Inner
    assert registry.name_of(Outer.Inner) == "encoder/mine"
    assert registry.get("encoder/mine").paper == "A. Author 2020"
    with pytest.raises(UsageError, match=r"already registered for mumei_test_plugin:Outer\.Inner"):
        registry.register("encoder/mine", "other:Thing", "other")


@pytest.mark.parametrize(("name", "target"), [("mine", "a:b"), ("encoder/mine", "a.b")])
def test_a_name_or_target_of_another_form(name, target):
    with pytest.raises(UsageError, match="give a name like"):
        registry.register(name, target, "x")


def test_unknown_names_and_classes():
    with pytest.raises(UsageError, match=r"unknown name 'encoder/minilmm'\. Did you mean 'encoder/minilm'"):
        registry.resolve("encoder/minilmm")
    with pytest.raises(UsageError, match="builtins:int is not registered"):
        registry.name_of(int)
