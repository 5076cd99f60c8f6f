"""Small networks of random weights for tests of encoders, made in the test and computed by transformers alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np

WIDTH = 32
TEXTS = [
    "Statins lower LDL cholesterol.",
    "",
    "Long text of many words. " * 40,
    "肺炎の治療",
    "A heart attack is treated by opening the blocked artery.",
    "Statins lower LDL cholesterol.",
]


def make_bert(folder: Path, *, seed: int = 0, width: int = WIDTH, positions: int = 64, **config) -> Path:
    """Write a two-layer BERT with MiniLM's tokenizer. Weights are large enough for texts to differ."""
    import torch
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    from mumei.retrieval.encoders import embedded_model

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        BertModel(
            BertConfig(
                vocab_size=30522,
                hidden_size=width,
                num_hidden_layers=2,
                num_attention_heads=4,
                intermediate_size=48,
                max_position_embeddings=positions,
                initializer_range=0.2,
                **config,
            )
        ).save_pretrained(folder)
    PreTrainedTokenizerFast(
        tokenizer_file=str(embedded_model() / "tokenizer.json"),
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        unk_token="[UNK]",
        model_max_length=positions,
    ).save_pretrained(folder)
    return folder


def by_hand(
    folder: Path, texts: list[str], pooling: str, normalize: bool, cut: int = 64, prefix: str = ""
) -> np.ndarray:
    """Return the vectors as transformers computes them text by text in float32, pooled in NumPy."""
    import torch
    from transformers import BertModel, PreTrainedTokenizerFast

    network = BertModel.from_pretrained(folder).eval()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    rows = []
    for text in texts:
        ids = tokenizer(prefix + text, truncation=True, max_length=cut, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            hidden = network(input_ids=ids).last_hidden_state[0].numpy()
        row = hidden[0] if pooling == "cls" else hidden.sum(axis=0) / len(hidden)
        rows.append(row / np.sqrt((row**2).sum()) if normalize else row)
    return np.array(rows, dtype=np.float32)
