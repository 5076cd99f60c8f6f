"""How a text model's token vectors become one vector, and what goes before a text: presets and folders' own files.

Sources, by preset: Izacard et al. 2021 (Contriever), Jin et al. 2023 (MedCPT), Wang et al. 2022 (E5), Xiao et al. 2023 (BGE),
and the four projects' model cards. A folder in sentence-transformers' layout says the same in `modules.json`,
`1_Pooling/config.json` and `config_sentence_transformers.json`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mumei.core.errors import DataError
from mumei.core.files import read_json

POOLINGS = ("mean", "cls")


@dataclass(frozen=True)
class Recipe:
    """From token vectors to a text's vector.

    Attributes
    ----------
    pooling : {"mean", "cls"}
        The mean over the text's tokens, or the first token's vector.
    normalize : bool
        Whether vectors are brought to unit length.
    query_prefix, document_prefix : str
        Put before each text.
    max_tokens, query_max_tokens : int or None
        Where texts are cut; None leaves it to the tokenizer. Queries have the documents' cut unless they have their own.
    query_model : str or None
        The network of queries where it is another one.
    """

    pooling: str = "mean"
    normalize: bool = False
    query_prefix: str = ""
    document_prefix: str = ""
    max_tokens: int | None = None
    query_max_tokens: int | None = None
    query_model: str | None = None

    @property
    def symmetric(self) -> bool:
        """Whether queries are encoded as documents are."""
        return (
            self.query_prefix == self.document_prefix
            and self.query_model is None
            and self.query_max_tokens in (None, self.max_tokens)
        )


_BGE_ENGLISH = "Represent this sentence for searching relevant passages: "
_BGE_CHINESE = "为这个句子生成表示以用于检索相关文章："
PRESETS: dict[str, Recipe] = {  # by a pattern of the whole last part of a model's name or folder, lower case
    r"m?contriever(-msmarco)?": Recipe("mean", False, max_tokens=512),
    r"medcpt-article-encoder": Recipe(
        "cls", False, max_tokens=512, query_max_tokens=64, query_model="MedCPT-Query-Encoder"
    ),
    r"(multilingual-)?e5-(small|base|large)(-v2)?": Recipe("mean", True, "query: ", "passage: ", 512),
    r"bge-(small|base|large)-en(-v1\.5)?": Recipe("cls", True, _BGE_ENGLISH, max_tokens=512),
    r"bge-(small|base|large)-zh(-v1\.5)?": Recipe("cls", True, _BGE_CHINESE, max_tokens=512),
    r"bge-m3": Recipe("cls", True, max_tokens=8192),
}


def find_recipe(model: str, folder: Path | None = None) -> Recipe:
    """Return the preset of a model's name, or what its folder says, or the plain mean of the token vectors.

    Parameters
    ----------
    model : str
        A hub name or a folder. Only the last part counts, so that a copied folder keeps its preset.
    folder : Path, optional
        Where its files are.

    Examples
    --------
    >>> find_recipe("intfloat/e5-small-v2").query_prefix
    'query: '
    """
    path = Path(model)
    recipe = known_by_name(model)
    if recipe is None:
        return read_recipe(folder) if folder is not None else Recipe()
    if recipe.query_model is None:
        return recipe
    return replace(recipe, query_model=path.with_name(recipe.query_model).as_posix())  # beside the documents' network


def known_by_name(model: str) -> Recipe | None:
    """Return the preset of a hub name or folder, or None."""
    last = Path(model).name.lower()
    return next((recipe for pattern, recipe in PRESETS.items() if re.fullmatch(pattern, last)), None)


def read_recipe(folder: Path) -> Recipe:
    """Return what a folder in sentence-transformers' layout says; the plain mean where it has no such files.

    Raises
    ------
    DataError
        It pools in a way, or has a module, that only sentence-transformers itself computes.
    """
    modules = read_json(folder / "modules.json") if (folder / "modules.json").is_file() else []
    kinds = [str(m["type"]).rpartition(".")[2] for m in modules]
    foreign = [k for k in kinds if k not in ("Transformer", "Pooling", "Normalize")]
    if foreign:
        raise DataError(
            f"{folder} has the module {foreign[0]!r}, which is not computed here; use the sentence-transformers encoder for it."
        )
    prompts = _optional(folder / "config_sentence_transformers.json").get("prompts") or {}
    pooling = "mean"
    for module, kind in zip(modules, kinds, strict=True):
        if kind == "Pooling":
            pooling = _pooling(folder, read_json(folder / module["path"] / "config.json"))
    cut = _optional(folder / "sentence_bert_config.json").get("max_seq_length")
    return Recipe(pooling, "Normalize" in kinds, prompts.get("query", ""), prompts.get("document", ""), cut)


def _optional(path: Path) -> dict[str, Any]:
    return read_json(path) if path.is_file() else {}


def _pooling(folder: Path, config: dict[str, Any]) -> str:
    """Return the pooling of a `1_Pooling/config.json`, which names it or has one flag a mode."""
    named = config.get("pooling_mode")
    flags = {"pooling_mode_cls_token": "cls", "pooling_mode_mean_tokens": "mean"}
    chosen = [k for k, on in config.items() if k.startswith("pooling_mode_") and on is True]
    modes = [named] if isinstance(named, str) else [flags.get(k, k.removeprefix("pooling_mode_")) for k in chosen]
    if len(modes) != 1 or modes[0] not in POOLINGS:
        raise DataError(
            f"{folder} pools by {' and '.join(modes) or 'nothing'}; here it is one of {', '.join(POOLINGS)}. "
            "Use the sentence-transformers encoder for it."
        )
    return modes[0]
