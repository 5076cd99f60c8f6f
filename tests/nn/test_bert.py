"""The packed encoder against transformers' BERT with random weights."""

from __future__ import annotations

import json

import pytest
import torch

from mumei.core.errors import DataError
from mumei.nn import bert
from mumei.nn.bert import PackedBert, PackedLinear


@pytest.fixture(scope="module")
def random_bert(tmp_path_factory):
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("bert")
    config = transformers.BertConfig(
        vocab_size=50, hidden_size=24, num_hidden_layers=3, num_attention_heads=3, intermediate_size=40,
        max_position_embeddings=64,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = transformers.BertModel(config, add_pooling_layer=False).eval()
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)
    return folder, model


@pytest.mark.parametrize("block", [1, 10_000_000])
def test_mean_pooled_equals_transformers_one_text_at_a_time(random_bert, monkeypatch, block):
    """Expected: transformers' own forward of each text alone, so without any padding."""
    monkeypatch.setattr(bert, "SCORE_BLOCK", block)
    folder, model = random_bert
    texts = [[2, 7, 3], [5, 6, 7], [1], [9] * 20, list(range(20, 40))]
    ours = PackedBert(folder).mean_pooled(texts)
    with torch.no_grad():
        expected = torch.stack([model(torch.tensor([t])).last_hidden_state[0].mean(0) for t in texts])
    torch.testing.assert_close(ours, expected, atol=2e-5, rtol=2e-5)


def test_packed_linear_equals_the_plain_one_and_falls_back(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    weight, bias, x = (torch.randn(*s, generator=generator) for s in ((6, 5), (6,), (7, 5)))
    expected = torch.nn.functional.gelu(x @ weight.T + bias)
    torch.testing.assert_close(PackedLinear(weight, bias, gelu=True)(x), expected)
    monkeypatch.setattr(PackedLinear, "_fused", lambda *a: torch.zeros(3, 6))
    fallback = PackedLinear(weight, bias, gelu=True)
    assert fallback._packed is None
    torch.testing.assert_close(fallback(x), expected)


def test_other_models_are_refused(tmp_path, random_bert):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "roberta"}))
    with pytest.raises(DataError, match="'roberta'"):
        PackedBert(tmp_path)
    from safetensors.torch import save_file

    (tmp_path / "config.json").write_text((random_bert[0] / "config.json").read_text())
    save_file({"x": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(DataError, match="word_embeddings"):
        PackedBert(tmp_path)
