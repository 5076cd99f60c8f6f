"""What a BERT folder's `config.json` says, without loading torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mumei.core.errors import DataError
from mumei.core.files import read_json


@dataclass(frozen=True)
class BertShape:
    """What `config.json` says of a BERT: sizes and the layer norm's epsilon."""

    width: int
    layers: int
    heads: int
    positions: int
    epsilon: float

    @classmethod
    def read(cls, folder: Path) -> BertShape:
        """Read `config.json`; another architecture raises `DataError`."""
        config = read_json(folder / "config.json")
        activation, places = config.get("hidden_act"), config.get("position_embedding_type", "absolute")
        if config.get("model_type") != "bert" or activation not in ("gelu", None) or places != "absolute":
            raise DataError(
                f"{folder} holds a {config.get('model_type')!r} model with activation {activation!r} and {places!r} "
                "positions; this encoder reads BERT with GELU and absolute positions. Use the sentence-transformers or "
                "huggingface encoder for it."
            )
        return cls(
            config["hidden_size"],
            config["num_hidden_layers"],
            config["num_attention_heads"],
            config["max_position_embeddings"],
            config.get("layer_norm_eps", 1e-12),
        )
