"""Every recipe: its corpus loads, its counts are those counted in the native files, and its rows have unique ids.

The raw numbers of `expected_counts.json` were counted by other programs than ours. `RAW` says which of ours they are.
"""

from __future__ import annotations

import json

import pytest

from mumei.data import catalogue, load
from mumei.data.counts import counts, differences


def _ppi(raw):
    names = {"docs": "documents", "sentences": "sentences", "entities": "entities", "interactions": "relations"}
    return {ours: raw[theirs] for theirs, ours in names.items()}


def _swedish(raw, empty):
    names = {"disorder": "disorder_finding", "drug": "pharma_drug", "body": "body_structure"}
    return {f"entities.{ours}": raw[theirs] - empty for theirs, ours in names.items()}


SPLITS = {"devel": "validation", "dev": "validation"}
# corpus -> {raw key: our key}, or a function of (raw numbers) -> {split: {our key: number}}; a subset's split
# is "<subset> <split>"
RAW = {
    "ncbi_disease": {"docs": "documents", "mentions": "entities", "unique_docs": "unique_documents"},
    "aimed": lambda raw: {"all": _ppi(raw)},
    "anat_em": {"docs": "documents", "entities": "entities"},
    "bc2gm": {"sentences": "sentences", "entities": "entities"},
    "bc5cdr": {
        "docs": "documents",
        "Chemical": "entities.Chemical",
        "Disease": "entities.Disease",
        "CID": "concept_relations.CID",
    },
    "biored": lambda raw: {
        "validation": {
            "documents": raw["docs"],
            "entities": raw["mentions"],
            "concept_relations": raw["relations"],
        }
    },
    "ddi_corpus": lambda raw: {
        "train": {
            "documents": sum(part["docs"] for part in raw.values()),
            "entities": sum(part["entities"] for part in raw.values()),
            "relations": sum(part["ddis"] for part in raw.values()),
        }
    },
    "ebm_pico": lambda raw: {
        "test": {
            "documents": raw["docs"],
            "sentences": raw["sentences"],
            "entities": raw["spans"],
            **{f"entities.{kind}": raw[kind] for kind in ("INT", "PAR", "OUT")},
        }
    },
    "hprd50": lambda raw: {"all": _ppi(raw)},
    "jnlpba": {
        "sentences": "sentences",
        "entities": "entities",
        **{kind: f"entities.{kind}" for kind in ("protein", "cell_type", "DNA", "cell_line", "RNA")},
    },
    "lll": lambda raw: {"all": _ppi(raw)},
    "meddocan": {"docs": "documents", "entities": "entities"},
    "medline_xml": lambda raw: {
        "pubmed train": {"documents": raw["pubmed_records"]},
        "jats train": {"documents": raw["jats_articles"]},
    },
    "seth_corpus": lambda raw: {"train": {"documents": raw["docs"]}},
    "spl_adr_200db": lambda raw: {"train": {"documents": raw["labels"]}},
    # One line of 1177 is empty, and one pair of marks of each kind in wiki encloses a blank only, which is no mention.
    "swedish_medical_ner": lambda raw: {
        "1177 train": {"documents": raw["1177"]["lines"] - 1, **_swedish(raw["1177"], 0)},
        "wiki train": {"documents": raw["wiki"]["lines"], **_swedish(raw["wiki"], 1)},
    },
    "bioasq_task_b": lambda raw: {"test": {"documents": raw["7b_questions"]}},
    "biosses": lambda raw: {"all": {"documents": raw["pairs"]}},
    "ehr_rel": lambda raw: {"train": {"documents": raw["pairs"]}},
    "hallmarks_of_cancer": lambda raw: {"all": {"files": raw["abstracts"]}},
    "chemprot_sentences": lambda raw: {split: {"documents": number} for split, number in raw.items()},
    "med_mcqa": lambda raw: {"validation": {"documents": raw["dev"]}},
    "mediqa_qa": lambda raw: {
        "validation": {"documents": raw["validation_questions"]},
        "train_live_qa_med": {"documents": raw["train_live_qa_med_questions"]},
    },
    "mediqa_rqe": lambda raw: {split: {"documents": number} for split, number in raw.items()},
    "meqsum": lambda raw: {"train": {"documents": raw["rows"]}},
    "mmlu_med": lambda raw: {"test": {"documents": sum(raw.values())}},
    "mqp": lambda raw: {"train": {"documents": raw["pairs"], "labels.1": raw["1"], "labels.0": raw["0"]}},
    "nli4ct": lambda raw: {
        "train": {"documents": raw["train"], "labels.Entailment": raw["train_Entailment"]},
        "validation": {"documents": raw["dev"], "labels.Entailment": raw["dev_Entailment"]},
    },
    "pubmed_qa": lambda raw: {"all": {"documents": raw["questions"]}, "test": {"documents": raw["test_ids"]}},
    "scicite": lambda raw: {split: {"documents": number} for split, number in raw.items()},
    "bionlp_st_2013_cg": {
        "docs": "documents",
        "entities_non_trigger": "entities",
        "events": "events",
        "equiv": "coreferences",
        "modifications": "attributes",
    },
}
NAMES = {"biored": "biored_dev", "ehr_rel": "ehr_rel_A"}  # ours -> the file's


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory):
    """One cache for all tests here: every corpus is read once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MUMEI_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("MUMEI_OFFLINE", "1")
        patch.delenv("MUMEI_CORPORA", raising=False)
        yield


@pytest.mark.parametrize("name", catalogue.names())
def test_counts_are_the_raw_ones(name, corpora_dir):
    if not (corpora_dir / name).is_dir():
        pytest.skip(f"no files of {name}")
    said = json.loads((corpora_dir / "expected_counts.json").read_text())[NAMES.get(name, name)].get("raw")
    recipe, found = catalogue.recipe(name), {}
    for subset in recipe.parts():
        full = f"{name}_{subset}" if subset else name
        corpus = load(f"{full}_source", folder=corpora_dir)
        assert corpus.problems == [] or all(not p.skipped for p in corpus.problems)
        assert recipe.subset(subset).counts, "a recipe gives its counts"
        assert differences(corpus) == []
        found |= {f"{subset} {split}".strip(): numbers for split, numbers in counts(corpus).items()}
    if said is None:
        assert name == "mantra_gsc"  # counted by BigBIO's loader only: see `test_mantra_...`
        return
    assert name in RAW, "say which of our counts the raw ones are"
    if callable(RAW[name]):
        expected = RAW[name](said)
    else:
        expected = {s: {RAW[name][k]: n for k, n in raw.items() if k in RAW[name]} for s, raw in said.items()}
        if name == "bionlp_st_2013_cg":
            expected["test"]["entities"] = said["test"]["a1_T"]  # without events every T line is an entity
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


def test_mantra_has_the_published_mentions(corpora_dir):
    """13 configurations: BigBIO's loader has the same mentions in each, and together they are the 5,530 of the paper."""
    said = json.loads((corpora_dir / "expected_counts.json").read_text())["mantra_gsc"]
    total = 0
    for config, theirs in said["bigbio_loader"].items():
        ours = load(config, folder=corpora_dir)
        numbers = counts(ours)["train"]
        assert (numbers["documents"], numbers["entities"]) == (theirs["examples"], theirs["entities"])
        assert numbers["normalized"] == theirs["normalized"]
        offsets = ours["train"]["entities"].combine_chunks().flatten().field("offsets")
        assert sum(n > 1 for n in offsets.value_lengths().to_pylist()) == theirs["discont"]
        total += numbers["entities"]
    assert total == said["published"]["annotations"]


def test_types_are_bigbios_where_it_is_right(corpora_dir):
    """Types of mentions and relations of corpora that BigBIO's loaders read rightly."""
    said = json.loads((corpora_dir / "expected_counts.json").read_text())
    for name in ("anat_em", "meddocan", "seth_corpus", "spl_adr_200db"):
        ours = counts(load(name, folder=corpora_dir))
        for split, theirs in said[name]["bigbio_loader"].items():
            for group in ("entity", "relation"):
                for kind, number in theirs.get(f"{group}_types", {}).items():
                    plural = "entities" if group == "entity" else "relations"
                    assert ours[split][f"{plural}.{kind}"] == number, (name, split, kind)


def test_swedish_drugs_are_drugs(corpora_dir):
    """BigBIO looks for `[` at the second character and calls every drug a body structure: 425 and 22,876 of them."""
    theirs = json.loads((corpora_dir / "expected_counts.json").read_text())["swedish_medical_ner"]["bigbio_loader"]
    assert "pharma_drug" not in theirs["1177"]["entity_types"]
    ours = counts(load("swedish_medical_ner_1177", folder=corpora_dir))["train"]
    assert ours["entities.pharma_drug"] == 425
    assert ours["entities"] == theirs["1177"]["entities"]
    assert ours["entities.body_structure"] == theirs["1177"]["entity_types"]["body_structure"] - 425
    assert counts(load("swedish_medical_ner_wiki", folder=corpora_dir))["train"]["entities.pharma_drug"] == 22_875


def test_relations_between_concepts_stay_one(corpora_dir):
    """BigBIO makes 22,200 relations of BioRED's 1,162 and drops their flags; here that is a view, the superset keeps all."""
    corpus = load("biored", folder=corpora_dir)
    said = json.loads((corpora_dir / "expected_counts.json").read_text())["biored_dev"]
    assert len(corpus["validation"]["relations"].combine_chunks().flatten()) == said["bigbio_loader"]["relations"]
    relations = [r for d in corpus.records("validation") for r in d.concept_relations]
    assert len(relations) == said["raw"]["relations"]
    assert {tuple(r.flags) for r in relations} == {("Novel",), ("No",)}


def test_mentions_of_bc5cdr_are_where_they_are_said_to_be(corpora_dir):
    """All 28,785, composite ones too, whose offsets BigBIO's issue 738 is about."""
    corpus, checked = load("bc5cdr", folder=corpora_dir), 0
    for document in corpus.records():
        text = document.text()
        for entity in document.entities:
            assert [text[start:end] for start, end in entity.offsets] == entity.text
            checked += 1
    assert checked == 28_785


def test_negation_and_speculation_are_kept(corpora_dir):
    """BigBIO drops the M lines of the shared task: 884 of training and development part."""
    corpus = load("bionlp_st_2013_cg", folder=corpora_dir)
    kinds = {a.type for d in corpus.records() for a in d.attributes}
    assert kinds == {"Negation", "Speculation"}
    assert sum(counts(corpus)[split]["attributes"] for split in ("train", "validation")) == 884


def test_columns_load_from_their_own_files(corpora_dir):
    """BigBIO's loader of JNLPBA asks the hub for another data set; the files given are enough."""
    corpus = load("jnlpba", folder=corpora_dir)
    assert corpus["test"].num_rows == 3_856


def test_pairs_of_drugs_without_interaction_are_counted(corpora_dir):
    """The training part lists 27,792 pairs, 4,020 of which interact."""
    raw = json.loads((corpora_dir / "expected_counts.json").read_text())["ddi_corpus"]["raw"]
    corpus = load("ddi_corpus", folder=corpora_dir)
    pairs = sum(int(d.metadata.get("pairs", 0)) for d in corpus.records())
    assert pairs == sum(part["pairs"] for part in raw.values())
