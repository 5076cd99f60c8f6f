"""Presets by the model's name, and folders in sentence-transformers' layout. Expected values are the models' own cards."""

from __future__ import annotations

import json

import pytest

from mumei.core.errors import DataError
from mumei.retrieval.recipes import Recipe, find_recipe, read_recipe


@pytest.mark.parametrize(
    ("name", "pooling", "unit", "query", "document"),
    [
        ("facebook/contriever", "mean", False, "", ""),
        ("facebook/mcontriever-msmarco", "mean", False, "", ""),
        ("intfloat/e5-base-v2", "mean", True, "query: ", "passage: "),
        ("intfloat/multilingual-e5-small", "mean", True, "query: ", "passage: "),
        ("BAAI/bge-m3", "cls", True, "", ""),
        ("BAAI/bge-small-en-v1.5", "cls", True, "Represent this sentence for searching relevant passages: ", ""),
    ],
)
def test_presets(name, pooling, unit, query, document):
    found = find_recipe(name)
    assert (found.pooling, found.normalize, found.query_prefix, found.document_prefix) == (
        pooling,
        unit,
        query,
        document,
    )
    assert find_recipe(f"/models/{name.partition('/')[2]}") == found
    assert found.symmetric == (query == document)


def test_medcpt_has_a_network_for_queries_beside_the_one_for_articles():
    hub, local = find_recipe("ncbi/MedCPT-Article-Encoder"), find_recipe("/models/MedCPT-Article-Encoder")
    assert hub.query_model == "ncbi/MedCPT-Query-Encoder"
    assert local.query_model == "/models/MedCPT-Query-Encoder"
    assert (hub.pooling, hub.normalize, hub.max_tokens, hub.query_max_tokens) == ("cls", False, 512, 64)
    assert not hub.symmetric


def test_a_like_name_is_no_preset():
    assert find_recipe("intfloat/e5-mistral-7b-instruct") == Recipe()


def write(folder, pooling, modules=("Transformer", "Pooling", "Normalize"), **more):
    (folder / "1_Pooling").mkdir(parents=True)
    paths = {"Pooling": "1_Pooling", "Transformer": ""}
    listed = [{"path": paths.get(m, f"9_{m}"), "type": f"sentence_transformers.models.{m}"} for m in modules]
    files = {"modules.json": listed, "1_Pooling/config.json": pooling, **more}
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content))
    return folder


def test_a_folder_says_how_it_pools(tmp_path):
    flags = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
    prompts = {"prompts": {"query": "ask: ", "document": "doc: "}}
    first = write(
        tmp_path / "a",
        flags,
        **{"config_sentence_transformers.json": prompts, "sentence_bert_config.json": {"max_seq_length": 77}},
    )
    assert read_recipe(first) == Recipe("cls", True, "ask: ", "doc: ", 77)
    second = write(tmp_path / "b", {"pooling_mode": "mean"}, ("Transformer", "Pooling"))
    assert read_recipe(second) == Recipe("mean", False)
    (tmp_path / "c").mkdir()
    assert read_recipe(tmp_path / "c") == Recipe()


def test_what_is_not_computed_here_is_named(tmp_path):
    both = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}
    with pytest.raises(DataError, match="cls and mean"):
        read_recipe(write(tmp_path / "a", both))
    with pytest.raises(DataError, match="max_tokens"):
        read_recipe(write(tmp_path / "b", {"pooling_mode_max_tokens": True}))
    with pytest.raises(DataError, match="'Dense'"):
        read_recipe(write(tmp_path / "c", {"pooling_mode": "mean"}, ("Transformer", "Pooling", "Dense")))
