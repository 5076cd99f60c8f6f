"""Every recipe: its corpus loads, its counts are those counted in the native files, and its rows have unique ids.

The raw numbers of `expected_counts.json` were counted by other programs than ours. `RAW` says which of ours they are.
"""

from __future__ import annotations

import json

import pytest

from mumei.data import catalogue, load
from mumei.data.counts import counts, differences

SPLITS = {"devel": "validation", "dev": "validation"}
# corpus -> {raw key: our key}, or a function of (raw numbers) -> {split: {our key: number}}
RAW = {
    "ncbi_disease": {"docs": "documents", "mentions": "entities", "unique_docs": "unique_documents"},
    "bionlp_st_2013_cg": {
        "docs": "documents",
        "entities_non_trigger": "entities",
        "events": "events",
        "equiv": "coreferences",
        "modifications": "attributes",
    },
}
NAMES = {"biored": "biored_dev", "ehr_rel": "ehr_rel_A"}  # ours -> the file's


@pytest.mark.parametrize("name", catalogue.names())
def test_counts_are_the_raw_ones(name, corpora_dir):
    if not (corpora_dir / name).is_dir():
        pytest.skip(f"no files of {name}")
    said = json.loads((corpora_dir / "expected_counts.json").read_text())[NAMES.get(name, name)]["raw"]
    assert name in RAW, "say which of our counts the raw ones are"
    recipe = catalogue.recipe(name)
    for subset in recipe.parts():
        full = f"{name}_{subset}" if subset else name
        corpus = load(f"{full}_source", folder=corpora_dir)
        assert corpus.problems == [] or all(not p.skipped for p in corpus.problems)
        assert recipe.subset(subset).counts, "a recipe gives its counts"
        assert differences(corpus) == []
    if callable(RAW[name]):
        expected = RAW[name](said)
    else:
        expected = {s: {RAW[name][k]: n for k, n in raw.items() if k in RAW[name]} for s, raw in said.items()}
        if name == "bionlp_st_2013_cg":
            expected["test"]["entities"] = said["test"]["a1_T"]  # without events every T line is an entity
    found = counts(corpus)
    compared = 0
    for split, numbers in expected.items():
        for key, number in numbers.items():
            assert found[SPLITS.get(split, split)][key] == number, (split, key)
            compared += 1
    assert compared > 0


def test_every_difference_is_told(corpora_dir):
    corpus = load("ncbi_disease", folder=corpora_dir, split="test")
    told = differences(corpus, {"test": {"documents": 100, "entities": 961, "entities.Modifier": 264, "events": 1}})
    assert [(d.split, d.key, d.expected, d.found) for d in told] == [
        ("test", "entities", 961, 960),
        ("test", "events", 1, 0),
    ]


def test_kb_counts_equal_bigbios_where_it_is_right(corpora_dir):
    """BigBIO's loader drops no document of these splits: the tables have its numbers, by type too."""
    said = json.loads((corpora_dir / "expected_counts.json").read_text())
    for name, split in (("ncbi_disease", "test"), ("ncbi_disease", "validation"), ("bionlp_st_2013_cg", "train")):
        theirs = said[name]["bigbio_loader"][split]
        ours = counts(load(name, folder=corpora_dir))[split]
        for kind, number in theirs["entity_types"].items():
            assert ours[f"entities.{kind}"] == number


def test_conjunctions_of_omim_ids_keep_both(corpora_dir):
    """BigBIO's loader keeps the last id only of `OMIM:1+OMIM:2`: four links of the validation part are lost there."""
    theirs = json.loads((corpora_dir / "expected_counts.json").read_text())["ncbi_disease"]["bigbio_loader"]
    ours = counts(load("ncbi_disease", folder=corpora_dir))
    lost = (corpora_dir / "ncbi_disease" / "NCBIdevelopset_corpus.txt").read_text().count("+OMIM:")
    assert lost == 4
    assert ours["validation"]["normalized"] == theirs["validation"]["normalized"] + lost
    assert ours["test"]["normalized"] == theirs["test"]["normalized"]
