"""Any encoder that transformers loads, by hub name or folder, with the pooling, prefixes and networks of its authors.

Contriever, mContriever, MedCPT, E5 and BGE are known by name (`recipes.py`); a folder in sentence-transformers' layout says
it itself; everything can be given by hand.

Departures from the authors' own code:

- MedCPT's articles go in as one text ("title. abstract"), not as a pair of title and abstract.
- A batch holds texts of one length, so nothing is padded: faster on CPUs, and a text's vector in bfloat16 does not depend on
  the texts beside it (padding alone moves it by up to .015).
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mumei.core.errors import MissingExtraError, UsageError, unknown
from mumei.core.files import sha256_file
from mumei.retrieval.batching import check_max_tokens, check_texts, group_by_equal_length, token_batches
from mumei.retrieval.encoders import TORCH_DTYPES, torch_dtype
from mumei.retrieval.recipes import POOLINGS, find_recipe

if TYPE_CHECKING:
    import numpy as np
    import torch

WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
NEEDED = ("*.json", "*.txt", "*.model", "*.safetensors")  # what a runtime other than torch reads of a hub repository
BUDGETS = {
    True: 1024,
    False: 16_384,
}  # tokens a batch on the CPU, where activations should stay in cache, and elsewhere
UNKNOWN_LENGTH = 512  # tokens, where neither tokenizer nor network says
OTHERWISE = (
    "Give a folder on this machine, a hub name while the hub can be reached (or one that an earlier run has left in its "
    "cache), or 'minilm' for the embedded model."
)


class HuggingFaceEncoder:
    """A transformer's token vectors, pooled.

    Parameters
    ----------
    model : str
        A hub name ("facebook/contriever") or a folder.
    pooling : {"mean", "cls"}, optional
        Of the real tokens. Where left out, this and the next four are what the preset or the folder says, else the plain mean.
    query_prefix, document_prefix : str, optional
        Put before each text.
    normalize : bool, optional
        Bring vectors to unit length. Without it, compare by inner product.
    max_tokens : int, optional
        Longer texts are cut there, special tokens included.
    dtype : {"auto", "bfloat16", "float32"}
        "auto" takes bfloat16 where it is the faster one.
    query_model : str, optional
        The network of queries where it is another one, of the same width.
    device : str, optional
        As torch names it; the CPU by default.

    Raises
    ------
    UsageError
        A model that is not on this machine and cannot be had from the hub, is not an encoder, or an argument that is not allowed.
    MissingExtraError
        transformers is not installed.
    """

    def __init__(
        self,
        model: str,
        pooling: str | None = None,
        query_prefix: str | None = None,
        document_prefix: str | None = None,
        normalize: bool | None = None,
        max_tokens: int | None = None,
        dtype: str = "auto",
        query_model: str | None = None,
        *,
        device: str | None = None,
    ):
        if dtype not in TORCH_DTYPES:
            raise unknown("dtype for torch", dtype, TORCH_DTYPES)
        if pooling is not None and pooling not in POOLINGS:
            raise unknown("pooling", pooling, POOLINGS)
        _require()
        given = {
            "pooling": pooling,
            "query_prefix": query_prefix,
            "document_prefix": document_prefix,
            "normalize": normalize,
            "max_tokens": None if max_tokens is None else check_max_tokens(max_tokens),
            "query_model": query_model,
        }
        found = find_recipe(model, files_of(model))
        self.recipe = replace(found, **{k: v for k, v in given.items() if v is not None})
        self.model, self.device, self.dtype = model, device or "cpu", torch_dtype(dtype, device or "cpu")
        self.normalized = self.recipe.normalize
        #: The name by which `text_encoder` makes it again on any machine; None where it was given more than a name says.
        self.spec = f"{model}@torch:{self.dtype}" if self.recipe == found else None
        self._documents = _Network(model, self.recipe.max_tokens, self.dtype, self.device)
        self._queries = self._documents
        if self.recipe.query_model is not None or self.recipe.query_max_tokens is not None:
            cut = self.recipe.query_max_tokens or self.recipe.max_tokens
            self._queries = _Network(self.recipe.query_model or model, cut, self.dtype, self.device)
        self.dim = self._documents.dim
        if self._queries.dim != self.dim:
            raise UsageError(
                f"the query model {self.recipe.query_model!r} gives {self._queries.dim} dimensions and {model!r} {self.dim}; "
                "both have to give the same."
            )

    @cached_property
    def name(self) -> str:
        """What made the vectors: model and version, pooling, number type and cut, and a hash of prefixes and query network."""
        pooled = self.recipe.pooling + ("-unit" if self.normalized else "")
        parts = [f"huggingface/{self.model}@{self._documents.version}", pooled, self.dtype, str(self._documents.cut)]
        beside = "" if self._queries is self._documents else f"{self._queries.version}:{self._queries.cut}"
        special = "\0".join((self.recipe.document_prefix, self.recipe.query_prefix, beside))
        if special != "\0\0":
            parts.append(hashlib.blake2b(special.encode(), digest_size=4).hexdigest())
        return "/".join(parts)

    def encode(
        self, items: Sequence[str], *, batch_size: int | None = None, progress: Callable[[int], Any] | None = None
    ) -> np.ndarray:
        """Encode n documents to float32 (n, dim); of unit length where `normalized`. `batch_size` limits a batch's texts."""
        return self._encode(self._documents, self.recipe.document_prefix, items, batch_size, progress)

    def encode_queries(
        self, items: Sequence[str], *, batch_size: int | None = None, progress: Callable[[int], Any] | None = None
    ) -> np.ndarray:
        """Encode n questions to float32 (n, dim), with the model's prefix and network for them."""
        return self._encode(self._queries, self.recipe.query_prefix, items, batch_size, progress)

    def _encode(
        self,
        network: _Network,
        prefix: str,
        items: Sequence[str],
        batch_size: int | None,
        progress: Callable[[int], Any] | None,
    ) -> np.ndarray:
        import numpy as np

        texts = [prefix + text for text in check_texts(items)]
        vectors = np.empty((len(texts), self.dim), dtype=np.float32)
        group = partial(group_by_equal_length, batch_size=batch_size, budget=BUDGETS[self.device == "cpu"])
        for rows, tokens in token_batches(texts, network.tokenise, group):
            pooled = network.pooled(tokens, self.recipe.pooling).cpu().numpy()
            if self.normalized:
                pooled = pooled / np.maximum(np.linalg.norm(pooled, axis=1, keepdims=True), 1e-12)
            vectors[rows] = pooled
            if progress is not None:
                progress(len(rows))
        return vectors


class _Network:
    """One transformer with its tokenizer; the weights are loaded at the first text."""

    def __init__(self, model: str, cut: int | None, dtype: str, device: str):
        from transformers import AutoConfig

        self.model, self.dtype, self.device = model, dtype, device
        self.config = _from_hub(model, AutoConfig.from_pretrained)
        self.dim = getattr(self.config, "hidden_size", 0)
        if getattr(self.config, "is_encoder_decoder", False) or not self.dim:
            raise UsageError(
                f"{model!r} is a {self.config.model_type!r} network, not an encoder with a hidden size; "
                "load it as a sentence-transformers model."
            )
        self._cut = cut

    @cached_property
    def version(self) -> str:
        """The hub's commit, or a hash of the folder's weights."""
        if not Path(self.model).is_dir():
            return str(getattr(self.config, "_commit_hash", None) or "unknown")[:12]
        found = [p for p in (Path(self.model) / name for name in WEIGHTS) if p.is_file()]
        if not found:
            raise UsageError(f"{self.model} has no weights: none of {', '.join(WEIGHTS)}. {OTHERWISE}")
        return sha256_file(found[0])[:12]

    @cached_property
    def tokenizer(self) -> Any:
        from transformers import AutoTokenizer

        return _from_hub(self.model, AutoTokenizer.from_pretrained)

    @cached_property
    def cut(self) -> int:
        """Tokens that a text may have."""
        said = getattr(self.tokenizer, "model_max_length", None) or UNKNOWN_LENGTH
        positions = getattr(self.config, "max_position_embeddings", None) or said
        # A tokenizer without a limit says 1e30. RoBERTa counts positions from its padding's index, two more than tokens.
        offset = 2 if "roberta" in str(self.config.model_type) else 0
        most = min(int(min(said, 10**9)), positions - offset)
        most = UNKNOWN_LENGTH if most >= 10**9 else most
        return min(self._cut or most, most)

    @cached_property
    def network(self) -> Any:
        import torch
        from transformers import AutoModel

        network = _from_hub(self.model, AutoModel.from_pretrained)
        return network.to(device=self.device, dtype=getattr(torch, self.dtype)).eval()

    def tokenise(self, texts: list[str]) -> list[list[int]]:
        return self.tokenizer(texts, truncation=True, max_length=self.cut)["input_ids"]

    def pooled(self, tokens: list[list[int]], pooling: str) -> torch.Tensor:
        """Return float32 (texts, dim) on the device."""
        import torch

        # Texts of one length: nothing is padded. A text may have no token at all, and gets the padding's then.
        ids = torch.tensor([t or [self.tokenizer.pad_token_id or 0] for t in tokens], device=self.device)
        with torch.inference_mode():
            hidden = self.network(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state.float()
            return hidden[:, 0] if pooling == "cls" else hidden.mean(1)


def _require() -> None:
    try:
        import transformers  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("a Hugging Face encoder", "transformers", "text") from error


def _from_hub(model: str, load: Callable[..., Any]) -> Any:
    """Return `load(model)`: from this machine where it is here, which needs no network and keeps the version; else the hub."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        return load(model, local_files_only=True)
    try:
        return load(model)
    except (OSError, ValueError, KeyError) as error:
        raise _not_had(model, error) from error


def _not_had(model: str, error: Exception) -> UsageError:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return UsageError(f"no encoder at {model!r}: {reason:.200} {OTHERWISE}")


def files_of(model: str) -> Path | None:
    """Return the folder with a model's `modules.json` and what that names; None where it has none."""
    folder = Path(model)
    if folder.is_dir():
        return folder
    found = _hub_file(model, "modules.json")
    if found is None:
        return None
    for name in ("1_Pooling/config.json", "config_sentence_transformers.json", "sentence_bert_config.json"):
        _hub_file(model, name)
    return found.parent


def _hub_file(model: str, name: str) -> Path | None:
    """Return a file of a hub repository, or None where the repository has none of that name."""
    try:
        from huggingface_hub import hf_hub_download, try_to_load_from_cache
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
    except ImportError as error:
        raise MissingExtraError("a model of the hub", "huggingface-hub", "text") from error
    try:
        known = try_to_load_from_cache(model, name)
        if known is not None:  # a path, or a mark that the hub has no such file
            return Path(known) if isinstance(known, str) else None
        return Path(hf_hub_download(model, name))
    except LocalEntryNotFoundError as error:  # the hub cannot be reached
        if isinstance(try_to_load_from_cache(model, "config.json"), str):
            return None  # the model is here: transformers has fetched it, which takes `modules.json` where there is one
        raise _not_had(model, error) from error
    except EntryNotFoundError:
        return None
    except (OSError, ValueError) as error:  # no such repository, or not a name of the hub
        raise _not_had(model, error) from error


def is_sentence_transformer(model: str) -> bool:
    """Whether a folder or hub name holds a sentence-transformers model that is not known by a preset."""
    from mumei.retrieval.recipes import known_by_name

    if known_by_name(model):
        return False
    folder = Path(model)
    return (folder / "modules.json").is_file() if folder.is_dir() else _hub_file(model, "modules.json") is not None


def hub_folder(model: str) -> Path:
    """Return the folder of a model: the folder itself, or the hub's snapshot, fetched where it is not in the hub's cache.

    Raises
    ------
    UsageError
        It is neither on this machine nor to be had from the hub.
    """
    if Path(model).is_dir():
        return Path(model)
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise MissingExtraError("a model of the hub", "huggingface-hub", "text") from error
    return Path(_from_hub(model, partial(snapshot_download, allow_patterns=list(NEEDED))))
