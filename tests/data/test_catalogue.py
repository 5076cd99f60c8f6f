"""The catalogue: what it counts against the published numbers of BigBIO, its filters, and their errors."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import pytest

from mumei.core.errors import UsageError
from mumei.data import load
from mumei.data.catalogue import catalogue, find, names, recipe, whole
from mumei.data.known import bigbio
from mumei.data.languages import LANGUAGES, NAMES
from mumei.data.licences import LICENCES, is_open
from mumei.data.schemas import TASKS


def listed(**given):
    return {known.name for known in catalogue(**given)}


def test_all_corpora_with_sound_entries():
    found = bigbio()
    assert len(found) == 152
    assert list(found) == sorted(found)
    for known in found.values():
        assert set(known.tasks) <= set(TASKS)
        assert known.tasks
        assert known.languages
        assert set(known.languages) <= LANGUAGES & set(NAMES)
        assert known.licence in LICENCES
        assert known.generation in ("hub", "old", "both")
        assert not known.has_recipe


def test_tasks_and_access_of_the_current_loaders():
    """Counted over BigBIO's 144 current loaders by other means: tasks, local ones, licences unknown."""
    current = [known for known in bigbio().values() if known.generation != "old"]
    assert len(current) == 144
    assert Counter(task for known in current for task in known.tasks) == {
        **{"NER": 89, "NED": 37, "RE": 30, "TXTCLASS": 22, "COREF": 14, "EE": 12, "QA": 10},
        **{"STS": 9, "TE": 5, "TRANSL": 4, "TXT2CLASS": 3, "SUM": 3, "PARA": 1},
    }
    assert sum(not known.public for known in current) == 24
    assert Counter(g for k in bigbio().values() for g in [k.generation]) == {"both": 124, "hub": 20, "old": 8}
    assert sum("blurb" in known.flags for known in current) == 12


def test_recipes_are_in_it():
    assert listed(has_recipe=True) == set(names())
    assert "ncbi_disease" in listed(task="NED", language="en", licence="CC0-1.0", has_recipe=True)
    assert len(catalogue()) == len({*bigbio(), *names()})
    known = next(k for k in catalogue(has_recipe=True) if k.name == "ncbi_disease")
    assert known.schemas == ("kb",)
    assert known.flags == ("blurb",)


def test_filters():
    assert listed(task="te", public=False) == {"medical_data", "mediqa_nli", "mednli"}
    assert listed(language="Romanian") == listed(language="ro") == {"monero"}
    assert listed(licence="ISC") == {"cpi"}
    assert "cpi" in listed(licence="open")
    assert not {"ddi_corpus", "mednli", "bear_unknown", "mqp"} & listed(licence="open")
    assert all(is_open(known.licence) for known in catalogue(licence="open"))
    assert listed(schema="bigbio_t2t") == listed(task="SUM") | listed(task="PARA") | listed(task="TRANSL")
    assert listed(licence="CC BY NC 4.0") == listed(licence="CC-BY-NC-4.0") >= {"ctebmsp", "geokhoj_v1"}
    assert listed(licence="BSD-3-Clause") == set()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"task": "NRE"}, r"unknown task 'NRE'\. Did you mean 'RE' or 'NER'"),
        ({"language": "englsh"}, "unknown language 'englsh'"),
        ({"licence": "CC-BY-5.0"}, r"unknown licence 'CC-BY-5.0'\. Did you mean 'CC-BY"),
        ({"schema": "kp"}, r"unknown schema 'kp'\. Did you mean 'kb'"),
    ],
)
def test_closest_names(given, message):
    with pytest.raises(UsageError, match=message):
        catalogue(**given)


def test_a_corpus_without_a_recipe_says_so():
    with pytest.raises(
        UsageError, match=r"mednli is in the catalogue \(TE; licence PhysioNet; it comes under an agreement\)"
    ):
        find("mednli_bigbio_te")
    with pytest.raises(UsageError, match="mumei has no recipe for it"):
        load("mednli")


def test_listing_loads_nothing_heavy():
    heavy = ["torch", "numpy", "pyarrow", "jinja2", "scipy"]
    code = f"import sys; from mumei.data.catalogue import catalogue; catalogue(); print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_corpus_that_is_subsets_only_stands_for_all_of_them():
    for name in names():
        found = whole(name)
        parts = [find(one).subset for one in found]
        assert parts == ([""] if "" in recipe(name).parts() else recipe(name).parts())
    assert whole("mantra_gsc_fr_emea") == ["mantra_gsc_fr_emea"]
    assert whole("no/such/folder") == ["no/such/folder"]
