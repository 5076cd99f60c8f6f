"""The clustering methods by name: family, paper, the data they take; and estimators made of names. Listing imports nothing.

Families are those of the survey (Ren and others 2022): by what is trained before or beside the clustering.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from mumei.core import registry
from mumei.core.errors import unknown

FAMILIES = {
    "baseline": ("ae-kmeans",),
    "autoencoder": ("dec", "idec", "dcn"),
    "pseudo-label": ("dac", "deepcluster", "iic"),
    "variational": ("vade", "gmvae", "ltvae"),
    "adversarial": ("catgan", "clustergan", "adec"),
}
TAKES = {"table": "tables and images", "image": "images", "graph": "graphs", "views": "several views"}
BASELINES = ("kmeans", "pca-kmeans", "ae-kmeans")  # what `compare` puts beside every method


def family(name: str) -> str:
    """Return the family of a method, "other" for one that a third party registered."""
    return next((kind for kind, names in FAMILIES.items() if name in names), "other")


def methods() -> list[dict[str, str]]:
    """Return what is registered: "method", "family", "paper", "data", "summary".

    Examples
    --------
    >>> next(m for m in methods() if m["method"] == "idec")["family"]
    'autoencoder'
    """
    order = [*FAMILIES, "other"]
    rows = [
        {
            "method": (name := full.partition("/")[2]),
            "family": family(name),
            "paper": entry.paper,
            "data": ", ".join(TAKES[tag] for tag in TAKES if tag in entry.tags) or "tables",
            "summary": entry.summary,
        }
        for full, entry in registry.entries("cluster").items()
    ]
    return sorted(rows, key=lambda row: (order.index(row["family"]), row["method"]))


def names() -> list[str]:
    """Return the methods' names."""
    return [row["method"] for row in methods()]


def check_name(name: str) -> str:
    """Return a method's name in small letters; an unknown one raises `UsageError` with the closest matches."""
    low = str(name).strip().lower()
    if low not in names():
        raise unknown("method", str(name), names())
    return low


def make(name: str, settings: Mapping[str, Any] | None = None, **arguments: Any) -> Any:
    """Return an estimator by name.

    Parameters
    ----------
    name : str
    settings : mapping, optional
        Settings by name, a constructor's argument or not: `{"epochs": 5, "activation": "tanh"}`.
    arguments
        Of the constructor.

    Raises
    ------
    UsageError
        No such method, or no such setting.
    """
    method = registry.resolve(f"cluster/{check_name(name)}")
    fields = {field.name for field in dataclasses.fields(method)}  # `__dataclass_fields__` has class variables too
    settings = dict(settings or {})
    for setting in settings:
        if setting not in fields and not takes(method, setting):
            raise unknown("setting", setting, fields | set(method.presets()["robust"]))
    own = {k: v for k, v in settings.items() if k in fields}
    other = {k: v for k, v in settings.items() if k not in fields}
    return method(**{**arguments, **own, **({"options": other} if other else {})})


def takes(method: Any, setting: str) -> bool:
    """Whether a method's class has a setting."""
    return any(setting in preset for preset in method.presets().values())


def shared(chosen: list[str], settings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return for each method those of the settings that it has.

    Raises
    ------
    UsageError
        No method has one of them.
    """
    classes = {name: registry.resolve(f"cluster/{check_name(name)}") for name in chosen}
    for setting in settings:
        if not any(takes(method, setting) for method in classes.values()):
            known = {k for method in classes.values() for preset in method.presets().values() for k in preset}
            raise unknown("setting", setting, sorted(known))
    return {name: {k: v for k, v in settings.items() if takes(m, k)} for name, m in classes.items()}
