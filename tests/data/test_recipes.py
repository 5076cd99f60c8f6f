"""Recipes: all of ours are sound, and each mistake in one is named."""

from __future__ import annotations

import subprocess
import sys
from importlib import resources

import pytest

from mumei.core.errors import UsageError
from mumei.data import catalogue
from mumei.data.recipes import read_recipe

GOOD = """
name = "mine"
title = "t"
description = "d"
homepage = "https://example.org"
citation = "c"
licence = "CC0-1.0"
languages = ["en"]
tasks = ["NER"]
[views.kb]
reader = "pubtator"
options = { database = "MESH" }
[[files]]
name = "a.zip"
sha256 = "0000000000000000000000000000000000000000000000000000000000000000"
[splits]
train = ["a.zip!train/*"]
[subsets.fr]
splits = { test = ["a.zip"] }
languages = ["fr"]
"""


@pytest.mark.parametrize("name", catalogue.names())
def test_ours_are_sound(name):
    recipe = catalogue.recipe(name)
    assert recipe.name == name
    assert recipe.homepage.startswith("https://")
    assert recipe.citation.strip().startswith("@")
    assert all(len(code) == 2 for code in recipe.languages)
    assert recipe.description
    assert recipe.title
    raw = (resources.files("mumei.data") / "corpora" / f"{name}.toml").read_bytes()
    raw.decode("ascii")  # names in citations are written in TeX


def test_subsets_take_the_rest_from_the_recipe():
    recipe = read_recipe(GOOD.encode(), "x")
    assert recipe.parts() == ["", "fr"]
    assert recipe.subset("fr").languages == ("fr",)
    assert recipe.subset("fr").views == recipe.views
    assert recipe.schema == "kb"
    with pytest.raises(UsageError, match=r"unknown subset of mine 'fe'\. Did you mean 'fr'"):
        recipe.subset("fe")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('title = "t"\n', "", "title"),
        ('title = "t"', 'titel = "t"', "titel"),
        ('title = "t"', "title = 3", "Expected `str`"),
        ('name = "mine"', 'name = "My corpus"', "lower case"),
        ('"NER"', '"NERR"', "unknown task 'NERR'. Did you mean 'NER'"),
        ("[views.kb]", "[views.kbb]", "unknown schema 'kbb'"),
        ('"pubtator"', '"pubtater"', "unknown reader 'pubtater'. Did you mean 'pubtator'"),
        ("{ database", "{ databese", "unknown option of the reader pubtator 'databese'. Did you mean 'database'"),
        ('0000000000"', '000000000X"', "sha256 of a.zip"),
        ("[[files]]", "splits.trian = {}\n[[files]]", "unknown split 'trian'. Did you mean 'train'"),
        ("[[files]]", "splits.train.whle = []\n[[files]]", "unknown option of the reader pubtator 'whle'"),
        ("a.zip!train", "b.zip!train", "'b.zip!train/\\*', which is none of its files"),
        ("[splits]", "[splits", "cannot be used"),
    ],
)
def test_each_mistake_is_named(old, new, message):
    assert old in GOOD
    with pytest.raises(UsageError, match=f"the recipe x.toml cannot be used: .*{message}|{message}"):
        read_recipe(GOOD.replace(old, new).encode(), "x.toml")


def test_names_of_configurations():
    for config in catalogue.configs():
        again = catalogue.find(config.name)
        assert (again.recipe.name, again.subset, again.schema) == (config.recipe.name, config.subset, config.schema)
    assert "ncbi_disease_bigbio_kb" in [c.name for c in catalogue.configs()]
    with pytest.raises(UsageError, match=r"unknown corpus 'ncbi_diseas'\. Did you mean 'ncbi_disease'"):
        catalogue.find("ncbi_diseas_bigbio_kb")


def test_importing_the_package_and_the_catalogue_is_light():
    code = (
        "import sys, mumei.data, mumei.data.catalogue as c; c.names(); "
        "print([m for m in ('numpy', 'pyarrow', 'torch', 'lxml') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
