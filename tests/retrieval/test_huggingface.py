"""Encoders of transformers folders, against transformers run text by text and pooled by hand."""

from __future__ import annotations

import builtins
import json
import shutil

import numpy as np
import pytest
from text_networks import TEXTS, WIDTH, by_hand, make_bert

from mumei.core.errors import MissingExtraError, UsageError
from mumei.retrieval.encoders import SentenceTransformerEncoder, text_encoder
from mumei.retrieval.huggingface import HuggingFaceEncoder, hub_folder, is_sentence_transformer
from mumei.testing import check_encoder

pytest.importorskip("transformers", reason="needs the text extra")
pytestmark = pytest.mark.filterwarnings("ignore")  # transformers and its hub client warn freely


@pytest.fixture(autouse=True)
def _offline(monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)  # the variable is read once, when the module is loaded


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A folder of networks under names with a preset, and one without."""
    root = tmp_path_factory.mktemp("hub")
    for seed, name in enumerate(
        ["contriever", "MedCPT-Article-Encoder", "MedCPT-Query-Encoder", "e5-small-v2", "plain"]
    ):
        make_bert(root / name, seed=seed)
    return root


def test_contriever_is_the_plain_mean(models):
    encoder = text_encoder(str(models / "contriever"), dtype="float32")
    assert isinstance(encoder, HuggingFaceEncoder)
    assert (encoder.dim, encoder.normalized) == (WIDTH, False)
    expected = by_hand(models / "contriever", TEXTS, "mean", normalize=False)
    np.testing.assert_allclose(encoder.encode(TEXTS), expected, atol=1e-5)
    np.testing.assert_allclose(encoder.encode_queries(TEXTS), expected, atol=1e-5)


def test_medcpt_has_two_networks_and_first_tokens(models):
    """The tiny networks have 64 positions: articles' cut of 512 and queries' of 64 are both 64."""
    encoder = HuggingFaceEncoder(str(models / "MedCPT-Article-Encoder"), dtype="float32")
    articles = by_hand(models / "MedCPT-Article-Encoder", TEXTS, "cls", normalize=False)
    queries = by_hand(models / "MedCPT-Query-Encoder", TEXTS, "cls", normalize=False)
    np.testing.assert_allclose(encoder.encode(TEXTS), articles, atol=1e-5)
    np.testing.assert_allclose(encoder.encode_queries(TEXTS), queries, atol=1e-5)
    assert np.abs(articles - queries).max() > 0.1


def test_e5_puts_its_prefixes_before_texts(models):
    encoder = HuggingFaceEncoder(str(models / "e5-small-v2"), dtype="float32")
    for encode, prefix in ((encoder.encode, "passage: "), (encoder.encode_queries, "query: ")):
        expected = by_hand(models / "e5-small-v2", TEXTS, "mean", normalize=True, prefix=prefix)
        np.testing.assert_allclose(encode(TEXTS), expected, atol=1e-5)


def test_what_is_given_by_hand_wins(models):
    encoder = HuggingFaceEncoder(
        str(models / "contriever"), "cls", "ask: ", "doc: ", True, 9, "float32", str(models / "plain")
    )
    documents = by_hand(models / "contriever", TEXTS, "cls", True, 9, "doc: ")
    queries = by_hand(models / "plain", TEXTS, "cls", True, 9, "ask: ")
    np.testing.assert_allclose(encoder.encode(TEXTS), documents, atol=1e-5)
    np.testing.assert_allclose(encoder.encode_queries(TEXTS), queries, atol=1e-5)
    assert encoder.normalized
    assert encoder.spec is None


def test_a_sentence_transformers_folder_says_how_it_pools(models, tmp_path):
    """Expected: by hand with what `modules.json` says, and sentence-transformers' own run of the same folder."""
    folder = tmp_path / "model"
    shutil.copytree(models / "plain", folder)
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling/config.json").write_text(
        json.dumps(
            {"word_embedding_dimension": WIDTH, "pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
        )
    )
    kinds = {"Transformer": "", "Pooling": "1_Pooling", "Normalize": "2_Normalize"}
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (kind, path) in enumerate(kinds.items())
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    encoder = HuggingFaceEncoder(str(folder), dtype="float32")
    np.testing.assert_allclose(encoder.encode(TEXTS), by_hand(folder, TEXTS, "cls", normalize=True), atol=1e-5)
    assert not is_sentence_transformer(str(models / "contriever"))
    pytest.importorskip("sentence_transformers", reason="needs the text extra")
    by_name = text_encoder(str(folder))
    assert isinstance(by_name, SentenceTransformerEncoder)
    np.testing.assert_allclose(by_name.encode(TEXTS), encoder.encode(TEXTS), atol=1e-4)
    np.testing.assert_allclose(by_name.encode_queries(TEXTS), encoder.encode(TEXTS), atol=1e-4)


@pytest.mark.parametrize("name", ["contriever", "MedCPT-Article-Encoder", "e5-small-v2"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_kit(models, name, dtype):
    check_encoder(lambda: HuggingFaceEncoder(str(models / name), dtype=dtype), TEXTS[:5])


def test_bfloat16_stays_near(models):
    exact, half = (HuggingFaceEncoder(str(models / "plain"), dtype=d).encode(TEXTS) for d in ("float32", "bfloat16"))
    norms = np.linalg.norm(exact, axis=1) * np.linalg.norm(half, axis=1)
    assert ((exact * half).sum(axis=1) / norms).min() > 0.999


def test_names_tell_apart_what_makes_other_vectors(models):
    folder = str(models / "contriever")
    options = [{}, {"pooling": "cls"}, {"normalize": True}, {"max_tokens": 9}, {"document_prefix": "a"}]
    options += [{"query_prefix": "a"}, {"query_model": str(models / "plain")}]
    names = [HuggingFaceEncoder(folder, dtype="float32", **o).name for o in options]
    names += [HuggingFaceEncoder(folder, dtype="bfloat16").name, HuggingFaceEncoder(str(models / "plain")).name]
    assert len(set(names)) == len(names)
    again = HuggingFaceEncoder(folder, dtype="float32")
    assert again.name == names[0]
    assert text_encoder(again.spec).name == names[0]


def test_models_that_cannot_be_had_are_named(tmp_path):
    for name in ("nobody/nothing", str(tmp_path / "nowhere")):
        with pytest.raises(UsageError, match=r"no encoder at .*minilm"):
            text_encoder(name)
        with pytest.raises(UsageError, match="no encoder at"):
            hub_folder(name)
    with pytest.raises(UsageError, match="no encoder at"):
        text_encoder("nobody/nothing", runtime="openvino")


def test_networks_that_do_not_fit_are_named(models, tmp_path):
    narrow = make_bert(tmp_path / "narrow", width=16)
    with pytest.raises(UsageError, match="16 dimensions"):
        HuggingFaceEncoder(str(models / "plain"), query_model=str(narrow))
    (tmp_path / "t5").mkdir()
    (tmp_path / "t5/config.json").write_text(json.dumps({"model_type": "t5", "is_encoder_decoder": True}))
    with pytest.raises(UsageError, match="'t5' network"):
        HuggingFaceEncoder(str(tmp_path / "t5"))
    with pytest.raises(UsageError, match="Did you mean 'mean'"):
        HuggingFaceEncoder(str(models / "plain"), pooling="meen")
    with pytest.raises(UsageError, match="int8"):
        HuggingFaceEncoder(str(models / "plain"), dtype="int8")


def test_a_missing_package_is_named(models, monkeypatch):
    real = builtins.__import__

    def without(name, *rest, **more):
        if name.partition(".")[0] == "transformers":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=r"mumei\[text\]"):
        HuggingFaceEncoder(str(models / "plain"))
