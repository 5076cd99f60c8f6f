"""The graph's own parts; that it computes BERT is tested where it runs, in tests/retrieval/test_runtimes.py."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mumei.core.errors import DataError
from mumei.nn.bert_graph import bert_onnx, quantise_columns
from mumei.nn.bert_shape import BertShape


@given(arrays(np.float32, (7, 3), elements=st.floats(-1000, 1000, width=32)))
def test_weights_are_off_by_half_a_step_at_most(weight):
    integers, steps = quantise_columns(weight)
    assert integers.dtype == np.int8
    assert (np.abs(integers) <= 127).all()
    assert (np.abs(integers * steps.astype(float) - weight) <= steps * 0.5001 + 1e-9).all()
    largest = np.abs(weight).max(axis=0)
    assert (np.abs(integers).max(axis=0)[largest > 1e-6] == 127).all()


def config(**more):
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 16}
    return {"model_type": "bert", "hidden_act": "gelu", **sizes, **more}


def test_the_shape_is_read_from_the_folder(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(config()))
    assert BertShape.read(tmp_path) == BertShape(8, 1, 2, 16, 1e-12)


@pytest.mark.parametrize(
    "wrong", [{"model_type": "roberta"}, {"hidden_act": "relu"}, {"position_embedding_type": "relative_key"}]
)
def test_another_network_is_refused(tmp_path, wrong):
    (tmp_path / "config.json").write_text(json.dumps(config(**wrong)))
    with pytest.raises(DataError, match=next(iter(wrong.values()))):
        BertShape.read(tmp_path)


def test_missing_weights_are_named(tmp_path):
    pytest.importorskip("onnx", reason="graphs are written with onnx")
    from safetensors.numpy import save_file

    (tmp_path / "config.json").write_text(json.dumps(config()))
    save_file({"cls.weight": np.zeros(1, dtype=np.float32)}, tmp_path / "model.safetensors")
    with pytest.raises(DataError, match="not a BERT encoder's weights"):
        bert_onnx(tmp_path)
