"""From an encoder to its name and back."""

from __future__ import annotations

import pytest
from collection_toys import HashEncoder

from mumei.retrieval import encoders
from mumei.retrieval.remake import how_to_make, make_encoder


def test_the_embedded_model_has_its_short_name():
    encoder = encoders.MiniLMEncoder()
    assert how_to_make(encoder) == "minilm"
    assert make_encoder("minilm").name == make_encoder(None).name == encoder.name


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.parametrize("cut", [64, 256])
def test_number_type_and_cut_are_read_from_the_name(dtype, cut):
    name = encoders.MiniLMEncoder(dtype=dtype, max_tokens=cut).name
    assert make_encoder("minilm", name).name == name


@pytest.mark.parametrize("name", ["other/bfloat16/64", "all-MiniLM-L6-v2/int8/64", "all-MiniLM-L6-v2/float32/x", "x"])
def test_another_name_is_left_to_the_one_who_compares(name):
    assert make_encoder("minilm", name).name == encoders.MiniLMEncoder().name


def test_sentence_transformers_have_the_model_as_their_name(monkeypatch):
    class Stand(encoders.SentenceTransformerEncoder):
        def __init__(self, model, **options):
            self.name, self.dim = f"sentence-transformers/{model}", 3

    monkeypatch.setattr(encoders, "SentenceTransformerEncoder", Stand)
    monkeypatch.setattr("mumei.retrieval.huggingface.is_sentence_transformer", lambda name: True)
    assert how_to_make(Stand("a/b")) == "a/b"
    assert make_encoder(how_to_make(Stand("a/b")), "sentence-transformers/a/b").name == "sentence-transformers/a/b"


def test_another_encoder_is_not_made_from_a_name(tmp_path):
    assert how_to_make(HashEncoder()) is None
