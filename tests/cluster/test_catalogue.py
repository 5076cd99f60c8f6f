"""Methods by name: all that are registered have a family, settings go where they belong, typing errors get the closest match."""

from __future__ import annotations

import pytest

from mumei.cluster import catalogue
from mumei.core import registry
from mumei.core.errors import UsageError


def test_every_registered_method_is_listed_with_its_family():
    rows = catalogue.methods()
    assert sorted(row["method"] for row in rows) == sorted(n.partition("/")[2] for n in registry.entries("cluster"))
    assert [row["method"] for row in rows if row["family"] == "other"] == [], "name its family in catalogue.FAMILIES"
    assert all(row["summary"] and row["data"] for row in rows)
    assert all(row["paper"] for row in rows if row["family"] != "baseline")


def test_make_puts_settings_where_they_belong():
    model = catalogue.make(" IDEC", {"gamma": 0.5, "activation": "tanh"}, n_clusters=4)
    assert (model.gamma, model.options, model.n_clusters) == (0.5, {"activation": "tanh"}, 4)
    with pytest.raises(UsageError, match="Did you mean 'idec'"):
        catalogue.make("idecc")
    with pytest.raises(UsageError, match="Did you mean 'gamma'"):
        catalogue.make("idec", {"gama": 1})


@pytest.mark.parametrize("name", ["learns", "PRESETS", "driver_class"])
def test_what_belongs_to_the_class_is_no_setting(name):
    with pytest.raises(UsageError, match=f"unknown setting '{name}'") as error:
        catalogue.make("dec", {name: 1})
    assert "COMMON" not in str(error.value).partition("Allowed")[2]


def test_shared_settings_go_to_the_methods_that_have_them():
    assert catalogue.shared(["dec", "idec"], {"gamma": 0.2, "epochs": 3}) == {
        "dec": {"epochs": 3},
        "idec": {"gamma": 0.2, "epochs": 3},
    }
    with pytest.raises(UsageError, match="Did you mean 'epochs'"):
        catalogue.shared(["dec"], {"epoch": 3})
