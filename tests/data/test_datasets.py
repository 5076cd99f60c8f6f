"""What `load` caches is what `datasets` 4 and later loads as Parquet, with BigBIO's features and the same rows."""

from __future__ import annotations

import warnings

import pyarrow.parquet as pq
import pytest

from mumei.data.corpus import corpus_of
from mumei.data.documents import (
    Argument,
    Attribute,
    ConceptRelation,
    Coreference,
    Document,
    Entailment,
    Event,
    LabelledText,
    Question,
    Relation,
    TextPair,
    TextToText,
    Trigger,
)
from mumei.data.schemas import SCHEMAS, Entity, Normalized, Passage

KB = Document(
    "1",
    "1",
    [Passage("1_t", "title", ["Ab cd\u2028é"], [(0, 7)])],
    [
        Entity("1_T1", "Gene", ["Ab", "cd"], [(0, 2), (3, 5)], [Normalized("NCBI", "7")]),
        Entity("1_T2", "Disease", ["é"], [(6, 7)], [Normalized("MESH", "D1")]),
    ],
    [Event("1_E1", "Growth", Trigger(["cd"], [(3, 5)], "1_T9"), [Argument("Theme", "1_T1", 2)])],
    [Coreference("1_C", ["1_T1", "1_T2"], "Equiv")],
    [Relation("1_R", "x", "1_T1", "1_T2", [Normalized("a", "b")], "Arg1", "Arg2")],
    [ConceptRelation("1_D", "CID", "7", "D1", ["Novel"])],
    [Attribute("1_A", "Negation", "", "1_E1")],
)
RECORDS = {
    "kb": [KB, Document("2", "2")],
    "qa": [
        Question("1", "1", "1", "q?", "yesno", ["yes", "no"], "c", ["yes"], {"k": "v"}),
        Question("2", "2", "2", "q?", "summary", [], "", []),
    ],
    "te": [Entailment("1", "p\n\u2028", "h", "true")],
    "t2t": [TextToText("1", "1", "a", "b", "en", "fr")],
    "pairs": [TextPair("1", "1", "a", "b", "0.4")],
    "text": [LabelledText("1", "1", "t", ["x", "y"]), LabelledText("2", "1", "", [])],
}


@pytest.fixture(scope="module")
def datasets():
    """The package, with what it warns of at import let pass."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = pytest.importorskip("datasets", minversion="4.0")
        found.disable_progress_bars()
        yield found


def features(datasets, schema: str):
    """Return the features that BigBIO's loaders declare for a schema: written in its terms, lists and sequences."""
    string, many = datasets.Value("string"), datasets.Sequence
    pairs = many([datasets.Value("int32")])
    links = [{"db_name": string, "db_id": string}]
    declared = {
        "kb": {
            "id": string,
            "document_id": string,
            "passages": [{"id": string, "type": string, "text": many(string), "offsets": pairs}],
            "entities": [{"id": string, "type": string, "text": many(string), "offsets": pairs, "normalized": links}],
            "events": [
                {
                    "id": string,
                    "type": string,
                    "trigger": {"text": many(string), "offsets": pairs},
                    "arguments": [{"role": string, "ref_id": string}],
                }
            ],
            "coreferences": [{"id": string, "entity_ids": many(string)}],
            "relations": [{"id": string, "type": string, "arg1_id": string, "arg2_id": string, "normalized": links}],
        },
        "qa": {
            **dict.fromkeys(("id", "question_id", "document_id", "question", "type"), string),
            "choices": [string],
            "context": string,
            "answer": many(string),
        },
        "te": dict.fromkeys(("id", "premise", "hypothesis", "label"), string),
        "t2t": dict.fromkeys(("id", "document_id", "text_1", "text_2", "text_1_name", "text_2_name"), string),
        "pairs": dict.fromkeys(("id", "document_id", "text_1", "text_2", "label"), string),
        "text": {**dict.fromkeys(("id", "document_id", "text"), string), "labels": [string]},
    }
    return datasets.Features(declared[schema])


@pytest.mark.parametrize("schema", SCHEMAS)
def test_parquet_loads_with_bigbios_features(datasets, tmp_path, schema):
    corpus = corpus_of({"train": RECORDS[schema], "test": RECORDS[schema][:1]}, schema, schema=schema)
    paths = {split: str(tmp_path / f"{split}.parquet") for split in corpus.splits}
    for split, path in paths.items():
        pq.write_table(corpus[split], path, compression="zstd")
    found = datasets.load_dataset("parquet", data_files=paths, cache_dir=str(tmp_path / "hf"))
    assert found["train"].features == features(datasets, schema)
    for split in corpus.splits:
        assert found[split].to_list() == corpus[split].to_pylist()


def test_cached_files_of_a_real_corpus_load(datasets, tmp_path, cache, corpora_dir):
    from mumei.data import load

    for name, schema in (("ncbi_disease", "kb"), ("pubmed_qa", "qa"), ("mediqa_rqe", "te"), ("meqsum", "t2t")):
        corpus = load(f"{name}_bigbio_{schema}", folder=corpora_dir)
        (folder,) = (cache / "data").glob(f"{name}-*-{schema}")
        paths = {split: str(folder / f"{split}.parquet") for split in corpus.splits}
        found = datasets.load_dataset("parquet", data_files=paths, cache_dir=str(tmp_path / "hf"))
        assert found["test" if schema != "t2t" else "train"].features == features(datasets, schema)
        assert {split: len(found[split]) for split in paths} == {split: corpus[split].num_rows for split in paths}
